//! Opening sessions, and what belongs to which.

use edgeio_domain::{child::ChildState, lifecycle::Phase, records::Desired};
use edgeio_proto::link::v1::{self, RefusalReason, parent_message::Message};
use edgeio_store::{Store, Write};

use crate::bed::{
    Bed, Session, acks, asg, asks_for_all, beat, entry, full, only, part, refusals, said, sent,
};

#[tokio::test]
async fn a_repeated_hello_gets_the_same_session_and_another_attempt_a_newer_one() {
    let bed = Bed::new();
    let child = bed.child(1).await;
    let first = bed.open(child, 1, None).await;
    assert_eq!(bed.open(child, 1, None).await.epoch, first.epoch);
    assert!(bed.open(child, 2, None).await.epoch > first.epoch);
}

#[tokio::test]
async fn only_the_newest_session_is_recorded_and_keeps_the_lease() {
    let bed = Bed::new();
    let child = bed.child(1).await;
    bed.order(child, 10, 1, Desired::Run).await;
    let old = bed.attached(child, 1, Vec::new()).await;
    bed.attached(child, 2, Vec::new()).await;
    bed.pass(60).await;
    let running = entry(asg(10), 1, Desired::Run, Phase::Running);
    let outbox = bed.tell(old, part(2, vec![running])).await;
    assert_eq!(refusals(&outbox), [RefusalReason::StaleSession]);
    assert_eq!(outbox[0].1.session_epoch, old.epoch);
    assert_eq!(bed.row(10).await.unwrap().observed.phase, Phase::Scheduled);
    bed.hub.tick().await.unwrap();
    assert_eq!(bed.state(child).await, ChildState::Suspect);
}

#[tokio::test]
async fn a_report_before_the_hello_of_its_batch_is_of_the_session_before() {
    let bed = Bed::new();
    let child = bed.child(1).await;
    let old = bed.attached(child, 1, Vec::new()).await;
    let outbox = bed
        .hear([
            (child, said(old, part(2, Vec::new()))),
            (child, Bed::hello(2, None)),
        ])
        .await;
    let welcomes = only(&outbox, |m| match m {
        Message::Welcome(welcome) => Some(welcome.attach_id.clone()),
        _ => None,
    });
    assert_eq!(welcomes.len(), 1);
    assert_eq!(
        refusals(&outbox),
        [RefusalReason::StaleSession],
        "refused under the old number, which the child does not heed any more"
    );
}

#[tokio::test]
async fn who_is_unknown_registers_and_who_speaks_another_protocol_is_told() {
    let bed = Bed::new();
    let child = bed.child(1).await;
    let stranger = edgeio_domain::ids::ChildId(crate::bed::uuid(9));
    let outbox = bed.say(stranger, Bed::hello(1, None)).await;
    assert_eq!(refusals(&outbox), [RefusalReason::UnknownChild]);
    let session = bed.attached(child, 1, Vec::new()).await;
    let lost = crate::bed::Session {
        child: stranger,
        ..session
    };
    let outbox = bed.tell(lost, part(1, Vec::new())).await;
    assert_eq!(refusals(&outbox), [RefusalReason::UnknownChild]);

    let hello = v1::child_message::Message::Hello(v1::Hello {
        protocol_min: edgeio_link::PROTOCOL + 1,
        protocol_max: edgeio_link::PROTOCOL + 2,
        ..Default::default()
    });
    let outbox = bed.say(child, hello).await;
    assert_eq!(refusals(&outbox), [RefusalReason::Protocol]);
    let told = only(&outbox, |m| match m {
        Message::Refusal(refusal) => Some(refusal.message.clone()),
        _ => None,
    });
    let (ours, theirs) = (edgeio_link::SPOKEN, edgeio_link::PROTOCOL + 1);
    for range in [
        format!("{} to {}", ours.start(), ours.end()),
        format!("{theirs} to {}", theirs + 1),
    ] {
        assert!(told[0].contains(&range), "{told:?} does not name {range}");
    }
    let agreed = bed.hub.agreed(child).await.unwrap();
    assert_eq!(
        agreed.protocol,
        edgeio_link::PROTOCOL,
        "the session before goes on"
    );
}

