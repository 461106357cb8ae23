//! Bound sockets, and connections that can be cut.
//!
//! tonic spawns a task a connection and offers no way to end one: a handler that hangs would keep
//! its task after the server's future is gone. A connection here fails its next read once the cut
//! is fired, and with the connection hyper drops the handlers that ran on it.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tonic::transport::server::{Connected, TcpConnectInfo, TcpIncoming};

use crate::shutdown::Shutdown;

/// Why a socket could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("listen on `{address}`")]
pub struct BindError {
    /// The wanted address.
    pub address: SocketAddr,
    /// The system's answer.
    #[source]
    pub source: io::Error,
}

/// A bound socket. Bound before anything is served, so that its address is known (port 0) and a
/// taken port ends the start with a clear error.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Binds `address`; port 0 takes any free port.
    ///
    /// # Errors
    /// When the address is taken or not ours.
    pub async fn bind(address: SocketAddr) -> Result<Self, BindError> {
        let failed = |source| BindError { address, source };
        let socket = TcpListener::bind(address).await.map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        Ok(Self { socket, address })
    }

    /// The bound address, with the real port.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

/// The accepted connections of a listener.
pub(super) struct Incoming {
    accepted: TcpIncoming,
    cut: Shutdown,
}

impl Incoming {
    pub(super) fn new(listener: Listener, cut: Shutdown) -> Self {
        // Small messages must not wait for the acknowledgement of the one before.
        let accepted = TcpIncoming::from(listener.socket).with_nodelay(Some(true));
        Self { accepted, cut }
    }
}

impl Stream for Incoming {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let accepted = Pin::new(&mut self.accepted).poll_next(context);
        accepted.map_ok(|socket| Connection {
            socket,
            cut: Box::pin(self.cut.wait()),
        })
    }
}

/// A connection that ends when the cut is fired.
pub(super) struct Connection {
    socket: TcpStream,
    cut: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.socket.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // hyper always has a read pending, so this is where the cut wakes the connection's task.
        if self.cut.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut self.socket).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}
