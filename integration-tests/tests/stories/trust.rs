//! Who joins and who is let in: machines by a token alone, people by a login, and what is left to a machine that is revoked.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::Arc,
};

use anyhow::{Context, Result, ensure};
use edgeio_client::{MachineKey, Signer};
use edgeio_integration_tests::testbed::{
    Bed, Testbed, Tier, Way,
    binaries::ours,
    eventually, free_port,
    manifest::{app, native},
    proxy::Proxy,
};
use edgeio_proto::{
    cluster::v1::{Inventory, RegisterRequest, worker_service_client::WorkerServiceClient},
    join::JoinText,
};
use nkeys::KeyPair;
use tonic::Status;
use tonic_types::StatusExt as _;

fn said(done: &Output) -> String {
    let (out, error) = (&done.stdout, &done.stderr);
    format!(
        "{}{}",
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(error)
    )
}

/// `edgeio` as somebody whose logins are kept in that folder.
fn cli(home: &Path, words: &[&str]) -> Result<Output> {
    Command::new(ours("edgeio")?)
        .args(words)
        .env("EDGEIO_CONTEXT", home.join("context.json"))
        .stdin(Stdio::null())
        .output()
        .context("run edgeio")
}

/// Logs in at a tier of the bed as its first administrator.
fn log_in(bed: &Bed, tier: &str, address: &str, home: &Path) -> Result<()> {
    let shown = Command::new(ours(if tier == "root" {
        "edgeio-root"
    } else {
        "edgeio-cluster"
    })?)
    .args(["ca", "show"])
    .arg(format!("--data-dir={}", bed.data(tier).display()))
    .output()?;
    let shown = said(&shown);
    let hash = shown.split_whitespace().next().context("a hash")?;
    let token = bed.data(tier).join("admin.token").display().to_string();
    let words = [
        "login",
        "--server",
        address,
        "--token-file",
        &token,
        "--ca-hash",
        hash,
    ];
    let done = cli(home, &words)?;
    ensure!(done.status.success(), "{}", said(&done));
    Ok(())
}

async fn has_said(bed: &Bed, program: &str, text: &str, times: usize) -> Result<()> {
    eventually(
        &format!("{program} says `{text}` {times} times"),
        async || {
            let seen = bed.program(program)?.printed().matches(text).count();
            ensure!(seen >= times, "said {seen} times");
            Ok(())
        },
    )
    .await
}

/// A machine that is none of the bed's; killed with it.
struct Stray {
    child: Child,
    log: std::path::PathBuf,
}

impl Stray {
    fn start(program: &str, dir: &Path, args: &[String]) -> Result<Self> {
        let log = dir.join(format!("{program}.log"));
        let file = fs::File::create(&log)?;
        let child = Command::new(ours(program)?)
            .args(args)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .context("start a stray machine")?;
        Ok(Self { child, log })
    }

    async fn says(&self, text: &str) -> Result<()> {
        eventually(&format!("a stray machine says `{text}`"), async || {
            let printed = fs::read_to_string(&self.log)?;
            ensure!(printed.contains(text), "it said:\n{printed}");
            Ok(())
        })
        .await
    }
}

