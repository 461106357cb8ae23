//! Which children's silence this replica judges, where several share the database.
//!
//! Only who holds a child's newest session hears it, so only that replica may call it silent. Each replica says that it is
//! there by a lease of its own. When one is gone, the children whose sessions it held are judged by the replica that runs
//! the engine, from when it noticed: what they said to the other one in between is not known.
//!
//! A replica is gone when its lease was not renewed for its length of this machine's CLOCK_BOOTTIME; no wall clock is asked.
//! A wrong guess costs a child that is called silent and is heard again with its next report.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use edgeio_domain::{child::Child, time::Time};
use edgeio_store::{Lease, StoreError, Write};
use tracing::info;
use uuid::Uuid;

use crate::{context::Context, leader::ENGINE};

/// What the names of replicas' leases begin with.
const PREFIX: &str = "replica:";

/// The replicas of a tier, as one of them sees them.
#[derive(Debug)]
pub(super) struct Replicas {
    own: Uuid,
    /// Only this process can have the database: it judges everything.
    alone: bool,
    /// This one runs the engine.
    leads: bool,
    /// The leases of the others as they were seen first, and when, by CLOCK_BOOTTIME.
    seen: BTreeMap<Uuid, (Lease, Time)>,
    /// The others that are there.
    there: BTreeSet<Uuid>,
    /// When this one's lease was renewed, by CLOCK_BOOTTIME.
    renewed: Option<Time>,
    /// When it looked last, by CLOCK_BOOTTIME.
    looked: Option<Time>,
}

impl Replicas {
    pub(super) fn new(context: &Context) -> Self {
        Self {
            own: context.replica,
            alone: context.store.is_exclusive(),
            leads: false,
            seen: BTreeMap::new(),
            there: BTreeSet::new(),
            renewed: None,
            looked: None,
        }
    }

    /// Whether this replica judges the child's silence.
    pub(super) fn judges(&self, child: &Child) -> bool {
        match child.holder {
            _ if self.alone => true,
            Some(holder) if holder == self.own => true,
            Some(holder) if self.there.contains(&holder) => false,
            Some(_) | None => self.leads,
        }
    }

    /// Says that this replica is there and looks who else is, where that is due.
    pub(super) async fn refresh(&mut self, context: &Context) -> Result<(), StoreError> {
        let (boot, times) = (context.clock.boot(), context.times.leader());
        let within = |at: Option<Time>, wait: Duration| at.is_some_and(|at| boot.since(at) < wait);
        if self.alone || within(self.looked, times.retry()) {
            return Ok(());
        }
        let leases = context.store.read().await?.leases().await?;
        let engine = leases.iter().find(|lease| lease.name == ENGINE);
        self.leads = engine.is_some_and(|lease| lease.holder == self.own);
        let mut seen = BTreeMap::new();
        for lease in leases {
            if lease.name.starts_with(PREFIX) && lease.holder != self.own {
                let first = match self.seen.remove(&lease.holder) {
                    Some((before, since)) if before == lease => since,
                    Some(_) | None => boot,
                };
                seen.insert(lease.holder, (lease, first));
            }
        }
        self.seen = seen;
        let gone = |(_, (_, since)): &(&Uuid, &(Lease, Time))| boot.since(*since) >= times.length;
        let (gone, there): (Vec<_>, Vec<_>) = self.seen.iter().partition(gone);
        self.there = there.into_iter().map(|(id, _)| *id).collect();
        let mut writes = Vec::new();
        if self.leads {
            for (id, (lease, _)) in gone {
                info!(replica = %id, "a replica is gone");
                writes.push(Write::DeleteLease(lease.name.clone()));
            }
        }
        let renews = !within(self.renewed, times.renew());
        if renews {
            let tx = context.store.read().await?;
            writes.push(Write::PutLease(Lease {
                name: format!("{PREFIX}{}", self.own),
                holder: self.own,
                epoch: 1,
                expires_at: tx.now().await? + times.length,
            }));
        }
        if !writes.is_empty() {
            let mut tx = context.store.write().await?;
            for write in writes {
                tx.stage(write);
            }
            tx.commit().await?;
        }
        if renews {
            self.renewed = Some(boot);
        }
        self.looked = Some(boot);
        Ok(())
    }
}
