//! NATS by itself: one message to a subscriber, and a request with its answer, over connections of their own.

use std::{path::Path, time::Instant};

use anyhow::{Context, Result};
use async_nats::{Client, Subscriber};
use futures::StreamExt;
use tokio::task::JoinHandle;

use crate::{
    child::{Child, free_port, loopback},
    report::Row,
    stats::Series,
};

/// Messages in a round.
const MESSAGES: usize = 2000;
/// Bytes of a message: about a status report of one instance.
const SIZE: usize = 256;

pub(crate) struct Bus {
    _server: Child,
    publisher: Client,
    subscriber: Subscriber,
    responder: JoinHandle<()>,
    one_way: Series,
    request: Series,
}

impl Bus {
    pub(crate) async fn start(dir: &Path) -> Result<Self> {
        let port = free_port()?;
        let mut server = Child::start(
            "nats-server",
            Path::new("nats-server"),
            ["--addr", "127.0.0.1", "--port", &port.to_string()],
            &[],
            dir,
        )?;
        server.wait_for_port(loopback(port))?;
        let connect = || async move {
            let url = format!("nats://127.0.0.1:{port}");
            async_nats::connect(url).await.context("connect to NATS")
        };
        let (publisher, receiver, answerer) =
            (connect().await?, connect().await?, connect().await?);
        let subscriber = receiver.subscribe("floor.one").await.context("subscribe")?;
        let mut requests = answerer.subscribe("floor.ask").await.context("subscribe")?;
        // The server knows of a subscription once it has answered.
        receiver.flush().await.context("flush")?;
        answerer.flush().await.context("flush")?;
        let responder = tokio::spawn(async move {
            while let Some(message) = requests.next().await {
                if let Some(reply) = message.reply
                    && answerer.publish(reply, message.payload).await.is_err()
                {
                    return;
                }
            }
        });
        Ok(Self {
            _server: server,
            publisher,
            subscriber,
            responder,
            one_way: Series::default(),
            request: Series::default(),
        })
    }

    pub(crate) async fn round(&mut self) -> Result<()> {
        let payload = bytes::Bytes::from_static(&[0x5a; SIZE]);
        self.one_way.begin();
        for _ in 0..MESSAGES {
            let start = Instant::now();
            self.publisher
                .publish("floor.one", payload.clone())
                .await
                .context("publish")?;
            self.subscriber
                .next()
                .await
                .context("the subscription ended")?;
            self.one_way.add(start.elapsed().as_secs_f64() * 1e6);
        }
        self.request.begin();
        for _ in 0..MESSAGES {
            let start = Instant::now();
            self.publisher
                .request("floor.ask", payload.clone())
                .await
                .context("request")?;
            self.request.add(start.elapsed().as_secs_f64() * 1e6);
        }
        Ok(())
    }

    pub(crate) fn rows(&self) -> Vec<Row> {
        vec![
            Row::new(
                "floors",
                "NATS publish to receipt, 256 B",
                "µs",
                &self.one_way,
            ),
            Row::new(
                "floors",
                "NATS request and reply, 256 B",
                "µs",
                &self.request,
            ),
        ]
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        self.responder.abort();
    }
}
