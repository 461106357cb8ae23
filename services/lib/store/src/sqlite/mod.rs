//! The store on SQLite: one file, one process, one writer.
//!
//! Write transactions are immediate and there is no other way to open one: a transaction that reads first and then asks
//! for the right to write fails at once when another got it in between, whatever the busy timeout says. They queue for
//! one connection, in the order they came. Readers have connections of their own that cannot write, and see the state of
//! their first read throughout. `synchronous=FULL`, because what was acknowledged must survive the loss of power.
//!
//! The file is held by an exclusive lock on a file beside it, and only its owner may read it.

mod connect;
mod lock;

use std::{fs::File, path::Path, sync::Arc};

use async_trait::async_trait;
use edgeio_domain::{ids::Lineage, time::Clock};
use sea_orm::{DatabaseConnection, SqliteTransactionMode, TransactionOptions, TransactionTrait};
use tokio::sync::{Mutex, watch};
use uuid::Uuid;

use crate::{
    api::{ReadTx, Revision, Store, StoreError, WriteTx},
    batch::Batch,
    sql::{Hub, Turn, Tx, failed},
};

/// The store on SQLite.
pub struct SqliteStore {
    writer: DatabaseConnection,
    readers: DatabaseConnection,
    hub: Arc<Hub>,
    /// Given free last; `None` once closed.
    lock: Mutex<Option<File>>,
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteStore")
            .field("revision", &*self.hub.revision.borrow())
            .finish_non_exhaustive()
    }
}

impl SqliteStore {
    /// Opens a database and brings its schema to this version; makes it, and the folder it is in, if there is none. The
    /// clock stamps the log of changes, for [`crate::Write::Compact`].
    ///
    /// # Errors
    /// [`StoreError::Locked`] when another process has it, [`StoreError::Open`] when it cannot be opened as asked: of a
    /// newer version, not a database, no rights, a file system without shared memory.
    pub async fn open(path: &Path, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let (path, lock) = lock::take(path)?;
        let (writer, readers) = connect::open(&path).await?;
        let facts = connect::migrate(&path, &writer, Lineage(Uuid::new_v4())).await?;
        let hub = Hub {
            turn: Arc::new(Mutex::new(())),
            revision: watch::Sender::new(facts.revision),
            clock,
            readers: readers.clone(),
            #[cfg(test)]
            answer_lost: std::sync::atomic::AtomicBool::new(false),
        };
        Ok(Self {
            writer,
            readers,
            hub: Arc::new(hub),
            lock: Mutex::new(Some(lock)),
        })
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn read(&self) -> Result<Box<dyn ReadTx + '_>, StoreError> {
        let db = self
            .readers
            .begin()
            .await
            .map_err(failed("begin to read"))?;
        Ok(Box::new(Tx {
            db,
            clock: Arc::clone(&self.hub.clock),
            write: (),
        }))
    }

    async fn write(&self) -> Result<Box<dyn WriteTx + '_>, StoreError> {
        let held = Arc::clone(&self.hub.turn).lock_owned().await;
        let db = begin_immediate(&self.writer).await?;
        Ok(Box::new(Tx {
            db,
            clock: Arc::clone(&self.hub.clock),
            write: Turn {
                hub: Arc::clone(&self.hub),
                batch: Batch::default(),
                held,
            },
        }))
    }

    fn watch(&self) -> watch::Receiver<Revision> {
        self.hub.revision.subscribe()
    }

    /// The lock file is held.
    fn is_exclusive(&self) -> bool {
        true
    }

    async fn close(&self) {
        let _held = self.hub.turn.lock().await;
        for connections in [&self.readers, &self.writer] {
            if let Err(error) = connections.close_by_ref().await {
                tracing::warn!(%error, "database connections did not close");
            }
        }
        self.lock.lock().await.take();
    }
}

async fn begin_immediate(
    writer: &DatabaseConnection,
) -> Result<sea_orm::DatabaseTransaction, StoreError> {
    let immediate = TransactionOptions {
        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        ..TransactionOptions::default()
    };
    let begun = writer.begin_with_options(immediate).await;
    begun.map_err(failed("begin to write"))
}

#[cfg(test)]
mod tests;
