//! A runtime without an engine: what tests and simulations script.
//!
//! [`FakeEngine`] plays the engine (it outlives drivers and agents), [`FakeRuntime`] the driver. It passes the same conformance suite
//! as the real ones. Time is tokio's, so it runs under a paused clock; start times come from the clock it is given. Deliberately
//! absent: threads, processes, files. Behind the `fake` feature; [`MARKER`] lets a release binary be searched for it.

mod engine;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::{StreamExt, stream::BoxStream};
use tokio_stream::wrappers::BroadcastStream;
use uuid::Uuid;

pub use engine::{FakeEngine, Op};

use super::{
    Capabilities, ErrorClass, Exit, Feature, InstanceId, JobSpec, Missing, Observed, Progress,
    Runtime, RuntimeError, RuntimeEvent, RuntimeKind, Stats, Step,
};

/// In every binary that holds the fake: no release binary may contain these bytes.
pub const MARKER: &str = "edgeio-fake-runtime-6c1f0d9e";

/// A driver of a [`FakeEngine`].
#[derive(Clone)]
pub struct FakeRuntime {
    engine: Arc<FakeEngine>,
    kind: RuntimeKind,
}

impl FakeRuntime {
    /// A driver of `engine` that calls itself `fake`.
    pub fn new(engine: Arc<FakeEngine>) -> Self {
        Self::named(engine, RuntimeKind::FAKE)
    }

    /// A driver of `engine` that stands in for the runtime `kind`.
    pub fn named(engine: Arc<FakeEngine>, kind: RuntimeKind) -> Self {
        Self { engine, kind }
    }

    fn gone(instance: InstanceId, verb: &'static str) -> RuntimeError {
        RuntimeError::Gone { instance, verb }
    }
}

#[async_trait]
impl Runtime for FakeRuntime {
    fn kind(&self) -> RuntimeKind {
        self.kind.clone()
    }

    async fn capabilities(&self) -> Result<Capabilities, RuntimeError> {
        self.engine.enter(Op::Capabilities, None).await?;
        let missing: Vec<Missing> = self.engine.missing();
        let features: BTreeSet<Feature> = Feature::ALL
            .into_iter()
            .filter(|f| missing.iter().all(|m| m.feature != *f))
            .collect();
        Ok(Capabilities {
            version: MARKER.to_owned(),
            features,
            missing,
        })
    }

    async fn list_owned(&self, worker: Uuid) -> Result<Vec<Observed>, RuntimeError> {
        self.engine.enter(Op::List, None).await?;
        let all = self.engine.instances();
        Ok(all
            .into_iter()
            .filter(|o| o.labels.worker == worker)
            .collect())
    }

    async fn observe(&self, instance: InstanceId) -> Result<Option<Observed>, RuntimeError> {
        self.engine.enter(Op::Observe, Some(instance)).await?;
        Ok(self.engine.get(instance))
    }

    async fn ensure(
        &self,
        job: &JobSpec,
        progress: &dyn Progress,
    ) -> Result<Observed, RuntimeError> {
        if let Some(have) = self.engine.get(job.instance())
            && have.labels.spec_hash != job.labels.spec_hash
        {
            return Err(RuntimeError::Conflict {
                instance: job.instance(),
                why: format!("it runs spec {}", have.labels.spec_hash),
            });
        }
        if let Some(image) = &job.image
            && self.engine.get(job.instance()).is_none()
        {
            progress.step(Step::Pulling {
                current: 0,
                total: 1,
            });
            self.engine.enter(Op::Pull, Some(job.instance())).await?;
            self.engine.check_image(image)?;
            progress.step(Step::Pulling {
                current: 1,
                total: 1,
            });
        }
        progress.step(Step::Creating);
        self.engine.enter(Op::Create, Some(job.instance())).await?;
        self.engine.create(job);
        progress.step(Step::Starting);
        self.engine.enter(Op::Start, Some(job.instance())).await?;
        self.engine
            .start_created(job.instance())
            .ok_or_else(|| Self::gone(job.instance(), "start"))
    }

    async fn restart(&self, job: &JobSpec) -> Result<Observed, RuntimeError> {
        self.engine.enter(Op::Restart, Some(job.instance())).await?;
        self.engine
            .start_exited(job.instance())
            .ok_or_else(|| Self::gone(job.instance(), "restart"))
    }

    async fn stop(
        &self,
        instance: InstanceId,
        grace: Duration,
    ) -> Result<Option<Exit>, RuntimeError> {
        self.engine.enter(Op::Stop, Some(instance)).await?;
        if self.engine.terminate(instance) {
            tokio::time::sleep(grace).await;
            self.engine.kill(instance, 9);
        }
        Ok(self.engine.exit_of(instance))
    }

    async fn remove(&self, instance: InstanceId) -> Result<(), RuntimeError> {
        self.engine.enter(Op::Remove, Some(instance)).await?;
        self.engine.forget(instance);
        Ok(())
    }

    async fn pause(&self, instance: InstanceId) -> Result<(), RuntimeError> {
        self.engine.enter(Op::Pause, Some(instance)).await?;
        self.engine
            .freeze(instance)
            .then_some(())
            .ok_or_else(|| Self::gone(instance, "pause"))
    }

    async fn resume(&self, instance: InstanceId) -> Result<(), RuntimeError> {
        self.engine.enter(Op::Resume, Some(instance)).await?;
        self.engine
            .thaw(instance)
            .then_some(())
            .ok_or_else(|| Self::gone(instance, "resume"))
    }

    async fn stats(&self, instance: InstanceId) -> Result<Stats, RuntimeError> {
        self.engine.enter(Op::Stats, Some(instance)).await?;
        self.engine
            .stats(instance)
            .ok_or_else(|| Self::gone(instance, "measure"))
    }

    async fn tail(&self, instance: InstanceId, max_bytes: usize) -> Result<Vec<u8>, RuntimeError> {
        self.engine.enter(Op::Tail, Some(instance)).await?;
        let output = self.engine.output(instance);
        let output = output.ok_or_else(|| Self::gone(instance, "read the output of"))?;
        let from = output.len().saturating_sub(max_bytes);
        Ok(output.get(from..).unwrap_or_default().to_vec())
    }

    async fn events(&self) -> Result<BoxStream<'static, RuntimeEvent>, RuntimeError> {
        self.engine.enter(Op::Events, None).await?;
        let stream = BroadcastStream::new(self.engine.subscribe());
        Ok(stream
            .map(|event| event.unwrap_or(RuntimeEvent::Gap))
            .boxed())
    }
}

/// The failure a script asked for.
fn scripted(op: Op, instance: Option<InstanceId>, class: ErrorClass) -> RuntimeError {
    let source = "scripted failure".into();
    match instance {
        Some(instance) => RuntimeError::Verb {
            verb: op.verb(),
            instance,
            class,
            source,
        },
        None => RuntimeError::Engine {
            verb: op.verb(),
            runtime: RuntimeKind::FAKE,
            source,
        },
    }
}
