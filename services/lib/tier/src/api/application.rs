//! `edgeio.api.v1.ApplicationService`: parse, call, render. A watch ends itself when the server stops.

use edgeio_proto::api::v1::{
    ApplyRequest, ApplyResponse, DeleteRequest, DeleteResponse, GetRequest, GetResponse,
    ListHeldRequest, ListHeldResponse, ListInstancesRequest, ListInstancesResponse, ListRequest,
    ListResponse, ResolveHeldRequest, ResolveHeldResponse, ScaleRequest, ScaleResponse,
    WatchRequest, WatchResponse,
    application_service_server::{ApplicationService, ApplicationServiceServer},
};
use edgeio_server::shutdown::Shutdown;
use futures::{StreamExt as _, TryStreamExt as _, stream::BoxStream};
use tonic::{Request, Response, Status};

use super::open;
use crate::apps::{
    Apply, Apps, Delete, List, ListHeld, ListInstances, Named, ResolveHeld, Scale, Watch,
};

/// The handlers.
#[derive(Clone, Debug)]
pub struct ApplicationApi {
    apps: Apps,
    stop: Shutdown,
}

/// The service, ready to be added to a server. Watches end themselves at `stop`.
#[must_use]
pub fn application_service(apps: Apps, stop: Shutdown) -> ApplicationServiceServer<ApplicationApi> {
    edgeio_server::bounded!(ApplicationServiceServer::new(ApplicationApi { apps, stop }))
}

#[tonic::async_trait]
impl ApplicationService for ApplicationApi {
    type WatchStream = BoxStream<'static, Result<WatchResponse, Status>>;

    async fn apply(&self, call: Request<ApplyRequest>) -> Result<Response<ApplyResponse>, Status> {
        let (who, request) = open(call)?;
        let command = Apply::parse(&who, request)?;
        Ok(Response::new(self.apps.apply(command).await?))
    }

    async fn get(&self, call: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        let (who, request) = open(call)?;
        let named = Named::parse(&request)?;
        Ok(Response::new(self.apps.get(&who, named).await?))
    }

    async fn list(&self, call: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        let (who, request) = open(call)?;
        let command = List::parse(&who, &request)?;
        Ok(Response::new(self.apps.list(command).await?))
    }

    async fn delete(
        &self,
        call: Request<DeleteRequest>,
    ) -> Result<Response<DeleteResponse>, Status> {
        let (who, request) = open(call)?;
        let command = Delete::parse(&who, request)?;
        Ok(Response::new(self.apps.delete(command).await?))
    }

    async fn scale(&self, call: Request<ScaleRequest>) -> Result<Response<ScaleResponse>, Status> {
        let (who, request) = open(call)?;
        let command = Scale::parse(&who, request)?;
        Ok(Response::new(self.apps.scale(command).await?))
    }

    async fn list_instances(
        &self,
        call: Request<ListInstancesRequest>,
    ) -> Result<Response<ListInstancesResponse>, Status> {
        let (who, request) = open(call)?;
        let command = ListInstances::parse(&who, &request)?;
        Ok(Response::new(self.apps.list_instances(command).await?))
    }

    async fn list_held(
        &self,
        call: Request<ListHeldRequest>,
    ) -> Result<Response<ListHeldResponse>, Status> {
        let (who, request) = open(call)?;
        let command = ListHeld::parse(&who, &request)?;
        Ok(Response::new(self.apps.list_held(command).await?))
    }

    async fn resolve_held(
        &self,
        call: Request<ResolveHeldRequest>,
    ) -> Result<Response<ResolveHeldResponse>, Status> {
        let (who, request) = open(call)?;
        let command = ResolveHeld::parse(&who, request)?;
        Ok(Response::new(self.apps.resolve_held(command).await?))
    }

    async fn watch(
        &self,
        call: Request<WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let (who, request) = open(call)?;
        let changes = self.apps.watch(Watch::parse(&who, &request)?).await?;
        let changes = self.stop.end(changes.map_err(Status::from));
        Ok(Response::new(changes.boxed()))
    }
}
