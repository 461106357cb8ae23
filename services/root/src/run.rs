//! Where the root's parts meet.

use std::sync::Arc;

use edgeio_domain::records::Owner;
use edgeio_proto::root::v1::cluster_link_service_server::ClusterLinkServiceServer;
use edgeio_server::{
    bounded,
    grpc::{Api, BindError, Listener, ServeError, Served},
    shutdown::Shutdown,
};
use edgeio_store::StoreError;
use edgeio_tier::{
    api::application_service,
    apps::{Apps, Children},
    context::Context,
    engine::Engine,
    hub::Hub,
    loops,
    system::{SystemClock, SystemIds},
};

use crate::{
    Config,
    api::cluster_service,
    link::{ClusterLink, Streams},
};

/// What people call this tier.
const NAME: &str = "root";

/// Why a root could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
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
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Its server failed.
    #[error("serve")]
    Serve(#[from] ServeError),
}

/// A root that listens and has its database open.
pub struct Root {
    config: Config,
    listener: Listener,
    context: Context,
}

impl Root {
    /// Binds and opens.
    ///
    /// # Errors
    /// The address or the database cannot be had.
    pub async fn open(config: Config) -> Result<Self, RunError> {
        let listener = Listener::bind(config.serve.listen).await?;
        let clock = Arc::new(SystemClock);
        let path = config.tier.data_dir.clone();
        std::fs::create_dir_all(&path).map_err(|source| RunError::DataDir {
            path: path.clone(),
            source,
        })?;
        let url = format!("sqlite://{}", path.join("root.db").display());
        let store = edgeio_store::open(&url, clock.clone()).await?;
        let context = Context {
            store,
            clock,
            ids: Arc::new(SystemIds),
            own: Owner::Root,
            noun: "cluster",
            times: config.tier.times(),
        };
        Ok(Self {
            config,
            listener,
            context,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> std::net::SocketAddr {
        self.listener.address()
    }

    /// Runs until `stop`.
    ///
    /// # Errors
    /// The server failed.
    pub async fn run(self, stop: Shutdown) -> Result<(), RunError> {
        let Self {
            config,
            listener,
            context,
        } = self;
        let (engine, hub) = (
            Arc::new(Engine::new(context.clone())),
            Arc::new(Hub::new(context.clone())),
        );
        let (inbound, inbox) = loops::inbound();
        let streams = Streams::default();
        let link = ClusterLink::new(context.clone(), inbound, streams.clone(), stop.clone());
        let planning = tokio::spawn(loops::engine(context.clone(), engine.clone(), stop.clone()));
        let talking = tokio::spawn(loops::hub(
            context.clone(),
            hub.clone(),
            inbox,
            Arc::new(streams),
            stop.clone(),
        ));
        let apps = Apps::new(&context, engine, NAME);
        let api = Api::new(Arc::new(config.serve.local()))
            .service(application_service(apps, stop.clone()))
            .service(cluster_service(Children::new(&context, NAME), stop.clone()))
            .service(bounded!(ClusterLinkServiceServer::new(link)));
        let served = api
            .serve(listener, stop, config.serve.drain_timeout)
            .await?;
        // The loops end with the same token; a commit that is under way is let finish.
        let _ = tokio::join!(planning, talking);
        match served {
            Served::Drained | Served::Cut(_) => Ok(()),
        }
    }
}

/// Opens and runs a root.
///
/// # Errors
/// See [`Root::open`] and [`Root::run`].
pub async fn run(config: Config, stop: Shutdown) -> Result<(), RunError> {
    Root::open(config).await?.run(stop).await
}
