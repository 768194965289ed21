//! `GET …/vnf_lcm_op_occs/{id}/steps` and `gybe:progress`, extensions of Gybe: the same at both API roots.

use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::domain::progress::{StepAttempt, StepObject as DomainObject};

/// The most reasons that `gybe:progress` has.
const MAX_REASONS: usize = 10;

/// The history of an operation.
#[derive(Debug, Serialize, ToSchema)]
pub struct Steps {
    /// The attempts of its steps, in the order in which they began. Of many attempts of a step, the first and the last ones are kept.
    steps: Vec<Step>,
}

/// An attempt of a step.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// Counts the attempts of this step, from 1.
    attempt: u32,
    /// The number of the step in its direction, from 0.
    sequence: usize,
    /// `forward`: to COMPLETED; `backward`: to ROLLED_BACK.
    direction: &'static str,
    /// `Apply`, `Change`, `AwaitReady`, `SetReplicas`, `Operate`, `EndPods`, `DeletePods`, `Remove`, `DeleteReplaced` or
    /// `MarkUncertain`.
    name: String,
    /// What the step does, for people.
    label: String,
    /// `RUNNING`: a conductor works on it or watches its objects; `WAITING`: it needs something that is not ready yet, and is tried again
    /// later; `COMPLETED`; `FAILED`.
    state: &'static str,
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    began_at: OffsetDateTime,
    /// Absent while it is not over.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<OffsetDateTime>,
    /// The process that works on it, or worked on it last.
    conductor: String,
    /// Why it failed, or what it waits for. Secrets are masked.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// At most 100 of its objects, those that are not ready first.
    objects: Vec<StepObject>,
    /// The number of its objects that are not shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    more_objects: Option<usize>,
}

/// An object of a step.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct StepObject {
    /// `apiVersion`.
    api_version: String,
    /// `kind`.
    kind: String,
    /// `metadata.name`.
    name: String,
    /// `metadata.namespace`; absent for a cluster-scoped object.
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
    /// `PENDING`: not ready yet; `READY`; `APPLIED`: created or changed; `REMOVED`; `FAILED`.
    state: &'static str,
    /// Its ready pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    ready: Option<u32>,
    /// The pods that it is to have.
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<u32>,
    /// Why it is not ready. Secrets are masked.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Since when it is in this state.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    since: OffsetDateTime,
}

/// The step that runs.
#[derive(Debug, Serialize, ToSchema)]
pub struct Progress {
    /// The number of the step in its direction, from 1.
    step: usize,
    /// The number of steps in its direction.
    of: usize,
    /// The kind of step, as in `steps`.
    name: String,
    /// What the step does, for people.
    label: String,
    objects: ProgressObjects,
    /// When this attempt of the step began.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    since: OffsetDateTime,
    /// Why it is not done yet, at most ten reasons, such as `Deployment amf 1 of 3 ready: pod amf-3: …`. Secrets are masked.
    reasons: Vec<String>,
}

/// The objects of the step.
#[derive(Debug, Serialize, ToSchema)]
struct ProgressObjects {
    /// How many are ready, applied or removed.
    ready: usize,
    total: usize,
}

impl Steps {
    pub fn new(attempts: &[StepAttempt]) -> Self {
        Self { steps: attempts.iter().map(Step::new).collect() }
    }
}

impl Step {
    /// The wire form of an attempt.
    pub fn new(attempt: &StepAttempt) -> Self {
        Self {
            attempt: attempt.attempt,
            sequence: attempt.sequence,
            direction: attempt.direction.as_str(),
            name: attempt.name.clone(),
            label: attempt.label.clone(),
            state: attempt.state.as_str(),
            began_at: attempt.began_at,
            ended_at: attempt.ended_at,
            conductor: attempt.conductor.clone(),
            error: attempt.error.clone(),
            objects: attempt.objects.iter().map(StepObject::new).collect(),
            more_objects: (!attempt.objects.is_empty())
                .then(|| attempt.total.saturating_sub(attempt.objects.len()))
                .filter(|more| *more > 0),
        }
    }
}

impl StepObject {
    fn new(object: &DomainObject) -> Self {
        Self {
            api_version: object.key.api_version.clone(),
            kind: object.key.kind.clone(),
            name: object.key.name.clone(),
            namespace: object.namespace.clone(),
            state: object.state.as_str(),
            ready: object.pods.map(|(ready, _)| ready),
            total: object.pods.map(|(_, total)| total),
            reason: object.reason.clone(),
            since: object.since,
        }
    }
}

impl Progress {
    /// The progress of an operation with this latest attempt.
    pub fn new(latest: &StepAttempt) -> Self {
        Self {
            step: latest.sequence + 1,
            of: latest.of,
            name: latest.name.clone(),
            label: latest.label.clone(),
            objects: ProgressObjects { ready: latest.ready, total: latest.total },
            since: latest.began_at,
            reasons: latest.reasons(MAX_REASONS),
        }
    }
}
