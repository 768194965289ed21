//! The requests to Keystone, with a token of Gybe's own user.
//!
//! Only an answer to the question counts as one. Whatever else Keystone says, or does not say, is [`Unavailable`], with the reason
//! in the log.

use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Method, Request, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::{Instant, timeout};

use crate::auth::AuthConfigError;
use crate::auth::keystone::KeystoneOptions;
use crate::auth::keystone::token::{Token, TokenBody};
use crate::domain::secret::Secret;
use crate::outbound::address::AddressRules;
use crate::outbound::{Outbound, OutboundConfig, PeerResponse};

/// The environment variable with the password, instead of `password_file`.
const PASSWORD: &str = "GYBE_KEYSTONE_PASSWORD";
/// The longest response of Keystone, in bytes. Catalogues are not asked for.
const LONGEST_RESPONSE: usize = 256 * 1024;
/// Requests to Keystone at the same time.
const REQUESTS: usize = 64;
/// The longest that a validation waits for its turn.
const TURN: Duration = Duration::from_secs(5);
/// Gybe's own token is renewed this long before it expires, or after nine tenths of its life if that is later.
const MARGIN: Duration = Duration::from_secs(60);
/// After a failed login, the next one waits for this time.
const LOGIN_PAUSE: Duration = Duration::from_secs(1);

const AUTH_TOKEN: HeaderName = HeaderName::from_static("x-auth-token");
pub const SUBJECT_TOKEN: HeaderName = HeaderName::from_static("x-subject-token");

/// Keystone gave no answer to the question.
#[derive(Debug)]
pub struct Unavailable;

/// What Gybe's token is for.
#[derive(Clone, Copy, Debug)]
pub enum Scope {
    /// The project of the configuration, in which the user has the role `service`.
    Project,
    /// The whole of Keystone, of which the user has the role `reader`.
    System,
}

impl Scope {
    fn what_a_login_needs(self) -> &'static str {
        match self {
            Self::Project => "auth.keystone.username, its password, project and domains",
            Self::System => {
                "auth.keystone.username, its password and domain, and that it has the role 'reader' of the system"
            }
        }
    }
}

/// A session of Gybe's user in one Keystone.
pub struct Session {
    outbound: Outbound,
    /// The start of URLs, `…/v3`.
    url: String,
    scope: Scope,
    /// The body of a login.
    login: Secret,
    own: Mutex<OwnToken>,
    turns: Semaphore,
}

/// Gybe's own token.
#[derive(Default)]
struct OwnToken {
    current: Option<(Arc<HeaderValue>, Instant)>,
    failed: Option<Instant>,
}

impl Session {
    /// A session at the configured Keystone. It sends nothing yet.
    ///
    /// # Errors
    /// [`AuthConfigError`]: the URL is not valid, or a file can't be read.
    pub fn new(options: &KeystoneOptions, scope: Scope) -> Result<Self, AuthConfigError> {
        let config = OutboundConfig {
            // The operator names Keystone, wherever it is.
            addresses: AddressRules { allow_link_local: true, ..AddressRules::default() },
            ca_file: options.ca_file.clone(),
            certificate_file: None,
        };
        let outbound = Outbound::new(&config, LONGEST_RESPONSE)
            .map_err(|error| AuthConfigError(format!("auth.keystone.ca_file: {error}")))?;
        Ok(Self {
            outbound,
            url: base_url(&options.auth_url)?,
            scope,
            login: login(options, scope)?,
            own: Mutex::default(),
            turns: Semaphore::new(REQUESTS),
        })
    }

    /// `GET` of the path, which begins with a slash, with these headers. The status of the response is not 401.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn get(&self, path: &str, headers: &[(HeaderName, HeaderValue)]) -> Result<PeerResponse, Unavailable> {
        let turn = timeout(TURN, self.turns.acquire()).await;
        let _turn = turn.map_err(|_| unavailable("too many requests wait for it"))?;
        let own = self.own_token(None).await?;
        let mut response = self.get_with(&own, path, headers).await?;
        if response.status == StatusCode::UNAUTHORIZED {
            // It does not know Gybe's token any more: revoked, or its keys were changed.
            let own = self.own_token(Some(&own)).await?;
            response = self.get_with(&own, path, headers).await?;
        }
        if response.status == StatusCode::UNAUTHORIZED {
            return Err(unavailable("it refuses the token that it has just given"));
        }
        Ok(response)
    }

    async fn get_with(
        &self,
        own: &HeaderValue,
        path: &str,
        headers: &[(HeaderName, HeaderValue)],
    ) -> Result<PeerResponse, Unavailable> {
        let mut request = Request::builder()
            .uri(format!("{}{path}", self.url))
            .header(ACCEPT, "application/json")
            .header(AUTH_TOKEN, own);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        self.send(request.body(String::new())).await
    }

    /// The current token, or a new one if there is none but `refused`, or if it expires soon.
    async fn own_token(&self, refused: Option<&Arc<HeaderValue>>) -> Result<Arc<HeaderValue>, Unavailable> {
        let mut own = self.own.lock().await;
        if let Some((token, renewal)) = &own.current
            && Instant::now() < *renewal
            && refused.is_none_or(|refused| !Arc::ptr_eq(refused, token))
        {
            return Ok(Arc::clone(token));
        }
        if own.failed.is_some_and(|failed| failed.elapsed() < LOGIN_PAUSE) {
            return Err(Unavailable);
        }
        match self.log_in().await {
            Ok((token, renewal)) => {
                let token = Arc::new(token);
                *own = OwnToken { current: Some((Arc::clone(&token), renewal)), failed: None };
                Ok(token)
            }
            Err(error) => {
                *own = OwnToken { current: None, failed: Some(Instant::now()) };
                Err(error)
            }
        }
    }

    /// A new token, and when to renew it.
    async fn log_in(&self) -> Result<(HeaderValue, Instant), Unavailable> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}/auth/tokens?nocatalog=1", self.url))
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/json");
        let sent = Instant::now();
        let response = self.send(request.body(self.login.expose().to_owned())).await?;
        if response.status != StatusCode::CREATED {
            let what = self.scope.what_a_login_needs();
            return Err(unavailable(&format!("it answers Gybe's login with {}: check {what}", response.status)));
        }
        let mut token = response.headers.get(SUBJECT_TOKEN).cloned().ok_or_else(|| unavailable("it gave no token"))?;
        token.set_sensitive(true);
        // Both are of Keystone's clock.
        let Token { issued_at, expires_at, .. } = body::<TokenBody>(&response)?.token;
        let lifetime = Duration::try_from(expires_at - issued_at).unwrap_or_default();
        let renewal = lifetime.saturating_sub(MARGIN).max(lifetime.mul_f64(0.9));
        Ok((token, sent.checked_add(renewal).unwrap_or(sent)))
    }

    async fn send(&self, request: Result<Request<String>, http::Error>) -> Result<PeerResponse, Unavailable> {
        let request = request.map_err(|error| unavailable(&error.to_string()))?;
        self.outbound.exchange(request, false).await.map_err(|error| unavailable(&error.to_string()))
    }
}

