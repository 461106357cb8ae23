//! Who may call what: every RPC that a live root and a live cluster serve, by every kind of caller, against tables that are
//! written by hand (`root.table`, `cluster.table`).
//!
//! The rows come from what the servers say that they serve, so a new RPC without a row fails here by its name. Each cell is a real call over
//! TLS, with the request that the row names. It says how far the caller comes: not past being identified (`-`), refused (`x`), what it
//! names is not there for it (`n`), or let in (`+`), whatever comes of it then.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests: what goes wrong here fails the test"
)]

mod bed;
mod call;
mod table;

use std::collections::BTreeSet;

use bed::{Bed, Which};
use table::Table;

async fn check(which: Which, text: &str) {
    let bed = Bed::start(which).await;
    let table = Table::parse(text);
    let served: BTreeSet<String> = bed.served().await;
    let written: BTreeSet<String> = table.rows.iter().map(|(path, _)| path.clone()).collect();
    let missing: Vec<_> = served.difference(&written).collect();
    assert!(missing.is_empty(), "served, but without a row: {missing:?}");
    let stale: Vec<_> = written.difference(&served).collect();
    assert!(stale.is_empty(), "in the table, but not served: {stale:?}");
    let known: BTreeSet<&str> = bed.callers().collect();
    let columns: BTreeSet<&str> = table.columns.iter().map(String::as_str).collect();
    assert_eq!(known, columns, "the table has other callers");

    let mut wrong = Vec::new();
    let mut calls = 0;
    for (path, row) in &table.rows {
        let mut cells = Vec::new();
        for (caller, expected) in table.columns.iter().zip(&row.cells) {
            let (cell, said) = bed.call(caller, path, &row.request).await;
            if cell != *expected {
                wrong.push(format!(
                    "{path} by {caller}: {expected} expected, {cell} seen: {said}"
                ));
            }
            calls += 1;
            cells.push(cell);
        }
        // What the server does, in the form of the table: to compare, not to copy.
        println!("{path} {} | {}", row.request, cells.join(" "));
    }
    println!("{calls} calls");
    bed.stop().await;
    assert!(
        wrong.is_empty(),
        "{} cells:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_root_lets_in_exactly_whom_the_table_says() {
    check(Which::Root, include_str!("root.table")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_lets_in_exactly_whom_the_table_says() {
    check(Which::Cluster, include_str!("cluster.table")).await;
}
