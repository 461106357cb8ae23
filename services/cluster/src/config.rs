//! What a cluster is configured with.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use edgeio_client::{Dialer, Proxy, Target, Trust};
use edgeio_server::{
    auth::oidc::OidcConfig,
    config::{Check, DialConfig, Flat, JoinConfig, ServeConfig, Validate},
    telemetry::TelemetryConfig,
};
use edgeio_tier::config::TierConfig;

edgeio_server::config! {
    /// Configuration of a cluster.
    pub struct Config {
        /// Serving.
        pub serve: Flat<ServeConfig> = Flat(ServeConfig {
            listen: SocketAddr::from(([127, 0, 0, 1], 10100)),
            ..ServeConfig::default()
        }),
        /// Display name at the root; the host name when empty.
        pub name: String,
        /// The root's gRPC API: `HOST:PORT`, or `https://HOST:PORT` with TLS. Empty: this cluster works alone.
        pub root: String = "127.0.0.1:10000".to_owned(),
        /// How the root is called.
        pub dial: Flat<DialConfig>,
        /// Joining the root.
        pub joining: Flat<JoinConfig>,
        /// Where people and the root reach this cluster's API, if not at `listen`: `HOST:PORT`. Empty: at `listen`; where that
        /// is every address of the machine (`0.0.0.0`, `[::]`), at the one from which the machine reaches the root.
        pub advertise: String,
        /// Host name or address of the broker, as workers reach it.
        pub broker_address: String = "127.0.0.1".to_owned(),
        /// Port of the broker.
        pub broker_port: u16 = 4222,
        /// Whom the broker lets in: `jwt`, whom this cluster gave a pass (see `edgeio-cluster nats-config`), or `none`, everybody, for a
        /// broker on loopback.
        pub broker_auth: BrokerAuth = BrokerAuth::Jwt,
        /// How long a pass for the broker is good. It is replaced after half of that to two thirds.
        // What is stolen, and not known to be, is of use for an hour; 10,000 workers renew five a second.
        pub broker_pass_life: Duration = Duration::from_secs(3600),
        /// How often workers send samples of CPU and memory; 0 means never.
        // A person who watches sees a change within seconds; 100 bytes every 10 s are nothing on a mobile link.
        pub worker_telemetry: Duration = Duration::from_secs(10),
        /// Records and times.
        pub tier: Flat<TierConfig> = Flat(TierConfig {
            data_dir: PathBuf::from("/var/lib/edgeio-cluster"),
            ..TierConfig::default()
        }),
        /// Users of an OpenID provider.
        pub oidc: Flat<OidcConfig>,
        /// Logging.
        pub telemetry: Flat<TelemetryConfig>,
    }
}

edgeio_server::choice! {
    /// Whom the broker lets in.
    pub enum BrokerAuth {
        /// Whom this cluster gave a pass.
        Jwt = "jwt",
        /// Everybody.
        None = "none",
    }
}

/// A pass that ends sooner would be replaced all the time, since brokers count in seconds.
const SHORTEST_PASS: Duration = Duration::from_secs(4);

impl Validate for Config {
    fn validate(&self, check: &mut Check<'_>) {
        if !self.root.is_empty()
            && let Err(error) = self.root.parse::<Target>()
        {
            check.fail(
                "root",
                error.to_string(),
                "write an address such as `127.0.0.1:10000`, or nothing",
            );
        }
        if let Err(error) = self.dial.proxy().parse::<Proxy>() {
            check.fail("proxy", error.to_string(), "write `http://HOST:PORT`");
        }
        if self.broker_address.is_empty() {
            check.fail(
                "broker_address",
                "workers would not find the broker",
                "write a host name or an address",
            );
        }
        let open = self.broker_auth == BrokerAuth::None && !self.serve.insecure;
        let near = |host: &str| {
            host == "localhost"
                || host
                    .parse::<std::net::IpAddr>()
                    .is_ok_and(|ip| ip.to_canonical().is_loopback())
        };
        if open && !near(&self.broker_address) {
            check.fail(
                "broker_auth",
                "whoever reaches the broker could say anything for any worker",
                "write `jwt`, and start the broker on what `edgeio-cluster nats-config` writes",
            );
        }
        if self.broker_pass_life < SHORTEST_PASS {
            check.fail(
                "broker_pass_life",
                "passes would be replaced all the time",
                "write at least `4s`, or leave it at an hour",
            );
        }
        if self.broker_port == 0 {
            check.fail(
                "broker_port",
                "workers would not find the broker",
                "write its port, 4222 by default",
            );
        }
    }
}

impl Config {
    /// How the root is reached; what is learned of it is kept in the data directory.
    pub(crate) fn dialer(&self) -> Dialer {
        let hash = self.dial.ca_hash.clone();
        let hash = hash.or_else(|| self.joining.ca_hash());
        let trust = Trust::default()
            .file(self.dial.ca.clone())
            .hash(hash.and_then(|hash| hash.parse().ok()))
            .kept_in(self.tier.data_dir.join("root-ca.pem"));
        Dialer::new(trust, self.dial.proxy().parse().unwrap_or_default())
    }
}
