//! The driver's half, for drivers in Rust: anything that implements [`Runtime`], served on a Unix socket.
//!
//! Only the driver's own user and root get an answer: the socket is made with mode 0600, and the kernel is asked who calls. What a
//! call has begun is carried out also when its caller goes away, except while an image is pulled.

use std::{
    collections::HashMap,
    fs, io,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use edgeio_proto::runtime::v1::{
    self as proto,
    driver_service_server::{DriverService, DriverServiceServer},
    ensure_instance_response::Told,
};
use futures::{Stream, StreamExt as _, stream};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::{mpsc, watch},
    time::{MissedTickBehavior, interval},
};
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::{Request, Response, Status, transport::Server};

use super::{
    connection::{PROTOCOL_KEY, PROTOCOLS},
    failure, wire,
};
use crate::runtime::{InstanceId, JobSpec, Progress, Runtime, RuntimeError, RuntimeEvent, Step};

/// How often the last step is repeated while an instance is made: twice in the minute that the protocol allows.
const REPEAT_EVERY: Duration = Duration::from_secs(30);
/// How many steps wait for a slow reader. The newest is what counts, and it is repeated.
const STEPS: usize = 16;

/// What a driver says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// Its name, for people.
    pub name: String,
    /// Its version, for people.
    pub version: String,
    /// It ends exclusive jobs by itself when their lease is over: [`Runtime::renew`] does something.
    pub keeps_leases: bool,
}

/// Why a driver does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The socket cannot be made.
    #[error("listen on `{at}`")]
    Listen {
        /// Where.
        at: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another driver listens there.
    #[error("another driver listens on `{at}`")]
    Taken {
        /// Where.
        at: PathBuf,
    },
    /// The server failed.
    #[error("serve on `{at}`")]
    Serve {
        /// Where.
        at: PathBuf,
        /// Why.
        #[source]
        source: tonic::transport::Error,
    },
}

/// Serves a runtime on a socket until `stop`. A socket that a killed driver has left is replaced. Calls that are under way when it
/// stops are cut off.
///
/// # Errors
/// The socket cannot be made, or another driver listens on it.
pub async fn serve(
    socket: &Path,
    about: Served,
    runtime: Arc<dyn Runtime>,
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let listener = listen(socket).await?;
    let own = rustix::process::geteuid().as_raw();
    let ours = UnixListenerStream::new(listener).filter(move |accepted| {
        let known = accepted.as_ref().map_or(Ok(true), |stream: &UnixStream| {
            let caller = stream.peer_cred()?.uid();
            Ok::<_, io::Error>(caller == 0 || caller == own)
        });
        std::future::ready(known.unwrap_or(false))
    });
    let driver = Driver {
        about,
        runtime,
        turns: Arc::default(),
    };
    let serving = Server::builder()
        .add_service(DriverServiceServer::new(driver))
        .serve_with_incoming(ours);
    let served = tokio::select! {
        served = serving => served,
        () = stop => Ok(()),
    };
    // It may be another's by now, and is replaced by whoever comes next anyway.
    let _ = fs::remove_file(socket);
    served.map_err(|source| ServeError::Serve {
        at: socket.to_owned(),
        source,
    })
}

/// A socket that nobody else could use at any time: made in a directory of its own, and moved when its mode is right.
async fn listen(socket: &Path) -> Result<UnixListener, ServeError> {
    if UnixStream::connect(socket).await.is_ok() {
        return Err(ServeError::Taken {
            at: socket.to_owned(),
        });
    }
    let failed = |source| ServeError::Listen {
        at: socket.to_owned(),
        source,
    };
    let mut hidden = socket.as_os_str().to_owned();
    hidden.push(format!(".{}", std::process::id()));
    let hidden = PathBuf::from(hidden);
    let made = || {
        if hidden.exists() {
            fs::remove_dir_all(&hidden)?;
        }
        fs::DirBuilder::new().mode(0o700).create(&hidden)?;
        let new = hidden.join("s");
        let listener = UnixListener::bind(&new)?;
        fs::set_permissions(&new, fs::Permissions::from_mode(0o600))?;
        fs::rename(&new, socket)?;
        fs::remove_dir(&hidden)?;
        Ok(listener)
    };
    made().map_err(failed)
}

struct Driver {
    about: Served,
    runtime: Arc<dyn Runtime>,
    turns: Arc<Turns>,
}

/// Whose turn it is. A caller that goes away leaves a verb under way, and asks for the next one: a runtime is promised verbs of one
/// instance one by one.
#[derive(Default)]
struct Turns(Mutex<HashMap<InstanceId, Arc<tokio::sync::Mutex<()>>>>);

impl Turns {
    /// Does this when those before it are done.
    async fn take<T>(&self, instance: InstanceId, verb: impl Future<Output = T>) -> T {
        let locked = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = locked().entry(instance).or_default().clone();
        let mine = turn.lock().await;
        let done = verb.await;
        drop(mine);
        drop(turn);
        let mut all = locked();
        // Nobody waits and nobody will have waited: others take theirs under this lock.
        if all
            .get(&instance)
            .is_some_and(|turn| Arc::strong_count(turn) == 1)
        {
            all.remove(&instance);
        }
        done
    }
}

