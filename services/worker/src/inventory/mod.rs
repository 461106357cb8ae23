//! What this machine is: the part of the init handshake that the worker finds out by itself.
//!
//! Taken once at registration and after a reboot; nothing here is refreshed in a loop (see [`Sampler`] for what changes). Reads only what it
//! reports, since the agent must stay small. Deliberately absent: sensors and accelerators, which come with the issue that places by them.

mod sampler;

use std::{collections::BTreeSet, io, net::IpAddr, path::Path, sync::Arc};

use sysinfo::{MemoryRefreshKind, Networks, RefreshKind, System};

use crate::{
    runtime::{Capabilities, ErrorClass, Runtime, RuntimeKind},
    shim::proc,
};

pub use sampler::{NodeUsage, Sampler};

/// What this machine is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inventory {
    /// Host name.
    pub hostname: String,
    /// Addresses under which others may know it: no loopback, no link-local, none of container engines' own bridges.
    pub addresses: Vec<IpAddr>,
    /// Operating system, such as `Debian GNU/Linux 12 (bookworm)`.
    pub operating_system: String,
    /// Kernel release.
    pub kernel: String,
    /// CPU architecture in OCI's words, such as `amd64`.
    pub architecture: String,
    /// Logical cores this process may use.
    pub cores: u32,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Size of the disk that holds the worker's data, in bytes.
    pub disk_bytes: u64,
    /// This boot.
    pub boot_id: String,
}

