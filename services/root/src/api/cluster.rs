//! `edgeio.root.v1.ClusterService`: clusters for people. How they attach is the link's.

use edgeio_domain::child::{ChildState, Replace};
use edgeio_link::convert::capacity_to_wire;
use edgeio_proto::root::v1::{
    self, Cluster, FenceRequest, FenceResponse, ForgetRequest, ForgetResponse, GetRequest,
    GetResponse, ListRequest, ListResponse, ReleaseRequest, ReleaseResponse, WatchRequest,
    WatchResponse,
    cluster_service_server::{ClusterService, ClusterServiceServer},
    watch_response::Change,
};
use edgeio_server::shutdown::Shutdown;
use edgeio_tier::{
    api::open,
    apps::{
        Children,
        children::{ChildChange, ChildView, Forget, ListChildren, Verdict},
        timestamp,
    },
};
use futures::{StreamExt as _, TryStreamExt as _, stream::BoxStream};
use tonic::{Request, Response, Status};

/// The handlers.
#[derive(Clone, Debug)]
pub struct ClusterApi {
    children: Children,
    stop: Shutdown,
}

/// The service, ready to be added to a server. Watches end themselves at `stop`.
#[must_use]
pub fn cluster_service(children: Children, stop: Shutdown) -> ClusterServiceServer<ClusterApi> {
    edgeio_server::bounded!(ClusterServiceServer::new(ClusterApi { children, stop }))
}

#[tonic::async_trait]
impl ClusterService for ClusterApi {
    type WatchStream = BoxStream<'static, Result<WatchResponse, Status>>;

    async fn list(&self, call: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        let (who, request) = open(call)?;
        let command = ListChildren::parse(&who, request.page_size, &request.page_token)?;
        let (clusters, next_page_token) = self.children.list(command, cluster).await?;
        Ok(Response::new(ListResponse {
            clusters,
            next_page_token,
        }))
    }

    async fn get(&self, call: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        let (who, request) = open(call)?;
        let view = self.children.get(&who, &request.cluster).await?;
        Ok(Response::new(GetResponse {
            cluster: Some(cluster(&view)),
        }))
    }

    async fn watch(
        &self,
        call: Request<WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let (who, request) = open(call)?;
        let changes = self.children.watch(&who, &request.token).await?;
        let changes = changes.map_ok(|(token, change)| WatchResponse {
            token,
            change: Some(render(&change)),
        });
        let changes = self.stop.end(changes.map_err(Status::from));
        Ok(Response::new(changes.boxed()))
    }

    async fn forget(
        &self,
        call: Request<ForgetRequest>,
    ) -> Result<Response<ForgetResponse>, Status> {
        let (who, mut request) = open(call)?;
        let id = std::mem::take(&mut request.request_id);
        let command = Forget::parse(&who, id, &request, &request.cluster, request.force)?;
        let replaced = self.children.forget(command).await?;
        Ok(Response::new(ForgetResponse { replaced }))
    }

    async fn release(
        &self,
        call: Request<ReleaseRequest>,
    ) -> Result<Response<ReleaseResponse>, Status> {
        let (who, mut request) = open(call)?;
        let id = std::mem::take(&mut request.request_id);
        let verdict = Verdict::release(&who, id, &request, &request.cluster)?;
        let (view, _) = self.children.judge(verdict).await?;
        Ok(Response::new(ReleaseResponse {
            cluster: Some(cluster(&view)),
        }))
    }

    async fn fence(&self, call: Request<FenceRequest>) -> Result<Response<FenceResponse>, Status> {
        let (who, mut request) = open(call)?;
        let id = std::mem::take(&mut request.request_id);
        let verdict = Verdict::fence(&who, id, &request, &request.cluster)?;
        let (view, given_up) = self.children.judge(verdict).await?;
        Ok(Response::new(FenceResponse {
            cluster: Some(cluster(&view)),
            given_up,
        }))
    }
}

fn render(change: &ChildChange) -> Change {
    match change {
        ChildChange::Is(view) => Change::Cluster(cluster(view)),
        ChildChange::Gone(id) => Change::Gone(id.to_string()),
        ChildChange::Bookmark => Change::Bookmark(true),
    }
}

fn cluster(view: &ChildView) -> Cluster {
    let child = &view.child;
    let state = match child.state {
        ChildState::Registered => v1::ChildState::Registered,
        ChildState::Ready => v1::ChildState::Ready,
        ChildState::Suspect => v1::ChildState::Suspect,
        ChildState::Disconnected => v1::ChildState::Disconnected,
        ChildState::Returning => v1::ChildState::Returning,
        ChildState::Left => v1::ChildState::Left,
        ChildState::Lost => v1::ChildState::Lost,
    };
    Cluster {
        id: child.id.to_string(),
        name: child.display(),
        state: state.into(),
        last_heard: view.last_heard().map(timestamp),
        capacity: Some(capacity_to_wire(&child.capacity)),
        address: child.address.clone(),
        version: child.version.clone(),
        assigned: view.assigned,
        replacement: replacement(child.replace).into(),
        silent_for_ms: u64::try_from(child.silence.as_millis()).unwrap_or(u64::MAX),
    }
}

fn replacement(replace: Replace) -> v1::Replacement {
    match replace {
        Replace::No => v1::Replacement::Unspecified,
        Replace::Unproven => v1::Replacement::Unproven,
        Replace::Limited => v1::Replacement::Limited,
        Replace::Proven => v1::Replacement::Proven,
        Replace::Released => v1::Replacement::Released,
        Replace::Fenced => v1::Replacement::Fenced,
    }
}

#[cfg(test)]
mod tests {
    use edgeio_domain::{
        child::{Capacity, Child},
        name::Name,
        time::Time,
    };

    use super::*;

    fn view(state: ChildState) -> ChildView {
        ChildView {
            child: Child {
                name: Name::new("north").ok(),
                state,
                address: "north:10100".into(),
                capacity: Capacity {
                    workers: 3,
                    ..Capacity::default()
                },
                last_heard: Time(1_500),
                ..Child::default()
            },
            assigned: 2,
        }
    }

    #[test]
    fn a_cluster_is_shown_as_it_is_recorded() {
        let shown = cluster(&view(ChildState::Suspect));
        assert_eq!((shown.name.as_str(), shown.assigned), ("north", 2));
        assert_eq!(shown.state(), v1::ChildState::Suspect);
        assert_eq!(shown.capacity.unwrap().workers, 3);
        let heard = shown.last_heard.unwrap();
        assert_eq!((heard.seconds, heard.nanos), (1, 500_000_000));
        let mut silent = view(ChildState::Registered);
        silent.child.last_heard = Time::default();
        assert_eq!(cluster(&silent).last_heard, None);
    }

    #[test]
    fn each_change_has_its_word() {
        let gone = ChildChange::Gone(view(ChildState::Ready).child.id);
        assert!(matches!(render(&gone), Change::Gone(id) if id.len() == 36));
        assert_eq!(render(&ChildChange::Bookmark), Change::Bookmark(true));
        let is = ChildChange::Is(Box::new(view(ChildState::Ready)));
        assert!(matches!(render(&is), Change::Cluster(shown) if shown.name == "north"));
    }
}
