//! Docker containers pass the suite; and what only an engine with images and ports does.

use std::{
    collections::HashMap,
    io::{Read, Write},
    net::TcpStream,
    process::Command,
    sync::{Arc, Mutex},
};

use bollard::{
    Docker as Client,
    models::{ContainerCreateBody, ContainerInspectResponse},
    query_parameters::{
        CreateContainerOptionsBuilder, InspectContainerOptions, ListContainersOptionsBuilder,
        ListImagesOptionsBuilder, RemoveContainerOptionsBuilder, RemoveImageOptionsBuilder,
    },
};
use edgeio_worker::runtime::{
    ErrorClass, InstanceId, JobSpec, NoProgress, Observed, Port, Progress, Protocol, PullPolicy,
    Runtime, RuntimeError, State, Step,
    docker::{DockerConfig, DockerRuntime},
    label,
};
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::{
    bed::{Bed, Behaviour, eventually, exited, printed},
    images::{self, Registry},
    private::Private,
};

const REPOSITORY: &str = "edgeio-conformance";
const IMAGE: &str = "edgeio-conformance:busybox-2";

struct Docker {
    client: Client,
    worker: Uuid,
}

impl Docker {
    async fn inspect(&self, seen: &Observed) -> ContainerInspectResponse {
        let options = None::<InspectContainerOptions>;
        self.client
            .inspect_container(&seen.handle.0, options)
            .await
            .unwrap()
    }

    async fn drop_image(&self, image: &str) {
        let options = RemoveImageOptionsBuilder::new().force(true).build();
        self.client
            .remove_image(image, Some(options), None)
            .await
            .unwrap();
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let label = format!("label={}={}", label::WORKER, self.worker);
            let script = format!("docker ps -aq --filter {label} | xargs -r docker rm -f");
            let _ = Command::new("sh").args(["-c", &script]).output();
        }
    }
}

impl Bed for Docker {
    async fn new() -> Self {
        static IMAGE_MADE: OnceCell<()> = OnceCell::const_new();
        let client = Client::connect_with_unix_defaults().expect("the Docker Engine runs");
        let make = || async {
            if client.inspect_image(IMAGE).await.is_err() {
                images::import(&client, REPOSITORY, "busybox-2", images::root_fs(&[])).await;
            }
        };
        IMAGE_MADE.get_or_init(make).await;
        Self {
            client,
            worker: Uuid::now_v7(),
        }
    }

    fn driver(&self) -> Arc<dyn Runtime> {
        Arc::new(DockerRuntime::new(&DockerConfig::default()))
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
        let label = format!("{}={instance}", label::INSTANCE);
        let filters = HashMap::from([("label", vec![label])]);
        let options = ListContainersOptionsBuilder::new()
            .all(true)
            .filters(&filters)
            .build();
        let found = self.client.list_containers(Some(options)).await.unwrap();
        found.into_iter().filter_map(|c| c.id).collect()
    }
}

crate::conformance!(Docker);

#[tokio::test]
async fn a_container_has_four_labels_our_name_and_no_policy_of_its_own() {
    let bed = Docker::new().await;
    let (driver, mut job) = (bed.driver(), bed.job(Behaviour::Hold));
    (job.cpu_millis, job.memory_bytes) = (Some(250), Some(32 << 20));
    job.env.insert("GREETING".to_owned(), "good day".to_owned());
    let seen = driver.ensure(&job, &NoProgress).await.unwrap();
    assert_eq!(seen.image_digest, None, "a local image has none");
    let found = bed.inspect(&seen).await;
    assert_eq!(found.name.as_deref(), Some(&*format!("/{}", job.name)));
    let config = found.config.unwrap();
    let labels = config.labels.unwrap();
    assert_eq!(labels.len(), 4, "{labels:?}");
    assert_eq!(labels[label::CLUSTER], job.labels.cluster.to_string());
    assert_eq!(labels[label::WORKER], job.labels.worker.to_string());
    assert_eq!(labels[label::INSTANCE], job.instance().to_string());
    assert_eq!(labels[label::SPEC_HASH], job.labels.spec_hash);
    assert!(
        config
            .env
            .unwrap()
            .contains(&"GREETING=good day".to_owned())
    );
    let host = found.host_config.unwrap();
    assert_eq!(
        (host.nano_cpus, host.memory),
        (Some(250_000_000), Some(32 << 20))
    );
    assert_eq!(
        host.security_opt,
        Some(vec!["no-new-privileges".to_owned()])
    );
    assert_eq!(host.restart_policy.unwrap().name.unwrap().to_string(), "no");
    assert_eq!(host.log_config.unwrap().config.unwrap()["max-file"], "2");
    driver.remove(job.instance()).await.unwrap();
}

