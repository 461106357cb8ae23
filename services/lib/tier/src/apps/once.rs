//! One effect a request: the answer is kept in the transaction that had the effect, and given again.

use edgeio_domain::{
    plant::{self, Plant},
    time::Time,
    violation::Violations,
};
use edgeio_server::auth::Principal;
use edgeio_store::{ReadTx, RequestRecord, Revision, Store, StoreError, Write, WriteTx};
use prost::Message;
use sha2::{Digest, Sha256};

use super::{AppError, Apps, Named};
use crate::access::{Actor, Target};

/// Longest request id: a UUID or a trace id fits many times.
const MAX_ID: usize = 128;

/// What makes a repetition of a request known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RequestKey {
    id: String,
    method: &'static str,
    hash: [u8; 32],
    actor: Actor,
}

impl RequestKey {
    /// Of a request whose own request_id was taken out. Another caller's id never gives an answer away: the caller's
    /// id is part of what is compared.
    #[must_use]
    pub fn new<M: Message>(
        who: &Principal,
        method: &'static str,
        id: String,
        rest: &M,
        faults: &mut Violations,
    ) -> Self {
        if id.len() > MAX_ID {
            faults.add(
                "request_id",
                format!(
                    "has {} bytes: use {MAX_ID} at most, such as a UUID",
                    id.len()
                ),
            );
        }
        let mut hash = Sha256::new();
        hash.update(who.kind.word());
        hash.update([0]);
        hash.update(who.id.as_bytes());
        hash.update([0]);
        hash.update(rest.encode_to_vec());
        Self {
            id,
            method,
            hash: hash.finalize().into(),
            actor: Actor::of(who),
        }
    }

    /// The answer that the same request got before.
    ///
    /// # Errors
    /// The id was another request's.
    pub async fn replay<M: Message + Default>(
        &self,
        tx: &dyn ReadTx,
    ) -> Result<Option<M>, AppError> {
        if self.id.is_empty() {
            return Ok(None);
        }
        let Some(kept) = tx.request(&self.id).await? else {
            return Ok(None);
        };
        if kept.method != self.method || kept.body_hash != self.hash {
            return Err(AppError::RequestIdReused);
        }
        M::decode(kept.response.as_slice())
            .map(Some)
            .map_err(AppError::StoredAnswer)
    }

    /// Commits an effect and keeps the answer with it, and who had it done to what, in one transaction.
    ///
    /// # Errors
    /// The store failed: the caller must not give the answer.
    pub async fn commit<M: Message>(
        &self,
        store: &dyn Store,
        mut tx: Box<dyn WriteTx + '_>,
        target: Target,
        answer: &M,
        at: Time,
    ) -> Result<Revision, StoreError> {
        tx.audit(self.actor.did(at, self.method, target));
        let keep = self.keep(answer, at);
        if plant::on(Plant::IdempotencyKeyApart) {
            let revision = tx.commit().await?;
            let mut tx = store.write().await?;
            keep.into_iter().for_each(|keep| tx.stage(keep));
            tx.commit().await?;
            return Ok(revision);
        }
        keep.into_iter().for_each(|keep| tx.stage(keep));
        match tx.commit().await {
            Err(_) if plant::on(Plant::OutboxBeforeCommit) => Ok(0),
            committed => committed,
        }
    }

    fn keep<M: Message>(&self, answer: &M, at: Time) -> Option<Write> {
        (!self.id.is_empty()).then(|| {
            Write::PutRequest(RequestRecord {
                request_id: self.id.clone(),
                method: self.method.to_owned(),
                body_hash: self.hash,
                response: answer.encode_to_vec(),
                at,
            })
        })
    }
}

impl Apps {
    /// The answer that the same request about an application got before, whatever became of the application since.
    ///
    /// # Errors
    /// The id was another request's.
    pub(super) async fn replay<M: Message + Default>(
        &self,
        tx: &dyn ReadTx,
        key: &RequestKey,
        named: &Named,
    ) -> Result<Option<M>, AppError> {
        if plant::on(Plant::KeyForgotten) && self.own(tx, named).await?.is_none() {
            return Ok(None);
        }
        key.replay(tx).await
    }
}
