//! Runtimes that are not built in: the trait over a Unix socket, to a driver that somebody else wrote.
//!
//! A driver is a program beside the worker, in any language, that serves `edgeio.runtime.v1.DriverService`
//! (`proto/edgeio/runtime/v1/driver.proto`). The configuration gives it a name, and specs choose it by that. It may be killed and
//! started again at any time, as the worker may: its engine is the memory, and both find again what runs. [`serve`] is the other half, for
//! drivers that are written in Rust; DRIVERS.md says how.
//!
//! Deliberately absent: starting or watching the driver's process. It belongs to whoever installs it.

mod connection;
mod events;
mod failure;
mod serve;
mod wire;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use edgeio_proto::runtime::v1 as proto;
use futures::{FutureExt as _, future::BoxFuture, stream::BoxStream};
use proto::ensure_instance_response::Told;
use tokio::time::timeout;
use tonic::Status;
use uuid::Uuid;

use self::{
    connection::{Client, ConnectError, Connection, Session, is_cut},
    failure::About,
};
use super::{
    Capabilities, ErrorClass, Exit, InstanceId, JobSpec, Observed, Progress, Runtime, RuntimeError,
    RuntimeEvent, RuntimeKind, Stats, Step,
};

pub use serve::{ServeError, Served, serve};

/// How long a driver may take for one call, beyond the grace of a stop: what a slow engine under load needs, by far.
const ANSWER_WITHIN: Duration = Duration::from_secs(120);
/// How long it may say nothing while an instance is made. It repeats its last step each minute.
const SILENT_AT_MOST: Duration = Duration::from_secs(180);

/// Where a driver is, and what it is called here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalConfig {
    /// The name by which specs choose it.
    pub name: RuntimeKind,
    /// The driver's socket.
    pub socket: PathBuf,
}

/// A runtime behind a driver.
pub struct ExternalRuntime {
    name: RuntimeKind,
    connection: Arc<Connection>,
    leases: Arc<Mutex<BTreeMap<InstanceId, Lease>>>,
}

/// Until when a driver was told that an instance may run.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Lease {
    until: Duration,
    /// It has answered.
    told: bool,
}

/// One call of the contract.
type Make<R, T> =
    for<'c> fn(&'c mut Client, R) -> BoxFuture<'c, Result<tonic::Response<T>, Status>>;

impl ExternalRuntime {
    /// A runtime behind the driver at a socket. Nothing is asked of it before it is used.
    pub fn new(config: ExternalConfig) -> Self {
        Self {
            name: config.name,
            connection: Arc::new(Connection::new(config.socket)),
            leases: Arc::default(),
        }
    }

    fn at(&self) -> String {
        self.connection.socket.display().to_string()
    }

    fn away(&self, error: ConnectError) -> RuntimeError {
        failure::reach(&self.name, &self.at(), error)
    }

    /// Makes a call; once more with a new session if an old one turns out to be over.
    async fn call<R: Clone + Send + Sync, T>(
        &self,
        about: About<'_>,
        within: Duration,
        request: R,
        make: Make<R, T>,
    ) -> Result<T, RuntimeError> {
        loop {
            let (session, new) = self.connection.session().await.map_err(|e| self.away(e))?;
            let mut client = session.client.clone();
            let Ok(answered) = timeout(within, make(&mut client, request.clone())).await else {
                let status = Status::deadline_exceeded(format!(
                    "the driver did not answer within {within:?}"
                ));
                return Err(self.failed(&status, about));
            };
            match answered {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) if self.ended(&session, &status).await && !new => {}
                Err(status) => return Err(self.failed(&status, about)),
            }
        }
    }

    /// Whether the session is over.
    async fn ended(&self, session: &Arc<Session>, status: &Status) -> bool {
        let cut = is_cut(status);
        if cut {
            self.connection.forget(session).await;
        }
        cut
    }

    fn failed(&self, status: &Status, about: About<'_>) -> RuntimeError {
        if is_cut(status) {
            return failure::reach(&self.name, &self.at(), status.clone());
        }
        failure::read(status, about, &self.name, &self.at())
    }

    /// One attempt to make an instance. `Err(None)`: the session was an old one and is over.
    async fn make(
        &self,
        job: &JobSpec,
        progress: &dyn Progress,
    ) -> Result<Observed, Option<RuntimeError>> {
        let (session, new) = self.connection.session().await.map_err(|e| self.away(e))?;
        let mut verb = "create";
        let asked = proto::EnsureInstanceRequest {
            job: Some(job.into()),
        };
        let mut client = session.client.clone();
        let heard = async {
            let mut steps = timeout(SILENT_AT_MOST, client.ensure_instance(asked))
                .await
                .map_err(|_elapsed| silent())??
                .into_inner();
            loop {
                let next = timeout(SILENT_AT_MOST, steps.message()).await;
                let message = next.map_err(|_elapsed| silent())??;
                let Some(message) = message else {
                    return Err(Status::aborted("the driver told no instance in the end"));
                };
                match message.told {
                    Some(Told::Instance(instance)) => return Ok(instance),
                    Some(Told::Pulling(told)) => progress.step(Step::Pulling {
                        current: told.current_bytes,
                        total: told.total_bytes,
                    }),
                    Some(Told::Creating(proto::Creating {})) => progress.step(Step::Creating),
                    Some(Told::Starting(proto::Starting {})) => {
                        verb = "start";
                        progress.step(Step::Starting);
                    }
                    // A step of a newer driver.
                    None => {}
                }
            }
        }
        .await;
        match heard {
            Ok(instance) => wire::instance(instance).map_err(|e| Some(self.misread(e, verb))),
            Err(status) if self.ended(&session, &status).await && !new => Err(None),
            Err(status) => {
                let about = About::Job(verb, job.instance(), job.image.as_deref());
                Err(Some(self.failed(&status, about)))
            }
        }
    }

    fn misread(&self, garbled: wire::Garbled, verb: &'static str) -> RuntimeError {
        failure::misread(garbled, verb, &self.name)
    }
}