#[tokio::test]
async fn restart_keeps_the_container_id_and_moves_the_start() {
    let bed = Docker::new().await;
    let (driver, job) = (bed.driver(), bed.job(Behaviour::Exit(0)));
    let first = driver.ensure(&job, &NoProgress).await.unwrap();
    exited(&*driver, job.instance()).await;
    let old = bed.inspect(&first).await;
    let second = driver.restart(&job).await.unwrap();
    assert_eq!(first.handle, second.handle);
    let new = bed.inspect(&second).await;
    assert!(new.state.unwrap().started_at > old.state.unwrap().started_at);
    driver.remove(job.instance()).await.unwrap();
}

#[tokio::test]
async fn published_ports_are_reachable_on_the_node() {
    let bed = Docker::new().await;
    let (driver, mut job) = (bed.driver(), bed.job(Behaviour::Hold));
    job.args = vec!["echo ready; exec httpd -f -p 8080 -h /bin".to_owned()];
    let port = 10_000 + u16::try_from(std::process::id() % 10_000).unwrap();
    job.ports = vec![Port {
        container: 8080,
        host: Some(port),
        protocol: Protocol::Tcp,
    }];
    driver.ensure(&job, &NoProgress).await.unwrap();
    eventually("answers", async || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).map_err(|e| e.to_string())?;
        stream
            .write_all(b"GET /nothing HTTP/1.0\r\n\r\n")
            .map_err(|e| e.to_string())?;
        let mut answer = String::new();
        stream
            .read_to_string(&mut answer)
            .map_err(|e| e.to_string())?;
        if answer.contains("404") {
            Ok(())
        } else {
            Err(answer)
        }
    })
    .await;
    // The same port for another is refused, but may become free.
    let mut other = bed.job(Behaviour::Hold);
    other.ports.clone_from(&job.ports);
    let error = driver.ensure(&other, &NoProgress).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Retry, "{}", error.chain());
    driver.remove(job.instance()).await.unwrap();
    let now = driver.ensure(&other, &NoProgress).await.unwrap();
    assert!(
        matches!(now.state, State::Running { .. }),
        "the created one is started: {now:?}"
    );
    driver.remove(other.instance()).await.unwrap();
}

#[tokio::test]
async fn a_stranger_with_our_name_is_a_conflict_and_is_left_alone() {
    let bed = Docker::new().await;
    let (driver, job) = (bed.driver(), bed.job(Behaviour::Hold));
    let options = CreateContainerOptionsBuilder::new().name(&job.name).build();
    let body = ContainerCreateBody {
        image: Some(IMAGE.to_owned()),
        cmd: Some(vec!["/bin/sh".to_owned()]),
        ..ContainerCreateBody::default()
    };
    let stranger = bed
        .client
        .create_container(Some(options), body)
        .await
        .unwrap()
        .id;
    let error = driver.ensure(&job, &NoProgress).await.unwrap_err();
    driver.remove(job.instance()).await.unwrap();
    let options = RemoveContainerOptionsBuilder::new().force(true).build();
    bed.client
        .remove_container(&stranger, Some(options))
        .await
        .expect("it is still there");
    assert!(matches!(error, RuntimeError::Conflict { .. }), "{error}");
}

#[tokio::test]
async fn a_container_taken_away_behind_our_back_is_gone() {
    let bed = Docker::new().await;
    let (driver, job) = (bed.driver(), bed.job(Behaviour::Hold));
    let first = driver.ensure(&job, &NoProgress).await.unwrap();
    let options = RemoveContainerOptionsBuilder::new().force(true).build();
    bed.client
        .remove_container(&first.handle.0, Some(options))
        .await
        .unwrap();
    let error = driver.pause(job.instance()).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Gone, "{}", error.chain());
    let error = driver.stats(job.instance()).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Gone, "{}", error.chain());
    assert_eq!(driver.observe(job.instance()).await.unwrap(), None);
    let second = driver.ensure(&job, &NoProgress).await.unwrap();
    assert_ne!(first.handle, second.handle);
    driver.remove(job.instance()).await.unwrap();
}

#[tokio::test]
async fn an_engine_that_is_not_there_is_worth_another_try() {
    let dir = tempfile::tempdir().unwrap();
    let driver = DockerRuntime::new(&DockerConfig {
        socket: dir.path().join("none.sock"),
    });
    let error = driver.capabilities().await.unwrap_err();
    assert!(matches!(error, RuntimeError::Reach { .. }), "{error}");
    assert_eq!(error.class(), ErrorClass::Retry);
    assert!(error.chain().contains("none.sock"), "{}", error.chain());
}

#[derive(Default)]
struct Steps(Mutex<Vec<Step>>);