/// Refuses a caller that speaks another version.
fn check<T>(request: Request<T>) -> Result<T, Status> {
    let said = request.metadata().get(PROTOCOL_KEY);
    let version = said.and_then(|said| said.to_str().ok()?.parse::<u32>().ok());
    if version.is_some_and(|version| PROTOCOLS.contains(&version)) {
        return Ok(request.into_inner());
    }
    Err(failure::wrong_protocol(format!(
        "say in the metadata `{PROTOCOL_KEY}` which version of the protocol is spoken: this driver speaks {} to {}",
        PROTOCOLS.start(),
        PROTOCOLS.end()
    )))
}

fn garbled(error: wire::Garbled) -> Status {
    failure::refuse(&error)
}

fn failed(error: RuntimeError) -> Status {
    failure::write(&error)
}

impl Driver {
    /// Carries a verb out to its end, whether or not its caller waits for it.
    async fn carry_out<T: Send + 'static>(
        &self,
        instance: InstanceId,
        verb: impl Future<Output = Result<T, RuntimeError>> + Send + 'static,
    ) -> Result<T, Status> {
        let turns = self.turns.clone();
        match tokio::spawn(async move { turns.take(instance, verb).await }).await {
            Ok(done) => done.map_err(failed),
            Err(panic) => Err(Status::internal(format!("the driver failed: {panic}"))),
        }
    }
}

/// Passes steps on as they come, and remembers the last one.
struct Steps {
    sender: mpsc::Sender<Result<proto::EnsureInstanceResponse, Status>>,
    last: Mutex<Option<Step>>,
    /// Whether giving up now leaves nothing behind.
    pulling: watch::Sender<bool>,
}

impl Steps {
    fn tell(&self, step: Step) {
        let told = proto::EnsureInstanceResponse {
            told: Some(wire::write_step(step)),
        };
        // Where nobody listens fast enough the next one is as good.
        let _ = self.sender.try_send(Ok(told));
    }

    fn repeat(&self) {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        self.tell(last.unwrap_or(Step::Creating));
    }
}

impl Progress for Steps {
    fn step(&self, step: Step) {
        self.pulling
            .send_replace(matches!(step, Step::Pulling { .. }));
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(step);
        self.tell(step);
    }
}

