//! From containers and tasks to instances.

use std::{collections::HashMap, path::Path, time::SystemTime};

use containerd_client::{
    services::v1::{
        Container, GetContainerRequest, GetRequest, ListContainersRequest, ListTasksRequest,
    },
    tonic::{Code, Status},
    types::v1::{Process, Status as TaskStatus},
};

use super::{
    engine::{Engine, call},
    home::{Home, Run},
    spec::CGROUP_PARENT,
};
use crate::runtime::{
    Exit, Handle, InstanceId, Labels, Observed, State, cgroup::Hierarchies, label,
};

/// The container of an instance; `None` where the engine has none, or one that is not ours.
pub(super) async fn container(
    engine: &Engine,
    instance: InstanceId,
) -> Result<Option<Container>, Status> {
    let request = GetContainerRequest {
        id: instance.to_string(),
    };
    match engine.containers().get(call(request)).await {
        Ok(answer) => Ok(answer.into_inner().container),
        Err(status) if status.code() == Code::NotFound => Ok(None),
        Err(status) => Err(status),
    }
}

/// The task of an instance.
pub(super) async fn task(engine: &Engine, instance: InstanceId) -> Result<Option<Process>, Status> {
    let request = GetRequest {
        container_id: instance.to_string(),
        exec_id: String::new(),
    };
    match engine.tasks().get(call(request)).await {
        Ok(answer) => Ok(answer.into_inner().process),
        Err(status) if status.code() == Code::NotFound => Ok(None),
        Err(status) => Err(status),
    }
}

/// The containers with a label, each with its task.
pub(super) async fn list(
    engine: &Engine,
    key: &str,
    value: &str,
) -> Result<Vec<(Container, Option<Process>)>, Status> {
    let request = ListContainersRequest {
        filters: vec![format!("labels.\"{key}\"==\"{value}\"")],
    };
    let containers = engine
        .containers()
        .list(call(request))
        .await?
        .into_inner()
        .containers;
    if containers.is_empty() {
        return Ok(Vec::new());
    }
    let tasks = engine
        .tasks()
        .list(call(ListTasksRequest::default()))
        .await?
        .into_inner()
        .tasks;
    // A list names a task's container in `id`.
    let mut tasks: HashMap<String, Process> =
        tasks.into_iter().map(|t| (t.id.clone(), t)).collect();
    let with_task = |c: Container| {
        let task = tasks.remove(&c.id);
        (c, task)
    };
    Ok(containers.into_iter().map(with_task).collect())
}

/// What a container and its task say. `None` where it is not ours.
///
/// # Errors
/// The instance's files cannot be read.
pub(super) fn observed(
    container: &Container,
    task: Option<&Process>,
    home: &Home,
    groups: Option<&Hierarchies>,
    now: SystemTime,
) -> std::io::Result<Option<Observed>> {
    let Some(labels) = label::read(&container.labels) else {
        return Ok(None);
    };
    let state = match (task, home.run()?) {
        (None, None) => State::Created,
        (None, Some(run)) => State::Exited(lost(home.lost_at(run, now)?)),
        (Some(task), run) => state(task, run.as_ref(), || oom(groups, labels.instance), now),
    };
    Ok(Some(Observed {
        handle: Handle(container.id.clone()),
        labels,
        state,
        image_digest: None,
    }))
}

fn state(task: &Process, run: Option<&Run>, oom: impl FnOnce() -> bool, now: SystemTime) -> State {
    let started_at = run.map_or(now, Run::started_at);
    let pid = (task.pid != 0).then_some(task.pid);
    match TaskStatus::try_from(task.status).unwrap_or(TaskStatus::Unknown) {
        TaskStatus::Created => State::Created,
        TaskStatus::Running | TaskStatus::Pausing => State::Running { started_at, pid },
        TaskStatus::Paused => State::Paused { started_at, pid },
        TaskStatus::Stopped => State::Exited(Exit {
            code: i32::try_from(task.exit_status).ok(),
            signal: None,
            finished_at: task.exited_at.and_then(time).unwrap_or(now),
            oom: oom(),
            lost: None,
        }),
        TaskStatus::Unknown => State::Exited(lost(now)),
    }
}

fn lost(at: SystemTime) -> Exit {
    Exit {
        code: None,
        signal: None,
        finished_at: at,
        oom: false,
        lost: Some(
            "the engine has no task of it any more: the node was restarted, or the shim killed"
                .to_owned(),
        ),
    }
}

/// Whether the kernel killed in the instance's group for memory. The group stays as long as the task.
fn oom(groups: Option<&Hierarchies>, instance: InstanceId) -> bool {
    let path = Path::new(CGROUP_PARENT).join(instance.to_string());
    groups.is_some_and(|groups| groups.at(&path).oom_kills() > 0)
}

/// An instant of the engine; its zero means that there is none.
fn time(found: prost_types::Timestamp) -> Option<SystemTime> {
    SystemTime::try_from(found)
        .ok()
        .filter(|t| *t > SystemTime::UNIX_EPOCH)
}

/// Who owns a container that events or lists name.
pub(super) fn labels(container: &Container) -> Option<Labels> {
    label::read(&container.labels)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn states_are_told_as_the_engine_means_them() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(9_000);
        let began = SystemTime::UNIX_EPOCH + Duration::from_secs(5);
        let run = Run::begins(began, 15);
        let task = |status: TaskStatus| Process {
            pid: 7,
            status: status.into(),
            exit_status: 137,
            ..Process::default()
        };
        let told = |status| state(&task(status), Some(&run), || true, now);
        let (started_at, pid) = (began, Some(7));
        assert_eq!(told(TaskStatus::Created), State::Created);
        assert_eq!(
            told(TaskStatus::Running),
            State::Running { started_at, pid }
        );
        assert_eq!(told(TaskStatus::Paused), State::Paused { started_at, pid });
        let State::Exited(exit) = told(TaskStatus::Stopped) else {
            panic!("not exited")
        };
        assert_eq!(
            (exit.code, exit.oom, exit.finished_at),
            (Some(137), true, now)
        );
    }

    #[test]
    fn a_run_without_a_task_is_lost_and_no_run_is_created() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home(dir.path().to_owned());
        let labels = Labels {
            cluster: uuid::Uuid::from_u128(1),
            worker: uuid::Uuid::from_u128(2),
            instance: InstanceId(uuid::Uuid::from_u128(3)),
            spec_hash: "ab".to_owned(),
        };
        let container = Container {
            id: labels.instance.to_string(),
            labels: label::write(&labels),
            ..Container::default()
        };
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(9);
        let look = |now| {
            observed(&container, None, &home, None, now)
                .unwrap()
                .unwrap()
                .state
        };
        assert_eq!(look(now), State::Created);
        home.begin(&Run::begins(now, 15)).unwrap();
        let first = look(now);
        assert!(matches!(&first, State::Exited(exit) if exit.lost.is_some()));
        assert_eq!(look(now + Duration::from_secs(5)), first);
        let stranger = Container::default();
        assert_eq!(observed(&stranger, None, &home, None, now).unwrap(), None);
    }
}
