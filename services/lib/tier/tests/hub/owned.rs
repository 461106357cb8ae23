//! What a cluster tells of its own applications.

use edgeio_domain::{
    digest,
    ids::{AppUid, ChildId, SpecHash},
    lifecycle::Phase,
    records::{Application, Desired, Owner},
};
use edgeio_proto::link::v1::{self, parent_message::Message};
use edgeio_store::{ApplicationFilter, Store as _};
use edgeio_tier::hub::Outbox;

use crate::bed::{Bed, Session, asg, entry, full, only, part, uuid};

fn body(n: u8) -> Vec<u8> {
    vec![n; 10]
}

fn application(n: u128, version: u64) -> v1::OwnedApplication {
    v1::OwnedApplication {
        uid: uuid(n).to_string(),
        namespace: "default".to_owned(),
        name: format!("own{n}"),
        version,
        services: vec![v1::OwnedService {
            name: "front".to_owned(),
            replicas: 1,
            spec_hash: SpecHash::of(&body(1)).0.to_vec(),
        }],
        age_ms: 1000,
        ..Default::default()
    }
}

fn owned(n: u128, child: ChildId, phase: Phase) -> v1::InstanceReport {
    v1::InstanceReport {
        owner: child.to_string(),
        application: "own5".to_owned(),
        slot_id: asg(n).to_string(),
        ..entry(asg(n), 1, Desired::Run, phase)
    }
}

fn all(seq: u64, applications: Vec<v1::OwnedApplication>) -> v1::Report {
    v1::Report {
        applications,
        applications_full: true,
        ..part(seq, Vec::new())
    }
}

async fn applications(bed: &Bed) -> Vec<Application> {
    let tx = bed.store.read().await.unwrap();
    let filter = ApplicationFilter::default();
    tx.applications(&filter).await.unwrap()
}

async fn names(bed: &Bed) -> Vec<String> {
    let all = applications(bed).await;
    all.iter().map(|a| a.key.name.to_string()).collect()
}

fn asks(outbox: &Outbox) -> Vec<v1::ReportRequest> {
    only(outbox, |m| match m {
        Message::ReportRequest(request) => Some(request.clone()),
        _ => None,
    })
}

async fn telling(bed: &Bed) -> (ChildId, Session) {
    let child = bed.child(1).await;
    let session = bed.open(child, 1, Some(bed.point().await)).await;
    let report = v1::Report {
        full: true,
        entries: vec![owned(10, child, Phase::Running)],
        ..all(1, vec![application(5, 1), application(6, 1)])
    };
    let outbox = bed.tell(session, report).await;
    let specs = &asks(&outbox)[0].spec_hashes;
    assert_eq!(specs.len(), 1, "the one spec of both is asked for once");
    (child, session)
}

#[tokio::test]
async fn what_one_cluster_owns_is_not_told_away_by_another() {
    let bed = Bed::new();
    let (first, _) = telling(&bed).await;
    let second = bed.child(2).await;
    let session = bed.open(second, 2, Some(bed.point().await)).await;
    for (seq, phase) in [(1, Phase::Stopped), (2, Phase::Running)] {
        let forged = owned(10, second, phase);
        let report = match seq {
            1 => full(seq, vec![forged]),
            _ => part(seq, vec![forged]),
        };
        bed.tell(session, report).await;
        let row = bed.row(10).await.unwrap();
        assert_eq!((row.child, row.app.owner), (first, Owner::Cluster(first)));
        assert_eq!(row.observed.phase, Phase::Running);
    }
    bed.tell(session, all(3, vec![application(5, 9)])).await;
    let kept = applications(&bed).await;
    assert_eq!(kept.len(), 2);
    assert!(
        kept.iter()
            .all(|app| app.key.owner == Owner::Cluster(first))
    );
}

#[tokio::test]
async fn they_are_recorded_and_the_engine_leaves_them_alone() {
    let bed = Bed::new();
    let (child, session) = telling(&bed).await;
    assert_eq!(names(&bed).await, ["own5", "own6"]);
    let app = applications(&bed).await.remove(0);
    assert_eq!(app.key.owner, Owner::Cluster(child));
    assert_eq!(
        app.created_at,
        bed.context.clock.wall() - std::time::Duration::from_secs(1)
    );
    let row = bed.row(10).await.unwrap();
    assert!(row.is_mirror());
    assert_eq!((row.desired, row.order_revision), (Desired::Hold, 0));
    let before = bed.point().await;
    bed.plan().await;
    assert_eq!(bed.point().await, before, "nothing is planned");

    // Its spec comes when it was asked for, and nothing else does.
    let spec = |n| v1::Spec {
        hash: SpecHash::of(&body(n)).0.to_vec(),
        body: body(n),
    };
    let report = v1::Report {
        specs: vec![spec(1), spec(2)],
        ..part(2, Vec::new())
    };
    bed.tell(session, report).await;
    let tx = bed.store.read().await.unwrap();
    let known = [SpecHash::of(&body(1)), SpecHash::of(&body(2))];
    let known = tx.specs(&known).await.unwrap();
    assert_eq!(known, [(SpecHash::of(&body(1)), body(1))]);
}

