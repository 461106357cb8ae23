//! What operators do: a word about who is silent, forgetting, what is held, old records; and requests that are made twice.

use edgeio_domain::{
    ids::{AssignmentId, SlotId},
    records::{Desired, Owner},
    time::{Clock as _, Time},
};
use edgeio_proto::api::v1;
use edgeio_store::{Store as _, StoreError, Write};
use edgeio_tier::apps::{AppError, ResolveHeld, children::Forget, children::Verdict};
use futures::executor::block_on;

use super::{
    check::Broken,
    profile::Profile,
    queue::Part,
    users::{Answer, who},
    world::{Checked, World},
};

/// What an operator does.
#[derive(Clone, Debug)]
pub(super) enum Order {
    /// Forget a child of a tier: a worker or a cluster.
    Forget { child: Part, force: bool },
    /// A silent child is released or fenced.
    Judge { child: Part, fence: bool },
    /// Decide about something that a tier holds, if there is anything: adopt it, or accept the database.
    Resolve {
        tier: Part,
        adopt: bool,
        pick: usize,
    },
    /// Records are removed that are older than so many milliseconds.
    Compact(Part, i64),
    /// A request that was answered long ago is made once more.
    Repeat(usize),
}

/// Draws one.
pub(super) fn draw(world: &mut World) -> Order {
    let queue = &mut world.queue;
    let force = queue.chance(40);
    let worker = Part::Worker(queue.below(world.machines.len()));
    let cluster = queue.below(world.clusters.len());
    let child = if queue.chance(60) {
        worker
    } else {
        Part::Cluster(cluster)
    };
    let tier = if queue.chance(50) {
        Part::Root(0)
    } else {
        Part::Cluster(cluster)
    };
    match queue.below(14) {
        0..4 => Order::Forget { child, force },
        4..8 => Order::Repeat(queue.below(world.users.len())),
        8..10 => Order::Judge {
            child,
            fence: force,
        },
        10..13 => Order::Resolve {
            tier,
            adopt: force,
            pick: queue.below(8),
        },
        _ => {
            let age = edgeio_tier::context::Times::default().retention.as_millis();
            Order::Compact(tier, i64::try_from(age).unwrap_or(i64::MAX))
        }
    }
}

impl World {
    /// A child's id, and the tier whose child it is.
    fn child(&self, child: Part) -> (edgeio_domain::ids::ChildId, Part) {
        match child {
            Part::Cluster(cluster) => (self.clusters[cluster].id, Part::Root(0)),
            Part::Worker(worker) => {
                let machine = &self.machines[worker];
                (machine.id, Part::Cluster(machine.cluster))
            }
            Part::Root(_) | Part::Bridge(_) => (edgeio_domain::ids::ChildId::default(), child),
        }
    }

    pub(super) fn order(&mut self, order: &Order) -> Checked {
        match order {
            Order::Forget { child, force } => self.forget(*child, *force),
            Order::Judge { child, fence } => self.judge(*child, *fence),
            Order::Resolve { tier, adopt, pick } => self.resolve(*tier, *adopt, *pick),
            Order::Compact(part, age) => self.compact(*part, *age),
            Order::Repeat(user) => return self.repeat(*user),
        }
        Ok(())
    }

    fn compact(&mut self, part: Part, age: i64) {
        let Some(part) = self.serving(part) else {
            return;
        };
        let wall = self.process(part).map_or(Time(0), |p| p.clock.wall());
        let store = self.database(part).store.clone();
        self.memory.compacted = true;
        let compact = async {
            let mut tx = store.write().await?;
            tx.stage(Write::Compact(Time(wall.0.saturating_sub(age))));
            tx.commit().await
        };
        self.call(part, |_| block_on(compact).map(|_| ()));
    }

    /// A request that was answered before has no second effect, and the same answer, whatever became of it since.
    fn repeat(&mut self, user: usize) -> Checked {
        let Some((wish, id, before)) = self.users[user].answered.clone() else {
            return Ok(());
        };
        // Where every answer arrives nobody asks again. Answers are kept for a week by the wall clock.
        let calm = self.profile == Profile::FaultFree;
        if calm || self.memory.clocks_jumped || self.memory.compacted {
            return Ok(());
        }
        let Some(part) = self.serving(self.users[user].tier) else {
            return Ok(());
        };
        let revision = self.database(part).store.snapshot().revision();
        let answer = self.request(part, user, &id, &wish);
        let now = self.database(part).store.snapshot().revision();
        let what = match answer {
            Answer::Done(bytes) if bytes == before && now == revision => return Ok(()),
            // The store failed, or the database is another one by now.
            Answer::Later => return Ok(()),
            Answer::Done(_) => format!("took effect again ({revision} to {now})"),
            Answer::Absent => "was answered before and is not now".to_owned(),
            Answer::Refused(why) => format!("was answered before and is refused now: {why}"),
        };
        let app = &self.users[user].app;
        Err(Broken::new(
            "I2 one effect",
            format!("request {id} of {app} {what}"),
        ))
    }

