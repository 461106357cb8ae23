//! What becomes of jobs: ends, failures, restarts of jobs and of the agent.

use super::*;

#[test]
fn what_ends_is_started_again_by_policy_with_growing_pauses() {
    let (mut world, _) = World::running("on-failure");
    world.end(1, 3);
    let status = world.status(1);
    assert_eq!(
        (status.phase, status.exit_code),
        (Phase::Preparing, Some(3))
    );
    assert_eq!(world.told(1).output_tail, b"last words");
    world.pass(Duration::from_millis(999));
    assert_eq!(world.done(), ["ensure 1"]);
    world.pass(Duration::from_millis(1));
    assert_eq!(world.done(), ["ensure 1", "rerun 1"]);
    assert_eq!(
        (world.phase(1), world.status(1).restarts),
        (Phase::Running, 1)
    );
    world.end(1, 3);
    world.pass(Duration::from_millis(1999));
    assert_eq!(world.status(1).restarts, 1);
    world.pass(Duration::from_millis(1));
    assert_eq!(
        (world.phase(1), world.status(1).restarts),
        (Phase::Running, 2)
    );
    world.end(1, 0);
    assert_eq!(world.phase(1), Phase::Completed);
    world.pass(Duration::from_secs(1000));
    assert_eq!(world.done(), ["ensure 1", "rerun 1", "rerun 1"]);
    assert_eq!(world.told(1).phase(), v1::Phase::Completed);
}

#[test]
fn a_failure_for_good_tells_the_last_output_and_survives_a_restart() {
    let (mut world, _) = World::running("never");
    world.end(1, 9);
    let told = world.told(1);
    assert_eq!((told.phase(), told.exit_code), (v1::Phase::Failed, Some(9)));
    assert_eq!(told.output_tail, b"last words");
    world.restart_agent();
    assert_eq!(world.phase(1), Phase::Failed);
    world.attach();
    assert_eq!(world.told(1).output_tail, b"last words");
    assert_eq!(world.done(), Vec::<&str>::new());
}

#[test]
fn a_stop_while_an_image_is_pulled_cancels_the_pull() {
    let mut world = World::new();
    world.attach();
    world.hold = true;
    let spec = spec("always");
    let run = order(1, 1, v1::Desired::Run, &spec);
    world.snapshot(vec![run], vec![spec.clone()]).unwrap();
    world
        .node
        .progress(id(1), "Pulling", "12 of 34 MB", world.now);
    world.settle();
    assert_eq!(world.told(1).message, "12 of 34 MB");
    assert_eq!(world.told(1).phase(), v1::Phase::Preparing);
    world
        .snapshot(vec![order(1, 2, v1::Desired::Stop, &spec)], vec![])
        .unwrap();
    assert_eq!(world.cancelled, [id(1)]);
    assert_eq!(world.held.len(), 1, "nothing else is begun meanwhile");
    world.hold = false;
    let gone = Outcome::Fault(fault(FaultClass::Cancelled, "Cancelled"));
    world.node.finished(id(1), gone, world.now);
    world.settle();
    assert_eq!(world.told(1).phase(), v1::Phase::Stopped);
    assert_eq!(world.node.entries().count(), 0);
}

#[test]
fn a_restarted_agent_adopts_and_starts_nothing() {
    let (mut world, spec) = World::running("always");
    let before = world.jobs.clone();
    world.restart_agent();
    world.pass(Duration::from_secs(100));
    assert_eq!(world.done(), Vec::<&str>::new());
    assert_eq!(world.jobs, before);
    world.attach();
    let hello = world.hello.clone().unwrap();
    assert_eq!(hello.accepted.unwrap().revision, 1);
    assert_eq!(world.told(1).phase(), v1::Phase::Running);
    world
        .snapshot(vec![order(1, 1, v1::Desired::Run, &spec)], vec![spec])
        .unwrap();
    assert_eq!(world.done(), Vec::<&str>::new());
}

#[test]
fn a_job_that_ended_while_the_agent_was_away_is_started_again() {
    let (mut world, _) = World::running("always");
    world.jobs.insert(id(1), exited(1));
    world.restart_agent();
    world.pass(Duration::from_secs(2));
    assert_eq!(world.done(), ["rerun 1"]);
    assert_eq!(world.status(1).restarts, 1);
}

#[test]
fn a_job_that_must_not_run_twice_does_not_when_it_vanished() {
    let (mut world, _) = World::running("never");
    world.jobs.clear();
    world.restart_agent();
    world.pass(Duration::from_secs(100));
    assert_eq!(world.done(), Vec::<&str>::new());
    assert_eq!(
        (world.phase(1), world.status(1).reason.as_str()),
        (Phase::Failed, "Vanished")
    );
}

