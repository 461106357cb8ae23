//! Messages made from their descriptors: any field, with values that mean something often enough to come deep into a handler.

use std::{collections::HashMap, sync::OnceLock};

use prost::Message as _;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value,
};

use super::Dice;

/// The deepest nesting of what is made. Deeper ones come from changed bytes.
const DEPTH: usize = 6;

/// The descriptors of the contract.
#[must_use]
pub fn pool() -> &'static DescriptorPool {
    static POOL: OnceLock<DescriptorPool> = OnceLock::new();
    // An empty pool has no message to make, which each use of it finds.
    POOL.get_or_init(|| {
        DescriptorPool::decode(edgeio_proto::FILE_DESCRIPTOR_SET).unwrap_or_default()
    })
}

/// The encoded form of a made message of this full name; nothing when there is none.
#[must_use]
pub fn encoded(dice: &mut Dice, full_name: &str) -> Vec<u8> {
    pool()
        .get_message_by_name(full_name)
        .map(|descriptor| made(dice, &descriptor).encode_to_vec())
        .unwrap_or_default()
}

/// A message of this kind.
pub fn made(dice: &mut Dice, descriptor: &MessageDescriptor) -> DynamicMessage {
    at_depth(dice, descriptor, 0)
}

fn at_depth(dice: &mut Dice, descriptor: &MessageDescriptor, depth: usize) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    for field in descriptor.fields() {
        // Mostly whole messages: a handler refuses what lacks something at its first line.
        if dice.one_in(6) {
            continue;
        }
        // Of the kinds that exclude each other the last one that is set stays: each gets its turn.
        if field.containing_oneof().is_some() && dice.one_in(2) {
            continue;
        }
        let value = if field.is_map() {
            map(dice, &field, depth)
        } else if field.is_list() {
            let most = if dice.one_in(16) { 40 } else { 3 };
            let count = dice.below(most);
            let values = (0..count).filter_map(|_| single(dice, &field, &field.kind(), depth));
            Some(Value::List(values.collect()))
        } else {
            single(dice, &field, &field.kind(), depth)
        };
        if let Some(value) = value {
            message.set_field(&field, value);
        }
    }
    message
}

fn map(dice: &mut Dice, field: &FieldDescriptor, depth: usize) -> Option<Value> {
    let Kind::Message(entry) = field.kind() else {
        return None;
    };
    let kind = entry.map_entry_value_field().kind();
    let mut entries = HashMap::new();
    // One entry at most: the order of more would not be the seed's.
    if dice.one_in(2) {
        let value = single(dice, field, &kind, depth)?;
        entries.insert(MapKey::String(dice.text()), value);
    }
    // Keys of other kinds are not in the contract; prost-reflect would refuse them here.
    matches!(entry.map_entry_key_field().kind(), Kind::String).then_some(Value::Map(entries))
}

fn single(dice: &mut Dice, field: &FieldDescriptor, kind: &Kind, depth: usize) -> Option<Value> {
    let mut number = dice.number();
    if field.name() == "replicas" {
        // Few or far too many: what is accepted is placed, and would only cost time.
        number = if dice.one_in(4) {
            number | 1 << 31
        } else {
            number & 3
        };
    }
    let low = number as u32;
    Some(match kind {
        Kind::Bool => Value::Bool(number.is_multiple_of(2)),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(low.cast_signed()),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(number.cast_signed()),
        Kind::Uint32 | Kind::Fixed32 => Value::U32(low),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(number),
        Kind::Float => Value::F32(f32::from_bits(low)),
        Kind::Double => Value::F64(f64::from_bits(number.rotate_right(2))),
        Kind::Enum(_) => Value::EnumNumber(low.cast_signed()),
        Kind::String => Value::String(text(dice, field.name())),
        Kind::Bytes => Value::Bytes(bytes(dice, field.name()).into()),
        Kind::Message(descriptor) => {
            if depth >= DEPTH {
                return None;
            }
            Value::Message(at_depth(dice, descriptor, depth + 1))
        }
    })
}

/// A text that a field of this name would have, mostly.
fn text(dice: &mut Dice, name: &str) -> String {
    if dice.one_in(4) {
        return dice.text();
    }
    let list: &[&str] = match name {
        "name" | "namespace" | "application" | "service" | "hostname" => {
            &["shop", "web", "a", "default", "north"]
        }
        "cpu" => &["100m", "0.5", "2", "1e3", "0"],
        "memory" => &["64Mi", "128M", "1Gi", "0"],
        "image" => &["busybox:1.36", "localhost:5000/a/b:v1"],
        "runtime" => &["fake", "native", "docker", ""],
        "pull" => &["never", "always", ""],
        "restart" => &["always", "never", "on-failure", ""],
        "stop_grace" | "stop_after" => &["10s", "1m", ""],
        "mode" => &["available", "exclusive", ""],
        "architecture" | "architectures" => &["amd64", "arm64"],
        _ if name.ends_with("id") || name == "lineage" => return dice.id().to_string(),
        _ => return dice.text(),
    };
    dice.pick(list).copied().unwrap_or_default().to_owned()
}

fn bytes(dice: &mut Dice, name: &str) -> Vec<u8> {
    let length = match name {
        _ if dice.one_in(6) => return dice.bytes(64),
        _ if name.ends_with("digest") => 16,
        _ if name.ends_with("hash") || name.ends_with("hashes") => {
            // The hash of the one spec that `body` has, so that orders find theirs.
            return edgeio_domain::ids::SpecHash::of(&spec()).0.to_vec();
        }
        "body" => return spec(),
        "id" => return dice.id().as_bytes().to_vec(),
        _ => return dice.bytes(64),
    };
    vec![u8::try_from(dice.below(2)).unwrap_or_default(); length]
}

/// The one spec of all made messages.
fn spec() -> Vec<u8> {
    edgeio_proto::api::v1::ServiceSpec {
        name: "web".to_owned(),
        runtime: "fake".to_owned(),
        image: "web:1".to_owned(),
        ..Default::default()
    }
    .encode_to_vec()
}
