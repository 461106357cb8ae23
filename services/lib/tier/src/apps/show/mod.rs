//! Records as people see them: the messages of `edgeio.api.v1`, from one consistent state.

mod application;
mod instance;

use std::collections::{BTreeMap, HashMap};

use edgeio_domain::{
    child::Child,
    ids::{ChildId, SlotId, SpecHash},
    records::{Application, Assignment, CandidateReasons, Desired, Owner},
    time::Time,
};
use edgeio_link::spec;
use edgeio_proto::api::v1;
use edgeio_store::{AssignmentFilter, ReadTx, SlotFilter, SlotPlace, StoreError};

use super::{Scope, manifest::Checked};

/// A point in time as a message has it.
#[must_use]
pub fn timestamp(time: Time) -> prost_types::Timestamp {
    let millis = time.0.rem_euclid(1000);
    prost_types::Timestamp {
        seconds: time.0.div_euclid(1000),
        nanos: i32::try_from(millis * 1_000_000).unwrap_or(0),
    }
}

/// What every view needs: which tier this is, and the children of one moment.
pub(crate) struct Picture<'a> {
    scope: &'a Scope,
    children: BTreeMap<ChildId, Child>,
}

impl<'a> Picture<'a> {
    pub(crate) async fn load(scope: &'a Scope, tx: &dyn ReadTx) -> Result<Self, StoreError> {
        let children = tx.children().await?;
        Ok(Self {
            scope,
            children: children
                .into_iter()
                .map(|child| (child.id, child))
                .collect(),
        })
    }

    /// Display name of a child; its id if it is not known.
    pub(crate) fn child(&self, id: ChildId) -> String {
        self.children
            .get(&id)
            .map_or_else(|| id.to_string(), Child::display)
    }

    /// Whether a child's reports are fresh.
    pub(crate) fn hears(&self, id: ChildId) -> bool {
        self.children
            .get(&id)
            .is_some_and(|child| child.state.is_heard())
    }

    /// Whether what is reported of an assignment is fresh: its child is heard, and hears of it.
    pub(crate) fn reaches(&self, assignment: &Assignment) -> bool {
        self.hears(assignment.child) && !assignment.observed.unreachable
    }

    /// The assignment that stands for a slot: one that is wanted or held before one that ends, one that is heard before one
    /// that is not, then the newest.
    pub(crate) fn stands<'b>(&self, assignments: &[&'b Assignment]) -> Option<&'b Assignment> {
        let key = |a: &&Assignment| {
            let wanted = a.desired != Desired::Stop;
            (wanted, self.reaches(a), a.created_at, a.id)
        };
        assignments.iter().copied().max_by_key(key)
    }

    /// For each child whether it is heard.
    pub(crate) fn heard(&self) -> HashMap<ChildId, bool> {
        let heard = |child: &Child| (child.id, child.state.is_heard());
        self.children.values().map(heard).collect()
    }

    /// An application as it is shown, with its slots and assignments read.
    pub(crate) async fn fill(
        &self,
        tx: &dyn ReadTx,
        application: &Application,
        specs: &Specs,
    ) -> Result<v1::Application, StoreError> {
        let uid = Some(application.uid);
        let slots = SlotFilter {
            uid,
            ..SlotFilter::default()
        };
        let assignments = AssignmentFilter {
            uid,
            ..AssignmentFilter::default()
        };
        let mut slots = tx.slots(&slots).await?;
        let assignments = tx.assignments(&assignments).await?;
        let mirrors = assignments.iter().filter(|a| a.is_mirror());
        slots.extend(mirrors.map(instance::mirrored_slot));
        Ok(self.application(application, specs, &slots, &assignments))
    }

    /// `root`, or `cluster NAME`.
    pub(crate) fn owner(&self, owner: Owner) -> String {
        match owner {
            Owner::Root => "root".to_owned(),
            own if own == self.scope.own => format!("cluster {}", self.scope.name),
            Owner::Cluster(id) => format!("cluster {}", self.child(id)),
        }
    }

    /// Several owners in one phrase.
    pub(crate) fn owners(&self, owners: &[Owner]) -> String {
        let names: Vec<String> = owners.iter().map(|owner| self.owner(*owner)).collect();
        names.join(" and ")
    }

    /// Where the APIs of these owners are, as the end of a sentence; nothing where none is known.
    pub(crate) fn remedy(&self, owners: &[Owner]) -> String {
        let address = |owner: &Owner| match owner {
            Owner::Root => Some(self.scope.parent.clone()),
            Owner::Cluster(id) => self.children.get(id).map(|child| child.address.clone()),
        };
        let known: Vec<String> = owners
            .iter()
            .filter_map(address)
            .filter(|address| !address.is_empty())
            .map(|address| format!("--server {address}"))
            .collect();
        if known.is_empty() {
            String::new()
        } else {
            format!(" ({})", known.join(" or "))
        }
    }

    /// Display names of the children that hold these, each once.
    pub(crate) fn waiting_for(&self, assignments: &[Assignment]) -> Vec<String> {
        let mut names: Vec<String> = assignments.iter().map(|a| self.child(a.child)).collect();
        names.sort();
        names.dedup();
        names
    }
}

