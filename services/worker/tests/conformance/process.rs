//! Native processes pass the suite, on real control groups; and what happens when the shim or the machine goes.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use edgeio_worker::{
    runtime::{
        EventKind, Feature, InstanceId, JobSpec, NoProgress, Runtime, RuntimeError, RuntimeEvent,
        State,
        process::{ProcessConfig, ProcessRuntime, WithoutLimits},
    },
    shim::files::{self, Dir, Durable, Run},
};
use futures::StreamExt as _;
use rustix::process::{Pid, Signal, getpgid, getsid, kill_process};
use tempfile::TempDir;
use uuid::Uuid;

use crate::bed::{Bed, Behaviour, eventually, exited, printed};

struct Process {
    dir: TempDir,
    worker: Uuid,
    cgroup_parent: Option<PathBuf>,
    without_limits: WithoutLimits,
}

impl Process {
    fn instance_dir(&self, instance: InstanceId) -> Dir {
        Dir(self.dir.path().join("jobs").join(instance.to_string()))
    }

    fn run(&self, instance: InstanceId) -> Run {
        files::read(&self.instance_dir(instance).run())
            .unwrap()
            .unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for entry in fs::read_dir(self.dir.path().join("jobs"))
                .into_iter()
                .flatten()
                .flatten()
            {
                let run = files::read::<Run>(&Dir(entry.path()).run()).ok().flatten();
                if let Some(pid) = run.and_then(|run| Pid::from_raw(run.shim)) {
                    let _ = kill_process(pid, Signal::KILL);
                }
            }
        }
    }
}

impl Bed for Process {
    async fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            worker: Uuid::now_v7(),
            cgroup_parent: None,
            without_limits: WithoutLimits::Refuse,
        }
    }

    fn driver(&self) -> Arc<dyn Runtime> {
        let mut config = ProcessConfig::new(self.dir.path());
        config.shim = Some(env!("CARGO_BIN_EXE_edgeio-worker").into());
        config.cgroup_parent = self.cgroup_parent.clone();
        config.without_limits = self.without_limits;
        Arc::new(ProcessRuntime::open(config).unwrap())
    }

    fn worker(&self) -> Uuid {
        self.worker
    }

    fn fit(&self, job: &mut JobSpec, behaviour: Behaviour) {
        job.command = match behaviour {
            Behaviour::NoProgram => vec!["/no/such/program".to_owned()],
            _ => vec!["/bin/sh".to_owned(), "-c".to_owned()],
        };
        job.args = vec![behaviour.script()];
    }

    async fn leftovers(&self, instance: InstanceId) -> Vec<String> {
        let mut found = Vec::new();
        walk(self.dir.path(), &instance.to_string(), &mut found);
        walk(
            Path::new("/sys/fs/cgroup"),
            &instance.to_string(),
            &mut found,
        );
        found
    }
}

fn walk(dir: &Path, name: &str, found: &mut Vec<String>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().contains(name) {
            found.push(entry.path().display().to_string());
        } else if entry.file_type().is_ok_and(|t| t.is_dir()) {
            walk(&entry.path(), name, found);
        }
    }
}

crate::conformance!(Process);

/// The whole suite once more where the kernel gives no control groups: signals instead of the freezer, `/proc` instead of accounting.
mod without_cgroups {
    use super::*;

    struct Bare(Process);

    impl Bed for Bare {
        async fn new() -> Self {
            let mut process = Process::new().await;
            // The kernel refuses a line break in a group's name, to root too: every attempt to make one fails.
            process.cgroup_parent = Some("no\ngroups".into());
            Self(process)
        }

        fn driver(&self) -> Arc<dyn Runtime> {
            self.0.driver()
        }

        fn worker(&self) -> Uuid {
            self.0.worker
        }

        fn fit(&self, job: &mut JobSpec, behaviour: Behaviour) {
            self.0.fit(job, behaviour);
        }

        async fn leftovers(&self, instance: InstanceId) -> Vec<String> {
            self.0.leftovers(instance).await
        }
    }

    crate::conformance!(Bare);

