//! Lists, page by page, as one.

use edgeio_proto::{
    api::v1::{
        self as api, Application, Held, HeldKind, Instance,
        application_service_client::ApplicationServiceClient,
    },
    cluster::v1::{self as cluster, Worker, worker_service_client::WorkerServiceClient},
    root::v1::{self as root, Cluster, cluster_service_client::ClusterServiceClient},
};
use tonic::{Code, Status};

use super::Remote;
use crate::error::CliError;

/// The largest page a server gives.
const PAGE: u32 = 1000;

impl Remote {
    /// All applications of a namespace, of every one when it is empty.
    pub(crate) async fn applications(&self, namespace: &str) -> Result<Vec<Application>, CliError> {
        let mut all = Vec::new();
        let mut token = String::new();
        loop {
            let page = self
                .call("list applications", |channel| {
                    let request = api::ListRequest {
                        namespace: namespace.to_owned(),
                        page_size: PAGE,
                        page_token: token.clone(),
                    };
                    async move { ApplicationServiceClient::new(channel).list(request).await }
                })
                .await?;
            all.extend(page.applications);
            token = page.next_page_token;
            if token.is_empty() {
                return Ok(all);
            }
        }
    }

    /// One application.
    pub(crate) async fn application(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Application, CliError> {
        let attempt = format!("get application `{namespace}/{name}`");
        let answer = self
            .call(&attempt, |channel| {
                let request = api::GetRequest {
                    namespace: namespace.to_owned(),
                    name: name.to_owned(),
                };
                async move { ApplicationServiceClient::new(channel).get(request).await }
            })
            .await?;
        answer
            .application
            .ok_or_else(|| CliError::Failed(format!("{attempt}: the server answered nothing")))
    }

    /// All instances of an application, of every one when it is empty.
    pub(crate) async fn instances(
        &self,
        namespace: &str,
        application: &str,
    ) -> Result<Vec<Instance>, CliError> {
        let mut all = Vec::new();
        let mut token = String::new();
        loop {
            let page = self
                .call("list instances", |channel| {
                    let request = api::ListInstancesRequest {
                        namespace: namespace.to_owned(),
                        application: application.to_owned(),
                        page_size: PAGE,
                        page_token: token.clone(),
                    };
                    async move {
                        ApplicationServiceClient::new(channel)
                            .list_instances(request)
                            .await
                    }
                })
                .await?;
            all.extend(page.instances);
            token = page.next_page_token;
            if token.is_empty() {
                all.sort_by(|a, b| order(a).cmp(&order(b)));
                return Ok(all);
            }
        }
    }

    /// All of a kind that is held of an application, of every one when it is empty.
    pub(crate) async fn held(
        &self,
        namespace: &str,
        application: &str,
        kind: HeldKind,
    ) -> Result<Vec<Held>, CliError> {
        let mut all = Vec::new();
        let mut token = String::new();
        loop {
            let page = self
                .call("list what is held", |channel| {
                    let request = api::ListHeldRequest {
                        namespace: namespace.to_owned(),
                        application: application.to_owned(),
                        kind: kind.into(),
                        page_size: PAGE,
                        page_token: token.clone(),
                    };
                    async move {
                        ApplicationServiceClient::new(channel)
                            .list_held(request)
                            .await
                    }
                })
                .await?;
            all.extend(page.held);
            token = page.next_page_token;
            if token.is_empty() {
                return Ok(all);
            }
        }
    }

    /// All clusters of a root.
    pub(crate) async fn clusters(&self) -> Result<Vec<Cluster>, CliError> {
        let mut all = Vec::new();
        let mut token = String::new();
        loop {
            let page = self
                .try_call(|channel| {
                    let request = root::ListRequest {
                        page_size: PAGE,
                        page_token: token.clone(),
                    };
                    async move { ClusterServiceClient::new(channel).list(request).await }
                })
                .await
                .map_err(|status| self.wrong_tier("list clusters", &status))?;
            all.extend(page.clusters);
            token = page.next_page_token;
            if token.is_empty() {
                return Ok(all);
            }
        }
    }

    /// All workers of a cluster.
    pub(crate) async fn workers(&self) -> Result<Vec<Worker>, CliError> {
        let mut all = Vec::new();
        let mut token = String::new();
        loop {
            let page = self
                .try_call(|channel| {
                    let request = cluster::ListRequest {
                        page_size: PAGE,
                        page_token: token.clone(),
                    };
                    async move { WorkerServiceClient::new(channel).list(request).await }
                })
                .await;
            let page = match page {
                Ok(page) => page,
                Err(status) => {
                    return Err(self
                        .no_workers_here("list workers", "get workers", &status)
                        .await);
                }
            };
            all.extend(page.workers);
            token = page.next_page_token;
            if token.is_empty() {
                return Ok(all);
            }
        }
    }

    /// A failure of a call that only a root serves.
    pub(crate) fn wrong_tier(&self, attempt: &str, status: &Status) -> CliError {
        if status.code() != Code::Unimplemented {
            return self.explain(attempt, status);
        }
        CliError::Failed(format!(
            "{attempt}: {} is no root, and only a root knows clusters\n\
             name a root with --server HOST:PORT (its port is 10000 by default)",
            self.server()
        ))
    }

    /// A failure of a call that only a cluster serves. A root is asked where its clusters are, so that the remedy can be typed.
    pub(crate) async fn no_workers_here(
        &self,
        attempt: &str,
        command: &str,
        status: &Status,
    ) -> CliError {
        if status.code() != Code::Unimplemented {
            return self.explain(attempt, status);
        }
        let mut text = format!(
            "{attempt}: {} is no cluster, and only a cluster knows its workers; ask one",
            self.server()
        );
        let known = self.clusters().await.unwrap_or_default();
        let mut lines = 0;
        for cluster in known
            .iter()
            .filter(|cluster| !cluster.address.is_empty())
            .take(10)
        {
            text += &format!(
                "\n  edgeio {command} --server {}    # cluster {}",
                cluster.address, cluster.name
            );
            lines += 1;
        }
        if lines == 0 {
            text += &format!("\n  edgeio {command} --server HOST:10100");
        }
        CliError::Failed(text)
    }
}

fn order(instance: &Instance) -> (&str, &str, &str, u32, bool, &str) {
    (
        &instance.namespace,
        &instance.application,
        &instance.service,
        instance.ordinal,
        instance.retiring,
        &instance.id,
    )
}
