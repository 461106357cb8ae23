//! Users who never stop: they apply, scale, update and delete applications of their own while everything around them dies. Each
//! request has an id and is repeated until it is answered; some are sent again long after, which must change nothing.

use std::{
    cell::Cell,
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use edgeio_client::is_transient;
use edgeio_integration_tests::testbed::{
    Bed,
    diary::{Account, Diary},
    manifest::{app, container},
};
use edgeio_proto::api::v1::{ApplyRequest, DeleteRequest, ScaleRequest, ServiceSpec};
use rand::{Rng as _, rngs::StdRng, seq::IteratorRandom as _};
use tonic::{Code, Status};
use uuid::Uuid;

/// How long one request is repeated. Whatever is killed is back within seconds; a root that stays away longer than this lost.
const PATIENCE: Duration = Duration::from_secs(90);
/// Between two tries. The root is away for a start at most.
const AGAIN: Duration = Duration::from_millis(150);
/// The service of each application.
pub(crate) const SERVICE: &str = "job";
/// Applications that a user has at most: enough for each kind of change, few enough for two cores.
const APPS: usize = 3;
const REPLICAS: u32 = 3;

/// What an application is to be.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    pub(crate) replicas: u32,
    /// Which version.
    pub(crate) word: String,
    /// It runs in containers.
    pub(crate) contained: bool,
    /// It was scaled down, and the retired may still end.
    shrunk: bool,
}

/// A request as it was sent.
#[derive(Debug, Clone)]
enum Request {
    Apply(ApplyRequest),
    Scale(ScaleRequest),
    Delete(DeleteRequest),
}

/// A user. What it wishes is what was acknowledged.
pub(crate) struct User {
    name: String,
    dice: StdRng,
    image: String,
    pub(crate) wishes: BTreeMap<String, Wish>,
    pub(crate) deleted: Vec<String>,
    past: Vec<Request>,
    made: u32,
    pub(crate) acknowledged: u32,
    pub(crate) repeated: u32,
}

impl User {
    pub(crate) fn new(name: &str, dice: StdRng, image: &str) -> Self {
        Self {
            name: name.to_owned(),
            dice,
            image: image.to_owned(),
            wishes: BTreeMap::new(),
            deleted: Vec::new(),
            past: Vec::new(),
            made: 0,
            acknowledged: 0,
            repeated: 0,
        }
    }

