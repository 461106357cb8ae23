//! Names that people give: applications, services, namespaces, clusters, workers.

use std::fmt;

/// Longest name. Container names are built from two of them, an ordinal and eight digits of an id, and stay under the
/// 128 characters that every engine takes; a DNS label (63) holds any one of them.
pub const MAX_LEN: usize = 40;

/// A checked name: lower-case letters, digits and dashes, starts with a letter or digit, ends with one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

/// Why a name was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// There is none.
    #[error("is empty: give a name of 1 to 40 characters from a-z, 0-9 and '-'")]
    Empty,
    /// It is too long.
    #[error("has {0} characters: use 40 at most")]
    TooLong(usize),
    /// It has a character that is not allowed.
    #[error("has {0:?}: use only a-z, 0-9 and '-', and neither begin nor end with '-'")]
    Character(char),
}

impl Name {
    /// Checks a name.
    ///
    /// # Errors
    /// Says which rule it breaks.
    pub fn new(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        let count = text.chars().count();
        if count > MAX_LEN {
            return Err(NameError::TooLong(count));
        }
        let bad = |c: &char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '-');
        if let Some(character) = text.chars().find(bad) {
            return Err(NameError::Character(character));
        }
        if text.starts_with('-') || text.ends_with('-') {
            return Err(NameError::Character('-'));
        }
        Ok(Self(text.to_owned()))
    }

    /// Makes a name out of any text, such as a host name: what is not allowed becomes a dash.
    #[must_use]
    pub fn from_any(text: &str) -> Self {
        let lower = text.to_lowercase();
        let mapped: String = lower
            .chars()
            .map(|c| {
                if c.is_ascii_lowercase() || c.is_ascii_digit() {
                    c
                } else {
                    '-'
                }
            })
            .take(MAX_LEN)
            .collect();
        let trimmed = mapped.trim_matches('-');
        Self(if trimmed.is_empty() {
            "unnamed".to_owned()
        } else {
            trimmed.to_owned()
        })
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_labels_and_says_what_is_wrong_with_others() {
        for good in ["a", "web-1", "0x", &"a".repeat(40)] {
            assert_eq!(Name::new(good).unwrap().as_str(), good);
        }
        assert_eq!(Name::new(""), Err(NameError::Empty));
        assert_eq!(Name::new(&"a".repeat(41)), Err(NameError::TooLong(41)));
        for (bad, character) in [
            ("Web", 'W'),
            ("a_b", '_'),
            ("-a", '-'),
            ("a-", '-'),
            ("a.b", '.'),
        ] {
            assert_eq!(
                Name::new(bad),
                Err(NameError::Character(character)),
                "{bad}"
            );
        }
    }

    #[test]
    fn from_any_always_gives_a_name() {
        for text in [
            "Host.Example.COM",
            "***",
            "",
            "ÄÖ-x",
            "-a-",
            &"é".repeat(99),
        ] {
            let name = Name::from_any(text);
            assert_eq!(Name::new(name.as_str()).as_ref(), Ok(&name), "{text}");
        }
    }
}
