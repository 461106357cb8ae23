//! `edgeio.cluster.v1.WorkerService`: workers for people here; how they join is [`Joining`]'s.

use std::sync::Arc;

use edgeio_domain::{
    child::{ChildState, Replace},
    ids::ChildId,
};
use edgeio_link::convert::capacity_to_wire;
use edgeio_proto::{
    cluster::v1::{
        ApproveRequest, ApproveResponse, FenceRequest, FenceResponse, ForgetRequest,
        ForgetResponse, GetRequest, GetResponse, Inventory, LeaveRequest, LeaveResponse,
        ListRequest, ListResponse, RegisterRequest, RegisterResponse, ReleaseRequest,
        ReleaseResponse, Replacement, Worker, WorkerState,
        worker_service_server::{WorkerService, WorkerServiceServer},
    },
    link::v1::Telemetry,
};
use edgeio_server::{
    auth::Principal,
    status::{Classify, Kind, status},
};
use edgeio_tier::{
    api::open,
    apps::{
        Children,
        children::{Approve, ChildView, Forget, ListChildren, Verdict},
        timestamp,
    },
    hub::Hub,
};
use prost::Message as _;
use tonic::{Request, Response, Status};

use crate::broker::{Passes, PassesError};

/// How workers come and go.
#[tonic::async_trait]
pub trait Joining: Send + Sync + 'static {
    /// The init handshake.
    ///
    /// # Errors
    /// Why the worker is not taken.
    async fn register(
        &self,
        call: Request<RegisterRequest>,
    ) -> Result<Response<RegisterResponse>, Status>;
    /// A worker says goodbye.
    ///
    /// # Errors
    /// Why it is not let go.
    async fn leave(&self, call: Request<LeaveRequest>) -> Result<Response<LeaveResponse>, Status>;
}

/// The newest samples of workers, which are kept in memory only.
pub trait Samples: Send + Sync + 'static {
    /// Those of one worker; `None` before the first.
    fn newest(&self, worker: ChildId) -> Option<Telemetry>;
}

impl Samples for Hub {
    fn newest(&self, worker: ChildId) -> Option<Telemetry> {
        self.telemetry(worker)
    }
}

/// The handlers.
#[derive(Clone)]
pub struct WorkerApi {
    children: Children,
    joining: Arc<dyn Joining>,
    samples: Arc<dyn Samples>,
    passes: Option<Arc<Passes>>,
}

/// The service, ready to be added to a server.
#[must_use]
pub fn worker_service(
    children: Children,
    joining: Arc<dyn Joining>,
    samples: Arc<dyn Samples>,
    passes: Option<Arc<Passes>>,
) -> WorkerServiceServer<WorkerApi> {
    edgeio_server::bounded!(WorkerServiceServer::new(WorkerApi {
        children,
        joining,
        samples,
        passes,
    }))
}

#[tonic::async_trait]
impl WorkerService for WorkerApi {
    async fn register(
        &self,
        call: Request<RegisterRequest>,
    ) -> Result<Response<RegisterResponse>, Status> {
        self.joining.register(call).await
    }

    async fn leave(&self, call: Request<LeaveRequest>) -> Result<Response<LeaveResponse>, Status> {
        self.joining.leave(call).await
    }

    async fn list(&self, call: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        let (who, request) = open(call)?;
        let command = ListChildren::parse(&who, request.page_size, &request.page_token)?;
        let render = |view: &ChildView| self.worker(view);
        let (workers, next_page_token) = self.children.list(command, render).await?;
        Ok(Response::new(ListResponse {
            workers,
            next_page_token,
        }))
    }

    async fn get(&self, call: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        let (who, request) = open(call)?;
        let view = self.children.get(&who, &request.worker).await?;
        Ok(Response::new(GetResponse {
            worker: Some(self.worker(&view)),
        }))
    }

    async fn forget(
        &self,
        call: Request<ForgetRequest>,
    ) -> Result<Response<ForgetResponse>, Status> {
        let (who, mut request) = open(call)?;
        let id = std::mem::take(&mut request.request_id);
        let command = Forget::parse(&who, id, &request, &request.worker, request.force)?;
        let key = self.key(&who, &request.worker).await;
        let replaced = self.children.forget(command).await?;
        self.revoke(key)?;
        Ok(Response::new(ForgetResponse { replaced }))
    }

    async fn approve(
        &self,
        call: Request<ApproveRequest>,
    ) -> Result<Response<ApproveResponse>, Status> {
        let (who, mut request) = open(call)?;
        let id = std::mem::take(&mut request.request_id);
        let command = Approve::parse(&who, id, &request, &request.worker, request.force)?;
        let (view, replaced) = self.children.approve(command).await?;
        Ok(Response::new(ApproveResponse {
            worker: Some(self.worker(&view)),
            replaced,
        }))
    }

