//! The sessions of a tier's children: what children say is recorded, what they shall run is sent.
//!
//! The hub does no I/O but the store's. Messages come in batches and go out as a list, so that the same code serves gRPC
//! streams, the bus and the simulator. What it keeps in memory (who was heard when, what was sent) can be lost at any
//! time: at worst something is sent twice. Silence stops nothing; it changes a child's state, and by evidence says that
//! what it runs may be replaced.

mod full;
mod heard;
mod hello;
mod judge;
mod owned;
mod record;
mod replicas;
mod send;
mod session;
mod work;

use std::collections::BTreeMap;

use edgeio_domain::{
    child::{Accepted, ChildState},
    ids::ChildId,
    liveness::Ears,
    time::Time,
};
use edgeio_link::version::Agreed;
use edgeio_proto::link::v1::{self, child_message, parent_message};
use edgeio_store::{Meta, Revision, StoreError};
use replicas::Replicas;
use session::Session;
use tokio::sync::Mutex;

use crate::context::Context;

pub use heard::Heard;

/// Messages to children.
pub type Outbox = Vec<(ChildId, v1::ParentMessage)>;

/// The sessions of a tier's children.
pub struct Hub {
    context: Context,
    state: Mutex<State>,
    /// The newest samples of each child. Not state: they are lost with the process.
    telemetry: std::sync::Mutex<BTreeMap<ChildId, v1::Telemetry>>,
    heard: Heard,
}

/// What is known in memory.
struct State {
    sessions: BTreeMap<ChildId, Session>,
    /// Who was heard when.
    ears: Ears,
    /// The same for people, by the wall clock.
    heard: Heard,
    /// The other processes that hold sessions of this tier.
    replicas: Replicas,
    /// When each child's reports about what is another's were last written to the audit.
    told_off: BTreeMap<ChildId, Time>,
    /// Orders up to this revision were looked at for sending.
    pushed: Revision,
}

impl Hub {
    /// A hub over the tier's parts.
    #[must_use]
    pub fn new(context: Context) -> Self {
        let heard = Heard::default();
        let state = State {
            heard: heard.clone(),
            sessions: BTreeMap::new(),
            ears: Ears::new(context.times.leases(), context.clock.boot()),
            replicas: Replicas::new(&context),
            told_off: BTreeMap::new(),
            pushed: 0,
        };
        Self {
            context,
            state: Mutex::new(state),
            telemetry: std::sync::Mutex::default(),
            heard,
        }
    }

    /// Takes what children said, in order, and answers what to send. Everything of one call is recorded in one
    /// transaction.
    ///
    /// # Errors
    /// The store failed: nothing is recorded and nothing acknowledged; the children will say it again.
    pub async fn receive(
        &self,
        messages: Vec<(ChildId, v1::ChildMessage)>,
    ) -> Result<Outbox, StoreError> {
        let mut state = self.state.lock().await;
        let mut outbox = Outbox::new();
        let mut reports = Vec::new();
        for (child, message) in messages {
            match message.message {
                Some(child_message::Message::Hello(hello)) => {
                    outbox.extend(hello::open(&self.context, &mut state, child, &hello).await?);
                }
                Some(child_message::Message::Report(report)) => {
                    reports.push((child, report));
                }
                Some(child_message::Message::Telemetry(telemetry)) => {
                    self.samples().insert(child, telemetry);
                }
                None => {}
            }
        }
        if !reports.is_empty() {
            outbox.extend(record::record(&self.context, &mut state, reports).await?);
        }
        Ok(outbox)
    }

    /// Answers what to send since orders changed.
    ///
    /// # Errors
    /// The store failed; calling again is right.
    pub async fn push(&self) -> Result<Outbox, StoreError> {
        let mut state = self.state.lock().await;
        send::push(&self.context, &mut state).await
    }

    /// Judges silence, and asks children about orders that they leave unanswered. To be called every second or so.
    ///
    /// # Errors
    /// The store failed; calling again is right.
    pub async fn tick(&self) -> Result<Outbox, StoreError> {
        let mut state = self.state.lock().await;
        let now = self.context.clock.boot();
        state.replicas.refresh(&self.context).await?;
        let (meta, children) = {
            let tx = self.context.store.read().await?;
            (tx.meta().await?, tx.children().await?)
        };
        // What is kept in memory of a child that was forgotten goes with it. So does a session that a newer one superseded, or
        // a fence: its stream has nobody to ask any more.
        let known = |id: &ChildId| {
            let at = children.binary_search_by_key(id, |child| child.id);
            at.ok().and_then(|at| children.get(at))
        };
        let open = |id: &ChildId, session: &Session| {
            known(id).is_some_and(|child| child.session_epoch == session.parent.epoch)
        };
        state.sessions.retain(|id, session| open(id, session));
        self.samples().retain(|id, _| known(id).is_some());
        self.heard.keep(|id| known(id).is_some());
        self.heard.write_behind(&self.context, &children).await?;
        let outbox = send::nudge(&mut state, &meta, now);
        let State { ears, replicas, .. } = &mut *state;
        judge::judge(&self.context, ears, replicas, children, now).await?;
        Ok(outbox)
    }

    /// A way by which children are heard is cut: what was heard on it is no evidence any more that this side is well.
    pub async fn cut(&self) {
        self.state.lock().await.ears.cut();
    }

    /// Asks every child that has no open session here for a word, so that a restarted tier hears them at once.
    ///
    /// # Errors
    /// The store failed; calling again is right.
    pub async fn greet(&self) -> Result<Outbox, StoreError> {
        let state = self.state.lock().await;
        let children = self.context.store.read().await?.children().await?;
        let silent = |id: &ChildId| !state.sessions.contains_key(id);
        let ask = |child: edgeio_domain::child::Child| {
            let body = parent_message::Message::ReportRequest(v1::ReportRequest {
                full: true,
                ..Default::default()
            });
            (
                child.id,
                v1::ParentMessage {
                    session_epoch: child.session_epoch,
                    message: Some(body),
                },
            )
        };
        let known = children
            .into_iter()
            .filter(|c| c.session_epoch > 0 && c.state != ChildState::Left);
        Ok(known.filter(|c| silent(&c.id)).map(ask).collect())
    }

    /// What both sides of a child's open session can do; `None` when none is open here.
    pub async fn agreed(&self, child: ChildId) -> Option<Agreed> {
        let state = self.state.lock().await;
        state.sessions.get(&child).map(|s| s.agreed.clone())
    }

    /// When children were heard last.
    #[must_use]
    pub fn heard(&self) -> Heard {
        self.heard.clone()
    }

    /// The newest samples of a child.
    #[must_use]
    pub fn telemetry(&self, child: ChildId) -> Option<v1::Telemetry> {
        self.samples().get(&child).cloned()
    }

    fn samples(&self) -> std::sync::MutexGuard<'_, BTreeMap<ChildId, v1::Telemetry>> {
        self.telemetry
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Where a database stands, in the link's words.
fn point_of(meta: &Meta) -> Accepted {
    Accepted {
        lineage: meta.lineage,
        issuer_epoch: meta.issuer_epoch,
        revision: meta.revision,
    }
}

/// Refuses a message.
fn refuse(epoch: u64, reason: v1::RefusalReason, message: &str) -> v1::ParentMessage {
    if reason == v1::RefusalReason::Protocol {
        edgeio_server::warn_seldom!(message, "child refused");
    }
    let refusal = v1::Refusal {
        reason: reason.into(),
        message: message.to_owned(),
    };
    v1::ParentMessage {
        session_epoch: epoch,
        message: Some(parent_message::Message::Refusal(refusal)),
    }
}
