//! Where the root's parts meet.

use std::{net::SocketAddr, sync::Arc};

use edgeio_domain::records::Owner;
use edgeio_proto::root::v1::cluster_link_service_server::ClusterLinkServiceServer;
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

use crate::{
    Config,
    api::cluster_service,
    link::{ClusterLink, Streams},
};

/// What people call this tier.
const NAME: &str = "root";

/// A root that listens and has its database open.
pub struct Root {
    config: Config,
    listener: Listener,
    tls: Option<Tls>,
    context: Context,
}

impl Root {
    /// Binds and opens.
    ///
    /// # Errors
    /// The address or the database cannot be had.
    pub async fn open(config: Config) -> Result<Self, TierError> {
        let listener = Listener::bind(config.serve.listen).await?;
        assembly::make_data_dir(&config.tier)?;
        let tls = Tls::open(&config.serve, &config.tier.data_dir, NAME, &[])?;
        let context = assembly::open(&config.tier, "root.db", Owner::Root, "cluster").await?;
        Ok(Self {
            config,
            listener: listener.secure(tls.clone()),
            tls,
            context,
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
    pub async fn run(self, stop: Shutdown) -> Result<(), TierError> {
        let Self {
            config,
            listener,
            tls,
            context,
        } = self;
        let loops = Loops::new(context.clone());
        let streams = Streams::default();
        let apps = Apps::new(&context, loops.engine.clone(), NAME);
        let local = config.serve.local();
        let machine = Machine {
            audience: context
                .store
                .read()
                .await?
                .meta()
                .await?
                .lineage
                .to_string(),
            machines: Keys::new(&context, PrincipalKind::Cluster),
            without: local,
        };
        let auth = Chain::new()
            .then(UserTokens::new(&context))
            .then(machine)
            .maybe(Oidc::new(&config.oidc))
            .then(local);
        let children = Children::new(&context, NAME).hearing(loops.hub.heard());
        assembly::administrable(&config.serve, &config.tier, &context).await?;
        let (denials, recorder) = denials(context.store.clone(), context.clock.clone());
        let denials = Arc::new(denials);
        let recording = tokio::spawn(recorder.run(stop.clone()));
        let link = ClusterLink::new(
            context.clone(),
            denials.clone(),
            loops.inbound.clone(),
            streams.clone(),
            stop.clone(),
        );
        let api = Api::new(Arc::new(auth))
            .denials(denials)
            .configured(&config.serve)
            .service(application_service(apps, stop.clone()))
            .service(access_service(Access::new(&context)))
            .service(cluster_service(children, stop.clone()))
            .service(join_service(Joins::new(
                &context,
                &[JoinKind::Cluster],
                tls.clone(),
            )))
            .service(bounded!(ClusterLinkServiceServer::new(link)));
        let renewal = tls.map(|tls| tokio::spawn(tls.keep(stop.clone())));
        let tasks = loops
            .start(Arc::new(streams), &stop)
            .into_iter()
            .chain([recording])
            .chain(renewal);
        assembly::serve(api, listener, config.serve.drain_timeout, tasks, stop).await
    }
}

/// Opens and runs a root.
///
/// # Errors
/// See [`Root::open`] and [`Root::run`].
pub async fn run(config: Config, stop: Shutdown) -> Result<(), TierError> {
    Root::open(config).await?.run(stop).await
}
