//! What subscribers are sent (SOL003 clauses 5.5.2.17 to 5.5.2.19), in the edition of their subscription.

use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::domain::op_occ::OpState;
use crate::domain::problem::Problem;
use crate::domain::subscription::{
    Change, Edition, Notification as Domain, OperationChange, Subscription, Undelivered, Verbosity,
};
use crate::sol003::common::{AffectedVnfc, Link, ResourceChanges};
use crate::sol003::op_occ::changed;

/// A notification of any of the three types.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Notification {
    id: String,
    notification_type: &'static str,
    subscription_id: String,
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    time_stamp: OffsetDateTime,
    vnf_instance_id: String,
    #[serde(flatten)]
    operation: Option<Operation>,
    #[serde(rename = "_links")]
    links: LccnLinks,
}

/// What `VnfLcmOperationOccurrenceNotification` has beyond the others.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Operation {
    notification_status: &'static str,
    operation_state: &'static str,
    operation: &'static str,
    is_automatic_invocation: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    verbosity: Option<&'static str>,
    vnf_lcm_op_occ_id: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    affected_vnfcs: Vec<AffectedVnfc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    changed_info: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    error: Option<Problem>,
}

/// `LccnLinks` (clause 5.5.3.13).
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct LccnLinks {
    vnf_instance: Link,
    subscription: Link,
    #[serde(skip_serializing_if = "Option::is_none")]
    vnf_lcm_op_occ: Option<Link>,
}

/// A notification that is in the outbox (an extension of ours).
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UndeliveredNotification {
    /// WAITING: it is sent, or sent again, by itself. PARKED: it is not, unless the operator asks.
    delivery_state: &'static str,
    /// Why it was not delivered, once it was tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    notification: Notification,
}

impl UndeliveredNotification {
    /// The wire form.
    pub fn new(undelivered: &Undelivered, subscription: &Subscription) -> Self {
        Self {
            delivery_state: if undelivered.is_parked { "PARKED" } else { "WAITING" },
            reason: undelivered.reason.clone(),
            notification: Notification::new(&undelivered.notification, subscription),
        }
    }
}

impl Notification {
    /// What the subscriber is sent.
    pub fn new(notification: &Domain, subscription: &Subscription) -> Self {
        let root = format!("{}{}", subscription.base_url, subscription.edition.root());
        let operation = match &notification.change {
            Change::Operation(change) => Some(&**change),
            Change::Created | Change::Deleted => None,
        };
        Self {
            id: notification.id.to_string(),
            notification_type: notification.change.notification_type(),
            subscription_id: subscription.id.to_string(),
            time_stamp: notification.time_stamp,
            vnf_instance_id: notification.vnf_instance_id.to_string(),
            operation: operation.map(|change| Operation::new(change, subscription)),
            links: LccnLinks {
                vnf_instance: Link::to(format!("{root}/vnf_instances/{}", notification.vnf_instance_id)),
                subscription: Link::to(format!("{root}/subscriptions/{}", subscription.id)),
                vnf_lcm_op_occ: operation.map(|operation| Link::to(format!("{root}/vnf_lcm_op_occs/{}", operation.op))),
            },
        }
    }
}

impl Operation {
    fn new(change: &OperationChange, subscription: &Subscription) -> Self {
        let full = subscription.verbosity == Verbosity::Full;
        let changes = change.resource_changes.as_ref().filter(|_| full);
        Self {
            notification_status: match change.state {
                OpState::Starting | OpState::Processing | OpState::RollingBack => "START",
                OpState::Completed | OpState::FailedTemp | OpState::Failed | OpState::RolledBack => "RESULT",
            },
            operation_state: change.state.as_str(),
            operation: change.operation.as_str(),
            is_automatic_invocation: change.is_automatic_invocation,
            verbosity: (subscription.edition == Edition::V2).then(|| subscription.verbosity.as_str()),
            vnf_lcm_op_occ_id: change.op.to_string(),
            affected_vnfcs: changes.map_or_else(Vec::new, |changes| ResourceChanges::new(changes).affected_vnfcs),
            changed_info: change.changed_info.as_ref().filter(|_| full).map(|info| changed(info, subscription.edition)),
            error: change.error.clone(),
        }
    }
}
