//! Messages in the protobuf JSON form.

use prost::Message;
use prost_reflect::{DynamicMessage, SerializeOptions};
use serde_json::Value;

use super::text::steers_direction;
use crate::{error::CliError, manifest::descriptor};

/// `message`, which is of the type `full_name`, as JSON.
pub(crate) fn value(full_name: &str, message: &impl Message) -> Result<Value, CliError> {
    let broken = |why: String| CliError::Failed(format!("write {full_name} as JSON: {why}"));
    let descriptor = descriptor(full_name).ok_or_else(|| broken("no such message".to_owned()))?;
    let mut dynamic = DynamicMessage::new(descriptor);
    dynamic
        .transcode_from(message)
        .map_err(|error| broken(error.to_string()))?;
    // 64-bit numbers as text and defaults left out, as every protobuf JSON writer does.
    dynamic
        .serialize_with_options(serde_json::value::Serializer, &SerializeOptions::new())
        .map_err(|error| broken(error.to_string()))
}

/// JSON on several lines.
pub(crate) fn pretty(value: &Value) -> String {
    escape(format!("{value:#}\n"))
}

/// JSON on one line.
pub(crate) fn line(value: &Value) -> String {
    escape(format!("{value}\n"))
}

/// JSON may hold control characters above 0x7e as they are; a terminal would obey them.
fn escape(json: String) -> String {
    let steers = |c: char| (c.is_control() && c != '\n') || steers_direction(c);
    if !json.contains(steers) {
        return json;
    }
    json.chars()
        .map(|c| {
            if steers(c) {
                format!("\\u{:04x}", c as u32)
            } else {
                c.to_string()
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use edgeio_proto::api::v1::GetRequest;

    use super::*;

    #[test]
    fn messages_become_protobuf_json_without_control_characters() {
        let message = GetRequest {
            namespace: String::new(),
            name: "a\u{9b}2J\u{1b}[0m".into(),
        };
        let value = value("edgeio.api.v1.GetRequest", &message).unwrap();
        let text = line(&value);
        assert_eq!(text, "{\"name\":\"a\\u009b2J\\u001b[0m\"}\n");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }
}
