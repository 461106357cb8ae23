//! The leaves of a configuration: how each type is read from text and from TOML, and written back.
//!
//! `parse(render(x)) == x` for every type here, because `--print-config` must read back.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::{Entry, Field, Key, Problem, Reader};

/// A type that one key can hold.
pub trait Value: Sized {
    /// Never printed, never a flag. See [`super::Secret`].
    const SECRET: bool = false;
    /// A flag that needs no value.
    const SWITCH: bool = false;
    /// A flag that may be repeated; its values are joined by commas.
    const MANY: bool = false;
    /// A variable that is read when no layer sets the key, such as `RUST_LOG`.
    const FALLBACK_ENV: Option<&'static str> = None;

    /// What to write, as the end of "write ...".
    fn expected() -> String;
    /// Reads the text of a flag or of an environment variable.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the text.
    fn parse(text: &str) -> Result<Self, String>;
    /// Reads a value of the file. Strings go through [`Value::parse`] unless overridden.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the value.
    fn from_toml(value: &toml::Value) -> Result<Self, String> {
        match value {
            toml::Value::String(text) => Self::parse(text),
            other => Err(format!("`{other}` is {}", kind_of(other))),
        }
    }
    /// The value as it would stand in the file; `None` when unset or secret.
    fn to_toml(&self) -> Option<toml::Value>;
}

impl<T: Value> Field for T {
    fn describe(&self, path: &str, doc: &str, entries: &mut Vec<Entry>) {
        entries.push(Entry::Key(Key {
            path: path.to_owned(),
            doc: doc
                .trim()
                .lines()
                .map(str::trim)
                .collect::<Vec<_>>()
                .join("\n"),
            default: self.to_toml(),
            expected: T::expected(),
            secret: T::SECRET,
            switch: T::SWITCH,
            many: T::MANY,
        }));
    }
    fn read(default: Self, path: &str, reader: &mut Reader<'_>) -> Self {
        reader.value(path, default)
    }
    fn write(&self, path: &str, values: &mut Vec<(String, Option<toml::Value>)>) {
        values.push((path.to_owned(), self.to_toml()));
    }
    fn validate_at(&self, _path: &str, _problems: &mut Vec<Problem>) {}
}

fn kind_of(value: &toml::Value) -> &'static str {
    match value {
        toml::Value::String(_) => "a string",
        toml::Value::Integer(_) => "a whole number",
        toml::Value::Float(_) => "a number with a point",
        toml::Value::Boolean(_) => "true or false",
        toml::Value::Datetime(_) => "a date",
        toml::Value::Array(_) => "a list",
        toml::Value::Table(_) => "a section",
    }
}

impl Value for bool {
    const SWITCH: bool = true;

    fn expected() -> String {
        "`true` or `false`".to_owned()
    }
    fn parse(text: &str) -> Result<Self, String> {
        text.parse()
            .map_err(|_| format!("`{text}` is neither true nor false"))
    }
    fn from_toml(value: &toml::Value) -> Result<Self, String> {
        value
            .as_bool()
            .ok_or_else(|| format!("`{value}` is {}", kind_of(value)))
    }
    fn to_toml(&self) -> Option<toml::Value> {
        Some(toml::Value::Boolean(*self))
    }
}

macro_rules! whole_numbers {
    ($($type:ty),+) => { $(
        impl Value for $type {
            fn expected() -> String {
                format!("a whole number from {} to {}", <$type>::MIN, <$type>::MAX)
            }
            fn parse(text: &str) -> Result<Self, String> {
                text.parse().map_err(|_| format!("`{text}` is out of range or no whole number"))
            }
            fn from_toml(value: &toml::Value) -> Result<Self, String> {
                let number = value
                    .as_integer()
                    .ok_or_else(|| format!("`{value}` is {}", kind_of(value)))?;
                <$type>::try_from(number).map_err(|_| format!("`{number}` is out of range"))
            }
            fn to_toml(&self) -> Option<toml::Value> {
                // TOML's integers end at i64; what is above can be written as text only.
                Some(i64::try_from(*self).map_or_else(
                    |_| toml::Value::String(self.to_string()),
                    toml::Value::Integer,
                ))
            }
        }
    )+ };
}
whole_numbers!(u8, u16, u32, i32, i64);

impl Value for f64 {
    fn expected() -> String {
        "a number".to_owned()
    }
    fn parse(text: &str) -> Result<Self, String> {
        match text.parse::<Self>() {
            Ok(number) if number.is_finite() => Ok(number),
            _ => Err(format!("`{text}` is not a number")),
        }
    }
    fn from_toml(value: &toml::Value) -> Result<Self, String> {
        match value {
            toml::Value::Integer(number) => Self::parse(&number.to_string()),
            toml::Value::Float(number) => Self::parse(&number.to_string()),
            other => Err(format!("`{other}` is {}", kind_of(other))),
        }
    }
    fn to_toml(&self) -> Option<toml::Value> {
        Some(toml::Value::Float(*self))
    }
}

impl Value for String {
    fn expected() -> String {
        "text".to_owned()
    }
    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }
    fn to_toml(&self) -> Option<toml::Value> {
        Some(toml::Value::String(self.clone()))
    }
}

