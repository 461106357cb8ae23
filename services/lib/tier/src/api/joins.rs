//! `edgeio.api.v1.JoinService`: parse, call, render.

use edgeio_proto::api::v1::{
    CreateJoinTokenRequest, CreateJoinTokenResponse, ListJoinTokensRequest, ListJoinTokensResponse,
    RevokeJoinTokenRequest, RevokeJoinTokenResponse,
    join_service_server::{JoinService, JoinServiceServer},
};
use tonic::{Request, Response, Status};

use super::open;
use crate::joins::{Joins, shown};

/// The handlers.
#[derive(Clone)]
pub struct JoinApi(Joins);

/// The service, ready to be added to a server.
#[must_use]
pub fn join_service(joins: Joins) -> JoinServiceServer<JoinApi> {
    edgeio_server::bounded!(JoinServiceServer::new(JoinApi(joins)))
}

#[tonic::async_trait]
impl JoinService for JoinApi {
    async fn create_join_token(
        &self,
        call: Request<CreateJoinTokenRequest>,
    ) -> Result<Response<CreateJoinTokenResponse>, Status> {
        let (who, request) = open(call)?;
        let (token, record) = self.0.create(&who, &request).await?;
        Ok(Response::new(CreateJoinTokenResponse {
            token,
            record: Some(shown(&record)),
        }))
    }

    async fn list_join_tokens(
        &self,
        call: Request<ListJoinTokensRequest>,
    ) -> Result<Response<ListJoinTokensResponse>, Status> {
        let (who, _) = open(call)?;
        let tokens = self.0.list(&who).await?;
        Ok(Response::new(ListJoinTokensResponse {
            tokens: tokens.iter().map(shown).collect(),
        }))
    }

    async fn revoke_join_token(
        &self,
        call: Request<RevokeJoinTokenRequest>,
    ) -> Result<Response<RevokeJoinTokenResponse>, Status> {
        let (who, request) = open(call)?;
        let record = self.0.revoke(&who, &request.id).await?;
        Ok(Response::new(RevokeJoinTokenResponse {
            record: Some(shown(&record)),
        }))
    }
}
