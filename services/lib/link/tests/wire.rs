//! What comes over the wire: what was written is read back, and whatever else comes is refused by name and never a panic.

use edgeio_domain::{
    child::{Accepted, Bucket, Capacity},
    ids::{AssignmentId, AttachId, Lineage, SlotId, SpecHash},
    lifecycle::Phase,
    node::{Entry, Order, Rejection, RejectionReason, Status},
    records::{CandidateReasons, Desired, Incarnation},
    resources::Resources,
    time::Time,
};
use edgeio_link::{
    chunk::{self, Assembly, CHUNK_BYTES},
    convert, spec,
};
use edgeio_proto::{api, link::v1};
use proptest::prelude::*;
use prost::Message;
use uuid::Uuid;

fn uuid() -> impl Strategy<Value = Uuid> {
    any::<u128>().prop_map(Uuid::from_u128)
}

fn resources() -> impl Strategy<Value = Resources> {
    (0..i64::MAX, 0..i64::MAX).prop_map(|(cpu_millis, memory_bytes)| Resources {
        cpu_millis,
        memory_bytes,
    })
}

fn bucket() -> impl Strategy<Value = Bucket> {
    let kind = (".*", prop::collection::vec(".*", 0..3), any::<u32>());
    (kind, resources(), resources()).prop_map(
        |((architecture, runtimes, workers), free, largest)| Bucket {
            architecture,
            runtimes,
            workers,
            free,
            largest,
        },
    )
}

fn capacity() -> impl Strategy<Value = Capacity> {
    let buckets = prop::collection::vec(bucket(), 0..4);
    (
        any::<u32>(),
        resources(),
        resources(),
        buckets,
        any::<u64>(),
    )
        .prop_map(
            |(workers, allocatable, free, buckets, includes_revision)| Capacity {
                workers,
                allocatable,
                free,
                buckets,
                includes_revision,
            },
        )
}

fn status() -> impl Strategy<Value = Status> {
    let words = (".*", ".*", ".*", ".*");
    let numbers = (
        any::<Option<i32>>(),
        any::<u32>(),
        prop::option::of(0..1_000_000_i64),
    );
    let rest = (
        prop::sample::select(&Phase::ALL[..]),
        any::<Vec<u8>>(),
        any::<bool>(),
    );
    (words, numbers, rest).prop_map(
        |((reason, message, image_digest, handle), (exit_code, restarts, since), rest)| Status {
            phase: rest.0,
            reason,
            message,
            exit_code,
            restarts,
            running_since: since.map(Time),
            output_tail: rest.1,
            image_digest,
            handle,
            orphan: rest.2,
            ..Status::default()
        },
    )
}

fn order() -> impl Strategy<Value = Order> {
    let desired = prop::sample::select(&[Desired::Run, Desired::Pause, Desired::Stop][..]);
    let words = (".*", ".*", ".*", ".*", ".*", ".*");
    let numbers = (
        0..=convert::MAX_COUNT,
        any::<u32>(),
        any::<u32>(),
        any::<[u8; 32]>(),
    );
    (uuid(), uuid(), desired, words, numbers).prop_map(|(id, slot, desired, words, numbers)| {
        Order {
            id: AssignmentId(id),
            slot: SlotId(slot),
            generation: numbers.0,
            desired,
            restart_count: numbers.1,
            spec_hash: SpecHash(numbers.3),
            image_digest: words.0,
            namespace: words.1,
            application: words.2,
            application_uid: words.3,
            service: words.4,
            ordinal: numbers.2,
            owner: words.5,
        }
    })
}

fn assignment(order: &Order) -> v1::Assignment {
    v1::Assignment {
        id: order.id.to_string(),
        slot_id: order.slot.to_string(),
        generation: order.generation,
        desired: convert::desired_to_wire(order.desired).into(),
        restart_count: order.restart_count,
        spec_hash: order.spec_hash.0.to_vec(),
        image_digest: order.image_digest.clone(),
        namespace: order.namespace.clone(),
        application: order.application.clone(),
        application_uid: order.application_uid.clone(),
        service: order.service.clone(),
        ordinal: order.ordinal,
        recorded: None,
        owner: order.owner.clone(),
    }
}

/// Bytes as another version, or nobody, could have sent them: those of a message with some changed.
fn damaged(message: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let places = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8);
    places.prop_map(move |places| {
        let mut bytes = message.clone();
        for (place, byte) in places {
            if !bytes.is_empty() {
                let at = place.index(bytes.len());
                bytes[at] = byte;
            }
        }
        bytes
    })
}

