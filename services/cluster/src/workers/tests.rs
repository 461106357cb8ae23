//! Joining and leaving over a store in memory.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use edgeio_domain::{
    child::ChildState,
    ids::{AppUid, AssignmentId, ChildId, Lineage, SlotId, SpecHash},
    lifecycle::Phase,
    name::Name,
    records::{AppKey, Assignment, Desired, Observed, Owner},
    resources::Resources,
    time::{Clock, Time},
};
use edgeio_proto::{
    api::v1::CreateJoinTokenRequest,
    cluster::v1::{
        ForgetRequest, Inventory, LeaveRequest, LeaveResponse, RegisterRequest, RegisterResponse,
        RuntimeInfo,
    },
    link::v1,
};
use edgeio_server::{
    auth::{Principal, PrincipalKind, Role},
    status::Classify as _,
};
use edgeio_store::{AssignmentFilter, AuditFilter, JoinKind, MemoryStore, Store, Write};
use edgeio_tier::{
    apps::{
        Children,
        children::{Approve, Forget},
    },
    context::{Context, Times},
    joins::Joins,
    system::SystemIds,
};
use uuid::Uuid;

use super::{Gate, GateError, Welcome, leave::leave, register::register};
use crate::identity::Identity;

struct HandClock(AtomicI64);

impl Clock for HandClock {
    fn wall(&self) -> Time {
        Time(self.0.load(Ordering::Relaxed))
    }
    fn boot(&self) -> Time {
        self.wall()
    }
}

struct Bed {
    gate: Gate,
    store: Arc<MemoryStore>,
    directory: tempfile::TempDir,
}

impl Bed {
    fn new() -> Self {
        Self::over(tempfile::tempdir().unwrap(), 1)
    }

    /// What the audit tells of calls of that name.
    async fn audited(&self, verb: &str) -> Vec<String> {
        let all = AuditFilter {
            limit: 100,
            ..AuditFilter::default()
        };
        let tx = self.store.read().await.unwrap();
        let entries = tx.audit_entries(&all).await.unwrap();
        let of = entries
            .into_iter()
            .filter(|entry| entry.record.verb == verb);
        of.map(|entry| format!("{:?}", entry.record)).collect()
    }

    /// The same cluster with an empty database.
    fn without_memory(self) -> Self {
        Self::over(self.directory, 2)
    }

    fn over(directory: tempfile::TempDir, lineage: u128) -> Self {
        let clock = Arc::new(HandClock(AtomicI64::new(1_700_000_000_000)));
        let lineage = Lineage(Uuid::from_u128(lineage));
        let store = Arc::new(MemoryStore::new(lineage, clock.clone()));
        let identity = Identity::open(directory.path()).unwrap();
        let context = Context {
            store: store.clone(),
            clock,
            ids: Arc::new(SystemIds),
            replica: Uuid::from_u128(1),
            own: Owner::Cluster(identity.id),
            noun: "worker",
            times: Times::default(),
        };
        let welcome = Welcome {
            cluster_name: "north".to_owned(),
            broker_address: "broker".to_owned(),
            broker_port: 4222,
            telemetry_interval: std::time::Duration::from_secs(5),
        };
        Self {
            gate: Gate::new(context, Arc::new(identity), welcome),
            store,
            directory,
        }
    }

    async fn join(&self, request: RegisterRequest) -> RegisterResponse {
        register(&self.gate, &Principal::dev(Role::Admin), request)
            .await
            .unwrap()
    }

    async fn leave(
        &self,
        worker: &RegisterResponse,
        keep: bool,
    ) -> Result<LeaveResponse, GateError> {
        let request = LeaveRequest {
            worker_id: worker.worker_id.clone(),
            credential: worker.credential.clone(),
            keep,
        };
        leave(&self.gate, &Principal::dev(Role::Admin), request).await
    }

    async fn state(&self, worker: &RegisterResponse) -> Option<ChildState> {
        let tx = self.store.read().await.unwrap();
        let child = tx.child(id(worker)).await.unwrap();
        child.map(|child| child.state)
    }

