//! What a machine's token says: the one form that its two ends share, who signs (`edgeio-client`) and who verifies
//! (`edgeio-server`).

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The token's `typ`: no token of another use is ever taken for one.
pub const TYPE: &str = "edgeio-machine+jwt";

/// How long a token is good. Long enough for a slow line and a retry, too short to be worth stealing.
pub const LIFE: Duration = Duration::from_secs(5 * 60);

/// How far the clocks of a machine and a server may differ.
pub const LEEWAY: Duration = Duration::from_secs(60);

/// The audience of a machine that does not know yet what its server is called; such a token is good for joining alone.
pub const REGISTER_AUDIENCE: &str = "register";

/// The token's claims.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The machine's public nkey, with whose other half the token is signed.
    pub sub: String,
    /// The id of the server that it is for, or [`REGISTER_AUDIENCE`].
    pub aud: String,
    /// When it was made, in seconds since 1970.
    pub iat: u64,
    /// When it ends, in seconds since 1970.
    pub exp: u64,
}
