//! What an operator's calls about one child have in common: who asks, which child, and the key under which the answer is kept.

use edgeio_domain::violation::Violations;
use edgeio_server::auth::{Principal, Role};
use prost::Message;

use crate::apps::{AppError, RequestKey, access};

/// A checked call about one child.
#[derive(Clone, Debug)]
pub(super) struct About {
    pub(super) key: RequestKey,
    /// Id or name, as it was given.
    pub(super) child: String,
    /// Who asked, for people.
    pub(super) by: String,
}

impl About {
    /// Checks the call `verb`: `rest` is the request without its `request_id`.
    ///
    /// # Errors
    /// Names every field that is wrong, or what the caller may not.
    pub(super) fn parse<M: Message>(
        who: &Principal,
        verb: &'static str,
        request_id: String,
        rest: &M,
        child: &str,
    ) -> Result<Self, AppError> {
        access::role(who, Role::Operator)?;
        let mut faults = Violations::default();
        let key = RequestKey::new(who, verb, request_id, rest, &mut faults);
        if !faults.is_empty() {
            return Err(AppError::Invalid(faults.into_vec()));
        }
        Ok(Self {
            key,
            child: child.to_owned(),
            by: who.name.clone(),
        })
    }
}
