//! What one bridge is given for the broker: its pass, replaced in time, and who is revoked, told again whenever the broker may
//! have lost it.

use std::sync::Arc;

use edgeio_proto::cluster::v1::{
    AttachResponse, BridgeHello, BrokerPass, attach_response::Message,
};
use tokio::{sync::mpsc, time::Instant};
use tracing::error;
use uuid::Uuid;

use super::WeakSender;
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

    /// Keeps it as long as there is somebody who may tell, by `reached`, that the broker may not know who is revoked. It
    /// holds no end of the bridge's stream, which ends when the bridge has said its last.
    pub(super) async fn keep(self, sender: WeakSender, mut reached: mpsc::Receiver<()>) {
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
                changed = changes.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    tell = true;
                }
                again = reached.recv() => match again {
                    Some(()) => tell = true,
                    None => return,
                },
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

async fn send(sender: &WeakSender, message: Message) {
    let Some(sender) = sender.upgrade() else {
        return;
    };
    // An error means that the bridge is gone, which ends the loop.
    let _ = sender
        .send(Ok(AttachResponse {
            message: Some(message),
        }))
        .await;
}
