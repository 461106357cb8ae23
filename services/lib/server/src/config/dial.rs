//! What every binary configures that calls another one: whom it believes, and through which proxy it goes.

use std::path::PathBuf;

use super::{Check, Secret, Validate};

crate::config! {
    /// How a server is called. Used by [`Flat`](super::Flat), so its keys have no prefix.
    pub struct DialConfig {
        /// Certificate authorities to believe when the called address begins with `https://`: a file in PEM form. Without it,
        /// those that were learned before, or the system's.
        pub ca: Option<PathBuf>,
        /// The SHA-256 of the called server's certificate authority, as its command `ca show` tells it: enough for the first
        /// contact. From then on its authorities are learned, also new ones.
        pub ca_hash: Option<String>,
        /// HTTP proxy for gRPC: `http://HOST:PORT`, with `USER:PASSWORD@` before the host if it asks for that; `none`; or nothing
        /// for what `https_proxy` and `no_proxy` in the environment say. No flag, since it may have a password in it.
        pub proxy: Option<Secret<String>>,
    }
}

impl Validate for DialConfig {
    fn validate(&self, check: &mut Check<'_>) {
        if let Some(hash) = &self.ca_hash {
            let digits = hash.trim().trim_start_matches("sha256:").replace(':', "");
            if digits.len() != 64 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                check.fail(
                    "ca_hash",
                    format!("`{hash}` is no SHA-256"),
                    "write its 64 hexadecimal digits, as `edgeio-root ca show` or `edgeio-cluster ca show` tells them",
                );
            }
        }
    }
}

impl DialConfig {
    /// The proxy as it was given, its password and all.
    #[must_use]
    pub fn proxy(&self) -> &str {
        self.proxy.as_ref().map_or("", |proxy| proxy.expose())
    }
}
