//! A broker, a cluster, two bridges and two workers; the cluster's API, the kernel and the jobs' own log as witnesses.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use edgeio_bridge::{
    broker::{self, Broker, Settings},
    bus::{
        BridgeBus, Dial,
        chaos::{Chaos, ChaosBridgeBus, ChaosDial},
        nats::{NatsBridgeBus, NatsDial},
    },
    relay::Relay,
};
use edgeio_cluster::{
    Cluster,
    broker::command::{ACCOUNTS, authority},
};
use edgeio_integration_tests::testbed::{
    Tier, binaries,
    manifest::{app, script},
    native,
};
use edgeio_proto::api::v1::{InstancePhase, ListRequest};
use edgeio_server::shutdown::{Shutdown, Trigger};
use edgeio_worker::{
    RunOptions,
    config::{EngineChoice, LimitsPolicy},
    run_with,
};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::wishes::{App, Script, Wish};

/// How often workers report: often, so that what is lost is soon made up for.
const REPORT: Duration = Duration::from_millis(500);
/// Several times what the worst seed took; only a failure takes this long.
const PATIENCE: Duration = Duration::from_secs(180);
const LOOK: Duration = Duration::from_millis(100);

const WORKERS: [&str; 2] = ["w1", "w2"];

/// What there is: how many run of each application, service and variant.
pub(crate) type State = BTreeMap<(String, String, String), u32>;
/// Instances, as the API and the kernel name them.
pub(crate) type Ids = BTreeSet<String>;

struct Part {
    name: &'static str,
    trigger: Trigger,
    task: JoinHandle<Result<()>>,
}

pub(crate) struct Bed {
    mark: String,
    dir: TempDir,
    log: PathBuf,
    api: Tier,
    /// In the order in which they are stopped.
    parts: Vec<Part>,
    broker: Broker,
}

/// A job as the kernel shows it.
struct Job {
    of: (String, String, String),
    instance: String,
    handle: String,
}

