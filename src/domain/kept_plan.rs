//! A plan that a preview keeps, so that the task can run exactly this plan (`docs/adr/0040-a-preview-is-a-frozen-plan.md`).
//!
//! A plan depends on its [`PlanBasis`]. The task runs the plan only if its request meets the same basis.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::domain::ids::{PlanId, ProjectId, VnfInstanceId};
use crate::domain::instance::{InstantiatedVnfInfo, VnfInstance};
use crate::domain::op_occ::{LcmOperation, VnfLcmOpOcc};
use crate::domain::plan::{PLAN_FORMAT, Plan};
use crate::domain::problem::{Problem, ProblemType, QuotedValues, problem};
use crate::domain::resource::{Resource, ResourceState};
use crate::domain::sync::SYNC;

/// The member of a request that names the plan to run.
pub const PLAN_ID: &str = "gybe:planId";
/// A plan is kept for this time: long enough to read it and to have it approved by somebody, short enough that the cluster is still much
/// as it was.
pub const LIFETIME: Duration = Duration::from_mins(15);
/// The most plans that are kept of a project. A further one displaces the oldest: a plan may have megabytes.
pub const MAX_OF_PROJECT: usize = 20;

/// A plan, with what it was made from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FrozenPlan {
    /// [`PLAN_FORMAT`] of the process that made it.
    pub format: u32,
    pub basis: PlanBasis,
    pub plan: Plan,
    /// The inventory rows that it adds or replaces.
    pub resources: Vec<Resource>,
}

/// A kept plan, as the store has it.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptPlan {
    pub id: PlanId,
    /// The project of the VNF instance.
    pub project_id: ProjectId,
    pub vnf_instance_id: VnfInstanceId,
    /// When it may not be run any more.
    pub expires_at: OffsetDateTime,
    pub frozen: FrozenPlan,
}

/// What a plan was made from: values by the words in which a refusal names them. What the view writes between operations is not part of
/// it, but for a HEAL, whose plan names pods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PlanBasis(BTreeMap<String, Value>);

impl PlanBasis {
    /// The basis of a plan of `op`, for `instance` with this inventory.
    pub fn of(op: &VnfLcmOpOcc, instance: &VnfInstance, inventory: &[Resource]) -> Self {
        let mut request = op.params.clone();
        if let Value::Object(members) = &mut request {
            members.remove(PLAN_ID);
        }
        // The plan of a sync names no pods.
        let is_heal = op.operation == LcmOperation::Heal && op.params.get(SYNC).is_none();
        let info = instance.instantiated.as_ref();
        let vnfcs = info.filter(|_| is_heal).map(|info| &info.vnfcs);
        let state = info.map(|info| InstantiatedVnfInfo { vnfcs: Vec::new(), storages: Vec::new(), ..info.clone() });
        let values = [
            ("the task", json!(op.operation)),
            ("the request", request),
            ("the VNF package", json!([instance.vnf_pkg_id, op.target_package])),
            ("the VIM", json!(instance.vim())),
            ("the namespace", json!(instance.metadata.namespace)),
            ("the state of the VNF instance", json!(state)),
            ("the VNFCs", json!(vnfcs)),
            ("the objects of the VNF instance", digest(inventory).into()),
        ];
        Self(values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    /// What differs in `now`.
    fn changed<'a>(&'a self, now: &'a Self) -> Vec<&'a str> {
        let names = self.0.keys().chain(now.0.keys().filter(|name| !self.0.contains_key(*name)));
        names.filter(|name| self.0.get(*name) != now.0.get(*name)).map(String::as_str).collect()
    }
}

/// A digest of the rows with their states.
fn digest(rows: &[Resource]) -> String {
    let mut context = Context::new(&SHA256);
    for row in rows {
        let state = match &row.state {
            ResourceState::Planned => json!("planned"),
            ResourceState::Intent => json!("intent"),
            ResourceState::Present { uid, owned } => json!([uid, owned]),
        };
        context.update(json!([row, state]).to_string().as_bytes());
    }
    hex::encode(context.finish())
}

/// Refuses to run a plan on another basis than its own, or after its time.
///
/// # Errors
/// 409 that names what has changed.
pub fn check(kept: &KeptPlan, basis: &PlanBasis, now: OffsetDateTime) -> Result<(), Problem> {
    if kept.expires_at <= now {
        return Err(problem!(
            ProblemType::PlanStale,
            "the plan {planId} is older than {limit} minutes: preview the task again",
            planId = kept.id.to_string(),
            limit = LIFETIME.as_secs() / 60,
        ));
    }
    if kept.frozen.format != PLAN_FORMAT {
        let id = kept.id.to_string();
        return Err(problem!(
            ProblemType::PlanStale,
            "another release of Gybe made the plan {planId}: preview the task again",
            planId = id,
        ));
    }
    let changed = kept.frozen.basis.changed(basis);
    if changed.is_empty() {
        return Ok(());
    }
    Err(problem!(
        ProblemType::PlanStale,
        "the plan {planId} cannot be run, because something it was made from has changed: {changed}; preview the task again",
        planId = kept.id.to_string(),
        changed = changed.into_iter().collect::<QuotedValues>(),
    ))
}

/// 409: there is no plan with this identifier that the request may run.
pub fn unknown(id: &str) -> Problem {
    problem!(
        ProblemType::PlanStale,
        "there is no plan {planId} for this VNF instance: it expired after {limit} minutes, {most} newer ones displaced it, or it was run before; preview the task again",
        planId = id,
        limit = LIFETIME.as_secs() / 60,
        most = MAX_OF_PROJECT,
    )
}
