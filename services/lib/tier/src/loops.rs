//! The tasks that drive engine and hub: they wait and call, and decide nothing.

use std::{sync::Arc, time::Duration};

use edgeio_domain::ids::ChildId;
use edgeio_proto::link::v1;
use edgeio_server::shutdown::Shutdown;
use tokio::sync::mpsc;
use tracing::error;

use crate::{context::Context, engine::Engine, hub::Hub};

/// The engine runs at least this often, whatever it was told.
const ENGINE_PERIOD: Duration = Duration::from_secs(30);
/// Silence is judged at least this often. Leases are tens of seconds.
const TICK: Duration = Duration::from_secs(1);
/// A short lease is looked at so often while it lasts: a pause of a whole lease between two looks would count as this tier's
/// own absence, and nobody would ever be found silent.
const LOOKS: u32 = 4;
/// How long to wait after the store failed. It is local; it is back soon or a person must look.
const STORE_PAUSE: Duration = Duration::from_secs(1);
/// Old records are removed this often.
const COMPACTION: Duration = Duration::from_secs(3600);
/// Most messages of children that are recorded in one transaction. A commit costs the same for one and for hundreds; more
/// would keep the first ones waiting.
const BATCH: usize = 256;
/// Messages of children that may wait. Their senders are held back beyond that, and nothing is lost.
const QUEUE: usize = 4096;

/// Where messages to children leave. It must not wait: what cannot leave now is dropped and sent again later.
pub trait Outlet: Send + Sync + 'static {
    /// Sends one message.
    fn send(&self, child: ChildId, message: v1::ParentMessage);
}

/// What children say, on its way to the hub.
pub type Inbound = mpsc::Sender<(ChildId, v1::ChildMessage)>;

/// A queue for what children say.
#[must_use]
pub fn inbound() -> (Inbound, mpsc::Receiver<(ChildId, v1::ChildMessage)>) {
    mpsc::channel(QUEUE)
}

/// Runs the engine whenever the database changed, until `stop`.
pub async fn engine(context: Context, engine: Arc<Engine>, stop: Shutdown) {
    let mut changes = context.store.watch();
    let mut compacted = context.clock.boot();
    loop {
        changes.mark_unchanged();
        let pause = match engine.run_once().await {
            Ok(outcome) => {
                let until = |at: edgeio_domain::time::Time| at.since(context.clock.wall());
                let again = outcome.again.map_or(ENGINE_PERIOD, until);
                again
                    .min(outcome.within.unwrap_or(ENGINE_PERIOD))
                    .min(ENGINE_PERIOD)
            }
            Err(error) => {
                error!(error = %edgeio_server::status::chain(&error), "engine run failed");
                STORE_PAUSE
            }
        };
        let now = context.clock.boot();
        if now.since(compacted) >= COMPACTION {
            compacted = now;
            if let Err(error) = engine.compact().await {
                error!(error = %edgeio_server::status::chain(&error), "compaction failed");
            }
        }
        tokio::select! {
            () = stop.wait() => break,
            changed = changes.changed() => if changed.is_err() { return },
            // A pause of nothing would spin while the clock stands still.
            () = tokio::time::sleep(pause.max(Duration::from_millis(10))) => {}
        }
    }
    if let Err(error) = engine.resign().await {
        error!(error = %edgeio_server::status::chain(&error), "the engine's lease could not be given away");
    }
}

/// Feeds the hub and sends what it answers, until `stop`.
pub async fn hub(
    context: Context,
    hub: Arc<Hub>,
    mut inbox: mpsc::Receiver<(ChildId, v1::ChildMessage)>,
    outlet: Arc<dyn Outlet>,
    stop: Shutdown,
) {
    let mut changes = context.store.watch();
    let look = (context.times.lease / LOOKS).clamp(Duration::from_millis(10), TICK);
    let mut tick = tokio::time::interval(look);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        let answers = tokio::select! {
            () = stop.wait() => return,
            count = inbox.recv_many(&mut batch, BATCH) => {
                if count == 0 {
                    return;
                }
                hub.receive(std::mem::take(&mut batch)).await
            }
            changed = changes.changed() => {
                if changed.is_err() {
                    return;
                }
                changes.mark_unchanged();
                hub.push().await
            }
            _ = tick.tick() => hub.tick().await,
        };
        match answers {
            Ok(outbox) => {
                for (child, message) in outbox {
                    outlet.send(child, message);
                }
            }
            Err(error) => {
                error!(error = %edgeio_server::status::chain(&error), "recording or sending failed");
                tokio::time::sleep(STORE_PAUSE).await;
            }
        }
    }
}
