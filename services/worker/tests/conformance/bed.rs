//! What a runtime must bring to be tested: a driver on demand, jobs that behave in a stated way, and a look at what is left behind.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use edgeio_worker::runtime::{
    InstanceId, JobSpec, Labels, Observed, PullPolicy, Runtime, SandboxSpec, State,
};
use uuid::Uuid;

/// How a job behaves.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Behaviour {
    /// Prints `ready`, then holds; ends on TERM.
    Hold,
    /// Prints `hello` and `oops` (on standard error), then exits with the code.
    Exit(i32),
    /// Prints `ready`, then holds; ignores TERM.
    IgnoreTerm,
    /// Prints `ready`, then uses all the CPU it gets.
    Burn,
    /// Takes memory until it is killed.
    Hog,
    /// Prints `ready`, holds, and has started two more: one in its own session. Their command lines hold the number.
    Family(u32),
    /// Names a program that does not exist.
    NoProgram,
    /// Runs this, as a shell does.
    Script(&'static str),
}

impl Behaviour {
    /// As a shell script.
    pub(crate) fn script(self) -> String {
        match self {
            Self::Hold => "trap 'exit 0' TERM; echo ready; sleep 100000 & wait".to_owned(),
            Self::Exit(code) => format!("echo hello; echo oops >&2; exit {code}"),
            Self::IgnoreTerm => "trap '' TERM; echo ready; while :; do sleep 1; done".to_owned(),
            Self::Burn => "echo ready; while :; do :; done".to_owned(),
            Self::Hog => "exec tail /dev/zero".to_owned(),
            Self::Family(n) => format!("sleep {n} & setsid sleep {n} & echo ready; wait"),
            Self::NoProgram => String::new(),
            Self::Script(script) => script.to_owned(),
        }
    }
}

/// A runtime under test.
pub(crate) trait Bed: Sized {
    /// Sets up; panics with the reason where the machine lacks what it needs.
    fn new() -> impl Future<Output = Self>;
    /// A new driver object on the same engine.
    fn driver(&self) -> Arc<dyn Runtime>;
    /// The worker whose instances these are.
    fn worker(&self) -> Uuid;
    /// Fills in command, args and image.
    fn fit(&self, job: &mut JobSpec, behaviour: Behaviour);
    /// What the machine still holds of an instance, by any trace.
    fn leftovers(&self, instance: InstanceId) -> impl Future<Output = Vec<String>>;

    /// Whether its jobs run [`Behaviour::Script`].
    fn runs_scripts(&self) -> bool {
        true
    }

    /// A job of this worker.
    fn job(&self, behaviour: Behaviour) -> JobSpec {
        let mut job = blank(self.worker());
        self.fit(&mut job, behaviour);
        job
    }
}

/// A job without a command.
pub(crate) fn blank(worker: Uuid) -> JobSpec {
    let id = Uuid::now_v7();
    let tail: String = id.simple().to_string().chars().skip(24).collect();
    JobSpec {
        name: format!("edgeio-conformance-job-0-{tail}"),
        labels: Labels {
            cluster: Uuid::from_u128(1),
            worker,
            instance: InstanceId(id),
            spec_hash: "ab".repeat(32),
        },
        image: None,
        image_digest: None,
        pull: PullPolicy::Never,
        command: Vec::new(),
        args: Vec::new(),
        env: BTreeMap::new(),
        cpu_millis: None,
        memory_bytes: None,
        ports: Vec::new(),
        working_dir: None,
        user: None,
        stop_signal: None,
        mounts: Vec::new(),
        provisions: Vec::new(),
        sandbox: SandboxSpec::default(),
        stop_grace: Duration::from_secs(5),
        lease: None,
    }
}

/// Asks until the answer is `Ok`, and fails with the last `Err` seen.
pub(crate) async fn eventually<T, F: Future<Output = Result<T, String>>>(
    what: &str,
    mut ask: impl FnMut() -> F,
) -> T {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(last) => assert!(Instant::now() < until, "{what}: last seen: {last}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until the job has printed `text`.
pub(crate) async fn printed(driver: &dyn Runtime, instance: InstanceId, text: &str) {
    eventually(&format!("output holds `{text}`"), async || {
        let tail = driver.tail(instance, 4096).await.map_err(|e| e.chain())?;
        let tail = String::from_utf8_lossy(&tail).into_owned();
        if tail.contains(text) {
            Ok(())
        } else {
            Err(tail)
        }
    })
    .await;
}

/// Waits for the end of the job and returns the instance.
pub(crate) async fn exited(driver: &dyn Runtime, instance: InstanceId) -> Observed {
    eventually("exits", async || {
        let seen = driver.observe(instance).await.map_err(|e| e.chain())?;
        match seen {
            Some(seen) if matches!(seen.state, State::Exited(_)) => Ok(seen),
            other => Err(format!("{other:?}")),
        }
    })
    .await
}
