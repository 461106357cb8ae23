//! What `release`, `fence` and `forget` share: which child is meant, and calling the tier that knows it. Deliberately absent: what
//! each of them asks and says.

use std::{fmt, future::Future};

use edgeio_proto::{
    cluster::v1::worker_service_client::WorkerServiceClient,
    root::v1::cluster_service_client::ClusterServiceClient,
};
use tonic::{Response, Status};

use crate::{
    error::CliError,
    remote::{Remote, Wire},
};

/// A child by its name or id.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Child<'a> {
    /// A worker, known at its cluster.
    Worker(&'a str),
    /// A cluster, known at the root.
    Cluster(&'a str),
}

impl fmt::Display for Child<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Child::Worker(name) => write!(f, "worker {name}"),
            Child::Cluster(name) => write!(f, "cluster {name}"),
        }
    }
}

impl Child<'_> {
    /// Calls one of the two services. `verb` is the command's name; errors say it, and where the other tier was asked they say
    /// whom to ask.
    pub(crate) async fn call<T, W, C>(
        self,
        remote: &Remote,
        verb: &str,
        mut worker: impl FnMut(WorkerServiceClient<Wire>) -> W,
        mut cluster: impl FnMut(ClusterServiceClient<Wire>) -> C,
    ) -> Result<T, CliError>
    where
        W: Future<Output = Result<Response<T>, Status>>,
        C: Future<Output = Result<Response<T>, Status>>,
    {
        match self {
            Child::Worker(name) => {
                let answer = remote.try_call(|channel| worker(WorkerServiceClient::new(channel)));
                match answer.await {
                    Ok(answer) => Ok(answer),
                    Err(status) => {
                        let attempt = format!("{verb} worker `{name}`");
                        let command = format!("{verb} worker {name}");
                        Err(remote.no_workers_here(&attempt, &command, &status).await)
                    }
                }
            }
            Child::Cluster(name) => remote
                .try_call(|channel| cluster(ClusterServiceClient::new(channel)))
                .await
                .map_err(|status| remote.wrong_tier(&format!("{verb} cluster `{name}`"), &status)),
        }
    }
}
