//! `VnfLcmOpOcc` (SOL003 clause 5.5.2.13). The editions differ in `operationParams`, a free object here, and 2.6.1 has no change
//! of package.

use serde::Serialize;
use serde_json::{Map, Value};
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::domain::op_occ::{CancelMode, LcmOperation, VnfLcmOpOcc as Domain};
use crate::domain::problem::Problem;
use crate::domain::progress::StepAttempt;
use crate::domain::resource_changes::{PackageVersion, Replaced};
use crate::domain::scale::ScaleLevels;
use crate::domain::transition::OpEvent;
use crate::domain::warning::Warnings;
use crate::sol003::common::{CancelModeType, Link, ResourceChanges, ScaleInfo, scale_infos};
use crate::sol003::steps::Progress;
use crate::sol003::{Edition, v1};

/// One lifecycle management operation occurrence.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct VnfLcmOpOcc {
    id: String,
    operation_state: &'static str,
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    state_entered_time: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    start_time: OffsetDateTime,
    vnf_instance_id: String,
    /// Present once an NFVO has granted the operation.
    #[serde(skip_serializing_if = "Option::is_none")]
    grant_id: Option<String>,
    operation: &'static str,
    is_automatic_invocation: bool,
    /// As the client sent them, without secrets. Lists leave them out by default.
    #[schema(value_type = Object, required = false)]
    operation_params: Value,
    is_cancel_pending: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<CancelModeType>)]
    cancel_mode: Option<CancelMode>,
    /// Why the operation stopped. The extension `evidence` has the `objects` that were not ready with their conditions, `events`
    /// about them, the last lines of the `logs` of their containers, and `notes` about what could not be read. Secrets are masked.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<crate::sol003::common::ProblemDetails>)]
    error: Option<Problem>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_changes: Option<ResourceChanges>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    changed_info: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    modifications_triggered_by_vnf_pkg_change: Option<Value>,
    /// Extension: what Gybe accepted although it is probably not as it was meant.
    #[serde(rename = "gybe:warnings", skip_serializing_if = "Warnings::is_empty")]
    #[schema(value_type = Vec<String>, required = false)]
    warnings: Warnings,
    /// Extension: the step that runs, while the operation runs.
    #[serde(rename = "gybe:progress", skip_serializing_if = "Option::is_none")]
    progress: Option<Progress>,
    /// Extension: the package of the VNF before and after the operation, once it has brought another one.
    #[serde(rename = "gybe:package", skip_serializing_if = "Option::is_none")]
    package: Option<PackageChange>,
    /// Extension: the levels of all aspects before and after the operation, once it has changed one of them.
    #[serde(rename = "gybe:levels", skip_serializing_if = "Option::is_none")]
    levels: Option<LevelChange>,
    #[serde(rename = "_links")]
    links: OpOccLinks,
}

/// The package of a VNF, before and after an operation.
#[derive(Debug, Serialize, ToSchema)]
struct PackageChange {
    before: PackageReference,
    after: PackageReference,
}

/// Which package a VNF has.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct PackageReference {
    vnfd_id: String,
    vnfd_version: String,
}

/// The levels of all aspects of a VNF, before and after an operation.
#[derive(Debug, Serialize, ToSchema)]
struct LevelChange {
    before: Vec<ScaleInfo>,
    after: Vec<ScaleInfo>,
}

impl From<&Replaced<PackageVersion>> for PackageChange {
    fn from(package: &Replaced<PackageVersion>) -> Self {
        let reference =
            |one: &PackageVersion| PackageReference { vnfd_id: one.vnfd_id.clone(), vnfd_version: one.version.clone() };
        Self { before: reference(&package.before), after: reference(&package.after) }
    }
}

impl From<&Replaced<ScaleLevels>> for LevelChange {
    fn from(levels: &Replaced<ScaleLevels>) -> Self {
        Self { before: scale_infos(&levels.before), after: scale_infos(&levels.after) }
    }
}

