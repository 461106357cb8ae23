//! What runs though nobody asks for it, and what people decide on it.

use edgeio_domain::{
    ids::{AssignmentId, SlotId},
    records::{AppKey, Assignment, Desired, Owner, Slot, Upstream},
    time::Time,
};
use edgeio_proto::api::v1::{self, HeldDecision, HeldKind};
use edgeio_server::{
    auth::{Binding, Principal, Role},
    status::{Classify, Kind},
};
use edgeio_store::{ApplicationFilter, Namespace, Quota, SlotFilter, Store as _, Write};
use edgeio_tier::apps::{AppError, ListHeld, ResolveHeld};

use crate::support::{Bed, as_role, here, service, web, who};

/// So many replicas of `web` that run, of which nothing but the assignments and the spec is left: they are held.
async fn held(bed: &Bed, replicas: u32) -> Vec<Assignment> {
    bed.applied(web(replicas)).await;
    bed.settle().await;
    let assignments = bed.assignments().await;
    let tx = bed.store.read().await.unwrap();
    let apps = tx
        .applications(&ApplicationFilter::default())
        .await
        .unwrap();
    let slots = tx.slots(&SlotFilter::default()).await.unwrap();
    drop(tx);
    let mut writes: Vec<Write> = apps
        .iter()
        .map(|a| Write::DeleteApplication(a.uid))
        .collect();
    writes.extend(slots.iter().map(|s| Write::DeleteSlot(s.id)));
    writes.extend(
        assignments
            .iter()
            .cloned()
            .map(|assignment| Write::PutAssignment {
                assignment: Assignment {
                    desired: Desired::Hold,
                    order_revision: 0,
                    ..assignment
                },
                ordered: false,
            }),
    );
    bed.write(writes).await;
    bed.plan().await;
    assignments
}

async fn list(bed: &Bed) -> Vec<v1::Held> {
    let command = ListHeld::parse(&who(), &v1::ListHeldRequest::default()).unwrap();
    bed.apps.list_held(command).await.unwrap().held
}

async fn resolve(bed: &Bed, id: &str, decision: HeldDecision) -> Result<v1::Held, AppError> {
    let request = v1::ResolveHeldRequest {
        id: id.to_owned(),
        decision: decision.into(),
        request_id: String::new(),
    };
    let command = ResolveHeld::parse(&who(), request)?;
    let answer = bed.apps.resolve_held(command).await?;
    Ok(answer.held.unwrap())
}

fn orphan(n: u128) -> Slot {
    Slot {
        id: SlotId(uuid::Uuid::from_u128(n)),
        app: AppKey {
            owner: Owner::Root,
            namespace: edgeio_domain::name::Name::new("default").unwrap(),
            name: edgeio_domain::name::Name::new("theirs").unwrap(),
        },
        app_uid: edgeio_domain::ids::AppUid(uuid::Uuid::from_u128(77)),
        service: edgeio_domain::name::Name::new("front").unwrap(),
        ordinal: 0,
        desired: Desired::Run,
        restart_count: 0,
        spec_hash: edgeio_domain::ids::SpecHash([1; 32]),
        demand: edgeio_domain::resources::Resources::default(),
        upstream: Some(Upstream {
            slot: SlotId(uuid::Uuid::from_u128(n + 1)),
            generation: 1,
            recorded: None,
            hold_until: Time(0),
            orphan: true,
            returned: None,
        }),
        refusals: Vec::new(),
        pending: Vec::new(),
        created_at: Time(0),
        revision: 0,
    }
}

