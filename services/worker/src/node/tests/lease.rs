//! Exclusive instances: they run under a lease, and under nothing else.

use proptest::prelude::*;

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

fn exclusive(stop_after: &str) -> v1::Spec {
    wire_spec(&api::v1::ServiceSpec {
        name: "db".into(),
        runtime: "fake".into(),
        image: "db:1".into(),
        stop_grace: "3s".into(),
        disconnect: Some(api::v1::DisconnectSpec {
            mode: "exclusive".into(),
            stop_after: stop_after.into(),
            ..Default::default()
        }),
        ..Default::default()
    })
}

impl World {
    /// A world whose cluster grants leases and has ordered one exclusive instance.
    fn leased(stop_after: &str) -> (Self, v1::Spec) {
        let mut world = World::new();
        world.newest = Some(1);
        world.attach();
        let spec = exclusive(stop_after);
        let run = order(1, 1, v1::Desired::Run, &spec);
        world.snapshot(vec![run], vec![spec.clone()]).unwrap();
        assert_eq!(world.phase(1), Phase::Running, "{:?}", world.log);
        (world, spec)
    }

    fn ack(&mut self, recorded_seq: u64, newest_order: Option<u64>) {
        self.tell(parent_message::Message::Ack(v1::Ack {
            recorded_seq,
            newest_order,
        }));
    }

    /// What was done with instances.
    fn did(&self) -> Vec<&str> {
        let mut done = self.done();
        done.retain(|word| *word != "Reattach");
        done
    }

    fn last_seq(&self) -> u64 {
        self.reports.last().unwrap().seq
    }

    fn runs(&self, n: u128) -> bool {
        self.jobs
            .get(&id(n))
            .is_some_and(|job| job.seen == Seen::Running)
    }

    fn reason(&self, n: u128) -> String {
        self.status(n).reason
    }

    /// The machine is off for a while and boots: nothing that ran is there, and its boot clock begins anew.
    fn reboot(&mut self, off: Duration) {
        self.boot_id.push('+');
        self.jobs.clear();
        self.now.boot = Time(1_000);
        self.now.wall = self.now.wall + off;
        self.epoch += 1;
        self.restart_agent();
    }
}

#[test]
fn it_is_not_started_by_a_cluster_that_grants_no_leases() {
    let mut world = World::new();
    world.attach();
    let spec = exclusive("60s");
    let run = order(1, 1, v1::Desired::Run, &spec);
    world.snapshot(vec![run], vec![spec]).unwrap();
    world.pass(10 * MINUTE);
    assert_eq!(world.did(), Vec::<&str>::new());
    assert_eq!(
        (world.phase(1), world.reason(1).as_str()),
        (Phase::Preparing, "NoLease")
    );
    assert_eq!(world.told(1).reason, "NoLease");
    world.newest = Some(1);
    world.pass(MINUTE);
    assert_eq!(world.phase(1), Phase::Running);
}

#[test]
fn it_runs_on_while_its_cluster_hears_it() {
    let (mut world, _) = World::leased("60s");
    world.pass(100 * MINUTE);
    assert_eq!(world.did(), ["ensure 1"]);
    assert!(
        world.ledger.writes() < 500,
        "{} writes in 100 minutes",
        world.ledger.writes()
    );
}

#[test]
fn it_stops_by_itself_when_its_cluster_is_not_heard_and_starts_again_when_it_is() {
    let (mut world, _) = World::leased("60s");
    world.deaf = true;
    world.pass(MINUTE - Duration::from_millis(1));
    assert!(world.runs(1));
    world.pass(Duration::from_millis(1));
    assert!(!world.runs(1));
    let status = world.status(1);
    assert_eq!(
        (status.phase, status.reason.as_str()),
        (Phase::Preparing, "LeaseExpired")
    );
    assert_eq!((status.restarts, status.failures), (0, 0));
    assert!(status.message.contains("not heard"), "{}", status.message);
    assert_eq!(world.did(), ["ensure 1", "stop 1"]);
    world.pass(10 * MINUTE);
    assert_eq!(world.did(), ["ensure 1", "stop 1"]);
    world.deaf = false;
    world.pass(MINUTE);
    assert_eq!(world.did(), ["ensure 1", "stop 1", "ensure 1"]);
    let status = world.status(1);
    assert_eq!(
        (status.phase, status.reason.as_str(), status.restarts),
        (Phase::Running, "", 0)
    );
}

