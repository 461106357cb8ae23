//! Transactions on a database: one type for both kinds, the write kind holding the turn to write.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use edgeio_domain::{
    child::Child,
    ids::{AppUid, ChildId, SpecHash},
    records::{Application, Assignment, Event, Slot},
    time::{Clock, Time},
};
use sea_orm::{
    ColumnTrait, DatabaseConnection, DatabaseTransaction, EntityTrait, QueryFilter, QueryOrder,
};
use tokio::sync::{Mutex, OwnedMutexGuard, watch};
use uuid::Uuid;

use super::{
    access, commit,
    entity::{child, lease, request},
    error::failed,
    joins, read,
};
use crate::{
    access::{Namespace, User, UserToken},
    api::{
        ApplicationFilter, AssignmentFilter, Change, Fence, Lease, Meta, ReadTx, RequestRecord,
        Revision, SlotFilter, StoreError, Write, WriteTx,
    },
    audit::{AuditEntry, AuditFilter},
    batch::Batch,
    joins::{Bridge, JoinToken},
};

/// How long to wait until the database is asked again which revision it has, after it did not say. Whoever waits for changes
/// looks by itself every 30 s at the latest.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// What the transactions of a database share.
pub(crate) struct Hub {
    /// Write transactions queue here, in the order they came, and not in the database.
    pub(crate) turn: Arc<Mutex<()>>,
    /// The newest revision.
    pub(crate) revision: watch::Sender<Revision>,
    /// Stamps the log of changes.
    pub(crate) clock: Arc<dyn Clock>,
    /// Where the database is asked what it has.
    pub(crate) readers: DatabaseConnection,
    /// The next commit is durable, and answers an error.
    #[cfg(test)]
    pub(crate) answer_lost: std::sync::atomic::AtomicBool,
}

impl Hub {
    /// Ends a transaction. An error does not say whether it is durable.
    async fn end(&self, db: DatabaseTransaction) -> Result<(), StoreError> {
        db.commit().await.map_err(failed("commit"))?;
        #[cfg(test)]
        if self
            .answer_lost
            .swap(false, std::sync::atomic::Ordering::Relaxed)
        {
            return Err(StoreError::Unavailable {
                attempt: "commit",
                source: "the answer was lost".into(),
            });
        }
        Ok(())
    }

    /// Wakes those who wait for changes if the database has more than they know of: a commit that answered an error may be
    /// durable all the same.
    async fn look(&self) -> Result<(), StoreError> {
        let found = read::meta(&self.readers).await?.record().revision;
        self.revision.send_if_modified(|known| {
            let more = found > *known;
            *known = found.max(*known);
            more
        });
        Ok(())
    }

    /// Does so once the database answers.
    fn look_later(self: &Arc<Self>) {
        let hub = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(ASK_AGAIN).await;
                match hub.upgrade() {
                    Some(hub) if hub.look().await.is_err() => {}
                    Some(_) | None => return,
                }
            }
        });
    }
}

/// A transaction. Dropped without a commit it is rolled back by its connection.
pub(crate) struct Tx<W> {
    /// Before `write`: the connection is given back before the next one's turn begins.
    pub(crate) db: DatabaseTransaction,
    /// The database's clock: the process's own, as only one has the file open.
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) write: W,
}

/// The write half of a transaction.
pub(crate) struct Turn {
    pub(crate) hub: Arc<Hub>,
    pub(crate) batch: Batch,
    pub(crate) held: OwnedMutexGuard<()>,
}

#[async_trait]
impl WriteTx for Tx<Turn> {
    fn stage(&mut self, write: Write) {
        self.write.batch.stage(write);
    }

    fn is_empty(&self) -> bool {
        self.write.batch.is_empty()
    }

    fn fence(&mut self, fence: Fence) {
        self.write.batch.fence = Some(fence);
    }

    async fn commit(self: Box<Self>) -> Result<Revision, StoreError> {
        let Self { db, write, .. } = *self;
        let Turn { hub, batch, held } = write;
        // On a task of its own: a caller that goes away in the middle must not leave a commit that nobody was woken for.
        let committed = tokio::spawn(async move {
            if batch.is_empty() {
                let revision = read::meta(&db).await?.record().revision;
                db.rollback()
                    .await
                    .map_err(failed("end an empty transaction"))?;
                drop(held);
                return Ok(revision);
            }
            let revision = commit::apply(&db, batch, hub.clock.wall()).await?;
            if let Err(error) = hub.end(db).await {
                if hub.look().await.is_err() {
                    hub.look_later();
                }
                return Err(error);
            }
            if *hub.revision.borrow() != revision {
                hub.revision.send_replace(revision);
            }
            drop(held);
            Ok(revision)
        });
        committed.await.map_err(|error| StoreError::Unavailable {
            attempt: "wait for a commit",
            source: Box::new(error),
        })?
    }
}

