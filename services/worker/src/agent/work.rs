//! Carrying out the node's work on runtimes, and listening to what they hint.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use edgeio_client::{Backoff, BackoffPolicy};
use edgeio_domain::ids::AssignmentId;
use futures::StreamExt as _;
use tokio::{
    sync::{Notify, Semaphore, mpsc, watch},
    time::{sleep, timeout},
};
use tracing::debug;
use uuid::Uuid;

use super::{convert, provision::Provisioner};
use crate::{
    node::{Fault, FaultClass, Listing, OpKind, Outcome, Sight, TAIL_BYTES},
    runtime::{
        InstanceId, JobSpec, Observed, Progress, Runtime, RuntimeError, RuntimeEvent, RuntimeKind,
        Step,
    },
};

/// How long a listing may take. An engine with hundreds of containers on a slow disk takes seconds.
const LIST_WITHIN: Duration = Duration::from_secs(60);
/// How often the progress of a pull is told: often enough for an eye, a report each on a slow link.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// What comes back from tasks that are under way.
#[derive(Debug)]
pub(super) enum News {
    /// A runtime hints at a change: of one instance, or of anything.
    Hint(RuntimeKind, Option<AssignmentId>),
    /// A runtime answers again after it did not.
    Back(RuntimeKind),
    /// A start comes along.
    Progress(AssignmentId, String),
}

/// How much may be done at once.
#[derive(Clone)]
pub(super) struct Limits {
    /// Starts: they pull, unpack and fork.
    starts: Arc<Semaphore>,
    /// The rest is short or waits for a job to end, and must not queue behind pulls.
    rest: Arc<Semaphore>,
}

impl Limits {
    pub(super) fn new(cores: u32) -> Self {
        let cores = usize::try_from(cores).unwrap_or(1).max(1);
        Self {
            starts: Arc::new(Semaphore::new(cores * 2)),
            // Stops wait for graces of seconds: a machine of hundreds of jobs must drain in some of them.
            rest: Arc::new(Semaphore::new(32)),
        }
    }
}

/// One piece of work on one instance.
pub(super) struct Work {
    pub(super) id: AssignmentId,
    pub(super) kind: OpKind,
    pub(super) runtime: Arc<dyn Runtime>,
    pub(super) limits: Limits,
    pub(super) provisioner: Provisioner,
    pub(super) news: mpsc::Sender<News>,
    /// Notified when the node does not want it any more.
    pub(super) cancel: Arc<Notify>,
}

