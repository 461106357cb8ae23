//! The seam: what loops and handlers ask of a store, whatever keeps the records.

use async_trait::async_trait;
use edgeio_domain::{
    child::{Accepted, Child},
    ids::{AppUid, AssignmentId, ChildId, Lineage, SlotId, SpecHash},
    records::{AppKey, Application, Assignment, Event, Owner, Slot},
    time::Time,
};
use tokio::sync::watch;
use uuid::Uuid;

use crate::{
    access::{Namespace, User, UserToken},
    audit::{AuditEntry, AuditFilter, AuditRecord},
    joins::{Bridge, JoinToken},
};

/// Numbers the commits of a database, from 1. One per write transaction that changed something.
pub type Revision = u64;

/// What goes wrong with a store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be used now; trying again may help.
    #[error("database is not available: {attempt}")]
    Unavailable {
        /// What was tried.
        attempt: &'static str,
        /// What the database said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// There is no room left to write.
    #[error("database cannot grow: {attempt}; free space on its disk")]
    Full {
        /// What was tried.
        attempt: &'static str,
        /// What the database said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A record in the database cannot be understood.
    #[error("record in table {table} cannot be read: {what}")]
    Corrupt {
        /// The table.
        table: &'static str,
        /// What is wrong with it.
        what: String,
    },
    /// Another process has this database open.
    #[error(
        "database {path} is in use by another process: stop it, or give this one a data directory of its own"
    )]
    Locked {
        /// Path of the database.
        path: String,
    },
    /// A name or key is already taken by another record.
    #[error("{what} exists already")]
    Exists {
        /// What exists.
        what: String,
    },
    /// The changes after that revision are no longer kept.
    #[error("changes since revision {since} are no longer kept, the oldest is {oldest}")]
    Compacted {
        /// What was asked for.
        since: Revision,
        /// The oldest revision from which changes can be read.
        oldest: Revision,
    },
    /// The writer does not hold the lease by which it wrote: another one was faster. Nothing was written.
    #[error("lease {name} is no longer held under number {epoch}")]
    Fenced {
        /// Name of the lease.
        name: String,
        /// The number that the writer thought it had.
        epoch: u64,
    },
    /// A join token was used up, revoked or over when its use was to be written. Nothing was written.
    #[error("join token {token} has no use left")]
    Spent {
        /// Its id.
        token: String,
    },
    /// The database was made by a newer version of edgeIO, or cannot be opened as asked.
    #[error("database {path} cannot be opened: {what}")]
    Open {
        /// Path or address of the database, without secrets.
        path: String,
        /// What is wrong and what to do.
        what: String,
    },
}

/// Facts of the database itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Meta {
    /// Made with the database.
    pub lineage: Lineage,
    /// Raised when a child has seen higher numbers than this database knows.
    pub issuer_epoch: u64,
    /// The newest revision.
    pub revision: Revision,
    /// The newest session epoch that was handed out to any child.
    pub session_epoch: u64,
    /// A cluster's point with its root.
    pub uplink: Uplink,
    /// The number of the [`Fence`] under which the newest fenced commit was made. It never falls.
    pub leader_epoch: u64,
}

/// Who may do something alone for a time, and the number that fences what it writes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lease {
    /// What it is about.
    pub name: String,
    /// The process that holds it.
    pub holder: Uuid,
    /// Rises whenever the lease is taken, also by who had it before.
    pub epoch: u64,
    /// Who does not renew it until then may lose it. By the database's clock, see [`ReadTx::now`].
    pub expires_at: Time,
}

impl Lease {
    /// What must hold of this lease for a commit of its holder.
    #[must_use]
    pub fn fence(&self) -> Fence {
        Fence {
            name: self.name.clone(),
            holder: self.holder,
            epoch: self.epoch,
        }
    }
}

/// The lease by which a commit is made. It is compared with the recorded one inside the commit's own transaction. The time
/// is not compared: as long as nobody took the lease, nobody else wrote by it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fence {
    /// Name of the lease.
    pub name: String,
    /// Who holds it.
    pub holder: Uuid,
    /// Under which number.
    pub epoch: u64,
}

