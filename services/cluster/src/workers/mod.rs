//! How workers join and leave.

mod leave;
mod register;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use edgeio_domain::ids::ChildId;
use edgeio_link::convert;
use edgeio_proto::cluster::v1::{LeaveRequest, LeaveResponse, RegisterRequest, RegisterResponse};
use edgeio_server::status::{Classify, Kind, status};
use edgeio_store::StoreError;
use edgeio_tier::{
    api::open,
    context::Context,
    joins::{JoinError, RedeemError},
    machines::NotForYou,
};
use tonic::{Request, Response, Status};

use crate::{
    api::Joining,
    broker::{Passes, PassesError},
    identity::{Identity, IdentityError},
};

/// What workers are told when they join.
#[derive(Clone, Debug)]
pub struct Welcome {
    /// The cluster's display name.
    pub cluster_name: String,
    /// The broker's host name or address.
    pub broker_address: String,
    /// The broker's port.
    pub broker_port: u16,
    /// How often to send samples; zero means never.
    pub telemetry_interval: Duration,
}

/// Takes workers in and lets them go.
#[derive(Clone)]
pub struct Gate {
    context: Context,
    identity: Arc<Identity>,
    welcome: Welcome,
    passes: Option<Arc<Passes>>,
}

/// Why a worker was not taken in or let go.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GateError {
    /// A field of the request is wrong.
    #[error("{field}: {message}")]
    Field {
        /// The field.
        field: &'static str,
        /// What is wrong and what would be right.
        message: String,
    },
    /// No such worker.
    #[error("worker {0} is not known here")]
    Unknown(ChildId),
    /// The credential does not prove that id.
    #[error(
        "the credential does not prove that this is worker {0}: register again with the worker's own key"
    )]
    Credential(ChildId),
    /// The caller is no worker.
    #[error(transparent)]
    Caller(#[from] NotForYou),
    /// The key of the request is not the one that was proven.
    #[error(
        "the public key is not that of the call's credential: a worker registers with its own key"
    )]
    Unproven,
    /// A worker speaks for another one.
    #[error("the key of this call is that of worker {0}: a worker cannot speak for another one")]
    OtherWorker(ChildId),
    /// Its join token is not good, or it has none.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// The credential cannot be made.
    #[error("sign the credential")]
    Sign(#[from] IdentityError),
    /// The pass for the broker cannot be made or taken back.
    #[error("make or revoke a pass for the broker")]
    Pass(#[from] PassesError),
    /// The store failed.
    #[error("record the worker")]
    Store(#[from] StoreError),
}

impl From<convert::WireError> for GateError {
    fn from(error: convert::WireError) -> Self {
        GateError::Field {
            field: error.field,
            message: error.what,
        }
    }
}

impl Classify for GateError {
    fn kind(&self) -> Kind {
        match self {
            GateError::Field { .. } => Kind::InvalidInput,
            GateError::Unknown(_) => Kind::NotFound,
            GateError::Credential(_)
            | GateError::Caller(_)
            | GateError::Unproven
            | GateError::OtherWorker(_) => Kind::Forbidden,
            GateError::Join(error) => error.kind(),
            GateError::Sign(_) | GateError::Pass(_) => Kind::Internal,
            GateError::Store(_) => Kind::Unavailable,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            GateError::Field { .. } => "FIELD_INVALID",
            GateError::Unknown(_) => "WORKER_UNKNOWN",
            GateError::Credential(_) => "CREDENTIAL_INVALID",
            GateError::Caller(error) => error.reason(),
            GateError::Unproven => "KEY_NOT_PROVEN",
            GateError::OtherWorker(_) => "WORKER_ID_FOREIGN",
            GateError::Join(error) => error.reason(),
            GateError::Sign(_) | GateError::Pass(_) => "INTERNAL",
            GateError::Store(_) => "STORE_UNAVAILABLE",
        }
    }
}

impl Gate {
    /// A gate over the cluster's parts.
    #[must_use]
    pub fn new(context: Context, identity: Arc<Identity>, welcome: Welcome) -> Self {
        Self {
            context,
            identity,
            welcome,
            passes: None,
        }
    }

    /// Gives workers passes for the broker.
    #[must_use]
    pub fn with_passes(mut self, passes: Option<Arc<Passes>>) -> Self {
        self.passes = passes;
        self
    }
}

impl From<RedeemError> for GateError {
    fn from(error: RedeemError) -> Self {
        match error {
            RedeemError::Join(error) => Self::Join(error),
            RedeemError::Store(error) => Self::Store(error),
        }
    }
}

#[tonic::async_trait]
impl Joining for Gate {
    async fn register(
        &self,
        call: Request<RegisterRequest>,
    ) -> Result<Response<RegisterResponse>, Status> {
        let (who, request) = open(call)?;
        let answer = register::register(self, &who, request).await;
        answer.map(Response::new).map_err(|error| status(&error))
    }

    async fn leave(&self, call: Request<LeaveRequest>) -> Result<Response<LeaveResponse>, Status> {
        let (who, request) = open(call)?;
        let answer = leave::leave(self, &who, request).await;
        answer.map(Response::new).map_err(|error| status(&error))
    }
}