impl Drop for Stray {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The same token with another authority's hash: what a machine would hold that is to be lured to another server.
fn lured(token: &str) -> Result<String> {
    let mut text: JoinText = token.trim().parse()?;
    let ca = text.ca.as_mut().context("a token of a server with TLS")?;
    ca[0] ^= 1;
    Ok(text.reveal())
}

/// One attempt of a machine that nobody knows to join a cluster as a worker.
async fn join(cluster: &Tier, token: &str) -> Result<Result<String, Status>> {
    let pair = KeyPair::new_user();
    let key = MachineKey::from_seed(&pair.seed()?)?;
    let signer = Signer::new(Arc::new(key));
    let mut client = WorkerServiceClient::with_interceptor(cluster.channel(), signer);
    let request = RegisterRequest {
        public_key: pair.public_key(),
        name: "racer".to_owned(),
        inventory: Some(Inventory {
            architecture: "amd64".to_owned(),
            ..Inventory::default()
        }),
        join_token: token.to_owned(),
        ..RegisterRequest::default()
    };
    let answer = client.register(request).await;
    Ok(answer.map(|answer| answer.into_inner().worker_id))
}

#[tokio::test]
async fn machines_join_by_a_token_alone_and_people_log_in() -> Result<()> {
    Testbed::new("trust")
        .secure()
        .cluster("a")
        .worker("a1")
        .expect(
            "detached from the cluster",
            "the cluster is started again",
        )
        .expect(
            "cannot attach to the cluster",
            "the cluster is started again",
        )
        .run(async |bed| {
            // Somebody logs in, and what was kept is enough from then on.
            let home = tempfile::tempdir()?;
            let dir = home.path();
            log_in(bed, "root", bed.root().address(), dir)?;
            let manifest = dir.join("shop.yaml");
            fs::write(
                &manifest,
                format!(
                    "application: {{name: shop, services: [{{name: job, command: [/bin/sh, -c, exec sleep 100000], \
                     env: {{{}: {}}}}}]}}\n",
                    edgeio_integration_tests::testbed::native::MARK,
                    bed.id()
                ),
            )?;
            let file = manifest.display().to_string();
            let applied = cli(dir, &["apply", "-f", &file])?;
            ensure!(applied.status.success(), "{}", said(&applied));
            bed.root().running("shop", "job", 1).await?;
            let got = cli(dir, &["get", "applications"])?;
            ensure!(said(&got).contains("shop"), "{}", said(&got));
            let nobody = tempfile::tempdir()?;
            let ca = dir.join("root-ca.pem");
            fs::copy(bed.data("root").join("pki/ca.pem"), &ca)?;
            let ca = ca.display().to_string();
            let server = bed.root().address();
            let refused = cli(
                nobody.path(),
                &["get", "applications", "--server", server, "--ca", &ca],
            )?;
            ensure!(
                !refused.status.success() && said(&refused).contains("needs a credential"),
                "{}",
                said(&refused)
            );

            // Who holds a token for another authority turns back before it has said anything.
            let cluster = bed.cluster("a")?;
            let (good, bad) = (cluster.join_token("worker").await?, dir.join("bad.token"));
            fs::write(&bad, lured(&good)?)?;
            let data = |name: &str| format!("--data-dir={}", dir.join(name).display());
            let worker = Stray::start(
                "edgeio-worker",
                dir,
                &[
                    format!("--cluster={}", cluster.address()),
                    format!("--join-token-file={}", bad.display()),
                    data("lured-worker"),
                    "--docker=off".to_owned(),
                ],
            )?;
            let for_cluster = dir.join("bad-cluster.token");
            fs::write(&for_cluster, lured(&bed.root().join_token("cluster").await?)?)?;
            let lured_cluster = Stray::start(
                "edgeio-cluster",
                dir,
                &[
                    format!("--root={}", bed.root().address()),
                    format!("--listen=127.0.0.1:{}", free_port()?),
                    format!("--join-token-file={}", for_cluster.display()),
                    data("lured-cluster"),
                ],
            )?;
            for stray in [&worker, &lured_cluster] {
                stray.says("somebody stands between").await?;
            }
            drop((worker, lured_cluster));
            ensure!(cluster.list_workers().await?.len() == 1, "one too many joined");
            ensure!(bed.root().list_clusters().await?.len() == 1, "one too many joined");

            // What they learned of their servers is kept: they come back without the token.
            for name in ["cluster-a", "bridge-a", "a1"] {
                bed.give_token(name, "")?;
                bed.stop(name).await?;
                bed.start(name).await?;
            }
            has_said(bed, "bridge-a", "attached to the cluster", 2).await?;
            bed.ready(&["a1"]).await?;
            bed.root().running("shop", "job", 1).await?;

            // Of many who join at once with a token for one, one does.
            for round in 0..10 {
                let token = cluster.join_token("worker").await?;
                let attempts = (0..64).map(|_| join(cluster, &token));
                let mut joined = 0;
                for answer in futures::future::try_join_all(attempts).await? {
                    match answer {
                        Ok(_) => joined += 1,
                        Err(status) => {
                            let details = status.get_error_details();
                            let reason = details.error_info().map(|info| info.reason.as_str());
                            ensure!(reason == Some("JOIN_TOKEN_USED_UP"), "{status:?}");
                        }
                    }
                }
                ensure!(joined == 1, "round {round}: {joined} joined");
            }
            let workers = cluster.list_workers().await?.len();
            ensure!(workers == 11, "{workers} workers");
            bed.root().delete("shop").await?;
            bed.root().gone("shop").await
        })
        .await
}

/// One machine has root, cluster, bridge and broker. Another one, in a network of its own, has a worker that reaches the cluster's
/// API through an HTTP proxy only.
#[tokio::test]
async fn a_worker_of_another_machine_is_revoked_and_keeps_nothing_but_its_jobs() -> Result<()> {
    let port = free_port()?;
    let proxy_file = tempfile::tempdir()?;
    let configured = proxy_file.path().join("proxy.toml");
    Testbed::new("machines")
        .secure()
        .cluster("a")
        .worker_with("b1", &[&format!("--config={}", configured.display())])
        .later()
        .apart("b1")
        .expect("registration failed", "the worker is revoked")
        .expect("broker lost, jobs run on", "the worker is revoked")
        .expect("authentication error", "the worker is revoked")
        .run(async |bed| {
            let (root, cluster) = (bed.root(), bed.cluster("a")?);
            let link = bed.link("b1")?;
            let proxy = Proxy::start(proxy_file.path(), link.host(), link.inside(), port, None)?;
            fs::write(
                &configured,
                format!("proxy = \"http://{}:{port}\"\n", link.host()),
            )?;
            let api = cluster.address().rsplit_once(':').context("a port")?.1;
            link.cut(Way::Both, Some(api.parse()?))?;

            bed.start("b1").await?;
            bed.ready(&["b1"]).await?;
            root.apply(&app("shop", [bed.mark(native("job", 2))]))
                .await?;
            root.running("shop", "job", 2).await?;
            let through = format!("CONNECT {}:{api}", link.host());
            let log = fs::read_to_string(&proxy.log)?;
            ensure!(log.contains(&through), "not through the proxy:\n{log}");
            let jobs = bed.jobs();
            ensure!(jobs.len() == 2, "{jobs:?}");

            // The operator at the first machine takes everything from it.
            let home = tempfile::tempdir()?;
            log_in(bed, "cluster-a", cluster.address(), home.path())?;
            let forgotten = cli(home.path(), &["forget", "worker", "b1", "--force", "-y"])?;
            ensure!(forgotten.status.success(), "{}", said(&forgotten));
            ensure!(
                cluster.list_workers().await?.is_empty(),
                "it is still listed"
            );
            // The broker cuts it, and takes what it shows no more.
            has_said(bed, "b1", "does not take this worker's pass", 1).await?;
            // It still has its key, the credential of its id, and the token that it once joined by.
            has_said(bed, "b1", "JOIN_TOKEN_USED_UP", 1).await?;
            bed.kill("b1").await?;
            let before = bed
                .program("b1")?
                .printed()
                .matches("JOIN_TOKEN_USED_UP")
                .count();
            bed.start("b1").await?;
            has_said(bed, "b1", "JOIN_TOKEN_USED_UP", before + 1).await?;
            let workers = cluster.list_workers().await?;
            ensure!(workers.is_empty(), "{workers:?}");
            let audit = cli(home.path(), &["audit", "list"])?;
            ensure!(said(&audit).contains("Forget"), "{}", said(&audit));
            // But its jobs: the same processes, since nobody may tell it to stop them.
            ensure!(bed.jobs() == jobs, "{jobs:?} {:?}", bed.jobs());

            // It is found to be harmless and joins anew. What it ran in between was given up, and is replaced.
            bed.give_token("b1", &cluster.join_token("worker").await?)?;
            bed.kill("b1").await?;
            bed.start("b1").await?;
            bed.ready(&["b1"]).await?;
            eventually("the old jobs are replaced", async || {
                let now = bed.jobs();
                ensure!(now.len() == 2 && now.is_disjoint(&jobs), "{now:?}");
                Ok(())
            })
            .await?;
            root.running("shop", "job", 2).await?;
            root.delete("shop").await?;
            root.gone("shop").await
        })
        .await
}
