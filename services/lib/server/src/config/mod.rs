//! Layered configuration for every binary: defaults < file < environment < flags.
//!
//! A configuration is a plain struct made by [`crate::config!`]. From one declaration come the
//! struct, its defaults, the key names in the file, the environment (`EDGEIO_*`) and the flags,
//! and the reference text: a field's doc comment is its page. [`load`] reads all layers and
//! reports every problem at once, each with its key, its source and a remedy.
//!
//! Deliberately absent: reloading at run time (a restart adopts what runs, so it costs nothing),
//! and serde derives (a derive stops at the first error; reading key by key does not).

mod arguments;
mod bind;
mod dial;
mod join;
mod load;
mod macros;
mod print;
mod problem;
mod secret;
mod strays;
mod value;

pub use bind::{ServeConfig, bind_rule};
pub use dial::DialConfig;
pub use join::JoinConfig;
pub use load::{Effective, Loaded, Program, Reader, from_arguments, from_process, load};
pub use print::{print, reference};
pub use problem::{Check, ConfigErrors, Origin, Problem};
pub use secret::Secret;
#[doc(hidden)]
pub use toml::Value as TomlValue;
pub use value::{Parsed, Value};

use std::ops::{Deref, DerefMut};

/// One line of a configuration's description: a section or a key.
#[derive(Debug, Clone)]
pub enum Entry {
    /// A table of the file.
    Section {
        /// Dotted path, such as `uplink`.
        path: String,
        /// The field's doc comment.
        doc: String,
    },
    /// A leaf.
    Key(Key),
}

/// What is known of one key without reading any source.
#[derive(Debug, Clone)]
pub struct Key {
    /// Dotted path in the file, such as `uplink.backoff_cap`.
    pub path: String,
    /// The field's doc comment, one line a source line.
    pub doc: String,
    /// The default; `None` when the key is unset by default, or secret.
    pub default: Option<toml::Value>,
    /// What a reader must write, such as ``a duration such as `15s` ``.
    pub expected: String,
    /// Secrets are never printed and have no flag: arguments are readable in the process list.
    pub secret: bool,
    /// A flag that needs no value.
    pub switch: bool,
    /// A flag that may be repeated.
    pub many: bool,
}

impl Key {
    /// The environment variable of this key.
    #[must_use]
    pub fn env(&self) -> String {
        env_name(&self.path)
    }

    /// The flag of this key without its dashes, if it has one.
    #[must_use]
    pub fn flag(&self) -> Option<String> {
        (!self.secret).then(|| flag_name(&self.path))
    }
}

/// What the fields of a configuration have in common: leaves by [`Value`], sections by
/// [`crate::config!`]. Not meant to be implemented by hand.
pub trait Field: Sized {
    /// Appends what there is to know about this field; `self` holds the defaults.
    fn describe(&self, path: &str, doc: &str, entries: &mut Vec<Entry>);
    /// Reads the effective value; problems go into the reader and the default stands in.
    fn read(default: Self, path: &str, reader: &mut Reader<'_>) -> Self;
    /// Appends the value as it would stand in the file; `None` when unset or secret.
    fn write(&self, path: &str, values: &mut Vec<(String, Option<toml::Value>)>);
    /// Rules across fields, by [`Validate`].
    fn validate_at(&self, path: &str, problems: &mut Vec<Problem>);
}

/// Rules that need more than one key. The default has none.
pub trait Validate {
    /// Reports what is wrong into `check`; keys are named relative to this section.
    fn validate(&self, check: &mut Check<'_>) {
        let _ = check;
    }
}

/// A whole configuration: what [`load`] takes.
pub trait Config: Field + Validate + Default {}
impl<T: Field + Validate + Default> Config for T {}

/// A section whose keys stand in its parent's table: shared fields without a shared prefix.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flat<T>(pub T);

impl<T> Deref for Flat<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Flat<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T: Field> Field for Flat<T> {
    fn describe(&self, path: &str, _doc: &str, entries: &mut Vec<Entry>) {
        // The parent's own section line stands already, or there is none at the top.
        let from = entries.len();
        self.0.describe(parent(path), "", entries);
        if matches!(entries.get(from), Some(Entry::Section { .. })) {
            entries.remove(from);
        }
    }
    fn read(default: Self, path: &str, reader: &mut Reader<'_>) -> Self {
        Self(T::read(default.0, parent(path), reader))
    }
    fn write(&self, path: &str, values: &mut Vec<(String, Option<toml::Value>)>) {
        self.0.write(parent(path), values);
    }
    fn validate_at(&self, path: &str, problems: &mut Vec<Problem>) {
        self.0.validate_at(parent(path), problems);
    }
}

/// The entries of a configuration, in the order of its declaration.
#[must_use]
pub fn describe<C: Config>() -> Vec<Entry> {
    let mut entries = Vec::new();
    C::default().describe("", "", &mut entries);
    entries
}

/// The keys of a configuration, in the order of its declaration.
#[must_use]
pub fn keys<C: Config>() -> Vec<Key> {
    describe::<C>()
        .into_iter()
        .filter_map(|entry| match entry {
            Entry::Key(key) => Some(key),
            Entry::Section { .. } => None,
        })
        .collect()
}

/// Joins a section's path and a field's name.
#[doc(hidden)]
#[must_use]
pub fn join(path: &str, field: &str) -> String {
    if path.is_empty() {
        field.to_owned()
    } else {
        format!("{path}.{field}")
    }
}

fn parent(path: &str) -> &str {
    path.rsplit_once('.').map_or("", |(parent, _)| parent)
}

/// The environment variable of a path: `EDGEIO_` and the path in capitals.
#[must_use]
pub fn env_name(path: &str) -> String {
    format!("EDGEIO_{}", path.replace('.', "_").to_ascii_uppercase())
}

/// The flag of a path, without its dashes.
#[must_use]
pub fn flag_name(path: &str) -> String {
    path.replace(['.', '_'], "-")
}

#[cfg(test)]
mod tests;
