//! Users who never stop: they apply, scale, update and delete applications of their own while everything around them dies. Each
//! request has an id and is repeated until it is answered; some are sent again long after, which must change nothing.

use std::{
    cell::Cell,
    collections::BTreeMap,
    ops::Range,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use edgeio_client::is_transient;
use edgeio_integration_tests::testbed::{
    Bed, Tier,
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

/// A user of a tier. What it wishes is what was acknowledged.
pub(crate) struct User {
    name: String,
    tier: Tier,
    /// Milliseconds between two wishes.
    pace: Range<u64>,
    most: u32,
    dice: StdRng,
    image: Option<String>,
    pub(crate) wishes: BTreeMap<String, Wish>,
    pub(crate) deleted: Vec<String>,
    past: Vec<Request>,
    made: u32,
    pub(crate) acknowledged: u32,
    pub(crate) repeated: u32,
    /// A request is under way.
    pub(crate) asking: Rc<Cell<bool>>,
}

impl User {
    /// A user who takes some time between two wishes and also runs containers of `image`.
    pub(crate) fn new(name: &str, tier: &Tier, dice: StdRng, image: &str) -> Self {
        Self {
            image: Some(image.to_owned()),
            pace: 50..600,
            most: REPLICAS,
            ..Self::hasty(name, tier, dice)
        }
    }

    /// A user who wishes as fast as it is answered, for little at a time: so that the database is always being written.
    pub(crate) fn hasty(name: &str, tier: &Tier, dice: StdRng) -> Self {
        Self {
            name: name.to_owned(),
            tier: tier.clone(),
            pace: 1..30,
            most: 1,
            asking: Rc::default(),
            dice,
            image: None,
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
            let pause = self.dice.random_range(self.pace.clone());
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        Ok(())
    }

    async fn step(&mut self, bed: &Bed) -> Result<()> {
        if !self.past.is_empty() && self.dice.random_bool(0.15) {
            let old = self.past.iter().choose(&mut self.dice).cloned();
            self.repeated += 1;
            return match old {
                Some(old) => self.ask(&old).await.context("an old request again"),
                None => Ok(()),
            };
        }
        let one = self.wishes.keys().choose(&mut self.dice).cloned();
        let kind = self.dice.random_range(0..10);
        match one {
            Some(name) if kind < 4 => self.scale(bed, &name).await,
            Some(name) if kind < 6 => self.update(bed, &name).await,
            Some(name) if kind < 8 || self.wishes.len() >= APPS => self.delete(&name).await,
            _ => self.create(bed).await,
        }
    }

    async fn create(&mut self, bed: &Bed) -> Result<()> {
        self.made += 1;
        let name = format!("{}-{}", self.name, self.made);
        let wish = Wish {
            replicas: self.dice.random_range(1..=self.most),
            word: "w0".to_owned(),
            contained: self.image.is_some() && self.dice.random_bool(0.2),
            shrunk: false,
        };
        let mut service = self.service(bed, &wish);
        service.replicas = Some(wish.replicas);
        self.apply(&name, service).await?;
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
        self.apply(name, service).await?;
        self.wishes.insert(name.to_owned(), wish);
        Ok(())
    }

    async fn scale(&mut self, bed: &Bed, name: &str) -> Result<()> {
        let replicas = self.dice.random_range(0..=self.most);
        // By the tier too: one that was told to end before it began is in no diary yet.
        let held = self.tier.instances(name).await?.len();
        let open = open_of(&Diary::of(bed).account()?, name).max(held);
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
        self.send(Request::Scale(request)).await
    }

    async fn delete(&mut self, name: &str) -> Result<()> {
        let request = DeleteRequest {
            name: name.to_owned(),
            request_id: Uuid::new_v4().to_string(),
            ..DeleteRequest::default()
        };
        self.send(Request::Delete(request)).await?;
        self.wishes.remove(name);
        self.deleted.push(name.to_owned());
        Ok(())
    }

    async fn apply(&mut self, name: &str, service: ServiceSpec) -> Result<()> {
        let request = ApplyRequest {
            application: Some(app(name, [service])),
            request_id: Uuid::new_v4().to_string(),
            ..ApplyRequest::default()
        };
        self.send(Request::Apply(request)).await
    }

    fn service(&self, bed: &Bed, wish: &Wish) -> ServiceSpec {
        let mut service = if let Some(image) = self.image.as_ref().filter(|_| wish.contained) {
            let mut service = container(SERVICE, 1, image);
            service.env.insert("WORD".to_owned(), wish.word.clone());
            service
        } else {
            Diary::of(bed).keeper(bed, SERVICE, 1, &wish.word)
        };
        service.replicas = None;
        service
    }

    async fn send(&mut self, request: Request) -> Result<()> {
        self.ask(&request).await?;
        self.acknowledged += 1;
        self.past.push(request);
        Ok(())
    }

    /// Sends a request until it is answered.
    async fn ask(&self, request: &Request) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        self.asking.set(true);
        loop {
            let mut api = self.tier.applications();
            let answer: Result<(), Status> = match request.clone() {
                Request::Apply(request) => api.apply(request).await.map(drop),
                Request::Scale(request) => api.scale(request).await.map(drop),
                Request::Delete(request) => api.delete(request).await.map(drop),
            };
            match answer {
                Ok(()) => {
                    self.asking.set(false);
                    return Ok(());
                }
                Err(status)
                    if !is_transient(&status) && status.code() != Code::DeadlineExceeded =>
                {
                    bail!("{request:?}: {status:?}");
                }
                Err(status) if Instant::now() > until => {
                    bail!("not answered in {PATIENCE:?}: {request:?}: {status:?}");
                }
                Err(_) => tokio::time::sleep(AGAIN).await,
            }
        }
    }
}

/// Jobs of an application that have begun and not ended.
fn open_of(account: &Account, application: &str) -> usize {
    let open = account.open.iter();
    open.filter(|(replica, _)| replica.application == application)
        .map(|(_, runs)| runs.len())
        .sum()
}
