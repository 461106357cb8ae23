//! The gRPC services that root and cluster share. A handler parses, calls and renders; what anything means is in
//! [`crate::apps`].

mod access;
mod application;
mod joins;

use edgeio_server::{
    auth::{Principal, principal},
    status::status,
};
use tonic::{Request, Status};

pub use access::{AccessApi, access_service};
pub use application::{ApplicationApi, application_service};
pub use joins::{JoinApi, join_service};

use crate::apps::AppError;

impl From<AppError> for Status {
    fn from(error: AppError) -> Self {
        status(&error)
    }
}

/// Takes a call apart: who calls, and with what.
///
/// # Errors
/// INTERNAL when the server was built without authentication.
pub fn open<T>(call: Request<T>) -> Result<(Principal, T), Status> {
    let who = principal(&call)?.clone();
    Ok((who, call.into_inner()))
}
