//! Cutting lists of whole entries into messages that fit the bus.

use std::collections::BTreeMap;

use prost::Message;

/// Most bytes of entries in one message. The bus takes 64 KiB; a spec is 48 KiB at most and never shares a chunk with
/// another one that does not fit; the rest is room for the message's own fields.
pub const CHUNK_BYTES: usize = 60 * 1024;

#[cfg(feature = "sim")]
thread_local! {
    static LIMIT: std::cell::Cell<usize> = const { std::cell::Cell::new(CHUNK_BYTES) };
}

/// Has this thread cut its messages smaller, so that short lists come in many parts; `None` for [`CHUNK_BYTES`] again.
#[cfg(feature = "sim")]
pub fn set_limit(bytes: Option<usize>) {
    LIMIT.set(bytes.unwrap_or(CHUNK_BYTES));
}

/// Most bytes of entries in one message.
#[cfg(feature = "sim")]
pub(crate) fn limit() -> usize {
    LIMIT.get()
}

/// Most bytes of entries in one message.
#[cfg(not(feature = "sim"))]
pub(crate) const fn limit() -> usize {
    CHUNK_BYTES
}

/// Splits entries so that each part stays under [`CHUNK_BYTES`], as far as single entries allow. Never empty.
pub fn split<T: Message>(entries: Vec<T>) -> Vec<Vec<T>> {
    let mut parts: Vec<Vec<T>> = vec![Vec::new()];
    let mut size = 0;
    for entry in entries {
        // Tag and length of an embedded message take at most 6 bytes here.
        let length = entry.encoded_len() + 6;
        if size + length > limit() && size > 0 {
            parts.push(Vec::new());
            size = 0;
        }
        size += length;
        if let Some(last) = parts.last_mut() {
            last.push(entry);
        }
    }
    parts
}

/// Most parts of one message: 4 GiB of entries, far beyond what a child holds. A sender that names more would have this side
/// collect without end.
const MOST_PARTS: u32 = 1 << 16;

/// Collects the parts of one chunked message.
#[derive(Debug)]
pub struct Assembly<K, T> {
    key: Option<K>,
    parts: BTreeMap<u32, T>,
}

impl<K: PartialEq, T> Default for Assembly<K, T> {
    fn default() -> Self {
        Self {
            key: None,
            parts: BTreeMap::new(),
        }
    }
}

impl<K: PartialEq, T> Assembly<K, T> {
    /// Whether this part is among those that are collected.
    pub fn has(&self, key: &K, chunk: u32) -> bool {
        self.key.as_ref() == Some(key) && self.parts.contains_key(&chunk)
    }

    /// Adds a part; returns all of them, in order, once the last one is there. Another key drops what was collected.
    pub fn add(&mut self, key: K, chunk: u32, chunks: u32, part: T) -> Option<Vec<T>> {
        if self.key.as_ref() != Some(&key) {
            self.parts.clear();
            self.key = Some(key);
        }
        let chunks = chunks.max(1);
        if chunk >= chunks || chunks > MOST_PARTS {
            return None;
        }
        self.parts.insert(chunk, part);
        if self.parts.len() < chunks as usize {
            return None;
        }
        Some(self.take())
    }

    /// Ends collecting: what has arrived, in order.
    pub(crate) fn take(&mut self) -> Vec<T> {
        self.key = None;
        std::mem::take(&mut self.parts).into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_hold_whole_entries_and_fit() {
        let entries: Vec<Vec<u8>> = (0..40).map(|n| vec![1; 1000 * (n % 7 + 1)]).collect();
        let parts = split(entries.clone());
        assert!(parts.len() > 1);
        assert!(
            parts
                .iter()
                .all(|part| part.iter().map(|e| e.encoded_len()).sum::<usize>() <= CHUNK_BYTES)
        );
        assert_eq!(parts.concat(), entries);
        assert_eq!(split(Vec::<Vec<u8>>::new()).len(), 1);
    }

    #[test]
    fn an_assembly_is_complete_once_and_in_order() {
        let mut assembly = Assembly::default();
        assert_eq!(assembly.add(1, 1, 2, "b"), None);
        assert_eq!(assembly.add(1, 1, 2, "b"), None);
        assert_eq!(assembly.add(1, 0, 2, "a"), Some(vec!["a", "b"]));
        assert_eq!(assembly.add(1, 0, 2, "a"), None);
        assert_eq!(
            assembly.add(2, 1, 2, "y"),
            None,
            "the first part of another message does not count"
        );
        assert_eq!(
            assembly.add(2, 7, 2, "z"),
            None,
            "a part that cannot be is dropped"
        );
        assert_eq!(assembly.add(3, 0, 0, "whole"), Some(vec!["whole"]));
    }
}
