//! Users, tokens, namespaces and the audit in memory.

use std::collections::BTreeMap;

use edgeio_domain::{name::Name, time::Time};
use uuid::Uuid;

use super::state::merge;
use crate::{
    access::{DEFAULT_NAMESPACE, Namespace, Quota, User, UserToken},
    audit::{AuditEntry, AuditFilter, AuditHead},
    batch::Batch,
};

/// Their tables.
#[derive(Clone, Debug)]
pub(super) struct Access {
    pub(super) users: BTreeMap<Uuid, User>,
    pub(super) user_tokens: BTreeMap<String, UserToken>,
    pub(super) namespaces: BTreeMap<String, Namespace>,
    /// Oldest first.
    audit: Vec<AuditEntry>,
}

impl Access {
    pub(super) fn new() -> Self {
        let default = Name::new(DEFAULT_NAMESPACE).map(|name| Namespace {
            name,
            quota: Quota::default(),
            created_at: Time(0),
        });
        let namespaces = default.into_iter().map(|one| (one.name.to_string(), one));
        Self {
            users: BTreeMap::new(),
            user_tokens: BTreeMap::new(),
            namespaces: namespaces.collect(),
            audit: Vec::new(),
        }
    }

    pub(super) fn apply(&mut self, batch: &mut Batch) {
        merge(&mut self.users, std::mem::take(&mut batch.users));
        merge(
            &mut self.user_tokens,
            std::mem::take(&mut batch.user_tokens),
        );
        merge(&mut self.namespaces, std::mem::take(&mut batch.namespaces));
        let head = self.audit.last().map(AuditHead::from).unwrap_or_default();
        self.audit.extend(batch.chain(head));
    }

    pub(super) fn tokens_of(&self, user: Option<Uuid>) -> Vec<UserToken> {
        let tokens = self.user_tokens.values();
        tokens
            .filter(|token| user.is_none_or(|user| user == token.user))
            .cloned()
            .collect()
    }

    pub(super) fn audit(&self, filter: &AuditFilter) -> Vec<AuditEntry> {
        let matches = |entry: &&AuditEntry| {
            filter.after.is_none_or(|after| entry.seq > after)
                && filter.before.is_none_or(|before| entry.seq < before)
        };
        let limit = usize::try_from(filter.limit).unwrap_or(usize::MAX);
        let found = self.audit.iter().filter(matches);
        if filter.after.is_some() {
            found.take(limit).cloned().collect()
        } else {
            found.rev().take(limit).cloned().collect()
        }
    }
}
