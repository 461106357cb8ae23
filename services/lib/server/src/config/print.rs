//! `--print-config`: the effective configuration as TOML that our own loader reads back, and the
//! reference page made of the same doc comments.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use super::{Config, Entry, Key, Origin, Program, describe, keys, parent};

/// The effective configuration as a TOML file. Secrets and unset keys stand as comments.
#[must_use]
pub fn print<C: Config>(
    program: &Program,
    config: &C,
    origins: &BTreeMap<String, Origin>,
) -> String {
    let mut values = Vec::new();
    config.write("", &mut values);
    let values: HashMap<String, Option<toml::Value>> = values.into_iter().collect();

    // In TOML a key belongs to the section line above it: keys first, then the sections.
    let entries = describe::<C>();
    let mut sections = vec![("", "")];
    sections.extend(entries.iter().filter_map(|entry| match entry {
        Entry::Section { path, doc } => Some((path.as_str(), doc.as_str())),
        Entry::Key(_) => None,
    }));
    let mut out = format!(
        "# {} {}: effective configuration.\n",
        program.name, program.version
    );
    for (section, doc) in sections {
        if !section.is_empty() {
            out.push('\n');
            comment(&mut out, doc);
            let _ = writeln!(out, "[{section}]");
        }
        for entry in &entries {
            if let Entry::Key(key) = entry
                && parent(&key.path) == section
            {
                let value = values.get(&key.path).cloned().flatten();
                let origin = origins.get(&key.path).unwrap_or(&Origin::Default);
                key_lines(&mut out, key, value.as_ref(), origin);
            }
        }
    }
    out
}

fn key_lines(out: &mut String, key: &Key, value: Option<&toml::Value>, origin: &Origin) {
    out.push('\n');
    comment(out, &key.doc);
    let _ = writeln!(out, "# {}", sources(key));
    if *origin != Origin::Default {
        let _ = writeln!(out, "# This value: {origin}.");
    }
    let name = key.path.rsplit('.').next().unwrap_or_default();
    let _ = match value {
        Some(value) => writeln!(out, "{name} = {value}"),
        None if key.secret && *origin != Origin::Default => {
            writeln!(out, "# {name} is set and secret")
        }
        None => writeln!(out, "# {name} is not set; it takes {}", key.expected),
    };
}

fn sources(key: &Key) -> String {
    let default = key
        .default
        .as_ref()
        .map_or_else(|| "none".to_owned(), ToString::to_string);
    let flag = key
        .flag()
        .map(|flag| format!(" Flag: --{flag}."))
        .unwrap_or_default();
    format!("Default: {default}.{flag} Environment: {}.", key.env())
}

fn comment(out: &mut String, text: &str) {
    for line in text.trim().lines() {
        let _ = writeln!(out, "# {}", line.trim());
    }
}

/// The reference page of a configuration: a Markdown list made of the doc comments.
#[must_use]
pub fn reference<C: Config>() -> String {
    keys::<C>().iter().fold(String::new(), |mut page, key| {
        let _ = writeln!(
            page,
            "- `{}`: {} {}",
            key.path,
            key.doc.replace('\n', " "),
            sources(key)
        );
        page
    })
}
