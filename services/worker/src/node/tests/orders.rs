//! What becomes of orders: taken, refused, lost, held, acknowledged.

use super::*;

#[test]
fn an_order_becomes_a_running_job_that_is_reported() {
    let (world, _) = World::running("always");
    assert_eq!(world.done(), ["ensure 1"]);
    let told = world.told(1);
    assert_eq!(told.phase(), v1::Phase::Running);
    assert_eq!((told.generation, told.handle.as_str()), (1, "h"));
    assert_eq!(told.running_for_ms, Some(0));
    assert_eq!(world.ledger.durable().entries.len(), 1);
    let reports: Vec<_> = world.reports.iter().map(|r| r.seq).collect();
    assert!(
        reports.windows(2).all(|two| two[1] == two[0] + 1),
        "{reports:?}"
    );
}

#[test]
fn the_job_says_who_it_is_and_what_the_user_wrote_wins() {
    let mut world = World::new();
    world.attach();
    world.hold = true;
    let mut env = BTreeMap::new();
    env.insert("EDGEIO_ORDINAL".to_owned(), "mine".to_owned());
    let spec = wire_spec(&api::v1::ServiceSpec {
        name: "web".into(),
        runtime: "fake".into(),
        image: "web:1".into(),
        env,
        resources: Some(api::v1::ResourceSpec {
            cpu: "500m".into(),
            memory: String::new(),
        }),
        ..Default::default()
    });
    world
        .snapshot(
            vec![order(0xabc, 1, v1::Desired::Run, &spec)],
            vec![spec.clone()],
        )
        .unwrap();
    let OpKind::Ensure(job) = &world.held[0].kind else {
        panic!("{:?}", world.held);
    };
    assert_eq!(job.name, "edgeio-shop-web-0-00000abc");
    assert_eq!(job.env[variable::APPLICATION], "shop");
    assert_eq!(job.env[variable::INSTANCE], id(0xabc).to_string());
    assert_eq!(job.env[variable::ORDINAL], "mine");
    assert_eq!((job.cpu_millis, job.memory_bytes), (Some(500), None));
    assert_eq!(job.labels.worker, Uuid::from_u128(1));
    assert_eq!(job.labels.cluster, Uuid::from_u128(2));
    assert_eq!(
        SpecHash::from_slice(&spec.hash).unwrap().hex(),
        job.labels.spec_hash
    );
}

#[test]
fn a_stop_is_carried_out_told_and_forgotten_but_the_id_is_not() {
    let (mut world, spec) = World::running("always");
    world.deaf = true;
    let stop = order(1, 2, v1::Desired::Stop, &spec);
    world.snapshot(vec![stop], vec![]).unwrap();
    assert_eq!(world.done(), ["ensure 1", "stop 1"]);
    assert_eq!(world.phase(1), Phase::Stopped);
    assert!(world.jobs.is_empty());
    world.deaf = false;
    world.pass(Duration::from_secs(20));
    assert_eq!(world.node.entries().count(), 0);
    let durable = world.ledger.durable();
    assert!(durable.entries.is_empty() && durable.specs.is_empty());
    assert!(durable.tombstones.contains_key(&id(1)));
    // A parent that was restored from a backup orders it once more.
    let run = order(1, 3, v1::Desired::Run, &spec);
    world.snapshot(vec![run], vec![spec]).unwrap();
    assert_eq!(world.done(), ["ensure 1", "stop 1"]);
    let rejection = world.told(1).rejection.clone().unwrap();
    assert_eq!(rejection.reason(), v1::RejectionReason::Tombstoned);
}

#[test]
fn a_stop_of_what_was_never_held_leaves_a_tombstone() {
    let mut world = World::new();
    world.attach();
    let stop = order(1, 2, v1::Desired::Stop, &spec("always"));
    world.snapshot(vec![stop], vec![]).unwrap();
    assert_eq!(world.told(1).phase(), v1::Phase::Stopped);
    assert!(world.ledger.durable().tombstones.contains_key(&id(1)));
    assert_eq!(world.done(), Vec::<&str>::new());
}

#[test]
fn an_orphan_runs_on_and_can_be_claimed() {
    let (mut world, spec) = World::running("always");
    world.snapshot(vec![], vec![]).unwrap();
    assert!(world.status(1).orphan && world.ledger.durable().entries[&id(1)].status.orphan);
    assert!(world.told(1).orphan);
    world.end(1, 1);
    world.pass(Duration::from_secs(2));
    assert_eq!(world.phase(1), Phase::Running, "its last order counts");
    world
        .snapshot(vec![order(1, 1, v1::Desired::Run, &spec)], vec![])
        .unwrap();
    assert!(!world.status(1).orphan);
    assert_eq!(world.done(), ["ensure 1", "rerun 1"]);
}

