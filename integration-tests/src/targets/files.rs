//! Files that a crash, a bad disk or another program may have changed.

use std::path::Path;

use edgeio_worker::ledger::{self, LedgerError};
use sha2::{Digest as _, Sha256};

use super::{Dice, frames, messages};

/// See [`super::ALL`].
pub(super) fn ledger(bytes: &[u8]) {
    let path = Path::new("ledger");
    check(bytes, path);
    // Checksums keep a fuzzer out: the same bytes as the content of a good record.
    let mut file = Vec::new();
    for (_, body) in frames::read(bytes) {
        record(body, &mut file);
    }
    check(&file, path);
    if !file.is_empty() {
        // A torn write behind good records: they are what is left.
        let whole = ledger::replay(&file, path);
        let mut torn = file.clone();
        torn.extend_from_slice(&[0xED, 0x6E, 0x10, 0x01, 9]);
        let cut = ledger::replay(&torn, path);
        if let (Ok((whole, length)), Ok((cut, until))) = (&whole, &cut) {
            assert_eq!((whole, *length), (cut, *until));
            assert_eq!(*length, file.len());
        }
        assert_eq!(whole.is_ok(), cut.is_ok());
    }
}

fn check(bytes: &[u8], path: &Path) {
    match ledger::replay(bytes, path) {
        Ok((state, length)) => {
            assert!(length <= bytes.len());
            let again = ledger::replay(bytes.get(..length).unwrap_or_default(), path);
            assert!(matches!(again, Ok((same, all)) if same == state && all == length));
        }
        Err(LedgerError::Damaged { offset, .. }) => assert!(offset < bytes.len() as u64),
        Err(_) => {}
    }
}

/// A record as the ledger writes it. Written down again here on purpose: the form of a file that lasts may not change unseen.
fn record(payload: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&[0xED, 0x6E, 0x10, 0x01]);
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend(Sha256::digest(payload).iter().take(8));
    out.extend_from_slice(payload);
}

/// See [`super::ALL`].
pub(super) fn ledger_seed(dice: &mut Dice) -> Vec<u8> {
    let mut out = Vec::new();
    for _ in 0..1 + dice.below(4) {
        let body = batch(dice);
        if dice.one_in(2) {
            frames::write(dice, &body, &mut out);
        } else {
            record(&body, &mut out);
        }
    }
    out
}

/// A batch, by the numbers of its fields: a point, an entry, a spec, a tombstone.
fn batch(dice: &mut Dice) -> Vec<u8> {
    let mut out = Vec::new();
    for _ in 0..dice.below(5) {
        let id = dice.id().as_bytes().to_vec();
        match dice.below(5) {
            0 => field(
                1,
                &messages::encoded(dice, "edgeio.link.v1.Accepted"),
                &mut out,
            ),
            1 => {
                let mut entry = Vec::new();
                field(
                    1,
                    &messages::encoded(dice, "edgeio.link.v1.Assignment"),
                    &mut entry,
                );
                entry.extend([2 << 3, u8::try_from(dice.below(12)).unwrap_or_default()]);
                field(3, dice.text().as_bytes(), &mut entry);
                field(2, &entry, &mut out);
            }
            2 => field(4, &messages::encoded(dice, "edgeio.link.v1.Spec"), &mut out),
            3 => {
                let mut tombstone = Vec::new();
                field(1, &id, &mut tombstone);
                field(6, &tombstone, &mut out);
            }
            _ => field(3, &id, &mut out),
        }
    }
    out
}

/// A field of bytes. The length's varint has two bytes always, which is legal, and cut above what they hold.
fn field(number: u8, bytes: &[u8], out: &mut Vec<u8>) {
    let bytes = bytes.get(..bytes.len().min(16_383)).unwrap_or_default();
    let low = u8::try_from(bytes.len() & 0x7f).unwrap_or_default();
    let high = u8::try_from(bytes.len() >> 7).unwrap_or_default();
    out.extend([number << 3 | 2, low | 0x80, high]);
    out.extend_from_slice(bytes);
}
