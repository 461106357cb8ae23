//! Delete: durable at once, over when every child has acknowledged or was given up.

use edgeio_domain::child::ChildState;
use edgeio_proto::api::v1;
use edgeio_server::status::{Classify, Kind};
use edgeio_store::Store as _;

use crate::support::{Bed, phase, web};

fn bye(force: bool) -> v1::DeleteRequest {
    v1::DeleteRequest {
        name: "web".into(),
        force,
        ..Default::default()
    }
}

#[tokio::test]
async fn a_deletion_waits_for_the_children_by_name_and_frees_the_name() {
    let bed = Bed::cluster();
    bed.child("a2", 1).await;
    bed.child("a1", 1).await;
    let first = bed.applied(web(2)).await;
    bed.settle().await;
    let gone = bed.delete(bye(false)).await.unwrap();
    let application = gone.application.unwrap();
    let status = application.status.unwrap();
    assert_eq!(phase(&status), v1::ApplicationPhase::Deleting);
    assert_eq!(
        (application.version, status.waiting_for),
        (2, vec!["a1".into(), "a2".into()])
    );
    assert!(gone.abandoned.is_empty());

    let again = bed.delete(bye(false)).await.unwrap();
    assert_eq!(
        again.application.unwrap().version,
        2,
        "again it changes nothing"
    );
    let error = bed.apply(web(1)).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.reason()),
        (Kind::FailedPrecondition, "DELETING")
    );
    assert!(
        error
            .to_string()
            .contains("is being deleted; wait for: a1, a2"),
        "{error}"
    );

    bed.settle().await;
    assert_eq!(
        bed.get("web").await.unwrap_err().reason(),
        "APPLICATION_NOT_FOUND"
    );
    let second = bed.applied(web(1)).await;
    assert_ne!(second.uid, first.uid);
    assert_eq!(second.version, 1);
}

#[tokio::test]
async fn by_force_it_gives_up_what_is_not_heard_and_nothing_else() {
    let bed = Bed::cluster();
    let (a1, a2) = (bed.child("a1", 1).await, bed.child("a2", 1).await);
    bed.applied(web(2)).await;
    bed.settle().await;
    bed.becomes(a1, ChildState::Disconnected).await;
    let lost = bed
        .assignments()
        .await
        .into_iter()
        .find(|a| a.child == a1)
        .unwrap();

    let gone = bed.delete(bye(true)).await.unwrap();
    let status = gone.application.unwrap().status.unwrap();
    assert_eq!(status.waiting_for, ["a2"]);
    assert_eq!(gone.abandoned.len(), 1);
    assert_eq!(
        (
            gone.abandoned[0].worker.as_str(),
            gone.abandoned[0].id.clone()
        ),
        ("a1", lost.id.to_string())
    );
    assert!(bed.assignments().await.iter().all(|a| a.child == a2));
    {
        let tx = bed.store.read().await.unwrap();
        assert_eq!(tx.tombstones(&[lost.id.0]).await.unwrap(), [lost.id.0]);
        let told = tx.events(100).await.unwrap();
        let told = told
            .iter()
            .find(|event| event.reason == "Abandoned")
            .unwrap();
        assert!(told.message.contains("a1"), "{told:?}");
    }
    bed.settle().await;
    assert_eq!(bed.count().await, 0);
}

#[tokio::test]
async fn what_is_not_there_cannot_be_deleted_and_versions_are_kept() {
    let bed = Bed::root();
    assert_eq!(
        bed.delete(bye(false)).await.unwrap_err().kind(),
        Kind::NotFound
    );
    bed.applied(web(1)).await;
    let wrong = v1::DeleteRequest {
        expected_version: 9,
        ..bye(false)
    };
    assert_eq!(
        bed.delete(wrong).await.unwrap_err().reason(),
        "VERSION_MISMATCH"
    );
    let bad = v1::DeleteRequest {
        name: "No".into(),
        ..Default::default()
    };
    assert_eq!(bed.delete(bad).await.unwrap_err().fields()[0].path, "name");
}
