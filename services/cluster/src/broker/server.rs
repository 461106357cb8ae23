//! A nats-server's configuration: the limits whose defaults do not suit the edge, and whom it believes.
//!
//! It holds no secret. What is written is understood by nats-server 2.9 (Debian's) and later. Deliberately absent: JetStream
//! (the tiers' databases are the authority), and ports for leaf nodes, gateways and routes; who needs a cluster of brokers adds them
//! in a file that includes this one.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use super::{
    claims::{self, Revocations},
    keys::Keys,
    token::MintError,
};

/// Four times what our own library lets pass, so that a message of ours never costs a connection.
const MAX_PAYLOAD: usize = 256 * 1024;
/// What may wait for one client that reads too slowly before it is cut off: a thousand assignments with their specs.
const MAX_PENDING: usize = 8 * 1024 * 1024;
/// With two unanswered pings a dead peer is known within a minute; by default it takes six.
const PING_INTERVAL: &str = "20s";
/// Seconds for a client to say who it is. By default 2, which thousands of workers that come back at once on two cores overrun.
const AUTHORIZATION_TIMEOUT: u32 = 10;
/// Seconds for a TLS handshake: as above; with the default of 2, 7,810 of 10,000 handshakes were given up at first.
const TLS_TIMEOUT: u32 = 30;

/// A certificate and its key, as files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate chain, PEM.
    pub cert: PathBuf,
    /// The key, PEM.
    pub key: PathBuf,
}

/// What a configuration says beyond whom to believe.
#[derive(Clone, Debug)]
pub struct Listeners {
    /// Where clients come in.
    pub listen: SocketAddr,
    /// Where clients come in over WebSocket, if anywhere.
    pub websocket: Option<SocketAddr>,
    /// Where the monitoring pages are, if anywhere. They show who is connected.
    pub monitor: Option<SocketAddr>,
    /// TLS on both listeners.
    pub tls: Option<TlsFiles>,
    /// Most clients at a time.
    pub max_connections: u32,
}

/// Whom the broker believes, as the part of a configuration that begins with `operator`. Accounts that it is told of later are kept
/// in `accounts`.
///
/// # Errors
/// The keys cannot sign.
pub fn authority(keys: &Keys, accounts: &Path) -> Result<String, MintError> {
    let account = claims::account(keys, keys.made_at, &Revocations::new())?;
    Ok(format!(
        "authorization {{ timeout: {AUTHORIZATION_TIMEOUT} }}\n\
         operator: \"{operator}\"\n\
         system_account: {system_key}\n\
         resolver {{\n  type: full\n  dir: {accounts}\n  allow_delete: false\n  interval: \"2m\"\n}}\n\
         # Accounts as they were made; newer ones, with revocations, are in the directory above.\n\
         resolver_preload {{\n  {account_key}: \"{account}\"\n  {system_key}: \"{system}\"\n}}\n",
        operator = claims::operator(keys)?,
        system_key = keys.system_key(),
        account_key = keys.account_key(),
        system = claims::system(keys)?,
        accounts = quoted(accounts),
    ))
}

/// The whole configuration.
///
/// # Errors
/// The keys cannot sign.
pub fn render(keys: &Keys, listeners: &Listeners, accounts: &Path) -> Result<String, MintError> {
    let tls = |of: &TlsFiles| {
        format!(
            "tls {{\n    cert_file: {}\n    key_file: {}\n",
            quoted(&of.cert),
            quoted(&of.key)
        )
    };
    let mut text = format!(
        "# Written by `edgeio-cluster nats-config`, which makes it anew when it is called again. It holds no secret.\n\
         server_name: \"edgeio-{name}\"\n\
         listen: \"{listen}\"\n\
         max_payload: {MAX_PAYLOAD}\n\
         max_pending: {MAX_PENDING}\n\
         max_connections: {max_connections}\n\
         ping_interval: \"{PING_INTERVAL}\"\n\
         ping_max: 2\n",
        // Distinguishes brokers in a log.
        name = keys.account_key().chars().take(8).collect::<String>(),
        listen = listeners.listen,
        max_connections = listeners.max_connections,
    );
    if let Some(monitor) = listeners.monitor {
        text.push_str(&format!("http: \"{monitor}\"\n"));
    }
    if let Some(files) = &listeners.tls {
        text.push_str(&format!("{}    timeout: {TLS_TIMEOUT}\n}}\n", tls(files)));
    }
    if let Some(address) = listeners.websocket {
        let security = match &listeners.tls {
            Some(files) => format!("{}  }}\n", tls(files)),
            None => "no_tls: true\n".to_owned(),
        };
        text.push_str(&format!(
            "websocket {{\n  listen: \"{address}\"\n  handshake_timeout: \"{TLS_TIMEOUT}s\"\n  {security}}}\n"
        ));
    }
    text.push_str(&authority(keys, accounts)?);
    Ok(text)
}

/// A path as a string of the configuration's language.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
