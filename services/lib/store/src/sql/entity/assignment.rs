//! Assignments: at a cluster its instances, at the root also what clusters reported of theirs. One whose desired state is
//! stop is the design's stop entry.

use edgeio_domain::{
    ids::{AppUid, AssignmentId, ChildId, SlotId},
    records::{Assignment, Observed},
    resources::Resources,
    time::Time,
};
use sea_orm::entity::prelude::*;

use crate::{
    api::StoreError,
    sql::{
        nested,
        row::{Table, owner_text},
        word::Word,
    },
};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "assignment")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub slot: Uuid,
    pub namespace: String,
    pub application: String,
    pub service: String,
    pub ordinal: i64,
    pub owner: String,
    pub app_uid: Uuid,
    pub child: Uuid,
    pub generation: i64,
    pub desired: String,
    pub restart_count: i64,
    pub spec_hash: Vec<u8>,
    pub cpu_millis: i64,
    pub memory_bytes: i64,
    pub seen_generation: i64,
    pub seen_restart_count: i64,
    pub seen_phase: String,
    pub seen_reason: String,
    pub seen_message: String,
    pub seen_exit_code: Option<i32>,
    pub seen_restarts: i64,
    pub seen_running_since: Option<i64>,
    pub seen_output_tail: Vec<u8>,
    pub seen_image_digest: String,
    pub seen_handle: String,
    pub seen_instance: Option<Uuid>,
    pub seen_worker: Option<Uuid>,
    pub seen_worker_name: Option<String>,
    /// JSON.
    pub seen_candidates: String,
    pub seen_unreachable: bool,
    pub created_at: i64,
    pub order_revision: i64,
    pub revision: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl From<&Assignment> for Model {
    fn from(assignment: &Assignment) -> Self {
        let seen = &assignment.observed;
        let incarnation = seen.incarnation.as_ref();
        Self {
            id: assignment.id.0,
            slot: assignment.slot.0,
            namespace: assignment.app.namespace.as_str().to_owned(),
            application: assignment.app.name.as_str().to_owned(),
            service: assignment.service.as_str().to_owned(),
            ordinal: i64::from(assignment.ordinal),
            owner: owner_text(assignment.app.owner),
            app_uid: assignment.app_uid.0,
            child: assignment.child.0,
            generation: assignment.generation.cast_signed(),
            desired: assignment.desired.word().to_owned(),
            restart_count: i64::from(assignment.restart_count),
            spec_hash: assignment.spec_hash.0.to_vec(),
            cpu_millis: assignment.demand.cpu_millis,
            memory_bytes: assignment.demand.memory_bytes,
            seen_generation: seen.generation.cast_signed(),
            seen_restart_count: i64::from(seen.restart_count),
            seen_phase: seen.phase.word().to_owned(),
            seen_reason: seen.reason.clone(),
            seen_message: seen.message.clone(),
            seen_exit_code: seen.exit_code,
            seen_restarts: i64::from(seen.restarts),
            seen_running_since: seen.running_since.map(|at| at.0),
            seen_output_tail: seen.output_tail.clone(),
            seen_image_digest: seen.image_digest.clone(),
            seen_handle: seen.handle.clone(),
            seen_instance: incarnation.map(|incarnation| incarnation.instance.0),
            seen_worker: incarnation.map(|incarnation| incarnation.worker.0),
            seen_worker_name: incarnation.map(|incarnation| incarnation.worker_name.clone()),
            seen_candidates: nested::candidates(&seen.candidates),
            seen_unreachable: seen.unreachable,
            created_at: assignment.created_at.0,
            order_revision: assignment.order_revision.cast_signed(),
            revision: assignment.revision.cast_signed(),
        }
    }
}

impl TryFrom<Model> for Assignment {
    type Error = StoreError;

    fn try_from(row: Model) -> Result<Self, StoreError> {
        let table = Table("assignment");
        let observed = Observed {
            generation: row.seen_generation.cast_unsigned(),
            restart_count: table.small("seen_restart_count", row.seen_restart_count)?,
            phase: table.word("seen_phase", &row.seen_phase)?,
            reason: row.seen_reason,
            message: row.seen_message,
            exit_code: row.seen_exit_code,
            restarts: table.small("seen_restarts", row.seen_restarts)?,
            running_since: row.seen_running_since.map(Time),
            output_tail: row.seen_output_tail,
            image_digest: row.seen_image_digest,
            handle: row.seen_handle,
            incarnation: table.incarnation(
                row.seen_instance,
                row.seen_worker,
                row.seen_worker_name,
            )?,
            candidates: nested::parse_candidates(table, &row.seen_candidates)?,
            unreachable: row.seen_unreachable,
        };
        Ok(Assignment {
            id: AssignmentId(row.id),
            slot: SlotId(row.slot),
            app: table.key(&row.namespace, &row.application, &row.owner)?,
            app_uid: AppUid(row.app_uid),
            service: table.name(&row.service)?,
            ordinal: table.small("ordinal", row.ordinal)?,
            child: ChildId(row.child),
            generation: row.generation.cast_unsigned(),
            desired: table.word("desired", &row.desired)?,
            restart_count: table.small("restart_count", row.restart_count)?,
            spec_hash: table.hash(&row.spec_hash)?,
            demand: Resources {
                cpu_millis: row.cpu_millis,
                memory_bytes: row.memory_bytes,
            },
            observed,
            created_at: Time(row.created_at),
            order_revision: row.order_revision.cast_unsigned(),
            revision: row.revision.cast_unsigned(),
        })
    }
}
