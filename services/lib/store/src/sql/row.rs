//! Columns to values and back, with the table's name in what is said of a bad one; and how long lists meet a database.

use edgeio_domain::{
    ids::{ChildId, SpecHash},
    name::Name,
    records::{AppKey, Incarnation, Owner},
};
use uuid::Uuid;

use super::word::Word;
use crate::api::StoreError;

/// A table, for error texts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Table(pub(super) &'static str);

impl Table {
    pub(super) fn corrupt(self, what: String) -> StoreError {
        StoreError::Corrupt {
            table: self.0,
            what,
        }
    }

    pub(super) fn name(self, text: &str) -> Result<Name, StoreError> {
        Name::new(text).map_err(|error| self.corrupt(format!("name {text:?} {error}")))
    }

    pub(super) fn small(self, column: &str, number: i64) -> Result<u32, StoreError> {
        u32::try_from(number).map_err(|_| self.corrupt(format!("{column} is {number}")))
    }

    pub(super) fn hash(self, bytes: &[u8]) -> Result<SpecHash, StoreError> {
        SpecHash::from_slice(bytes)
            .ok_or_else(|| self.corrupt(format!("a hash has {} bytes", bytes.len())))
    }

    pub(super) fn word<T: Word>(self, column: &str, word: &str) -> Result<T, StoreError> {
        T::parse(word).ok_or_else(|| self.corrupt(format!("{column} is {word:?}")))
    }

    pub(super) fn owner(self, text: &str) -> Result<Owner, StoreError> {
        if text.is_empty() {
            return Ok(Owner::Root);
        }
        let id = Uuid::parse_str(text)
            .map_err(|error| self.corrupt(format!("owner {text:?}: {error}")))?;
        Ok(Owner::Cluster(ChildId(id)))
    }

    pub(super) fn key(
        self,
        namespace: &str,
        name: &str,
        owner: &str,
    ) -> Result<AppKey, StoreError> {
        Ok(AppKey {
            owner: self.owner(owner)?,
            namespace: self.name(namespace)?,
            name: self.name(name)?,
        })
    }

    pub(super) fn incarnation(
        self,
        instance: Option<Uuid>,
        worker: Option<Uuid>,
        worker_name: Option<String>,
    ) -> Result<Option<Incarnation>, StoreError> {
        match (instance, worker, worker_name) {
            (Some(instance), Some(worker), Some(worker_name)) => Ok(Some(Incarnation {
                instance: edgeio_domain::ids::AssignmentId(instance),
                worker: ChildId(worker),
                worker_name,
            })),
            (None, None, None) => Ok(None),
            _ => Err(self.corrupt("an incarnation is incomplete".to_owned())),
        }
    }
}

/// The owner as text: empty for the root, so that it sorts before all clusters as in [`Owner`]'s own order.
pub(super) fn owner_text(owner: Owner) -> String {
    match owner {
        Owner::Root => String::new(),
        Owner::Cluster(id) => id.0.hyphenated().to_string(),
    }
}

/// A limit as SQL takes it.
pub(super) fn limit(rows: u64) -> u64 {
    rows.min(i64::MAX.unsigned_abs())
}

/// Most rows in one statement. With the widest table (33 columns) this stays far under what databases bind at once
/// (SQLite 32,766, PostgreSQL 65,535); larger ones gain nothing, and each prepared statement stays in memory.
const MOST_ROWS: usize = 256;

/// Cuts a list into pieces of 256, 64, 16, 4 and 1: few pieces for any length, and at most five texts of a statement, so
/// that a connection's cache of prepared statements holds all of them and stays small.
pub(super) fn pieces<T>(mut list: &[T]) -> impl Iterator<Item = &[T]> {
    let mut size = MOST_ROWS;
    std::iter::from_fn(move || {
        if list.is_empty() {
            return None;
        }
        while size > list.len() {
            size /= 4;
        }
        let (piece, rest) = list.split_at(size);
        list = rest;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_hold_all_in_order_and_have_five_sizes() {
        for length in [0, 1, 3, 4, 5, 255, 256, 257, 1000] {
            let list: Vec<usize> = (0..length).collect();
            let cut: Vec<&[usize]> = pieces(&list).collect();
            assert_eq!(cut.concat(), list);
            assert!(
                cut.iter()
                    .all(|piece| [256, 64, 16, 4, 1].contains(&piece.len()))
            );
            assert!(cut.len() <= length / MOST_ROWS + 12, "{length}");
        }
    }

    #[test]
    fn owners_sort_as_text_as_they_do_as_values() {
        let cluster = |n| Owner::Cluster(ChildId(Uuid::from_u128(n)));
        let owners = [
            Owner::Root,
            cluster(0),
            cluster(9),
            cluster(10),
            cluster(u128::MAX),
        ];
        let texts: Vec<String> = owners.iter().map(|owner| owner_text(*owner)).collect();
        assert!(texts.is_sorted());
        for (owner, text) in owners.iter().zip(&texts) {
            assert_eq!(Table("t").owner(text).unwrap(), *owner);
        }
    }
}
