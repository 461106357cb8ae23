//! The init handshake and the goodbye, both one gRPC call of the worker.

use std::{path::Path, time::Duration};

use edgeio_bridge::bus::Pass;
use edgeio_client::{
    Backoff, Options, Signer, Target, TargetError, explain_status, takes_no_credential,
};
use edgeio_link::convert::resources_to_wire;
use edgeio_proto::cluster::v1::{
    self, LeaveRequest, RegisterRequest, worker_service_client::WorkerServiceClient,
};
use edgeio_server::status::chain;
use tokio::time::{Instant, sleep, timeout};
use tonic::Code;
use tracing::{info, warn};

use super::{
    engines::{Engines, allocatable},
    identity::{Home, IdentityError, Membership},
    provision::Provisioner,
};
use crate::{Config, LeaveConfig, config::Given, inventory::Inventory, policy::Policy};

/// How long one registration may take, with the dialling.
const ATTEMPT: Duration = Duration::from_secs(20);
/// How often a leaving worker asks whether its jobs are stopped.
const LEAVE_AGAIN: Duration = Duration::from_secs(1);
/// How long a cluster may be out of reach before a person is told. At the edge lines come and go, and machines start together.
const AWAY: Duration = Duration::from_secs(60);
/// How often a person is told again: who did not act on the first word knows of it or does not look.
const AWAY_AGAIN: Duration = Duration::from_secs(3600);

/// All that a registration says.
#[derive(Clone)]
pub(super) struct Registration {
    pub(super) config: Config,
    pub(super) home: Home,
    pub(super) inventory: Inventory,
    pub(super) engines: Engines,
    pub(super) policy: Policy,
    pub(super) provisioner: Provisioner,
    /// What is shown to the broker.
    pub(super) pass: Pass,
}

