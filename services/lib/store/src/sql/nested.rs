//! Lists inside records as JSON text. Fields may be added with a default, never renamed.

use std::collections::BTreeSet;

use edgeio_domain::{
    child::Bucket,
    ids::ChildId,
    records::{CandidateReasons, Refusal},
    resources::Resources,
    time::Time,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use uuid::Uuid;

use super::row::Table;
use crate::{access::Grant, api::StoreError};

#[derive(Serialize, Deserialize)]
struct RefusalRow {
    child: Uuid,
    message: String,
    until: i64,
    times: u32,
}

#[derive(Serialize, Deserialize)]
struct CandidateRow {
    candidate: String,
    reasons: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct BucketRow {
    architecture: String,
    runtimes: Vec<String>,
    workers: u32,
    free_cpu_millis: i64,
    free_memory_bytes: i64,
    largest_cpu_millis: i64,
    largest_memory_bytes: i64,
}

fn write<T: Serialize>(rows: Vec<T>) -> String {
    // Strings, integers and lists of them always have a JSON form; an empty list is the harmless answer if not.
    serde_json::to_string(&rows).unwrap_or_else(|_| "[]".to_owned())
}

fn parse<T: DeserializeOwned>(
    table: Table,
    column: &str,
    text: &str,
) -> Result<Vec<T>, StoreError> {
    serde_json::from_str(text).map_err(|error| table.corrupt(format!("{column}: {error}")))
}

pub(super) fn refusals(list: &[Refusal]) -> String {
    let rows = list.iter().map(|refusal| RefusalRow {
        child: refusal.child.0,
        message: refusal.message.clone(),
        until: refusal.until.0,
        times: refusal.times,
    });
    write(rows.collect())
}

pub(super) fn parse_refusals(table: Table, text: &str) -> Result<Vec<Refusal>, StoreError> {
    let rows = parse::<RefusalRow>(table, "refusals", text)?.into_iter();
    let refusals = rows.map(|row| Refusal {
        child: ChildId(row.child),
        message: row.message,
        until: Time(row.until),
        times: row.times,
    });
    Ok(refusals.collect())
}

pub(super) fn candidates(list: &[CandidateReasons]) -> String {
    let rows = list.iter().map(|candidate| CandidateRow {
        candidate: candidate.candidate.clone(),
        reasons: candidate.reasons.clone(),
    });
    write(rows.collect())
}

pub(super) fn parse_candidates(
    table: Table,
    text: &str,
) -> Result<Vec<CandidateReasons>, StoreError> {
    let rows = parse::<CandidateRow>(table, "candidates", text)?.into_iter();
    let candidates = rows.map(|row| CandidateReasons {
        candidate: row.candidate,
        reasons: row.reasons,
    });
    Ok(candidates.collect())
}

pub(super) fn buckets(list: &[Bucket]) -> String {
    let rows = list.iter().map(|bucket| BucketRow {
        architecture: bucket.architecture.clone(),
        runtimes: bucket.runtimes.clone(),
        workers: bucket.workers,
        free_cpu_millis: bucket.free.cpu_millis,
        free_memory_bytes: bucket.free.memory_bytes,
        largest_cpu_millis: bucket.largest.cpu_millis,
        largest_memory_bytes: bucket.largest.memory_bytes,
    });
    write(rows.collect())
}

pub(super) fn parse_buckets(table: Table, text: &str) -> Result<Vec<Bucket>, StoreError> {
    let rows = parse::<BucketRow>(table, "buckets", text)?.into_iter();
    let buckets = rows.map(|row| Bucket {
        architecture: row.architecture,
        runtimes: row.runtimes,
        workers: row.workers,
        free: Resources {
            cpu_millis: row.free_cpu_millis,
            memory_bytes: row.free_memory_bytes,
        },
        largest: Resources {
            cpu_millis: row.largest_cpu_millis,
            memory_bytes: row.largest_memory_bytes,
        },
    });
    Ok(buckets.collect())
}

pub(super) fn features(set: &BTreeSet<String>) -> String {
    write(set.iter().collect())
}

pub(super) fn parse_features(table: Table, text: &str) -> Result<BTreeSet<String>, StoreError> {
    Ok(parse(table, "features", text)?.into_iter().collect())
}

pub(super) fn grants(list: &[Grant]) -> String {
    write(list.to_vec())
}

pub(super) fn read_grants(table: Table, text: &str) -> Result<Vec<Grant>, StoreError> {
    parse(table, "grants", text)
}