/// A part of the inventory that could not be read.
#[derive(Debug, thiserror::Error)]
pub enum InventoryError {
    /// The memory.
    #[error("read the size of the memory: {0}")]
    Memory(String),
    /// The disk.
    #[error("read the size of the disk that holds `{at}`")]
    Disk {
        /// The worker's data.
        at: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Inventory {
    /// Looks at this machine. `data` is the worker's directory, which must exist.
    ///
    /// # Errors
    /// The sizes cannot be read: a worker that would announce none of them could not be placed on. Unknown names are empty.
    pub fn take(data: &Path) -> Result<Self, InventoryError> {
        let memory = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
        let system = System::new_with_specifics(memory)
            .map_err(|error| InventoryError::Memory(format!("{error:?}")))?;
        let disk = rustix::fs::statvfs(data).map_err(|error| InventoryError::Disk {
            at: data.display().to_string(),
            source: error.into(),
        })?;
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
        Ok(Self {
            hostname: System::host_name().unwrap_or_default(),
            addresses: addresses(),
            operating_system: System::long_os_version().unwrap_or_default(),
            kernel: System::kernel_version().unwrap_or_default(),
            architecture: oci_architecture(&System::cpu_arch()),
            cores: u32::try_from(cores).unwrap_or(u32::MAX),
            memory_bytes: system.total_memory(),
            disk_bytes: disk.f_blocks.saturating_mul(disk.f_frsize),
            boot_id: proc::boot_id(),
        })
    }
}

/// The kernel's word for a CPU, in OCI's.
fn oci_architecture(machine: &str) -> String {
    match machine {
        "x86_64" => "amd64",
        "aarch64" | "arm64" => "arm64",
        "i386" | "i486" | "i586" | "i686" => "386",
        "ppc64le" => "ppc64le",
        "loongarch64" => "loong64",
        "mips64" => "mips64le",
        arm if arm.starts_with("armv") => "arm",
        other => other,
    }
    .to_owned()
}

fn addresses() -> Vec<IpAddr> {
    let Ok(networks) = Networks::new_with_refreshed_list() else {
        return Vec::new();
    };
    let mut found = BTreeSet::new();
    for (name, network) in networks.iter() {
        if !is_engine_bridge(&name.to_string_lossy()) {
            found.extend(
                network
                    .ip_networks()
                    .iter()
                    .map(|ip| ip.addr)
                    .filter(is_useful),
            );
        }
    }
    // In order: IPv4 before IPv6, so that people read the familiar ones first.
    found.into_iter().collect()
}

/// Bridges that container engines make carry the same addresses on every node.
fn is_engine_bridge(name: &str) -> bool {
    name == "docker0"
        || ["br-", "veth", "cni", "virbr", "podman"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
}

fn is_useful(address: &IpAddr) -> bool {
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !address.is_loopback() && !address.is_unspecified() && !link_local
}

/// A runtime as the handshake reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeReport {
    /// Its name.
    pub kind: RuntimeKind,
    /// What it can do, or why it does not answer.
    pub found: Result<Capabilities, String>,
}

/// Asks every runtime what it can do. One that does not answer is reported with its reason, and may answer next time.
pub async fn survey(runtimes: &[Arc<dyn Runtime>]) -> Vec<RuntimeReport> {
    let asked = runtimes.iter().map(|runtime| async move {
        let found = runtime.capabilities().await.map_err(|error| {
            let later = matches!(error.class(), ErrorClass::Retry);
            tracing::debug!(error = %error.chain(), later, "runtime does not answer");
            error.chain()
        });
        RuntimeReport {
            kind: runtime.kind(),
            found,
        }
    });
    futures::future::join_all(asked).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{
        fake::{FakeEngine, FakeRuntime, Op},
        process::{ProcessConfig, ProcessRuntime},
    };

    #[test]
    fn this_machine_is_described() {
        let dir = tempfile::tempdir().unwrap();
        let found = Inventory::take(dir.path()).unwrap();
        let uname = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        assert_eq!(found.kernel, uname.trim());
        let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        assert_eq!(found.hostname, hostname.trim());
        assert!(
            found.memory_bytes > 1 << 20 && found.disk_bytes > 1 << 20,
            "{found:?}"
        );
        assert!(
            found.cores >= 1 && !found.operating_system.is_empty(),
            "{found:?}"
        );
        assert!(
            !found.architecture.contains('_'),
            "OCI's word, not the kernel's: {found:?}"
        );
        assert_eq!(found.boot_id.len(), 36);
        assert!(
            found.addresses.iter().all(|a| !a.is_loopback()),
            "{found:?}"
        );
    }

    #[test]
    fn a_missing_directory_is_told() {
        let error = Inventory::take(Path::new("/no/such/directory")).unwrap_err();
        assert!(error.to_string().contains("/no/such/directory"), "{error}");
    }

    #[test]
    fn architectures_are_ocis() {
        for (machine, oci) in [
            ("x86_64", "amd64"),
            ("aarch64", "arm64"),
            ("armv7l", "arm"),
            ("riscv64", "riscv64"),
        ] {
            assert_eq!(oci_architecture(machine), oci);
        }
    }

    #[test]
    fn addresses_that_say_nothing_are_left_out() {
        let useful = |a: &str| is_useful(&a.parse().unwrap());
        assert!(useful("192.0.2.2") && useful("fd00::2"));
        assert!(!useful("127.0.0.1") && !useful("fe80::1") && !useful("169.254.1.1"));
        assert!(is_engine_bridge("docker0") && is_engine_bridge("veth12ab"));
        assert!(!is_engine_bridge("eth0") && !is_engine_bridge("br0"));
    }

    #[tokio::test]
    async fn a_silent_runtime_is_reported_with_its_reason() {
        let dir = tempfile::tempdir().unwrap();
        let process = ProcessRuntime::open(ProcessConfig::new(dir.path())).unwrap();
        let engine = Arc::new(FakeEngine::default());
        engine.fail(Op::Capabilities, ErrorClass::Retry, 1);
        let runtimes: Vec<Arc<dyn Runtime>> =
            vec![Arc::new(process), Arc::new(FakeRuntime::new(engine))];
        let reports = survey(&runtimes).await;
        assert_eq!(reports[0].kind, RuntimeKind::PROCESS);
        assert!(reports[0].found.is_ok());
        assert!(
            reports[1]
                .found
                .as_ref()
                .is_err_and(|why| why.contains("scripted"))
        );
        assert!(survey(&runtimes).await[1].found.is_ok());
    }
}
