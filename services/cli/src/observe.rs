//! What a watch has told so far about one application, and what it means for someone who waits.
//!
//! Pure: messages go in, rows and verdicts come out.

use std::collections::{BTreeMap, BTreeSet};

use edgeio_proto::api::v1::{
    Application, ApplicationPhase, Instance, InstancePhase, WatchResponse, watch_response::Change,
};

use crate::output::{
    progress::Row,
    text::{count, instance_phase},
};

/// An application as it was last seen.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    application: Option<Application>,
    /// By slot and instance: during a replacement two instances share a slot.
    instances: BTreeMap<(String, String), Instance>,
    /// Everything that existed was told: what is not here does not exist.
    synced: bool,
}

/// What someone who waits until an application runs should do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Wait on.
    Waiting,
    /// Everything that should run does, or has completed.
    Ready,
    /// It will not become so by itself.
    Failed(String),
}

impl Observed {
    pub(crate) fn take(&mut self, message: WatchResponse) {
        match message.change {
            Some(Change::Application(application)) => self.application = Some(application),
            Some(Change::ApplicationGone(_)) => {
                self.application = None;
                self.instances.clear();
            }
            Some(Change::Instance(instance)) => {
                if !instance.retiring {
                    // What stood for the slot does so no more, but for what ends beside it.
                    self.instances
                        .retain(|(slot, _), old| *slot != instance.slot_id || old.retiring);
                }
                let key = (instance.slot_id.clone(), instance.id.clone());
                if instance.retiring && has_ended(&instance) {
                    self.instances.remove(&key);
                } else {
                    self.instances.insert(key, instance);
                }
            }
            Some(Change::InstanceGone(gone)) => {
                self.instances.retain(|(slot, _), _| *slot != gone.slot_id);
            }
            Some(Change::Bookmark(_)) => self.synced = true,
            None => {}
        }
    }

    /// Whether everything that exists was told.
    pub(crate) fn is_complete(&self) -> bool {
        self.synced
    }

    /// Forgets everything, for a watch that begins again.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// The instances, by service and replica.
    pub(crate) fn instances(&self) -> Vec<&Instance> {
        let mut all: Vec<&Instance> = self.instances.values().collect();
        all.sort_by_key(|i| (i.service.as_str(), i.ordinal, i.retiring, i.id.as_str()));
        all
    }

    /// The application, once told.
    pub(crate) fn application(&self) -> Option<&Application> {
        self.application.as_ref()
    }

    /// Whether the application is known not to exist.
    pub(crate) fn is_gone(&self) -> bool {
        self.synced && self.application.is_none()
    }

    /// Instances that have failed for good, for telling old failures from new ones.
    pub(crate) fn failed(&self) -> BTreeSet<String> {
        let failed = self
            .instances
            .values()
            .filter(|instance| has_failed(instance));
        failed.map(|instance| instance.id.clone()).collect()
    }

    /// Whether the application, at `version` or later, runs. Failures in `excused` are about to be replaced.
    pub(crate) fn verdict(&self, version: u64, excused: &BTreeSet<String>) -> Verdict {
        if !self.synced {
            return Verdict::Waiting;
        }
        let Some(application) = &self.application else {
            return Verdict::Failed("it was deleted meanwhile".to_owned());
        };
        let Some(status) = &application.status else {
            return Verdict::Waiting;
        };
        if application.version < version {
            return Verdict::Waiting;
        }
        match status.phase() {
            ApplicationPhase::Deleting => {
                return Verdict::Failed("it is being deleted".to_owned());
            }
            ApplicationPhase::Ready => {
                // Counts and instances come in messages of their own: both must have said it.
                let counted = status
                    .services
                    .iter()
                    .all(|s| s.running + s.completed >= s.replicas);
                let wanted: u32 = status.services.iter().map(|s| s.replicas).sum();
                let complete = counted && self.settled() >= wanted as usize;
                if complete {
                    return Verdict::Ready;
                }
            }
            _ => {}
        }
        let failed: Vec<String> = self
            .instances()
            .into_iter()
            .filter(|i| has_failed(i) && !i.retiring && !excused.contains(&i.id))
            .map(|i| format!("{} failed: {}", name(i), why(i)))
            .collect();
        if failed.is_empty() {
            Verdict::Waiting
        } else {
            Verdict::Failed(failed.join("\n"))
        }
    }

