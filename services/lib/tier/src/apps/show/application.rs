//! Applications: the record, the specs as they were written, and a status counted from slots and assignments.

use edgeio_domain::records::{Application, Assignment, Desired, Service, Slot};
use edgeio_proto::api::v1;

use super::{BySlot, Picture, Specs, instance, timestamp};

impl Picture<'_> {
    /// An application with its own slots and assignments.
    pub(crate) fn application(
        &self,
        application: &Application,
        specs: &Specs,
        slots: &[Slot],
        assignments: &[Assignment],
    ) -> v1::Application {
        let written = |service: &Service| v1::ServiceSpec {
            replicas: Some(service.replicas),
            // What another tier owns may be known before its spec is.
            ..specs
                .0
                .get(&service.spec_hash)
                .cloned()
                .unwrap_or_else(|| v1::ServiceSpec {
                    name: service.name.to_string(),
                    ..v1::ServiceSpec::default()
                })
        };
        v1::Application {
            namespace: application.key.namespace.to_string(),
            name: application.key.name.to_string(),
            uid: application.uid.to_string(),
            owner: self.owner(application.key.owner),
            version: application.version,
            spec: Some(v1::ApplicationSpec {
                namespace: application.key.namespace.to_string(),
                name: application.key.name.to_string(),
                services: application.services.iter().map(written).collect(),
            }),
            status: Some(self.status(application, slots, assignments)),
            created_at: Some(timestamp(application.created_at)),
        }
    }

    fn status(
        &self,
        application: &Application,
        slots: &[Slot],
        assignments: &[Assignment],
    ) -> v1::ApplicationStatus {
        let by_slot = BySlot::new(assignments);
        let mut settled = true;
        let mut stuck = false;
        let services = application
            .services
            .iter()
            .map(|service| {
                let tally = Tally::of(self, service, slots, &by_slot);
                settled &= tally.settled;
                stuck |= tally.stuck;
                tally.counts
            })
            .collect();
        let dropped = |slot: &Slot| {
            slot.desired != Desired::Stop
                && !application.services.iter().any(|s| s.name == slot.service)
        };
        settled &= !slots.iter().any(dropped);
        let deleting = application.deleted_at.is_some();
        let phase = if deleting {
            v1::ApplicationPhase::Deleting
        } else if stuck {
            v1::ApplicationPhase::Degraded
        } else if settled {
            v1::ApplicationPhase::Ready
        } else {
            v1::ApplicationPhase::Progressing
        };
        v1::ApplicationStatus {
            phase: phase.into(),
            services,
            waiting_for: if deleting {
                self.waiting_for(assignments)
            } else {
                Vec::new()
            },
        }
    }
}

/// What the slots of one service come to.
struct Tally {
    counts: v1::ServiceStatus,
    /// As many as wanted, each with the wanted spec, run or have completed.
    settled: bool,
    /// At least one has no place or has failed.
    stuck: bool,
}

impl Tally {
    fn of(picture: &Picture<'_>, service: &Service, slots: &[Slot], by_slot: &BySlot<'_>) -> Self {
        let mut counts = v1::ServiceStatus {
            name: service.name.to_string(),
            replicas: service.replicas,
            ..v1::ServiceStatus::default()
        };
        let (mut wanted, mut done, mut stuck) = (0_u32, 0_u32, false);
        for slot in slots.iter().filter(|slot| slot.service == service.name) {
            let retiring = slot.desired == Desired::Stop;
            let Some(assignment) = picture.stands(by_slot.of(slot.id)) else {
                if !retiring {
                    wanted += 1;
                    counts.pending += 1;
                    // Without reasons nobody has looked for a place yet.
                    stuck |= !slot.pending.is_empty();
                }
                continue;
            };
            counts.unreachable += u32::from(!picture.reaches(assignment));
            if retiring {
                counts.progressing += 1;
                continue;
            }
            wanted += 1;
            let current = assignment.spec_hash == service.spec_hash;
            match instance::phase(assignment) {
                // Frozen by a user's wish, it still holds its place.
                v1::InstancePhase::Running | v1::InstancePhase::Paused => {
                    counts.running += 1;
                    done += u32::from(current);
                }
                v1::InstancePhase::Completed => {
                    counts.completed += 1;
                    done += u32::from(current);
                }
                v1::InstancePhase::Failed => {
                    counts.failed += 1;
                    stuck = true;
                }
                v1::InstancePhase::Pending => {
                    counts.pending += 1;
                    stuck = true;
                }
                v1::InstancePhase::Unspecified
                | v1::InstancePhase::Scheduled
                | v1::InstancePhase::Preparing
                | v1::InstancePhase::Stopping
                | v1::InstancePhase::Stopped => counts.progressing += 1,
            }
        }
        Self {
            settled: wanted == service.replicas && done == wanted,
            counts,
            stuck,
        }
    }
}
