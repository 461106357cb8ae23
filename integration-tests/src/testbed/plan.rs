//! What a bed is to hold, said in the order in which people set it up; then its start, the story, and its end.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result};
use rand::Rng as _;

use super::{
    Bed, Program, Tier,
    binaries::{ours, tool},
    containers::Engine,
    free_port,
    logs::Expected,
    loopback,
};

/// How often children report: often, so that stories are short.
const REPORT: Duration = Duration::from_millis(500);
/// Silence until a child is suspect. A loaded machine holds a report up for seconds.
const LEASE: Duration = Duration::from_secs(5);
/// How long running instances are waited for after a lost database: ten reports.
const ADOPT: Duration = Duration::from_secs(5);

/// A bed to be.
#[derive(Debug)]
pub struct Testbed {
    name: String,
    root: Vec<String>,
    clusters: Vec<Cluster>,
    expected: Vec<Expected>,
}

#[derive(Debug)]
struct Cluster {
    name: String,
    /// Bridges beyond the first.
    bridges: Vec<String>,
    workers: Vec<Worker>,
}

#[derive(Debug)]
struct Worker {
    name: String,
    args: Vec<String>,
    later: bool,
}

impl Testbed {
    /// A bed with a root.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            root: Vec::new(),
            clusters: Vec::new(),
            expected: Vec::new(),
        }
    }

    /// A cluster with a broker `nats-NAME` and a bridge `bridge-NAME`. What follows belongs to it.
    #[must_use]
    pub fn cluster(mut self, name: &str) -> Self {
        self.clusters.push(Cluster {
            name: name.to_owned(),
            bridges: vec![format!("bridge-{name}")],
            workers: Vec::new(),
        });
        self
    }

    /// One more bridge of the cluster.
    #[must_use]
    pub fn bridge(mut self, name: &str) -> Self {
        if let Some(cluster) = self.clusters.last_mut() {
            cluster.bridges.push(name.to_owned());
        }
        self
    }

    /// A worker of the cluster, with Docker and native jobs.
    #[must_use]
    pub fn worker(self, name: &str) -> Self {
        self.worker_with(name, &[])
    }

    /// A worker with more arguments.
    #[must_use]
    pub fn worker_with(mut self, name: &str, args: &[&str]) -> Self {
        if let Some(cluster) = self.clusters.last_mut() {
            cluster.workers.push(Worker {
                name: name.to_owned(),
                args: args.iter().map(|a| (*a).to_owned()).collect(),
                later: false,
            });
        }
        self
    }

    /// The worker before this one is started by the story.
    #[must_use]
    pub fn later(mut self) -> Self {
        let worker = self.clusters.last_mut().and_then(|c| c.workers.last_mut());
        if let Some(worker) = worker {
            worker.later = true;
        }
        self
    }

    /// Lines with `text` are no failure of the story, `because` it causes them.
    #[must_use]
    pub fn expect(mut self, text: &'static str, because: &'static str) -> Self {
        self.expected.push(Expected { text, because });
        self
    }

    /// Starts the bed, tells the story, and checks its end.
    ///
    /// # Errors
    /// The story failed; the last lines of each log were printed.
    pub async fn run(self, story: impl AsyncFnOnce(&Bed) -> Result<()>) -> Result<()> {
        let (mut bed, first) = self.make()?;
        let told = async {
            for name in &first {
                bed.start(name).await?;
            }
            let workers: Vec<&str> = first
                .iter()
                .map(String::as_str)
                .filter(|name| bed.homes.contains_key(*name))
                .collect();
            bed.ready(&workers).await?;
            story(&bed).await?;
            bed.finish().await
        };
        told.await?;
        bed.good = true;
        Ok(())
    }

    /// Makes the bed, and names the programs that it starts with.
    fn make(self) -> Result<(Bed, Vec<String>)> {
        let id = format!("{}-{:08x}", self.name, rand::rng().random::<u32>());
        let dir = tempfile::Builder::new()
            .prefix(&format!("edgeio-{id}-"))
            .tempdir()
            .context("make the bed's directory")?;
        let path = dir.path().to_owned();
        let data = |name: &str| path.join(name).display().to_string();
        let times = [
            format!("--report-interval={}ms", REPORT.as_millis()),
            format!("--lease={}s", LEASE.as_secs()),
            format!("--adopt-window={}s", ADOPT.as_secs()),
            "--log-format=json".to_owned(),
        ];
        let mut programs = Vec::new();
        let mut later = Vec::new();
        let (mut clusters, mut homes) = (BTreeMap::new(), BTreeMap::new());
        let root_port = free_port()?;
        let mut args = vec![
            format!("--listen={}", loopback(root_port)),
            format!("--data-dir={}", data("root")),
        ];
        args.extend(self.root.iter().chain(&times).cloned());
        let listens = Some(loopback(root_port));
        programs.push(Program::new(
            "root",
            ours("edgeio-root")?,
            args,
            listens,
            &path,
        ));
        for cluster in &self.clusters {
            let (port, broker) = (free_port()?, free_port()?);
            let name = format!("nats-{}", cluster.name);
            let args = ["--addr=127.0.0.1".to_owned(), format!("--port={broker}")];
            let listens = Some(loopback(broker));
            programs.push(Program::new(
                &name,
                tool("nats-server")?,
                args,
                listens,
                &path,
            ));
            let name = format!("cluster-{}", cluster.name);
            let mut args = vec![
                format!("--listen={}", loopback(port)),
                format!("--data-dir={}", data(&name)),
                format!("--root={}", loopback(root_port)),
                format!("--name={}", cluster.name),
                format!("--broker-port={broker}"),
            ];
            args.extend(times.iter().cloned());
            let listens = Some(loopback(port));
            programs.push(Program::new(
                &name,
                ours("edgeio-cluster")?,
                args,
                listens,
                &path,
            ));
            for name in &cluster.bridges {
                let args = [
                    format!("--cluster={}", loopback(port)),
                    format!("--nats=nats://{}", loopback(broker)),
                    "--log-format=json".to_owned(),
                ];
                programs.push(Program::new(
                    name,
                    ours("edgeio-bridge")?,
                    args,
                    None,
                    &path,
                ));
            }
            for worker in &cluster.workers {
                let mut args = vec![
                    format!("--cluster={}", loopback(port)),
                    format!("--data-dir={}", data(&worker.name)),
                    format!("--name={}", worker.name),
                    "--native".to_owned(),
                    "--log-format=json".to_owned(),
                ];
                args.extend(worker.args.iter().cloned());
                let file = ours("edgeio-worker")?;
                programs.push(Program::new(&worker.name, file, args, None, &path));
                homes.insert(worker.name.clone(), cluster.name.clone());
                if worker.later {
                    later.push(worker.name.clone());
                }
            }
            clusters.insert(cluster.name.clone(), Tier::on(port)?);
        }
        let names = programs.iter().map(|p| p.name().to_owned());
        let first = names.filter(|name| !later.contains(name)).collect();
        let bed = Bed {
            id,
            programs,
            root: Tier::on(root_port)?,
            clusters,
            homes,
            ids: std::sync::Mutex::default(),
            expected: self.expected,
            engine: Engine::connect()?,
            images: std::sync::Mutex::default(),
            dir: Some(dir),
            path,
            good: false,
        };
        Ok((bed, first))
    }
}
