//! Users' tokens: who has which, and who may have one made, listed or revoked.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use edgeio_domain::{
    time::{Clock, Time},
    violation::Violations,
};
use edgeio_proto::api::v1;
use edgeio_server::auth::{
    AuthError, Authenticate, Binding, CallInfo, Method, Peer, Principal, PrincipalKind, Role,
    bearer,
};
use edgeio_store::{Grant, Store, StoreError, UserToken, Write};
use tonic::metadata::MetadataMap;

use super::{
    Access, Actor, Target, is_admin,
    secret::{Fresh, PREFIX, Shown},
};
use crate::{
    apps::{AppError, access, timestamp},
    context::Context,
};

/// How long a token is good unless its maker says otherwise: long enough for a person's month, short enough that a forgotten
/// one dies.
const LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);
/// The longest: whoever wants more has forgotten that somebody must renew it.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);
/// How exact the time of the last use is: not every call should write.
const USED_AFTER: i64 = 60_000;
/// Longest note.
const NOTE: usize = 100;

/// Knows users by the tokens of this server.
pub struct UserTokens {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
}

impl UserTokens {
    /// Those in the tier's database.
    #[must_use]
    pub fn new(context: &Context) -> Self {
        Self {
            store: Arc::clone(&context.store),
            clock: Arc::clone(&context.clock),
        }
    }

    async fn find(&self, shown: &Shown<'_>) -> Result<Principal, AuthError> {
        let away = |error: StoreError| AuthError::Unavailable(Box::new(error));
        let tx = self.store.read().await.map_err(away)?;
        let wrong = |why: &str| AuthError::Invalid(why.to_owned());
        let token = tx.user_token(shown.id).await.map_err(away)?;
        // One sentence for both: who guesses learns nothing of ids.
        let token = token
            .filter(|token| shown.is(&token.secret_hash))
            .ok_or_else(|| wrong("this server has made no such token, or it was removed"))?;
        let now = self.clock.wall();
        if token.revoked_at.is_some() {
            return Err(wrong("the token was revoked"));
        }
        if token.expires_at.is_some_and(|until| until <= now) {
            return Err(wrong("the token has expired: ask for a new one"));
        }
        let user = tx.user(token.user).await.map_err(away)?;
        let user = user.ok_or_else(|| wrong("its user was removed"))?;
        drop(tx);
        let last = token.last_used_at.map_or(i64::MIN, |at| at.0);
        if now.0.saturating_sub(last) >= USED_AFTER {
            tokio::spawn(used(Arc::clone(&self.store), token.id, now));
        }
        Ok(Principal {
            id: user.id.to_string(),
            name: user.name,
            kind: PrincipalKind::User,
            bindings: bindings(&user.grants),
            method: Method::Token,
            call: CallInfo::default(),
        })
    }
}

/// Remembers that a token was used. It is a help for people, so a failure changes nothing.
async fn used(store: Arc<dyn Store>, id: String, now: Time) {
    let written = async {
        let mut tx = store.write().await?;
        if let Some(mut token) = tx.user_token(&id).await? {
            token.last_used_at = Some(now);
            tx.stage(Write::PutUserToken(token));
        }
        tx.commit().await
    };
    if let Err(error) = written.await {
        tracing::debug!(%error, "remembering the use of a token failed");
    }
}

/// What grants allow. A role of a newer version is none here.
pub(crate) fn bindings(grants: &[Grant]) -> Vec<Binding> {
    let of = |grant: &Grant| {
        let role = grant.role.parse().ok()?;
        let namespace = grant.namespace.clone();
        Some(Binding { namespace, role })
    };
    grants.iter().filter_map(of).collect()
}

#[async_trait]
impl Authenticate for UserTokens {
    async fn authenticate(
        &self,
        metadata: &MetadataMap,
        _: &Peer,
    ) -> Result<Option<Principal>, AuthError> {
        let Some(token) = bearer(metadata).filter(|token| token.starts_with(PREFIX)) else {
            return Ok(None);
        };
        let shown = Shown::parse(token)
            .ok_or_else(|| AuthError::Invalid("it is cut or has more than a token".to_owned()))?;
        self.find(&shown).await.map(Some)
    }
}

fn show(token: &UserToken, user: &str) -> v1::UserToken {
    v1::UserToken {
        id: token.id.clone(),
        user: user.to_owned(),
        note: token.note.clone(),
        created_at: Some(timestamp(token.created_at)),
        expires_at: token.expires_at.map(timestamp),
        revoked_at: token.revoked_at.map(timestamp),
        last_used_at: token.last_used_at.map(timestamp),
    }
}

