//! What every ledger must do, and what the one on disk must survive.

use std::{fs, os::unix::fs::PermissionsExt};

use edgeio_domain::{
    child::Accepted,
    ids::{AssignmentId, Lineage, SlotId, SpecHash},
    lifecycle::Phase,
    node::{Entry, Order, Rejection, RejectionReason, Status},
    records::Desired,
    time::Time,
};
use uuid::Uuid;

use super::*;

fn id(n: u128) -> AssignmentId {
    AssignmentId(Uuid::from_u128(n))
}

fn entry(n: u128) -> Entry {
    let order = Order {
        id: id(n),
        slot: SlotId(Uuid::from_u128(n + 1000)),
        generation: 7,
        desired: Desired::Pause,
        restart_count: 3,
        spec_hash: SpecHash::of(b"spec"),
        image_digest: "sha256:1".into(),
        namespace: "default".into(),
        application: "shop".into(),
        application_uid: "u".into(),
        service: "web".into(),
        ordinal: 2,
        owner: String::new(),
    };
    let status = Status {
        phase: Phase::Failed,
        reason: "Exited".into(),
        message: "why".into(),
        exit_code: Some(-1),
        restarts: 4,
        failures: 5,
        running_since: Some(Time(-6)),
        not_before: Some(Time(7)),
        output_tail: Vec::new(),
        image_digest: "sha256:2".into(),
        handle: "h".into(),
        rejection: Some(Rejection {
            reason: RejectionReason::Unsupported,
            message: "no".into(),
        }),
        restarted: 8,
        touched: true,
        orphan: true,
        runtime: "containerd".to_owned(),
    };
    Entry { order, status }
}

fn batches() -> Vec<Batch> {
    let accepted = |revision| {
        Some(Accepted {
            lineage: Lineage(Uuid::from_u128(9)),
            issuer_epoch: 2,
            revision,
        })
    };
    vec![
        Batch {
            accepted: accepted(1),
            put: vec![entry(1), entry(2)],
            specs: vec![(SpecHash::of(b"spec"), b"spec".to_vec())],
            ..Batch::default()
        },
        Batch {
            put: vec![Entry {
                status: Status::default(),
                ..entry(1)
            }],
            bury: vec![(id(5), Time(1)), (id(6), Time(2))],
            renewal: Some(Renewal {
                boot_id: "boot".into(),
                at: Time(8),
            }),
            ..Batch::default()
        },
        Batch {
            accepted: accepted(2),
            remove: vec![id(2)],
            bury: vec![(id(2), Time(3))],
            unbury: vec![id(5)],
            drop_specs: vec![SpecHash::of(b"spec")],
            ..Batch::default()
        },
        Batch {
            renewal: Some(Renewal {
                boot_id: "another boot".into(),
                at: Time(2),
            }),
            ..Batch::default()
        },
    ]
}

fn after(batches: impl IntoIterator<Item = Batch>) -> Snapshot {
    let mut state = Snapshot::default();
    for batch in batches {
        state.apply(batch);
    }
    state
}

fn conforms(mut open: impl FnMut() -> Box<dyn Ledger>) {
    assert_eq!(open().load().unwrap(), Snapshot::default());
    for count in 1..=batches().len() {
        let mut ledger = open();
        ledger.load().unwrap();
        ledger.write(batches().swap_remove(count - 1)).unwrap();
        drop(ledger);
        let expected = after(batches().into_iter().take(count));
        assert_eq!(open().load().unwrap(), expected, "after {count} batches");
    }
}

#[test]
fn memory_conforms() {
    let ledger = MemoryLedger::default();
    conforms(|| Box::new(ledger.clone()));
}

#[test]
fn file_conforms() {
    let directory = tempfile::tempdir().unwrap();
    conforms(|| Box::new(FileLedger::open(directory.path()).unwrap()));
}

#[test]
fn a_told_fault_changes_nothing() {
    let mut ledger = MemoryLedger::default();
    ledger.fail(1);
    assert!(matches!(
        ledger.write(batches().swap_remove(0)),
        Err(LedgerError::Injected)
    ));
    assert_eq!(ledger.durable(), Snapshot::default());
    ledger.write(batches().swap_remove(0)).unwrap();
    assert_eq!(ledger.writes(), 1);
    let mut fork = ledger.fork();
    fork.write(batches().swap_remove(1)).unwrap();
    assert_ne!(fork.durable(), ledger.durable());
}

