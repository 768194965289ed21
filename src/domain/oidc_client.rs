//! The client of a token endpoint that gives the bearer tokens of a VIM (RFC 6749), from the members of `auth_cred`: Tacker's
//! `oidc_token_url`, `client_id`, `client_secret`, `username` and `password`, and Gybe's own `oidc_scope` and `oidc_audience`.

use serde_json::{Map, Value};

use crate::domain::secret::Secret;
use crate::domain::vim::{Secrets, secret, text};

/// The member that makes a credential one of this kind.
pub const TOKEN_URL: &str = "oidc_token_url";
/// The members that only a credential of this kind has.
pub const MEMBERS: [&str; 6] = [TOKEN_URL, "client_id", "client_secret", "oidc_scope", "oidc_audience", "password"];
/// The longest scope, audience and client id, in bytes.
const LONGEST: usize = 4096;

/// A client of a token endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct OidcClient {
    /// URL of the token endpoint.
    pub token_url: String,
    /// `client_id`.
    pub id: String,
    /// `client_secret`. Only a client that asks for a user may be without one.
    pub secret: Option<Secret>,
    /// User and password, for the password grant, as Tacker asks for tokens. `None`: client credentials.
    pub user: Option<(String, Secret)>,
    /// `scope` of the request.
    pub scope: Option<String>,
    /// `audience` of the request.
    pub audience: Option<String>,
}

impl OidcClient {
    /// Reads the members of `auth_cred`; `None` if there is no token endpoint. Without TLS a token endpoint is only reached if the VIM
    /// is `insecure`.
    ///
    /// # Errors
    /// What is missing or of the wrong type, as a text for the caller.
    pub fn read(info: &Map<String, Value>, secrets: &Secrets, insecure: bool) -> Result<Option<Self>, String> {
        let Some(token_url) = text(info, TOKEN_URL)? else { return Ok(None) };
        check_url(&token_url, insecure)?;
        let id = text(info, "client_id")?.ok_or("client_id is missing, the client at oidc_token_url")?;
        let user = match (text(info, "username")?, secret(secrets, "password")) {
            (Some(user), Some(password)) => Some((user, password.clone())),
            (Some(_), None) => return Err("password is missing, the password of username: send both".to_owned()),
            (None, Some(_)) => return Err("username is missing, the user of password: send both".to_owned()),
            (None, None) => None,
        };
        let client_secret = secret(secrets, "client_secret").cloned();
        if user.is_none() && client_secret.is_none() {
            return Err("client_secret is missing, the secret of client_id at oidc_token_url".to_owned());
        }
        let (scope, audience) = (text(info, "oidc_scope")?, text(info, "oidc_audience")?);
        for (name, value) in
            [("client_id", Some(&id)), ("oidc_scope", scope.as_ref()), ("oidc_audience", audience.as_ref())]
        {
            if value.is_some_and(|value| value.len() > LONGEST || value.chars().any(char::is_control)) {
                return Err(format!("{name} must have at most {LONGEST} bytes and no control characters"));
            }
        }
        Ok(Some(Self { token_url, id, secret: client_secret, user, scope, audience }))
    }

    /// What nobody else may know.
    pub fn secrets(&self) -> impl Iterator<Item = &Secret> {
        self.secret.iter().chain(self.user.iter().map(|(_, password)| password))
    }

    /// The parameters of a token request (RFC 6749 clauses 4.3.2 and 4.4.2).
    pub fn form(&self) -> Vec<(&'static str, &str)> {
        let mut form = vec![("client_id", self.id.as_str())];
        form.extend(self.secret.as_ref().map(|secret| ("client_secret", secret.expose())));
        match &self.user {
            Some((user, password)) => {
                form.extend([("grant_type", "password"), ("username", user), ("password", password.expose())]);
                form.push(("scope", self.scope.as_deref().unwrap_or("openid")));
            }
            None => {
                form.push(("grant_type", "client_credentials"));
                form.extend(self.scope.as_deref().map(|scope| ("scope", scope)));
            }
        }
        form.extend(self.audience.as_deref().map(|audience| ("audience", audience)));
        form
    }
}

fn check_url(url: &str, insecure: bool) -> Result<(), String> {
    let authority = url.split_once("://").map(|(_, rest)| rest.split(['/', '?', '#']).next().unwrap_or_default());
    match authority {
        Some(authority) if authority.contains('@') => {
            Err("oidc_token_url must not hold a user or password: use client_id and client_secret".to_owned())
        }
        Some(authority) if !authority.is_empty() && url.starts_with("https://") => Ok(()),
        Some(authority) if !authority.is_empty() && url.starts_with("http://") => {
            let exposed = "oidc_token_url: plain http exposes the credentials: use https, or set insecure to true";
            if insecure { Ok(()) } else { Err(exposed.to_owned()) }
        }
        _ => Err(format!("oidc_token_url '{}' is not an http or https URL", url.chars().take(64).collect::<String>())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::vim::split_secrets;

    fn read(given: Value, insecure: bool) -> Result<Option<OidcClient>, String> {
        let (info, secrets) = split_secrets(given.as_object().cloned().unwrap());
        OidcClient::read(&info, &secrets, insecure)
    }

    const URL: &str = "https://id.test/token";

    #[test]
    fn asks_with_client_credentials_or_as_tacker_for_a_user() {
        let client = read(
            json!({ "oidc_token_url": URL, "client_id": "gybe", "client_secret": "s", "oidc_scope": "k8s", "oidc_audience": "kube" }),
            false,
        );
        let form = client.unwrap().unwrap();
        let expected = [
            ("client_id", "gybe"),
            ("client_secret", "s"),
            ("grant_type", "client_credentials"),
            ("scope", "k8s"),
            ("audience", "kube"),
        ];
        assert_eq!(form.form(), expected);
        let tacker = json!({ "oidc_token_url": URL, "client_id": "tacker", "username": "u", "password": "p" });
        let client = read(tacker, false).unwrap().unwrap();
        let expected = [
            ("client_id", "tacker"),
            ("grant_type", "password"),
            ("username", "u"),
            ("password", "p"),
            ("scope", "openid"),
        ];
        assert_eq!(client.form(), expected);
        assert_eq!(client.secrets().map(Secret::expose).collect::<Vec<_>>(), ["p"]);
        assert_eq!(read(json!({ "bearer_token": "t", "client_id": "x" }), false), Ok(None));
    }

    #[test]
    fn says_what_is_missing_or_wrong() {
        let with = |member: &str, value: Value| {
            let mut given = json!({ "oidc_token_url": URL, "client_id": "gybe", "client_secret": "s" });
            given[member] = value;
            read(given, false).unwrap_err()
        };
        assert!(with("client_id", Value::Null).contains("client_id is missing"));
        assert!(with("client_secret", json!("")).contains("client_secret is missing"));
        assert!(with("username", json!("u")).contains("password is missing"));
        assert!(with("password", json!("p")).contains("username is missing"));
        assert!(with("client_id", json!("a\nb")).contains("no control characters"));
        assert!(with("oidc_scope", json!(7)).contains("oidc_scope must be a string"));
        for url in ["id.test", "ftp://id.test", "https://", "https:///token"] {
            assert!(with("oidc_token_url", json!(url)).contains("is not an http or https URL"), "{url}");
        }
        assert!(with("oidc_token_url", json!("https://u:p@id.test")).contains("must not hold a user"));
        let plain = json!({ "oidc_token_url": "http://id.test", "client_id": "gybe", "client_secret": "s" });
        assert!(read(plain.clone(), false).unwrap_err().contains("plain http"));
        assert!(read(plain, true).is_ok());
    }
}
