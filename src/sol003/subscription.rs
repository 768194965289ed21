//! `LccnSubscription` and its request (SOL003 clauses 5.5.2.15 and 5.5.2.16), and `PkgmSubscription` with its own (clauses
//! 10.5.2.3 and 10.5.2.4). The editions differ in `verbosity` and `vnfmInfo`, which are of 3.3.1 alone.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::domain::interface::{Edition, Interface};
use crate::domain::package::OperationalState;
use crate::domain::secret::Secret;
use crate::domain::subscription::{AuthType, Subscription as Domain, Verbosity};
use crate::sol003::common::Link;
use crate::sol003::pkgm::PackageUsageState;

/// `LccnSubscriptionRequest` (clause 5.5.2.15).
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LccnSubscriptionRequest {
    /// What is told; everything if absent.
    pub filter: Option<LifecycleChangeNotificationsFilter>,
    /// Where it is told: an `http` or `https` URI.
    pub callback_uri: String,
    /// How Gybe shows who it is.
    pub authentication: Option<SubscriptionAuthentication>,
    /// 3.3.1: SHORT leaves out what was changed.
    #[schema(value_type = Option<String>)]
    pub verbosity: Option<Verbosity>,
}

/// `LifecycleChangeNotificationsFilter` (clause 5.5.3.12). All that is given must match; of a list, one entry.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LifecycleChangeNotificationsFilter {
    /// Which VNF instances.
    pub vnf_instance_subscription_filter: VnfInstanceSubscriptionFilter,
    /// Which types of notification.
    pub notification_types: Vec<NotificationType>,
    /// Which operations.
    pub operation_types: Vec<LcmOperationType>,
    /// Which states that operations enter.
    pub operation_states: Vec<LcmOperationStateType>,
}

/// `PkgmSubscriptionRequest` (clause 10.5.2.3).
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PkgmSubscriptionRequest {
    /// What is told; everything if absent.
    pub filter: Option<PkgmNotificationsFilter>,
    /// Where it is told: an `http` or `https` URI.
    pub callback_uri: String,
    /// How Gybe shows who it is.
    pub authentication: Option<SubscriptionAuthentication>,
}

/// `PkgmNotificationsFilter` (clause 10.5.3.2). All that is given must match; of a list, one entry.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PkgmNotificationsFilter {
    /// Which types of notification.
    pub notification_types: Vec<PackageNotificationType>,
    /// Packages of these products.
    pub vnf_products_from_providers: Vec<VnfProductsFromProvider>,
    /// Packages with these VNFDs.
    pub vnfd_id: Vec<String>,
    /// These packages.
    pub vnf_pkg_id: Vec<String>,
    /// Packages that are in this state after the change, or in one of these.
    #[serde(deserialize_with = "one_or_more")]
    #[schema(value_type = Vec<String>)]
    pub operational_state: Vec<OperationalState>,
    /// Packages that are IN_USE or NOT_IN_USE; or a list.
    #[serde(deserialize_with = "one_or_more")]
    #[schema(value_type = Vec<String>)]
    pub usage_state: Vec<PackageUsageState>,
    /// 3.3.1: packages for these VNFMs.
    pub vnfm_info: Vec<String>,
}

/// `notificationType` of packages, spelt as on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum PackageNotificationType {
    /// A package can be used.
    VnfPackageOnboardingNotification,
    /// A package was enabled, disabled or deleted.
    VnfPackageChangeNotification,
}

/// The standard's text has a list where its schemas have one value.
fn one_or_more<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMore<T> {
        One(T),
        More(Vec<T>),
    }
    Ok(match OneOrMore::deserialize(deserializer)? {
        OneOrMore::One(one) => vec![one],
        OneOrMore::More(more) => more,
    })
}

/// `VnfInstanceSubscriptionFilter` (clause 4.4.1.5).
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct VnfInstanceSubscriptionFilter {
    /// By VNFD.
    pub vnfd_ids: Vec<String>,
    /// By product.
    pub vnf_products_from_providers: Vec<VnfProductsFromProvider>,
    /// By id.
    pub vnf_instance_ids: Vec<String>,
    /// By name.
    pub vnf_instance_names: Vec<String>,
}

/// The products of a provider; all if none are named.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct VnfProductsFromProvider {
    /// The provider.
    pub vnf_provider: String,
    /// Of these products.
    #[serde(default)]
    pub vnf_products: Vec<VnfProduct>,
}

/// A product; all versions if none are named.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct VnfProduct {
    /// Its name.
    pub vnf_product_name: String,
    /// Of these versions.
    #[serde(default)]
    pub versions: Vec<VnfVersion>,
}

/// A software version; all VNFD versions if none are named.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct VnfVersion {
    /// The software version.
    pub vnf_software_version: String,
    /// Of these VNFD versions.
    #[serde(default)]
    pub vnfd_versions: Vec<String>,
}

/// `notificationType`, spelt as on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum NotificationType {
    /// An operation entered a state.
    VnfLcmOperationOccurrenceNotification,
    /// A VNF instance was made.
    VnfIdentifierCreationNotification,
    /// A VNF instance is gone.
    VnfIdentifierDeletionNotification,
}

/// `LcmOperationType` (clause 5.5.4.5): all of 3.3.1, of which Gybe carries out some.
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
    /// BASIC, OAUTH2_CLIENT_CREDENTIALS, TLS_CERT. Of several, the token is tried before the password; the certificate is
    /// shown beside either.
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
    /// Who Gybe is.
    pub user_name: Option<String>,
    /// Never shown.
    #[schema(value_type = Option<String>)]
    pub password: Option<Secret>,
}

/// `paramsOauth2ClientCredentials`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ParamsOauth2ClientCredentials {
    /// Who Gybe is.
    pub client_id: Option<String>,
    /// Never shown.
    #[schema(value_type = Option<String>)]
    pub client_password: Option<Secret>,
    /// Where tokens are had: an `http` or `https` URI.
    pub token_endpoint: Option<String>,
}

/// `PkgmSubscription` (clause 10.5.2.4), for the description of the API: [`LccnSubscription`] is written.
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

/// `LccnSubscription` (clause 5.5.2.16); without `verbosity` also a `PkgmSubscription`. It never has the authentication.
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
    /// The wire form of `subscription`, with links below `base` (scheme, host and port).
    pub fn new(subscription: &Domain, edition: Edition, base: &str) -> Self {
        Self {
            id: subscription.id.to_string(),
            filter: subscription.filter.clone(),
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
