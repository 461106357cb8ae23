//! Children for people: lists, pages, watches, forgetting.

use edgeio_domain::{
    child::ChildState,
    name::Name,
    records::{Assignment, Desired, Owner},
};
use edgeio_proto::{api::v1, cluster::v1::ForgetRequest};
use edgeio_server::{
    auth::Role,
    status::{Classify, Kind},
};
use edgeio_store::{ApplicationFilter, Store as _, Write};
use edgeio_tier::apps::{
    AppError,
    children::{ChildChange, Forget, ListChildren},
};
use futures::StreamExt as _;

use crate::support::{Bed, as_role, phase, web, who};

fn forget(worker: &str, force: bool) -> Forget {
    let rest = ForgetRequest {
        worker: worker.to_owned(),
        force,
        request_id: String::new(),
    };
    Forget::parse(&who(), String::new(), &rest, worker, force).unwrap()
}

#[tokio::test]
async fn children_are_listed_by_name_in_pages_and_found_by_name_or_id() {
    let bed = Bed::cluster();
    let mut ids = Vec::new();
    for name in ["b", "c", "a"] {
        ids.push(bed.child(name, 1).await);
    }
    bed.applied(web(2)).await;
    bed.settle().await;
    let page = |size, token: &str| {
        let command = ListChildren::parse(&who(), size, token).unwrap();
        bed.children.list(command, |view| view.child.display())
    };
    let (names, token) = page(2, "").await.unwrap();
    assert_eq!(names, ["a", "b"]);
    let (names, token) = page(2, &token).await.unwrap();
    assert_eq!((names, token.as_str()), (vec!["c".to_owned()], ""));
    let by_id = bed.children.get(&who(), &ids[0].to_string()).await.unwrap();
    assert_eq!(by_id, bed.children.get(&who(), "b").await.unwrap());
    let command = ListChildren::parse(&who(), 0, "").unwrap();
    let (counts, _) = bed
        .children
        .list(command, |view| view.assigned.to_string())
        .await
        .unwrap();
    let sum: u32 = counts
        .iter()
        .map(|count| count.parse::<u32>().unwrap())
        .sum();
    assert_eq!(sum, 2);

    assert_eq!(
        bed.children.get(&who(), "x").await.unwrap_err().reason(),
        "WORKER_NOT_FOUND"
    );
    let error = bed.children.get(&who(), "").await.unwrap_err();
    assert_eq!(error.fields()[0].path, "worker");
    assert!(matches!(
        ListChildren::parse(&who(), 1001, ""),
        Err(AppError::Invalid(_))
    ));
    assert!(matches!(
        ListChildren::parse(&who(), 1, "zz"),
        Err(AppError::Invalid(_))
    ));
}

#[tokio::test]
async fn who_reports_is_forgotten_by_force_only_and_its_work_is_placed_elsewhere() {
    let bed = Bed::cluster();
    let a1 = bed.child("a1", 2).await;
    bed.applied(web(2)).await;
    bed.settle().await;
    let held = bed.assignments().await;
    let error = bed.children.forget(forget("a1", false)).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.reason()),
        (Kind::FailedPrecondition, "CHILD_REPORTS")
    );
    assert_eq!(bed.assignments().await.len(), 2, "nothing was touched");

    bed.child("a2", 2).await;
    bed.becomes(a1, ChildState::Suspect).await;
    assert_eq!(bed.children.forget(forget("a1", false)).await.unwrap(), 2);
    {
        let tx = bed.store.read().await.unwrap();
        let ids: Vec<_> = held.iter().map(|assignment| assignment.id.0).collect();
        assert_eq!(
            tx.tombstones(&ids).await.unwrap().len(),
            2,
            "their ids never run again"
        );
        assert!(tx.child(a1).await.unwrap().is_none());
    }
    bed.settle().await;
    let instances = bed.instances().await;
    assert!(
        instances.iter().all(|instance| instance.worker == "a2"),
        "{instances:?}"
    );
    assert_eq!(bed.children.forget(forget("a2", true)).await.unwrap(), 2);
    let error = bed.children.forget(forget("a2", true)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
}

