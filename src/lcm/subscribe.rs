//! Checks a request for a subscription and creates the subscription from it. `api::subscriptions` calls it, then tests the
//! callback URI and stores the subscription.

use std::time::Duration;

use http::Uri;
use serde::Serialize;
use serde_json::{Value, json};

use crate::clock::{Clock, Ids};
use crate::domain::ids::{ProjectId, SubscriptionId};
use crate::domain::interface::{Edition, Interface};
use crate::domain::notification_filter::NotificationFilter;
use crate::domain::problem::{Problem, ProblemType, problem};
use crate::domain::subscription::{AuthType, Authentication, CLIENT_PASSWORD, PASSWORD, Subscription, Verbosity};
use crate::domain::vim::Secrets;
use crate::error::internal;
use crate::sol003::subscription::{
    LccnSubscriptionRequest, LifecycleChangeNotificationsFilter, NotificationType, PackageNotificationType,
    PkgmNotificationsFilter, PkgmSubscriptionRequest, SubscriptionAuthentication,
};

/// Largest size of a filter in bytes of JSON text. Every change is compared with every filter.
const MAX_FILTER: usize = 64 * 1024;
/// Largest length of a URI in bytes.
const MAX_URI: usize = 2048;

/// Creates subscriptions.
pub struct Subscriber<'a> {
    pub clock: &'a dyn Clock,
    pub ids: &'a dyn Ids,
    /// Owner of the subscription.
    pub project: &'a ProjectId,
    /// Scheme, host and port under which the client reaches Gybe.
    pub base_url: &'a str,
    /// Whether a client certificate is configured, which TLS_CERT needs.
    pub has_certificate: bool,
    /// [`Subscription::orphan_grace`].
    pub orphan_grace: Option<Duration>,
}

impl Subscriber<'_> {
    /// Creates a subscription to changes of VNF instances.
    ///
    /// # Errors
    /// 422 if a value of the request cannot be used.
    pub fn to_lifecycle(&self, edition: Edition, request: LccnSubscriptionRequest) -> Result<Subscription, Problem> {
        let filter = lifecycle_filter(request.filter.unwrap_or_default())?;
        let LccnSubscriptionRequest { callback_uri, authentication, verbosity, .. } = request;
        let verbosity = verbosity.filter(|_| edition == Edition::V2).unwrap_or_default();
        let subscription = self.subscription(Interface::Lifecycle, edition, callback_uri, authentication)?;
        Ok(Subscription { filter, verbosity, ..subscription })
    }

    /// Creates a subscription to changes of packages.
    ///
    /// # Errors
    /// 422 if a value of the request cannot be used.
    pub fn to_packages(&self, edition: Edition, request: PkgmSubscriptionRequest) -> Result<Subscription, Problem> {
        let filter = package_filter(edition, request.filter.unwrap_or_default())?;
        let PkgmSubscriptionRequest { callback_uri, authentication, .. } = request;
        let subscription = self.subscription(Interface::Packages, edition, callback_uri, authentication)?;
        Ok(Subscription { filter, ..subscription })
    }

    /// A subscription without a filter.
    fn subscription(
        &self,
        interface: Interface,
        edition: Edition,
        callback_uri: String,
        given: Option<SubscriptionAuthentication>,
    ) -> Result<Subscription, Problem> {
        check_uri("callbackUri", &callback_uri)?;
        Ok(Subscription {
            id: SubscriptionId(self.ids.uuid()),
            project_id: self.project.clone(),
            interface,
            edition,
            callback_uri,
            filter: NotificationFilter::default(),
            verbosity: Verbosity::Full,
            authentication: given.map(|given| authentication(given, self.has_certificate)).transpose()?,
            base_url: self.base_url.to_owned(),
            orphan_grace: self.orphan_grace,
            created_at: self.clock.now(),
        })
    }
}

fn lifecycle_filter(filter: LifecycleChangeNotificationsFilter) -> Result<NotificationFilter, Problem> {
    let of_operations = filter.notification_types.is_empty()
        || filter.notification_types.contains(&NotificationType::VnfLcmOperationOccurrenceNotification);
    let names_operations = !filter.operation_types.is_empty() || !filter.operation_states.is_empty();
    if names_operations && !of_operations {
        return Err(Problem::unprocessable(
            "filter: operationTypes and operationStates apply to VnfLcmOperationOccurrenceNotification only: add it to \
             notificationTypes, or remove them",
        ));
    }
    canonical_filter(&filter)
}

