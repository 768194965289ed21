//! Subscriptions to changes of VNF instances and of VNF packages, and what is told of a change (SOL003 clauses 5.5.2.15 to
//! 5.5.2.19 and 10.5.2.3 to 10.5.2.6).
//!
//! Which subscriptions a change matches is decided by the store, in the transaction of the change.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::ids::{ProjectId, SubscriptionId, VnfInstanceId, VnfLcmOpOccId, VnfPkgId};
use crate::domain::interface::{Edition, Interface};
use crate::domain::op_occ::{LcmOperation, OpState};
use crate::domain::package::OperationalState;
use crate::domain::problem::Problem;
use crate::domain::resource_changes::ResourceChanges;
use crate::domain::vim::Secrets;

/// A subscription.
#[derive(Clone, Debug)]
pub struct Subscription {
    /// Its identifier.
    pub id: SubscriptionId,
    /// The tenant.
    pub project_id: ProjectId,
    /// What it is told of.
    pub interface: Interface,
    /// What its notifications are written in.
    pub edition: Edition,
    /// Where they go.
    pub callback_uri: String,
    /// `LifecycleChangeNotificationsFilter` or `PkgmNotificationsFilter` as JSON, without empty members and with lists in order: equal filters are the
    /// same JSON.
    pub filter: Map<String, Value>,
    /// How much they say.
    pub verbosity: Verbosity,
    /// How Gybe shows who it is.
    pub authentication: Option<Authentication>,
    /// Scheme, host and port of the links in its notifications, as the subscriber came by them.
    pub base_url: String,
    /// How long it is kept once all VNF instances that its filter names are gone, at least one; `None`: until it is removed.
    pub orphan_grace: Option<Duration>,
    /// When it was made: the order of the list.
    pub created_at: OffsetDateTime,
}

impl Subscription {
    /// The version of the API that it is of.
    pub const fn version(&self) -> &'static str {
        self.interface.version(self.edition)
    }

    /// Path of the API root that it is of.
    pub const fn root(&self) -> &'static str {
        self.interface.root(self.edition)
    }
}

/// `LcmOpOccNotificationVerbosityType` (3.3.1, clause 5.5.4.9).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Verbosity {
    /// With what was changed.
    #[default]
    Full,
    /// Without.
    Short,
}

impl Verbosity {
    /// The name on the wire and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "FULL",
            Self::Short => "SHORT",
        }
    }
}

/// `authType` of a subscription (SOL013 clause 8.3.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AuthType {
    /// User name and password.
    Basic,
    /// A bearer token that is had for a client's id and password.
    Oauth2ClientCredentials,
    /// A client certificate, which is the operator's to give.
    TlsCert,
}

/// The member of [`Authentication::secrets`] with the password of BASIC.
pub const PASSWORD: &str = "password";
/// The member of [`Authentication::secrets`] with the client's password of OAUTH2_CLIENT_CREDENTIALS.
pub const CLIENT_PASSWORD: &str = "clientPassword";

/// `SubscriptionAuthentication` (SOL013 clause 8.3.4). Whatever the listed types need is there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Authentication {
    /// What the subscriber takes.
    pub auth_types: Vec<AuthType>,
    /// For BASIC.
    pub user_name: Option<String>,
    /// For OAUTH2_CLIENT_CREDENTIALS.
    pub client_id: Option<String>,
    /// For OAUTH2_CLIENT_CREDENTIALS: where tokens are had.
    pub token_endpoint: Option<String>,
    /// The passwords, by [`PASSWORD`] and [`CLIENT_PASSWORD`]; kept apart from the row's JSON and sealed by the store.
    #[serde(skip)]
    pub secrets: Secrets,
}

/// What one subscription is told of one change.
#[derive(Clone, Debug)]
pub struct Notification {
    /// The place in the order in which notifications of one VNF instance, or of packages, are sent.
    pub position: i64,
    /// Its identifier, which stays however often it is sent, and is the same for all who are told of the change.
    pub id: Uuid,
    /// When the change was.
    pub time_stamp: OffsetDateTime,
    /// What changed.
    pub change: Change,
}

/// A notification that is in the outbox.
#[derive(Clone, Debug)]
pub struct Undelivered {
    /// What is to be told.
    pub notification: Notification,
    /// Whether it is not sent any more unless the operator asks.
    pub is_parked: bool,
    /// Why it was not delivered, once it was tried.
    pub reason: Option<String>,
}

/// What a notification tells.
#[derive(Clone, Debug)]
pub enum Change {
    /// `VnfLcmOperationOccurrenceNotification`: an operation entered a state.
    Operation(Box<OperationChange>),
    /// `VnfIdentifierCreationNotification`: the instance was made.
    Created(VnfInstanceId),
    /// `VnfIdentifierDeletionNotification`: the instance is gone.
    Deleted(VnfInstanceId),
    /// `VnfPackageOnboardingNotification` or `VnfPackageChangeNotification`.
    Package(Box<PackageChange>),
}

/// A package as it was when it changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackageChange {
    /// The package.
    pub package: VnfPkgId,
    /// Its VNFD.
    pub vnfd_id: String,
    /// The VNFMs that the VNFD names.
    pub vnfm_info: Vec<String>,
    /// What happened.
    pub event: PackageEvent,
}

/// What happens to packages that subscribers are told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PackageEvent {
    /// It can be used.
    Onboarded,
    /// `OP_STATE_CHANGE`: it is in that state now.
    OperationalState(OperationalState),
    /// `PKG_DELETE`: it is gone.
    Deleted,
}

/// An operation as it was when it entered a state.
#[derive(Clone, Debug)]
pub struct OperationChange {
    /// The VNF instance.
    pub vnf_instance_id: VnfInstanceId,
    /// The op occurrence.
    pub op: VnfLcmOpOccId,
    /// What it does.
    pub operation: LcmOperation,
    /// The state.
    pub state: OpState,
    /// Whether the VNFM itself started it.
    pub is_automatic_invocation: bool,
    /// Why it stopped, in the states that follow an error.
    pub error: Option<Problem>,
    /// What it changed, in the states that are a result.
    pub resource_changes: Option<ResourceChanges>,
    /// What a `MODIFY_INFO` changed, in the states that are a result.
    pub changed_info: Option<Value>,
}

impl Change {
    /// `notificationType`.
    pub const fn notification_type(&self) -> &'static str {
        match self {
            Self::Operation(_) => OPERATION_OCCURRENCE,
            Self::Created(_) => IDENTIFIER_CREATION,
            Self::Deleted(_) => IDENTIFIER_DELETION,
            Self::Package(change) => match change.event {
                PackageEvent::Onboarded => PACKAGE_ONBOARDING,
                PackageEvent::OperationalState(_) | PackageEvent::Deleted => PACKAGE_CHANGE,
            },
        }
    }
}

/// `notificationType` of a state that an operation entered.
pub const OPERATION_OCCURRENCE: &str = "VnfLcmOperationOccurrenceNotification";
/// `notificationType` of a new VNF instance.
pub const IDENTIFIER_CREATION: &str = "VnfIdentifierCreationNotification";
/// `notificationType` of a VNF instance that is gone.
pub const IDENTIFIER_DELETION: &str = "VnfIdentifierDeletionNotification";
/// `notificationType` of a package that can be used.
pub const PACKAGE_ONBOARDING: &str = "VnfPackageOnboardingNotification";
/// `notificationType` of a package that was enabled, disabled or deleted.
pub const PACKAGE_CHANGE: &str = "VnfPackageChangeNotification";
