//! `POST …/vnf_instances/{id}/{task}/preview`, an extension of Gybe: the same at both API roots.

use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::domain::drift::Difference;
use crate::domain::plan::Step as DomainStep;
use crate::domain::preflight::{Check, Subject, Verdict};
use crate::domain::preview::{Action, ObjectPreview, Preview as Domain, step_objects};
use crate::domain::resource::ObjectKey;
use crate::domain::warning::Warnings;
use crate::sol003::drift::{MAX_DIFFERENCES, bounded};

/// What a task would do. Nothing has changed.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Preview {
    /// The plan, which is kept: the task with this `gybe:planId` runs exactly it, or is refused.
    plan_id: String,
    /// Until when.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    expires_at: OffsetDateTime,
    /// The operation, as in an op occurrence.
    operation: &'static str,
    /// The steps, in their order.
    steps: Vec<PreviewedStep>,
    /// All objects of the steps.
    objects: Vec<PreviewedObject>,
    /// The checks.
    preflight: Vec<PreflightCheck>,
    /// What is probably not as it was meant: the op occurrence would have it as `gybe:warnings`.
    #[schema(value_type = Vec<String>)]
    warnings: Warnings,
}

/// A step of a plan.
#[derive(Debug, Serialize, ToSchema)]
struct PreviewedStep {
    /// Such as `Apply`, `AwaitReady`, `Remove`.
    name: &'static str,
    /// What it does, in words.
    label: String,
    objects: Vec<ObjectReference>,
}

/// A Kubernetes object.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ObjectReference {
    /// `apiVersion`.
    api_version: String,
    /// `kind`.
    kind: String,
    /// `metadata.name`.
    name: String,
}

/// What would become of an object.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct PreviewedObject {
    #[serde(flatten)]
    object: ObjectReference,
    /// Absent for cluster-scoped kinds.
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
    /// `create`; `change`; `recreate`: it is deleted and made again; `delete`; `unchanged`; `unknown`: a dry run cannot tell, and `note` or
    /// a check of `preflight` says why.
    action: &'static str,
    /// What a change changes: a dry run of the API server against the present object.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    differences: Vec<PreviewedDifference>,
    /// The number of differences that are not shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    more_differences: Option<usize>,
    /// An explanation.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

/// A field that would change.
#[derive(Debug, Serialize, ToSchema)]
struct PreviewedDifference {
    /// A JSON pointer into the present object. `-` stands for an element that the list lacks.
    path: String,
    /// The present value; null if there is none. The values of a Secret are `***`; of a long value, the length is shown.
    #[schema(value_type = Value)]
    from: Value,
    /// The new value; null if there will be none.
    #[schema(value_type = Value)]
    to: Value,
}

/// A check of what would stop the operation.
#[derive(Debug, Serialize, ToSchema)]
struct PreflightCheck {
    /// What is checked: `admission` of the objects; `rights` of the credential; `reference`: classes and networks that objects refer to;
    /// `image`; `pods` of workloads, and for those that are refused `quota`, `limits`, `pod-security`.
    check: &'static str,
    /// `ok`; `failed`: the operation would stop; `unknown`: nobody can tell now, or the credential may not read it.
    verdict: &'static str,
    /// What was found.
    detail: String,
    /// The object that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<ObjectReference>,
}

impl From<Domain> for Preview {
    /// The wire form, bounded in size.
    fn from(preview: Domain) -> Self {
        let namespace = preview.namespace.as_ref().map(|namespace| namespace.as_str());
        let mut left = MAX_DIFFERENCES;
        Self {
            plan_id: preview.plan_id.to_string(),
            expires_at: preview.expires_at,
            operation: preview.operation.as_str(),
            steps: preview.steps.iter().map(PreviewedStep::from).collect(),
            objects: preview
                .objects
                .into_iter()
                .map(|object| PreviewedObject::new(object, namespace, &mut left))
                .collect(),
            preflight: preview.checks.into_iter().map(PreflightCheck::from).collect(),
            warnings: preview.warnings,
        }
    }
}

impl From<&DomainStep> for PreviewedStep {
    fn from(step: &DomainStep) -> Self {
        let objects = step_objects(step).into_iter().map(ObjectReference::from).collect();
        Self { name: step.kind(), label: step.label(), objects }
    }
}

impl From<ObjectKey> for ObjectReference {
    fn from(key: ObjectKey) -> Self {
        Self { api_version: key.api_version, kind: key.kind, name: key.name }
    }
}

impl PreviewedObject {
    fn new(object: ObjectPreview, namespace: Option<&str>, left: &mut usize) -> Self {
        let shown = object.differences.len().min(*left);
        *left -= shown;
        Self {
            object: object.key.into(),
            namespace: namespace.filter(|_| object.namespaced).map(str::to_owned),
            action: match object.action {
                Action::Create => "create",
                Action::Change => "change",
                Action::Recreate => "recreate",
                Action::Delete => "delete",
                Action::Unchanged => "unchanged",
                Action::Unknown => "unknown",
            },
            more_differences: Some(object.differences.len() - shown).filter(|more| *more > 0),
            differences: object.differences.into_iter().take(shown).map(PreviewedDifference::from).collect(),
            note: object.note,
        }
    }
}

impl From<Difference> for PreviewedDifference {
    fn from(difference: Difference) -> Self {
        Self { path: difference.path, from: bounded(difference.actual), to: bounded(difference.intended) }
    }
}

impl From<Check> for PreflightCheck {
    fn from(check: Check) -> Self {
        Self {
            check: match check.subject {
                Subject::Admission => "admission",
                Subject::Rights => "rights",
                Subject::Reference => "reference",
                Subject::Image => "image",
                Subject::Pods => "pods",
                Subject::Quota => "quota",
                Subject::Limits => "limits",
                Subject::PodSecurity => "pod-security",
            },
            verdict: match check.verdict {
                Verdict::Ok => "ok",
                Verdict::Failed => "failed",
                Verdict::Unknown => "unknown",
            },
            detail: check.detail,
            object: check.object.map(ObjectReference::from),
        }
    }
}