/// What a cluster has accepted from its root.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Uplink {
    /// `None` before the first.
    pub accepted: Option<Accepted>,
}

/// Which applications.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ApplicationFilter {
    /// Only of this namespace.
    pub namespace: Option<String>,
    /// Only of these namespaces; none of them, nothing.
    pub within: Option<Vec<String>>,
    /// Only with this name.
    pub name: Option<String>,
    /// Only of this owner.
    pub owner: Option<Owner>,
    /// Only after this (namespace, name, owner) in the order of the list.
    pub after: Option<AppKey>,
    /// At most so many.
    pub limit: Option<u64>,
}

/// Where a slot stands in the order of lists. It is a value and not a look-up, so that a list goes on from a slot that was
/// removed in between.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct SlotPlace {
    /// Namespace.
    pub namespace: String,
    /// Name of the application.
    pub application: String,
    /// Name of the service.
    pub service: String,
    /// The replica's number.
    pub ordinal: u32,
    /// Its id.
    pub id: SlotId,
}

impl From<&Slot> for SlotPlace {
    fn from(slot: &Slot) -> Self {
        Self {
            namespace: slot.app.namespace.as_str().to_owned(),
            application: slot.app.name.as_str().to_owned(),
            service: slot.service.as_str().to_owned(),
            ordinal: slot.ordinal,
            id: slot.id,
        }
    }
}

/// Which slots. All given conditions hold. Ordered by (namespace, application, service, ordinal, id).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SlotFilter {
    /// Only of this namespace.
    pub namespace: Option<String>,
    /// Only of these namespaces; none of them, nothing.
    pub within: Option<Vec<String>>,
    /// Only of applications with this name.
    pub application: Option<String>,
    /// Only of this application.
    pub uid: Option<AppUid>,
    /// Only these.
    pub ids: Option<Vec<SlotId>>,
    /// Only those that the parent tier owns (true) or does not own (false).
    pub upstream: Option<bool>,
    /// Only after this place in the order of the list.
    pub after: Option<SlotPlace>,
    /// At most so many.
    pub limit: Option<u64>,
}

/// Which assignments. All given conditions hold. Ordered by id.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AssignmentFilter {
    /// Only of this child.
    pub child: Option<ChildId>,
    /// Only of this application.
    pub uid: Option<AppUid>,
    /// Only of these slots.
    pub slots: Option<Vec<SlotId>>,
    /// Only these.
    pub ids: Option<Vec<AssignmentId>>,
    /// Only those whose order changed after this revision.
    pub ordered_after: Option<Revision>,
}

/// What a change is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ChangeKind {
    /// An application: the id is its uid.
    Application,
    /// A slot or one of its assignments: the id is the slot's.
    Slot,
    /// A child.
    Child,
}

/// One entry of the log of changes. What changed is read from its own table; gone is what is not there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// The commit.
    pub revision: Revision,
    /// What it is about.
    pub kind: ChangeKind,
    /// Its id.
    pub id: Uuid,
    /// Namespace, empty for a child.
    pub namespace: String,
    /// The application's or the child's name, so that a filter works on what is gone.
    pub name: String,
}

/// The answer that a request got, kept with its effect.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RequestRecord {
    /// The caller's id.
    pub request_id: String,
    /// Which call.
    pub method: String,
    /// SHA-256 over the request without its id: another body under the same id is refused.
    pub body_hash: [u8; 32],
    /// The encoded answer.
    pub response: Vec<u8>,
    /// When.
    pub at: Time,
}

