//! What every runtime does alike. Each test is a story about one promise of the trait.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use edgeio_worker::runtime::{
    ErrorClass, EventKind, Exit, Feature, InstanceId, NoProgress, Progress, RuntimeError,
    RuntimeEvent, State, Step,
};
use futures::StreamExt;
use uuid::Uuid;

use crate::bed::{Bed, Behaviour, blank, eventually, exited, printed};

/// Makes one test of every promise for a bed.
#[macro_export]
macro_rules! conformance {
    ($bed:ty) => {
        $crate::conformance!(@each $bed:
            it_says_what_it_can_do, ensure_twice_is_once, a_new_driver_adopts,
            another_worker_sees_nothing, another_spec_is_a_conflict, the_end_is_told_and_kept,
            stop_lets_the_job_end, stop_kills_what_ignores_term, nothing_outlives_its_job,
            pause_holds_and_resume_lets_go, a_paused_job_stops, restart_is_the_same_instance,
            memory_limits_bite, cpu_limits_bite, stats_grow, events_tell,
            remove_leaves_nothing, remove_ends_what_runs, a_missing_program_is_permanent,
            what_is_not_there_is_gone, steps_are_told);
        $crate::conformance!(@sandbox $bed:
            it_sees_what_it_is_shown, it_starts_where_it_was_told, it_is_who_it_was_told,
            it_is_asked_to_end_by_its_own_signal, it_may_do_little, it_may_not_fork_for_ever,
            a_read_only_root_is_not_written, the_nodes_network_is_seen_where_allowed, a_privileged_job_may_do_all);
    };
    (@sandbox $bed:ty: $($name:ident),*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let bed = <$bed as $crate::bed::Bed>::new().await;
                if $crate::bed::Bed::runs_scripts(&bed) {
                    $crate::sandbox::$name(&bed).await;
                }
            }
        )*
    };
    (@each $bed:ty: $($name:ident),*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let bed = <$bed as $crate::bed::Bed>::new().await;
                $crate::suite::$name(&bed).await;
            }
        )*
    };
}

fn exit_of(state: &State) -> &Exit {
    match state {
        State::Exited(exit) => exit,
        other => panic!("not exited: {other:?}"),
    }
}

fn class_of<T: std::fmt::Debug>(result: Result<T, RuntimeError>) -> ErrorClass {
    let error = result.expect_err("must fail");
    error.class()
}

pub(crate) async fn it_says_what_it_can_do(bed: &impl Bed) {
    let can = bed.driver().capabilities().await.unwrap();
    assert!(!can.version.is_empty());
    for feature in Feature::ALL {
        let missing = can.missing.iter().find(|m| m.feature == feature);
        assert_ne!(
            can.features.contains(&feature),
            missing.is_some(),
            "{feature:?}: {can:?}"
        );
        assert!(missing.is_none_or(|m| !m.why.is_empty()), "{can:?}");
    }
}

pub(crate) async fn ensure_twice_is_once(bed: &impl Bed) {
    let (driver, job) = (bed.driver(), bed.job(Behaviour::Hold));
    let first = driver.ensure(&job, &NoProgress).await.unwrap();
    assert!(matches!(first.state, State::Running { .. }), "{first:?}");
    let second = driver.ensure(&job, &NoProgress).await.unwrap();
    assert_eq!((first.handle, first.state), (second.handle, second.state));
    assert_eq!(driver.list_owned(bed.worker()).await.unwrap().len(), 1);
    driver.remove(job.instance()).await.unwrap();
}

