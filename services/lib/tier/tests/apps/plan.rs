//! `validate_only`: the plan, with places, and nothing stored.

use edgeio_proto::api::v1::{self, PlanAction};

use crate::support::{Bed, manifest, service, web};

fn dry(request: v1::ApplyRequest) -> v1::ApplyRequest {
    v1::ApplyRequest {
        validate_only: true,
        ..request
    }
}

/// (action, service, ordinal, child) of each step.
fn steps(answer: &v1::ApplyResponse) -> Vec<(PlanAction, &str, u32, &str)> {
    let step = |step: &'_ v1::PlanStep| PlanAction::try_from(step.action).unwrap();
    answer
        .plan
        .iter()
        .map(|s| (step(s), s.service.as_str(), s.ordinal, s.child.as_str()))
        .collect()
}

#[tokio::test]
async fn a_new_application_is_placed_as_a_thought() {
    let bed = Bed::cluster();
    bed.child("a1", 1).await;
    let revision = bed.revision().await;
    let answer = bed.apply(dry(web(2))).await.unwrap();
    assert_eq!(
        steps(&answer),
        [
            (PlanAction::Create, "front", 0, "a1"),
            (PlanAction::Create, "front", 1, "")
        ]
    );
    let reasons = &answer.plan[1].candidates;
    assert_eq!(reasons[0].candidate, "worker a1");
    assert!(!reasons[0].reasons.is_empty());
    let application = answer.application.unwrap();
    assert_eq!((application.version, application.uid.as_str()), (1, ""));
    assert_eq!((bed.revision().await, bed.count().await), (revision, 0));
}

#[tokio::test]
async fn a_change_keeps_replaces_creates_and_stops() {
    let bed = Bed::cluster();
    bed.child("a1", 20).await;
    let before = vec![
        service("front", Some(2)),
        service("back", Some(2)),
        service("old", Some(1)),
    ];
    bed.applied(manifest("web", before)).await;
    bed.settle().await;
    let mut back = service("back", Some(1));
    back.args = vec!["-v".into()];
    let after = vec![service("front", Some(3)), back];
    let answer = bed
        .apply(dry(manifest("web", after.clone())))
        .await
        .unwrap();
    assert_eq!(
        steps(&answer),
        [
            (PlanAction::Keep, "front", 0, "a1"),
            (PlanAction::Keep, "front", 1, "a1"),
            (PlanAction::Create, "front", 2, "a1"),
            (PlanAction::Replace, "back", 0, "a1"),
            (PlanAction::Stop, "back", 1, "a1"),
            (PlanAction::Stop, "old", 0, "a1"),
        ]
    );
    assert_eq!(answer.application.unwrap().version, 2);
    assert_eq!(bed.get("web").await.unwrap().version, 1);

    // What was foretold comes true, and then there is nothing but keeping.
    bed.applied(manifest("web", after.clone())).await;
    bed.settle().await;
    let answer = bed.apply(dry(manifest("web", after))).await.unwrap();
    assert!(steps(&answer).iter().all(|step| step.0 == PlanAction::Keep));
    assert_eq!(answer.plan.len(), 4);
}
