//! Refused calls into the audit: the first ones at once, of a flood a few and how many were left out.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use edgeio_domain::time::{Clock, Time};
use edgeio_server::{
    auth::{Denial, Denials},
    shutdown::Shutdown,
};
use edgeio_store::{AuditRecord, Store, StoreError};
use tokio::sync::mpsc;

use super::{Actor, Target};

/// Refusals that are recorded at once: a person who tries things out stays below.
const BURST: u32 = 20;
/// After those one in this time: a flood that goes on for a year writes 3 million entries of some 500 bytes at most, which a
/// disk holds and a person can still search.
const PAUSE: Duration = Duration::from_secs(10);

/// Tells what is recorded and what is left out.
#[derive(Debug)]
struct Bucket {
    left: u32,
    refilled: Time,
    skipped: u64,
}

impl Bucket {
    /// Takes one; answers how many were left out before it, or `None` if this one is left out.
    fn take(&mut self, now: Time) -> Option<u64> {
        let pause = i64::try_from(PAUSE.as_millis()).unwrap_or(i64::MAX);
        let periods = now.0.saturating_sub(self.refilled.0).max(0) / pause;
        if periods > 0 {
            let more = u32::try_from(periods).unwrap_or(BURST);
            self.left = self.left.saturating_add(more).min(BURST);
            self.refilled = now;
        }
        if self.left == 0 {
            self.skipped += 1;
            return None;
        }
        self.left -= 1;
        Some(std::mem::take(&mut self.skipped))
    }
}

/// Records refusals, by a task of its own: who is refused does not wait for a disk.
pub struct AuditDenials {
    bucket: Mutex<Bucket>,
    clock: Arc<dyn Clock>,
    out: mpsc::Sender<AuditRecord>,
}

/// The task's half.
pub struct Recorder {
    store: Arc<dyn Store>,
    inbox: mpsc::Receiver<AuditRecord>,
}

/// Both halves.
#[must_use]
pub fn denials(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> (AuditDenials, Recorder) {
    // More than the bucket gives at once never waits.
    let (out, inbox) = mpsc::channel(2 * BURST as usize);
    let bucket = Bucket {
        left: BURST,
        refilled: clock.boot(),
        skipped: 0,
    };
    let sender = AuditDenials {
        bucket: Mutex::new(bucket),
        clock,
        out,
    };
    (sender, Recorder { store, inbox })
}

impl Denials for AuditDenials {
    fn denied(&self, denial: Denial) {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = bucket.take(self.clock.boot());
        drop(bucket);
        let Some(skipped) = taken else {
            return;
        };
        let why = match skipped {
            0 => denial.why,
            more => format!(
                "({more} refusals before this one are not recorded) {}",
                denial.why
            ),
        };
        let verb = denial.method.rsplit('/').next().unwrap_or_default();
        let target = Target {
            object: denial.method.clone(),
            ..Target::default()
        };
        let actor = Actor::of(&denial.who);
        let record = actor.was_refused(self.clock.wall(), verb, target.with(why));
        if self.out.try_send(record).is_err() {
            let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
            bucket.skipped += skipped + 1;
        }
    }
}

impl Recorder {
    /// Writes until `stop`, and then what is left.
    pub async fn run(mut self, stop: Shutdown) {
        loop {
            let next = tokio::select! {
                next = self.inbox.recv() => next,
                () = stop.wait() => self.inbox.try_recv().ok(),
            };
            let Some(first) = next else {
                return;
            };
            let mut batch = vec![first];
            while let Ok(more) = self.inbox.try_recv() {
                batch.push(more);
            }
            let records = batch.len();
            if let Err(error) = self.write(batch).await {
                tracing::warn!(%error, records, "recording refusals failed");
            }
        }
    }

    async fn write(&self, batch: Vec<AuditRecord>) -> Result<(), StoreError> {
        let mut tx = self.store.write().await?;
        for record in batch {
            tx.audit(record);
        }
        tx.commit().await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_flood_a_few_are_recorded_and_the_rest_is_counted() {
        let mut bucket = Bucket {
            left: BURST,
            refilled: Time(0),
            skipped: 0,
        };
        let taken = (0..1000).filter(|n| bucket.take(Time(*n)).is_some());
        assert_eq!(taken.count(), BURST as usize);
        assert_eq!(bucket.take(Time(10_000)), Some(980));
        assert_eq!(bucket.take(Time(10_001)), None);
        assert_eq!(
            bucket.take(Time(0)),
            None,
            "a clock that jumps back gives nothing"
        );
        let later = (0..1000).filter(|n| bucket.take(Time(10_000_000 + n)).is_some());
        assert_eq!(later.count(), BURST as usize);
    }
}
