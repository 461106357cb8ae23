//! The child's configuration file: the few settings whose defaults do not suit the edge.

use super::Settings;

/// Four times what our own library lets pass, so that a message never costs a connection.
const MAX_PAYLOAD: usize = 256 * 1024;
/// What may wait for one client that reads too slowly before it is cut off: a thousand assignments with their specs.
const MAX_PENDING: usize = 8 * 1024 * 1024;
/// With two unanswered pings a dead peer is known within a minute; by default it takes six.
const PING_INTERVAL: &str = "20s";

/// The text of the file. Nothing in it comes from a user but two socket addresses and what the caller knows of accounts.
pub(super) fn render(name: &str, settings: &Settings) -> String {
    let mut text = format!(
        "# Written at each start; changes are lost.\n\
         server_name: \"{name}\"\n\
         listen: \"{listen}\"\n\
         max_payload: {MAX_PAYLOAD}\n\
         max_pending: {MAX_PENDING}\n\
         ping_interval: \"{PING_INTERVAL}\"\n\
         ping_max: 2\n",
        listen = settings.listen,
    );
    if let Some(monitor) = settings.monitor {
        text.push_str(&format!("http: \"{monitor}\"\n"));
    }
    text.push_str(&settings.authority);
    text
}
