//! Namespaces: making, listing, removing, and the most that each may ask for.
//!
//! `default` is always there. Another one is made by an operator, or by the first application that an operator applies into
//! it: whoever may make it anyway need not do it twice. Everybody else is told that it is not there.

use edgeio_domain::{name::Name, quantity, time::Time, violation::Violations};
use edgeio_proto::api::v1;
use edgeio_server::auth::{Principal, Role};
use edgeio_store::{
    ApplicationFilter, DEFAULT_NAMESPACE, Namespace, Quota, ReadTx, SlotFilter, StoreError, Write,
};

use super::{Access, Target, quota};
use crate::apps::{
    AppError, RequestKey, access,
    page::{self, Page},
    timestamp,
};

fn read_quota(quota: Option<v1::Quota>, faults: &mut Violations) -> Quota {
    let quota = quota.unwrap_or_default();
    let mut amount = |path: &str, text: Option<String>, read: fn(&str) -> Option<i64>| {
        let text = text?;
        let amount = read(&text).and_then(|amount| u64::try_from(amount).ok());
        if amount.is_none() {
            faults.add(path, "is no amount: write such as `8`, `500m` or `16Gi`");
        }
        amount
    };
    Quota {
        cpu_millis: amount("quota.cpu", quota.cpu, |text| {
            quantity::cpu_millis(text).ok()
        }),
        memory_bytes: amount("quota.memory", quota.memory, |text| {
            quantity::bytes(text).ok()
        }),
        instances: quota.instances.map(u64::from),
        applications: quota.applications.map(u64::from),
    }
}

fn show_quota(quota: &Quota) -> v1::Quota {
    let small = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    v1::Quota {
        cpu: quota.cpu_millis.map(quota::cpu_text),
        memory: quota.memory_bytes.map(quota::memory_text),
        instances: quota.instances.map(small),
        applications: quota.applications.map(small),
    }
}

fn show(namespace: &Namespace, used: quota::Used) -> v1::Namespace {
    v1::Namespace {
        name: namespace.name.to_string(),
        quota: Some(show_quota(&namespace.quota)),
        used: Some(used.show()),
        created_at: Some(timestamp(namespace.created_at)),
    }
}

/// A new namespace without limits.
pub(crate) fn fresh(name: &Name, now: Time) -> Namespace {
    Namespace {
        name: name.clone(),
        quota: Quota::default(),
        created_at: now,
    }
}

impl Access {
    /// Makes a namespace.
    ///
    /// # Errors
    /// The name is taken or none, or the caller may not.
    pub async fn create_namespace(
        &self,
        who: &Principal,
        mut request: v1::CreateNamespaceRequest,
    ) -> Result<v1::CreateNamespaceResponse, AppError> {
        let mut faults = Violations::default();
        let id = std::mem::take(&mut request.request_id);
        let key = RequestKey::new(who, "CreateNamespace", id, &request, &mut faults);
        let name = faults.check("name", Name::new(&request.name));
        let quota = read_quota(request.quota, &mut faults);
        let (Some(name), true) = (name, faults.is_empty()) else {
            return Err(AppError::Invalid(faults.into_vec()));
        };
        access::role(who, Role::Operator)?;
        let mut tx = self.store.write().await?;
        if let Some(answer) = key.replay(&*tx).await? {
            return Ok(answer);
        }
        if tx.namespace(name.as_str()).await?.is_some() {
            let what = format!("namespace {name}");
            return Err(StoreError::Exists { what }.into());
        }
        let now = self.clock.wall();
        let namespace = Namespace {
            quota,
            ..fresh(&name, now)
        };
        tx.stage(Write::PutNamespace(namespace.clone()));
        let used = self.used(&*tx, name.as_str()).await?;
        let answer = v1::CreateNamespaceResponse {
            namespace: Some(show(&namespace, used)),
        };
        let target = Target::new("namespace", &name, name.as_str());
        key.commit(&*self.store, tx, target, &answer, now).await?;
        Ok(answer)
    }

    async fn used(&self, tx: &dyn ReadTx, name: &str) -> Result<quota::Used, StoreError> {
        let mut used = quota::used(tx, self.own, Some(name)).await?;
        Ok(used.remove(name).unwrap_or_default())
    }