/// `_links` of an op occurrence. It has the link of a task only while the task is possible.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct OpOccLinks {
    #[serde(rename = "self")]
    this: Link,
    vnf_instance: Link,
    /// In the NFVO.
    #[serde(skip_serializing_if = "Option::is_none")]
    grant: Option<Link>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cancel: Option<Link>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry: Option<Link>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rollback: Option<Link>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fail: Option<Link>,
}

impl VnfLcmOpOcc {
    /// The wire form of `op`, with links below `base` (scheme, host and port). `latest` is its latest attempt of a step.
    pub fn new(op: &Domain, latest: Option<&StepAttempt>, edition: Edition, base: &str) -> Self {
        let root = format!("{base}{}", edition.root());
        let href = format!("{root}/vnf_lcm_op_occs/{}", op.id);
        let task = |name: &str, event| op.allows(event).then(|| Link::to(format!("{href}/{name}")));
        let (changed_info, modifications) = changes(op.operation, op.changed_info.as_ref(), edition);
        let changes = op.resource_changes.as_ref();
        Self {
            id: op.id.to_string(),
            operation_state: op.state.as_str(),
            state_entered_time: op.state_entered_time,
            start_time: op.start_time,
            vnf_instance_id: op.vnf_instance_id.to_string(),
            grant_id: op.grant.as_ref().map(|grant| grant.id.clone()),
            operation: op.operation.as_str(),
            is_automatic_invocation: op.is_automatic_invocation,
            operation_params: params(&op.params, edition),
            is_cancel_pending: op.cancel.is_some(),
            cancel_mode: op.cancel,
            error: op.error.clone().map(|problem| problem.with_help(base)),
            resource_changes: changes.map(ResourceChanges::new),
            changed_info,
            modifications_triggered_by_vnf_pkg_change: modifications,
            warnings: op.warnings.clone(),
            progress: latest.filter(|_| op.state.is_running()).map(Progress::new),
            package: changes.and_then(|changes| changes.package.as_ref()).map(PackageChange::from),
            levels: changes.and_then(|changes| changes.levels.as_ref()).map(LevelChange::from),
            links: OpOccLinks {
                vnf_instance: Link::to(format!("{root}/vnf_instances/{}", op.vnf_instance_id)),
                grant: op.grant.as_ref().map(|grant| Link::to(grant.uri.clone())),
                cancel: task("cancel", OpEvent::CancelRequested(CancelMode::Graceful)),
                retry: task("retry", OpEvent::Retry),
                rollback: task("rollback", OpEvent::Rollback),
                fail: task("fail", OpEvent::Fail),
                this: Link::to(href),
            },
        }
    }
}

/// `changedInfo` and `modificationsTriggeredByVnfPkgChange` of an operation that changed the instance's attributes; at most one
/// of them is present.
pub fn changes(operation: LcmOperation, changes: Option<&Value>, edition: Edition) -> (Option<Value>, Option<Value>) {
    match (operation, edition) {
        (LcmOperation::ChangeVnfpkg, Edition::V1) => (None, None),
        (LcmOperation::ChangeVnfpkg, Edition::V2) => (None, changes.cloned()),
        _ => (changes.map(|info| changed(info, edition)), None),
    }
}

/// The changed attributes. They are stored as a merge patch, whose `null` removes an attribute and is not a value.
fn changed(info: &Value, edition: Edition) -> Value {
    let mut changed = params(info, edition);
    if let Value::Object(attributes) = &mut changed {
        attributes.retain(|_, value| !value.is_null());
        match attributes.get_mut("vimConnectionInfo") {
            Some(Value::Object(entries)) => entries.retain(|_, entry| !entry.is_null()),
            Some(Value::Array(entries)) => entries.retain(|entry| !entry.is_null()),
            _ => {}
        }
    }
    changed
}

/// Operation parameters are stored in the form of 3.3.1; in 2.6.1 `vimConnectionInfo` is an array.
fn params(params: &Value, edition: Edition) -> Value {
    let mut params = params.clone();
    if edition == Edition::V1
        && let Some(connections) = params.get_mut("vimConnectionInfo")
    {
        let map: Map<String, Value> = connections.as_object().cloned().unwrap_or_default();
        *connections = v1::connection_array(map);
    }
    params
}
