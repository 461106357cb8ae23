//! The flags: one for each key that is no secret, parsed by clap, every bad one reported.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::{Key, Problem, Program};

fn command(program: &Program, keys: &[&Key]) -> Command {
    let base = Command::new(program.name)
        .bin_name(program.name)
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
            .map(as_argument)
            .filter(|text| !text.is_empty())
            .map(|text| format!(" [default: {text}]"))
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

/// A value as it is written in a flag.
fn as_argument(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Array(items) => items.iter().map(as_argument).collect::<Vec<_>>().join(","),
        toml::Value::Table(pairs) => {
            let pair = |(name, value)| format!("{name}={}", as_argument(value));
            pairs.iter().map(pair).collect::<Vec<_>>().join(",")
        }
        other => other.to_string(),
    }
}

/// Parses the flags. Each unknown one becomes a problem and is taken out, so that the others are
/// still read. `Err` is text to print.
pub(super) fn arguments(
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
