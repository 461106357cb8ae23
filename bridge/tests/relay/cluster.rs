//! A cluster that remembers what bridges tell it, and can crash with its connections and come back.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use edgeio_proto::cluster::v1::bridge_service_server::{BridgeService, BridgeServiceServer};
use edgeio_proto::cluster::v1::{
    AttachRequest, AttachResponse, BridgeWelcome, JoinRequest, JoinResponse, WorkerDown,
    attach_request, attach_response,
};
use edgeio_proto::link::v1::{ChildMessage, ParentMessage};
use futures::{Stream, StreamExt as _};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream};
use tonic::{Request, Response, Status, Streaming};
use uuid::Uuid;

use crate::bed::eventually;

/// What bridges told.
#[derive(Default)]
pub(crate) struct Seen {
    /// In the order of arrival: bridge, worker, message.
    pub(crate) up: Vec<(String, String, ChildMessage)>,
    /// The last BrokerState of each bridge that is attached.
    pub(crate) brokers: HashMap<String, bool>,
    /// Every BrokerState.
    pub(crate) broker_changes: Vec<bool>,
    attached: HashMap<String, mpsc::UnboundedSender<Result<AttachResponse, Status>>>,
}

#[derive(Clone)]
struct Service {
    id: Arc<Mutex<String>>,
    seen: Arc<Mutex<Seen>>,
    reading: watch::Receiver<bool>,
}

pub(crate) struct Cluster {
    service: Service,
    pub(crate) address: SocketAddr,
    reading: watch::Sender<bool>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Cluster {
    pub(crate) async fn start(id: Uuid) -> Self {
        let (reading, is_reading) = watch::channel(true);
        let service = Service {
            id: Arc::new(Mutex::new(id.to_string())),
            seen: Arc::default(),
            reading: is_reading,
        };
        // A port that can be taken again after a crash: below those that outgoing connections get.
        let mut cluster = Self {
            service,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            reading,
            runtime: None,
        };
        for _ in 0..100 {
            cluster
                .address
                .set_port(10_240 + (Uuid::new_v4().as_u128() % 22_000) as u16);
            if cluster.try_serve().await.is_ok() {
                return cluster;
            }
        }
        panic!("no free port");
    }

    /// A crash: every connection is cut.
    pub(crate) fn crash(&mut self) {
        self.runtime.take().expect("it runs").shutdown_background();
        let mut seen = self.seen();
        seen.attached.clear();
        seen.brokers.clear();
    }

    /// Back on the same address.
    pub(crate) async fn come_back(&mut self) {
        let mut tries = 0;
        while let Err(error) = self.try_serve().await {
            tries += 1;
            assert!(tries < 500, "the port is not free again: {error}");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    async fn try_serve(&mut self) -> std::io::Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let (address, service) = (self.address, self.service.clone());
        let listener = runtime
            .spawn(async move { tokio::net::TcpListener::bind(address).await })
            .await
            .unwrap();
        match listener {
            Ok(listener) => {
                runtime.spawn(
                    tonic::transport::Server::builder()
                        .add_service(BridgeServiceServer::new(service))
                        .serve_with_incoming(TcpListenerStream::new(listener)),
                );
                self.runtime = Some(runtime);
                Ok(())
            }
            Err(error) => {
                runtime.shutdown_background();
                Err(error)
            }
        }
    }

    /// Stops or starts reading what bridges send.
    pub(crate) fn read(&self, reading: bool) {
        self.reading.send_replace(reading);
    }

    /// Calls itself by another id from the next attach on.
    pub(crate) fn rename(&self, id: &str) {
        id.clone_into(&mut self.service.id.lock().unwrap());
    }

    pub(crate) fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.service.seen.lock().unwrap()
    }

    /// Through any bridge.
    pub(crate) fn tell(&self, worker: &str, message: Option<ParentMessage>) {
        let down = WorkerDown {
            worker_id: worker.to_owned(),
            message,
        };
        let response = AttachResponse {
            message: Some(attach_response::Message::Worker(down)),
        };
        let seen = self.seen();
        let bridge = seen.attached.values().next().expect("a bridge");
        bridge.send(Ok(response)).expect("it is attached");
    }

    /// Waits until so many bridges are attached and have said that the broker is or is not reached.
    pub(crate) async fn bridges(&self, count: usize, connected: bool) {
        eventually(
            &format!("{count} bridges with the broker reached: {connected}"),
            || {
                let brokers = &self.seen().brokers;
                let there = brokers
                    .values()
                    .filter(|state| **state == connected)
                    .count();
                if there == count && brokers.len() == count {
                    Ok(())
                } else {
                    Err(format!("{brokers:?}"))
                }
            },
        )
        .await;
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Never block: this drops within an async test.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[tonic::async_trait]
impl BridgeService for Service {
    async fn join(&self, _: Request<JoinRequest>) -> Result<Response<JoinResponse>, Status> {
        Err(Status::permission_denied("nobody joins here"))
    }

    type AttachStream = Pin<Box<dyn Stream<Item = Result<AttachResponse, Status>> + Send>>;

    async fn attach(
        &self,
        request: Request<Streaming<AttachRequest>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let mut inbound = request.into_inner();
        let first = inbound.message().await?.and_then(|first| first.message);
        let Some(attach_request::Message::Hello(hello)) = first else {
            return Err(Status::invalid_argument(format!(
                "a hello comes first, not {first:?}"
            )));
        };
        let (sender, outbound) = mpsc::unbounded_channel();
        let welcome = BridgeWelcome {
            cluster_id: self.id.lock().unwrap().clone(),
            pass: None,
        };
        let welcome = AttachResponse {
            message: Some(attach_response::Message::Welcome(welcome)),
        };
        sender.send(Ok(welcome)).unwrap();
        self.seen
            .lock()
            .unwrap()
            .attached
            .insert(hello.bridge_id.clone(), sender);

        let service = self.clone();
        tokio::spawn(async move {
            let bridge = hello.bridge_id;
            loop {
                service
                    .reading
                    .clone()
                    .wait_for(|reading| *reading)
                    .await
                    .unwrap();
                let Ok(Some(request)) = inbound.message().await else {
                    break;
                };
                let mut seen = service.seen.lock().unwrap();
                match request.message {
                    Some(attach_request::Message::Worker(up)) => {
                        seen.up
                            .push((bridge.clone(), up.worker_id, up.message.unwrap()));
                    }
                    Some(attach_request::Message::Broker(state)) => {
                        seen.brokers.insert(bridge.clone(), state.connected);
                        seen.broker_changes.push(state.connected);
                    }
                    other => panic!("a bridge sent {other:?}"),
                }
            }
            let mut seen = service.seen.lock().unwrap();
            seen.attached.remove(&bridge);
            seen.brokers.remove(&bridge);
        });
        Ok(Response::new(
            UnboundedReceiverStream::new(outbound).boxed(),
        ))
    }
}
