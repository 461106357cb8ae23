//! What earlier versions left on disk opens, and is all there.

use std::{fs, path::Path, sync::Arc};

use anyhow::{Context, Result};
use edgeio_domain::time::{Clock, Time};
use edgeio_link::spec;
use edgeio_store::{ApplicationFilter, SlotFilter, Store, Write, open};
use edgeio_tier::system::SystemClock;
use edgeio_worker::ledger::{Batch, FileLedger, Ledger as _};
use tempfile::TempDir;
use uuid::Uuid;

use super::{VERSIONS, meaning, recording, summary};

/// A copy that may be changed.
fn copy(version: &str, names: &[&str]) -> Result<TempDir> {
    let dir = tempfile::tempdir()?;
    for name in names {
        let from = recording(version).join(name);
        if from.exists() {
            fs::copy(from, dir.path().join(name))?;
        }
    }
    Ok(dir)
}

async fn opened(path: &Path) -> Result<Arc<dyn Store>> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let store = open(&format!("sqlite:{}", path.display()), clock).await;
    store.with_context(|| format!("open {}", path.display()))
}

#[tokio::test]
async fn a_database_opens_with_all_its_records_and_can_be_written() -> Result<()> {
    for version in VERSIONS {
        for tier in ["root", "cluster-a"] {
            let (file, log) = (format!("{tier}.db"), format!("{tier}.db-wal"));
            let dir = copy(version, &[&file, &log])?;
            let path = dir.path().join(&file);
            let then = meaning(&recording(version).join(format!("{tier}.json")))?;
            let rows = then["assignments"].as_array().map_or(0, Vec::len);
            assert!(rows >= 3, "{version}/{tier} has only {rows} assignments");
            // The second time there is nothing left to bring forward.
            for time in ["first", "second"] {
                let store = opened(&path).await?;
                assert_eq!(
                    summary::database(&*store).await?,
                    then,
                    "{version}/{tier}, opened for the {time} time"
                );
                every_spec_is_read(&*store).await?;
                store.close().await;
            }
            let store = opened(&path).await?;
            let mut tx = store.write().await?;
            tx.stage(Write::PutTombstone(Uuid::from_u128(1), Time(1)));
            tx.commit().await?;
            store.close().await;
        }
    }
    Ok(())
}

/// The bytes that users' services are kept as.
async fn every_spec_is_read(store: &dyn Store) -> Result<()> {
    let tx = store.read().await?;
    let slots = tx.slots(&SlotFilter::default()).await?;
    for slot in &slots {
        let found = tx.specs(&[slot.spec_hash]).await?;
        let (_, body) = found.first().context("a slot without its spec")?;
        let spec = spec::decode(body)?;
        assert_eq!(spec.name.to_string(), slot.service.to_string());
    }
    let applications = tx.applications(&ApplicationFilter::default()).await?;
    assert!(!applications.is_empty());
    Ok(())
}

#[test]
fn a_ledger_opens_with_all_its_entries_and_can_be_written() -> Result<()> {
    for version in VERSIONS {
        let dir = copy(version, &["ledger"])?;
        let then = meaning(&recording(version).join("ledger.json"))?;
        assert_eq!(summary::ledger(dir.path())?, then, "{version}");
        let mut ledger = FileLedger::open(dir.path())?;
        let snapshot = ledger.load()?;
        assert!(!snapshot.tombstones.is_empty() && !snapshot.specs.is_empty());
        for body in snapshot.specs.values() {
            spec::decode(body)?;
        }
        // What was read and is written again, by this version, is the same.
        let entries = snapshot.entries.values().cloned().collect();
        ledger.write(Batch {
            put: entries,
            ..Batch::default()
        })?;
        drop(ledger);
        assert_eq!(
            summary::ledger(dir.path())?,
            then,
            "{version}, written again"
        );
    }
    Ok(())
}
