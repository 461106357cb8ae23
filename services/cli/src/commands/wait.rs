//! Waiting, with progress that a person can follow.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use edgeio_client::WatchEvent;
use edgeio_proto::api::v1::Application;
use futures::StreamExt;

use super::Context;
use crate::{
    error::CliError,
    observe::{Observed, Verdict},
    output::{
        progress::{Progress, Row},
        text::application_phase,
    },
    remote::Remote,
};

/// How long a person is ready to wait, over all that one command waits for.
pub(crate) struct Patience {
    began: Instant,
    timeout: Duration,
}

impl Patience {
    pub(crate) fn new(timeout: Duration) -> Self {
        Self {
            began: Instant::now(),
            timeout,
        }
    }

    fn left(&self) -> Duration {
        self.timeout.saturating_sub(self.began.elapsed())
    }
}

/// Follows an application until each replica runs. Failures in the services `replaced` that are there already do not count.
pub(crate) async fn until_ready(
    context: &Context,
    remote: &Remote,
    application: &Application,
    replaced: &BTreeSet<String>,
    patience: &Patience,
) -> Result<(), CliError> {
    let mut excused: Option<BTreeSet<String>> = None;
    let name = format!("{}/{}", application.namespace, application.name);
    let observed = follow(context, remote, application, patience, |observed| {
        let excused = excused.get_or_insert_with(|| already_failed(observed, replaced));
        match observed.verdict(application.version, excused) {
            Verdict::Waiting => None,
            Verdict::Ready => Some(Ok(())),
            Verdict::Failed(why) => Some(Err(why)),
        }
    });
    let look = format!(
        "look: edgeio describe app {} -n {}",
        application.name, application.namespace
    );
    match observed.await? {
        Outcome::Done(Ok(())) => {
            context.out.note(&format!("application {name}: ready"));
            Ok(())
        }
        Outcome::Done(Err(why)) => Err(CliError::Failed(format!(
            "application {name} does not become ready\n{why}\n{look}"
        ))),
        Outcome::TimedOut(observed) => Err(CliError::Failed(format!(
            "application {name} is not ready after {}; it goes on by itself\n{}\n{look}",
            humantime::format_duration(patience.timeout),
            observed.unfinished(),
        ))),
    }
}

/// Follows an application until it is gone.
pub(crate) async fn until_gone(
    context: &Context,
    remote: &Remote,
    application: &Application,
    patience: &Patience,
) -> Result<(), CliError> {
    let name = format!("{}/{}", application.namespace, application.name);
    let uid = application.uid.clone();
    let observed = follow(context, remote, application, patience, |observed| {
        // Another uid: the name was free, and someone has taken it.
        let taken = observed.application().is_some_and(|now| now.uid != uid);
        (observed.is_gone() || taken).then_some(Ok(()))
    });
    match observed.await? {
        Outcome::Done(_) => {
            context.out.note(&format!("application {name}: gone"));
            Ok(())
        }
        Outcome::TimedOut(observed) => {
            let status = observed
                .application()
                .and_then(|application| application.status.as_ref());
            let waiting = status
                .map(|status| status.waiting_for.join(", "))
                .unwrap_or_default();
            let waiting = if waiting.is_empty() {
                "its instances".to_owned()
            } else {
                waiting
            };
            Err(CliError::Failed(format!(
                "application {name} is not gone after {}; it waits for {waiting}\n{}\n\
                 it goes on by itself; if they never come back: edgeio delete {} -n {} --force",
                humantime::format_duration(patience.timeout),
                observed.unfinished(),
                application.name,
                application.namespace,
            )))
        }
    }
}

enum Outcome {
    Done(Result<(), String>),
    TimedOut(Box<Observed>),
}

async fn follow(
    context: &Context,
    remote: &Remote,
    application: &Application,
    patience: &Patience,
    mut judge: impl FnMut(&Observed) -> Option<Result<(), String>>,
) -> Result<Outcome, CliError> {
    let mut events = remote.watch(&application.namespace, &application.name);
    let mut observed = Observed::default();
    let mut progress = Progress::new(context.out);
    loop {
        let event = match tokio::time::timeout(patience.left(), events.next()).await {
            Ok(Some(event)) => event?,
            Ok(None) => return Err(CliError::Failed("the watch ended".to_owned())),
            Err(_) => return Ok(Outcome::TimedOut(Box::new(observed))),
        };
        match event {
            WatchEvent::Message(message) => observed.take(message),
            WatchEvent::Restarted => observed.clear(),
            WatchEvent::Interrupted { .. } => {
                progress.note(&format!("lost {}; trying again", remote.server()));
                continue;
            }
        }
        // Before the bookmark only part of what exists was told.
        if !observed.is_complete() {
            continue;
        }
        progress.show(&rows(&observed, application));
        if let Some(verdict) = judge(&observed) {
            return Ok(Outcome::Done(verdict));
        }
    }
}

fn rows(observed: &Observed, application: &Application) -> Vec<Row> {
    let mut rows = observed.rows();
    if let Some(status) = observed.application().and_then(|now| now.status.as_ref())
        && !status.waiting_for.is_empty()
    {
        rows.push(Row {
            key: application.name.clone(),
            stage: application_phase(status.phase),
            detail: format!("waits for {}", status.waiting_for.join(", ")),
        });
    }
    rows
}

fn already_failed(observed: &Observed, replaced: &BTreeSet<String>) -> BTreeSet<String> {
    let failed = observed.failed();
    let instances = observed.instances().into_iter();
    instances
        .filter(|i| failed.contains(&i.id) && replaced.contains(&i.service))
        .map(|i| i.id.clone())
        .collect()
}