#[tokio::test]
async fn a_newer_child_gets_the_newest_common_version_and_only_features_that_both_have() {
    let bed = Bed::new();
    let child = bed.child(1).await;
    let Message::Welcome(welcome) = only(
        &bed.say(
            child,
            v1::child_message::Message::Hello(v1::Hello {
                protocol_min: *edgeio_link::SPOKEN.start(),
                protocol_max: edgeio_link::PROTOCOL + 7,
                features: vec!["of-the-future".to_owned()],
                attach_id: crate::bed::uuid(1).to_string(),
                ..Default::default()
            }),
        )
        .await,
        |m| Some(m.clone()),
    )
    .remove(0) else {
        panic!("no welcome");
    };
    assert_eq!(welcome.protocol, edgeio_link::PROTOCOL);
    assert_eq!(welcome.features, Vec::<String>::new());
}

#[tokio::test]
async fn a_state_of_an_unknown_kind_leaves_the_recorded_one_and_deletes_nothing() {
    let bed = Bed::new();
    let child = bed.child(1).await;
    bed.order(child, 10, 1, Desired::Run).await;
    let running = entry(asg(10), 1, Desired::Run, Phase::Running);
    let session = bed.attached(child, 1, vec![running.clone()]).await;
    let strange = v1::InstanceReport {
        phase: 42,
        ..running
    };
    let outbox = bed.tell(session, full(2, vec![strange])).await;
    assert_eq!(acks(&outbox), [2]);
    let row = bed.row(10).await.unwrap();
    assert_eq!(row.observed.phase, Phase::Running);
    assert_eq!(row.desired, Desired::Run);
    assert_eq!(sent(&outbox), [], "nothing new is ordered for it");
}

#[tokio::test]
async fn a_report_that_could_not_be_recorded_is_not_acknowledged_by_the_next_one() {
    let bed = Bed::new();
    let child = bed.child(1).await;
    bed.order(child, 10, 2, Desired::Stop).await;
    let stopping = entry(asg(10), 2, Desired::Stop, Phase::Stopping);
    let session = bed.attached(child, 1, vec![stopping]).await;
    bed.store.on_commit(Some(Box::new(|_| {
        Some(edgeio_store::memory::CommitFault::Before)
    })));
    let stopped = entry(asg(10), 2, Desired::Stop, Phase::Stopped);
    let message = v1::ChildMessage {
        message: Some(said(session, part(2, vec![stopped.clone()]))),
    };
    bed.hub.receive(vec![(child, message)]).await.unwrap_err();
    bed.store.on_commit(None);
    let outbox = bed.tell(session, beat(3, &[])).await;
    assert_eq!(acks(&outbox), [0], "report 2 is not recorded");
    assert!(asks_for_all(&outbox));
    let outbox = bed.tell(session, full(4, vec![stopped])).await;
    assert_eq!(acks(&outbox), [4]);
    assert_eq!(bed.row(10).await, None);
}

#[tokio::test]
async fn a_first_report_that_could_not_be_recorded_leaves_no_child_returning_for_ever() {
    let bed = Bed::new();
    let child = bed.child(1).await;
    let before = crate::bed::Bed::new();
    let mut other = before.point().await;
    other.lineage = edgeio_domain::ids::Lineage(crate::bed::uuid(77));
    let session = bed.open(child, 1, Some(other)).await;
    assert!(session.adopting);
    bed.store.on_commit(Some(Box::new(|_| {
        Some(edgeio_store::memory::CommitFault::Before)
    })));
    let message = v1::ChildMessage {
        message: Some(said(session, full(1, Vec::new()))),
    };
    bed.hub.receive(vec![(child, message)]).await.unwrap_err();
    bed.store.on_commit(None);
    let outbox = bed.tell(session, beat(2, &[])).await;
    assert!(asks_for_all(&outbox));
    bed.tell(session, full(3, Vec::new())).await;
    assert_eq!(bed.state(child).await, ChildState::Ready);
}

