//! A containerd of a story's own, with its own store and socket: killing it harms nobody else.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use super::eventually;

/// A running containerd.
#[derive(Debug)]
pub struct Containerd {
    dir: TempDir,
    process: Option<Child>,
}

impl Containerd {
    /// Starts one with an empty store. It ends with the calling thread at the latest.
    ///
    /// # Errors
    /// It is not installed, or does not answer.
    pub async fn start() -> Result<Self> {
        let dir = TempDir::new()?;
        let config = format!(
            "version = 2\nroot = \"{0}/root\"\nstate = \"{0}/state\"\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
             [grpc]\naddress = \"{0}/c.sock\"\n[ttrpc]\naddress = \"{0}/c.sock.ttrpc\"\n\
             [plugins.\"io.containerd.internal.v1.opt\"]\npath = \"{0}/opt\"\n",
            dir.path().display(),
        );
        fs::write(dir.path().join("config.toml"), config)?;
        let mut engine = Self { dir, process: None };
        engine.run().await?;
        Ok(engine)
    }

    /// Its Unix socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("c.sock")
    }

    /// Runs the daemon, again after [`Containerd::kill`].
    ///
    /// # Errors
    /// It is not installed, or does not answer.
    pub async fn run(&mut self) -> Result<()> {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.dir.path().join("log"))?;
        let started = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "containerd", "-c"])
            .arg(self.dir.path().join("config.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.process = Some(started.context("start containerd")?);
        eventually("containerd answers", async || {
            let asked = self.ctr(&["version"])?;
            ensure!(asked.status.success(), "{asked:?}");
            Ok(())
        })
        .await
    }

    /// Kills the daemon with -9; its shims go on.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill(&mut self) -> Result<()> {
        let mut process = self.process.take().context("containerd does not run")?;
        process.kill()?;
        process.wait()?;
        Ok(())
    }

    /// Asks by the engine's own tool, in the namespace of workers.
    ///
    /// # Errors
    /// The tool is not installed.
    pub fn ctr(&self, args: &[&str]) -> Result<Output> {
        let mut ctr = Command::new("ctr");
        ctr.arg("--address").arg(self.socket());
        ctr.args(["--namespace", "edgeio"]).args(args);
        ctr.output().context("run ctr")
    }

    /// Takes an image over from the Docker Engine.
    ///
    /// # Errors
    /// One of the two refused.
    pub fn take(&self, image: &str) -> Result<()> {
        let file = self.dir.path().join("image.tar");
        let saved = Command::new("docker")
            .args(["save", "-o"])
            .arg(&file)
            .arg(image)
            .output()?;
        ensure!(saved.status.success(), "{saved:?}");
        let file = file.to_str().context("a path that is text")?;
        let taken = self.ctr(&["images", "import", file])?;
        ensure!(taken.status.success(), "{taken:?}");
        Ok(())
    }

    /// The containers, tasks and snapshots of instances that it holds, by its own tool.
    ///
    /// # Errors
    /// It does not answer.
    pub fn holds(&self) -> Result<Vec<String>> {
        let mut all = Vec::new();
        for kind in ["containers", "tasks"] {
            let listed = self.ctr(&[kind, "ls", "-q"])?;
            ensure!(listed.status.success(), "{listed:?}");
            let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
            all.extend(listed.lines().map(|id| format!("{kind} {id}")));
        }
        Ok(all)
    }

    /// The process ids of what runs, by container.
    ///
    /// # Errors
    /// It does not answer.
    pub fn tasks(&self) -> Result<BTreeMap<String, String>> {
        let listed = self.ctr(&["tasks", "ls"])?;
        ensure!(listed.status.success(), "{listed:?}");
        let text = String::from_utf8(listed.stdout)?;
        let line = |line: &str| {
            let mut words = line.split_whitespace();
            Some((words.next()?.to_owned(), words.next()?.to_owned()))
        };
        Ok(text.lines().skip(1).filter_map(line).collect())
    }

    /// Its directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }
}

impl Containerd {
    /// Removes whatever still runs, by the daemon: its shims and their jobs would outlive it.
    fn sweep(&self) -> Result<()> {
        let listed = self.ctr(&["containers", "ls", "-q"])?;
        for id in String::from_utf8_lossy(&listed.stdout).lines() {
            // A container without a task has nothing to kill.
            self.ctr(&["tasks", "rm", "-f", id])?;
            self.ctr(&["containers", "rm", id])?;
        }
        Ok(())
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // The story is over: a failure here would hide its own.
            let _ = self.sweep();
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
