//! Wire types of subscriptions: `LccnSubscription` and its request (SOL003 clauses 5.5.2.15 and 5.5.2.16), `PkgmSubscription`
//! and its request (clauses 10.5.2.3 and 10.5.2.4). Only edition 3.3.1 has `verbosity` and `vnfmInfo`.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::domain::interface::{Edition, Interface};
use crate::domain::package::OperationalState;
use crate::domain::secret::Secret;
use crate::domain::subscription::{AuthType, Subscription as Domain, Verbosity};
use crate::sol003::common::{Link, or_default};
use crate::sol003::pkgm::PackageUsageState;

/// `LccnSubscriptionRequest` (clause 5.5.2.15).
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LccnSubscriptionRequest {
    /// Which changes are notified. All if absent.
    pub filter: Option<LifecycleChangeNotificationsFilter>,
    /// Where notifications are sent: an `http` or `https` URI.
    pub callback_uri: String,
    /// How Gybe authenticates to the subscriber.
    pub authentication: Option<SubscriptionAuthentication>,
    /// 3.3.1: SHORT omits the changed resources.
    #[schema(value_type = Option<String>)]
    pub verbosity: Option<Verbosity>,
}

/// `LifecycleChangeNotificationsFilter` (clause 5.5.3.12). All members that are present must match; of a list, one entry.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LifecycleChangeNotificationsFilter {
    /// VNF instances.
    #[serde(deserialize_with = "or_default")]
    pub vnf_instance_subscription_filter: VnfInstanceSubscriptionFilter,
    /// Types of notification.
    #[serde(deserialize_with = "or_default")]
    pub notification_types: Vec<NotificationType>,
    /// Types of operation.
    #[serde(deserialize_with = "or_default")]
    pub operation_types: Vec<LcmOperationType>,
    /// States that the operation enters.
    #[serde(deserialize_with = "or_default")]
    pub operation_states: Vec<LcmOperationStateType>,
}

/// `PkgmSubscriptionRequest` (clause 10.5.2.3).
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PkgmSubscriptionRequest {
    /// Which changes are notified. All if absent.
    pub filter: Option<PkgmNotificationsFilter>,
    /// Where notifications are sent: an `http` or `https` URI.
    pub callback_uri: String,
    /// How Gybe authenticates to the subscriber.
    pub authentication: Option<SubscriptionAuthentication>,
}

/// `PkgmNotificationsFilter` (clause 10.5.3.2). All members that are present must match; of a list, one entry.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PkgmNotificationsFilter {
    /// Types of notification.
    #[serde(deserialize_with = "or_default")]
    pub notification_types: Vec<PackageNotificationType>,
    /// Packages of these products.
    #[serde(deserialize_with = "or_default")]
    pub vnf_products_from_providers: Vec<VnfProductsFromProvider>,
    /// Packages with these VNFDs.
    #[serde(deserialize_with = "or_default")]
    pub vnfd_id: Vec<String>,
    /// These packages.
    #[serde(deserialize_with = "or_default")]
    pub vnf_pkg_id: Vec<String>,
    /// Operational state after the change: one, or a list.
    #[serde(deserialize_with = "one_or_more")]
    #[schema(value_type = OneOrMoreTexts)]
    pub operational_state: Vec<OperationalState>,
    /// IN_USE, NOT_IN_USE, or a list of them.
    #[serde(deserialize_with = "one_or_more")]
    #[schema(value_type = OneOrMoreTexts)]
    pub usage_state: Vec<PackageUsageState>,
    /// 3.3.1: packages for these VNFMs.
    #[serde(deserialize_with = "or_default")]
    pub vnfm_info: Vec<String>,
}

/// `notificationType` of packages, spelt as on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum PackageNotificationType {
    /// A package was onboarded.
    VnfPackageOnboardingNotification,
    /// A package was enabled, disabled or deleted.
    VnfPackageChangeNotification,
}

/// One text, or a list of them. For the OpenAPI documents only.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes; never constructed")]
enum OneOrMoreTexts {
    /// One.
    One(String),
    /// A list.
    More(Vec<String>),
}

/// The text of the standard defines a list, its schemas a single value.
fn one_or_more<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMore<T> {
        One(T),
        More(Vec<T>),
    }
    Ok(match Option::deserialize(deserializer)? {
        Some(OneOrMore::One(one)) => vec![one],
        Some(OneOrMore::More(more)) => more,
        None => Vec::new(),
    })
}

/// `VnfInstanceSubscriptionFilter` (clause 4.4.1.5).
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct VnfInstanceSubscriptionFilter {
    /// By VNFD.
    #[serde(deserialize_with = "or_default")]
    pub vnfd_ids: Vec<String>,
    /// By product.
    #[serde(deserialize_with = "or_default")]
    pub vnf_products_from_providers: Vec<VnfProductsFromProvider>,
    /// By id.
    #[serde(deserialize_with = "or_default")]
    pub vnf_instance_ids: Vec<String>,
    /// By name.
    #[serde(deserialize_with = "or_default")]
    pub vnf_instance_names: Vec<String>,
}

