//! A worker and a cluster that are newer than the bridge between them: what they tell each other arrives whole.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use edgeio_bridge::Config;
use edgeio_bridge::broker::{self, Broker};
use edgeio_bridge::relay::Relay;
use edgeio_bridge::subject::Subject;
use edgeio_proto::cluster::v1::BridgeWelcome;
use futures::{StreamExt as _, stream::BoxStream};
use prost::Message as _;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream};
use tonic::codegen::{BoxFuture, Context, Poll, Service, http};
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use uuid::Uuid;

use crate::bed::{ack, eventually, report, sample};

/// Field 1000 as a varint, and a message of kind 1001: both are unknown to this version.
const NEW_FIELD: &[u8] = &[0xc0, 0x3e, 0x05];
const NEW_KIND: &[u8] = &[0xca, 0x3e, 0x02, 0x08, 0x01];

#[derive(Clone, PartialEq, prost::Message)]
struct Up {
    #[prost(message, optional, tag = "2")]
    worker: Option<Carried>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Down {
    #[prost(message, optional, tag = "1")]
    welcome: Option<BridgeWelcome>,
    #[prost(message, optional, tag = "2")]
    worker: Option<Carried>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Carried {
    #[prost(string, tag = "1")]
    worker: String,
    #[prost(bytes = "vec", tag = "2")]
    payload: Vec<u8>,
}

type Told = mpsc::UnboundedSender<Result<Down, Status>>;

/// A cluster that sees the bytes.
#[derive(Clone)]
struct Newer {
    id: Uuid,
    seen: Arc<Mutex<Vec<Carried>>>,
    told: Arc<Mutex<Option<Told>>>,
}

impl NamedService for Newer {
    const NAME: &'static str = "edgeio.cluster.v1.BridgeService";
}

impl Service<http::Request<tonic::body::Body>> for Newer {
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        assert_eq!(
            request.uri().path(),
            "/edgeio.cluster.v1.BridgeService/Attach"
        );
        let service = self.clone();
        Box::pin(async move {
            let mut grpc = Grpc::new(ProstCodec::<Down, Up>::default());
            Ok(grpc.streaming(service, request).await)
        })
    }
}

impl StreamingService<Up> for Newer {
    type Response = Down;
    type ResponseStream = BoxStream<'static, Result<Down, Status>>;
    type Future = BoxFuture<Response<Self::ResponseStream>, Status>;

    fn call(&mut self, request: Request<Streaming<Up>>) -> Self::Future {
        let (told, outbound) = mpsc::unbounded_channel();
        let welcome = Down {
            welcome: Some(BridgeWelcome {
                cluster_id: self.id.to_string(),
                pass: None,
            }),
            worker: None,
        };
        told.send(Ok(welcome)).unwrap();
        *self.told.lock().unwrap() = Some(told);
        let seen = Arc::clone(&self.seen);
        let mut inbound = request.into_inner();
        tokio::spawn(async move {
            while let Ok(Some(up)) = inbound.message().await {
                seen.lock().unwrap().extend(up.worker);
            }
        });
        Box::pin(async move {
            Ok(Response::new(
                UnboundedReceiverStream::new(outbound).boxed(),
            ))
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_bridge_does_not_know_passes_both_ways() {
    let dir = tempfile::tempdir().unwrap();
    let binary = broker::find().unwrap_or_else(|error| panic!("{error}"));
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let broker = Broker::start(&binary, any, dir.path()).await.unwrap();
    let cluster = Newer {
        id: Uuid::new_v4(),
        seen: Arc::default(),
        told: Arc::default(),
    };
    let listener = tokio::net::TcpListener::bind(any).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(cluster.clone())
            .serve_with_incoming(TcpListenerStream::new(listener)),
    );
    let relay = Relay::new(Config {
        cluster: format!("http://{address}"),
        nats: broker.url(),
        ..Config::default()
    });
    let (stop, stopped) = oneshot::channel::<()>();
    let bridge = tokio::spawn(relay.run(async move {
        let _ = stopped.await;
    }));

    let worker = Uuid::now_v7();
    let client = async_nats::connect(broker.url()).await.unwrap();
    let mut orders = client
        .subscribe(Subject::control(cluster.id, worker).to_string())
        .await
        .unwrap();
    client.flush().await.unwrap();
    let newer = |message: &[u8]| [message, NEW_FIELD].concat();
    let reported = newer(&report(7).encode_to_vec());
    let sampled = newer(&sample(8).encode_to_vec());
    for (subject, payload) in [
        (Subject::report(cluster.id, worker), &reported),
        (Subject::telemetry(cluster.id, worker), &sampled),
        (Subject::report(cluster.id, worker), &NEW_KIND.to_vec()),
    ] {
        // Lost while the bridge has not joined yet, so it is said until it is heard.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        let heard = || {
            let seen = cluster.seen.lock().unwrap();
            seen.iter()
                .any(|c| c.worker == worker.to_string() && c.payload == *payload)
        };
        while !heard() {
            assert!(
                std::time::Instant::now() < deadline,
                "{:?}",
                cluster.seen.lock().unwrap()
            );
            let payload = payload.clone().into();
            client.publish(subject.to_string(), payload).await.unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }

    let told = newer(&ack(9).encode_to_vec());
    let down = Down {
        welcome: None,
        worker: Some(Carried {
            worker: worker.to_string(),
            payload: told.clone(),
        }),
    };
    eventually("a way down", || {
        let way = cluster.told.lock().unwrap();
        let way = way.as_ref().ok_or("not attached")?;
        way.send(Ok(down.clone()))
            .map_err(|error| error.to_string())
    })
    .await;
    let order = orders.next().await.unwrap();
    assert_eq!(order.payload, told);
    stop.send(()).unwrap();
    bridge.await.unwrap().unwrap();
}
