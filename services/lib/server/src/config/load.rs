//! Reading the layers: flags over environment over file over defaults, all problems at once.
//!
//! A variable `EDGEIO_*` that no key of this binary has is an error only if it looks like a
//! mistyped one: several binaries and the command line share one environment, and Kubernetes adds
//! `EDGEIO_ROOT_PORT` and the like to every pod beside a service called `edgeio-root`.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::{
    Config, ConfigErrors, Entry, Key, Origin, Problem, Value, describe, env_name, flag_name,
};

/// A binary, as its `--help` and `--version` show it.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    /// Such as `edgeio-root`.
    pub name: &'static str,
    /// `env!("CARGO_PKG_VERSION")` of the binary's crate.
    pub version: &'static str,
    /// One sentence.
    pub about: &'static str,
}

/// What the arguments asked for.
#[derive(Debug)]
pub enum Loaded<C> {
    /// Run with this configuration.
    Run(Effective<C>),
    /// Print this and exit 0: `--help`, `--version` or `--print-config`.
    Print(String),
}

/// A configuration that is ready to use.
#[derive(Debug)]
pub struct Effective<C> {
    /// The values.
    pub config: C,
    /// Where each key's value came from, by path.
    pub origins: BTreeMap<String, Origin>,
    /// Sentences for the log: what was given and is not used.
    pub warnings: Vec<String>,
}

/// The sources while they are being read.
#[derive(Debug)]
pub struct Reader<'a> {
    file: Option<(PathBuf, toml::Table)>,
    env: &'a HashMap<String, String>,
    flags: HashMap<String, String>,
    problems: Vec<Problem>,
    origins: BTreeMap<String, Origin>,
}

impl Reader<'_> {
    /// The value of one key from the highest layer that has it; a bad one becomes a problem and
    /// the default stands in, so that reading goes on.
    pub fn value<T: Value>(&mut self, path: &str, default: T) -> T {
        let env = env_name(path);
        let (origin, read) = if let Some(text) = self.flags.get(path) {
            (Origin::Flag(flag_name(path)), T::parse(text))
        } else if let Some(text) = self.env.get(&env) {
            (Origin::Environment(env), T::parse(text))
        } else if let Some((file, value)) = self.in_file(path) {
            (Origin::File(file), T::from_toml(value))
        } else if let Some((name, text)) =
            T::FALLBACK_ENV.and_then(|name| Some((name, self.env.get(name)?)))
        {
            (Origin::Environment(name.to_owned()), T::parse(text))
        } else {
            self.origins.insert(path.to_owned(), Origin::Default);
            return default;
        };
        match read {
            Ok(value) => {
                self.origins.insert(path.to_owned(), origin);
                value
            }
            Err(message) => {
                self.problems.push(Problem {
                    path: path.to_owned(),
                    origin: Some(origin),
                    message,
                    remedy: format!("write {}", T::expected()),
                });
                default
            }
        }
    }

    fn in_file(&self, path: &str) -> Option<(PathBuf, &toml::Value)> {
        let (file, table) = self.file.as_ref()?;
        let mut steps = path.split('.');
        let first = table.get(steps.next()?)?;
        let value = steps.try_fold(first, |value, step| value.as_table()?.get(step))?;
        Some((file.clone(), value))
    }
}

