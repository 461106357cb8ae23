//! What waits for the cluster. It outlives a session, so what was not sent on one stream goes on the next.
//!
//! Bounded: when it is full nothing more is taken from the bus, whose own buffer then fills. What the transport
//! had taken when a stream broke is lost; the cluster sees that as a gap.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use futures::Stream;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::wire::Up;

/// Messages that may wait here. Small, as the bus's buffer waits before it: this only keeps the stream busy while
/// the relay takes the next batch (64 MiB if each were of the largest size).
const CAPACITY: usize = 1024;

/// The queue, from the session's side.
pub(super) struct Queue {
    sender: mpsc::Sender<Up>,
    receiver: Arc<Mutex<mpsc::Receiver<Up>>>,
    cluster: Option<uuid::Uuid>,
}

impl Queue {
    pub(super) fn new() -> Self {
        let (sender, receiver) = mpsc::channel(CAPACITY);
        Self {
            sender,
            receiver: Arc::new(Mutex::new(receiver)),
            cluster: None,
        }
    }

    pub(super) fn sender(&self) -> mpsc::Sender<Up> {
        self.sender.clone()
    }

    /// Says whose messages the queue holds from now on. Those of another cluster are thrown away, and counted.
    pub(super) fn belong_to(&mut self, cluster: uuid::Uuid) -> u64 {
        let mut foreign = 0;
        if self
            .cluster
            .replace(cluster)
            .is_some_and(|before| before != cluster)
        {
            let mut receiver = self.receiver.lock().unwrap_or_else(PoisonError::into_inner);
            while receiver.try_recv().is_ok() {
                foreign += 1;
            }
        }
        foreign
    }

    /// The messages, from when `welcomed` is cancelled until `over` is: before the welcome it is not known which
    /// cluster this is.
    pub(super) fn outbound(
        &self,
        welcomed: CancellationToken,
        over: CancellationToken,
    ) -> Outbound {
        Outbound {
            receiver: Arc::clone(&self.receiver),
            welcomed: Some(Box::pin(welcomed.cancelled_owned())),
            over: Box::pin(over.cancelled_owned()),
        }
    }
}

/// The request stream of one session.
pub(super) struct Outbound {
    receiver: Arc<Mutex<mpsc::Receiver<Up>>>,
    welcomed: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    over: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Stream for Outbound {
    type Item = Up;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Up>> {
        // First, so that a stream of a session that is over takes nothing from the next one's.
        if self.over.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        if let Some(welcomed) = &mut self.welcomed {
            ready!(welcomed.as_mut().poll(cx));
            self.welcomed = None;
        }
        self.receiver
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .poll_recv(cx)
    }
}

#[cfg(test)]
mod tests {
    use edgeio_proto::cluster::v1::BrokerState;
    use futures::{FutureExt as _, StreamExt as _};

    use super::super::wire::UpKind;
    use super::*;

    fn message(connected: bool) -> Up {
        UpKind::Broker(BrokerState { connected }).into()
    }

    #[test]
    fn what_one_session_did_not_send_the_next_one_does() {
        let (queue, welcomed, over) = (
            Queue::new(),
            CancellationToken::new(),
            CancellationToken::new(),
        );
        let mut first = queue.outbound(welcomed.clone(), over.clone());
        for connected in [true, false] {
            queue.sender().try_send(message(connected)).expect("room");
        }
        assert_eq!(first.next().now_or_never(), None, "not welcomed");
        welcomed.cancel();
        assert_eq!(first.next().now_or_never(), Some(Some(message(true))));
        over.cancel();
        assert_eq!(first.next().now_or_never(), Some(None));
        let mut second = queue.outbound(welcomed, CancellationToken::new());
        assert_eq!(second.next().now_or_never(), Some(Some(message(false))));
        assert_eq!(second.next().now_or_never(), None);
    }

    #[test]
    fn another_cluster_gets_nothing_of_the_first_ones() {
        let mut queue = Queue::new();
        let (one, two) = (uuid::Uuid::from_u128(1), uuid::Uuid::from_u128(2));
        queue.sender().try_send(message(true)).expect("room");
        assert_eq!((queue.belong_to(one), queue.belong_to(one)), (0, 0));
        assert_eq!(queue.belong_to(two), 1);
        let welcomed = CancellationToken::new();
        welcomed.cancel();
        let mut outbound = queue.outbound(welcomed, CancellationToken::new());
        assert_eq!(outbound.next().now_or_never(), None);
    }
}
