//! Subscriptions to changes of VNF instances and of VNF packages (SOL003 clauses 5.5.2.15, 5.5.2.16, 10.5.2.3 and
//! 10.5.2.4).
//!
//! [`crate::domain::notification_filter`] decides which changes a subscription is notified of.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::domain::ids::{ProjectId, SubscriptionId};
use crate::domain::interface::{Edition, Interface};
use crate::domain::notification_filter::NotificationFilter;
use crate::domain::vim::Secrets;

/// A subscription.
#[derive(Clone, Debug)]
pub struct Subscription {
    /// Identifier.
    pub id: SubscriptionId,
    /// The tenant.
    pub project_id: ProjectId,
    /// The API whose resources it is about.
    pub interface: Interface,
    /// The edition that its notifications are written in.
    pub edition: Edition,
    /// Where notifications are sent.
    pub callback_uri: String,
    /// Which changes it is notified of.
    pub filter: NotificationFilter,
    /// How much notifications say.
    pub verbosity: Verbosity,
    /// How Gybe authenticates to the subscriber.
    pub authentication: Option<Authentication>,
    /// Scheme, host and port of the links in its notifications.
    pub base_url: String,
    /// How long it is kept after the last VNF instance that its filter names was deleted. `None`: until a client deletes
    /// it.
    pub orphan_grace: Option<Duration>,
    /// When it was created. Lists are in this order.
    pub created_at: OffsetDateTime,
}

impl Subscription {
    /// Version of its API.
    pub const fn version(&self) -> &'static str {
        self.interface.version(self.edition)
    }

    /// Root path of its API.
    pub const fn root(&self) -> &'static str {
        self.interface.root(self.edition)
    }
}

/// `LcmOpOccNotificationVerbosityType` (3.3.1, clause 5.5.4.9).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Verbosity {
    /// Notifications list the changed resources.
    #[default]
    Full,
    /// Notifications do not list the changed resources.
    Short,
}

impl Verbosity {
    /// Name on the wire and in the database.
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
    /// A bearer token, from a token endpoint.
    Oauth2ClientCredentials,
    /// The client certificate that the operator configured.
    TlsCert,
}

/// Member of [`Authentication::secrets`]: the password of BASIC.
pub const PASSWORD: &str = "password";
/// Member of [`Authentication::secrets`]: the client password of OAUTH2_CLIENT_CREDENTIALS.
pub const CLIENT_PASSWORD: &str = "clientPassword";

/// `SubscriptionAuthentication` (SOL013 clause 8.3.4). The parameters of each listed type are present.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Authentication {
    /// The types that the subscriber accepts.
    pub auth_types: Vec<AuthType>,
    /// Of BASIC.
    pub user_name: Option<String>,
    /// Of OAUTH2_CLIENT_CREDENTIALS.
    pub client_id: Option<String>,
    /// Of OAUTH2_CLIENT_CREDENTIALS: the token endpoint.
    pub token_endpoint: Option<String>,
    /// The passwords, by [`PASSWORD`] and [`CLIENT_PASSWORD`]. The store seals them apart from the other members.
    #[serde(skip)]
    pub secrets: Secrets,
}
