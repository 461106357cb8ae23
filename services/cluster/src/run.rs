//! Where the cluster's parts meet.

use std::{path::PathBuf, sync::Arc, time::Duration};

use edgeio_client::Target;
use edgeio_domain::{ids::ChildId, records::Owner};
use edgeio_link::child;
use edgeio_proto::{
    cluster::v1::bridge_service_server::BridgeServiceServer, root::v1::RegisterRequest,
};
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

use tracing::{info, warn};

use crate::{
    Config,
    api::worker_service,
    bridges::{Bridge, Bridges},
    identity::{Identity, IdentityError},
    uplink::{Uplink, driver},
    workers::{Gate, Welcome},
};

/// Why a cluster could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Its address cannot be had.
    #[error("listen")]
    Bind(#[from] BindError),
    /// Its database cannot be had.
    #[error("open the database")]
    Store(#[from] StoreError),
    /// Its identity cannot be had.
    #[error("open the identity")]
    Identity(#[from] IdentityError),
    /// Its data directory cannot be made.
    #[error("make the data directory {}", path.display())]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Its server failed.
    #[error("serve")]
    Serve(#[from] ServeError),
}

/// A cluster that listens and has its database open.
pub struct Cluster {
    config: Config,
    listener: Listener,
    context: Context,
    identity: Arc<Identity>,
    name: String,
}

impl Cluster {
    /// Binds and opens.
    ///
    /// # Errors
    /// The address, the database or the identity cannot be had.
    pub async fn open(config: Config) -> Result<Self, RunError> {
        let listener = Listener::bind(config.serve.listen).await?;
        let clock = Arc::new(SystemClock);
        let path = config.tier.data_dir.clone();
        std::fs::create_dir_all(&path).map_err(|source| RunError::DataDir {
            path: path.clone(),
            source,
        })?;
        let identity = Arc::new(Identity::open(&path)?);
        let url = format!("sqlite://{}", path.join("cluster.db").display());
        let store = edgeio_store::open(&url, clock.clone()).await?;
        let context = Context {
            store,
            clock,
            ids: Arc::new(SystemIds),
            own: Owner::Cluster(identity.id),
            noun: "worker",
            times: config.tier.times(),
        };
        let name = if config.name.is_empty() {
            hostname()
        } else {
            config.name.clone()
        };
        Ok(Self {
            config,
            listener,
            context,
            identity,
            name,
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
        let address = self.address();
        let Self {
            config,
            listener,
            context,
            identity,
            name,
        } = self;
        let (engine, hub) = (
            Arc::new(Engine::new(context.clone())),
            Arc::new(Hub::new(context.clone())),
        );
        let (inbound, inbox) = loops::inbound();
        let bridges = Bridges::default();
        let bridge = Bridge::new(
            identity.id,
            hub.clone(),
            inbound,
            bridges.clone(),
            stop.clone(),
        );
        let welcome = Welcome {
            cluster_name: name.clone(),
            broker_address: config.broker_address.clone(),
            broker_port: config.broker_port,
            telemetry_interval: config.worker_telemetry,
        };
        let gate = Gate::new(context.clone(), identity.clone(), welcome);
        let planning = tokio::spawn(loops::engine(context.clone(), engine.clone(), stop.clone()));
        let talking = tokio::spawn(loops::hub(
            context.clone(),
            hub.clone(),
            inbox,
            Arc::new(bridges),
            stop.clone(),
        ));
        let called = name.clone();
        let register = RegisterRequest {
            cluster_id: identity.id.to_string(),
            name,
            public_key: identity.public_key(),
            address: if config.advertise.is_empty() {
                address.to_string()
            } else {
                config.advertise.clone()
            },
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let root = config.root.parse::<Target>().ok();
        let reporting = tokio::spawn(report(
            context.clone(),
            root,
            register,
            identity.id,
            stop.clone(),
        ));
        let apps = Apps::new(&context, engine, called.clone());
        let workers = worker_service(Children::new(&context, called), Arc::new(gate), hub);
        let api = Api::new(Arc::new(config.serve.local()))
            .service(application_service(apps, stop.clone()))
            .service(workers)
            .service(bounded!(BridgeServiceServer::new(bridge)));
        let served = api
            .serve(listener, stop, config.serve.drain_timeout)
            .await?;
        // The loops end with the same token; a commit that is under way is let finish.
        let _ = tokio::join!(planning, talking, reporting);
        match served {
            Served::Drained | Served::Cut(_) => Ok(()),
        }
    }
}

/// Reports to the root for as long as there is one; a cluster without a root works alone.
async fn report(
    context: Context,
    root: Option<Target>,
    register: RegisterRequest,
    id: ChildId,
    stop: Shutdown,
) {
    let Some(root) = root else {
        info!("no root is configured, this cluster works alone");
        return;
    };
    let child = child::Identity {
        id,
        version: register.version.clone(),
        boot_id: String::new(),
    };
    loop {
        match Uplink::open(context.clone(), child.clone()).await {
            Ok(uplink) => return driver::run(context, uplink, root, register, stop).await,
            Err(error) => warn!(%error, "reading the uplink's state failed"),
        }
        tokio::select! {
            () = stop.wait() => return,
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
    }
}

fn hostname() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

/// Opens and runs a cluster.
///
/// # Errors
/// See [`Cluster::open`] and [`Cluster::run`].
pub async fn run(config: Config, stop: Shutdown) -> Result<(), RunError> {
    Cluster::open(config).await?.run(stop).await
}