/// Clause 10.5.3.2: package identifiers and states restrict `VnfPackageChangeNotification` only.
fn package_filter(edition: Edition, mut filter: PkgmNotificationsFilter) -> Result<NotificationFilter, Problem> {
    let of_changes = filter.notification_types.is_empty()
        || filter.notification_types.contains(&PackageNotificationType::VnfPackageChangeNotification);
    let names_changes =
        !filter.vnf_pkg_id.is_empty() || !filter.operational_state.is_empty() || !filter.usage_state.is_empty();
    if names_changes && !of_changes {
        return Err(Problem::unprocessable(
            "filter: vnfPkgId, operationalState and usageState apply to VnfPackageChangeNotification only: add it to \
             notificationTypes, or remove them",
        ));
    }
    if edition == Edition::V1 {
        // Edition 2.6.1 does not define it; unknown members are ignored.
        filter.vnfm_info.clear();
    }
    let mut filter = canonical_filter(&filter)?;
    for name in ["operationalState", "usageState"] {
        // The schemas of the standard define one state, not a list.
        if let Some(value) = filter.0.get_mut(name)
            && let Some([only]) = value.as_array().map(Vec::as_slice)
        {
            *value = only.clone();
        }
    }
    Ok(filter)
}

/// Equal filters become equal JSON.
fn canonical_filter(filter: &impl Serialize) -> Result<NotificationFilter, Problem> {
    let filter = serde_json::to_value(filter).map_err(|error| internal(&error))?;
    if filter.to_string().len() > MAX_FILTER {
        return Err(problem!(
            ProblemType::Unprocessable,
            "filter is larger than {limit} bytes of JSON",
            limit = MAX_FILTER,
        ));
    }
    Ok(match canonical(filter) {
        Value::Object(members) => NotificationFilter(members),
        _ => NotificationFilter::default(),
    })
}

/// Sorts lists, removes duplicates in them, and removes empty members.
fn canonical(value: Value) -> Value {
    let is_empty = |value: &Value| *value == json!([]) || *value == json!({});
    match value {
        Value::Object(members) => {
            let members = members.into_iter().map(|(name, value)| (name, canonical(value)));
            members.filter(|(_, value)| !is_empty(value)).collect()
        }
        Value::Array(entries) => {
            let mut entries: Vec<Value> = entries.into_iter().map(canonical).collect();
            entries.sort_by_cached_key(Value::to_string);
            entries.dedup();
            entries.into()
        }
        other => other,
    }
}

/// Checks for an absolute `http` or `https` URI. User and password are refused because responses show the URI.
fn check_uri(name: &str, uri: &str) -> Result<(), Problem> {
    let is_usable = |uri: Uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.host().is_some_and(|host| !host.is_empty())
            && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
    };
    if uri.len() <= MAX_URI && uri.parse().is_ok_and(is_usable) {
        return Ok(());
    }
    Err(problem!(
        ProblemType::Unprocessable,
        "{member} must be an absolute http or https URI of at most {limit} characters, without user and password",
        member = name,
        limit = MAX_URI,
    ))
}

