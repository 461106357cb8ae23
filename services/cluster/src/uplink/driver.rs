//! Keeps the uplink attached: dials the root, registers, carries messages, and dials again with full jitter.

use std::time::Duration;

use edgeio_client::{
    Backoff, Dialer, Options, Signer, Target, is_connection_old, takes_no_credential,
};
use edgeio_domain::ids::AttachId;
use edgeio_proto::root::v1::{
    AttachRequest, AttachResponse, RegisterRequest,
    cluster_link_service_client::ClusterLinkServiceClient,
};
use edgeio_server::{config::JoinConfig, shutdown::Shutdown};
use edgeio_tier::context::Context;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming, transport::Channel};
use tracing::{debug, info, warn};

use super::{LONGEST_SLEEP, Uplink, address};

/// Messages to the root that may wait. When the root takes none, the newest states are told later.
const QUEUE: usize = 64;
/// How long to wait after the store failed.
const STORE_PAUSE: Duration = Duration::from_secs(1);

/// A session that lived for less than this is not begun again at once, whatever the root says.
const STEADY: Duration = Duration::from_millis(100);

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
enum Lost {
    /// The root refused or went away.
    #[error("root answers: {}", .0.message())]
    Root(#[from] Status),
    /// The root closed the stream.
    #[error("root closed the session")]
    Closed,
    /// The root said nothing for too long.
    #[error("root is silent")]
    Silent,
    /// The root forgot this cluster.
    #[error("root asks to register again")]
    Register,
}

/// What the root is told of this cluster, and the key that proves it.
pub struct Dial {
    /// What it is told.
    pub register: RegisterRequest,
    /// Signs each call.
    pub signer: Signer,
    /// How the root is reached.
    pub dialer: Dialer,
    /// What lets it join.
    pub joining: JoinConfig,
}

/// Runs until `stop`.
pub async fn run(context: Context, mut uplink: Uplink, target: Target, dial: Dial, stop: Shutdown) {
    let channel = match dial.dialer.connect(&target, &Options::default()) {
        Ok(channel) => channel,
        Err(error) => {
            // The address was checked with the configuration.
            warn!(%error, "root cannot be dialled, this cluster works alone");
            return;
        }
    };
    let mut backoff = Backoff::default();
    let looking = dial.dialer.keep_looking(&target);
    tokio::pin!(looking);
    loop {
        let began = context.clock.boot();
        let ended = tokio::select! {
            () = stop.wait() => return,
            never = &mut looking => match never {},
            ended = session(&context, &mut uplink, channel.clone(), &target, &dial) => ended,
        };
        uplink.disconnect();
        let lived = context.clock.boot().since(began);
        if let Err(Lost::Root(status)) = &ended
            && is_connection_old(status)
            && lived > STEADY
        {
            info!(root = %target, "the connection to the root is old, coming on a new one");
            continue;
        }
        let pause = backoff.pause(lived);
        match ended {
            // The first attempts of a start, and a root that is restarted, are everyday life.
            Err(lost) if backoff.failures() < 5 => {
                info!(root = %target, reason = %lost, ?pause, "root is away")
            }
            Err(lost) => warn!(root = %target, reason = %lost, ?pause, "root is away"),
            Ok(never) => match never {},
        }
        tokio::select! {
            () = stop.wait() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// One session. It only ends by being lost.
async fn session(
    context: &Context,
    uplink: &mut Uplink,
    channel: Channel,
    target: &Target,
    dial: &Dial,
) -> Result<std::convert::Infallible, Lost> {
    let told = RegisterRequest {
        address: address::told(&dial.register.address, target).await,
        ..dial.register.clone()
    };
    let register = |signer: Signer| {
        let mut request = told.clone();
        match dial.joining.token() {
            Ok(token) => request.join_token = token,
            Err(error) => warn!(%error, "the join token cannot be read"),
        }
        let mut client = ClusterLinkServiceClient::with_interceptor(channel.clone(), signer);
        async move { client.register(request).await }
    };
    let (known, signer) = match register(dial.signer.clone()).await {
        Ok(known) => (known.into_inner(), dial.signer.clone()),
        // A root of before: it knows no keys, and lets in whoever reaches it.
        Err(status) if takes_no_credential(&status) => {
            let none = Signer::none();
            (register(none.clone()).await?.into_inner(), none)
        }
        Err(status) => return Err(status.into()),
    };
    let signer = signer.to(&known.root_id);
    let mut client = ClusterLinkServiceClient::with_interceptor(channel, signer);
    let (sender, receiver) = mpsc::channel(QUEUE);
    let mut down = client
        .attach(ReceiverStream::new(receiver))
        .await?
        .into_inner();
    info!(name = known.name, "attached to the root");
    uplink.connect(AttachId(context.ids.next()));
    carry(context, uplink, &sender, &mut down).await
}

async fn carry(
    context: &Context,
    uplink: &mut Uplink,
    sender: &mpsc::Sender<AttachRequest>,
    down: &mut Streaming<AttachResponse>,
) -> Result<std::convert::Infallible, Lost> {
    let mut changes = context.store.watch();
    loop {
        match uplink.poll().await {
            Ok(messages) => {
                for message in messages {
                    if sender
                        .send(AttachRequest {
                            message: Some(message),
                        })
                        .await
                        .is_err()
                    {
                        return Err(Lost::Closed);
                    }
                }
            }
            Err(error) => {
                warn!(%error, "reading states for the root failed");
                tokio::time::sleep(STORE_PAUSE).await;
            }
        }
        if uplink.is_silent() {
            return Err(Lost::Silent);
        }
        let until = uplink
            .due()
            .map_or(LONGEST_SLEEP, |due| due.since(context.clock.boot()));
        tokio::select! {
            message = down.message() => {
                let Some(response) = message? else { return Err(Lost::Closed) };
                let Some(message) = response.message else { continue };
                match uplink.receive(message).await {
                    Ok(asked) if asked.register => return Err(Lost::Register),
                    Ok(_) => {}
                    Err(error) => warn!(%error, "what the root sent could not be kept, it will send it again"),
                }
            }
            changed = changes.changed() => {
                debug!("database changed");
                if changed.is_err() {
                    return Err(Lost::Closed);
                }
                changes.mark_unchanged();
            }
            () = tokio::time::sleep(until.clamp(Duration::from_millis(1), LONGEST_SLEEP)) => {}
        }
    }
}
