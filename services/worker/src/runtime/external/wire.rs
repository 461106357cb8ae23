//! Between the types of the trait and the messages of `edgeio.runtime.v1`, both ways: a worker writes jobs and reads instances, a
//! driver the other way round.
//!
//! Writing takes every type apart by all its fields, so that a field that is new in the trait cannot be forgotten here.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use edgeio_proto::runtime::v1 as wire;
use uuid::Uuid;

use crate::runtime::{
    Capabilities, EventKind, Exit, Feature, Handle, InstanceId, JobSpec, Labels, Missing, Mount,
    Observed, Port, Protocol, PullPolicy, RuntimeEvent, SandboxSpec, State, Step,
};

/// What the other side said that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{what}` is {why}")]
pub(super) struct Garbled {
    what: &'static str,
    why: String,
}

fn garbled(what: &'static str, why: impl Into<String>) -> Garbled {
    Garbled {
        what,
        why: why.into(),
    }
}

fn uuid(what: &'static str, text: &str) -> Result<Uuid, Garbled> {
    text.parse()
        .map_err(|_| garbled(what, format!("no UUID: {text:?}")))
}

/// An instance by the text of its id.
pub(super) fn instance_id(text: &str) -> Result<InstanceId, Garbled> {
    uuid("instance_id", text).map(InstanceId)
}

/// A worker by the text of its id.
pub(super) fn worker_id(text: &str) -> Result<Uuid, Garbled> {
    uuid("worker_id", text)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Nanoseconds; none that a machine's uptime reaches is too large.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn since_1970(time: SystemTime) -> i64 {
    let signed = |duration: Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => signed(after),
        Err(before) => -signed(before.duration()),
    }
}

fn time(since_1970: i64) -> SystemTime {
    let distance = Duration::from_nanos(since_1970.unsigned_abs());
    let moved = if since_1970 < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(distance)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(distance)
    };
    moved.unwrap_or(SystemTime::UNIX_EPOCH)
}

/// An empty text is none.
fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

impl From<&Labels> for wire::Labels {
    fn from(labels: &Labels) -> Self {
        let Labels {
            cluster,
            worker,
            instance,
            spec_hash,
        } = labels;
        Self {
            cluster_id: cluster.to_string(),
            worker_id: worker.to_string(),
            instance_id: instance.to_string(),
            spec_hash: spec_hash.clone(),
        }
    }
}

fn labels(labels: Option<wire::Labels>) -> Result<Labels, Garbled> {
    let labels = labels.ok_or_else(|| garbled("labels", "missing"))?;
    Ok(Labels {
        cluster: uuid("cluster_id", &labels.cluster_id)?,
        worker: worker_id(&labels.worker_id)?,
        instance: instance_id(&labels.instance_id)?,
        spec_hash: labels.spec_hash,
    })
}

impl From<&JobSpec> for wire::Job {
    fn from(job: &JobSpec) -> Self {
        let JobSpec {
            name,
            labels,
            image,
            image_digest,
            pull,
            command,
            args,
            env,
            cpu_millis,
            memory_bytes,
            ports,
            working_dir,
            user,
            stop_signal,
            mounts,
            // The agent has made mounts of them.
            provisions: _,
            sandbox,
            stop_grace,
            lease,
        } = job.clone();
        let pull = match pull {
            PullPolicy::Always => wire::PullPolicy::Always,
            PullPolicy::IfAbsent => wire::PullPolicy::IfAbsent,
            PullPolicy::Never => wire::PullPolicy::Never,
        };
        Self {
            name,
            labels: Some((&labels).into()),
            image: image.unwrap_or_default(),
            image_digest: image_digest.unwrap_or_default(),
            pull: pull.into(),
            command,
            args,
            env,
            cpu_millis,
            memory_bytes,
            ports: ports.into_iter().map(write_port).collect(),
            working_dir: working_dir.unwrap_or_default(),
            stop_grace_ms: millis(stop_grace),
            lease_boot_ns: lease.map(nanos),
            user: user.unwrap_or_default(),
            stop_signal: stop_signal.unwrap_or_default().into(),
            mounts: mounts.iter().map(write_mount).collect(),
            sandbox: Some(sandbox.into()),
        }
    }
}

