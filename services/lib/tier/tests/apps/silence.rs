//! An operator's word about silent children, and what is shown of copies that cannot be heard.

use edgeio_domain::{
    child::{Child, ChildState, EXCLUSIVE_LEASE, Replace},
    ids::AttachId,
    lifecycle::Phase,
    records::Desired,
};
use edgeio_proto::{
    api::v1::{self, Reachability},
    cluster::v1::{FenceRequest, ReleaseRequest},
};
use edgeio_server::{
    auth::Role,
    status::{Classify, Kind},
};
use edgeio_store::{Store as _, Write};
use edgeio_tier::apps::{AppError, children::Verdict};

use crate::support::{Bed, as_role, manifest, service, web, who};

fn release(worker: &str, request_id: &str) -> Verdict {
    let rest = ReleaseRequest {
        worker: worker.to_owned(),
        request_id: String::new(),
    };
    Verdict::release(&who(), request_id.to_owned(), &rest, worker).unwrap()
}

fn fence(worker: &str, request_id: &str) -> Verdict {
    let rest = FenceRequest {
        worker: worker.to_owned(),
        request_id: String::new(),
    };
    Verdict::fence(&who(), request_id.to_owned(), &rest, worker).unwrap()
}

#[tokio::test]
async fn only_an_operator_judges_and_only_who_is_silent_is_judged() {
    let bed = Bed::cluster();
    let a1 = bed.child("a1", 2).await;
    let rest = ReleaseRequest::default();
    let refused = Verdict::release(&as_role(Role::Deployer), String::new(), &rest, "a1");
    assert!(matches!(refused, Err(AppError::Role { .. })));
    for state in [
        ChildState::Ready,
        ChildState::Returning,
        ChildState::Registered,
        ChildState::Left,
    ] {
        bed.becomes(a1, state).await;
        for verdict in [release("a1", ""), fence("a1", "")] {
            let error = bed.children.judge(verdict).await.unwrap_err();
            assert_eq!(
                (error.kind(), error.reason()),
                (Kind::FailedPrecondition, "NOT_SILENT"),
                "{state:?}"
            );
        }
    }
    let error = bed.children.judge(fence("x", "")).await.unwrap_err();
    assert_eq!(error.reason(), "WORKER_NOT_FOUND");
}

#[tokio::test]
async fn what_was_released_is_replaced_and_shown_as_the_copy_that_is_heard() {
    let bed = Bed::cluster();
    let a1 = bed.child("a1", 2).await;
    bed.applied(web(1)).await;
    bed.settle().await;
    bed.becomes(a1, ChildState::Disconnected).await;
    bed.plan().await;
    assert_eq!(bed.assignments().await.len(), 1);
    let (view, _) = bed.children.judge(release("a1", "r")).await.unwrap();
    assert_eq!(view.child.replace, Replace::Released);
    // There is no place: that is shown beside what is not heard.
    bed.plan().await;
    let shown = bed.instances().await.remove(0);
    assert_eq!(shown.reachability(), Reachability::Unreachable);
    assert_eq!(shown.candidates[0].candidate, "worker a1");
    bed.child("a2", 2).await;
    bed.settle().await;
    let shown = bed.instances().await;
    assert_eq!(shown.len(), 1, "one row a replica: {shown:?}");
    assert_eq!(
        (shown[0].worker.as_str(), shown[0].reachability()),
        ("a2", Reachability::Reachable)
    );
    assert!(shown[0].message.contains("worker a1"), "{shown:?}");
    let status = bed.status("web").await;
    assert_eq!(
        (status.services[0].running, status.services[0].unreachable),
        (1, 0)
    );
    let revision = bed.revision().await;
    let (again, _) = bed.children.judge(release("a1", "r")).await.unwrap();
    assert_eq!(again.child.replace, Replace::Released);
    assert_eq!(
        bed.revision().await,
        revision,
        "a repeated request has one effect"
    );
}

