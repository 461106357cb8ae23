//! A tree against a message's descriptor: every unknown field and wrong type at once, with path and remedy.
//!
//! The rules are those of the protobuf JSON form: a field has its camelCase and its snake_case name, `null` means absent, 64-bit
//! numbers may be in quotes. Numbers are not taken for text: `version: 1.10` would silently become `1.1`.

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value as Json};

use super::{
    Problem,
    yaml::{Key, Node, Value},
};

/// The tree as JSON, when each of its fields is known and of the right type.
pub(super) fn to_json(tree: &Node, descriptor: &MessageDescriptor) -> Result<Json, Vec<Problem>> {
    let mut check = Check {
        problems: Vec::new(),
    };
    let json = check.message(tree, "", descriptor);
    if check.problems.is_empty() {
        check.required(tree, descriptor);
    }
    if check.problems.is_empty() {
        Ok(json)
    } else {
        Err(check.problems)
    }
}

/// So much of an unknown key is looked at and shown, in characters.
const LONGEST_KEY: usize = 60;

struct Check {
    problems: Vec<Problem>,
}

impl Check {
    fn wrong(
        &mut self,
        node: &Node,
        path: &str,
        message: String,
        remedy: impl Into<String>,
    ) -> Json {
        let problem = Problem::at(node.line, node.column, message).with_path(path);
        self.problems.push(problem.with_remedy(remedy));
        Json::Null
    }

    /// A manifest without an application says nothing; the server would answer the same, but without the line.
    fn required(&mut self, tree: &Node, descriptor: &MessageDescriptor) {
        let Some(field) = descriptor.get_field_by_name("application") else {
            return;
        };
        let given = matches!(&tree.value, Value::Mapping(entries) if entries.iter().any(|(key, node)| {
            names(&field, &key.name) && !matches!(node.value, Value::Null)
        }));
        if !given {
            let remedy = "write `application:` and under it `name:` and `services:`";
            self.wrong(tree, "application", "missing".to_owned(), remedy);
        }
    }

    fn message(&mut self, node: &Node, path: &str, descriptor: &MessageDescriptor) -> Json {
        let Value::Mapping(entries) = &node.value else {
            let fields = field_names(descriptor);
            let message = format!("must be a mapping, found {}", node.value.kind());
            return self.wrong(node, path, message, format!("write its fields: {fields}"));
        };
        let mut json = Map::new();
        let mut seen: Vec<(u32, usize)> = Vec::new();
        for (key, value) in entries {
            let Some(field) = descriptor.fields().find(|field| names(field, &key.name)) else {
                self.problems.push(unknown(key, path, descriptor));
                continue;
            };
            let path = join(path, field.name());
            // `stop_grace` beside `stopGrace`: two keys to YAML, one field to protobuf.
            if let Some((_, line)) = seen.iter().find(|(number, _)| *number == field.number()) {
                let message = format!("is already set on line {line}, under its other spelling");
                let problem = Problem::at(key.line, key.column, message).with_path(path);
                self.problems
                    .push(problem.with_remedy("keep one of the two"));
                continue;
            }
            seen.push((field.number(), key.line));
            if matches!(value.value, Value::Null) {
                continue;
            }
            let value = self.field(value, &path, &field);
            json.insert(field.name().to_owned(), value);
        }
        Json::Object(json)
    }

    fn field(&mut self, node: &Node, path: &str, field: &FieldDescriptor) -> Json {
        let kind = field.kind();
        if let (true, Kind::Message(entry)) = (field.is_map(), &kind) {
            return self.map(node, path, &entry.map_entry_value_field().kind());
        }
        if !field.is_list() {
            return self.single(node, path, &kind);
        }
        let Value::Sequence(items) = &node.value else {
            let message = format!("must be a list, found {}", node.value.kind());
            let remedy = match &node.value {
                Value::Text(text) => format!("write [{text:?}]"),
                _ => "begin each element with `- `".to_owned(),
            };
            return self.wrong(node, path, message, remedy);
        };
        let items = items.iter().enumerate();
        Json::Array(
            items
                .map(|(i, item)| self.single(item, &format!("{path}[{i}]"), &kind))
                .collect(),
        )
    }

    fn map(&mut self, node: &Node, path: &str, kind: &Kind) -> Json {
        let Value::Mapping(entries) = &node.value else {
            let message = format!("must be a mapping, found {}", node.value.kind());
            return self.wrong(node, path, message, "write one `NAME: value` a line");
        };
        let entries = entries.iter();
        Json::Object(
            entries
                .map(|(key, value)| {
                    (
                        key.name.clone(),
                        self.single(value, &format!("{path}[{:?}]", key.name), kind),
                    )
                })
                .collect(),
        )
    }

