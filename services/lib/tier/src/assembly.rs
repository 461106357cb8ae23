//! Where the parts of a tier meet, as far as root and cluster are alike: opening, the loops, serving.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use edgeio_domain::{
    ids::{ChildId, IdSource},
    records::Owner,
};
use edgeio_proto::link::v1;
use edgeio_server::{
    auth::Reach,
    config::ServeConfig,
    grpc::{Api, BindError, Listener, ServeError, Served},
    shutdown::Shutdown,
    tls::TlsError,
};
use edgeio_store::StoreError;
use tokio::{sync::mpsc, task::JoinHandle};

use crate::{
    access::{FirstAdminError, first_admin},
    config::TierConfig,
    context::Context,
    engine::Engine,
    hub::Hub,
    loops::{self, Inbound, Outlet},
    system::{SystemClock, SystemIds},
};

/// Why a tier could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum TierError {
    /// Its address cannot be had.
    #[error("listen")]
    Bind(#[from] BindError),
    /// Its database cannot be had.
    #[error("open the database")]
    Store(#[from] StoreError),
    /// Its data directory cannot be made.
    #[error("make the data directory {}", path.display())]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Its certificate cannot be had.
    #[error("secure the API")]
    Tls(#[from] TlsError),
    /// Nobody could administer it.
    #[error(transparent)]
    FirstAdmin(#[from] FirstAdminError),
    /// Its server failed.
    #[error("serve")]
    Serve(#[from] ServeError),
}

/// Makes the data directory.
///
/// # Errors
/// It cannot be made.
pub fn make_data_dir(config: &TierConfig) -> Result<(), TierError> {
    fs::create_dir_all(&config.data_dir).map_err(|source| TierError::DataDir {
        path: config.data_dir.clone(),
        source,
    })
}

/// Sees to it that somebody can administer a server on which everybody needs a credential.
///
/// # Errors
/// The administrator cannot be recorded, or its token not be written.
pub async fn administrable(
    serve: &ServeConfig,
    tier: &TierConfig,
    context: &Context,
) -> Result<(), TierError> {
    if serve.local().reach == Reach::Nowhere {
        first_admin(context, &tier.data_dir).await?;
    }
    Ok(())
}

/// Opens the database `file` in the data directory, on the real clocks and ids.
///
/// # Errors
/// The database cannot be had.
pub async fn open(
    config: &TierConfig,
    file: &str,
    own: Owner,
    noun: &'static str,
) -> Result<Context, TierError> {
    let clock = Arc::new(SystemClock);
    let url = format!("sqlite:{}", config.data_dir.join(file).display());
    let store = edgeio_store::open(&url, clock.clone()).await?;
    Ok(Context {
        store,
        clock,
        ids: Arc::new(SystemIds),
        replica: SystemIds.next(),
        own,
        noun,
        times: config.times(),
    })
}

/// A tier's loops, before they run.
pub struct Loops {
    /// Plans and places.
    pub engine: Arc<Engine>,
    /// The sessions of children.
    pub hub: Arc<Hub>,
    /// Where the children's messages go in.
    pub inbound: Inbound,
    context: Context,
    inbox: mpsc::Receiver<(ChildId, v1::ChildMessage)>,
}

impl Loops {
    /// The loops over the tier's parts.
    #[must_use]
    pub fn new(context: Context) -> Self {
        let (inbound, inbox) = loops::inbound();
        let engine = Arc::new(Engine::new(context.clone()));
        let hub = Arc::new(Hub::new(context.clone()));
        Self {
            engine,
            hub,
            inbound,
            context,
            inbox,
        }
    }

    /// Starts them; they end at `stop`.
    pub fn start(self, outlet: Arc<dyn Outlet>, stop: &Shutdown) -> [JoinHandle<()>; 2] {
        let Self {
            engine,
            hub,
            context,
            inbox,
            inbound: _,
        } = self;
        [
            tokio::spawn(loops::engine(context.clone(), engine, stop.clone())),
            tokio::spawn(loops::hub(context, hub, inbox, outlet, stop.clone())),
        ]
    }
}

/// Serves until `stop`, then waits for the tasks, which end with the same token: a commit that is under way is let finish.
///
/// # Errors
/// The server failed.
pub async fn serve(
    api: Api,
    listener: Listener,
    drain: Duration,
    tasks: impl IntoIterator<Item = JoinHandle<()>>,
    stop: Shutdown,
) -> Result<(), TierError> {
    let served = api.serve(listener, stop, drain).await?;
    for task in tasks {
        let _ = task.await;
    }
    match served {
        // What was cut is in the log.
        Served::Drained | Served::Cut(_) => Ok(()),
    }
}