impl Work {
    /// Does it. Ended early only while that leaves nothing behind: before it begins and while an image is pulled.
    pub(super) async fn run(self) -> (AssignmentId, Outcome) {
        let (safe, mut safely) = watch::channel(true);
        let cancel = self.cancel.clone();
        let id = self.id;
        let given_up = async move {
            cancel.notified().await;
            // An error means that the work is over, and then the other branch is ready.
            if safely.wait_for(|safe| *safe).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let outcome = tokio::select! {
            biased;
            outcome = self.carry_out(safe) => outcome,
            () = given_up => Outcome::Fault(Fault {
                class: FaultClass::Cancelled,
                reason: "Cancelled".to_owned(),
                message: "it is not wanted any more".to_owned(),
            }),
        };
        (id, outcome)
    }

    async fn carry_out(self, safe: watch::Sender<bool>) -> Outcome {
        let starts = matches!(
            self.kind,
            OpKind::Ensure(_) | OpKind::Rerun(_) | OpKind::Restart(_)
        );
        let limit = if starts {
            &self.limits.starts
        } else {
            &self.limits.rest
        };
        // Never closed.
        let _permit = limit.acquire().await;
        safe.send_replace(false);
        let done = match &self.kind {
            OpKind::Tail => self.tail().await,
            OpKind::Ensure(job) => self.ensure(job, safe).await,
            OpKind::Rerun(job) => self.rerun(job).await.map(seen),
            OpKind::Restart(job) => self.restart(job, safe).await,
            OpKind::Stop { grace } => self.stop(*grace).await,
            OpKind::Pause => {
                self.then_look(self.runtime.pause(self.instance()).await)
                    .await
            }
            OpKind::Resume => {
                self.then_look(self.runtime.resume(self.instance()).await)
                    .await
            }
            OpKind::Look => self.then_look(Ok(())).await,
        };
        done.unwrap_or_else(|error| Outcome::Fault(convert::fault(&error)))
    }

    fn instance(&self) -> InstanceId {
        InstanceId(self.id.0)
    }

    async fn ensure(
        &self,
        job: &JobSpec,
        safe: watch::Sender<bool>,
    ) -> Result<Outcome, RuntimeError> {
        let progress = Teller {
            id: self.id,
            news: self.news.clone(),
            safe,
            told: Mutex::new(None),
        };
        let job = self.provisioner.prepare(job)?;
        self.runtime.ensure(&job, &progress).await.map(seen)
    }

    async fn rerun(&self, job: &JobSpec) -> Result<Observed, RuntimeError> {
        let job = self.provisioner.prepare(job)?;
        self.runtime.restart(&job).await
    }

    async fn restart(
        &self,
        job: &JobSpec,
        safe: watch::Sender<bool>,
    ) -> Result<Outcome, RuntimeError> {
        self.runtime.stop(self.instance(), job.stop_grace).await?;
        match self.rerun(job).await {
            Err(RuntimeError::Gone { .. }) => self.ensure(job, safe).await,
            other => other.map(seen),
        }
    }

    async fn stop(&self, grace: Duration) -> Result<Outcome, RuntimeError> {
        match self.runtime.stop(self.instance(), grace).await {
            Ok(_) | Err(RuntimeError::Gone { .. }) => {}
            Err(error) => return Err(error),
        }
        self.runtime.remove(self.instance()).await?;
        self.provisioner.clean(self.instance())?;
        Ok(Outcome::Seen(Sight::absent()))
    }

    async fn tail(&self) -> Result<Outcome, RuntimeError> {
        let tail = self.runtime.tail(self.instance(), TAIL_BYTES).await?;
        Ok(Outcome::Tail(tail))
    }

    async fn then_look(&self, done: Result<(), RuntimeError>) -> Result<Outcome, RuntimeError> {
        done?;
        let observed = self.runtime.observe(self.instance()).await?;
        Ok(Outcome::Seen(
            observed.map_or_else(Sight::absent, convert::sight),
        ))
    }
}

fn seen(observed: Observed) -> Outcome {
    Outcome::Seen(convert::sight(observed))
}

/// Tells how a pull comes along.
struct Teller {
    id: AssignmentId,
    news: mpsc::Sender<News>,
    safe: watch::Sender<bool>,
    told: Mutex<Option<Instant>>,
}

impl Progress for Teller {
    fn step(&self, step: Step) {
        self.safe.send_replace(matches!(step, Step::Pulling { .. }));
        let Step::Pulling { current, total } = step else {
            return;
        };
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_some_and(|at| at.elapsed() < PROGRESS_EVERY) {
            return;
        }
        *told = Some(Instant::now());
        let text = match total {
            0 => "pulling the image".to_owned(),
            total => format!(
                "pulling the image: {} of {}",
                megabytes(current),
                megabytes(total)
            ),
        };
        // Where nobody listens fast enough the next one is as good.
        let _ = self.news.try_send(News::Progress(self.id, text));
    }
}

fn megabytes(bytes: u64) -> String {
    // Whole tenths, without floating point.
    let tenths = bytes / 100_000;
    format!("{}.{} MB", tenths / 10, tenths % 10)
}

/// Lists what a runtime has of a worker.
pub(super) async fn list(runtime: Arc<dyn Runtime>, worker: Uuid) -> Listing {
    let result = match timeout(LIST_WITHIN, runtime.list_owned(worker)).await {
        Ok(Ok(all)) => Ok(all
            .into_iter()
            .map(|observed| (convert::id(&observed), convert::sight(observed)))
            .collect()),
        Ok(Err(error)) => Err(convert::fault(&error)),
        Err(_elapsed) => Err(Fault {
            class: FaultClass::Retry,
            reason: "RuntimeUnreachable".to_owned(),
            message: format!(
                "{} did not list its instances within {LIST_WITHIN:?}",
                runtime.kind()
            ),
        }),
    };
    Listing {
        runtime: runtime.kind(),
        result,
    }
}

/// Passes a runtime's hints on for as long as somebody listens. After each gap, anything may have changed.
pub(super) async fn watch_runtime(runtime: Arc<dyn Runtime>, news: mpsc::Sender<News>) {
    let kind = runtime.kind();
    let mut backoff = Backoff::new(BackoffPolicy {
        base: Duration::from_secs(1),
        ..BackoffPolicy::default()
    });
    let mut was_away = false;
    loop {
        let began = Instant::now();
        match runtime.events().await {
            Ok(mut events) => {
                let first = if was_away {
                    News::Back(kind.clone())
                } else {
                    News::Hint(kind.clone(), None)
                };
                if news.send(first).await.is_err() {
                    return;
                }
                while let Some(event) = events.next().await {
                    let what = match event {
                        RuntimeEvent::Changed { instance, .. } => {
                            News::Hint(kind.clone(), Some(AssignmentId(instance.0)))
                        }
                        // The engine was away: it may offer again what it did not meanwhile.
                        RuntimeEvent::Gap => News::Back(kind.clone()),
                    };
                    if news.send(what).await.is_err() {
                        return;
                    }
                }
            }
            Err(error) => debug!(runtime = %kind, error = %error.chain(), "no events"),
        }
        was_away = true;
        sleep(backoff.pause(began.elapsed())).await;
    }
}
