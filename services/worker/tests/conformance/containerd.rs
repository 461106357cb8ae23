//! containerd's containers pass the suite; and what only this driver has: a network of its own, images without a daemon's help, and files
//! that outlive the engine.

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use bollard::{Docker as Client, query_parameters::RemoveImageOptionsBuilder};
use edgeio_worker::runtime::{
    ErrorClass, InstanceId, JobSpec, NoProgress, Port, Protocol, PullPolicy, Runtime, RuntimeError,
    State,
    containerd::{ContainerdConfig, ContainerdRuntime},
};
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::{
    bed::{Bed, Behaviour, eventually, exited, printed},
    engine::Engine,
    images::{self, Registry},
    private::Private,
};

const IMAGE: &str = "edgeio-conformance:busybox";

/// The engine that all tests but the killing one share.
static SHARED: OnceCell<Engine> = OnceCell::const_new();

/// A directory of this run: in an earlier one's, something may still be mounted after a failure.
fn place(name: &str) -> PathBuf {
    let run = std::process::id();
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{run}"))
}

struct Containerd {
    socket: PathBuf,
    worker: Uuid,
    state: PathBuf,
}

impl Containerd {
    fn at(engine: &Engine) -> Self {
        let worker = Uuid::now_v7();
        Self {
            socket: engine.socket.clone(),
            worker,
            state: place(&format!("containerd-{worker}")),
        }
    }

    fn runtime(&self, shared_shim: bool) -> ContainerdRuntime {
        ContainerdRuntime::new(ContainerdConfig {
            socket: self.socket.clone(),
            state: self.state.clone(),
            shared_shim,
        })
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        // Empty unless a test failed.
        let _ = std::fs::remove_dir(&self.state);
    }
}

impl Bed for Containerd {
    async fn new() -> Self {
        let make = || async {
            let engine = Engine::start(&place("containerd")).await;
            engine.import(IMAGE, &images::root_fs(&[]));
            engine
        };
        Self::at(SHARED.get_or_init(make).await)
    }

    fn driver(&self) -> Arc<dyn Runtime> {
        Arc::new(self.runtime(false))
    }

    fn worker(&self) -> Uuid {
        self.worker
    }

    fn fit(&self, job: &mut JobSpec, behaviour: Behaviour) {
        job.image = Some(IMAGE.to_owned());
        job.command = match behaviour {
            Behaviour::NoProgram => vec!["/no/such/program".to_owned()],
            _ => vec!["/bin/sh".to_owned(), "-c".to_owned()],
        };
        job.args = vec![behaviour.script()];
    }

    async fn leftovers(&self, instance: InstanceId) -> Vec<String> {
        let id = instance.to_string();
        let engine = SHARED.get().unwrap();
        let mut left = Vec::new();
        for kind in ["containers", "tasks", "snapshots"] {
            let listed = engine.ctr(&[kind, "ls"]);
            let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
            left.extend(
                listed
                    .lines()
                    .filter(|l| l.contains(&id))
                    .map(|l| format!("{kind}: {l}")),
            );
        }
        let files = [
            self.state.join(&id),
            PathBuf::from("/sys/fs/cgroup/memory/edgeio").join(&id),
            PathBuf::from("/sys/fs/cgroup/edgeio").join(&id),
        ];
        left.extend(
            files
                .iter()
                .filter(|f| f.exists())
                .map(|f| f.display().to_string()),
        );
        left
    }
}

crate::conformance!(Containerd);

fn get(port: u16) -> Result<String, String> {
    let text = |e: std::io::Error| e.to_string();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).map_err(text)?;
    stream
        .write_all(b"GET /nothing HTTP/1.0\r\n\r\n")
        .map_err(text)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(text)?;
    Ok(answer)
}

#[tokio::test]
async fn published_ports_are_reachable_on_the_node_and_taken_ones_refused() {
    let bed = Containerd::new().await;
    let (driver, mut job) = (bed.driver(), bed.job(Behaviour::Hold));
    job.args = vec!["echo ready; exec httpd -f -p 8080 -h /bin".to_owned()];
    let port = 10_000 + u16::try_from((std::process::id() + 1) % 10_000).unwrap();
    job.ports = vec![Port {
        container: 8080,
        host: Some(port),
        protocol: Protocol::Tcp,
    }];
    driver.ensure(&job, &NoProgress).await.unwrap();
    eventually("answers", async || {
        let answer = get(port)?;
        if answer.contains("404") {
            Ok(())
        } else {
            Err(answer)
        }
    })
    .await;
    let mut other = bed.job(Behaviour::Hold);
    other.ports.clone_from(&job.ports);
    let error = driver.ensure(&other, &NoProgress).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Retry, "{}", error.chain());
    assert!(
        error.chain().contains(&port.to_string()),
        "{}",
        error.chain()
    );
    driver.remove(job.instance()).await.unwrap();
    assert!(get(port).is_err(), "the mapping is gone");
    let now = driver.ensure(&other, &NoProgress).await.unwrap();
    assert!(
        matches!(now.state, State::Running { .. }),
        "the created one is started: {now:?}"
    );
    driver.remove(other.instance()).await.unwrap();
}

