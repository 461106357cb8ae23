//! Typed ids. All are UUIDs; those that edgeIO mints are version 7, so that they sort by age.

use std::{fmt, str::FromStr};

use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Where new ids come from: random in production, a counter in the simulator.
pub trait IdSource: Send + Sync {
    /// An id that was never handed out before.
    fn next(&self) -> Uuid;
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }
    };
}

id! {
    /// An application from its creation to its deletion; a new one after a delete and a new create.
    AppUid
}
id! {
    /// One replica of one service. At a cluster the id of a slot that the root owns is the root's [`AssignmentId`], so
    /// that a slot which the root places twice on one cluster is two slots there, each with a tombstone of its own.
    SlotId
}
id! {
    /// One placement of a slot on a child: at a cluster, the instance. Never reused.
    AssignmentId
}
id! {
    /// A cluster at the root, a worker at a cluster.
    ChildId
}
id! {
    /// A database, from its making on. Another one means that the tier may have forgotten.
    Lineage
}
id! {
    /// One attempt of a child to open a session.
    AttachId
}

/// SHA-256 over the encoded bytes of a service spec.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SpecHash(pub [u8; 32]);

impl SpecHash {
    /// Hashes the encoded spec.
    #[must_use]
    pub fn of(body: &[u8]) -> Self {
        Self(Sha256::digest(body).into())
    }

    /// Reads a hash from the wire; `None` unless it has 32 bytes.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// As lower-case hexadecimal.
    #[must_use]
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Display for SpecHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hex())
    }
}

impl fmt::Debug for SpecHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hex()[..12])
    }
}
