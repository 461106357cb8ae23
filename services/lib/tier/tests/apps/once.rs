//! A request with an id has one effect, however often it comes.

use edgeio_proto::api::v1;
use edgeio_server::{
    auth::Principal,
    status::{Classify, Kind},
};
use edgeio_tier::apps::{Apply, children::Forget};

use crate::support::{Bed, web, who};

fn with_id(id: &str, replicas: u32) -> v1::ApplyRequest {
    v1::ApplyRequest {
        request_id: id.to_owned(),
        ..web(replicas)
    }
}

#[tokio::test]
async fn the_same_request_gets_the_stored_answer() {
    let bed = Bed::root();
    let first = bed.apply(with_id("one", 1)).await.unwrap();
    bed.apply(with_id("two", 5)).await.unwrap();
    let revision = bed.revision().await;
    let again = bed.apply(with_id("one", 1)).await.unwrap();
    assert_eq!(again, first, "answered as it was then");
    assert_eq!(bed.revision().await, revision, "and changed nothing");
    assert_eq!(bed.get("web").await.unwrap().version, 2);
}

#[tokio::test]
async fn another_request_under_the_same_id_is_refused() {
    let bed = Bed::root();
    bed.apply(with_id("one", 1)).await.unwrap();
    let error = bed.apply(with_id("one", 2)).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.reason()),
        (Kind::AlreadyExists, "REQUEST_ID_REUSED")
    );
    let scale = v1::ScaleRequest {
        name: "web".into(),
        replicas: 3,
        request_id: "one".into(),
        ..Default::default()
    };
    assert_eq!(
        bed.scale(scale).await.unwrap_err().reason(),
        "REQUEST_ID_REUSED"
    );
    let bob = Principal {
        id: "bob".into(),
        name: "bob".into(),
        ..who()
    };
    let command = Apply::parse(&bob, with_id("one", 1)).unwrap();
    let error = bed.apps.apply(command).await.unwrap_err();
    assert_eq!(
        error.reason(),
        "REQUEST_ID_REUSED",
        "another caller gets no answer of ann's"
    );
    assert_eq!(bed.get("web").await.unwrap().version, 1);
}

#[tokio::test]
async fn a_refused_request_may_come_again_with_its_id() {
    let bed = Bed::root();
    let early = v1::ScaleRequest {
        name: "web".into(),
        replicas: 3,
        request_id: "one".into(),
        ..Default::default()
    };
    assert_eq!(
        bed.scale(early.clone()).await.unwrap_err().reason(),
        "APPLICATION_NOT_FOUND"
    );
    bed.applied(web(1)).await;
    let answer = bed.scale(early.clone()).await.unwrap();
    assert_eq!(answer.application.unwrap().version, 2);
    assert_eq!(
        bed.scale(early).await.unwrap().application.unwrap().version,
        2
    );
}

#[tokio::test]
async fn a_deletion_and_a_forget_are_answered_again_after_their_object_is_gone() {
    let bed = Bed::root();
    let child = bed.child("north", 4).await;
    bed.applied(web(2)).await;
    bed.settle().await;
    let delete = v1::DeleteRequest {
        name: "web".into(),
        request_id: "bye".into(),
        ..Default::default()
    };
    let answer = bed.delete(delete.clone()).await.unwrap();
    bed.settle().await;
    assert_eq!(bed.count().await, 0);
    assert_eq!(bed.delete(delete).await.unwrap(), answer);

    let forget = || {
        let rest = edgeio_proto::root::v1::ForgetRequest {
            cluster: child.to_string(),
            force: true,
            request_id: String::new(),
        };
        Forget::parse(&who(), "gone".into(), &rest, &rest.cluster, true).unwrap()
    };
    assert_eq!(bed.children.forget(forget()).await.unwrap(), 0);
    assert_eq!(bed.children.forget(forget()).await.unwrap(), 0);
    assert_eq!(
        bed.children
            .get(&who(), "north")
            .await
            .unwrap_err()
            .reason(),
        "CLUSTER_NOT_FOUND"
    );
}