impl Value for PathBuf {
    fn expected() -> String {
        "a path".to_owned()
    }
    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("the path is empty".to_owned());
        }
        Ok(Self::from(text))
    }
    fn to_toml(&self) -> Option<toml::Value> {
        Some(toml::Value::String(self.display().to_string()))
    }
}

impl Value for Duration {
    fn expected() -> String {
        "a duration such as `15s`, `5m` or `1h 30m`".to_owned()
    }
    fn parse(text: &str) -> Result<Self, String> {
        humantime::parse_duration(text).map_err(|error| format!("`{text}` is no duration: {error}"))
    }
    fn from_toml(value: &toml::Value) -> Result<Self, String> {
        match value {
            toml::Value::String(text) => Self::parse(text),
            toml::Value::Integer(number) => Err(format!("`{number}` has no unit")),
            other => Err(format!("`{other}` is {}", kind_of(other))),
        }
    }
    fn to_toml(&self) -> Option<toml::Value> {
        Some(toml::Value::String(
            humantime::format_duration(*self).to_string(),
        ))
    }
}

impl Value for SocketAddr {
    fn expected() -> String {
        "an IP address and a port, such as `127.0.0.1:10000` or `[::1]:10000`".to_owned()
    }
    fn parse(text: &str) -> Result<Self, String> {
        text.parse()
            .map_err(|_| format!("`{text}` is not an IP address and a port"))
    }
    fn to_toml(&self) -> Option<toml::Value> {
        Some(toml::Value::String(self.to_string()))
    }
}

impl Value for IpAddr {
    fn expected() -> String {
        "an IP address".to_owned()
    }
    fn parse(text: &str) -> Result<Self, String> {
        text.parse()
            .map_err(|_| format!("`{text}` is not an IP address"))
    }
    fn to_toml(&self) -> Option<toml::Value> {
        Some(toml::Value::String(self.to_string()))
    }
}

impl<T: Value> Value for Option<T> {
    const SECRET: bool = T::SECRET;
    const SWITCH: bool = T::SWITCH;
    const MANY: bool = T::MANY;

    fn expected() -> String {
        T::expected()
    }
    fn parse(text: &str) -> Result<Self, String> {
        T::parse(text).map(Some)
    }
    fn from_toml(value: &toml::Value) -> Result<Self, String> {
        T::from_toml(value).map(Some)
    }
    fn to_toml(&self) -> Option<toml::Value> {
        self.as_ref().and_then(Value::to_toml)
    }
}

impl<T: Value> Value for Vec<T> {
    const SECRET: bool = T::SECRET;
    const MANY: bool = true;

    fn expected() -> String {
        format!("a list; each item is {}", T::expected())
    }
    fn parse(text: &str) -> Result<Self, String> {
        text.split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty())
            .map(T::parse)
            .collect()
    }
    fn from_toml(value: &toml::Value) -> Result<Self, String> {
        value
            .as_array()
            .ok_or_else(|| format!("`{value}` is {}", kind_of(value)))?
            .iter()
            .map(T::from_toml)
            .collect()
    }
    fn to_toml(&self) -> Option<toml::Value> {
        Some(toml::Value::Array(
            self.iter().filter_map(Value::to_toml).collect(),
        ))
    }
}

impl<T: Value> Value for BTreeMap<String, T> {
    const SECRET: bool = T::SECRET;
    const MANY: bool = true;

    fn expected() -> String {
        format!(
            "pairs such as `{{ name = .. }}` (`name=..` in a flag); each is {}",
            T::expected()
        )
    }
    fn parse(text: &str) -> Result<Self, String> {
        text.split(',')
            .map(str::trim)
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (name, value) = pair
                    .split_once('=')
                    .ok_or_else(|| format!("`{pair}` has no `=`"))?;
                Ok((name.trim().to_owned(), T::parse(value.trim())?))
            })
            .collect()
    }
    fn from_toml(value: &toml::Value) -> Result<Self, String> {
        value
            .as_table()
            .ok_or_else(|| format!("`{value}` is {}", kind_of(value)))?
            .iter()
            .map(|(name, value)| Ok((name.clone(), T::from_toml(value)?)))
            .collect()
    }
    fn to_toml(&self) -> Option<toml::Value> {
        let pairs = self
            .iter()
            .filter_map(|(k, v)| Some((k.clone(), v.to_toml()?)));
        Some(toml::Value::Table(pairs.collect()))
    }
}

/// A value of any type that is read by `FromStr` and written by `Display`; the type's own error
/// is the problem's text. For types of other crates, which cannot implement [`Value`] themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parsed<T>(pub T);

impl<T> Deref for Parsed<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> Value for Parsed<T>
where
    T: FromStr + fmt::Display,
    T::Err: fmt::Display,
{
    fn expected() -> String {
        "a value of the form that the key's description names".to_owned()
    }
    fn parse(text: &str) -> Result<Self, String> {
        text.parse()
            .map(Self)
            .map_err(|error: T::Err| format!("`{text}`: {error}"))
    }
    fn to_toml(&self) -> Option<toml::Value> {
        Some(toml::Value::String(self.0.to_string()))
    }
}