    /// How many replicas run or have completed.
    fn settled(&self) -> usize {
        let done = [InstancePhase::Running, InstancePhase::Completed];
        let settled = |i: &&Instance| !i.retiring && done.contains(&i.phase());
        self.instances.values().filter(settled).count()
    }

    /// What is not as it should be, one line each, for someone whose patience ended.
    pub(crate) fn unfinished(&self) -> String {
        let running = InstancePhase::Running;
        let rest = self
            .instances()
            .into_iter()
            .filter(|i| i.phase() != running || i.retiring);
        let lines: Vec<String> = rest
            .map(|i| format!("  {} is {}: {}", name(i), instance_phase(i.phase), why(i)))
            .collect();
        lines.join("\n")
    }

    /// One row an instance.
    pub(crate) fn rows(&self) -> Vec<Row> {
        let all = self.instances();
        let twice = |i: &Instance| all.iter().filter(|other| name(other) == name(i)).count() > 1;
        all.iter().map(|i| row(i, i.retiring && twice(i))).collect()
    }
}

/// What people call an instance: application, service and replica.
pub(crate) fn name(instance: &Instance) -> String {
    replica(&instance.application, &instance.service, instance.ordinal)
}

/// What people call a replica.
pub(crate) fn replica(application: &str, service: &str, ordinal: u32) -> String {
    format!("{application}/{service}/{ordinal}")
}

/// Why an instance is where it is, in one line.
pub(crate) fn why(instance: &Instance) -> String {
    let mut parts: Vec<String> = Vec::new();
    if !instance.reason.is_empty() {
        parts.push(instance.reason.clone());
    }
    if !instance.message.is_empty() {
        parts.push(instance.message.clone());
    }
    let told = instance.message.contains("exit code");
    if let (Some(code), true) = (instance.exit_code, has_ended(instance) && !told) {
        parts.push(format!("exit code {code}"));
    }
    if instance.phase() == InstancePhase::Pending && !instance.candidates.is_empty() {
        // One reason stands for all; `describe` shows each.
        let first = instance.candidates.first();
        parts.extend(first.map(|c| format!("{}: {}", c.candidate, c.reasons.join(", "))));
        if instance.candidates.len() > 1 {
            parts.push(format!(
                "and {}",
                count(instance.candidates.len() - 1, "other candidate")
            ));
        }
    }
    if parts.is_empty() {
        "no reason told".to_owned()
    } else {
        parts.join("; ")
    }
}

/// Where an instance is: `cluster/worker`, as far as known.
pub(crate) fn place(instance: &Instance) -> String {
    match (instance.cluster.as_str(), instance.worker.as_str()) {
        ("", worker) => worker.to_owned(),
        (cluster, "") => cluster.to_owned(),
        (cluster, worker) => format!("{cluster}/{worker}"),
    }
}

/// `ending` marks the one of two that ends beside its successor.
fn row(instance: &Instance, ending: bool) -> Row {
    let mut stage = format!("{:<9}", instance_phase(instance.phase));
    let place = place(instance);
    if !place.is_empty() {
        stage += &format!("  on {place}");
    }
    if instance.retiring {
        stage += "  (retiring)";
    }
    if instance.restarts > 0 {
        stage += &format!("  {}", count(instance.restarts as usize, "restart"));
    }
    let settled = matches!(
        instance.phase(),
        InstancePhase::Running | InstancePhase::Completed | InstancePhase::Stopped
    );
    let told = !(instance.reason.is_empty()
        && instance.message.is_empty()
        && instance.candidates.is_empty());
    let detail = if told && !settled {
        why(instance)
    } else {
        String::new()
    };
    let key = if ending {
        let end_of_id = instance.id.rsplit('-').next().unwrap_or_default();
        format!("{} ({end_of_id})", name(instance))
    } else {
        name(instance)
    };
    Row {
        key,
        stage: stage.trim_end().to_owned(),
        detail,
    }
}

fn has_failed(instance: &Instance) -> bool {
    instance.phase() == InstancePhase::Failed
}

fn has_ended(instance: &Instance) -> bool {
    matches!(
        instance.phase(),
        InstancePhase::Stopped | InstancePhase::Completed | InstancePhase::Failed
    )
}

#[cfg(test)]
mod tests {
    use edgeio_proto::api::v1::{
        ApplicationStatus, Bookmark, CandidateReasons, InstanceGone, ServiceStatus,
    };

    use super::*;

    fn told(change: Change) -> WatchResponse {
        WatchResponse {
            token: "t".into(),
            change: Some(change),
        }
    }