/// One staged write. The store sets the `revision` of each record that it keeps to that of the commit. Removing what is
/// not there does nothing. Whether a name is taken is judged by how things stand at the end of the commit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Write {
    /// Creates or replaces an application with its services.
    PutApplication(Application),
    /// Removes an application.
    DeleteApplication(AppUid),
    /// Keeps a spec's bytes; the same hash is kept once.
    PutSpec(SpecHash, Vec<u8>),
    /// Creates or replaces a slot.
    PutSlot(Slot),
    /// Removes a slot.
    DeleteSlot(SlotId),
    /// Creates or replaces an assignment. With `ordered` its order_revision becomes this commit's revision, without it
    /// the recorded one stays, whatever the record says; a new assignment takes the record's.
    PutAssignment {
        /// The record.
        assignment: Assignment,
        /// Its order changed: the link must send it.
        ordered: bool,
    },
    /// Removes an assignment.
    DeleteAssignment(AssignmentId),
    /// Creates or replaces a child.
    PutChild(Child),
    /// Removes a child.
    DeleteChild(ChildId),
    /// Remembers that an id was stopped for good.
    PutTombstone(Uuid, Time),
    /// Remembers that an id was stopped for good though its child, which is not heard, may still run it. It is kept,
    /// however old, until that child was heard and told or is forgotten.
    Bury {
        /// The id.
        id: Uuid,
        /// When.
        at: Time,
        /// Who may still run it.
        child: ChildId,
    },
    /// Creates or replaces a lease. Taking one is reading it and putting it with a higher epoch in one write transaction.
    PutLease(Lease),
    /// Removes a lease.
    DeleteLease(String),
    /// Replaces issuer_epoch, session_epoch and uplink; lineage, revision and leader_epoch are the store's own.
    PutMeta(Meta),
    /// Adds an event.
    PutEvent(Event),
    /// Keeps an answer.
    PutRequest(RequestRecord),
    /// Creates or replaces a user.
    PutUser(User),
    /// Removes a user; whoever stages it removes the tokens too.
    DeleteUser(Uuid),
    /// Creates or replaces a user's token.
    PutUserToken(UserToken),
    /// Removes a user's token.
    DeleteUserToken(String),
    /// Creates or replaces a namespace.
    PutNamespace(Namespace),
    /// Removes a namespace; whoever stages it looks whether it is empty.
    DeleteNamespace(String),
    /// Creates a join token.
    PutJoinToken(JoinToken),
    /// Revokes a join token; one that is revoked already stays as it is.
    RevokeJoinToken {
        /// Its id.
        id: String,
        /// When.
        at: Time,
    },
    /// Takes one use of a join token, if it has one left then; else the commit fails with [`StoreError::Spent`].
    UseJoinToken {
        /// Its id.
        id: String,
        /// When.
        now: Time,
    },
    /// Creates or replaces a bridge.
    PutBridge(Bridge),
    /// Removes a bridge.
    DeleteBridge(Uuid),
    /// Adds an entry to the audit, after those before it.
    Audit(AuditRecord),
    /// Removes events, answers, tombstones (see [`Write::Bury`]), join tokens that ended and the log of changes older than this, and specs that nothing uses. It works
    /// after all other writes of its commit, wherever it is staged.
    Compact(Time),
}

