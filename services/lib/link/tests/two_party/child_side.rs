//! A child: what it has persisted, jobs that do what is ordered, and the production half of the link above them.

use std::collections::{BTreeMap, BTreeSet};

use edgeio_domain::{
    child::Accepted,
    digest::{self, Digest16},
    ids::{AssignmentId, AttachId, ChildId, SpecHash},
    lifecycle::Phase,
    records::Desired,
    time::Time,
};
use edgeio_link::{
    child::{Child, Identity, Step, View},
    convert,
    holdings::{Acceptance, Held, Holdings},
};
use edgeio_proto::link::v1;
use uuid::Uuid;

use crate::world::Expected;

/// One assignment and how it fares.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Job {
    pub(crate) order: v1::Assignment,
    pub(crate) desired: Desired,
    pub(crate) orphan: bool,
    pub(crate) phase: Phase,
    pub(crate) restarts: u32,
    version: u64,
}

/// What is durable.
#[derive(Clone, Default, Debug)]
pub(crate) struct Disk {
    pub(crate) jobs: BTreeMap<AssignmentId, Job>,
    tombstones: BTreeSet<AssignmentId>,
    specs: BTreeSet<SpecHash>,
    accepted: Option<Accepted>,
}

impl Holdings for Disk {
    fn held(&self, id: AssignmentId) -> Option<Held> {
        let job = self.jobs.get(&id)?;
        Some(Held {
            generation: job.order.generation,
            desired: job.desired,
            restart_count: job.order.restart_count,
            orphan: job.orphan,
        })
    }
    fn is_tombstoned(&self, id: AssignmentId) -> bool {
        self.tombstones.contains(&id)
    }
    fn ids(&self) -> Vec<AssignmentId> {
        self.jobs.keys().copied().collect()
    }
}

/// What the checks know of all databases that there ever were.
#[derive(Clone, Default, Debug)]
pub(crate) struct Known {
    /// Ids whose stop was ordered.
    pub(crate) stops: BTreeSet<AssignmentId>,
    /// Ids whose end was recorded.
    pub(crate) ends: BTreeSet<AssignmentId>,
}

/// When the process ends around a write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Crash {
    Before,
    After,
}

/// What came of a message.
#[derive(Default, Debug)]
pub(crate) struct Heard {
    pub(crate) accepted: u32,
    pub(crate) refused: u32,
    pub(crate) orphaned: u32,
    pub(crate) register: bool,
    pub(crate) crashed: bool,
}

pub(crate) struct ChildSide {
    pub(crate) disk: Disk,
    pub(crate) child: Child,
    pub(crate) attach: AttachId,
    versions: u64,
    digests: ((u64, usize), (Digest16, Digest16)),
    offer: u64,
    /// What the checks know.
    pub(crate) known: Known,
}

impl ChildSide {
    pub(crate) fn new(disk: Disk, known: Known) -> Self {
        let identity = Identity {
            id: ChildId(Uuid::from_u128(1)),
            version: String::new(),
            boot_id: String::new(),
        };
        Self {
            child: Child::new(identity, disk.accepted),
            disk,
            attach: AttachId::default(),
            versions: 0,
            digests: ((0, 0), digests(&BTreeMap::new())),
            offer: 1,
            known,
        }
    }

    /// The process ends and begins again over what is durable.
    pub(crate) fn restart(&mut self) {
        let (disk, known) = (self.disk.clone(), std::mem::take(&mut self.known));
        let (versions, offer) = (self.versions, self.offer);
        *self = Self::new(disk, known);
        (self.versions, self.offer) = (versions, offer);
    }

    pub(crate) fn connect(&mut self, attach: AttachId, now: Time) {
        self.attach = attach;
        self.child.connect(attach, now);
    }

    pub(crate) fn offers_something_else(&mut self) {
        self.offer += 1;
    }

