//! The engine behind the fake driver: instances, scripted faults, a record of what was asked.
//!
//! A job's words steer it, read from `command` and `args` in order: `print TEXT`, `exit CODE` (ends at once), `ignore-term` (only KILL
//! ends it), `oom` (killed for memory, where it has a limit), `burn` (uses a core). Any other word is skipped; a job without `exit`
//! holds until stopped.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::sync::broadcast;

use super::scripted;
use crate::runtime::{
    ErrorClass, EventKind, Exit, Feature, Handle, InstanceId, JobSpec, Missing, Observed,
    RuntimeError, RuntimeEvent, State, Stats,
};

/// A verb of the engine that can be delayed, failed and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(
    missing_docs,
    reason = "each is the trait's method, or a step of `ensure`, of that name"
)]
pub enum Op {
    Capabilities,
    List,
    Observe,
    Pull,
    Create,
    Start,
    Restart,
    Stop,
    Remove,
    Pause,
    Resume,
    Stats,
    Tail,
    Events,
}

impl Op {
    /// The verb in error texts.
    pub fn verb(self) -> &'static str {
        match self {
            Self::Capabilities => "ask the version",
            Self::List => "list instances",
            Self::Observe => "inspect",
            Self::Pull => "pull the image of",
            Self::Create => "create",
            Self::Start => "start",
            Self::Restart => "restart",
            Self::Stop => "stop",
            Self::Remove => "remove",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Stats => "measure",
            Self::Tail => "read the output of",
            Self::Events => "watch events",
        }
    }
}

struct Instance {
    job: JobSpec,
    state: State,
    output: Vec<u8>,
    handle: Handle,
    /// Looks since the start: what a burning job is measured by, so that no real clock is needed.
    looks: u64,
}

#[derive(Default)]
struct Inner {
    instances: BTreeMap<InstanceId, Instance>,
    faults: BTreeMap<Op, VecDeque<ErrorClass>>,
    delays: BTreeMap<Op, Duration>,
    absent_images: BTreeSet<String>,
    missing: Vec<Missing>,
    log: Vec<(Op, Option<InstanceId>)>,
    next_pid: u32,
}

/// An engine that runs nothing. Outlives the drivers that talk to it.
pub struct FakeEngine {
    inner: Mutex<Inner>,
    events: broadcast::Sender<RuntimeEvent>,
    clock: Box<dyn Fn() -> SystemTime + Send + Sync>,
}

impl Default for FakeEngine {
    fn default() -> Self {
        Self::with_clock(SystemTime::now)
    }
}

impl FakeEngine {
    /// An engine whose start and end times come from `clock`.
    pub fn with_clock(clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        // 1024 events: a reader that lags further is told of the gap, as with a real engine.
        let (events, _) = broadcast::channel(1024);
        Self {
            inner: Mutex::default(),
            events,
            clock: Box::new(clock),
        }
    }

    // Scripting.

    /// The next `times` calls of `op` fail with `class`.
    pub fn fail(&self, op: Op, class: ErrorClass, times: usize) {
        let mut inner = self.lock();
        inner
            .faults
            .entry(op)
            .or_default()
            .extend(std::iter::repeat_n(class, times));
    }

    /// No more scripted failures of `op`.
    pub fn heal(&self, op: Op) {
        self.lock().faults.remove(&op);
    }

    /// Every call of `op` takes this long from now on.
    pub fn delay(&self, op: Op, by: Duration) {
        self.lock().delays.insert(op, by);
    }

    /// No registry has `image`.
    pub fn lose_image(&self, image: impl Into<String>) {
        self.lock().absent_images.insert(image.into());
    }

    /// Declares that the engine cannot do `feature`.
    pub fn without(&self, feature: Feature, why: impl Into<String>) {
        self.lock().missing.push(Missing {
            feature,
            why: why.into(),
        });
    }

    /// The running job ends by itself.
    pub fn exit(&self, instance: InstanceId, code: i32) {
        self.finish(instance, Some(code), None, false);
    }

    /// The running job dies of `signal`.
    pub fn kill(&self, instance: InstanceId, signal: i32) {
        self.finish(instance, None, Some(signal), false);
    }

