//! Waits until the parts know each other, and tells what runs where and what to type next.

use std::{path::Path, time::Duration};

use edgeio_client::{Dialer, Target};
use edgeio_proto::{
    cluster::v1::{Worker, WorkerState},
    root::v1::ChildState,
};
use tokio::time::{Instant, sleep};

use super::assembly::Addresses;
use crate::{error::CliError, output::table::table, remote::Remote};

/// How long the parts may take to find each other. It takes a second or two; a machine that builds something beside needs more.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks.
const POLL: Duration = Duration::from_millis(100);

/// Waits until the root hears its cluster and the cluster its workers; answers the workers.
pub(super) async fn when_ready(
    addresses: &Addresses,
    workers: u16,
) -> Result<Vec<Worker>, CliError> {
    let deadline = Instant::now() + PATIENCE;
    let here = Dialer::default();
    let root = Remote::connect(&target(addresses.root)?, &here, None).await?;
    let cluster = Remote::connect(&target(addresses.cluster)?, &here, None).await?;
    loop {
        let clusters = root.clusters().await?;
        let heard = clusters
            .iter()
            .filter(|c| c.state() == ChildState::Ready)
            .count();
        let known = cluster.workers().await?;
        let ready: Vec<Worker> = known
            .into_iter()
            .filter(|w| w.state() == WorkerState::Ready)
            .collect();
        if heard > 0 && ready.len() >= usize::from(workers) {
            return Ok(ready);
        }
        if Instant::now() > deadline {
            return Err(CliError::Failed(format!(
                "after {} s the root hears {heard} of 1 cluster and the cluster {} of {workers} workers; \
                 say --log info to see what they do",
                PATIENCE.as_secs(),
                ready.len(),
            )));
        }
        sleep(POLL).await;
    }
}

fn target(address: std::net::SocketAddr) -> Result<Target, CliError> {
    address
        .to_string()
        .parse()
        .map_err(|error| CliError::Failed(format!("{error}")))
}

/// What runs where, and what to type next.
pub(super) fn text(addresses: &Addresses, workers: &[Worker], data: &Path) -> String {
    let mut rows = vec![
        vec!["root".to_owned(), addresses.root.to_string(), String::new()],
        vec![
            "cluster".to_owned(),
            addresses.cluster.to_string(),
            super::assembly::CLUSTER.to_owned(),
        ],
        vec![
            "bridge".to_owned(),
            String::new(),
            "between the cluster and the broker".to_owned(),
        ],
        vec![
            "broker".to_owned(),
            addresses.broker.to_string(),
            format!("nats-server, process {}", addresses.broker_pid),
        ],
    ];
    for worker in workers {
        let inventory = worker.inventory.clone().unwrap_or_default();
        let runtimes: Vec<String> = inventory
            .runtimes
            .iter()
            .map(|runtime| {
                format!("{} {}", runtime.name, runtime.version)
                    .trim()
                    .to_owned()
            })
            .collect();
        rows.push(vec![
            "worker".to_owned(),
            "listens nowhere".to_owned(),
            format!("{}: {}", worker.name, runtimes.join(", ")),
        ]);
    }
    rows.push(vec![
        "data".to_owned(),
        String::new(),
        data.display().to_string(),
    ]);
    let parts = table(&["PART", "ADDRESS", ""], &rows);

    let root = addresses.root.to_string();
    let set = if root == "127.0.0.1:10000" {
        String::new()
    } else {
        format!("  export EDGEIO_SERVER={root}\n")
    };
    let example = Path::new("services/cli/examples/hello.yaml");
    let manifest = if example.exists() {
        example.display().to_string()
    } else {
        "hello.yaml".to_owned()
    };
    let note = if example.exists() {
        ""
    } else {
        "    # a manifest: see edgeio apply --help"
    };
    format!(
        "edgeIO runs on this machine\n\n{parts}\n\
         Next, in another terminal:\n\n{set}\
         \x20 edgeio apply -f {manifest} --wait{note}\n\
         \x20 edgeio get instances\n\
         \x20 edgeio get workers --server {cluster}\n\
         \x20 grpcurl -plaintext {root} list\n\n\
         Ctrl-C stops it.\n",
        cluster = addresses.cluster,
    )
}
