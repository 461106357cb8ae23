//! What a bed is to hold, said in the order in which people set it up; then its start, the story, and its end.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use edgeio_cluster::broker::command::{NatsConfig, write as nats_config};
use rand::Rng as _;

use super::{
    Bed, Program, Tier,
    binaries::{ours, tool},
    containers::Engine,
    disk::Disk,
    free_port,
    link::Link,
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
    report: Duration,
    lease: Duration,
    /// Whether the tiers speak TLS.
    secure: bool,
    /// More arguments of the tiers, by program.
    args: BTreeMap<String, Vec<String>>,
    /// Programs with a small disk, and its size in MiB.
    disks: BTreeMap<String, u32>,
    /// Programs behind a link of their own.
    apart: BTreeSet<String>,
    /// Programs that begin as another version, and its file.
    files: BTreeMap<String, PathBuf>,
    open_broker: bool,
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
            report: REPORT,
            lease: LEASE,
            secure: false,
            args: BTreeMap::new(),
            disks: BTreeMap::new(),
            apart: BTreeSet::new(),
            files: BTreeMap::new(),
            open_broker: false,
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

    /// How often children report and how long a silence makes one suspect, at every tier.
    #[must_use]
    pub fn times(mut self, report: Duration, lease: Duration) -> Self {
        (self.report, self.lease) = (report, lease);
        self
    }

    /// Root and clusters speak TLS by authorities of their own. Each machine joins by a token of its own and knows nothing else
    /// of them; the story calls as the first administrator.
    #[must_use]
    pub fn secure(mut self) -> Self {
        self.secure = true;
        self
    }

    /// More arguments of the root (`root`) or of a cluster (`cluster-NAME`).
    #[must_use]
    pub fn tier_with(mut self, name: &str, args: &[&str]) -> Self {
        let more = args.iter().map(|a| (*a).to_owned());
        self.args.entry(name.to_owned()).or_default().extend(more);
        self
    }

    /// The data directory of a program is a disk of so many MiB. Needs the right to mount.
    #[must_use]
    pub fn small_disk(mut self, name: &str, mebibytes: u32) -> Self {
        self.disks.insert(name.to_owned(), mebibytes);
        self
    }

    /// Brokers ask nobody who they are.
    #[must_use]
    pub fn open_broker(mut self) -> Self {
        self.open_broker = true;
        self
    }

    /// The root, a bridge or a worker runs behind a link of its own, which can be cut. Needs the right to make network
    /// namespaces.
    #[must_use]
    pub fn apart(mut self, name: &str) -> Self {
        self.apart.insert(name.to_owned());
        self
    }

    /// A program of the bed begins as another version.
    #[must_use]
    pub fn begins_as(mut self, name: &str, file: PathBuf) -> Self {
        self.files.insert(name.to_owned(), file);
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
                bed.hand_out(name).await?;
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
        let mut disks = Vec::new();
        for (name, size) in &self.disks {
            disks.push(Disk::mount(&path.join(name), *size)?);
        }
        let mut links = BTreeMap::new();
        for name in &self.apart {
            links.insert(name.clone(), Link::make()?);
        }
        // Behind links nobody reaches a loopback.
        let (open, insecure) = if links.is_empty() {
            (Ipv4Addr::LOCALHOST, None)
        } else {
            let insecure = (!self.secure).then(|| "--insecure".to_owned());
            (Ipv4Addr::UNSPECIFIED, insecure)
        };
        let mut tls = Vec::new();
        if self.secure {
            let hosts = links
                .values()
                .flat_map(|link| [link.host(), link.inside(), link.back_door()]);
            tls.push("--tls=builtin".to_owned());
            tls.extend(hosts.map(|host| format!("--tls-names={host}")));
        }
        let token = |name: &str| format!("--join-token-file={}", token_of(&path, name).display());
        let listen = |port: u16| SocketAddr::from((open, port));
        let tier = |at: SocketAddr, name: &str| match self.secure {
            false => Tier::on(at),
            true => {
                let token = path.join(name).join("admin.token");
                Tier::behind_tls(at, &handed_out(&path, name), token)
            }
        };
        let scheme = if self.secure { "https://" } else { "" };
        // Where a program reaches what listens out here.
        let from = |name: &str, port: u16| {
            let host = links.get(name).map_or(Ipv4Addr::LOCALHOST, Link::host);
            SocketAddr::from((host, port))
        };
        let behind = |name: &str| links.get(name).map(|link| link.name().to_owned());
        let times = [
            format!("--report-interval={}ms", self.report.as_millis()),
            format!("--lease={}ms", self.lease.as_millis()),
            format!("--adopt-window={}s", ADOPT.as_secs()),
            "--log-format=json".to_owned(),
        ];
        let more = |name: &str| self.args.get(name).cloned().unwrap_or_default();
        let mut programs = Vec::new();
        let mut later = Vec::new();
        let (mut clusters, mut homes) = (BTreeMap::new(), BTreeMap::new());
        let mut bridges = BTreeMap::new();
        let root_port = free_port()?;
        // A link of the root has two addresses: one for its clusters, one for the story, which goes on seeing it.
        let (root_link, root_at) = match links.get("root") {
            Some(link) => (
                SocketAddr::from((link.inside(), root_port)),
                SocketAddr::from((link.back_door(), root_port)),
            ),
            None => (loopback(root_port), loopback(root_port)),
        };
        let mut args = vec![
            format!("--listen={}", listen(root_port)),
            format!("--data-dir={}", data("root")),
        ];
        args.extend(times.iter().chain(&insecure).chain(&tls).cloned());
        args.extend(more("root"));
        let root = Program::new("root", ours("edgeio-root")?, args, Some(root_at), &path);
        programs.push(root.within(behind("root")));
        for cluster in &self.clusters {
            let (port, broker) = (free_port()?, free_port()?);
            let name = format!("nats-{}", cluster.name);
            // Programs of before have no passes, so the broker must not ask for any.
            let args = if self.files.is_empty() && !self.open_broker {
                let config = NatsConfig {
                    data_dir: path.join(format!("cluster-{}", cluster.name)),
                    out: path.join(&name),
                    listen: listen(broker),
                    insecure: insecure.is_some(),
                    ..NatsConfig::default()
                };
                let written = nats_config(&config).context("write the broker's configuration")?;
                vec![format!("--config={}", written.display())]
            } else {
                vec![format!("--addr={open}"), format!("--port={broker}")]
            };
            let listens = Some(loopback(broker));
            programs.push(Program::new(
                &name,
                tool("nats-server")?,
                args,
                listens,
                &path,
            ));
            // Any address out here is reached from behind every link.
            let afar = cluster.workers.iter().find_map(|w| links.get(&w.name));
            let broker_address = afar.map_or(Ipv4Addr::LOCALHOST, Link::host);
            let name = format!("cluster-{}", cluster.name);
            let mut args = vec![
                format!("--listen={}", listen(port)),
                format!("--data-dir={}", data(&name)),
                format!("--root={scheme}{root_link}"),
                format!("--name={}", cluster.name),
                format!("--broker-address={broker_address}"),
                format!("--broker-port={broker}"),
            ];
            args.extend(times.iter().chain(&insecure).chain(&tls).cloned());
            args.extend(self.secure.then(|| token(&name)));
            args.extend(more(&name));
            let at = name.clone();
            let listens = Some(loopback(port));
            programs.push(Program::new(
                &name,
                ours("edgeio-cluster")?,
                args,
                listens,
                &path,
            ));
            for name in &cluster.bridges {
                bridges.insert(name.clone(), cluster.name.clone());
                let mut args = vec![
                    format!("--cluster={scheme}{}", from(name, port)),
                    format!("--nats=nats://{}", from(name, broker)),
                    "--log-format=json".to_owned(),
                ];
                if self.secure {
                    args.extend([token(name), format!("--data-dir={}", data(name))]);
                }
                let bridge = Program::new(name, ours("edgeio-bridge")?, args, None, &path);
                programs.push(bridge.within(behind(name)));
            }
            for worker in &cluster.workers {
                let mut args = vec![
                    format!("--cluster={scheme}{}", from(&worker.name, port)),
                    format!("--data-dir={}", data(&worker.name)),
                    format!("--name={}", worker.name),
                    "--native".to_owned(),
                    "--log-format=json".to_owned(),
                ];
                args.extend(self.secure.then(|| token(&worker.name)));
                args.extend(worker.args.iter().cloned());
                let file = ours("edgeio-worker")?;
                let program = Program::new(&worker.name, file, args, None, &path);
                programs.push(program.within(behind(&worker.name)));
                homes.insert(worker.name.clone(), cluster.name.clone());
                if worker.later {
                    later.push(worker.name.clone());
                }
            }
            clusters.insert(cluster.name.clone(), tier(loopback(port), &at)?);
        }
        for program in &programs {
            if let Some(file) = self.files.get(program.name()) {
                program.becomes(file.clone());
            }
        }
        let names = programs.iter().map(|p| p.name().to_owned());
        let first = names.filter(|name| !later.contains(name)).collect();
        let bed = Bed {
            id,
            programs,
            root: tier(root_at, "root")?,
            secure: self.secure,
            clusters,
            homes,
            bridges,
            ids: std::sync::Mutex::default(),
            expected: self.expected,
            engine: Engine::connect()?,
            images: std::sync::Mutex::default(),
            links,
            disks,
            dir: Some(dir),
            path,
            good: false,
        };
        Ok((bed, first))
    }
}

/// Where a machine finds what lets it join.
pub(super) fn token_of(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.token"))
}

/// Where those who dial a tier find its authority.
pub(super) fn handed_out(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}-ca.pem"))
}
