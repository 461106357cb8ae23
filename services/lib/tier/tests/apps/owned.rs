//! Applications that clusters own, as the root shows them.

use edgeio_domain::{
    child::ChildState,
    ids::{AppUid, AssignmentId, ChildId, SlotId, SpecHash},
    lifecycle::Phase,
    name::Name,
    records::{AppKey, Application, Assignment, Desired, Incarnation, Observed, Owner, Service},
    resources::Resources,
    time::Time,
};
use edgeio_proto::api::v1::{self, ApplicationPhase, InstancePhase};
use edgeio_server::status::{Classify, Kind};
use edgeio_store::{Store as _, Write};
use edgeio_tier::apps::children::Forget;
use futures::StreamExt as _;
use uuid::Uuid;

use crate::support::{Bed, phase, service, web, who};

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn key(owner: ChildId) -> AppKey {
    AppKey {
        owner: Owner::Cluster(owner),
        namespace: name("default"),
        name: name("theirs"),
    }
}

fn application(owner: ChildId, replicas: u32, hash: SpecHash) -> Application {
    Application {
        key: key(owner),
        uid: AppUid(Uuid::from_u128(owner.0.as_u128() + 500)),
        version: 2,
        services: vec![Service {
            name: name("front"),
            replicas,
            spec_hash: hash,
        }],
        deleted_at: None,
        created_at: Time(1000),
        revision: 0,
    }
}

fn mirror(owner: ChildId, n: u32, phase: Phase, hash: SpecHash) -> Write {
    let id = Uuid::from_u128(owner.0.as_u128() + 600 + u128::from(n));
    let observed = Observed {
        generation: 1,
        phase,
        incarnation: Some(Incarnation {
            instance: AssignmentId(Uuid::from_u128(700 + u128::from(n))),
            worker: ChildId(Uuid::from_u128(8)),
            worker_name: "n1".to_owned(),
        }),
        ..Observed::default()
    };
    Write::PutAssignment {
        assignment: Assignment {
            id: AssignmentId(id),
            slot: SlotId(id),
            app: key(owner),
            app_uid: AppUid(Uuid::from_u128(owner.0.as_u128() + 500)),
            service: name("front"),
            ordinal: n,
            child: owner,
            generation: 1,
            desired: Desired::Hold,
            restart_count: 0,
            spec_hash: hash,
            demand: Resources::default(),
            observed,
            created_at: Time(1000),
            order_revision: 0,
            revision: 0,
        },
        ordered: false,
    }
}

/// A root whose cluster north owns an application of two replicas that run and one that ends.
async fn told(bed: &Bed) -> ChildId {
    let north = bed.child("north", 8).await;
    let spec = service("front", None);
    let (hash, body) = edgeio_link::spec::encode(&spec);
    bed.write([
        Write::PutSpec(hash, body),
        Write::PutApplication(application(north, 2, hash)),
        mirror(north, 0, Phase::Running, hash),
        mirror(north, 1, Phase::Running, hash),
        mirror(north, 2, Phase::Stopping, hash),
    ])
    .await;
    north
}

#[tokio::test]
async fn they_are_shown_with_spec_status_and_instances() {
    let bed = Bed::root();
    let north = told(&bed).await;
    let shown = bed.get("theirs").await.unwrap();
    assert_eq!((shown.owner.as_str(), shown.version), ("cluster north", 2));
    let spec = shown.spec.unwrap().services.remove(0);
    assert_eq!(
        (spec.command[0].as_str(), spec.replicas),
        ("sleep", Some(2))
    );
    let status = shown.status.unwrap();
    assert_eq!(phase(&status), ApplicationPhase::Ready);
    let counts = &status.services[0];
    assert_eq!(
        (counts.replicas, counts.running, counts.progressing),
        (2, 2, 1)
    );

    let all = bed.instances().await;
    let words: Vec<_> = all
        .iter()
        .map(|i| (i.phase(), i.retiring, i.reason.as_str(), i.owner.as_str()))
        .collect();
    let owner = "cluster north";
    assert_eq!(
        words,
        [
            (InstancePhase::Running, false, "", owner),
            (InstancePhase::Running, false, "", owner),
            (InstancePhase::Stopping, true, "", owner),
        ]
    );
    assert_eq!(
        (all[0].cluster.as_str(), all[0].worker.as_str()),
        ("north", "n1")
    );
    assert_eq!(
        bed.list(v1::ListRequest::default())
            .await
            .unwrap()
            .applications
            .len(),
        1
    );

    bed.becomes(north, ChildState::Disconnected).await;
    let silent = bed.instances().await;
    assert!(
        silent
            .iter()
            .all(|i| i.reachability() == v1::Reachability::Unreachable)
    );
}

