//! What was given and belongs to no key: variables and keys of the file.
//!
//! A variable `EDGEIO_*` that no key of this binary has is an error only if it looks like a
//! mistyped one: several binaries and the command line share one environment, and Kubernetes adds
//! `EDGEIO_ROOT_PORT` and the like to every pod beside a service called `edgeio-root`.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::Path;

use super::{Entry, Key, Origin, Problem};

/// Takes what concerns us from the environment.
pub(super) fn environment(
    keys: &[&Key],
    env: impl IntoIterator<Item = (OsString, OsString)>,
    problems: &mut Vec<Problem>,
) -> (HashMap<String, String>, Vec<String>) {
    /// Read by other parts of edgeIO, or by this one outside the keys.
    const OTHERS: [&str; 2] = ["EDGEIO_CONFIG", "EDGEIO_SERVER"];
    let names: Vec<String> = keys.iter().map(|key| key.env()).collect();
    let mut known = HashMap::new();
    let mut warnings = Vec::new();
    for (name, value) in env {
        let Ok(name) = name.into_string() else {
            continue;
        };
        let ours = name.starts_with("EDGEIO_");
        let value = match value.into_string() {
            Ok(value) => value,
            Err(_) if ours => {
                problems.push(Problem {
                    path: name,
                    origin: None,
                    message: "the variable is not valid UTF-8".to_owned(),
                    remedy: "write it again".to_owned(),
                });
                continue;
            }
            Err(_) => continue,
        };
        if ours && !names.contains(&name) && !OTHERS.contains(&name.as_str()) {
            let near = names.iter().find(|candidate| is_slip_of(&name, candidate));
            match near {
                Some(near) => problems.push(Problem {
                    path: name,
                    origin: None,
                    message: "no such setting".to_owned(),
                    remedy: format!("did you mean `{near}`? If not, unset it"),
                }),
                None => warnings.push(format!("environment variable {name} is no setting here")),
            }
            continue;
        }
        known.insert(name, value);
    }
    warnings.sort();
    (known, warnings)
}

/// Whether `name` is `meant` with a slip or two of the finger. Short names differ by little from
/// names of others, so there only one is taken for a slip.
fn is_slip_of(name: &str, meant: &str) -> bool {
    let slips = if meant.len() <= "EDGEIO_".len() + 5 {
        1
    } else {
        2
    };
    strsim::damerau_levenshtein(name, meant) <= slips
}

/// Reports every key of the file that is none, with the one that was probably meant.
pub(super) fn unknown_keys(
    file: &Path,
    section: &str,
    table: &toml::Table,
    entries: &[Entry],
    problems: &mut Vec<Problem>,
) {
    for (name, value) in table {
        let path = super::join(section, name);
        let found = entries.iter().find_map(|entry| match entry {
            Entry::Section { path: known, .. } if *known == path => Some(true),
            Entry::Key(key) if key.path == path => Some(false),
            _ => None,
        });
        let (message, remedy) = match (found, value.as_table()) {
            (Some(true), Some(inner)) => {
                unknown_keys(file, &path, inner, entries, problems);
                continue;
            }
            (Some(false), _) => continue,
            (Some(true), None) => (
                "is a section, not a setting".to_owned(),
                format!("write [{path}] and its keys"),
            ),
            (None, _) => ("no such setting".to_owned(), suggestion(&path, entries)),
        };
        problems.push(Problem {
            path,
            origin: Some(Origin::File(file.to_owned())),
            message,
            remedy,
        });
    }
}

/// Names the nearest known path: by the whole path, or by its last part in another section.
fn suggestion(path: &str, entries: &[Entry]) -> String {
    let last = |path: &str| {
        path.rsplit('.')
            .next()
            .unwrap_or_default()
            .replace('-', "_")
    };
    let nearness = |known: &str| {
        let whole = strsim::jaro_winkler(path, known);
        whole.max(strsim::jaro_winkler(&last(path), &last(known)) * 0.99)
    };
    entries
        .iter()
        .map(|entry| match entry {
            Entry::Section { path, .. } => path,
            Entry::Key(key) => &key.path,
        })
        .map(|known| (nearness(known), known))
        // Below 0.85 the guesses read as noise ("namespace" for "name").
        .filter(|(nearness, _)| *nearness >= 0.85)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map_or_else(
            || "remove it; --print-config lists every key".to_owned(),
            |(_, known)| format!("did you mean `{known}`?"),
        )
}
