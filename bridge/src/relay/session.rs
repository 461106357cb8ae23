//! One session with the cluster: attach, carry both ways, hand over what is left.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use edgeio_client::{
    ChannelError, Dialer, Options, Signer, Target, is_connection_old, takes_no_credential,
};
use edgeio_proto::cluster::v1::bridge_service_client::BridgeServiceClient;
use edgeio_proto::cluster::v1::{BridgeHello, JoinRequest};
use edgeio_server::config::JoinConfig;
use futures::StreamExt as _;
use http::uri::PathAndQuery;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::client::Grpc;
use tonic::{IntoStreamingRequest as _, Status, Streaming};
use tonic_prost::ProstCodec;
use uuid::Uuid;

use super::counters::Counters;
use super::downlink;
use super::key::Key;
use super::queue::Queue;
use super::uplink::Uplink;
use super::wire::{Down, DownKind, Up, UpKind};
use crate::bus::{BridgeBus, JoinError};

/// How long the cluster may take to say welcome. It writes nothing for that.
const WELCOME_PATIENCE: Duration = Duration::from_secs(10);
/// An idle path is tried every 15 s and given up 10 s later, so a dead one is known within the 45 s of a worker's lease.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(10));
/// How long the broker may take to confirm that this bridge has left its group.
const LEAVE_PATIENCE: Duration = Duration::from_secs(2);
/// How long the cluster may take to take what is left at a graceful end. Kubernetes kills after 30 s.
const HANDOVER_PATIENCE: Duration = Duration::from_secs(5);

/// The call that a session is.
const ATTACH: &str = "/edgeio.cluster.v1.BridgeService/Attach";

/// What sessions are made from.
pub(super) struct Session<'a> {
    pub(super) id: Uuid,
    pub(super) target: Target,
    pub(super) dialer: Dialer,
    pub(super) key: Key,
    /// The cluster takes no credentials.
    pub(super) plain: AtomicBool,
    pub(super) name: &'a str,
    pub(super) joining: &'a JoinConfig,
    pub(super) bus: &'a dyn BridgeBus,
    pub(super) interval: Duration,
    pub(super) counters: &'a Counters,
    pub(super) stop: &'a CancellationToken,
}

/// Why a session that had begun is over.
pub(super) enum Ended {
    /// A stop was asked for.
    Stopped,
    /// The cluster only asks to come on a new connection.
    Old,
    /// The cluster, or the path to it, ended the stream.
    ByCluster(String),
}

