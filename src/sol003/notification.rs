//! Wire types of notifications (SOL003 clauses 5.5.2.17 to 5.5.2.19, 10.5.2.5 and 10.5.2.6), in the edition of the
//! subscription.

use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::domain::ids::VnfInstanceId;
use crate::domain::interface::Edition;
use crate::domain::notification::{
    Notification as Domain, NotificationContent, OperationChange, PackageChange, PackageEvent, Undelivered,
};
use crate::domain::package::OperationalState;
use crate::domain::problem::Problem;
use crate::domain::subscription::{Subscription, Verbosity};
use crate::sol003::common::{AffectedVirtualStorage, AffectedVnfc, Link, ResourceChanges};
use crate::sol003::op_occ::changes;

/// A notification of any type. As documented, each alternative is an object of its own: generators of clients read no
/// combination of members with alternatives.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Notification {
    Instance(Box<InstanceNotification>),
    Package(Box<PackageNotification>),
}

/// Members that all notifications have.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct NotificationAttributes {
    id: String,
    notification_type: &'static str,
    subscription_id: String,
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    time_stamp: OffsetDateTime,
}

/// A notification about a VNF instance (clauses 5.5.2.17 to 5.5.2.19).
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstanceNotification {
    #[serde(flatten)]
    attributes: NotificationAttributes,
    vnf_instance_id: String,
    #[serde(flatten)]
    operation: Option<Operation>,
    #[serde(rename = "_links")]
    links: LccnLinks,
}

/// A notification about a package (clauses 10.5.2.5 and 10.5.2.6).
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PackageNotification {
    #[serde(flatten)]
    attributes: NotificationAttributes,
    vnf_pkg_id: String,
    vnfd_id: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    vnfm_info: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    change_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    operational_state: Option<OperationalState>,
    #[serde(rename = "_links")]
    links: PkgmLinks,
}

/// `PkgmLinks` (clause 10.5.3.4).
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct PkgmLinks {
    vnf_package: Link,
    subscription: Link,
}

/// Members that only `VnfLcmOperationOccurrenceNotification` has (clause 5.5.2.17).
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Operation {
    #[schema(required = false)]
    notification_status: &'static str,
    #[schema(required = false)]
    operation_state: &'static str,
    #[schema(required = false)]
    operation: &'static str,
    #[schema(required = false)]
    is_automatic_invocation: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    verbosity: Option<&'static str>,
    #[schema(required = false)]
    vnf_lcm_op_occ_id: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    affected_vnfcs: Vec<AffectedVnfc>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    affected_virtual_storages: Vec<AffectedVirtualStorage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    changed_info: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    modifications_triggered_by_vnf_pkg_change: Option<Value>,
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

/// A notification that is still in the outbox (an extension of Gybe).
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UndeliveredNotification {
    /// WAITING: Gybe sends it, or sends it again. PARKED: Gybe sends it only after a resend request.
    delivery_state: &'static str,
    /// Why the last attempt failed. Absent before the first attempt.
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
    /// The wire form for `subscription`.
    pub fn new(notification: &Domain, subscription: &Subscription) -> Self {
        let root = format!("{}{}", subscription.base_url, subscription.root());
        let subscription_link = || Link::to(format!("{root}/subscriptions/{}", subscription.id));
        let attributes = NotificationAttributes {
            id: notification.id.to_string(),
            notification_type: notification.content.notification_type(),
            subscription_id: subscription.id.to_string(),
            time_stamp: notification.time_stamp,
        };
        let instance = |attributes, id: VnfInstanceId, operation: Option<&OperationChange>| {
            Self::Instance(Box::new(InstanceNotification {
                attributes,
                vnf_instance_id: id.to_string(),
                operation: operation.map(|change| Operation::new(change, subscription)),
                links: LccnLinks {
                    vnf_instance: Link::to(format!("{root}/vnf_instances/{id}")),
                    subscription: subscription_link(),
                    vnf_lcm_op_occ: operation.map(|change| Link::to(format!("{root}/vnf_lcm_op_occs/{}", change.op))),
                },
            }))
        };
        match &notification.content {
            NotificationContent::InstanceCreated(id) | NotificationContent::InstanceDeleted(id) => {
                instance(attributes, *id, None)
            }
            NotificationContent::Operation(change) => instance(attributes, change.vnf_instance_id, Some(change)),
            NotificationContent::Package(change) => {
                let links = PkgmLinks {
                    vnf_package: Link::to(format!("{root}/vnf_packages/{}", change.package)),
                    subscription: subscription_link(),
                };
                Self::Package(Box::new(PackageNotification::new(attributes, change, subscription.edition, links)))
            }
        }
    }
}

impl PackageNotification {
    fn new(attributes: NotificationAttributes, change: &PackageChange, edition: Edition, links: PkgmLinks) -> Self {
        let (change_type, operational_state) = match change.event {
            PackageEvent::Onboarded => (None, None),
            PackageEvent::OperationalState(state) => (Some("OP_STATE_CHANGE"), Some(state)),
            PackageEvent::Deleted => (Some("PKG_DELETE"), None),
        };
        Self {
            attributes,
            vnf_pkg_id: change.package.to_string(),
            vnfd_id: change.vnfd_id.clone(),
            vnfm_info: if edition == Edition::V2 { change.vnfm_info.clone() } else { Vec::new() },
            change_type,
            operational_state,
            links,
        }
    }
}

impl Operation {
    fn new(change: &OperationChange, subscription: &Subscription) -> Self {
        let full = subscription.verbosity == Verbosity::Full;
        let affected = change.resource_changes.as_ref().filter(|_| full).map(ResourceChanges::new);
        let (affected_vnfcs, affected_virtual_storages) =
            affected.map(|affected| (affected.affected_vnfcs, affected.affected_virtual_storages)).unwrap_or_default();
        let changed_info = change.changed_info.as_ref().filter(|_| full);
        let (changed_info, modifications) = changes(change.operation, changed_info, subscription.edition);
        Self {
            notification_status: if change.is_result() { "RESULT" } else { "START" },
            operation_state: change.state.as_str(),
            operation: change.operation.as_str(),
            is_automatic_invocation: change.is_automatic_invocation,
            verbosity: (subscription.edition == Edition::V2).then(|| subscription.verbosity.as_str()),
            vnf_lcm_op_occ_id: change.op.to_string(),
            affected_vnfcs,
            affected_virtual_storages,
            changed_info,
            modifications_triggered_by_vnf_pkg_change: modifications,
            error: change.error.clone().map(|problem| problem.with_help(&subscription.base_url)),
        }
    }
}
