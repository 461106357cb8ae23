//! Reading the layers: flags over environment over file over defaults, all problems at once.
//!
//! [`Reader`] picks each key's layer; what no key claims is looked at by `arguments` (flags) and
//! `strays` (variables and the file).

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use super::arguments::arguments;
use super::strays::{environment, unknown_keys};
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
    from_arguments(program, std::env::args_os())
}

/// [`from_process`] with other arguments than the process's, the program's name first.
///
/// # Errors
/// As there.
pub fn from_arguments<C: Config>(
    program: &Program,
    argv: impl IntoIterator<Item = OsString>,
) -> Result<Effective<C>, ExitCode> {
    match load(program, argv, std::env::vars_os()) {
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
