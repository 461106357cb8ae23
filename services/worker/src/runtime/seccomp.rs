//! The system calls that no job has use for: administration of the machine, of other namespaces, and the kernel's own debuggers.
//!
//! One list in two forms: for engines as the OCI specification has it, for native jobs as a filter of the kernel. Docker brings a stricter
//! profile of its own, which stays.
//!
//! A list of what is refused, not of what is allowed: a program that works elsewhere works here, and a kernel's new calls do not break
//! it. Capabilities, namespaces and `no-new-privileges` stand behind it. Refused calls answer EPERM, `clone3` ENOSYS so that the C library falls
//! back to `clone`, whose flags can be looked at.

use seccompiler::{BpfProgram, TargetArch, compile_from_json};
use serde_json::{Value, json};

/// EPERM.
const EPERM: u32 = 1;
/// ENOSYS.
const ENOSYS: u32 = 38;
/// CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
const NEW_NAMESPACES: [u64; 7] = [
    0x0002_0000,
    0x0200_0000,
    0x0400_0000,
    0x0800_0000,
    0x1000_0000,
    0x2000_0000,
    0x4000_0000,
];

/// What is refused.
const REFUSED: &[&str] = &[
    "acct",
    "add_key",
    "bpf",
    "clock_adjtime",
    "clock_settime",
    "create_module",
    "delete_module",
    "fanotify_init",
    "finit_module",
    "fsconfig",
    "fsmount",
    "fsopen",
    "fspick",
    "get_kernel_syms",
    "init_module",
    "io_uring_enter",
    "io_uring_register",
    "io_uring_setup",
    "ioperm",
    "iopl",
    "kcmp",
    "kexec_file_load",
    "kexec_load",
    "keyctl",
    "lookup_dcookie",
    "mount",
    "mount_setattr",
    "move_mount",
    "move_pages",
    "name_to_handle_at",
    "nfsservctl",
    "open_by_handle_at",
    "open_tree",
    "perf_event_open",
    "personality",
    "pivot_root",
    "process_vm_readv",
    "process_vm_writev",
    "ptrace",
    "query_module",
    "quotactl",
    "quotactl_fd",
    "reboot",
    "request_key",
    "set_mempolicy",
    "setdomainname",
    "sethostname",
    "setns",
    "settimeofday",
    "swapoff",
    "swapon",
    "syslog",
    "umount2",
    "unshare",
    "userfaultfd",
    "vhangup",
];

/// The processor's own calls and those of its 32-bit programs; the filter kills what calls by another convention.
#[cfg(feature = "containerd")]
fn architectures() -> &'static [&'static str] {
    match std::env::consts::ARCH {
        "x86_64" => &["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "aarch64" => &["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
        _ => &[],
    }
}

/// The profile, in the OCI specification's form.
#[cfg(feature = "containerd")]
pub(super) fn profile() -> Value {
    let mut rules = vec![
        json!({"names": REFUSED, "action": "SCMP_ACT_ERRNO", "errnoRet": EPERM}),
        json!({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS}),
    ];
    for flag in NEW_NAMESPACES {
        // (flags & flag) == flag.
        let set = json!({"index": 0, "value": flag, "valueTwo": flag, "op": "SCMP_CMP_MASKED_EQ"});
        rules.push(json!({"names": ["clone"], "action": "SCMP_ACT_ERRNO", "errnoRet": EPERM, "args": [set]}));
    }
    json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": architectures(),
        "syscalls": rules,
    })
}

/// The profile as filters of the kernel, in the order in which they are set. Native jobs of another calling convention than the
/// worker's own (32-bit programs) are killed; x32 calls, which distributions' kernels have off, are not looked at.
///
/// # Errors
/// The processor is none that filters can be made for.
pub(crate) fn filters() -> Result<Vec<BpfProgram>, String> {
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(|e| e.to_string())?;
    let compile = |errno: u32, rules: &[Value]| {
        let filter = json!({"f": {
            "mismatch_action": "allow", "match_action": {"errno": errno}, "filter": rules,
        }});
        let all = compile_from_json(filter.to_string().as_bytes(), arch);
        all.map_err(|e| e.to_string())?
            .remove("f")
            .ok_or_else(|| "no filter was made".to_owned())
    };
    // A call that this processor's kernel never had cannot be named in a filter for it.
    let known = |rule: &Value| compile(EPERM, std::slice::from_ref(rule)).is_ok();
    let mut refused: Vec<Value> = REFUSED
        .iter()
        .map(|name| json!({"syscall": name}))
        .filter(known)
        .collect();
    for flag in NEW_NAMESPACES {
        let set = json!({"index": 0, "type": "qword", "op": {"masked_eq": flag}, "val": flag});
        refused.push(json!({"syscall": "clone", "args": [set]}));
    }
    Ok(vec![
        compile(EPERM, &refused)?,
        compile(ENOSYS, &[json!({"syscall": "clone3"})])?,
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_made_for_this_processor() {
        let filters = filters().unwrap();
        assert_eq!(filters.len(), 2);
        assert!(filters[0].len() > REFUSED.len(), "{}", filters[0].len());
    }

    #[test]
    fn the_list_is_sorted_and_has_no_call_twice() {
        assert!(REFUSED.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
