//! nats-server as a child: it starts, says why if it cannot, and never outlives its owner.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use edgeio_bridge::broker::{self, Broker, BrokerError, Settings};

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

fn alive(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[tokio::test]
async fn it_listens_is_the_same_address_after_a_kill_and_ends_when_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(&broker::find().unwrap(), ANY, dir.path())
        .await
        .unwrap();
    let (address, first) = (broker.address(), broker.pid());
    assert!(
        address.ip().is_loopback() && address.port() < 32_768,
        "{address}"
    );
    async_nats::connect(broker.url()).await.unwrap();
    broker.kill().await;
    assert!(!alive(first));
    broker.restart().await.unwrap();
    assert_eq!(broker.address(), address);
    assert_ne!(broker.pid(), first);
    let info = async_nats::connect(broker.url())
        .await
        .unwrap()
        .server_info();
    assert_eq!(info.max_payload, 256 * 1024);
    assert!(!info.jetstream);
    let second = broker.pid();
    broker.stop().await;
    assert!(!alive(second));
}

#[tokio::test]
async fn dropping_it_kills_the_child() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&broker::find().unwrap(), ANY, dir.path())
        .await
        .unwrap();
    let pid = broker.pid();
    drop(broker);
    let deadline = Instant::now() + Duration::from_secs(30);
    while alive(pid) {
        assert!(Instant::now() < deadline, "process {pid} lives");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_child_that_dies_is_replaced_until_the_stop() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&broker::find().unwrap(), ANY, dir.path())
        .await
        .unwrap();
    let (url, pid) = (broker.url(), broker.pid());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let kept = tokio::spawn(broker.keep(async move {
        let _ = stopped.await;
    }));
    let before = async_nats::connect(&url)
        .await
        .unwrap()
        .server_info()
        .server_name;
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(pid.try_into().unwrap()).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Ok(client) = async_nats::connect(&url).await
            && client.server_info().server_name != before
        {
            break;
        }
        assert!(Instant::now() < deadline, "no other child came");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stop.send(()).unwrap();
    kept.await.unwrap();
    assert!(
        async_nats::connect(&url).await.is_err(),
        "it listens after its stop"
    );
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind(ANY).unwrap();
    let address = taken.local_addr().unwrap();
    let error = Broker::start(&broker::find().unwrap(), address, dir.path())
        .await
        .unwrap_err();
    assert!(
        matches!(error, BrokerError::Taken { address: named } if named == address),
        "{error}"
    );
}

#[tokio::test]
async fn a_program_that_is_no_broker_is_told_with_its_words() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("nats-server");
    std::fs::write(&program, "#!/bin/sh\necho cannot do that >&2\nexit 3\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&program, mode).unwrap();
    let error = Broker::start(&program, ANY, &dir.path().join("data"))
        .await
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("cannot do that") && text.contains('3'),
        "{text}"
    );
    let error = Broker::start(&dir.path().join("none"), ANY, dir.path())
        .await
        .unwrap_err();
    assert!(matches!(error, BrokerError::Spawn { .. }), "{error}");
}

#[tokio::test]
async fn monitoring_is_off_unless_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let binary = broker::find().unwrap();
    let listening = |pid: u32| {
        // Every socket of the child that listens: state 0A in the kernel's table, by inode.
        let inodes: Vec<String> = std::fs::read_dir(format!("/proc/{pid}/fd"))
            .unwrap()
            .filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok())
            .filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.replace(']', "")))
            .collect();
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        table
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .filter(|row| row.get(3) == Some(&"0A"))
            .filter(|row| {
                row.get(9)
                    .is_some_and(|inode| inodes.iter().any(|i| i == inode))
            })
            .count()
    };
    let plain = Broker::start(&binary, ANY, &dir.path().join("a"))
        .await
        .unwrap();
    assert_eq!(listening(plain.pid()), 1);
    let free = std::net::TcpListener::bind(ANY)
        .unwrap()
        .local_addr()
        .unwrap();
    let settings = Settings {
        listen: ANY,
        data_dir: dir.path().join("b"),
        monitor: Some(free),
        authority: String::new(),
    };
    let watched = Broker::start_with(&binary, settings).await.unwrap();
    assert_eq!(listening(watched.pid()), 2);
}
