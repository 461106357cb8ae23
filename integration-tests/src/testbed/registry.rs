//! A registry of our own on loopback, so that nothing is fetched from the network.
//!
//! Debian's docker-registry, with its own configuration and store: its packaged configuration listens everywhere. It is
//! reached over a link that can be made slow, so that a pull lasts as long as somebody wants to look at it.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use bollard::{
    auth::DockerCredentials,
    query_parameters::{PushImageOptionsBuilder, TagImageOptionsBuilder},
};
use futures::TryStreamExt;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

use super::{Bed, Program, binaries::tool, free_port, loopback};

/// What a slow link lets pass, and how often. The engine tells of each half megabyte.
const PIECE: usize = 1 << 20;
const PAUSE: Duration = Duration::from_millis(250);

/// A registry that runs.
#[derive(Debug)]
pub struct Registry {
    program: Program,
    /// Host and port, as images name it.
    pub address: String,
    slow: Arc<watch::Sender<bool>>,
    link: JoinHandle<()>,
}

impl Registry {
    /// Starts one; its files are among the bed's.
    ///
    /// # Errors
    /// docker-registry is missing or does not start.
    pub async fn start(bed: &Bed) -> Result<Self> {
        let (port, link_port) = (free_port()?, free_port()?);
        let (at, address) = (loopback(port), loopback(link_port).to_string());
        let store = bed.data("registry");
        std::fs::create_dir_all(&store).context("make the registry's store")?;
        let config: PathBuf = store.join("config.yml");
        let text = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\n\
             http:\n  addr: {at}\n",
            store.join("data").display()
        );
        std::fs::write(&config, text).context("write the registry's configuration")?;
        let args = ["serve".into(), config.into_os_string()];
        let listens = Some(at);
        let program = Program::new(
            "registry",
            tool("docker-registry")?,
            args,
            listens,
            bed.dir(),
        );
        program.start().await?;
        let slow = Arc::new(watch::Sender::new(false));
        let listener = TcpListener::bind(loopback(link_port)).await;
        let listener = listener.context("listen for the engine")?;
        let link = tokio::spawn(carry(listener, at, slow.clone()));
        Ok(Self {
            program,
            address,
            slow,
            link,
        })
    }

    /// From here on a megabyte takes a quarter of a second.
    pub fn slow_down(&self) {
        self.slow.send_replace(true);
    }

    /// From here on everything passes at once.
    pub fn speed_up(&self) {
        self.slow.send_replace(false);
    }

    /// Gives a local image a name in this registry, without asking it.
    ///
    /// # Errors
    /// The engine refuses.
    pub async fn name(&self, bed: &Bed, image: &str, name: &str, tag: &str) -> Result<String> {
        let repository = format!("{}/{name}", self.address);
        let options = TagImageOptionsBuilder::new()
            .repo(&repository)
            .tag(tag)
            .build();
        let docker = &bed.engine().docker;
        docker
            .tag_image(image, Some(options))
            .await
            .context("tag an image")?;
        let full = format!("{repository}:{tag}");
        bed.owns_image(&full);
        Ok(full)
    }

    /// Pushes a local image under a name in this registry, and gives that name.
    ///
    /// # Errors
    /// The engine or the registry refuses.
    pub async fn push(&self, bed: &Bed, image: &str, name: &str, tag: &str) -> Result<String> {
        let full = self.name(bed, image, name, tag).await?;
        let repository = format!("{}/{name}", self.address);
        let docker = &bed.engine().docker;
        let options = PushImageOptionsBuilder::new().tag(tag).build();
        let credentials = Some(DockerCredentials::default());
        docker
            .push_image(&repository, Some(options), credentials)
            .try_collect::<Vec<_>>()
            .await
            .context("push an image")?;
        Ok(full)
    }

    /// Kills it.
    ///
    /// # Errors
    /// It does not run.
    pub async fn kill(&self) -> Result<()> {
        self.program.kill().await
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.link.abort();
    }
}

/// Carries connections to the registry. A connection that fails is the engine's to try again.
async fn carry(listener: TcpListener, registry: SocketAddr, slow: Arc<watch::Sender<bool>>) {
    while let Ok((engine, _)) = listener.accept().await {
        let mut slow = slow.subscribe();
        tokio::spawn(async move {
            let registry = TcpStream::connect(registry).await?;
            let (mut ask, mut tell) = engine.into_split();
            let (mut answers, mut asked) = registry.into_split();
            let down = async {
                let mut piece = vec![0; PIECE];
                loop {
                    let length = answers.read(&mut piece).await?;
                    let Some(piece) = piece.get(..length).filter(|p| !p.is_empty()) else {
                        return tell.shutdown().await;
                    };
                    tell.write_all(piece).await?;
                    let share = u32::try_from(length).unwrap_or(u32::MAX);
                    let pause = PAUSE * share / u32::try_from(PIECE).unwrap_or(u32::MAX);
                    // Ends early when the link becomes fast.
                    let _ = tokio::time::timeout(pause, slow.wait_for(|slow| !slow)).await;
                }
            };
            let up = async {
                copy(&mut ask, &mut asked).await?;
                asked.shutdown().await
            };
            tokio::try_join!(up, down)
        });
    }
}
