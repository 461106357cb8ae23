//! A driver behind its socket passes the suite; and what happens when it goes, is another one, or is called by the wrong people.
//!
//! The driver here is the process runtime, served by the library that drivers in Rust are written with.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _},
        net::UnixStream,
    },
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use edgeio_proto::runtime::v1::{
    DescribeRequest, GetCapabilitiesRequest, driver_service_client::DriverServiceClient,
};
use edgeio_worker::runtime::{
    ErrorClass, InstanceId, JobSpec, NoProgress, Runtime, RuntimeError, RuntimeEvent, RuntimeKind,
    State,
    external::{ExternalConfig, ExternalRuntime, ServeError, Served, serve},
    process::{ProcessConfig, ProcessRuntime},
};
use futures::StreamExt as _;
use rustix::{process::Uid, thread::set_thread_res_uid};
use tempfile::TempDir;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::bed::{Bed, Behaviour, eventually, exited, printed};

struct External {
    dir: TempDir,
    worker: Uuid,
    /// Ends the driver when it is dropped.
    driver: Option<oneshot::Sender<()>>,
}

impl External {
    fn socket(&self) -> PathBuf {
        self.dir.path().join("driver.sock")
    }

    fn engine(&self) -> Arc<dyn Runtime> {
        let mut config = ProcessConfig::new(self.dir.path().join("engine"));
        config.shim = Some(env!("CARGO_BIN_EXE_edgeio-worker").into());
        Arc::new(ProcessRuntime::open(config).unwrap())
    }

    /// Starts the driver in a thread and with connections of its own: when it ends, all of it ends, as with a process.
    async fn start(&mut self) {
        let (stop, stopped) = oneshot::channel::<()>();
        let (socket, engine) = (self.socket(), self.engine());
        std::thread::spawn(move || {
            let alone = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap();
            let stop = async {
                // An error means that the bed is gone.
                let _ = stopped.await;
            };
            alone
                .block_on(serve(&socket, about(), engine, stop))
                .unwrap();
            alone.shutdown_background();
        });
        self.driver = Some(stop);
        let socket = self.socket();
        eventually("the driver listens", async || {
            tokio::net::UnixStream::connect(&socket)
                .await
                .map(|_| ())
                .map_err(|e| e.to_string())
        })
        .await;
    }

    async fn end(&mut self) {
        self.driver = None;
        let socket = self.socket();
        eventually("the driver is gone", async || match fs::metadata(&socket) {
            Ok(_) => Err("its socket is there".to_owned()),
            Err(_) => Ok(()),
        })
        .await;
    }
}

fn about() -> Served {
    Served {
        name: "sample".to_owned(),
        version: "1".to_owned(),
        keeps_leases: true,
    }
}

fn named(socket: PathBuf) -> ExternalRuntime {
    ExternalRuntime::new(ExternalConfig {
        name: RuntimeKind::new("sample"),
        socket,
    })
}

impl Bed for External {
    async fn new() -> Self {
        let mut bed = Self {
            dir: tempfile::tempdir().unwrap(),
            worker: Uuid::now_v7(),
            driver: None,
        };
        bed.start().await;
        bed
    }

    fn driver(&self) -> Arc<dyn Runtime> {
        Arc::new(named(self.socket()))
    }

    fn worker(&self) -> Uuid {
        self.worker
    }

    fn fit(&self, job: &mut JobSpec, behaviour: Behaviour) {
        job.command = match behaviour {
            Behaviour::NoProgram => vec!["/no/such/program".to_owned()],
            _ => vec!["/bin/sh".to_owned(), "-c".to_owned()],
        };
        job.args = vec![behaviour.script()];
    }

    async fn leftovers(&self, instance: InstanceId) -> Vec<String> {
        let jobs = self.dir.path().join("engine/jobs");
        let entries = fs::read_dir(jobs).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names
            .filter(|name| name.contains(&instance.to_string()))
            .collect()
    }
}