    /// Takes a message, and checks what comes of it.
    pub(crate) fn hear(
        &mut self,
        message: v1::ParentMessage,
        expected: &Expected,
        now: Time,
        crash: Option<Crash>,
    ) -> Result<Heard, String> {
        let mut heard = Heard::default();
        for step in self.child.receive(message, &self.disk, now) {
            match step {
                Step::Accept(_) if crash == Some(Crash::Before) => {
                    heard.crashed = true;
                    return Ok(heard);
                }
                Step::Accept(acceptance) => {
                    self.persist(&acceptance, expected)?;
                    if crash == Some(Crash::After) {
                        heard.crashed = true;
                        return Ok(heard);
                    }
                    self.child.accepted(&acceptance);
                    heard.accepted += 1;
                    heard.refused += u32::try_from(acceptance.refuse.len()).unwrap();
                    heard.orphaned += u32::try_from(acceptance.orphaned.len()).unwrap();
                }
                Step::Recorded => self.settle()?,
                Step::Superseded(_) => {}
                Step::Register(_) => heard.register = true,
                Step::Incompatible(why) => return Err(why),
            }
        }
        Ok(heard)
    }

    fn persist(&mut self, acceptance: &Acceptance, expected: &Expected) -> Result<(), String> {
        let known = |specs: &BTreeSet<SpecHash>, hash: &[u8]| {
            SpecHash::from_slice(hash).is_some_and(|hash| specs.contains(&hash))
        };
        self.disk
            .specs
            .extend(acceptance.specs.iter().map(|(hash, _)| *hash));
        for order in &acceptance.take {
            let id: AssignmentId = order.id.parse().unwrap();
            let desired = convert::desired_from_wire(order.desired).unwrap();
            let before = self.disk.jobs.get(&id).cloned();
            if self.disk.tombstones.contains(&id) {
                return Err(format!("{id} was stopped for good and is taken again"));
            }
            if before.as_ref().is_some_and(|b| b.desired == Desired::Stop)
                && desired != Desired::Stop
            {
                return Err(format!("{id} was told to stop and is to run again"));
            }
            if desired == Desired::Stop && !self.known.stops.contains(&id) {
                return Err(format!("{id} is told to stop and nobody ordered that"));
            }
            if before
                .as_ref()
                .is_some_and(|b| b.order.generation >= order.generation)
            {
                return Err(format!("{id} goes back to generation {}", order.generation));
            }
            if desired != Desired::Stop && !known(&self.disk.specs, &order.spec_hash) {
                return Err(format!("{id} comes without its spec"));
            }
            let job = Job {
                order: order.clone(),
                desired,
                orphan: false,
                phase: before.as_ref().map_or(Phase::Scheduled, |job| job.phase),
                restarts: before.map_or(0, |job| job.restarts),
                version: self.version(),
            };
            self.disk.jobs.insert(id, job);
        }
        let flags = [(&acceptance.orphaned, true), (&acceptance.claimed, false)];
        for (ids, orphan) in flags {
            for id in ids {
                let version = self.version();
                if let Some(job) = self.disk.jobs.get_mut(id) {
                    (job.orphan, job.version) = (orphan, version);
                }
            }
        }
        let point = acceptance.accepted;
        let back = |before: Accepted| {
            before.lineage == point.lineage
                && (before.issuer_epoch, before.revision) > (point.issuer_epoch, point.revision)
        };
        if self.disk.accepted.is_some_and(back) {
            return Err(format!("{:?} is followed by {point:?}", self.disk.accepted));
        }
        self.disk.accepted = Some(point);
        for (id, generation) in expected {
            let held = self.disk.jobs.get(id).map(|job| job.order.generation);
            let refused = acceptance
                .refuse
                .iter()
                .any(|(a, _)| a.id == id.to_string());
            let knows = refused || held.is_some_and(|held| held >= *generation);
            if !knows && !self.disk.tombstones.contains(id) {
                return Err(format!(
                    "accepted {:?} without {id} of generation {generation}: it holds {held:?}",
                    acceptance.accepted
                ));
            }
        }
        Ok(())
    }

