//! `edgeio.api.v1.AccessService`: parse, call, render.

use edgeio_proto::api::v1::{
    BindRequest, BindResponse, CreateNamespaceRequest, CreateNamespaceResponse, CreateUserRequest,
    CreateUserResponse, CreateUserTokenRequest, CreateUserTokenResponse, DeleteNamespaceRequest,
    DeleteNamespaceResponse, DeleteUserRequest, DeleteUserResponse, ListAuditRequest,
    ListAuditResponse, ListNamespacesRequest, ListNamespacesResponse, ListUserTokensRequest,
    ListUserTokensResponse, ListUsersRequest, ListUsersResponse, RevokeUserTokenRequest,
    RevokeUserTokenResponse, SetQuotaRequest, SetQuotaResponse, UnbindRequest, UnbindResponse,
    VerifyAuditRequest, VerifyAuditResponse, WhoAmIRequest, WhoAmIResponse,
    access_service_server::{AccessService, AccessServiceServer},
};
use edgeio_server::bounded;
use tonic::{Request, Response, Status, async_trait};

use super::open;
use crate::access::Access;

/// The handlers.
#[derive(Debug)]
pub struct AccessApi(Access);

/// The service, for [`Api::service`](edgeio_server::grpc::Api::service).
#[must_use]
pub fn access_service(access: Access) -> AccessServiceServer<AccessApi> {
    bounded!(AccessServiceServer::new(AccessApi(access)))
}

#[async_trait]
impl AccessService for AccessApi {
    async fn who_am_i(
        &self,
        call: Request<WhoAmIRequest>,
    ) -> Result<Response<WhoAmIResponse>, Status> {
        let (who, WhoAmIRequest {}) = open(call)?;
        Ok(Response::new(self.0.who_am_i(&who)))
    }

    async fn verify_audit(
        &self,
        call: Request<VerifyAuditRequest>,
    ) -> Result<Response<VerifyAuditResponse>, Status> {
        let (who, VerifyAuditRequest {}) = open(call)?;
        Ok(Response::new(self.0.verify_audit(&who).await?))
    }

    async fn create_user(
        &self,
        call: Request<CreateUserRequest>,
    ) -> Result<Response<CreateUserResponse>, Status> {
        let (who, request) = open(call)?;
        Ok(Response::new(self.0.create_user(&who, request).await?))
    }

    async fn list_users(
        &self,
        call: Request<ListUsersRequest>,
    ) -> Result<Response<ListUsersResponse>, Status> {
        let (who, request) = open(call)?;
        Ok(Response::new(self.0.list_users(&who, request).await?))
    }

    async fn delete_user(
        &self,
        call: Request<DeleteUserRequest>,
    ) -> Result<Response<DeleteUserResponse>, Status> {
        let (who, request) = open(call)?;
        Ok(Response::new(self.0.delete_user(&who, request).await?))
    }

    async fn bind(&self, call: Request<BindRequest>) -> Result<Response<BindResponse>, Status> {
        let (who, request) = open(call)?;
        Ok(Response::new(self.0.bind(&who, request).await?))
    }

    async fn unbind(
        &self,
        call: Request<UnbindRequest>,
    ) -> Result<Response<UnbindResponse>, Status> {
        let (who, request) = open(call)?;
        Ok(Response::new(self.0.unbind(&who, request).await?))
    }

    async fn create_user_token(
        &self,
        call: Request<CreateUserTokenRequest>,
    ) -> Result<Response<CreateUserTokenResponse>, Status> {
        let (who, request) = open(call)?;
        Ok(Response::new(
            self.0.create_user_token(&who, request).await?,
        ))
    }

    async fn list_user_tokens(
        &self,
        call: Request<ListUserTokensRequest>,
    ) -> Result<Response<ListUserTokensResponse>, Status> {
        let (who, request) = open(call)?;
        Ok(Response::new(self.0.list_user_tokens(&who, request).await?))
    }

    async fn revoke_user_token(
        &self,
        call: Request<RevokeUserTokenRequest>,
    ) -> Result<Response<RevokeUserTokenResponse>, Status> {
        let (who, request) = open(call)?;
        Ok(Response::new(
            self.0.revoke_user_token(&who, request).await?,
        ))
    }

    async fn create_namespace(
        &self,
        call: Request<CreateNamespaceRequest>,
    ) -> Result<Response<CreateNamespaceResponse>, Status> {
        let (who, request) = open(call)?;
        Ok(Response::new(self.0.create_namespace(&who, request).await?))
    }

    async fn list_namespaces(
        &self,
        call: Request<ListNamespacesRequest>,
    ) -> Result<Response<ListNamespacesResponse>, Status> {
        let (who, request) = open(call)?;
        Ok(Response::new(self.0.list_namespaces(&who, request).await?))
    }

    async fn delete_namespace(
        &self,
        call: Request<DeleteNamespaceRequest>,
    ) -> Result<Response<DeleteNamespaceResponse>, Status> {
        let (who, request) = open(call)?;
        Ok(Response::new(self.0.delete_namespace(&who, request).await?))
    }

    async fn set_quota(
        &self,
        call: Request<SetQuotaRequest>,
    ) -> Result<Response<SetQuotaResponse>, Status> {
        let (who, request) = open(call)?;
        Ok(Response::new(self.0.set_quota(&who, request).await?))
    }

    async fn list_audit(
        &self,
        call: Request<ListAuditRequest>,
    ) -> Result<Response<ListAuditResponse>, Status> {
        let (who, request) = open(call)?;
        Ok(Response::new(self.0.list_audit(&who, request).await?))
    }
}
