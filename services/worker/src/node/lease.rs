//! Leases of exclusive instances: how long each may run without a word from the cluster.
//!
//! The link says when leases were renewed (see `edgeio_link::child`), the planner what a missing one means
//! (`edgeio_domain::plan::lease`); here the two meet. Laws:
//! - a lease counts from the sending of a report that was recorded, so an agent that is started again grants itself nothing:
//!   it goes on with what the ledger has of this boot, which is older, and after a reboot with nothing;
//! - what may not run any more is stopped, whatever else waits for that instance.
//!
//! The agent stops what may not run any more. It also tells the runtime of each renewal ([`Node::leases`]), and where a job has
//! a keeper of its own, as a native one has in its shim, that ends it in time while the agent is dead or hangs. A container has
//! none: while no agent runs, nobody stops it. A machine that sleeps stops nothing before it wakes. Who must be safe from that
//! too gives `EDGEIO_EPOCH` to the store that the job writes to.

use std::time::Duration;

use edgeio_domain::{
    ids::AssignmentId,
    plan::{instance::Seen, lease::Lease},
    records::Desired,
    spec::Mode,
    time::Time,
};
use tracing::info;

use super::{Node, Now, unit::Unit};
use crate::{ledger::Renewal, runtime::RuntimeKind};

/// Reason of an instance that waits for its first lease since the agent or the machine was started.
pub(super) const NO_LEASE: &str = "NoLease";
/// Reason of an instance that was stopped since its lease was over.
pub(super) const LEASE_EXPIRED: &str = "LeaseExpired";

/// A lease is asked for so often while it holds: three reports may be lost before anything is stopped.
const TRIES: u32 = 4;

/// What a node knows of leases beside the link.
#[derive(Debug)]
pub(super) struct Leases {
    boot_id: String,
    /// The newest renewal that the ledger has of this boot.
    noted: Option<Time>,
    /// For a planted bug: how long the machine slept since that renewal.
    #[cfg(feature = "plant")]
    slept: (Option<Time>, Duration),
    /// For a planted bug: how far the wall clock was ahead of CLOCK_BOOTTIME at that renewal, in milliseconds.
    #[cfg(feature = "plant")]
    ahead: i64,
}

impl Leases {
    /// As the ledger left them.
    pub(super) fn new(boot_id: String, renewal: Option<Renewal>) -> Self {
        // Without an id nothing says that the clock is the same one.
        let same = |renewal: &Renewal| !boot_id.is_empty() && renewal.boot_id == boot_id;
        let noted = renewal.filter(same).map(|renewal| renewal.at);
        Self {
            boot_id,
            noted,
            #[cfg(feature = "plant")]
            slept: (None, Duration::ZERO),
            #[cfg(feature = "plant")]
            ahead: 0,
        }
    }

    /// The ledger has this now.
    pub(super) fn wrote(&mut self, renewal: &Renewal) {
        self.noted = Some(renewal.at);
    }
}

impl Node {
    /// When leases were renewed last, on CLOCK_BOOTTIME.
    pub(super) fn renewed(&self) -> Option<Time> {
        self.child.renewed().max(self.leases.noted)
    }

    /// How an instance is to be treated while it cannot hear its cluster.
    fn mode(&self, unit: &Unit) -> Mode {
        let spec = self.specs.get(&unit.entry.order.spec_hash);
        spec.and_then(|spec| spec.as_ref().ok())
            .map_or(Mode::Available, |spec| spec.disconnect.mode)
    }

    /// The instances that need a lease, with how long it holds.
    fn exclusive(&self) -> impl Iterator<Item = (&Unit, Duration)> {
        self.units.values().filter_map(|unit| {
            let status = &unit.entry.status;
            let wanted = unit.entry.order.desired != Desired::Stop
                && status.rejection.is_none()
                && !status.phase.is_terminal();
            match self.mode(unit) {
                Mode::Exclusive { stop_after } if wanted => Some((unit, stop_after)),
                Mode::Exclusive { .. } | Mode::Available => None,
            }
        })
    }