    /// The node reboots: whatever ran has ended unseen.
    pub fn reboot(&self) {
        let now = (self.clock)();
        for instance in self.lock().instances.values_mut() {
            if matches!(instance.state, State::Running { .. } | State::Paused { .. }) {
                let lost = Some("the node rebooted while it ran".to_owned());
                let (code, signal) = (None, None);
                instance.state = State::Exited(Exit {
                    code,
                    signal,
                    finished_at: now,
                    oom: false,
                    lost,
                });
            }
        }
    }

    /// Everything the engine holds, by instance id.
    pub fn instances(&self) -> Vec<Observed> {
        self.lock().instances.values().map(observed).collect()
    }

    /// Every call since the start, in order.
    pub fn log(&self) -> Vec<(Op, Option<InstanceId>)> {
        self.lock().log.clone()
    }

    /// The job an instance was made from.
    pub fn job(&self, instance: InstanceId) -> Option<JobSpec> {
        self.lock().instances.get(&instance).map(|i| i.job.clone())
    }

    // What the driver calls.

    pub(super) async fn enter(
        &self,
        op: Op,
        instance: Option<InstanceId>,
    ) -> Result<(), RuntimeError> {
        let (delay, fault) = {
            let mut inner = self.lock();
            inner.log.push((op, instance));
            let fault = inner.faults.get_mut(&op).and_then(VecDeque::pop_front);
            (inner.delays.get(&op).copied(), fault)
        };
        if let Some(delay) = delay {
            tokio::time::sleep(delay).await;
        }
        fault.map_or(Ok(()), |class| Err(scripted(op, instance, class)))
    }

    pub(super) fn missing(&self) -> Vec<Missing> {
        self.lock().missing.clone()
    }

    pub(super) fn check_image(&self, image: &str) -> Result<(), RuntimeError> {
        if self.lock().absent_images.contains(image) {
            let (class, source) = (ErrorClass::Permanent, "manifest unknown".into());
            return Err(RuntimeError::Pull {
                image: image.to_owned(),
                class,
                source,
            });
        }
        Ok(())
    }

    pub(super) fn get(&self, instance: InstanceId) -> Option<Observed> {
        self.lock().instances.get(&instance).map(observed)
    }

    pub(super) fn create(&self, job: &JobSpec) {
        let mut inner = self.lock();
        let handle = Handle(format!("fake-{}", job.instance()));
        inner
            .instances
            .entry(job.instance())
            .or_insert_with(|| Instance {
                job: job.clone(),
                state: State::Created,
                output: Vec::new(),
                handle,
                looks: 0,
            });
    }

    pub(super) fn start_created(&self, id: InstanceId) -> Option<Observed> {
        self.start_if(id, |state| matches!(state, State::Created))
    }

    pub(super) fn start_exited(&self, id: InstanceId) -> Option<Observed> {
        self.start_if(id, |state| {
            matches!(state, State::Created | State::Exited(_))
        })
    }

    fn start_if(&self, id: InstanceId, may: impl Fn(&State) -> bool) -> Option<Observed> {
        let mut inner = self.lock();
        inner.next_pid += 1;
        let pid = Some(inner.next_pid);
        let instance = inner.instances.get_mut(&id)?;
        if !may(&instance.state) {
            return Some(observed(instance));
        }
        instance.state = State::Running {
            started_at: (self.clock)(),
            pid,
        };
        instance.looks = 0;
        let started = observed(instance);
        let end = play(instance);
        drop(inner);
        self.tell(id, EventKind::Started);
        match end {
            End::Holds => {}
            End::Exits(code) => self.finish(id, Some(code), None, false),
            End::OutOfMemory => {
                self.tell(id, EventKind::Oom);
                self.finish(id, None, Some(9), true);
            }
        }
        Some(started)
    }

    /// TERM. Whether the job ignores it, so that the grace has to pass.
    pub(super) fn terminate(&self, id: InstanceId) -> bool {
        let ignores = {
            let inner = self.lock();
            let Some(instance) = inner.instances.get(&id) else {
                return false;
            };
            if matches!(instance.state, State::Created | State::Exited(_)) {
                return false;
            }
            words(&instance.job).any(|w| w == "ignore-term")
        };
        if !ignores {
            self.kill(id, 15);
        }
        ignores
    }