pub(crate) async fn a_new_driver_adopts(bed: &impl Bed) {
    let job = bed.job(Behaviour::Hold);
    let driver = bed.driver();
    let before = driver.ensure(&job, &NoProgress).await.unwrap();
    drop(driver);
    let driver = bed.driver();
    let listed = driver.list_owned(bed.worker()).await.unwrap();
    let [after] = listed.as_slice() else {
        panic!("{listed:?}")
    };
    assert_eq!(after.labels, job.labels);
    assert_eq!(after.handle, before.handle);
    assert_eq!(after.state, before.state, "same start, same pid");
    let ensured = driver.ensure(&job, &NoProgress).await.unwrap();
    assert_eq!(ensured.state, before.state);
    driver
        .stop(job.instance(), Duration::ZERO)
        .await
        .unwrap()
        .unwrap();
    driver.remove(job.instance()).await.unwrap();
}

pub(crate) async fn another_worker_sees_nothing(bed: &impl Bed) {
    let (driver, job) = (bed.driver(), bed.job(Behaviour::Hold));
    driver.ensure(&job, &NoProgress).await.unwrap();
    assert_eq!(driver.list_owned(Uuid::now_v7()).await.unwrap(), []);
    driver.remove(job.instance()).await.unwrap();
}

pub(crate) async fn another_spec_is_a_conflict(bed: &impl Bed) {
    let (driver, job) = (bed.driver(), bed.job(Behaviour::Hold));
    let before = driver.ensure(&job, &NoProgress).await.unwrap();
    let mut other = job.clone();
    other.labels.spec_hash = "cd".repeat(32);
    let error = driver.ensure(&other, &NoProgress).await.unwrap_err();
    assert!(matches!(error, RuntimeError::Conflict { .. }), "{error}");
    assert_eq!(error.class(), ErrorClass::Permanent);
    let after = driver.observe(job.instance()).await.unwrap().unwrap();
    assert_eq!(after.state, before.state, "what runs is left alone");
    driver.remove(job.instance()).await.unwrap();
}

pub(crate) async fn the_end_is_told_and_kept(bed: &impl Bed) {
    let (driver, job) = (bed.driver(), bed.job(Behaviour::Exit(3)));
    driver.ensure(&job, &NoProgress).await.unwrap();
    let ended = exited(&*driver, job.instance()).await;
    let exit = exit_of(&ended.state);
    assert_eq!((exit.code, exit.oom, &exit.lost), (Some(3), false, &None));
    let output = driver.tail(job.instance(), 4096).await.unwrap();
    let output = String::from_utf8(output).unwrap();
    assert!(
        output.contains("hello\n") && output.contains("oops\n"),
        "{output:?}"
    );
    assert_eq!(driver.tail(job.instance(), 3).await.unwrap().len(), 3);
    // An exited instance is not restarted by `ensure`, and a new driver tells the same end.
    let again = bed.driver().ensure(&job, &NoProgress).await.unwrap();
    assert_eq!(again.state, ended.state);
    driver.remove(job.instance()).await.unwrap();
}

pub(crate) async fn stop_lets_the_job_end(bed: &impl Bed) {
    let (driver, job) = (bed.driver(), bed.job(Behaviour::Hold));
    driver.ensure(&job, &NoProgress).await.unwrap();
    printed(&*driver, job.instance(), "ready").await;
    let exit = driver
        .stop(job.instance(), Duration::from_secs(50))
        .await
        .unwrap()
        .unwrap();
    assert_ne!(exit.shell_code(), Some(137), "it was not killed: {exit:?}");
    assert_eq!(exit.lost, None);
    let again = driver
        .stop(job.instance(), Duration::from_secs(50))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(again, exit);
    driver.remove(job.instance()).await.unwrap();
    let unknown = driver
        .stop(InstanceId(Uuid::now_v7()), Duration::ZERO)
        .await
        .unwrap();
    assert_eq!(unknown, None);
}

pub(crate) async fn stop_kills_what_ignores_term(bed: &impl Bed) {
    let (driver, job) = (bed.driver(), bed.job(Behaviour::IgnoreTerm));
    driver.ensure(&job, &NoProgress).await.unwrap();
    printed(&*driver, job.instance(), "ready").await;
    let began = Instant::now();
    let exit = driver
        .stop(job.instance(), Duration::from_secs(1))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(exit.shell_code(), Some(137), "{exit:?}");
    assert!(
        began.elapsed() >= Duration::from_secs(1),
        "the grace was kept"
    );
    driver.remove(job.instance()).await.unwrap();
}

