//! The init handshake: the same key gets the same id; a credential brings an old id back to a cluster without memory.

use edgeio_domain::{
    child::{Bucket, Capacity},
    ids::ChildId,
    name::Name,
    resources::Resources,
};
use edgeio_link::convert;
use edgeio_proto::cluster::v1::{Inventory, RegisterRequest, RegisterResponse};
use edgeio_server::auth::{Principal, PrincipalKind};
use edgeio_store::{JoinKind, StoreError};
use edgeio_tier::{
    access::{Actor, Target},
    children::{Admission, admit},
    joins::{JoinError, redeem},
    machines::{Caller, caller},
};
use prost::Message as _;
use tracing::{info, warn};

use super::{Gate, GateError};

/// Most bytes of an inventory: hardware lists of a server are some kilobytes.
const MAX_INVENTORY: usize = 64 * 1024;

pub(super) async fn register(
    gate: &Gate,
    who: &Principal,
    request: RegisterRequest,
) -> Result<RegisterResponse, GateError> {
    let field = |field, message: &str| GateError::Field {
        field,
        message: message.to_owned(),
    };
    let user = |pair: nkeys::KeyPair| pair.key_pair_type() == nkeys::KeyPairType::User;
    if !nkeys::KeyPair::from_public_key(&request.public_key).is_ok_and(user) {
        return Err(field(
            "public_key",
            "is not a public nkey of a user: the worker makes one in its data directory",
        ));
    }
    let caller = caller(who, PrincipalKind::Worker)?;
    if let Caller::Key { key, .. } = &caller
        && *key != request.public_key
    {
        return Err(GateError::Unproven);
    }
    let inventory = request.inventory.clone().unwrap_or_default();
    if inventory.architecture.is_empty() {
        return Err(field(
            "inventory.architecture",
            "is required, such as amd64",
        ));
    }
    if inventory.encoded_len() > MAX_INVENTORY {
        return Err(field("inventory", "is larger than 64 KiB"));
    }
    let wished = if request.name.is_empty() {
        &inventory.hostname
    } else {
        &request.name
    };
    let mut tx = gate.context.store.write().await?;
    let same_key = tx.child_by_key(&request.public_key).await?.map(|c| c.id);
    if let Caller::Known(own) = caller
        && same_key != Some(own)
    {
        warn!(worker = %own, "worker registers with another key than its own");
        return Err(GateError::OtherWorker(own));
    }
    let (text, key) = (&request.credential, &request.public_key);
    let proven = gate.identity.verify(text, key);
    // Whoever was forgotten may have been stolen: what it was given lets it in no more. It gets its id back with a token.
    let forgotten = match proven {
        Some(id) if same_key.is_none() => !tx.tombstones(&[id.0]).await?.is_empty(),
        Some(_) | None => false,
    };
    let known = same_key.or(proven);
    let name = Name::from_any(wished);
    let id = known.unwrap_or_else(|| ChildId(gate.context.ids.next()));
    if known.is_none() || forgotten {
        let now = gate.context.clock.wall();
        let how = if matches!(caller, Caller::Key { trusted: false, .. }) {
            let (text, kind) = (&request.join_token, JoinKind::Worker);
            let token = redeem(&mut *tx, text, kind, name.as_str(), now).await?;
            format!("with join token {token}")
        } else {
            "without a join token".to_owned()
        };
        let target = Target::new("worker", id, "").with(how);
        tx.audit(Actor::of(who).did(now, "Register", target));
    }
    let wish = Admission {
        id,
        name,
        public_key: request.public_key.clone(),
        address: String::new(),
        version: request.version.clone(),
        inventory: inventory.encode_to_vec(),
        capacity: Some(capacity(&inventory, request.capacity.as_ref())),
    };
    let child = admit(&gate.context, &mut *tx, wish).await?;
    if !tx.is_empty() {
        tx.commit().await.map_err(|error| match error {
            StoreError::Spent { token } => GateError::Join(JoinError::Spent(token)),
            error => GateError::Store(error),
        })?;
    }
    info!(worker = %child.display(), %id, "worker registered");
    let broker_pass = match &gate.passes {
        Some(passes) => {
            let pass = passes.worker(id.0, &request.public_key);
            Some(pass.map_err(crate::broker::PassesError::from)?)
        }
        None => None,
    };
    let millis = |time: std::time::Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
    Ok(RegisterResponse {
        worker_id: id.to_string(),
        credential: gate.identity.credential(id, &request.public_key)?,
        cluster_id: gate.identity.id.to_string(),
        cluster_name: gate.welcome.cluster_name.clone(),
        name: child.display(),
        broker_address: gate.welcome.broker_address.clone(),
        broker_port: u32::from(gate.welcome.broker_port),
        report_interval_ms: millis(gate.context.times.report_interval),
        telemetry_interval_ms: millis(gate.welcome.telemetry_interval),
        broker_pass,
    })
}

/// What can be placed on the machine, until its first report says so itself.
fn capacity(inventory: &Inventory, given: Option<&edgeio_proto::link::v1::Resources>) -> Capacity {
    let machine = Resources {
        cpu_millis: i64::from(inventory.cores) * 1000,
        memory_bytes: i64::try_from(inventory.memory_bytes).unwrap_or(i64::MAX),
    };
    let all = given.map_or(machine, |given| convert::resources_from_wire(Some(given)));
    let mut runtimes: Vec<String> = inventory.runtimes.iter().map(|r| r.name.clone()).collect();
    runtimes.sort_unstable();
    let bucket = Bucket {
        architecture: inventory.architecture.clone(),
        runtimes,
        workers: 1,
        free: all,
        largest: all,
    };
    Capacity {
        workers: 1,
        allocatable: all,
        free: all,
        buckets: vec![bucket],
        includes_revision: 0,
    }
}