#[test]
fn nothing_is_started_while_the_runtime_does_not_answer() {
    let (mut world, _) = World::running("always");
    world.down = true;
    world.jobs.clear();
    world.restart_agent();
    world.pass(Duration::from_secs(300));
    assert_eq!(world.done(), Vec::<&str>::new());
    assert_eq!(world.phase(1), Phase::Running, "as far as anybody knows");
    assert_eq!(world.status(1).reason, "RuntimeUnreachable");
    world.down = false;
    world.pass(Duration::from_secs(40));
    assert_eq!(world.phase(1), Phase::Running);
    assert_eq!(world.done(), ["ensure 1"]);
}

#[test]
fn a_listing_that_began_before_a_start_ended_does_not_count() {
    let (mut world, _) = World::running("always");
    world.end(1, 1);
    world.node.hint(&RuntimeKind::FAKE, None, world.now);
    let asked = world.node.effects();
    assert_eq!(asked, [Effect::List(RuntimeKind::FAKE)]);
    let old: Vec<_> = world.jobs.clone().into_iter().collect();
    world.pass(Duration::from_secs(2));
    assert_eq!(world.status(1).restarts, 1);
    let listing = Listing {
        runtime: RuntimeKind::FAKE,
        result: Ok(old),
    };
    world.node.seen(listing, world.now);
    world.settle();
    assert_eq!(world.phase(1), Phase::Running);
}

#[test]
fn a_start_that_cannot_be_noted_waits() {
    let (mut world, _) = World::running("always");
    world.end(1, 1);
    world.ledger.fail(u64::MAX);
    world.pass(Duration::from_secs(30));
    assert_eq!(world.done(), ["ensure 1"]);
    world.ledger.fail(0);
    world.pass(Duration::from_secs(30));
    assert_eq!(world.done(), ["ensure 1", "rerun 1"]);
}

#[test]
fn a_restart_that_cannot_be_noted_is_no_try_and_comes_soon_after_there_is_room() {
    let (mut world, _) = World::running("always");
    world.end(1, 1);
    world.pass(Duration::from_millis(500));
    world.ledger.fail(u64::MAX);
    world.pass(Duration::from_secs(600));
    assert_eq!(world.done(), ["ensure 1"]);
    let status = world.status(1);
    assert_eq!((status.failures, status.restarts), (1, 0));
    world.ledger.fail(0);
    world.pass(Duration::from_secs(2));
    assert_eq!(world.done(), ["ensure 1", "rerun 1"]);
    assert_eq!(world.status(1).restarts, 1);
}

#[test]
fn a_failed_pull_is_tried_again_and_says_why() {
    let mut world = World::new();
    world.attach();
    world.faults = vec![fault(FaultClass::Retry, "ImagePull"); 2];
    let spec = spec("always");
    world
        .snapshot(vec![order(1, 1, v1::Desired::Run, &spec)], vec![spec])
        .unwrap();
    let told = world.told(1);
    assert_eq!(
        (told.phase(), told.reason.as_str()),
        (v1::Phase::Preparing, "ImagePull")
    );
    world.pass(Duration::from_secs(4));
    assert_eq!(world.done(), ["ensure 1", "ensure 1", "ensure 1"]);
    let status = world.status(1);
    assert_eq!((status.phase, status.restarts), (Phase::Running, 0));
    assert_eq!((status.reason.as_str(), status.message.as_str()), ("", ""));
}

#[test]
fn a_start_that_can_never_succeed_fails_a_job_that_is_never_started_again() {
    for (restart, phase) in [("never", Phase::Failed), ("on-failure", Phase::Preparing)] {
        let mut world = World::new();
        world.attach();
        world.faults = vec![fault(FaultClass::Permanent, "ImageAbsent")];
        let spec = spec(restart);
        world
            .snapshot(vec![order(1, 1, v1::Desired::Run, &spec)], vec![spec])
            .unwrap();
        assert_eq!(world.phase(1), phase, "{restart}");
        assert_eq!(world.told(1).reason, "ImageAbsent");
    }
}

