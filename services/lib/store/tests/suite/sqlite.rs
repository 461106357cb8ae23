//! What only a file can get wrong: two processes, rights, other versions, other files, a process that is killed.

use std::{
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use edgeio_domain::time::Time;
use edgeio_store::{SlotFilter, SqliteStore, Store, StoreError, Write, open};
use sqlx::{Connection, SqliteConnection};

use crate::{bed::ManualClock, make};

async fn open_at(path: &Path) -> Result<SqliteStore, StoreError> {
    SqliteStore::open(path, Arc::new(ManualClock::default())).await
}

async fn put(store: &dyn Store, write: Write) -> u64 {
    let mut tx = store.write().await.unwrap();
    tx.stage(write);
    tx.commit().await.unwrap()
}

/// Runs SQL as somebody else would, beside the store.
async fn by_hand(path: &Path, sql: &'static str) {
    let url = format!("sqlite:{}", path.display());
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    sqlx::query(sql).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[tokio::test]
async fn a_second_process_is_refused_until_the_first_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tier.db");
    let first = open_at(&path).await.unwrap();
    // Another name of the same file is the same lock.
    let alias = folder.path().join("alias.db");
    std::os::unix::fs::symlink(&path, &alias).unwrap();
    for path in [&path, &alias] {
        let refused = open_at(path).await.unwrap_err();
        assert!(matches!(refused, StoreError::Locked { .. }), "{refused:?}");
        assert!(refused.to_string().contains("in use by another process"));
    }
    let read = first.read().await.unwrap();
    let lineage = read.meta().await.unwrap().lineage;
    drop(read);
    first.close().await;
    assert!(first.write().await.is_err());
    assert!(first.read().await.is_err());

    let second = open_at(&alias).await.unwrap();
    let read = second.read().await.unwrap();
    assert_eq!(read.meta().await.unwrap().lineage, lineage);
    drop(read);
    // Also without a goodbye.
    drop(second);
    open_at(&path).await.unwrap();
}

#[tokio::test]
async fn each_new_database_has_a_lineage_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let mut lineages = Vec::new();
    for name in ["a.db", "b.db"] {
        let store = open_at(&folder.path().join(name)).await.unwrap();
        let read = store.read().await.unwrap();
        lineages.push(read.meta().await.unwrap().lineage);
    }
    assert_ne!(lineages[0], lineages[1]);
    assert_eq!(lineages[0].0.get_version_num(), 4);
}

#[tokio::test]
async fn only_the_owner_may_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep").join("er").join("tier.db");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, b"").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let store = open_at(&path).await.unwrap();
    put(&store, Write::PutSlot(make::slot(1, 1))).await;
    let mut files: Vec<_> = std::fs::read_dir(path.parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            (entry.file_name().into_string().unwrap(), mode)
        })
        .collect();
    files.sort();
    let expected = ["tier.db", "tier.db-shm", "tier.db-wal", "tier.db.lock"];
    assert_eq!(files, expected.map(|name| (name.to_owned(), 0o600)));
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tier.db");
    open_at(&path).await.unwrap().close().await;
    let newer = "INSERT INTO seaql_migrations (version, applied_at) VALUES ('m9999_later', 1)";
    by_hand(&path, newer).await;
    let refused = open_at(&path).await.unwrap_err();
    assert!(matches!(refused, StoreError::Open { .. }), "{refused:?}");
    let said = refused.to_string();
    assert!(
        said.contains("newer version of edgeIO") && said.contains("m9999_later"),
        "{said}"
    );
}

#[tokio::test]
async fn another_file_is_not_taken_for_a_database() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    let text = "not a database, but long enough to have a header\n".repeat(100);
    std::fs::write(&path, &text).unwrap();
    let refused = open_at(&path).await.unwrap_err();
    let said = refused.to_string();
    assert!(matches!(refused, StoreError::Open { .. }), "{refused:?}");
    assert!(
        said.contains("notes.txt") && said.contains("not a database"),
        "{said}"
    );
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}

