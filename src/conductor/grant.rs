//! STARTING if an NFVO grants operations (SOL003 clause 9): requests a Grant after planning, and applies the Grant.
//!
//! No worker waits for a Grant that the NFVO decides later. The store keeps the URI of the Grant, the operation is postponed, and
//! the process that claims the operation next polls the URI. A process that is killed between request and write requests again;
//! the NFVO sees the same operation twice, which the standard allows. Gybe requests no Grant for an operation with a
//! stored plan: a retry uses the earlier Grant.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::conductor::execution::Execution;
use crate::conductor::steps::StepError;
use crate::domain::grant::{PendingGrant, ResourceRequest};
use crate::domain::interface::Edition;
use crate::domain::op_occ::GrantReference;
use crate::domain::plan::Plan;
use crate::domain::problem::{ProblemType, problem};
use crate::domain::resource::Resource;
use crate::domain::tenancy::{Applicant, NamespaceProject};
use crate::infra::Scope;
use crate::lcm::grant::{apply, may_place, request};
use crate::lcm::tenancy::Tenancy;
use crate::nfvo::{GrantDecision, Nfvo, NfvoError};
use crate::store::GrantedChange;

/// The NFVO that grants operations, and the limits of an exchange.
#[derive(Clone)]
pub struct Granting {
    /// The client for the NFVO.
    pub nfvo: Arc<dyn Nfvo>,
    /// The edition of the API in the links of requests.
    pub edition: Edition,
    /// Scheme, host and port of these links, without a trailing slash.
    pub base_url: String,
    /// The longest time from the acceptance of an operation to its Grant.
    pub patience: Duration,
    /// The shortest time from the acceptance of an operation to the request for its Grant: the response to the client and the
    /// notification of STARTING come first (clause 5.4.1.1).
    pub head_start: Duration,
    /// Which project the namespace in a VIM belongs to that the NFVO has chosen; `None`: namespaces belong to nobody.
    pub tenancy: Option<Arc<Tenancy>>,
}

/// The shortest and the longest pause between two polls of a Grant, whatever the NFVO says.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];
/// The longest pause if the NFVO names none.
const LONGEST_OWN_PAUSE: Duration = Duration::from_secs(10);

