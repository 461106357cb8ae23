//! When children were heard last, for people.
//!
//! Kept in memory, since a heartbeat that changes nothing is not worth a commit; written behind, many at once, so that a
//! restart of the tier forgets a few minutes at most. Deliberately absent: judging. Silence is counted in
//! [`edgeio_domain::liveness`], on a clock that does not jump.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use edgeio_domain::{child::Child, ids::ChildId, time::Time};
use edgeio_store::{StoreError, Write};

use crate::context::Context;

/// What is recorded may be so much older than what is known. Each write has the engine look at everything once.
const BEHIND: Duration = Duration::from_secs(300);
/// Others that are so much behind are written with it, so that they do not cause a write of their own soon.
const ALONG: Duration = Duration::from_secs(60);

/// When children were heard last, by this tier's wall clock; of those that this process heard.
#[derive(Clone, Debug, Default)]
pub struct Heard(Arc<Mutex<BTreeMap<ChildId, Time>>>);

impl Heard {
    /// The newest of what is known and what is recorded.
    #[must_use]
    pub fn of(&self, child: &Child) -> Time {
        self.known()
            .get(&child.id)
            .copied()
            .unwrap_or(child.last_heard)
    }

    pub(super) fn note(&self, child: ChildId, now: Time) {
        self.known().insert(child, now);
    }

    pub(super) fn keep(&self, known: impl Fn(&ChildId) -> bool) {
        self.known().retain(|id, _| known(id));
    }

    fn is_behind(&self, child: &Child, by: Duration) -> bool {
        self.of(child).since(child.last_heard) >= by
    }

    /// Records it of those of which an old time is recorded.
    pub(super) async fn write_behind(
        &self,
        context: &Context,
        children: &[Child],
    ) -> Result<(), StoreError> {
        if !children.iter().any(|child| self.is_behind(child, BEHIND)) {
            return Ok(());
        }
        let mut tx = context.store.write().await?;
        let children = tx.children().await?;
        for child in children.into_iter().filter(|c| self.is_behind(c, ALONG)) {
            let last_heard = self.of(&child);
            tx.stage(Write::PutChild(Child {
                last_heard,
                ..child
            }));
        }
        tx.commit().await?;
        Ok(())
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<ChildId, Time>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
