//! What a token says about its sender: from claims (RFC 7519, RFC 7662) to a [`Caller`].

use std::time::Duration;

use serde_json::{Map, Value};
use time::OffsetDateTime;

use crate::auth::{AuthError, Credentials, RoleNames};
use crate::domain::caller::{AuthMethod, Caller};

/// The claims of a token.
pub type Claims = Map<String, Value>;

/// The names of the claims that make the caller. A name may be a path: `realm_access.roles` is the member `roles` of the claim
/// `realm_access`, unless a claim has the whole name.
#[derive(Clone, Debug)]
pub struct ClaimNames {
    pub subject: String,
    pub project: String,
    pub roles: String,
}

/// The default of `subject_claim`.
pub fn subject_claim() -> String {
    "sub".to_owned()
}

/// The default of `project_claim`.
pub fn project_claim() -> String {
    "project_id".to_owned()
}

/// The default of `roles_claim`.
pub fn roles_claim() -> String {
    "roles".to_owned()
}

/// The sender of a token, and what else the token requires of each request that carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenIdentity {
    caller: Caller,
    /// The digest of the client certificate that the token is bound to, in base64url (RFC 8705 section 3.1).
    bound_to: Option<String>,
}

impl ClaimNames {
    /// The sender of a token with these claims.
    ///
    /// # Errors
    /// [`AuthError::Invalid`]: a claim is missing, or has a value that can't be used.
    pub fn identity(&self, claims: &Claims, roles: &RoleNames, method: AuthMethod) -> Result<TokenIdentity, AuthError> {
        let text = |name: &str| match find(claims, name) {
            Some(Value::String(text)) => Ok(text.as_str()),
            _ => Err(AuthError::Invalid(format!("the token has no claim '{name}' with a text"))),
        };
        let role = roles.highest(find(claims, &self.roles).map(role_names).unwrap_or_default());
        let caller = Caller::new(text(&self.subject)?, text(&self.project)?, role, method)
            .map_err(|error| AuthError::Invalid(format!("the claims of the token: {error}")))?;
        Ok(TokenIdentity { caller, bound_to: confirmation(claims)? })
    }
}

impl TokenIdentity {
    /// The caller, if the token may come with these credentials.
    ///
    /// # Errors
    /// [`AuthError::Invalid`]: the token is bound to another client certificate.
    pub fn caller(self, credentials: &Credentials<'_>) -> Result<Caller, AuthError> {
        let presented = credentials.certificate.map(|certificate| &certificate.thumbprint);
        if self.bound_to.is_some() && self.bound_to.as_ref() != presented {
            let reason = "the token is bound to a client certificate that the connection does not have";
            return Err(AuthError::Invalid(reason.to_owned()));
        }
        Ok(self.caller)
    }
}

fn find<'c>(claims: &'c Claims, name: &str) -> Option<&'c Value> {
    claims.get(name).or_else(|| {
        let mut path = name.split('.');
        let first = claims.get(path.next()?)?;
        path.try_fold(first, |value, member| value.get(member))
    })
}

/// The texts of an array, or of a text that separates them by spaces or commas.
fn role_names(value: &Value) -> Vec<&str> {
    match value {
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        Value::String(names) => names.split([' ', ',']).filter(|name| !name.is_empty()).collect(),
        _ => Vec::new(),
    }
}

/// The certificate that the token is bound to.
fn confirmation(claims: &Claims) -> Result<Option<String>, AuthError> {
    match claims.get("cnf") {
        None | Some(Value::Null) => Ok(None),
        Some(confirmation) => match confirmation.get("x5t#S256").and_then(Value::as_str) {
            Some(digest) => Ok(Some(digest.to_owned())),
            None => Err(AuthError::Invalid("the token is bound to a key in a way that is not supported".to_owned())),
        },
    }
}