impl Execution<'_> {
    /// The plan, its inventory rows and the Grant. `scope` becomes the one that the Grant names.
    ///
    /// # Errors
    /// [`StepError::GrantPending`] while the NFVO has not decided; otherwise the reason why there is no plan or no Grant.
    pub(super) async fn granted(
        &mut self,
        granting: &Granting,
        scope: &mut Option<Scope>,
        inventory: &[Resource],
        interrupted: &CancellationToken,
    ) -> Result<(Plan, Vec<Resource>, GrantedChange), StepError> {
        let (mut planned, asked, decision) = if let Some(PendingGrant { uri, asked }) = self.pending_grant.clone() {
            (None, asked, self.answer(granting.nfvo.poll_grant(&uri), interrupted).await?)
        } else {
            let (plan, resources) = self.planned(scope.as_ref(), inventory).await?;
            let requested = ResourceRequest::new(self.op.operation, &self.instance, &plan, inventory, &resources);
            self.wait_until(granting.head_start, interrupted).await?;
            let request = request(&self.op, &self.instance, &requested, granting.edition, &granting.base_url);
            let decision = self.answer(granting.nfvo.request_grant(&request), interrupted).await?;
            (Some((plan, resources)), requested.ids(), decision)
        };
        let (grant, uri) = match decision {
            GrantDecision::Granted { grant, uri } => (grant, uri),
            GrantDecision::Pending { uri, retry_after } => {
                let delay = self.pause(granting.patience, retry_after)?;
                let pending = self.pending_grant.is_none().then_some(PendingGrant { uri, asked });
                return Err(StepError::GrantPending { retry_after: delay, pending });
            }
        };
        let is_placed = may_place(&self.op, &self.instance);
        let changes = apply(&grant, &asked, &self.op, &self.instance).map_err(StepError::Permanent)?;
        if let Some(plan) = self.op.kept_plan().filter(|_| changes.params.is_some() || changes.moved) {
            return Err(StepError::Permanent(problem!(
                ProblemType::PlanStale,
                "the grant {grantId} changes what the plan {planId} was made from: preview the task again with the VIM and the parameters of the grant",
                grantId = grant.id,
                planId = plan.to_string(),
            )));
        }
        tracing::info!(op.id = %self.op.id, grant.id = grant.id, "operation {} is granted", self.op.id);
        if let Some(instance) = &changes.instance {
            self.instance = instance.clone();
        }
        if let Some(params) = changes.params {
            self.op.params = params;
            planned = None;
        }
        if changes.moved {
            *scope = self.scope().await?;
            planned = None;
        }
        let namespace = match (&granting.tenancy, &scope) {
            (Some(tenancy), Some(scope)) if is_placed => {
                Some(self.namespace_project(tenancy, scope, interrupted).await?)
            }
            _ => None,
        };
        let (plan, resources) = match planned {
            Some(planned) => planned,
            // The cluster may have changed while the NFVO decided, so plan again for its present state.
            None => self.planned(scope.as_ref(), inventory).await?,
        };
        let grant = GrantReference { id: grant.id, uri };
        Ok((plan, resources, GrantedChange { grant, instance: changes.instance, namespace }))
    }

    /// The project of the namespace in the VIM that the NFVO has chosen. It must be that of the VNF: an admin who wants another one names
    /// the VIM in the request.
    async fn namespace_project(
        &self,
        tenancy: &Tenancy,
        scope: &Scope,
        interrupted: &CancellationToken,
    ) -> Result<NamespaceProject, StepError> {
        let applicant = Applicant { project: &scope.project, is_admin: false };
        tokio::select! {
            biased;
            () = interrupted.cancelled() => Err(StepError::Interrupted),
            decided = tenancy.decide(&scope.access, &scope.namespace, applicant) => decided.map_err(|problem| {
                if problem.status < 500 { StepError::Permanent(problem) } else { StepError::Retryable(problem) }
            }),
        }
    }

    /// Waits until the time since the acceptance of the operation is at least this long.
    async fn wait_until(&self, head_start: Duration, interrupted: &CancellationToken) -> Result<(), StepError> {
        let left = head_start.saturating_sub(self.waited()).min(head_start);
        let over = async {
            tokio::select! {
                biased;
                () = interrupted.cancelled() => Err(StepError::Interrupted),
                () = self.cancel.requested() => Err(StepError::Cancelled),
                () = tokio::time::sleep(left) => Ok(()),
            }
        };
        self.place.without(over).await
    }

    /// The time since the acceptance of the operation, by the clocks of two processes.
    fn waited(&self) -> Duration {
        (self.conductor.clock.now() - self.op.start_time).try_into().unwrap_or(Duration::ZERO)
    }

    /// The answer of the NFVO, unless the operation is interrupted or cancelled before.
    async fn answer(
        &self,
        exchange: impl Future<Output = Result<GrantDecision, NfvoError>>,
        interrupted: &CancellationToken,
    ) -> Result<GrantDecision, StepError> {
        let answer = async {
            tokio::select! {
                biased;
                () = interrupted.cancelled() => Err(StepError::Interrupted),
                // Nothing was created yet that must be recorded.
                () = self.cancel.requested() => Err(StepError::Cancelled),
                decision = exchange => decision.map_err(StepError::from),
            }
        };
        self.place.without(answer).await
    }

    /// The time until the next poll of the Grant.
    fn pause(&self, patience: Duration, retry_after: Option<Duration>) -> Result<Duration, StepError> {
        let waited = self.waited();
        let left = patience.saturating_sub(waited);
        if left.is_zero() {
            return Err(StepError::Permanent(problem!(
                ProblemType::GrantTimeout,
                "the NFVO has not decided on the grant within {limit} seconds",
                limit = patience.as_secs(),
            )));
        }
        let [shortest, longest] = PAUSES;
        let pause = retry_after.unwrap_or_else(|| (waited / 4).min(LONGEST_OWN_PAUSE));
        Ok(pause.clamp(shortest, longest).min(left))
    }
}

impl From<NfvoError> for StepError {
    fn from(error: NfvoError) -> Self {
        match error {
            NfvoError::Retryable(problem) => Self::Retryable(problem),
            NfvoError::Permanent(problem) => Self::Permanent(problem),
        }
    }
}