#[test]
fn pause_resume_and_restart_are_differences_of_orders() {
    let (mut world, spec) = World::running("always");
    world
        .snapshot(vec![order(1, 2, v1::Desired::Pause, &spec)], vec![])
        .unwrap();
    assert_eq!(world.told(1).phase(), v1::Phase::Paused);
    world
        .snapshot(vec![order(1, 3, v1::Desired::Run, &spec)], vec![])
        .unwrap();
    assert_eq!(world.told(1).phase(), v1::Phase::Running);
    let mut again = order(1, 4, v1::Desired::Run, &spec);
    again.restart_count = 1;
    world.snapshot(vec![again], vec![]).unwrap();
    assert_eq!(world.phase(1), Phase::Running);
    assert_eq!(
        world.done(),
        ["ensure 1", "pause 1", "resume 1", "restart 1"]
    );
    world.restart_agent();
    world.pass(Duration::from_secs(60));
    assert_eq!(
        world.done(),
        Vec::<&str>::new(),
        "a restart is carried out once"
    );
    assert_eq!(
        world.status(1).restarts,
        0,
        "a user's restart is none by policy"
    );
}

#[test]
fn leftovers_of_stopped_instances_are_removed_and_strangers_left_alone() {
    let mut world = World::new();
    world.attach();
    let stop = order(1, 2, v1::Desired::Stop, &spec("always"));
    world.snapshot(vec![stop], vec![]).unwrap();
    world.jobs.insert(id(1), Sight::bare(Seen::Running));
    world.jobs.insert(id(2), Sight::bare(Seen::Running));
    world.pass(Duration::from_secs(31));
    assert_eq!(world.done(), ["stop 1"]);
    assert_eq!(world.jobs.keys().copied().collect::<Vec<_>>(), [id(2)]);
    // A stranger that is ordered was ours all along.
    let spec = spec("always");
    world
        .snapshot(vec![order(2, 1, v1::Desired::Run, &spec)], vec![spec])
        .unwrap();
    assert_eq!(
        (world.done(), world.phase(2)),
        (vec!["stop 1"], Phase::Running)
    );
}

#[test]
fn what_became_due_unnoticed_is_still_due() {
    let (mut world, _) = World::running("always");
    world.end(1, 1);
    // The driver was busy with something else at the moment itself.
    world.now.boot = world.now.boot + Duration::from_secs(5);
    world.now.wall = world.now.wall + Duration::from_secs(5);
    assert!(world.node.due(world.now).unwrap() <= world.now.boot);
    world.node.tick(world.now);
    world.settle();
    assert_eq!(world.done(), ["ensure 1", "rerun 1"]);
}

impl World {
    /// The job ends with a failure and is started again after what is waited; how long that took.
    fn crash(&mut self) -> Duration {
        self.end(1, 1);
        let before = self.now.boot;
        let starts = self.status(1).restarts;
        while self.status(1).restarts == starts {
            self.pass(Duration::from_millis(100));
        }
        self.now.boot.since(before)
    }
}

#[test]
fn a_job_that_crashes_for_hours_is_restarted_each_5_minutes_whatever_becomes_of_the_agent() {
    let (mut world, _) = World::running("always");
    let longest = Duration::from_secs(300);
    let waits: Vec<Duration> = (0..10).map(|_| world.crash()).collect();
    assert_eq!(waits[0], Duration::from_secs(1));
    assert!(waits.windows(2).all(|pair| pair[0] <= pair[1]), "{waits:?}");
    assert_eq!(waits[9], longest);
    let (begin, restarts) = (world.now.boot, world.status(1).restarts);
    while world.now.boot.since(begin) < Duration::from_secs(6 * 3600) {
        world.end(1, 1);
        world.pass(Duration::from_secs(100));
        world.restart_agent();
        world.pass(Duration::from_secs(201));
        assert_eq!(world.phase(1), Phase::Running);
        world.restart_agent();
    }
    let more = world.status(1).restarts - restarts;
    assert!((70..=72).contains(&more), "{more} restarts in 6 h");
}

#[test]
fn a_healthy_spell_forgets_the_failures_before_it_and_a_short_one_does_not() {
    let (mut world, _) = World::running("on-failure");
    for _ in 0..5 {
        world.crash();
    }
    world.pass(Duration::from_secs(590));
    assert_eq!(world.status(1).failures, 5);
    assert_eq!(
        world.crash(),
        Duration::from_secs(32),
        "it ran for less than 10 min"
    );
    world.pass(Duration::from_secs(640));
    assert_eq!(world.status(1).failures, 0);
    assert_eq!(world.ledger.durable().entries[&id(1)].status.failures, 0);
    assert_eq!(world.crash(), Duration::from_secs(1));
}

#[test]
fn a_healthy_job_does_not_wait_long_after_a_power_cut_for_what_was_weeks_ago() {
    let (mut world, _) = World::running("always");
    for _ in 0..9 {
        world.crash();
    }
    world.pass(Duration::from_secs(3600));
    world.jobs.clear();
    world.restart_agent();
    world.pass(Duration::from_secs(1));
    assert_eq!(world.phase(1), Phase::Running);
}