#[tokio::test]
async fn the_engine_neither_plans_them_nor_counts_what_they_take() {
    let bed = Bed::root();
    told(&bed).await;
    // The cluster's own free amounts have no room for them left; here all eight cores count as free.
    bed.applied(web(8)).await;
    bed.settle().await;
    let placed = bed.assignments().await;
    let own = placed.iter().filter(|a| !a.is_mirror());
    assert!(own.clone().all(|a| a.desired == Desired::Run));
    assert_eq!(own.count(), 8);
    assert_eq!(placed.len(), 11, "the mirrors are as they were");
}

#[tokio::test]
async fn a_watch_follows_them() {
    let bed = Bed::root();
    let north = told(&bed).await;
    let request = v1::WatchRequest::default();
    let watch = edgeio_tier::apps::Watch::parse(&who(), &request).unwrap();
    let mut watch = Box::pin(bed.apps.watch(watch).await.unwrap());
    let mut next = async || watch.next().await.unwrap().unwrap().change.unwrap();
    use v1::watch_response::Change;
    assert!(matches!(next().await, Change::Application(app) if app.owner == "cluster north"));
    for _ in 0..3 {
        assert!(matches!(next().await, Change::Instance(_)));
    }
    assert!(matches!(next().await, Change::Bookmark(_)));
    let gone = AssignmentId(Uuid::from_u128(north.0.as_u128() + 602));
    bed.write([Write::DeleteAssignment(gone)]).await;
    let mut changes = [next().await, next().await];
    changes.sort_by_key(|change| matches!(change, Change::InstanceGone(_)));
    assert!(
        matches!(&changes[1], Change::InstanceGone(i) if i.slot_id == gone.to_string()),
        "{changes:?}"
    );
    assert!(
        matches!(&changes[0], Change::Application(app) if app.status.as_ref().unwrap().services[0].progressing == 0),
        "{changes:?}"
    );
}

#[tokio::test]
async fn of_several_owners_none_is_guessed_and_the_roots_own_comes_first() {
    let bed = Bed::root();
    let north = told(&bed).await;
    let south = bed.child("south", 1).await;
    bed.write([Write::PutApplication(application(
        south,
        1,
        SpecHash([1; 32]),
    ))])
    .await;
    let mut child = bed
        .store
        .read()
        .await
        .unwrap()
        .child(south)
        .await
        .unwrap()
        .unwrap();
    child.address = "10.0.0.2:10100".to_owned();
    bed.write([Write::PutChild(child)]).await;
    let error = bed.get("theirs").await.unwrap_err();
    assert_eq!(
        (error.kind(), error.reason()),
        (Kind::FailedPrecondition, "SEVERAL_OWNERS")
    );
    let text = error.to_string();
    for part in ["cluster north", "cluster south", "--server 10.0.0.2:10100"] {
        assert!(text.contains(part), "{text}");
    }
    let delete = v1::DeleteRequest {
        name: "theirs".into(),
        ..Default::default()
    };
    let error = bed.delete(delete).await.unwrap_err();
    assert_eq!(error.reason(), "OWNED_ELSEWHERE");
    assert!(
        error.to_string().contains("--server 10.0.0.2:10100"),
        "{error}"
    );

    let request = crate::support::manifest("theirs", vec![service("front", None)]);
    bed.applied(request).await;
    assert_eq!(bed.get("theirs").await.unwrap().owner, "root");
    assert_eq!(bed.count().await, 3);
    let _ = north;
}

#[tokio::test]
async fn they_go_with_their_cluster_and_nothing_is_buried() {
    let bed = Bed::root();
    let north = told(&bed).await;
    let rest = edgeio_proto::root::v1::ForgetRequest::default();
    let forget = Forget::parse(&who(), String::new(), &rest, "north", true).unwrap();
    bed.children.forget(forget).await.unwrap();
    assert_eq!(bed.count().await, 0);
    assert!(bed.assignments().await.is_empty());
    let id = Uuid::from_u128(north.0.as_u128() + 600);
    let tx = bed.store.read().await.unwrap();
    assert!(
        tx.tombstones(&[id]).await.unwrap().is_empty(),
        "it may return and tell again"
    );
}