impl Access {
    /// Makes a token. The answer is the only place where its secret ever is.
    ///
    /// # Errors
    /// There is no such user, a field is wrong, or the caller may not.
    pub async fn create_user_token(
        &self,
        who: &Principal,
        request: v1::CreateUserTokenRequest,
    ) -> Result<v1::CreateUserTokenResponse, AppError> {
        access::role(who, Role::Admin)?;
        let mut faults = Violations::default();
        if request.note.len() > NOTE {
            faults.add("note", format!("is longer than {NOTE} bytes"));
        }
        let lifetime = match request.lifetime_seconds {
            0 => LIFETIME,
            seconds => Duration::from_secs(seconds),
        };
        if lifetime > LONGEST {
            faults.add(
                "lifetime_seconds",
                format!(
                    "must be from 1 to {} (366 days), or 0 for 30 days",
                    LONGEST.as_secs()
                ),
            );
        }
        if !faults.is_empty() {
            return Err(AppError::Invalid(faults.into_vec()));
        }
        let mut tx = self.store.write().await?;
        let user = self.named_user(&*tx, &request.user).await?;
        let fresh = Fresh::new().map_err(|error| AppError::NoRandom(error.to_string()))?;
        let now = self.clock.wall();
        let millis = i64::try_from(lifetime.as_millis()).unwrap_or(i64::MAX);
        let token = UserToken {
            id: fresh.id,
            user: user.id,
            note: request.note,
            secret_hash: fresh.hash,
            created_at: now,
            expires_at: Some(Time(now.0.saturating_add(millis))),
            revoked_at: None,
            last_used_at: None,
        };
        let target = Target::new("user", &user.name, "").with(format!("token {}", token.id));
        tx.audit(Actor::of(who).did(now, "CreateUserToken", target));
        tx.stage(Write::PutUserToken(token.clone()));
        tx.commit().await?;
        tracing::info!(user = %user.name, token = %token.id, by = %who.name, "token made");
        Ok(v1::CreateUserTokenResponse {
            token: Some(show(&token, &user.name)),
            secret: fresh.token,
        })
    }

    /// Lists tokens: one's own, or anybody's for who may do everything.
    ///
    /// # Errors
    /// There is no such user, or it is not the caller's to see.
    pub async fn list_user_tokens(
        &self,
        who: &Principal,
        request: v1::ListUserTokensRequest,
    ) -> Result<v1::ListUserTokensResponse, AppError> {
        let tx = self.store.read().await?;
        let users = tx.users().await?;
        let wanted = match request.user.as_str() {
            "" if is_admin(who) => None,
            "" => Some(users.iter().find(|user| is_own(who, user.id.to_string()))),
            name => {
                let named = users.iter().find(|user| user.name == name);
                let seen = named.filter(|user| is_admin(who) || is_own(who, user.id.to_string()));
                Some(Some(seen.ok_or_else(|| AppError::not_found("user", name))?))
            }
        };
        let tokens = match wanted {
            None => tx.user_tokens(None).await?,
            Some(Some(user)) => tx.user_tokens(Some(user.id)).await?,
            // Whoever is no user here has no tokens here.
            Some(None) => Vec::new(),
        };
        let name = |token: &UserToken| {
            let user = users.iter().find(|user| user.id == token.user);
            user.map_or("", |user| user.name.as_str())
        };
        let mut tokens = tokens;
        tokens.sort_by_key(|token| token.created_at);
        Ok(v1::ListUserTokensResponse {
            tokens: tokens
                .iter()
                .map(|token| show(token, name(token)))
                .collect(),
        })
    }

    /// Revokes a token: one's own, or anybody's for who may do everything. Twice is once.
    ///
    /// # Errors
    /// There is none that the caller may know of.
    pub async fn revoke_user_token(
        &self,
        who: &Principal,
        request: v1::RevokeUserTokenRequest,
    ) -> Result<v1::RevokeUserTokenResponse, AppError> {
        let mut tx = self.store.write().await?;
        let token = tx.user_token(&request.id).await?;
        let mut token = token
            .filter(|token| is_admin(who) || is_own(who, token.user.to_string()))
            .ok_or_else(|| AppError::not_found("token", &request.id))?;
        let user = tx.user(token.user).await?;
        let user = user.map_or_else(String::new, |user| user.name);
        if token.revoked_at.is_none() {
            let now = self.clock.wall();
            token.revoked_at = Some(now);
            let target = Target::new("user", &user, "").with(format!("token {}", token.id));
            tx.audit(Actor::of(who).did(now, "RevokeUserToken", target));
            tx.stage(Write::PutUserToken(token.clone()));
            tx.commit().await?;
            tracing::info!(%user, token = %token.id, by = %who.name, "token revoked");
        }
        Ok(v1::RevokeUserTokenResponse {
            token: Some(show(&token, &user)),
        })
    }
}

fn is_own(who: &Principal, user: String) -> bool {
    who.kind == PrincipalKind::User && who.method == Method::Token && who.id == user
}