fn write_mount(mount: &Mount) -> wire::Mount {
    let Mount {
        source,
        target,
        read_only,
    } = mount;
    wire::Mount {
        source: source.display().to_string(),
        target: target.display().to_string(),
        read_only: *read_only,
    }
}

fn read_mount(mount: wire::Mount) -> Result<Mount, Garbled> {
    let path = |text: String| {
        let path = PathBuf::from(text);
        let absolute = path.is_absolute();
        absolute
            .then_some(path)
            .ok_or_else(|| garbled("mounts", "no absolute path"))
    };
    Ok(Mount {
        source: path(mount.source)?,
        target: path(mount.target)?,
        read_only: mount.read_only,
    })
}

impl From<SandboxSpec> for wire::Sandbox {
    fn from(sandbox: SandboxSpec) -> Self {
        let SandboxSpec {
            privileged,
            host_network,
            read_only,
            capabilities,
            devices,
            pids,
        } = sandbox;
        Self {
            privileged,
            host_network,
            read_only,
            capabilities,
            devices,
            pids,
        }
    }
}

/// What a job may do; the usual where nothing is said.
fn sandbox(told: Option<wire::Sandbox>) -> SandboxSpec {
    let Some(told) = told else {
        return SandboxSpec::default();
    };
    SandboxSpec {
        privileged: told.privileged,
        host_network: told.host_network,
        read_only: told.read_only,
        capabilities: told.capabilities,
        devices: told.devices,
        pids: match told.pids {
            0 => SandboxSpec::default().pids,
            pids => pids,
        },
    }
}

fn write_port(port: Port) -> wire::Port {
    let protocol = match port.protocol {
        Protocol::Tcp => wire::Protocol::Tcp,
        Protocol::Udp => wire::Protocol::Udp,
    };
    wire::Port {
        container: port.container.into(),
        host: port.host.unwrap_or_default().into(),
        protocol: protocol.into(),
    }
}

fn read_port(port: wire::Port) -> Result<Port, Garbled> {
    let number = |number: u32| {
        u16::try_from(number).map_err(|_| garbled("ports", format!("no port number: {number}")))
    };
    let host = number(port.host)?;
    Ok(Port {
        container: number(port.container)?,
        host: (host != 0).then_some(host),
        protocol: match port.protocol() {
            wire::Protocol::Unspecified | wire::Protocol::Tcp => Protocol::Tcp,
            wire::Protocol::Udp => Protocol::Udp,
        },
    })
}

/// A job as a driver gets it.
pub(super) fn job(job: Option<wire::Job>) -> Result<JobSpec, Garbled> {
    let job = job.ok_or_else(|| garbled("job", "missing"))?;
    Ok(JobSpec {
        pull: match job.pull() {
            wire::PullPolicy::Always => PullPolicy::Always,
            wire::PullPolicy::Unspecified | wire::PullPolicy::IfAbsent => PullPolicy::IfAbsent,
            wire::PullPolicy::Never => PullPolicy::Never,
        },
        name: job.name,
        labels: labels(job.labels)?,
        image: some(job.image),
        image_digest: some(job.image_digest),
        command: job.command,
        args: job.args,
        env: job.env,
        cpu_millis: job.cpu_millis,
        memory_bytes: job.memory_bytes,
        ports: job
            .ports
            .into_iter()
            .map(read_port)
            .collect::<Result<_, _>>()?,
        working_dir: some(job.working_dir),
        stop_grace: Duration::from_millis(job.stop_grace_ms),
        lease: job.lease_boot_ns.map(Duration::from_nanos),
        user: some(job.user),
        stop_signal: match u8::try_from(job.stop_signal) {
            Ok(0) => None,
            Ok(signal) => Some(signal),
            Err(_) => return Err(garbled("stop_signal", "no number of a signal")),
        },
        mounts: job
            .mounts
            .into_iter()
            .map(read_mount)
            .collect::<Result<_, _>>()?,
        provisions: Vec::new(),
        sandbox: sandbox(job.sandbox),
    })
}