pub(crate) async fn nothing_outlives_its_job(bed: &impl Bed) {
    let number = 100_000_000 + u32::try_from(Uuid::now_v7().as_u128() % 800_000_000).unwrap();
    let (driver, job) = (bed.driver(), bed.job(Behaviour::Family(number)));
    driver.ensure(&job, &NoProgress).await.unwrap();
    printed(&*driver, job.instance(), "ready").await;
    driver
        .stop(job.instance(), Duration::ZERO)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(sleepers(number), Vec::<String>::new());
    driver.remove(job.instance()).await.unwrap();
}

/// The processes of this machine whose command line holds the number as a word.
fn sleepers(number: u32) -> Vec<String> {
    let word = number.to_string();
    let commands = std::fs::read_dir("/proc").unwrap().flatten();
    let commands = commands.filter_map(|e| std::fs::read(e.path().join("cmdline")).ok());
    let commands = commands.map(|c| String::from_utf8_lossy(&c).replace('\0', " "));
    commands
        .filter(|c| c.split(' ').any(|w| w == word))
        .collect()
}

pub(crate) async fn pause_holds_and_resume_lets_go(bed: &impl Bed) {
    let (driver, job) = (bed.driver(), bed.job(Behaviour::Burn));
    let id = job.instance();
    let before = driver.ensure(&job, &NoProgress).await.unwrap();
    printed(&*driver, id, "ready").await;
    driver.pause(id).await.unwrap();
    driver.pause(id).await.unwrap();
    let paused = bed.driver().observe(id).await.unwrap().unwrap();
    let State::Running { started_at, pid } = before.state else {
        panic!("{before:?}")
    };
    assert_eq!(paused.state, State::Paused { started_at, pid });
    assert_eq!(
        driver.ensure(&job, &NoProgress).await.unwrap().state,
        paused.state
    );
    let frozen = driver.stats(id).await.unwrap().cpu_ns_total;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(
        driver.stats(id).await.unwrap().cpu_ns_total,
        frozen,
        "it does not run"
    );
    driver.resume(id).await.unwrap();
    driver.resume(id).await.unwrap();
    let resumed = driver.observe(id).await.unwrap().unwrap();
    assert_eq!(
        (resumed.handle, resumed.state),
        (before.handle, before.state)
    );
    eventually("uses the CPU again", async || {
        let now = driver.stats(id).await.map_err(|e| e.chain())?.cpu_ns_total;
        if now > frozen {
            Ok(())
        } else {
            Err(now.to_string())
        }
    })
    .await;
    driver.stop(id, Duration::ZERO).await.unwrap();
    assert_eq!(
        class_of(driver.pause(id).await),
        ErrorClass::Gone,
        "what ended cannot pause"
    );
    driver.remove(id).await.unwrap();
}

pub(crate) async fn a_paused_job_stops(bed: &impl Bed) {
    let (driver, job) = (bed.driver(), bed.job(Behaviour::Hold));
    driver.ensure(&job, &NoProgress).await.unwrap();
    printed(&*driver, job.instance(), "ready").await;
    driver.pause(job.instance()).await.unwrap();
    let exit = driver
        .stop(job.instance(), Duration::from_secs(2))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(exit.lost, None);
    driver.remove(job.instance()).await.unwrap();
}