#[tokio::test]
async fn a_job_sees_from_inside_that_it_is_locked_in() {
    let bed = Containerd::new().await;
    let (driver, mut job) = (bed.driver(), bed.job(Behaviour::Hold));
    job.args = vec![
        "cat /proc/self/status; cat /etc/hosts; echo host=$(cat /proc/sys/kernel/hostname); \
         unset PATH; echo env=$A; exit 0"
            .to_owned(),
    ];
    job.env.insert("A".to_owned(), "b c".to_owned());
    driver.ensure(&job, &NoProgress).await.unwrap();
    exited(&*driver, job.instance()).await;
    let said = driver.tail(job.instance(), 65_536).await.unwrap();
    let said = String::from_utf8(said).unwrap();
    let value = |key: &str| {
        let line = said.lines().find(|line| line.starts_with(key));
        line.and_then(|l| l.split_whitespace().nth(1))
            .map(str::to_owned)
    };
    assert_eq!(value("NoNewPrivs:").as_deref(), Some("1"), "{said}");
    assert_eq!(value("Seccomp:").as_deref(), Some("2"), "{said}");
    let bounding = u64::from_str_radix(&value("CapBnd:").unwrap(), 16).unwrap();
    for (name, bit) in [
        ("SYS_ADMIN", 21),
        ("NET_ADMIN", 12),
        ("NET_RAW", 13),
        ("MKNOD", 27),
        ("SYS_PTRACE", 19),
    ] {
        assert_eq!(bounding & (1 << bit), 0, "{name}: {said}");
    }
    assert!(
        said.contains("env=b c") && said.contains(&job.name),
        "{said}"
    );
    driver.remove(job.instance()).await.unwrap();
}

#[tokio::test]
async fn jobs_outlive_the_engine() {
    let mut engine = Engine::start(&place("containerd-killed")).await;
    engine.import(IMAGE, &images::root_fs(&[]));
    let bed = Containerd::at(&engine);
    let (driver, job, ends) = (
        bed.driver(),
        bed.job(Behaviour::Hold),
        bed.job(Behaviour::Hold),
    );
    let before = driver.ensure(&job, &NoProgress).await.unwrap();
    let State::Running { pid: Some(pid), .. } =
        driver.ensure(&ends, &NoProgress).await.unwrap().state
    else {
        panic!("no pid")
    };
    let mut events = driver.events().await.unwrap();
    engine.kill();
    let error = driver.observe(job.instance()).await.unwrap_err();
    assert!(
        matches!(error, RuntimeError::Reach { .. }),
        "{}",
        error.chain()
    );
    // One ends while nobody looks.
    let killed = Command::new("kill")
        .args(["-9", &pid.to_string()])
        .status()
        .unwrap();
    assert!(killed.success());
    engine.run().await;
    let after = eventually("is seen again", async || {
        let seen = driver
            .observe(job.instance())
            .await
            .map_err(|e| e.chain())?;
        seen.ok_or_else(|| "gone".to_owned())
    })
    .await;
    assert_eq!(
        (after.handle, after.state),
        (before.handle, before.state),
        "same pid, same start"
    );
    let ended = exited(&*driver, ends.instance()).await;
    let State::Exited(exit) = ended.state else {
        panic!("{ended:?}")
    };
    assert!(
        exit.shell_code() == Some(137) || exit.lost.is_some(),
        "{exit:?}"
    );
    use futures::StreamExt as _;
    let hint = tokio::time::timeout(std::time::Duration::from_secs(30), events.next()).await;
    assert!(hint.unwrap().is_some(), "a gap is told");
    for instance in [job.instance(), ends.instance()] {
        driver.remove(instance).await.unwrap();
    }
    assert_eq!(driver.list_owned(bed.worker).await.unwrap(), []);
}