/// Logs why there is no answer. `reason` has no secrets.
pub fn unavailable(reason: &str) -> Unavailable {
    tracing::warn!(reason, "Keystone cannot be asked");
    Unavailable
}

/// The body of a response.
///
/// # Errors
/// [`Unavailable`]: it is none.
pub fn body<T: DeserializeOwned>(response: &PeerResponse) -> Result<T, Unavailable> {
    let body = response.body.as_deref().ok_or_else(|| unavailable("its answer is cut off or too long"))?;
    serde_json::from_slice(body).map_err(|error| unavailable(&format!("its answer cannot be read: {error}")))
}

/// The start of the URLs of the Identity API, version 3.
fn base_url(auth_url: &str) -> Result<String, AuthConfigError> {
    let is_valid = auth_url.parse::<http::Uri>().is_ok_and(|uri| {
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
        is_http && !authority.is_empty() && !authority.contains('@') && uri.query().is_none()
    });
    if !is_valid {
        // It may hold a password.
        return Err(AuthConfigError(
            "auth.keystone.auth_url must be an http:// or https:// URL without user, password and query, such as https://keystone.example:5000/v3".to_owned(),
        ));
    }
    let url = auth_url.trim_end_matches('/');
    Ok(if url.ends_with("/v3") { url.to_owned() } else { format!("{url}/v3") })
}

fn login(options: &KeystoneOptions, scope: Scope) -> Result<Secret, AuthConfigError> {
    let password = match &options.password_file {
        Some(path) => std::fs::read_to_string(path).map_err(|error| {
            AuthConfigError(format!("cannot read auth.keystone.password_file {}: {error}", path.display()))
        })?,
        None => std::env::var(PASSWORD).map_err(|_| {
            AuthConfigError(format!(
                "[auth.keystone] needs the password of '{}': set password_file or {PASSWORD}",
                options.username
            ))
        })?,
    };
    // Editors end files with a line break, which is not part of the password.
    let password = password.trim_end_matches(['\r', '\n']);
    Ok(Secret::new(login_body(options, password, scope).to_string()))
}

fn login_body(options: &KeystoneOptions, password: &str, scope: Scope) -> Value {
    let domain = |name: &str| json!({ "name": name });
    let scope = match scope {
        Scope::Project => {
            json!({ "project": { "name": options.project_name, "domain": domain(&options.project_domain_name) } })
        }
        Scope::System => json!({ "system": { "all": true } }),
    };
    json!({ "auth": {
        "identity": {
            "methods": ["password"],
            "password": { "user": {
                "name": options.username, "domain": domain(&options.user_domain_name), "password": password,
            } },
        },
        "scope": scope,
    } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_urls_with_and_without_the_version() {
        for (url, expected) in [
            ("https://keystone:5000", Some("https://keystone:5000/v3")),
            ("https://keystone:5000/v3/", Some("https://keystone:5000/v3")),
            ("http://cloud.example/identity", Some("http://cloud.example/identity/v3")),
            ("keystone:5000", None),
            ("ftp://keystone", None),
            ("https://gybe:hunter22@keystone", None),
            ("https://keystone?x=1", None),
        ] {
            let base = base_url(url);
            assert_eq!(base.as_ref().ok().map(String::as_str), expected, "{url}");
            assert!(!base.is_err_and(|error| error.0.contains("hunter22")));
        }
    }

    #[test]
    fn needs_the_password_of_its_user() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hunter22\n").unwrap();
        let options = |password_file: &str| {
            let text = format!("auth_url = 'https://keystone'\nusername = 'gybe'\npassword_file = '{password_file}'");
            toml::from_str::<KeystoneOptions>(&text).unwrap()
        };
        let body: Value =
            serde_json::from_str(login(&options(file.path().to_str().unwrap()), Scope::Project).unwrap().expose())
                .unwrap();
        let auth = &body["auth"];
        let user = json!({ "name": "gybe", "domain": { "name": "Default" }, "password": "hunter22" });
        assert_eq!(auth["identity"]["password"]["user"], user);
        assert_eq!(auth["scope"], json!({ "project": { "name": "service", "domain": { "name": "Default" } } }));
        let error = login(&options("/nonexistent"), Scope::System).unwrap_err().to_string();
        assert!(error.contains("auth.keystone.password_file /nonexistent"), "{error}");
    }
}
