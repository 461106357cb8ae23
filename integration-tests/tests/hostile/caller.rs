//! A caller that speaks HTTP/2 well and gRPC badly.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, Request};
use tokio::net::{TcpSocket, TcpStream};

/// How long an answer may take on a busy machine. Handlers have 10 s.
const PATIENCE: Duration = Duration::from_secs(40);

/// A stream that never ends is left after this; its beginning was what mattered.
const ENOUGH: Duration = Duration::from_millis(30);

/// Hostile callers come from other addresses than the well-behaved client, as in life: all of 127/8 is this machine.
pub(crate) async fn dial(address: SocketAddr, host: u8) -> Result<TcpStream> {
    let socket = TcpSocket::new_v4().context("make a socket")?;
    socket
        .bind(SocketAddr::from((Ipv4Addr::new(127, 9, 9, host.max(1)), 0)))
        .context("take an address")?;
    tokio::time::timeout(PATIENCE, socket.connect(address))
        .await
        .context("no connection within the time")?
        .context("connect")
}

/// What a caller got.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Answer {
    /// A gRPC status.
    Grpc(u32),
    /// Only an HTTP status.
    Http(u16),
    /// The stream goes on: a Watch, or an Attach.
    Goes,
    /// The caller left first, as it meant to.
    Left,
    /// The server cut the stream or the connection, and said why in HTTP/2's words.
    Cut(String),
}

/// One bad request.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) request: Request<()>,
    pub(crate) parts: Vec<Bytes>,
    /// Whether the last part ends the stream.
    pub(crate) ends: bool,
    /// Leave without waiting for the answer.
    pub(crate) leaves: bool,
}

/// A connection, made anew when the server closes it.
pub(crate) struct Caller {
    address: SocketAddr,
    host: u8,
    sender: Option<SendRequest<Bytes>>,
}

impl Caller {
    pub(crate) fn new(address: SocketAddr, host: u8) -> Self {
        Self {
            address,
            host,
            sender: None,
        }
    }

    async fn sender(&mut self) -> Result<SendRequest<Bytes>> {
        if let Some(sender) = self.sender.take()
            && let Ok(ready) = sender.ready().await
        {
            self.sender = Some(ready.clone());
            return Ok(ready);
        }
        let socket = dial(self.address, self.host).await?;
        let (sender, connection) = h2::client::handshake(socket).await.context("shake hands")?;
        tokio::spawn(connection);
        let ready = sender.ready().await.context("a new connection")?;
        self.sender = Some(ready.clone());
        Ok(ready)
    }

    /// Calls, and says what came of it.
    pub(crate) async fn call(&mut self, call: Call) -> Result<Answer> {
        let mut sender = self.sender().await?;
        let end = call.parts.is_empty() && call.ends;
        let (response, mut body) = match sender.send_request(call.request, end) {
            Ok(sent) => sent,
            // What HTTP/2 itself does not let out.
            Err(error) => return Ok(cut(&error)),
        };
        let last = call.parts.len();
        for (number, part) in call.parts.into_iter().enumerate() {
            let end = call.ends && number + 1 == last;
            if let Err(error) = body.send_data(part, end) {
                return Ok(cut(&error));
            }
        }
        if call.leaves {
            body.send_reset(h2::Reason::CANCEL);
            return Ok(Answer::Left);
        }
        let answer = async {
            let response = match response.await {
                Ok(response) => response,
                Err(error) => return cut(&error),
            };
            let (head, mut data) = response.into_parts();
            if let Some(code) = grpc_status(&head.headers) {
                return code;
            }
            let rest = async {
                while let Some(chunk) = data.data().await {
                    match chunk {
                        Ok(chunk) => drop(data.flow_control().release_capacity(chunk.len())),
                        Err(error) => return cut(&error),
                    }
                }
                match data.trailers().await {
                    Ok(Some(trailers)) => {
                        grpc_status(&trailers).unwrap_or(Answer::Http(head.status.as_u16()))
                    }
                    Ok(None) => Answer::Http(head.status.as_u16()),
                    Err(error) => cut(&error),
                }
            };
            tokio::time::timeout(ENOUGH, rest)
                .await
                .unwrap_or(Answer::Goes)
        };
        // A stream whose caller sends nothing more and waits may rightly go unanswered.
        let patience = if call.ends { PATIENCE } else { ENOUGH };
        match tokio::time::timeout(patience, answer).await {
            Ok(answer) => Ok(answer),
            Err(_) if !call.ends => {
                body.send_reset(h2::Reason::CANCEL);
                Ok(Answer::Left)
            }
            Err(_) => bail!("no answer within {PATIENCE:?}"),
        }
    }
}

fn grpc_status(headers: &HeaderMap) -> Option<Answer> {
    let text = headers.get("grpc-status")?.to_str().ok()?;
    text.parse().ok().map(Answer::Grpc)
}

fn cut(error: &h2::Error) -> Answer {
    Answer::Cut(error.reason().map_or_else(
        || {
            if error.is_io() {
                "io".to_owned()
            } else {
                "local".to_owned()
            }
        },
        |reason| format!("{reason:?}"),
    ))
}
