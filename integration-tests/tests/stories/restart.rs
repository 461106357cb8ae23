//! What ends by itself: started again with growing pauses and counted, or left as it ended, by the service's policy.

use anyhow::{Result, ensure};
use edgeio_integration_tests::testbed::{
    Testbed, eventually,
    manifest::{app, script},
    tier::sketch,
};
use edgeio_proto::api::v1::{InstancePhase, ServiceSpec};

fn policy(restart: &str, service: ServiceSpec) -> ServiceSpec {
    ServiceSpec {
        restart: restart.to_owned(),
        ..service
    }
}

#[tokio::test]
async fn jobs_that_end_are_treated_by_their_policy() -> Result<()> {
    let bed = Testbed::new("restart").cluster("a").worker("a1");
    bed.run(async |bed| {
        let root = bed.root();
        // Each run of the job leaves a line with the kernel's clock.
        let runs = bed.dir().join("runs");
        let crash = format!(
            "cut -d' ' -f1 /proc/uptime >>{}; echo boom >&2; exit 3",
            runs.display()
        );
        let services = [
            policy("always", script("always", 1, &crash)),
            policy("never", script("never", 1, "echo boom >&2; exit 3")),
            policy("on-failure", script("done", 1, "echo well done")),
            policy(
                "on-failure",
                script(
                    "once",
                    1,
                    "[ -e ran ] && exec sleep 100000; touch ran; exit 1",
                ),
            ),
        ];
        let services = services.map(|service| bed.mark(service));
        root.apply(&app("batch", services)).await?;
        eventually("each ends as its policy says", async || {
            let all = root.instances("batch").await?;
            let of = |service: &str| all.iter().find(|i| i.service == service);
            let good = of("always").is_some_and(|i| i.restarts >= 3 && i.exit_code == Some(3))
                && of("never").is_some_and(|i| {
                    i.phase() == InstancePhase::Failed
                        && i.exit_code == Some(3)
                        && i.restarts == 0
                        && i.output_tail == b"boom\n"
                        && !i.reason.is_empty()
                })
                && of("done").is_some_and(|i| {
                    i.phase() == InstancePhase::Completed && i.exit_code == Some(0)
                })
                && of("once")
                    .is_some_and(|i| i.phase() == InstancePhase::Running && i.restarts == 1);
            ensure!(good, "{}", sketch(&all));
            Ok(())
        })
        .await?;
        let text = std::fs::read_to_string(&runs)?;
        let times: Vec<f64> = text.lines().map(str::parse).collect::<Result<_, _>>()?;
        let pauses: Vec<f64> = times.windows(2).map(|two| two[1] - two[0]).collect();
        // Jitter or not, four runs in one second would be no backoff.
        ensure!(pauses.iter().sum::<f64>() > 1.0, "pauses of {pauses:?} s");
        let status = root.get("batch").await?.and_then(|app| app.status);
        let failed = status.iter().flat_map(|s| &s.services).map(|s| s.failed);
        ensure!(failed.sum::<u32>() == 1, "{status:?}");
        root.delete("batch").await?;
        root.gone("batch").await
    })
    .await
}
