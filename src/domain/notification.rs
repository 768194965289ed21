//! Notifications of state changes (SOL003 clauses 5.5.2.17 to 5.5.2.19, 10.5.2.5 and 10.5.2.6).
//!
//! The store creates a [`Change`] in the transaction that changes the state and compares it with the filters of the
//! subscriptions ([`crate::domain::notification_filter`]). What matches is kept in the outbox as [`NotificationContent`]
//! until [`crate::notify`] has delivered it.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::ids::{VnfInstanceId, VnfLcmOpOccId, VnfPkgId};
use crate::domain::op_occ::{LcmOperation, OpState};
use crate::domain::package::OperationalState;
use crate::domain::problem::Problem;
use crate::domain::resource_changes::ResourceChanges;

/// `notificationType` of an operation that entered a state.
pub const OPERATION_OCCURRENCE: &str = "VnfLcmOperationOccurrenceNotification";
/// `notificationType` of a new VNF instance.
pub const IDENTIFIER_CREATION: &str = "VnfIdentifierCreationNotification";
/// `notificationType` of a deleted VNF instance.
pub const IDENTIFIER_DELETION: &str = "VnfIdentifierDeletionNotification";
/// `notificationType` of a package that was onboarded.
pub const PACKAGE_ONBOARDING: &str = "VnfPackageOnboardingNotification";
/// `notificationType` of a package that was enabled, disabled or deleted.
pub const PACKAGE_CHANGE: &str = "VnfPackageChangeNotification";

/// A change that is the result of a request is not delivered for this long, so that the response arrives first.
const HEAD_START_OF_RESPONSE: Duration = Duration::from_millis(100);

/// A change of state that subscribers may want to know of.
#[derive(Clone, Debug)]
pub struct Change {
    /// When it happened.
    pub time_stamp: OffsetDateTime,
    /// What the notification says.
    pub content: NotificationContent,
    /// What filters look at beyond the content.
    pub attributes: FilteredAttributes,
}

impl Change {
    /// How long delivery waits after the change.
    pub fn head_start(&self) -> Duration {
        let is_result_of_request = match &self.content {
            NotificationContent::Operation(change) => change.state == OpState::Starting,
            NotificationContent::InstanceCreated(_) | NotificationContent::InstanceDeleted(_) => true,
            NotificationContent::Package(change) => match change.event {
                PackageEvent::Onboarded => false,
                PackageEvent::OperationalState(_) | PackageEvent::Deleted => true,
            },
        };
        if is_result_of_request { HEAD_START_OF_RESPONSE } else { Duration::ZERO }
    }
}

/// Attributes of the changed resource that only filters look at, as they were when it changed.
#[derive(Clone, Debug)]
pub enum FilteredAttributes {
    /// Of a VNF instance.
    Instance(InstanceAttributes),
    /// Of a VNF package.
    Package(PackageAttributes),
}

/// Attributes of a VNF instance that filters look at.
#[derive(Clone, Debug, Deserialize)]
pub struct InstanceAttributes {
    /// `vnfInstanceName`.
    pub name: Option<String>,
    /// `vnfdId`.
    pub vnfd_id: String,
    /// The product that the instance runs.
    pub product: ProductVersion,
}

/// Attributes of a VNF package that filters look at.
#[derive(Clone, Debug)]
pub struct PackageAttributes {
    /// `operationalState` after the change.
    pub operational_state: OperationalState,
    /// `usageState`: whether a VNF instance or a live operation refers to the package.
    pub is_in_use: bool,
    /// The product in the package.
    pub product: ProductVersion,
}

/// One version of a product, as `vnfProductsFromProviders` of a filter names it.
#[derive(Clone, Debug, Deserialize)]
pub struct ProductVersion {
    /// `vnfProvider`.
    pub provider: String,
    /// `vnfProductName`.
    pub name: String,
    /// `vnfSoftwareVersion`.
    pub software_version: String,
    /// `vnfdVersion`.
    pub vnfd_version: String,
}

/// A notification of one change to one subscription.
#[derive(Clone, Debug)]
pub struct Notification {
    /// Notifications of one VNF instance, and those of all packages, are delivered in the order of their positions.
    pub position: i64,
    /// Identifier. It is the same for all subscriptions and for each delivery attempt.
    pub id: Uuid,
    /// When the change happened.
    pub time_stamp: OffsetDateTime,
    /// What the notification says.
    pub content: NotificationContent,
}

/// A notification that is still in the outbox.
#[derive(Clone, Debug)]
pub struct Undelivered {
    /// The notification.
    pub notification: Notification,
    /// Whether delivery has ended until the operator requests it again.
    pub is_parked: bool,
    /// Why the last attempt failed. `None` before the first attempt.
    pub reason: Option<String>,
}

/// What a notification says.
#[derive(Clone, Debug)]
pub enum NotificationContent {
    /// `VnfLcmOperationOccurrenceNotification`: an operation entered a state.
    Operation(Box<OperationChange>),
    /// `VnfIdentifierCreationNotification`.
    InstanceCreated(VnfInstanceId),
    /// `VnfIdentifierDeletionNotification`.
    InstanceDeleted(VnfInstanceId),
    /// `VnfPackageOnboardingNotification` or `VnfPackageChangeNotification`.
    Package(Box<PackageChange>),
}