    pub(super) fn exit_of(&self, id: InstanceId) -> Option<Exit> {
        match &self.lock().instances.get(&id)?.state {
            State::Exited(exit) => Some(exit.clone()),
            State::Created | State::Running { .. } | State::Paused { .. } => None,
        }
    }

    pub(super) fn forget(&self, id: InstanceId) {
        if self.lock().instances.remove(&id).is_some() {
            self.tell(id, EventKind::Removed);
        }
    }

    pub(super) fn freeze(&self, id: InstanceId) -> bool {
        let mut inner = self.lock();
        let Some(instance) = inner.instances.get_mut(&id) else {
            return false;
        };
        match instance.state {
            State::Running { started_at, pid } => {
                instance.state = State::Paused { started_at, pid };
                drop(inner);
                self.tell(id, EventKind::Paused);
                true
            }
            State::Paused { .. } => true,
            State::Created | State::Exited(_) => false,
        }
    }

    pub(super) fn thaw(&self, id: InstanceId) -> bool {
        let mut inner = self.lock();
        let Some(instance) = inner.instances.get_mut(&id) else {
            return false;
        };
        match instance.state {
            State::Paused { started_at, pid } => {
                instance.state = State::Running { started_at, pid };
                drop(inner);
                self.tell(id, EventKind::Resumed);
                true
            }
            State::Running { .. } => true,
            State::Created | State::Exited(_) => false,
        }
    }

    pub(super) fn stats(&self, id: InstanceId) -> Option<Stats> {
        let mut inner = self.lock();
        let instance = inner.instances.get_mut(&id)?;
        match instance.state {
            State::Running { .. } if words(&instance.job).any(|w| w == "burn") => {
                instance.looks += 1;
            }
            State::Running { .. } | State::Paused { .. } => {}
            State::Created | State::Exited(_) => return None,
        }
        Some(Stats {
            cpu_ns_total: 1 + instance.looks * 1_000_000,
            memory_bytes: 1 << 20,
        })
    }

    pub(super) fn output(&self, id: InstanceId) -> Option<Vec<u8>> {
        self.lock().instances.get(&id).map(|i| i.output.clone())
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<RuntimeEvent> {
        self.events.subscribe()
    }

    fn finish(&self, id: InstanceId, code: Option<i32>, signal: Option<i32>, oom: bool) {
        let mut inner = self.lock();
        let Some(instance) = inner.instances.get_mut(&id) else {
            return;
        };
        if matches!(instance.state, State::Created | State::Exited(_)) {
            return;
        }
        let finished_at = (self.clock)();
        instance.state = State::Exited(Exit {
            code,
            signal,
            finished_at,
            oom,
            lost: None,
        });
        drop(inner);
        self.tell(id, EventKind::Exited);
    }

    fn tell(&self, instance: InstanceId, kind: EventKind) {
        // Nobody listening is no fault: events are hints.
        let _ = self.events.send(RuntimeEvent::Changed { instance, kind });
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum End {
    Holds,
    Exits(i32),
    OutOfMemory,
}

fn words(job: &JobSpec) -> impl Iterator<Item = &str> {
    job.command.iter().chain(&job.args).map(String::as_str)
}

/// Does what the job's words say and tells how it ends.
fn play(instance: &mut Instance) -> End {
    let job = instance.job.clone();
    let mut words = words(&job);
    while let Some(word) = words.next() {
        match word {
            "print" => {
                instance
                    .output
                    .extend_from_slice(words.next().unwrap_or_default().as_bytes());
                instance.output.push(b'\n');
            }
            "exit" => return End::Exits(words.next().and_then(|c| c.parse().ok()).unwrap_or(0)),
            "oom" if job.memory_bytes.is_some() => return End::OutOfMemory,
            _ => {}
        }
    }
    End::Holds
}

fn observed(instance: &Instance) -> Observed {
    Observed {
        labels: instance.job.labels.clone(),
        handle: instance.handle.clone(),
        state: instance.state.clone(),
        image_digest: instance.job.image_digest.clone(),
    }
}
