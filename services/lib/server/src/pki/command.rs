//! The commands `ca show`, `ca rotate` and `ca drop` of a serving binary.
//!
//! They read the same configuration as the server, so that they find the same directory, and work while it runs.

use std::{
    ffi::OsString,
    io,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{Known, Lives, Pki, PkiError};
use crate::config::{Config, Program, from_arguments};
use crate::status::chain;

/// Where a binary's authority is.
#[derive(Debug, Clone)]
pub struct Place {
    /// The data directory.
    pub data_dir: PathBuf,
    /// What the server is called in the names of its authorities.
    pub subject: String,
    /// How long they live.
    pub lives: Lives,
}

enum Verb {
    Show,
    Rotate,
    Drop(String),
}

/// What is written for `ca` without a known verb.
const USAGE: &str = "\
ca show          the certificate authorities that are valid now: hash, subject and end
ca rotate        make a new authority beside the old ones; a running server takes it up within seconds
ca drop HASH     end an older authority before its time
Further arguments are those of the server, such as --data-dir DIR or --config FILE.
";

/// Runs the command if the arguments (the program's name first) say `ca`; `None` if they do not.
pub fn dispatch<C: Config>(
    program: &Program,
    argv: impl IntoIterator<Item = OsString>,
    place: fn(&C) -> Place,
) -> Option<ExitCode> {
    let mut argv: Vec<OsString> = argv.into_iter().collect();
    if argv.get(1)? != "ca" {
        return None;
    }
    argv.remove(1);
    let mut word = || (argv.len() > 1).then(|| argv.remove(1).to_string_lossy().into_owned());
    let verb = match (word().as_deref(), &mut word) {
        (Some("show"), _) => Verb::Show,
        (Some("rotate"), _) => Verb::Rotate,
        (Some("drop"), next) => Verb::Drop(next().unwrap_or_default()),
        (Some("--help" | "-h"), _) => return Some(say(io::stdout(), USAGE, ExitCode::SUCCESS)),
        (Some(_) | None, _) => return Some(say(io::stderr(), USAGE, ExitCode::from(64))),
    };
    let effective = match from_arguments::<C>(program, argv) {
        Ok(effective) => effective,
        Err(code) => return Some(code),
    };
    let Place {
        data_dir,
        subject,
        lives,
    } = place(&effective.config);
    Some(match run(&Pki::new(&data_dir, &subject, lives), &verb) {
        Ok(text) => say(io::stdout(), &text, ExitCode::SUCCESS),
        Err(error) => say(
            io::stderr(),
            &format!("{}: {}\n", program.name, chain(&error)),
            ExitCode::FAILURE,
        ),
    })
}

fn run(pki: &Pki, verb: &Verb) -> Result<String, PkiError> {
    Ok(match verb {
        Verb::Show => {
            let all = pki.show()?;
            let last = all.len().saturating_sub(1);
            let told = all.iter().enumerate().rev();
            told.map(|(at, known)| {
                describe(
                    known,
                    if at == last {
                        "signs"
                    } else {
                        "is trusted still"
                    },
                )
            })
            .collect()
        }
        Verb::Rotate => describe(&pki.rotate()?, "is new and signs from now on"),
        Verb::Drop(hash) => describe(&pki.drop(hash)?, "is dropped"),
    })
}

fn describe(known: &Known, state: &str) -> String {
    format!(
        "{}\n  subject {}\n  valid   {} to {}\n  state   {state}\n",
        known.hash,
        known.subject,
        date(known.begins),
        date(known.ends)
    )
}

fn date(seconds: i64) -> String {
    let since = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    let at: SystemTime = UNIX_EPOCH + since;
    humantime::format_rfc3339_seconds(at).to_string()
}

fn say(mut out: impl io::Write, text: &str, code: ExitCode) -> ExitCode {
    // A reader that went away is no failure of the command.
    let _ = out.write_all(text.as_bytes());
    code
}
