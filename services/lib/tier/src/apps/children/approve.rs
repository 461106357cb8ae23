//! An operator's word that a child is the one whose name it asked for: a machine that was set up anew has a new key, so it is a
//! stranger with a known name. It takes the name over, and the child that had it is forgotten, in one transaction.

use edgeio_domain::records::Event;
use edgeio_server::auth::Principal;
use edgeio_store::Write;
use prost::Message;

use super::{About, ChildView, Children, give_up, view};
use crate::{access::Target, apps::AppError};

/// A checked Approve.
#[derive(Clone, Debug)]
pub struct Approve {
    about: About,
    force: bool,
}

impl Approve {
    /// Checks a request: `rest` is it without its `request_id`.
    ///
    /// # Errors
    /// Names every field that is wrong, or what the caller may not.
    pub fn parse<M: Message>(
        who: &Principal,
        request_id: String,
        rest: &M,
        child: &str,
        force: bool,
    ) -> Result<Self, AppError> {
        Ok(Self {
            about: About::parse(who, "Approve", request_id, rest, child)?,
            force,
        })
    }
}

/// The kept answer.
#[derive(Clone, PartialEq, Message)]
struct Approved {
    /// The child's id.
    #[prost(string, tag = "1")]
    child: String,
    /// How many assignments the one before it held.
    #[prost(uint32, tag = "2")]
    replaced: u32,
}

impl Children {
    /// Gives a child the name that it asked for. Who had it is forgotten: what it ran is placed elsewhere, and stopped should it
    /// return. Answers the child, and how many assignments the other one held.
    ///
    /// # Errors
    /// There is no such child, it asks for nothing, or the one before it still reports and force was not asked for; nothing was
    /// stored then.
    pub async fn approve(&self, command: Approve) -> Result<(ChildView, u32), AppError> {
        let mut tx = self.store.write().await?;
        if let Some(answer) = command.about.key.replay::<Approved>(&*tx).await? {
            let child = self.find(&*tx, &answer.child).await?;
            return Ok((view(&*tx, child).await?, answer.replaced));
        }
        let noun = self.scope.child_noun();
        let mut child = self.find(&*tx, &command.about.child).await?;
        let Some(name) = child.wished.take() else {
            let name = child.display();
            return Err(AppError::NothingWished { noun, name });
        };
        let (before, now) = (child.display(), self.clock.wall());
        let all = tx.children().await?;
        let holder = all.into_iter().find(|c| c.name.as_ref() == Some(&name));
        let mut replaced = 0;
        if let Some(holder) = holder {
            if holder.state.is_heard() && !command.force {
                let name = holder.display();
                return Err(AppError::ChildReports { noun, name });
            }
            replaced = view(&*tx, holder.clone()).await?.assigned;
            let why = format!(
                "{} takes its name over, said {}",
                child.id, command.about.by
            );
            give_up(&mut *tx, noun, &holder, now, &why).await?;
        }
        child.name = Some(name.clone());
        tx.stage(Write::PutChild(child.clone()));
        tx.stage(Write::PutEvent(Event {
            at: now,
            namespace: String::new(),
            subject: format!("{noun}/{name}"),
            reason: "Approved".to_owned(),
            message: format!(
                "it was {before} and has this name now, said {}",
                command.about.by
            ),
        }));
        let answer = Approved {
            child: child.id.to_string(),
            replaced,
        };
        let target = Target::new(noun, &name, "").with(format!("{} was {before}", child.id));
        let kept = command
            .about
            .key
            .commit(&*self.store, tx, target, &answer, now);
        kept.await?;
        tracing::info!(child = %name, id = %child.id, before, replaced, "child has the name that it asked for");
        let tx = self.store.read().await?;
        Ok((view(&*tx, child).await?, replaced))
    }
}