    #[tokio::test]
    async fn missing_limits_are_declared_with_the_reason_and_may_be_waived() {
        let mut bed = Bare::new().await;
        let can = bed.driver().capabilities().await.unwrap();
        let missing = can
            .missing
            .iter()
            .find(|m| m.feature == Feature::Limits)
            .unwrap();
        assert!(
            missing.why.contains("control groups cannot be made"),
            "{missing:?}"
        );
        let mut job = bed.job(Behaviour::Exit(0));
        job.memory_bytes = Some(64 << 20);
        let refused = bed.driver().ensure(&job, &NoProgress).await.unwrap_err();
        assert!(
            matches!(refused, RuntimeError::Unsupported { .. }),
            "{refused}"
        );
        bed.0.without_limits = WithoutLimits::Run;
        let driver = bed.driver();
        driver.ensure(&job, &NoProgress).await.unwrap();
        exited(&*driver, job.instance()).await;
        driver.remove(job.instance()).await.unwrap();
    }
}

#[tokio::test]
async fn this_machine_has_limits() {
    // Where the suite runs as root with control groups mounted, limits must be proved, not declared missing.
    let can = Process::new().await.driver().capabilities().await.unwrap();
    assert!(can.features.contains(&Feature::Limits), "{can:?}");
}

#[tokio::test]
async fn a_killed_shim_takes_its_job_along_and_the_loss_is_told() {
    let bed = Process::new().await;
    let (driver, job) = (bed.driver(), bed.job(Behaviour::Family(123_456_789)));
    let id = job.instance();
    driver.ensure(&job, &NoProgress).await.unwrap();
    printed(&*driver, id, "ready").await;
    let run = bed.run(id);
    kill_process(Pid::from_raw(run.shim).unwrap(), Signal::KILL).unwrap();
    let seen = exited(&*driver, id).await;
    let State::Exited(exit) = &seen.state else {
        panic!("{seen:?}")
    };
    assert_eq!(exit.lost.as_deref(), Some("its shim was killed"));
    assert_eq!(exit.shell_code(), None);
    assert!(!edgeio_worker::shim::proc::is_alive(
        run.pid,
        run.start_ticks
    ));
    assert_eq!(
        driver.observe(id).await.unwrap().unwrap().state,
        seen.state,
        "told the same way"
    );
    driver.restart(&job).await.unwrap();
    printed(&*driver, id, "ready").await;
    assert_eq!(bed.run(id).run, 2);
    driver.remove(id).await.unwrap();
}

