//! Making a cluster known. Who it is follows from the key that it has proven; a field that says otherwise is refused.

use edgeio_domain::{ids::ChildId, name::Name};
use edgeio_link::convert;
use edgeio_proto::root::v1::{RegisterRequest, RegisterResponse};
use edgeio_server::{
    auth::{Principal, PrincipalKind},
    status::{Classify, Kind, status},
};
use edgeio_store::StoreError;
use edgeio_tier::{
    children::{Admission, admit},
    context::Context,
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
    /// Nothing says that it may join.
    #[error("this cluster is not known here and calls from another machine: it cannot join")]
    NotInvited,
    /// The store failed.
    #[error("record the cluster")]
    Store(#[from] StoreError),
}

impl Classify for RegisterError {
    fn kind(&self) -> Kind {
        match self {
            RegisterError::Id(_) => Kind::InvalidInput,
            RegisterError::OtherKey(_) => Kind::AlreadyExists,
            RegisterError::Caller(_)
            | RegisterError::OtherId(_)
            | RegisterError::Unproven
            | RegisterError::NotInvited => Kind::Forbidden,
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
            RegisterError::NotInvited => "JOIN_NOT_ALLOWED",
            RegisterError::Store(_) => "STORE_UNAVAILABLE",
        }
    }
}

pub(super) async fn register(
    context: &Context,
    who: &Principal,
    request: RegisterRequest,
) -> Result<RegisterResponse, Status> {
    take_in(context, who, request)
        .await
        .map_err(|error| status(&error))
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
    if known.is_none() && matches!(caller, Caller::Key { trusted: false, .. }) {
        return Err(RegisterError::NotInvited);
    }
    let wish = Admission {
        id,
        name: Name::from_any(&request.name),
        public_key: request.public_key,
        address: request.address,
        version: request.version,
        inventory: Vec::new(),
        capacity: None,
    };
    let child = admit(context, &mut *tx, wish).await?;
    let root = tx.meta().await?.lineage;
    if !tx.is_empty() {
        tx.commit().await?;
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
