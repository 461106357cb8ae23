//! What a job may do beyond the little that every job may: the words of a manifest, checked. Whether a worker grants it is the
//! worker's own affair.

use std::collections::BTreeSet;

use crate::violation::Violations;

/// Most processes and threads that a job may have: the kernel's usual number of process ids for a whole machine.
pub const MAX_PIDS: u32 = 32_768;

/// The kernel's capabilities in the order of their numbers (`include/uapi/linux/capability.h`).
pub const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// The words of a manifest, unchecked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SandboxDraft {
    /// Everything.
    pub privileged: bool,
    /// The worker's own network.
    pub host_network: bool,
    /// A root file system that cannot be written.
    pub read_only: bool,
    /// Capabilities, with or without `CAP_`.
    pub capabilities: Vec<String>,
    /// Paths of devices.
    pub devices: Vec<String>,
    /// Processes; 0 for the usual number.
    pub pids: u32,
}

/// What a job may do beyond the usual.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sandbox {
    /// Everything that root of the worker may.
    pub privileged: bool,
    /// It is on the worker's own network.
    pub host_network: bool,
    /// Its root file system cannot be written.
    pub read_only: bool,
    /// Capabilities beside the usual ones, of [`CAPABILITIES`].
    pub capabilities: BTreeSet<&'static str>,
    /// Devices of the worker by path.
    pub devices: Vec<String>,
    /// Processes and threads, where the spec says.
    pub pids: Option<u32>,
}

/// A capability as the kernel spells it, without `CAP_`.
fn capability(text: &str) -> Option<&'static str> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
    CAPABILITIES.iter().copied().find(|known| *known == name)
}

/// A device node below `/dev`, and nothing else by a detour.
fn is_device(path: &str) -> bool {
    super::files::absolute(path).is_ok() && path.starts_with("/dev/")
}

pub(super) fn check(draft: &SandboxDraft, path: &str, faults: &mut Violations) -> Sandbox {
    let at = |field: String| format!("{path}.sandbox.{field}");
    let mut capabilities = BTreeSet::new();
    for (index, text) in draft.capabilities.iter().enumerate() {
        match capability(text) {
            Some(known) => _ = capabilities.insert(known),
            None => faults.add(
                at(format!("capabilities[{index}]")),
                "must be a capability of the kernel such as NET_RAW",
            ),
        }
    }
    for (index, device) in draft.devices.iter().enumerate() {
        if !is_device(device) {
            faults.add(
                at(format!("devices[{index}]")),
                "must be a path below /dev such as /dev/ttyUSB0",
            );
        }
    }
    if draft.pids > MAX_PIDS {
        faults.add(
            at("pids".to_owned()),
            format!("must be from 1 to {MAX_PIDS}"),
        );
    }
    Sandbox {
        privileged: draft.privileged,
        host_network: draft.host_network,
        read_only: draft.read_only,
        capabilities,
        devices: draft.devices.clone(),
        pids: (draft.pids > 0).then_some(draft.pids),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_meaning() {
        let mut faults = Violations::default();
        let words = |list: &[&str]| list.iter().map(|w| (*w).to_owned()).collect();
        let draft = SandboxDraft {
            capabilities: words(&["net_raw", "CAP_NET_RAW", "SYS_TIME"]),
            devices: words(&["/dev/ttyUSB0"]),
            pids: 7,
            ..SandboxDraft::default()
        };
        let checked = check(&draft, "s", &mut faults);
        assert!(faults.is_empty());
        let expected = Sandbox {
            capabilities: ["NET_RAW", "SYS_TIME"].into(),
            devices: words(&["/dev/ttyUSB0"]),
            pids: Some(7),
            ..Sandbox::default()
        };
        assert_eq!(checked, expected);
    }

    #[test]
    fn every_wrong_word_is_told_with_its_field() {
        let mut faults = Violations::default();
        let words = |list: &[&str]| list.iter().map(|w| (*w).to_owned()).collect();
        let draft = SandboxDraft {
            capabilities: words(&["NET_RAW", "FLY"]),
            devices: words(&["/dev/../etc", "ttyUSB0", "/dev/null"]),
            pids: 40_000,
            ..SandboxDraft::default()
        };
        check(&draft, "s", &mut faults);
        let paths: Vec<String> = faults.into_vec().into_iter().map(|v| v.path).collect();
        let expected = [
            "s.sandbox.capabilities[1]",
            "s.sandbox.devices[0]",
            "s.sandbox.devices[1]",
            "s.sandbox.pids",
        ];
        assert_eq!(paths, expected);
    }
}
