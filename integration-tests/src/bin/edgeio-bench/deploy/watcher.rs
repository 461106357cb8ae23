//! A client that watches both tiers while it deploys, and stamps what it sees when it sees it. One clock serves for all,
//! since all runs on one machine.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use bollard::models::ContainerInspectResponse;
use edgeio_proto::api::v1::{
    ApplicationSpec, ApplyRequest, DeleteRequest, Instance, InstancePhase, WatchRequest,
    application_service_client::ApplicationServiceClient, watch_response::Change,
};
use tokio::{sync::mpsc, task::JoinHandle, time::timeout_at};
use tonic::transport::Channel;

use super::trace::{Step, Trace};
use crate::{engine::Engine, line::Line};

/// A deployment or deletion that takes longer has failed.
const GIVE_UP: Duration = Duration::from_secs(60);

/// Where something was seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Tier {
    Root,
    Cluster,
}

/// A change and when it arrived.
struct Seen {
    at: Instant,
    tier: Tier,
    change: Change,
}

pub(crate) struct Client {
    root: ApplicationServiceClient<Channel>,
    seen: mpsc::UnboundedReceiver<Seen>,
    watchers: Vec<JoinHandle<()>>,
}

impl Client {
    /// Begins to watch.
    pub(crate) async fn start(line: &Line) -> Result<Self> {
        // Unbounded: a deployment makes some ten changes, and a full queue would change their stamps.
        let (tell, seen) = mpsc::unbounded_channel();
        let mut watchers = Vec::new();
        for (tier, channel) in [
            (Tier::Root, &line.at_root),
            (Tier::Cluster, &line.at_cluster),
        ] {
            let mut changes = ApplicationServiceClient::new(channel.clone())
                .watch(WatchRequest::default())
                .await
                .with_context(|| format!("watch the {tier:?}"))?
                .into_inner();
            let tell = tell.clone();
            watchers.push(tokio::spawn(async move {
                while let Ok(Some(response)) = changes.message().await {
                    let at = Instant::now();
                    if let Some(change) = response.change
                        && tell.send(Seen { at, tier, change }).is_err()
                    {
                        return;
                    }
                }
            }));
        }
        Ok(Self {
            root: line.applications(),
            seen,
            watchers,
        })
    }

    /// Deploys at the root, waits until RUNNING is seen there, deletes, and waits until it is gone. With `engine`
    /// the engine's own stamps of the container are in the trace too.
    pub(crate) async fn deploy(
        &mut self,
        spec: ApplicationSpec,
        engine: Option<&Engine>,
    ) -> Result<Trace> {
        let name = spec.name.clone();
        let (mut trace, instance) = self.run(spec).await?;
        if let Some(engine) = engine {
            let container = engine.inspect(&instance.handle).await?;
            trace.stamp_container(&container)?;
        }
        self.delete(&name).await?;
        Ok(trace)
    }

    /// Deploys, looks at the container, deletes.
    pub(crate) async fn inspect_one(
        &mut self,
        spec: ApplicationSpec,
        engine: &Engine,
    ) -> Result<ContainerInspectResponse> {
        let name = spec.name.clone();
        let (_, instance) = self.run(spec).await?;
        let container = engine.inspect(&instance.handle).await?;
        self.delete(&name).await?;
        Ok(container)
    }

    async fn run(&mut self, spec: ApplicationSpec) -> Result<(Trace, Instance)> {
        let name = spec.name.clone();
        let mut trace = Trace::begin(Instant::now(), SystemTime::now());
        let request = ApplyRequest {
            application: Some(spec),
            ..ApplyRequest::default()
        };
        self.root.apply(request).await.context("apply")?;
        trace.stamp(Step::Accepted, Instant::now());
        let (mut at_root, mut at_cluster) = (None, false);
        let mut last = None;
        while at_root.is_none() || !at_cluster {
            let Some(seen) = self.next().await? else {
                bail!("{name} was not seen running within {GIVE_UP:?}; last seen: {last:?}");
            };
            let Change::Instance(instance) = seen.change else {
                continue;
            };
            if instance.application != name {
                continue;
            }
            trace.stamp_instance(seen.tier == Tier::Root, &instance, seen.at);
            match instance.phase() {
                InstancePhase::Running if seen.tier == Tier::Root => {
                    at_root = Some(instance.clone());
                }
                InstancePhase::Running => at_cluster = true,
                InstancePhase::Failed => bail!("{name} failed: {instance:?}"),
                _ => {}
            }
            last = Some(instance);
        }
        Ok((trace, at_root.context("seen above")?))
    }

    async fn delete(&mut self, name: &str) -> Result<()> {
        let request = DeleteRequest {
            name: name.to_owned(),
            ..DeleteRequest::default()
        };
        self.root.delete(request).await.context("delete")?;
        loop {
            let Some(seen) = self.next().await? else {
                bail!("{name} was not gone within {GIVE_UP:?}");
            };
            if let Change::ApplicationGone(gone) = seen.change
                && seen.tier == Tier::Root
                && gone.name == name
            {
                return Ok(());
            }
        }
    }

    /// The next change; `None` when it took too long.
    async fn next(&mut self) -> Result<Option<Seen>> {
        let until = tokio::time::Instant::now() + GIVE_UP;
        match timeout_at(until, self.seen.recv()).await {
            Ok(Some(seen)) => Ok(Some(seen)),
            Ok(None) => bail!("the watches ended"),
            Err(_) => Ok(None),
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        for watcher in &self.watchers {
            watcher.abort();
        }
    }
}