    /// Wishes one thing after the other until it is enough.
    pub(crate) async fn work(&mut self, bed: &Bed, enough: &Cell<bool>) -> Result<()> {
        while !enough.get() {
            self.step(bed)
                .await
                .with_context(|| format!("user {}", self.name))?;
            let pause = self.dice.random_range(50..600);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        Ok(())
    }

    async fn step(&mut self, bed: &Bed) -> Result<()> {
        if !self.past.is_empty() && self.dice.random_bool(0.15) {
            let old = self.past.iter().choose(&mut self.dice).cloned();
            self.repeated += 1;
            return match old {
                Some(old) => send(bed, &old).await.context("an old request again"),
                None => Ok(()),
            };
        }
        let one = self.wishes.keys().choose(&mut self.dice).cloned();
        let kind = self.dice.random_range(0..10);
        match one {
            Some(name) if kind < 4 => self.scale(bed, &name).await,
            Some(name) if kind < 6 => self.update(bed, &name).await,
            Some(name) if kind < 8 || self.wishes.len() >= APPS => self.delete(bed, &name).await,
            _ => self.create(bed).await,
        }
    }

    async fn create(&mut self, bed: &Bed) -> Result<()> {
        self.made += 1;
        let name = format!("{}-{}", self.name, self.made);
        let wish = Wish {
            replicas: self.dice.random_range(1..=REPLICAS),
            word: "w0".to_owned(),
            contained: self.dice.random_bool(0.2),
            shrunk: false,
        };
        let mut service = self.service(bed, &wish);
        service.replicas = Some(wish.replicas);
        self.apply(bed, &name, service).await?;
        self.wishes.insert(name, wish);
        Ok(())
    }

    /// Another version; how many run stays as it was scaled.
    async fn update(&mut self, bed: &Bed, name: &str) -> Result<()> {
        let Some(mut wish) = self.wishes.get(name).cloned() else {
            return Ok(());
        };
        wish.word = format!("w{}", self.dice.random_range(1..1000));
        let service = self.service(bed, &wish);
        self.apply(bed, name, service).await?;
        self.wishes.insert(name.to_owned(), wish);
        Ok(())
    }

    async fn scale(&mut self, bed: &Bed, name: &str) -> Result<()> {
        let replicas = self.dice.random_range(0..=REPLICAS);
        let open = open_of(&Diary::of(bed).account()?, name);
        let Some(wish) = self.wishes.get_mut(name) else {
            return Ok(());
        };
        if replicas > wish.replicas && wish.shrunk {
            // The new replica would have the number of one that may still be ending, as it should; but the diary could not
            // tell the two apart.
            if wish.contained || open > wish.replicas as usize {
                return Ok(());
            }
            wish.shrunk = false;
        }
        let request = ScaleRequest {
            name: name.to_owned(),
            service: SERVICE.to_owned(),
            replicas,
            request_id: Uuid::new_v4().to_string(),
            ..ScaleRequest::default()
        };
        wish.shrunk |= replicas < wish.replicas;
        wish.replicas = replicas;
        self.send(bed, Request::Scale(request)).await
    }

    async fn delete(&mut self, bed: &Bed, name: &str) -> Result<()> {
        let request = DeleteRequest {
            name: name.to_owned(),
            request_id: Uuid::new_v4().to_string(),
            ..DeleteRequest::default()
        };
        self.send(bed, Request::Delete(request)).await?;
        self.wishes.remove(name);
        self.deleted.push(name.to_owned());
        Ok(())
    }

    async fn apply(&mut self, bed: &Bed, name: &str, service: ServiceSpec) -> Result<()> {
        let request = ApplyRequest {
            application: Some(app(name, [service])),
            request_id: Uuid::new_v4().to_string(),
            ..ApplyRequest::default()
        };
        self.send(bed, Request::Apply(request)).await
    }

    fn service(&self, bed: &Bed, wish: &Wish) -> ServiceSpec {
        let mut service = if wish.contained {
            let mut service = container(SERVICE, 1, &self.image);
            service.env.insert("WORD".to_owned(), wish.word.clone());
            service
        } else {
            Diary::of(bed).keeper(bed, SERVICE, 1, &wish.word)
        };
        service.replicas = None;
        service
    }

    async fn send(&mut self, bed: &Bed, request: Request) -> Result<()> {
        send(bed, &request).await?;
        self.acknowledged += 1;
        self.past.push(request);
        Ok(())
    }
}

/// Jobs of an application that have begun and not ended.
fn open_of(account: &Account, application: &str) -> usize {
    let open = account.open.iter();
    open.filter(|(replica, _)| replica.application == application)
        .map(|(_, runs)| runs.len())
        .sum()
}

/// Sends a request until it is answered.
async fn send(bed: &Bed, request: &Request) -> Result<()> {
    let until = Instant::now() + PATIENCE;
    loop {
        let mut api = bed.root().applications();
        let answer: Result<(), Status> = match request.clone() {
            Request::Apply(request) => api.apply(request).await.map(drop),
            Request::Scale(request) => api.scale(request).await.map(drop),
            Request::Delete(request) => api.delete(request).await.map(drop),
        };
        match answer {
            Ok(()) => return Ok(()),
            Err(status) if !is_transient(&status) && status.code() != Code::DeadlineExceeded => {
                bail!("{request:?}: {status:?}");
            }
            Err(status) if Instant::now() > until => {
                bail!("not answered in {PATIENCE:?}: {request:?}: {status:?}");
            }
            Err(_) => tokio::time::sleep(AGAIN).await,
        }
    }
}