/// A journal of all batches and where each ends.
fn journal() -> (Vec<u8>, Vec<usize>) {
    let directory = tempfile::tempdir().unwrap();
    let mut ledger = FileLedger::open(directory.path()).unwrap();
    ledger.load().unwrap();
    let path = directory.path().join("ledger");
    let mut ends = Vec::new();
    for batch in batches() {
        ledger.write(batch).unwrap();
        ends.push(fs::read(&path).unwrap().len());
    }
    (fs::read(&path).unwrap(), ends)
}

fn reopen(bytes: &[u8], then: Option<Batch>) -> Result<Snapshot, LedgerError> {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("ledger"), bytes).unwrap();
    let mut ledger = FileLedger::open(directory.path()).unwrap();
    let state = ledger.load()?;
    let Some(batch) = then else { return Ok(state) };
    ledger.write(batch).unwrap();
    drop(ledger);
    FileLedger::open(directory.path()).unwrap().load()
}

#[test]
fn a_write_torn_at_any_byte_never_happened_and_does_not_hinder_the_next() {
    let (bytes, ends) = journal();
    let path = std::path::Path::new("ledger");
    for cut in 0..=bytes.len() {
        let whole = ends.iter().filter(|end| **end <= cut).count();
        let expected = after(batches().into_iter().take(whole));
        // A file system may have grown the file before it wrote the data.
        let mut padded = bytes[..cut].to_vec();
        padded.extend([0; 40]);
        for torn in [&bytes[..cut], &padded] {
            let (state, length) = file::replay(torn, path).unwrap();
            assert_eq!(state, expected, "cut at {cut}");
            assert!(length <= cut);
        }
        // The disk is slow: every byte is tried in memory, some of them for real.
        if cut % 37 == 0 || ends.contains(&cut) {
            assert_eq!(
                reopen(&bytes[..cut], None).unwrap(),
                expected,
                "cut at {cut}"
            );
            let more = batches().swap_remove(1);
            let mut expected = expected;
            expected.apply(more.clone());
            assert_eq!(
                reopen(&padded, Some(more)).unwrap(),
                expected,
                "written after {cut}"
            );
        }
    }
}

#[test]
fn damage_before_the_last_write_is_an_error_that_says_what_to_do() {
    let (bytes, ends) = journal();
    let last = ends[ends.len() - 2];
    let path = std::path::Path::new("/state/ledger");
    for at in 0..last {
        let mut bad = bytes.clone();
        bad[at] ^= 0x55;
        match file::replay(&bad, path) {
            Err(fault @ LedgerError::Damaged { .. }) => {
                let text = fault.to_string();
                assert!(
                    text.contains("ledger") && text.contains("move it away"),
                    "{text}"
                );
            }
            other => panic!("byte {at}: {other:?}"),
        }
    }
}

#[test]
fn it_is_rewritten_when_most_of_it_is_old_and_stays_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let mut ledger = FileLedger::open(directory.path()).unwrap();
    ledger.load().unwrap();
    let body = vec![7; 20 * 1024];
    let mut longest = 0;
    for n in 0..60_u8 {
        let spec = (SpecHash([n; 32]), body.clone());
        let drop_specs = n.checked_sub(1).map(|m| SpecHash([m; 32]));
        let batch = Batch {
            specs: vec![spec],
            drop_specs: drop_specs.into_iter().collect(),
            ..Batch::default()
        };
        ledger.write(batch).unwrap();
        longest = fs::metadata(directory.path().join("ledger"))
            .unwrap()
            .len()
            .max(longest);
    }
    assert!(longest < 320 * 1024, "{longest} bytes");
    let state = ledger.load().unwrap();
    assert_eq!(state.specs.len(), 1);
    drop(ledger);
    assert_eq!(
        FileLedger::open(directory.path()).unwrap().load().unwrap(),
        state
    );
}

#[test]
fn it_is_private_and_held_by_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    let mut ledger = FileLedger::open(&path).unwrap();
    ledger.write(batches().swap_remove(0)).unwrap();
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(&path.join("ledger"))), (0o700, 0o600));
    assert!(matches!(
        FileLedger::open(&path),
        Err(LedgerError::Locked { .. })
    ));
    drop(ledger);
    FileLedger::open(&path).unwrap();
}
