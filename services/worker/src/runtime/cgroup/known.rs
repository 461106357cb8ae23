//! The control groups that engines made for running containers, found once by the main process.
//!
//! Asking an engine what a container uses costs it a lot of work; reading the kernel's files costs nothing.

use std::{
    collections::HashMap,
    sync::{Mutex, OnceLock, PoisonError},
};

use super::{Group, Hierarchies};
use crate::runtime::{InstanceId, Stats};

/// The control groups of running containers.
#[derive(Default)]
pub struct Known {
    hierarchies: OnceLock<Option<Hierarchies>>,
    known: Mutex<HashMap<InstanceId, Group>>,
}

impl Known {
    /// What a known group says; `None` makes the caller look anew.
    pub fn usage(&self, instance: InstanceId) -> Option<Stats> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let usage = known.get(&instance)?.usage().ok();
        if usage.is_none() {
            known.remove(&instance);
        }
        usage
    }

    /// Finds the group by the main process. Its path must hold the container's id: in another process namespace, the number is a stranger's.
    pub fn find(&self, instance: InstanceId, pid: u32, id: &str) -> Option<Stats> {
        let hierarchies = self.hierarchies.get_or_init(|| Hierarchies::read().ok());
        let group = hierarchies.as_ref()?.of_process(pid).ok()?;
        if !group.names(id) {
            return None;
        }
        let usage = group.usage().ok()?;
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(instance, group);
        Some(usage)
    }

    /// Forgets the group of one that ended.
    pub fn forget(&self, instance: InstanceId) {
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&instance);
    }
}
