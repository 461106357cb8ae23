//! Records in a file: each has a mark, its length and a checksum, so that a write that a crash tore is told from damage.
//!
//! A torn write is the last thing in the file and is cut off: it was never confirmed. A bad record that good ones follow is
//! damage, which is never guessed away.

use sha2::{Digest, Sha256};

/// Begins every record. It lets a reader look for records behind a bad one.
const MARK: [u8; 4] = [0xED, 0x6E, 0x10, 0x01];
/// Mark, length and checksum.
const HEAD: usize = 4 + 4 + 8;

/// What a file holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    /// Good records up to this length; what is behind it is a torn write.
    Records(Vec<&'a [u8]>, usize),
    /// A bad record here, and good ones behind it.
    Damaged(usize),
}

/// Appends a record to `out`.
pub(super) fn write(payload: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&MARK);
    // A batch is bounded by what a worker holds, far below 4 GiB; a longer one would fail its own check on reading.
    out.extend_from_slice(
        &u32::try_from(payload.len())
            .unwrap_or(u32::MAX)
            .to_le_bytes(),
    );
    out.extend_from_slice(&checksum(payload));
    out.extend_from_slice(payload);
}

/// Finds the records of `bytes`.
pub(super) fn read(bytes: &[u8]) -> Found<'_> {
    let mut at = 0;
    let mut records = Vec::new();
    while let Some(payload) = record(bytes.get(at..).unwrap_or_default()) {
        records.push(payload);
        at += HEAD + payload.len();
    }
    let behind =
        (at + 1..bytes.len()).any(|from| record(bytes.get(from..).unwrap_or_default()).is_some());
    if behind {
        Found::Damaged(at)
    } else {
        Found::Records(records, at)
    }
}

/// The payload of the record that `bytes` begins with, if it is whole and good.
fn record(bytes: &[u8]) -> Option<&[u8]> {
    let rest = bytes.strip_prefix(&MARK)?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (sum, rest) = rest.split_first_chunk::<8>()?;
    let payload = rest.get(..u32::from_le_bytes(*length) as usize)?;
    (checksum(payload) == *sum).then_some(payload)
}

/// Half of what a spec's hash would be is plenty against accidents.
fn checksum(payload: &[u8]) -> [u8; 8] {
    let full: [u8; 32] = Sha256::digest(payload).into();
    let mut part = [0; 8];
    part.copy_from_slice(&full[..8]);
    part
}