#[tokio::test]
async fn a_restart_between_commit_and_answer_asks_for_everything_and_sends_what_is_missing() {
    let bed = Bed::new();
    let child = bed.child(1).await;
    let session = bed.attached(child, 1, Vec::new()).await;
    bed.order(child, 10, 1, Desired::Run).await;
    let bed = bed.restarted();
    assert_eq!(
        bed.hub.push().await.unwrap().len(),
        0,
        "nobody is attached yet"
    );
    let greeted = bed.hub.greet().await.unwrap();
    assert!(asks_for_all(&greeted));
    let outbox = bed.tell(session, full(2, Vec::new())).await;
    assert_eq!(acks(&outbox), [2]);
    assert_eq!(sent(&outbox), [(asg(10).to_string(), 1, v1::Desired::Run)]);
}

#[tokio::test]
async fn who_left_stays_so_until_it_registers_again() {
    let bed = Bed::new();
    let child = bed.child(1).await;
    let session = bed.attached(child, 1, Vec::new()).await;
    let tx = bed.store.read().await.unwrap();
    let mut record = tx.child(child).await.unwrap().unwrap();
    drop(tx);
    record.state = ChildState::Left;
    bed.write([Write::PutChild(record)]).await;
    bed.tell(session, part(2, Vec::new())).await;
    assert_eq!(bed.state(child).await, ChildState::Left);
    bed.attached(child, 2, Vec::new()).await;
    assert_eq!(bed.state(child).await, ChildState::Left);
}

#[tokio::test]
async fn what_was_agreed_on_outlives_the_process_that_agreed() {
    let bed = Bed::new();
    let child = bed.child(1).await;
    let known = edgeio_link::version::feature::EXCLUSIVE_LEASE;
    let mut hello = v1::Hello {
        protocol_min: edgeio_link::PROTOCOL,
        protocol_max: edgeio_link::PROTOCOL,
        features: vec![known.to_owned(), "of-the-future".to_owned()],
        attach_id: crate::bed::uuid(1).to_string(),
        ..Default::default()
    };
    let said = v1::child_message::Message::Hello(hello.clone());
    bed.say(child, said).await;
    let session = Session {
        child,
        epoch: bed.record(child).await.session_epoch,
        adopting: false,
        point: bed.point().await,
    };
    bed.tell(session, part(1, Vec::new())).await;
    let bed = bed.restarted();
    assert_eq!(bed.hub.agreed(child).await, None);
    bed.tell(session, part(2, Vec::new())).await;
    let agreed = bed.hub.agreed(child).await.unwrap();
    assert_eq!(agreed.features, [known.to_owned()].into());

    // A record of a version that did not keep it: the child is asked to say it once more, and says that it has less.
    let before = edgeio_domain::child::Child {
        features: None,
        ..bed.record(child).await
    };
    bed.write([Write::PutChild(before)]).await;
    let outbox = bed.tell(session, part(3, Vec::new())).await;
    assert_eq!(refusals(&outbox), [RefusalReason::StaleSession]);
    hello.attach_id = crate::bed::uuid(2).to_string();
    hello.features.clear();
    bed.say(child, v1::child_message::Message::Hello(hello))
        .await;
    assert_eq!(bed.record(child).await.features, Some([].into()));
    let session = Session {
        epoch: bed.record(child).await.session_epoch,
        ..session
    };
    let outbox = bed.tell(session, part(1, Vec::new())).await;
    assert_eq!((acks(&outbox), refusals(&outbox)), (vec![1], Vec::new()));
}
