//! Join tokens and bridges in memory.

use std::collections::BTreeMap;

use edgeio_domain::time::Time;
use uuid::Uuid;

use super::state::merge;
use crate::{
    api::StoreError,
    batch::Batch,
    joins::{Bridge, JoinToken},
};

/// Their tables.
#[derive(Clone, Debug, Default)]
pub(super) struct Joins {
    pub(super) tokens: BTreeMap<String, JoinToken>,
    pub(super) bridges: BTreeMap<Uuid, Bridge>,
}

impl Joins {
    /// Whether each use that the batch has is left.
    pub(super) fn check(&self, batch: &Batch) -> Result<(), StoreError> {
        let mut after = self.clone();
        after.put(batch);
        for (id, now) in &batch.join_uses {
            match after.tokens.get_mut(id) {
                Some(token) if token.is_good(*now) => token.uses += 1,
                Some(_) | None => return Err(StoreError::Spent { token: id.clone() }),
            }
        }
        Ok(())
    }

    /// Applies a batch that was checked.
    pub(super) fn apply(&mut self, batch: &mut Batch) {
        self.put(batch);
        for (id, _) in std::mem::take(&mut batch.join_uses) {
            if let Some(token) = self.tokens.get_mut(&id) {
                token.uses += 1;
            }
        }
        merge(&mut self.bridges, std::mem::take(&mut batch.bridges));
    }

    fn put(&mut self, batch: &Batch) {
        for token in &batch.join_tokens {
            self.tokens.insert(token.id.clone(), token.clone());
        }
        for (id, at) in &batch.join_revoked {
            if let Some(token) = self.tokens.get_mut(id) {
                token.revoked_at.get_or_insert(*at);
            }
        }
    }

    pub(super) fn compact(&mut self, before: Time) {
        self.tokens.retain(|_, token| token.expires_at >= before);
    }
}