/// Reads a configuration from arguments (the first is the program's name) and an environment.
///
/// # Errors
/// Every problem of every layer together.
pub fn load<C: Config>(
    program: &Program,
    argv: impl IntoIterator<Item = OsString>,
    env: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Loaded<C>, ConfigErrors> {
    let entries = describe::<C>();
    let keys: Vec<&Key> = entries
        .iter()
        .filter_map(|entry| match entry {
            Entry::Key(key) => Some(key),
            Entry::Section { .. } => None,
        })
        .collect();
    let mut problems = Vec::new();

    let matches = match arguments(program, &keys, argv.into_iter().collect(), &mut problems) {
        Ok(matches) => matches,
        Err(text) => return Ok(Loaded::Print(text)),
    };
    let (env, warnings) = environment(&keys, env, &mut problems);
    let file = matches
        .get_one::<PathBuf>("--config")
        .cloned()
        .or_else(|| env.get("EDGEIO_CONFIG").map(PathBuf::from))
        .and_then(|path| Some((path.clone(), read_file(path, &mut problems)?)));
    if let Some((path, table)) = &file {
        unknown_keys(path, "", table, &entries, &mut problems);
    }

    let flags = keys
        .iter()
        .filter(|key| !key.secret)
        .filter_map(|key| {
            let given: Vec<&String> = matches.get_many::<String>(&key.path)?.collect();
            let text = if key.many {
                given
                    .iter()
                    .map(|text| text.as_str())
                    .collect::<Vec<_>>()
                    .join(",")
            } else {
                (*given.last()?).clone()
            };
            Some((key.path.clone(), text))
        })
        .collect();
    let mut reader = Reader {
        file,
        env: &env,
        flags,
        problems,
        origins: BTreeMap::new(),
    };
    let config = C::read(C::default(), "", &mut reader);
    let Reader {
        mut problems,
        origins,
        ..
    } = reader;
    config.validate_at("", &mut problems);

    if !problems.is_empty() {
        return Err(ConfigErrors {
            program: program.name.to_owned(),
            problems,
        });
    }
    if matches.get_flag("--print-config") {
        return Ok(Loaded::Print(super::print(program, &config, &origins)));
    }
    Ok(Loaded::Run(Effective {
        config,
        origins,
        warnings,
    }))
}

/// [`load`] for a `main`: prints what was asked for or all problems.
///
/// # Errors
/// The exit code: 0 after printing, 64 after problems.
pub fn from_process<C: Config>(program: &Program) -> Result<Effective<C>, ExitCode> {
    match load(program, std::env::args_os(), std::env::vars_os()) {
        Ok(Loaded::Run(effective)) => Ok(effective),
        Ok(Loaded::Print(text)) => {
            // A closed pipe (`| head`) is the reader's choice, not our failure.
            let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
            Err(ExitCode::SUCCESS)
        }
        Err(errors) => {
            let _ = writeln!(std::io::stderr(), "{errors}");
            Err(ExitCode::from(ConfigErrors::EXIT_CODE))
        }
    }
}

fn command(program: &Program, keys: &[&Key]) -> Command {
    let base = Command::new(program.name)
        .version(program.version)
        .about(program.about)
        .after_help(
            "Every setting can also stand in the file (TOML) or in its environment variable;\n\
             flags win over the environment, the environment over the file. Secrets have no flag.",
        )
        .arg(
            Arg::new("--config")
                .long("config")
                .value_name("FILE")
                .value_parser(clap::value_parser!(PathBuf))
                .help("Read settings from this TOML file [env: EDGEIO_CONFIG]"),
        )
        .arg(
            Arg::new("--print-config")
                .long("print-config")
                .action(ArgAction::SetTrue)
                .help("Print the effective settings with their descriptions, and exit"),
        );
    keys.iter().fold(base, |command, key| {
        let Some(flag) = key.flag() else {
            return command;
        };
        let default = key
            .default
            .as_ref()
            .map(|value| format!(" [default: {}]", value.to_string().trim_matches('"')))
            .unwrap_or_default();
        let doc = key.doc.replace('\n', " ");
        let arg = Arg::new(key.path.clone())
            .long(flag)
            .action(ArgAction::Append)
            .value_name("VALUE")
            .help(format!("{doc} [env: {}]{default}", key.env()));
        command.arg(if key.switch {
            arg.num_args(0..=1)
                .require_equals(true)
                .default_missing_value("true")
        } else {
            arg.allow_hyphen_values(true)
        })
    })
}

/// Parses the flags. Each unknown one becomes a problem and is taken out, so that the others are
/// still read. `Err` is text to print.
fn arguments(
    program: &Program,
    keys: &[&Key],
    mut argv: Vec<OsString>,
    problems: &mut Vec<Problem>,
) -> Result<ArgMatches, String> {
    loop {
        let error = match command(program, keys).try_get_matches_from(&argv) {
            Ok(matches) => return Ok(matches),
            Err(error) => error,
        };
        if matches!(
            error.kind(),
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
        ) {
            return Err(error.render().to_string());
        }
        let text = |kind| match error.get(kind) {
            Some(ContextValue::String(text)) => Some(text.clone()),
            Some(ContextValue::Strings(texts)) => texts.first().cloned(),
            _ => None,
        };
        let bad = text(ContextKind::InvalidArg);
        let at = bad
            .as_ref()
            .filter(|_| error.kind() == ErrorKind::UnknownArgument)
            .and_then(|bad| {
                argv.iter().skip(1).position(|arg| {
                    arg.to_str().is_some_and(|arg| {
                        arg.split('=').next() == Some(bad.as_str()) || arg == bad
                    })
                })
            });
        let Some(at) = at.map(|at| at + 1) else {
            let rendered = error.render().to_string();
            let first = rendered.lines().next().unwrap_or_default();
            problems.push(Problem {
                path: bad.unwrap_or_else(|| "arguments".to_owned()),
                origin: None,
                message: first.trim_start_matches("error: ").to_owned(),
                remedy: "see --help".to_owned(),
            });
            return command(program, keys)
                .ignore_errors(true)
                .try_get_matches_from(&argv)
                .map_err(|error| error.render().to_string());
        };
        let bad = bad.unwrap_or_default();
        let remedy = text(ContextKind::SuggestedArg).map_or_else(
            || "remove it, or see --help".to_owned(),
            |near| format!("did you mean `{near}`?"),
        );
        let message = if bad.starts_with('-') {
            "no such flag"
        } else {
            "not a flag"
        };
        problems.push(Problem {
            path: bad,
            origin: None,
            message: message.to_owned(),
            remedy,
        });
        // `--bogus value`: nothing here takes positional arguments, so the value goes with it.
        let has_value = argv
            .get(at)
            .and_then(|arg| arg.to_str())
            .is_some_and(|arg| arg.starts_with('-') && !arg.contains('='))
            && argv
                .get(at + 1)
                .is_some_and(|next| !next.to_string_lossy().starts_with('-'));
        argv.drain(at..=at + usize::from(has_value));
    }
}

/// Takes what concerns us from the environment.
fn environment(
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
            let near = names
                .iter()
                .find(|candidate| strsim::damerau_levenshtein(candidate, &name) <= 2);
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

fn read_file(path: PathBuf, problems: &mut Vec<Problem>) -> Option<toml::Table> {
    let mut fail = |message: String, remedy: &str| {
        problems.push(Problem {
            path: path.display().to_string(),
            origin: None,
            message,
            remedy: remedy.to_owned(),
        });
    };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => {
            fail(
                format!("cannot be read: {error}"),
                "check the path given by --config",
            );
            return None;
        }
    };
    match text.parse() {
        Ok(table) => Some(table),
        Err(error) => {
            let error: toml::de::Error = error;
            let line = error
                .span()
                .and_then(|span| text.get(..span.start))
                .map_or(1, |before| before.matches('\n').count() + 1);
            fail(
                format!("line {line}: {}", error.message()),
                "write TOML; --print-config prints a complete example",
            );
            None
        }
    }
}

fn unknown_keys(
    file: &std::path::Path,
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