fn authentication(given: SubscriptionAuthentication, has_certificate: bool) -> Result<Authentication, Problem> {
    let problem = |text: &str| Problem::unprocessable(format!("authentication: {text}"));
    let SubscriptionAuthentication { mut auth_type, params_basic, params_oauth2_client_credentials } = given;
    let has = |wanted: AuthType| auth_type.contains(&wanted);
    if auth_type.is_empty() {
        return Err(problem("authType must have at least one entry"));
    }
    if has(AuthType::Basic) != params_basic.is_some() {
        return Err(problem("paramsBasic is required if authType has BASIC, and not allowed otherwise"));
    }
    if has(AuthType::Oauth2ClientCredentials) != params_oauth2_client_credentials.is_some() {
        return Err(problem(
            "paramsOauth2ClientCredentials is required if authType has OAUTH2_CLIENT_CREDENTIALS, and not allowed otherwise",
        ));
    }
    if auth_type == [AuthType::TlsCert] && !has_certificate {
        return Err(problem(
            "authType TLS_CERT is not available: no client certificate is configured; use BASIC or OAUTH2_CLIENT_CREDENTIALS",
        ));
    }
    let mut secrets = Secrets::new();
    let mut user_name = None;
    if let Some(params) = params_basic {
        let (Some(name), Some(password)) = (params.user_name, params.password) else {
            return Err(problem("paramsBasic must have userName and password"));
        };
        // A colon separates the name from the password on the wire.
        if name.contains(':') {
            return Err(problem("userName must not contain a colon"));
        }
        user_name = Some(name);
        secrets.insert(PASSWORD.to_owned(), password);
    }
    let (mut client_id, mut token_endpoint) = (None, None);
    if let Some(params) = params_oauth2_client_credentials {
        let (Some(id), Some(password), Some(endpoint)) =
            (params.client_id, params.client_password, params.token_endpoint)
        else {
            return Err(problem("paramsOauth2ClientCredentials must have clientId, clientPassword and tokenEndpoint"));
        };
        check_uri("authentication: tokenEndpoint", &endpoint)?;
        secrets.insert(CLIENT_PASSWORD.to_owned(), password);
        (client_id, token_endpoint) = (Some(id), Some(endpoint));
    }
    auth_type.dedup();
    Ok(Authentication { auth_types: auth_type, user_name, client_id, token_endpoint, secrets })
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::*;

    fn of_lifecycle(given: Value) -> Result<Map<String, Value>, Problem> {
        lifecycle_filter(serde_json::from_value(given).unwrap()).map(|filter| filter.0)
    }

    fn of_packages(edition: Edition, given: Value) -> Result<Map<String, Value>, Problem> {
        package_filter(edition, serde_json::from_value(given).unwrap()).map(|filter| filter.0)
    }

    #[test]
    fn equal_filters_become_equal_json() {
        let one = json!({ "operationStates": ["FAILED", "COMPLETED", "FAILED"], "operationTypes": [],
            "vnfInstanceSubscriptionFilter": { "vnfdIds": ["b", "a"], "vnfInstanceIds": [] } });
        let other = json!({ "vnfInstanceSubscriptionFilter": { "vnfdIds": ["a", "b"] },
            "operationStates": ["COMPLETED", "FAILED"] });
        assert_eq!(of_lifecycle(one).unwrap(), *other.as_object().unwrap());
        assert_eq!(of_lifecycle(other.clone()).unwrap(), *other.as_object().unwrap());
        assert!(of_lifecycle(json!({ "vnfInstanceSubscriptionFilter": {} })).unwrap().is_empty());
    }

    #[test]
    fn rejects_operation_members_without_operation_notifications() {
        let given = json!({ "notificationTypes": ["VnfIdentifierCreationNotification"], "operationTypes": ["HEAL"] });
        assert_eq!(of_lifecycle(given).unwrap_err().status, 422);
    }

    #[test]
    fn rejects_package_states_without_change_notifications_and_keeps_single_states() {
        let given =
            json!({ "operationalState": ["ENABLED"], "usageState": "IN_USE", "vnfmInfo": ["b", "a"], "vnfdId": [] });
        let kept = json!({ "operationalState": "ENABLED", "usageState": "IN_USE" });
        assert_eq!(Value::Object(of_packages(Edition::V1, given.clone()).unwrap()), kept);
        let kept = json!({ "operationalState": "ENABLED", "usageState": "IN_USE", "vnfmInfo": ["a", "b"] });
        assert_eq!(Value::Object(of_packages(Edition::V2, given).unwrap()), kept);
        let given = json!({ "operationalState": ["ENABLED", "DISABLED"] });
        assert_eq!(of_packages(Edition::V2, given).unwrap()["operationalState"], json!(["DISABLED", "ENABLED"]));
        for name in ["vnfPkgId", "operationalState", "usageState"] {
            let value = match name {
                "vnfPkgId" => json!(["a"]),
                "operationalState" => json!("ENABLED"),
                _ => json!("IN_USE"),
            };
            let given = json!({ "notificationTypes": ["VnfPackageOnboardingNotification"], name: value });
            assert_eq!(of_packages(Edition::V1, given).unwrap_err().status, 422, "{name}");
        }
    }

    #[test]
    fn rejects_uris_that_cannot_be_called_or_have_credentials() {
        for good in ["http://nfvo:8080/cb?x=1", "https://[fd00::1]/"] {
            check_uri("callbackUri", good).unwrap();
        }
        for bad in ["", "nfvo/cb", "ftp://nfvo/", "/cb", "http://user:secret@nfvo/", "http:///cb"] {
            let problem = check_uri("callbackUri", bad).unwrap_err();
            assert_eq!(problem.status, 422, "{bad}");
            assert!(!problem.detail.contains("secret"));
        }
    }

    #[test]
    fn rejects_parameters_that_do_not_fit_the_auth_types() {
        let given = |value: Value| authentication(serde_json::from_value(value).unwrap(), false);
        let basic = json!({ "userName": "gybe", "password": "s3cr3t" });
        let token = json!({ "clientId": "gybe", "clientPassword": "s3cr3t", "tokenEndpoint": "http://nfvo/token" });
        let all = given(json!({ "authType": ["OAUTH2_CLIENT_CREDENTIALS", "BASIC", "TLS_CERT"],
            "paramsBasic": basic, "paramsOauth2ClientCredentials": token }));
        let all = all.unwrap();
        assert_eq!(all.secrets.len(), 2);
        assert!(!format!("{all:?}").contains("s3cr3t"));
        for wrong in [
            json!({ "authType": [] }),
            json!({ "authType": ["BASIC"] }),
            json!({ "authType": ["BASIC"], "paramsBasic": { "userName": "gybe" } }),
            json!({ "authType": ["OAUTH2_CLIENT_CREDENTIALS"], "paramsBasic": basic }),
            json!({ "authType": ["TLS_CERT"] }),
        ] {
            assert_eq!(given(wrong.clone()).unwrap_err().status, 422, "{wrong}");
        }
    }
}
