//! A containerd of our own, with its own store and socket: killing it harms nobody else.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
};

use crate::{bed::eventually, images};

/// A running containerd and its directories.
pub(crate) struct Engine {
    dir: PathBuf,
    /// Its Unix socket.
    pub(crate) socket: PathBuf,
    process: Option<Child>,
}

impl Engine {
    /// Starts one with an empty store in `dir`, which does not exist yet.
    pub(crate) async fn start(dir: &Path) -> Self {
        fs::create_dir_all(dir).unwrap();
        let socket = dir.join("c.sock");
        let config = format!(
            "version = 2\nroot = \"{0}/root\"\nstate = \"{0}/state\"\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
             [grpc]\naddress = \"{1}\"\n[ttrpc]\naddress = \"{1}.ttrpc\"\n\
             [plugins.\"io.containerd.internal.v1.opt\"]\npath = \"{0}/opt\"\n",
            dir.display(),
            socket.display(),
        );
        fs::write(dir.join("config.toml"), config).unwrap();
        let mut engine = Self {
            dir: dir.to_owned(),
            socket,
            process: None,
        };
        engine.run().await;
        engine
    }

    /// Runs the daemon, again after a kill.
    pub(crate) async fn run(&mut self) {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.dir.join("log"))
            .unwrap();
        let mut command = Command::new("setpriv");
        // It ends with the thread that starts it: one that stays as long as the tests do.
        command
            .args(["--pdeathsig", "KILL", "containerd", "-c"])
            .arg(self.dir.join("config.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            sender.send(command.spawn()).unwrap();
            loop {
                std::thread::park();
            }
        });
        self.process = Some(receiver.recv().unwrap().expect("containerd is installed"));
        eventually("containerd answers", async || {
            let asked = self.ctr(&["version"]);
            if asked.status.success() {
                Ok(())
            } else {
                Err(String::from_utf8_lossy(&asked.stderr).into_owned())
            }
        })
        .await;
    }

    /// Kills the daemon with -9; its shims go on.
    pub(crate) fn kill(&mut self) {
        let mut process = self.process.take().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// Asks by the engine's own tool, in our namespace.
    pub(crate) fn ctr(&self, args: &[&str]) -> std::process::Output {
        Command::new("ctr")
            .arg("--address")
            .arg(&self.socket)
            .args(["--namespace", "edgeio"])
            .args(args)
            .output()
            .expect("ctr is installed")
    }

    /// Imports a file system as an image.
    pub(crate) fn import(&self, name: &str, root_fs: &[u8]) {
        let file = self.dir.join("image.tar");
        fs::write(&file, images::archive(name, root_fs)).unwrap();
        let done = self.ctr(&["images", "import", file.to_str().unwrap()]);
        assert!(done.status.success(), "{done:?}");
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // Its work is done; a store in a directory of the build is left for a look.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