#[tokio::test]
async fn one_is_adopted_and_the_others_stay_held() {
    let bed = Bed::root();
    bed.child("a", 8).await;
    let before = held(&bed, 3).await;
    let listed = list(&bed).await;
    assert_eq!(listed.len(), 3);
    assert!(
        listed
            .iter()
            .all(|h| h.kind() == HeldKind::Hold && h.spec_known && h.owner == "root")
    );
    assert_eq!((listed[1].ordinal, listed[1].cluster.as_str()), (1, "a"));
    assert!(listed[0].since.is_some());

    resolve(&bed, &listed[1].id, HeldDecision::Adopt)
        .await
        .unwrap();
    bed.settle().await;
    let app = bed.get("web").await.unwrap();
    let spec = app.spec.unwrap().services.remove(0);
    assert_eq!((spec.name.as_str(), spec.replicas), ("front", Some(1)));
    assert_eq!(spec.command, service("front", None).command);
    let now = bed.assignments().await;
    assert_eq!(now.len(), 3, "nothing was placed beside it");
    let adopted: Vec<AssignmentId> = now
        .iter()
        .filter(|a| a.desired == Desired::Run)
        .map(|a| a.id)
        .collect();
    assert_eq!(adopted, [before[1].id]);
    assert_eq!(list(&bed).await.len(), 2, "nobody decided on these");

    resolve(&bed, &listed[0].id, HeldDecision::Adopt)
        .await
        .unwrap();
    bed.settle().await;
    assert_eq!(bed.status("web").await.services[0].replicas, 2);
    let accepted = resolve(&bed, &listed[2].id, HeldDecision::Accept)
        .await
        .unwrap();
    assert_eq!(accepted.ordinal, 2);
    assert!(list(&bed).await.is_empty());
    bed.settle().await;
    let left: Vec<_> = bed
        .assignments()
        .await
        .iter()
        .map(|a| (a.id, a.desired))
        .collect();
    assert_eq!(
        left,
        [(before[0].id, Desired::Run), (before[1].id, Desired::Run)]
    );
    let error = resolve(&bed, &listed[2].id, HeldDecision::Accept)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
}

#[tokio::test]
async fn what_is_accepted_is_stopped_by_an_order_of_its_own() {
    let bed = Bed::cluster();
    bed.child("w", 8).await;
    let before = held(&bed, 1).await.remove(0);
    let id = list(&bed).await.remove(0).id;
    resolve(&bed, &id, HeldDecision::Accept).await.unwrap();
    let row = bed.assignments().await.remove(0);
    assert_eq!(
        (row.desired, row.generation),
        (Desired::Stop, before.generation + 1)
    );
    assert_eq!(row.order_revision, bed.revision().await, "it is sent");
}

#[tokio::test]
async fn without_its_spec_nothing_can_be_made_of_it() {
    let bed = Bed::root();
    bed.child("a", 8).await;
    held(&bed, 1).await;
    let unknown = edgeio_domain::ids::SpecHash([9; 32]);
    bed.observe(|a| a.spec_hash = unknown).await;
    let listed = list(&bed).await;
    assert!(!listed[0].spec_known);
    let error = resolve(&bed, &listed[0].id, HeldDecision::Adopt)
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.reason()),
        (Kind::FailedPrecondition, "SPEC_UNKNOWN")
    );
    assert_eq!(bed.count().await, 0);
}

#[tokio::test]
async fn what_is_held_is_adopted_within_the_quota() {
    let bed = Bed::root();
    bed.child("a", 8).await;
    held(&bed, 3).await;
    let name = edgeio_domain::name::Name::new("default").unwrap();
    let limited = |instances| {
        Write::PutNamespace(Namespace {
            name: name.clone(),
            quota: Quota {
                instances: Some(instances),
                ..Quota::default()
            },
            created_at: Time(0),
        })
    };
    bed.write([limited(1)]).await;
    let listed = list(&bed).await;
    let adopt = async |n: usize| resolve(&bed, &listed[n].id, HeldDecision::Adopt).await;
    adopt(0).await.unwrap();
    bed.settle().await;
    let over = adopt(1).await.unwrap_err();
    assert_eq!(
        (over.kind(), over.reason()),
        (Kind::Exhausted, "QUOTA_EXCEEDED")
    );
    assert_eq!(list(&bed).await.len(), 2, "nothing was decided");
    bed.write([limited(2)]).await;
    adopt(1).await.unwrap();
}

