//! Users and what they are bound to.
//!
//! Who may do everything manages all users. Who is admin of a namespace gives and takes roles there, up to its own; it binds a
//! user by name and sees of it only what is bound in its own namespaces.

use edgeio_domain::{name::Name, violation::Violations};
use edgeio_proto::api::v1;
use edgeio_server::auth::{Principal, Role};
use edgeio_store::{Grant, ReadTx, StoreError, User, Write};

use super::{Access, Target, is_admin};
use crate::apps::{
    AppError, RequestKey, access,
    page::{self, Page},
    timestamp,
};

/// A checked role and where it is to hold.
struct Asked {
    grant: Grant,
    user: String,
}

impl Asked {
    fn parse(
        who: &Principal,
        user: String,
        binding: Option<v1::RoleBinding>,
        mut faults: Violations,
    ) -> Result<Self, AppError> {
        let binding = binding.unwrap_or_else(|| {
            faults.add("binding", "is required");
            v1::RoleBinding::default()
        });
        let role = binding.role.parse::<Role>();
        if role.is_err() {
            faults.add(
                "binding.role",
                "must be viewer, deployer, namespace-admin, operator or admin",
            );
        }
        let namespace = match binding.namespace.as_str() {
            "" => None,
            name => faults.check("binding.namespace", Name::new(name)),
        };
        if let (Ok(role), Some(_)) = (&role, &namespace)
            && role.is_global()
        {
            faults.add(
                "binding.namespace",
                format!("must be empty: {role} is a role over all namespaces"),
            );
        }
        let (Ok(role), true) = (role, faults.is_empty()) else {
            return Err(AppError::Invalid(faults.into_vec()));
        };
        match &namespace {
            _ if is_admin(who) => {}
            Some(namespace) => access::within(who, Role::NamespaceAdmin, namespace)?,
            None => {
                let (needed, has) = (Role::Admin, who.role_everywhere());
                return Err(AppError::Role { needed, has });
            }
        }
        let grant = Grant {
            namespace: namespace.map(|name| name.to_string()),
            role: role.to_string(),
        };
        Ok(Self { grant, user })
    }

    fn target(&self) -> Target {
        let namespace = self.grant.namespace.clone().unwrap_or_default();
        Target::new("user", &self.user, namespace).with(self.grant.role.clone())
    }
}

fn is_admin_grant(grant: &Grant) -> bool {
    grant.namespace.is_none() && grant.role == Role::Admin.to_string()
}

fn may_do_everything(user: &User) -> bool {
    user.grants.iter().any(is_admin_grant)
}

/// A user as the caller may see it: all, or what is bound in its own namespaces.
fn show(user: &User, who: &Principal) -> v1::User {
    let seen = |grant: &&Grant| {
        let namespace = grant.namespace.as_deref();
        is_admin(who) || namespace.is_some_and(|one| who.role_in(one) >= Some(Role::NamespaceAdmin))
    };
    let bindings = user.grants.iter().filter(seen);
    v1::User {
        name: user.name.clone(),
        id: user.id.to_string(),
        bindings: bindings
            .map(|grant| v1::RoleBinding {
                namespace: grant.namespace.clone().unwrap_or_default(),
                role: grant.role.clone(),
            })
            .collect(),
        created_at: Some(timestamp(user.created_at)),
    }
}

impl Access {
    /// A user by name.
    pub(super) async fn named_user(&self, tx: &dyn ReadTx, name: &str) -> Result<User, AppError> {
        let users = tx.users().await?;
        let named = users.into_iter().find(|user| user.name == name);
        named.ok_or_else(|| AppError::not_found("user", name))
    }

    /// Makes a user.
    ///
    /// # Errors
    /// The name is taken or none, or the caller may not.
    pub async fn create_user(
        &self,
        who: &Principal,
        mut request: v1::CreateUserRequest,
    ) -> Result<v1::CreateUserResponse, AppError> {
        let mut faults = Violations::default();
        let id = std::mem::take(&mut request.request_id);
        let key = RequestKey::new(who, "CreateUser", id, &request, &mut faults);
        let name = faults.check("name", Name::new(&request.name));
        let (Some(name), true) = (name, faults.is_empty()) else {
            return Err(AppError::Invalid(faults.into_vec()));
        };
        access::role(who, Role::Admin)?;
        let mut tx = self.store.write().await?;
        if let Some(answer) = key.replay(&*tx).await? {
            return Ok(answer);
        }
        if tx
            .users()
            .await?
            .iter()
            .any(|user| user.name == name.as_str())
        {
            let what = format!("user {name}");
            return Err(StoreError::Exists { what }.into());
        }
        let now = self.clock.wall();
        let user = User {
            id: self.ids.next(),
            name: name.to_string(),
            grants: Vec::new(),
            created_at: now,
        };
        tx.stage(Write::PutUser(user.clone()));
        let answer = v1::CreateUserResponse {
            user: Some(show(&user, who)),
        };
        let target = Target::new("user", &name, "");
        key.commit(&*self.store, tx, target, &answer, now).await?;
        tracing::info!(user = %name, by = %who.name, "user made");
        Ok(answer)
    }

