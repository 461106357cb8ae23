//! Two clusters: what one cannot take goes to the other, and what a forgotten one ran goes to the one that is left.

use anyhow::{Context, Result, ensure};
use edgeio_integration_tests::testbed::{
    Testbed, eventually,
    manifest::{app, native},
    native::shims,
};
use edgeio_proto::{
    api::v1::{ResourceSpec, ServiceSpec},
    root::v1::ForgetRequest,
};
use rustix::process::{Pid, Signal, kill_process};

/// Machines without control groups tell this story too: it is about room, not about limits.
const UNLIMITED: &str = "--native-without-limits=run";

#[tokio::test]
async fn two_clusters_share_the_work_and_one_takes_over() -> Result<()> {
    Testbed::new("clusters")
        .cluster("a")
        .worker_with("a1", &["--capacity=cpu=2,memory=8Gi", UNLIMITED])
        .cluster("b")
        .worker_with("b1", &["--capacity=cpu=4,memory=8Gi", UNLIMITED])
        .expect("detached from the cluster", "cluster b was killed")
        .expect("cannot attach to the cluster", "cluster b was killed")
        .run(async |bed| {
            let root = bed.root();
            let sized = |service: ServiceSpec, cpu: &str| ServiceSpec {
                // Reserved on the worker; limits are not what this is about.
                resources: Some(ResourceSpec {
                    cpu: cpu.to_owned(),
                    memory: String::new(),
                }),
                ..service
            };
            // Three cores are nowhere but at b; the six small ones fit there no more, not all of them.
            let services = [
                bed.mark(sized(native("large", 1), "3")),
                bed.mark(sized(native("small", 3), "500m")),
            ];
            root.apply(&app("shop", services)).await?;
            let large = root.running("shop", "large", 1).await?;
            ensure!(large.values().all(|i| i.cluster == "b"), "{large:?}");
            let small = root.running("shop", "small", 3).await?;
            ensure!(small.values().any(|i| i.cluster == "a"), "{small:?}");
            ensure!(bed.jobs().len() == 4, "{:?}", bed.jobs());

            // The site of b burns down.
            for program in ["b1", "bridge-b", "nats-b", "cluster-b"] {
                bed.kill(program).await?;
            }
            for shim in shims(&bed.data("b1")) {
                let pid = i32::try_from(shim.pid).ok().and_then(Pid::from_raw);
                kill_process(pid.context("a process id")?, Signal::KILL)?;
            }
            let request = ForgetRequest {
                cluster: "b".to_owned(),
                force: true,
                ..ForgetRequest::default()
            };
            root.clusters().forget(request).await?;
            eventually("a runs the small ones, the large one waits", async || {
                let now = root.running("shop", "small", 3).await?;
                ensure!(now.values().all(|i| i.cluster == "a"), "{now:?}");
                let all = root.instances("shop").await?;
                let large = all.iter().find(|i| i.service == "large");
                let waits = large.is_some_and(|i| {
                    i.id.is_empty() && i.candidates.iter().all(|c| c.candidate == "cluster a")
                });
                ensure!(waits, "{large:?}");
                Ok(())
            })
            .await?;
            root.delete("shop").await?;
            root.gone("shop").await
        })
        .await
}
