//! Messages to payloads and back, with every check that a payload from outside must pass.
//!
//! Pure, so that the hostile cases are tested without a broker. The worker's id comes from the subject; a payload
//! that claims another one is refused.

use bytes::Bytes;
use edgeio_proto::link::v1::{ChildMessage, ParentMessage, child_message};
use uuid::Uuid;

use super::{FromWorker, MAX_PAYLOAD, Malformed, PublishError};
use crate::subject::{Channel, Subject};

/// The payload of a message for `subject`.
pub(super) fn encode<M: prost::Message>(
    message: &M,
    subject: &Subject,
) -> Result<Bytes, PublishError> {
    within_limit(message.encoded_len(), subject)?;
    Ok(message.encode_to_vec().into())
}

/// Refuses what is too large for `subject`.
pub(super) fn within_limit(size: usize, subject: &Subject) -> Result<(), PublishError> {
    if size > MAX_PAYLOAD {
        return Err(PublishError::TooLarge {
            subject: subject.to_string(),
            size,
        });
    }
    Ok(())
}

/// Where a worker publishes `message`: samples apart, so that they never delay a report.
pub(super) fn channel_of(message: &ChildMessage) -> Channel {
    match message.message {
        Some(child_message::Message::Telemetry(_)) => Channel::Telemetry,
        Some(child_message::Message::Hello(_) | child_message::Message::Report(_)) | None => {
            Channel::Report
        }
    }
}

/// What a worker of `cluster` said. It is read to be checked, and passed on as it came: what a newer worker put in, a newer
/// cluster understands. So is a message of a kind that is not known here.
///
/// # Errors
/// It is no message of one of its workers, by its form, its size, its subject or its sender.
pub fn decode_up(cluster: Uuid, subject: &str, payload: &Bytes) -> Result<FromWorker, Malformed> {
    let subject = subject.parse::<Subject>()?;
    let message: ChildMessage = decode(payload)?;
    if payload.is_empty() {
        return Err(Malformed::Empty);
    }
    let sample = match subject.channel {
        Channel::Report => false,
        Channel::Telemetry => true,
        Channel::Control | Channel::Stream { .. } => return Err(Malformed::Misplaced),
    };
    let known = message.message.is_some();
    if subject.cluster != cluster || (known && subject.channel != channel_of(&message)) {
        return Err(Malformed::Misplaced);
    }
    if let Some(child_message::Message::Hello(hello)) = message.message
        && hello.child_id != subject.worker.to_string()
    {
        return Err(Malformed::Foreign {
            claimed: hello.child_id.chars().take(36).collect(),
        });
    }
    Ok(FromWorker {
        worker: subject.worker,
        sample,
        payload: payload.clone(),
    })
}

/// What the cluster said to this worker.
///
/// # Errors
/// It is no message, or too large.
pub fn decode_down(payload: &[u8]) -> Result<ParentMessage, Malformed> {
    let message: ParentMessage = decode(payload)?;
    if message.message.is_none() {
        return Err(Malformed::Empty);
    }
    Ok(message)
}

fn decode<M: prost::Message + Default>(payload: &[u8]) -> Result<M, Malformed> {
    if payload.len() > MAX_PAYLOAD {
        return Err(Malformed::TooLarge {
            size: payload.len(),
        });
    }
    M::decode(payload).map_err(Malformed::Undecodable)
}

#[cfg(test)]
mod tests {
    use edgeio_proto::link::v1::{Hello, Report, Snapshot, Spec, Telemetry, parent_message};
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;

    const CLUSTER: Uuid = Uuid::from_u128(1);
    const WORKER: Uuid = Uuid::from_u128(2);

    fn child(message: child_message::Message) -> ChildMessage {
        ChildMessage {
            message: Some(message),
        }
    }

    fn hello(id: &str) -> ChildMessage {
        child(child_message::Message::Hello(Hello {
            child_id: id.to_owned(),
            ..Hello::default()
        }))
    }

    fn up(subject: Subject, message: &ChildMessage) -> Result<FromWorker, Malformed> {
        decode_up(
            CLUSTER,
            &subject.to_string(),
            &message.encode_to_vec().into(),
        )
    }