    /// Lists the caller's namespaces.
    ///
    /// # Errors
    /// The token is none, or the store failed.
    pub async fn list_namespaces(
        &self,
        who: &Principal,
        request: v1::ListNamespacesRequest,
    ) -> Result<v1::ListNamespacesResponse, AppError> {
        let seen = access::listed(who, None)?;
        let mut faults = Violations::default();
        let size = page::size(request.page_size, &mut faults);
        if !faults.is_empty() {
            return Err(AppError::Invalid(faults.into_vec()));
        }
        let after = (!request.page_token.is_empty())
            .then(|| page::unseal::<2>("page_token", "n", &request.page_token))
            .transpose()?;
        let tx = self.store.read().await?;
        let mut used = quota::used(&*tx, self.own, None).await?;
        let mut page = Page::new(size);
        for namespace in tx.namespaces().await? {
            let name = namespace.name.to_string();
            if !seen.covers(&name) || after.as_ref().is_some_and(|[_, after]| name <= *after) {
                continue;
            }
            let shown = show(&namespace, used.remove(&name).unwrap_or_default());
            if !page.push(shown, || page::seal(&["n", &name])) {
                let (namespaces, next_page_token) = page.more();
                return Ok(v1::ListNamespacesResponse {
                    namespaces,
                    next_page_token,
                });
            }
        }
        let (namespaces, next_page_token) = page.end();
        Ok(v1::ListNamespacesResponse {
            namespaces,
            next_page_token,
        })
    }

    /// Removes an empty namespace, and the roles that were bound in it.
    ///
    /// # Errors
    /// There is none, it is `default`, something is in it, or the caller may not.
    pub async fn delete_namespace(
        &self,
        who: &Principal,
        mut request: v1::DeleteNamespaceRequest,
    ) -> Result<v1::DeleteNamespaceResponse, AppError> {
        access::role(who, Role::Operator)?;
        let mut faults = Violations::default();
        let id = std::mem::take(&mut request.request_id);
        let key = RequestKey::new(who, "DeleteNamespace", id, &request, &mut faults);
        if request.name == DEFAULT_NAMESPACE {
            faults.add("name", "must be another one: `default` is always there");
        }
        if !faults.is_empty() {
            return Err(AppError::Invalid(faults.into_vec()));
        }
        let mut tx = self.store.write().await?;
        if let Some(answer) = key.replay(&*tx).await? {
            return Ok(answer);
        }
        let name = request.name.as_str();
        if tx.namespace(name).await?.is_none() {
            return Err(AppError::not_found("namespace", name));
        }
        let applications = ApplicationFilter {
            namespace: Some(name.to_owned()),
            ..ApplicationFilter::default()
        };
        let slots = SlotFilter {
            namespace: Some(name.to_owned()),
            ..SlotFilter::default()
        };
        let applications = tx.applications(&applications).await?.len();
        let instances = tx.slots(&slots).await?.len();
        if applications + instances > 0 {
            return Err(AppError::NotEmpty {
                namespace: name.to_owned(),
                applications,
                instances,
            });
        }
        for mut user in tx.users().await? {
            let before = user.grants.len();
            user.grants
                .retain(|grant| grant.namespace.as_deref() != Some(name));
            if user.grants.len() != before {
                tx.stage(Write::PutUser(user));
            }
        }
        tx.stage(Write::DeleteNamespace(name.to_owned()));
        let answer = v1::DeleteNamespaceResponse {};
        let target = Target::new("namespace", name, name);
        let now = self.clock.wall();
        key.commit(&*self.store, tx, target, &answer, now).await?;
        Ok(answer)
    }

    /// Sets the most that a namespace may ask for.
    ///
    /// # Errors
    /// There is none, an amount is none, or the caller may not.
    pub async fn set_quota(
        &self,
        who: &Principal,
        mut request: v1::SetQuotaRequest,
    ) -> Result<v1::SetQuotaResponse, AppError> {
        access::role(who, Role::Operator)?;
        let mut faults = Violations::default();
        let id = std::mem::take(&mut request.request_id);
        let key = RequestKey::new(who, "SetQuota", id, &request, &mut faults);
        let quota = read_quota(request.quota, &mut faults);
        if !faults.is_empty() {
            return Err(AppError::Invalid(faults.into_vec()));
        }
        let mut tx = self.store.write().await?;
        if let Some(answer) = key.replay(&*tx).await? {
            return Ok(answer);
        }
        let name = request.namespace.as_str();
        let namespace = tx.namespace(name).await?;
        let namespace = namespace.ok_or_else(|| AppError::not_found("namespace", name))?;
        let namespace = Namespace { quota, ..namespace };
        tx.stage(Write::PutNamespace(namespace.clone()));
        let answer = v1::SetQuotaResponse {
            namespace: Some(show(&namespace, self.used(&*tx, name).await?)),
        };
        let target = Target::new("namespace", name, name).with("quota");
        let now = self.clock.wall();
        key.commit(&*self.store, tx, target, &answer, now).await?;
        Ok(answer)
    }
}
