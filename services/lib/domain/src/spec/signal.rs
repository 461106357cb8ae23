//! Signals by the names that image configurations and shells give them.

use std::{fmt, str::FromStr};

/// The number of the highest signal, a real-time one.
const HIGHEST: u8 = 64;
/// What a process cannot notice and what does not end it: it would never stop in its grace.
const STOP: u8 = 19;

/// A signal by its number on Linux, which is the same on all processors that we run on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Signal(u8);

/// Why a signal was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a signal such as SIGTERM, INT or 3, and one that can end a process")]
pub struct SignalError;

impl Signal {
    /// What every process is asked with unless somebody says otherwise.
    pub const TERM: Self = Self(15);

    /// Its number, 1 to 64.
    #[must_use]
    pub fn number(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Signal {
    type Err = SignalError;

    fn from_str(text: &str) -> Result<Self, SignalError> {
        let number = match text.parse() {
            Ok(number) => number,
            Err(_) => named(&text.to_ascii_uppercase()).ok_or(SignalError)?,
        };
        if (1..=HIGHEST).contains(&number) && number != STOP {
            Ok(Self(number))
        } else {
            Err(SignalError)
        }
    }
}

fn named(text: &str) -> Option<u8> {
    Some(match text.strip_prefix("SIG").unwrap_or(text) {
        "HUP" => 1,
        "INT" => 2,
        "QUIT" => 3,
        "ABRT" => 6,
        "KILL" => 9,
        "USR1" => 10,
        "USR2" => 12,
        "ALRM" => 14,
        "TERM" => 15,
        "CONT" => 18,
        "WINCH" => 28,
        "PWR" => 30,
        "RTMIN" => 34,
        "RTMIN+3" => 37,
        "RTMIN+4" => 38,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_read_as_images_write_them() {
        for (text, want) in [
            ("SIGQUIT", Some(3)),
            ("quit", Some(3)),
            ("15", Some(15)),
            ("SIGRTMIN+3", Some(37)),
            ("0", None),
            ("65", None),
            ("SIGSTOP", None),
            ("19", None),
            ("SIGNOPE", None),
            ("", None),
        ] {
            let read = text.parse().ok().map(Signal::number);
            assert_eq!(read, want, "{text}");
        }
    }
}
