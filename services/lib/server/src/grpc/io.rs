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
use std::time::Duration;

use futures::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::server::TlsStream;
use tonic::transport::server::{Connected, TcpIncoming};

use super::handshakes::Handshakes;
use super::opening::Opening;
use crate::shutdown::{Shutdown, Trigger};
use crate::tls::Tls;

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
    tls: Option<Tls>,
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
        Ok(Self {
            socket,
            address,
            tls: None,
        })
    }

    /// Speaks TLS, if there is one to speak it with; and nothing else then.
    #[must_use]
    pub fn secure(mut self, tls: Option<Tls>) -> Self {
        self.tls = tls;
        self
    }

    /// The bound address, with the real port.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether it speaks TLS.
    #[must_use]
    pub const fn is_secure(&self) -> bool {
        self.tls.is_some()
    }
}

/// The accepted connections of a listener.
pub(super) struct Incoming {
    accepted: TcpIncoming,
    handshakes: Option<Handshakes>,
    cut: Shutdown,
    opens_within: Duration,
}

impl Incoming {
    pub(super) fn new(listener: Listener, cut: Shutdown, opens_within: Duration) -> Self {
        // Small messages must not wait for the acknowledgement of the one before.
        let accepted = TcpIncoming::from(listener.socket).with_nodelay(Some(true));
        let handshakes = listener.tls.map(|tls| Handshakes::new(tls.config()));
        Self {
            accepted,
            handshakes,
            cut,
            opens_within,
        }
    }

    fn connection(&self, socket: Socket) -> (Connection, Life) {
        let ((old, is_old), (here, gone)) = (Shutdown::new(), Shutdown::new());
        let connection = Connection {
            socket,
            cut: Box::pin(self.cut.wait()),
            opening: Some(Opening::within(self.opens_within)),
            is_old,
            _here: here,
        };
        (connection, Life { old, gone })
    }
}

impl Stream for Incoming {
    type Item = io::Result<(Connection, Life)>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let Some(handshakes) = &mut this.handshakes else {
            let accepted = Pin::new(&mut this.accepted).poll_next(context);
            return accepted.map_ok(|socket| this.connection(Socket::Plain(socket)));
        };
        while handshakes.has_room() {
            match Pin::new(&mut this.accepted).poll_next(context) {
                Poll::Ready(Some(Ok(socket))) => handshakes.begin(socket),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => break,
            }
        }
        let ready = handshakes.poll_next(context);
        ready.map(|stream| Some(Ok(this.connection(Socket::Tls(stream)))))
    }
}

/// What a connection's bytes go through.
enum Socket {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// The other end of a connection's life.
pub(super) struct Life {
    /// Tells its calls that it is old.
    pub(super) old: Trigger,
    /// Fired when it has ended.
    pub(super) gone: Shutdown,
}

/// Where a call came from, in its extensions.
#[derive(Clone)]
pub(super) struct Origin {
    pub(super) address: Option<SocketAddr>,
    /// Fired when the connection is old.
    pub(super) is_old: Shutdown,
}

/// A connection that ends when the cut is fired.
pub(super) struct Connection {
    socket: Socket,
    cut: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// Until its first words have come.
    opening: Option<Opening>,
    is_old: Shutdown,
    /// Dropped with it, which fires `Life::gone`.
    _here: Trigger,
}

impl Connected for Connection {
    type ConnectInfo = Origin;

    fn connect_info(&self) -> Origin {
        let socket = match &self.socket {
            Socket::Plain(socket) => socket,
            Socket::Tls(stream) => stream.get_ref().0,
        };
        Origin {
            address: socket.peer_addr().ok(),
            is_old: self.is_old.clone(),
        }
    }
}

/// Does the same to whichever stream it is.
macro_rules! either {
    ($connection:expr, $stream:ident => $do:expr) => {
        match &mut $connection.socket {
            Socket::Plain($stream) => {
                let $stream = Pin::new($stream);
                $do
            }
            Socket::Tls($stream) => {
                let $stream = Pin::new(&mut **$stream);
                $do
            }
        }
    };
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
        let Some(opening) = &mut self.opening else {
            return either!(self, stream => stream.poll_read(context, buffer));
        };
        if opening.is_over(context) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let before = buffer.filled().len();
        let read = either!(self, stream => stream.poll_read(context, buffer));
        let came = buffer.filled().len().saturating_sub(before);
        if self
            .opening
            .as_mut()
            .is_some_and(|opening| opening.heard(came))
        {
            self.opening = None;
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        either!(self, stream => stream.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, stream => stream.poll_write_vectored(context, bytes))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.socket {
            Socket::Plain(socket) => socket.is_write_vectored(),
            Socket::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_flush(context))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_shutdown(context))
    }
}
