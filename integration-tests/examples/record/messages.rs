//! One message of each kind with every field set, by reflection, so that no field is forgotten.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use edgeio_proto::{FILE_DESCRIPTOR_SET, cluster, link, root};
use prost::Message;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value,
};
use uuid::Uuid;

/// What is recorded: whatever goes between two programs of different versions, and the specs that databases and ledgers keep.
const KINDS: &[&str] = &[
    "edgeio.link.v1.ChildMessage",
    "edgeio.link.v1.ParentMessage",
    "edgeio.cluster.v1.AttachRequest",
    "edgeio.cluster.v1.AttachResponse",
    "edgeio.cluster.v1.RegisterRequest",
    "edgeio.cluster.v1.RegisterResponse",
    "edgeio.cluster.v1.LeaveRequest",
    "edgeio.cluster.v1.LeaveResponse",
    "edgeio.root.v1.AttachRequest",
    "edgeio.root.v1.AttachResponse",
    "edgeio.root.v1.RegisterRequest",
    "edgeio.root.v1.RegisterResponse",
    "edgeio.api.v1.ServiceSpec",
    "edgeio.api.v1.ApplyRequest",
];

pub(super) fn record(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir)?;
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET)?;
    for kind in KINDS {
        let descriptor = pool
            .get_message_by_name(kind)
            .with_context(|| format!("no {kind}"))?;
        for (variant, message) in variants(&descriptor) {
            let name = if variant.is_empty() {
                (*kind).to_owned()
            } else {
                format!("{kind}.{variant}")
            };
            let bytes = message.encode_to_vec();
            generated_code_writes_the_same(kind, &bytes)?;
            fs::write(dir.join(format!("{name}.bin")), bytes)?;
            write_json(
                &dir.join(format!("{name}.json")),
                &serde_json::to_value(&message)?,
            )?;
        }
    }
    Ok(())
}

/// Writes a meaning.
pub(super) fn write_json(path: &Path, value: &serde_json::Value) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

/// The message with all its fields, once for each choice of its oneof; the name is the choice.
fn variants(descriptor: &MessageDescriptor) -> Vec<(String, DynamicMessage)> {
    let choices: Vec<Option<FieldDescriptor>> =
        match descriptor.oneofs().find(|oneof| !oneof.is_synthetic()) {
            Some(oneof) => oneof.fields().map(Some).collect(),
            None => vec![None],
        };
    let one = |choice: Option<FieldDescriptor>| {
        let mut count = 0;
        let name = choice.as_ref().map_or("", FieldDescriptor::name).to_owned();
        (name, filled(descriptor, choice.as_ref(), &mut count))
    };
    choices.into_iter().map(one).collect()
}

fn filled(
    descriptor: &MessageDescriptor,
    choice: Option<&FieldDescriptor>,
    count: &mut u32,
) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    for field in descriptor.fields() {
        let of_oneof = field
            .containing_oneof()
            .filter(|oneof| !oneof.is_synthetic());
        let chosen = match (of_oneof, choice) {
            (None, _) => true,
            (Some(_), Some(choice)) => *choice == field,
            // Within others the last choice stands for all; each has a file of its own.
            (Some(oneof), None) => oneof.fields().last().is_some_and(|last| last == field),
        };
        if !chosen {
            continue;
        }
        let value = if field.is_map() {
            let Kind::Message(entry) = field.kind() else {
                continue;
            };
            let inner = scalar(&entry.map_entry_value_field(), count);
            Value::Map([(MapKey::String(format!("key{count}")), inner)].into())
        } else if field.is_list() {
            Value::List(vec![scalar(&field, count), scalar(&field, count)])
        } else {
            scalar(&field, count)
        };
        message.set_field(&field, value);
    }
    message
}

/// A value that differs from all others, in the form that the field's name promises.
fn scalar(field: &FieldDescriptor, count: &mut u32) -> Value {
    *count += 1;
    let n = *count;
    let name = field.name();
    match field.kind() {
        Kind::Message(inner) => Value::Message(filled(&inner, None, count)),
        Kind::Enum(kind) => {
            let last = kind.values().map(|value| value.number()).max();
            Value::EnumNumber(last.unwrap_or_default())
        }
        Kind::String if name == "id" || name.ends_with("_id") || name.ends_with("uid") => {
            Value::String(Uuid::from_u128(u128::from(n)).to_string())
        }
        Kind::String if name == "lineage" => {
            Value::String(Uuid::from_u128(u128::from(n)).to_string())
        }
        Kind::String => Value::String(format!("{name}-{n}")),
        Kind::Bytes => {
            let length = match name {
                _ if name.contains("hash") => 32,
                _ if name.ends_with("digest") => 16,
                _ => 5,
            };
            let byte = u8::try_from(n % 251).unwrap_or_default();
            Value::Bytes(vec![byte; length].into())
        }
        Kind::Bool => Value::Bool(true),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(n.cast_signed()),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(i64::from(n)),
        Kind::Uint32 | Kind::Fixed32 => Value::U32(n),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(u64::from(n)),
        Kind::Float => Value::F32(1.5),
        Kind::Double => Value::F64(1.5),
    }
}

/// The recording is what the programs write: their generated code reads it and writes it again.
fn generated_code_writes_the_same(kind: &str, bytes: &[u8]) -> Result<()> {
    let again = match kind {
        "edgeio.link.v1.ChildMessage" => again::<link::v1::ChildMessage>(bytes),
        "edgeio.link.v1.ParentMessage" => again::<link::v1::ParentMessage>(bytes),
        "edgeio.cluster.v1.AttachRequest" => again::<cluster::v1::AttachRequest>(bytes),
        "edgeio.cluster.v1.AttachResponse" => again::<cluster::v1::AttachResponse>(bytes),
        "edgeio.cluster.v1.RegisterRequest" => again::<cluster::v1::RegisterRequest>(bytes),
        "edgeio.cluster.v1.RegisterResponse" => again::<cluster::v1::RegisterResponse>(bytes),
        "edgeio.root.v1.AttachRequest" => again::<root::v1::AttachRequest>(bytes),
        "edgeio.root.v1.AttachResponse" => again::<root::v1::AttachResponse>(bytes),
        "edgeio.root.v1.RegisterRequest" => again::<root::v1::RegisterRequest>(bytes),
        "edgeio.root.v1.RegisterResponse" => again::<root::v1::RegisterResponse>(bytes),
        _ => return Ok(()),
    };
    ensure!(
        again? == bytes,
        "{kind}: the generated code writes another form"
    );
    Ok(())
}

fn again<M: Message + Default>(bytes: &[u8]) -> Result<Vec<u8>> {
    Ok(M::decode(bytes)?.encode_to_vec())
}
