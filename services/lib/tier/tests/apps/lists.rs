//! Get and the lists: what is shown of slots and assignments, and pages.

use edgeio_domain::{
    child::ChildState,
    ids::SlotId,
    lifecycle::Phase,
    records::{Desired, Incarnation},
    time::Time,
};
use edgeio_proto::api::v1::{self, ApplicationPhase, InstancePhase, Reachability};
use edgeio_server::{
    auth::{Binding, Principal, Role},
    status::Classify,
};
use edgeio_store::Write;
use edgeio_tier::apps::List;
use uuid::Uuid;

use crate::support::{Bed, manifest, phase, service, web, who};

#[tokio::test]
async fn pages_of_applications_go_on_where_they_ended() {
    let bed = Bed::root();
    for name in ["c", "a", "b"] {
        bed.applied(manifest(name, vec![service("s", None)])).await;
    }
    let mut other = manifest("z", vec![service("s", None)]);
    other.application.as_mut().unwrap().namespace = "aside".into();
    bed.applied(other).await;

    let mut seen = Vec::new();
    let mut request = v1::ListRequest {
        page_size: 2,
        ..Default::default()
    };
    let mut pages = 0;
    loop {
        let page = bed.list(request.clone()).await.unwrap();
        pages += 1;
        assert!(page.applications.len() <= 2);
        seen.extend(
            page.applications
                .into_iter()
                .map(|a| format!("{}/{}", a.namespace, a.name)),
        );
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!(seen, ["aside/z", "default/a", "default/b", "default/c"]);
    assert_eq!(pages, 2);

    let error = bed
        .list(v1::ListRequest {
            page_size: 1001,
            ..Default::default()
        })
        .await
        .unwrap_err();
    assert_eq!(error.fields()[0].path, "page_size");
    let error = bed
        .list(v1::ListRequest {
            page_token: "x".into(),
            ..Default::default()
        })
        .await
        .unwrap_err();
    assert_eq!(error.fields()[0].path, "page_token");

    let bound = Principal {
        bindings: vec![Binding::within("aside", Role::Viewer)],
        ..who()
    };
    let command = List::parse(&bound, &v1::ListRequest::default()).unwrap();
    let all = bed.apps.list(command).await.unwrap().applications;
    assert_eq!(all.len(), 1, "a caller sees its own namespace only");
}

#[tokio::test]
async fn what_fits_nowhere_is_pending_with_reasons() {
    let bed = Bed::cluster();
    bed.child("a1", 1).await;
    bed.applied(web(2)).await;
    let early = bed.status("web").await;
    assert_eq!(
        phase(&early),
        ApplicationPhase::Progressing,
        "nobody has looked yet"
    );
    bed.settle().await;
    let instances = bed.instances().await;
    let (placed, pending) = (&instances[0], &instances[1]);
    assert_eq!(placed.phase(), InstancePhase::Running);
    assert_eq!(
        (placed.worker.as_str(), placed.cluster.as_str()),
        ("a1", "")
    );
    assert_eq!(placed.id, bed.assignments().await[0].id.to_string());
    assert_eq!(
        (pending.phase(), pending.ordinal),
        (InstancePhase::Pending, 1)
    );
    assert_eq!(
        (pending.id.as_str(), pending.reason.as_str()),
        ("", "NoPlace")
    );
    assert_eq!(pending.candidates[0].candidate, "worker a1");
    let status = bed.status("web").await;
    assert_eq!(phase(&status), ApplicationPhase::Degraded);
    assert_eq!(
        (status.services[0].running, status.services[0].pending),
        (1, 1)
    );
}

#[tokio::test]
async fn a_silent_child_leaves_the_phase_and_makes_it_unreachable() {
    let bed = Bed::cluster();
    let child = bed.child("a1", 1).await;
    bed.applied(web(1)).await;
    bed.settle().await;
    for state in [
        ChildState::Suspect,
        ChildState::Disconnected,
        ChildState::Left,
    ] {
        bed.becomes(child, state).await;
        let instance = &bed.instances().await[0];
        assert_eq!(
            instance.reachability(),
            Reachability::Unreachable,
            "{state:?}"
        );
        assert_eq!(instance.phase(), InstancePhase::Running);
    }
    bed.becomes(child, ChildState::Returning).await;
    assert_eq!(
        bed.instances().await[0].reachability(),
        Reachability::Reachable
    );
}

#[tokio::test]
async fn at_the_root_the_reported_phase_and_place_are_shown() {
    let bed = Bed::root();
    bed.child("north", 4).await;
    bed.applied(web(1)).await;
    bed.plan().await;
    let instance = bed.instances().await.remove(0);
    assert_eq!(
        instance.phase(),
        InstancePhase::Scheduled,
        "nobody has answered"
    );
    assert_eq!(
        (instance.cluster.as_str(), instance.id.as_str()),
        ("north", "")
    );

    bed.observe(|assignment| {
        assignment.observed.generation = 1;
        assignment.observed.phase = Phase::Running;
        assignment.observed.restarts = 2;
        assignment.observed.running_since = Some(Time(1_700_000_001_500));
        assignment.observed.incarnation = Some(Incarnation {
            instance: edgeio_domain::ids::AssignmentId(Uuid::from_u128(5)),
            worker: edgeio_domain::ids::ChildId(Uuid::from_u128(6)),
            worker_name: "n1".into(),
        });
    })
    .await;
    let instance = bed.instances().await.remove(0);
    assert_eq!(instance.phase(), InstancePhase::Running);
    assert_eq!((instance.worker.as_str(), instance.restarts), ("n1", 2));
    assert_eq!(instance.id, Uuid::from_u128(5).to_string());
    let since = instance.running_since.unwrap();
    assert_eq!((since.seconds, since.nanos), (1_700_000_001, 500_000_000));

    bed.observe(|assignment| {
        assignment.observed.phase = Phase::Pending;
        assignment.observed.incarnation = None;
    })
    .await;
    let status = bed.status("web").await;
    assert_eq!(
        bed.instances().await[0].phase(),
        InstancePhase::Pending,
        "the cluster says so"
    );
    assert_eq!(phase(&status), ApplicationPhase::Degraded);
}

#[tokio::test]
async fn a_status_counts_each_replica_once() {
    let bed = Bed::cluster();
    bed.child("a1", 9).await;
    bed.applied(web(4)).await;
    bed.plan().await;
    bed.observe(|assignment| {
        assignment.observed.generation = 1;
        assignment.observed.phase = match assignment.ordinal {
            0 => Phase::Running,
            1 => Phase::Completed,
            2 => Phase::Preparing,
            _ => Phase::Failed,
        };
    })
    .await;
    let status = bed.status("web").await;
    let counts = &status.services[0];
    assert_eq!(
        (
            counts.running,
            counts.completed,
            counts.progressing,
            counts.failed,
            counts.pending
        ),
        (1, 1, 1, 1, 0)
    );
    assert_eq!(phase(&status), ApplicationPhase::Degraded);
    bed.observe(|assignment| {
        if assignment.ordinal > 1 {
            assignment.observed.phase = Phase::Completed;
        }
    })
    .await;
    assert_eq!(phase(&bed.status("web").await), ApplicationPhase::Ready);
}

#[tokio::test]
async fn a_new_spec_is_in_progress_though_the_old_one_runs() {
    let bed = Bed::cluster();
    bed.child("a1", 9).await;
    bed.applied(web(1)).await;
    bed.settle().await;
    let mut next = web(1);
    next.application.as_mut().unwrap().services[0].args = vec!["-v".into()];
    bed.applied(next).await;
    let status = bed.status("web").await;
    assert_eq!(
        (phase(&status), status.services[0].running),
        (ApplicationPhase::Progressing, 1)
    );
    bed.settle().await;
    assert_eq!(phase(&bed.status("web").await), ApplicationPhase::Ready);
}

#[tokio::test]
async fn what_is_held_without_a_slot_is_listed_after_the_slots_across_pages() {
    let bed = Bed::cluster();
    bed.child("a1", 9).await;
    bed.applied(web(2)).await;
    bed.settle().await;
    let known = bed.assignments().await.remove(0);
    let held = (0..2).map(|n| {
        let mut assignment = known.clone();
        assignment.id = edgeio_domain::ids::AssignmentId(Uuid::from_u128(50 + n));
        assignment.slot = SlotId(Uuid::from_u128(60 + n));
        assignment.ordinal = 7 + u32::try_from(n).unwrap();
        assignment.desired = Desired::Hold;
        Write::PutAssignment {
            assignment,
            ordered: true,
        }
    });
    bed.write(held.collect::<Vec<_>>()).await;
    let mut seen = Vec::new();
    let mut request = v1::ListInstancesRequest {
        application: "web".into(),
        page_size: 1,
        ..Default::default()
    };
    loop {
        let page = bed.page(request.clone()).await.unwrap();
        assert!(page.instances.len() <= 1);
        seen.extend(page.instances);
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    let ordinals: Vec<u32> = seen.iter().map(|instance| instance.ordinal).collect();
    assert_eq!(ordinals, [0, 1, 7, 8]);
    assert_eq!((seen[2].reason.as_str(), seen[2].retiring), ("Held", false));
    assert_eq!(seen[2].phase(), InstancePhase::Running);
    let elsewhere = v1::ListInstancesRequest {
        application: "other".into(),
        ..Default::default()
    };
    assert!(bed.page(elsewhere).await.unwrap().instances.is_empty());
    // It is no part of the application's counts.
    assert_eq!(bed.status("web").await.services[0].running, 2);
}
