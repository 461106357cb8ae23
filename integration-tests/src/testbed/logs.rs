//! What the programs of a bed complained of. A WARN or ERROR that a story does not expect fails it: "a human must look" stays
//! true only as long as nothing else says so.

use std::fmt::Write as _;

use serde_json::{Map, Value};

/// A complaint that a story expects, and why.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected {
    /// Part of the line, such as the constant message.
    pub(super) text: &'static str,
    /// Why it is right to complain.
    pub(super) because: &'static str,
}

/// The complaints in what a program printed, but those that are expected.
pub(super) fn complaints(printed: &str, expected: &[Expected]) -> Vec<String> {
    printed
        .lines()
        .filter_map(complaint)
        .filter(|line| !expected.iter().any(|e| line.contains(e.text)))
        .collect()
}

/// The last lines, for people.
pub(super) fn tail(printed: &str, lines: usize) -> String {
    let all: Vec<&str> = printed.lines().collect();
    let from = all.len().saturating_sub(lines);
    let mut text = String::new();
    for line in all.get(from..).unwrap_or_default() {
        let _ = writeln!(text, "  {}", pretty(line));
    }
    text
}

fn complaint(line: &str) -> Option<String> {
    match serde_json::from_str::<Map<String, Value>>(line) {
        Ok(event) => {
            let level = event.get("level").and_then(Value::as_str)?;
            matches!(level, "WARN" | "ERROR").then(|| pretty(line))
        }
        // nats-server marks its lines; anything else that is no event is a panic or a word too many.
        Err(_) if ["[INF]", "[DBG]", "[TRC]"].iter().any(|m| line.contains(m)) => None,
        Err(_) => Some(line.to_owned()).filter(|line| !line.trim().is_empty()),
    }
}

/// `LEVEL target: message field=value`.
fn pretty(line: &str) -> String {
    let Ok(mut event) = serde_json::from_str::<Map<String, Value>>(line) else {
        return line.to_owned();
    };
    let mut word = |key: &str| match event.remove(key) {
        Some(Value::String(text)) => text,
        Some(other) => other.to_string(),
        None => String::new(),
    };
    let (time, level) = (word("timestamp"), word("level"));
    let (target, message) = (word("target"), word("message"));
    let mut text = format!("{time} {level} {target}: {message}");
    // The spans say the same again for every line of a call.
    for (key, value) in event.iter().filter(|(key, _)| !key.starts_with("span")) {
        let _ = write!(text, " {key}={value}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_not_expected_is_a_complaint() {
        let printed = [
            r#"{"timestamp":"t","level":"INFO","message":"all is well","target":"edgeio"}"#,
            r#"{"timestamp":"t","level":"WARN","message":"root is away","target":"edgeio","pause":1}"#,
            r#"{"timestamp":"t","level":"ERROR","message":"store failed","target":"edgeio"}"#,
            "[7] 2026/01/01 00:00:00 [INF] Server is ready",
            "thread 'main' panicked at",
            "",
        ]
        .join("\n");
        let expected = [Expected {
            text: "root is away",
            because: "it was killed",
        }];
        assert_eq!(
            complaints(&printed, &expected),
            ["t ERROR edgeio: store failed", "thread 'main' panicked at"]
        );
        assert_eq!(complaints(&printed, &[]).len(), 3);
    }
}
