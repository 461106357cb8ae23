//! What users ask for, through the production commands, and what they must find afterwards.
//!
//! One user has one application. A user asks again, with the same request id, until there is an answer, and then knows
//! what the tier must hold: the model. After a database was lost users look and ask once more for what they last got.

use std::collections::VecDeque;

use edgeio_domain::time::Time;
use edgeio_proto::api::v1;
use edgeio_server::auth::{Principal, Role};
use edgeio_tier::apps::{AppError, Apply, Delete, Scale};
use futures::executor::block_on;
use prost::Message as _;

use super::{
    check::Broken,
    kind::{Kind, VERSIONS},
    operators,
    profile::Profile,
    queue::{Part, What},
    tier::Loops,
    world::{Checked, World},
};

/// What a user asks for.
#[derive(Clone, Debug)]
pub(super) enum Wish {
    /// Create or change: this version of the spec, and so many replicas or as many as there are.
    Apply {
        replicas: Option<u32>,
        version: u32,
    },
    Scale(u32),
    Delete {
        force: bool,
    },
    /// Whatever the user got last.
    Again,
}

/// A request that is under way.
struct Open {
    wish: Wish,
    id: String,
    /// An answer that was lost on its way.
    lost: Option<Vec<u8>>,
}

/// What an application must be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Model {
    pub(super) replicas: u32,
    pub(super) version: u32,
}

/// A user, with one application.
pub(super) struct User {
    /// Where it lives: any replica of the root, or a cluster.
    pub(super) tier: Part,
    pub(super) app: String,
    pub(super) kind: Kind,
    script: VecDeque<(Time, Wish)>,
    open: Option<Open>,
    /// `None`: it does not exist.
    pub(super) model: Option<Model>,
    /// So many losses of the database are not made good yet.
    pub(super) stale: u32,
    /// The newest request that was answered, and the answer.
    pub(super) answered: Option<(Wish, String, Vec<u8>)>,
    requests: u32,
}

impl User {
    /// What it will ask for, and when.
    pub(super) fn wishes(&self) -> impl Iterator<Item = (Time, &Wish)> {
        self.script.iter().map(|(at, wish)| (*at, wish))
    }

    /// Whether there is nothing left to ask for.
    pub(super) fn is_done(&self) -> bool {
        self.open.is_none() && self.script.is_empty()
    }
}

/// Draws users and what they want.
pub(super) fn draw(world: &mut World) {
    let span = world.trouble.0;
    let apps = 1 + world.queue.below(3);
    let mut tiers = vec![Part::Root(0); apps];
    for cluster in 0..world.clusters.len() {
        if world.queue.chance(25) {
            tiers.push(Part::Cluster(cluster));
        }
    }
    for (number, tier) in tiers.into_iter().enumerate() {
        let mut times: Vec<i64> = (0..world.queue.draw(1..6))
            .map(|_| world.queue.draw(0..span))
            .collect();
        times.sort_unstable();
        let mut script = VecDeque::new();
        for (index, at) in times.into_iter().enumerate() {
            script.push_back((Time(at), wish(world, index == 0)));
        }
        world.users.push(User {
            tier,
            app: format!("app-{number}"),
            kind: Kind::draw(&mut world.queue),
            script,
            open: None,
            model: None,
            stale: 0,
            answered: None,
            requests: 0,
        });
        world.next_wish(number);
    }
    for _ in 0..world.queue.below(5) {
        let order = operators::draw(world);
        world.queue.within(0..span, What::Order(order));
    }
}

fn wish(world: &mut World, first: bool) -> Wish {
    let queue = &mut world.queue;
    let most = if world.tight { 5 } else { 6 };
    let replicas = u32::try_from(queue.draw(0..most)).unwrap_or(0);
    let version = u32::try_from(queue.draw(0..i64::from(VERSIONS))).unwrap_or(0);
    match queue.below(100) {
        _ if first => Wish::Apply {
            replicas: Some(replicas.max(1)),
            version,
        },
        0..35 => Wish::Apply {
            replicas: Some(replicas),
            version,
        },
        35..50 => Wish::Apply {
            replicas: None,
            version,
        },
        50..75 => Wish::Scale(replicas),
        dice => Wish::Delete { force: dice > 86 },
    }
}

