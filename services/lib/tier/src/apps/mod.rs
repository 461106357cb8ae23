//! What people ask of a tier: commands and views on its store.
//!
//! A command is checked whole, then takes effect in one write transaction, together with the answer that a repeated
//! request gets. A view comes from one consistent state. Nothing here waits for a child or starts anything: the engine
//! sees what is stored. Deliberately absent: gRPC (see [`crate::api`]) and placing (see [`Placer`]).

pub(crate) mod access;
mod apply;
pub mod children;
mod delete;
mod error;
pub(crate) mod find;
mod held;
mod manifest;
mod once;
pub(crate) mod page;
mod preview;
mod read;
mod scale;
pub(crate) mod show;
pub(crate) mod watch;

use std::sync::Arc;

use edgeio_domain::{ids::IdSource, records::Owner, time::Clock};
use edgeio_store::Store;

use crate::context::{Context, Times};

pub(crate) use access::role as require;
pub use children::Children;
pub use delete::Delete;
pub use error::{AppError, Over};
pub use find::Named;
pub use held::{ListHeld, ResolveHeld};
pub use manifest::Apply;
pub use once::RequestKey;
pub use preview::{Placer, Preview};
pub use read::{List, ListInstances};
pub use scale::Scale;
pub use show::timestamp;
pub use watch::applications::Watch;

/// Which tier this is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Scope {
    /// Who owns what is applied here.
    pub own: Owner,
    /// Display name of this tier: that of the cluster, or `root`.
    pub name: String,
    /// Where the API of a cluster's root is, as far as the cluster knows; empty at the root and without one.
    pub parent: String,
}

impl Scope {
    /// The tier with these parts.
    #[must_use]
    pub fn of(context: &Context, name: impl Into<String>) -> Self {
        Self {
            own: context.own,
            name: name.into(),
            parent: String::new(),
        }
    }

    /// What a child of this tier is called.
    #[must_use]
    pub fn child_noun(&self) -> &'static str {
        match self.own {
            Owner::Root => "cluster",
            Owner::Cluster(_) => "worker",
        }
    }
}

/// Applications and their instances, for people. Cheap to clone.
#[derive(Clone)]
pub struct Apps {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
    placer: Arc<dyn Placer>,
    times: Times,
    scope: Scope,
}

impl std::fmt::Debug for Apps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Apps")
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

impl Apps {
    /// On the tier's parts. `placer` answers where something would go now; `name` is what people call this tier (see
    /// [`Scope`]).
    #[must_use]
    pub fn new(context: &Context, placer: Arc<dyn Placer>, name: impl Into<String>) -> Self {
        Self {
            store: Arc::clone(&context.store),
            clock: Arc::clone(&context.clock),
            ids: Arc::clone(&context.ids),
            placer,
            times: context.times,
            scope: Scope::of(context, name),
        }
    }

    /// The same beneath a root whose API is there: people are sent to it with what it owns.
    #[must_use]
    pub fn beneath(mut self, root: impl Into<String>) -> Self {
        self.scope.parent = root.into();
        self
    }
}
