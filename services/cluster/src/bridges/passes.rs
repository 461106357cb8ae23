//! What one bridge is given for the broker: its pass, replaced in time, and who is revoked, told again whenever the broker may
//! have lost it.

use std::sync::Arc;

use edgeio_proto::cluster::v1::{
    AttachResponse, BridgeHello, BrokerPass, attach_response::Message,
};
use tokio::{sync::Notify, time::Instant};
use tracing::error;
use uuid::Uuid;

use super::Sender;
use crate::broker::{MintError, Passes};

/// Keeps one bridge's pass.
pub(super) struct Keeper {
    passes: Arc<Passes>,
    bridge: Uuid,
    key: String,
}

impl Keeper {
    /// `None` where there are no passes, and for a bridge of before, which knows of none.
    pub(super) fn of(passes: Option<&Arc<Passes>>, hello: &BridgeHello) -> Option<Self> {
        let passes = passes.filter(|_| !hello.public_key.is_empty())?;
        Some(Self {
            passes: passes.clone(),
            // Only its inbox depends on it.
            bridge: hello.bridge_id.parse().unwrap_or_default(),
            key: hello.public_key.clone(),
        })
    }

    pub(super) fn pass(&self) -> Result<BrokerPass, MintError> {
        self.passes.bridge(self.bridge, &self.key)
    }

    /// Keeps it until the bridge is gone. `reached` tells that the broker may not know who is revoked.
    pub(super) async fn keep(self, sender: Sender, reached: Arc<Notify>) {
        let mut changes = self.passes.changes();
        let mut tell = true;
        let mut renewal = Instant::now() + self.passes.renewal();
        loop {
            if std::mem::take(&mut tell) {
                match self.passes.update(self.bridge, &self.key) {
                    Ok(Some(update)) => send(&sender, Message::Account(update)).await,
                    Ok(None) => {}
                    Err(error) => error!(%error, "cannot sign who is revoked"),
                }
            }
            tokio::select! {
                () = sender.closed() => return,
                changed = changes.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    tell = true;
                }
                () = reached.notified() => tell = true,
                () = tokio::time::sleep_until(renewal) => {
                    renewal = Instant::now() + self.passes.renewal();
                    match self.pass() {
                        Ok(pass) => send(&sender, Message::Pass(pass)).await,
                        Err(error) => error!(%error, "cannot make a bridge's pass"),
                    }
                }
            }
        }
    }
}

async fn send(sender: &Sender, message: Message) {
    // An error means that the bridge is gone, which ends the loop.
    let _ = sender
        .send(Ok(AttachResponse {
            message: Some(message),
        }))
        .await;
}