    async fn instances(&self) -> Vec<Assignment> {
        let tx = self.store.read().await.unwrap();
        tx.assignments(&AssignmentFilter::default()).await.unwrap()
    }

    async fn write(&self, write: Write) {
        let mut tx = self.store.write().await.unwrap();
        tx.stage(write);
        tx.commit().await.unwrap();
    }

    /// An instance that runs on a worker.
    async fn runs(&self, worker: &RegisterResponse, n: u128, desired: Desired) {
        let assignment = Assignment {
            id: AssignmentId(Uuid::from_u128(n)),
            slot: SlotId(Uuid::from_u128(n + 1000)),
            app: AppKey {
                owner: Owner::Root,
                namespace: Name::from_any("default"),
                name: Name::from_any("web"),
            },
            app_uid: AppUid::default(),
            service: Name::from_any("front"),
            ordinal: 0,
            child: id(worker),
            generation: 1,
            desired,
            restart_count: 0,
            spec_hash: SpecHash::default(),
            demand: Resources::default(),
            observed: Observed {
                phase: Phase::Running,
                ..Default::default()
            },
            created_at: Time(0),
            order_revision: 0,
            revision: 0,
        };
        self.write(Write::PutAssignment {
            assignment,
            ordered: false,
        })
        .await;
    }
}

fn id(worker: &RegisterResponse) -> ChildId {
    worker.worker_id.parse().unwrap()
}

fn key() -> String {
    nkeys::KeyPair::new_user().public_key()
}

