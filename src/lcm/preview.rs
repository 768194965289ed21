//! Previews: the plan of a task without its operation (`docs/adr/0040-a-preview-is-a-frozen-plan.md`).
//!
//! [`Acceptor`](crate::lcm::accept::Acceptor) makes all checks of the task and hands the operation to a [`Rehearsal`]. [`Previewing`] plans it as a conductor would,
//! compares the plan with the cluster by dry runs, and keeps it, so that the task can run exactly this plan. Nothing else is written.

use std::sync::{Mutex, PoisonError};

use crate::blocking::blocking;
use crate::clock::{Clock, Ids};
use crate::domain::evidence::Evidence;
use crate::domain::ids::PlanId;
use crate::domain::instance::VnfInstance;
use crate::domain::kept_plan::{FrozenPlan, KeptPlan, LIFETIME, MAX_OF_PROJECT, PlanBasis};
use crate::domain::mask::Mask;
use crate::domain::op_occ::VnfLcmOpOcc;
use crate::domain::plan::{PLAN_FORMAT, Plan};
use crate::domain::preflight::{Check, Questions, admission};
use crate::domain::preview::{ObjectPreview, Preview, planned_objects};
use crate::domain::problem::Problem;
use crate::domain::resource::Resource;
use crate::domain::secret::Secret;
use crate::error::{ApiError, internal};
use crate::infra::{Driver, InfraError, Previewer, Scope};
use crate::lcm::access::access;
use crate::lcm::cluster_questions::answered;
use crate::lcm::plan::{PlanError, Planner};
use crate::store::Store;

/// Takes an accepted operation instead of the store.
#[derive(Default)]
pub struct Rehearsal(Mutex<Option<(VnfLcmOpOcc, VnfInstance)>>);

impl Rehearsal {
    /// The operation has passed all checks; `instance` is the VNF instance as the operation would begin with it.
    pub fn accept(&self, op: VnfLcmOpOcc, instance: VnfInstance) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((op, instance));
    }

    fn into_accepted(self) -> Option<(VnfLcmOpOcc, VnfInstance)> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes previews.
pub struct Previewing<'a> {
    pub store: &'a dyn Store,
    pub driver: &'a dyn Driver,
    pub previewer: &'a dyn Previewer,
    pub clock: &'a dyn Clock,
    pub ids: &'a dyn Ids,
    /// Whether an NFVO grants operations.
    pub granting: bool,
}

/// A plan, compared with the cluster.
struct Rehearsed {
    plan: Plan,
    resources: Vec<Resource>,
    objects: Vec<ObjectPreview>,
    checks: Vec<Check>,
}

