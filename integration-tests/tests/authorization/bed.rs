//! A root or a cluster with TLS, an application, and a caller of every kind.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use edgeio_client::{Dialer, MachineKey, Options, Proxy, Target, Trust};
use edgeio_proto::{
    api::v1::{
        self as api, access_service_client::AccessServiceClient,
        application_service_client::ApplicationServiceClient,
    },
    cluster::v1::{
        self as cluster, bridge_service_client::BridgeServiceClient,
        worker_service_client::WorkerServiceClient,
    },
    root::v1::{self as root, cluster_link_service_client::ClusterLinkServiceClient},
};
use edgeio_server::{
    shutdown::{Shutdown, Trigger},
    tls::TlsMode,
};
use nkeys::KeyPair;
use prost_reflect::DescriptorPool;
use tempfile::TempDir;
use tokio::{task::JoinHandle, time::Instant};
use tonic::{Code, Request, Status, transport::Channel};

use super::call;

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    Root,
    Cluster,
}

/// A server that runs.
struct Server {
    address: SocketAddr,
    stop: Trigger,
    task: JoinHandle<()>,
}

impl Server {
    async fn start(which: Which, data: &Path, tls: TlsMode) -> Self {
        let (stop, stopped) = Shutdown::new();
        match which {
            Which::Root => {
                let mut config = edgeio_root::Config::default();
                config.serve.listen = SocketAddr::from(([127, 0, 0, 1], 0));
                config.serve.tls = tls;
                data.clone_into_path(&mut config.tier.data_dir);
                let server = edgeio_root::Root::open(config)
                    .await
                    .expect("open the root");
                let address = server.address();
                let task = tokio::spawn(async move {
                    server.run(stopped).await.expect("run the root");
                });
                Self {
                    address,
                    stop,
                    task,
                }
            }
            Which::Cluster => {
                let mut config = edgeio_cluster::Config::default();
                config.serve.listen = SocketAddr::from(([127, 0, 0, 1], 0));
                config.serve.tls = tls;
                config.root = String::new();
                config.name = "north".to_owned();
                data.clone_into_path(&mut config.tier.data_dir);
                let server = edgeio_cluster::Cluster::open(config)
                    .await
                    .expect("open the cluster");
                let address = server.address();
                let task = tokio::spawn(async move {
                    server.run(stopped).await.expect("run the cluster");
                });
                Self {
                    address,
                    stop,
                    task,
                }
            }
        }
    }

    async fn stop(self) {
        self.stop.fire();
        let ended = tokio::time::timeout(Duration::from_secs(60), self.task).await;
        ended.expect("it ends").expect("it ends well");
    }
}

trait CloneIntoPath {
    fn clone_into_path(&self, to: &mut std::path::PathBuf);
}

impl CloneIntoPath for Path {
    fn clone_into_path(&self, to: &mut std::path::PathBuf) {
        *to = self.to_path_buf();
    }
}

/// How a caller makes itself known.
enum Credential {
    None,
    Bearer(String),
    Machine(Arc<MachineKey>, String),
}

impl Credential {
    fn value(&self) -> Option<String> {
        match self {
            Self::None => None,
            Self::Bearer(token) => Some(format!("Bearer {token}")),
            Self::Machine(key, audience) => Some(format!("Bearer {}", sign(key, audience))),
        }
    }
}

fn sign(key: &MachineKey, audience: &str) -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a time");
    key.token(audience, now).expect("a token")
}

fn with<T>(message: T, credential: &Credential) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(value) = credential.value() {
        let value = value.parse().expect("a header's value");
        request.metadata_mut().insert("authorization", value);
    }
    request
}

pub(crate) struct Bed {
    server: Server,
    channel: Channel,
    pool: DescriptorPool,
    callers: BTreeMap<&'static str, Credential>,
    /// What requests in the tables name.
    words: BTreeMap<&'static str, String>,
    _folder: TempDir,
}

impl Bed {
    pub(crate) async fn start(which: Which) -> Self {
        edgeio_server::tls::install_provider();
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().join("data");
        let mut callers = BTreeMap::from([("anonymous", Credential::None)]);
        let mut words = BTreeMap::new();

        // Machines join while the server still trusts whoever calls from this machine.
        let server = Server::start(which, &data, TlsMode::Off).await;
        let target: Target = server.address.to_string().parse().expect("an address");
        let plain = edgeio_client::connect(&target, &Options::default()).expect("a channel");
        machines(which, &plain, &mut callers, &mut words).await;
        drop(plain);
        server.stop().await;

        let server = Server::start(which, &data, TlsMode::Builtin).await;
        let target: Target = format!("https://{}", server.address)
            .parse()
            .expect("an address");
        let trust = Trust::default().file(Some(data.join("pki").join("ca.pem")));
        let dialer = Dialer::new(trust, Proxy::default());
        let channel = dialer
            .connect_now(&target, &Options::default())
            .await
            .expect("a connection");
        let token = std::fs::read_to_string(data.join("admin.token")).expect("the first token");
        let admin = Credential::Bearer(token.trim().to_owned());
        people(&channel, &admin, &mut callers, &mut words).await;
        callers.insert("admin", admin);
        Self {
            server,
            channel,
            pool: call::pool(),
            callers,
            words,
            _folder: folder,
        }
    }