/// Why one attempt did not succeed.
#[derive(Debug, thiserror::Error)]
enum AttemptError {
    #[error("read the cluster's address")]
    Target(#[from] TargetError),
    #[error("prepare a channel to the cluster")]
    Channel(#[from] edgeio_client::ChannelError),
    #[error("{}", explain_status(.0).join("; "))]
    Refused(tonic::Status),
    #[error("read the join token")]
    Token(#[source] std::io::Error),
    #[error("no answer within {ATTEMPT:?}")]
    Late,
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

impl AttemptError {
    /// Whether the cluster was not reached, which passes by itself; else it answered, and somebody must do something.
    fn is_absence(&self) -> bool {
        match self {
            Self::Late => true,
            Self::Refused(status) => {
                // A cluster that many join at once asks some of them to come later.
                matches!(
                    status.code(),
                    Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted
                )
            }
            Self::Target(_) | Self::Channel(_) | Self::Identity(_) | Self::Token(_) => false,
        }
    }
}

/// When a person is to be told that the cluster is out of reach.
#[derive(Debug, Default)]
struct Absence {
    told: Option<Duration>,
}

impl Absence {
    /// Whether to say it now, after it was tried for that long.
    fn tell(&mut self, tried_for: Duration) -> bool {
        let due = self.told.map_or(AWAY, |told| told + AWAY_AGAIN);
        if tried_for < due {
            return false;
        }
        self.told = Some(tried_for);
        true
    }
}

impl Registration {
    /// Registers, however long it takes until the cluster answers. The answer is kept before it is returned.
    pub(super) async fn until_done(self) -> Membership {
        let mut backoff = Backoff::default();
        let (begin, mut absence) = (Instant::now(), Absence::default());
        loop {
            let error = match timeout(ATTEMPT, self.attempt()).await {
                Ok(Ok(membership)) => return membership,
                Ok(Err(error)) => error,
                Err(_elapsed) => AttemptError::Late,
            };
            let pause = backoff.pause(Duration::ZERO);
            let (cluster, pause_ms) = (&self.config.cluster, pause.as_millis());
            if !error.is_absence() {
                warn!(cluster, error = %chain(&error), pause_ms, "registration failed");
            } else if absence.tell(begin.elapsed()) {
                warn!(
                    cluster, error = %chain(&error), tried_for = ?begin.elapsed(),
                    "the cluster is out of reach: what runs here goes on, and nothing new comes; check that it runs, and that its \
                     gRPC port can be reached from here under this address (`cluster`)"
                );
            } else {
                info!(cluster, error = %chain(&error), pause_ms, "the cluster is not reached, trying again");
            }
            sleep(pause).await;
        }
    }

    async fn attempt(&self) -> Result<Membership, AttemptError> {
        let target: Target = self.config.cluster.parse()?;
        let request = self.request().await?;
        let channel = self.config.dialer().connect(&target, &Options::default())?;
        let call = |signer: Signer| {
            let mut client = WorkerServiceClient::with_interceptor(channel.clone(), signer);
            let request = request.clone();
            async move { client.register(request).await }
        };
        let answer = match call(self.home.signer()?).await {
            // A cluster of before: it knows no keys.
            Err(status) if takes_no_credential(&status) => call(Signer::none()).await,
            answer => answer,
        };
        let membership = Membership::try_from(answer.map_err(AttemptError::Refused)?.into_inner())?;
        Ok(membership)
    }

    async fn request(&self) -> Result<RegisterRequest, AttemptError> {
        let credential = self.home.membership()?.map(|known| known.credential);
        Ok(RegisterRequest {
            public_key: self.home.public_key()?,
            name: self.config.name.clone(),
            inventory: Some(self.inventory().await),
            capacity: (self.config.given() != Given::default())
                .then(|| resources_to_wire(&allocatable(&self.config, &self.inventory))),
            credential: credential.unwrap_or_default(),
            join_token: self.config.joining.token().map_err(AttemptError::Token)?,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        })
    }

    async fn inventory(&self) -> v1::Inventory {
        let found = &self.inventory;
        let reports = self.engines.survey().await;
        let runtime = |report: crate::inventory::RuntimeReport| {
            let found = report.found.ok()?;
            let missing = found.missing.into_iter();
            Some(v1::RuntimeInfo {
                name: report.kind.as_str().to_owned(),
                version: found.version,
                features: found
                    .features
                    .iter()
                    .map(|f| f.as_str())
                    .chain(self.policy.words())
                    .map(str::to_owned)
                    .collect(),
                missing: missing
                    .map(|m| (m.feature.as_str().to_owned(), m.why))
                    .collect(),
            })
        };
        v1::Inventory {
            hostname: found.hostname.clone(),
            addresses: found.addresses.iter().map(ToString::to_string).collect(),
            operating_system: found.operating_system.clone(),
            kernel: found.kernel.clone(),
            architecture: found.architecture.clone(),
            cores: found.cores,
            memory_bytes: found.memory_bytes,
            disk_bytes: found.disk_bytes,
            runtimes: reports.into_iter().filter_map(runtime).collect(),
        }
    }
}

/// Why a worker could not leave.
#[derive(Debug, thiserror::Error)]
pub enum LeaveError {
    /// There is no worker in that directory.
    #[error("no worker has registered from `{}`: give its --data-dir", path.display())]
    Nobody {
        /// The directory.
        path: std::path::PathBuf,
    },
    /// Its identity cannot be read.
    #[error("read the worker's identity")]
    Identity(#[from] IdentityError),
    /// The cluster's address has no meaning.
    #[error("read the cluster's address")]
    Target(#[from] TargetError),
    /// The transport refuses the address.
    #[error("prepare a channel to the cluster")]
    Channel(#[from] edgeio_client::ChannelError),
    /// The cluster refused.
    #[error("leave the cluster: {}", explain_status(.0).join("; "))]
    Refused(tonic::Status),
    /// Some jobs are not stopped.
    #[error(
        "{remaining} jobs are not stopped yet: the worker must run to stop them; call again, or use --keep"
    )]
    Remaining {
        /// How many.
        remaining: u32,
    },
}

/// Says goodbye for the worker of a data directory and waits until its jobs are stopped, or leaves them with `keep`.
///
/// # Errors
/// See [`LeaveError`].
pub async fn leave(config: LeaveConfig) -> Result<(), LeaveError> {
    let home = Home(config.data_dir.clone());
    let membership = home.membership()?.ok_or_else(|| LeaveError::Nobody {
        path: Path::new(&config.data_dir).to_owned(),
    })?;
    let target: Target = config.cluster.parse()?;
    let channel = config.dialer().connect(&target, &Options::default())?;
    let signer = home.signer()?.to(&membership.cluster_id.to_string());
    let mut client = WorkerServiceClient::with_interceptor(channel.clone(), signer);
    home.leave()?;
    let deadline = Instant::now() + config.wait;
    let mut plain = false;
    loop {
        let request = LeaveRequest {
            worker_id: membership.worker_id.to_string(),
            credential: membership.credential.clone(),
            keep: config.keep,
        };
        let remaining = match client.leave(request).await {
            Ok(answer) => answer.into_inner().remaining,
            // A cluster of before: it knows no keys, and takes the credential that it gave.
            Err(status) if takes_no_credential(&status) && !plain => {
                plain = true;
                client = WorkerServiceClient::with_interceptor(channel.clone(), Signer::none());
                continue;
            }
            Err(status) => return Err(LeaveError::Refused(status)),
        };
        info!(
            worker = membership.name,
            remaining,
            keep = config.keep,
            "leaving"
        );
        if remaining == 0 || config.keep {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(LeaveError::Remaining { remaining });
        }
        sleep(LEAVE_AGAIN).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absence_is_told_after_a_minute_and_then_once_an_hour() {
        let mut absence = Absence::default();
        let told: Vec<u64> = (0..8000)
            .step_by(20)
            .filter(|second| absence.tell(Duration::from_secs(*second)))
            .collect();
        assert_eq!(told, [60, 3660, 7260]);
    }

    #[test]
    fn an_answer_is_no_absence() {
        let refused = |code| AttemptError::Refused(tonic::Status::new(code, "")).is_absence();
        assert!(AttemptError::Late.is_absence() && refused(Code::Unavailable));
        assert!(!refused(Code::PermissionDenied) && !refused(Code::InvalidArgument));
    }
}