/// Makes an instance; given up while an image is pulled when nobody listens any more.
async fn ensure(
    runtime: Arc<dyn Runtime>,
    job: JobSpec,
    sender: mpsc::Sender<Result<proto::EnsureInstanceResponse, Status>>,
) {
    let (pulling, mut pulls) = watch::channel(false);
    let steps = Steps {
        sender: sender.clone(),
        last: Mutex::new(None),
        pulling,
    };
    let given_up = async {
        sender.closed().await;
        if pulls.wait_for(|pulls| *pulls).await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    let repeated = async {
        let mut every = interval(REPEAT_EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        every.tick().await;
        loop {
            every.tick().await;
            steps.repeat();
        }
    };
    let made = tokio::select! {
        biased;
        made = runtime.ensure(&job, &steps) => made,
        () = given_up => return,
        () = repeated => return,
    };
    let last = made
        .map_err(failed)
        .map(|observed| proto::EnsureInstanceResponse {
            told: Some(Told::Instance(observed.into())),
        });
    // Whoever has gone away lists what there is.
    let _ = sender.send(last).await;
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl DriverService for Driver {
    async fn describe(
        &self,
        _: Request<proto::DescribeRequest>,
    ) -> Result<Response<proto::DescribeResponse>, Status> {
        Ok(Response::new(proto::DescribeResponse {
            name: self.about.name.clone(),
            version: self.about.version.clone(),
            protocol_min: *PROTOCOLS.start(),
            protocol_max: *PROTOCOLS.end(),
            keeps_leases: self.about.keeps_leases,
        }))
    }

    async fn get_capabilities(
        &self,
        request: Request<proto::GetCapabilitiesRequest>,
    ) -> Result<Response<proto::GetCapabilitiesResponse>, Status> {
        check(request)?;
        let can = self.runtime.capabilities().await.map_err(failed)?;
        Ok(Response::new(can.into()))
    }

    async fn list_instances(
        &self,
        request: Request<proto::ListInstancesRequest>,
    ) -> Result<Response<proto::ListInstancesResponse>, Status> {
        let worker = wire::worker_id(&check(request)?.worker_id).map_err(garbled)?;
        let all = self.runtime.list_owned(worker).await.map_err(failed)?;
        let instances = all.into_iter().map(Into::into).collect();
        Ok(Response::new(proto::ListInstancesResponse { instances }))
    }

    async fn observe_instance(
        &self,
        request: Request<proto::ObserveInstanceRequest>,
    ) -> Result<Response<proto::ObserveInstanceResponse>, Status> {
        let id = wire::instance_id(&check(request)?.instance_id).map_err(garbled)?;
        let found = self.runtime.observe(id).await.map_err(failed)?;
        let instance = found.map(Into::into);
        Ok(Response::new(proto::ObserveInstanceResponse { instance }))
    }

    type EnsureInstanceStream = Answers<proto::EnsureInstanceResponse>;

    async fn ensure_instance(
        &self,
        request: Request<proto::EnsureInstanceRequest>,
    ) -> Result<Response<Self::EnsureInstanceStream>, Status> {
        let job = wire::job(check(request)?.job).map_err(garbled)?;
        let (sender, receiver) = mpsc::channel(STEPS);
        let (turns, instance) = (self.turns.clone(), job.instance());
        let made = ensure(self.runtime.clone(), job, sender);
        tokio::spawn(async move { turns.take(instance, made).await });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn restart_instance(
        &self,
        request: Request<proto::RestartInstanceRequest>,
    ) -> Result<Response<proto::RestartInstanceResponse>, Status> {
        let job = wire::job(check(request)?.job).map_err(garbled)?;
        let runtime = self.runtime.clone();
        let observed = self
            .carry_out(job.instance(), async move { runtime.restart(&job).await })
            .await?;
        let instance = Some(observed.into());
        Ok(Response::new(proto::RestartInstanceResponse { instance }))
    }

    async fn stop_instance(
        &self,
        request: Request<proto::StopInstanceRequest>,
    ) -> Result<Response<proto::StopInstanceResponse>, Status> {
        let asked = check(request)?;
        let id = wire::instance_id(&asked.instance_id).map_err(garbled)?;
        let grace = Duration::from_millis(asked.grace_ms);
        let runtime = self.runtime.clone();
        let exit = self
            .carry_out(id, async move { runtime.stop(id, grace).await })
            .await?;
        let exit = exit.map(Into::into);
        Ok(Response::new(proto::StopInstanceResponse { exit }))
    }

    async fn remove_instance(
        &self,
        request: Request<proto::RemoveInstanceRequest>,
    ) -> Result<Response<proto::RemoveInstanceResponse>, Status> {
        let id = wire::instance_id(&check(request)?.instance_id).map_err(garbled)?;
        let runtime = self.runtime.clone();
        self.carry_out(id, async move { runtime.remove(id).await })
            .await?;
        Ok(Response::new(proto::RemoveInstanceResponse {}))
    }

    async fn pause_instance(
        &self,
        request: Request<proto::PauseInstanceRequest>,
    ) -> Result<Response<proto::PauseInstanceResponse>, Status> {
        let id = wire::instance_id(&check(request)?.instance_id).map_err(garbled)?;
        let runtime = self.runtime.clone();
        self.carry_out(id, async move { runtime.pause(id).await })
            .await?;
        Ok(Response::new(proto::PauseInstanceResponse {}))
    }

    async fn resume_instance(
        &self,
        request: Request<proto::ResumeInstanceRequest>,
    ) -> Result<Response<proto::ResumeInstanceResponse>, Status> {
        let id = wire::instance_id(&check(request)?.instance_id).map_err(garbled)?;
        let runtime = self.runtime.clone();
        self.carry_out(id, async move { runtime.resume(id).await })
            .await?;
        Ok(Response::new(proto::ResumeInstanceResponse {}))
    }

    async fn renew_lease(
        &self,
        request: Request<proto::RenewLeaseRequest>,
    ) -> Result<Response<proto::RenewLeaseResponse>, Status> {
        let asked = check(request)?;
        let id = wire::instance_id(&asked.instance_id).map_err(garbled)?;
        if self
            .runtime
            .renew(id, Duration::from_nanos(asked.until_boot_ns))
        {
            return Ok(Response::new(proto::RenewLeaseResponse {}));
        }
        Err(Status::aborted("its keeper could not be told"))
    }

    async fn instance_stats(
        &self,
        request: Request<proto::InstanceStatsRequest>,
    ) -> Result<Response<proto::InstanceStatsResponse>, Status> {
        let id = wire::instance_id(&check(request)?.instance_id).map_err(garbled)?;
        let stats = self.runtime.stats(id).await.map_err(failed)?;
        Ok(Response::new(proto::InstanceStatsResponse {
            cpu_ns_total: stats.cpu_ns_total,
            memory_bytes: stats.memory_bytes,
        }))
    }

    async fn instance_tail(
        &self,
        request: Request<proto::InstanceTailRequest>,
    ) -> Result<Response<proto::InstanceTailResponse>, Status> {
        let asked = check(request)?;
        let id = wire::instance_id(&asked.instance_id).map_err(garbled)?;
        let most = usize::try_from(asked.max_bytes).unwrap_or(usize::MAX);
        let output = self.runtime.tail(id, most).await.map_err(failed)?;
        Ok(Response::new(proto::InstanceTailResponse { output }))
    }

    type WatchEventsStream = Answers<proto::WatchEventsResponse>;

    async fn watch_events(
        &self,
        request: Request<proto::WatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        check(request)?;
        let events = self.runtime.events().await.map_err(failed)?;
        let first = stream::iter([RuntimeEvent::Gap]);
        let told = first.chain(events).map(|event| Ok(event.into()));
        Ok(Response::new(Box::pin(told)))
    }
}