#[tokio::test]
async fn containers_can_share_one_shim() {
    let bed = Containerd::new().await;
    let driver = bed.runtime(true);
    let jobs = [
        bed.job(Behaviour::Hold),
        bed.job(Behaviour::Hold),
        bed.job(Behaviour::Hold),
    ];
    let mut parents = Vec::new();
    for job in &jobs {
        let seen = driver.ensure(job, &NoProgress).await.unwrap();
        let State::Running { pid: Some(pid), .. } = seen.state else {
            panic!("{seen:?}")
        };
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let parent = status
            .lines()
            .find_map(|l| l.strip_prefix("PPid:"))
            .unwrap()
            .trim()
            .to_owned();
        parents.push(parent);
    }
    parents.dedup();
    assert_eq!(parents.len(), 1, "one shim: {parents:?}");
    for job in &jobs {
        driver.remove(job.instance()).await.unwrap();
    }
}

#[tokio::test]
async fn an_engine_that_is_not_there_is_worth_another_try() {
    let dir = tempfile::tempdir().unwrap();
    let driver = ContainerdRuntime::new(ContainerdConfig {
        socket: dir.path().join("none.sock"),
        state: dir.path().join("state"),
        shared_shim: false,
    });
    let error = driver.capabilities().await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Retry, "{}", error.chain());
    assert!(error.chain().contains("none.sock"), "{}", error.chain());
}

#[tokio::test]
async fn a_private_registry_is_asked_with_the_workers_credentials() {
    let bed = Containerd::new().await;
    let private = Private::with_image("containerd").await;
    let driver = |registries| -> Box<dyn Runtime> {
        Box::new(bed.runtime(false).with_registries(registries))
    };
    private
        .is_kept(driver, || bed.job(Behaviour::Exit(0)))
        .await;
}

#[tokio::test]
async fn images_are_pulled_as_the_policy_says() {
    let bed = Containerd::new().await;
    let docker = Client::connect_with_unix_defaults().expect("the Docker Engine runs");
    let mut registry = Registry::start().await;
    let repository = format!("{}/edgeio/containerd", registry.address);
    let image = format!("{repository}:1");
    let driver = bed.driver();
    let job = |pull| {
        let mut job = bed.job(Behaviour::Exit(0));
        job.args = vec!["cat /which".to_owned()];
        job.image = Some(image.clone());
        job.pull = pull;
        job
    };
    let mut digests = Vec::new();
    for text in ["old", "new"] {
        let files = [("which", text.as_bytes())];
        images::import(&docker, &repository, "1", images::root_fs(&files)).await;
        Registry::push(&docker, &repository, "1").await;
        let options = RemoveImageOptionsBuilder::new().force(true).build();
        docker
            .remove_image(&image, Some(options), None)
            .await
            .unwrap();
        let job = job(if text == "old" {
            PullPolicy::IfAbsent
        } else {
            PullPolicy::Always
        });
        let seen = driver.ensure(&job, &NoProgress).await.unwrap();
        printed(&*driver, job.instance(), text).await;
        digests.push(seen.image_digest.expect("it came from a registry"));
        driver.remove(job.instance()).await.unwrap();
    }
    assert_ne!(digests[0], digests[1]);
    // Pinned, the old one comes back although the tag has moved.
    let mut pinned = job(PullPolicy::IfAbsent);
    pinned.image_digest = Some(digests[0].clone());
    let seen = driver.ensure(&pinned, &NoProgress).await.unwrap();
    assert_eq!(seen.image_digest.as_ref(), Some(&digests[0]));
    printed(&*driver, pinned.instance(), "old").await;
    driver.remove(pinned.instance()).await.unwrap();
    // What no registry has is permanent; a registry that is away is not.
    let mut unknown = job(PullPolicy::IfAbsent);
    unknown.image = Some(format!("{repository}:none"));
    let error = driver.ensure(&unknown, &NoProgress).await.unwrap_err();
    assert!(matches!(error, RuntimeError::Pull { .. }), "{error}");
    assert_eq!(error.class(), ErrorClass::Permanent, "{}", error.chain());
    registry.stop();
    let error = driver.ensure(&unknown, &NoProgress).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Retry, "{}", error.chain());
    unknown.pull = PullPolicy::Never;
    let error = driver.ensure(&unknown, &NoProgress).await.unwrap_err();
    assert!(matches!(error, RuntimeError::ImageAbsent { .. }), "{error}");
    assert_eq!(driver.list_owned(bed.worker).await.unwrap(), []);
}
