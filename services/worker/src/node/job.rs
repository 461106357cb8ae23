//! From an order and its spec to what a runtime is asked for, and whether this node takes it at all.

use std::{path::PathBuf, time::Duration};

use edgeio_domain::{
    node::{Order, Rejection, RejectionReason},
    spec::{self, ServiceSpec, Source},
};
use uuid::Uuid;

use super::types::Offer;
use crate::{
    policy::Policy,
    runtime::{
        Content, Feature, InstanceId, JobSpec, Labels, Port, Protocol, Provision, PullPolicy,
        RuntimeKind, SandboxSpec,
    },
};

/// Variables that every job finds beside its own, so that it can tell who it is.
pub mod variable {
    /// The instance's id.
    pub const INSTANCE: &str = "EDGEIO_INSTANCE";
    /// The application's name.
    pub const APPLICATION: &str = "EDGEIO_APPLICATION";
    /// The service's name.
    pub const SERVICE: &str = "EDGEIO_SERVICE";
    /// The replica's number, from 0.
    pub const ORDINAL: &str = "EDGEIO_ORDINAL";
    /// A number that is higher for each instance that replaces another one in its slot: a store that remembers the highest
    /// one it has seen and refuses lower ones is safe from a predecessor that was not stopped in time.
    pub const EPOCH: &str = "EDGEIO_EPOCH";
}

/// What a runtime must be able to do for a job with this spec.
fn needs(spec: &ServiceSpec) -> impl Iterator<Item = Feature> {
    let sandbox = &spec.sandbox;
    let seen = !spec.volumes.is_empty() || !spec.files.is_empty() || sandbox.read_only;
    [
        (spec.image.is_some(), Feature::Images),
        (!spec.ports.is_empty(), Feature::Ports),
        (seen, Feature::Mounts),
        (spec.user.is_some(), Feature::Users),
    ]
    .into_iter()
    .filter_map(|(needed, feature)| needed.then_some(feature))
}

/// Runtimes in the order in which a spec that names none takes them.
const USUAL: [RuntimeKind; 2] = [RuntimeKind::DOCKER, RuntimeKind::CONTAINERD];

/// The runtime for a new instance: the spec's, or, where that does not say, the first that can do what it needs. It is chosen once for an
/// instance and recorded: what runs in one engine is not looked for in another.
pub(super) fn choose<'a>(
    spec: &ServiceSpec,
    offers: impl Iterator<Item = &'a Offer>,
) -> Option<RuntimeKind> {
    if !spec.runtime.is_empty() {
        return Some(RuntimeKind::new(spec.runtime.clone()));
    }
    let able: Vec<&Offer> = offers
        .filter(|offer| offer.available && needs(spec).all(|need| offer.features.contains(&need)))
        .collect();
    let usual = USUAL
        .iter()
        .find(|kind| able.iter().any(|offer| offer.kind == **kind));
    usual.or(able.first().map(|offer| &offer.kind)).cloned()
}

/// Whether the node takes a job with this spec.
pub(super) fn admit(spec: &ServiceSpec, offers: &[Offer], policy: &Policy) -> Option<Rejection> {
    let refuse = |message: String| {
        Some(Rejection {
            reason: RejectionReason::Unsupported,
            message,
        })
    };
    if let Some(why) = policy.refusal(spec) {
        return refuse(why);
    }
    let fits = |offer: &&Offer| {
        let named = offer.kind.as_str() == spec.runtime;
        let any = spec.runtime.is_empty() && offer.features.contains(&Feature::Images);
        offer.available && (named || any)
    };
    let able = offers.iter().filter(fits);
    let lacks = |offer: &Offer| needs(spec).find(|need| !offer.features.contains(need));
    let mut lacking = None;
    for offer in able {
        match lacks(offer) {
            None => return None,
            Some(feature) => lacking = lacking.or(Some((&offer.kind, feature))),
        }
    }
    refuse(match lacking {
        Some((kind, feature)) => format!(
            "the runtime {kind} of this worker has no {}",
            feature.as_str()
        ),
        None if spec.runtime.is_empty() => "this worker has no runtime for images".to_owned(),
        None => format!("this worker has no runtime {}", spec.runtime),
    })
}

