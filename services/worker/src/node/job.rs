//! From an order and its spec to what a runtime is asked for, and whether this node takes it at all.

use std::time::Duration;

use edgeio_domain::{
    node::{Order, Rejection, RejectionReason},
    spec::{self, ServiceSpec},
};
use uuid::Uuid;

use super::types::Offer;
use crate::runtime::{Feature, InstanceId, JobSpec, Labels, Port, Protocol, PullPolicy};

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

/// Whether the node takes a job with this spec.
pub(super) fn admit(spec: &ServiceSpec, offers: &[Offer]) -> Option<Rejection> {
    let refuse = |message: String| {
        Some(Rejection {
            reason: RejectionReason::Unsupported,
            message,
        })
    };
    let named = |offer: &&Offer| offer.available && offer.kind.as_str() == spec.runtime;
    let Some(offer) = offers.iter().find(named) else {
        return refuse(format!("this worker has no runtime {}", spec.runtime));
    };
    let needs = [
        (spec.image.is_some(), Feature::Images),
        (!spec.ports.is_empty(), Feature::Ports),
    ];
    let lacks =
        |&&(needed, feature): &&(bool, Feature)| needed && !offer.features.contains(&feature);
    let (_, feature) = needs.iter().find(lacks)?;
    refuse(format!(
        "the runtime {} of this worker has no {}",
        spec.runtime,
        feature.as_str()
    ))
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
        working_dir: None,
        stop_grace: spec.stop_grace,
        lease,
    }
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

#[cfg(test)]
mod tests {
    use edgeio_domain::ids::AssignmentId;

    use super::*;

    #[test]
    fn a_later_instance_has_a_higher_epoch_that_fits_a_signed_number() {
        let order = |millis: u64| Order {
            id: AssignmentId(
                uuid::Builder::from_unix_timestamp_millis(millis, &[0; 10]).into_uuid(),
            ),
            slot: Default::default(),
            generation: 1,
            desired: edgeio_domain::records::Desired::Run,
            restart_count: 0,
            spec_hash: Default::default(),
            image_digest: String::new(),
            namespace: String::new(),
            application: String::new(),
            application_uid: String::new(),
            service: String::new(),
            ordinal: 0,
            owner: String::new(),
        };
        let now = 1_800_000_000_000;
        let epochs: Vec<u64> = [0, now, now + 1, now + 86_400_000, (1 << 48) - 1]
            .map(|millis| epoch(&order(millis)))
            .into();
        assert!(epochs.is_sorted_by(|a, b| a < b), "{epochs:?}");
        assert_eq!(epochs[1], now << 12);
        assert!(i64::try_from(epochs[4]).is_ok());
    }
}