/// A listing would see it half a minute later.
#[tokio::test]
async fn the_end_of_a_killed_shim_is_told_at_once_also_to_an_agent_that_did_not_start_it() {
    let bed = Process::new().await;
    let (first, job) = (bed.driver(), bed.job(Behaviour::Hold));
    let id = job.instance();
    first.ensure(&job, &NoProgress).await.unwrap();
    drop(first);
    let driver = bed.driver();
    let mut events = driver.events().await.unwrap();
    driver.list_owned(bed.worker).await.unwrap();
    let shim = Pid::from_raw(bed.run(id).shim).unwrap();
    kill_process(shim, Signal::KILL).unwrap();
    let told = async {
        loop {
            match events.next().await {
                Some(RuntimeEvent::Changed { instance, kind }) if instance == id => break kind,
                Some(_) => {}
                None => panic!("the events ended"),
            }
        }
    };
    let told = tokio::time::timeout(Duration::from_secs(20), told).await;
    assert_eq!(told.unwrap(), EventKind::Exited);
    exited(&*driver, id).await;
    driver.remove(id).await.unwrap();
    assert_eq!(bed.leftovers(id).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_run_of_an_earlier_boot_is_lost_and_its_pid_is_left_alone() {
    let bed = Process::new().await;
    let (driver, job) = (bed.driver(), bed.job(Behaviour::Exit(0)));
    let id = job.instance();
    driver.ensure(&job, &NoProgress).await.unwrap();
    exited(&*driver, id).await;
    // As a reboot leaves it: a run without an end, whose process id now belongs to somebody else.
    let dir = bed.instance_dir(id);
    eventually("its shim is gone", async || {
        if dir.is_free().unwrap() {
            Ok(())
        } else {
            Err("locked".to_owned())
        }
    })
    .await;
    let mut somebody = std::process::Command::new("sleep")
        .arg("1000")
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut run = bed.run(id);
    run.boot_id = "00000000-0000-0000-0000-000000000000".to_owned();
    run.pid = i32::try_from(somebody.id()).unwrap();
    files::write(&dir.run(), &run, Durable::No).unwrap();
    fs::remove_file(dir.exit()).unwrap();
    let seen = bed.driver().observe(id).await.unwrap().unwrap();
    let untouched = somebody.try_wait().unwrap().is_none();
    somebody.kill().unwrap();
    somebody.wait().unwrap();
    let State::Exited(exit) = seen.state else {
        panic!("{seen:?}")
    };
    assert_eq!(exit.lost.as_deref(), Some("the node rebooted while it ran"));
    assert!(untouched, "somebody else's process still ran");
    driver.remove(id).await.unwrap();
}

#[tokio::test]
async fn a_record_torn_by_a_power_cut_is_made_anew() {
    let bed = Process::new().await;
    let (driver, job) = (bed.driver(), bed.job(Behaviour::Exit(0)));
    let dir = bed.instance_dir(job.instance());
    fs::create_dir_all(&dir.0).unwrap();
    fs::write(dir.job(), "").unwrap();
    assert_eq!(driver.list_owned(bed.worker).await.unwrap(), []);
    driver.ensure(&job, &NoProgress).await.unwrap();
    exited(&*driver, job.instance()).await;
    driver.remove(job.instance()).await.unwrap();
}

#[tokio::test]
async fn the_shim_holds_nothing_of_the_agent_and_the_job_sees_only_its_own_environment() {
    let bed = Process::new().await;
    // A descriptor that leaks by default: no close-on-exec.
    let (leak, _keep) = rustix::pipe::pipe().unwrap();
    let leaked = fs::read_link(format!("/proc/self/fd/{}", raw(&leak))).unwrap();
    let mut job = bed.job(Behaviour::Hold);
    job.env.insert("GREETING".to_owned(), "good day".to_owned());
    job.args = vec!["env; pwd; ls -l /proc/self/fd; echo ready; sleep 100000 & wait".to_owned()];
    let driver = bed.driver();
    driver.ensure(&job, &NoProgress).await.unwrap();
    printed(&*driver, job.instance(), "ready").await;
    let run = bed.run(job.instance());
    let open = fs::read_dir(format!("/proc/{}/fd", run.shim))
        .unwrap()
        .flatten();
    let open: BTreeSet<PathBuf> = open.filter_map(|e| fs::read_link(e.path()).ok()).collect();
    assert!(!open.contains(&leaked), "{open:?}");
    assert!(
        !open
            .iter()
            .any(|p| p.to_string_lossy().starts_with("socket:")),
        "{open:?}"
    );
    let output = driver.tail(job.instance(), 65536).await.unwrap();
    let output = String::from_utf8(output).unwrap();
    assert!(
        output.contains("GREETING=good day\n") && output.contains("PATH="),
        "{output}"
    );
    assert!(
        !output.contains("CARGO"),
        "the test's own environment: {output}"
    );
    let work = fs::canonicalize(bed.instance_dir(job.instance()).work()).unwrap();
    assert!(
        output.contains(&format!("\n{}\n", work.display())),
        "{output}"
    );
    assert!(!output.contains(&*leaked.to_string_lossy()), "{output}");
    let shim = Pid::from_raw(run.shim).unwrap();
    assert_eq!(
        getsid(Some(shim)).unwrap(),
        shim,
        "a session of its own: no hang-up reaches it"
    );
    let job_pid = Pid::from_raw(run.pid).unwrap();
    assert_eq!(
        getpgid(Some(job_pid)).unwrap(),
        job_pid,
        "a group of its own"
    );
    driver.remove(job.instance()).await.unwrap();
}

fn raw(fd: &impl std::os::fd::AsRawFd) -> i32 {
    fd.as_raw_fd()
}

#[tokio::test]
async fn output_is_bounded_on_disk_however_much_is_written() {
    let bed = Process::new().await;
    let mut job = bed.job(Behaviour::Exit(0));
    job.args = vec!["head -c 20000000 /dev/zero | tr '\\0' x; echo; echo the end".to_owned()];
    let driver = bed.driver();
    driver.ensure(&job, &NoProgress).await.unwrap();
    exited(&*driver, job.instance()).await;
    let dir = bed.instance_dir(job.instance());
    let size: u64 = fs::read_dir(&dir.0)
        .unwrap()
        .map(|e| e.unwrap().metadata().unwrap().len())
        .sum();
    assert!(size < 3 << 20, "{size} bytes");
    assert!(
        driver
            .tail(job.instance(), 100)
            .await
            .unwrap()
            .ends_with(b"x\nthe end\n")
    );
    driver.remove(job.instance()).await.unwrap();
}

#[tokio::test]
async fn what_a_native_job_cannot_have_is_refused_by_name() {
    let bed = Process::new().await;
    let mut job = bed.job(Behaviour::Hold);
    job.image = Some("busybox".to_owned());
    let error = bed.driver().ensure(&job, &NoProgress).await.unwrap_err();
    assert!(
        matches!(error, RuntimeError::Invalid { field: "image", .. }),
        "{error}"
    );
    job.image = None;
    job.command.clear();
    let error = bed.driver().ensure(&job, &NoProgress).await.unwrap_err();
    assert!(
        matches!(
            error,
            RuntimeError::Invalid {
                field: "command",
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(bed.driver().list_owned(bed.worker).await.unwrap(), []);
}

#[tokio::test]
async fn a_second_stop_with_less_grace_is_obeyed() {
    let bed = Process::new().await;
    let (driver, job) = (bed.driver(), bed.job(Behaviour::IgnoreTerm));
    let id = job.instance();
    driver.ensure(&job, &NoProgress).await.unwrap();
    printed(&*driver, id, "ready").await;
    let slow = tokio::spawn({
        let driver = bed.driver();
        async move { driver.stop(id, Duration::from_secs(100_000)).await }
    });
    let exit = driver.stop(id, Duration::ZERO).await.unwrap().unwrap();
    assert_eq!(exit.shell_code(), Some(137));
    assert_eq!(slow.await.unwrap().unwrap(), Some(exit));
    driver.remove(id).await.unwrap();
}

/// The time since the boot, by the clock that leases go by.
fn boot() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(
        u64::try_from(now.tv_sec).unwrap(),
        u32::try_from(now.tv_nsec).unwrap(),
    )
}

/// Waits until no shim has the instance, and tells when that was.
async fn free(bed: &Process, instance: InstanceId) -> Duration {
    eventually("its shim has ended", async || {
        match bed.instance_dir(instance).is_free() {
            Ok(true) => Ok(boot()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
}

#[tokio::test]
async fn a_lease_that_nobody_renews_ends_the_job_without_an_agent_and_is_no_end_of_it() {
    let bed = Process::new().await;
    let driver = bed.driver();
    // What ignores the request and what left the tree: both end.
    for behaviour in [Behaviour::IgnoreTerm, Behaviour::Family(123_454_321)] {
        let mut job = bed.job(behaviour);
        let (id, until) = (job.instance(), boot() + Duration::from_secs(2));
        job.lease = Some(until);
        job.stop_grace = Duration::from_millis(300);
        driver.ensure(&job, &NoProgress).await.unwrap();
        let run = bed.run(id);
        let renewed = until + Duration::from_secs(1);
        assert!(driver.renew(id, renewed));
        // A lease only grows: an agent that was started again knows an older one.
        assert!(driver.renew(id, until));
        // From here on the shim is alone.
        let ended = free(&bed, id).await;
        assert!(ended >= renewed, "{ended:?} is before {renewed:?}");
        assert!(!edgeio_worker::shim::proc::is_alive(
            run.pid,
            run.start_ticks
        ));
        assert!(!driver.renew(id, renewed), "nobody is there to be told");
        let seen = driver.observe(id).await.unwrap().unwrap();
        assert_eq!(seen.state, State::Created, "it waits to be started again");
        assert_eq!(driver.stop(id, Duration::ZERO).await.unwrap(), None);

        // With a lease that is over it does not even begin; with one that holds it does.
        let refused = driver.ensure(&job, &NoProgress).await.unwrap_err();
        assert!(refused.chain().to_string().contains("lease"), "{refused}");
        job.lease = Some(boot() + Duration::from_secs(1000));
        let again = driver.ensure(&job, &NoProgress).await.unwrap();
        assert!(matches!(again.state, State::Running { .. }), "{again:?}");
        assert_eq!(bed.run(id).run, 2);
        // An end that was asked for is one.
        let exit = driver.stop(id, Duration::ZERO).await.unwrap().unwrap();
        assert!(exit.shell_code().is_some(), "{exit:?}");
        driver.remove(id).await.unwrap();
        assert_eq!(bed.leftovers(id).await, Vec::<String>::new());
    }
}
