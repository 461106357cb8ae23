//! A table over every order and every sight of an instance.

use super::*;
use crate::{
    ids::{AssignmentId, SlotId, SpecHash},
    node::{Order, Rejection, RejectionReason, Status},
};

const NOW: Time = Time(1_000_000);

fn entry(desired: Desired, status: Status) -> Entry {
    let order = Order {
        id: AssignmentId::default(),
        slot: SlotId::default(),
        generation: 1,
        desired,
        restart_count: 0,
        spec_hash: SpecHash::default(),
        image_digest: String::new(),
        namespace: "default".into(),
        application: "a".into(),
        application_uid: String::new(),
        service: "s".into(),
        ordinal: 0,
        owner: String::new(),
    };
    Entry { order, status }
}

fn exit(code: i32) -> Exit {
    Exit {
        code,
        message: String::new(),
        ran: None,
    }
}

#[test]
fn orders_meet_sights() {
    use Desired::{Hold, Pause, Run, Stop};
    let ran = || Status {
        phase: Phase::Running,
        running_since: Some(NOW),
        touched: true,
        ..Default::default()
    };
    let fresh = Status::default;
    let table = [
        (Run, fresh(), Seen::Absent, Step::Start),
        (Run, fresh(), Seen::Created, Step::Start),
        (Run, fresh(), Seen::Unknown, Step::Look),
        (Run, ran(), Seen::Running, Step::Observe),
        (Run, ran(), Seen::Paused, Step::Resume),
        (Pause, ran(), Seen::Running, Step::Pause),
        (Pause, ran(), Seen::Paused, Step::Observe),
        (Hold, ran(), Seen::Running, Step::Observe),
        (Stop, ran(), Seen::Running, Step::Stop),
        (Stop, ran(), Seen::Unknown, Step::Look),
        (Stop, ran(), Seen::Absent, Step::Settle),
        (
            Stop,
            Status {
                phase: Phase::Stopped,
                ..Default::default()
            },
            Seen::Absent,
            Step::Observe,
        ),
        (Stop, fresh(), Seen::Exited(exit(0)), Step::Stop),
    ];
    for (desired, status, seen, step) in table {
        assert_eq!(
            plan(&entry(desired, status), RestartPolicy::Always, &seen, NOW),
            step,
            "{desired:?} {seen:?}"
        );
    }
}

#[test]
fn an_end_meets_the_policy() {
    let first = |exit| Step::Schedule {
        at: NOW + backoff::FIRST,
        exit,
        failures: 1,
    };
    let table = [
        (RestartPolicy::Always, 0, first(exit(0))),
        (RestartPolicy::Always, 1, first(exit(1))),
        (RestartPolicy::OnFailure, 1, first(exit(1))),
        (
            RestartPolicy::OnFailure,
            0,
            Step::End {
                well: true,
                exit: exit(0),
            },
        ),
        (
            RestartPolicy::Never,
            0,
            Step::End {
                well: true,
                exit: exit(0),
            },
        ),
        (
            RestartPolicy::Never,
            3,
            Step::End {
                well: false,
                exit: exit(3),
            },
        ),
    ];
    for (policy, code, step) in table {
        assert_eq!(
            plan(
                &entry(Desired::Run, Status::default()),
                policy,
                &Seen::Exited(exit(code)),
                NOW
            ),
            step
        );
    }
}

#[test]
fn a_scheduled_restart_waits_and_then_runs() {
    let at = NOW + Duration::from_secs(4);
    let waiting = entry(
        Desired::Run,
        Status {
            not_before: Some(at),
            touched: true,
            ..Default::default()
        },
    );
    let seen = Seen::Exited(exit(1));
    assert_eq!(
        plan(&waiting, RestartPolicy::Always, &seen, NOW),
        Step::Wait(at)
    );
    assert_eq!(
        plan(&waiting, RestartPolicy::Always, &seen, at),
        Step::Rerun
    );
    assert_eq!(
        plan(&waiting, RestartPolicy::Always, &Seen::Absent, at),
        Step::Start
    );
    let far = entry(
        Desired::Run,
        Status {
            not_before: Some(NOW + backoff::LONGEST * 100),
            ..Default::default()
        },
    );
    assert_eq!(
        plan(&far, RestartPolicy::Always, &seen, NOW),
        Step::Rerun,
        "the wall clock was set back since: asked again and again, it must not wait for years"
    );
}

#[test]
fn a_healthy_run_forgets_the_failures_before_it() {
    let many = entry(
        Desired::Run,
        Status {
            failures: 8,
            ..Default::default()
        },
    );
    let long = Exit {
        ran: Some(backoff::HEALTHY),
        ..exit(1)
    };
    let step = plan(
        &many,
        RestartPolicy::Always,
        &Seen::Exited(long.clone()),
        NOW,
    );
    assert_eq!(
        step,
        Step::Schedule {
            at: NOW + backoff::FIRST,
            exit: long,
            failures: 1
        }
    );
}

#[test]
fn what_vanished_while_it_ran_counts_as_a_failure() {
    let ran = entry(
        Desired::Run,
        Status {
            running_since: Some(NOW),
            touched: true,
            ..Default::default()
        },
    );
    assert!(matches!(
        plan(&ran, RestartPolicy::Always, &Seen::Absent, NOW),
        Step::Schedule { failures: 1, .. }
    ));
    assert!(matches!(
        plan(&ran, RestartPolicy::Never, &Seen::Absent, NOW),
        Step::End { well: false, .. }
    ));
}

#[test]
fn a_user_restarts_what_ended_and_a_refused_one_stays_refused() {
    let mut done = entry(
        Desired::Run,
        Status {
            phase: Phase::Completed,
            touched: true,
            ..Default::default()
        },
    );
    assert_eq!(
        plan(&done, RestartPolicy::Never, &Seen::Exited(exit(0)), NOW),
        Step::Observe
    );
    done.order.restart_count = 1;
    assert_eq!(
        plan(&done, RestartPolicy::Never, &Seen::Exited(exit(0)), NOW),
        Step::Restart
    );
    let rejection = Some(Rejection {
        reason: RejectionReason::Unsupported,
        message: String::new(),
    });
    let refused = entry(
        Desired::Run,
        Status {
            rejection,
            ..Default::default()
        },
    );
    assert_eq!(
        plan(&refused, RestartPolicy::Always, &Seen::Absent, NOW),
        Step::Observe
    );
}
