//! The same job on containerd, without a Docker engine: deployed, reached on its port, adopted after kills of agent and engine, removed.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::TcpStream,
};

use anyhow::{Context as _, Result, ensure};
use edgeio_integration_tests::testbed::{
    Testbed,
    containerd::Containerd,
    eventually, free_port,
    manifest::{app, container},
    tier::Running,
};
use edgeio_proto::api::v1::{PortSpec, ServiceSpec};

fn get(port: u16) -> Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.write_all(b"GET /nothing HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn of(running: &Running, engine: &Containerd) -> Result<BTreeMap<String, String>> {
    let all = engine.tasks()?;
    ensure!(all.keys().eq(running.keys()), "{all:?}\n{running:?}");
    Ok(all)
}

#[tokio::test]
async fn containers_run_without_docker_and_outlive_agent_and_engine() -> Result<()> {
    let mut engine = Containerd::start().await?;
    let socket = engine.socket().display().to_string();
    let bed = Testbed::new("containerd")
        .cluster("a")
        .worker_with("a1", &["--containerd", &socket])
        // While the engine is down the agent says so.
        .expect("containerd", "the story kills the engine");
    bed.run(async |bed| {
        let image = bed.image().await?;
        engine.take(&image)?;
        let port = free_port()?;
        let on_containerd = |service: ServiceSpec| ServiceSpec {
            runtime: "containerd".to_owned(),
            ..service
        };
        let mut web = on_containerd(container("web", 1, &image));
        web.command = ["/bin/busybox", "httpd", "-f", "-p", "8080"]
            .map(str::to_owned)
            .to_vec();
        web.ports = vec![PortSpec {
            container: 8080,
            host: port.into(),
            ..PortSpec::default()
        }];
        let services = [web, on_containerd(container("stay", 3, &image))];
        let root = bed.root();
        root.apply(&app("shop", services)).await?;
        let mut all = root.running("shop", "stay", 3).await?;
        all.extend(root.running("shop", "web", 1).await?);
        eventually("the server answers on the node's port", async || {
            let answer = get(port)?;
            ensure!(answer.contains("404"), "{answer}");
            Ok(())
        })
        .await?;
        let before = of(&all, &engine)?;

        bed.kill("a1").await?;
        bed.start("a1").await?;
        bed.ready(&["a1"]).await?;
        engine.kill()?;
        ensure!(get(port).is_ok(), "jobs need no engine to run");
        engine.run().await?;
        // One more shows that agent and engine speak again.
        root.scale("shop", "stay", 4).await?;
        let mut all = root.running("shop", "stay", 4).await?;
        all.extend(root.running("shop", "web", 1).await?);
        let after = of(&all, &engine)?;
        for (instance, pid) in &before {
            let now = after.get(instance).context("an instance is gone")?;
            ensure!(now == pid, "{instance} was process {pid} and is {now}");
        }

        root.delete("shop").await?;
        root.gone("shop").await?;
        eventually("the engine holds nothing", async || {
            let left = engine.holds()?;
            ensure!(left.is_empty(), "{left:?}");
            Ok(())
        })
        .await?;
        let homes = bed.data("a1").join("containerd");
        let left = std::fs::read_dir(&homes).into_iter().flatten().count();
        ensure!(
            left == 0,
            "{left} directories are left in {}",
            homes.display()
        );
        bed.nothing_left().await
    })
    .await
}
