//! Opens the database that a configuration names.

use std::{path::Path, sync::Arc};

use edgeio_domain::time::Clock;

use crate::{
    api::{Store, StoreError},
    sqlite::SqliteStore,
};

/// Opens the database that `url` names: `sqlite:PATH` (also `sqlite://PATH`). The path is taken as it stands.
///
/// # Errors
/// [`StoreError::Open`] for any other scheme, else those of [`SqliteStore::open`].
pub async fn open(url: &str, clock: Arc<dyn Clock>) -> Result<Arc<dyn Store>, StoreError> {
    let (scheme, rest) = url.split_once(':').unwrap_or(("", url));
    match scheme {
        "sqlite" => {
            let path = rest.strip_prefix("//").unwrap_or(rest);
            if path.is_empty() {
                return Err(StoreError::Open {
                    path: url.to_owned(),
                    what: "it names no file: write sqlite:/path/to/file.db".to_owned(),
                });
            }
            Ok(Arc::new(SqliteStore::open(Path::new(path), clock).await?))
        }
        // The rest of it may hold a password.
        other => Err(StoreError::Open {
            path: format!("{other}:.."),
            what: "this version keeps databases in SQLite: write sqlite:/path/to/file.db"
                .to_owned(),
        }),
    }
}