/// Everything that is read from a report.
fn read(report: &v1::InstanceReport) {
    let _ = convert::observed_from_wire(report, Time(0));
    let _ = convert::id::<AssignmentId>("id", &report.id);
    let _ = convert::spec_hash(&report.spec_hash);
    let _ = convert::desired_from_wire(report.desired);
}

proptest! {
    #[test]
    fn a_capacity_is_read_as_it_was_written(capacity in capacity()) {
        let wire = convert::capacity_to_wire(&capacity);
        let read = v1::Capacity::decode(wire.encode_to_vec().as_slice()).unwrap();
        prop_assert_eq!(convert::capacity_from_wire(&read), capacity);
    }

    #[test]
    fn amounts_below_nothing_are_nothing(cpu_millis: i64, memory_bytes: i64) {
        let wire = v1::Resources { cpu_millis, memory_bytes };
        let read = convert::resources_from_wire(Some(&wire));
        prop_assert_eq!(read.cpu_millis, cpu_millis.max(0));
        prop_assert_eq!(read.memory_bytes, memory_bytes.max(0));
    }

    #[test]
    fn a_point_is_read_as_it_was_written(lineage in uuid(), issuer_epoch in 0..=convert::MAX_COUNT, revision in 0..=convert::MAX_COUNT) {
        let point = Accepted { lineage: Lineage(lineage), issuer_epoch, revision };
        prop_assert_eq!(convert::accepted_from_wire(&convert::accepted_to_wire(&point)), Ok(point));
    }

    #[test]
    fn an_order_is_read_as_it_was_written(order in order()) {
        prop_assert_eq!(convert::order_from_wire(&assignment(&order)), Ok(order));
    }

    #[test]
    fn a_state_is_read_as_it_was_told(order in order(), status in status(), now in 1_000_000..2_000_000_i64) {
        let told = convert::report_of_status(&Entry { order: order.clone(), status: status.clone() }, Time(now));
        let bytes = told.encode_to_vec();
        let read = v1::InstanceReport::decode(bytes.as_slice()).unwrap();
        let seen = convert::observed_from_wire(&read, Time(now)).unwrap();
        prop_assert_eq!((seen.generation, seen.restart_count), (order.generation, order.restart_count));
        prop_assert_eq!((seen.phase, seen.restarts), (status.phase, status.restarts));
        prop_assert_eq!((seen.reason, seen.message), (status.reason, status.message));
        prop_assert_eq!((seen.exit_code, seen.running_since), (status.exit_code, status.running_since));
        prop_assert_eq!(seen.output_tail, status.output_tail);
        prop_assert_eq!((seen.image_digest, seen.handle), (status.image_digest, status.handle));
        prop_assert_eq!(convert::desired_from_wire(read.desired), Ok(order.desired));
        prop_assert_eq!(convert::spec_hash(&read.spec_hash), Ok(order.spec_hash));
    }

    #[test]
    fn where_it_lives_and_why_not_are_read_as_they_were_written(
        instance in uuid(), worker in uuid(), name in ".*",
        reasons in prop::collection::vec((".*", prop::collection::vec(".*", 0..3)), 0..4),
    ) {
        let lives = Incarnation {
            instance: AssignmentId(instance),
            worker: edgeio_domain::ids::ChildId(worker),
            worker_name: name,
        };
        let wire = convert::incarnation_to_wire(&lives);
        prop_assert_eq!(convert::incarnation_from_wire(&wire), Ok(lives));
        let candidates: Vec<CandidateReasons> = reasons
            .into_iter()
            .map(|(candidate, reasons)| CandidateReasons { candidate, reasons })
            .collect();
        let wire = convert::candidates_to_wire(&candidates);
        prop_assert_eq!(convert::candidates_from_wire(&wire), candidates);
    }

    #[test]
    fn damaged_messages_are_refused_and_nothing_panics(
        bytes in (order(), status()).prop_flat_map(|(order, status)| {
            let entry = Entry { order, status };
            damaged(convert::report_of_status(&entry, Time(0)).encode_to_vec())
        }),
        noise: Vec<u8>,
    ) {
        for bytes in [&bytes, &noise] {
            if let Ok(report) = v1::InstanceReport::decode(bytes.as_slice()) {
                read(&report);
            }
            if let Ok(assignment) = v1::Assignment::decode(bytes.as_slice()) {
                let _ = convert::order_from_wire(&assignment);
            }
            if let Ok(capacity) = v1::Capacity::decode(bytes.as_slice()) {
                let _ = convert::capacity_from_wire(&capacity);
            }
            if let Ok(accepted) = v1::Accepted::decode(bytes.as_slice()) {
                let _ = convert::accepted_from_wire(&accepted);
            }
            let _ = spec::decode(bytes);
            let _ = spec::message(bytes);
            let _ = convert::digest(bytes);
        }
    }

    #[test]
    fn an_unknown_number_is_an_error_and_no_guess(value: i32) {
        let phase = convert::phase_from_wire(value);
        prop_assert_eq!(phase.is_ok(), (1..=9).contains(&value));
        let desired = convert::desired_from_wire(value);
        prop_assert_eq!(desired.is_ok(), (1..=3).contains(&value));
    }

    #[test]
    fn an_id_that_is_none_is_named_and_shown_in_short(text in ".{0,300}") {
        if let Err(error) = convert::id::<AttachId>("attach_id", &text) {
            prop_assert_eq!(error.field, "attach_id");
            prop_assert!(error.what.chars().count() < 700, "{}", error.what);
        }
    }

    #[test]
    fn a_spec_is_read_as_it_was_written_but_for_its_replicas(
        name in "[a-z]{1,10}", args in prop::collection::vec(".*", 0..4), replicas in any::<Option<u32>>(),
    ) {
        let wish = api::v1::ServiceSpec {
            name,
            args,
            replicas,
            ..Default::default()
        };
        let (hash, body) = spec::encode(&wish);
        prop_assert_eq!(hash, SpecHash::of(&body));
        let read = spec::message(&body).unwrap();
        prop_assert_eq!(read, api::v1::ServiceSpec { replicas: None, ..wish });
    }

    #[test]
    fn parts_fit_hold_whole_entries_and_come_back_in_any_order(
        sizes in prop::collection::vec(0..60_000_usize, 0..40), shuffle: u64,
    ) {
        let entries: Vec<Vec<u8>> = sizes.iter().map(|size| vec![7; *size]).collect();
        let parts = chunk::split(entries.clone());
        for part in &parts {
            let bytes: usize = part.iter().map(|entry| entry.encoded_len() + 6).sum();
            prop_assert!(bytes <= CHUNK_BYTES || part.len() == 1);
        }
        prop_assert_eq!(parts.concat(), entries);
        let count = u32::try_from(parts.len()).unwrap();
        let mut order: Vec<u32> = (0..count).collect();
        order.sort_by_key(|n| shuffle.wrapping_mul(u64::from(*n) + 1).rotate_left(*n));
        let mut assembly = Assembly::default();
        let mut whole = None;
        for (index, chunk) in order.iter().enumerate() {
            prop_assert!(whole.is_none());
            for _ in 0..2 {
                if whole.is_none() {
                    whole = assembly.add(1, *chunk, count, *chunk);
                }
            }
            prop_assert_eq!(whole.is_some(), index + 1 == parts.len());
        }
        prop_assert_eq!(whole, Some((0..count).collect::<Vec<_>>()));
    }
}