    fn single(&mut self, node: &Node, path: &str, kind: &Kind) -> Json {
        match (kind, &node.value) {
            (Kind::Message(descriptor), _) => self.message(node, path, descriptor),
            (Kind::String | Kind::Bytes, Value::Text(text)) => Json::from(text.as_str()),
            (Kind::String, Value::Integer(number)) => {
                let remedy = format!("put it in quotes: \"{number}\"");
                self.wrong(
                    node,
                    path,
                    "must be text, found a number".to_owned(),
                    remedy,
                )
            }
            (Kind::String, Value::Float(_) | Value::Bool(_)) => {
                let message = format!("must be text, found {}", node.value.kind());
                self.wrong(node, path, message, "put it in quotes")
            }
            (Kind::String, Value::Null) => self.wrong(
                node,
                path,
                "must be text, found nothing".to_owned(),
                "write \"\" for empty text",
            ),
            (Kind::Bool, Value::Bool(value)) => Json::from(*value),
            (Kind::Bool, _) => {
                let message = format!("must be true or false, found {}", node.value.kind());
                self.wrong(node, path, message, "write true or false, without quotes")
            }
            (Kind::Enum(_), Value::Text(text)) => Json::from(text.as_str()),
            (Kind::Double | Kind::Float, Value::Float(number)) => Json::from(*number),
            (_, value) => match (whole(value), range(kind)) {
                (Some(number), Some((low, high))) if (low..=high).contains(&number) => {
                    // Above 2^53 JSON readers lose digits; protobuf JSON takes such numbers as text.
                    i64::try_from(number)
                        .map_or_else(|_| Json::from(number.to_string()), Json::from)
                }
                (Some(number), Some((low, high))) => {
                    let message = format!("{number} is out of range");
                    self.wrong(
                        node,
                        path,
                        message,
                        format!("write a whole number from {low} to {high}"),
                    )
                }
                (None, Some((low, high))) => {
                    let message = format!("must be a whole number, found {}", describe(value));
                    self.wrong(
                        node,
                        path,
                        message,
                        format!("write a whole number from {low} to {high}"),
                    )
                }
                (_, None) => {
                    let message = format!("found {}", value.kind());
                    self.wrong(
                        node,
                        path,
                        message,
                        "see the field's description in the .proto file",
                    )
                }
            },
        }
    }
}

fn describe(value: &Value) -> String {
    match value {
        Value::Text(text) => format!("the text {text:?}"),
        Value::Float(number) => number.to_string(),
        other => other.kind().to_owned(),
    }
}

/// The whole number that a value states in the protobuf JSON form: also `"3"` and `3.0`.
fn whole(value: &Value) -> Option<i128> {
    match value {
        Value::Integer(number) => Some(*number),
        Value::Text(text) => text.parse().ok(),
        // Exact: a float of this size holds every whole number.
        Value::Float(number) if number.fract() == 0.0 && number.abs() < 9e15 => {
            format!("{number:.0}").parse().ok()
        }
        _ => None,
    }
}

fn range(kind: &Kind) -> Option<(i128, i128)> {
    match kind {
        Kind::Uint32 | Kind::Fixed32 => Some((0, u32::MAX.into())),
        Kind::Uint64 | Kind::Fixed64 => Some((0, u64::MAX.into())),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 | Kind::Enum(_) => {
            Some((i32::MIN.into(), i32::MAX.into()))
        }
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 | Kind::Double | Kind::Float => {
            Some((i64::MIN.into(), i64::MAX.into()))
        }
        Kind::Bool | Kind::String | Kind::Bytes | Kind::Message(_) => None,
    }
}

fn names(field: &FieldDescriptor, key: &str) -> bool {
    field.name() == key || field.json_name() == key
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

fn field_names(descriptor: &MessageDescriptor) -> String {
    descriptor
        .fields()
        .map(|field| field.name().to_owned())
        .collect::<Vec<_>>()
        .join(", ")
}

fn unknown(key: &Key, path: &str, descriptor: &MessageDescriptor) -> Problem {
    // Longer ones are like no field, and would only cost time and fill the screen.
    let shown: String = key.name.chars().take(LONGEST_KEY).collect();
    let lower = shown.to_lowercase();
    let near = descriptor
        .fields()
        .map(|field| {
            (
                strsim::osa_distance(field.name(), &lower),
                field.name().to_owned(),
            )
        })
        .filter(|(distance, name)| *distance <= 1 + name.len() / 4)
        .min()
        .map(|(_, name)| name);
    let remedy = if let Some(name) = near {
        format!("did you mean `{name}`?")
    } else if key.name == "<<" {
        "merge keys are not part of a manifest; write the fields out".to_owned()
    } else if let Some(inside) = one_level_down(key, descriptor) {
        format!("it belongs one level deeper: `{inside}`")
    } else {
        format!("the fields here are {}", field_names(descriptor))
    };
    Problem::at(key.line, key.column, "unknown field")
        .with_path(join(path, &shown))
        .with_remedy(remedy)
}

/// A field that is known, one message below: `name:` that forgot `application:` above it, `cpu:` without `resources:`.
fn one_level_down(key: &Key, descriptor: &MessageDescriptor) -> Option<String> {
    descriptor
        .fields()
        .filter(|field| !field.is_map())
        .find_map(|field| match field.kind() {
            Kind::Message(below) if below.fields().any(|inner| names(&inner, &key.name)) => {
                let list = if field.is_list() { "[]" } else { "" };
                Some(format!("{}{list}.{}", field.name(), key.name))
            }
            _ => None,
        })
}