    async fn release(
        &self,
        call: Request<ReleaseRequest>,
    ) -> Result<Response<ReleaseResponse>, Status> {
        let (who, mut request) = open(call)?;
        let id = std::mem::take(&mut request.request_id);
        let verdict = Verdict::release(&who, id, &request, &request.worker)?;
        let (view, _) = self.children.judge(verdict).await?;
        Ok(Response::new(ReleaseResponse {
            worker: Some(self.worker(&view)),
        }))
    }

    async fn fence(&self, call: Request<FenceRequest>) -> Result<Response<FenceResponse>, Status> {
        let (who, mut request) = open(call)?;
        let id = std::mem::take(&mut request.request_id);
        let verdict = Verdict::fence(&who, id, &request, &request.worker)?;
        let (view, given_up) = self.children.judge(verdict).await?;
        self.revoke(Some(view.child.public_key.clone()))?;
        Ok(Response::new(FenceResponse {
            worker: Some(self.worker(&view)),
            given_up,
        }))
    }
}

/// What the broker goes by cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("revoke the worker's pass for the broker: {0}")]
struct NotRevoked(#[from] PassesError);

impl Classify for NotRevoked {
    fn kind(&self) -> Kind {
        Kind::Internal
    }
    fn reason(&self) -> &'static str {
        "PASS_NOT_REVOKED"
    }
}

impl WorkerApi {
    /// The key of a worker, if there is such a one.
    async fn key(&self, who: &Principal, worker: &str) -> Option<String> {
        let view = self.children.get(who, worker).await.ok()?;
        Some(view.child.public_key)
    }

    /// Cuts a worker off from the broker.
    fn revoke(&self, key: Option<String>) -> Result<(), Status> {
        if let (Some(passes), Some(key)) = (&self.passes, key) {
            passes
                .revoke(&key)
                .map_err(|error| status(&NotRevoked(error)))?;
        }
        Ok(())
    }

    fn worker(&self, view: &ChildView) -> Worker {
        worker(view, self.samples.newest(view.child.id))
    }
}

fn worker(view: &ChildView, telemetry: Option<Telemetry>) -> Worker {
    let child = &view.child;
    let state = match child.state {
        ChildState::Registered => WorkerState::Registered,
        ChildState::Ready => WorkerState::Ready,
        ChildState::Suspect => WorkerState::Suspect,
        ChildState::Disconnected => WorkerState::Disconnected,
        ChildState::Returning => WorkerState::Returning,
        ChildState::Left => WorkerState::Left,
        ChildState::Lost => WorkerState::Lost,
    };
    let inventory = match Inventory::decode(child.inventory.as_slice()) {
        Ok(inventory) => Some(inventory),
        Err(error) => {
            tracing::warn!(%error, worker = %child.id, "stored inventory cannot be read");
            None
        }
    };
    Worker {
        id: child.id.to_string(),
        name: child.display(),
        state: state.into(),
        last_heard: view.last_heard().map(timestamp),
        inventory,
        capacity: Some(capacity_to_wire(&child.capacity)),
        telemetry,
        version: child.version.clone(),
        assigned: view.assigned,
        replacement: replacement(child.replace).into(),
        silent_for_ms: u64::try_from(child.silence.as_millis()).unwrap_or(u64::MAX),
        wished_name: child
            .wished
            .as_ref()
            .map_or_else(String::new, ToString::to_string),
    }
}

fn replacement(replace: Replace) -> Replacement {
    match replace {
        Replace::No => Replacement::Unspecified,
        Replace::Unproven => Replacement::Unproven,
        Replace::Limited => Replacement::Limited,
        Replace::Proven => Replacement::Proven,
        Replace::Released => Replacement::Released,
        Replace::Fenced => Replacement::Fenced,
    }
}

#[cfg(test)]
mod tests {
    use edgeio_domain::{child::Child, name::Name};

    use super::*;

    #[test]
    fn a_worker_is_shown_as_it_is_recorded() {
        let inventory = Inventory {
            hostname: "box".into(),
            cores: 4,
            ..Inventory::default()
        };
        let view = ChildView {
            child: Child {
                name: Name::new("a1").ok(),
                state: ChildState::Disconnected,
                inventory: inventory.encode_to_vec(),
                ..Child::default()
            },
            assigned: 3,
        };
        let shown = worker(&view, Some(Telemetry::default()));
        assert_eq!((shown.name.as_str(), shown.assigned), ("a1", 3));
        assert_eq!(shown.state(), WorkerState::Disconnected);
        assert_eq!(shown.inventory, Some(inventory));
        assert_eq!(shown.last_heard, None, "it never spoke");
        assert!(shown.telemetry.is_some());
    }

    #[test]
    fn an_inventory_that_cannot_be_read_hides_nothing_else() {
        let view = ChildView {
            child: Child {
                name: Name::new("a1").ok(),
                inventory: vec![0xff; 3],
                ..Child::default()
            },
            assigned: 0,
        };
        let shown = worker(&view, None);
        assert_eq!((shown.name.as_str(), shown.inventory), ("a1", None));
    }
}
