//! Making a bridge known: a bridge that has a key which lasts joins once and is let in by it from then on.

use edgeio_domain::name::Name;
use edgeio_proto::cluster::v1::JoinRequest;
use edgeio_server::{
    auth::{Principal, PrincipalKind},
    status::{Classify, Kind},
};
use edgeio_store::{Bridge, JoinKind, StoreError, Write};
use edgeio_tier::{
    access::{Actor, Target},
    context::Context,
    joins::{JoinError, RedeemError, redeem},
    machines::{Caller, NotForYou, caller},
};
use tracing::info;
use uuid::Uuid;

/// Why a bridge is not let in.
#[derive(Debug, thiserror::Error)]
pub(super) enum BridgeError {
    /// It is none.
    #[error(transparent)]
    Caller(#[from] NotForYou),
    /// Its key is not known.
    #[error("this bridge's key is not known here: it must join first")]
    Unknown,
    /// It has not proven the key with which it wants to join.
    #[error("the public key is not that of the call's credential: a bridge joins with its own key")]
    Unproven,
    /// Its join token is not good, or it has none.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// The store failed.
    #[error("record the bridge")]
    Store(#[from] StoreError),
}

impl From<RedeemError> for BridgeError {
    fn from(error: RedeemError) -> Self {
        match error {
            RedeemError::Join(error) => Self::Join(error),
            RedeemError::Store(error) => Self::Store(error),
        }
    }
}

impl Classify for BridgeError {
    fn kind(&self) -> Kind {
        match self {
            Self::Caller(_) | Self::Unknown | Self::Unproven => Kind::Forbidden,
            Self::Join(error) => error.kind(),
            Self::Store(_) => Kind::Unavailable,
        }
    }
    fn reason(&self) -> &'static str {
        match self {
            Self::Caller(error) => error.reason(),
            Self::Unknown => "BRIDGE_UNKNOWN",
            Self::Unproven => "KEY_NOT_PROVEN",
            Self::Join(error) => error.reason(),
            Self::Store(_) => "STORE_UNAVAILABLE",
        }
    }
}

/// Makes the bridge known, once; answers its id.
pub(super) async fn join(
    context: &Context,
    who: &Principal,
    request: JoinRequest,
) -> Result<Uuid, BridgeError> {
    let trusted = match caller(who, PrincipalKind::Bridge)? {
        Caller::Known(id) => return Ok(id.0),
        Caller::Key { key, trusted } if key == request.public_key => trusted,
        Caller::Key { .. } | Caller::Operator => return Err(BridgeError::Unproven),
    };
    let mut tx = context.store.write().await?;
    if let Some(known) = tx.bridge_by_key(&request.public_key).await? {
        return Ok(known.id);
    }
    let (id, now) = (context.ids.next(), context.clock.wall());
    let name = Name::from_any(&request.name);
    let how = if trusted {
        "without a join token".to_owned()
    } else {
        let (text, kind) = (&request.join_token, JoinKind::Bridge);
        let token = redeem(&mut *tx, text, kind, name.as_str(), now).await?;
        format!("with join token {token}")
    };
    let target = Target::new("bridge", id, "").with(how);
    tx.audit(Actor::of(who).did(now, "Join", target));
    tx.stage(Write::PutBridge(Bridge {
        id,
        name: name.to_string(),
        public_key: request.public_key,
        created_at: now,
    }));
    tx.commit().await.map_err(|error| match error {
        StoreError::Spent { token } => BridgeError::Join(JoinError::Spent(token)),
        error => BridgeError::Store(error),
    })?;
    info!(bridge = %name, %id, "bridge joined");
    Ok(id)
}
