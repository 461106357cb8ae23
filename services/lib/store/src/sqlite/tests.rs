//! What is seen only from inside: a full disk, and how many statements a commit takes.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use edgeio_domain::{
    ids::{ChildId, SpecHash},
    time::{Clock, Time},
};
use sea_orm::ConnectionTrait;
use uuid::Uuid;

use super::SqliteStore;
use crate::api::{Store, StoreError, Write};

struct NoClock;

impl Clock for NoClock {
    fn wall(&self) -> Time {
        Time(0)
    }

    fn boot(&self) -> Time {
        Time(0)
    }
}

async fn open(folder: &tempfile::TempDir) -> SqliteStore {
    let path = folder.path().join("tier.db");
    SqliteStore::open(&path, Arc::new(NoClock)).await.unwrap()
}

#[tokio::test]
async fn a_full_disk_is_said_and_nothing_is_written_until_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder).await;
    let limit = |pages: u32| format!("PRAGMA max_page_count = {pages}");
    let small = store.writer.execute_unprepared(&limit(60)).await;
    small.unwrap();
    let big = Write::PutSpec(SpecHash([1; 32]), vec![7; 1_000_000]);
    let commit = async || {
        let mut tx = store.write().await.unwrap();
        tx.stage(big.clone());
        tx.stage(Write::PutTombstone(Uuid::nil(), Time(1)));
        tx.commit().await
    };
    let refused = commit().await.unwrap_err();
    assert!(matches!(refused, StoreError::Full { .. }), "{refused:?}");
    assert!(refused.to_string().contains("free space"));
    let read = store.read().await.unwrap();
    assert_eq!(read.meta().await.unwrap().revision, 0);
    assert!(read.tombstones(&[Uuid::nil()]).await.unwrap().is_empty());
    drop(read);

    let large = store.writer.execute_unprepared(&limit(100_000)).await;
    large.unwrap();
    assert_eq!(commit().await.unwrap(), 1);
}

#[tokio::test]
async fn what_is_committed_after_a_full_disk_is_on_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder).await;
    let commit = async |write: Write| {
        let mut tx = store.write().await.unwrap();
        tx.stage(write);
        tx.commit().await
    };
    for round in 0..3 {
        let small = "PRAGMA max_page_count = 60";
        store.writer.execute_unprepared(small).await.unwrap();
        let big = Write::PutSpec(SpecHash([1; 32]), vec![7; 1_000_000]);
        let refused = commit(big).await.unwrap_err();
        assert!(matches!(refused, StoreError::Full { .. }), "{refused:?}");
        // SQLite has ended that transaction itself. One more that ends without a commit, as most of the engine's do.
        store.write().await.unwrap().commit().await.unwrap();
        drop(store.write().await.unwrap());

        let note = Write::PutTombstone(Uuid::from_u128(round), Time(1));
        let acknowledged = commit(note).await.unwrap();
        // Another connection sees what is in the file.
        let read = store.read().await.unwrap();
        assert_eq!(read.meta().await.unwrap().revision, acknowledged);
        let noted = read.tombstones(&[Uuid::from_u128(round)]).await.unwrap();
        assert_eq!(noted.len(), 1, "round {round}");
    }
}

#[tokio::test]
async fn a_commit_that_is_durable_though_it_answers_an_error_wakes_who_waits() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder).await;
    let mut changes = store.watch();
    let commit = async |n: u128| {
        let mut tx = store.write().await.unwrap();
        tx.stage(Write::PutTombstone(Uuid::from_u128(n), Time(1)));
        tx.commit().await
    };
    store.hub.answer_lost.store(true, Ordering::Relaxed);
    let unknown = commit(1).await.unwrap_err();
    assert!(
        matches!(unknown, StoreError::Unavailable { .. }),
        "{unknown:?}"
    );
    assert!(changes.has_changed().unwrap(), "nobody was woken");
    assert_eq!(*changes.borrow_and_update(), 1);
    assert_eq!(commit(2).await.unwrap(), 2);
    assert_eq!(*changes.borrow_and_update(), 2);

    // What was not written wakes nobody.
    let small = "PRAGMA max_page_count = 1";
    store.writer.execute_unprepared(small).await.unwrap();
    let mut tx = store.write().await.unwrap();
    tx.stage(Write::PutSpec(SpecHash([1; 32]), vec![7; 1_000_000]));
    tx.commit().await.unwrap_err();
    assert!(!changes.has_changed().unwrap());
}

#[tokio::test]
async fn rows_of_a_commit_share_statements() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(&folder).await;
    let statements = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&statements);
    store.writer.set_metric_callback(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    let mut tx = store.write().await.unwrap();
    for n in 0..5_000 {
        tx.stage(Write::PutTombstone(Uuid::from_u128(n), Time(1)));
        tx.stage(Write::DeleteChild(ChildId(Uuid::from_u128(n))));
    }
    tx.commit().await.unwrap();
    // Three times 5,000 rows (written, looked up, removed) in pieces of 256, and a few for the facts.
    let statements = statements.load(Ordering::Relaxed);
    assert!((60..100).contains(&statements), "{statements} statements");
}