impl From<Exit> for wire::Exit {
    fn from(exit: Exit) -> Self {
        let Exit {
            code,
            signal,
            finished_at,
            oom,
            lost,
        } = exit;
        Self {
            code,
            signal,
            finished_at_ns: since_1970(finished_at),
            oom,
            lost: lost.unwrap_or_default(),
        }
    }
}

impl From<wire::Exit> for Exit {
    fn from(exit: wire::Exit) -> Self {
        Self {
            code: exit.code,
            signal: exit.signal,
            finished_at: time(exit.finished_at_ns),
            oom: exit.oom,
            lost: some(exit.lost),
        }
    }
}

impl From<Observed> for wire::Instance {
    fn from(observed: Observed) -> Self {
        use wire::instance::State as Told;
        let Observed {
            labels,
            handle,
            state,
            image_digest,
        } = observed;
        let run = |started_at, pid: Option<u32>| wire::Run {
            started_at_ns: since_1970(started_at),
            pid: pid.unwrap_or_default(),
        };
        let state = match state {
            State::Created => Told::Created(wire::Created {}),
            State::Running { started_at, pid } => Told::Running(run(started_at, pid)),
            State::Paused { started_at, pid } => Told::Paused(run(started_at, pid)),
            State::Exited(exit) => Told::Exited(exit.into()),
        };
        Self {
            labels: Some((&labels).into()),
            handle: handle.0,
            image_digest: image_digest.unwrap_or_default(),
            state: Some(state),
        }
    }
}

/// An instance as a driver tells it.
pub(super) fn instance(told: wire::Instance) -> Result<Observed, Garbled> {
    use wire::instance::State as Told;
    let run = |run: &wire::Run| (time(run.started_at_ns), (run.pid != 0).then_some(run.pid));
    let state = match told.state {
        None => return Err(garbled("state", "missing, or one that is not known")),
        Some(Told::Created(wire::Created {})) => State::Created,
        Some(Told::Running(told)) => {
            let (started_at, pid) = run(&told);
            State::Running { started_at, pid }
        }
        Some(Told::Paused(told)) => {
            let (started_at, pid) = run(&told);
            State::Paused { started_at, pid }
        }
        Some(Told::Exited(exit)) => State::Exited(exit.into()),
    };
    Ok(Observed {
        labels: labels(told.labels)?,
        handle: Handle(told.handle),
        state,
        image_digest: some(told.image_digest),
    })
}

/// The instance that must be in an answer.
pub(super) fn the_instance(told: Option<wire::Instance>) -> Result<Observed, Garbled> {
    instance(told.ok_or_else(|| garbled("instance", "missing"))?)
}

const FEATURES: [(Feature, wire::Feature); Feature::ALL.len()] = [
    (Feature::Images, wire::Feature::Images),
    (Feature::Limits, wire::Feature::Limits),
    (Feature::Mounts, wire::Feature::Mounts),
    (Feature::Pause, wire::Feature::Pause),
    (Feature::Ports, wire::Feature::Ports),
    (Feature::Stats, wire::Feature::Stats),
    (Feature::Users, wire::Feature::Users),
];

fn write_feature(feature: Feature) -> wire::Feature {
    let found = FEATURES.iter().find(|(ours, _)| *ours == feature);
    found.map_or(wire::Feature::Unspecified, |(_, theirs)| *theirs)
}

fn read_feature(feature: wire::Feature) -> Option<Feature> {
    let found = FEATURES.iter().find(|(_, theirs)| *theirs == feature);
    found.map(|(ours, _)| *ours)
}