    /// Lists users that the caller may see.
    ///
    /// # Errors
    /// The token is none, or the store failed.
    pub async fn list_users(
        &self,
        who: &Principal,
        request: v1::ListUsersRequest,
    ) -> Result<v1::ListUsersResponse, AppError> {
        access::role(who, Role::NamespaceAdmin)?;
        let mut faults = Violations::default();
        let size = page::size(request.page_size, &mut faults);
        if !faults.is_empty() {
            return Err(AppError::Invalid(faults.into_vec()));
        }
        let after = (!request.page_token.is_empty())
            .then(|| page::unseal::<2>("page_token", "u", &request.page_token))
            .transpose()?;
        let tx = self.store.read().await?;
        let mut users = tx.users().await?;
        users.sort_by(|a, b| a.name.cmp(&b.name));
        let mut page = Page::new(size);
        for user in &users {
            let shown = show(user, who);
            let seen = is_admin(who) || !shown.bindings.is_empty();
            if !seen || after.as_ref().is_some_and(|[_, after]| user.name <= *after) {
                continue;
            }
            if !page.push(shown, || page::seal(&["u", &user.name])) {
                let (users, next_page_token) = page.more();
                return Ok(v1::ListUsersResponse {
                    users,
                    next_page_token,
                });
            }
        }
        let (users, next_page_token) = page.end();
        Ok(v1::ListUsersResponse {
            users,
            next_page_token,
        })
    }

    /// Removes a user with its tokens.
    ///
    /// # Errors
    /// There is none, it is the last that may do everything, or the caller may not.
    pub async fn delete_user(
        &self,
        who: &Principal,
        mut request: v1::DeleteUserRequest,
    ) -> Result<v1::DeleteUserResponse, AppError> {
        access::role(who, Role::Admin)?;
        let mut faults = Violations::default();
        let id = std::mem::take(&mut request.request_id);
        let key = RequestKey::new(who, "DeleteUser", id, &request, &mut faults);
        if !faults.is_empty() {
            return Err(AppError::Invalid(faults.into_vec()));
        }
        let mut tx = self.store.write().await?;
        if let Some(answer) = key.replay(&*tx).await? {
            return Ok(answer);
        }
        let user = self.named_user(&*tx, &request.name).await?;
        if may_do_everything(&user) {
            self.another_admin(&*tx, &user).await?;
        }
        for token in tx.user_tokens(Some(user.id)).await? {
            tx.stage(Write::DeleteUserToken(token.id));
        }
        tx.stage(Write::DeleteUser(user.id));
        let answer = v1::DeleteUserResponse {};
        let target = Target::new("user", &user.name, "").with(user.id.to_string());
        let now = self.clock.wall();
        key.commit(&*self.store, tx, target, &answer, now).await?;
        tracing::info!(user = %user.name, by = %who.name, "user removed");
        Ok(answer)
    }

    async fn another_admin(&self, tx: &dyn ReadTx, user: &User) -> Result<(), AppError> {
        let users = tx.users().await?;
        let mut others = users.iter().filter(|other| other.id != user.id);
        if others.any(may_do_everything) {
            Ok(())
        } else {
            Err(AppError::LastAdmin(user.name.clone()))
        }
    }

    /// Gives a user a role. Twice is once.
    ///
    /// # Errors
    /// There is no such user or namespace, or the caller may not.
    pub async fn bind(
        &self,
        who: &Principal,
        mut request: v1::BindRequest,
    ) -> Result<v1::BindResponse, AppError> {
        let mut faults = Violations::default();
        let id = std::mem::take(&mut request.request_id);
        let key = RequestKey::new(who, "Bind", id, &request, &mut faults);
        let asked = Asked::parse(who, request.user, request.binding, faults)?;
        let mut tx = self.store.write().await?;
        if let Some(answer) = key.replay(&*tx).await? {
            return Ok(answer);
        }
        if let Some(namespace) = &asked.grant.namespace
            && tx.namespace(namespace).await?.is_none()
        {
            return Err(AppError::not_found("namespace", namespace));
        }
        let mut user = self.named_user(&*tx, &asked.user).await?;
        if !user.grants.contains(&asked.grant) {
            user.grants.push(asked.grant.clone());
            user.grants.sort();
            tx.stage(Write::PutUser(user.clone()));
        }
        let answer = v1::BindResponse {
            user: Some(show(&user, who)),
        };
        let now = self.clock.wall();
        key.commit(&*self.store, tx, asked.target(), &answer, now)
            .await?;
        Ok(answer)
    }

    /// Takes a role from a user.
    ///
    /// # Errors
    /// There is no such user, it has not that role, it is the last that may do everything, or the caller may not.
    pub async fn unbind(
        &self,
        who: &Principal,
        mut request: v1::UnbindRequest,
    ) -> Result<v1::UnbindResponse, AppError> {
        let mut faults = Violations::default();
        let id = std::mem::take(&mut request.request_id);
        let key = RequestKey::new(who, "Unbind", id, &request, &mut faults);
        let asked = Asked::parse(who, request.user, request.binding, faults)?;
        let mut tx = self.store.write().await?;
        if let Some(answer) = key.replay(&*tx).await? {
            return Ok(answer);
        }
        let mut user = self.named_user(&*tx, &asked.user).await?;
        let before = user.grants.len();
        user.grants.retain(|grant| *grant != asked.grant);
        if user.grants.len() == before {
            return Err(AppError::not_found("binding", &asked.grant.role));
        }
        if is_admin_grant(&asked.grant) {
            self.another_admin(&*tx, &user).await?;
        }
        tx.stage(Write::PutUser(user.clone()));
        let answer = v1::UnbindResponse {
            user: Some(show(&user, who)),
        };
        let now = self.clock.wall();
        key.commit(&*self.store, tx, asked.target(), &answer, now)
            .await?;
        Ok(answer)
    }
}