pub(super) fn who() -> Principal {
    Principal {
        name: "user".to_owned(),
        ..Principal::dev(Role::Admin)
    }
}

/// Makes one request; the encoded answer.
fn ask(
    loops: &Loops,
    (app, kind): (&str, Kind),
    id: &str,
    wish: &Wish,
) -> Result<Vec<u8>, AppError> {
    let (who, request_id) = (who(), id.to_owned());
    match wish {
        Wish::Apply { replicas, version } => {
            let request = v1::ApplyRequest {
                application: Some(v1::ApplicationSpec {
                    namespace: String::new(),
                    name: app.to_owned(),
                    services: vec![kind.service(*version, *replicas)],
                }),
                request_id,
                ..Default::default()
            };
            let answer = block_on(loops.apps.apply(Apply::parse(&who, request)?))?;
            Ok(answer.encode_to_vec())
        }
        Wish::Scale(replicas) => {
            let request = v1::ScaleRequest {
                name: app.to_owned(),
                replicas: *replicas,
                request_id,
                ..Default::default()
            };
            let answer = block_on(loops.apps.scale(Scale::parse(&who, request)?))?;
            Ok(answer.encode_to_vec())
        }
        Wish::Delete { force } => {
            let request = v1::DeleteRequest {
                name: app.to_owned(),
                force: *force,
                request_id,
                ..Default::default()
            };
            let answer = block_on(loops.apps.delete(Delete::parse(&who, request)?))?;
            Ok(answer.encode_to_vec())
        }
        Wish::Again => Ok(Vec::new()),
    }
}

/// How a request ended.
pub(super) enum Answer {
    Done(Vec<u8>),
    /// It is not there.
    Absent,
    /// Not now: ask again.
    Later,
    Refused(String),
}

impl World {
    /// Puts a user's next step into the queue.
    fn next_wish(&mut self, user: usize) {
        if let Some((at, _)) = self.users[user].script.front() {
            self.queue.at(*at, What::Act(user));
        }
    }

    /// The process that answers for a tier.
    pub(super) fn serving(&mut self, tier: Part) -> Option<Part> {
        let up: Vec<Part> = match tier {
            Part::Root(_) => (0..self.roots.len()).map(Part::Root).collect(),
            Part::Cluster(_) | Part::Bridge(_) | Part::Worker(_) => vec![tier],
        };
        let serves = |part: &Part| {
            !self.frozen.contains_key(part)
                && self.process(*part).is_some_and(|p| p.loops.is_some())
        };
        let up: Vec<Part> = up.into_iter().filter(serves).collect();
        (!up.is_empty()).then(|| up[self.queue.below(up.len())])
    }

    pub(super) fn act(&mut self, user: usize) -> Checked {
        let it = &mut self.users[user];
        if it.open.is_none() {
            let Some((_, wish)) = it.script.pop_front() else {
                return Ok(());
            };
            let wish = match (wish, it.model) {
                (Wish::Again, Some(model)) => Wish::Apply {
                    replicas: Some(model.replicas),
                    version: model.version,
                },
                (Wish::Again, None) => Wish::Delete { force: false },
                (wish, _) => wish,
            };
            it.requests += 1;
            it.open = Some(Open {
                wish,
                id: format!("{}-{}", it.app, it.requests),
                lost: None,
            });
        }
        let Some(part) = self.serving(self.users[user].tier) else {
            self.queue.within(500..4000, What::Act(user));
            return Ok(());
        };
        let it = &self.users[user];
        let Some(Open { wish, id, .. }) = &it.open else {
            return Ok(());
        };
        let (wish, id, app) = (wish.clone(), id.clone(), it.app.clone());
        match self.request(part, user, &id, &wish) {
            Answer::Later => self.queue.within(1000..5000, What::Act(user)),
            Answer::Absent => {
                let it = &mut self.users[user];
                // The answer to a delete was lost, and is not kept any more.
                let forgotten =
                    self.memory.compacted && it.open.as_ref().is_some_and(|o| o.lost.is_some());
                let missing = it.model.is_some() && it.stale == 0 && !forgotten;
                if missing {
                    let what = format!("{app} was acknowledged as {:?} and is not found", it.model);
                    return Err(Broken::new("I1 never lost", what));
                }
                self.answered(user, &wish, None);
            }
            Answer::Done(bytes) => {
                if let Some(lost) = self.users[user].open.as_ref().and_then(|o| o.lost.as_ref())
                    && *lost != bytes
                    && !self.memory.compacted
                {
                    let what = format!("request {id} of {app} was answered in two ways");
                    return Err(Broken::new("I2 one effect", what));
                }
                if let Wish::Delete { force: true } = wish {
                    self.abandon(&bytes);
                }
                let lossy = !self.healed && self.profile != Profile::FaultFree;
                if lossy && self.queue.chance(15) {
                    if let Some(open) = &mut self.users[user].open {
                        open.lost = Some(bytes);
                    }
                    self.queue.within(100..3000, What::Act(user));
                } else {
                    self.users[user].answered = Some((wish.clone(), id, bytes));
                    self.answered(user, &wish, Some(()));
                }
            }
            Answer::Refused(why) => {
                let what = format!("{wish:?} of {app} was refused: {why}");
                return Err(Broken::new("I1 accepted as asked", what));
            }
        }
        Ok(())
    }

