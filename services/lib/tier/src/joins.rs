//! Join tokens: making, listing and revoking them, and taking one when a machine joins.
//!
//! A token is looked at in the transaction that records who joins, and its use is one conditional statement of that commit. What
//! is wrong with it is told only to who has its secret; without it a token is not known. Deliberately absent: which calls
//! may go without a token, which is decided where machines register.

use std::{sync::Arc, time::Duration};

use data_encoding::HEXLOWER;
use edgeio_domain::{
    time::{Clock, Time},
    violation::Violations,
};
use edgeio_proto::{
    api::v1::{self, CreateJoinTokenRequest},
    join::{JoinText, NoJoinToken},
};
use edgeio_server::{
    auth::{Principal, Role},
    status::{Classify, Kind},
    tls::Tls,
};
use edgeio_store::{JoinKind, JoinToken, ReadTx, Store, StoreError, Write, WriteTx};
use rand::RngCore as _;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::{
    access::{Actor, Target},
    apps::{AppError, require, timestamp},
    context::Context,
};

/// How long a token lasts if nothing else is asked for: long enough to walk to a machine.
const LIFETIME: Duration = Duration::from_secs(3600);
/// The longest: a token that lies about for longer is found by somebody else.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);
/// Most uses of one token: a site's machines, not everybody's.
const MOST_USES: u32 = 100_000;
/// Longest pattern of names.
const LONGEST_NAMES: usize = 128;

/// What is wrong with a join token.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// There is none where one is needed.
    #[error(
        "this {0} is not known here and needs a join token: make one by `edgeio token create --kind {0}` and start the {0} with \
         it (`join_token_file`)"
    )]
    Needed(&'static str),
    /// It is none.
    #[error(transparent)]
    Form(#[from] NoJoinToken),
    /// There is none like it.
    #[error(
        "the join token is not known here: it may be another server's, or have ended long ago; make a new one"
    )]
    Unknown,
    /// Its time is over.
    #[error(
        "join token {0} has expired: make a new one, with a longer --for if it takes that long"
    )]
    Expired(String),
    /// Somebody revoked it.
    #[error("join token {0} was revoked: make a new one if this machine shall join")]
    Revoked(String),
    /// It has no use left.
    #[error(
        "join token {id} was made for {most} and they have joined: make another one, or one with more --uses"
    )]
    UsedUp {
        /// The token.
        id: String,
        /// How many it was for.
        most: u32,
    },
    /// Somebody else took its last use while it was looked at.
    #[error("join token {0} was used up just now: make another one, or one with more --uses")]
    Spent(String),
    /// It is for other machines.
    #[error("join token {id} is for a {is}, not for a {wanted}: make one with --kind {wanted}")]
    Kind {
        /// The token.
        id: String,
        /// What it is for.
        is: &'static str,
        /// What wants to join.
        wanted: &'static str,
    },
    /// It is for other names.
    #[error(
        "join token {id} is for names like `{names}`, not for `{name}`: give the machine such a name, or make another token"
    )]
    Name {
        /// The token.
        id: String,
        /// Its names.
        names: String,
        /// The machine's.
        name: String,
    },
}

impl Classify for JoinError {
    fn kind(&self) -> Kind {
        match self {
            Self::Form(_) => Kind::InvalidInput,
            _ => Kind::Forbidden,
        }
    }
    fn reason(&self) -> &'static str {
        match self {
            Self::Needed(_) => "JOIN_TOKEN_NEEDED",
            Self::Form(_) => "JOIN_TOKEN_FORM",
            Self::Unknown => "JOIN_TOKEN_UNKNOWN",
            Self::Expired(_) => "JOIN_TOKEN_EXPIRED",
            Self::Revoked(_) => "JOIN_TOKEN_REVOKED",
            Self::UsedUp { .. } | Self::Spent(_) => "JOIN_TOKEN_USED_UP",
            Self::Kind { .. } => "JOIN_TOKEN_KIND",
            Self::Name { .. } => "JOIN_TOKEN_NAME",
        }
    }
}