/// Products of a provider. All if `vnf_products` is empty.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct VnfProductsFromProvider {
    /// The provider.
    pub vnf_provider: String,
    /// The products.
    #[serde(default, deserialize_with = "or_default")]
    pub vnf_products: Vec<VnfProduct>,
}

/// A product. All versions if `versions` is empty.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct VnfProduct {
    /// Its name.
    pub vnf_product_name: String,
    /// The software versions.
    #[serde(default, deserialize_with = "or_default")]
    pub versions: Vec<VnfVersion>,
}

/// A software version. All VNFD versions if `vnfd_versions` is empty.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct VnfVersion {
    /// The software version.
    pub vnf_software_version: String,
    /// The VNFD versions.
    #[serde(default, deserialize_with = "or_default")]
    pub vnfd_versions: Vec<String>,
}

/// `notificationType`, spelt as on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum NotificationType {
    /// An operation entered a state.
    VnfLcmOperationOccurrenceNotification,
    /// A VNF instance was created.
    VnfIdentifierCreationNotification,
    /// A VNF instance was deleted.
    VnfIdentifierDeletionNotification,
}

/// `LcmOperationType` (clause 5.5.4.5): all values of 3.3.1. Gybe does not support all of them.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum LcmOperationType {
    Instantiate,
    Scale,
    ScaleToLevel,
    ChangeFlavour,
    Terminate,
    Heal,
    Operate,
    ChangeExtConn,
    ModifyInfo,
    CreateSnapshot,
    RevertToSnapshot,
    ChangeVnfpkg,
}

/// `LcmOperationStateType` (clause 5.5.4.6).
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum LcmOperationStateType {
    Starting,
    Processing,
    Completed,
    FailedTemp,
    Failed,
    RollingBack,
    RolledBack,
}

/// `SubscriptionAuthentication` (SOL013 clause 8.3.4).
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SubscriptionAuthentication {
    /// BASIC, OAUTH2_CLIENT_CREDENTIALS, TLS_CERT. Gybe uses a token rather than a password, and the certificate with
    /// either.
    #[schema(value_type = Vec<String>)]
    pub auth_type: Vec<AuthType>,
    /// For BASIC.
    pub params_basic: Option<ParamsBasic>,
    /// For OAUTH2_CLIENT_CREDENTIALS.
    pub params_oauth2_client_credentials: Option<ParamsOauth2ClientCredentials>,
}

/// `paramsBasic`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ParamsBasic {
    /// Identifier of Gybe.
    pub user_name: Option<String>,
    /// Never returned.
    #[schema(value_type = Option<String>)]
    pub password: Option<Secret>,
}

/// `paramsOauth2ClientCredentials`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ParamsOauth2ClientCredentials {
    /// Identifier of Gybe.
    pub client_id: Option<String>,
    /// Never returned.
    #[schema(value_type = Option<String>)]
    pub client_password: Option<Secret>,
    /// OAuth 2.0 token endpoint: an `http` or `https` URI.
    pub token_endpoint: Option<String>,
}

/// `PkgmSubscription` (clause 10.5.2.4), only for the OpenAPI document: responses are [`LccnSubscription`].
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "describes; never constructed")]
pub struct PkgmSubscription {
    id: String,
    filter: Option<PkgmNotificationsFilter>,
    callback_uri: String,
    #[schema(rename = "_links")]
    links: SubscriptionLinks,
}

/// `LccnSubscription` (clause 5.5.2.16), and without `verbosity` `PkgmSubscription`. The authentication is never returned.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LccnSubscription {
    id: String,
    #[serde(skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Option<LifecycleChangeNotificationsFilter>)]
    filter: Map<String, Value>,
    callback_uri: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    verbosity: Option<&'static str>,
    #[serde(rename = "_links")]
    links: SubscriptionLinks,
}

/// `_links` of a subscription.
#[derive(Debug, Serialize, ToSchema)]
struct SubscriptionLinks {
    #[serde(rename = "self")]
    this: Link,
}

impl LccnSubscription {
    /// The wire form of `subscription`, with links that begin with `base` (scheme, host and port).
    pub fn new(subscription: &Domain, edition: Edition, base: &str) -> Self {
        Self {
            id: subscription.id.to_string(),
            filter: subscription.filter.0.clone(),
            callback_uri: subscription.callback_uri.clone(),
            verbosity: ((subscription.interface, edition) == (Interface::Lifecycle, Edition::V2))
                .then(|| subscription.verbosity.as_str()),
            links: SubscriptionLinks {
                this: Link::to(format!(
                    "{base}{}/subscriptions/{}",
                    subscription.interface.root(edition),
                    subscription.id
                )),
            },
        }
    }
}
