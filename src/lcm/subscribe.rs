//! Turns requests into subscriptions, with all checks that need neither the database nor the subscriber.

use std::time::Duration;

use http::Uri;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::clock::{Clock, Ids};
use crate::domain::ids::{ProjectId, SubscriptionId};
use crate::domain::interface::Edition;
use crate::domain::problem::{Problem, ProblemType, problem};
use crate::domain::subscription::{AuthType, Authentication, CLIENT_PASSWORD, PASSWORD, Subscription, Verbosity};
use crate::domain::vim::Secrets;
use crate::error::internal;
use crate::sol003::Interface;
use crate::sol003::subscription::{
    LccnSubscriptionRequest, LifecycleChangeNotificationsFilter, NotificationType, PackageNotificationType,
    PkgmNotificationsFilter, PkgmSubscriptionRequest, SubscriptionAuthentication,
};

/// The largest filter in bytes of JSON text: it is compared with every change.
const MAX_FILTER: usize = 64 * 1024;
/// The longest URI in bytes.
const MAX_URI: usize = 2048;

/// Makes subscriptions.
pub struct Subscriber<'a> {
    /// Time.
    pub clock: &'a dyn Clock,
    /// Identifiers.
    pub ids: &'a dyn Ids,
    /// The owner.
    pub project: &'a ProjectId,
    /// Scheme, host and port of the links in notifications.
    pub base_url: &'a str,
    /// Whether there is a client certificate for TLS_CERT.
    pub has_certificate: bool,
    /// [`Subscription::orphan_grace`].
    pub orphan_grace: Option<Duration>,
}

impl Subscriber<'_> {
    /// The subscription to changes of VNF instances.
    ///
    /// # Errors
    /// 422.
    pub fn to_lifecycle(&self, edition: Edition, request: LccnSubscriptionRequest) -> Result<Subscription, Problem> {
        let filter = lifecycle_filter(request.filter.unwrap_or_default())?;
        let LccnSubscriptionRequest { callback_uri, authentication, verbosity, .. } = request;
        let verbosity = verbosity.filter(|_| edition == Edition::V2).unwrap_or_default();
        let subscription = self.subscription(Interface::Lifecycle, edition, callback_uri, authentication)?;
        Ok(Subscription { filter, verbosity, ..subscription })
    }

    /// The subscription to changes of packages.
    ///
    /// # Errors
    /// 422.
    pub fn to_packages(&self, edition: Edition, request: PkgmSubscriptionRequest) -> Result<Subscription, Problem> {
        let filter = package_filter(edition, request.filter.unwrap_or_default())?;
        let PkgmSubscriptionRequest { callback_uri, authentication, .. } = request;
        let subscription = self.subscription(Interface::Packages, edition, callback_uri, authentication)?;
        Ok(Subscription { filter, ..subscription })
    }

    /// A subscription to everything.
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
            filter: Map::new(),
            verbosity: Verbosity::Full,
            authentication: given.map(|given| authentication(given, self.has_certificate)).transpose()?,
            base_url: self.base_url.to_owned(),
            orphan_grace: self.orphan_grace,
            created_at: self.clock.now(),
        })
    }
}

fn lifecycle_filter(filter: LifecycleChangeNotificationsFilter) -> Result<Map<String, Value>, Problem> {
    let of_operations = filter.notification_types.is_empty()
        || filter.notification_types.contains(&NotificationType::VnfLcmOperationOccurrenceNotification);
    let names_operations = !filter.operation_types.is_empty() || !filter.operation_states.is_empty();
    if names_operations && !of_operations {
        return Err(Problem::unprocessable(
            "filter: operationTypes and operationStates are for VnfLcmOperationOccurrenceNotification, which notificationTypes leaves out",
        ));
    }
    kept(&filter)
}

/// Only a filter for changes may name packages and their states (clause 10.5.3.2).
fn package_filter(edition: Edition, mut filter: PkgmNotificationsFilter) -> Result<Map<String, Value>, Problem> {
    let of_changes = filter.notification_types.is_empty()
        || filter.notification_types.contains(&PackageNotificationType::VnfPackageChangeNotification);
    let names_changes =
        !filter.vnf_pkg_id.is_empty() || !filter.operational_state.is_empty() || !filter.usage_state.is_empty();
    if names_changes && !of_changes {
        return Err(Problem::unprocessable(
            "filter: vnfPkgId, operationalState and usageState are for VnfPackageChangeNotification, which notificationTypes leaves out",
        ));
    }
    if edition == Edition::V1 {
        // Unknown in 2.6.1, so ignored.
        filter.vnfm_info.clear();
    }
    let mut filter = kept(&filter)?;
    for name in ["operationalState", "usageState"] {
        // The schemas have one state, not a list.
        if let Some(value) = filter.get_mut(name)
            && let Some([only]) = value.as_array().map(Vec::as_slice)
        {
            *value = only.clone();
        }
    }
    Ok(filter)
}