#[tokio::test]
async fn a_record_that_cannot_be_understood_is_said_and_not_guessed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tier.db");
    let store = open_at(&path).await.unwrap();
    put(&store, Write::PutSlot(make::slot(1, 1))).await;
    store.close().await;
    by_hand(&path, "UPDATE slot SET desired = 'dance'").await;
    let store = open_at(&path).await.unwrap();
    let read = store.read().await.unwrap();
    let refused = read.slots(&SlotFilter::default()).await.unwrap_err();
    let said = refused.to_string();
    assert!(
        matches!(refused, StoreError::Corrupt { table: "slot", .. }),
        "{refused:?}"
    );
    assert!(said.contains("desired") && said.contains("dance"), "{said}");
}

#[tokio::test]
async fn the_url_says_which_database() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tier.db");
    let clock = Arc::new(ManualClock::default());
    for prefix in ["sqlite:", "sqlite://"] {
        let url = format!("{prefix}{}", path.display());
        let store = open(&url, clock.clone()).await.unwrap();
        put(
            &*store,
            Write::PutTombstone(uuid::Uuid::from_u128(1), Time(1)),
        )
        .await;
        store.close().await;
    }
    let store = open_at(&path).await.unwrap();
    assert_eq!(*store.watch().borrow(), 2);

    for url in ["postgres://me:secret@host/db", "tier.db", "sqlite:", ""] {
        let Err(refused) = open(url, clock.clone()).await else {
            panic!("{url:?} was opened");
        };
        let said = refused.to_string();
        assert!(said.contains("sqlite:/path/to/file.db"), "{said}");
        assert!(!said.contains("secret"), "{said}");
    }
}

#[tokio::test]
async fn files_copied_from_under_a_running_process_hold_what_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tier.db");
    let store = open_at(&path).await.unwrap();
    for n in 0..20 {
        put(&store, Write::PutSlot(make::slot(n, n))).await;
    }
    // As after the loss of power in the middle of a transaction.
    let mut tx = store.write().await.unwrap();
    tx.stage(Write::DeleteSlot(make::slot_id(1)));
    let copy = folder.path().join("copy.db");
    std::fs::copy(&path, &copy).unwrap();
    std::fs::copy(
        folder.path().join("tier.db-wal"),
        folder.path().join("copy.db-wal"),
    )
    .unwrap();
    drop(tx);
    let copied = open_at(&copy).await.unwrap();
    let read = copied.read().await.unwrap();
    assert_eq!(read.meta().await.unwrap().revision, 20);
    assert_eq!(read.slots(&SlotFilter::default()).await.unwrap().len(), 20);
}

/// This test is two processes: the one that is killed runs it too, told so by this variable.
const KILLED: &str = "EDGEIO_STORE_TEST_WRITES_UNTIL_KILLED";

#[tokio::test]
async fn a_killed_process_has_kept_what_it_acknowledged() {
    if let Some(path) = std::env::var_os(KILLED) {
        let store = open_at(Path::new(&path)).await.unwrap();
        for n in 0.. {
            let mut tx = store.write().await.unwrap();
            tx.stage(Write::PutSlot(make::slot(n, n)));
            tx.stage(Write::PutSlot(make::slot(n + 1_000_000, n)));
            println!("acknowledged {}", tx.commit().await.unwrap());
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tier.db");
    for enough in [1, 7, 30] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture"])
            .arg("sqlite::a_killed_process_has_kept_what_it_acknowledged")
            .env(KILLED, &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut acknowledged = 0;
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        for line in lines.by_ref().map_while(Result::ok) {
            let Some((_, revision)) = line.split_once("acknowledged ") else {
                continue;
            };
            acknowledged = revision.parse::<u64>().unwrap();
            if acknowledged % 100 >= enough {
                break;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(acknowledged >= enough, "it ended after {acknowledged}");

        let store = open_at(&path).await.unwrap();
        let read = store.read().await.unwrap();
        let revision = read.meta().await.unwrap().revision;
        assert!(
            revision >= acknowledged,
            "{revision} is left of {acknowledged}"
        );
        let slots = read.slots(&SlotFilter::default()).await.unwrap();
        // Both of a commit or none.
        assert_eq!(slots.len() % 2, 0);
        assert_eq!(
            read.changes(0, u64::MAX).await.unwrap().len() as u64,
            revision * 2
        );
        drop(read);
        store.close().await;
    }
}
