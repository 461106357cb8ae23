//! The connection to containerd: one lazy channel over its Unix socket, and the metadata that every call carries.

use std::{path::PathBuf, sync::OnceLock, time::Duration};

use containerd_client::{
    services::v1::{
        containers_client::ContainersClient, content_client::ContentClient,
        diff_client::DiffClient, events_client::EventsClient, images_client::ImagesClient,
        leases_client::LeasesClient, namespaces_client::NamespacesClient,
        snapshots::snapshots_client::SnapshotsClient, tasks_client::TasksClient,
        version_client::VersionClient,
    },
    tonic::{
        Request,
        metadata::{Ascii, MetadataValue},
        transport::{Channel, Endpoint},
    },
};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tower::service_fn;

/// The containerd namespace that holds all that workers start. Other users of the engine do not see it, and we not theirs.
pub(super) const NAMESPACE: &str = "edgeio";

/// The snapshotter that every containerd on Linux has.
pub(super) const SNAPSHOTTER: &str = "overlayfs";

/// The largest answer that is read: a list of some thousand containers with their specs.
const ANSWER_MAX: usize = 64 << 20;

/// The engine at one socket.
pub(super) struct Engine {
    pub(super) socket: PathBuf,
    channel: OnceLock<Channel>,
}

impl Engine {
    pub(super) fn new(socket: PathBuf) -> Self {
        Self {
            socket,
            channel: OnceLock::new(),
        }
    }

    /// A channel that connects when it is used and again whenever the engine is back.
    fn channel(&self) -> Channel {
        let make = || {
            let socket = self.socket.clone();
            let connect = service_fn(move |_| {
                let socket = socket.clone();
                async move { UnixStream::connect(socket).await.map(TokioIo::new) }
            });
            // The address is never looked at: the connector knows the socket.
            Endpoint::from_static("http://containerd")
                .connect_timeout(Duration::from_secs(5))
                .connect_with_connector_lazy(connect)
        };
        self.channel.get_or_init(make).clone()
    }

    pub(super) fn version(&self) -> VersionClient<Channel> {
        VersionClient::new(self.channel())
    }

    pub(super) fn namespaces(&self) -> NamespacesClient<Channel> {
        NamespacesClient::new(self.channel())
    }

    pub(super) fn containers(&self) -> ContainersClient<Channel> {
        ContainersClient::new(self.channel()).max_decoding_message_size(ANSWER_MAX)
    }

    pub(super) fn tasks(&self) -> TasksClient<Channel> {
        TasksClient::new(self.channel()).max_decoding_message_size(ANSWER_MAX)
    }

    pub(super) fn images(&self) -> ImagesClient<Channel> {
        ImagesClient::new(self.channel())
    }

    pub(super) fn content(&self) -> ContentClient<Channel> {
        ContentClient::new(self.channel()).max_decoding_message_size(ANSWER_MAX)
    }

    pub(super) fn snapshots(&self) -> SnapshotsClient<Channel> {
        SnapshotsClient::new(self.channel())
    }

    pub(super) fn diff(&self) -> DiffClient<Channel> {
        DiffClient::new(self.channel())
    }

    pub(super) fn leases(&self) -> LeasesClient<Channel> {
        LeasesClient::new(self.channel())
    }

    pub(super) fn events(&self) -> EventsClient<Channel> {
        EventsClient::new(self.channel())
    }
}

/// A call in our namespace.
pub(super) fn call<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    let namespace = MetadataValue::from_static(NAMESPACE);
    request
        .metadata_mut()
        .insert("containerd-namespace", namespace);
    request
}

/// Keeps what is written under it from the engine's garbage collector.
#[derive(Clone)]
pub(super) struct Lease(pub(super) MetadataValue<Ascii>);

impl Lease {
    /// A call in our namespace under this lease.
    pub(super) fn call<T>(&self, message: T) -> Request<T> {
        let mut request = call(message);
        request
            .metadata_mut()
            .insert("containerd-lease", self.0.clone());
        request
    }
}