impl Bed {
    pub(crate) async fn start(chaos: Option<Arc<Chaos>>) -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("edgeio-chaos-bus-")
            .tempdir()?;
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let (nats, data) = (dir.path().join("nats"), dir.path().join("cluster"));
        let settings = Settings {
            listen: any,
            monitor: None,
            authority: authority(&data, &nats.join(ACCOUNTS))?,
            data_dir: nats,
        };
        let broker = Broker::start_with(&broker::find()?, settings).await?;
        let mut config = edgeio_cluster::Config::default();
        config.serve.listen = any;
        config.serve.drain_timeout = Duration::from_secs(2);
        config.root = String::new();
        config.name = "a".to_owned();
        config.broker_port = broker.address().port();
        config.tier.data_dir = data;
        config.tier.report_interval = REPORT;
        let cluster = Cluster::open(config).await?;
        let address = cluster.address();
        let mut bed = Self {
            mark: format!("chaos-bus-{}", Uuid::new_v4().simple()),
            log: dir.path().join("starts.log"),
            api: Tier::on(address)?,
            parts: Vec::new(),
            broker,
            dir,
        };
        for name in WORKERS {
            let config = edgeio_worker::Config {
                cluster: address.to_string(),
                name: name.to_owned(),
                data_dir: bed.dir.path().join(name),
                native: true,
                native_without_limits: LimitsPolicy::Run,
                docker: EngineChoice::Off,
                containerd: EngineChoice::Off,
                ..edgeio_worker::Config::default()
            };
            let options = RunOptions {
                shim: Some(binaries::ours("edgeio-worker")?),
                dial: chaos.clone().map(|chaos| {
                    let dial: Arc<dyn Dial> = Arc::new(ChaosDial::new(NatsDial, chaos));
                    dial
                }),
                ..RunOptions::default()
            };
            bed.run(name, |stop| async move {
                Ok(run_with(config, options, stop_of(stop)).await?)
            });
        }
        for name in ["bridge 1", "bridge 2"] {
            let nats = NatsBridgeBus::connect(&bed.broker.url(), Uuid::new_v4()).await?;
            let bus: Box<dyn BridgeBus> = match chaos.clone() {
                Some(chaos) => Box::new(ChaosBridgeBus::new(nats, chaos)),
                None => Box::new(nats),
            };
            let relay = Relay::new(edgeio_bridge::Config {
                cluster: address.to_string(),
                nats: bed.broker.url(),
                ..edgeio_bridge::Config::default()
            });
            bed.run(name, |stop| async move {
                Ok(relay.run_on(&*bus, stop_of(stop)).await?)
            });
        }
        bed.run(
            "cluster",
            |stop| async move { Ok(cluster.run(stop).await?) },
        );
        Ok(bed)
    }

    fn run<F>(&mut self, name: &'static str, part: impl FnOnce(Shutdown) -> F)
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let (trigger, stop) = Shutdown::new();
        let task = tokio::spawn(part(stop));
        self.parts.push(Part {
            name,
            trigger,
            task,
        });
    }

    pub(crate) async fn wish(&self, wish: &Wish) -> Result<()> {
        match wish {
            Wish::Apply(app) => self.apply(app).await,
            Wish::Scale {
                app,
                service,
                replicas,
            } => self.api.scale(app, service, *replicas).await,
            Wish::Delete(app) => self.api.delete(app).await.map(drop),
        }
    }

    pub(crate) async fn apply(&self, wanted: &App) -> Result<()> {
        let services = wanted.services.iter().map(|service| {
            let words = "echo \"$EDGEIO_INSTANCE\" >> \"$LOG\"; exec sleep 100000";
            let mut spec = script(&service.name, service.replicas, words);
            for (name, value) in [
                (native::MARK, self.mark.clone()),
                ("LOG", self.log.display().to_string()),
                ("VARIANT", service.variant.to_string()),
            ] {
                spec.env.insert(name.to_owned(), value);
            }
            spec
        });
        self.api.apply(&app(&wanted.name, services)).await.map(drop)
    }

    /// Waits until an application runs as it was wanted, and names its processes.
    pub(crate) async fn runs(&self, wanted: &App) -> Result<BTreeSet<String>> {
        let state = state_of(std::slice::from_ref(wanted));
        self.eventually(&wanted.name, async || {
            let jobs: Vec<Job> = self.jobs()?;
            let jobs = jobs.into_iter().filter(|job| job.of.0 == wanted.name);
            let (mut now, mut handles) = (State::new(), BTreeSet::new());
            for job in jobs {
                *now.entry(job.of).or_default() += 1;
                handles.insert(job.handle);
            }
            ensure!(now == state, "{now:?}, wanted {state:?}");
            Ok(handles)
        })
        .await
    }

    /// Waits until exactly these applications run, by all witnesses.
    pub(crate) async fn settled(&self, wanted: &[App]) -> Result<(State, Ids)> {
        let state = state_of(wanted);
        self.eventually("all wishes have come true", async || {
            let (mut now, mut ids) = (State::new(), Ids::new());
            for job in self.jobs()? {
                *now.entry(job.of).or_default() += 1;
                ids.insert(job.instance);
            }
            ensure!(now == state, "the kernel has {now:?}, wanted is {state:?}");
            let listed = self.api.instances("").await?;
            let running = |i: &&edgeio_proto::api::v1::Instance| {
                i.phase() == InstancePhase::Running && !i.retiring
            };
            let told: Ids = listed
                .iter()
                .filter(running)
                .map(|i| i.id.clone())
                .collect();
            ensure!(
                told == ids && listed.len() == ids.len(),
                "the kernel has {ids:?}, the API tells of{}",
                edgeio_integration_tests::testbed::tier::sketch(&listed)
            );
            let names = self.applications().await?;
            let all: BTreeSet<String> = wanted.iter().map(|app| app.name.clone()).collect();
            ensure!(names == all, "applications {names:?}, wanted {all:?}");
            Ok((now, ids))
        })
        .await
    }

    async fn applications(&self) -> Result<BTreeSet<String>> {
        let listed = self.api.applications().list(ListRequest::default()).await?;
        let names = listed.into_inner().applications.into_iter();
        Ok(names.map(|app| app.name).collect())
    }

    fn jobs(&self) -> Result<Vec<Job>> {
        let mut jobs = Vec::new();
        for process in native::marked(&self.mark) {
            let environment = fs::read(format!("/proc/{}/environ", process.pid));
            let environment = environment.unwrap_or_default();
            let environment = String::from_utf8_lossy(&environment);
            let value = |name: &str| {
                let found = environment.split('\0').find_map(|word| {
                    let (key, value) = word.split_once('=')?;
                    (key == name).then(|| value.to_owned())
                });
                found.with_context(|| format!("a job without {name}"))
            };
            jobs.push(Job {
                of: (
                    value("EDGEIO_APPLICATION")?,
                    value("EDGEIO_SERVICE")?,
                    value("VARIANT")?,
                ),
                instance: value("EDGEIO_INSTANCE")?,
                handle: process.handle(),
            });
        }
        Ok(jobs)
    }

    /// Looks into the jobs' own log.
    pub(crate) fn nothing_started_twice(&self) -> Result<()> {
        let log = fs::read_to_string(&self.log)?;
        let mut seen = BTreeSet::new();
        for instance in log.lines() {
            ensure!(
                seen.insert(instance),
                "{instance} was started twice:\n{log}"
            );
        }
        ensure!(!seen.is_empty(), "nothing was started");
        Ok(())
    }

    /// Deletes everything, waits until nothing is left, and stops all parts.
    pub(crate) async fn end(mut self, script: &Script) -> Result<()> {
        for app in script.end() {
            self.api.delete(&app.name).await?;
        }
        self.settled(&[]).await?;
        self.eventually("no shim is left", async || {
            let shims = native::shims(self.dir.path());
            ensure!(shims.is_empty(), "{shims:?}");
            Ok(())
        })
        .await?;
        for part in std::mem::take(&mut self.parts) {
            part.trigger.fire();
            let ended = tokio::time::timeout(PATIENCE, part.task).await;
            let ended = ended.map_err(|_| anyhow!("{} does not end", part.name))?;
            ended?.with_context(|| part.name)?;
        }
        self.broker.kill().await;
        Ok(())
    }

    pub(crate) async fn until(&self, what: &str, is: impl Fn() -> bool) -> Result<()> {
        self.eventually(what, async || {
            ensure!(is(), "not yet");
            Ok(())
        })
        .await
    }

    async fn eventually<T>(
        &self,
        what: &str,
        mut look: impl AsyncFnMut() -> Result<T>,
    ) -> Result<T> {
        let from = Instant::now();
        loop {
            match look().await {
                Ok(found) => return Ok(found),
                Err(last) if from.elapsed() > PATIENCE => {
                    return Err(last.context(format!("never seen: {what}; last seen")));
                }
                Err(_) => {}
            }
            if let Some(part) = self.parts.iter().find(|part| part.task.is_finished()) {
                bail!("{} ended by itself", part.name);
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Whatever happens, no job outlives its test.
impl Drop for Bed {
    fn drop(&mut self) {
        for part in &self.parts {
            part.task.abort();
        }
        let shims = native::shims(self.dir.path());
        for process in shims.into_iter().chain(native::marked(&self.mark)) {
            if let Some(pid) = i32::try_from(process.pid).ok().and_then(Pid::from_raw) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
}

async fn stop_of(stop: Shutdown) {
    stop.wait().await;
}

fn state_of(apps: &[App]) -> State {
    let mut state = State::new();
    for app in apps {
        for service in &app.services {
            if service.replicas > 0 {
                let key = (
                    app.name.clone(),
                    service.name.clone(),
                    service.variant.to_string(),
                );
                state.insert(key, service.replicas);
            }
        }
    }
    state
}
