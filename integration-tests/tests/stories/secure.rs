//! Everything over TLS: by built-in authorities that change while everybody is connected, and through a proxy that asks for a
//! password.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::{Command, Output, Stdio},
};

use anyhow::{Context, Result, ensure};
use edgeio_integration_tests::testbed::{
    Bed, Testbed,
    binaries::{ours, tool},
    eventually, free_port,
    manifest::{app, native},
    proxy::Proxy,
};
use edgeio_proto::api::v1::WatchRequest;

fn said(done: &Output) -> String {
    let (out, error) = (&done.stdout, &done.stderr);
    format!(
        "{}{}",
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(error)
    )
}

/// `edgeio get applications`, told whom to believe.
fn cli(bed: &Bed, server: &str, trust: &[&str]) -> Result<Output> {
    Command::new(ours("edgeio")?)
        .args(["get", "applications", "--server", server])
        .arg("--token-file")
        .arg(bed.data("root").join("admin.token"))
        .args(trust)
        .output()
        .context("run edgeio")
}

/// A command of a tier's `ca`, and what it said.
fn ca(bed: &Bed, tier: &str, words: &[&str]) -> Result<String> {
    let program = if tier == "root" {
        "edgeio-root"
    } else {
        "edgeio-cluster"
    };
    let done = Command::new(ours(program)?)
        .arg("ca")
        .args(words)
        .arg(format!("--data-dir={}", bed.data(tier).display()))
        .output()
        .context("run ca")?;
    ensure!(
        done.status.success(),
        "{program} ca {words:?}: {}",
        said(&done)
    );
    Ok(said(&done))
}

