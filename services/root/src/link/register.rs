//! Making a cluster known.

use edgeio_domain::{ids::ChildId, name::Name};
use edgeio_link::convert;
use edgeio_proto::root::v1::{RegisterRequest, RegisterResponse};
use edgeio_server::status::{Classify, Kind, status};
use edgeio_store::StoreError;
use edgeio_tier::{
    children::{Admission, admit},
    context::Context,
};
use tonic::Status;
use tracing::info;

/// Why a cluster was not taken in.
#[derive(Debug, thiserror::Error)]
enum RegisterError {
    /// Its id cannot be read.
    #[error("{0}")]
    Id(#[from] convert::WireError),
    /// The id belongs to another key.
    #[error("cluster {0} is known with another key: give this cluster a data directory of its own")]
    OtherKey(ChildId),
    /// The store failed.
    #[error("record the cluster")]
    Store(#[from] StoreError),
}

impl Classify for RegisterError {
    fn kind(&self) -> Kind {
        match self {
            RegisterError::Id(_) => Kind::InvalidInput,
            RegisterError::OtherKey(_) => Kind::AlreadyExists,
            RegisterError::Store(_) => Kind::Unavailable,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            RegisterError::Id(_) => "CLUSTER_ID_INVALID",
            RegisterError::OtherKey(_) => "CLUSTER_KEY_DIFFERS",
            RegisterError::Store(_) => "STORE_UNAVAILABLE",
        }
    }
}

pub(super) async fn register(
    context: &Context,
    request: RegisterRequest,
) -> Result<RegisterResponse, Status> {
    take_in(context, request)
        .await
        .map_err(|error| status(&error))
}

async fn take_in(
    context: &Context,
    request: RegisterRequest,
) -> Result<RegisterResponse, RegisterError> {
    let id = convert::id::<ChildId>("cluster_id", &request.cluster_id)?;
    let mut tx = context.store.write().await?;
    if tx
        .child(id)
        .await?
        .is_some_and(|known| known.public_key != request.public_key)
    {
        return Err(RegisterError::OtherKey(id));
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
    if !tx.is_empty() {
        tx.commit().await?;
    }
    info!(cluster = %child.display(), %id, "cluster registered");
    Ok(RegisterResponse {
        cluster_id: id.to_string(),
        name: child.display(),
        report_interval_ms: u32::try_from(context.times.report_interval.as_millis())
            .unwrap_or(u32::MAX),
    })
}
