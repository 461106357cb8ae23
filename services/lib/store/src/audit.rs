//! The audit: who did or tried what, each entry bound to the one before it.
//!
//! An entry's hash is SHA-256 over the previous hash, the number and the record's own canonical bytes: each field with its
//! length before it, so that no two records have the same bytes. Whoever changes or removes an entry in the middle has to
//! change all that follow; whoever keeps the newest hash elsewhere notices also that. The store chains in the transaction of the
//! change, so there is no change without its entry.

use edgeio_domain::time::Time;
use sha2::{Digest, Sha256};

/// What is hashed before everything else; a new form of the bytes gets a new one.
const FORM: &[u8] = b"edgeio-audit-1";

/// Whether it was done.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Decision {
    /// It was.
    Allowed,
    /// It was refused.
    Denied,
}

impl Decision {
    /// Its word in the database.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
        }
    }

    pub(crate) fn parse(word: &str) -> Option<Self> {
        [Self::Allowed, Self::Denied]
            .into_iter()
            .find(|one| one.word() == word)
    }
}

/// What is to be remembered of a call. No field ever has a secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuditRecord {
    /// When, by the tier's wall clock.
    pub at: Time,
    /// What sort of caller: user, dev, cluster, worker, bridge, stranger, anonymous.
    pub kind: String,
    /// The caller's id among its kind.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// How it was identified: none, local, token, oidc, machine.
    pub method: String,
    /// From which address; empty if not known.
    pub source: String,
    /// The call's id in logs; empty if there was none.
    pub request_id: String,
    /// What was done: a method's name such as `Apply`.
    pub verb: String,
    /// To what, such as `application/web`.
    pub object: String,
    /// In which namespace; empty where there is none.
    pub namespace: String,
    /// Whether it was done.
    pub decision: Decision,
    /// Why it was refused, or what else matters.
    pub detail: String,
}

impl AuditRecord {
    fn texts(&self) -> [&str; 11] {
        [
            &self.kind,
            &self.id,
            &self.name,
            &self.method,
            &self.source,
            &self.request_id,
            &self.verb,
            &self.object,
            &self.namespace,
            self.decision.word(),
            &self.detail,
        ]
    }
}

/// An entry of the audit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuditEntry {
    /// Its number, from 1, without gaps.
    pub seq: u64,
    /// What happened.
    pub record: AuditRecord,
    /// Binds it to all before it.
    pub hash: [u8; 32],
}

/// The newest entry: where the chain goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AuditHead {
    /// Its number; 0 before the first.
    pub seq: u64,
    /// Its hash; zeros before the first.
    pub hash: [u8; 32],
}

impl AuditHead {
    /// The entry that follows.
    #[must_use]
    pub fn next(&self, record: AuditRecord) -> AuditEntry {
        let seq = self.seq + 1;
        let mut hash = Sha256::new();
        hash.update(FORM);
        hash.update(self.hash);
        hash.update(seq.to_be_bytes());
        hash.update(record.at.0.to_be_bytes());
        for text in record.texts() {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text.as_bytes());
        }
        AuditEntry {
            seq,
            record,
            hash: hash.finalize().into(),
        }
    }

    /// Goes over entries that follow this one; answers the last of them, or the number of the first that does not fit.
    ///
    /// # Errors
    /// The number that the first broken or missing entry has or should have.
    pub fn verify(self, entries: &[AuditEntry]) -> Result<Self, u64> {
        entries.iter().try_fold(self, |head, entry| {
            let due = head.next(entry.record.clone());
            if due.seq == entry.seq && due.hash == entry.hash {
                Ok(Self::from(entry))
            } else {
                Err(due.seq)
            }
        })
    }
}

impl From<&AuditEntry> for AuditHead {
    fn from(entry: &AuditEntry) -> Self {
        Self {
            seq: entry.seq,
            hash: entry.hash,
        }
    }
}

/// Which entries.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AuditFilter {
    /// Only with higher numbers than this, oldest first; without it the newest first.
    pub after: Option<u64>,
    /// Only with lower numbers than this.
    pub before: Option<u64>,
    /// At most so many.
    pub limit: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(name: &str, object: &str) -> AuditRecord {
        AuditRecord {
            at: Time(5),
            kind: "user".into(),
            id: "7".into(),
            name: name.into(),
            method: "token".into(),
            source: "10.0.0.1:5".into(),
            request_id: String::new(),
            verb: "Apply".into(),
            object: object.into(),
            namespace: "default".into(),
            decision: Decision::Allowed,
            detail: String::new(),
        }
    }

    fn chain() -> Vec<AuditEntry> {
        let mut head = AuditHead::default();
        (0..5)
            .map(|n| {
                let entry = head.next(record("ann", &format!("application/{n}")));
                head = AuditHead::from(&entry);
                entry
            })
            .collect()
    }

    #[test]
    fn a_whole_chain_holds_and_goes_on_from_its_middle() {
        let all = chain();
        let head = AuditHead::default().verify(&all).unwrap();
        assert_eq!(head, AuditHead::from(&all[4]));
        let middle = AuditHead::from(&all[1]);
        assert_eq!(middle.verify(&all[2..]).unwrap(), head);
    }

    #[test]
    fn what_is_changed_removed_or_moved_is_found() {
        let mut changed = chain();
        changed[2].record.name = "bob".into();
        assert_eq!(AuditHead::default().verify(&changed), Err(3));
        let mut removed = chain();
        removed.remove(1);
        assert_eq!(AuditHead::default().verify(&removed), Err(2));
        let mut swapped = chain();
        swapped.swap(0, 1);
        assert_eq!(AuditHead::default().verify(&swapped), Err(1));
        let mut decided = chain();
        decided[4].record.decision = Decision::Denied;
        assert_eq!(AuditHead::default().verify(&decided), Err(5));
    }

    #[test]
    fn no_two_records_have_the_same_bytes() {
        let head = AuditHead::default();
        let (one, two) = (record("ab", "c"), record("a", "bc"));
        assert_ne!(head.next(one).hash, head.next(two).hash);
    }
}