/// The hash at the beginning of what `ca` said.
fn hash(said: &str) -> Result<String> {
    let word = said.split_whitespace().next().unwrap_or_default();
    ensure!(word.len() == 64, "no hash: {said}");
    Ok(word.to_owned())
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

async fn again(bed: &Bed, tier: &str) -> Result<()> {
    bed.stop(tier).await?;
    bed.start(tier).await
}

fn authorities(file: &Path) -> Result<usize> {
    let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    Ok(text.matches("BEGIN CERTIFICATE").count())
}

#[tokio::test]
async fn everybody_stays_in_while_authorities_change() -> Result<()> {
    Testbed::new("secure")
        .secure()
        .tier_with("root", &["--tls-leaf-life=10s"])
        .cluster("a")
        .worker("a1")
        .expect("detached from the cluster", "the cluster is started again")
        .run(async |bed| {
            let root = bed.root();
            root.apply(&app("shop", [bed.mark(native("job", 1))]))
                .await?;
            root.running("shop", "job", 1).await?;

            // A person who knows the hash, one who knows another, one who knows none, and one who asks without TLS.
            let old = hash(&ca(bed, "root", &["show"])?)?;
            let good = cli(bed, root.address(), &["--ca-hash", &old])?;
            ensure!(
                good.status.success() && said(&good).contains("shop"),
                "{}",
                said(&good)
            );
            let wrong = "0123456789abcdef".repeat(4);
            for (trust, text) in [
                (vec!["--ca-hash", wrong.as_str()], "somebody stands between"),
                (vec![], "the authorities of this system"),
            ] {
                let refused = cli(bed, root.address(), &trust)?;
                ensure!(refused.status.code() == Some(3), "{}", said(&refused));
                ensure!(said(&refused).contains(text), "{}", said(&refused));
            }
            let plain = cli(bed, root.address().trim_start_matches("https://"), &[])?;
            ensure!(said(&plain).contains("it speaks TLS"), "{}", said(&plain));
            let port = root.address().rsplit_once(':').context("a port")?.1;
            let listed = Command::new(tool("grpcurl")?)
                .arg("-cacert")
                .arg(bed.data("root").join("pki/ca.pem"))
                .args([&format!("localhost:{port}"), "list"])
                .stdin(Stdio::null())
                .output()?;
            ensure!(
                said(&listed).contains("edgeio.api.v1.ApplicationService"),
                "{}",
                said(&listed)
            );

            // The server's certificate is renewed under a watch that goes on.
            let mut watch = root
                .applications()
                .watch(WatchRequest::default())
                .await?
                .into_inner();
            has_said(bed, "root", "a new certificate is served", 2).await?;
            root.scale("shop", "job", 2).await?;
            root.running("shop", "job", 2).await?;
            let mut told = String::new();
            while !told.contains("running: 2") {
                let next =
                    tokio::time::timeout(std::time::Duration::from_secs(60), watch.message());
                let next = next
                    .await
                    .with_context(|| format!("the watch is silent after {told}"))??;
                told = format!("{:?}", next.context("the watch ended")?);
            }
            drop(watch);

            // New authorities while all are connected; who dials again learns them from the old ones.
            for tier in ["root", "cluster-a"] {
                let new = hash(&ca(bed, tier, &["rotate"])?)?;
                has_said(bed, tier, &new, 1).await?;
            }
            let old_cluster = ca(bed, "cluster-a", &["show"])?;
            let old_cluster = old_cluster.lines().filter(|line| line.len() == 64).nth(1);
            let old_cluster = old_cluster.context("two authorities")?.to_owned();
            again(bed, "root").await?;
            again(bed, "cluster-a").await?;
            // Whoever has not dialled between the change and the end of the old authority is shut out: the bridge too.
            has_said(bed, "bridge-a", "attached to the cluster", 2).await?;
            again(bed, "a1").await?;
            bed.ready(&["a1"]).await?;
            eventually(
                "the cluster knows both authorities of its root",
                async || {
                    let known = authorities(&bed.data("cluster-a").join("root-ca.pem"))?;
                    ensure!(known == 2, "{known}");
                    Ok(())
                },
            )
            .await?;
            root.running("shop", "job", 2).await?;

            // The old ones are dropped, and everybody is still in.
            ca(bed, "root", &["drop", &old])?;
            ca(bed, "cluster-a", &["drop", &old_cluster[..16]])?;
            for tier in ["root", "cluster-a"] {
                again(bed, tier).await?;
            }
            root.scale("shop", "job", 3).await?;
            root.running("shop", "job", 3).await?;
            let refused = cli(bed, root.address(), &["--ca-hash", &old])?;
            ensure!(refused.status.code() == Some(3), "{}", said(&refused));
            let new = hash(&ca(bed, "root", &["show"])?)?;
            let good = cli(bed, root.address(), &["--ca-hash", &new])?;
            ensure!(good.status.success(), "{}", said(&good));
            root.delete("shop").await?;
            root.gone("shop").await
        })
        .await
}

#[tokio::test]
async fn a_worker_joins_through_a_proxy_that_asks_for_a_password() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let port = free_port()?;
    let configured = |name: &str, password: &str| -> Result<String> {
        let file = dir.path().join(name);
        fs::write(
            &file,
            format!("proxy = \"http://edge:{password}@127.0.0.1:{port}\"\n"),
        )?;
        Ok(format!("--config={}", file.display()))
    };
    let good = configured("good.toml", "pass%5Fword")?;
    let bad = configured("bad.toml", "other")?;
    let here = Ipv4Addr::LOCALHOST;
    let proxy = Proxy::start(dir.path(), here, here, port, Some("edge pass_word"))?;
    let at = SocketAddr::from(([127, 0, 0, 1], port));
    eventually("the proxy listens", async || {
        Ok(std::net::TcpStream::connect(at)?)
    })
    .await?;
    Testbed::new("proxy")
        .secure()
        .cluster("a")
        .worker_with("a1", &[&good])
        .worker_with("a2", &[&bad])
        .later()
        .run(async |bed| {
            let root = bed.root();
            root.apply(&app("shop", [bed.mark(native("job", 1))]))
                .await?;
            root.running("shop", "job", 1).await?;
            let cluster = bed.cluster("a")?.address().trim_start_matches("https://");
            let log = fs::read_to_string(&proxy.log)?;
            ensure!(
                log.contains(&format!("CONNECT {cluster}")),
                "not through the proxy:\n{log}"
            );
            bed.start("a2").await?;
            has_said(
                bed,
                "a2",
                "wants a name and a password that it knows (407)",
                1,
            )
            .await?;
            ensure!(
                !bed.program("a2")?.printed().contains("edge:other"),
                "the password is in the log"
            );
            bed.kill("a2").await?;
            root.delete("shop").await?;
            root.gone("shop").await
        })
        .await
}
