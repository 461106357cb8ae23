//! Programs that a bench runs: each with a log, each ended by its own id when it is dropped.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{self, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

/// How long a program may take to begin to serve, on a machine that is busy with it.
const START: Duration = Duration::from_secs(30);
/// How long a program may take to end by itself.
const STOP: Duration = Duration::from_secs(10);

/// A running program.
pub(crate) struct Child {
    name: String,
    log: PathBuf,
    process: process::Child,
}

impl Child {
    /// Starts `program`; what it prints goes to `NAME.log` in `dir`.
    pub(crate) fn start<'a>(
        name: &str,
        program: &Path,
        args: impl IntoIterator<Item = &'a str>,
        env: &[(&str, &str)],
        dir: &Path,
    ) -> Result<Self> {
        let log = dir.join(format!("{name}.log"));
        let out = fs::File::create(&log).with_context(|| format!("make {}", log.display()))?;
        let process = process::Command::new(program)
            .args(args)
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(out.try_clone().context("share the log")?)
            .stderr(out)
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        Ok(Self {
            name: name.to_owned(),
            log,
            process,
        })
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Waits until `ready`; says what it printed last if it ends or takes too long.
    pub(crate) fn wait_until(&mut self, what: &str, ready: impl Fn() -> bool) -> Result<()> {
        let until = Instant::now() + START;
        while !ready() {
            let ended = self.process.try_wait().context("look at a child")?;
            if ended.is_some() || Instant::now() > until {
                let log = fs::read_to_string(&self.log).unwrap_or_default();
                let lines: Vec<&str> = log.lines().rev().take(10).collect();
                let tail: Vec<&str> = lines.into_iter().rev().collect();
                let how = ended.map_or("is not".to_owned(), |status| {
                    format!("ended ({status}) before it was")
                });
                bail!(
                    "{} {how} {what}; its last lines:\n{}",
                    self.name,
                    tail.join("\n")
                );
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Waits until something listens on `address`.
    pub(crate) fn wait_for_port(&mut self, address: SocketAddr) -> Result<()> {
        self.wait_until(&format!("listening on {address}"), || {
            TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok()
        })
    }
}

impl Drop for Child {
    /// Asks it to end, and ends it when it does not.
    fn drop(&mut self) {
        let pid = i32::try_from(self.process.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            // Gone already is what was wanted.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let until = Instant::now() + STOP;
        while Instant::now() < until {
            if !matches!(self.process.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A free port on loopback. Another program could take it before it is used; the user's start then fails with words.
pub(crate) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?;
    Ok(listener.local_addr().context("find a free port")?.port())
}

/// An address on loopback.
pub(crate) fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// A fresh directory below `parent`.
pub(crate) fn fresh_dir(parent: &Path, name: &str) -> Result<PathBuf> {
    fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))?;
    // Absolute: what is started there may change its own directory.
    let dir = parent
        .canonicalize()
        .with_context(|| format!("find {}", parent.display()))?
        .join(format!("{name}.{}", process::id()));
    if dir.exists() {
        fs::remove_dir_all(&dir).with_context(|| format!("empty {}", dir.display()))?;
    }
    fs::create_dir_all(&dir).with_context(|| format!("make {}", dir.display()))?;
    Ok(dir)
}