/// A worker on host `edge` with that key.
fn worker(public_key: &str) -> RegisterRequest {
    RegisterRequest {
        public_key: public_key.to_owned(),
        inventory: Some(Inventory {
            hostname: "edge".to_owned(),
            architecture: "amd64".to_owned(),
            cores: 4,
            memory_bytes: 8 << 30,
            runtimes: ["process", "docker"]
                .map(|name| RuntimeInfo {
                    name: name.to_owned(),
                    ..Default::default()
                })
                .to_vec(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

#[tokio::test]
async fn the_same_key_gets_the_same_id_and_name() {
    let bed = Bed::new();
    let (one, two) = (key(), key());
    let first = bed.join(worker(&one)).await;
    let revision = *bed.store.watch().borrow();
    let again = bed.join(worker(&one)).await;
    assert_eq!(
        (&again.worker_id, &again.name),
        (&first.worker_id, &first.name)
    );
    assert_eq!(
        *bed.store.watch().borrow(),
        revision,
        "nothing is written for it"
    );
    let other = bed.join(worker(&two)).await;
    assert_ne!(other.worker_id, first.worker_id);
    assert_eq!(
        (first.name.as_str(), other.name.as_str()),
        ("edge", "edge-2")
    );
    assert_eq!(
        bed.join(worker(&two)).await.name,
        "edge-2",
        "it keeps its number"
    );
    let named = RegisterRequest {
        name: "gate".to_owned(),
        ..worker(&two)
    };
    assert_eq!(bed.join(named).await.name, "gate");
}

#[tokio::test]
async fn it_is_told_where_the_broker_is_and_known_with_what_it_has() {
    let bed = Bed::new();
    let joined = bed.join(worker(&key())).await;
    assert_eq!(
        (joined.broker_address.as_str(), joined.broker_port),
        ("broker", 4222)
    );
    assert_eq!(joined.report_interval_ms, 15_000);
    assert_eq!(joined.telemetry_interval_ms, 5_000);
    assert_eq!(bed.state(&joined).await, Some(ChildState::Registered));
    let tx = bed.store.read().await.unwrap();
    let child = tx.child(id(&joined)).await.unwrap().unwrap();
    assert_eq!(child.capacity.allocatable.cpu_millis, 4000);
    assert_eq!(child.capacity.buckets[0].runtimes, ["docker", "process"]);
    drop(tx);
    let less = RegisterRequest {
        capacity: Some(v1::Resources {
            cpu_millis: 500,
            memory_bytes: 1 << 20,
        }),
        ..worker(&child.public_key)
    };
    bed.join(less).await;
    let tx = bed.store.read().await.unwrap();
    let child = tx.child(id(&joined)).await.unwrap().unwrap();
    assert_eq!(child.capacity.allocatable.cpu_millis, 500);
}

#[tokio::test]
async fn a_credential_brings_the_id_back_to_a_cluster_without_memory_and_only_with_its_key() {
    let bed = Bed::new();
    let (own, thief) = (key(), key());
    let before = bed.join(worker(&own)).await;
    let bed = bed.without_memory();
    let with = |key: &str| RegisterRequest {
        credential: before.credential.clone(),
        ..worker(key)
    };
    let stolen = bed.join(with(&thief)).await;
    assert_ne!(stolen.worker_id, before.worker_id);
    let back = bed.join(with(&own)).await;
    assert_eq!(back.worker_id, before.worker_id);
    assert_eq!(back.cluster_id, before.cluster_id);
}

#[tokio::test]
async fn what_is_wrong_with_a_registration_is_named() {
    let bed = Bed::new();
    let good = worker(&key());
    let big = Inventory {
        hostname: "x".repeat(65 * 1024),
        ..good.inventory.clone().unwrap()
    };
    for (request, wrong) in [
        (worker("not a key"), "public_key"),
        (
            RegisterRequest {
                inventory: None,
                ..good.clone()
            },
            "inventory.architecture",
        ),
        (
            RegisterRequest {
                inventory: Some(big),
                ..good
            },
            "inventory",
        ),
    ] {
        match register(&bed.gate, &Principal::dev(Role::Admin), request).await {
            Err(GateError::Field { field, .. }) => assert_eq!(field, wrong),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn who_leaves_stops_everything_first_and_is_gone_when_nothing_remains() {
    let bed = Bed::new();
    let joined = bed.join(worker(&key())).await;
    bed.runs(&joined, 1, Desired::Run).await;
    bed.runs(&joined, 2, Desired::Hold).await;
    bed.runs(&joined, 3, Desired::Stop).await;
    assert_eq!(bed.leave(&joined, false).await.unwrap().remaining, 3);
    assert_eq!(bed.state(&joined).await, Some(ChildState::Left));
    let orders: Vec<_> = bed
        .instances()
        .await
        .iter()
        .map(|a| (a.desired, a.generation))
        .collect();
    assert_eq!(
        orders,
        [(Desired::Stop, 2), (Desired::Stop, 2), (Desired::Stop, 1)]
    );
    let revision = *bed.store.watch().borrow();
    assert_eq!(bed.leave(&joined, false).await.unwrap().remaining, 3);
    assert_eq!(
        *bed.store.watch().borrow(),
        revision,
        "asking again orders nothing again"
    );
    for instance in bed.instances().await {
        bed.write(Write::DeleteAssignment(instance.id)).await;
    }
    assert_eq!(bed.leave(&joined, false).await.unwrap().remaining, 0);
    assert_eq!(bed.state(&joined).await, None);
    let goodbyes = bed.audited("Leave").await;
    assert_eq!(goodbyes.len(), 1, "{goodbyes:?}");
    assert!(
        goodbyes[0].contains(&joined.worker_id) && goodbyes[0].contains("3 jobs to be stopped")
    );
    let twice = bed.leave(&joined, false).await;
    assert!(matches!(twice, Err(GateError::Unknown(_))), "{twice:?}");
}

#[tokio::test]
async fn who_leaves_and_keeps_its_jobs_is_gone_at_once_and_they_are_recorded() {
    let bed = Bed::new();
    let joined = bed.join(worker(&key())).await;
    bed.runs(&joined, 1, Desired::Run).await;
    assert_eq!(bed.leave(&joined, true).await.unwrap().remaining, 1);
    assert_eq!(bed.state(&joined).await, None);
    assert_eq!(bed.instances().await, []);
    let tx = bed.store.read().await.unwrap();
    let events = tx.events(10).await.unwrap();
    assert_eq!(events[0].reason, "Abandoned");
    assert!(
        events[0].message.contains("worker edge"),
        "{}",
        events[0].message
    );
    let one = Uuid::from_u128(1);
    assert_eq!(tx.tombstones(&[one]).await.unwrap(), [one]);
}

#[tokio::test]
async fn nobody_leaves_for_another_and_a_new_start_ends_the_leaving() {
    let bed = Bed::new();
    let own = key();
    let (joined, other) = (bed.join(worker(&own)).await, bed.join(worker(&key())).await);
    let forged = RegisterResponse {
        credential: other.credential.clone(),
        ..joined.clone()
    };
    let refused = bed.leave(&forged, false).await;
    assert!(
        matches!(refused, Err(GateError::Credential(_))),
        "{refused:?}"
    );
    bed.runs(&joined, 1, Desired::Run).await;
    bed.leave(&joined, false).await.unwrap();
    bed.join(worker(&own)).await;
    assert_eq!(bed.state(&joined).await, Some(ChildState::Registered));
}

/// Somebody with a key that is not known, from another machine.
fn stranger(key: &str) -> Principal {
    Principal::machine(PrincipalKind::Stranger, key, key)
}

async fn token(bed: &Bed, kind: &str) -> String {
    let kinds = &[JoinKind::Worker, JoinKind::Bridge];
    let joins = Joins::new(&bed.gate.context, kinds, None);
    let request = CreateJoinTokenRequest {
        kind: kind.to_owned(),
        ..CreateJoinTokenRequest::default()
    };
    let dev = Principal::dev(Role::Operator);
    let made = joins.create(&dev, &request);
    made.await.unwrap().0
}

#[tokio::test]
async fn a_worker_from_elsewhere_joins_by_a_token_of_its_kind() {
    let bed = Bed::new();
    let (one, two) = (key(), key());
    let join = async |who: &Principal, key: &str, token: &str| {
        let request = RegisterRequest {
            join_token: token.to_owned(),
            ..worker(key)
        };
        let answer = register(&bed.gate, who, request).await;
        answer.map_err(|error| error.reason())
    };
    let refused = join(&stranger(&one), &one, "").await;
    assert_eq!(refused.unwrap_err(), "JOIN_TOKEN_NEEDED");
    let refused = join(&stranger(&one), &one, &token(&bed, "bridge").await).await;
    assert_eq!(refused.unwrap_err(), "JOIN_TOKEN_KIND");
    let good = token(&bed, "").await;
    let refused = join(&stranger(&two), &one, &good).await;
    assert_eq!(refused.unwrap_err(), "KEY_NOT_PROVEN");
    let first = join(&stranger(&one), &one, &good).await.unwrap();
    let again = join(&stranger(&one), &one, &good).await.unwrap();
    assert_eq!(again.worker_id, first.worker_id);
    let refused = join(&stranger(&two), &two, &good).await;
    assert_eq!(refused.unwrap_err(), "JOIN_TOKEN_USED_UP");

    // A worker that is known is itself alone.
    let known = Principal::machine(PrincipalKind::Worker, first.worker_id.as_str(), "edge");
    let refused = join(&known, &two, &token(&bed, "").await).await;
    assert_eq!(refused.unwrap_err(), "WORKER_ID_FOREIGN");
    let second = join(&stranger(&two), &two, &token(&bed, "").await).await;
    let second = second.unwrap();
    let goodbye = LeaveRequest {
        worker_id: second.worker_id.clone(),
        credential: second.credential.clone(),
        keep: false,
    };
    let refused = leave(&bed.gate, &known, goodbye.clone()).await.unwrap_err();
    assert_eq!(refused.reason(), "WORKER_ID_FOREIGN");
    let bridge = Principal::machine(PrincipalKind::Bridge, Uuid::now_v7().to_string(), "b");
    let refused = leave(&bed.gate, &bridge, goodbye).await.unwrap_err();
    assert_eq!(refused.reason(), "CALLER_KIND");
    // The cluster forgot, the worker has its credential: no token is needed.
    let bed = bed.without_memory();
    let request = RegisterRequest {
        credential: second.credential,
        ..worker(&two)
    };
    let back = register(&bed.gate, &stranger(&two), request).await.unwrap();
    assert_eq!(back.worker_id, second.worker_id);
}

#[tokio::test]
async fn who_was_forgotten_is_let_in_by_a_token_only() {
    let bed = Bed::new();
    let children = Children::new(&bed.gate.context, "north");
    let stolen = key();
    let joined = bed.join(worker(&stolen)).await;
    let dev = Principal::dev(Role::Operator);
    let rest = ForgetRequest {
        worker: joined.worker_id.clone(),
        ..ForgetRequest::default()
    };
    let forget = Forget::parse(&dev, String::new(), &rest, &joined.worker_id, true).unwrap();
    children.forget(forget).await.unwrap();
    // However long ago.
    bed.write(Write::Compact(Time(i64::MAX))).await;
    let comes = async |token: String| {
        let request = RegisterRequest {
            credential: joined.credential.clone(),
            join_token: token,
            ..worker(&stolen)
        };
        let answer = register(&bed.gate, &stranger(&stolen), request).await;
        answer.map_err(|error| error.reason())
    };
    let refused = comes(String::new()).await.unwrap_err();
    assert_eq!(refused, "JOIN_TOKEN_NEEDED");
    let back = comes(token(&bed, "").await).await.unwrap();
    assert_eq!(back.worker_id, joined.worker_id);
    assert_eq!(
        comes(String::new()).await.unwrap().worker_id,
        joined.worker_id
    );
}

#[tokio::test]
async fn a_machine_that_was_set_up_anew_gets_its_name_back_when_that_is_approved() {
    let bed = Bed::new();
    let children = Children::new(&bed.gate.context, "north");
    let before = bed.join(worker(&key())).await;
    let anew = key();
    let after = bed.join(worker(&anew)).await;
    assert_eq!(
        (before.name.as_str(), after.name.as_str()),
        ("edge", "edge-2")
    );
    let dev = Principal::dev(Role::Operator);
    let waiting = children.get(&dev, "edge-2").await.unwrap().child;
    assert_eq!(waiting.wished.unwrap().as_str(), "edge");
    bed.runs(&before, 1, Desired::Run).await;
    let approve = |worker: &str, force| {
        let rest = ForgetRequest {
            worker: worker.to_owned(),
            ..ForgetRequest::default()
        };
        Approve::parse(&dev, String::new(), &rest, worker, force).unwrap()
    };
    let refused = children.approve(approve("edge", false)).await.unwrap_err();
    assert_eq!(refused.reason(), "NOTHING_TO_APPROVE");

    // Who reports is not put aside by mistake.
    let mut heard = children.get(&dev, "edge").await.unwrap().child;
    heard.state = ChildState::Ready;
    bed.write(Write::PutChild(heard)).await;
    let refused = children
        .approve(approve("edge-2", false))
        .await
        .unwrap_err();
    assert_eq!(refused.reason(), "CHILD_REPORTS");
    assert_eq!(bed.state(&before).await, Some(ChildState::Ready));

    let (view, replaced) = children.approve(approve("edge-2", true)).await.unwrap();
    assert_eq!((view.child.display().as_str(), replaced), ("edge", 1));
    assert_eq!(view.child.id, id(&after));
    assert_eq!(bed.state(&before).await, None);
    assert!(bed.instances().await.is_empty());
    let known = bed.join(worker(&anew)).await;
    assert_eq!(
        (known.worker_id, known.name.as_str()),
        (after.worker_id, "edge")
    );
    assert_eq!(children.get(&dev, "edge").await.unwrap().child.wished, None);
}
