//! A value that must not be seen: no `Display`, a redacting `Debug`, never printed by
//! `--print-config`, and without a flag (arguments are readable in the process list).

use std::fmt;

use super::Value;

/// Keeps `T` out of logs and dumps; [`Secret::expose`] is the one way to it and easy to grep for.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    /// Wraps a secret.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The secret itself.
    pub const fn expose(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Secret(..)")
    }
}

impl<T: Value> Value for Secret<T> {
    const SECRET: bool = true;

    fn expected() -> String {
        T::expected()
    }
    fn parse(text: &str) -> Result<Self, String> {
        // The inner message may quote what was written.
        T::parse(text)
            .map(Self)
            .map_err(|_| "the secret cannot be read".to_owned())
    }
    fn from_toml(value: &toml::Value) -> Result<Self, String> {
        T::from_toml(value)
            .map(Self)
            .map_err(|_| "the secret cannot be read".to_owned())
    }
    fn to_toml(&self) -> Option<toml::Value> {
        None
    }
}
