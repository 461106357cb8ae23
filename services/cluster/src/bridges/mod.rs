//! The bridges that are attached: what workers say comes in through any of them, what they are told leaves through the
//! one by which they were heard last.

mod attach;
mod join;
mod passes;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

pub use attach::Bridge;
use edgeio_domain::ids::ChildId;
use edgeio_proto::{
    cluster::v1::{AttachResponse, WorkerDown, attach_response::Message},
    link::v1,
};
use edgeio_tier::loops::Outlet;
use tokio::sync::mpsc;
use tonic::Status;
use tracing::debug;

/// Messages that may wait for one bridge. It serves all workers; a burst of assignments is some thousands of messages.
const QUEUE: usize = 8192;

type Sender = mpsc::Sender<Result<AttachResponse, Status>>;
type WeakSender = mpsc::WeakSender<Result<AttachResponse, Status>>;

/// The bridges that are attached.
#[derive(Clone, Default)]
pub struct Bridges(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    bridges: BTreeMap<u64, Attached>,
    heard_by: BTreeMap<ChildId, u64>,
}

struct Attached {
    sender: Sender,
    /// It reaches the broker.
    connected: bool,
}

impl Bridges {
    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn add(&self, number: u64) -> mpsc::Receiver<Result<AttachResponse, Status>> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        self.with(|state| {
            state.bridges.insert(
                number,
                Attached {
                    sender,
                    connected: true,
                },
            )
        });
        receiver
    }

    fn sender(&self, number: u64) -> Option<WeakSender> {
        self.with(|state| Some(state.bridges.get(&number)?.sender.downgrade()))
    }

    fn remove(&self, number: u64) {
        self.with(|state| {
            state.bridges.remove(&number);
            state.heard_by.retain(|_, bridge| *bridge != number);
        });
    }

    fn heard(&self, worker: ChildId, number: u64) {
        self.with(|state| state.heard_by.insert(worker, number));
    }

    fn connected(&self, number: u64, connected: bool) {
        self.with(|state| {
            if let Some(bridge) = state.bridges.get_mut(&number) {
                bridge.connected = connected;
            }
        });
    }

    /// How many bridges are attached.
    #[must_use]
    pub fn count(&self) -> usize {
        self.with(|state| state.bridges.len())
    }
}

impl Outlet for Bridges {
    fn send(&self, child: ChildId, message: v1::ParentMessage) {
        let sender = self.with(|state| {
            let heard = state
                .heard_by
                .get(&child)
                .and_then(|number| state.bridges.get(number));
            let any = || state.bridges.values().find(|bridge| bridge.connected);
            heard
                .filter(|bridge| bridge.connected)
                .or_else(any)
                .map(|bridge| bridge.sender.clone())
        });
        let down = WorkerDown {
            worker_id: child.to_string(),
            message: Some(message),
        };
        let response = AttachResponse {
            message: Some(Message::Worker(down)),
        };
        if sender.is_none_or(|sender| sender.try_send(Ok(response)).is_err()) {
            debug!(worker = %child, "no bridge takes the message now, it will be sent again");
        }
    }
}