/// What the runtime is asked for.
pub(super) fn job(
    order: &Order,
    spec: &ServiceSpec,
    image_digest: &str,
    cluster: Uuid,
    worker: Uuid,
    lease: Option<Duration>,
) -> JobSpec {
    let pinned = [order.image_digest.as_str(), image_digest]
        .into_iter()
        .find(|digest| !digest.is_empty());
    let mut env = spec.env.clone();
    for (key, value) in [
        (variable::INSTANCE, order.id.to_string()),
        (variable::APPLICATION, order.application.clone()),
        (variable::SERVICE, order.service.clone()),
        (variable::ORDINAL, order.ordinal.to_string()),
        (variable::EPOCH, epoch(order).to_string()),
    ] {
        // What the user wrote wins.
        env.entry(key.to_owned()).or_insert(value);
    }
    let limit = |amount: i64| (amount > 0).then_some(amount);
    JobSpec {
        name: name(order),
        labels: Labels {
            cluster,
            worker,
            instance: InstanceId(order.id.0),
            spec_hash: order.spec_hash.hex(),
        },
        image: spec.image.clone(),
        image_digest: pinned.map(str::to_owned),
        pull: match spec.pull {
            spec::PullPolicy::Always => PullPolicy::Always,
            spec::PullPolicy::IfAbsent => PullPolicy::IfAbsent,
            spec::PullPolicy::Never => PullPolicy::Never,
        },
        command: spec.command.clone(),
        args: spec.args.clone(),
        env,
        cpu_millis: limit(spec.resources.cpu_millis),
        memory_bytes: limit(spec.resources.memory_bytes),
        ports: spec.ports.iter().map(port).collect(),
        working_dir: spec.working_dir.clone(),
        user: spec.user.clone(),
        stop_signal: spec.stop_signal.map(|signal| signal.number()),
        mounts: Vec::new(),
        provisions: provisions(order, spec),
        sandbox: SandboxSpec::from(&spec.sandbox),
        stop_grace: spec.stop_grace,
        lease,
    }
}

/// What it shall see of this worker.
fn provisions(order: &Order, spec: &ServiceSpec) -> Vec<Provision> {
    let volume = |volume: &spec::Volume| {
        let read_only = volume.read_only;
        let content = match &volume.source {
            Source::Host(path) => Content::Host {
                path: path.into(),
                read_only,
            },
            Source::Kept { name, shared } => Content::Volume {
                path: kept(order, name.as_str(), *shared),
                read_only,
            },
        };
        Provision {
            target: volume.path.clone(),
            content,
        }
    };
    let file = |file: &spec::File| Provision {
        target: file.path.clone(),
        content: Content::File {
            bytes: file.content.clone().into_bytes(),
            executable: file.executable,
        },
    };
    let volumes = spec.volumes.iter().map(volume);
    volumes.chain(spec.files.iter().map(file)).collect()
}

/// Where a volume is kept: the same place for every instance of a replica, and for nobody else's. All parts are names, or an id.
fn kept(order: &Order, name: &str, shared: bool) -> PathBuf {
    // Applications of the root and of the cluster may have one name.
    let owner = if order.owner.is_empty() {
        "root"
    } else {
        "cluster"
    };
    let whose = if shared {
        "shared".to_owned()
    } else {
        // A service's name has no dot: it is not taken for the directory of all.
        format!("{}.{}", order.service, order.ordinal)
    };
    [owner, &order.namespace, &order.application, &whose, name]
        .iter()
        .collect()
}

/// The id's time in milliseconds and the bits behind it, which count within one: it is made by the cluster, whose substitute
/// comes later than what it replaces by its own clock. 60 bits, so that it fits a signed column of any store.
fn epoch(order: &Order) -> u64 {
    let (high, _) = order.id.0.as_u64_pair();
    // Between the two stands the version of the id's format.
    (high >> 16) << 12 | (high & 0xfff)
}

fn port(port: &spec::Port) -> Port {
    Port {
        container: port.container,
        host: port.host,
        protocol: match port.protocol {
            spec::Protocol::Tcp => Protocol::Tcp,
            spec::Protocol::Udp => Protocol::Udp,
        },
    }
}

/// For people. The id's last digits: its first ones are the time, which instances that are made together share.
fn name(order: &Order) -> String {
    let id = order.id.0.simple().to_string();
    let short = id.get(24..).unwrap_or(&id);
    format!(
        "edgeio-{}-{}-{}-{short}",
        order.application, order.service, order.ordinal
    )
}

/// A job of nothing in particular.
#[cfg(test)]
pub(crate) fn test_job() -> JobSpec {
    JobSpec {
        name: "edgeio-shop-db-0-00000003".to_owned(),
        labels: Labels {
            cluster: Uuid::from_u128(1),
            worker: Uuid::from_u128(2),
            instance: InstanceId(Uuid::from_u128(3)),
            spec_hash: "ab".to_owned(),
        },
        image: None,
        image_digest: None,
        pull: PullPolicy::Never,
        command: vec!["/bin/true".to_owned()],
        args: Vec::new(),
        env: Default::default(),
        cpu_millis: None,
        memory_bytes: None,
        ports: Vec::new(),
        working_dir: None,
        user: None,
        stop_signal: None,
        mounts: Vec::new(),
        provisions: Vec::new(),
        sandbox: SandboxSpec::default(),
        stop_grace: Duration::ZERO,
        lease: None,
    }
}