#[tokio::test]
async fn a_fence_ends_the_session_and_says_how_much_is_given_up() {
    let bed = Bed::cluster();
    let a1 = bed.child("a1", 2).await;
    bed.applied(web(2)).await;
    bed.settle().await;
    bed.becomes(a1, ChildState::Suspect).await;
    let before = bed.children.get(&who(), "a1").await.unwrap().child;
    let (view, given_up) = bed.children.judge(fence("a1", "f")).await.unwrap();
    assert_eq!(given_up, 2);
    assert_eq!(
        (view.child.state, view.child.replace),
        (ChildState::Lost, Replace::Fenced)
    );
    assert!(view.child.session_epoch > before.session_epoch);
    assert_eq!(view.child.attach, AttachId::default());
    let meta = bed.store.read().await.unwrap().meta().await.unwrap();
    assert_eq!(meta.session_epoch, view.child.session_epoch);
    bed.child("a2", 2).await;
    bed.plan().await;
    let orders = bed.assignments().await;
    let stopped = orders.iter().filter(|a| a.child == a1);
    assert!(stopped.clone().count() == 2 && stopped.clone().all(|a| a.desired == Desired::Stop));
    // Evidence or an operator that comes later takes nothing back.
    let (view, _) = bed.children.judge(release("a1", "")).await.unwrap();
    assert_eq!(view.child.replace, Replace::Fenced);
    let (_, given_up) = bed.children.judge(fence("a1", "f")).await.unwrap();
    assert_eq!(given_up, 2, "the answer that was given before");
}

#[tokio::test]
async fn an_exclusive_service_that_would_outlive_its_replacement_is_refused() {
    let bed = Bed::cluster();
    bed.apply(exclusive("60s")).await.unwrap();
    // 196 s, a quarter of it, 10 s of grace and 45 s of lease are 300 s.
    bed.apply(exclusive("196s")).await.unwrap();
    let error = bed.apply(exclusive("197s")).await.unwrap_err();
    let fields = error.fields();
    assert_eq!(
        fields[0].path,
        "application.services[0].disconnect.stop_after"
    );
    assert!(fields[0].message.contains("replace_after"), "{fields:?}");
}

fn exclusive(stop_after: &str) -> v1::ApplyRequest {
    let disconnect = v1::DisconnectSpec {
        mode: "exclusive".into(),
        stop_after: stop_after.into(),
        ..Default::default()
    };
    let service = v1::ServiceSpec {
        disconnect: Some(disconnect),
        ..service("one", None)
    };
    manifest("db", vec![service])
}

#[tokio::test]
async fn an_exclusive_service_waits_for_a_worker_that_would_stop_it() {
    let bed = Bed::cluster();
    let a1 = bed.child("a1", 8).await;
    bed.apply(exclusive("60s")).await.unwrap();
    bed.applied(web(1)).await;
    bed.settle().await;
    assert_eq!(
        bed.assignments().await.len(),
        1,
        "only what is not exclusive"
    );
    let shown = bed.instances().await;
    let waits = shown.iter().find(|i| i.application == "db").unwrap();
    let reasons = &waits.candidates[0].reasons;
    assert!(
        reasons.len() == 1 && reasons[0].contains("exclusive service"),
        "{waits:?}"
    );
    // It was upgraded.
    let before = bed.store.read().await.unwrap().child(a1).await.unwrap();
    let newer = Child {
        features: Some([EXCLUSIVE_LEASE.to_owned()].into()),
        ..before.unwrap()
    };
    bed.write([Write::PutChild(newer)]).await;
    bed.settle().await;
    assert_eq!(bed.assignments().await.len(), 2);
}

#[tokio::test]
async fn what_a_cluster_cannot_hear_is_unreachable_at_the_root() {
    let bed = Bed::root();
    bed.child("north", 9).await;
    bed.applied(web(1)).await;
    bed.settle().await;
    bed.observe(|a| {
        a.observed.phase = Phase::Running;
        a.observed.unreachable = true;
    })
    .await;
    let shown = bed.instances().await.remove(0);
    assert_eq!(shown.reachability(), Reachability::Unreachable);
    assert_eq!(bed.status("web").await.services[0].unreachable, 1);
}
