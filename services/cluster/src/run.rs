//! Where the cluster's parts meet.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use edgeio_client::{Signer, Target};
use edgeio_domain::{ids::ChildId, records::Owner};
use edgeio_link::child;
use edgeio_proto::{
    cluster::v1::bridge_service_server::BridgeServiceServer, root::v1::RegisterRequest,
};
use edgeio_server::{
    auth::{Chain, PrincipalKind, machine::Machine, oidc::Oidc},
    bounded,
    grpc::{Api, Listener},
    shutdown::Shutdown,
    tls::Tls,
};
use edgeio_store::JoinKind;
use edgeio_tier::{
    access::{Access, UserTokens, denials},
    api::{access_service, application_service, join_service},
    apps::{Apps, Children},
    assembly::{self, Loops, TierError},
    context::Context,
    joins::Joins,
    machines::Keys,
};
use tracing::{info, warn};

use crate::{
    Config,
    api::worker_service,
    bridges::{Bridge, Bridges},
    broker::{Passes, PassesError},
    config::BrokerAuth,
    identity::{Identity, IdentityError},
    uplink::{
        Uplink,
        driver::{self, Dial},
    },
    workers::{Gate, Welcome},
};

/// Why a cluster could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// Its identity cannot be had.
    #[error("open the identity")]
    Identity(#[from] IdentityError),
    /// What its broker goes by cannot be had.
    #[error("prepare passes for the broker")]
    Passes(#[from] PassesError),
    /// What every tier needs cannot be had.
    #[error(transparent)]
    Tier(#[from] TierError),
}

/// A cluster that listens and has its database open.
pub struct Cluster {
    config: Config,
    listener: Listener,
    tls: Option<Tls>,
    context: Context,
    identity: Arc<Identity>,
    passes: Option<Arc<Passes>>,
    name: String,
}

impl Cluster {
    /// Binds and opens.
    ///
    /// # Errors
    /// The address, the database or the identity cannot be had.
    pub async fn open(config: Config) -> Result<Self, ClusterError> {
        let listener = Listener::bind(config.serve.listen)
            .await
            .map_err(TierError::from)?;
        assembly::make_data_dir(&config.tier)?;
        let identity = Arc::new(Identity::open(&config.tier.data_dir)?);
        let reached_as = [config.advertise.as_str()];
        let tls = Tls::open(&config.serve, &config.tier.data_dir, "cluster", &reached_as)
            .map_err(TierError::from)?;
        let passes = match config.broker_auth {
            BrokerAuth::Jwt => {
                let life = config.broker_pass_life;
                let passes = Passes::open(&config.tier.data_dir, identity.id.0, life)?;
                Some(Arc::new(passes))
            }
            BrokerAuth::None => None,
        };
        let own = Owner::Cluster(identity.id);
        let context = assembly::open(&config.tier, "cluster.db", own, "worker").await?;
        let name = if config.name.is_empty() {
            hostname()
        } else {
            config.name.clone()
        };
        Ok(Self {
            config,
            listener: listener.secure(tls.clone()),
            tls,
            context,
            identity,
            passes,
            name,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.listener.address()
    }

    /// Runs until `stop`.
    ///
    /// # Errors
    /// The server failed.
    pub async fn run(self, stop: Shutdown) -> Result<(), ClusterError> {
        let register = self.registration();
        let Self {
            config,
            listener,
            tls,
            context,
            identity,
            passes,
            name,
        } = self;
        let loops = Loops::new(context.clone());
        let bridges = Bridges::default();
        let bridge = Bridge::new(
            context.clone(),
            identity.id,
            loops.hub.clone(),
            loops.inbound.clone(),
            bridges.clone(),
            stop.clone(),
        )
        .with_passes(passes.clone());
        let welcome = Welcome {
            cluster_name: name.clone(),
            broker_address: config.broker_address.clone(),
            broker_port: config.broker_port,
            telemetry_interval: config.worker_telemetry,
        };
        let gate =
            Gate::new(context.clone(), identity.clone(), welcome).with_passes(passes.clone());
        let apps = Apps::new(&context, loops.engine.clone(), name.clone()).beneath(&config.root);
        let workers = worker_service(
            Children::new(&context, name).hearing(loops.hub.heard()),
            Arc::new(gate),
            loops.hub.clone(),
            passes,
        );
        let kinds = &[JoinKind::Worker, JoinKind::Bridge];
        let joins = Joins::new(&context, kinds, tls.clone());
        let local = config.serve.local();
        let machine = Machine {
            audience: identity.id.to_string(),
            machines: Keys::new(&context, PrincipalKind::Worker),
            without: local,
        };
        let auth = Chain::new()
            .then(UserTokens::new(&context))
            .then(machine)
            .maybe(Oidc::new(&config.oidc))
            .then(local);
        assembly::administrable(&config.serve, &config.tier, &context).await?;
        let (denials, recorder) = denials(context.store.clone(), context.clock.clone());
        let recording = tokio::spawn(recorder.run(stop.clone()));
        let api = Api::new(Arc::new(auth))
            .denials(Arc::new(denials))
            .configured(&config.serve)
            .service(application_service(apps, stop.clone()))
            .service(access_service(Access::new(&context)))
            .service(join_service(joins))
            .service(workers)
            .service(bounded!(BridgeServiceServer::new(bridge)));
        let root = config.root.parse::<Target>().ok();
        let signer = Signer::new(identity.machine_key()?);
        let dialer = config.dialer();
        let dial = Dial {
            register,
            signer,
            dialer,
            joining: config.joining.0.clone(),
        };
        let reporting = tokio::spawn(report(context, root, dial, identity.id, stop.clone()));
        let renewal = tls.map(|tls| tokio::spawn(tls.keep(stop.clone())));
        let tasks = loops
            .start(Arc::new(bridges), &stop)
            .into_iter()
            .chain([reporting, recording])
            .chain(renewal);
        Ok(assembly::serve(api, listener, config.serve.drain_timeout, tasks, stop).await?)
    }

    /// What the root is told of this cluster.
    fn registration(&self) -> RegisterRequest {
        let advertise = &self.config.advertise;
        let address = if advertise.is_empty() {
            self.address().to_string()
        } else {
            advertise.clone()
        };
        RegisterRequest {
            cluster_id: self.identity.id.to_string(),
            name: self.name.clone(),
            public_key: self.identity.public_key(),
            address,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            // Read at each attempt.
            join_token: String::new(),
        }
    }
}

/// Reports to the root for as long as there is one; a cluster without a root works alone.
async fn report(context: Context, root: Option<Target>, dial: Dial, id: ChildId, stop: Shutdown) {
    let Some(root) = root else {
        info!("no root is configured, this cluster works alone");
        return;
    };
    let child = child::Identity {
        id,
        version: dial.register.version.clone(),
        boot_id: String::new(),
    };
    loop {
        match Uplink::open(context.clone(), child.clone()).await {
            Ok(uplink) => return driver::run(context, uplink, root, dial, stop).await,
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
pub async fn run(config: Config, stop: Shutdown) -> Result<(), ClusterError> {
    Cluster::open(config).await?.run(stop).await
}