#[cfg(test)]
mod tests {
    use edgeio_domain::ids::AssignmentId;

    use super::*;

    fn order(millis: u64) -> Order {
        Order {
            id: AssignmentId(
                uuid::Builder::from_unix_timestamp_millis(millis, &[0; 10]).into_uuid(),
            ),
            slot: Default::default(),
            generation: 1,
            desired: edgeio_domain::records::Desired::Run,
            restart_count: 0,
            spec_hash: Default::default(),
            image_digest: String::new(),
            namespace: "default".to_owned(),
            application: "shop".to_owned(),
            application_uid: String::new(),
            service: "db".to_owned(),
            ordinal: 2,
            owner: String::new(),
        }
    }

    fn spec(change: impl FnOnce(&mut spec::ServiceDraft)) -> ServiceSpec {
        let mut draft = spec::ServiceDraft {
            name: "db".to_owned(),
            image: "x:1".to_owned(),
            ..Default::default()
        };
        change(&mut draft);
        let mut faults = Default::default();
        ServiceSpec::check(&draft, "s", &mut faults).unwrap()
    }

    fn offer(kind: RuntimeKind, features: &[Feature]) -> Offer {
        Offer {
            kind,
            features: features.iter().copied().collect(),
            available: true,
        }
    }

    #[test]
    fn an_image_runs_in_whichever_engine_can_do_what_it_needs() {
        use Feature::{Images, Mounts};
        let docker = offer(RuntimeKind::DOCKER, &[Images]);
        let containerd = offer(RuntimeKind::CONTAINERD, &[Images, Mounts]);
        let process = offer(RuntimeKind::PROCESS, &[Mounts]);
        let plain = spec(|_| {});
        let writes = spec(|draft| draft.sandbox.read_only = true);
        let all = [process.clone(), containerd.clone(), docker.clone()];
        let policy = Policy::default();
        assert_eq!(choose(&plain, all.iter()), Some(RuntimeKind::DOCKER));
        assert_eq!(choose(&writes, all.iter()), Some(RuntimeKind::CONTAINERD));
        assert_eq!(
            choose(&plain, all[..2].iter()),
            Some(RuntimeKind::CONTAINERD)
        );
        assert_eq!(choose(&plain, [process.clone()].iter()), None);
        assert_eq!(admit(&writes, &all, &policy), None);
        let refused = |offers: &[Offer]| admit(&writes, offers, &policy).unwrap().message;
        assert!(refused(&[docker]).contains("no mounts"));
        assert!(refused(&[process]).contains("no runtime for images"));
        let named = spec(|draft| draft.runtime = "containerd".to_owned());
        assert_eq!(choose(&named, [].iter()), Some(RuntimeKind::CONTAINERD));
    }

    #[test]
    fn a_volume_is_one_replicas_unless_it_is_shared() {
        let volume = |name: &str, shared| spec::VolumeDraft {
            name: name.to_owned(),
            path: format!("/{name}"),
            shared,
            ..Default::default()
        };
        let spec = spec(|draft| {
            draft.volumes = vec![volume("data", false), volume("pool", true)];
            draft.files = vec![spec::FileDraft {
                path: "/etc/app".to_owned(),
                content: "a=1".to_owned(),
                executable: false,
            }];
        });
        let made = job(&order(1), &spec, "", Uuid::nil(), Uuid::nil(), None);
        let paths: Vec<PathBuf> = made
            .provisions
            .iter()
            .filter_map(|one| match &one.content {
                Content::Volume { path, .. } => Some(path.clone()),
                _ => None,
            })
            .collect();
        assert_eq!(
            paths,
            [
                PathBuf::from("root/default/shop/db.2/data"),
                PathBuf::from("root/default/shop/shared/pool"),
            ]
        );
        assert_eq!(made.provisions[2].target, "/etc/app");
        assert_eq!(made.sandbox, SandboxSpec::default());
    }

    #[test]
    fn a_later_instance_has_a_higher_epoch_that_fits_a_signed_number() {
        let now = 1_800_000_000_000;
        let epochs: Vec<u64> = [0, now, now + 1, now + 86_400_000, (1 << 48) - 1]
            .map(|millis| epoch(&order(millis)))
            .into();
        assert!(epochs.is_sorted_by(|a, b| a < b), "{epochs:?}");
        assert_eq!(epochs[1], now << 12);
        assert!(i64::try_from(epochs[4]).is_ok());
    }
}
