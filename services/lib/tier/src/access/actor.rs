//! Who did something, as the audit remembers it.

use edgeio_domain::time::Time;
use edgeio_server::auth::Principal;
use edgeio_store::{AuditRecord, Decision};

/// Longest text from outside in an entry: a name of an object fits many times, a flood of long ones does not fill the disk.
const MOST_BYTES: usize = 256;

/// The caller of something that changes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Actor {
    kind: String,
    id: String,
    name: String,
    method: String,
    source: String,
    request_id: String,
}

/// What something was done to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Target {
    /// Such as `application/web`.
    pub object: String,
    /// Empty where there is none.
    pub namespace: String,
    /// What else matters.
    pub detail: String,
}

impl Target {
    /// An object in a namespace.
    #[must_use]
    pub fn new(kind: &str, name: impl std::fmt::Display, namespace: impl Into<String>) -> Self {
        Self {
            object: format!("{kind}/{name}"),
            namespace: namespace.into(),
            detail: String::new(),
        }
    }

    /// The same with what else matters.
    #[must_use]
    pub fn with(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }
}

impl Actor {
    /// The caller of a call.
    #[must_use]
    pub fn of(who: &Principal) -> Self {
        let source = who.call.source.map(|source| source.to_string());
        Self {
            kind: who.kind.word().to_owned(),
            id: short(&who.id),
            name: short(&who.name),
            method: who.method.word().to_owned(),
            source: source.unwrap_or_default(),
            request_id: who.call.request_id.clone(),
        }
    }

    /// This server itself.
    #[must_use]
    pub fn server() -> Self {
        Self {
            kind: "server".to_owned(),
            id: String::new(),
            name: "server".to_owned(),
            method: "none".to_owned(),
            source: String::new(),
            request_id: String::new(),
        }
    }

    /// That something was done: for [`WriteTx::audit`](edgeio_store::WriteTx::audit) in the transaction of the change.
    #[must_use]
    pub fn did(&self, at: Time, verb: &str, target: Target) -> AuditRecord {
        self.record(at, verb, target, Decision::Allowed)
    }

    /// That something was refused; the target's detail says why.
    #[must_use]
    pub fn was_refused(&self, at: Time, verb: &str, target: Target) -> AuditRecord {
        self.record(at, verb, target, Decision::Denied)
    }

    fn record(&self, at: Time, verb: &str, target: Target, decision: Decision) -> AuditRecord {
        AuditRecord {
            at,
            kind: self.kind.clone(),
            id: self.id.clone(),
            name: self.name.clone(),
            method: self.method.clone(),
            source: self.source.clone(),
            request_id: self.request_id.clone(),
            verb: short(verb),
            object: short(&target.object),
            namespace: short(&target.namespace),
            decision,
            detail: short(&target.detail),
        }
    }
}

fn short(text: &str) -> String {
    let mut end = text.len().min(MOST_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use edgeio_server::auth::{CallInfo, Role};

    use super::*;

    #[test]
    fn an_entry_says_who_from_where_and_to_what() {
        let who = Principal {
            call: CallInfo {
                request_id: "r1".into(),
                source: Some("10.0.0.1:9".parse().unwrap()),
            },
            ..Principal::dev(Role::Admin)
        };
        let target = Target::new("application", "web", "shop").with("version 2");
        let entry = Actor::of(&who).did(Time(5), "Apply", target);
        assert_eq!(
            (
                entry.kind.as_str(),
                entry.name.as_str(),
                entry.source.as_str()
            ),
            ("dev", "dev", "10.0.0.1:9")
        );
        assert_eq!(
            (
                entry.object.as_str(),
                entry.namespace.as_str(),
                entry.decision
            ),
            ("application/web", "shop", Decision::Allowed)
        );
        let long = Target::new("application", "ü".repeat(400), "");
        let entry = Actor::server().was_refused(Time(5), "Get", long);
        assert!(entry.object.len() <= MOST_BYTES && entry.decision == Decision::Denied);
    }
}