#[test]
fn what_the_ledger_cannot_take_does_not_happen() {
    let mut world = World::new();
    world.attach();
    let spec = spec("always");
    let run = order(1, 1, v1::Desired::Run, &spec);
    world.ledger.fail(1);
    world
        .snapshot(vec![run.clone()], vec![spec.clone()])
        .unwrap_err();
    assert_eq!(
        (world.node.entries().count(), world.node.accepted()),
        (0, None)
    );
    assert_eq!(world.log, Vec::<String>::new());
    world.pass(Duration::from_secs(60));
    assert_eq!(world.log, Vec::<String>::new());
    // It comes again.
    world.snapshot(vec![run], vec![spec]).unwrap();
    assert_eq!(world.done(), ["ensure 1"]);
}

#[test]
fn what_this_worker_cannot_run_is_refused_and_its_stop_is_answered() {
    let words = |runtime: &str, port: bool| api::v1::ServiceSpec {
        name: "web".into(),
        runtime: runtime.into(),
        image: "web:1".into(),
        ports: port
            .then(|| api::v1::PortSpec {
                container: 80,
                ..Default::default()
            })
            .into_iter()
            .collect(),
        ..Default::default()
    };
    let garbage = v1::Spec {
        hash: SpecHash::of(&[0xff]).0.to_vec(),
        body: vec![0xff],
    };
    let table = [
        (
            wire_spec(&words("unikernel", false)),
            RejectionReason::Unsupported,
        ),
        (
            wire_spec(&words("fake", true)),
            RejectionReason::Unsupported,
        ),
        (garbage, RejectionReason::InvalidSpec),
    ];
    for (spec, reason) in table {
        let mut world = World::new();
        world.attach();
        world
            .snapshot(
                vec![order(1, 1, v1::Desired::Run, &spec)],
                vec![spec.clone()],
            )
            .unwrap();
        assert_eq!(world.status(1).rejection.unwrap().reason, reason);
        assert!(world.told(1).rejection.is_some());
        world
            .snapshot(vec![order(1, 2, v1::Desired::Stop, &spec)], vec![])
            .unwrap();
        assert_eq!(world.told(1).phase(), v1::Phase::Stopped);
        assert_eq!(world.node.entries().count(), 0);
        assert_eq!(world.done(), Vec::<&str>::new());
    }
}

#[test]
fn an_order_without_its_spec_waits_for_it() {
    let mut world = World::new();
    world.attach();
    let spec = spec("always");
    let run = order(1, 1, v1::Desired::Run, &spec);
    world.snapshot(vec![run.clone()], vec![]).unwrap();
    assert_eq!(world.told(1).reason, "SpecMissing");
    let none = digest_of(&[]);
    assert_eq!(world.reports.last().unwrap().assignments_digest, none);
    world.snapshot(vec![run], vec![spec]).unwrap();
    assert_eq!(world.phase(1), Phase::Running);
    let one = digest_of(&[(id(1), 1)]);
    assert_eq!(world.reports.last().unwrap().assignments_digest, one);
}

fn digest_of(entries: &[(AssignmentId, u64)]) -> Vec<u8> {
    let run = edgeio_domain::records::Desired::Run;
    edgeio_domain::digest::assignments(entries.iter().map(|(id, g)| (*id, *g, run, 0))).to_vec()
}

#[test]
fn a_snapshot_in_parts_counts_when_it_is_whole() {
    let mut world = World::new();
    world.attach();
    let spec = spec("always");
    let part = |chunk, entries, specs| {
        parent_message::Message::Snapshot(v1::Snapshot {
            lineage: Lineage(Uuid::from_u128(LINEAGE)).to_string(),
            issuer_epoch: 1,
            revision: 5,
            entries,
            specs,
            chunk,
            chunks: 2,
        })
    };
    world.tell(part(1, vec![order(1, 1, v1::Desired::Run, &spec)], vec![]));
    assert_eq!(
        (world.node.entries().count(), world.ledger.writes()),
        (0, 0)
    );
    world.tell(part(0, vec![], vec![spec]));
    assert_eq!(world.phase(1), Phase::Running);
    assert_eq!(world.node.accepted().unwrap().revision, 5);
}

#[test]
fn nothing_is_written_while_nothing_changes() {
    let (mut world, _) = World::running("always");
    let writes = world.ledger.writes();
    let reports = world.reports.len();
    world.pass(Duration::from_secs(600));
    assert_eq!(world.ledger.writes(), writes);
    let beats = world.reports.len() - reports;
    assert!(
        (39..=41).contains(&beats),
        "{beats} heartbeats in ten minutes"
    );
}

