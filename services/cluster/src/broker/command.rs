//! `edgeio-cluster nats-config`: writes what a nats-server needs to know of this cluster.

use std::{
    ffi::OsString,
    fs, io,
    io::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};

use edgeio_server::{
    config::{Check, Flat, Program, Validate},
    launch::{Threads, launch_with},
    telemetry::TelemetryConfig,
};

use super::{
    keys::{DIRECTORY, Keys, KeysError},
    server::{self, Listeners, TlsFiles, render},
    token::MintError,
};

/// What is said on the command line.
const WORD: &str = "nats-config";

/// The command.
const PROGRAM: Program = Program {
    name: "edgeio-cluster nats-config",
    version: env!("CARGO_PKG_VERSION"),
    about: "Writes the configuration of this cluster's nats-server, which then lets in whom the cluster let in: nats-server -c FILE.",
};

/// The file that is written.
pub const CONFIGURATION: &str = "nats-server.conf";
/// The directory, beside that file, in which a broker keeps the accounts that it is told of.
pub const ACCOUNTS: &str = "accounts";

edgeio_server::config! {
    /// What `edgeio-cluster nats-config` reads.
    pub struct NatsConfig {
        /// The cluster's data directory, where its keys are, or will be if the cluster was not started yet.
        pub data_dir: PathBuf = PathBuf::from("/var/lib/edgeio-cluster"),
        /// The directory to write `nats-server.conf` into; the broker keeps accounts below it. Empty: `nats` in the data directory.
        pub out: PathBuf,
        /// Where the broker listens.
        pub listen: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 4222)),
        /// Where the broker listens for WebSocket, for sites that let out nothing but HTTPS: such as `0.0.0.0:443`.
        pub websocket: Option<SocketAddr>,
        /// Where the broker serves its monitoring pages, which show who is connected: a loopback address, or nothing.
        pub monitor: Option<SocketAddr>,
        /// The broker's certificate chain (PEM): TLS on all its listeners.
        pub tls_cert: PathBuf,
        /// The key of that certificate (PEM).
        pub tls_key: PathBuf,
        /// Allow a broker without TLS on an address that other machines reach. Credentials stay safe, since no secret is sent;
        /// what workers are told and say can be read and changed on the way.
        pub insecure: bool = false,
        /// Most workers and bridges at a time.
        // Ten thousand workers, and as many connections that are being made anew.
        pub max_connections: u32 = 20_000,
        /// Logging.
        pub telemetry: Flat<TelemetryConfig>,
    }
}

impl Validate for NatsConfig {
    fn validate(&self, check: &mut Check<'_>) {
        let loopback = |address: SocketAddr| address.ip().to_canonical().is_loopback();
        let tls = !self.tls_cert.as_os_str().is_empty();
        if tls == self.tls_key.as_os_str().is_empty() {
            check.fail(
                "tls_key",
                "a certificate and its key belong together",
                "give both `tls_cert` and `tls_key`, or neither",
            );
        }
        let listens = [("listen", Some(self.listen)), ("websocket", self.websocket)];
        for (field, address) in listens {
            if let Some(address) = address
                && !tls
                && !self.insecure
                && !loopback(address)
            {
                let flag = check.flag("insecure");
                check.fail(
                    field,
                    format!("`{address}` can be reached from other machines and there is no TLS"),
                    format!("give `tls_cert` and `tls_key`, or allow it with {flag}"),
                );
            }
        }
        if let Some(monitor) = self.monitor
            && !loopback(monitor)
        {
            check.fail(
                "monitor",
                format!("`{monitor}` can be reached from other machines, and the pages ask nobody who they are"),
                "write a loopback address such as `127.0.0.1:8222`",
            );
        }
    }
}

/// Runs the command, if it is what these arguments (the program's name first) ask for.
pub fn dispatch(argv: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    let mut argv: Vec<OsString> = argv.collect();
    if argv.get(1).is_none_or(|word| word != WORD) {
        return None;
    }
    argv.remove(1);
    Some(launch_with(
        &PROGRAM,
        argv,
        Threads::One,
        |config: &NatsConfig| &config.telemetry,
        |config, _| run(config),
    ))
}

/// Why the configuration was not written.
#[derive(Debug, thiserror::Error)]
pub enum NatsConfigError {
    /// The keys cannot be had.
    #[error("open the broker's keys")]
    Keys(#[from] KeysError),
    /// They cannot sign.
    #[error("sign the broker's accounts")]
    Mint(#[from] MintError),
    /// A file cannot be written.
    #[error("write {}", path.display())]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Writes the configuration and answers where.
///
/// # Errors
/// See [`NatsConfigError`].
pub fn write(config: &NatsConfig) -> Result<PathBuf, NatsConfigError> {
    let keys = Keys::open(&config.data_dir, seconds_now())?;
    let out = if config.out.as_os_str().is_empty() {
        config.data_dir.join(DIRECTORY)
    } else {
        config.out.clone()
    };
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| NatsConfigError::Write { path, source }
    };
    let absolute = |path: &Path| std::path::absolute(path).map_err(failed(path));
    let out = absolute(&out)?;
    let accounts = out.join(ACCOUNTS);
    fs::create_dir_all(&accounts).map_err(failed(&accounts))?;
    let tls = if config.tls_cert.as_os_str().is_empty() {
        None
    } else {
        Some(TlsFiles {
            cert: absolute(&config.tls_cert)?,
            key: absolute(&config.tls_key)?,
        })
    };
    let listeners = Listeners {
        listen: config.listen,
        websocket: config.websocket,
        monitor: config.monitor,
        tls,
        max_connections: config.max_connections,
    };
    let text = render(&keys, &listeners, &accounts)?;
    let path = out.join(CONFIGURATION);
    replace(&path, &text).map_err(failed(&path))?;
    Ok(path)
}

/// What a program that runs this cluster's broker itself adds to its configuration; accounts are kept in `accounts`, which is made.
///
/// # Errors
/// See [`NatsConfigError`].
pub fn authority(data_dir: &Path, accounts: &Path) -> Result<String, NatsConfigError> {
    fs::create_dir_all(accounts).map_err(|source| NatsConfigError::Write {
        path: accounts.to_owned(),
        source,
    })?;
    let keys = Keys::open(data_dir, seconds_now())?;
    Ok(server::authority(&keys, accounts)?)
}

/// A broker that reloads reads the old text or the new one, never half of it.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension("conf.new");
    let mut file = fs::File::create(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)
}

/// As [`write()`], and says what to do next.
///
/// # Errors
/// See [`NatsConfigError`].
pub async fn run(config: NatsConfig) -> Result<(), NatsConfigError> {
    let path = write(&config)?;
    tracing::info!(path = %path.display(), "wrote the broker's configuration; start it with: nats-server -c PATH");
    Ok(())
}

/// Seconds since 1970, by the wall clock, as a broker counts.
pub(crate) fn seconds_now() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
