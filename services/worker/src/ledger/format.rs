//! Batches as bytes: protobuf, so that a later version can add fields and read what this one wrote. Orders and points have
//! the link's own messages; what the link does not carry has messages here. A number is never given a second meaning.

use edgeio_domain::{
    ids::{AssignmentId, SpecHash},
    node::{Entry, Order, Rejection, RejectionReason, Status},
    time::Time,
};
use edgeio_link::convert;
use edgeio_proto::link::v1;
use prost::Message;
use uuid::Uuid;

use super::{Batch, Renewal};

#[derive(Clone, PartialEq, Message)]
struct BatchRecord {
    #[prost(message, optional, tag = "1")]
    accepted: Option<v1::Accepted>,
    #[prost(message, repeated, tag = "2")]
    put: Vec<EntryRecord>,
    #[prost(bytes = "vec", repeated, tag = "3")]
    remove: Vec<Vec<u8>>,
    #[prost(message, repeated, tag = "4")]
    specs: Vec<v1::Spec>,
    #[prost(bytes = "vec", repeated, tag = "5")]
    drop_specs: Vec<Vec<u8>>,
    #[prost(message, repeated, tag = "6")]
    bury: Vec<TombstoneRecord>,
    #[prost(bytes = "vec", repeated, tag = "7")]
    unbury: Vec<Vec<u8>>,
    #[prost(message, optional, tag = "8")]
    renewal: Option<RenewalRecord>,
}

#[derive(Clone, PartialEq, Message)]
struct RenewalRecord {
    #[prost(string, tag = "1")]
    boot_id: String,
    #[prost(sint64, tag = "2")]
    at: i64,
}

#[derive(Clone, PartialEq, Message)]
struct EntryRecord {
    #[prost(message, optional, tag = "1")]
    order: Option<v1::Assignment>,
    #[prost(enumeration = "v1::Phase", tag = "2")]
    phase: i32,
    #[prost(string, tag = "3")]
    reason: String,
    #[prost(string, tag = "4")]
    message: String,
    #[prost(int32, optional, tag = "5")]
    exit_code: Option<i32>,
    #[prost(uint32, tag = "6")]
    restarts: u32,
    #[prost(uint32, tag = "7")]
    failures: u32,
    #[prost(sint64, optional, tag = "8")]
    running_since: Option<i64>,
    #[prost(sint64, optional, tag = "9")]
    not_before: Option<i64>,
    #[prost(string, tag = "10")]
    image_digest: String,
    #[prost(string, tag = "11")]
    handle: String,
    #[prost(message, optional, tag = "12")]
    rejection: Option<v1::Rejection>,
    #[prost(uint32, tag = "13")]
    restarted: u32,
    #[prost(bool, tag = "14")]
    touched: bool,
    #[prost(bool, tag = "15")]
    orphan: bool,
    #[prost(string, tag = "16")]
    runtime: String,
}

#[derive(Clone, PartialEq, Message)]
struct TombstoneRecord {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(sint64, tag = "2")]
    at: i64,
}

/// Writes a batch. The last output of a job is not kept: its runtime has it.
pub(super) fn encode(batch: &Batch) -> Vec<u8> {
    let bytes = |id: &AssignmentId| id.0.as_bytes().to_vec();
    BatchRecord {
        accepted: batch.accepted.as_ref().map(convert::accepted_to_wire),
        put: batch.put.iter().map(entry_to_record).collect(),
        remove: batch.remove.iter().map(bytes).collect(),
        specs: batch
            .specs
            .iter()
            .map(|(hash, body)| v1::Spec {
                hash: hash.0.to_vec(),
                body: body.clone(),
            })
            .collect(),
        drop_specs: batch.drop_specs.iter().map(|h| h.0.to_vec()).collect(),
        bury: batch
            .bury
            .iter()
            .map(|(id, at)| TombstoneRecord {
                id: bytes(id),
                at: at.0,
            })
            .collect(),
        unbury: batch.unbury.iter().map(bytes).collect(),
        renewal: batch.renewal.as_ref().map(|renewal| RenewalRecord {
            boot_id: renewal.boot_id.clone(),
            at: renewal.at.0,
        }),
    }
    .encode_to_vec()
}

