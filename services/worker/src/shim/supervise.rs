//! The life of a shim: take the directory, start the job, wait, clean up, write down the end.
//!
//! Four threads, all asleep: the main one reaps, two carry output, one takes requests to stop and keeps the lease. Blocking reads instead of timers, so that an idle job costs
//! nothing. The main thread starts the job and never ends before it: the kernel's parent-death signal follows the thread that forked.

use std::{
    fs, io,
    io::{Read, Write},
    os::{
        fd::{OwnedFd, RawFd},
        unix::process::CommandExt,
    },
    path::Path,
    process::{Child, Command, ExitCode, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{CWD, FileType, Mode, mknodat},
    process::{
        Signal, WaitOptions, WaitStatus, set_child_subreaper, set_parent_process_death_signal,
        setsid, wait,
    },
};

use super::{
    confine::Cage,
    files::{self, Dir, Durable, Ended, Hello, Job, Run, hint, to_ns},
    output::{Log, Stream},
    proc,
    timer::Timer,
    tree::Tree,
    view,
};

/// Stack of the helper threads: they hold one read buffer and little else.
const STACK: usize = 128 * 1024;
/// How long killed processes may take to be gone before the end is written down regardless: only an uninterruptible sleep takes
/// that long, and its waiter must not wait for ever.
const SWEEP_WITHIN: Duration = Duration::from_secs(10);
/// How long output may still come when every writer is gone.
const DRAIN_WITHIN: Duration = Duration::from_secs(2);
/// Another shim that is just ending holds the lock for an instant only.
const LOCK_WITHIN: Duration = Duration::from_millis(200);

/// Runs one job to its end.
pub(super) fn run(dir: &Path) -> ExitCode {
    close_inherited();
    // Fails only where this process leads a session already, which is as good.
    let _ = setsid();
    let dir = Dir(dir.to_owned());
    match start(&dir) {
        Ok(Some(supervised)) => {
            greet(&Hello::Started);
            supervised.supervise();
            ExitCode::SUCCESS
        }
        Ok(None) => {
            greet(&Hello::Busy);
            ExitCode::from(75)
        }
        Err(failure) => {
            greet(&Hello::Failed {
                permanent: failure.permanent,
                why: failure.why,
            });
            ExitCode::FAILURE
        }
    }
}

/// Tells the driver, and lets go of its pipe: it waits for the end of it.
fn greet(hello: &Hello) {
    if let Ok(line) = serde_json::to_string(hello) {
        // A driver that died meanwhile finds the records.
        let _ = writeln!(io::stdout(), "{line}");
        let _ = io::stdout().flush();
    }
    if let Ok(null) = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")
    {
        let _ = rustix::stdio::dup2_stdout(&null);
    }
}

/// Closes what the agent's process left open above the standard three, so that no socket or lock of it outlives it here.
fn close_inherited() {
    let Ok(entries) = fs::read_dir("/proc/self/fd") else {
        return;
    };
    // Collected first: the directory is one of the descriptors.
    let open: Vec<RawFd> = entries
        .flatten()
        .filter_map(|e| e.file_name().to_str()?.parse().ok())
        .collect();
    for fd in open.into_iter().filter(|fd| *fd > 2) {
        // The directory's own number is closed by now, and may not be closed twice by us.
        if fs::symlink_metadata(format!("/proc/self/fd/{fd}")).is_err() {
            continue;
        }
        #[expect(
            unsafe_code,
            reason = "inherited descriptors have no owner in this process"
        )]
        // SAFETY: called first in a fresh process, before anything here has opened a descriptor that is still held.
        unsafe {
            rustix::io::close(fd);
        }
    }
}

struct Failure {
    permanent: bool,
    why: String,
}

impl Failure {
    fn new(what: &str, error: &io::Error) -> Self {
        use io::ErrorKind as K;
        let permanent = matches!(
            error.kind(),
            K::NotFound | K::PermissionDenied | K::NotADirectory | K::InvalidInput | K::InvalidData
        ) || error.raw_os_error() == Some(rustix::io::Errno::NOEXEC.raw_os_error());
        Self {
            permanent,
            why: format!("{what}: {error}"),
        }
    }
}

