//! Which calls are open, so that a stop can name what it waits for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Open calls of one method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenCall {
    /// Such as `/edgeio.api.v1.ApplicationService/Watch`.
    pub method: String,
    /// How many.
    pub count: usize,
}

/// The open calls of a server. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct InFlight(Arc<Mutex<BTreeMap<String, usize>>>);

impl InFlight {
    /// The open calls by method.
    #[must_use]
    pub fn open(&self) -> Vec<OpenCall> {
        let calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        calls
            .iter()
            .map(|(method, count)| OpenCall {
                method: method.clone(),
                count: *count,
            })
            .collect()
    }

    /// Counts a call until the ticket is dropped.
    pub(super) fn enter(&self, method: &str) -> Ticket {
        let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *calls.entry(method.to_owned()).or_default() += 1;
        Ticket {
            calls: self.clone(),
            method: method.to_owned(),
        }
    }
}

#[derive(Debug)]
pub(super) struct Ticket {
    calls: InFlight,
    method: String,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut calls = self.calls.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = calls.get_mut(&self.method) {
            *count -= 1;
            // Methods are the caller's words: keep none that is not open, or they pile up.
            if *count == 0 {
                calls.remove(&self.method);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_is_open_and_forgets_what_is_not() {
        let calls = InFlight::default();
        let first = calls.enter("/a/B");
        let second = calls.enter("/a/B");
        assert_eq!(
            calls.open(),
            [OpenCall {
                method: "/a/B".to_owned(),
                count: 2
            }]
        );
        drop((first, second));
        assert!(calls.open().is_empty());
    }
}
