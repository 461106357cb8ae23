//! What every serving binary configures, and the bind rule: loopback unless `--insecure`.

use std::net::SocketAddr;
use std::time::Duration;

use super::{Check, Validate};
use crate::auth::{Local, Reach, Role};

crate::config! {
    /// Where and how a binary serves its API. Used by [`Flat`](super::Flat), so its keys have no
    /// prefix.
    pub struct ServeConfig {
        /// Address of the gRPC API: an IP address and a port. Port 0 takes any free port.
        pub listen: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 10000)),
        /// Allow an API without credentials on an address that other machines reach. Everyone who
        /// reaches it may then do everything that `local_role` may.
        pub insecure: bool = false,
        /// How long a graceful stop may take before open calls are cut.
        // Kubernetes kills after 30 s by default: 25 s leaves time to say what was cut.
        pub drain_timeout: Duration = Duration::from_secs(25),
        /// What a call without credentials may do: `viewer`, `deployer`, `namespace-admin`,
        /// `operator` or `admin`.
        pub local_role: Role = Role::Admin,
        /// Answer questions about the API's own form (gRPC reflection), so that `grpcurl HOST list` works. It says nothing
        /// that is not public.
        pub reflection: bool = true,
    }
}

impl Validate for ServeConfig {
    fn validate(&self, check: &mut Check<'_>) {
        bind_rule(check, "listen", self.listen, self.insecure);
    }
}

impl ServeConfig {
    /// Who calls, as long as no identity is configured.
    #[must_use]
    pub const fn local(&self) -> Local {
        let reach = if self.insecure {
            Reach::Anywhere
        } else {
            Reach::Loopback
        };
        Local {
            role: self.local_role,
            reach,
        }
    }
}

/// Reports a listen address that is not loopback while nothing identifies callers.
pub fn bind_rule(check: &mut Check<'_>, field: &str, address: SocketAddr, insecure: bool) {
    if insecure || address.ip().to_canonical().is_loopback() {
        return;
    }
    let flag = check.flag("insecure");
    check.fail(
        field,
        format!("`{address}` can be reached from other machines and calls need no credentials"),
        format!(
            "write a loopback address such as `127.0.0.1:{}`, or allow it with {flag}",
            address.port()
        ),
    );
}