    #[test]
    fn each_kind_has_its_channel() {
        let report = child(child_message::Message::Report(Report::default()));
        let telemetry = child(child_message::Message::Telemetry(Telemetry::default()));
        let (reports, samples) = (
            Subject::report(CLUSTER, WORKER),
            Subject::telemetry(CLUSTER, WORKER),
        );
        let taken = |message: &ChildMessage, sample| FromWorker {
            worker: WORKER,
            sample,
            payload: message.encode_to_vec().into(),
        };
        assert_eq!(up(reports, &report), Ok(taken(&report, false)));
        assert_eq!(up(samples, &telemetry), Ok(taken(&telemetry, true)));
        assert_eq!(up(samples, &report), Err(Malformed::Misplaced));
        assert_eq!(up(reports, &telemetry), Err(Malformed::Misplaced));
        assert_eq!(
            up(Subject::control(CLUSTER, WORKER), &report),
            Err(Malformed::Misplaced)
        );
        assert_eq!(
            up(Subject::report(WORKER, WORKER), &report),
            Err(Malformed::Misplaced)
        );
        assert_eq!(
            up(reports, &ChildMessage { message: None }),
            Err(Malformed::Empty)
        );
    }

    #[test]
    fn what_a_newer_worker_says_is_left_as_it_came() {
        let subject = Subject::report(CLUSTER, WORKER).to_string();
        let mut newer = child(child_message::Message::Report(Report::default())).encode_to_vec();
        // Field 1000, varint 5; and a message of a kind 1001 that is not known here.
        newer.extend([0xc0, 0x3e, 0x05]);
        let other_kind = vec![0xca, 0x3e, 0x02, 0x08, 0x01];
        for payload in [newer, other_kind] {
            let payload = Bytes::from(payload);
            let taken = decode_up(CLUSTER, &subject, &payload).expect("it is a message");
            assert_eq!(taken.payload, payload);
        }
    }

    #[test]
    fn a_hello_speaks_for_its_own_worker_only() {
        let subject = Subject::report(CLUSTER, WORKER);
        assert!(up(subject, &hello(&WORKER.to_string())).is_ok());
        for claimed in [CLUSTER.to_string(), String::new(), "x".repeat(1000)] {
            let refused = up(subject, &hello(&claimed));
            assert!(
                matches!(refused, Err(Malformed::Foreign { .. })),
                "{refused:?}"
            );
        }
    }

    #[test]
    fn the_limit_is_exact_on_both_sides() {
        let snapshot = |bytes: usize| ParentMessage {
            session_epoch: 1,
            message: Some(parent_message::Message::Snapshot(Snapshot {
                specs: vec![Spec {
                    hash: Vec::new(),
                    body: vec![0; bytes],
                }],
                ..Snapshot::default()
            })),
        };
        let overhead = snapshot(MAX_PAYLOAD - 100).encoded_len() - (MAX_PAYLOAD - 100);
        let subject = Subject::control(CLUSTER, WORKER);
        let largest = snapshot(MAX_PAYLOAD - overhead);
        let payload = encode(&largest, &subject).expect("the largest message");
        assert_eq!(payload.len(), MAX_PAYLOAD);
        assert_eq!(decode_down(&payload), Ok(largest));
        let refused = encode(&snapshot(MAX_PAYLOAD - overhead + 1), &subject);
        assert!(
            matches!(refused, Err(PublishError::TooLarge { size, .. }) if size == MAX_PAYLOAD + 1),
            "{refused:?}"
        );
        let arrived = decode_down(&[0; MAX_PAYLOAD + 1]);
        assert_eq!(
            arrived,
            Err(Malformed::TooLarge {
                size: MAX_PAYLOAD + 1
            })
        );
    }

    proptest! {
        #[test]
        fn no_payload_panics(payload in proptest::collection::vec(any::<u8>(), 0..300)) {
            let subject = Subject::report(CLUSTER, WORKER).to_string();
            let payload = Bytes::from(payload);
            if let Ok(taken) = decode_up(CLUSTER, &subject, &payload) {
                prop_assert_eq!(taken.worker, WORKER);
                prop_assert_eq!(&taken.payload, &payload);
            }
            if let Ok(taken) = decode_down(&payload) {
                prop_assert!(taken.message.is_some());
            }
        }
    }
}
