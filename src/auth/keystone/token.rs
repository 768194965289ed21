//! What Keystone says of a token that it has validated, as an [`Identity`]. Pure: no time, no network.

use serde::Deserialize;
use serde::de::IgnoredAny;
use time::OffsetDateTime;

use crate::auth::RoleNames;
use crate::auth::keystone::access_rules::{self, AccessRule};
use crate::domain::caller::{AuthMethod, Caller};

/// The role of the services of a cloud, as Keystone's bootstrap spells it.
const SERVICE_ROLE: &str = "service";

/// The body of `GET /v3/auth/tokens`.
#[derive(Debug, Deserialize)]
pub struct TokenBody {
    pub token: Token,
}

/// A token.
#[derive(Debug, Deserialize)]
pub struct Token {
    #[serde(with = "time::serde::rfc3339")]
    pub expires_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub issued_at: OffsetDateTime,
    user: User,
    project: Option<Project>,
    #[serde(default)]
    roles: Vec<RoleName>,
    application_credential: Option<ApplicationCredential>,
    /// It belongs to a client certificate (RFC 8705).
    oauth2_credential: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
struct User {
    id: String,
}

#[derive(Debug, Deserialize)]
struct Project {
    id: String,
}

#[derive(Debug, Deserialize)]
struct RoleName {
    name: String,
}

#[derive(Debug, Deserialize)]
struct ApplicationCredential {
    access_rules: Option<Vec<AccessRule>>,
}

/// Whose token it is.
#[derive(Debug)]
pub struct Identity {
    /// Its subject is the id of the user: names change, and exist once per domain. Its project is the id of the project.
    pub caller: Caller,
    /// It is a service of the cloud.
    pub is_service: bool,
    access_rules: Option<Vec<AccessRule>>,
}

impl Identity {
    /// The identity that the token stands for.
    ///
    /// # Errors
    /// Why it stands for none, as a text for the sender.
    pub fn of(token: Token, roles: &RoleNames) -> Result<Self, String> {
        if token.oauth2_credential.is_some() {
            return Err("the token is bound to a client certificate: send one that is not".to_owned());
        }
        let Some(project) = token.project else {
            return Err(
                "the token is scoped to no project: ask Keystone for a token that is scoped to a project".to_owned()
            );
        };
        let role = roles.highest(token.roles.iter().map(|role| role.name.as_str()));
        let caller = Caller::new(token.user.id, project.id, role, AuthMethod::Keystone);
        Ok(Self {
            caller: caller.map_err(|error| format!("Keystone's answer about the token: {error}"))?,
            is_service: token.roles.iter().any(|role| role.name == SERVICE_ROLE),
            access_rules: token
                .application_credential
                .and_then(|credential| credential.access_rules)
                .map(access_rules::kept),
        })
    }

    /// Whether the access rules of its application credential, if it has any, allow the request.
    pub fn may_send(&self, method: &str, path: &str) -> bool {
        self.access_rules.as_ref().is_none_or(|rules| access_rules::allow(rules, method, path))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::caller::Role;

    fn token(changes: Value) -> Token {
        let mut token = json!({
            "methods": ["password"], "expires_at": "2026-01-01T01:00:00.000000Z", "issued_at": "2026-01-01T00:00:00.000000Z",
            "user": { "id": "u1", "name": "member-a", "domain": { "id": "default", "name": "Default" } },
            "project": { "id": "p1", "name": "tenanta", "domain": { "id": "default", "name": "Default" } },
            "roles": [{ "id": "r1", "name": "reader" }, { "id": "r2", "name": "member" }], "is_domain": false,
        });
        json_patch::merge(&mut token, &changes);
        serde_json::from_value(token).unwrap()
    }

    fn identity(changes: Value) -> Result<Identity, String> {
        Identity::of(token(changes), &RoleNames::default())
    }

    #[test]
    fn user_and_project_are_ids_and_the_most_powerful_role_counts() {
        let identity = identity(json!({})).unwrap();
        let caller = &identity.caller;
        assert_eq!((caller.subject.as_str(), caller.project.0.as_str()), ("u1", "p1"));
        assert_eq!(
            (caller.role, caller.method, identity.is_service),
            (Some(Role::Member), AuthMethod::Keystone, false)
        );
    }

    #[test]
    fn a_service_has_the_role_service() {
        let identity = identity(json!({ "roles": [{ "name": "service" }] })).unwrap();
        assert!(identity.is_service);
        assert_eq!(identity.caller.role, None);
    }

    #[test]
    fn tokens_without_project_or_with_a_certificate_stand_for_nobody() {
        for (changes, expected) in [
            (json!({ "project": null, "roles": null }), "scoped to no project"),
            (json!({ "project": null, "domain": { "id": "default" } }), "scoped to no project"),
            (json!({ "project": null, "system": { "all": true } }), "scoped to no project"),
            (json!({ "oauth2_credential": { "x5t#S256": "abc" } }), "bound to a client certificate"),
            (json!({ "project": { "id": "" } }), "the project must have"),
            (json!({ "user": { "id": "a\nb" } }), "the subject must have"),
        ] {
            let error = identity(changes).err().unwrap_or_default();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn access_rules_limit_what_the_token_may_send() {
        let rules = json!([{ "id": "1", "service": "nfv-orchestration", "method": "GET", "path": "/v1.0/vims" }]);
        let limited = identity(json!({ "application_credential": { "id": "a", "access_rules": rules } })).unwrap();
        assert!(limited.may_send("GET", "/v1.0/vims"));
        assert!(!limited.may_send("POST", "/v1.0/vims"));
        let none = identity(json!({ "application_credential": { "access_rules": [] } })).unwrap();
        assert!(!none.may_send("GET", "/v1.0/vims"));
        let all = identity(json!({ "application_credential": { "id": "a" } })).unwrap();
        assert!(all.may_send("POST", "/v1.0/vims"));
    }
}
