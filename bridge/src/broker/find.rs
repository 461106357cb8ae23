//! Where nats-server is found: `EDGEIO_TOOLS`, beside this program, in the clone that built it, on `PATH`.
//!
//! The working directory is never searched: whoever can write there would choose what is run.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::BrokerError;

const NAME: &str = "nats-server";

/// Finds nats-server.
///
/// # Errors
/// [`BrokerError::Missing`], which says where it was looked for and how to get it.
pub fn find() -> Result<PathBuf, BrokerError> {
    let mut places: Vec<PathBuf> = env::var_os("EDGEIO_TOOLS")
        .map(PathBuf::from)
        .into_iter()
        .collect();
    if let Ok(program) = env::current_exe() {
        places.extend(program.parent().map(Path::to_owned));
        places.extend(clone_tools(&program));
    }
    places.extend(env::var_os("PATH").iter().flat_map(env::split_paths));
    find_in(&places)
}

/// `.tools/bin` beside the `target` directory that holds a program built by cargo.
fn clone_tools(program: &Path) -> Option<PathBuf> {
    let target = program
        .ancestors()
        .find(|dir| dir.file_name() == Some(OsStr::new("target")))?;
    Some(target.parent()?.join(".tools/bin"))
}

fn find_in(places: &[PathBuf]) -> Result<PathBuf, BrokerError> {
    places
        .iter()
        .filter(|place| place.is_absolute())
        .map(|place| place.join(NAME))
        .find(|candidate| is_program(candidate))
        .ok_or_else(|| BrokerError::Missing {
            looked: places
                .iter()
                .map(|p| p.display().to_string())
                .collect::<Vec<_>>()
                .join(", "),
        })
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_place_that_holds_a_program_wins() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let place = |name: &str| dir.path().join(name);
        for name in ["data", "first", "second"] {
            std::fs::create_dir(place(name)).unwrap();
            std::fs::write(place(name).join(NAME), "").unwrap();
        }
        for name in ["first", "second"] {
            let mode = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(place(name).join(NAME), mode).unwrap();
        }
        let places = [
            place("none"),
            place("data"),
            "first".into(),
            place("first"),
            place("second"),
        ];
        assert_eq!(find_in(&places).unwrap(), place("first").join(NAME));
        let text = find_in(&places[..3]).unwrap_err().to_string();
        assert!(
            text.contains("make tools") && text.contains("/none, "),
            "{text}"
        );
    }

    #[test]
    fn a_program_built_in_a_clone_finds_its_tools() {
        let tools = |program: &str| clone_tools(Path::new(program));
        assert_eq!(
            tools("/c/target/debug/deps/t-1"),
            Some("/c/.tools/bin".into())
        );
        assert_eq!(tools("/usr/bin/edgeio"), None);
    }
}
