//! Reading the audit, and proving that nothing in it was changed.

use edgeio_domain::violation::Violations;
use edgeio_proto::api::v1;
use edgeio_server::auth::{Principal, Role};
use edgeio_store::{AuditEntry, AuditFilter, AuditHead};

use super::Access;
use crate::apps::{
    AppError, access,
    page::{self, Page},
    timestamp,
};

/// Entries that are verified at a time: some hundred KiB of memory, and reads that other transactions do not notice.
const PIECE: u64 = 500;

fn hex(hash: &[u8; 32]) -> String {
    data_encoding::HEXLOWER.encode(hash)
}

fn show(entry: &AuditEntry) -> v1::AuditEntry {
    let record = entry.record.clone();
    v1::AuditEntry {
        seq: entry.seq,
        at: Some(timestamp(record.at)),
        kind: record.kind,
        id: record.id,
        name: record.name,
        method: record.method,
        source: record.source,
        request_id: record.request_id,
        verb: record.verb,
        object: record.object,
        namespace: record.namespace,
        decision: record.decision.word().to_owned(),
        detail: record.detail,
        hash: hex(&entry.hash),
    }
}

impl Access {
    /// A page of the audit, newest first.
    ///
    /// # Errors
    /// The token is none, or the caller may not.
    pub async fn list_audit(
        &self,
        who: &Principal,
        request: v1::ListAuditRequest,
    ) -> Result<v1::ListAuditResponse, AppError> {
        access::role(who, Role::Operator)?;
        let mut faults = Violations::default();
        let size = page::size(request.page_size, &mut faults);
        if !faults.is_empty() {
            return Err(AppError::Invalid(faults.into_vec()));
        }
        let before = match request.page_token.as_str() {
            "" => None,
            token => {
                let [_, seq] = page::unseal::<2>("page_token", "j", token)?;
                let wrong = || AppError::field("page_token", "is no token of this call");
                Some(seq.parse().map_err(|_| wrong())?)
            }
        };
        let filter = AuditFilter {
            before,
            limit: size as u64 + 1,
            ..AuditFilter::default()
        };
        let tx = self.store.read().await?;
        let mut page = Page::new(size);
        for entry in tx.audit_entries(&filter).await? {
            let token = || page::seal(&["j", &entry.seq.to_string()]);
            if !page.push(show(&entry), token) {
                let (entries, next_page_token) = page.more();
                return Ok(v1::ListAuditResponse {
                    entries,
                    next_page_token,
                });
            }
        }
        let (entries, next_page_token) = page.end();
        Ok(v1::ListAuditResponse {
            entries,
            next_page_token,
        })
    }

    /// Goes over the whole audit.
    ///
    /// # Errors
    /// The store failed, or the caller may not.
    pub async fn verify_audit(&self, who: &Principal) -> Result<v1::VerifyAuditResponse, AppError> {
        access::role(who, Role::Operator)?;
        let mut head = AuditHead::default();
        loop {
            let filter = AuditFilter {
                after: Some(head.seq),
                limit: PIECE,
                ..AuditFilter::default()
            };
            let piece = self.store.read().await?.audit_entries(&filter).await?;
            if piece.is_empty() {
                return Ok(verified(head, 0));
            }
            // One by one, so that the last good one is known.
            for entry in piece {
                match head.verify(std::slice::from_ref(&entry)) {
                    Ok(next) => head = next,
                    Err(broken) => {
                        tracing::error!(
                            entry = broken,
                            "the audit is broken: it was changed from outside"
                        );
                        return Ok(verified(head, broken));
                    }
                }
            }
        }
    }
}

fn verified(head: AuditHead, broken_at: u64) -> v1::VerifyAuditResponse {
    v1::VerifyAuditResponse {
        unbroken: broken_at == 0,
        entries: head.seq,
        head: hex(&head.hash),
        broken_at,
    }
}
