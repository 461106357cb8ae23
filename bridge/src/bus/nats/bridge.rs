//! The bridge's end of the bus over NATS.

use std::time::Duration;

use async_nats::ConnectOptions;
use async_trait::async_trait;
use bytes::Bytes;
use tokio::{sync::OnceCell, time::timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::super::codec::{decode_up, within_limit};
use super::super::{
    AccountError, BridgeBus, BusEvents, ConnectError, FromWorker, JoinError, Pass, PublishError,
};
use super::connection::Connection;
use super::events::events;
use super::options::{Role, check_address};
use crate::subject::{CLAIMS_UPDATE, Subject, every_report, every_telemetry, inbox};

/// The queue group of all bridges of a cluster: the broker gives each message to one of them.
const QUEUE: &str = "bridges";

/// How long a bridge waits for its broker before it attaches without. The cluster speaks to workers as soon as a bridge
/// is there; what is said in the milliseconds before the broker is reached would be lost, and said again a second later.
const FIRST_MOMENT: Duration = Duration::from_secs(1);

/// How long the broker may take to let the bridge into its system account.
const ACCOUNT_PATIENCE: Duration = Duration::from_secs(10);

/// One bridge's connection to the broker. It is opened when it is needed, since its pass comes from the cluster.
pub struct NatsBridgeBus {
    address: String,
    bridge: Uuid,
    pass: Pass,
    connection: OnceCell<Connection>,
}

impl NatsBridgeBus {
    /// Prepares to connect to the broker at `address`. Whether it is reached, the events of [`BridgeBus::join`] tell.
    ///
    /// # Errors
    /// [`ConnectError`], for an address that has no meaning. A broker that does not answer is none.
    pub async fn connect(address: &str, bridge: Uuid) -> Result<Self, ConnectError> {
        check_address(address)?;
        Ok(Self {
            address: address.to_owned(),
            bridge,
            pass: Pass::new(),
            connection: OnceCell::new(),
        })
    }

    /// The connection; opens it, and gives it a moment.
    async fn connection(&self) -> Result<&Connection, ConnectError> {
        let open = || async {
            let name = format!("edgeio-bridge {}", self.bridge);
            let connection =
                Connection::open(&self.address, self.bridge, &name, &Role::Bridge, &self.pass)
                    .await?;
            let mut health = connection.health();
            // In time or not: the events tell.
            let _ = timeout(FIRST_MOMENT, health.wait_for(|health| health.connected)).await;
            Ok(connection)
        };
        self.connection.get_or_try_init(open).await
    }
}

#[async_trait]
impl BridgeBus for NatsBridgeBus {
    fn public_key(&self) -> String {
        self.pass.public_key()
    }

    fn present(&self, jwt: &str) {
        self.pass.renew(jwt);
    }

    async fn tell_account(&self, account: &str, user: &str) -> Result<(), AccountError> {
        let (pass, user) = (self.pass.clone(), user.to_owned());
        let show = move |nonce: Vec<u8>| std::future::ready(pass.sign(&nonce, Some(user.clone())));
        let client = ConnectOptions::with_auth_callback(show)
            .name(format!("edgeio-bridge {} (accounts)", self.bridge))
            .custom_inbox_prefix(inbox(self.bridge))
            .connection_timeout(ACCOUNT_PATIENCE)
            .max_reconnects(Some(1))
            .connect(self.address.as_str())
            .await
            .map_err(AccountError::Connect)?;
        if !client.server_info().auth_required {
            tracing::debug!("the broker asks nobody who they are, so nobody can be kept out");
            return Ok(());
        }
        let account = account.as_bytes().to_vec();
        let answer = client
            .request(CLAIMS_UPDATE, account.into())
            .await
            .map_err(AccountError::Silent)?;
        let answer = String::from_utf8_lossy(&answer.payload).into_owned();
        if answer.contains("\"code\":200") {
            Ok(())
        } else {
            Err(AccountError::Refused(answer.chars().take(300).collect()))
        }
    }

    async fn join(
        &self,
        cluster: Uuid,
        leave: CancellationToken,
    ) -> Result<BusEvents<FromWorker>, JoinError> {
        let connection = self.connection().await.map_err(|_| JoinError {
            subject: every_report(cluster),
        })?;
        let mut subscribers = Vec::new();
        for subject in [every_report(cluster), every_telemetry(cluster)] {
            let subscriber = connection
                .client()
                .queue_subscribe(subject.clone(), QUEUE.to_owned())
                .await
                .map_err(|_| JoinError { subject })?;
            subscribers.push(subscriber);
        }
        Ok(events(
            connection.clone(),
            subscribers,
            leave,
            move |message| decode_up(cluster, &message.subject, &message.payload),
        ))
    }

    async fn control(
        &self,
        cluster: Uuid,
        worker: Uuid,
        payload: Bytes,
    ) -> Result<(), PublishError> {
        let subject = Subject::control(cluster, worker);
        within_limit(payload.len(), &subject)?;
        match self.connection().await {
            Ok(connection) => connection.publish(&subject, payload).await,
            Err(_) => Err(PublishError::Closed {
                subject: subject.to_string(),
            }),
        }
    }
}