/// Why a machine did not get in by a token.
#[derive(Debug, thiserror::Error)]
pub enum RedeemError {
    /// The token is not good.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Looks at a token and stages its use; answers its id. The commit fails with [`StoreError::Spent`] if somebody else was
/// faster.
///
/// # Errors
/// What is wrong with the token, or the store failed.
pub async fn redeem(
    tx: &mut dyn WriteTx,
    text: &str,
    kind: JoinKind,
    name: &str,
    now: Time,
) -> Result<String, RedeemError> {
    if text.is_empty() {
        return Err(JoinError::Needed(kind.word()).into());
    }
    let text: JoinText = text.parse().map_err(JoinError::Form)?;
    let known = tx.join_token(&text.id).await?;
    check(known.as_ref(), &text, kind, name, now)?;
    tx.stage(Write::UseJoinToken {
        id: text.id.clone(),
        now,
    });
    Ok(text.id)
}

/// Whether the token lets such a machine in.
fn check(
    known: Option<&JoinToken>,
    text: &JoinText,
    kind: JoinKind,
    name: &str,
    now: Time,
) -> Result<(), JoinError> {
    let hash: [u8; 32] = Sha256::digest(text.secret).into();
    // Compared also when there is none, so that the time tells nothing.
    let recorded = known.map_or([0; 32], |token| token.secret_hash);
    let same = bool::from(recorded.ct_eq(&hash));
    let Some(token) = known.filter(|_| same) else {
        return Err(JoinError::Unknown);
    };
    let id = token.id.clone();
    if token.revoked_at.is_some() {
        return Err(JoinError::Revoked(id));
    }
    if token.expires_at <= now {
        return Err(JoinError::Expired(id));
    }
    if token.kind != kind {
        return Err(JoinError::Kind {
            id,
            is: token.kind.word(),
            wanted: kind.word(),
        });
    }
    if !matches(&token.names, name) {
        return Err(JoinError::Name {
            id,
            names: token.names.clone(),
            name: name.to_owned(),
        });
    }
    if token.uses >= token.max_uses {
        return Err(JoinError::UsedUp {
            id,
            most: token.max_uses,
        });
    }
    Ok(())
}

/// Whether a name is like the pattern: `*` stands for any letters, and the empty pattern for any name.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    if pattern.is_empty() {
        return true;
    }
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    for part in parts {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// The join tokens of a tier, for people. Cheap to clone.
#[derive(Clone)]
pub struct Joins {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    kinds: &'static [JoinKind],
    /// Knows the hash of the certificate that joining machines shall trust; it changes when authorities do.
    tls: Option<Tls>,
}

impl Joins {
    /// Of a tier whom such machines join; the first kind is meant when none is said.
    #[must_use]
    pub fn new(context: &Context, kinds: &'static [JoinKind], tls: Option<Tls>) -> Self {
        Self {
            store: Arc::clone(&context.store),
            clock: Arc::clone(&context.clock),
            kinds,
            tls,
        }
    }

    /// Makes a token; answers it with what is recorded.
    ///
    /// # Errors
    /// What is wrong with the request, or the caller's role is too low.
    pub async fn create(
        &self,
        who: &Principal,
        request: &CreateJoinTokenRequest,
    ) -> Result<(String, JoinToken), AppError> {
        require(who, Role::Operator)?;
        let now = self.clock.wall();
        let mut token = self.wanted(request, now)?;
        let mut random = [0; 40];
        rand::rng().fill_bytes(&mut random);
        let (id, secret) = random.split_at(8);
        let text = JoinText {
            ca: self.ca(),
            id: id.iter().map(|byte| format!("{byte:02x}")).collect(),
            secret: secret.try_into().unwrap_or([0; 32]),
        };
        token.id.clone_from(&text.id);
        token.secret_hash = Sha256::digest(text.secret).into();
        token.creator.clone_from(&who.name);
        let mut tx = self.store.write().await?;
        tx.stage(Write::PutJoinToken(token.clone()));
        let detail = format!(
            "for {} {} named `{}`",
            token.max_uses,
            token.kind.word(),
            token.names
        );
        let target = Target::new("join-token", &token.id, "").with(detail);
        tx.audit(Actor::of(who).did(now, "CreateJoinToken", target));
        tx.commit().await?;
        tracing::info!(
            token = token.id,
            kind = token.kind.word(),
            "join token made"
        );
        Ok((text.reveal(), token))
    }

    fn ca(&self) -> Option<[u8; 32]> {
        let hash = self.tls.as_ref()?.ca_hash()?;
        HEXLOWER.decode(hash.as_bytes()).ok()?.try_into().ok()
    }

    fn wanted(&self, request: &CreateJoinTokenRequest, now: Time) -> Result<JoinToken, AppError> {
        let mut faults = Violations::default();
        let words: Vec<&str> = self.kinds.iter().map(|kind| kind.word()).collect();
        let kind = match request.kind.as_str() {
            "" => self.kinds.first().copied(),
            word => JoinKind::parse(word).filter(|kind| self.kinds.contains(kind)),
        };
        if kind.is_none() {
            let text = format!("no such machine joins here: write {}", words.join(" or "));
            faults.add("kind", text);
        }
        let names = &request.names;
        let plain = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'*'
        };
        if names.len() > LONGEST_NAMES || !names.bytes().all(plain) {
            let text = "is no pattern of names: write lower-case letters, digits, `-`, and `*` for any letters";
            faults.add("names", text);
        }
        let max_uses = request.max_uses.max(1);
        if max_uses > MOST_USES {
            faults.add(
                "max_uses",
                format!("is more than {MOST_USES}: make several tokens"),
            );
        }
        let life = match request.lifetime_ms {
            0 => LIFETIME,
            millis => Duration::from_millis(millis),
        };
        if life > LONGEST {
            faults.add("lifetime_ms", "is longer than 30 days".to_owned());
        }
        match kind {
            Some(kind) if faults.is_empty() => Ok(JoinToken {
                id: String::new(),
                secret_hash: [0; 32],
                kind,
                names: names.clone(),
                max_uses,
                uses: 0,
                creator: String::new(),
                created_at: now,
                expires_at: now + life,
                revoked_at: None,
            }),
            Some(_) | None => Err(AppError::Invalid(faults.into_vec())),
        }
    }

    /// All tokens that are recorded, newest first.
    ///
    /// # Errors
    /// The caller's role is too low, or the store failed.
    pub async fn list(&self, who: &Principal) -> Result<Vec<JoinToken>, AppError> {
        require(who, Role::Operator)?;
        let tx = self.store.read().await?;
        let mut tokens = tx.join_tokens().await?;
        tokens.sort_by(|a, b| (b.created_at, &b.id).cmp(&(a.created_at, &a.id)));
        Ok(tokens)
    }

    /// Revokes a token.
    ///
    /// # Errors
    /// There is none, or the caller's role is too low.
    pub async fn revoke(&self, who: &Principal, id: &str) -> Result<JoinToken, AppError> {
        require(who, Role::Operator)?;
        let now = self.clock.wall();
        let mut tx = self.store.write().await?;
        let Some(mut token) = known(&*tx, id).await? else {
            return Err(AppError::not_found("join token", id));
        };
        if token.revoked_at.is_none() {
            token.revoked_at = Some(now);
            tx.stage(Write::RevokeJoinToken {
                id: id.to_owned(),
                at: now,
            });
            let target = Target::new("join-token", id, "");
            tx.audit(Actor::of(who).did(now, "RevokeJoinToken", target));
            tx.commit().await?;
            tracing::info!(token = id, "join token revoked");
        }
        Ok(token)
    }
}

