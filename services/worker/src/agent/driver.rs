//! The loop around the node: whatever happens goes in, whatever the node wants is done.

use std::{
    collections::{BTreeMap, HashMap},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use edgeio_bridge::bus::{BusEvents, Dial};
use edgeio_client::{Backoff, BackoffPolicy};
use edgeio_domain::ids::{AssignmentId, AttachId};
use edgeio_proto::link::v1::{ChildMessage, ParentMessage, Telemetry, child_message};
use futures::StreamExt as _;
use tokio::{
    sync::{Notify, mpsc},
    task::{AbortHandle, Id, JoinError, JoinSet},
    time::{Interval, MissedTickBehavior, interval, sleep},
};
use tracing::{debug, error, info};
use uuid::Uuid;

use super::{
    RunError,
    clock::{Alarm, now},
    engines::{Engines, capacity_of, offers},
    identity::Membership,
    register::Registration,
    telemetry::Meter,
    work::{Limits, News, Work, list, watch_runtime},
};
use crate::{
    inventory::RuntimeReport,
    node::{Effect, Fault, FaultClass, Listing, Node, Op, Outcome},
    runtime::{InstanceId, RuntimeKind},
};

/// The longest sleep. The alarm goes by the boot clock; what is due by the wall clock, which may jump, is looked at this often.
const LONGEST_SLEEP: Duration = Duration::from_secs(15);
/// Hints and progress that wait. A runtime that hints faster is held back, and says so itself when hints are lost.
const NEWS: usize = 256;
/// How long the broker may be away before the cluster is asked whether it has moved. A restart takes seconds.
const BROKER_AWAY: Duration = Duration::from_secs(60);
/// How long a parent that speaks no common version is left alone: somebody must upgrade something.
const INCOMPATIBLE: Duration = Duration::from_secs(60);

/// How a driver ended.
pub(super) enum Next {
    /// It was told to stop.
    Stop {
        /// Whose jobs run on.
        worker: Uuid,
        /// How long each of them has to stop, should they be stopped too.
        graces: BTreeMap<AssignmentId, Duration>,
    },
    /// The cluster takes this worker for another one, and it holds nothing: go on as that one.
    Join(Membership),
}

/// What a task has done.
pub(super) enum Done {
    Op(AssignmentId, Outcome),
    List(Listing),
    Survey(Vec<RuntimeReport>),
    Registered(Membership),
    Sampled(Meter, Telemetry),
    AttachAgain,
    RegisterAgain,
    /// The pass of this number is to be replaced.
    PassAgain(u64),
    /// The broker has been away for long: it may have moved.
    AskForBroker,
    /// The broker did not take the pass.
    PassRefused,
}

/// What a task is about, to answer for it should it panic.
enum About {
    Op(AssignmentId),
    List(RuntimeKind),
    Other,
}

/// See the module.
pub(super) struct Driver {
    pub(super) node: Node,
    pub(super) membership: Membership,
    pub(super) registration: Registration,
    pub(super) dialer: Arc<dyn Dial>,
    engines: Engines,
    alarm: Alarm,
    limits: Limits,
    tasks: JoinSet<Done>,
    about: HashMap<Id, About>,
    cancels: BTreeMap<AssignmentId, Arc<Notify>>,
    /// Until when each exclusive job may run, as its runtime was told.
    renewed: BTreeMap<AssignmentId, Duration>,
    news: mpsc::Sender<News>,
    inbox: mpsc::Receiver<News>,
    pub(super) outbox: mpsc::Sender<ChildMessage>,
    pub(super) events: BusEvents<ParentMessage>,
    /// Tasks that live as long as the driver: watchers and the publisher.
    pub(super) service: JoinSet<()>,
    pub(super) connected: bool,
    registering: bool,
    /// A time is set to ask where the broker is.
    asking: bool,
    surveying: bool,
    /// How many passes were shown.
    pub(super) passes: u64,
    /// The broker did not take a pass since it was reached last, and the cluster is asked for another one.
    pub(super) refused: bool,
    pub(super) publisher: Option<AbortHandle>,
    /// `None` while a sample is taken.
    meter: Option<Meter>,
    samples: Option<Interval>,
    /// The worker left its cluster.
    left: bool,
}

impl Driver {
    /// A driver of a node. With `fresh` the worker has just registered.
    pub(super) fn new(
        node: Node,
        membership: Membership,
        registration: Registration,
        dialer: Arc<dyn Dial>,
        fresh: bool,
        alarm: Alarm,
    ) -> Self {
        let (news, inbox) = mpsc::channel(NEWS);
        let (outbox, _) = mpsc::channel(1);
        let engines = registration.engines.clone();
        let mut driver = Self {
            node,
            limits: Limits::new(registration.inventory.cores),
            membership,
            registration,
            dialer,
            engines,
            alarm,
            tasks: JoinSet::new(),
            about: HashMap::new(),
            cancels: BTreeMap::new(),
            renewed: BTreeMap::new(),
            news,
            inbox,
            outbox,
            events: futures::stream::pending().boxed(),
            service: JoinSet::new(),
            connected: false,
            registering: false,
            asking: false,
            surveying: false,
            passes: 0,
            refused: false,
            publisher: None,
            meter: Some(Meter::default()),
            samples: None,
            left: false,
        };
        for runtime in &driver.engines.0 {
            driver
                .service
                .spawn(watch_runtime(runtime.clone(), driver.news.clone()));
        }
        if !fresh {
            // What the machine is may have changed, and the broker may have moved.
            driver.register();
        }
        driver
    }

    /// Runs until `stop`, or until it turns out that this worker is another one.
    pub(super) async fn run<S>(mut self, stop: &mut Pin<&mut S>) -> Result<Next, RunError>
    where
        S: Future<Output = ()> + Send,
    {
        self.dial().await;
        self.set_samples();
        self.node.tick(now());
        loop {
            self.perform();
            let latest = now().boot + LONGEST_SLEEP;
            let due = self.node.due(now()).map_or(latest, |due| due.min(latest));
            tokio::select! {
                biased;
                () = &mut *stop => break,
                Some(done) = self.tasks.join_next_with_id(), if !self.tasks.is_empty() => {
                    if let Some(joined) = self.done(done).await? {
                        return Ok(Next::Join(joined));
                    }
                }
                event = self.events.next() => self.heard(event),
                Some(news) = self.inbox.recv() => self.learn(news),
                () = sample(self.samples.as_mut()) => self.sample(),
                () = self.alarm.at(due) => self.node.tick(now()),
            }
            if self.left {
                info!(worker = %self.membership.worker_id, "this worker left its cluster");
                break;
            }
        }
        self.hang_up().await;
        Ok(Next::Stop {
            worker: self.membership.worker_id,
            graces: self.node.graces(),
        })
    }

    /// Does what the node wants, until it wants nothing more.
    fn perform(&mut self) {
        loop {
            let effects = self.node.effects();
            if effects.is_empty() {
                self.renew();
                return;
            }
            for effect in effects {
                match effect {
                    Effect::Send(message) => self.send(message),
                    Effect::Run(op) => self.begin(op),
                    Effect::Cancel(id) => {
                        if let Some(cancel) = self.cancels.get(&id) {
                            cancel.notify_one();
                        }
                    }
                    Effect::List(kind) => self.list(&kind),
                    Effect::Register(why) if self.registration.home.has_left() => {
                        debug!(why, "not registering again");
                        self.left = true;
                    }
                    Effect::Register(why) => {
                        info!(
                            why,
                            "the cluster does not know this worker: registering again"
                        );
                        self.register();
                    }
                    Effect::Reattach => {
                        info!("the cluster is silent: opening another session");
                        self.attach();
                    }
                    Effect::Incompatible(why) => {
                        error!(
                            why,
                            "worker and cluster speak no common version: upgrade the older one"
                        );
                        self.later(INCOMPATIBLE, Done::AttachAgain);
                    }
                }
            }
        }
    }

    /// Tells the runtimes until when exclusive jobs may run, where that has changed.
    fn renew(&mut self) {
        let told = std::mem::take(&mut self.renewed);
        for (id, kind, until) in self.node.leases() {
            let known = told.get(&id) == Some(&until);
            let runtime = self.engines.get(kind);
            if known || runtime.is_some_and(|runtime| runtime.renew(InstanceId(id.0), until)) {
                self.renewed.insert(id, until);
            }
        }
    }

    fn send(&self, message: ChildMessage) {
        if self.outbox.try_send(message).is_err() {
            debug!("a message to the cluster is dropped: the broker is away or slow");
        }
    }

    fn spawn(&mut self, about: About, task: impl Future<Output = Done> + Send + 'static) {
        let handle = self.tasks.spawn(task);
        self.about.insert(handle.id(), about);
    }

    pub(super) fn later(&mut self, after: Duration, done: Done) {
        self.spawn(About::Other, async move {
            sleep(after).await;
            done
        });
    }

    fn begin(&mut self, op: Op) {
        let Some(runtime) = self.engines.get(&op.runtime).cloned() else {
            let outcome = Outcome::Fault(internal(format!("there is no runtime {}", op.runtime)));
            self.node.finished(op.id, outcome, now());
            return;
        };
        let cancel = Arc::new(Notify::new());
        self.cancels.insert(op.id, cancel.clone());
        let work = Work {
            id: op.id,
            kind: op.kind,
            runtime,
            limits: self.limits.clone(),
            provisioner: self.registration.provisioner.clone(),
            news: self.news.clone(),
            cancel,
        };
        self.spawn(About::Op(op.id), async move {
            let (id, outcome) = work.run().await;
            Done::Op(id, outcome)
        });
    }

    fn list(&mut self, kind: &RuntimeKind) {
        let Some(runtime) = self.engines.get(kind).cloned() else {
            return;
        };
        let worker = self.membership.worker_id;
        self.spawn(About::List(kind.clone()), async move {
            Done::List(list(runtime, worker).await)
        });
    }

    fn survey(&mut self) {
        if !std::mem::replace(&mut self.surveying, true) {
            let engines = self.engines.clone();
            self.spawn(
                About::Other,
                async move { Done::Survey(engines.survey().await) },
            );
        }
    }

    fn register(&mut self) {
        if !std::mem::replace(&mut self.registering, true) {
            let registration = self.registration.clone();
            self.spawn(About::Other, async move {
                Done::Registered(registration.until_done().await)
            });
        }
    }

    /// Asks the cluster where the broker is, if it stays away. Spread over minutes, since every worker of a cluster does so.
    pub(super) fn ask_for_broker_later(&mut self) {
        if std::mem::replace(&mut self.asking, true) {
            return;
        }
        let spread = BackoffPolicy {
            base: BROKER_AWAY,
            cap: BROKER_AWAY,
            healthy: BROKER_AWAY,
        };
        let jitter = Backoff::new(spread).pause(Duration::ZERO);
        self.later(BROKER_AWAY + jitter, Done::AskForBroker);
    }

    pub(super) fn attach(&mut self) {
        if self.connected {
            self.node.connect(AttachId(Uuid::now_v7()), now());
        }
    }

    /// A task has ended.
    async fn done(
        &mut self,
        ended: Result<(Id, Done), JoinError>,
    ) -> Result<Option<Membership>, RunError> {
        let done = match ended {
            Ok((id, done)) => {
                self.about.remove(&id);
                done
            }
            Err(panic) => {
                error!(error = %panic, "a task of the agent panicked");
                let fault = || internal("the agent failed; its log says more".to_owned());
                match self.about.remove(&panic.id()) {
                    Some(About::Op(id)) => Done::Op(id, Outcome::Fault(fault())),
                    Some(About::List(runtime)) => Done::List(Listing {
                        runtime,
                        result: Err(fault()),
                    }),
                    Some(About::Other) | None => {
                        (self.registering, self.surveying) = (false, false);
                        return Ok(None);
                    }
                }
            }
        };
        match done {
            Done::Op(id, outcome) => {
                self.cancels.remove(&id);
                self.node.finished(id, outcome, now());
            }
            Done::List(listing) => {
                if listing.result.is_err() {
                    // New work must not be sent to an engine that is away.
                    self.survey();
                }
                self.node.seen(listing, now());
            }
            Done::Survey(reports) => {
                self.surveying = false;
                let runtimes = offers(&reports);
                let Registration {
                    config, inventory, ..
                } = &self.registration;
                let capacity = capacity_of(config, inventory, &runtimes);
                self.node.offer(runtimes, &capacity, now());
            }
            Done::Registered(membership) => {
                self.registering = false;
                return self.registered(membership).await;
            }
            Done::Sampled(meter, telemetry) => {
                self.meter = Some(meter);
                self.send(ChildMessage {
                    message: Some(child_message::Message::Telemetry(telemetry)),
                });
            }
            Done::AttachAgain => self.attach(),
            Done::RegisterAgain => self.register(),
            Done::PassAgain(number) => {
                if number == self.passes {
                    self.register();
                }
            }
            Done::PassRefused => {
                if !self.connected {
                    self.register();
                }
            }
            Done::AskForBroker => {
                self.asking = false;
                if !self.connected {
                    self.register();
                }
            }
        }
        Ok(None)
    }

    /// The cluster has answered to a registration.
    async fn registered(&mut self, joined: Membership) -> Result<Option<Membership>, RunError> {
        let before = &self.membership;
        if (joined.worker_id, joined.cluster_id) != (before.worker_id, before.cluster_id) {
            let jobs = self.node.entries().count();
            if jobs > 0 {
                return Err(RunError::OtherWorker {
                    path: self.registration.home.0.clone(),
                    jobs,
                    before: before.worker_id,
                    now: joined.worker_id,
                });
            }
            return Ok(Some(joined));
        }
        if joined != self.membership {
            self.registration.home.join(&joined)?;
        }
        let moved = joined.broker() != self.membership.broker();
        info!(worker = %joined.worker_id, name = joined.name, cluster = joined.cluster_name, "registered");
        self.membership = joined;
        self.set_samples();
        if moved {
            self.dial().await;
            return Ok(None);
        }
        self.show_pass();
        if !self.connected {
            self.ask_for_broker_later();
        } else if !self.node.is_attached() {
            self.attach();
        }
        Ok(None)
    }

    fn learn(&mut self, news: News) {
        match news {
            News::Hint(kind, id) => self.node.hint(&kind, id, now()),
            News::Back(kind) => {
                info!(runtime = %kind, "runtime answers");
                self.node.hint(&kind, None, now());
                self.survey();
            }
            News::Progress(id, text) => self.node.progress(id, "Pulling", &text, now()),
        }
    }

    fn set_samples(&mut self) {
        let millis = self.membership.telemetry_interval_ms;
        self.samples = (millis > 0).then(|| {
            let mut every = interval(Duration::from_millis(u64::from(millis)));
            every.set_missed_tick_behavior(MissedTickBehavior::Delay);
            every
        });
    }

    /// Samples, unless nobody would hear it or the last sampling is not over yet.
    fn sample(&mut self) {
        if !self.node.is_attached() {
            return;
        }
        let Some(meter) = self.meter.take() else {
            return;
        };
        let runtime =
            |(id, kind): (AssignmentId, &RuntimeKind)| Some((id, self.engines.get(kind)?.clone()));
        let running = self.node.running().filter_map(runtime).collect();
        self.spawn(About::Other, async move {
            let (meter, telemetry) = meter.sample(running).await;
            Done::Sampled(meter, telemetry)
        });
    }
}

/// The next moment to sample; never, where samples are off.
async fn sample(samples: Option<&mut Interval>) {
    match samples {
        Some(samples) => {
            samples.tick().await;
        }
        None => std::future::pending().await,
    }
}

fn internal(message: String) -> Fault {
    Fault {
        class: FaultClass::Retry,
        reason: "Internal".to_owned(),
        message,
    }
}