impl Progress for Steps {
    fn step(&self, step: Step) {
        self.0.lock().unwrap().push(step);
    }
}

#[tokio::test]
async fn a_private_registry_is_asked_with_the_workers_credentials() {
    let bed = Docker::new().await;
    let private = Private::with_image("docker").await;
    let driver = |registries| -> Box<dyn Runtime> {
        Box::new(DockerRuntime::new(&DockerConfig::default()).with_registries(registries))
    };
    private
        .is_kept(driver, || bed.job(Behaviour::Exit(0)))
        .await;
    private.forget().await;
}

#[tokio::test]
async fn images_are_pulled_as_the_policy_says() {
    let bed = Docker::new().await;
    let mut registry = Registry::start().await;
    let repository = format!("{}/edgeio/conformance", registry.address);
    let image = format!("{repository}:1");
    // Bytes that do not compress: enough for progress to be told.
    let noise: Vec<u8> = (0..500_000u32)
        .flat_map(|_| *Uuid::new_v4().as_bytes())
        .collect();
    for text in ["old", "new"] {
        let files = [("which", text.as_bytes()), ("noise", &*noise)];
        images::import(&bed.client, &repository, "1", images::root_fs(&files)).await;
        Registry::push(&bed.client, &repository, "1").await;
        bed.drop_image(&image).await;
        if text == "old" {
            first_pull(&bed, &image).await;
        }
    }
    let driver = bed.driver();
    let job = |pull| {
        let mut job = bed.job(Behaviour::Exit(0));
        job.args = vec!["cat /which".to_owned()];
        job.image = Some(image.clone());
        job.pull = pull;
        job
    };

    // The tag moved. `Always` follows it and tells the digest.
    let newest = job(PullPolicy::Always);
    let seen = driver.ensure(&newest, &NoProgress).await.unwrap();
    printed(&*driver, newest.instance(), "new").await;
    let digest = seen.image_digest.expect("it came from a registry");
    assert!(digest.starts_with("sha256:"), "{digest}");

    // Pinned, it is the same image although nothing local has that name any more.
    for instance in driver.list_owned(bed.worker).await.unwrap() {
        driver.remove(instance.instance()).await.unwrap();
    }
    bed.drop_image(&image).await;
    let mut pinned = job(PullPolicy::IfAbsent);
    pinned.image_digest = Some(digest.clone());
    let seen = driver.ensure(&pinned, &NoProgress).await.unwrap();
    assert_eq!(seen.image_digest.as_deref(), Some(&*digest));
    printed(&*driver, pinned.instance(), "new").await;
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
    let never = job(PullPolicy::Never);
    let error = driver.ensure(&never, &NoProgress).await.unwrap_err();
    assert!(matches!(error, RuntimeError::ImageAbsent { .. }), "{error}");
    assert_eq!(driver.list_owned(bed.worker).await.unwrap(), []);

    let filters = HashMap::from([("reference", vec![repository])]);
    let options = ListImagesOptionsBuilder::new().filters(&filters).build();
    for left in bed.client.list_images(Some(options)).await.unwrap() {
        bed.drop_image(&left.id).await;
    }
}

/// Pulls because the image is absent, tells progress, and does not pull again while it is there.
async fn first_pull(bed: &Docker, image: &str) {
    let driver = bed.driver();
    let mut job = bed.job(Behaviour::Exit(0));
    job.image = Some(image.to_owned());
    job.args = vec!["cat /which".to_owned()];
    job.pull = PullPolicy::IfAbsent;
    let steps = Steps::default();
    driver.ensure(&job, &steps).await.unwrap();
    printed(&*driver, job.instance(), "old").await;
    let told = steps.0.into_inner().unwrap();
    let pulls: Vec<(u64, u64)> = told
        .iter()
        .filter_map(|step| match step {
            Step::Pulling { current, total } => Some((*current, *total)),
            Step::Creating | Step::Starting => None,
        })
        .collect();
    assert!(
        pulls.iter().all(|(current, total)| current <= total),
        "{pulls:?}"
    );
    let (current, total) = pulls.last().copied().unwrap();
    assert!(current == total && total > 7_000_000, "{pulls:?}");
    assert_eq!(told.last(), Some(&Step::Starting));
    let steps = Steps::default();
    let mut second = job.clone();
    second.labels.instance = InstanceId(Uuid::now_v7());
    second.name.push('2');
    driver.ensure(&second, &steps).await.unwrap();
    let told = steps.0.into_inner().unwrap();
    assert_eq!(told, [Step::Creating, Step::Starting], "no pull");
    for instance in [job.instance(), second.instance()] {
        driver.remove(instance).await.unwrap();
    }
}