#[async_trait]
impl<W: Send + Sync> ReadTx for Tx<W> {
    async fn meta(&self) -> Result<Meta, StoreError> {
        Ok(read::meta(&self.db).await?.record())
    }

    async fn now(&self) -> Result<Time, StoreError> {
        Ok(self.clock.wall())
    }

    async fn leases(&self) -> Result<Vec<Lease>, StoreError> {
        let all = lease::Entity::find().order_by_asc(lease::Column::Name);
        let rows = all.all(&self.db).await.map_err(failed("list leases"))?;
        Ok(rows.into_iter().map(Lease::from).collect())
    }

    async fn lease(&self, name: &str) -> Result<Option<Lease>, StoreError> {
        read::lease(&self.db, name).await
    }

    async fn applications(
        &self,
        filter: &ApplicationFilter,
    ) -> Result<Vec<Application>, StoreError> {
        read::applications(&self.db, filter).await
    }

    async fn application(&self, uid: AppUid) -> Result<Option<Application>, StoreError> {
        read::application(&self.db, uid).await
    }

    async fn specs(&self, hashes: &[SpecHash]) -> Result<Vec<(SpecHash, Vec<u8>)>, StoreError> {
        read::specs(&self.db, hashes).await
    }

    async fn slots(&self, filter: &SlotFilter) -> Result<Vec<Slot>, StoreError> {
        read::slots(&self.db, filter).await
    }

    async fn assignments(&self, filter: &AssignmentFilter) -> Result<Vec<Assignment>, StoreError> {
        read::assignments(&self.db, filter).await
    }

    async fn children(&self) -> Result<Vec<Child>, StoreError> {
        let all = child::Entity::find().order_by_asc(child::Column::Id);
        let rows = all.all(&self.db).await.map_err(failed("list children"))?;
        rows.into_iter().map(Child::try_from).collect()
    }

    async fn child(&self, id: ChildId) -> Result<Option<Child>, StoreError> {
        let row = child::Entity::find_by_id(id.0).one(&self.db).await;
        let row = row.map_err(failed("read a child"))?;
        row.map(Child::try_from).transpose()
    }

    async fn child_by_key(&self, public_key: &str) -> Result<Option<Child>, StoreError> {
        if public_key.is_empty() {
            return Ok(None);
        }
        let with_key = child::Entity::find().filter(child::Column::PublicKey.eq(public_key));
        let first = with_key.order_by_asc(child::Column::Id);
        let row = first.one(&self.db).await;
        let row = row.map_err(failed("find a child by its key"))?;
        row.map(Child::try_from).transpose()
    }

    async fn tombstones(&self, ids: &[Uuid]) -> Result<Vec<Uuid>, StoreError> {
        read::tombstones(&self.db, ids).await
    }

    async fn request(&self, request_id: &str) -> Result<Option<RequestRecord>, StoreError> {
        let row = request::Entity::find_by_id(request_id).one(&self.db).await;
        let row = row.map_err(failed("read an answer"))?;
        row.map(RequestRecord::try_from).transpose()
    }

    async fn changes(&self, since: Revision, limit: u64) -> Result<Vec<Change>, StoreError> {
        read::changes(&self.db, since, limit).await
    }

    async fn events(&self, limit: u64) -> Result<Vec<Event>, StoreError> {
        read::events(&self.db, limit).await
    }

    async fn users(&self) -> Result<Vec<User>, StoreError> {
        access::users(&self.db).await
    }

    async fn user(&self, id: Uuid) -> Result<Option<User>, StoreError> {
        access::user(&self.db, id).await
    }

    async fn user_tokens(&self, user: Option<Uuid>) -> Result<Vec<UserToken>, StoreError> {
        access::user_tokens(&self.db, user).await
    }

    async fn user_token(&self, id: &str) -> Result<Option<UserToken>, StoreError> {
        access::user_token(&self.db, id).await
    }

    async fn namespaces(&self) -> Result<Vec<Namespace>, StoreError> {
        access::namespaces(&self.db).await
    }

    async fn namespace(&self, name: &str) -> Result<Option<Namespace>, StoreError> {
        access::namespace(&self.db, name).await
    }

    async fn join_tokens(&self) -> Result<Vec<JoinToken>, StoreError> {
        joins::tokens(&self.db).await
    }

    async fn join_token(&self, id: &str) -> Result<Option<JoinToken>, StoreError> {
        joins::token(&self.db, id).await
    }

    async fn bridges(&self) -> Result<Vec<Bridge>, StoreError> {
        joins::bridges(&self.db).await
    }

    async fn bridge_by_key(&self, public_key: &str) -> Result<Option<Bridge>, StoreError> {
        joins::bridge_by_key(&self.db, public_key).await
    }

    async fn audit_entries(&self, filter: &AuditFilter) -> Result<Vec<AuditEntry>, StoreError> {
        access::audit(&self.db, filter).await
    }
}