    fn forget(&mut self, child: Part, force: bool) {
        let (id, tier) = self.child(child);
        let Some(part) = self.serving(tier) else {
            return;
        };
        let held: Vec<_> = self
            .database(part)
            .store
            .snapshot()
            .assignments()
            .filter(|a| a.child == id)
            .map(|a| a.id)
            .collect();
        let request = v1::GetRequest::default();
        let forget = Forget::parse(&who(), String::new(), &request, &id.to_string(), force);
        let Ok(forget) = forget else { return };
        let before = self.database(part).store.snapshot().revision();
        self.call(part, |loops| {
            match block_on(loops.children.forget(forget)) {
                Err(AppError::Store(error)) => Err::<(), StoreError>(error),
                Ok(_) | Err(_) => Ok(()),
            }
        });
        if self.database(part).store.snapshot().revision() != before {
            self.memory.abandon(held.into_iter());
            self.memory.forgotten.insert(id);
        }
    }

    /// A word about a child that may be silent: who is heard is left alone.
    fn judge(&mut self, child: Part, fence: bool) {
        let (id, tier) = self.child(child);
        let Some(part) = self.serving(tier) else {
            return;
        };
        let request = v1::GetRequest::default();
        let parse = if fence {
            Verdict::fence
        } else {
            Verdict::release
        };
        let Ok(verdict) = parse(&who(), String::new(), &request, &id.to_string()) else {
            return;
        };
        let before = self.database(part).store.snapshot().revision();
        self.call(part, |loops| {
            match block_on(loops.children.judge(verdict)) {
                Err(AppError::Store(error)) => Err::<(), StoreError>(error),
                Ok(_) | Err(_) => Ok(()),
            }
        });
        if self.database(part).store.snapshot().revision() != before {
            self.memory.judged(id, fence);
        }
    }

    /// Somebody decides about one of the things that a tier holds.
    fn resolve(&mut self, tier: Part, adopt: bool, pick: usize) {
        let Some(part) = self.serving(tier) else {
            return;
        };
        let snapshot = self.database(part).store.snapshot();
        let held = snapshot
            .assignments()
            .filter(|a| a.desired == Desired::Hold && !a.is_mirror())
            .map(|a| (a.id, a.app.clone()));
        let orphans = snapshot
            .slots()
            .filter(|s| s.upstream.as_ref().is_some_and(|up| up.orphan))
            .map(|s| (AssignmentId(s.id.0), s.app.clone()));
        let all: Vec<_> = held.chain(orphans).collect();
        let Some((id, app)) = all.get(pick % all.len().max(1)).cloned() else {
            return;
        };
        let decision = if adopt {
            v1::HeldDecision::Adopt
        } else {
            v1::HeldDecision::Accept
        };
        let request = v1::ResolveHeldRequest {
            id: SlotId(id.0).to_string(),
            decision: decision.into(),
            ..Default::default()
        };
        let Ok(command) = ResolveHeld::parse(&who(), request) else {
            return;
        };
        if !adopt {
            self.memory.decided(id);
        }
        let before = self.database(part).store.snapshot().revision();
        self.call(part, |loops| {
            match block_on(loops.apps.resolve_held(command)) {
                Err(AppError::Store(error)) => Err::<(), StoreError>(error),
                Ok(_) | Err(_) => Ok(()),
            }
        });
        let after = self.database(part).store.snapshot().revision();
        if adopt && before != after {
            // Its application is another one than its user made it: the user looks and asks again.
            let of = |at: Part| match (at, app.owner) {
                (Part::Cluster(cluster), Owner::Cluster(id)) => self.clusters[cluster].id == id,
                (Part::Root(_), Owner::Root) => true,
                _ => false,
            };
            let user = self
                .users
                .iter()
                .position(|user| user.app == app.name.as_str() && of(user.tier));
            if let Some(user) = user {
                self.looks_again(user);
            }
        }
    }
}
