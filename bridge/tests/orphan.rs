//! A parent that is killed leaves no nats-server behind. Without the test harness, so that this program can be the
//! parent too: `orphan <directory>` starts a broker, says its process id and waits to be killed.
#![expect(clippy::unwrap_used, reason = "a test without the harness")]
#![expect(clippy::print_stdout, reason = "how the parent tells its child's id")]

use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use edgeio_bridge::broker::{self, Broker};

fn main() {
    match std::env::args().nth(1) {
        Some(dir) if Path::new(&dir).is_dir() => parent(Path::new(&dir)),
        _ => a_killed_parent_leaves_no_orphan(),
    }
}

fn parent(dir: &Path) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        // From a thread of the runtime that ends long before the process: the child must not care.
        let dir = dir.to_owned();
        let start = move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime
                .block_on(Broker::start(&broker::find().unwrap(), any, &dir))
                .unwrap()
        };
        let broker = std::thread::spawn(start).join().unwrap();
        println!("{}", broker.pid());
        std::future::pending::<()>().await;
    });
}

fn a_killed_parent_leaves_no_orphan() {
    let dir = tempfile::tempdir().unwrap();
    let mut parent = Command::new(std::env::current_exe().unwrap())
        .arg(dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(parent.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let broker: u32 = line.trim().parse().unwrap();
    // The name, so that a process id that was given anew is not taken for the old child.
    let alive = || {
        let name = std::fs::read_to_string(format!("/proc/{broker}/comm")).unwrap_or_default();
        let state = std::fs::read_to_string(format!("/proc/{broker}/stat")).unwrap_or_default();
        name.trim() == "nats-server" && !state.contains(") Z ")
    };
    // The thread that started it is gone already.
    assert!(alive(), "the broker died with the thread that started it");
    parent.kill().unwrap();
    parent.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while alive() {
        assert!(
            Instant::now() < deadline,
            "nats-server {broker} outlived its parent"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    println!("a killed parent leaves no orphan ... ok");
}