/// A feature by the name that failures have.
pub(super) fn feature_named(name: &str) -> Option<Feature> {
    let mut ours = FEATURES.iter().map(|(ours, _)| *ours);
    ours.find(|feature| feature.as_str() == name)
}

impl From<Capabilities> for wire::GetCapabilitiesResponse {
    fn from(can: Capabilities) -> Self {
        let Capabilities {
            version,
            features,
            missing,
        } = can;
        let missing = missing.into_iter().map(|missing| wire::MissingFeature {
            feature: write_feature(missing.feature).into(),
            why: missing.why,
        });
        Self {
            engine_version: version,
            features: features
                .into_iter()
                .map(|feature| write_feature(feature).into())
                .collect(),
            missing: missing.collect(),
        }
    }
}

/// What a driver says that it can do. Of what it does not mention, it says that it can not.
pub(super) fn capabilities(told: wire::GetCapabilitiesResponse) -> Capabilities {
    let features: BTreeSet<Feature> = told.features().filter_map(read_feature).collect();
    let why = |feature: Feature| {
        let said = |missing: &&wire::MissingFeature| {
            read_feature(missing.feature()) == Some(feature) && !missing.why.is_empty()
        };
        told.missing.iter().find(said).map_or_else(
            || "its driver does not say that it can".to_owned(),
            |missing| missing.why.clone(),
        )
    };
    let missing = FEATURES.iter().map(|(feature, _)| *feature);
    let missing = missing.filter(|feature| !features.contains(feature));
    Capabilities {
        version: told.engine_version.clone(),
        missing: missing
            .map(|feature| Missing {
                feature,
                why: why(feature),
            })
            .collect(),
        features,
    }
}

/// A step as a driver tells it.
pub(super) fn write_step(step: Step) -> wire::ensure_instance_response::Told {
    use wire::ensure_instance_response::Told;
    match step {
        Step::Pulling { current, total } => Told::Pulling(wire::Pulling {
            current_bytes: current,
            total_bytes: total,
        }),
        Step::Creating => Told::Creating(wire::Creating {}),
        Step::Starting => Told::Starting(wire::Starting {}),
    }
}

impl From<RuntimeEvent> for wire::WatchEventsResponse {
    fn from(event: RuntimeEvent) -> Self {
        use wire::watch_events_response::Hint;
        let hint = match event {
            RuntimeEvent::Gap => Hint::Gap(wire::Gap {}),
            RuntimeEvent::Changed { instance, kind } => {
                let kind = match kind {
                    EventKind::Started => wire::EventKind::Started,
                    EventKind::Exited => wire::EventKind::Exited,
                    EventKind::Oom => wire::EventKind::Oom,
                    EventKind::Paused => wire::EventKind::Paused,
                    EventKind::Resumed => wire::EventKind::Resumed,
                    EventKind::Removed => wire::EventKind::Removed,
                };
                Hint::Changed(wire::Changed {
                    instance_id: instance.to_string(),
                    kind: kind.into(),
                })
            }
        };
        Self { hint: Some(hint) }
    }
}

/// A hint as a driver gives it. What cannot be understood says that something changed, and not what: look at everything.
pub(super) fn event(told: wire::WatchEventsResponse) -> RuntimeEvent {
    use wire::watch_events_response::Hint;
    let Some(Hint::Changed(changed)) = told.hint else {
        return RuntimeEvent::Gap;
    };
    let kind = match changed.kind() {
        wire::EventKind::Unspecified => return RuntimeEvent::Gap,
        wire::EventKind::Started => EventKind::Started,
        wire::EventKind::Exited => EventKind::Exited,
        wire::EventKind::Oom => EventKind::Oom,
        wire::EventKind::Paused => EventKind::Paused,
        wire::EventKind::Resumed => EventKind::Resumed,
        wire::EventKind::Removed => EventKind::Removed,
    };
    match instance_id(&changed.instance_id) {
        Ok(instance) => RuntimeEvent::Changed { instance, kind },
        Err(_) => RuntimeEvent::Gap,
    }
}

#[cfg(test)]
mod tests;