/// Reads of one consistent state. Short-lived: a database cannot tidy up behind an open one.
#[async_trait]
pub trait ReadTx: Send + Sync {
    /// Facts of the database.
    async fn meta(&self) -> Result<Meta, StoreError>;
    /// The database's clock, by which leases expire: the same for all who share the database. It may jump.
    async fn now(&self) -> Result<Time, StoreError>;
    /// All leases, by name.
    async fn leases(&self) -> Result<Vec<Lease>, StoreError>;
    /// One lease.
    async fn lease(&self, name: &str) -> Result<Option<Lease>, StoreError>;
    /// Applications by (namespace, name, owner).
    async fn applications(
        &self,
        filter: &ApplicationFilter,
    ) -> Result<Vec<Application>, StoreError>;
    /// One application.
    async fn application(&self, uid: AppUid) -> Result<Option<Application>, StoreError>;
    /// Bytes of specs; those that are not known are left out.
    async fn specs(&self, hashes: &[SpecHash]) -> Result<Vec<(SpecHash, Vec<u8>)>, StoreError>;
    /// Slots.
    async fn slots(&self, filter: &SlotFilter) -> Result<Vec<Slot>, StoreError>;
    /// Assignments.
    async fn assignments(&self, filter: &AssignmentFilter) -> Result<Vec<Assignment>, StoreError>;
    /// All children, by id.
    async fn children(&self) -> Result<Vec<Child>, StoreError>;
    /// One child.
    async fn child(&self, id: ChildId) -> Result<Option<Child>, StoreError>;
    /// The child with this public key, the one with the lowest id if there were several; `None` for the empty key.
    async fn child_by_key(&self, public_key: &str) -> Result<Option<Child>, StoreError>;
    /// Which of these ids were stopped for good.
    async fn tombstones(&self, ids: &[Uuid]) -> Result<Vec<Uuid>, StoreError>;
    /// The answer to a request.
    async fn request(&self, request_id: &str) -> Result<Option<RequestRecord>, StoreError>;
    /// Changes after `since`, oldest first, at most `limit` commits.
    ///
    /// # Errors
    /// [`StoreError::Compacted`] when they are no longer kept.
    async fn changes(&self, since: Revision, limit: u64) -> Result<Vec<Change>, StoreError>;
    /// The events that were recorded last, newest first.
    async fn events(&self, limit: u64) -> Result<Vec<Event>, StoreError>;
    /// All users, by id.
    async fn users(&self) -> Result<Vec<User>, StoreError>;
    /// One user.
    async fn user(&self, id: Uuid) -> Result<Option<User>, StoreError>;
    /// The tokens of one user, or of all, by id.
    async fn user_tokens(&self, user: Option<Uuid>) -> Result<Vec<UserToken>, StoreError>;
    /// One token of a user.
    async fn user_token(&self, id: &str) -> Result<Option<UserToken>, StoreError>;
    /// All namespaces, by name.
    async fn namespaces(&self) -> Result<Vec<Namespace>, StoreError>;
    /// One namespace.
    async fn namespace(&self, name: &str) -> Result<Option<Namespace>, StoreError>;
    /// All join tokens, by id.
    async fn join_tokens(&self) -> Result<Vec<JoinToken>, StoreError>;
    /// One join token.
    async fn join_token(&self, id: &str) -> Result<Option<JoinToken>, StoreError>;
    /// All bridges, by id.
    async fn bridges(&self) -> Result<Vec<Bridge>, StoreError>;
    /// The bridge with this public key.
    async fn bridge_by_key(&self, public_key: &str) -> Result<Option<Bridge>, StoreError>;
    /// Entries of the audit.
    async fn audit_entries(&self, filter: &AuditFilter) -> Result<Vec<AuditEntry>, StoreError>;
}

/// A write transaction. Dropping it without a commit changes nothing.
#[async_trait]
pub trait WriteTx: ReadTx {
    /// Stages a write. Reads of this transaction do not see it. Writes are applied in the order they are staged.
    fn stage(&mut self, write: Write);
    /// Stages an entry of the audit: it is there if, and only if, the rest of this transaction is.
    fn audit(&mut self, record: AuditRecord) {
        self.stage(Write::Audit(record));
    }
    /// Whether anything is staged.
    fn is_empty(&self) -> bool;
    /// Lets the commit happen only if this lease is still held so.
    fn fence(&mut self, fence: Fence);
    /// Makes all staged writes durable under one new revision; without any, nothing happens and the newest revision is
    /// answered. Leases, users, tokens, namespaces, bridges and the audit alone take no revision and wake nobody: they say nothing of
    /// what the tier wants. Once begun it goes to its end, also when the caller stops waiting.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when a name of an application or a child is taken, [`StoreError::Fenced`] when the lease is
    /// not held any more: then nothing was written. After [`StoreError::Unavailable`] it is not known whether it was.
    async fn commit(self: Box<Self>) -> Result<Revision, StoreError>;
}

/// A tier's database.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Begins to read.
    async fn read(&self) -> Result<Box<dyn ReadTx + '_>, StoreError>;
    /// Begins to write; waits for the write transaction before it.
    async fn write(&self) -> Result<Box<dyn WriteTx + '_>, StoreError>;
    /// The newest revision as it changes: wakes loops, carries no facts. A commit of which it is not known whether it was written
    /// wakes them too, if it was.
    fn watch(&self) -> watch::Receiver<Revision>;
    /// Whether nobody but this process can have the database open: then a lease that another one holds is a dead one's.
    fn is_exclusive(&self) -> bool;
    /// Waits for the write transaction that is under way and gives the database free, for another process to open.
    /// Everything after it is an error. Where there is nothing to give free it does nothing.
    async fn close(&self) {}
}