#[tokio::test]
async fn what_is_gone_or_not_in_a_whole_list_is_forgotten() {
    let bed = Bed::new();
    let (child, session) = telling(&bed).await;
    let gone = v1::OwnedApplication {
        gone: true,
        ..application(5, 1)
    };
    let report = v1::Report {
        applications: vec![gone],
        ..part(2, vec![owned(10, child, Phase::Stopped)])
    };
    bed.tell(session, report).await;
    assert_eq!(names(&bed).await, ["own6"]);
    assert_eq!(bed.row(10).await, None);

    let whole = |seq, chunk| v1::Report {
        applications_chunk: chunk,
        applications_chunks: 2,
        ..all(seq, vec![application(7 + u128::from(chunk), 1)])
    };
    bed.tell(session, whole(3, 0)).await;
    assert_eq!(
        names(&bed).await,
        ["own6", "own7"],
        "the rest is on its way"
    );
    bed.tell(session, whole(4, 1)).await;
    assert_eq!(names(&bed).await, ["own7", "own8"]);
    bed.tell(session, all(5, Vec::new())).await;
    assert_eq!(names(&bed).await, Vec::<String>::new());
    assert!(bed.meta().await.revision > 0);
}

#[tokio::test]
async fn a_name_that_was_used_again_belongs_to_the_new_one() {
    let bed = Bed::new();
    let (_, session) = telling(&bed).await;
    let again = v1::OwnedApplication {
        name: "own5".to_owned(),
        ..application(9, 1)
    };
    let report = v1::Report {
        applications: vec![again],
        ..part(2, Vec::new())
    };
    bed.tell(session, report).await;
    let uids: Vec<AppUid> = applications(&bed).await.iter().map(|a| a.uid).collect();
    assert_eq!(uids, [AppUid(uuid(9)), AppUid(uuid(6))]);
}

#[tokio::test]
async fn digests_that_differ_are_cured_by_asking() {
    let bed = Bed::new();
    let (child, session) = telling(&bed).await;
    let known = applications(&bed).await;
    let states = digest::states([(asg(10), Phase::Running, 0)]);
    let beat = |seq, applications: [u8; 16]| v1::Report {
        assignments_digest: digest::assignments([]).to_vec(),
        states_digest: states.to_vec(),
        applications_digest: applications.to_vec(),
        ..part(seq, Vec::new())
    };
    let outbox = bed
        .tell(session, beat(2, digest::applications(&known)))
        .await;
    assert_eq!(asks(&outbox), [], "states and applications agree");
    let outbox = bed.tell(session, beat(3, [9; 16])).await;
    assert!(asks(&outbox)[0].applications && !asks(&outbox)[0].full);
    bed.tell(session, full(4, Vec::new())).await;
    assert_eq!(bed.row(10).await, None, "it is not there any more");
    assert_eq!(
        names(&bed).await.len(),
        2,
        "nothing was said of applications"
    );
    let _ = child;
}

#[tokio::test]
async fn a_child_tells_of_its_own_only() {
    let bed = Bed::new();
    let other = bed.child(2).await;
    let (_, session) = telling(&bed).await;
    let theirs = v1::InstanceReport {
        owner: other.to_string(),
        ..owned(11, other, Phase::Running)
    };
    let nonsense = v1::InstanceReport {
        owner: "me".to_owned(),
        ..owned(12, other, Phase::Running)
    };
    bed.order(other, 20, 1, Desired::Run).await;
    let stolen = owned(20, session.child, Phase::Stopped);
    bed.tell(session, part(2, vec![theirs, nonsense, stolen]))
        .await;
    let held = bed.row(11).await.unwrap();
    assert!(!held.is_mirror() && held.desired == Desired::Hold);
    assert_eq!(bed.row(12).await, None);
    assert_eq!(bed.row(20).await.unwrap().desired, Desired::Run);

    let session = bed.open(other, 2, Some(bed.point().await)).await;
    let report = v1::Report {
        full: true,
        ..all(1, vec![application(5, 9)])
    };
    bed.tell(session, report).await;
    assert_eq!(applications(&bed).await[0].version, 1);
}
