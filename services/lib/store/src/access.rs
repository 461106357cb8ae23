//! Records of who may do what: users, their tokens, namespaces with their quotas.
//!
//! A token's secret is never here, only its SHA-256: it has 256 random bits, so it needs no slow hash. What a role's word
//! means is not known here either. Deliberately absent: revisions. These records say nothing of what the tier wants, so
//! writing them wakes no loop.

use edgeio_domain::{name::Name, time::Time};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The namespace that is always there.
pub const DEFAULT_NAMESPACE: &str = "default";

/// A role, and where it holds.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Grant {
    /// The namespace; `None` for all.
    pub namespace: Option<String>,
    /// The role's word.
    pub role: String,
}

/// Somebody who has tokens here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct User {
    /// Never another's.
    pub id: Uuid,
    /// Unique among users; whoever writes sees to that in the transaction.
    pub name: String,
    /// What they may do.
    pub grants: Vec<Grant>,
    /// When.
    pub created_at: Time,
}

/// What a user shows to be known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UserToken {
    /// The part of it that is no secret.
    pub id: String,
    /// Whose it is.
    pub user: Uuid,
    /// What it is for, in its owner's words.
    pub note: String,
    /// SHA-256 of the secret.
    pub secret_hash: [u8; 32],
    /// When it was made.
    pub created_at: Time,
    /// From when on it is worth nothing.
    pub expires_at: Option<Time>,
    /// When it was revoked.
    pub revoked_at: Option<Time>,
    /// When it was last used, to about a minute.
    pub last_used_at: Option<Time>,
}

/// The most that a namespace may ask for; `None` is without a limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Quota {
    /// Thousandths of a core, over all replicas.
    pub cpu_millis: Option<u64>,
    /// Bytes, over all replicas.
    pub memory_bytes: Option<u64>,
    /// Replicas.
    pub instances: Option<u64>,
    /// Applications.
    pub applications: Option<u64>,
}

/// A namespace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Namespace {
    /// Its name.
    pub name: Name,
    /// The most that it may ask for.
    pub quota: Quota,
    /// When it was made.
    pub created_at: Time,
}
