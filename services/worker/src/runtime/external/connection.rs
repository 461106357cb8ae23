//! The way to a driver: a Unix socket that only its owner may use, whom its driver is asked before anything else, and another
//! connection when that one is over.
//!
//! One connection is one session, and its channel never connects again by itself: behind the same path another driver may listen by then,
//! with another version. Calls mean the same when they are repeated, so one that is cut off with an old session is made once more
//! with a new one.

use std::{
    error::Error as _,
    fs, io,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use edgeio_proto::runtime::v1::{
    DescribeRequest, DescribeResponse, driver_service_client::DriverServiceClient,
};
use hyper_util::rt::TokioIo;
use tokio::{net::UnixStream, sync::Mutex, time::timeout};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};
use tower::service_fn;

/// Names the version of the protocol that a call is made in.
pub(super) const PROTOCOL_KEY: &str = "edgeio-driver-protocol";
/// The versions that this worker speaks, and [`super::serve`].
pub(super) const PROTOCOLS: std::ops::RangeInclusive<u32> = 1..=1;

/// How long a driver may take to say who it is. It asks nobody for that.
const DESCRIBE_WITHIN: Duration = Duration::from_secs(5);
/// How often an unanswered driver is asked for a sign of life, and how long it may take: a stopped process is noticed in half a minute.
const ALIVE_EVERY: Duration = Duration::from_secs(15);
/// The largest answer that is read: ten thousand instances.
const ANSWER_MAX: usize = 16 << 20;

/// Why a driver cannot be spoken to.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("no driver listens there")]
    Away(#[source] io::Error),
    #[error("it is no socket")]
    NoSocket,
    #[error(
        "other users may write to this socket (mode {mode:04o}), and whoever speaks to a driver runs programs as it: chmod 600 it"
    )]
    Loose { mode: u32 },
    #[error("the driver runs as user {uid}: it must be root or the worker's own user, {own}")]
    Foreign { uid: u32, own: u32 },
    #[error("open a connection")]
    Transport(#[source] tonic::transport::Error),
    #[error("ask the driver who it is")]
    Describe(#[source] Status),
    #[error("the driver did not say within {DESCRIBE_WITHIN:?} who it is")]
    Slow,
    #[error(
        "the driver {name} {version} speaks versions {min} to {max} of the protocol, this worker {} to {}: upgrade the older one",
        PROTOCOLS.start(), PROTOCOLS.end()
    )]
    Protocol {
        name: String,
        version: String,
        min: u32,
        max: u32,
    },
}

/// Says in each call which version of the protocol it is made in.
#[derive(Clone)]
pub(super) struct Speaks(MetadataValue<Ascii>);

impl Interceptor for Speaks {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert(PROTOCOL_KEY, self.0.clone());
        Ok(request)
    }
}

/// What calls are made with.
pub(super) type Client = DriverServiceClient<InterceptedService<Channel, Speaks>>;

/// One connection to a driver that has said who it is.
pub(super) struct Session {
    pub(super) client: Client,
    /// Who it is.
    pub(super) driver: DescribeResponse,
}

/// The driver at one socket.
pub(super) struct Connection {
    pub(super) socket: PathBuf,
    session: Mutex<Option<Arc<Session>>>,
}

impl Connection {
    pub(super) fn new(socket: PathBuf) -> Self {
        Self {
            socket,
            session: Mutex::new(None),
        }
    }

    /// The session that is open, or a new one. Whether it is new.
    pub(super) async fn session(&self) -> Result<(Arc<Session>, bool), ConnectError> {
        let mut open = self.session.lock().await;
        if let Some(session) = &*open {
            return Ok((session.clone(), false));
        }
        let session = Arc::new(connect(&self.socket).await?);
        *open = Some(session.clone());
        Ok((session, true))
    }

    /// Forgets a session that is over.
    pub(super) async fn forget(&self, session: &Arc<Session>) {
        let mut open = self.session.lock().await;
        if open.as_ref().is_some_and(|open| Arc::ptr_eq(open, session)) {
            *open = None;
        }
    }
}

/// Whether a failure is the connection's, and not the driver's answer.
pub(super) fn is_cut(status: &Status) -> bool {
    // What comes from the other side has a code and words, and no cause.
    status.source().is_some()
}

