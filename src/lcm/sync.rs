//! The sync of a VNF: a HEAL whose plan is made from the drift, before the 202 (`crate::domain::sync`).
//!
//! The plan is frozen as that of a preview. If the VNF instance changes before the operation begins, as it does when pods come and go,
//! the plan is made again.

use serde_json::json;

use crate::blocking::blocking;
use crate::domain::drift::ObjectDrift;
use crate::domain::evidence::Evidence;
use crate::domain::ids::{PlanId, VnfInstanceId, VnfLcmOpOccId};
use crate::domain::instance::VnfInstance;
use crate::domain::kept_plan::{FrozenPlan, KeptPlan, LIFETIME, MAX_OF_PROJECT, PLAN_ID, PlanBasis};
use crate::domain::mask::Mask;
use crate::domain::op_occ::{LcmOperation, VnfLcmOpOcc};
use crate::domain::operate::expected;
use crate::domain::plan::PLAN_FORMAT;
use crate::domain::problem::{Problem, ProblemType};
use crate::domain::resource::Resource;
use crate::domain::secret::Secret;
use crate::domain::sync::{self, SYNC};
use crate::error::ApiError;
use crate::infra::{Observer, Scope};
use crate::lcm::accept::{Acceptor, instantiated};
use crate::lcm::access::access;
use crate::lcm::cluster_questions::answered;
use crate::lcm::sent::Sent;
use crate::sol003::sync::SyncVnfRequest;

/// How often the plan is made, until nothing changes meanwhile.
const ATTEMPTS: usize = 5;

impl Acceptor<'_> {
    /// Accepts a sync: finds what drifted, and begins the operation that brings it back.
    ///
    /// # Errors
    /// 404, 409 (NOT_INSTANTIATED, another operation), 400 and 422 (rules), 403 if the VIM's credential may not read the objects, 504 if the
    /// cluster does not answer.
    pub async fn sync(
        &self,
        id: VnfInstanceId,
        sent: &Sent<SyncVnfRequest>,
        observer: &dyn Observer,
    ) -> Result<VnfLcmOpOccId, ApiError> {
        sync::check(&sent.request.ignore)?;
        for _ in 1..ATTEMPTS {
            match self.sync_once(id, sent, observer).await {
                Err(ApiError(problem)) if problem.urn == ProblemType::PlanStale.urn() => {}
                accepted => return accepted,
            }
        }
        self.sync_once(id, sent, observer).await
    }

    async fn sync_once(
        &self,
        id: VnfInstanceId,
        sent: &Sent<SyncVnfRequest>,
        observer: &dyn Observer,
    ) -> Result<VnfLcmOpOccId, ApiError> {
        let instance = self.instance(id).await?;
        instantiated(&instance)?;
        let inventory = self.store.resources(id).await?;
        sync::check_objects(&sent.request.ignore, &inventory)?;
        let op = self.op_occ(self.op_id(), LcmOperation::Heal, json!({ SYNC: sent.record()? }), &instance);
        let basis = PlanBasis::of(&op, &instance, &inventory);
        let drifts = self.drifts(&instance, &inventory, observer).await?;
        let plan = sync::plan(&sent.request.ignore, &inventory, &drifts);
        let kept = KeptPlan {
            id: PlanId(self.ids.uuid()),
            project_id: instance.project_id.clone(),
            vnf_instance_id: id,
            expires_at: self.clock.now() + LIFETIME,
            frozen: FrozenPlan { format: PLAN_FORMAT, basis, plan, resources: Vec::new() },
        };
        self.store.keep_plan(&kept, MAX_OF_PROJECT).await?;
        let mut params = op.params.clone();
        params[PLAN_ID] = kept.id.to_string().into();
        self.begin(VnfLcmOpOcc { params, ..op }, instance).await
    }

    async fn drifts(
        &self,
        instance: &VnfInstance,
        inventory: &[Resource],
        observer: &dyn Observer,
    ) -> Result<Vec<ObjectDrift>, ApiError> {
        let namespace = instance.metadata.namespace.clone();
        let namespace = namespace.ok_or_else(|| Problem::conflict("the VNF instance has no namespace"))?;
        let access = access(self.store, self.project, instance.home().map(|(_, connection)| connection)).await?;
        let rows: Vec<Resource> = expected(instance, inventory).cloned().collect();
        let scope =
            Scope { access, namespace, instance: instance.id, project: instance.project_id.clone(), writer: None };
        let found = answered(&scope.access.endpoint, observer.drift(&scope, &rows)).await?;
        let work = move || {
            found.map_err(|error| {
                let secrets = scope.access.credential.secrets();
                let mask = Mask::with_credentials(&rows, secrets.iter().map(Secret::expose));
                Evidence::default().attach_to(error.into(), &mask)
            })
        };
        Ok(blocking(work).await?)
    }
}