impl Previewing<'_> {
    /// Previews the accepted operation, and keeps its plan.
    ///
    /// # Errors
    /// Those of planning, as the operation would have them; 403 if the VIM refuses the credential; 422 if the VIM cannot be used, or only a
    /// grant names it; 504 if it does not answer.
    pub async fn preview(&self, rehearsal: Rehearsal) -> Result<Preview, ApiError> {
        let missing = || internal(&std::io::Error::other("no operation was accepted"));
        let (op, instance) = rehearsal.into_accepted().ok_or_else(missing)?;
        let inventory = self.store.resources(instance.id).await?;
        let basis = PlanBasis::of(&op, &instance, &inventory);
        let scope = self.scope(&op, &instance).await?;
        let rehearsed = self.rehearse(&op, &instance, &inventory, scope.as_ref()).await;
        let Rehearsed { plan, resources, objects, checks } = masked(rehearsed, inventory, scope).await?;
        let mut warnings = op.warnings.clone();
        warnings.merge(&plan.warnings);
        let expires_at = self.clock.now() + LIFETIME;
        let kept = KeptPlan {
            id: PlanId(self.ids.uuid()),
            project_id: instance.project_id.clone(),
            vnf_instance_id: instance.id,
            expires_at,
            frozen: FrozenPlan { format: PLAN_FORMAT, basis, plan, resources },
        };
        self.store.keep_plan(&kept, MAX_OF_PROJECT).await?;
        Ok(Preview {
            plan_id: kept.id,
            expires_at,
            operation: op.operation,
            namespace: instance.metadata.namespace,
            steps: kept.frozen.plan.forward,
            objects,
            checks,
            warnings,
        })
    }

    /// Where the VNF is; `None` for an operation that needs no cluster.
    async fn scope(&self, op: &VnfLcmOpOcc, instance: &VnfInstance) -> Result<Option<Scope>, ApiError> {
        if !op.needs_cluster() {
            return Ok(None);
        }
        let home = instance.home().map(|(_, connection)| connection);
        if home.is_none() && self.granting {
            let text = "the NFVO names the VIM in its grant, which a preview does not request: name a VIM in vimConnectionInfo";
            return Err(Problem::unprocessable(text).into());
        }
        let Some(namespace) = instance.metadata.namespace.clone() else { return Ok(None) };
        let access = access(self.store, &instance.project_id, home).await?;
        Ok(Some(Scope { access, namespace, instance: instance.id, project: instance.project_id.clone(), writer: None }))
    }

    /// Plans the operation as a conductor does in STARTING, and compares the plan with the cluster.
    async fn rehearse(
        &self,
        op: &VnfLcmOpOcc,
        instance: &VnfInstance,
        inventory: &[Resource],
        scope: Option<&Scope>,
    ) -> Result<Rehearsed, PlanError> {
        let work = self.compared(op, instance, inventory, scope);
        let endpoint = scope.map(|scope| scope.access.endpoint.as_str()).unwrap_or_default();
        answered(endpoint, work).await.unwrap_or_else(|silent| Err(PlanError::Refused(silent)))
    }

    async fn compared(
        &self,
        op: &VnfLcmOpOcc,
        instance: &VnfInstance,
        inventory: &[Resource],
        scope: Option<&Scope>,
    ) -> Result<Rehearsed, PlanError> {
        let planner = Planner { store: self.store, driver: self.driver, scope, op, instance, inventory };
        let (plan, resources) = planner.plan().await?;
        let Some(scope) = scope else {
            return Ok(Rehearsed { plan, resources, objects: Vec::new(), checks: Vec::new() });
        };
        let planned = planned_objects(&plan, inventory, &resources);
        let objects = self.previewer.preview(scope, &planned).await?;
        let (questions, known) = Questions::of(&planned, &objects);
        let mut checks = admission(&objects);
        checks.extend(known);
        checks.extend(self.previewer.preflight(scope, &planned, &questions).await?);
        Ok(Rehearsed { plan, resources, objects, checks })
    }
}

/// The result without the secrets of the VNF and the VIM. On a blocking thread: the secrets may have megabytes.
async fn masked(
    rehearsed: Result<Rehearsed, PlanError>,
    inventory: Vec<Resource>,
    scope: Option<Scope>,
) -> Result<Rehearsed, ApiError> {
    let rehearsed: Result<Rehearsed, InfraError> = match rehearsed {
        Ok(rehearsed) => Ok(rehearsed),
        Err(PlanError::Infra(error)) => Err(error),
        Err(PlanError::Refused(problem)) => return Err(problem.into()),
        Err(PlanError::Store(error)) => return Err(error.into()),
    };
    let work = move || {
        let secrets = scope.map(|scope| scope.access.credential.secrets()).unwrap_or_default();
        let mut rows: Vec<&Resource> = inventory.iter().collect();
        if let Ok(Rehearsed { plan, resources, .. }) = &rehearsed {
            rows.extend(resources.iter().chain(plan.rows()));
        }
        let mask = Mask::with_credentials(rows, secrets.iter().map(Secret::expose));
        let mut rehearsed = rehearsed.map_err(|error| Evidence::default().attach_to(Problem::from(error), &mask))?;
        rehearsed.objects.iter_mut().for_each(|object| object.mask(&mask));
        rehearsed.checks.iter_mut().for_each(|check| check.mask(&mask));
        Ok(rehearsed)
    };
    Ok(blocking(work).await?)
}
