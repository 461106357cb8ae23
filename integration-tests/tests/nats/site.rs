//! A nats-server that runs on what `nats-config` wrote, and clients with credentials of the cluster's.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, bail, ensure};
use data_encoding::BASE64URL_NOPAD;
use edgeio_cluster::broker::{
    Keys, Minter,
    command::{NatsConfig, write},
};
use edgeio_integration_tests::testbed::{binaries::tool, free_port, loopback};
use edgeio_proto::subject::inbox;
use nkeys::KeyPair;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    time::timeout,
};
use uuid::Uuid;

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(10);

/// The nats-servers that this must work on.
pub(crate) fn servers() -> Result<Vec<PathBuf>> {
    Ok(vec![tool("nats-server-debian")?, tool("nats-server")?])
}

pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(since.unwrap_or_default().as_secs()).unwrap_or(i64::MAX)
}

/// A broker and the cluster that it is of.
pub(crate) struct Site {
    pub(crate) minter: Minter,
    pub(crate) cluster: Uuid,
    pub(crate) url: String,
    pub(crate) config: NatsConfig,
    pub(crate) conf: PathBuf,
    server: PathBuf,
    dir: tempfile::TempDir,
    child: Option<Child>,
}

impl Site {
    /// Starts a broker with more settings.
    pub(crate) async fn with(server: &Path, change: impl FnOnce(&mut NatsConfig)) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let mut config = NatsConfig {
            data_dir: dir.path().join("cluster"),
            listen: loopback(free_port()?),
            ..NatsConfig::default()
        };
        change(&mut config);
        let conf = write(&config)?;
        let cluster = Uuid::now_v7();
        let mut site = Self {
            minter: Minter::new(Keys::open(&config.data_dir, 0)?, cluster),
            cluster,
            url: format!("nats://{}", config.listen),
            conf,
            config,
            server: server.to_owned(),
            dir,
            child: None,
        };
        site.start().await?;
        Ok(site)
    }

    pub(crate) async fn new(server: &Path) -> Result<Self> {
        Self::with(server, |_| ()).await
    }

    async fn start(&mut self) -> Result<()> {
        let log = std::fs::File::create(self.dir.path().join("log"))?;
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(&self.server)
            .arg("-c")
            .arg(&self.conf)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("start nats-server")?;
        self.child = Some(child);
        let until = Instant::now() + PATIENCE;
        while std::net::TcpStream::connect(self.config.listen).is_err() {
            ensure!(Instant::now() < until, "it does not listen: {}", self.log());
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// The secrets of the cluster.
    pub(crate) fn seeds(&self) -> Result<Vec<String>> {
        let file = self.dir.path().join("cluster/nats/keys.json");
        let keys: serde_json::Value = serde_json::from_slice(&std::fs::read(file)?)?;
        let keys = keys.as_object().context("an object")?;
        let seeds: Vec<String> = keys
            .values()
            .filter_map(|v| v.as_str().map(str::to_owned))
            .collect();
        ensure!(seeds.len() == 4, "{} seeds", seeds.len());
        Ok(seeds)
    }

    /// What the broker printed.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Kills the broker and starts it again.
    pub(crate) async fn restart(&mut self) -> Result<()> {
        self.kill();
        self.start().await
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// A new worker that is connected.
    pub(crate) async fn worker(&self) -> Result<Peer> {
        let (id, keys) = (Uuid::now_v7(), KeyPair::new_user());
        let jwt = self
            .minter
            .worker(id, &keys.public_key(), now(), now() + 3600)?;
        Peer::connect(&self.url, id, &keys, &jwt).await
    }

    /// A new bridge that is connected.
    pub(crate) async fn bridge(&self) -> Result<Peer> {
        let (id, keys) = (Uuid::now_v7(), KeyPair::new_user());
        let jwt = self
            .minter
            .bridge(id, &keys.public_key(), now(), now() + 3600)?;
        Peer::connect(&self.url, id, &keys, &jwt).await
    }

    /// A new bridge's connection to the system account.
    pub(crate) async fn revoker(&self) -> Result<Peer> {
        let (id, keys) = (Uuid::now_v7(), KeyPair::new_user());
        let jwt = self
            .minter
            .revoker(id, &keys.public_key(), now(), now() + 3600)?;
        Peer::connect(&self.url, id, &keys, &jwt).await
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A client that speaks the protocol by hand, so that what it was told and heard is known exactly: after [`Peer::settled`] it has
/// everything that the broker sent before it answered.
pub(crate) struct Peer {
    pub(crate) id: Uuid,
    pub(crate) info: serde_json::Value,
    /// Subjects and payloads, in order.
    pub(crate) heard: Vec<(String, Vec<u8>)>,
    /// The broker's errors.
    pub(crate) told: Vec<String>,
    stream: BufReader<TcpStream>,
    subscriptions: u32,
}

/// Reads fail after this, so that a test ends.
const SILENCE: &str = "the broker is silent";

impl Peer {
    pub(crate) async fn connect(url: &str, id: Uuid, keys: &KeyPair, jwt: &str) -> Result<Self> {
        let stream = TcpStream::connect(url.trim_start_matches("nats://")).await?;
        let mut peer = Self {
            id,
            info: serde_json::Value::Null,
            heard: Vec::new(),
            told: Vec::new(),
            stream: BufReader::new(stream),
            subscriptions: 0,
        };
        let line = peer.line().await?;
        let info = line.strip_prefix("INFO ").context("no greeting")?;
        peer.info = serde_json::from_str(info)?;
        let nonce = peer.info["nonce"].as_str().unwrap_or_default().to_owned();
        let signature = BASE64URL_NOPAD.encode(&keys.sign(nonce.as_bytes())?);
        let connect = serde_json::json!({
            "verbose": false, "pedantic": false, "lang": "test", "version": "1", "protocol": 1,
            "headers": true, "no_responders": true, "jwt": jwt, "sig": signature,
        });
        peer.send(format!("CONNECT {connect}\r\n").as_bytes())
            .await?;
        peer.settled().await?;
        Ok(peer)
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        let sent = timeout(PATIENCE, self.stream.write_all(bytes)).await;
        sent.context(SILENCE)?.context("write")
    }

    /// The next line, without its end. An error when the broker has hung up.
    async fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        let read = timeout(PATIENCE, self.stream.read_line(&mut line)).await;
        let read = read.context(SILENCE)?.context("read")?;
        ensure!(read > 0, "the broker hung up: {:?}", self.told);
        Ok(line.trim_end().to_owned())
    }

    /// Takes what the broker sends next; whether it was the answer to a ping.
    async fn take(&mut self) -> Result<bool> {
        let line = self.line().await?;
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["PONG"] => return Ok(true),
            ["PING"] => self.send(b"PONG\r\n").await?,
            ["MSG" | "HMSG", subject, .., size] => {
                let mut payload = vec![0; size.parse::<usize>()? + 2];
                let read = timeout(PATIENCE, self.stream.read_exact(&mut payload)).await;
                read.context(SILENCE)??;
                payload.truncate(payload.len() - 2);
                self.heard.push(((*subject).to_owned(), payload));
            }
            ["-ERR", ..] => self.told.push(line.to_lowercase()),
            ["INFO" | "+OK", ..] => {}
            _ => bail!("the broker said `{line}`"),
        }
        Ok(false)
    }

    /// Waits until the broker has taken what was sent, and takes what it sent.
    pub(crate) async fn settled(&mut self) -> Result<()> {
        self.send(b"PING\r\n").await?;
        while !self.take().await? {}
        Ok(())
    }

    /// Waits until the broker hangs up.
    pub(crate) async fn hung_up(&mut self) -> Result<()> {
        loop {
            if let Err(error) = self.take().await {
                let error = format!("{error:#}");
                ensure!(!error.contains(SILENCE), "{error}: {:?}", self.told);
                return Ok(());
            }
        }
    }

    pub(crate) fn was_told(&self, what: &str) -> bool {
        self.told.iter().any(|said| said.contains(what))
    }

    pub(crate) async fn publish(&mut self, subject: &str, payload: &[u8]) -> Result<()> {
        let mut bytes = format!("PUB {subject} {}\r\n", payload.len()).into_bytes();
        bytes.extend_from_slice(payload);
        bytes.extend_from_slice(b"\r\n");
        self.send(&bytes).await
    }

    pub(crate) async fn subscribe(&mut self, subject: &str) -> Result<()> {
        self.join(subject, "").await
    }

    /// Subscribes as one of a queue group.
    pub(crate) async fn join(&mut self, subject: &str, queue: &str) -> Result<()> {
        self.subscriptions += 1;
        let line = format!("SUB {subject} {queue} {}\r\n", self.subscriptions);
        self.send(line.replace("  ", " ").as_bytes()).await
    }

    /// Asks, and answers what the first answer says.
    pub(crate) async fn request(&mut self, subject: &str, payload: &[u8]) -> Result<String> {
        let to = format!("{}.{}", inbox(self.id), Uuid::new_v4());
        self.subscribe(&to).await?;
        let mut bytes = format!("PUB {subject} {to} {}\r\n", payload.len()).into_bytes();
        bytes.extend_from_slice(payload);
        bytes.extend_from_slice(b"\r\n");
        self.send(&bytes).await?;
        loop {
            self.take().await?;
            if let Some(at) = self.heard.iter().position(|(subject, _)| *subject == to) {
                let (_, answer) = self.heard.remove(at);
                return Ok(String::from_utf8_lossy(&answer).into_owned());
            }
        }
    }
}