#[tokio::test]
async fn with_a_cluster_go_the_applications_that_it_owned() {
    let bed = Bed::root();
    let north = bed.child("north", 2).await;
    bed.applied(web(1)).await;
    let tx = bed.store.read().await.unwrap();
    let mut mirror = tx
        .applications(&ApplicationFilter::default())
        .await
        .unwrap()
        .remove(0);
    drop(tx);
    mirror.key.owner = Owner::Cluster(north);
    mirror.key.name = Name::new("theirs").unwrap();
    mirror.uid = edgeio_domain::ids::AppUid(uuid::Uuid::from_u128(3));
    bed.write([Write::PutApplication(mirror)]).await;
    bed.becomes(north, ChildState::Disconnected).await;
    bed.children.forget(forget("north", false)).await.unwrap();
    assert!(bed.get("theirs").await.is_err());
    assert!(bed.get("web").await.is_ok());
}

#[tokio::test]
async fn forgetting_takes_an_operator() {
    let rest = ForgetRequest::default();
    let error = Forget::parse(&as_role(Role::Deployer), String::new(), &rest, "a1", true);
    assert_eq!(error.unwrap_err().reason(), "ROLE_TOO_LOW");
}

#[tokio::test]
async fn a_watch_tells_what_is_and_what_becomes_of_it() {
    let bed = Bed::root();
    let north = bed.child("north", 1).await;
    let mut watch = Box::pin(bed.children.watch(&who(), "").await.unwrap());
    let mut next = async || watch.next().await.unwrap().unwrap();
    let is = |change: &ChildChange, state: ChildState| matches!(change, ChildChange::Is(view) if view.child.state == state);
    assert!(is(&next().await.1, ChildState::Ready));
    let (token, change) = next().await;
    assert_eq!(change, ChildChange::Bookmark);
    bed.becomes(north, ChildState::Suspect).await;
    assert!(is(&next().await.1, ChildState::Suspect));
    bed.children.forget(forget("north", false)).await.unwrap();
    assert_eq!(next().await.1, ChildChange::Gone(north));

    let mut resumed = Box::pin(bed.children.watch(&who(), &token).await.unwrap());
    let (_, change) = resumed.next().await.unwrap().unwrap();
    assert_eq!(
        change,
        ChildChange::Gone(north),
        "only what it is now is told"
    );
}

#[tokio::test]
async fn a_stop_that_a_departed_child_never_confirms_is_shown_until_it_is_forgotten() {
    let bed = Bed::cluster();
    let worker = bed.child("w1", 4).await;
    bed.applied(web(1)).await;
    bed.settle().await;
    bed.write(
        bed.assignments()
            .await
            .into_iter()
            .map(|assignment| Write::PutAssignment {
                assignment: Assignment {
                    desired: Desired::Stop,
                    generation: assignment.generation + 1,
                    ..assignment
                },
                ordered: true,
            }),
    )
    .await;
    bed.becomes(worker, ChildState::Left).await;
    bed.child("w2", 4).await;
    bed.plan().await;
    let shown = bed.instances().await.remove(0);
    assert_eq!(shown.phase(), v1::InstancePhase::Stopping);
    assert_eq!(shown.reason, "Unconfirmed");
    assert!(shown.message.contains("worker w1"), "{}", shown.message);
    let status = bed.status("web").await;
    assert_eq!(phase(&status), v1::ApplicationPhase::Progressing);
    assert_eq!(status.services[0].running, 0);

    bed.children.forget(forget("w1", false)).await.unwrap();
    bed.settle().await;
    let shown = bed.instances().await.remove(0);
    assert_eq!(
        (shown.worker.as_str(), shown.phase()),
        ("w2", v1::InstancePhase::Running)
    );
}
