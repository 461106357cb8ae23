//! What a bridge is configured with.

use std::path::PathBuf;
use std::time::Duration;

use edgeio_client::{Dialer, Proxy, Target, Trust};
use edgeio_server::config::{Check, DialConfig, Flat, JoinConfig, Validate};
use edgeio_server::telemetry::TelemetryConfig;

use crate::bus::nats::check_address;

/// Samples more often than this would be sent as they come, which is what coalescing is to prevent.
const LEAST_INTERVAL: Duration = Duration::from_millis(100);

edgeio_server::config! {
    /// Configuration of a bridge.
    pub struct Config {
        /// Logging.
        pub telemetry: Flat<TelemetryConfig>,
        /// The cluster's gRPC API: `HOST:PORT`, with `http://` before it if you like, or `https://` for TLS.
        pub cluster: String = "http://127.0.0.1:10100".to_owned(),
        /// How the cluster is called.
        pub dial: Flat<DialConfig>,
        /// Directory of the bridge's key, by which the cluster knows it, and of the authorities of the cluster that it has learned.
        /// Empty: a key for this run, which is enough where
        /// whoever reaches the cluster may do everything, such as on one machine.
        pub data_dir: PathBuf,
        /// Joining the cluster.
        pub joining: Flat<JoinConfig>,
        /// Display name; the host name when empty.
        pub name: String,
        /// The broker that the workers use: `nats://HOST:PORT`.
        pub nats: String = "nats://127.0.0.1:4222".to_owned(),
        /// How often the newest samples of each worker go to the cluster; the ones between are forgotten.
        // A person who watches sees a second; workers send every few seconds, so little is held back, while a
        // worker that floods costs the cluster one message a second.
        pub telemetry_interval: Duration = Duration::from_secs(1),
    }
}

impl Validate for Config {
    fn validate(&self, check: &mut Check<'_>) {
        if let Err(error) = self.cluster.parse::<Target>() {
            check.fail(
                "cluster",
                error.to_string(),
                "write an address such as `127.0.0.1:10100`",
            );
        }
        if let Err(error) = self.dial.proxy().parse::<Proxy>() {
            check.fail("proxy", error.to_string(), "write `http://HOST:PORT`");
        }
        let given = !self.joining.join_token.expose().is_empty()
            || !self.joining.join_token_file.as_os_str().is_empty();
        if given && self.data_dir.as_os_str().is_empty() {
            check.fail(
                "data_dir",
                "a bridge that joins needs a key that lasts",
                "write a directory such as `/var/lib/edgeio-bridge`",
            );
        }
        if let Err(error) = check_address(&self.nats) {
            let why = std::error::Error::source(&error).map(ToString::to_string);
            check.fail(
                "nats",
                format!("`{}`: {}", self.nats, why.unwrap_or_default()),
                "write an address such as `nats://127.0.0.1:4222`",
            );
        }
        if self.telemetry_interval < LEAST_INTERVAL {
            check.fail(
                "telemetry_interval",
                "samples would not be coalesced",
                "write at least `100ms`",
            );
        }
    }
}

impl Config {
    /// How the cluster is reached. The authorities that it learns are kept in the data directory, if there is one.
    pub(super) fn dialer(&self) -> Dialer {
        let hash = self.dial.ca_hash.clone();
        let hash = hash.or_else(|| self.joining.ca_hash());
        let mut trust = Trust::default()
            .file(self.dial.ca.clone())
            .hash(hash.and_then(|hash| hash.parse().ok()));
        if !self.data_dir.as_os_str().is_empty() {
            trust = trust.kept_in(self.data_dir.join("cluster-ca.pem"));
        }
        Dialer::new(trust, self.dial.proxy().parse().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use edgeio_server::config::{Loaded, Program, load};

    use super::*;

    const PROGRAM: Program = Program {
        name: "edgeio-bridge",
        version: "0",
        about: "A bridge.",
    };

    fn read(args: &[&str]) -> Result<Loaded<Config>, String> {
        let argv = std::iter::once("edgeio-bridge")
            .chain(args.iter().copied())
            .map(OsString::from);
        load(&PROGRAM, argv, Vec::new()).map_err(|errors| errors.to_string())
    }

    #[test]
    fn the_defaults_are_a_cluster_and_a_broker_on_this_machine() {
        let Ok(Loaded::Run(effective)) = read(&[]) else {
            panic!("no configuration")
        };
        assert_eq!(effective.config.cluster, "http://127.0.0.1:10100");
        assert_eq!(effective.config.nats, "nats://127.0.0.1:4222");
    }

    #[test]
    fn every_bad_value_is_named_at_once() {
        let args = [
            "--cluster",
            "wss://c:1",
            "--nats",
            "http://b:1",
            "--telemetry-interval",
            "1ms",
            "--join-token-file",
            "/t",
        ];
        let text = read(&args).unwrap_err();
        for key in ["cluster: ", "nats: ", "telemetry_interval: ", "data_dir: "] {
            assert!(text.contains(key), "`{key}` is not named in:\n{text}");
        }
    }
}
