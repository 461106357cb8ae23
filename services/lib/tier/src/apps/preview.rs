//! `validate_only`: what would follow from an Apply, computed by the planner and the scheduler that would do it.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use edgeio_domain::{
    ids::{ChildId, SlotId, SpecHash},
    plan::{
        copies::Silence,
        tier::{self, Action, Input, SlotView},
    },
    records::{Application, Assignment, CandidateReasons, Desired, Owner, Slot},
    resources::Resources,
};
use edgeio_proto::api::v1;
use edgeio_store::{AssignmentFilter, ReadTx, SlotFilter, StoreError};

use super::{
    AppError, Apply, Apps,
    show::{BySlot, Picture, Specs, candidates, newest},
};
use crate::engine::{Demands, Engine, found};

/// Most candidates told in one answer: they repeat from replica to replica, and messages have an end.
const CANDIDATES: usize = 5000;

/// For each slot the display name of the child where it would go, or why it fits nowhere.
pub type Preview = Vec<Result<String, Vec<CandidateReasons>>>;

/// Answers where slots would go now.
#[async_trait]
pub trait Placer: Send + Sync {
    /// Places these slots in order, as a thought: each with the bytes of its spec.
    ///
    /// # Errors
    /// The store failed.
    async fn preview(
        &self,
        tx: &dyn ReadTx,
        slots: &[(Slot, Vec<u8>)],
    ) -> Result<Preview, StoreError>;
}

#[async_trait]
impl Placer for Engine {
    async fn preview(
        &self,
        tx: &dyn ReadTx,
        slots: &[(Slot, Vec<u8>)],
    ) -> Result<Preview, StoreError> {
        Engine::preview(self, tx, slots).await
    }
}

/// A step, before it is known where it would lead.
struct Step {
    action: v1::PlanAction,
    slot: Slot,
    /// Where it is, for what stays there.
    at: Option<ChildId>,
}

impl Apps {
    /// What an Apply would do. Stores nothing.
    pub(super) async fn preview(&self, command: Apply) -> Result<v1::ApplyResponse, AppError> {
        let tx = self.store.read().await?;
        let outcome = self.decide(&*tx, &command, self.clock.wall()).await?;
        let uid = Some(outcome.after.uid);
        let slots = tx
            .slots(&SlotFilter {
                uid,
                ..SlotFilter::default()
            })
            .await?;
        let assignments = tx
            .assignments(&AssignmentFilter {
                uid,
                ..AssignmentFilter::default()
            })
            .await?;
        let (slots, assignments) = self
            .with_held(&*tx, &outcome.after, slots, assignments)
            .await?;
        let mut known = Demands::default();
        let hashes: BTreeSet<SpecHash> = assignments.iter().map(|a| a.spec_hash).collect();
        known
            .load(&*tx, &hashes.into_iter().collect::<Vec<_>>())
            .await?;
        let children = tx.children().await?;
        let silence = Silence {
            children: &children.into_iter().map(|c| (c.id, c)).collect(),
            terms: known.terms(),
            lease: (self.scope.own != Owner::Root).then_some(self.times.lease),
        };
        let demands: Vec<Resources> = command.services.iter().map(|s| s.spec.resources).collect();
        let steps = self.steps(&outcome.after, &slots, &assignments, &demands, &silence);
        let bodies: BTreeMap<SpecHash, &Vec<u8>> =
            command.services.iter().map(|s| (s.hash, &s.body)).collect();
        let plan = self.locate(&*tx, steps, &bodies).await?;
        let mut application = self
            .describe(&*tx, &outcome.after, &Specs::of(&command.services))
            .await?;
        if outcome.before.is_none() {
            application.uid.clear();
        }
        Ok(v1::ApplyResponse {
            application: Some(application),
            plan,
        })
    }

    /// Gives what is held a slot of the application, as the engine would once it is applied.
    async fn with_held(
        &self,
        tx: &dyn ReadTx,
        after: &Application,
        slots: Vec<Slot>,
        assignments: Vec<Assignment>,
    ) -> Result<(Vec<Slot>, Vec<Assignment>), AppError> {
        let held = tx.assignments(&AssignmentFilter::default()).await?;
        let held = held
            .into_iter()
            .filter(|a| a.desired == Desired::Hold && a.app == after.key);
        let mut slots: BTreeMap<_, _> = slots.into_iter().map(|s| (s.id, s)).collect();
        let all = assignments.into_iter().chain(held);
        let mut assignments: BTreeMap<_, _> = all.map(|a| (a.id, a)).collect();
        let applied = Application {
            // It is newer than all that is held.
            revision: u64::MAX,
            ..after.clone()
        };
        found::take_over(
            self.scope.own,
            &BTreeMap::from([(after.uid, applied)]),
            &mut slots,
            &mut assignments,
            self.clock.wall(),
        );
        let assignments = assignments.into_values();
        let assignments = assignments.filter(|a| a.app_uid == after.uid).collect();
        Ok((slots.into_values().collect(), assignments))
    }

