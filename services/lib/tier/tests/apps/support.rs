//! A tier in memory: its commands and its engine, children that exist as records, and a clock that stands still.

use std::sync::{
    Arc,
    atomic::{AtomicI64, AtomicU64, Ordering},
};

use edgeio_domain::{
    child::{Bucket, Capacity, Child, ChildState},
    ids::{ChildId, IdSource, Lineage},
    lifecycle::Phase,
    name::Name,
    records::{Assignment, Desired, Owner},
    resources::Resources,
    time::{Clock, Time},
};
use edgeio_proto::api::v1;
use edgeio_server::auth::{Binding, CallInfo, Method, Principal, PrincipalKind, Role};
use edgeio_store::{ApplicationFilter, AssignmentFilter, MemoryStore, Revision, Store, Write};
use edgeio_tier::{
    apps::{AppError, Apply, Apps, Children, Delete, List, ListInstances, Named, Scale},
    context::{Context, Times},
    engine::Engine,
};
use uuid::Uuid;

/// A clock that is set by hand.
#[derive(Debug)]
pub(crate) struct HandClock(AtomicI64);

impl HandClock {
    pub(crate) fn advance(&self, millis: i64) {
        self.0.fetch_add(millis, Ordering::Relaxed);
    }
}

impl Clock for HandClock {
    fn wall(&self) -> Time {
        Time(self.0.load(Ordering::Relaxed))
    }
    fn boot(&self) -> Time {
        self.wall()
    }
}

#[derive(Debug)]
struct Counter(AtomicU64);

impl IdSource for Counter {
    fn next(&self) -> Uuid {
        Uuid::from_u128(u128::from(self.0.fetch_add(1, Ordering::Relaxed)) + 1000)
    }
}

pub(crate) struct Bed {
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) clock: Arc<HandClock>,
    pub(crate) context: Context,
    pub(crate) engine: Arc<Engine>,
    pub(crate) apps: Apps,
    pub(crate) children: Children,
}

/// The cluster that [`Bed::cluster`] is.
pub(crate) fn here() -> ChildId {
    ChildId(Uuid::from_u128(7))
}

impl Bed {
    pub(crate) fn root() -> Self {
        Self::of(Owner::Root, "cluster", "root")
    }

    pub(crate) fn cluster() -> Self {
        Self::of(Owner::Cluster(here()), "worker", "north")
    }

    fn of(own: Owner, noun: &'static str, name: &str) -> Self {
        let clock = Arc::new(HandClock(AtomicI64::new(1_700_000_000_000)));
        let lineage = Lineage(Uuid::from_u128(1));
        let store = Arc::new(MemoryStore::new(lineage, clock.clone()));
        let context = Context {
            store: store.clone(),
            clock: clock.clone(),
            ids: Arc::new(Counter(AtomicU64::new(0))),
            replica: Uuid::from_u128(1),
            own,
            noun,
            times: Times::default(),
        };
        let engine = Arc::new(Engine::new(context.clone()));
        Self {
            apps: Apps::new(&context, engine.clone(), name),
            children: Children::new(&context, name),
            store,
            clock,
            context,
            engine,
        }
    }

    pub(crate) async fn write(&self, writes: impl IntoIterator<Item = Write>) -> Revision {
        let mut tx = self.store.write().await.unwrap();
        for write in writes {
            tx.stage(write);
        }
        tx.commit().await.unwrap()
    }

    /// Makes a child known that is ready and has room for `cores` cores.
    pub(crate) async fn child(&self, name: &str, cores: i64) -> ChildId {
        let id = ChildId(self.context.ids.next());
        let room = Resources {
            cpu_millis: cores * 1000,
            memory_bytes: 1 << 30,
        };
        let child = Child {
            id,
            name: Some(Name::new(name).unwrap()),
            state: ChildState::Ready,
            last_heard: self.clock.wall(),
            capacity: Capacity {
                workers: 1,
                allocatable: room,
                free: room,
                buckets: vec![Bucket {
                    architecture: "amd64".to_owned(),
                    runtimes: vec!["process".to_owned()],
                    workers: 1,
                    free: room,
                    largest: room,
                }],
                includes_revision: 0,
            },
            ..Child::default()
        };
        self.write([Write::PutChild(child)]).await;
        id
    }

    pub(crate) async fn becomes(&self, id: ChildId, state: ChildState) {
        let child = self.store.read().await.unwrap().child(id).await.unwrap();
        let child = Child {
            state,
            ..child.unwrap()
        };
        self.write([Write::PutChild(child)]).await;
    }

    pub(crate) async fn plan(&self) {
        self.engine.run_once().await.unwrap();
    }

    pub(crate) async fn assignments(&self) -> Vec<Assignment> {
        let tx = self.store.read().await.unwrap();
        tx.assignments(&AssignmentFilter::default()).await.unwrap()
    }