/// Why a session did not begin.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    #[error(transparent)]
    Connect(#[from] ChannelError),
    #[error("attach to `{target}`")]
    Attach {
        target: Target,
        #[source]
        source: Box<Status>,
    },
    #[error("the cluster takes no credentials")]
    TakesNoKey,
    #[error("read the join token")]
    Token(#[source] std::io::Error),
    #[error("join the cluster at `{target}`")]
    Join {
        target: Target,
        #[source]
        source: Box<Status>,
    },
    #[error("`{target}` did not say welcome within {WELCOME_PATIENCE:?}")]
    Silent { target: Target },
    #[error("`{target}` said something else before its welcome")]
    NoWelcome { target: Target },
    #[error("`{target}` says that its id is `{id}`, which is no id")]
    ClusterId { target: Target, id: String },
    #[error(transparent)]
    Bus(#[from] JoinError),
}

impl Session<'_> {
    /// Runs one session to its end.
    pub(super) async fn run(&self, queue: &mut Queue) -> Result<Ended, SessionError> {
        // Cancelled however this ends: the request stream of a session that is over must take nothing more.
        let over = CancellationToken::new();
        let _over = over.clone().drop_guard();
        let welcomed = CancellationToken::new();

        let attached = async {
            match timeout(WELCOME_PATIENCE, self.attach(queue, &welcomed, &over)).await {
                Ok(attached) => attached,
                Err(_elapsed) => Err(SessionError::Silent {
                    target: self.target.clone(),
                }),
            }
        };
        let (cluster, mut inbound) = tokio::select! {
            attached = attached => attached?,
            () = self.stop.cancelled() => return Ok(Ended::Stopped),
        };
        self.counters.attached.add(1);
        tracing::info!(bridge = %self.id, %cluster, "attached to the cluster");
        let foreign = queue.belong_to(cluster);
        self.counters.lost.add(foreign);
        welcomed.cancel();

        let leave = CancellationToken::new();
        let events = self.bus.join(cluster, leave.clone()).await?;
        let mut up = Uplink::new(events, queue.sender(), self.interval, self.counters);
        let mut down = std::pin::pin!(downlink::run(
            &mut inbound,
            self.bus,
            cluster,
            self.counters,
            queue.sender(),
        ));

        let ended = tokio::select! {
            ended = &mut down => by_cluster(ended),
            () = up.run() => Ended::ByCluster("the bus is closed".to_owned()),
            never = self.dialer.keep_looking(&self.target) => match never {},
            () = self.stop.cancelled() => Ended::Stopped,
        };
        leave.cancel();
        match ended {
            Ended::Stopped => {
                // Half-closing tells the cluster that this is all; its own end tells that it has read it.
                let handover = async {
                    let _ = timeout(LEAVE_PATIENCE, up.run()).await;
                    up.drained().await;
                    over.cancel();
                    let _ = down.await;
                };
                if timeout(HANDOVER_PATIENCE, handover).await.is_err() {
                    tracing::warn!(bridge = %self.id, "the cluster did not take what was left");
                }
            }
            Ended::ByCluster(_) | Ended::Old => {
                over.cancel();
                let _ = timeout(LEAVE_PATIENCE, up.keep_rest()).await;
            }
        }
        Ok(ended)
    }

    async fn attach(
        &self,
        queue: &Queue,
        welcomed: &CancellationToken,
        over: &CancellationToken,
    ) -> Result<(Uuid, Streaming<Down>), SessionError> {
        let (keepalive_interval, keepalive_timeout) = KEEPALIVE;
        let patience = Options {
            keepalive_interval,
            keepalive_timeout,
            ..Options::default()
        };
        let channel = self.dialer.connect_now(&self.target, &patience).await?;
        let refused = |status| SessionError::Attach {
            target: self.target.clone(),
            source: Box::new(status),
        };
        let signer = self.signer(&channel).await?;
        let hello = BridgeHello {
            bridge_id: self.id.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            public_key: self.bus.public_key(),
        };
        let hello = Up::from(UpKind::Hello(hello));
        let outbound =
            futures::stream::iter([hello]).chain(queue.outbound(welcomed.clone(), over.clone()));
        // As the generated client does it, but for what workers and cluster say, which stays as it is.
        let mut client = Grpc::new(channel);
        client
            .ready()
            .await
            .map_err(|error| refused(Status::from_error(error.into())))?;
        let codec = ProstCodec::<Up, Down>::default();
        let mut request = outbound.into_streaming_request();
        signer.authorize(request.metadata_mut()).map_err(refused)?;
        let mut inbound = client
            .streaming(request, PathAndQuery::from_static(ATTACH), codec)
            .await
            .map_err(|status| self.plainly(&status).unwrap_or_else(|| refused(status)))?
            .into_inner();
        let welcome = match inbound
            .message()
            .await
            .map_err(refused)?
            .and_then(|down| down.kind)
        {
            Some(DownKind::Welcome(welcome)) => welcome,
            Some(DownKind::Worker(_) | DownKind::Pass(_) | DownKind::Account(_)) | None => {
                return Err(SessionError::NoWelcome {
                    target: self.target.clone(),
                });
            }
        };
        if let Some(pass) = &welcome.pass {
            self.bus.present(&pass.jwt);
        }
        let cluster =
            Uuid::try_parse(&welcome.cluster_id).map_err(|_| SessionError::ClusterId {
                target: self.target.clone(),
                id: welcome.cluster_id.clone(),
            })?;
        Ok((cluster, inbound))
    }
}

impl Session<'_> {
    /// Signs calls to the cluster. A key that lasts is made known first, which costs nothing when it is known.
    async fn signer(&self, channel: &tonic::transport::Channel) -> Result<Signer, SessionError> {
        if self.plain.load(Ordering::Relaxed) {
            return Ok(Signer::none());
        }
        let signer = self.key.signer();
        if !self.key.lasts {
            return Ok(signer);
        }
        let name = if self.name.is_empty() {
            rustix::system::uname()
                .nodename()
                .to_string_lossy()
                .into_owned()
        } else {
            self.name.to_owned()
        };
        let request = JoinRequest {
            public_key: self.key.public().to_owned(),
            name,
            join_token: self.joining.token().map_err(SessionError::Token)?,
        };
        let mut client = BridgeServiceClient::with_interceptor(channel.clone(), signer.clone());
        match client.join(request).await {
            Ok(answer) => Ok(signer.to(&answer.into_inner().cluster_id)),
            Err(status) => Err(self.plainly(&status).unwrap_or_else(|| SessionError::Join {
                target: self.target.clone(),
                source: Box::new(status),
            })),
        }
    }

    /// Whether the cluster only refused that there was a credential: then none is sent from now on.
    fn plainly(&self, status: &Status) -> Option<SessionError> {
        let first = takes_no_credential(status) && !self.plain.swap(true, Ordering::Relaxed);
        first.then_some(SessionError::TakesNoKey)
    }
}

fn by_cluster(ended: Result<(), Status>) -> Ended {
    Ended::ByCluster(match ended {
        Err(status) if is_connection_old(&status) => return Ended::Old,
        Ok(()) => "it ended the stream".to_owned(),
        Err(status) => format!("{:?}: {}", status.code(), status.message()),
    })
}
