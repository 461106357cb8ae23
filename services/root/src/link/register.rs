//! Making a cluster known. Who it is follows from the key that it has proven; a field that says otherwise is refused.

use edgeio_domain::{ids::ChildId, name::Name};
use edgeio_link::convert;
use edgeio_proto::root::v1::{RegisterRequest, RegisterResponse};
use edgeio_server::{
    auth::{Principal, PrincipalKind},
    status::{Classify, Kind, status},
};
use edgeio_store::{JoinKind, StoreError};
use edgeio_tier::{
    access::{Actor, Target},
    children::{Admission, admit},
    context::Context,
    joins::{JoinError, RedeemError, redeem},
    machines::{Caller, NotForYou, caller},
};
use tonic::Status;
use tracing::{info, warn};

/// Why a cluster was not taken in.
#[derive(Debug, thiserror::Error)]
pub(super) enum RegisterError {
    /// Its id cannot be read.
    #[error("{0}")]
    Id(#[from] convert::WireError),
    /// It is no cluster.
    #[error(transparent)]
    Caller(#[from] NotForYou),
    /// The id belongs to another key.
    #[error("cluster {0} is known with another key: give this cluster a data directory of its own")]
    OtherKey(ChildId),
    /// The key belongs to another id.
    #[error("the key of this call is that of cluster {0}: a cluster cannot speak for another one")]
    OtherId(ChildId),
    /// The key of the request is not the one that was proven.
    #[error(
        "the public key is not that of the call's credential: a cluster registers with its own key"
    )]
    Unproven,
    /// Its join token is not good, or it has none.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// The store failed.
    #[error("record the cluster")]
    Store(#[from] StoreError),
}

impl Classify for RegisterError {
    fn kind(&self) -> Kind {
        match self {
            RegisterError::Id(_) => Kind::InvalidInput,
            RegisterError::OtherKey(_) => Kind::AlreadyExists,
            RegisterError::Caller(_) | RegisterError::OtherId(_) | RegisterError::Unproven => {
                Kind::Forbidden
            }
            RegisterError::Join(error) => error.kind(),
            RegisterError::Store(_) => Kind::Unavailable,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            RegisterError::Id(_) => "CLUSTER_ID_INVALID",
            RegisterError::Caller(error) => error.reason(),
            RegisterError::OtherKey(_) => "CLUSTER_KEY_DIFFERS",
            RegisterError::OtherId(_) => "CLUSTER_ID_FOREIGN",
            RegisterError::Unproven => "KEY_NOT_PROVEN",
            RegisterError::Join(error) => error.reason(),
            RegisterError::Store(_) => "STORE_UNAVAILABLE",
        }
    }
}

pub(super) async fn register(
    context: &Context,
    who: &Principal,
    request: RegisterRequest,
) -> Result<RegisterResponse, Status> {
    let answer = take_in(context, who, request).await;
    answer.map_err(|error| status(&error))
}

impl From<RedeemError> for RegisterError {
    fn from(error: RedeemError) -> Self {
        match error {
            RedeemError::Join(error) => Self::Join(error),
            RedeemError::Store(error) => Self::Store(error),
        }
    }
}

async fn take_in(
    context: &Context,
    who: &Principal,
    request: RegisterRequest,
) -> Result<RegisterResponse, RegisterError> {
    let id = convert::id::<ChildId>("cluster_id", &request.cluster_id)?;
    let caller = caller(who, PrincipalKind::Cluster)?;
    let mut tx = context.store.write().await?;
    let known = tx.child(id).await?;
    if let Caller::Known(own) = caller
        && own != id
    {
        warn!(cluster = %own, claimed = %id, "cluster claims to be another one");
        return Err(RegisterError::OtherId(own));
    }
    if let Caller::Key { key, .. } = &caller {
        if *key != request.public_key {
            return Err(RegisterError::Unproven);
        }
        let all = tx.children().await?;
        if let Some(other) = all.iter().find(|c| c.public_key == *key && c.id != id) {
            warn!(cluster = %other.id, claimed = %id, "cluster claims to be another one");
            return Err(RegisterError::OtherId(other.id));
        }
    }
    if known
        .as_ref()
        .is_some_and(|known| known.public_key != request.public_key)
    {
        return Err(RegisterError::OtherKey(id));
    }
    let name = Name::from_any(&request.name);
    if known.is_none() {
        let now = context.clock.wall();
        let how = if matches!(caller, Caller::Key { trusted: false, .. }) {
            let (text, kind) = (&request.join_token, JoinKind::Cluster);
            let token = redeem(&mut *tx, text, kind, name.as_str(), now).await?;
            format!("with join token {token}")
        } else {
            "without a join token".to_owned()
        };
        let target = Target::new("cluster", id, "").with(how);
        tx.audit(Actor::of(who).did(now, "Register", target));
    }
    let wish = Admission {
        id,
        name,
        public_key: request.public_key,
        address: request.address,
        version: request.version,
        inventory: Vec::new(),
        capacity: None,
    };
    let child = admit(context, &mut *tx, wish).await?;
    let root = tx.meta().await?.lineage;
    if !tx.is_empty() {
        tx.commit().await.map_err(|error| match error {
            StoreError::Spent { token } => RegisterError::Join(JoinError::Spent(token)),
            error => RegisterError::Store(error),
        })?;
    }
    info!(cluster = %child.display(), %id, "cluster registered");
    Ok(RegisterResponse {
        cluster_id: id.to_string(),
        name: child.display(),
        report_interval_ms: u32::try_from(context.times.report_interval.as_millis())
            .unwrap_or(u32::MAX),
        root_id: root.to_string(),
    })
}