crate::conformance!(External);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_driver_that_comes_back_is_found_with_its_jobs() {
    let mut bed = External::new().await;
    let (driver, job) = (bed.driver(), bed.job(Behaviour::Hold));
    let id = job.instance();
    let mut events = driver.events().await.unwrap();
    let before = driver.ensure(&job, &NoProgress).await.unwrap();
    printed(&*driver, id, "ready").await;
    bed.end().await;
    let error = driver.observe(id).await.unwrap_err();
    assert!(matches!(error, RuntimeError::Reach { .. }), "{error:?}");
    assert_eq!(error.class(), ErrorClass::Retry);
    assert!(error.chain().contains("driver.sock"), "{}", error.chain());
    assert!(driver.capabilities().await.is_err());
    bed.start().await;
    // The same object, at once, and the same run.
    let after = driver.observe(id).await.unwrap().unwrap();
    assert_eq!(
        (&after.handle, &after.state),
        (&before.handle, &before.state)
    );
    assert_eq!(driver.list_owned(bed.worker()).await.unwrap().len(), 1);
    let gap = async {
        loop {
            match events.next().await {
                Some(RuntimeEvent::Gap) => return,
                Some(_) => {}
                None => panic!("the stream ended"),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), gap)
        .await
        .expect("a gap is told");
    driver.stop(id, Duration::from_secs(20)).await.unwrap();
    driver.remove(id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_begun_is_carried_out_without_its_caller() {
    let bed = External::new().await;
    let (driver, job) = (bed.driver(), bed.job(Behaviour::IgnoreTerm));
    driver.ensure(&job, &NoProgress).await.unwrap();
    printed(&*driver, job.instance(), "ready").await;
    let id = job.instance();
    let grace = Duration::from_secs(1);
    let cut = tokio::time::timeout(Duration::from_millis(300), driver.stop(id, grace)).await;
    assert!(cut.is_err(), "the caller went away first");
    drop(driver);
    let driver = bed.driver();
    let ended = exited(&*driver, id).await;
    assert!(matches!(ended.state, State::Exited(exit) if exit.shell_code() == Some(137)));
    driver.remove(id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_is_told_and_keeps_its_job() {
    let bed = External::new().await;
    let (driver, mut job) = (bed.driver(), bed.job(Behaviour::Hold));
    let boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let now = Duration::new(
        u64::try_from(boot.tv_sec).unwrap(),
        u32::try_from(boot.tv_nsec).unwrap(),
    );
    job.lease = Some(now + Duration::from_secs(2));
    let id = job.instance();
    driver.ensure(&job, &NoProgress).await.unwrap();
    let later = now + Duration::from_secs(3600);
    eventually("the driver takes it", async || {
        if driver.renew(id, later) {
            Ok(())
        } else {
            Err("not told yet".to_owned())
        }
    })
    .await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let seen = driver.observe(id).await.unwrap().unwrap();
    assert!(matches!(seen.state, State::Running { .. }), "{seen:?}");
    driver.remove(id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_its_owner_may_use_it_and_only_one_driver_serves_it() {
    let bed = External::new().await;
    let found = fs::metadata(bed.socket()).unwrap();
    assert_eq!(found.mode() & 0o777, 0o600);
    let names: Vec<_> = fs::read_dir(bed.dir.path()).unwrap().flatten().collect();
    assert!(
        !names
            .iter()
            .any(|e| e.file_name().to_string_lossy().contains(".sock.")),
        "what it was made in is gone: {names:?}"
    );
    let second = serve(&bed.socket(), about(), bed.engine(), std::future::pending()).await;
    assert!(
        matches!(second, Err(ServeError::Taken { .. })),
        "{second:?}"
    );
    // Opened up by a hand: not used any more.
    fs::set_permissions(bed.socket(), fs::Permissions::from_mode(0o660)).unwrap();
    let error = bed.driver().capabilities().await.unwrap_err();
    assert!(error.chain().contains("chmod 600"), "{}", error.chain());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_user_gets_no_answer() {
    let bed = External::new().await;
    // The directory lets it through, and so does the mode: what is left is who calls.
    fs::set_permissions(bed.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(bed.socket(), fs::Permissions::from_mode(0o666)).unwrap();
    let socket = bed.socket();
    // The preface and empty settings of HTTP/2, to which a server answers with its own.
    let call = move |user: Option<Uid>| {
        if let Some(user) = user {
            set_thread_res_uid(user, user, user).unwrap();
        }
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        // Refused at once, it may be closed before all is written.
        let _ = stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
        let mut answer = [0; 9];
        stream.read(&mut answer)
    };
    let own = call.clone();
    // A user is a thread's own to the kernel, and each of these threads ends with its call.
    let own = std::thread::spawn(move || own(None)).join().unwrap();
    assert_eq!(own.unwrap(), 9, "its own user is answered");
    let nobody = std::thread::spawn(move || call(Some(Uid::from_raw(65534))));
    match nobody.join().unwrap() {
        Ok(read) => assert_eq!(read, 0, "hung up"),
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_names_no_version_is_refused() {
    let bed = External::new().await;
    let socket = bed.socket();
    let connect = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move {
            let stream = tokio::net::UnixStream::connect(socket).await;
            stream.map(hyper_util::rt::TokioIo::new)
        }
    });
    let channel = tonic::transport::Endpoint::from_static("http://driver")
        .connect_with_connector(connect)
        .await
        .unwrap();
    let mut client = DriverServiceClient::new(channel);
    let asked = client.get_capabilities(GetCapabilitiesRequest {}).await;
    let refused = asked.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::FailedPrecondition, "{refused}");
    assert!(
        refused.message().contains("edgeio-driver-protocol"),
        "{refused}"
    );
    let who = client.describe(DescribeRequest::default()).await.unwrap();
    assert_eq!(
        who.into_inner().name,
        "sample",
        "who it is, it tells everybody"
    );
}
