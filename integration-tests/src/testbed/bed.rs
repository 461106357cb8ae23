//! A bed that runs: its programs by name, its tiers, and what can be seen of it from outside.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context, Result, bail, ensure};
use edgeio_proto::{api::v1::ServiceSpec, cluster::v1::WorkerState, root::v1::ChildState};
use rustix::process::{Signal, kill_process};
use tempfile::TempDir;

use super::{
    Program, Tier,
    containers::{self, Container, Engine},
    disk::Disk,
    eventually,
    link::Link,
    logs::{self, Expected},
    native,
    plan::{handed_out, token_of},
    program::as_pid,
};

/// Lines of each log that a failure shows.
const TAIL: usize = 30;

/// A bed that runs.
#[derive(Debug)]
pub struct Bed {
    pub(super) id: String,
    /// In the order of their start.
    pub(super) programs: Vec<Program>,
    pub(super) root: Tier,
    /// Whether the tiers speak TLS.
    pub(super) secure: bool,
    pub(super) clusters: BTreeMap<String, Tier>,
    /// Each worker's cluster.
    pub(super) homes: BTreeMap<String, String>,
    /// Each bridge's.
    pub(super) bridges: BTreeMap<String, String>,
    /// Ids of the workers that were ever seen, for looks from outside and for the clean-up.
    pub(super) ids: Mutex<BTreeMap<String, String>>,
    pub(super) expected: Vec<Expected>,
    pub(super) engine: Engine,
    pub(super) images: Mutex<BTreeSet<String>>,
    pub(super) links: BTreeMap<String, Link>,
    /// Before the directory that they are mounted in, so that they go first.
    pub(super) disks: Vec<Disk>,
    pub(super) dir: Option<TempDir>,
    pub(super) path: PathBuf,
    pub(super) good: bool,
}

impl Bed {
    /// The root.
    #[must_use]
    pub fn root(&self) -> &Tier {
        &self.root
    }

    /// A cluster by its name.
    ///
    /// # Errors
    /// There is none.
    pub fn cluster(&self, name: &str) -> Result<&Tier> {
        let tier = self.clusters.get(name);
        tier.with_context(|| format!("no cluster {name} in this bed"))
    }

    /// A program: `root`, `cluster-NAME`, `nats-NAME`, `bridge-NAME`, or a worker or further bridge by its own name.
    ///
    /// # Errors
    /// There is none.
    pub fn program(&self, name: &str) -> Result<&Program> {
        let found = self.programs.iter().find(|p| p.name() == name);
        found.with_context(|| format!("no program {name} in this bed"))
    }

    /// Copies a tier's authority to where those look who dial it. It is made after the tier has begun to listen.
    pub(super) async fn hand_out(&self, name: &str) -> Result<()> {
        let is_tier = name == "root" || name.starts_with("cluster-");
        if !(self.secure && is_tier) {
            return Ok(());
        }
        let made = self.data(name).join("pki/ca.pem");
        eventually("a tier has an authority", async || {
            fs::copy(&made, handed_out(&self.path, name)).context("hand out an authority")
        })
        .await?;
        Ok(())
    }

    /// Gives a machine what lets it join, if it needs that and has nothing yet.
    async fn admit(&self, name: &str) -> Result<()> {
        let file = token_of(&self.path, name);
        if !self.secure || name == "root" || name.starts_with("nats-") || file.exists() {
            return Ok(());
        }
        let token = if name.starts_with("cluster-") {
            self.root().join_token("cluster").await?
        } else if let Some(home) = self.homes.get(name) {
            self.cluster(home)?.join_token("worker").await?
        } else {
            let home = self.bridges.get(name).context("a bridge's cluster")?;
            self.cluster(home)?.join_token("bridge").await?
        };
        self.give_token(name, &token)
    }