fn silent() -> Status {
    Status::deadline_exceeded(format!("the driver said nothing for {SILENT_AT_MOST:?}"))
}

#[async_trait]
impl Runtime for ExternalRuntime {
    fn kind(&self) -> RuntimeKind {
        self.name.clone()
    }

    async fn capabilities(&self) -> Result<Capabilities, RuntimeError> {
        let about = About::Engine("ask for the abilities");
        let request = proto::GetCapabilitiesRequest {};
        let told = self
            .call(about, ANSWER_WITHIN, request, |client, request| {
                client.get_capabilities(request).boxed()
            })
            .await?;
        Ok(wire::capabilities(told))
    }

    async fn list_owned(&self, worker: Uuid) -> Result<Vec<Observed>, RuntimeError> {
        const VERB: &str = "list instances";
        let worker_id = worker.to_string();
        let request = proto::ListInstancesRequest { worker_id };
        let about = About::Engine(VERB);
        let told = self
            .call(about, ANSWER_WITHIN, request, |client, request| {
                client.list_instances(request).boxed()
            })
            .await?;
        let all = told.instances.into_iter().map(wire::instance);
        let all: Vec<Observed> = all
            .collect::<Result<_, _>>()
            .map_err(|e| self.misread(e, VERB))?;
        // A driver that forgets to look whose they are must not make us own what is another worker's.
        Ok(all
            .into_iter()
            .filter(|found| found.labels.worker == worker)
            .collect())
    }

