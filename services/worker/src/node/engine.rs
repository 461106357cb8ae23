//! One runtime as the node sees it: what it offers and when it is listed. Listings are the truth; hints only hasten looks.

use std::time::Duration;

use edgeio_domain::time::Time;

use super::{Now, types::Offer, unit::pause};

/// How often everything is listed though nothing hinted at a change. Lost hints are rare; a listing of a hundred containers
/// takes milliseconds.
const RELIST: Duration = Duration::from_secs(30);

/// See the module.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) offer: Offer,
    /// It has answered a listing since the node was opened.
    pub(super) listed: bool,
    /// It did not answer the last one.
    pub(super) down: bool,
    /// A listing is under way, asked for when so much work was finished.
    pub(super) asked: Option<u64>,
    /// List it as soon as none is under way.
    pub(super) again: bool,
    /// The next listing, on CLOCK_BOOTTIME.
    next: Time,
    tries: u32,
}

impl Engine {
    pub(super) fn new(offer: Offer) -> Self {
        Self {
            offer,
            listed: false,
            down: false,
            asked: None,
            again: true,
            next: Time(0),
            tries: 0,
        }
    }

    /// Whether a listing is to be asked for now; notes that it is.
    pub(super) fn ask(&mut self, serial: u64, now: Now) -> bool {
        if self.asked.is_some() || !(self.again || self.next <= now.boot) {
            return false;
        }
        self.again = false;
        self.asked = Some(serial);
        true
    }

    pub(super) fn answered(&mut self, now: Now) {
        self.listed = true;
        self.down = false;
        self.tries = 0;
        self.next = now.boot + RELIST;
    }

    pub(super) fn failed(&mut self, now: Now) {
        self.down = true;
        self.tries = self.tries.saturating_add(1);
        self.next = now.boot + pause(self.tries);
        self.again = false;
    }

    pub(super) fn due(&self) -> Option<Time> {
        self.asked.is_none().then_some(self.next)
    }
}