    /// Every child does what it is told, and says so; the engine sees it.
    pub(crate) async fn settle(&self) {
        for _ in 0..20 {
            self.plan().await;
            let mut writes = Vec::new();
            for mut assignment in self.assignments().await {
                match assignment.desired {
                    Desired::Stop => {
                        writes.push(Write::PutTombstone(assignment.id.0, self.clock.wall()));
                        writes.push(Write::DeleteAssignment(assignment.id));
                    }
                    Desired::Run if assignment.observed.phase != Phase::Running => {
                        assignment.observed.phase = Phase::Running;
                        assignment.observed.generation = assignment.generation;
                        writes.push(Write::PutAssignment {
                            assignment,
                            ordered: false,
                        });
                    }
                    Desired::Run | Desired::Pause | Desired::Hold => {}
                }
            }
            if writes.is_empty() {
                return;
            }
            self.write(writes).await;
        }
        panic!("it did not settle: {:#?}", self.assignments().await);
    }

    /// Changes what is recorded of every assignment.
    pub(crate) async fn observe(&self, change: impl Fn(&mut Assignment)) {
        let writes = self.assignments().await.into_iter().map(|mut assignment| {
            change(&mut assignment);
            Write::PutAssignment {
                assignment,
                ordered: false,
            }
        });
        self.write(writes.collect::<Vec<_>>()).await;
    }

    pub(crate) async fn revision(&self) -> Revision {
        let tx = self.store.read().await.unwrap();
        tx.meta().await.unwrap().revision
    }

    pub(crate) async fn count(&self) -> usize {
        let tx = self.store.read().await.unwrap();
        let all = tx
            .applications(&ApplicationFilter::default())
            .await
            .unwrap();
        all.len()
    }

    pub(crate) async fn apply(
        &self,
        request: v1::ApplyRequest,
    ) -> Result<v1::ApplyResponse, AppError> {
        self.apps.apply(Apply::parse(&who(), request)?).await
    }

    /// Applies and answers the application.
    pub(crate) async fn applied(&self, request: v1::ApplyRequest) -> v1::Application {
        self.apply(request).await.unwrap().application.unwrap()
    }

    pub(crate) async fn scale(
        &self,
        request: v1::ScaleRequest,
    ) -> Result<v1::ScaleResponse, AppError> {
        self.apps.scale(Scale::parse(&who(), request)?).await
    }

    pub(crate) async fn delete(
        &self,
        request: v1::DeleteRequest,
    ) -> Result<v1::DeleteResponse, AppError> {
        self.apps.delete(Delete::parse(&who(), request)?).await
    }

    pub(crate) async fn get(&self, name: &str) -> Result<v1::Application, AppError> {
        let request = v1::GetRequest {
            name: name.to_owned(),
            ..Default::default()
        };
        let answer = self.apps.get(&who(), Named::parse(&request)?).await?;
        Ok(answer.application.unwrap())
    }

    pub(crate) async fn status(&self, name: &str) -> v1::ApplicationStatus {
        self.get(name).await.unwrap().status.unwrap()
    }

    pub(crate) async fn list(
        &self,
        request: v1::ListRequest,
    ) -> Result<v1::ListResponse, AppError> {
        self.apps.list(List::parse(&who(), &request)?).await
    }

    pub(crate) async fn page(
        &self,
        request: v1::ListInstancesRequest,
    ) -> Result<v1::ListInstancesResponse, AppError> {
        let command = ListInstances::parse(&who(), &request)?;
        self.apps.list_instances(command).await
    }

    pub(crate) async fn instances(&self) -> Vec<v1::Instance> {
        let all = self
            .page(v1::ListInstancesRequest::default())
            .await
            .unwrap();
        assert_eq!(all.next_page_token, "");
        all.instances
    }
}

pub(crate) fn who() -> Principal {
    as_role(Role::Operator)
}

pub(crate) fn as_role(role: Role) -> Principal {
    Principal {
        id: "ann".to_owned(),
        name: "ann".to_owned(),
        kind: PrincipalKind::User,
        bindings: vec![Binding::everywhere(role)],
        method: Method::Token,
        call: CallInfo::default(),
    }
}

/// A service that any child with a core can run.
pub(crate) fn service(name: &str, replicas: Option<u32>) -> v1::ServiceSpec {
    v1::ServiceSpec {
        name: name.to_owned(),
        replicas,
        command: vec!["sleep".to_owned(), "1000".to_owned()],
        resources: Some(v1::ResourceSpec {
            cpu: "1".to_owned(),
            memory: String::new(),
        }),
        ..Default::default()
    }
}

pub(crate) fn manifest(name: &str, services: Vec<v1::ServiceSpec>) -> v1::ApplyRequest {
    v1::ApplyRequest {
        application: Some(v1::ApplicationSpec {
            name: name.to_owned(),
            services,
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// An application `web` with one service `front`.
pub(crate) fn web(replicas: u32) -> v1::ApplyRequest {
    manifest("web", vec![service("front", Some(replicas))])
}

pub(crate) fn phase(status: &v1::ApplicationStatus) -> v1::ApplicationPhase {
    v1::ApplicationPhase::try_from(status.phase).unwrap()
}