    fn version(&mut self) -> u64 {
        self.versions += 1;
        self.versions
    }

    /// Forgets what is stopped and recorded, and remembers its id.
    fn settle(&mut self) -> Result<(), String> {
        let done = |(id, job): (&AssignmentId, &Job)| {
            let over = job.phase == Phase::Stopped && self.child.is_recorded(*id, job.version);
            over.then_some(*id)
        };
        let done: Vec<AssignmentId> = self.disk.jobs.iter().filter_map(done).collect();
        for id in done {
            if !self.known.ends.contains(&id) {
                return Err(format!("{id} is forgotten, and its end was never recorded"));
            }
            self.disk.jobs.remove(&id);
            self.disk.tombstones.insert(id);
            self.child.forget(id);
        }
        Ok(())
    }

    /// Jobs come a step nearer to their orders. With `mishap`, that running one is started again by policy.
    pub(crate) fn work(&mut self, mishap: Option<usize>) {
        let mut versions = self.versions;
        for (index, job) in self.disk.jobs.values_mut().enumerate() {
            let next = match (job.desired, job.phase) {
                (Desired::Stop, Phase::Stopping | Phase::Stopped) => Phase::Stopped,
                (Desired::Stop, Phase::Scheduled) => Phase::Stopped,
                (Desired::Stop, _) => Phase::Stopping,
                (_, Phase::Scheduled) => Phase::Preparing,
                (Desired::Run, _) => Phase::Running,
                (Desired::Pause | Desired::Hold, Phase::Running | Phase::Paused) => Phase::Paused,
                (Desired::Pause | Desired::Hold, _) => Phase::Running,
            };
            let again = mishap == Some(index) && job.phase == Phase::Running;
            if next != job.phase || again {
                versions += 1;
                job.version = versions;
                job.phase = next;
                job.restarts += u32::from(again);
            }
        }
        self.versions = versions;
    }

    /// What it says now.
    pub(crate) fn poll(&mut self, now: Time) -> Vec<v1::ChildMessage> {
        let jobs = &self.disk.jobs;
        let states: Vec<_> = jobs.iter().map(|(id, job)| (*id, job.version)).collect();
        // Every change of a job has a new version; hashing is most of what a schedule costs.
        let stamp = (self.versions, jobs.len());
        if self.digests.0 != stamp {
            self.digests = (stamp, digests(jobs));
        }
        let (assignments, digest) = self.digests.1;
        let capacity = v1::Capacity {
            workers: u32::try_from(self.offer).unwrap(),
            ..Default::default()
        };
        let render = |id: AssignmentId| jobs.get(&id).map(report);
        let view = View {
            states: &states,
            assignments,
            digest,
            render: &render,
            capacity: (self.offer, &capacity),
            owned: None,
            specs: &[],
        };
        self.child.poll(&view, now)
    }
}

fn digests(jobs: &BTreeMap<AssignmentId, Job>) -> (Digest16, Digest16) {
    let order = |(id, job): (&AssignmentId, &Job)| {
        let order = &job.order;
        (*id, order.generation, job.desired, order.restart_count)
    };
    let held = jobs.iter().filter(|(_, job)| !job.orphan);
    let told = jobs.iter().filter(|(_, job)| job.desired != Desired::Stop);
    (
        digest::assignments(held.map(order)),
        digest::states(told.map(|(id, job)| (*id, job.phase, job.restarts))),
    )
}

fn report(job: &Job) -> v1::InstanceReport {
    let order = &job.order;
    v1::InstanceReport {
        id: order.id.clone(),
        slot_id: order.slot_id.clone(),
        generation: order.generation,
        restart_count: order.restart_count,
        spec_hash: order.spec_hash.clone(),
        desired: order.desired,
        phase: convert::phase_to_wire(job.phase).into(),
        restarts: job.restarts,
        orphan: job.orphan,
        // Some have more to tell, so that reports come in parts too.
        output_tail: vec![0; if job.restarts > 0 { 4096 } else { 0 }],
        ..Default::default()
    }
}
