//! Manifests: YAML and JSON in the protobuf JSON form.

use std::fmt::Write as _;

use edgeio_cli::manifest::{MAX_BYTES, ManifestError, parse};
use prost::Message as _;
use prost_reflect::{DynamicMessage, ReflectMessage as _};

use super::{Dice, messages};

const REQUEST: &str = "edgeio.api.v1.ApplyRequest";

/// See [`super::ALL`].
pub(super) fn run(bytes: &[u8]) {
    match parse("manifest", bytes) {
        Ok(documents) => {
            assert!(!documents.is_empty());
            for document in documents {
                let Some(json) = json(&document.request.encode_to_vec()) else {
                    // What has no JSON form, such as a number that is none, has no manifest either.
                    continue;
                };
                if json.len() as u64 > MAX_BYTES {
                    continue;
                }
                let again = parse("again", json.as_bytes());
                assert!(
                    matches!(&again, Ok(list) if list.len() == 1
                        && list.first().is_some_and(|d| d.request == document.request)),
                    "{json}\n{again:?}"
                );
            }
        }
        Err(error) => told(&error, bytes),
    }
}

/// What is said about a bad manifest stays in proportion to it.
fn told(error: &ManifestError, bytes: &[u8]) {
    let text = error.to_string();
    assert!(
        text.len() < 16 * 1024 + 64 * bytes.len(),
        "{} bytes about {}",
        text.len(),
        bytes.len()
    );
}

fn json(encoded: &[u8]) -> Option<String> {
    let descriptor = messages::pool().get_message_by_name(REQUEST)?;
    let message = DynamicMessage::decode(descriptor, encoded).ok()?;
    debug_assert_eq!(message.descriptor().full_name(), REQUEST);
    serde_json::to_string(&message).ok()
}

/// See [`super::ALL`].
pub(super) fn seed(dice: &mut Dice) -> Vec<u8> {
    match dice.below(8) {
        0 => bomb(dice),
        1 => {
            let depth = 1 << dice.below(15);
            let (open, close) = if dice.one_in(2) {
                ("[", "]")
            } else {
                ("{a: ", "}")
            };
            format!("application: {}{}", open.repeat(depth), close.repeat(depth)).into_bytes()
        }
        2 => {
            // Nesting by indentation, which costs its square in bytes.
            let mut text = String::new();
            for depth in 0..dice.below(300) {
                let _ = writeln!(text, "{}a:", " ".repeat(depth));
            }
            text.into_bytes()
        }
        3 => yaml(dice),
        4 => [yaml(dice), b"---\n".to_vec(), yaml(dice)].concat(),
        _ => json(&messages::encoded(dice, REQUEST))
            .unwrap_or_default()
            .into_bytes(),
    }
}

/// Anchors that each name the one before several times.
fn bomb(dice: &mut Dice) -> Vec<u8> {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..1 + dice.below(30) {
        let before = format!("*a{}", level - 1);
        let all = vec![before; 9].join(", ");
        let _ = writeln!(text, "a{level}: &a{level} [{all}]");
    }
    text.into_bytes()
}

fn yaml(dice: &mut Dice) -> Vec<u8> {
    let (name, value) = (dice.text(), dice.text());
    let replicas = dice.number();
    format!(
        "application:\n  name: shop # a comment\n  services:\n  - &s\n    name: web\n    replicas: {replicas}\n    \
         command: [\"/bin/sh\", '-c', \"exec sleep 1\"]\n    env: {{A: \"{}\", B: |\n      text\n    }}\n    \
         resources: {{cpu: 500m, memory: 64Mi}}\n  - name: {value}\n    <<: *s\n    {name}: {value}\n",
        value.escape_default(),
    )
    .into_bytes()
}