async fn known(tx: &dyn ReadTx, id: &str) -> Result<Option<JoinToken>, StoreError> {
    if id.is_empty() {
        return Ok(None);
    }
    tx.join_token(id).await
}

/// A token as people see it.
#[must_use]
pub fn shown(token: &JoinToken) -> v1::JoinToken {
    v1::JoinToken {
        id: token.id.clone(),
        kind: token.kind.word().to_owned(),
        names: token.names.clone(),
        max_uses: token.max_uses,
        uses: token.uses,
        created_at: Some(timestamp(token.created_at)),
        expires_at: Some(timestamp(token.expires_at)),
        revoked_at: token.revoked_at.map(timestamp),
        creator: token.creator.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_matched_whole() {
        for (pattern, name, fits) in [
            ("", "anything", true),
            ("a1", "a1", true),
            ("a1", "a12", false),
            ("site-*", "site-7", true),
            ("site-*", "site-", true),
            ("site-*", "my-site-7", false),
            ("*-7", "site-7", true),
            ("*-7", "site-71", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "ac", false),
            ("a*a", "a", false),
            ("*", "x", true),
            ("**", "", true),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }

    fn token() -> (JoinToken, JoinText) {
        let text = JoinText {
            ca: None,
            id: "abc".to_owned(),
            secret: [7; 32],
        };
        let token = JoinToken {
            id: "abc".to_owned(),
            secret_hash: Sha256::digest([7; 32]).into(),
            kind: JoinKind::Worker,
            names: "site-*".to_owned(),
            max_uses: 2,
            uses: 1,
            creator: String::new(),
            created_at: Time(0),
            expires_at: Time(100),
            revoked_at: None,
        };
        (token, text)
    }

    #[test]
    fn each_fault_has_a_reason_and_a_remedy_of_its_own() {
        let (good, text) = token();
        let ask = |token: &JoinToken, text: &JoinText, kind, name: &str, now| {
            let answer = check(Some(token), text, kind, name, Time(now));
            answer.map_err(|error| (error.reason(), error.to_string()))
        };
        let worker = JoinKind::Worker;
        assert_eq!(ask(&good, &text, worker, "site-7", 99), Ok(()));
        let revoked = JoinToken {
            revoked_at: Some(Time(1)),
            ..good.clone()
        };
        let used = JoinToken {
            uses: 2,
            ..good.clone()
        };
        let mut reasons = Vec::new();
        for answer in [
            ask(&good, &text, worker, "site-7", 100),
            ask(&revoked, &text, worker, "site-7", 99),
            ask(&used, &text, worker, "site-7", 99),
            ask(&good, &text, JoinKind::Bridge, "site-7", 99),
            ask(&good, &text, worker, "other", 99),
        ] {
            let (reason, message) = answer.unwrap_err();
            assert!(
                message.contains("make") && message.contains("abc"),
                "{message}"
            );
            reasons.push(reason);
        }
        reasons.sort_unstable();
        reasons.dedup();
        assert_eq!(reasons.len(), 5, "{reasons:?}");
    }

    #[test]
    fn who_has_not_the_secret_learns_nothing() {
        let (good, text) = token();
        let other = JoinText {
            secret: [8; 32],
            ..text
        };
        let expired = check(Some(&good), &other, JoinKind::Bridge, "x", Time(500));
        assert!(matches!(expired, Err(JoinError::Unknown)));
        let none = check(None, &other, JoinKind::Bridge, "x", Time(500));
        assert!(matches!(none, Err(JoinError::Unknown)));
        // The hash of nothing recorded is no door.
        let zero = JoinToken {
            secret_hash: [0; 32],
            ..good
        };
        let answer = check(Some(&zero), &other, JoinKind::Worker, "site-1", Time(5));
        assert!(matches!(answer, Err(JoinError::Unknown)));
    }
}