#[tokio::test]
async fn an_orphan_is_adopted_by_its_owner_only_and_accepted_anywhere() {
    let bed = Bed::cluster();
    bed.write([Write::PutSlot(orphan(40))]).await;
    let listed = list(&bed).await.remove(0);
    assert_eq!(
        (listed.kind(), listed.owner.as_str()),
        (HeldKind::Orphan, "root")
    );
    let error = resolve(&bed, &listed.id, HeldDecision::Adopt)
        .await
        .unwrap_err();
    assert_eq!(error.reason(), "OWNED_ELSEWHERE");
    resolve(&bed, &listed.id, HeldDecision::Accept)
        .await
        .unwrap();
    assert!(list(&bed).await.is_empty());
    let tx = bed.store.read().await.unwrap();
    let slot = tx.slots(&SlotFilter::default()).await.unwrap().remove(0);
    assert_eq!(slot.desired, Desired::Stop);
    assert_ne!(slot.app.owner, Owner::Cluster(here()));
}

#[tokio::test]
async fn pages_and_filters_and_roles_are_kept() {
    let bed = Bed::root();
    bed.child("a", 8).await;
    held(&bed, 3).await;
    let mut request = v1::ListHeldRequest {
        page_size: 2,
        ..Default::default()
    };
    let page = async |request: &v1::ListHeldRequest| {
        let command = ListHeld::parse(&who(), request).unwrap();
        bed.apps.list_held(command).await.unwrap()
    };
    let first = page(&request).await;
    request.page_token = first.next_page_token;
    let second = page(&request).await;
    let ordinals: Vec<u32> = first
        .held
        .iter()
        .chain(&second.held)
        .map(|h| h.ordinal)
        .collect();
    assert_eq!(
        (ordinals, second.next_page_token.as_str()),
        (vec![0, 1, 2], "")
    );
    let of = |namespace: &str, kind: HeldKind| v1::ListHeldRequest {
        namespace: namespace.into(),
        kind: kind.into(),
        ..Default::default()
    };
    assert!(page(&of("other", HeldKind::Hold)).await.held.is_empty());
    assert!(page(&of("", HeldKind::Orphan)).await.held.is_empty());

    let request = v1::ResolveHeldRequest {
        id: second.held[0].id.clone(),
        decision: HeldDecision::Accept.into(),
        request_id: "once".into(),
    };
    let viewer = ResolveHeld::parse(&as_role(Role::Viewer), request.clone());
    assert_eq!(viewer.unwrap_err().reason(), "ROLE_TOO_LOW");
    let bound = Principal {
        bindings: vec![Binding::within("aside", Role::Deployer)],
        ..who()
    };
    let command = ResolveHeld::parse(&bound, request.clone()).unwrap();
    let error = bed.apps.resolve_held(command).await.unwrap_err();
    assert_eq!(error.reason(), "NOT_FOUND");
    for _ in 0..2 {
        let command = ResolveHeld::parse(&who(), request.clone()).unwrap();
        let answer = bed.apps.resolve_held(command).await.unwrap();
        assert_eq!(
            answer.held.unwrap().ordinal,
            2,
            "a repetition gets the same answer"
        );
    }
    let vague = v1::ResolveHeldRequest::default();
    assert_eq!(
        ResolveHeld::parse(&who(), vague)
            .unwrap_err()
            .fields()
            .len(),
        2
    );
}

#[tokio::test]
async fn a_dry_run_keeps_what_would_be_taken_over() {
    let bed = Bed::root();
    bed.child("a", 8).await;
    held(&bed, 3).await;
    let dry = v1::ApplyRequest {
        validate_only: true,
        ..web(2)
    };
    let plan = bed.apply(dry).await.unwrap().plan;
    let steps: Vec<_> = plan
        .iter()
        .map(|step| (step.action(), step.ordinal, step.child.as_str()))
        .collect();
    use v1::PlanAction::{Keep, Stop};
    assert_eq!(steps, [(Keep, 0, "a"), (Keep, 1, "a"), (Stop, 2, "a")]);
}