#[test]
fn a_silent_parent_is_attached_anew_and_an_unknown_worker_registers_once() {
    let (mut world, _) = World::running("always");
    world.deaf = true;
    world.pass(Duration::from_secs(120));
    assert_eq!(world.log.iter().filter(|l| *l == "Reattach").count(), 1);
    world.log.clear();
    world.deaf = false;
    world.attach();
    for _ in 0..3 {
        let refusal = v1::Refusal {
            reason: v1::RefusalReason::UnknownChild.into(),
            message: "who".into(),
        };
        world.tell(parent_message::Message::Refusal(refusal));
    }
    assert_eq!(world.log, [r#"Register("who")"#]);
    assert_eq!(world.phase(1), Phase::Running);
}

#[test]
fn the_stop_of_a_refused_order_is_answered_also_when_the_runtimes_answer_late() {
    let mut world = World::new();
    world.down = true;
    world.attach();
    let elsewhere = wire_spec(&api::v1::ServiceSpec {
        name: "web".into(),
        runtime: "unikernel".into(),
        image: "web:1".into(),
        ..Default::default()
    });
    let run = order(1, 1, v1::Desired::Run, &elsewhere);
    world.snapshot(vec![run], vec![elsewhere.clone()]).unwrap();
    let stop = order(1, 2, v1::Desired::Stop, &elsewhere);
    world.snapshot(vec![stop], vec![]).unwrap();
    assert_eq!(world.node.entries().count(), 1, "nobody knows yet");
    world.down = false;
    world.pass(Duration::from_secs(40));
    assert_eq!(world.told(1).phase(), v1::Phase::Stopped);
    assert_eq!(world.node.entries().count(), 0);
}

#[test]
fn a_worker_with_enough_to_do_refuses_more_and_keeps_what_it_has() {
    let (mut world, spec) = World::running("always");
    world.node.restrict(Willing {
        accept_new: true,
        max_instances: 2,
    });
    let run = |n| order(n, 1, v1::Desired::Run, &spec);
    world
        .snapshot(vec![run(1), run(2), run(3)], vec![])
        .unwrap();
    assert_eq!(
        (world.phase(1), world.phase(2)),
        (Phase::Running, Phase::Running)
    );
    let refusal = world.told(3).rejection.clone().unwrap();
    assert_eq!(refusal.reason(), v1::RejectionReason::Unwilling);
    assert!(
        refusal.message.contains("`max_instances`"),
        "{}",
        refusal.message
    );
    // One ends for good, the refused one is taken back by the cluster: there is room for another.
    let stop = |n| order(n, 2, v1::Desired::Stop, &spec);
    world
        .snapshot(vec![run(1), stop(2), stop(3)], vec![])
        .unwrap();
    world.snapshot(vec![run(1), run(4)], vec![]).unwrap();
    assert_eq!(world.phase(4), Phase::Running);
}

#[test]
fn a_worker_that_takes_nothing_new_goes_on_with_what_it_has() {
    let (mut world, spec) = World::running("always");
    let closed = Willing {
        accept_new: false,
        max_instances: 0,
    };
    world.node.restrict(closed);
    world.end(1, 1);
    let run = |n, generation| order(n, generation, v1::Desired::Run, &spec);
    world.snapshot(vec![run(1, 2), run(2, 1)], vec![]).unwrap();
    let refusal = world.told(2).rejection.clone().unwrap();
    assert_eq!(refusal.reason(), v1::RejectionReason::Unwilling);
    assert!(
        refusal.message.contains("`accept_new`"),
        "{}",
        refusal.message
    );
    world.pass(Duration::from_secs(1));
    assert_eq!(world.phase(1), Phase::Running, "restarted by policy");
    world.restart_agent();
    world.node.restrict(closed);
    world.jobs.clear();
    world.pass(Duration::from_secs(60));
    assert_eq!(world.phase(1), Phase::Running, "also after a reboot");
    assert!(
        world.status(2).rejection.is_some(),
        "the refusal is remembered"
    );
}

#[test]
fn a_restart_is_one_also_after_the_cluster_has_forgotten_those_before_it() {
    let (mut world, spec) = World::running("always");
    let ask = |world: &mut World, generation, restarts| {
        let mut again = order(1, generation, v1::Desired::Run, &spec);
        again.restart_count = restarts;
        world.snapshot(vec![again], vec![]).unwrap();
    };
    ask(&mut world, 2, 3);
    assert_eq!(world.done(), ["ensure 1", "restart 1"]);
    // An older copy of its database was put back, which knows of one restart.
    ask(&mut world, 3, 1);
    assert_eq!(world.done(), ["ensure 1", "restart 1"], "nobody asked");
    ask(&mut world, 4, 2);
    assert_eq!(world.done(), ["ensure 1", "restart 1", "restart 1"]);
}

#[test]
fn a_cluster_that_lost_a_spec_gets_its_bytes_back_from_the_ledger() {
    let (mut world, _) = World::running("always");
    let held = world.ledger.durable().specs;
    let (hash, body) = held.iter().next().unwrap();
    let before = world.reports.len();
    let request = v1::ReportRequest {
        spec_hashes: vec![hash.0.to_vec(), vec![9; 32]],
        ..Default::default()
    };
    let message = parent_message::Message::ReportRequest(request);
    world.try_tell(message).unwrap();
    let told = world.reports[before..].iter();
    let specs: Vec<&v1::Spec> = told.flat_map(|report| &report.specs).collect();
    assert_eq!(specs.len(), 1, "what it does not have it does not make up");
    assert_eq!((&specs[0].hash[..], &specs[0].body), (&hash.0[..], body));
}
