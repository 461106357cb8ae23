//! A nats-server as a child process: for `edgeio dev`, for tests, and wherever one program starts everything.
//!
//! The child lives no longer than its parent, also when that is killed; it listens on what it is told (loopback, if
//! the caller follows the advice) and keeps nothing on disk but its configuration and log. Deliberately absent:
//! clusters of brokers, JetStream and TLS, which are for a broker that is run by people.

mod config;
mod find;
mod process;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rand::Rng as _;
use rustix::process::Signal;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

pub use find::find;
use process::Process;

/// How long a start may take. It takes some 50 ms; a machine that is short of everything gets a hundred times that.
const START_PATIENCE: Duration = Duration::from_secs(10);
/// How long a graceful stop may take before the child is killed. It has nothing to save.
const STOP_PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks at a child that starts.
const POLL: Duration = Duration::from_millis(20);
/// Between two starts of a child that ends by itself.
const RESTART_DELAY: Duration = Duration::from_secs(1);
/// Ports tried when any will do. Each is free when it is tried, so a second one is rarely needed.
const PORT_TRIES: u32 = 20;
/// Ports to choose from: below the range that the kernel gives to outgoing connections, so that a port can be taken
/// again when the child is started anew.
const PORTS: std::ops::Range<u16> = 10_240..32_768;

/// What a broker is started with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where it listens. Port 0 takes a free port; [`Broker::address`] tells which.
    pub listen: SocketAddr,
    /// Where its configuration and log go. Made when it does not exist.
    pub data_dir: PathBuf,
    /// Where it serves its monitoring pages, if anywhere. They show who is connected.
    pub monitor: Option<SocketAddr>,
    /// More of its configuration: whom it believes. Empty: it asks nobody who they are.
    pub authority: String,
}

/// A running nats-server. Dropping it kills it.
#[derive(Debug)]
pub struct Broker {
    binary: PathBuf,
    settings: Settings,
    process: Process,
}

/// A broker could not be started.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// There is no nats-server.
    #[error(
        "find nats-server: not in {looked}. Remedy: `make tools` in a clone gets it; elsewhere install the package \
         nats-server, or set EDGEIO_TOOLS to the directory that holds it"
    )]
    Missing {
        /// Where it was looked for.
        looked: String,
    },
    /// Its directory or a file in it cannot be written.
    #[error("write {}", path.display())]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The program cannot be started.
    #[error("start {}", binary.display())]
    Spawn {
        /// The program.
        binary: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It ended instead of listening.
    #[error("nats-server ended at its start ({status}): {log}")]
    Ended {
        /// How it ended.
        status: String,
        /// The end of its log.
        log: String,
    },
    /// Another program listens there.
    #[error("nats-server cannot listen on {address}: another program does")]
    Taken {
        /// The address.
        address: SocketAddr,
    },
    /// It does not answer.
    #[error("nats-server does not answer on {address} after {START_PATIENCE:?}: {log}")]
    Silent {
        /// The address.
        address: SocketAddr,
        /// The end of its log.
        log: String,
    },
}

impl Broker {
    /// Starts the nats-server at `binary` (see [`find`]) and waits until it accepts connections on `listen`.
    ///
    /// # Errors
    /// [`BrokerError`]; nothing is left running.
    pub async fn start(
        binary: &Path,
        listen: SocketAddr,
        data_dir: &Path,
    ) -> Result<Self, BrokerError> {
        let settings = Settings {
            listen,
            data_dir: data_dir.to_owned(),
            monitor: None,
            authority: String::new(),
        };
        Self::start_with(binary, settings).await
    }