    async fn observe(&self, instance: InstanceId) -> Result<Option<Observed>, RuntimeError> {
        let about = About::Instance("inspect", instance);
        let instance_id = instance.to_string();
        let request = proto::ObserveInstanceRequest { instance_id };
        let told = self
            .call(about, ANSWER_WITHIN, request, |client, request| {
                client.observe_instance(request).boxed()
            })
            .await;
        match told {
            Ok(told) => {
                let found = told.instance.map(wire::instance).transpose();
                found.map_err(|e| self.misread(e, "inspect"))
            }
            Err(error) if error.class() == ErrorClass::Gone => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn ensure(
        &self,
        job: &JobSpec,
        progress: &dyn Progress,
    ) -> Result<Observed, RuntimeError> {
        loop {
            match self.make(job, progress).await {
                Ok(observed) => return Ok(observed),
                Err(Some(error)) => return Err(error),
                Err(None) => {}
            }
        }
    }

    async fn restart(&self, job: &JobSpec) -> Result<Observed, RuntimeError> {
        let about = About::Job("restart", job.instance(), job.image.as_deref());
        let job = Some(job.into());
        let request = proto::RestartInstanceRequest { job };
        let told = self
            .call(about, ANSWER_WITHIN, request, |client, request| {
                client.restart_instance(request).boxed()
            })
            .await?;
        wire::the_instance(told.instance).map_err(|e| self.misread(e, "restart"))
    }

    async fn stop(
        &self,
        instance: InstanceId,
        grace: Duration,
    ) -> Result<Option<Exit>, RuntimeError> {
        let about = About::Instance("stop", instance);
        let request = proto::StopInstanceRequest {
            instance_id: instance.to_string(),
            grace_ms: u64::try_from(grace.as_millis()).unwrap_or(u64::MAX),
        };
        let told = self
            .call(about, ANSWER_WITHIN + grace, request, |client, request| {
                client.stop_instance(request).boxed()
            })
            .await;
        match told {
            Ok(told) => Ok(told.exit.map(Exit::from)),
            Err(error) if error.class() == ErrorClass::Gone => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn remove(&self, instance: InstanceId) -> Result<(), RuntimeError> {
        let about = About::Instance("remove", instance);
        let instance_id = instance.to_string();
        let request = proto::RemoveInstanceRequest { instance_id };
        let removed = self
            .call(about, ANSWER_WITHIN, request, |client, request| {
                client.remove_instance(request).boxed()
            })
            .await;
        let mut leases = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
        leases.remove(&instance);
        match removed {
            Ok(proto::RemoveInstanceResponse {}) => Ok(()),
            Err(error) if error.class() == ErrorClass::Gone => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn pause(&self, instance: InstanceId) -> Result<(), RuntimeError> {
        let about = About::Instance("pause", instance);
        let instance_id = instance.to_string();
        let request = proto::PauseInstanceRequest { instance_id };
        let proto::PauseInstanceResponse {} = self
            .call(about, ANSWER_WITHIN, request, |client, request| {
                client.pause_instance(request).boxed()
            })
            .await?;
        Ok(())
    }

    async fn resume(&self, instance: InstanceId) -> Result<(), RuntimeError> {
        let about = About::Instance("resume", instance);
        let instance_id = instance.to_string();
        let request = proto::ResumeInstanceRequest { instance_id };
        let proto::ResumeInstanceResponse {} = self
            .call(about, ANSWER_WITHIN, request, |client, request| {
                client.resume_instance(request).boxed()
            })
            .await?;
        Ok(())
    }

    fn renew(&self, instance: InstanceId, until: Duration) -> bool {
        let mut leases = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lease) = leases.get(&instance)
            && lease.until == until
        {
            // Either it knows, or it is being told, and whoever asks again hears the outcome.
            return lease.told;
        }
        leases.insert(instance, Lease { until, told: false });
        let (connection, leases) = (self.connection.clone(), self.leases.clone());
        tokio::spawn(async move {
            let told = tell_lease(&connection, instance, until).await;
            let mut leases = leases.lock().unwrap_or_else(PoisonError::into_inner);
            // Meanwhile it may have been removed, or moved once more.
            if let Some(lease) = leases.get_mut(&instance).filter(|l| l.until == until) {
                lease.told = told;
                if !told {
                    leases.remove(&instance);
                }
            }
        });
        false
    }

    async fn stats(&self, instance: InstanceId) -> Result<Stats, RuntimeError> {
        let about = About::Instance("measure", instance);
        let instance_id = instance.to_string();
        let request = proto::InstanceStatsRequest { instance_id };
        let told = self
            .call(about, ANSWER_WITHIN, request, |client, request| {
                client.instance_stats(request).boxed()
            })
            .await?;
        Ok(Stats {
            cpu_ns_total: told.cpu_ns_total,
            memory_bytes: told.memory_bytes,
        })
    }

    async fn tail(&self, instance: InstanceId, max_bytes: usize) -> Result<Vec<u8>, RuntimeError> {
        let about = About::Instance("read the output of", instance);
        let request = proto::InstanceTailRequest {
            instance_id: instance.to_string(),
            max_bytes: u32::try_from(max_bytes).unwrap_or(u32::MAX),
        };
        let told = self
            .call(about, ANSWER_WITHIN, request, |client, request| {
                client.instance_tail(request).boxed()
            })
            .await?;
        // The last of it is what was asked for, also where the driver sends more.
        let surplus = told.output.len().saturating_sub(max_bytes);
        Ok(told.output.get(surplus..).unwrap_or_default().to_vec())
    }

    async fn events(&self) -> Result<BoxStream<'static, RuntimeEvent>, RuntimeError> {
        let about = About::Engine("watch events");
        let request = proto::WatchEventsRequest {};
        let mut events = self
            .call(about, ANSWER_WITHIN, request, |client, request| {
                client.watch_events(request).boxed()
            })
            .await?;
        // The first gap: from here on nothing is missed.
        let first = timeout(ANSWER_WITHIN, events.message()).await;
        first
            .unwrap_or_else(|_elapsed| Err(silent()))
            .map_err(|status| self.failed(&status, about))?;
        Ok(events::watch(self.connection.clone(), events))
    }
}

/// Tells a driver until when an exclusive instance may run, if it ends such by itself.
async fn tell_lease(connection: &Connection, instance: InstanceId, until: Duration) -> bool {
    let Ok((session, _)) = connection.session().await else {
        return false;
    };
    if !session.driver.keeps_leases {
        return true;
    }
    let request = proto::RenewLeaseRequest {
        instance_id: instance.to_string(),
        until_boot_ns: wire::nanos(until),
    };
    let told = timeout(ANSWER_WITHIN, session.client.clone().renew_lease(request)).await;
    match told {
        Ok(Ok(_)) => true,
        Ok(Err(status)) => {
            if is_cut(&status) {
                connection.forget(&session).await;
            }
            tracing::debug!(%status, %instance, "the driver did not take a lease");
            false
        }
        Err(_elapsed) => false,
    }
}