struct Supervised {
    dir: Dir,
    job: Job,
    run: Run,
    /// Not waited for by the standard library: the reaper below takes all children.
    _child: Child,
    pumps: mpsc::Receiver<()>,
    control: fs::File,
    timer: Option<Timer>,
    oom_before: u64,
    _lock: fs::File,
}

/// Takes the lock and starts the job; `None` where another shim has it.
fn start(dir: &Dir) -> Result<Option<Supervised>, Failure> {
    let Some(lock) = lock(dir).map_err(|e| Failure::new("lock", &e))? else {
        return Ok(None);
    };
    let job: Job = files::read(&dir.job())
        .and_then(|job| job.ok_or_else(|| io::ErrorKind::NotFound.into()))
        .map_err(|e| Failure::new("read job.json", &e))?;
    set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(|e| Failure::new("become the reaper", &e.into()))?;
    let timer = job.lease.map(Timer::of).transpose();
    let timer = timer.map_err(|e| Failure::new("watch over its lease", &e))?;
    if timer.as_ref().is_some_and(Timer::is_over) {
        return Err(Failure {
            permanent: false,
            why: "its lease is over".to_owned(),
        });
    }
    let control = open_control(dir).map_err(|e| Failure::new("make the control pipe", &e))?;
    let log = Log::open(&dir.output(), job.output_cap).map_err(|e| Failure::new("open log", &e))?;
    let oom_before = job.group.as_ref().map_or(0, |g| g.oom_kills());
    let last = files::read::<Run>(&dir.run())
        .unwrap_or_default()
        .map_or(0, |r| r.run);
    let ended = files::read::<Ended>(&dir.exit())
        .unwrap_or_default()
        .map_or(0, |e| e.run);

    // Opened before the job's view is entered: there they may not be writable.
    let entries = job.group.as_ref().map(|g| g.entries()).transpose();
    let entries = entries.map_err(|e| Failure::new("open the control group", &e))?;
    let home = view(dir, &job)?;
    let child = spawn(&job, entries.unwrap_or_default());
    if let Some(home) = home
        && let Err(error) = home.back()
    {
        if let Ok(mut child) = child {
            let _ = child.kill();
        }
        return Err(Failure::new("leave the job's view", &error));
    }
    let mut child = child?;
    let started_at = SystemTime::now();
    let pid = i32::try_from(child.id()).unwrap_or(0);
    let run = Run {
        run: last.max(ended) + 1,
        shim: rustix::process::getpid().as_raw_nonzero().get(),
        pid,
        start_ticks: proc::stat(pid).map_or(0, |s| s.start_ticks),
        boot_id: proc::boot_id(),
        started_at_ns: to_ns(started_at),
    };
    if let Err(error) = files::write(&dir.run(), &run, Durable::No) {
        // Nobody could find it: it must not run.
        let _ = child.kill();
        return Err(Failure::new("write run.json", &error));
    }
    let pumps = pump(&mut child, log).map_err(|e| Failure::new("carry output", &e))?;
    hint::leave(&hints(dir), job.labels.instance, "started");
    Ok(Some(Supervised {
        dir: dir.clone(),
        job,
        run,
        _child: child,
        pumps,
        control,
        timer,
        oom_before,
        _lock: lock,
    }))
}

