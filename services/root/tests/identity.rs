//! A root on a real port and clusters that claim to be each other: who a cluster is follows from its key alone.

#![cfg(test)]

use std::{error::Error, sync::Arc, time::Duration};

use edgeio_client::{MachineKey, Options, Signer, connect};
use edgeio_proto::{
    api::v1::{
        CreateJoinTokenRequest, ListJoinTokensRequest, RevokeJoinTokenRequest,
        join_service_client::JoinServiceClient,
    },
    link::v1::{ChildMessage, Hello, child_message::Message, parent_message},
    root::v1::{
        AttachRequest, RegisterRequest, RegisterResponse,
        cluster_link_service_client::ClusterLinkServiceClient,
        cluster_service_client::ClusterServiceClient,
    },
};
use edgeio_root::{Config, Root};
use edgeio_server::{
    auth::Role,
    shutdown::{Shutdown, Trigger},
    telemetry::Capture,
};
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, transport::Channel};
use tonic_types::StatusExt as _;
use uuid::Uuid;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

struct Bed {
    channel: Channel,
    stop: Trigger,
    running: JoinHandle<()>,
    directory: tempfile::TempDir,
}

impl Bed {
    async fn start() -> Self {
        Self::over(tempfile::tempdir().unwrap(), Role::Admin).await
    }

    /// A root in that directory; who calls without a credential may do what that role may.
    async fn over(directory: tempfile::TempDir, role: Role) -> Self {
        let mut config = Config::default();
        config.serve.local_role = role;
        config.serve.listen = "127.0.0.1:0".parse().unwrap();
        config.tier.data_dir = directory.path().to_owned();
        let root = Root::open(config).await.unwrap();
        let target = root.address().to_string().parse().unwrap();
        let (stop, token) = Shutdown::new();
        let running = tokio::spawn(async move { root.run(token).await.unwrap() });
        Self {
            channel: connect(&target, &Options::default()).unwrap(),
            stop,
            running,
            directory,
        }
    }

    async fn stop(self) -> tempfile::TempDir {
        drop(self.channel);
        self.stop.fire();
        timeout(PATIENCE, self.running).await.unwrap().unwrap();
        self.directory
    }

    fn joins(&self) -> JoinServiceClient<Channel> {
        JoinServiceClient::new(self.channel.clone())
    }

    async fn token(&self, request: CreateJoinTokenRequest) -> (String, String) {
        let made = self.joins().create_join_token(request).await.unwrap();
        let made = made.into_inner();
        (made.token, made.record.unwrap().id)
    }
}

/// A cluster: an id and a key.
struct Cluster {
    id: String,
    signer: Signer,
    key: String,
}

impl Cluster {
    fn new() -> Self {
        let pair = nkeys::KeyPair::new_cluster();
        let key = MachineKey::from_seed(&pair.seed().unwrap()).unwrap();
        Self {
            id: Uuid::now_v7().to_string(),
            key: pair.public_key(),
            signer: Signer::new(Arc::new(key)),
        }
    }

    async fn join(&self, bed: &Bed, name: &str, token: &str) -> Result<(), Status> {
        let request = RegisterRequest {
            cluster_id: self.id.clone(),
            name: name.to_owned(),
            public_key: self.key.clone(),
            join_token: token.to_owned(),
            ..RegisterRequest::default()
        };
        let channel = bed.channel.clone();
        let mut client = ClusterLinkServiceClient::with_interceptor(channel, self.signer.clone());
        client.register(request).await.map(drop)
    }

    /// Registers with this key as the cluster with this id.
    async fn register_as(&self, bed: &Bed, id: &str) -> Result<RegisterResponse, Status> {
        self.register_with(bed, id, &self.key).await
    }

    async fn register_with(
        &self,
        bed: &Bed,
        id: &str,
        key: &str,
    ) -> Result<RegisterResponse, Status> {
        let request = RegisterRequest {
            cluster_id: id.to_owned(),
            name: "site".to_owned(),
            public_key: key.to_owned(),
            ..RegisterRequest::default()
        };
        let channel = bed.channel.clone();
        let mut client = ClusterLinkServiceClient::with_interceptor(channel, self.signer.clone());
        client
            .register(request)
            .await
            .map(|answer| answer.into_inner())
    }

