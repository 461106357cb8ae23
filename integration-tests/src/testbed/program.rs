//! One program of a bed: started, killed, asked to end and started again under the same name and address.
//!
//! None outlives the tests: the kernel kills it when the thread that started it ends, so one thread starts them all and lives
//! as long as the tests do.

use std::{
    ffi::{OsStr, OsString},
    fs, io,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Mutex, MutexGuard, OnceLock, PoisonError, mpsc},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use uuid::Uuid;

/// How long a start or a graceful stop may take on a machine that is busy with other stories.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(10);
/// Puts a file in the place of the boot id and becomes the program.
const BOOT: &str = r#"mount --bind "$1" /proc/sys/kernel/random/boot_id; shift; exec "$@""#;

/// A program, running or not.
#[derive(Debug)]
pub struct Program {
    name: String,
    /// Another version's, perhaps, from one start to the next.
    file: Mutex<PathBuf>,
    args: Vec<OsString>,
    listens: Option<SocketAddr>,
    log: PathBuf,
    /// The network namespace that it runs in, if not that of the tests.
    namespace: Option<String>,
    /// What it reads as the id of the machine's boot, since [`Program::reboot`].
    boot: Mutex<Option<PathBuf>>,
    child: Mutex<Option<Child>>,
}

impl Program {
    /// A program that is not started yet. What it prints goes to `NAME.log` in `dir`, over all its starts.
    #[must_use]
    pub fn new(
        name: &str,
        file: PathBuf,
        args: impl IntoIterator<Item: AsRef<OsStr>>,
        listens: Option<SocketAddr>,
        dir: &Path,
    ) -> Self {
        Self {
            name: name.to_owned(),
            file: Mutex::new(file),
            args: args.into_iter().map(|a| a.as_ref().to_owned()).collect(),
            listens,
            log: dir.join(format!("{name}.log")),
            namespace: None,
            boot: Mutex::new(None),
            child: Mutex::new(None),
        }
    }

    /// Runs in a network namespace.
    pub(super) fn within(mut self, namespace: Option<String>) -> Self {
        self.namespace = namespace;
        self
    }

    /// Takes the program from another file from its next start on.
    pub fn becomes(&self, file: PathBuf) {
        *self.file.lock().unwrap_or_else(PoisonError::into_inner) = file;
    }

    fn file(&self) -> PathBuf {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.clone()
    }

    /// The machine that it runs on has booted anew, as far as the kernel tells it: from its next start on it and what it
    /// starts read another boot id. Needs the right to mount.
    ///
    /// # Errors
    /// The file with the id cannot be written.
    pub fn reboot(&self) -> Result<()> {
        let file = self.log.with_extension(format!("boot-{}", Uuid::new_v4()));
        fs::write(&file, format!("{}\n", Uuid::new_v4()))
            .with_context(|| format!("write {}", file.display()))?;
        let mut boot = self.boot.lock().unwrap_or_else(PoisonError::into_inner);
        *boot = Some(file);
        Ok(())
    }

    fn boot(&self) -> Option<PathBuf> {
        let boot = self.boot.lock().unwrap_or_else(PoisonError::into_inner);
        boot.clone()
    }

    /// Its name in the bed.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it printed so far.
    #[must_use]
    pub fn printed(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Its process, if it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        let mut child = self.child();
        let child = child.as_mut()?;
        matches!(child.try_wait(), Ok(None)).then(|| child.id())
    }

    /// Starts it and waits until it listens, if it does.
    ///
    /// # Errors
    /// It ends, or takes too long.
    pub async fn start(&self) -> Result<()> {
        if self.pid().is_some() {
            bail!("{} runs already", self.name);
        }
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .with_context(|| format!("open {}", self.log.display()))?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]);
        if let Some(namespace) = &self.namespace {
            // Not `ip netns exec`, which hides the control groups.
            let net = format!("--net=/run/netns/{namespace}");
            command.args(["nsenter", &net, "--"]);
        }
        if let Some(boot) = self.boot() {
            // In a namespace of its own, so that nobody else sees that boot. Nothing forks: the process stays the one that
            // is waited for.
            command.args(["unshare", "--mount", "--", "sh", "-ec", BOOT, "sh"]);
            command.arg(boot);
        }
        command
            .arg(self.file())
            .args(&self.args)
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("share the log")?)
            .stderr(log);
        // What is said to the tests would be a setting to the programs.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("EDGEIO_") {
                command.env_remove(name);
            }
        }
        let child = spawn(command).with_context(|| format!("start {}", self.name))?;
        *self.child() = Some(child);
        let until = Instant::now() + PATIENCE;
        while let Some(address) = self.listens {
            if TcpStream::connect_timeout(&address, LOOK * 20).is_ok() {
                break;
            }
            if self.pid().is_none() || Instant::now() > until {
                bail!("{} does not listen on {address}", self.name);
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Kills it as a crash would, and waits for its end.
    ///
    /// # Errors
    /// It does not run.
    pub async fn kill(&self) -> Result<()> {
        self.signal(Signal::KILL)?;
        self.ended().await.map(drop)
    }

    /// Asks it to end, and waits until it has.
    ///
    /// # Errors
    /// It does not run, or does not end.
    pub async fn stop(&self) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.ended().await
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// It does not run.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self
            .pid()
            .and_then(as_pid)
            .with_context(|| format!("{} does not run", self.name))?;
        // The child is not waited for yet, so the number is still its own.
        kill_process(pid, signal).with_context(|| format!("signal {}", self.name))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It was never started, or does not end.
    pub async fn ended(&self) -> Result<ExitStatus> {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.child().as_mut() {
                None => bail!("{} was never started", self.name),
                Some(child) => {
                    if let Some(status) = child.try_wait().context("look at a child")? {
                        return Ok(status);
                    }
                }
            }
            if Instant::now() > until {
                bail!("{} does not end within {PATIENCE:?}", self.name);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Some(child) = self.child().as_mut() {
            // Ended already is what is wanted.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

pub(super) fn as_pid(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

type Order = (Command, mpsc::Sender<io::Result<Child>>);

/// Starts a program from the thread that never ends.
fn spawn(command: Command) -> io::Result<Child> {
    static STARTER: OnceLock<Mutex<mpsc::Sender<Order>>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (orders, inbox) = mpsc::channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, answer) in inbox {
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(orders)
    });
    let (answer, started) = mpsc::channel();
    let order = (command, answer);
    let sent = starter
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .send(order);
    sent.map_err(io::Error::other)?;
    started.recv().map_err(io::Error::other)?
}
