//! An operator's word about a silent child: what it runs is replaced without evidence, or it is declared lost.
//!
//! A release is undone by the child's next report. A fence ends the child's session, so that nothing it said before counts,
//! and holds until everything that it runs was told in a new one.

use edgeio_domain::{
    child::{Child, ChildState, Replace},
    ids::{AttachId, ChildId},
    records::Event,
};
use edgeio_server::auth::Principal;
use edgeio_store::Write;
use prost::Message;

use super::{About, ChildView, Children, view};
use crate::access::Target;
use crate::apps::AppError;

/// A checked Release or Fence.
#[derive(Clone, Debug)]
pub struct Verdict {
    about: About,
    replace: Replace,
}

impl Verdict {
    /// Checks a Release: `rest` is the request without its `request_id`.
    ///
    /// # Errors
    /// Names every field that is wrong, or what the caller may not.
    pub fn release<M: Message>(
        who: &Principal,
        request_id: String,
        rest: &M,
        child: &str,
    ) -> Result<Self, AppError> {
        Ok(Self {
            about: About::parse(who, "Release", request_id, rest, child)?,
            replace: Replace::Released,
        })
    }

    /// Checks a Fence: `rest` is the request without its `request_id`.
    ///
    /// # Errors
    /// Names every field that is wrong, or what the caller may not.
    pub fn fence<M: Message>(
        who: &Principal,
        request_id: String,
        rest: &M,
        child: &str,
    ) -> Result<Self, AppError> {
        Ok(Self {
            about: About::parse(who, "Fence", request_id, rest, child)?,
            replace: Replace::Fenced,
        })
    }
}

/// The kept answer.
#[derive(Clone, PartialEq, Message)]
struct Judged {
    /// The child's id.
    #[prost(string, tag = "1")]
    child: String,
    /// How many assignments are wanted there.
    #[prost(uint32, tag = "2")]
    given_up: u32,
}

impl Children {
    /// Records an operator's word about a silent child. Answers the child, and how many assignments were wanted there.
    ///
    /// # Errors
    /// There is none, or it is not silent; nothing was stored then.
    pub async fn judge(&self, verdict: Verdict) -> Result<(ChildView, u32), AppError> {
        let mut tx = self.store.write().await?;
        if let Some(answer) = verdict.about.key.replay::<Judged>(&*tx).await? {
            let child = self.find(&*tx, &answer.child).await?;
            return Ok((view(&*tx, child).await?, answer.given_up));
        }
        let noun = self.scope.child_noun();
        let child = self.find(&*tx, &verdict.about.child).await?;
        if let Some(why) = not_silent(child.state) {
            let name = child.display();
            return Err(AppError::NotSilent { noun, name, why });
        }
        let now = self.clock.wall();
        let before = view(&*tx, child).await?;
        let mut child = before.child.clone();
        let (reason, message) = if verdict.replace == Replace::Fenced {
            let mut meta = tx.meta().await?;
            let time = u64::try_from(now.0).unwrap_or(0);
            meta.session_epoch = time.max(meta.session_epoch + 1);
            child.state = ChildState::Lost;
            child.replace = Replace::Fenced;
            child.session_epoch = meta.session_epoch;
            child.attach = AttachId::default();
            child.holder = None;
            tx.stage(Write::PutMeta(meta));
            let message = format!(
                "it was fenced by {}: what it runs is replaced, and stopped should it return",
                verdict.about.by
            );
            ("Fenced", message)
        } else {
            // Evidence or a fence say more.
            if !child.replace.is_allowed() {
                child.replace = Replace::Released;
            }
            let message = format!(
                "it was released by {}: what it runs is replaced",
                verdict.about.by
            );
            ("Released", message)
        };
        tx.stage(Write::PutChild(child.clone()));
        tx.stage(Write::PutEvent(Event {
            at: now,
            namespace: String::new(),
            subject: format!("{noun}/{}", child.display()),
            reason: reason.to_owned(),
            message,
        }));
        let answer = Judged {
            child: child.id.to_string(),
            given_up: before.assigned,
        };
        let target = Target::new(noun, child.display(), "").with(child.id.to_string());
        let kept = verdict
            .about
            .key
            .commit(&*self.store, tx, target, &answer, now);
        kept.await?;
        log(&child, reason, before.assigned);
        let assigned = before.assigned;
        Ok((ChildView { child, assigned }, assigned))
    }
}

fn log(child: &Child, word: &str, assigned: u32) {
    let id: ChildId = child.id;
    tracing::info!(child = %child.display(), %id, word, assigned, "an operator judged a silent child");
}

/// Why there is nothing to say about a child's silence, if that is so.
fn not_silent(state: ChildState) -> Option<&'static str> {
    match state {
        ChildState::Ready | ChildState::Returning => Some(
            "is heard, so nothing there has to be guessed: stop it first, or forget it by force",
        ),
        ChildState::Registered => Some("has never reported, so nothing runs there: forget it"),
        ChildState::Left => Some("said goodbye: if it will not come back, forget it"),
        ChildState::Suspect | ChildState::Disconnected | ChildState::Lost => None,
    }
}
