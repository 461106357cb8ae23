//! The first words of a connection must come soon. HTTP/2's own questions whether the other side lives begin only after its
//! preface: before it, a client that says nothing, or one byte an hour, would keep its connection for ever.

use std::{
    future::Future as _,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Sleep, sleep};

/// Bytes of HTTP/2's preface.
const PREFACE: usize = 24;

/// What the first words are waited for.
pub(super) struct Opening {
    missing: usize,
    until: Pin<Box<Sleep>>,
}

impl Opening {
    /// Of a connection that was just accepted.
    pub(super) fn within(patience: Duration) -> Self {
        Self {
            missing: PREFACE,
            until: Box::pin(sleep(patience)),
        }
    }

    /// Whether the time is over. Wakes the task when it is.
    pub(super) fn is_over(&mut self, context: &mut Context<'_>) -> bool {
        self.until.as_mut().poll(context) == Poll::Ready(())
    }

    /// So many bytes came; true once the preface is whole.
    pub(super) fn heard(&mut self, bytes: usize) -> bool {
        self.missing = self.missing.saturating_sub(bytes);
        self.missing == 0
    }
}
