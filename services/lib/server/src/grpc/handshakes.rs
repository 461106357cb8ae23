//! TLS handshakes of connections that were just accepted, each in a task of its own.
//!
//! Whoever is slow, silent or speaks something else keeps only its own task, for a bounded time; and one address may have
//! only so many at once, so that nobody fills the whole room.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use rustls::ServerConfig;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// How long a handshake may take: two lost packets on a bad mobile link still pass.
const PATIENCE: Duration = Duration::from_secs(10);
/// Handshakes at once. A task and two buffers each, some 20 KiB: 80 MiB at worst.
const AT_ONCE: usize = 4096;
/// Of one address: a site with hundreds of machines behind one NAT comes back at once after a power cut.
const OF_ONE_ADDRESS: usize = 512;

/// How long a refused caller may go on before its connection is closed, and how much it may say.
const FAREWELL: Duration = Duration::from_secs(1);
const FAREWELL_BYTES: u64 = 64 * 1024;

/// Lets the refusal be read: closing a connection with words unread resets it, and the caller sees no reason.
async fn farewell(socket: &mut TcpStream) {
    if socket.shutdown().await.is_ok() {
        let mut rest = socket.take(FAREWELL_BYTES);
        // Whatever it says, and however it ends.
        let _ = tokio::io::copy(&mut rest, &mut tokio::io::sink()).await;
    }
}

type Finished = (Option<IpAddr>, Option<Box<TlsStream<TcpStream>>>);

/// Those that are under way.
pub(super) struct Handshakes {
    acceptor: TlsAcceptor,
    tasks: JoinSet<Finished>,
    by_address: HashMap<IpAddr, usize>,
}

impl Handshakes {
    pub(super) fn new(config: Arc<ServerConfig>) -> Self {
        Self {
            acceptor: TlsAcceptor::from(config),
            tasks: JoinSet::new(),
            by_address: HashMap::new(),
        }
    }

    /// Whether another one may begin.
    pub(super) fn has_room(&self) -> bool {
        self.tasks.len() < AT_ONCE
    }

    /// Begins one; an address that has too many is hung up on.
    pub(super) fn begin(&mut self, socket: TcpStream) {
        let peer: Option<SocketAddr> = socket.peer_addr().ok();
        let address = peer.map(|peer| peer.ip().to_canonical());
        if let Some(address) = address {
            let count = self.by_address.entry(address).or_default();
            if *count >= OF_ONE_ADDRESS {
                tracing::debug!(%address, "too many handshakes of one address");
                return;
            }
            *count += 1;
        }
        let accepting = self.acceptor.accept(socket).into_fallible();
        self.tasks.spawn(async move {
            let stream = match timeout(PATIENCE, accepting).await {
                Ok(Ok(stream)) => Some(Box::new(stream)),
                Ok(Err((error, mut socket))) => {
                    // Everyday life on an open port: scanners, plain calls, clients that know another authority.
                    tracing::debug!(peer = peer.map(tracing::field::display), %error, "handshake failed");
                    let _ = timeout(FAREWELL, farewell(&mut socket)).await;
                    None
                }
                Err(_elapsed) => {
                    tracing::debug!(peer = peer.map(tracing::field::display), "handshake took too long");
                    None
                }
            };
            (address, stream)
        });
    }

    /// The next connection that is ready; pending without one, also when there is nothing to wait for.
    pub(super) fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Box<TlsStream<TcpStream>>> {
        loop {
            match self.tasks.poll_join_next(context) {
                Poll::Ready(Some(Ok((address, stream)))) => {
                    self.ended(address);
                    if let Some(stream) = stream {
                        return Poll::Ready(stream);
                    }
                }
                // A task that panicked keeps its place of its address; the library never did.
                Poll::Ready(Some(Err(error))) => {
                    tracing::error!(%error, "a handshake's task failed");
                }
                Poll::Ready(None) | Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn ended(&mut self, address: Option<IpAddr>) {
        let Some(address) = address else { return };
        if let Some(count) = self.by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&address);
            }
        }
    }
}