/// Reads a batch; the error says what another version has put there.
pub(super) fn decode(payload: &[u8]) -> Result<Batch, String> {
    let record = BatchRecord::decode(payload).map_err(|fault| fault.to_string())?;
    let ids = |list: Vec<Vec<u8>>| {
        list.iter()
            .map(|id| id_of(id))
            .collect::<Result<Vec<_>, _>>()
    };
    let hash = |bytes: &[u8]| {
        SpecHash::from_slice(bytes).ok_or_else(|| format!("a spec hash of {} bytes", bytes.len()))
    };
    Ok(Batch {
        accepted: record
            .accepted
            .as_ref()
            .map(convert::accepted_from_wire)
            .transpose()
            .map_err(|fault| fault.to_string())?,
        put: record
            .put
            .into_iter()
            .map(entry_from_record)
            .collect::<Result<_, _>>()?,
        remove: ids(record.remove)?,
        specs: record
            .specs
            .into_iter()
            .map(|spec| Ok((hash(&spec.hash)?, spec.body)))
            .collect::<Result<_, String>>()?,
        drop_specs: record
            .drop_specs
            .iter()
            .map(|h| hash(h))
            .collect::<Result<_, _>>()?,
        bury: record
            .bury
            .iter()
            .map(|t| Ok((id_of(&t.id)?, Time(t.at))))
            .collect::<Result<_, String>>()?,
        unbury: ids(record.unbury)?,
        renewal: record.renewal.map(|renewal| Renewal {
            boot_id: renewal.boot_id,
            at: Time(renewal.at),
        }),
    })
}

fn id_of(bytes: &[u8]) -> Result<AssignmentId, String> {
    Uuid::from_slice(bytes)
        .map(AssignmentId)
        .map_err(|fault| format!("an id: {fault}"))
}

fn entry_to_record(entry: &Entry) -> EntryRecord {
    let (order, status) = (&entry.order, &entry.status);
    EntryRecord {
        order: Some(v1::Assignment {
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
        }),
        phase: convert::phase_to_wire(status.phase).into(),
        reason: status.reason.clone(),
        message: status.message.clone(),
        exit_code: status.exit_code,
        restarts: status.restarts,
        failures: status.failures,
        running_since: status.running_since.map(|at| at.0),
        not_before: status.not_before.map(|at| at.0),
        image_digest: status.image_digest.clone(),
        handle: status.handle.clone(),
        rejection: status.rejection.as_ref().map(|rejection| v1::Rejection {
            reason: convert::rejection_to_wire(rejection.reason).into(),
            message: rejection.message.clone(),
        }),
        restarted: status.restarted,
        touched: status.touched,
        orphan: status.orphan,
        runtime: status.runtime.clone(),
    }
}

fn entry_from_record(record: EntryRecord) -> Result<Entry, String> {
    let order = record.order.ok_or("an entry without an order")?;
    let order: Order = convert::order_from_wire(&order).map_err(|fault| fault.to_string())?;
    let rejection = record.rejection.map(rejection_from_record).transpose()?;
    let status = Status {
        phase: convert::phase_from_wire(record.phase).map_err(|fault| fault.to_string())?,
        reason: record.reason,
        message: record.message,
        exit_code: record.exit_code,
        restarts: record.restarts,
        failures: record.failures,
        running_since: record.running_since.map(Time),
        not_before: record.not_before.map(Time),
        output_tail: Vec::new(),
        image_digest: record.image_digest,
        handle: record.handle,
        rejection,
        restarted: record.restarted,
        touched: record.touched,
        orphan: record.orphan,
        runtime: record.runtime,
    };
    Ok(Entry { order, status })
}

fn rejection_from_record(record: v1::Rejection) -> Result<Rejection, String> {
    let reason = match record.reason() {
        v1::RejectionReason::Tombstoned => RejectionReason::Tombstoned,
        v1::RejectionReason::Unplaceable => RejectionReason::Unplaceable,
        v1::RejectionReason::Unsupported => RejectionReason::Unsupported,
        v1::RejectionReason::InvalidSpec => RejectionReason::InvalidSpec,
        v1::RejectionReason::Unwilling => RejectionReason::Unwilling,
        v1::RejectionReason::Unspecified => {
            return Err(format!("a refusal of kind {}", record.reason));
        }
    };
    Ok(Rejection {
        reason,
        message: record.message,
    })
}
