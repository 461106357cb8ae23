//! Workers and clusters that stay away for long: until what they run is replaced, or they are lost, and what people do
//! meanwhile.

use edgeio_domain::time::Time;

use super::{
    faults::Fault,
    network::Lane,
    operators::Order,
    profile::Profile,
    queue::{Part, What},
    users::Wish,
    world::World,
};

/// How far a wall clock jumps while its machine is away, in milliseconds.
const JUMP: i64 = 3_600_000;
/// How old records are at least that are removed while somebody is away: whoever was not heard since is not taken for one
/// that is heard any more, and no message is that late where nothing is late by more than seconds.
const OLD: i64 = 20_000;

/// Draws who stays away.
pub(super) fn draw(world: &mut World) {
    let half = world.trouble.0 / 2;
    for _ in 0..world.queue.below(3) {
        let start = world.queue.draw(3_000..half);
        let child = if world.queue.chance(75) {
            Part::Worker(world.queue.below(world.machines.len()))
        } else {
            Part::Cluster(world.queue.below(world.clusters.len()))
        };
        leave(world, child, start);
    }
    forced_deletes(world);
}

/// From then on a child is away, for longer than it takes until it is replaced.
fn leave(world: &mut World, child: Part, start: i64) {
    let replace_after = i64::try_from(world.times.replace_after.as_millis()).unwrap_or(i64::MAX);
    let pause = replace_after + world.queue.draw(5_000..60_000);
    let put = |world: &mut World, at: i64, fault: Fault| {
        world.queue.at(Time(at), What::Fault(Box::new(fault)));
    };
    let sleeps = world.profile == Profile::Time && world.queue.chance(50);
    match child {
        Part::Worker(worker) if sleeps => {
            // It goes to sleep soon after its last word, or at once; it wakes before its way is whole again.
            put(world, start, Fault::Away(child, pause));
            let asleep = start + world.queue.draw(0..5_000);
            let length = world.queue.draw(pause / 3..pause);
            put(world, asleep, Fault::Sleep(worker, length));
        }
        // The Ack of its last report comes late, and is all that it hears.
        Part::Worker(worker) if world.queue.chance(50) => {
            let late = world.queue.draw(14_000..25_000);
            let before = start - world.queue.draw(100..3_000);
            put(world, before, Fault::Clog(Lane::WorkerDown(worker), late));
            put(world, start, Fault::Cut(Lane::WorkerUp(worker), pause));
        }
        _ => put(world, start, Fault::Away(child, pause)),
    }
    match world.profile {
        Profile::Time if world.queue.chance(60) => {
            let off = if world.queue.chance(70) { -JUMP } else { JUMP };
            let at = start + world.queue.draw(0..10_000);
            put(world, at, Fault::Jump(child, off));
        }
        Profile::Crash if world.queue.chance(60) => {
            let at = start + world.queue.draw(0..pause);
            put(world, at, Fault::Crash(child));
        }
        _ => {}
    }
    let word = match world.queue.below(10) {
        0..3 => Some(false),
        3..5 => Some(true),
        _ => None,
    };
    if let Some(fence) = word {
        let lease = i64::try_from(world.times.lease.as_millis()).unwrap_or(i64::MAX);
        let at = start + lease + world.queue.draw(1_000..20_000);
        let order = Order::Judge { child, fence };
        world.queue.at(Time(at), What::Order(order));
    }
}

/// Users give up by force what runs where nobody is heard, and old records are removed before it is heard again.
fn forced_deletes(world: &mut World) {
    let forced: Vec<(Part, i64)> = world
        .users
        .iter()
        .flat_map(|user| user.wishes().map(move |(at, wish)| (user.tier, at, wish)))
        .filter(|(_, _, wish)| matches!(wish, Wish::Delete { force: true }))
        .map(|(tier, at, _)| (tier, at.0))
        .collect();
    let soon = matches!(world.profile, Profile::Crash | Profile::Partition);
    for (tier, at) in forced {
        if !world.queue.chance(70) {
            continue;
        }
        let child = match tier {
            Part::Cluster(cluster) => {
                let own = |worker: &usize| world.machines[*worker].cluster == cluster;
                let own: Vec<usize> = (0..world.machines.len()).filter(own).collect();
                Part::Worker(own[world.queue.below(own.len())])
            }
            Part::Root(_) | Part::Bridge(_) | Part::Worker(_) if world.queue.chance(50) => {
                Part::Cluster(world.queue.below(world.clusters.len()))
            }
            Part::Root(_) | Part::Bridge(_) | Part::Worker(_) => {
                Part::Worker(world.queue.below(world.machines.len()))
            }
        };
        let start = (at - world.queue.draw(500..8_000)).max(0);
        let pause = at - start + OLD + world.queue.draw(8_000..30_000);
        let away = Box::new(Fault::Away(child, pause));
        world.queue.at(Time(start), What::Fault(away));
        if soon {
            let tier = match child {
                Part::Worker(worker) => Part::Cluster(world.machines[worker].cluster),
                _ => Part::Root(0),
            };
            let then = at + OLD + world.queue.draw(1_000..7_000);
            let order = Order::Compact(tier, OLD);
            world.queue.at(Time(then), What::Order(order));
        }
    }
}

impl World {
    /// The ways of a child to its parent.
    pub(super) fn ways(child: Part) -> Vec<Lane> {
        match child {
            Part::Worker(worker) => vec![Lane::WorkerUp(worker), Lane::WorkerDown(worker)],
            Part::Cluster(cluster) => vec![Lane::ToRoot(cluster), Lane::FromRoot(cluster)],
            Part::Root(_) | Part::Bridge(_) => Vec::new(),
        }
    }
}
