//! What each token allows. Pure: keys, ids and times come in.
//!
//! Invariants, tested over random ids: no token of a user has an empty list of subjects, which a broker takes for all of them;
//! every subject comes from `edgeio_proto::subject`, whose variable parts are UUIDs, so no wildcard of anyone's choosing gets in;
//! a user of one cluster reaches no subject of another. Should a list be empty all the same, the account's own defaults deny.
//! A worker has no right to answer on subjects that others name (`allow_responses`): those escape its list.

use std::collections::BTreeMap;

use edgeio_proto::subject::{
    CLAIMS_UPDATE, Subject, Way, every_answer, every_control, every_report, every_stream,
    every_telemetry, streams_of,
};
use nkeys::{KeyPair, KeyPairType};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    keys::Keys,
    token::{MintError, Validity, sign},
};

/// Subscriptions of one client. A worker has one, a bridge two, and each stream of logs one more.
const SUBSCRIPTIONS: i64 = 16;
/// Most bytes of one message: the bus's own limit.
const PAYLOAD: i64 = 64 * 1024;
/// No limit, in the broker's words.
const UNLIMITED: i64 = -1;

/// Public nkeys, each with the time (in seconds since 1970) up to which what was signed for it is void.
pub type Revocations = BTreeMap<String, i64>;

/// Makes tokens.
#[derive(Debug)]
pub struct Minter {
    keys: Keys,
    cluster: Uuid,
}

/// Subjects that a user may use: never none.
struct Allowed(Vec<String>);

impl Allowed {
    fn new(subjects: Vec<String>) -> Result<Self, MintError> {
        let open = subjects.is_empty()
            || subjects
                .iter()
                .any(|s| s.trim().is_empty() || s == ">" || s == "*");
        if open {
            return Err(MintError::Open);
        }
        Ok(Self(subjects))
    }
}

impl Minter {
    /// A minter for the users of `cluster`.
    #[must_use]
    pub fn new(keys: Keys, cluster: Uuid) -> Self {
        Self { keys, cluster }
    }

    /// The keys.
    #[must_use]
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// What lets the worker with the public nkey `key` use its own subjects, from `issued` until `expires` (seconds since 1970).
    ///
    /// # Errors
    /// The key is none of a user, or cannot sign.
    pub fn worker(
        &self,
        worker: Uuid,
        key: &str,
        issued: i64,
        expires: i64,
    ) -> Result<String, MintError> {
        let cluster = self.cluster;
        let publish = vec![
            Subject::report(cluster, worker).to_string(),
            Subject::telemetry(cluster, worker).to_string(),
            streams_of(cluster, worker, Way::Up),
        ];
        let subscribe = vec![
            Subject::control(cluster, worker).to_string(),
            streams_of(cluster, worker, Way::Down),
            every_answer(worker),
        ];
        let validity = Validity {
            issued,
            expires: Some(expires),
        };
        self.user(
            &format!("worker {worker}"),
            key,
            validity,
            publish,
            subscribe,
        )
    }

    /// What lets a bridge of the cluster carry between it and all workers.
    ///
    /// # Errors
    /// As [`Minter::worker`].
    pub fn bridge(
        &self,
        bridge: Uuid,
        key: &str,
        issued: i64,
        expires: i64,
    ) -> Result<String, MintError> {
        let cluster = self.cluster;
        let publish = vec![every_control(cluster), every_stream(cluster, Way::Down)];
        let subscribe = vec![
            every_report(cluster),
            every_telemetry(cluster),
            every_stream(cluster, Way::Up),
            every_answer(bridge),
        ];
        let validity = Validity {
            issued,
            expires: Some(expires),
        };
        self.user(
            &format!("bridge {bridge}"),
            key,
            validity,
            publish,
            subscribe,
        )
    }

    /// What lets a bridge publish newly signed accounts in the broker's system account, and nothing else.
    ///
    /// # Errors
    /// As [`Minter::worker`].
    pub fn revoker(
        &self,
        bridge: Uuid,
        key: &str,
        issued: i64,
        expires: i64,
    ) -> Result<String, MintError> {
        let nats = user_claims(
            Allowed::new(vec![CLAIMS_UPDATE.to_owned()])?,
            Allowed::new(vec![every_answer(bridge)])?,
            None,
        );
        let validity = Validity {
            issued,
            expires: Some(expires),
        };
        let name = format!("revocations by bridge {bridge}");
        sign(&self.keys.system, user_key(key)?, &name, validity, &nats)
    }