/// For how long the claims are valid from `now` on; zero: not. `skew` is the tolerance for clocks that differ.
pub fn validity(claims: &Claims, now: OffsetDateTime, skew: Duration) -> Duration {
    let now = now.unix_timestamp() as f64;
    let time = |name: &str| claims.get(name).map(|time| time.as_f64().unwrap_or(f64::NAN));
    let begins = time("nbf").unwrap_or(0.0);
    let ends = time("exp").unwrap_or(f64::INFINITY);
    let has_begun = begins <= now + skew.as_secs_f64();
    let remaining = ends + skew.as_secs_f64() - now;
    // A time that is not a number is neither.
    if has_begun && remaining > 0.0 {
        Duration::try_from_secs_f64(remaining).unwrap_or(Duration::MAX)
    } else {
        Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::auth::certificate::tests::with_thumbprint;
    use crate::domain::caller::Role;

    fn claims(value: Value) -> Claims {
        value.as_object().unwrap().clone()
    }

    fn identity(roles: &str, value: Value) -> Result<TokenIdentity, AuthError> {
        let names = ClaimNames { subject: subject_claim(), project: project_claim(), roles: roles.to_owned() };
        names.identity(&claims(value), &RoleNames::default(), AuthMethod::Jwt)
    }

    #[test]
    fn finds_roles_in_lists_texts_and_paths() {
        for (name, roles, expected) in [
            ("roles", json!({ "roles": ["other", "member", 7] }), Some(Role::Member)),
            ("scope", json!({ "scope": "openid reader,manager" }), Some(Role::Manager)),
            ("realm_access.roles", json!({ "realm_access": { "roles": ["admin"] } }), Some(Role::Admin)),
            ("realm_access.roles", json!({ "realm_access": ["admin"] }), None),
            ("https://a.example/roles", json!({ "https://a.example/roles": "reader" }), Some(Role::Reader)),
            ("roles", json!({ "roles": { "admin": true } }), None),
            ("roles", json!({}), None),
        ] {
            let mut all = json!({ "sub": "s", "project_id": "p" });
            all.as_object_mut().unwrap().extend(claims(roles));
            assert_eq!(identity(name, all.clone()).unwrap().caller.role, expected, "{all}");
        }
    }

    #[test]
    fn refuses_claims_that_name_nobody_or_bind_the_token_otherwise() {
        for wrong in [
            json!({ "project_id": "p" }),
            json!({ "sub": "s" }),
            json!({ "sub": 7, "project_id": "p" }),
            json!({ "sub": "s", "project_id": "a\nb" }),
            json!({ "sub": "s", "project_id": "p", "cnf": { "jkt": "x" } }),
            json!({ "sub": "s", "project_id": "p", "cnf": "x" }),
        ] {
            assert!(matches!(identity("roles", wrong.clone()), Err(AuthError::Invalid(_))), "{wrong}");
        }
    }

    #[test]
    fn a_bound_token_needs_its_certificate() {
        let certificate = with_thumbprint("abc");
        let caller = |confirmation: Value, certificate| {
            let claims = json!({ "sub": "s", "project_id": "p", "cnf": confirmation });
            let credentials =
                Credentials { headers: Box::new(|_| Vec::new()), peer: None, certificate, method: "GET", path: "/" };
            identity("roles", claims).unwrap().caller(&credentials)
        };
        assert!(caller(json!({ "x5t#S256": "abc" }), Some(&certificate)).is_ok());
        assert!(caller(json!({ "x5t#S256": "abd" }), Some(&certificate)).is_err());
        assert!(caller(json!({ "x5t#S256": "abc" }), None).is_err());
        assert!(caller(Value::Null, None).is_ok());
    }

    #[test]
    fn validity_ends_with_the_token_and_a_tolerance() {
        let now = OffsetDateTime::from_unix_timestamp(1000).unwrap();
        let valid = |value| validity(&claims(value), now, Duration::from_secs(30)).as_secs();
        for (value, expected) in [
            (json!({ "exp": 1010 }), 40),
            (json!({ "exp": 1010.5, "nbf": 1030 }), 40),
            (json!({ "exp": 970 }), 0),
            (json!({ "exp": "1010" }), 0),
            (json!({ "exp": 2000, "nbf": 1031 }), 0),
            (json!({ "exp": 2000, "nbf": "0" }), 0),
            (json!({}), u64::MAX),
            (json!({ "exp": 1e300 }), u64::MAX),
        ] {
            assert_eq!(valid(value.clone()), expected, "{value}");
        }
    }
}
