//! What every loop and handler of a tier is given.

use std::{sync::Arc, time::Duration};

use edgeio_domain::{ids::IdSource, liveness::Leases, records::Owner, time::Clock};
use edgeio_store::Store;
use uuid::Uuid;

use crate::leader::LeaseTimes;

/// The parts of a tier that its loops share.
#[derive(Clone)]
pub struct Context {
    /// Its database.
    pub store: Arc<dyn Store>,
    /// Its clocks.
    pub clock: Arc<dyn Clock>,
    /// Where new ids come from.
    pub ids: Arc<dyn IdSource>,
    /// Who this tier is as an owner of applications.
    pub own: Owner,
    /// This process among those that share the database: another id after each start.
    pub replica: Uuid,
    /// What a child is called: "cluster" or "worker".
    pub noun: &'static str,
    /// Times.
    pub times: Times,
}

/// Times of a tier, all configurable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Times {
    /// How often children report when nothing changes. 15 s: a worker sends some 50 bytes a second at most.
    pub report_interval: Duration,
    /// Silence until a child is Suspect; twice that until Disconnected.
    pub lease: Duration,
    /// Silence until what a child runs may be replaced, if others are heard.
    pub replace_after: Duration,
    /// Silence until a child is Lost, if others are heard.
    pub lost_after: Duration,
    /// Of a hundred children, how many may begin to be replaced in a minute.
    pub replace_rate: u32,
    /// How long a slot that the parent saw running is waited for after this tier lost its memory. Twice the report
    /// interval: every worker that is reachable has reported by then.
    pub adopt_window: Duration,
    /// How long a slot of the parent may be without a place here before it is handed back. Longer than a worker needs to
    /// come back after a restart of the cluster, short against a person's patience.
    pub return_after: Duration,
    /// How long a child that refused a slot is left alone the first time; doubles, 60 s at most.
    pub refusal: Duration,
    /// How long events, answers to requests and tombstones are kept.
    pub retention: Duration,
    /// How long the lease of the process that runs the engine is; see [`Times::leader`].
    pub leader_lease: Duration,
}

/// Longest time for which a child that refused a slot is left alone.
pub const LONGEST_REFUSAL: Duration = Duration::from_secs(60);

impl Times {
    /// How long a child is left alone that refused a slot so many times in a row, from 1.
    #[must_use]
    pub fn refusal_wait(&self, times: u32) -> Duration {
        let doubled = self
            .refusal
            .saturating_mul(1 << times.saturating_sub(1).min(10));
        doubled.min(LONGEST_REFUSAL)
    }

    /// How long it takes at least until a child has refused a slot so many times in a row and may be asked again.
    #[must_use]
    pub fn refusal_waits(&self, times: u32) -> Duration {
        // Past that many they sum up to longer than anybody waits.
        (1..=times.min(32)).map(|n| self.refusal_wait(n)).sum()
    }

    /// The times of the engine's lease.
    #[must_use]
    pub fn leader(&self) -> LeaseTimes {
        LeaseTimes {
            length: self.leader_lease,
        }
    }
}

impl Default for Times {
    fn default() -> Self {
        let leases = Leases::default();
        Self {
            report_interval: Duration::from_secs(15),
            lease: leases.lease,
            replace_after: leases.replace_after,
            lost_after: leases.lost_after,
            replace_rate: leases.replace_rate,
            adopt_window: Duration::from_secs(30),
            return_after: Duration::from_secs(5),
            refusal: Duration::from_secs(2),
            retention: Duration::from_secs(7 * 24 * 3600),
            // What Kubernetes' client-go takes for its leaders: 15 s, renewed after 10 s, retried every 2 s.
            leader_lease: Duration::from_secs(15),
        }
    }
}

impl Times {
    /// Those by which silence is judged.
    #[must_use]
    pub fn leases(&self) -> Leases {
        Leases {
            lease: self.lease,
            replace_after: self.replace_after,
            lost_after: self.lost_after,
            replace_rate: self.replace_rate,
        }
    }
}