async fn connect(socket: &Path) -> Result<Session, ConnectError> {
    check(socket)?;
    let stream = UnixStream::connect(socket)
        .await
        .map_err(ConnectError::Away)?;
    let uid = stream.peer_cred().map_err(ConnectError::Away)?.uid();
    let own = rustix::process::geteuid().as_raw();
    if uid != 0 && uid != own {
        return Err(ConnectError::Foreign { uid, own });
    }
    let mut only = Some(stream);
    let once = service_fn(move |_| {
        let stream = only.take().map(TokioIo::new);
        std::future::ready(stream.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected)))
    });
    let channel = Endpoint::from_static("http://driver")
        .http2_keep_alive_interval(ALIVE_EVERY)
        .keep_alive_timeout(ALIVE_EVERY)
        .keep_alive_while_idle(true)
        .connect_with_connector(once)
        .await
        .map_err(ConnectError::Transport)?;
    let request = DescribeRequest {
        protocol_min: *PROTOCOLS.start(),
        protocol_max: *PROTOCOLS.end(),
    };
    let mut asking = DriverServiceClient::new(channel.clone());
    let described = timeout(DESCRIBE_WITHIN, asking.describe(request)).await;
    let driver = described
        .map_err(|_elapsed| ConnectError::Slow)?
        .map_err(ConnectError::Describe)?
        .into_inner();
    let protocol = common(&driver)?;
    tracing::info!(
        socket = %socket.display(), driver = driver.name, version = driver.version, protocol,
        "driver answers"
    );
    let client = DriverServiceClient::with_interceptor(channel, Speaks(protocol.into()));
    Ok(Session {
        client: client.max_decoding_message_size(ANSWER_MAX),
        driver,
    })
}

/// The newest version that both sides speak.
fn common(driver: &DescribeResponse) -> Result<u32, ConnectError> {
    let newest = (*PROTOCOLS.end()).min(driver.protocol_max);
    if newest >= (*PROTOCOLS.start()).max(driver.protocol_min) {
        return Ok(newest);
    }
    Err(ConnectError::Protocol {
        name: driver.name.clone(),
        version: driver.version.clone(),
        min: driver.protocol_min,
        max: driver.protocol_max,
    })
}

/// Refuses a socket that others may write to. Who listens behind it is asked of the kernel, once it is open.
fn check(socket: &Path) -> Result<(), ConnectError> {
    let found = fs::metadata(socket).map_err(ConnectError::Away)?;
    if !found.file_type().is_socket() {
        return Err(ConnectError::NoSocket);
    }
    let mode = found.mode() & 0o777;
    // To connect is to write.
    if mode & 0o022 != 0 {
        return Err(ConnectError::Loose { mode });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::{fs::PermissionsExt as _, net::UnixListener};

    use super::*;

    #[tokio::test]
    async fn a_socket_that_others_may_write_to_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("s");
        let away = Connection::new(socket.clone()).session().await;
        assert!(matches!(away, Err(ConnectError::Away(_))));
        let _listener = UnixListener::bind(&socket).unwrap();
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
        let loose = Connection::new(socket.clone()).session().await;
        let error = loose.err().unwrap();
        assert!(matches!(error, ConnectError::Loose { mode: 0o666 }));
        assert!(error.to_string().contains("(mode 0666)"), "{error}");
        let file = dir.path().join("f");
        fs::write(&file, "").unwrap();
        let file = Connection::new(file).session().await;
        assert!(matches!(file, Err(ConnectError::NoSocket)));
    }

    #[test]
    fn worker_and_driver_need_a_version_in_common() {
        let driver = |protocol_min, protocol_max| DescribeResponse {
            name: "wasm".to_owned(),
            version: "3.1".to_owned(),
            protocol_min,
            protocol_max,
            keeps_leases: false,
        };
        assert_eq!(common(&driver(1, 1)).ok(), Some(1));
        assert_eq!(common(&driver(1, 9)).ok(), Some(1));
        for (min, max) in [(2, 9), (0, 0)] {
            let text = common(&driver(min, max)).unwrap_err().to_string();
            assert!(
                text.contains("wasm 3.1") && text.contains("upgrade"),
                "{text}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_driver_that_says_nothing_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("s");
        let _listener = UnixListener::bind(&socket).unwrap();
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o600)).unwrap();
        let silent = Connection::new(socket).session().await;
        assert!(matches!(silent, Err(ConnectError::Slow)));
    }
}
