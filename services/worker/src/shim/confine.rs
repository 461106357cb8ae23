//! What a native job may do: powers, system calls and user, taken from it between fork and exec.
//!
//! All is prepared before the fork; afterwards only system calls are made. A worker that is not root has no powers to hand on and cannot
//! change users: `no-new-privileges` and the filter of system calls hold for its jobs too.

use std::io;

use rustix::{
    process::{Gid, Uid},
    thread::{
        CapabilitySet, CapabilitySets, remove_capability_from_bounding_set, set_capabilities,
        set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
    },
};
use seccompiler::BpfProgram;
use serde::{Deserialize, Serialize};

use crate::runtime::{Mount, SandboxSpec, seccomp, users::User};

/// What a job is held to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confine {
    /// Who it runs as; `None` is the worker's user.
    pub user: Option<User>,
    /// What it may do.
    pub sandbox: SandboxSpec,
    /// What it sees of the node elsewhere.
    pub mounts: Vec<Mount>,
    /// Whether it gets a view of its own of the file system: without it nothing is mounted and nothing hidden.
    pub view: bool,
}

/// The same, ready to be put on.
pub(super) struct Cage {
    user: Option<(Uid, Gid)>,
    /// Capabilities by number that go; empty where the worker has none to take.
    taken: Vec<CapabilitySet>,
    kept: CapabilitySet,
    filters: Vec<BpfProgram>,
    /// Whether programs that it runs may get more than it has.
    rises: bool,
}

impl Cage {
    /// Prepares what a job is held to; without a word about it, it is held to `no-new-privileges` alone.
    ///
    /// # Errors
    /// A filter cannot be made for this processor.
    pub(super) fn of(confine: Option<&Confine>) -> io::Result<Self> {
        let Some(confine) = confine else {
            return Ok(Self {
                user: None,
                taken: Vec::new(),
                kept: CapabilitySet::empty(),
                filters: Vec::new(),
                rises: false,
            });
        };
        let sandbox = &confine.sandbox;
        let kept = CapabilitySet::from_bits_retain(sandbox.kept_bits());
        let root = rustix::process::geteuid().is_root();
        let all = CapabilitySet::all().iter();
        let mut taken: Vec<CapabilitySet> = Vec::new();
        if root && !sandbox.privileged {
            // The kernel may be older than our list of powers: what it does not have need not go.
            taken.extend(all.filter(|one| {
                !kept.contains(*one)
                    && rustix::thread::capability_is_in_bounding_set(*one).unwrap_or(false)
            }));
        }
        let filters = if sandbox.privileged {
            Vec::new()
        } else {
            seccomp::filters().map_err(io::Error::other)?
        };
        let user = confine
            .user
            .map(|user| (Uid::from_raw(user.uid), Gid::from_raw(user.gid)));
        Ok(Self {
            user,
            taken,
            kept,
            filters,
            rises: sandbox.privileged,
        })
    }

    /// Puts it on this process. Makes system calls only.
    ///
    /// # Errors
    /// One of them was refused; the job must not run.
    pub(super) fn enter(&self) -> io::Result<()> {
        for one in &self.taken {
            remove_capability_from_bounding_set(*one)?;
        }
        if let Some((uid, gid)) = self.user {
            set_thread_groups(&[gid])?;
            set_thread_res_gid(gid, gid, gid)?;
            set_thread_res_uid(uid, uid, uid)?;
        }
        let stays_root = self.user.is_none_or(|(uid, _)| uid.is_root());
        if !self.taken.is_empty() && stays_root {
            let sets = CapabilitySets {
                effective: self.kept,
                permitted: self.kept,
                inheritable: CapabilitySet::empty(),
            };
            set_capabilities(None, sets)?;
        }
        if !self.rises {
            set_no_new_privs(true)?;
        }
        Ok(())
    }

    /// Sets the filters, the last step: what comes before may be a call that they refuse.
    ///
    /// # Errors
    /// The kernel has no filters.
    pub(super) fn filter(&self) -> io::Result<()> {
        for filter in &self.filters {
            seccompiler::apply_filter(filter).map_err(|_| io::ErrorKind::Unsupported)?;
        }
        Ok(())
    }
}
