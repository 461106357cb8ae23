//! A running `edgeio dev`, as a user has it in a terminal.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

/// Long for every step on a machine that builds beside; each takes a second or two.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) const EDGEIO: &str = env!("CARGO_BIN_EXE_edgeio");

/// It, and where it can be reached. Dropping it removes its jobs.
pub(crate) struct Dev {
    child: Child,
    pub(crate) root: String,
    pub(crate) cluster: String,
}

impl Dev {
    /// Starts it on free ports and waits until it says that all runs.
    pub(crate) fn start(data: &Path, more: &[&str]) -> Self {
        let mut child = Command::new(EDGEIO)
            .args([
                "dev",
                "--root-listen",
                "127.0.0.1:0",
                "--cluster-listen",
                "127.0.0.1:0",
            ])
            .arg("--data-dir")
            .arg(data)
            .args(more)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        while !said.contains("Ctrl-C stops it") {
            if lines.read_line(&mut said).unwrap() == 0 {
                let _ = child.kill();
                panic!("it ended ({:?}) and said:\n{said}", child.wait());
            }
        }
        let address = |part: &str| {
            let line = said
                .lines()
                .find(|line| line.starts_with(part))
                .unwrap_or_default();
            line.split_whitespace()
                .nth(1)
                .unwrap_or_default()
                .to_owned()
        };
        let (root, cluster) = (address("root"), address("cluster"));
        assert!(
            root.starts_with("127.0.0.1:") && cluster.starts_with("127.0.0.1:"),
            "{said}"
        );
        Self {
            child,
            root,
            cluster,
        }
    }

    /// Runs `edgeio` against its root.
    pub(crate) fn edgeio(&self, arguments: &[&str]) -> Output {
        Command::new(EDGEIO)
            .args(arguments)
            .env("EDGEIO_SERVER", &self.root)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// The same; it must succeed.
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let output = self.edgeio(arguments);
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{arguments:?}: {}\n{out}\n{err}",
            output.status
        );
        out
    }

    /// Presses Ctrl-C and waits for the end.
    pub(crate) fn interrupt(mut self) {
        self.signal(Signal::INT);
        let status = self.wait();
        assert!(status.is_some_and(|status| status.success()), "{status:?}");
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).unwrap();
        // One that has ended already needs no signal.
        let _ = kill_process(Pid::from_raw(pid).unwrap(), signal);
    }

    fn wait(&mut self) -> Option<std::process::ExitStatus> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        None
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        self.signal(Signal::INT);
        if self.wait().is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
