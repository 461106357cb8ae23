//! A connection's bytes, with or without TLS.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

/// How a TLS server refuses bytes that are none of TLS: an alert, of version 3.x. HTTP/2 begins with a length, whose first
/// byte is zero.
const ALERT: [u8; 2] = [0x15, 0x03];

/// What a connection's bytes go through.
pub(super) enum Stream {
    Plain {
        socket: TcpStream,
        /// Whether something was heard that is no TLS.
        heard: bool,
    },
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    pub(super) fn plain(socket: TcpStream) -> Self {
        Self::Plain {
            socket,
            heard: false,
        }
    }

    pub(super) fn tls(stream: TlsStream<TcpStream>) -> Self {
        Self::Tls(Box::new(stream))
    }
}

impl Stream {
    /// The result of a write. A server that speaks TLS may have refused and closed before all was written: its words say more than a
    /// broken pipe.
    fn told(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let (
            Poll::Ready(Err(_)),
            Self::Plain {
                socket,
                heard: false,
            },
        ) = (&written, self)
        {
            let mut first = [0; ALERT.len()];
            if matches!(socket.try_read(&mut first), Ok(2)) && first == ALERT {
                return Poll::Ready(Err(io::Error::other(SpeaksTls)));
            }
        }
        written
    }
}

/// The server speaks TLS, and was called without.
#[derive(Debug, thiserror::Error)]
#[error("it speaks TLS: write https:// before the address")]
struct SpeaksTls;

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Tls(stream) => Pin::new(&mut **stream).poll_read(context, buffer),
            Self::Plain { socket, heard } => {
                let before = buffer.filled().len();
                std::task::ready!(Pin::new(socket).poll_read(context, buffer))?;
                let new = buffer.filled().get(before..).unwrap_or_default();
                if !*heard && !new.is_empty() {
                    *heard = true;
                    if new.starts_with(&ALERT) {
                        return Poll::Ready(Err(io::Error::other(SpeaksTls)));
                    }
                }
                Poll::Ready(Ok(()))
            }
        }
    }
}

/// Does the same to whichever stream it is.
macro_rules! either {
    ($this:expr, $stream:ident => $do:expr) => {
        match &mut *$this {
            Self::Plain { socket, .. } => {
                let $stream = Pin::new(socket);
                $do
            }
            Self::Tls(stream) => {
                let $stream = Pin::new(&mut **stream);
                $do
            }
        }
    };
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = either!(self, stream => stream.poll_write(context, bytes));
        self.told(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = either!(self, stream => stream.poll_write_vectored(context, bytes));
        self.told(written)
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain { socket, .. } => socket.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_flush(context))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_shutdown(context))
    }
}