    /// Attaches to the root with that id, and says these ids in hellos; answers the kinds of messages until the end.
    async fn attach(&self, bed: &Bed, root: &str, hellos: &[&str]) -> (usize, Result<(), Status>) {
        let (sender, receiver) = mpsc::channel(8);
        for id in hellos {
            let hello = Hello {
                child_id: (*id).to_owned(),
                protocol_min: 1,
                protocol_max: u32::MAX,
                attach_id: Uuid::now_v7().to_string(),
                ..Hello::default()
            };
            let message = Some(ChildMessage {
                message: Some(Message::Hello(hello)),
            });
            sender.send(AttachRequest { message }).await.unwrap();
        }
        let signer = self.signer.to(root);
        let mut client = ClusterLinkServiceClient::with_interceptor(bed.channel.clone(), signer);
        let mut down = match client.attach(ReceiverStream::new(receiver)).await {
            Ok(answer) => answer.into_inner(),
            Err(refused) => return (0, Err(refused)),
        };
        let mut welcomes = 0;
        loop {
            match timeout(PATIENCE, down.message()).await.unwrap() {
                Ok(Some(answer)) => {
                    let message = answer.message.and_then(|message| message.message);
                    if let Some(parent_message::Message::Welcome(_)) = message {
                        welcomes += 1;
                        if hellos.len() == 1 {
                            return (welcomes, Ok(()));
                        }
                    }
                }
                Ok(None) => return (welcomes, Ok(())),
                Err(refused) => return (welcomes, Err(refused)),
            }
        }
    }
}

fn reason(refused: &Status) -> (Code, String) {
    let info = refused.get_details_error_info();
    (
        refused.code(),
        info.map_or_else(String::new, |info| info.reason),
    )
}

#[tokio::test]
async fn a_cluster_is_who_its_key_says() -> Result<(), Box<dyn Error>> {
    let capture = Capture::start().expect("cluster claims to be another one");
    let bed = Bed::start().await;
    let (north, south) = (Cluster::new(), Cluster::new());
    let root = north.register_as(&bed, &north.id).await?.root_id;
    south.register_as(&bed, &south.id).await?;

    // The other's id with the own key, and the other's key without having it.
    let refused = north.register_as(&bed, &south.id).await.unwrap_err();
    let foreign = (Code::PermissionDenied, "CLUSTER_ID_FOREIGN".to_owned());
    assert_eq!(reason(&refused), foreign);
    let refused = north.register_with(&bed, &south.id, &south.key).await;
    let unproven = (Code::PermissionDenied, "KEY_NOT_PROVEN".to_owned());
    assert_eq!(reason(&refused.unwrap_err()), unproven);
    // An id of nobody, with a key that has one.
    let refused = north.register_as(&bed, &Uuid::now_v7().to_string()).await;
    assert_eq!(reason(&refused.unwrap_err()), foreign);

    // A session is the key's, in its first message and in each that follows.
    let (welcomes, refused) = north.attach(&bed, &root, &[&south.id]).await;
    assert_eq!(
        (welcomes, reason(&refused.unwrap_err())),
        (0, foreign.clone())
    );
    let (welcomes, attached) = north.attach(&bed, &root, &[&north.id]).await;
    attached?;
    assert_eq!(welcomes, 1);
    let (_, refused) = north.attach(&bed, &root, &[&north.id, &south.id]).await;
    assert_eq!(reason(&refused.unwrap_err()), foreign);

    // A key of nobody, a token for another server, and one that is for joining alone.
    let (_, refused) = Cluster::new().attach(&bed, &root, &[&north.id]).await;
    let unknown = (Code::PermissionDenied, "CLUSTER_UNKNOWN".to_owned());
    assert_eq!(reason(&refused.unwrap_err()), unknown);
    let (_, refused) = north.attach(&bed, "elsewhere", &[&north.id]).await;
    assert_eq!(refused.unwrap_err().code(), Code::Unauthenticated);
    let (_, refused) = north.attach(&bed, "register", &[&north.id]).await;
    assert_eq!(reason(&refused.unwrap_err()), unknown);

    // A cluster's key opens nothing that is for people.
    let signer = north.signer.to(&root);
    let mut people = ClusterServiceClient::with_interceptor(bed.channel.clone(), signer);
    let refused = people.list(edgeio_proto::root::v1::ListRequest::default());
    assert_eq!(refused.await.unwrap_err().code(), Code::PermissionDenied);

    // Nothing of all that has touched the other one.
    let mut people = ClusterServiceClient::new(bed.channel.clone());
    let listed = people.list(edgeio_proto::root::v1::ListRequest::default());
    let listed = listed.await?.into_inner().clusters;
    assert_eq!(listed.len(), 2);
    drop(people);
    bed.stop().await;
    capture.finish()?;
    Ok(())
}

/// A root where nobody may do anything without a credential, and the tokens that were made before.
async fn closed<const N: usize>(
    requests: [CreateJoinTokenRequest; N],
) -> (Bed, [(String, String); N]) {
    let bed = Bed::start().await;
    let mut tokens = Vec::new();
    for request in requests {
        tokens.push(bed.token(request).await);
    }
    let directory = bed.stop().await;
    let bed = Bed::over(directory, Role::Viewer).await;
    (bed, tokens.try_into().unwrap())
}

fn once() -> CreateJoinTokenRequest {
    CreateJoinTokenRequest {
        max_uses: 1,
        ..CreateJoinTokenRequest::default()
    }
}