#[test]
fn every_refusal_is_told_by_its_own_word() {
    let told = |reason| {
        let status = Status {
            rejection: Some(Rejection {
                reason,
                message: "why".to_owned(),
            }),
            ..Status::default()
        };
        let order = Order {
            id: AssignmentId::default(),
            slot: SlotId::default(),
            generation: 1,
            desired: Desired::Run,
            restart_count: 0,
            spec_hash: SpecHash::default(),
            image_digest: String::new(),
            namespace: String::new(),
            application: String::new(),
            application_uid: String::new(),
            service: String::new(),
            ordinal: 0,
            owner: String::new(),
        };
        let report = convert::report_of_status(&Entry { order, status }, Time(0));
        report.rejection.unwrap()
    };
    for (reason, word) in [
        (RejectionReason::Tombstoned, v1::RejectionReason::Tombstoned),
        (RejectionReason::Unwilling, v1::RejectionReason::Unwilling),
        (
            RejectionReason::Unplaceable,
            v1::RejectionReason::Unplaceable,
        ),
        (
            RejectionReason::Unsupported,
            v1::RejectionReason::Unsupported,
        ),
        (
            RejectionReason::InvalidSpec,
            v1::RejectionReason::InvalidSpec,
        ),
    ] {
        assert_eq!(
            (told(reason).reason(), told(reason).message.as_str()),
            (word, "why")
        );
    }
}