pub(crate) async fn restart_is_the_same_instance(bed: &impl Bed) {
    let (driver, job) = (bed.driver(), bed.job(Behaviour::Exit(1)));
    driver.ensure(&job, &NoProgress).await.unwrap();
    let first = exited(&*driver, job.instance()).await;
    driver.restart(&job).await.unwrap();
    let second = eventually("ends again", async || {
        let seen = driver
            .observe(job.instance())
            .await
            .map_err(|e| e.chain())?;
        match seen {
            Some(seen) if matches!(seen.state, State::Exited(_)) && seen.state != first.state => {
                Ok(seen)
            }
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert_eq!(second.labels, first.labels);
    let (old, new) = (exit_of(&first.state), exit_of(&second.state));
    assert!(
        new.finished_at > old.finished_at && new.code == Some(1),
        "{old:?} {new:?}"
    );
    assert_eq!(driver.list_owned(bed.worker()).await.unwrap().len(), 1);
    driver.remove(job.instance()).await.unwrap();
    // A running one is left as it is.
    let job = bed.job(Behaviour::Hold);
    let running = driver.ensure(&job, &NoProgress).await.unwrap();
    let same = driver.restart(&job).await.unwrap();
    assert_eq!((running.handle, running.state), (same.handle, same.state));
    driver.remove(job.instance()).await.unwrap();
}

pub(crate) async fn memory_limits_bite(bed: &impl Bed) {
    let (driver, mut job) = (bed.driver(), bed.job(Behaviour::Hog));
    job.memory_bytes = Some(32 << 20);
    if driver
        .capabilities()
        .await
        .unwrap()
        .features
        .contains(&Feature::Limits)
    {
        driver.ensure(&job, &NoProgress).await.unwrap();
        let ended = exited(&*driver, job.instance()).await;
        let exit = exit_of(&ended.state);
        assert!(exit.oom && exit.shell_code() == Some(137), "{exit:?}");
        driver.remove(job.instance()).await.unwrap();
        return;
    }
    let error = driver.ensure(&job, &NoProgress).await.unwrap_err();
    assert!(
        matches!(
            error,
            RuntimeError::Unsupported {
                feature: Feature::Limits,
                ..
            }
        ),
        "{error}"
    );
}

pub(crate) async fn cpu_limits_bite(bed: &impl Bed) {
    let (driver, mut job) = (bed.driver(), bed.job(Behaviour::Burn));
    job.cpu_millis = Some(200);
    if !driver
        .capabilities()
        .await
        .unwrap()
        .features
        .contains(&Feature::Limits)
    {
        assert_eq!(
            class_of(driver.ensure(&job, &NoProgress).await),
            ErrorClass::Permanent
        );
        return;
    }
    driver.ensure(&job, &NoProgress).await.unwrap();
    printed(&*driver, job.instance(), "ready").await;
    let began = Instant::now();
    let before = driver.stats(job.instance()).await.unwrap().cpu_ns_total;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let used = driver.stats(job.instance()).await.unwrap().cpu_ns_total - before;
    // An upper bound holds however slow the machine: a fifth of the time, and one period's quota at each end on two cores.
    let most = began.elapsed().as_nanos() / 5 + 2 * 20_000_000;
    assert!(u128::from(used) <= most, "{used} ns of {most}");
    assert!(used > 0);
    driver.remove(job.instance()).await.unwrap();
}

pub(crate) async fn stats_grow(bed: &impl Bed) {
    let (driver, job) = (bed.driver(), bed.job(Behaviour::Burn));
    driver.ensure(&job, &NoProgress).await.unwrap();
    printed(&*driver, job.instance(), "ready").await;
    let first = driver.stats(job.instance()).await.unwrap();
    assert!(first.memory_bytes > 0, "{first:?}");
    eventually("uses CPU", async || {
        let now = driver.stats(job.instance()).await.map_err(|e| e.chain())?;
        if now.cpu_ns_total > first.cpu_ns_total {
            Ok(())
        } else {
            Err(format!("{now:?}"))
        }
    })
    .await;
    driver.remove(job.instance()).await.unwrap();
}

pub(crate) async fn events_tell(bed: &impl Bed) {
    let (driver, job) = (bed.driver(), bed.job(Behaviour::Exit(0)));
    let mut events = driver.events().await.unwrap();
    driver.ensure(&job, &NoProgress).await.unwrap();
    exited(&*driver, job.instance()).await;
    driver.remove(job.instance()).await.unwrap();
    let mut seen = Vec::new();
    let wanted = [EventKind::Started, EventKind::Exited, EventKind::Removed];
    let all = async {
        while !wanted.iter().all(|w| seen.contains(w)) {
            match events.next().await {
                Some(RuntimeEvent::Changed { instance, kind }) if instance == job.instance() => {
                    seen.push(kind);
                }
                Some(_) => {}
                None => panic!("the stream ended"),
            }
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(60), all).await;
    assert!(in_time.is_ok(), "seen {seen:?}");
}

pub(crate) async fn remove_leaves_nothing(bed: &impl Bed) {
    let (driver, job) = (bed.driver(), bed.job(Behaviour::Exit(0)));
    driver.ensure(&job, &NoProgress).await.unwrap();
    exited(&*driver, job.instance()).await;
    assert_ne!(
        bed.leftovers(job.instance()).await,
        Vec::<String>::new(),
        "the look works"
    );
    driver.remove(job.instance()).await.unwrap();
    driver.remove(job.instance()).await.unwrap();
    assert_eq!(driver.observe(job.instance()).await.unwrap(), None);
    assert_eq!(driver.list_owned(bed.worker()).await.unwrap(), []);
    assert_eq!(bed.leftovers(job.instance()).await, Vec::<String>::new());
}

pub(crate) async fn remove_ends_what_runs(bed: &impl Bed) {
    let (driver, job) = (bed.driver(), bed.job(Behaviour::IgnoreTerm));
    driver.ensure(&job, &NoProgress).await.unwrap();
    driver.remove(job.instance()).await.unwrap();
    assert_eq!(bed.leftovers(job.instance()).await, Vec::<String>::new());
}

pub(crate) async fn a_missing_program_is_permanent(bed: &impl Bed) {
    let (driver, job) = (bed.driver(), bed.job(Behaviour::NoProgram));
    let error = driver.ensure(&job, &NoProgress).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Permanent, "{}", error.chain());
    // Stopping what never ran says nothing about an end.
    assert_eq!(
        driver.stop(job.instance(), Duration::ZERO).await.unwrap(),
        None
    );
    driver.remove(job.instance()).await.unwrap();
    assert_eq!(bed.leftovers(job.instance()).await, Vec::<String>::new());
}

pub(crate) async fn what_is_not_there_is_gone(bed: &impl Bed) {
    let driver = bed.driver();
    let job = blank(bed.worker());
    let job = {
        let mut shaped = bed.job(Behaviour::Hold);
        shaped.labels = job.labels;
        shaped
    };
    let id = job.instance();
    assert_eq!(driver.observe(id).await.unwrap(), None);
    assert_eq!(class_of(driver.restart(&job).await), ErrorClass::Gone);
    assert_eq!(class_of(driver.pause(id).await), ErrorClass::Gone);
    assert_eq!(class_of(driver.resume(id).await), ErrorClass::Gone);
    assert_eq!(class_of(driver.stats(id).await), ErrorClass::Gone);
    assert_eq!(class_of(driver.tail(id, 10).await), ErrorClass::Gone);
    driver.remove(id).await.unwrap();
}

pub(crate) async fn steps_are_told(bed: &impl Bed) {
    #[derive(Default)]
    struct Steps(Mutex<Vec<Step>>);
    impl Progress for Steps {
        fn step(&self, step: Step) {
            self.0.lock().unwrap().push(step);
        }
    }
    let (driver, job) = (bed.driver(), bed.job(Behaviour::Hold));
    let steps = Steps::default();
    driver.ensure(&job, &steps).await.unwrap();
    let told = steps.0.into_inner().unwrap();
    let create = told.iter().position(|s| *s == Step::Creating);
    let start = told.iter().position(|s| *s == Step::Starting);
    assert!(create.is_some() && create < start, "{told:?}");
    driver.remove(job.instance()).await.unwrap();
}