#[tokio::test]
async fn a_token_lets_in_what_it_is_for_and_a_retry_costs_nothing() {
    let capture = Capture::start();
    let bed = Bed::start().await;
    let (token, id) = bed.token(once()).await;
    let (revoked, revoked_id) = bed.token(once()).await;
    let named = CreateJoinTokenRequest {
        names: "site-7-*".to_owned(),
        ..once()
    };
    let (named, _) = bed.token(named).await;
    let short = CreateJoinTokenRequest {
        lifetime_ms: 1,
        ..once()
    };
    let (short, _) = bed.token(short).await;
    for wrong in [
        CreateJoinTokenRequest {
            kind: "worker".to_owned(),
            ..once()
        },
        CreateJoinTokenRequest {
            names: "a b".to_owned(),
            ..once()
        },
        CreateJoinTokenRequest {
            lifetime_ms: u64::MAX,
            ..once()
        },
        CreateJoinTokenRequest {
            max_uses: u32::MAX,
            ..once()
        },
    ] {
        let refused = bed.joins().create_join_token(wrong).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    }
    let revoke = RevokeJoinTokenRequest { id: revoked_id };
    bed.joins().revoke_join_token(revoke).await.unwrap();
    let unknown = RevokeJoinTokenRequest {
        id: "nothing".to_owned(),
    };
    let refused = bed.joins().revoke_join_token(unknown).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    let bed = Bed::over(bed.stop().await, Role::Viewer).await;

    let north = Cluster::new();
    let why = |answer: Result<(), Status>| reason(&answer.unwrap_err()).1;
    let reason = why(north.join(&bed, "north", "").await);
    assert_eq!(reason, "JOIN_TOKEN_NEEDED");
    let reason = why(north.join(&bed, "north", "edge1:what").await);
    assert_eq!(reason, "JOIN_TOKEN_FORM");
    let mut forged: Vec<char> = token.chars().collect();
    let last = forged.len() - 5;
    forged[last] = if forged[last] == 'A' { 'B' } else { 'A' };
    let forged: String = forged.into_iter().collect();
    let reason = why(north.join(&bed, "north", &forged).await);
    assert_eq!(reason, "JOIN_TOKEN_UNKNOWN");
    let reason = why(north.join(&bed, "north", &revoked).await);
    assert_eq!(reason, "JOIN_TOKEN_REVOKED");
    let reason = why(north.join(&bed, "north", &short).await);
    assert_eq!(reason, "JOIN_TOKEN_EXPIRED");
    let reason = why(north.join(&bed, "north", &named).await);
    assert_eq!(reason, "JOIN_TOKEN_NAME");

    north.join(&bed, "north", &token).await.unwrap();
    // The answer may have been lost, and the token with it.
    north.join(&bed, "north", &token).await.unwrap();
    north.join(&bed, "north", "").await.unwrap();
    let reason = why(Cluster::new().join(&bed, "south", &token).await);
    assert_eq!(reason, "JOIN_TOKEN_USED_UP");
    Cluster::new().join(&bed, "site-7-b", &named).await.unwrap();

    // Who may only look makes none and sees none.
    let refused = bed.joins().create_join_token(once()).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let refused = bed.joins().list_join_tokens(ListJoinTokensRequest {}).await;
    assert_eq!(refused.unwrap_err().code(), Code::PermissionDenied);
    let bed = Bed::over(bed.stop().await, Role::Operator).await;
    let listed = bed.joins().list_join_tokens(ListJoinTokensRequest {}).await;
    let listed = listed.unwrap().into_inner().tokens;
    let used = listed.iter().find(|token| token.id == id).unwrap();
    assert_eq!((used.uses, used.max_uses), (1, 1));
    bed.stop().await;
    capture.finish().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_that_join_at_once_by_a_one_use_token_one_does() {
    const ROUNDS: usize = 20;
    const AT_ONCE: usize = 64;
    let (bed, tokens) = closed::<ROUNDS>(std::array::from_fn(|_| once())).await;
    // Making keys takes longer than anything else here: who was refused tries again by the next token.
    let mut clusters: Vec<Cluster> = (0..AT_ONCE).map(|_| Cluster::new()).collect();
    for (round, (token, _)) in tokens.iter().enumerate() {
        let joins = clusters
            .iter()
            .map(|cluster| cluster.join(&bed, "north", token));
        let answers = futures::future::join_all(joins).await;
        let joined = answers.iter().filter(|answer| answer.is_ok()).count();
        assert_eq!(joined, 1, "round {round}");
        if let Some(known) = answers.iter().position(Result::is_ok) {
            clusters[known] = Cluster::new();
        }
        for refused in answers.into_iter().filter_map(Result::err) {
            assert_eq!(reason(&refused).1, "JOIN_TOKEN_USED_UP", "{refused:?}");
        }
    }
    let mut people = ClusterServiceClient::new(bed.channel.clone());
    let listed = people.list(edgeio_proto::root::v1::ListRequest::default());
    assert_eq!(listed.await.unwrap().into_inner().clusters.len(), ROUNDS);
    drop(people);
    bed.stop().await;
}