    pub(crate) async fn stop(self) {
        drop(self.channel);
        self.server.stop().await;
    }

    pub(crate) fn callers(&self) -> impl Iterator<Item = &str> {
        self.callers.keys().copied()
    }

    /// Every RPC that the server says it serves, but for health and reflection, which are open.
    pub(crate) async fn served(&self) -> BTreeSet<String> {
        use tonic_reflection::pb::v1::{
            ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
            server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
        };
        let ask = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::ListServices(String::new())),
        };
        let mut client = ServerReflectionClient::new(self.channel.clone());
        let answers = client
            .server_reflection_info(futures::stream::iter([ask]))
            .await
            .expect("reflection is open");
        let answer = answers.into_inner().message().await.expect("an answer");
        let Some(MessageResponse::ListServicesResponse(list)) =
            answer.and_then(|answer| answer.message_response)
        else {
            panic!("reflection lists no services");
        };
        let ours = |name: &str| !name.starts_with("grpc.");
        list.service
            .iter()
            .filter(|service| ours(&service.name))
            .flat_map(|service| {
                let known = self.pool.get_service_by_name(&service.name);
                let known = known.expect("a service that is described");
                let of = |method: prost_reflect::MethodDescriptor| {
                    format!("{}/{}", service.name, method.name())
                };
                known.methods().map(of).collect::<Vec<_>>()
            })
            .collect()
    }

    /// Makes one call; what came of it, as a cell and in words.
    pub(crate) async fn call(&self, caller: &str, path: &str, request: &str) -> (String, String) {
        let mut json = request.to_owned();
        for (word, value) in &self.words {
            json = json.replace(&format!("${word}"), value);
        }
        let credential = &self.callers[caller];
        let method = call::method(&self.pool, path);
        let status = call::call(&self.channel, &method, &json, credential.value().as_deref()).await;
        let said = format!("{:?} {}", status.code(), status.message());
        (call::cell(&status), said)
    }
}

/// Two machines that join, one that does not, and one that shows what is meant for another server.
async fn machines(
    which: Which,
    plain: &Channel,
    callers: &mut BTreeMap<&'static str, Credential>,
    words: &mut BTreeMap<&'static str, String>,
) {
    let names = match which {
        Which::Root => ["cluster", "other-cluster"],
        Which::Cluster => ["worker", "other-worker"],
    };
    let mut known = None;
    for (index, name) in names.into_iter().enumerate() {
        let pair = match which {
            Which::Root => KeyPair::new_cluster(),
            Which::Cluster => KeyPair::new_user(),
        };
        let key = MachineKey::from_seed(&pair.seed().expect("a seed")).expect("a key");
        let key = Arc::new(key);
        let joins = Credential::Machine(Arc::clone(&key), REGISTER_AUDIENCE.to_owned());
        let (id, server, credential) = match which {
            Which::Root => {
                let request = root::RegisterRequest {
                    cluster_id: uuid::Uuid::now_v7().to_string(),
                    name: name.to_owned(),
                    public_key: key.public_key().to_owned(),
                    ..Default::default()
                };
                let mut client = ClusterLinkServiceClient::new(plain.clone());
                let answer = client.register(with(request, &joins)).await;
                let answer = answer.expect("the cluster joins").into_inner();
                (answer.cluster_id, answer.root_id, String::new())
            }
            Which::Cluster => {
                let request = cluster::RegisterRequest {
                    name: name.to_owned(),
                    public_key: key.public_key().to_owned(),
                    inventory: Some(cluster::Inventory {
                        hostname: name.to_owned(),
                        architecture: "amd64".to_owned(),
                        cores: 1,
                        memory_bytes: 1 << 30,
                        ..Default::default()
                    }),
                    ..Default::default()
                };
                let mut client = WorkerServiceClient::new(plain.clone());
                let answer = client.register(with(request, &joins)).await;
                let answer = answer.expect("the worker joins").into_inner();
                (answer.worker_id, answer.cluster_id, answer.credential)
            }
        };
        if index == 0 {
            words.insert("CHILD", id);
            words.insert("KEY", key.public_key().to_owned());
            words.insert("CREDENTIAL", credential);
            known = Some((Arc::clone(&key), server.clone()));
        }
        callers.insert(name, Credential::Machine(key, server));
    }
    let (key, server) = known.expect("a machine joined");
    if which == Which::Cluster {
        bridge(plain, callers).await;
    }
    callers.insert(
        "wrong-audience",
        Credential::Machine(key, "elsewhere".to_owned()),
    );
    let pair = KeyPair::new_user();
    let stranger = MachineKey::from_seed(&pair.seed().expect("a seed")).expect("a key");
    callers.insert("stranger", Credential::Machine(Arc::new(stranger), server));
}

