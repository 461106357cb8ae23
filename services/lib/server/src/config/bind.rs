//! What every serving binary configures, and the bind rule: loopback unless there is TLS, or `--insecure`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::{Check, Validate};
use crate::auth::{Local, Reach, Role};
use crate::tls::TlsMode;

const DAY: Duration = Duration::from_secs(24 * 3600);

crate::config! {
    /// Where and how a binary serves its API. Used by [`Flat`](super::Flat), so its keys have no
    /// prefix.
    pub struct ServeConfig {
        /// Address of the gRPC API: an IP address and a port. Port 0 takes any free port.
        pub listen: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 10000)),
        /// Allow an API without credentials on an address that other machines reach, with or without TLS. Everyone who
        /// reaches it may then do everything that `local_role` may.
        pub insecure: bool = false,
        /// How long a graceful stop may take before open calls are cut.
        // Kubernetes kills after 30 s by default: 25 s leaves time to say what was cut.
        pub drain_timeout: Duration = Duration::from_secs(25),
        /// What a call without credentials may do: `viewer`, `deployer`, `namespace-admin`,
        /// `operator` or `admin`.
        pub local_role: Role = Role::Admin,
        /// How many machines may join from one address in a second, on the average; 0 is without a limit. Calls from this
        /// machine are not counted unless `limit_local`.
        // A site's machines often share one address. 10,000 that lost their cluster's database are back within 20 minutes;
        // who tries out tokens learns nothing at 10 a second.
        pub register_rate: f64 = 10.0,
        /// How many machines may join from one address at once.
        pub register_burst: u32 = 100,
        /// How many changes one user may make in a second, on the average; 0 is without a limit. Who needs no credential is
        /// not counted unless `limit_local`.
        // A person makes one; a pipeline that applies a hundred applications waits some seconds.
        pub mutate_rate: f64 = 20.0,
        /// How many changes one user may make at once.
        pub mutate_burst: u32 = 50,
        /// How many streams (watches, sessions) one user or machine may have open; 0 is without a limit.
        // A person has a few, a machine one and, while it changes over, another.
        pub streams: u32 = 50,
        /// Hold callers on this machine, and those who need no credential, to these rates as well. They are tests, scripts and
        /// `edgeio dev`, and could do worse; behind a proxy on this machine they are everybody.
        pub limit_local: bool = false,
        /// How old a connection gets, on the average, until its client is asked to dial again, so that clients spread over the
        /// servers behind a balancer; 0 is without a limit. Nothing is lost by it.
        pub connection_age: Duration = Duration::from_secs(30 * 60),
        /// Answer questions about the API's own form (gRPC reflection), so that `grpcurl HOST list` works. It says nothing
        /// that is not public.
        pub reflection: bool = true,
        /// TLS of the API: `off`; `builtin`, by a certificate authority that this server makes and keeps in its data
        /// directory (see the command `ca`); or `files`, by `tls_cert` and `tls_key`. With TLS a call without a credential
        /// is nobody's, also from this machine.
        pub tls: TlsMode = TlsMode::Off,
        /// With `tls` = `files`: the server's certificate and those between it and its authority, in PEM form. Taken up
        /// within seconds when it changes.
        pub tls_cert: Option<PathBuf>,
        /// With `tls` = `files`: the private key of `tls_cert`, in PEM form.
        pub tls_key: Option<PathBuf>,
        /// With `tls` = `builtin`: further host names and addresses under which this server is reached. It knows its own
        /// host name, `listen`, and loopback.
        pub tls_names: Vec<String>,
        /// With `tls` = `builtin`: how long a certificate authority is valid.
        // Machines at the edge are forgotten for years, and rotate without being touched only if they are on meanwhile.
        pub tls_ca_life: Duration = DAY * 3650,
        /// With `tls` = `builtin`: after which part of its life, in percent, a new authority is made beside it. Whoever
        /// calls between that and the end of the old one is never shut out.
        pub tls_ca_rotate_at: u32 = 80,
        /// With `tls` = `builtin`: how long the server's certificate is valid. It is renewed after two thirds.
        pub tls_leaf_life: Duration = DAY * 30,
    }
}

impl Validate for ServeConfig {
    fn validate(&self, check: &mut Check<'_>) {
        bind_rule(check, "listen", self.listen, self.tls, self.insecure);
        let files = [("tls_cert", &self.tls_cert), ("tls_key", &self.tls_key)];
        for (field, path) in files {
            match (self.tls, path) {
                (TlsMode::Files, None) => check.fail(
                    field,
                    "`tls` is `files`, but there is no such file",
                    "name the file, or write `tls` = `builtin`",
                ),
                (TlsMode::Off | TlsMode::Builtin, Some(_)) => check.fail(
                    field,
                    format!("it is not used, since `tls` is `{}`", self.tls),
                    "write `tls` = `files`, or leave it away",
                ),
                (TlsMode::Files, Some(_)) | (TlsMode::Off | TlsMode::Builtin, None) => {}
            }
        }
        if !(1..=99).contains(&self.tls_ca_rotate_at) {
            check.fail(
                "tls_ca_rotate_at",
                "it is a part of a hundred, and something must be left for both",
                "write a number from 1 to 99",
            );
        }
        if self.tls_leaf_life < LEAST_LEAF_LIFE {
            check.fail(
                "tls_leaf_life",
                "it would end before it is renewed",
                "write at least `10s`; `30days` is the default",
            );
        }
        if self.tls_ca_life < self.tls_leaf_life {
            check.fail(
                "tls_ca_life",
                "the authority would end before what it signs",
                "write more than `tls_leaf_life`",
            );
        }
    }
}

/// It is looked at 20 times in its life, and a clock of certificates counts seconds.
const LEAST_LEAF_LIFE: Duration = Duration::from_secs(10);

impl ServeConfig {
    /// Who calls, as long as no identity is configured.
    #[must_use]
    pub const fn local(&self) -> Local {
        let reach = match (self.insecure, self.tls) {
            (true, _) => Reach::Anywhere,
            (false, TlsMode::Off) => Reach::Loopback,
            // A reverse proxy on this machine would make everybody a local caller.
            (false, TlsMode::Builtin | TlsMode::Files) => Reach::Nowhere,
        };
        Local {
            role: self.local_role,
            reach,
        }
    }
}

/// Reports a listen address that is not loopback while nothing identifies callers.
pub fn bind_rule(
    check: &mut Check<'_>,
    field: &str,
    address: SocketAddr,
    tls: TlsMode,
    insecure: bool,
) {
    if insecure || tls != TlsMode::Off || address.ip().to_canonical().is_loopback() {
        return;
    }
    let (flag, tls) = (check.flag("insecure"), check.flag("tls"));
    check.fail(
        field,
        format!("`{address}` can be reached from other machines and calls need no credentials"),
        format!(
            "write a loopback address such as `127.0.0.1:{}`, encrypt and ask for credentials with {tls} builtin, or \
             allow it with {flag}",
            address.port()
        ),
    );
}