    /// The exclusive instances that run, with their runtime and how long each may, on CLOCK_BOOTTIME.
    pub fn leases(&self) -> impl Iterator<Item = (AssignmentId, &RuntimeKind, Duration)> {
        let renewed = self.renewed();
        self.exclusive().filter_map(move |(unit, stop_after)| {
            let runs = matches!(unit.seen, Seen::Running | Seen::Paused);
            let until = since_boot(renewed? + stop_after);
            runs.then_some((unit.id(), unit.runtime.as_ref()?, until))
        })
    }

    /// How often reports must go out so that leases are renewed in time.
    pub(super) fn renew_within(&self) -> Option<Duration> {
        let shortest = self.exclusive().map(|(_, stop_after)| stop_after).min()?;
        Some(shortest / TRIES)
    }

    /// The next end of a lease, unless it was acted on already.
    pub(super) fn lease_due(&self) -> Option<Time> {
        let renewed = self.renewed()?;
        self.exclusive()
            .map(|(_, stop_after)| renewed + stop_after)
            .filter(|until| self.acted.boot < *until)
            .min()
    }

    /// The renewal that the ledger shall have. It is written now and then only, since flash wears: an agent that is started
    /// again has some of its time less.
    pub(super) fn renewal_to_write(&self) -> Option<Renewal> {
        let every = self.renew_within()?;
        let at = self.child.renewed()?;
        let late = self.leases.noted.is_none_or(|noted| at >= noted + every);
        (late && !self.leases.boot_id.is_empty()).then(|| Renewal {
            boot_id: self.leases.boot_id.clone(),
            at,
        })
    }

    /// For a planted bug: the time as a clock shows it that stands still while the machine sleeps. Whoever is awake does
    /// something every ten seconds while its cluster is silent.
    #[cfg(feature = "plant")]
    pub(super) fn count_sleep(&mut self, before: Time, now: Now) {
        let renewed = self.renewed();
        if self.leases.slept.0 != renewed {
            self.leases.slept = (renewed, Duration::ZERO);
            self.leases.ahead = now.wall.0 - now.boot.0;
        }
        let gap = now.boot.since(before);
        if gap > Duration::from_secs(10) {
            self.leases.slept.1 += gap;
        }
    }

    /// The time by which leases are judged.
    pub(super) fn lease_time(&self, now: Now) -> Now {
        #[cfg(feature = "plant")]
        if edgeio_domain::plant::on(edgeio_domain::plant::Plant::SuspendedClock) {
            let boot = now.boot - self.leases.slept.1;
            return Now { boot, ..now };
        }
        #[cfg(feature = "plant")]
        if edgeio_domain::plant::on(edgeio_domain::plant::Plant::LeaseByWallClock) {
            let boot = Time(now.wall.0 - self.leases.ahead);
            return Now { boot, ..now };
        }
        now
    }

    /// Leases that ended since the last round: what is waited for before the next try of something else waits no more.
    pub(super) fn lapse(&mut self, before: Time, now: Now) {
        let Some(renewed) = self.renewed() else {
            return;
        };
        let lapsed: Vec<_> = self
            .exclusive()
            .filter(|(_, stop_after)| {
                let until = renewed + *stop_after;
                before < until && until <= now.boot
            })
            .map(|(unit, _)| unit.id())
            .collect();
        for id in lapsed {
            info!(instance = %id, "its lease is over: it stops until its cluster is heard");
            if let Some(unit) = self.units.get_mut(&id) {
                unit.wait = None;
                unit.tries = 0;
            }
        }
    }
}

/// A time of CLOCK_BOOTTIME as what it is: the time since the boot.
pub(super) fn since_boot(at: Time) -> Duration {
    Duration::from_millis(u64::try_from(at.0).unwrap_or(0))
}

/// The lease of an instance with that spec.
pub(super) fn of(
    spec: Option<&edgeio_domain::spec::ServiceSpec>,
    renewed: Option<Time>,
    now: Now,
) -> Lease {
    spec.map_or(Lease::Free, |spec| {
        Lease::judge(spec.disconnect.mode, renewed, now.boot)
    })
}
