//! What a root is configured with.

use std::path::PathBuf;

use edgeio_server::{
    auth::oidc::OidcConfig,
    config::{Flat, ServeConfig, Validate},
    telemetry::TelemetryConfig,
};
use edgeio_tier::config::TierConfig;

edgeio_server::config! {
    /// Configuration of a root.
    pub struct Config {
        /// Serving.
        pub serve: Flat<ServeConfig>,
        /// Records and times.
        pub tier: Flat<TierConfig> = Flat(TierConfig {
            data_dir: PathBuf::from("/var/lib/edgeio-root"),
            ..TierConfig::default()
        }),
        /// Users of an OpenID provider.
        pub oidc: Flat<OidcConfig>,
        /// Logging.
        pub telemetry: Flat<TelemetryConfig>,
    }
}

impl Validate for Config {}