impl NotificationContent {
    /// `notificationType`.
    pub const fn notification_type(&self) -> &'static str {
        match self {
            Self::Operation(_) => OPERATION_OCCURRENCE,
            Self::InstanceCreated(_) => IDENTIFIER_CREATION,
            Self::InstanceDeleted(_) => IDENTIFIER_DELETION,
            Self::Package(change) => match change.event {
                PackageEvent::Onboarded => PACKAGE_ONBOARDING,
                PackageEvent::OperationalState(_) | PackageEvent::Deleted => PACKAGE_CHANGE,
            },
        }
    }

    /// The VNF instance that changed. `None` for packages.
    pub fn vnf_instance_id(&self) -> Option<VnfInstanceId> {
        match self {
            Self::Operation(change) => Some(change.vnf_instance_id),
            Self::InstanceCreated(id) | Self::InstanceDeleted(id) => Some(*id),
            Self::Package(_) => None,
        }
    }
}

/// A package as it was when it changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackageChange {
    /// The package.
    pub package: VnfPkgId,
    /// Identifier of its VNFD.
    pub vnfd_id: String,
    /// The VNFMs that the VNFD names.
    pub vnfm_info: Vec<String>,
    /// What happened.
    pub event: PackageEvent,
}

/// A change of a package that subscribers are notified of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PackageEvent {
    /// It was onboarded.
    Onboarded,
    /// `OP_STATE_CHANGE`, with the new state.
    OperationalState(OperationalState),
    /// `PKG_DELETE`.
    Deleted,
}

/// An operation as it was when it entered a state.
#[derive(Clone, Debug)]
pub struct OperationChange {
    /// The VNF instance.
    pub vnf_instance_id: VnfInstanceId,
    /// The operation occurrence.
    pub op: VnfLcmOpOccId,
    /// The operation.
    pub operation: LcmOperation,
    /// The state that it entered.
    pub state: OpState,
    /// `isAutomaticInvocation`.
    pub is_automatic_invocation: bool,
    /// Why it stopped. `None` unless the state follows an error.
    pub error: Option<Problem>,
    /// Which resources it changed. `None` unless the state is a result.
    pub resource_changes: Option<ResourceChanges>,
    /// What a `MODIFY_INFO` or a `CHANGE_VNFPKG` modified. `None` unless the state is a result.
    pub changed_info: Option<Value>,
}

impl OperationChange {
    /// Whether `notificationStatus` is RESULT: the operation stopped, for now or for good.
    pub const fn is_result(&self) -> bool {
        match self.state {
            OpState::Starting | OpState::Processing | OpState::RollingBack => false,
            OpState::Completed | OpState::FailedTemp | OpState::Failed | OpState::RolledBack => true,
        }
    }

    /// Removes what the standard allows in results only (clause 5.5.2.17): the row of the op occurrence keeps these
    /// values while the operation runs.
    #[must_use]
    pub fn without_intermediate_results(mut self) -> Self {
        if !self.is_result() {
            (self.resource_changes, self.changed_info) = (None, None);
        }
        if !self.is_result() || self.state == OpState::Completed {
            self.error = None;
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn operation(state: OpState) -> OperationChange {
        OperationChange {
            vnf_instance_id: VnfInstanceId(Uuid::nil()),
            op: VnfLcmOpOccId(Uuid::nil()),
            operation: LcmOperation::Heal,
            state,
            is_automatic_invocation: false,
            error: Some(Problem::conflict("stopped")),
            resource_changes: Some(ResourceChanges::default()),
            changed_info: Some(json!({})),
        }
    }

    #[test]
    fn only_results_have_changes_and_only_failures_have_an_error() {
        for state in OpState::ALL {
            let change = operation(state).without_intermediate_results();
            let has_changes = change.resource_changes.is_some() && change.changed_info.is_some();
            let has_any_change = change.resource_changes.is_some() || change.changed_info.is_some();
            let wanted = match state {
                OpState::Starting | OpState::Processing | OpState::RollingBack => (false, false, false),
                OpState::Completed => (true, true, false),
                OpState::FailedTemp | OpState::Failed | OpState::RolledBack => (true, true, true),
            };
            assert_eq!((has_changes, has_any_change, change.error.is_some()), wanted, "{state:?}");
            assert_eq!(change.is_result(), wanted.0);
        }
    }

    #[test]
    fn only_results_of_requests_have_a_head_start() {
        let product = || ProductVersion {
            provider: String::new(),
            name: String::new(),
            software_version: String::new(),
            vnfd_version: String::new(),
        };
        let package = |event| {
            let package = VnfPkgId(Uuid::nil());
            let change = PackageChange { package, vnfd_id: String::new(), vnfm_info: Vec::new(), event };
            NotificationContent::Package(Box::new(change))
        };
        let instance = VnfInstanceId(Uuid::nil());
        let mut cases = vec![
            (NotificationContent::InstanceCreated(instance), true),
            (NotificationContent::InstanceDeleted(instance), true),
            (package(PackageEvent::Onboarded), false),
            (package(PackageEvent::OperationalState(OperationalState::Enabled)), true),
            (package(PackageEvent::Deleted), true),
        ];
        for state in OpState::ALL {
            cases.push((NotificationContent::Operation(Box::new(operation(state))), state == OpState::Starting));
        }
        for (content, waits) in cases {
            let attributes = FilteredAttributes::Instance(InstanceAttributes {
                name: None,
                vnfd_id: String::new(),
                product: product(),
            });
            let change = Change { time_stamp: OffsetDateTime::UNIX_EPOCH, content, attributes };
            assert_eq!(change.head_start() == Duration::from_millis(100), waits, "{change:?}");
        }
    }
}
