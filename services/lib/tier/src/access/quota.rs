//! What a namespace asks for, against the most that it may: looked at in the transaction that accepts a change.
//!
//! What counts is what applications wish for, not what runs: replicas times what their spec reserves. An application that is
//! being deleted wishes for nothing. A change that asks for less is let through however far above the quota the namespace is.

use std::collections::BTreeMap;

use edgeio_domain::{
    quantity,
    records::{Application, Owner},
};
use edgeio_proto::api::v1;
use edgeio_store::{ApplicationFilter, Quota, ReadTx, StoreError};

use crate::apps::{AppError, Over, show::Specs};

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Used {
    pub(crate) cpu_millis: u64,
    pub(crate) memory_bytes: u64,
    pub(crate) instances: u64,
    pub(crate) applications: u64,
}

impl Used {
    fn add(&mut self, application: &Application, specs: &Specs) {
        if application.deleted_at.is_some() {
            return;
        }
        self.applications += 1;
        for service in &application.services {
            let replicas = u64::from(service.replicas);
            let asked = specs
                .get(&service.spec_hash)
                .and_then(|spec| spec.resources.as_ref());
            let amount = |text: Option<&str>, read: fn(&str) -> Option<u64>| {
                text.and_then(read).unwrap_or(0).saturating_mul(replicas)
            };
            self.instances += replicas;
            self.cpu_millis = self
                .cpu_millis
                .saturating_add(amount(asked.map(|a| a.cpu.as_str()), cpu));
            self.memory_bytes = self
                .memory_bytes
                .saturating_add(amount(asked.map(|a| a.memory.as_str()), memory));
        }
    }

    /// As people read it.
    pub(crate) fn show(&self) -> v1::Quota {
        v1::Quota {
            cpu: Some(cpu_text(self.cpu_millis)),
            memory: Some(memory_text(self.memory_bytes)),
            instances: Some(u32::try_from(self.instances).unwrap_or(u32::MAX)),
            applications: Some(u32::try_from(self.applications).unwrap_or(u32::MAX)),
        }
    }
}

fn cpu(text: &str) -> Option<u64> {
    let amount = (!text.is_empty()).then(|| quantity::cpu_millis(text).ok());
    amount
        .flatten()
        .and_then(|amount| u64::try_from(amount).ok())
}

fn memory(text: &str) -> Option<u64> {
    let amount = (!text.is_empty()).then(|| quantity::bytes(text).ok());
    amount
        .flatten()
        .and_then(|amount| u64::try_from(amount).ok())
}

pub(crate) fn cpu_text(millis: u64) -> String {
    quantity::format_cpu(i64::try_from(millis).unwrap_or(i64::MAX))
}

pub(crate) fn memory_text(bytes: u64) -> String {
    quantity::format_bytes(i64::try_from(bytes).unwrap_or(i64::MAX))
}

/// What the tier's own applications ask for, by namespace.
pub(crate) async fn used(
    tx: &dyn ReadTx,
    own: Owner,
    namespace: Option<&str>,
) -> Result<BTreeMap<String, Used>, StoreError> {
    let filter = ApplicationFilter {
        namespace: namespace.map(str::to_owned),
        owner: Some(own),
        ..ApplicationFilter::default()
    };
    let applications = tx.applications(&filter).await?;
    let specs = Specs::load(tx, &applications).await?;
    let mut used: BTreeMap<String, Used> = BTreeMap::new();
    for application in &applications {
        let name = application.key.namespace.to_string();
        used.entry(name).or_default().add(application, &specs);
    }
    Ok(used)
}

/// Whether a change keeps its namespace within its quota. `fresh` are specs that come with the change.
///
/// # Errors
/// Names what would be over, and a service that reserves nothing of what is limited.
pub(crate) async fn check(
    tx: &dyn ReadTx,
    quota: &Quota,
    before: Option<&Application>,
    after: &Application,
    fresh: &Specs,
) -> Result<(), AppError> {
    if *quota == Quota::default() {
        return Ok(());
    }
    let namespace = after.key.namespace.as_str();
    let mut all = used(tx, after.key.owner, Some(namespace)).await?;
    let now = all.remove(namespace).unwrap_or_default();
    let known = Specs::load(tx, before.into_iter().chain([after])).await?;
    let specs = known.with(fresh);
    for (index, service) in after.services.iter().enumerate() {
        let Some(spec) = specs.get(&service.spec_hash) else {
            continue;
        };
        let reserved = spec.resources.clone().unwrap_or_default();
        let changed = fresh.get(&service.spec_hash).is_some();
        let limits = [
            (quota.cpu_millis, &reserved.cpu, "cpu", "500m"),
            (quota.memory_bytes, &reserved.memory, "memory", "64Mi"),
        ];
        for (limit, text, word, example) in limits {
            if limit.is_some() && text.is_empty() && changed {
                return Err(AppError::field(
                    format!("application.services[{index}].resources.{word}"),
                    format!(
                        "is required, such as `{example}`: namespace `{namespace}` has a quota of {word}"
                    ),
                ));
            }
        }
    }
    let (mut old, mut new) = (Used::default(), Used::default());
    if let Some(before) = before {
        old.add(before, &specs);
    }
    new.add(after, &specs);
    let over = [
        over(
            "cpu",
            quota.cpu_millis,
            cpu_text,
            [now.cpu_millis, old.cpu_millis, new.cpu_millis],
        ),
        over(
            "memory",
            quota.memory_bytes,
            memory_text,
            [now.memory_bytes, old.memory_bytes, new.memory_bytes],
        ),
        over(
            "instances",
            quota.instances,
            |n| n.to_string(),
            [now.instances, old.instances, new.instances],
        ),
        over(
            "applications",
            quota.applications,
            |n| n.to_string(),
            [now.applications, old.applications, new.applications],
        ),
    ];
    let over: Vec<Over> = over.into_iter().flatten().collect();
    if over.is_empty() {
        return Ok(());
    }
    Err(AppError::OverQuota {
        namespace: namespace.to_owned(),
        over,
    })
}

fn over(
    field: &'static str,
    limit: Option<u64>,
    text: fn(u64) -> String,
    [now, old, new]: [u64; 3],
) -> Option<Over> {
    let limit = limit?;
    let asked = now.saturating_sub(old).saturating_add(new);
    (asked > limit && new > old).then(|| Over {
        field,
        used: text(now),
        asked: text(asked),
        limit: text(limit),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_grows_past_its_limit_is_over() {
        let text = |n: u64| n.to_string();
        let of = |limit, now, old, new| over("instances", limit, text, [now, old, new]);
        assert!(of(None, 100, 0, 1000).is_none());
        assert!(of(Some(10), 8, 3, 5).is_none());
        let over = of(Some(10), 8, 3, 6).unwrap();
        assert_eq!((over.asked.as_str(), over.used.as_str()), ("11", "8"));
        assert!(of(Some(10), 50, 30, 20).is_none(), "less is let through");
        assert!(of(Some(0), 0, 0, 1).is_some());
    }
}