    fn user(
        &self,
        name: &str,
        key: &str,
        validity: Validity,
        publish: Vec<String>,
        subscribe: Vec<String>,
    ) -> Result<String, MintError> {
        let nats = user_claims(
            Allowed::new(publish)?,
            Allowed::new(subscribe)?,
            Some(self.keys.account_key()),
        );
        sign(&self.keys.signing, user_key(key)?, name, validity, &nats)
    }

    /// The operator, for the broker's configuration.
    ///
    /// # Errors
    /// It cannot be signed.
    pub fn operator(&self) -> Result<String, MintError> {
        operator(&self.keys)
    }

    /// The account of workers and bridges, with who is no longer let in. A broker keeps the newest by `issued`.
    ///
    /// # Errors
    /// It cannot be signed.
    pub fn account(&self, issued: i64, revocations: &Revocations) -> Result<String, MintError> {
        // Newer than the one in the written configuration, whose second it may share: on a restart a server keeps the newer.
        account(&self.keys, issued.max(self.keys.made_at + 1), revocations)
    }
}

pub(super) fn operator(keys: &Keys) -> Result<String, MintError> {
    let nats = json!({
        "type": "operator",
        "version": 2,
        "system_account": keys.system_key(),
    });
    let validity = made(keys);
    let subject = keys.operator.public_key();
    sign(&keys.operator, &subject, "edgeio", validity, &nats)
}

pub(super) fn account(
    keys: &Keys,
    issued: i64,
    revocations: &Revocations,
) -> Result<String, MintError> {
    let mut nats = account_claims();
    nats["signing_keys"] = json!([keys.signing.public_key()]);
    if !revocations.is_empty() {
        nats["revocations"] = json!(revocations);
    }
    let validity = Validity {
        issued,
        expires: None,
    };
    sign(
        &keys.operator,
        &keys.account_key(),
        "edgeio",
        validity,
        &nats,
    )
}

pub(super) fn system(keys: &Keys) -> Result<String, MintError> {
    let nats = account_claims();
    sign(
        &keys.operator,
        &keys.system_key(),
        "system",
        made(keys),
        &nats,
    )
}

/// What is signed for the configuration is as old as the keys, so that it never replaces what a broker was told since.
fn made(keys: &Keys) -> Validity {
    Validity {
        issued: keys.made_at,
        expires: None,
    }
}

/// An account: no leaf nodes, nothing shared with other accounts, and users that are given nothing may do nothing.
fn account_claims() -> Value {
    json!({
        "limits": {
            "subs": UNLIMITED, "data": UNLIMITED, "payload": UNLIMITED, "conn": UNLIMITED,
            "imports": 0, "exports": 0, "wildcards": false, "leaf": 0,
        },
        "default_permissions": { "pub": { "deny": [">"] }, "sub": { "deny": [">"] } },
        "type": "account",
        "version": 2,
    })
}

fn user_claims(publish: Allowed, subscribe: Allowed, account: Option<String>) -> Value {
    let mut nats = json!({
        "pub": { "allow": publish.0 },
        "sub": { "allow": subscribe.0 },
        "subs": SUBSCRIPTIONS,
        "data": UNLIMITED,
        "payload": PAYLOAD,
        "allowed_connection_types": ["STANDARD", "WEBSOCKET"],
        "type": "user",
        "version": 2,
    });
    // Signed by the account's signing key instead of its own.
    if let Some(account) = account {
        nats["issuer_account"] = json!(account);
    }
    nats
}

fn user_key(key: &str) -> Result<&str, MintError> {
    match KeyPair::from_public_key(key) {
        Ok(pair) if pair.key_pair_type() == KeyPairType::User => Ok(key),
        Ok(_) | Err(_) => Err(MintError::Key {
            key: key.chars().take(60).collect(),
        }),
    }
}

#[cfg(test)]
mod tests;
