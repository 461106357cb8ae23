//! Making something durable: one 4 KiB block by itself, and one row in SQLite with `synchronous=FULL`, as both tiers do.

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, Result};
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbBackend, Statement,
};

use crate::{machine::fdatasync, report::Row, stats::Series};

/// Writes in a round.
const WRITES: usize = 500;
/// Rows in the table: an upsert finds its row in a tree, not in an empty file.
const ROWS: usize = 10_000;

const UPSERT: &str = "INSERT INTO item (id, name, state, generation, cpu, memory, changed, note) \
     VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET state = excluded.state, \
     generation = excluded.generation, changed = excluded.changed";

pub(crate) struct Disk {
    dir: PathBuf,
    database: DatabaseConnection,
    count: usize,
    block: Series,
    row: Series,
}

impl Disk {
    pub(crate) async fn open(dir: &Path) -> Result<Self> {
        let mut options = ConnectOptions::new(format!(
            "sqlite://{}?mode=rwc",
            dir.join("floor.db").display()
        ));
        options.max_connections(1).sqlx_logging(false);
        let database = Database::connect(options).await.context("open SQLite")?;
        for sql in [
            "PRAGMA journal_mode = WAL",
            "PRAGMA synchronous = FULL",
            "CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, state TEXT, generation INTEGER, \
             cpu INTEGER, memory INTEGER, changed INTEGER, note TEXT)",
        ] {
            database.execute_unprepared(sql).await.context(sql)?;
        }
        let fill = format!(
            "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS}) \
             INSERT INTO item SELECT i, 'worker-' || i, 'READY', 1, 4000, 8192, 0, 'note' FROM n"
        );
        database
            .execute_unprepared(&fill)
            .await
            .context("fill SQLite")?;
        Ok(Self {
            dir: dir.to_owned(),
            database,
            count: 0,
            block: Series::default(),
            row: Series::default(),
        })
    }

    pub(crate) async fn round(&mut self) -> Result<()> {
        let block = fdatasync(&self.dir, WRITES)?;
        self.block.append(block);
        self.row.begin();
        for _ in 0..WRITES {
            self.count += 1;
            // A stride that meets all rows before it meets one again.
            let id = i64::try_from(self.count * 7919 % ROWS).unwrap_or(0);
            let generation = i64::try_from(self.count).unwrap_or(0);
            let statement = Statement::from_sql_and_values(
                DbBackend::Sqlite,
                UPSERT,
                [
                    id.into(),
                    "worker".into(),
                    "SUSPECT".into(),
                    generation.into(),
                    4000i64.into(),
                    8192i64.into(),
                    generation.into(),
                    "note".into(),
                ],
            );
            let start = Instant::now();
            self.database
                .execute_raw(statement)
                .await
                .context("upsert")?;
            self.row.add(start.elapsed().as_secs_f64() * 1e6);
        }
        Ok(())
    }

    pub(crate) fn rows(&self) -> Vec<Row> {
        vec![
            Row::new("floors", "fdatasync of 4 KiB", "µs", &self.block),
            Row::new("floors", "SQLite upsert, FULL", "µs", &self.row),
        ]
    }
}
