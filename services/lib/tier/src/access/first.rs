//! The first administrator of a server that asks everybody for a credential: a token in a file that only the server's own
//! system user reads. Whoever can read it can read the database as well, so it opens nothing new.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use edgeio_server::auth::Role;
use edgeio_store::{Grant, StoreError, User, UserToken, Write};

use super::{Actor, Target, secret::Fresh};
use crate::context::Context;

/// The file's name in the data directory.
const FILE: &str = "admin.token";

/// Why there is no first administrator.
#[derive(Debug, thiserror::Error)]
pub enum FirstAdminError {
    /// The database cannot be had.
    #[error("record the first administrator")]
    Store(#[from] StoreError),
    /// The file cannot be written.
    #[error("write the first administrator's token to {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// No random numbers can be had.
    #[error("make a secret: {0}")]
    NoRandom(String),
}

/// Makes the user `admin` with one token in `data_dir` if there is no user at all. The token has no end: it is replaced by
/// people's own, and then revoked.
///
/// # Errors
/// See [`FirstAdminError`]; nothing was recorded then.
pub async fn first_admin(context: &Context, data_dir: &Path) -> Result<(), FirstAdminError> {
    let mut tx = context.store.write().await?;
    if !tx.users().await?.is_empty() {
        return Ok(());
    }
    let fresh = Fresh::new().map_err(|error| FirstAdminError::NoRandom(error.to_string()))?;
    // The file first: a token that is recorded but written nowhere would lock everybody out for good.
    let path = data_dir.join(FILE);
    write(&path, &fresh.token).map_err(|source| FirstAdminError::File {
        path: path.clone(),
        source,
    })?;
    let now = context.clock.wall();
    let user = User {
        id: context.ids.next(),
        name: "admin".to_owned(),
        grants: vec![Grant {
            namespace: None,
            role: Role::Admin.to_string(),
        }],
        created_at: now,
    };
    let token = UserToken {
        id: fresh.id,
        user: user.id,
        note: format!("first administrator, in {FILE}"),
        secret_hash: fresh.hash,
        created_at: now,
        expires_at: None,
        revoked_at: None,
        last_used_at: None,
    };
    let target = Target::new("user", "admin", "").with(format!("token {}", token.id));
    tx.audit(Actor::server().did(now, "CreateUser", target));
    tx.stage(Write::PutUser(user));
    tx.stage(Write::PutUserToken(token));
    tx.commit().await?;
    tracing::info!(path = %path.display(), "wrote the first administrator's token; log in with `edgeio login --token-file`");
    Ok(())
}

fn write(path: &Path, token: &str) -> std::io::Result<()> {
    // One that an attempt left behind was never recorded.
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(token.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()
}
