//! The root's end of the link: clusters register and attach here.

mod attach;
mod register;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

pub use attach::ClusterLink;
use edgeio_domain::ids::ChildId;
use edgeio_proto::{link::v1, root::v1::AttachResponse};
use edgeio_tier::loops::Outlet;
use tokio::sync::mpsc;
use tonic::Status;
use tracing::debug;

/// Messages that may wait for one cluster. A cluster that takes none of them for so long gets them again later.
const QUEUE: usize = 256;

/// The streams of the clusters that are attached, the newest one each.
#[derive(Clone, Default)]
pub struct Streams(Arc<Mutex<BTreeMap<ChildId, Stream>>>);

struct Stream {
    number: u64,
    sender: mpsc::Sender<Result<AttachResponse, Status>>,
}

impl Streams {
    /// Adds a stream; an older one of the same cluster gets nothing from now on.
    fn add(&self, child: ChildId, number: u64) -> mpsc::Receiver<Result<AttachResponse, Status>> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(child, Stream { number, sender });
        receiver
    }

    /// Says why this stream is over, unless a newer one took its place.
    fn end(&self, child: ChildId, number: u64, why: Status) {
        let streams = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let stream = streams.get(&child).filter(|s| s.number == number);
        if stream.is_some_and(|stream| stream.sender.try_send(Err(why)).is_err()) {
            debug!(%child, "stream takes nothing now, it ends without a word");
        }
    }

    /// Removes a stream, unless a newer one took its place.
    fn remove(&self, child: ChildId, number: u64) {
        let mut streams = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if streams
            .get(&child)
            .is_some_and(|stream| stream.number == number)
        {
            streams.remove(&child);
        }
    }
}

impl Outlet for Streams {
    fn send(&self, child: ChildId, message: v1::ParentMessage) {
        let streams = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(stream) = streams.get(&child) else {
            return;
        };
        if stream
            .sender
            .try_send(Ok(AttachResponse {
                message: Some(message),
            }))
            .is_err()
        {
            debug!(%child, "stream takes nothing now, message will be sent again");
        }
    }
}