/// The stored form of a filter: equal filters are equal JSON.
fn kept(filter: &impl Serialize) -> Result<Map<String, Value>, Problem> {
    let filter = serde_json::to_value(filter).map_err(|error| internal(&error))?;
    if filter.to_string().len() > MAX_FILTER {
        return Err(problem!(
            ProblemType::Unprocessable,
            "filter: it is larger than {limit} bytes",
            limit = MAX_FILTER,
        ));
    }
    Ok(match canonical(filter) {
        Value::Object(members) => members,
        _ => Map::new(),
    })
}

/// Lists are sets: sorted, without duplicates. Empty lists and members are left out.
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

/// An absolute `http` or `https` URI without user and password, which responses would show.
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
        return Err(problem("authType has no entry"));
    }
    if has(AuthType::Basic) != params_basic.is_some() {
        return Err(problem("paramsBasic must be there if authType has BASIC, and only then"));
    }
    if has(AuthType::Oauth2ClientCredentials) != params_oauth2_client_credentials.is_some() {
        return Err(problem(
            "paramsOauth2ClientCredentials must be there if authType has OAUTH2_CLIENT_CREDENTIALS, and only then",
        ));
    }
    if auth_type == [AuthType::TlsCert] && !has_certificate {
        return Err(problem("TLS_CERT is not possible, as the operator gave this VNFM no client certificate"));
    }
    let mut secrets = Secrets::new();
    let mut user_name = None;
    if let Some(params) = params_basic {
        let (Some(name), Some(password)) = (params.user_name, params.password) else {
            return Err(problem("paramsBasic must have userName and password: nothing was agreed otherwise"));
        };
        // A colon ends the user name on the wire.
        if name.contains(':') {
            return Err(problem("userName can't have a colon"));
        }
        user_name = Some(name);
        secrets.insert(PASSWORD.to_owned(), password);
    }
    let (mut client_id, mut token_endpoint) = (None, None);
    if let Some(params) = params_oauth2_client_credentials {
        let (Some(id), Some(password), Some(endpoint)) =
            (params.client_id, params.client_password, params.token_endpoint)
        else {
            return Err(problem(
                "paramsOauth2ClientCredentials must have clientId, clientPassword and tokenEndpoint: nothing was agreed otherwise",
            ));
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
    use super::*;

    fn of_lifecycle(given: Value) -> Result<Map<String, Value>, Problem> {
        lifecycle_filter(serde_json::from_value(given).unwrap())
    }

    fn of_packages(edition: Edition, given: Value) -> Result<Map<String, Value>, Problem> {
        package_filter(edition, serde_json::from_value(given).unwrap())
    }

    #[test]
    fn equal_filters_have_the_same_text() {
        let one = json!({ "operationStates": ["FAILED", "COMPLETED", "FAILED"], "operationTypes": [],
            "vnfInstanceSubscriptionFilter": { "vnfdIds": ["b", "a"], "vnfInstanceIds": [] } });
        let other = json!({ "vnfInstanceSubscriptionFilter": { "vnfdIds": ["a", "b"] },
            "operationStates": ["COMPLETED", "FAILED"] });
        assert_eq!(of_lifecycle(one).unwrap(), *other.as_object().unwrap());
        assert_eq!(of_lifecycle(other.clone()).unwrap(), *other.as_object().unwrap());
        assert!(of_lifecycle(json!({ "vnfInstanceSubscriptionFilter": {} })).unwrap().is_empty());
    }

    #[test]
    fn rejects_operations_in_filters_for_other_notifications() {
        let given = json!({ "notificationTypes": ["VnfIdentifierCreationNotification"], "operationTypes": ["HEAL"] });
        assert_eq!(of_lifecycle(given).unwrap_err().status, 422);
    }

    #[test]
    fn keeps_single_package_states_and_only_for_changes() {
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
    fn rejects_unusable_uris() {
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
    fn rejects_parameters_of_other_authentication_types() {
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