    /// As [`Broker::start`], with all settings.
    ///
    /// # Errors
    /// [`BrokerError`]; nothing is left running.
    pub async fn start_with(binary: &Path, mut settings: Settings) -> Result<Self, BrokerError> {
        std::fs::create_dir_all(&settings.data_dir).map_err(|source| BrokerError::Write {
            path: settings.data_dir.clone(),
            source,
        })?;
        let any_port = settings.listen.port() == 0;
        let mut tries = 0;
        loop {
            if any_port {
                settings.listen.set_port(free_port(settings.listen.ip()));
            }
            match launch(binary, &settings).await {
                Ok(process) => {
                    return Ok(Self {
                        binary: binary.to_owned(),
                        settings,
                        process,
                    });
                }
                Err(BrokerError::Taken { .. }) if any_port && tries < PORT_TRIES => tries += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.settings.listen
    }

    /// The address as clients take it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://{}", self.settings.listen)
    }

    /// The child's process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Waits until the child has ended, and tells how.
    pub async fn exited(&self) -> String {
        self.process.exited().await
    }

    /// Kills the child, as a crash would, and waits for its end.
    pub async fn kill(&self) {
        self.process.signal(Signal::KILL);
        self.process.exited().await;
    }

    /// Starts a new child on the same address; the old one is killed if it lives.
    ///
    /// # Errors
    /// [`BrokerError`]; no child runs then.
    pub async fn restart(&mut self) -> Result<(), BrokerError> {
        self.kill().await;
        self.process = launch(&self.binary, &self.settings).await?;
        Ok(())
    }

    /// Ends the child gracefully; kills it if that takes too long.
    pub async fn stop(self) {
        self.process.signal(Signal::TERM);
        if timeout(STOP_PATIENCE, self.process.exited()).await.is_err() {
            self.kill().await;
        }
    }

    /// Keeps a child running until `stop`, then ends it.
    pub async fn keep(mut self, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        loop {
            let status = tokio::select! {
                () = &mut stop => return self.stop().await,
                status = self.process.exited() => status,
            };
            tracing::warn!(%status, "nats-server ended, starting another");
            while let Err(error) = tokio::select! {
                () = &mut stop => return,
                started = self.restart() => started,
            } {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "cannot start nats-server"
                );
                tokio::select! {
                    () = &mut stop => return,
                    () = sleep(RESTART_DELAY) => {}
                }
            }
        }
    }
}

/// Starts one child and waits until it answers with the name that this start gave it.
async fn launch(binary: &Path, settings: &Settings) -> Result<Process, BrokerError> {
    let name = format!("edgeio-{}", Uuid::new_v4());
    let path = settings.data_dir.join("nats-server.conf");
    std::fs::write(&path, config::render(&name, settings)).map_err(|source| {
        BrokerError::Write {
            path: path.clone(),
            source,
        }
    })?;
    let log_path = settings.data_dir.join("nats-server.log");
    // The log of the run before tells why that one ended.
    let _ = std::fs::rename(&log_path, settings.data_dir.join("nats-server.log.before"));
    let log = std::fs::File::create(&log_path).map_err(|source| BrokerError::Write {
        path: log_path.clone(),
        source,
    })?;
    let process =
        Process::spawn(binary, &path, log)
            .await
            .map_err(|source| BrokerError::Spawn {
                binary: binary.to_owned(),
                source,
            })?;

    let address = reachable(settings.listen);
    let deadline = Instant::now() + START_PATIENCE;
    loop {
        if let Some(status) = process.status() {
            let log = tail(&log_path);
            return Err(if log.contains("address already in use") {
                BrokerError::Taken {
                    address: settings.listen,
                }
            } else {
                BrokerError::Ended { status, log }
            });
        }
        match greeting(address).await {
            Some(text) if text.contains(&name) => return Ok(process),
            // Another program answers, so the child will say that the address is in use: wait for its end.
            Some(_) | None if Instant::now() < deadline => sleep(POLL).await,
            Some(_) => {
                return Err(BrokerError::Taken {
                    address: settings.listen,
                });
            }
            None => {
                return Err(BrokerError::Silent {
                    address,
                    log: tail(&log_path),
                });
            }
        }
    }
}

/// What a broker says first to whoever connects.
async fn greeting(address: SocketAddr) -> Option<String> {
    let read = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        let mut text = Vec::new();
        let mut buffer = [0; 1024];
        while !text.contains(&b'\n') && text.len() < 16 * buffer.len() {
            match stream.read(&mut buffer).await.ok()? {
                0 => break,
                read => text.extend_from_slice(buffer.get(..read)?),
            }
        }
        Some(String::from_utf8_lossy(&text).into_owned())
    };
    timeout(Duration::from_secs(1), read).await.ok().flatten()
}

fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// A port that nothing listens on now.
fn free_port(ip: IpAddr) -> u16 {
    let mut port = 0;
    for _ in 0..PORT_TRIES {
        port = rand::rng().random_range(PORTS);
        if TcpListener::bind((ip, port)).is_ok() {
            break;
        }
    }
    port
}

/// The end of a log, for an error that must explain itself.
fn tail(path: &Path) -> String {
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().rev().take(5).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("; ")
}
