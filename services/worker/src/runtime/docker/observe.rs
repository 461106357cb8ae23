//! From what the engine says about a container to what the trait says about an instance.

use std::{collections::HashMap, time::SystemTime};

use bollard::{
    Docker,
    errors::Error,
    models::{ContainerInspectResponse, ContainerState, ContainerStateStatusEnum as Status},
    query_parameters::{InspectContainerOptions, ListContainersOptionsBuilder},
};
use chrono::DateTime;

use super::errors::status;
use crate::runtime::{Exit, Handle, Observed, State, label};

/// The ids of all containers with a label, running or not.
pub(super) async fn list(docker: &Docker, label: &str) -> Result<Vec<String>, Error> {
    let filters = HashMap::from([("label", vec![label])]);
    let options = ListContainersOptionsBuilder::new()
        .all(true)
        .filters(&filters)
        .build();
    let found = docker.list_containers(Some(options)).await?;
    Ok(found.into_iter().filter_map(|c| c.id).collect())
}

/// One container; `None` where it is gone or not ours.
pub(super) async fn inspect(docker: &Docker, id: &str) -> Result<Option<Observed>, Error> {
    match docker
        .inspect_container(id, None::<InspectContainerOptions>)
        .await
    {
        Ok(found) => Ok(observed(found, SystemTime::now())),
        Err(error) if status(&error) == Some(404) => Ok(None),
        Err(error) => Err(error),
    }
}

fn observed(found: ContainerInspectResponse, now: SystemTime) -> Option<Observed> {
    let labels = label::read(&found.config?.labels?)?;
    let state = state(found.state?, now);
    Some(Observed {
        labels,
        handle: Handle(found.id?),
        state,
        image_digest: None,
    })
}

fn state(found: ContainerState, now: SystemTime) -> State {
    let started_at = found.started_at.as_deref().and_then(time).unwrap_or(now);
    let pid = found
        .pid
        .and_then(|pid| u32::try_from(pid).ok())
        .filter(|pid| *pid != 0);
    match found.status {
        Some(Status::CREATED) => State::Created,
        Some(Status::RUNNING | Status::RESTARTING) => State::Running { started_at, pid },
        Some(Status::PAUSED) => State::Paused { started_at, pid },
        other => {
            // Being removed, or what the engine could not clean up: it will not run again by itself.
            let dead = other != Some(Status::EXITED);
            let code = found.exit_code.and_then(|code| i32::try_from(code).ok());
            State::Exited(Exit {
                code,
                signal: None,
                finished_at: found.finished_at.as_deref().and_then(time).unwrap_or(now),
                oom: found.oom_killed.unwrap_or(false),
                lost: (dead && code.is_none()).then(|| "the engine gave it up".to_owned()),
            })
        }
    }
}

/// An instant of the engine; its zero, year 1, means that there is none.
fn time(text: &str) -> Option<SystemTime> {
    let time: SystemTime = DateTime::parse_from_rfc3339(text).ok()?.into();
    (time > SystemTime::UNIX_EPOCH).then_some(time)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn states_are_told_as_the_engine_means_them() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(9_000_000_000);
        let base = ContainerState {
            started_at: Some("2024-05-01T00:00:00.000000005Z".to_owned()),
            finished_at: Some("0001-01-01T00:00:00Z".to_owned()),
            pid: Some(0),
            exit_code: Some(0),
            ..ContainerState::default()
        };
        let with = |status| ContainerState {
            status: Some(status),
            ..base.clone()
        };
        let started_at = SystemTime::UNIX_EPOCH + Duration::new(1_714_521_600, 5);
        assert_eq!(state(with(Status::CREATED), now), State::Created);
        let mut running = with(Status::RUNNING);
        running.pid = Some(7);
        assert_eq!(
            state(running, now),
            State::Running {
                started_at,
                pid: Some(7)
            }
        );
        assert_eq!(
            state(with(Status::PAUSED), now),
            State::Paused {
                started_at,
                pid: None
            }
        );
        let mut killed = with(Status::EXITED);
        (killed.exit_code, killed.oom_killed) = (Some(137), Some(true));
        let State::Exited(exit) = state(killed, now) else {
            panic!("not exited")
        };
        assert_eq!(
            (exit.code, exit.oom, exit.finished_at),
            (Some(137), true, now)
        );
        assert!(matches!(state(with(Status::DEAD), now), State::Exited(_)));
    }
}