    /// The steps to the end, though a new spec is rolled out one replica at a time.
    fn steps(
        &self,
        after: &Application,
        slots: &[Slot],
        assignments: &[Assignment],
        demands: &[Resources],
        silence: &Silence<'_>,
    ) -> Vec<Step> {
        let by_slot = BySlot::new(assignments);
        let views = slots
            .iter()
            .map(|slot| SlotView {
                slot,
                assignments: by_slot.of(slot.id).to_vec(),
            })
            .collect();
        let input = Input {
            application: Some(after),
            owned: true,
            slots: views,
            demands,
            silence,
            now: self.clock.wall(),
        };
        let mut retired: BTreeSet<SlotId> = BTreeSet::new();
        let mut steps: Vec<Step> = Vec::new();
        for action in tier::plan(&input, &*self.ids) {
            match action {
                Action::MakeSlot(slot) => steps.push(Step {
                    action: v1::PlanAction::Create,
                    slot,
                    at: None,
                }),
                Action::ChangeSlot(slot) if slot.desired == Desired::Stop => {
                    retired.insert(slot.id);
                }
                Action::ChangeSlot(_)
                | Action::RemoveSlot(_)
                | Action::Place(_)
                | Action::Substitute { .. }
                | Action::Order { .. }
                | Action::RemoveApplication
                | Action::Wait(_) => {}
            }
        }
        let order: BTreeMap<&str, usize> = after
            .services
            .iter()
            .enumerate()
            .map(|(index, service)| (service.name.as_str(), index))
            .collect();
        for slot in slots.iter().filter(|slot| slot.desired != Desired::Stop) {
            let at = newest(by_slot.of(slot.id)).map(|assignment| assignment.child);
            let service = after.services.iter().find(|s| s.name == slot.service);
            let step = match service.filter(|_| !retired.contains(&slot.id)) {
                None => Step {
                    action: v1::PlanAction::Stop,
                    slot: slot.clone(),
                    at,
                },
                Some(service) if service.spec_hash != slot.spec_hash => Step {
                    action: v1::PlanAction::Replace,
                    slot: Slot {
                        spec_hash: service.spec_hash,
                        refusals: Vec::new(),
                        ..slot.clone()
                    },
                    at: None,
                },
                Some(_) => Step {
                    action: v1::PlanAction::Keep,
                    slot: slot.clone(),
                    at,
                },
            };
            steps.push(step);
        }
        steps.sort_by_key(|step| {
            let service = step.slot.service.as_str();
            let place = order.get(service).copied().unwrap_or(usize::MAX);
            (place, service.to_owned(), step.slot.ordinal, step.slot.id)
        });
        steps
    }

    /// Finds out where the steps lead.
    async fn locate(
        &self,
        tx: &dyn ReadTx,
        steps: Vec<Step>,
        bodies: &BTreeMap<SpecHash, &Vec<u8>>,
    ) -> Result<Vec<v1::PlanStep>, AppError> {
        let seeks = |step: &Step| step.at.is_none() && step.action != v1::PlanAction::Stop;
        let asked: Vec<(Slot, Vec<u8>)> = steps
            .iter()
            .filter(|step| seeks(step))
            .filter_map(|step| {
                let body = bodies.get(&step.slot.spec_hash)?;
                Some((step.slot.clone(), (*body).clone()))
            })
            .collect();
        let ids = asked.iter().map(|(slot, _)| slot.id);
        let answers = self.placer.preview(tx, &asked).await?;
        let mut found: BTreeMap<SlotId, Result<String, Vec<CandidateReasons>>> =
            ids.zip(answers).collect();
        let picture = Picture::load(&self.scope, tx).await?;
        let mut told: BTreeSet<String> = BTreeSet::new();
        let mut room = CANDIDATES;
        let mut plan = Vec::with_capacity(steps.len());
        for step in steps {
            let (child, reasons) = match (step.at, found.remove(&step.slot.id)) {
                (Some(child), _) => (picture.child(child), Vec::new()),
                (None, Some(Ok(child))) => (child, Vec::new()),
                (None, Some(Err(reasons))) => (String::new(), reasons),
                (None, None) => (String::new(), Vec::new()),
            };
            // The first replica of a service always says why it fits nowhere; its siblings as long as there is room.
            let first = !reasons.is_empty() && told.insert(step.slot.service.to_string());
            let shown = if first || reasons.len() <= room {
                room = room.saturating_sub(reasons.len());
                candidates(&reasons)
            } else {
                Vec::new()
            };
            plan.push(v1::PlanStep {
                action: step.action.into(),
                service: step.slot.service.to_string(),
                ordinal: step.slot.ordinal,
                child,
                candidates: shown,
            });
        }
        Ok(plan)
    }
}
