//! Recording what silence comes to. A replica judges the children that it hears or should hear; what another one hears is
//! not known here, and counting begins when that falls to this one.

use edgeio_domain::{
    child::{Child, ChildState, Replace},
    liveness::Ears,
    records::Event,
    time::Time,
};
use edgeio_store::{StoreError, Write};
use tracing::info;

use super::replicas::Replicas;
use crate::context::Context;

/// Judges of these children, as they were just read, those that this replica judges, and records what changed.
pub(super) async fn judge(
    context: &Context,
    ears: &mut Ears,
    replicas: &Replicas,
    mut children: Vec<Child>,
    now: Time,
) -> Result<(), StoreError> {
    children.retain(|child| replicas.judges(child));
    ears.attend(&children, now);
    if ears.judge(&children, now).is_empty() {
        return Ok(());
    }
    let mut tx = context.store.write().await?;
    // An operator may have had a word meanwhile.
    let mut children = tx.children().await?;
    children.retain(|child| replicas.judges(child));
    let mut began = 0;
    for judged in ears.judge(&children, now) {
        let Some(before) = children.iter().find(|child| child.id == judged.id) else {
            continue;
        };
        began += usize::from(begins(before, &judged));
        let changed = (before.state, before.replace) != (judged.state, judged.replace);
        if changed {
            info!(child = %judged.display(), from = ?before.state, to = ?judged.state, replace = ?judged.replace, silence = ?judged.silence, "child state changed");
        }
        for (reason, message) in news(before, &judged, context.noun) {
            tx.stage(Write::PutEvent(Event {
                at: context.clock.wall(),
                namespace: String::new(),
                subject: format!("{}/{}", context.noun, judged.display()),
                reason: reason.to_owned(),
                message,
            }));
        }
        tx.stage(Write::PutChild(judged));
    }
    if !tx.is_empty() {
        tx.commit().await?;
        ears.began(began, now);
    }
    Ok(())
}

fn begins(before: &Child, judged: &Child) -> bool {
    judged.replace == Replace::Proven && before.replace != Replace::Proven
}

/// What people are told. Suspicion is not news: it comes and goes with the network.
fn news(before: &Child, judged: &Child, noun: &str) -> Vec<(&'static str, String)> {
    let mut news = Vec::new();
    let silent = judged.silence.as_secs();
    if judged.state != before.state {
        match judged.state {
            ChildState::Disconnected => {
                news.push(("Disconnected", format!("it is silent for {silent} s")));
            }
            ChildState::Lost => news.push((
                "Lost",
                format!(
                    "it is silent for {silent} s: what was replaced is stopped should it return"
                ),
            )),
            ChildState::Registered
            | ChildState::Ready
            | ChildState::Suspect
            | ChildState::Returning
            | ChildState::Left => {}
        }
    }
    if judged.replace != before.replace {
        match judged.replace {
            Replace::Unproven => news.push((
                "NotReplaced",
                format!(
                    "it is silent for {silent} s and no other {noun} was heard meanwhile, so the fault may be on this side: release it to replace what it runs"
                ),
            )),
            Replace::Proven => news.push((
                "Replacing",
                format!("it is silent for {silent} s while others are heard: what it runs is replaced"),
            )),
            Replace::No | Replace::Limited | Replace::Released | Replace::Fenced => {}
        }
    }
    news
}