/// A bridge that joins.
async fn bridge(plain: &Channel, callers: &mut BTreeMap<&'static str, Credential>) {
    let pair = KeyPair::new_user();
    let key = MachineKey::from_seed(&pair.seed().expect("a seed")).expect("a key");
    let key = Arc::new(key);
    let request = cluster::JoinRequest {
        public_key: key.public_key().to_owned(),
        name: "bridge".to_owned(),
        ..Default::default()
    };
    let joins = Credential::Machine(Arc::clone(&key), REGISTER_AUDIENCE.to_owned());
    let mut client = BridgeServiceClient::new(plain.clone());
    let answer = client.join(with(request, &joins)).await;
    let server = answer.expect("the bridge joins").into_inner().cluster_id;
    callers.insert("bridge", Credential::Machine(key, server));
}

/// The audience of a machine that knows no server yet.
const REGISTER_AUDIENCE: &str = edgeio_proto::machine::REGISTER_AUDIENCE;

struct Office<'a> {
    client: AccessServiceClient<Channel>,
    admin: &'a Credential,
}

impl Office<'_> {
    async fn user(
        &mut self,
        name: &str,
        namespace: &str,
        role: &str,
        seconds: u64,
    ) -> (String, String) {
        let user = api::CreateUserRequest {
            name: name.to_owned(),
            ..Default::default()
        };
        let made = self.client.create_user(with(user, self.admin)).await;
        made.expect("a user is made");
        let bind = api::BindRequest {
            user: name.to_owned(),
            binding: Some(api::RoleBinding {
                namespace: namespace.to_owned(),
                role: role.to_owned(),
            }),
            request_id: String::new(),
        };
        let bound = self.client.bind(with(bind, self.admin)).await;
        bound.expect("a user is bound");
        let token = api::CreateUserTokenRequest {
            user: name.to_owned(),
            lifetime_seconds: seconds,
            ..Default::default()
        };
        let made = self.client.create_user_token(with(token, self.admin)).await;
        let made = made.expect("a token is made").into_inner();
        let id = made.token.expect("a token").id;
        (made.secret, id)
    }
}

/// An application, and users with every role.
async fn people(
    channel: &Channel,
    admin: &Credential,
    callers: &mut BTreeMap<&'static str, Credential>,
    words: &mut BTreeMap<&'static str, String>,
) {
    let mut office = Office {
        client: AccessServiceClient::new(channel.clone()),
        admin,
    };
    let other = api::CreateNamespaceRequest {
        name: "other".to_owned(),
        ..Default::default()
    };
    let made = office.client.create_namespace(with(other, admin)).await;
    made.expect("a namespace is made");
    for (name, namespace, role) in [
        ("viewer", "default", "viewer"),
        ("deployer", "default", "deployer"),
        ("other-deployer", "other", "deployer"),
        ("namespace-admin", "default", "namespace-admin"),
        ("operator", "", "operator"),
    ] {
        let (secret, _) = office.user(name, namespace, role, 0).await;
        callers.insert(name, Credential::Bearer(secret));
    }
    let (expired, _) = office.user("expired", "", "admin", 1).await;
    let (revoked, id) = office.user("revoked", "", "admin", 0).await;
    let revoke = api::RevokeUserTokenRequest { id: id.clone() };
    let done = office.client.revoke_user_token(with(revoke, admin)).await;
    done.expect("a token is revoked");
    words.insert("TOKEN", id);
    let expired = Credential::Bearer(expired);
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let asked = office
            .client
            .who_am_i(with(api::WhoAmIRequest {}, &expired))
            .await;
        match asked.map_err(|status: Status| status.code()) {
            Err(Code::Unauthenticated) => break,
            other => assert!(Instant::now() < deadline, "it does not expire: {other:?}"),
        }
        tokio::task::yield_now().await;
    }
    callers.insert("expired", expired);
    callers.insert("revoked", Credential::Bearer(revoked));

    let web = api::ApplyRequest {
        application: Some(api::ApplicationSpec {
            name: "web".to_owned(),
            services: vec![api::ServiceSpec {
                name: "a".to_owned(),
                command: vec!["sleep".to_owned(), "1000".to_owned()],
                ..Default::default()
            }],
            ..Default::default()
        }),
        ..Default::default()
    };
    let mut client = ApplicationServiceClient::new(channel.clone());
    let applied = client.apply(with(web, admin)).await;
    applied.expect("an application is applied");
}