    pub(super) fn request(&mut self, part: Part, user: usize, id: &str, wish: &Wish) -> Answer {
        let it = &self.users[user];
        let (app, kind) = (it.app.clone(), it.kind);
        let mut refused = None;
        let answer = self.call(part, |loops| match ask(loops, (&app, kind), id, wish) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(AppError::Store(error)) => Err(error),
            Err(error) => {
                refused = Some(error);
                Ok(None)
            }
        });
        match (answer, refused) {
            (Some(Some(bytes)), _) => Answer::Done(bytes),
            (_, Some(AppError::NotFound { .. })) => Answer::Absent,
            (_, Some(AppError::Deleting { .. })) | (None, _) => Answer::Later,
            (_, Some(error)) => Answer::Refused(error.to_string()),
            (Some(None), None) => Answer::Later,
        }
    }

    /// The user knows how the request ended, and what must be there from now on.
    fn answered(&mut self, user: usize, wish: &Wish, done: Option<()>) {
        let it = &mut self.users[user];
        it.open = None;
        match wish {
            Wish::Apply { replicas, version } => {
                let kept = it.model.map_or(1, |model| model.replicas);
                it.model = Some(Model {
                    replicas: replicas.unwrap_or(kept),
                    version: *version,
                });
            }
            Wish::Scale(replicas) => {
                if let (Some(model), Some(())) = (&mut it.model, done) {
                    model.replicas = *replicas;
                }
            }
            Wish::Delete { .. } => it.model = None,
            Wish::Again => {}
        }
        let it = &mut self.users[user];
        if it.renewing() {
            it.stale -= 1;
        }
        self.next_wish(user);
    }

    /// After a loss of its database, the users of a tier look and ask again.
    pub(super) fn ask_again(&mut self, part: Part) {
        let is_root = matches!(part, Part::Root(_));
        for user in 0..self.users.len() {
            let same = match self.users[user].tier {
                Part::Root(_) => is_root,
                tier => tier == part,
            };
            if same {
                self.looks_again(user);
            }
        }
    }

    /// A user learns that its application may be another one than it made it, and asks once more for what it last got.
    pub(super) fn looks_again(&mut self, user: usize) {
        let it = &mut self.users[user];
        it.stale += 1;
        it.answered = None;
        if let Some(open) = &mut it.open {
            open.lost = None;
        }
        let at = Time(self.queue.now.0 + self.queue.draw(3_000..15_000));
        let it = &mut self.users[user];
        it.script.push_front((at, Wish::Again));
        // What was asked before is not known to this database, nor is its id.
        if it.open.is_none() {
            self.next_wish(user);
        }
    }

    /// What a forced delete gave up may run on for as long as it is not heard.
    fn abandon(&mut self, answer: &[u8]) {
        let decoded = v1::DeleteResponse::decode(answer).unwrap_or_default();
        let ids = decoded.abandoned.iter().filter_map(|i| i.id.parse().ok());
        self.memory.abandon(ids);
    }
}

impl User {
    /// Whether a loss of the database is not made good yet: the next request for what was got last does.
    fn renewing(&self) -> bool {
        let waiting = self
            .script
            .iter()
            .filter(|(_, wish)| matches!(wish, Wish::Again))
            .count();
        self.stale > 0 && usize::try_from(self.stale).unwrap_or(0) > waiting
    }
}
