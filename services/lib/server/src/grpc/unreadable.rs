//! Requests that cannot be read, told as the caller's fault.
//!
//! tonic answers a message that does not decode, a frame with a bad flag and a body that ends too early with INTERNAL: to a person
//! who watches a server, and to a client that retries, that is a fault of the server. An error of ours always has details
//! (see [`crate::status`]); an INTERNAL or UNKNOWN without any is tonic's word about what it read. An answer of ours that cannot be
//! encoded would look the same, and is logged like it; messages are bounded long before that.

use http::Response;
use tonic::body::Body;
use tonic::{Code, Status};

use crate::status::{Refusal, status};

/// The same answer, or the one that says who is at fault.
pub(super) fn blame(response: Response<Body>) -> Response<Body> {
    match Status::from_header_map(response.headers()) {
        Some(said) => match unreadable(&said) {
            Some(status) => status.into_http(),
            None => response,
        },
        None => response,
    }
}

/// What to say instead of `said`, if that is tonic's word about an unreadable request.
fn unreadable(said: &Status) -> Option<Status> {
    let of_transport =
        matches!(said.code(), Code::Internal | Code::Unknown) && said.details().is_empty();
    of_transport.then(|| {
        tracing::debug!(why = said.message(), "a request cannot be read");
        status(&Refusal::Unreadable(printable(said.message())))
    })
}

/// The library's sentence names the fault and quotes nothing of the request; cut all the same.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use tonic_types::StatusExt as _;

    use super::*;

    #[test]
    fn what_cannot_be_read_is_the_callers_fault() {
        let said = Status::internal("failed to decode Protobuf message: invalid wire type");
        let answer = Status::from_header_map(blame(said.into_http()).headers()).unwrap();
        assert_eq!(answer.code(), Code::InvalidArgument);
        assert!(answer.message().contains("invalid wire type"), "{answer:?}");
        let details = answer.get_error_details();
        assert_eq!(details.error_info().unwrap().reason, "REQUEST_UNREADABLE");
    }

    #[test]
    fn our_own_faults_stay_ours_and_other_answers_what_they_are() {
        let ours = status(&Refusal::NoPrincipal);
        for said in [ours, Status::not_found("no"), Status::aborted("")] {
            let code = said.code();
            let answer = Status::from_header_map(blame(said.into_http()).headers()).unwrap();
            assert_eq!(answer.code(), code);
        }
    }
}
