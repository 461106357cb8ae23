//! What root and cluster configure alike.

use std::{path::PathBuf, time::Duration};

use edgeio_server::config::{Check, Validate};

use crate::context::Times;

edgeio_server::config! {
    /// The times of a tier and where it keeps its records. Used by `Flat`, so its keys have no prefix.
    pub struct TierConfig {
        /// Directory of the database and of this tier's identity. Made when it does not exist.
        pub data_dir: PathBuf = PathBuf::from("/var/lib/edgeio"),
        /// How often children report when nothing changes.
        pub report_interval: Duration = Times::default().report_interval,
        /// Silence after which a child gets no new work; after twice that it counts as disconnected.
        pub lease: Duration = Times::default().lease,
        /// Silence after which what a child runs may be replaced elsewhere, if other children are heard meanwhile. At least
        /// twice `lease`.
        pub replace_after: Duration = Times::default().replace_after,
        /// Silence after which a child counts as lost: what was replaced is stopped there should it return. Longer than
        /// `replace_after`.
        pub lost_after: Duration = Times::default().lost_after,
        /// Of a hundred children, how many may begin to be replaced in a minute; one always may. From 1 to 100.
        pub replace_rate: u32 = Times::default().replace_rate,
        /// How long running instances are waited for after this tier lost its database, before others are started.
        pub adopt_window: Duration = Times::default().adopt_window,
        /// How long a replica of the parent may be without a place here before it is handed back.
        pub return_after: Duration = Times::default().return_after,
        /// How long events, answers to repeated requests and the ids of stopped instances are kept.
        pub retention: Duration = Times::default().retention,
        /// Where several processes share one database: how long the one that plans and places may be silent before
        /// another takes over. It renews its lease after two thirds of that, the others look every two fifteenths. On
        /// SQLite, which one process has for itself, nothing waits for it.
        pub leader_lease: Duration = Times::default().leader_lease,
    }
}

impl Validate for TierConfig {
    fn validate(&self, check: &mut Check<'_>) {
        if self.report_interval < Duration::from_millis(100) {
            check.fail(
                "report_interval",
                "children would do nothing but report",
                "write at least `100ms`",
            );
        }
        if self.lease < self.report_interval * 2 {
            check.fail(
                "lease",
                "one lost report would make a child suspect",
                "write at least twice `report_interval`; three times is the default",
            );
        }
        if self.leader_lease < Duration::from_secs(1) {
            check.fail(
                "leader_lease",
                "a short pause would have another process take over",
                "write at least `1s`; `15s` is the default",
            );
        }
        if self.replace_after < self.lease * 2 {
            check.fail(
                "replace_after",
                "a child would be replaced before it counts as disconnected",
                "write at least twice `lease`",
            );
        }
        if self.lost_after <= self.replace_after {
            check.fail(
                "lost_after",
                "a child would be lost before anything was replaced",
                "write more than `replace_after`",
            );
        }
        if !(1..=100).contains(&self.replace_rate) {
            check.fail(
                "replace_rate",
                "it is a part of a hundred children",
                "write a number from 1 to 100",
            );
        }
    }
}

impl TierConfig {
    /// The times, for the loops.
    #[must_use]
    pub fn times(&self) -> Times {
        Times {
            report_interval: self.report_interval,
            lease: self.lease,
            replace_after: self.replace_after,
            lost_after: self.lost_after,
            replace_rate: self.replace_rate,
            adopt_window: self.adopt_window,
            return_after: self.return_after,
            retention: self.retention,
            leader_lease: self.leader_lease,
            ..Times::default()
        }
    }
}
