//! Records of who may join: join tokens, and the bridges that have joined.
//!
//! A token's secret is never here, only its SHA-256: it has 256 random bits, so it needs no slow hash. A use is one conditional
//! statement in the commit that records who joined ([`Write::UseJoinToken`](crate::Write::UseJoinToken)): of many that come at
//! once, no more get in than the token allows.

use edgeio_domain::time::Time;
use uuid::Uuid;

/// What joins.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum JoinKind {
    /// A cluster at a root.
    Cluster,
    /// A worker at a cluster.
    Worker,
    /// A bridge at a cluster.
    Bridge,
}

impl JoinKind {
    /// Its word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::Worker => "worker",
            Self::Bridge => "bridge",
        }
    }

    /// The kind with that word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Cluster, Self::Worker, Self::Bridge]
            .into_iter()
            .find(|kind| kind.word() == word)
    }
}

/// What lets machines join.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JoinToken {
    /// The part of it that is no secret.
    pub id: String,
    /// SHA-256 of the secret.
    pub secret_hash: [u8; 32],
    /// What may join with it.
    pub kind: JoinKind,
    /// Under which names, with `*` for any letters; empty for any.
    pub names: String,
    /// How many may join with it.
    pub max_uses: u32,
    /// How many have.
    pub uses: u32,
    /// Who made it.
    pub creator: String,
    /// When it was made.
    pub created_at: Time,
    /// From when on it is worth nothing.
    pub expires_at: Time,
    /// When it was revoked.
    pub revoked_at: Option<Time>,
}

impl JoinToken {
    /// Whether it can be used once more then.
    #[must_use]
    pub fn is_good(&self, now: Time) -> bool {
        self.revoked_at.is_none() && self.uses < self.max_uses && now < self.expires_at
    }
}

/// A bridge that has joined.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bridge {
    /// Its id.
    pub id: Uuid,
    /// What people call it.
    pub name: String,
    /// Its public nkey, no other's.
    pub public_key: String,
    /// When it joined.
    pub created_at: Time,
}
