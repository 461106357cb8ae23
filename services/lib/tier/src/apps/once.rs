//! One effect a request: the answer is kept in the transaction that had the effect, and given again.

use edgeio_domain::{time::Time, violation::Violations};
use edgeio_server::auth::Principal;
use edgeio_store::{ReadTx, RequestRecord, Write};
use prost::Message;
use sha2::{Digest, Sha256};

use super::AppError;

/// Longest request id: a UUID or a trace id fits many times.
const MAX_ID: usize = 128;

/// What makes a repetition of a request known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RequestKey {
    id: String,
    method: &'static str,
    hash: [u8; 32],
}

impl RequestKey {
    /// Of a request whose own request_id was taken out. Another caller's id never gives an answer away: the caller's
    /// name is part of what is compared.
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
        hash.update(who.name.as_bytes());
        hash.update([0]);
        hash.update(rest.encode_to_vec());
        Self {
            id,
            method,
            hash: hash.finalize().into(),
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

    /// Keeps the answer; `None` for a request without an id.
    pub fn keep<M: Message>(&self, answer: &M, at: Time) -> Option<Write> {
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
