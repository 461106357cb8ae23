//! Words and numbers for people, and the cleaning of what others wrote.

use std::time::{Duration, SystemTime};

use edgeio_proto::{
    api::v1::{ApplicationPhase, InstancePhase, PlanAction},
    cluster::v1::WorkerState,
    root::v1::ChildState,
};
use prost_types::Timestamp;

/// One line without anything that steers a terminal. Line breaks become spaces.
pub(crate) fn clean(text: &str) -> String {
    strip(text)
        .chars()
        .map(|c| if c == '\n' || c == '\t' { ' ' } else { c })
        .collect()
}

/// The same, with line breaks and tabs kept.
pub(crate) fn clean_lines(text: &str) -> String {
    strip(text)
}

fn strip(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\u{1b}' => match rest.peek() {
                // CSI: parameters up to a final byte.
                Some('[') => {
                    rest.next();
                    while rest.next_if(|c| matches!(c, ' '..='?')).is_some() {}
                    rest.next_if(|c| matches!(c, '@'..='~'));
                }
                // OSC, DCS, PM, APC, SOS: text up to BEL or ESC \. Unterminated ones end with the line, so that
                // they cannot hide what follows.
                Some(']' | 'P' | '^' | '_' | 'X') => {
                    while rest
                        .next_if(|c| !matches!(c, '\u{7}' | '\u{1b}' | '\n'))
                        .is_some()
                    {}
                    if rest.next_if_eq(&'\u{7}').is_none() && rest.next_if_eq(&'\u{1b}').is_some() {
                        rest.next_if_eq(&'\\');
                    }
                }
                Some(' '..='~') => {
                    rest.next();
                }
                _ => {}
            },
            '\n' | '\t' => kept.push(c),
            c if c.is_control() || steers_direction(c) => {}
            c => kept.push(c),
        }
    }
    kept
}

/// Marks that reorder the text around them: what is shown would not be what is there.
pub(crate) fn steers_direction(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}')
}

/// `INSTANCE_PHASE_RUNNING` as `Running`; a value that this version does not know as its number.
fn word(prefix: &str, name: Option<&'static str>, number: i32) -> String {
    let Some(name) = name.and_then(|name| name.strip_prefix(prefix)) else {
        return format!("Unknown({number})");
    };
    let mut word = name.to_lowercase().replace('_', " ");
    if let Some(first) = word.get_mut(0..1) {
        first.make_ascii_uppercase();
    }
    word
}

pub(crate) fn instance_phase(value: i32) -> String {
    let name = InstancePhase::try_from(value).ok().map(|v| v.as_str_name());
    word("INSTANCE_PHASE_", name, value)
}

pub(crate) fn application_phase(value: i32) -> String {
    let name = ApplicationPhase::try_from(value)
        .ok()
        .map(|v| v.as_str_name());
    word("APPLICATION_PHASE_", name, value)
}

pub(crate) fn child_state(value: i32) -> String {
    word(
        "CHILD_STATE_",
        ChildState::try_from(value).ok().map(|v| v.as_str_name()),
        value,
    )
}

pub(crate) fn worker_state(value: i32) -> String {
    word(
        "WORKER_STATE_",
        WorkerState::try_from(value).ok().map(|v| v.as_str_name()),
        value,
    )
}

pub(crate) fn plan_action(value: i32) -> String {
    word(
        "PLAN_ACTION_",
        PlanAction::try_from(value).ok().map(|v| v.as_str_name()),
        value,
    )
}

/// Thousandths of a core: `1500m`, `2`.
pub(crate) fn cores(millis: i64) -> String {
    if millis % 1000 == 0 {
        (millis / 1000).to_string()
    } else {
        format!("{millis}m")
    }
}

/// Bytes in the largest unit that leaves a readable number: `64Mi`, `1.5Gi`.
pub(crate) fn bytes(bytes: i64) -> String {
    let mut tenths = i128::from(bytes) * 10;
    let mut unit = "";
    for next in ["Ki", "Mi", "Gi", "Ti", "Pi"] {
        if tenths.abs() < 10 * 1024 {
            break;
        }
        tenths = (tenths + tenths.signum() * 512) / 1024;
        unit = next;
    }
    if tenths % 10 == 0 || tenths.abs() >= 1000 {
        format!("{}{unit}", tenths / 10)
    } else {
        format!("{}.{}{unit}", tenths / 10, (tenths % 10).abs())
    }
}

/// How long ago: `12s`, `5m`, `3h20m`, `4d`; `-` when unset. A clock that is behind the server's shows `0s`.
pub(crate) fn age(at: Option<&Timestamp>) -> String {
    let Some(at) = at.and_then(|at| SystemTime::try_from(*at).ok()) else {
        return "-".to_owned();
    };
    short(SystemTime::now().duration_since(at).unwrap_or_default())
}

pub(crate) fn short(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h{}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// An instant and how long ago it was.
pub(crate) fn instant(at: Option<&Timestamp>) -> String {
    match at {
        Some(at) => {
            let whole = Timestamp {
                seconds: at.seconds,
                nanos: 0,
            };
            format!("{whole} ({} ago)", age(Some(at)))
        }
        None => "-".to_owned(),
    }
}

/// `1 replica`, `2 replicas`.
pub(crate) fn count(number: usize, one: &str) -> String {
    if number == 1 {
        format!("1 {one}")
    } else {
        format!("{number} {one}s")
    }
}

/// Empty text as `-`, so that columns stay columns.
pub(crate) fn dash(text: &str) -> String {
    if text.is_empty() {
        "-".to_owned()
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_vanish_and_text_stays() {
        let cases = [
            ("plain ünïcode", "plain ünïcode"),
            ("\u{1b}[31mred\u{1b}[0m", "red"),
            ("\u{1b}]0;title\u{7}after", "after"),
            ("\u{1b}]8;;http://x\u{1b}\\link\u{1b}]8;;\u{1b}\\", "link"),
            ("\u{1b}]52;c;aGk=\nnext", " next"),
            ("a\u{9b}2Jb", "a2Jb"),
            ("x\r\u{8}\u{0}y", "xy"),
            ("\u{202e}evil\u{1b}", "evil"),
            ("a\tb\nc", "a b c"),
        ];
        for (dirty, want) in cases {
            assert_eq!(clean(dirty), want, "{dirty:?}");
        }
        assert_eq!(clean_lines("a\n\u{1b}[2Jb\tc"), "a\nb\tc");
    }

    #[test]
    fn amounts() {
        assert_eq!(cores(1500), "1500m");
        assert_eq!(cores(4000), "4");
        assert_eq!(bytes(0), "0");
        assert_eq!(bytes(1023), "1023");
        assert_eq!(bytes(64 << 20), "64Mi");
        assert_eq!(bytes(3 << 29), "1.5Gi");
        assert_eq!(bytes(25_200_000_000), "23.5Gi");
        assert_eq!(bytes(i64::MAX), "8192Pi");
    }

    #[test]
    fn words_of_enums() {
        assert_eq!(instance_phase(InstancePhase::Running.into()), "Running");
        assert_eq!(instance_phase(77), "Unknown(77)");
        assert_eq!(short(Duration::from_secs(3 * 3600 + 61)), "3h1m");
    }
}