fn lock(dir: &Dir) -> io::Result<Option<fs::File>> {
    let until = Instant::now() + LOCK_WITHIN;
    loop {
        let held = dir.try_lock()?;
        if held.is_some() || Instant::now() > until {
            return Ok(held);
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// Opened for reading and writing, so that it never ends when a driver closes its side.
fn open_control(dir: &Dir) -> io::Result<fs::File> {
    let path = dir.control();
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
    fs::OpenOptions::new().read(true).write(true).open(&path)
}

fn hints(dir: &Dir) -> std::path::PathBuf {
    hint::dir(dir.0.parent().unwrap_or(&dir.0))
}

/// Enters the job's view of the file system, if it has one of its own.
fn view(dir: &Dir, job: &Job) -> Result<Option<view::Home>, Failure> {
    let Some(confine) = job.confine.as_ref().filter(|confine| confine.view) else {
        return Ok(None);
    };
    let entered = view::enter(confine, &dir.view(), &dir.work());
    entered
        .map(Some)
        .map_err(|e| Failure::new("make the job's view", &e))
}

fn spawn(job: &Job, entries: Vec<fs::File>) -> Result<Child, Failure> {
    let Some((program, args)) = job.argv.split_first() else {
        return Err(Failure {
            permanent: true,
            why: "the command is empty".to_owned(),
        });
    };
    let cage = Cage::of(job.confine.as_ref()).map_err(|e| Failure::new("confine it", &e))?;
    let mut command = Command::new(program);
    command
        .args(args)
        .env_clear()
        .envs(job.env.iter().map(|(k, v)| (k, v)))
        .current_dir(&job.cwd)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    let entries: Vec<OwnedFd> = entries.into_iter().map(OwnedFd::from).collect();
    let shim = rustix::process::getpid();
    let enter = move || {
        for entry in &entries {
            rustix::io::write(entry, b"0")?;
        }
        cage.enter()?;
        // After the change of users, which clears it.
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // Had the shim died before the line above, no signal would come any more.
        if rustix::process::getppid() != Some(shim) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        cage.filter()
    };
    #[expect(unsafe_code, reason = "the only hook between fork and exec")]
    // SAFETY: `enter` makes system calls only: it neither allocates, locks nor touches state shared with another thread.
    unsafe {
        command.pre_exec(enter);
    }
    command
        .spawn()
        .map_err(|e| Failure::new(&format!("start `{program}`"), &e))
}

/// Starts the two threads that carry output; each sends once when its stream has ended.
fn pump(child: &mut Child, log: Log) -> io::Result<mpsc::Receiver<()>> {
    let (done, wait_for) = mpsc::channel();
    let log = Arc::new(Mutex::new(log));
    let out = child
        .stdout
        .take()
        .map(|s| (Stream::Stdout, OwnedFd::from(s)));
    let err = child
        .stderr
        .take()
        .map(|s| (Stream::Stderr, OwnedFd::from(s)));
    for (stream, from) in [out, err].into_iter().flatten() {
        let (log, done) = (Arc::clone(&log), done.clone());
        thread::Builder::new().stack_size(STACK).spawn(move || {
            let mut from = fs::File::from(from);
            let mut buffer = [0; 8192];
            loop {
                match from.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(n) => {
                        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
                        // A full disk loses output; blocking the job would be worse.
                        let _ = log.write(stream, &buffer[..n], SystemTime::now());
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(_) => break,
                }
            }
            // The receiver is gone only when nobody waits for us.
            let _ = done.send(());
        })?;
    }
    Ok(wait_for)
}

impl Supervised {
    fn supervise(self) {
        let tree = Tree::of(&self.run, self.job.group.as_ref(), true);
        let lease_over = Arc::new(AtomicBool::new(false));
        let stopper = Stopper {
            tree: tree.clone(),
            control: self.control,
            timer: self.timer,
            lease_over: Arc::clone(&lease_over),
            stop_signal: self.job.stop_signal(),
            kill_at: None,
        };
        let listening = thread::Builder::new()
            .stack_size(STACK)
            .spawn(move || stopper.listen());
        let status = reap_until(self.run.pid);
        // What the main process leaves behind ends with it, as in a container.
        sweep(&tree);
        for _ in 0..2 {
            if self.pumps.recv_timeout(DRAIN_WITHIN).is_err() {
                break;
            }
        }
        let oom_now = self.job.group.as_ref().map_or(0, |g| g.oom_kills());
        let ended = Ended {
            run: self.run.run,
            code: status.and_then(WaitStatus::exit_status),
            signal: status.and_then(WaitStatus::terminating_signal),
            oom: oom_now > self.oom_before,
            lease_over: lease_over.load(Ordering::Acquire),
            finished_at_ns: to_ns(SystemTime::now()),
            lost: status
                .is_none()
                .then(|| "it was reaped by somebody else".to_owned()),
        };
        let until = Instant::now() + Duration::from_secs(60);
        // A full disk may get room again; giving up loses only how the job ended.
        while files::write(&self.dir.exit(), &ended, Durable::Yes).is_err()
            && Instant::now() < until
        {
            thread::sleep(Duration::from_millis(500));
        }
        // Gone with the directory when it was removed meanwhile.
        let _ = fs::remove_file(self.dir.control());
        if ended.oom {
            hint::leave(&hints(&self.dir), self.job.labels.instance, "oom");
        }
        // Before the lock goes: whoever removes the instance waits for that, and then no hint may come any more.
        hint::leave(&hints(&self.dir), self.job.labels.instance, "exited");
        drop(listening);
    }
}

/// Reaps every child until `main` has ended.
fn reap_until(main: i32) -> Option<WaitStatus> {
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid.as_raw_nonzero().get() == main => return Some(status),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return None,
        }
    }
}

/// Kills and reaps until nothing is left.
fn sweep(tree: &Tree) {
    let until = Instant::now() + SWEEP_WITHIN;
    loop {
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
        if tree.is_empty() || Instant::now() > until {
            return;
        }
        tree.kill();
        thread::sleep(Duration::from_millis(1));
    }
}

/// Takes requests to stop, and ends the job when its lease is over. Never returns: it ends with the process.
struct Stopper {
    tree: Tree,
    control: fs::File,
    /// Of an exclusive job.
    timer: Option<Timer>,
    /// Told to the main thread.
    lease_over: Arc<AtomicBool>,
    /// What asks the job to end.
    stop_signal: Signal,
    kill_at: Option<Instant>,
}

impl Stopper {
    fn listen(mut self) {
        loop {
            let wait = self
                .kill_at
                .map(|at| at.saturating_duration_since(Instant::now()));
            if wait.is_some_and(|w| w.is_zero()) {
                // Until the main thread sees the end and the process goes.
                self.tree.kill();
                thread::sleep(Duration::from_millis(5));
                continue;
            }
            let (asked, rang) = self.readable(wait);
            if asked {
                let mut buffer = [0; 256];
                let Ok(n) = self.control.read(&mut buffer) else {
                    return;
                };
                self.obey(&String::from_utf8_lossy(&buffer[..n]));
            }
            // A renewal that came meanwhile counts: it is of an agent that was heard in time.
            if rang
                && let Some(timer) = &self.timer
                && timer.is_over()
            {
                let grace = timer.grace();
                self.timer = None;
                // What somebody asked to end ends for that reason.
                if self.kill_at.is_none() {
                    self.lease_over.store(true, Ordering::Release);
                }
                self.stop(grace);
            }
        }
    }

    fn obey(&mut self, text: &str) {
        for line in text.lines() {
            let mut words = line.split(' ');
            let (word, number) = (words.next(), words.next().and_then(|n| n.parse().ok()));
            match (word, number, &mut self.timer) {
                (Some("stop"), Some(grace), _) => self.stop(Duration::from_millis(grace)),
                (Some("lease"), Some(until), Some(timer)) => timer.renew(until),
                _ => {}
            }
        }
    }

    /// The shortest grace asked for counts; the request is sent once.
    fn stop(&mut self, grace: Duration) {
        let at = Instant::now() + grace;
        if self.kill_at.is_none() {
            self.tree.signal(self.stop_signal);
            self.tree.thaw();
        }
        self.kill_at = Some(self.kill_at.map_or(at, |before| before.min(at)));
    }

    /// Waits for a request or for the end of the lease: which of them there is.
    fn readable(&self, within: Option<Duration>) -> (bool, bool) {
        let timeout = within.map(|w| Timespec {
            tv_sec: i64::try_from(w.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(w.subsec_nanos()),
        });
        let mut fds = vec![PollFd::new(&self.control, PollFlags::IN)];
        fds.extend(
            self.timer
                .as_ref()
                .map(|timer| PollFd::new(timer, PollFlags::IN)),
        );
        if poll(&mut fds, timeout.as_ref()).is_err() {
            return (false, false);
        }
        let ready = |n: usize| {
            fds.get(n)
                .is_some_and(|fd| fd.revents().intersects(PollFlags::IN))
        };
        (ready(0), ready(1))
    }
}