    /// Puts a join token where a machine looks for it.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn give_token(&self, name: &str, token: &str) -> Result<()> {
        let file = token_of(&self.path, name);
        fs::write(&file, token).with_context(|| format!("write {}", file.display()))
    }

    /// Kills a program as a crash would.
    ///
    /// # Errors
    /// It does not run.
    pub async fn kill(&self, name: &str) -> Result<()> {
        self.program(name)?.kill().await
    }

    /// Starts a program, again or for the first time.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start(&self, name: &str) -> Result<()> {
        self.admit(name).await?;
        self.program(name)?.start().await
    }

    /// Asks a program to end, and checks that it does with code 0.
    ///
    /// # Errors
    /// It does not.
    pub async fn stop(&self, name: &str) -> Result<()> {
        let status = self.program(name)?.stop().await?;
        // nats-server is not ours, and its versions end with different codes.
        ensure!(
            status.success() || name.starts_with("nats-"),
            "{name} ended with {status} when it was asked to"
        );
        Ok(())
    }

    /// Holds a program still, as a frozen machine would be.
    ///
    /// # Errors
    /// It does not run.
    pub fn freeze(&self, name: &str) -> Result<()> {
        self.program(name)?.signal(Signal::STOP)
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// It does not run.
    pub fn thaw(&self, name: &str) -> Result<()> {
        self.program(name)?.signal(Signal::CONT)
    }

    /// Every program, in the order of their start.
    #[must_use]
    pub fn programs(&self) -> &[Program] {
        &self.programs
    }

    /// Every worker, and its cluster.
    #[must_use]
    pub fn homes(&self) -> &BTreeMap<String, String> {
        &self.homes
    }

    /// The link of a program that runs apart.
    ///
    /// # Errors
    /// It has none.
    pub fn link(&self, name: &str) -> Result<&Link> {
        let link = self.links.get(name);
        link.with_context(|| format!("{name} is not apart in this bed"))
    }

    /// A program's data directory.
    #[must_use]
    pub fn data(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The bed's own directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.path
    }

    /// The Docker Engine.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The mark of this bed's native jobs; see [`native`].
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Marks a native service as this bed's, so that its processes can be found from outside.
    #[must_use]
    pub fn mark(&self, mut service: ServiceSpec) -> ServiceSpec {
        service.env.insert(native::MARK.to_owned(), self.id.clone());
        service
    }

    /// Makes an image that only this bed has, and names it.
    ///
    /// # Errors
    /// The engine refuses.
    pub async fn image(&self) -> Result<String> {
        self.image_with("1", &[]).await
    }

    /// Makes an image with a file of these bytes in it, and names it.
    ///
    /// # Errors
    /// The engine refuses.
    pub async fn image_with(&self, tag: &str, filler: &[u8]) -> Result<String> {
        let name = format!("edgeio-story/{}:{tag}", self.id);
        self.owns_image(&name);
        self.engine.make_image(&name, filler, &self.path).await?;
        Ok(name)
    }

    /// Has an image removed with the bed.
    pub fn owns_image(&self, name: &str) {
        locked(&self.images).insert(name.to_owned());
    }

    /// Every native job of this bed that the kernel knows.
    #[must_use]
    pub fn jobs(&self) -> BTreeSet<native::Process> {
        native::marked(&self.id)
    }

    /// The id of a worker that was seen.
    ///
    /// # Errors
    /// It was never seen.
    pub fn worker_id(&self, name: &str) -> Result<String> {
        let found = locked(&self.ids).get(name).cloned();
        found.with_context(|| format!("worker {name} was never seen"))
    }

    /// Every container of this bed's workers, by instance.
    ///
    /// # Errors
    /// The engine does not answer.
    pub async fn containers(&self) -> Result<BTreeMap<String, Container>> {
        let ids = locked(&self.ids).clone();
        let mut all = BTreeMap::new();
        for id in ids.values() {
            all.extend(self.engine.of_worker(id).await?);
        }
        Ok(all)
    }

    /// Waits until the workers named are Ready and their clusters offer them to the root.
    ///
    /// # Errors
    /// They never are.
    pub async fn ready(&self, workers: &[&str]) -> Result<()> {
        eventually("workers and clusters are ready", async || {
            let mut offered: BTreeMap<&str, u32> = BTreeMap::new();
            for name in workers {
                let home = self.homes.get(*name);
                let home = home.with_context(|| format!("no worker {name} in this bed"))?;
                *offered.entry(home).or_default() += 1;
                let listed = self.cluster(home)?.list_workers().await?;
                let worker = listed.iter().find(|w| w.name == *name);
                let worker = worker.with_context(|| format!("{name} is not registered"))?;
                locked(&self.ids).insert(worker.name.clone(), worker.id.clone());
                ensure!(
                    worker.state() == WorkerState::Ready,
                    "{name} is {:?}",
                    worker.state()
                );
            }
            let clusters = self.root().list_clusters().await?;
            for home in self.clusters.keys() {
                let wanted = offered.get(home.as_str()).copied().unwrap_or_default();
                let seen = clusters.iter().find(|c| c.name == *home);
                let seen = seen.with_context(|| format!("cluster {home} is not registered"))?;
                let offers = seen.capacity.as_ref().map_or(0, |c| c.workers);
                ensure!(
                    seen.state() == ChildState::Ready && offers >= wanted,
                    "cluster {home} is {:?} with {offers} workers",
                    seen.state()
                );
            }
            Ok(())
        })
        .await
    }

    /// Waits until nothing is left of what the story ran: no container, no shim, no job.
    ///
    /// # Errors
    /// Something is.
    pub async fn nothing_left(&self) -> Result<()> {
        eventually("nothing is left", async || {
            let containers = self.containers().await?;
            let (jobs, shims) = (self.jobs(), native::shims(&self.path));
            ensure!(
                containers.is_empty() && jobs.is_empty() && shims.is_empty(),
                "containers {containers:?}, jobs {jobs:?}, shims {shims:?}"
            );
            Ok(())
        })
        .await
    }

    /// The end of a story that went well: looks at what is left, stops all, reads the logs.
    pub(super) async fn finish(&self) -> Result<()> {
        self.nothing_left().await?;
        // Workers first and the root last, so that none complains of the others.
        for program in self.programs.iter().rev() {
            if program.pid().is_some() {
                self.stop(program.name()).await?;
            }
        }
        let mut complaints = Vec::new();
        for program in &self.programs {
            let found = logs::complaints(&program.printed(), &self.expected);
            complaints.extend(found.iter().map(|c| format!("{}: {c}", program.name())));
        }
        if !complaints.is_empty() {
            let expected: Vec<String> = self
                .expected
                .iter()
                .map(|e| format!("`{}`, because {}", e.text, e.because))
                .collect();
            bail!(
                "unexpected in the logs:\n  {}\nexpected would be: {}",
                complaints.join("\n  "),
                expected.join("; ")
            );
        }
        Ok(())
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        if !self.good {
            let mut text = format!("\nstory {} failed; its last words:\n", self.id);
            for program in &self.programs {
                text.push_str(&format!("-- {}\n", program.name()));
                text.push_str(&logs::tail(&program.printed(), TAIL));
            }
            if let Some(dir) = self.dir.take() {
                text.push_str(&format!("its files stay in {}\n", dir.keep().display()));
            }
            #[expect(clippy::print_stderr, reason = "a failed test tells why")]
            {
                eprint!("{text}");
            }
        }
        if !self.good {
            self.disks.iter_mut().for_each(Disk::keep_files);
        }
        // Programs first, so that nothing is started any more. Kills are for what is still there after a failure.
        self.programs.clear();
        for process in native::shims(&self.path).into_iter().chain(self.jobs()) {
            if let Some(pid) = as_pid(process.pid) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        for id in locked(&self.ids).values() {
            containers::sweep(id);
        }
        for image in locked(&self.images).iter() {
            containers::remove_image(image);
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
