//! What a job may do, as all drivers are told it: one description, that each puts into its engine's words.
//!
//! The default is what every job gets that asks for nothing. What goes beyond it was allowed by the worker's policy before a driver
//! sees it: no driver judges.

use edgeio_domain::spec::{self, CAPABILITIES};
use serde::{Deserialize, Serialize};

/// How many process ids one instance may hold unless its spec says otherwise. High enough for a JVM with hundreds of
/// threads, low enough that a fork bomb leaves the node's usual 32768 alone.
pub const PIDS_LIMIT: u32 = 1024;

/// What stays of root's powers inside: what daemons need to drop to their own user and to own their files. No raw sockets, no devices,
/// no administration of anything.
pub const USUAL: [&str; 9] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "NET_BIND_SERVICE",
    "SETGID",
    "SETPCAP",
    "SETUID",
];

/// Kernel files that tell about, or change, more than the job: it finds them empty.
pub const MASKED: [&str; 10] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/firmware",
];

/// Kernel files that it can read and not write.
pub const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// What a job may do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxSpec {
    /// All that root of the node may: every capability and device, every system call, nothing masked.
    pub privileged: bool,
    /// It is on the node's own network. Native jobs always are.
    pub host_network: bool,
    /// Its root file system cannot be written.
    pub read_only: bool,
    /// Capabilities beside [`USUAL`], without `CAP_`.
    pub capabilities: Vec<String>,
    /// Devices of the node by path.
    pub devices: Vec<String>,
    /// Processes and threads at a time.
    pub pids: u32,
}

impl Default for SandboxSpec {
    fn default() -> Self {
        Self {
            privileged: false,
            host_network: false,
            read_only: false,
            capabilities: Vec::new(),
            devices: Vec::new(),
            pids: PIDS_LIMIT,
        }
    }
}

impl From<&spec::Sandbox> for SandboxSpec {
    fn from(asked: &spec::Sandbox) -> Self {
        Self {
            privileged: asked.privileged,
            host_network: asked.host_network,
            read_only: asked.read_only,
            capabilities: asked.capabilities.iter().map(|c| (*c).to_owned()).collect(),
            devices: asked.devices.clone(),
            pids: asked.pids.unwrap_or(PIDS_LIMIT),
        }
    }
}

impl SandboxSpec {
    /// The capabilities that root has inside, without `CAP_`, in the kernel's order. A privileged job has those of this process: on a
    /// machine that is itself confined, a container engine could not give more.
    pub fn kept(&self) -> Vec<&'static str> {
        if self.privileged {
            let own = (0..CAPABILITIES.len()).filter(|number| bounding(*number));
            return own.filter_map(|n| CAPABILITIES.get(n).copied()).collect();
        }
        let kept =
            |name: &&&str| USUAL.contains(*name) || self.capabilities.iter().any(|c| c == **name);
        CAPABILITIES.iter().filter(kept).copied().collect()
    }

    /// The same as the kernel shows it in `CapBnd` of `/proc/PID/status`.
    pub fn kept_bits(&self) -> u64 {
        let kept = self.kept();
        let bit = |(number, name): (usize, &&str)| kept.contains(name).then(|| 1 << number);
        CAPABILITIES.iter().enumerate().filter_map(bit).sum()
    }
}

/// Whether a capability is among those that this process could ever have.
fn bounding(number: usize) -> bool {
    use rustix::thread::{CapabilitySet, capability_is_in_bounding_set};
    // What an older kernel does not know is not there.
    capability_is_in_bounding_set(CapabilitySet::from_bits_retain(1 << number)).unwrap_or(false)
}

/// Whether this process's bounding set is the kernel's: on a machine of its own it is.
pub(super) fn is_whole_machine() -> bool {
    (0..CAPABILITIES.len()).all(bounding)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_jobs_have_no_power_over_the_node() {
        let kept = SandboxSpec::default().kept();
        assert_eq!(kept.len(), USUAL.len());
        for refused in ["SYS_ADMIN", "NET_RAW", "MKNOD", "SYS_PTRACE", "NET_ADMIN"] {
            assert!(!kept.contains(&refused));
        }
        // CHOWN is number 0, NET_BIND_SERVICE number 10: as the kernel counts.
        assert_eq!(SandboxSpec::default().kept_bits() & 0b1, 1);
        assert_eq!(SandboxSpec::default().kept_bits() >> 10 & 1, 1);
    }

    #[test]
    fn what_is_added_is_kept_and_privileged_is_all() {
        let mut sandbox = SandboxSpec::default();
        sandbox.capabilities.push("NET_RAW".to_owned());
        assert_eq!(sandbox.kept().len(), USUAL.len() + 1);
        sandbox.privileged = true;
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let own = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
        let own = u64::from_str_radix(own.unwrap().trim(), 16).unwrap();
        assert_eq!(sandbox.kept_bits(), own);
    }
}