    fn application(version: u64, phase: ApplicationPhase, running: u32) -> WatchResponse {
        let services = vec![ServiceStatus {
            replicas: 2,
            running,
            ..Default::default()
        }];
        told(Change::Application(Application {
            version,
            status: Some(ApplicationStatus {
                phase: phase.into(),
                services,
                ..Default::default()
            }),
            ..Default::default()
        }))
    }

    fn instance(slot: &str, id: &str, phase: InstancePhase, retiring: bool) -> WatchResponse {
        told(Change::Instance(Instance {
            id: id.into(),
            slot_id: slot.into(),
            application: "hello".into(),
            service: "web".into(),
            phase: phase.into(),
            retiring,
            ..Default::default()
        }))
    }

    fn bookmark() -> WatchResponse {
        told(Change::Bookmark(Bookmark {}))
    }

    #[test]
    fn ready_needs_the_bookmark_the_version_and_the_counts() {
        let mut seen = Observed::default();
        let none = BTreeSet::new();
        seen.take(application(3, ApplicationPhase::Ready, 2));
        assert_eq!(
            seen.verdict(3, &none),
            Verdict::Waiting,
            "not everything was told yet"
        );
        seen.take(bookmark());
        assert_eq!(
            seen.verdict(3, &none),
            Verdict::Waiting,
            "the instances lag behind the counts"
        );
        seen.take(instance("s", "a", InstancePhase::Running, false));
        seen.take(instance("t", "b", InstancePhase::Completed, false));
        assert_eq!(
            seen.verdict(4, &none),
            Verdict::Waiting,
            "an older version is ready"
        );
        assert_eq!(seen.verdict(3, &none), Verdict::Ready);
        seen.take(application(4, ApplicationPhase::Ready, 1));
        assert_eq!(
            seen.verdict(4, &none),
            Verdict::Waiting,
            "the counts lag behind the phase"
        );
        seen.take(application(4, ApplicationPhase::Deleting, 1));
        assert!(matches!(seen.verdict(4, &none), Verdict::Failed(_)));
    }

    #[test]
    fn a_failure_ends_the_wait_unless_it_is_excused_or_retiring() {
        let mut seen = Observed::default();
        seen.take(application(1, ApplicationPhase::Degraded, 1));
        seen.take(instance("s", "old", InstancePhase::Failed, false));
        seen.take(bookmark());
        let excused = seen.failed();
        assert_eq!(seen.verdict(1, &excused), Verdict::Waiting);
        assert!(
            matches!(seen.verdict(1, &BTreeSet::new()), Verdict::Failed(why) if why.contains("hello/web/0"))
        );
        seen.take(instance("s", "old", InstancePhase::Failed, true));
        assert_eq!(seen.verdict(1, &BTreeSet::new()), Verdict::Waiting);
    }

    #[test]
    fn an_instance_takes_the_row_of_its_empty_slot_and_leaves_when_retired() {
        let mut seen = Observed::default();
        seen.take(instance("s", "", InstancePhase::Pending, false));
        seen.take(instance("s", "a", InstancePhase::Running, false));
        assert_eq!(seen.rows().len(), 1);
        seen.take(instance("s", "", InstancePhase::Pending, false));
        assert_eq!(seen.rows().len(), 1, "it was handed back");
        seen.take(instance("s", "a", InstancePhase::Running, false));
        seen.take(instance("s", "a", InstancePhase::Stopping, true));
        seen.take(instance("s", "b", InstancePhase::Scheduled, false));
        assert_eq!(seen.rows().len(), 2);
        seen.take(instance("s", "a", InstancePhase::Stopped, true));
        assert_eq!(seen.instances()[0].id, "b");
        seen.take(told(Change::InstanceGone(InstanceGone {
            slot_id: "s".into(),
            ..Default::default()
        })));
        assert!(seen.rows().is_empty());
    }

    #[test]
    fn pending_tells_a_candidate_and_how_many_more() {
        let reasons = |candidate: &str| CandidateReasons {
            candidate: candidate.into(),
            reasons: vec!["needs 8 cores, 2 free".into()],
        };
        let instance = Instance {
            phase: InstancePhase::Pending.into(),
            candidates: vec![
                reasons("worker a"),
                reasons("worker b"),
                reasons("worker c"),
            ],
            ..Default::default()
        };
        assert_eq!(
            why(&instance),
            "worker a: needs 8 cores, 2 free; and 2 other candidates"
        );
    }
}
