//! Leases: silence changes a child's state and nothing else.

use edgeio_domain::{
    child::ChildState::{Disconnected, Ready, Registered, Returning, Suspect},
    lifecycle::Phase,
    records::Desired,
};
use edgeio_store::Write;

use crate::bed::{Bed, asg, beat, entry, part};

#[tokio::test]
async fn when_a_child_was_heard_is_known_at_once_and_written_now_and_then() {
    let bed = Bed::new();
    let child = bed.child(1).await;
    let session = bed.attached(child, 1, Vec::new()).await;
    let attached = bed.now();
    let revision = bed.point().await.revision;
    let mut heard = attached;
    for seq in 2..21 {
        bed.wait(15_000);
        heard = bed.now();
        bed.tell(session, part(seq, Vec::new())).await;
        bed.hub.tick().await.unwrap();
        assert_eq!(bed.hub.heard().of(&bed.record(child).await), heard);
    }
    assert_eq!(
        bed.point().await.revision,
        revision,
        "no heartbeat is a write"
    );
    assert_eq!(bed.record(child).await.last_heard, attached);
    bed.wait(15_000);
    bed.tell(session, part(21, Vec::new())).await;
    bed.hub.tick().await.unwrap();
    let written = bed.record(child).await.last_heard;
    assert_eq!(written, bed.now(), "after five minutes it is");
    assert!(written > heard);
    assert_eq!(bed.point().await.revision, revision + 1);
    let bed = bed.restarted();
    assert_eq!(bed.hub.heard().of(&bed.record(child).await), written);
}

#[tokio::test]
async fn a_silent_child_goes_through_its_states_and_comes_back_by_a_report() {
    let bed = Bed::new();
    let child = bed.child(1).await;
    bed.hub.tick().await.unwrap();
    assert_eq!(bed.state(child).await, Registered);
    bed.order(child, 10, 1, Desired::Run).await;
    let running = entry(asg(10), 1, Desired::Run, Phase::Running);
    let session = bed.attached(child, 1, vec![running.clone()]).await;
    for (millis, state) in [
        (44_000, Ready),
        (1_000, Suspect),
        (44_000, Suspect),
        (1_000, Disconnected),
        (86_400_000, Disconnected),
    ] {
        bed.wait(millis);
        bed.hub.tick().await.unwrap();
        assert_eq!(bed.state(child).await, state);
    }
    bed.plan().await;
    let rows = bed.rows().await;
    assert_eq!(rows.len(), 1, "silence neither stops nor replaces");
    assert_eq!(rows[0].desired, Desired::Run);
    bed.tell(session, beat(2, &[running])).await;
    assert_eq!(bed.state(child).await, Ready);
}

#[tokio::test]
async fn a_hello_alone_is_returning_and_a_restart_grants_every_lease_anew() {
    let bed = Bed::new();
    let child = bed.child(1).await;
    bed.open(child, 1, None).await;
    assert_eq!(bed.state(child).await, Returning);
    bed.wait(44_000);
    let bed = bed.restarted();
    bed.wait(44_000);
    bed.hub.tick().await.unwrap();
    assert_eq!(bed.state(child).await, Returning);
    bed.wait(1_000);
    bed.hub.tick().await.unwrap();
    assert_eq!(bed.state(child).await, Suspect);
}

#[tokio::test]
async fn a_child_that_was_forgotten_is_forgotten_here_too() {
    let bed = Bed::new();
    let child = bed.child(1).await;
    bed.attached(child, 1, Vec::new()).await;
    let sample = edgeio_proto::link::v1::child_message::Message::Telemetry(Default::default());
    bed.say(child, sample).await;
    assert!(bed.hub.telemetry(child).is_some());
    bed.write([Write::DeleteChild(child)]).await;
    bed.hub.tick().await.unwrap();
    assert!(bed.hub.telemetry(child).is_none());
    assert!(bed.hub.greet().await.unwrap().is_empty());
}