/// Assignments by their slots.
pub(crate) struct BySlot<'a>(BTreeMap<SlotId, Vec<&'a Assignment>>);

impl<'a> BySlot<'a> {
    pub(crate) fn new(assignments: &'a [Assignment]) -> Self {
        let mut by_slot: BTreeMap<SlotId, Vec<&Assignment>> = BTreeMap::new();
        for assignment in assignments {
            by_slot.entry(assignment.slot).or_default().push(assignment);
        }
        Self(by_slot)
    }

    pub(crate) fn of(&self, slot: SlotId) -> &[&'a Assignment] {
        self.0.get(&slot).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn slots(&self) -> impl Iterator<Item = SlotId> {
        self.0.keys().copied()
    }

    /// Where a slot stands that is known from its assignments only.
    pub(crate) fn place(&self, slot: SlotId) -> Option<SlotPlace> {
        let first = newest(self.of(slot))?;
        Some(SlotPlace {
            namespace: first.app.namespace.to_string(),
            application: first.app.name.to_string(),
            service: first.service.to_string(),
            ordinal: first.ordinal,
            id: slot,
        })
    }
}

/// The assignment that stands for a slot: one that is wanted or held before one that ends, then the newest.
pub(crate) fn newest<'a>(assignments: &[&'a Assignment]) -> Option<&'a Assignment> {
    assignments
        .iter()
        .copied()
        .max_by_key(|a| (a.desired != Desired::Stop, a.created_at, a.id))
}

/// The specs of services as their authors wrote them.
#[derive(Clone, Default, Debug)]
pub(crate) struct Specs(BTreeMap<SpecHash, v1::ServiceSpec>);

impl Specs {
    /// Those of a manifest.
    pub(crate) fn of(services: &[Checked]) -> Self {
        let read = |service: &Checked| Some((service.hash, spec::message(&service.body).ok()?));
        Self(services.iter().filter_map(read).collect())
    }

    /// Those that the store has of some applications.
    pub(crate) async fn load<'a>(
        tx: &dyn ReadTx,
        applications: impl IntoIterator<Item = &'a Application>,
    ) -> Result<Self, StoreError> {
        let services = applications.into_iter().flat_map(|app| &app.services);
        let mut hashes: Vec<SpecHash> = services.map(|service| service.spec_hash).collect();
        hashes.sort();
        hashes.dedup();
        let found = tx.specs(&hashes).await?;
        let read = |(hash, body): (SpecHash, Vec<u8>)| match spec::message(&body) {
            Ok(message) => Some((hash, message)),
            Err(error) => {
                tracing::warn!(%error, %hash, "stored spec cannot be read");
                None
            }
        };
        Ok(Self(found.into_iter().filter_map(read).collect()))
    }

    /// One of them.
    pub(crate) fn get(&self, hash: &SpecHash) -> Option<&v1::ServiceSpec> {
        self.0.get(hash)
    }

    /// Both.
    pub(crate) fn with(mut self, other: &Self) -> Self {
        self.0
            .extend(other.0.iter().map(|(hash, spec)| (*hash, spec.clone())));
        self
    }
}

/// Reasons per candidate as a message has them.
pub(crate) fn candidates(reasons: &[CandidateReasons]) -> Vec<v1::CandidateReasons> {
    reasons
        .iter()
        .map(|entry| v1::CandidateReasons {
            candidate: entry.candidate.clone(),
            reasons: entry.reasons.clone(),
        })
        .collect()
}
