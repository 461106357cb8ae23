//! Which calls are open, so that a stop can name what it waits for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

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
pub struct InFlight(Arc<watch::Sender<BTreeMap<String, usize>>>);

impl InFlight {
    /// The open calls by method.
    #[must_use]
    pub fn open(&self) -> Vec<OpenCall> {
        let calls = self.0.borrow();
        let open = |(method, count): (&String, &usize)| OpenCall {
            method: method.clone(),
            count: *count,
        };
        calls.iter().map(open).collect()
    }

    /// Ends when no call has been open for `spell`.
    pub(super) async fn idle_for(&self, spell: Duration) {
        let mut calls = self.0.subscribe();
        loop {
            // Neither look can fail: `self` holds the sender.
            let _ = calls.wait_for(BTreeMap::is_empty).await;
            let busy = calls.wait_for(|calls| !calls.is_empty());
            if tokio::time::timeout(spell, busy).await.is_err() {
                return;
            }
        }
    }

    /// Counts a call until the ticket is dropped.
    pub(super) fn enter(&self, method: &str) -> Ticket {
        self.0
            .send_modify(|calls| *calls.entry(method.to_owned()).or_default() += 1);
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
        self.calls.0.send_modify(|calls| {
            if let Some(count) = calls.get_mut(&self.method) {
                *count -= 1;
                // Methods are the caller's words: keep none that is not open, or they pile up.
                if *count == 0 {
                    calls.remove(&self.method);
                }
            }
        });
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
