//! The configuration as an operator meets it: files, variables and flags in, values or one
//! report out.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::telemetry::{LogFormat, TelemetryConfig};

crate::config! {
    /// How to reach the parent.
    struct Uplink {
        /// Where the parent listens.
        parent: String = "127.0.0.1:10000".to_owned(),
        /// Longest pause between two attempts.
        backoff_cap: Duration = Duration::from_secs(30),
        /// Credential of this cluster.
        token: Option<Secret<String>>,
    }
}

impl Validate for Uplink {
    fn validate(&self, check: &mut Check<'_>) {
        if self.backoff_cap.is_zero() {
            check.fail(
                "backoff_cap",
                "a pause of zero hammers the parent",
                "write at least `1s`",
            );
        }
    }
}

crate::config! {
    /// A configuration with one of everything.
    struct Sample {
        /// Serving.
        serve: Flat<ServeConfig> = Flat(ServeConfig {
            listen: SocketAddr::from(([127, 0, 0, 1], 10100)),
            ..ServeConfig::default()
        }),
        /// Logging.
        telemetry: Flat<TelemetryConfig>,
        /// Directory of the database.
        /// Made when it does not exist.
        data_dir: PathBuf = "/var/lib/edgeio".into(),
        /// Name of this cluster.
        name: Option<String>,
        /// Most workers.
        max_workers: u16 = 500,
        /// Share of workers that may be replaced in a minute.
        share: f64 = 0.1,
        /// Runtimes to offer.
        runtimes: Vec<String> = vec!["docker".to_owned(), "process".to_owned()],
        /// Labels of this cluster.
        labels: BTreeMap<String, String>,
        /// The way to the parent.
        uplink: Uplink,
    }
}

impl Validate for Sample {}

const PROGRAM: Program = Program {
    name: "edgeio-sample",
    version: "1.2.3",
    about: "A sample of a binary.",
};

fn read(args: &[&str], env: &[(&str, &str)]) -> Result<Loaded<Sample>, ConfigErrors> {
    let argv = std::iter::once("edgeio-sample")
        .chain(args.iter().copied())
        .map(OsString::from);
    let env = env
        .iter()
        .map(|(k, v)| (OsString::from(k), OsString::from(v)));
    load(&PROGRAM, argv, env.collect::<Vec<_>>())
}

fn run(args: &[&str], env: &[(&str, &str)]) -> Effective<Sample> {
    match read(args, env) {
        Ok(Loaded::Run(effective)) => effective,
        other => panic!("expected a configuration, got {other:?}"),
    }
}

fn printed(args: &[&str], env: &[(&str, &str)]) -> String {
    match read(args, env) {
        Ok(Loaded::Print(text)) => text,
        other => panic!("expected text, got {other:?}"),
    }
}

