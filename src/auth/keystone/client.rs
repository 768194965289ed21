//! The requests to Keystone: Gybe's own token, and the validation of others with it.
//!
//! Only an answer about the token counts as one. Whatever else Keystone says, or does not say, is [`Unavailable`], with the reason
//! in the log.

use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Method, Request, StatusCode};
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
const SUBJECT_TOKEN: HeaderName = HeaderName::from_static("x-subject-token");
/// Says that this service enforces access rules. Without it Keystone knows no token that carries some.
const ACCESS_RULES: HeaderName = HeaderName::from_static("openstack-identity-access-rules");
const ACCESS_RULES_VERSION: HeaderValue = HeaderValue::from_static("1.0");

/// Keystone gave no answer about the token.
#[derive(Debug)]
pub struct Unavailable;

/// A client of one Keystone.
pub struct IdentityClient {
    outbound: Outbound,
    /// `…/v3/auth/tokens`.
    tokens_url: String,
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

impl IdentityClient {
    /// The client of the configured Keystone. It sends nothing yet.
    ///
    /// # Errors
    /// [`AuthConfigError`]: the URL is not valid, or a file can't be read.
    pub fn new(options: &KeystoneOptions) -> Result<Self, AuthConfigError> {
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
            tokens_url: format!("{}/auth/tokens", base_url(&options.auth_url)?),
            login: login(options)?,
            own: Mutex::default(),
            turns: Semaphore::new(REQUESTS),
        })
    }

    /// What Keystone says of `token`; `None` if it is not valid. With `allow_expired` it may have expired some time ago.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn validate(&self, token: &HeaderValue, allow_expired: bool) -> Result<Option<Token>, Unavailable> {
        let turn = timeout(TURN, self.turns.acquire()).await;
        let _turn = turn.map_err(|_| unavailable("too many requests wait for it"))?;
        let own = self.own_token(None).await?;
        let mut response = self.ask(&own, token, allow_expired).await?;
        if response.status == StatusCode::UNAUTHORIZED {
            // It does not know Gybe's token any more: revoked, or its keys were changed.
            let own = self.own_token(Some(&own)).await?;
            response = self.ask(&own, token, allow_expired).await?;
        }
        match response.status {
            StatusCode::OK => body(&response).map(Some),
            StatusCode::NOT_FOUND => Ok(None),
            StatusCode::FORBIDDEN => {
                Err(unavailable("its service user may not validate tokens: give it the role 'service'"))
            }
            status => Err(unavailable(&format!("it answers the validation of a token with {status}"))),
        }
    }

    async fn ask(
        &self,
        own: &HeaderValue,
        token: &HeaderValue,
        allow_expired: bool,
    ) -> Result<PeerResponse, Unavailable> {
        let allow_expired = if allow_expired { "&allow_expired=1" } else { "" };
        let request = Request::builder()
            .uri(format!("{}?nocatalog=1{allow_expired}", self.tokens_url))
            .header(ACCEPT, "application/json")
            .header(AUTH_TOKEN, own)
            .header(SUBJECT_TOKEN, token)
            .header(ACCESS_RULES, ACCESS_RULES_VERSION);
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
            .uri(format!("{}?nocatalog=1", self.tokens_url))
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/json");
        let sent = Instant::now();
        let response = self.send(request.body(self.login.expose().to_owned())).await?;
        if response.status != StatusCode::CREATED {
            let reason = "check auth.keystone.username, its password, project and domains";
            return Err(unavailable(&format!("it answers Gybe's login with {}: {reason}", response.status)));
        }
        let mut token = response.headers.get(SUBJECT_TOKEN).cloned().ok_or_else(|| unavailable("it gave no token"))?;
        token.set_sensitive(true);
        // Both are of Keystone's clock.
        let Token { issued_at, expires_at, .. } = body(&response)?;
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
fn unavailable(reason: &str) -> Unavailable {
    tracing::warn!(reason, "Keystone cannot be asked about tokens");
    Unavailable
}

fn body(response: &PeerResponse) -> Result<Token, Unavailable> {
    let body = response.body.as_deref().ok_or_else(|| unavailable("its answer is cut off or too long"))?;
    let body = serde_json::from_slice::<TokenBody>(body);
    body.map(|body| body.token).map_err(|error| unavailable(&format!("its answer is no token: {error}")))
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

fn login(options: &KeystoneOptions) -> Result<Secret, AuthConfigError> {
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
    Ok(Secret::new(login_body(options, password.trim_end_matches(['\r', '\n'])).to_string()))
}

fn login_body(options: &KeystoneOptions, password: &str) -> Value {
    let domain = |name: &str| json!({ "name": name });
    json!({ "auth": {
        "identity": {
            "methods": ["password"],
            "password": { "user": {
                "name": options.username, "domain": domain(&options.user_domain_name), "password": password,
            } },
        },
        "scope": { "project": { "name": options.project_name, "domain": domain(&options.project_domain_name) } },
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
            serde_json::from_str(login(&options(file.path().to_str().unwrap())).unwrap().expose()).unwrap();
        let auth = &body["auth"];
        let user = json!({ "name": "gybe", "domain": { "name": "Default" }, "password": "hunter22" });
        assert_eq!(auth["identity"]["password"]["user"], user);
        assert_eq!(auth["scope"], json!({ "project": { "name": "service", "domain": { "name": "Default" } } }));
        let error = login(&options("/nonexistent")).unwrap_err().to_string();
        assert!(error.contains("auth.keystone.password_file /nonexistent"), "{error}");
    }
}