#[test]
fn what_its_keeper_ended_in_time_starts_again_as_if_the_agent_had_ended_it() {
    let (mut world, _) = World::leased("60s");
    let told = |world: &World| -> Vec<(AssignmentId, Duration)> {
        let leases = world.node.leases();
        leases.map(|(id, _, until)| (id, until)).collect()
    };
    let [(one, until)] = told(&world)[..] else {
        panic!("{:?}", told(&world));
    };
    assert_eq!(one, id(1));
    world.pass(MINUTE);
    assert!(told(&world)[0].1 > until, "it was renewed");
    world.deaf = true;
    // The agent hangs meanwhile and misses the end of the lease, which the keeper does not.
    world.jobs.insert(id(1), Sight::bare(Seen::Created));
    world.now.boot = world.now.boot + 5 * MINUTE;
    world.node.hint(&RuntimeKind::FAKE, Some(id(1)), world.now);
    world.settle();
    world.pass(MINUTE);
    let status = world.status(1);
    assert_eq!(
        (status.phase, status.restarts, status.failures),
        (Phase::Preparing, 0, 0),
        "{:?}",
        world.log
    );
    assert_eq!(told(&world), []);
    let before = world.did().len();
    world.deaf = false;
    world.pass(MINUTE);
    assert_eq!(world.did()[before..], ["ensure 1"]);
    let status = world.status(1);
    assert_eq!((status.phase, status.restarts), (Phase::Running, 0));
}

#[test]
fn the_shortest_leases_are_renewed_in_time() {
    let (mut world, _) = World::leased("5s");
    world.pass(10 * MINUTE);
    assert_eq!(
        world.did(),
        ["ensure 1"],
        "reports go out more often than the 15 s that the cluster named"
    );
}

#[test]
fn a_late_ack_gives_the_time_that_is_left_of_when_the_report_was_sent() {
    let (mut world, _) = World::leased("60s");
    world.deaf = true;
    world.pass(Duration::from_secs(15));
    let seq = world.last_seq();
    world.pass(Duration::from_secs(40));
    world.ack(seq, Some(1));
    world.pass(Duration::from_millis(19_999));
    assert!(world.runs(1), "sent 60 s ago less a moment");
    world.pass(Duration::from_millis(1));
    assert!(!world.runs(1));
}

type Case<'a> = &'a dyn Fn(&mut World);