fn problems(args: &[&str], env: &[(&str, &str)]) -> String {
    match read(args, env) {
        Err(errors) => errors.to_string(),
        Ok(loaded) => panic!("expected problems, got {loaded:?}"),
    }
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[test]
fn defaults_stand_alone() {
    let loaded = run(&[], &[]);
    assert_eq!(
        loaded.config.serve.listen.port(),
        10100,
        "a parent may change a section's default"
    );
    assert_eq!(loaded.config.uplink.backoff_cap, Duration::from_secs(30));
    assert!(
        loaded
            .origins
            .values()
            .all(|origin| *origin == Origin::Default)
    );
    assert!(loaded.warnings.is_empty());
}

#[test]
fn flags_win_over_environment_over_file() {
    let file = file(
        "listen = '127.0.0.1:1'\nname = 'file'\nmax_workers = 7\n[uplink]\nparent = 'file:1'\n",
    );
    let path = file.path().to_str().unwrap();
    let loaded = run(
        &[
            "--config",
            path,
            "--listen",
            "127.0.0.1:3",
            "--uplink-backoff-cap=1m 30s",
        ],
        &[
            ("EDGEIO_LISTEN", "127.0.0.1:2"),
            ("EDGEIO_NAME", "env"),
            ("PATH", "/bin"),
        ],
    );
    assert_eq!(loaded.config.serve.listen.port(), 3);
    assert_eq!(loaded.config.name.as_deref(), Some("env"));
    assert_eq!(loaded.config.max_workers, 7);
    assert_eq!(loaded.config.uplink.parent, "file:1");
    assert_eq!(loaded.config.uplink.backoff_cap, Duration::from_secs(90));
    assert_eq!(loaded.origins["listen"], Origin::Flag("listen".to_owned()));
    assert_eq!(
        loaded.origins["name"],
        Origin::Environment("EDGEIO_NAME".to_owned())
    );
    assert_eq!(loaded.origins["max_workers"], Origin::File(path.into()));
}

#[test]
fn the_file_may_be_named_by_the_environment() {
    let file = file("name = 'from-file'\n");
    let loaded = run(&[], &[("EDGEIO_CONFIG", file.path().to_str().unwrap())]);
    assert_eq!(loaded.config.name.as_deref(), Some("from-file"));
}

#[test]
fn all_problems_are_reported_together_with_their_remedies() {
    let file = file(
        "lisen = '127.0.0.1:1'\nmax_workers = 70000\nshare = 'much'\nbackoff_cap = '1s'\n\
         [uplink]\nbackoff_cap = 30\ntoken = 17\n",
    );
    let path = file.path().to_str().unwrap();
    let text = problems(
        &[
            "--config",
            path,
            "--bogus",
            "x",
            "--insecured",
            "--log-format",
            "xml",
        ],
        &[
            ("EDGEIO_LISTN", "127.0.0.1:2"),
            ("EDGEIO_DRAIN_TIMEOUT", "soon"),
            ("EDGEIO_LISTEN", "here"),
        ],
    );
    for expected in [
        "edgeio-sample: 12 problems in the configuration",
        "--bogus: no such flag",
        "--insecured: no such flag\n    did you mean `--insecure`?",
        "EDGEIO_LISTN: no such setting\n    did you mean `EDGEIO_LISTEN`?",
        "lisen (file ",
        "did you mean `listen`?",
        "backoff_cap (file ",
        "did you mean `uplink.backoff_cap`?",
        "max_workers (file ",
        "`70000` is out of range\n    write a whole number from 0 to 65535",
        "share (file ",
        "uplink.backoff_cap (file ",
        "`30` has no unit\n    write a duration such as `15s`",
        "uplink.token (file ",
        "log_format (flag --log-format): `xml` is none of its words\n    write `text` or `json`",
        "drain_timeout (environment EDGEIO_DRAIN_TIMEOUT): `soon` is no duration",
        "listen (environment EDGEIO_LISTEN): `here` is not an IP address and a port",
    ] {
        assert!(text.contains(expected), "missing `{expected}` in:\n{text}");
    }
    assert!(!text.contains("17"), "a secret is quoted in:\n{text}");
}

#[test]
fn a_broken_file_is_named_with_its_line_and_hides_nothing_else() {
    let file = file("name = 'a'\nlisten = \n");
    let path = file.path().to_str().unwrap();
    let text = problems(&["--config", path, "--max-workers", "many"], &[]);
    assert!(text.contains(&format!("{path}: line 2: ")), "{text}");
    assert!(
        text.contains("max_workers (flag --max-workers): "),
        "{text}"
    );
    let text = problems(&["--config", "/nonexistent/edgeio.toml"], &[]);
    assert!(
        text.contains("/nonexistent/edgeio.toml: cannot be read"),
        "{text}"
    );
}

#[test]
fn a_flag_without_its_value_is_a_problem_beside_the_others() {
    let text = problems(&["--max-workers", "many", "--listen"], &[]);
    assert!(text.contains("--listen"), "{text}");
    assert!(
        text.contains("max_workers (flag --max-workers): "),
        "{text}"
    );
}

#[test]
fn the_bind_rule_names_the_field_and_the_remedy() {
    let text = problems(&["--listen", "0.0.0.0:10000"], &[]);
    assert!(
        text.contains("listen: `0.0.0.0:10000` can be reached from other machines"),
        "{text}"
    );
    assert!(
        text.contains("`127.0.0.1:10000`, encrypt and ask for credentials with --tls builtin, or allow it with --insecure"),
        "{text}"
    );
    assert!(
        run(&["--listen", "0.0.0.0:10000", "--insecure"], &[])
            .config
            .serve
            .insecure
    );
    assert!(!run(&["--insecure=false"], &[]).config.serve.insecure);
    let secure = run(&["--listen", "0.0.0.0:10000", "--tls", "builtin"], &[]);
    assert!(!secure.config.serve.insecure);
    run(&["--listen", "[::1]:10000"], &[]);
    run(&["--listen", "[::ffff:127.0.0.1]:10000"], &[]);
}

#[test]
fn rules_of_a_section_name_the_whole_path() {
    let text = problems(&["--uplink-backoff-cap", "0s"], &[]);
    assert!(
        text.contains("uplink.backoff_cap: a pause of zero"),
        "{text}"
    );
}

#[test]
fn variables_of_others_are_only_a_warning() {
    let loaded = run(
        &[],
        &[
            ("EDGEIO_ROOT_PORT", "tcp://10.0.0.1:10000"),
            ("EDGEIO_SERVER", "x"),
            ("EDGEIO_FOO", ""),
        ],
    );
    assert_eq!(loaded.warnings.len(), 2, "{:?}", loaded.warnings);
    assert!(loaded.warnings[1].contains("EDGEIO_ROOT_PORT"));
}

#[test]
fn printed_configuration_reads_back() {
    let args = [
        "--listen=127.0.0.1:4",
        "--name",
        "site \"a\" # 1",
        "--runtimes",
        "docker",
        "--runtimes",
        "containerd",
        "--labels",
        "zone=a,tier=1",
        "--share",
        "0.25",
        "--log-format",
        "json",
        "--uplink-backoff-cap",
        "1m 5s",
        "--data-dir",
        "/tmp/x y",
    ];
    let env = [("EDGEIO_UPLINK_TOKEN", "hush-hush")];
    let text = printed(&[&args[..], &["--print-config"]].concat(), &env);
    assert!(!text.contains("hush"), "a secret is printed:\n{text}");
    assert!(
        text.contains("# Directory of the database.\n# Made when it does not exist.\n"),
        "{text}"
    );
    assert!(
        text.contains("# This value: flag --listen.\nlisten = \"127.0.0.1:4\""),
        "{text}"
    );
    assert!(text.contains("# token is set and secret"), "{text}");
    assert!(
        text.contains("# The way to the parent.\n[uplink]\n"),
        "{text}"
    );

    let file = file(&text);
    let path = file.path().to_str().unwrap();
    let (mut before, mut after) = (Vec::new(), Vec::new());
    run(&args, &env).config.write("", &mut before);
    let back = run(&["--config", path], &env);
    back.config.write("", &mut after);
    assert_eq!(before, after);
    assert_eq!(back.config.uplink.token.unwrap().expose(), "hush-hush");
    assert_eq!(back.config.telemetry.log_format, LogFormat::Json);

    // And what is printed of what was read is the same settings again.
    let again = printed(&["--config", path, "--print-config"], &env);
    let settings = |text: &str| -> Vec<String> {
        text.lines()
            .filter(|line| !line.starts_with('#'))
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(settings(&text), settings(&again));
}

#[test]
fn defaults_print_and_read_back() {
    let file = file(&printed(&["--print-config"], &[]));
    run(&["--config", file.path().to_str().unwrap()], &[]);
}

#[test]
fn help_and_version_tell_every_flag_and_no_secret() {
    // Lines are wrapped at the terminal's width.
    let help = printed(&["--help"], &[])
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    for expected in [
        "A sample of a binary.",
        "--config <FILE>",
        "--print-config",
        "--uplink-backoff-cap <VALUE>",
        "[env: EDGEIO_UPLINK_BACKOFF_CAP] [default: 30s]",
        "[env: EDGEIO_RUNTIMES] [default: docker,process]",
        "[env: EDGEIO_LABELS] --uplink-parent",
        "--insecure",
    ] {
        assert!(help.contains(expected), "missing `{expected}` in:\n{help}");
    }
    assert!(!help.contains("--uplink-token"), "{help}");
    assert_eq!(printed(&["--version"], &[]).trim(), "edgeio-sample 1.2.3");
}

#[test]
fn every_key_has_a_page_and_its_own_names() {
    let keys = keys::<Sample>();
    let mut names: Vec<String> = keys.iter().map(Key::env).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), keys.len());
    assert!(keys.iter().all(|key| !key.doc.is_empty()), "{keys:?}");
    let page = reference::<Sample>();
    assert!(
        page.contains("- `uplink.token`: Credential of this cluster. Default: none."),
        "{page}"
    );
}

#[test]
fn a_secret_hides_from_debug() {
    let loaded = run(&[], &[("EDGEIO_UPLINK_TOKEN", "hush-hush")]);
    assert!(!format!("{:?}", loaded.config).contains("hush"));
}
