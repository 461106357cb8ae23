//! The lease of exclusive instances, as the child sees it: it has been heard up to then.
//!
//! A parent replaces what a child runs only after a silence that it counts from the last report that it recorded. So the
//! child counts from the moment at which it *sent* the newest report that it knows to be recorded: its clock starts before
//! the parent's, however late the Ack comes. Neither Hello nor Welcome renews anything: a parent answers them whatever it
//! has decided. All times are CLOCK_BOOTTIME, which goes on while the machine sleeps.
//!
//! Deliberately absent: how long a lease holds and what ends with it, which the caller knows from the specs.

use std::time::Duration;

use edgeio_domain::time::Time;

use super::{Child, Session};

impl Child {
    /// When the newest report was sent of which the parent said that it recorded it and that it had ordered nothing that was
    /// not applied here: up to then it has replaced nothing that this child runs. On CLOCK_BOOTTIME; `None` before the first.
    #[must_use]
    pub fn renewed(&self) -> Option<Time> {
        self.renewed
    }

    /// Reports at least this often, where the parent's interval is longer: a lease is renewed by reports.
    pub fn hasten(&mut self, within: Option<Duration>) {
        self.within = within;
    }

    /// The time from one report to the next when there is nothing to tell.
    pub(super) fn beat(&self) -> Duration {
        self.within
            .map_or(self.interval, |within| within.min(self.interval))
    }

    /// A report that was sent then is recorded now. An Ack that names no newest order is of a parent that grants no leases.
    pub(super) fn renew(&mut self, sent: Time, newest_order: Option<u64>) {
        let Session::Open(open) = self.session else {
            return;
        };
        // Revisions of another database, or of one before it was put back, say nothing about this one's orders.
        let applied = self
            .accepted
            .filter(|point| point.lineage == open.lineage)
            .filter(|point| point.issuer_epoch >= open.issuer_epoch)
            .map(|point| point.revision);
        if applied.is_some() && newest_order.is_some() && newest_order <= applied {
            self.renewed = self.renewed.max(Some(sent));
        }
    }
}