#[test]
fn acks_that_say_nothing_of_now_renew_nothing() {
    let newer = |world: &mut World| world.newest = Some(2);
    let silent = |world: &mut World| world.newest = None;
    let older_session = |world: &mut World| {
        world.deaf = true;
        world.pass(Duration::from_secs(15));
        let seq = world.last_seq();
        world.attach();
        world.epoch -= 1;
        world.ack(seq, Some(1));
        world.epoch += 1;
    };
    let welcomes = |world: &mut World| {
        world.deaf = true;
        for _ in 0..10 {
            world.pass(Duration::from_secs(5));
            world.attach();
        }
    };
    let cases: [(&str, Case<'_>); 4] = [
        ("an order is not applied", &newer),
        ("no lease is granted", &silent),
        ("of an older session", &older_session),
        ("a Welcome", &welcomes),
    ];
    for (name, case) in cases {
        let (mut world, _) = World::leased("60s");
        let start = world.now.boot;
        case(&mut world);
        world.pass(MINUTE - world.now.boot.since(start));
        assert!(!world.runs(1), "{name}");
        assert_eq!(world.reason(1), "LeaseExpired", "{name}");
    }
}

#[test]
fn a_machine_that_slept_finds_its_lease_over() {
    let (mut world, _) = World::leased("60s");
    world.now.boot = world.now.boot + 60 * MINUTE;
    world.now.wall = world.now.wall + 60 * MINUTE;
    world.deaf = true;
    world.node.tick(world.now);
    world.settle();
    assert!(!world.runs(1));
}

#[test]
fn the_wall_clock_has_no_say() {
    let years = Duration::from_secs(10 * 365 * 24 * 3600);
    for jump in [Time(0) + years, Time(0) - years] {
        let (mut world, _) = World::leased("60s");
        world.deaf = true;
        world.now.wall = Time(world.now.wall.0 + jump.0);
        world.pass(MINUTE - Duration::from_millis(1));
        assert!(world.runs(1), "{jump:?}");
        world.pass(Duration::from_millis(1));
        assert!(!world.runs(1), "{jump:?}");
    }
}

#[test]
fn a_restarted_agent_lets_run_what_the_ledger_allows_and_no_longer() {
    let (mut world, _) = World::leased("60s");
    world.pass(MINUTE);
    let before = world.jobs.clone();
    let noted = world.ledger.durable().renewal.unwrap();
    assert!(world.now.boot.since(noted.at) <= Duration::from_secs(30));
    world.deaf = true;
    world.restart_agent();
    assert_eq!(world.jobs, before, "adopted");
    let left = (noted.at + MINUTE).since(world.now.boot);
    world.pass(left - Duration::from_millis(1));
    assert_eq!(world.did(), Vec::<&str>::new());
    world.pass(Duration::from_millis(1));
    assert_eq!(world.did(), ["stop 1"]);
    world.restart_agent();
    world.pass(10 * MINUTE);
    assert_eq!(
        world.did(),
        Vec::<&str>::new(),
        "the ledger has only the past"
    );
    world.deaf = false;
    world.attach();
    assert_eq!(world.did(), ["ensure 1"]);
}

#[test]
fn an_agent_that_comes_back_too_late_stops_it_at_once() {
    let (mut world, _) = World::leased("60s");
    world.deaf = true;
    world.now.boot = world.now.boot + 2 * MINUTE;
    world.restart_agent();
    world.node.tick(world.now);
    world.settle();
    assert_eq!(world.did(), ["stop 1"]);
    assert_eq!(world.reason(1), "LeaseExpired");
}

#[test]
fn after_a_reboot_it_waits_for_a_fresh_lease_whatever_the_clock_says() {
    for (uptime, known) in [(5, "b"), (5_000_000, "b"), (5, "")] {
        let mut world = World::new();
        world.now.boot = Time(uptime);
        known.clone_into(&mut world.boot_id);
        world.restart_agent();
        world.newest = Some(1);
        world.attach();
        let spec = exclusive("1h");
        let run = order(1, 1, v1::Desired::Run, &spec);
        world.snapshot(vec![run], vec![spec]).unwrap();
        assert!(world.runs(1));
        world.reboot(Duration::from_secs(20));
        if known.is_empty() {
            // A machine that does not tell its boots apart.
            world.boot_id.clear();
            world.restart_agent();
        }
        world.pass(10 * MINUTE);
        assert_eq!(world.did(), Vec::<&str>::new(), "{uptime}");
        assert_eq!(
            (world.phase(1), world.reason(1).as_str()),
            (Phase::Preparing, "NoLease")
        );
        world.attach();
        assert_eq!(world.did(), ["ensure 1"], "{uptime}");
    }
}

#[test]
fn a_stop_that_comes_while_it_has_no_lease_is_final() {
    let (mut world, spec) = World::leased("60s");
    world.deaf = true;
    world.pass(2 * MINUTE);
    world.deaf = false;
    world.revision += 1;
    world.newest = Some(world.revision + 1);
    world
        .snapshot(vec![order(1, 2, v1::Desired::Stop, &spec)], vec![])
        .unwrap();
    assert_eq!(world.told(1).phase(), v1::Phase::Stopped);
    assert_eq!(world.node.entries().count(), 0);
    assert!(world.ledger.durable().tombstones.contains_key(&id(1)));
    assert_eq!(world.did(), ["ensure 1", "stop 1"], "never started again");
}

#[test]
fn a_stop_that_comes_while_it_gives_way_is_final() {
    let (mut world, spec) = World::leased("60s");
    world.deaf = true;
    world.hold = true;
    world.pass(MINUTE);
    assert!(
        matches!(&world.held[..], [Op { kind: OpKind::Stop { grace }, .. }] if *grace == Duration::from_secs(3))
    );
    world
        .snapshot(vec![order(1, 2, v1::Desired::Stop, &spec)], vec![])
        .unwrap();
    assert_eq!(world.held.len(), 1);
    world.hold = false;
    let op = world.held.remove(0);
    world.work(op);
    world.settle();
    assert_eq!(world.phase(1), Phase::Stopped);
}

#[test]
fn a_pull_that_outlasts_the_lease_is_cancelled() {
    let mut world = World::new();
    world.newest = Some(1);
    world.attach();
    world.hold = true;
    let spec = exclusive("60s");
    let run = order(1, 1, v1::Desired::Run, &spec);
    world.snapshot(vec![run], vec![spec]).unwrap();
    assert!(matches!(
        &world.held[..],
        [Op {
            kind: OpKind::Ensure(_),
            ..
        }]
    ));
    world.deaf = true;
    world.pass(MINUTE - Duration::from_millis(1));
    assert!(world.cancelled.is_empty());
    world.pass(Duration::from_millis(1));
    assert_eq!(world.cancelled, [id(1)]);
    // It was too late to cancel: it runs, and is stopped.
    world.hold = false;
    let op = world.held.remove(0);
    world.work(op);
    world.settle();
    assert_eq!(world.did(), ["ensure 1", "stop 1"]);
    assert!(!world.runs(1));
}

#[test]
fn a_stop_that_does_not_succeed_is_tried_again_and_says_why() {
    let (mut world, _) = World::leased("60s");
    world.deaf = true;
    world.unstoppable = true;
    world.pass(2 * MINUTE);
    assert!(world.runs(1));
    assert!(world.did().len() > 4, "{:?}", world.did());
    world.unstoppable = false;
    world.pass(MINUTE);
    assert!(!world.runs(1));
    assert_eq!(world.phase(1), Phase::Preparing);
}

#[test]
fn what_ends_or_shall_restart_without_a_lease_waits() {
    let (mut world, spec) = World::leased("60s");
    world.deaf = true;
    world.pass(Duration::from_millis(59_500));
    world.end(1, 1);
    world.pass(10 * MINUTE);
    assert_eq!(world.did(), ["ensure 1"]);
    let mut again = order(1, 2, v1::Desired::Run, &spec);
    again.restart_count = 1;
    world.snapshot(vec![again], vec![]).unwrap();
    world.pass(MINUTE);
    assert_eq!(world.did(), ["ensure 1"]);
    world.newest = Some(world.revision);
    world.deaf = false;
    world.attach();
    assert_eq!(world.did(), ["ensure 1", "restart 1"]);
}

#[test]
fn a_frozen_one_may_not_stay_either() {
    let (mut world, spec) = World::leased("60s");
    world
        .snapshot(vec![order(1, 2, v1::Desired::Pause, &spec)], vec![])
        .unwrap();
    assert_eq!(world.phase(1), Phase::Paused);
    world.deaf = true;
    world.pass(MINUTE);
    assert_eq!(world.did(), ["ensure 1", "pause 1", "stop 1"]);
}

#[test]
fn others_do_not_need_a_lease() {
    let (mut world, exclusive) = World::leased("60s");
    let spec = spec("always");
    let orders = vec![
        order(1, 1, v1::Desired::Run, &exclusive),
        order(2, 1, v1::Desired::Run, &spec),
    ];
    world.snapshot(orders, vec![exclusive, spec]).unwrap();
    world.deaf = true;
    world.pass(10 * MINUTE);
    assert!(!world.runs(1) && world.runs(2));
}

proptest! {
    /// Whatever is heard, lost, late or of another session, whatever sleeps, crashes or reboots: an exclusive job runs only
    /// within stop_after of the sending of a report that its cluster recorded with all orders applied.
    #[test]
    fn it_never_runs_beyond_its_lease(steps in proptest::collection::vec((0_u8..9, 1_u64..40_000), 1..60)) {
        let (mut world, spec) = World::leased("60s");
        let mut allowed = world.now.boot;
        world.sent.clear();
        world.deaf = true;
        for (what, millis) in steps {
            let time = Duration::from_millis(millis);
            match what {
                0..3 => world.pass(time),
                3 => {
                    let last = world.sent.keys().next_back().copied().unwrap_or(0);
                    let seq = last.saturating_sub(millis % 4);
                    allowed = allowed.max(world.sent.range(..=seq).next_back().map_or(allowed, |(_, at)| *at));
                    let newest = Some(world.revision);
                    world.ack(seq, newest);
                }
                4 => {
                    let newest = Some(world.revision + millis);
                    world.ack(u64::MAX, newest);
                    world.sent.clear();
                }
                5 => {
                    world.sent.clear();
                    world.attach();
                }
                6 => {
                    world.now.boot = world.now.boot + time;
                    world.node.tick(world.now);
                    world.settle();
                }
                7 => {
                    world.sent.clear();
                    world.epoch += 1;
                    world.restart_agent();
                    world.node.tick(world.now);
                    world.settle();
                }
                _ => {
                    world.end(1, 1);
                    let again = order(1, 1, v1::Desired::Run, &spec);
                    world.snapshot(vec![again], vec![]).unwrap();
                }
            }
            let held = world.now.boot.since(allowed) < MINUTE;
            prop_assert!(held || !world.runs(1), "{:?} {:?}", world.now, world.log);
        }
    }
}
