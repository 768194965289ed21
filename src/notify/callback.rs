//! Requests to subscribers: the notification, the test of a callback URI, and the token that may be needed for either.
//!
//! Bounded in all they may take: connecting, the whole exchange, what is read of an answer. Redirects are not followed. A
//! subscriber's answers decide what becomes of the notification ([`Reply`]); their texts are not repeated, as nobody knows
//! what they hold.

use std::collections::HashMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use tokio::time::{Instant, timeout};

use crate::domain::ids::SubscriptionId;
use crate::domain::problem::chain;
use crate::domain::subscription::{AuthType, Authentication, CLIENT_PASSWORD, PASSWORD, Subscription};
use crate::domain::vim::Secret;
use crate::notify::address::{self, Resolver};

/// To be connected.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// To have the answer.
const DEADLINE: Duration = Duration::from_secs(10);
/// So much of an answer is read: a connection whose answers are read can be used again.
const MAX_ANSWER: usize = 64 * 1024;
/// A connection that was idle for so long is not used again: many servers close theirs soon after.
const IDLE: Duration = Duration::from_secs(4);
/// A token is not used in its last seconds.
const TOKEN_MARGIN: Duration = Duration::from_secs(10);
/// How long a token is good that does not say so.
const TOKEN_LIFE: Duration = Duration::from_secs(60);

/// A client that connects to nothing that [`address`] refuses.
pub(crate) type Https = Client<HttpsConnector<HttpConnector<Resolver>>, String>;

/// How subscribers are reached.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Whether link-local addresses and metadata services may be.
    pub allow_link_local: bool,
    /// PEM file of the authorities that subscribers' certificates must be of, in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// PEM file with certificate and key that are shown to subscribers who ask for TLS_CERT.
    pub certificate_file: Option<PathBuf>,
}

/// Why subscribers can't be reached at all.
#[derive(Debug, thiserror::Error)]
pub enum CallbackError {
    /// The file can't be used. What is in it is not shown.
    #[error("the file {} can't be used: {reason}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// TLS can't be set up.
    #[error("TLS for callbacks can't be set up")]
    Tls(#[from] rustls::Error),
}

/// What became of a notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The subscriber took it.
    Taken,
    /// The subscriber will never take it.
    Refused(String),
    /// It may be taken later.
    Failed(String),
}

impl Reply {
    /// As it is counted.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Taken => "delivered",
            Self::Refused(_) => "refused",
            Self::Failed(_) => "failed",
        }
    }
}

/// How requests to a subscriber show who sends them.
#[derive(Default)]
pub struct Authorization {
    header: Option<HeaderValue>,
    /// It is a token that was good for an earlier request.
    is_kept_token: bool,
}

struct Token {
    secret: Secret,
    until: Instant,
}

/// What is read of a token endpoint's answer (RFC 6749 clause 5.1).
#[derive(Deserialize)]
struct TokenAnswer {
    access_token: Secret,
    expires_in: Option<u64>,
}

/// The way to subscribers. Its connections live on the runtime that first asks for them.
pub struct Callbacks {
    plain: Https,
    /// Shows the operator's certificate, if there is one.
    certified: Option<Https>,
    allow_link_local: bool,
    tokens: Mutex<HashMap<SubscriptionId, Token>>,
}

impl Callbacks {
    /// The way as `settings` have it.
    ///
    /// # Errors
    /// [`CallbackError`].
    pub fn new(settings: &Settings) -> Result<Self, CallbackError> {
        let authorities = settings.ca_file.as_deref().map(certificates).transpose()?.unwrap_or_default();
        let https = |certificate| https(settings.allow_link_local, &authorities, certificate);
        let certificate = settings.certificate_file.as_deref().map(identity).transpose()?;
        Ok(Self {
            plain: https(None)?,
            certified: certificate.map(|certificate| https(Some(certificate))).transpose()?,
            allow_link_local: settings.allow_link_local,
            tokens: Mutex::default(),
        })
    }

    /// Whether there is a certificate to show.
    pub const fn has_certificate(&self) -> bool {
        self.certified.is_some()
    }

    /// Sends a notification.
    pub async fn notify(&self, subscription: &Subscription, authorization: &Authorization, body: String) -> Reply {
        let status = match self.call(Method::POST, subscription, authorization, body).await {
            Ok(status) => status,
            Err(reason) => return Reply::Failed(reason),
        };
        match status {
            status if status.is_success() => Reply::Taken,
            StatusCode::UNAUTHORIZED if authorization.is_kept_token => {
                self.tokens().remove(&subscription.id);
                Reply::Failed("the subscriber does not take the token any more: the next one is asked for".to_owned())
            }
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {
                Reply::Failed(format!("the subscriber answered {status}"))
            }
            status if status.is_server_error() => Reply::Failed(format!("the subscriber answered {status}")),
            status if status.is_redirection() => {
                Reply::Refused(format!("the subscriber answered {status}: redirects are not followed"))
            }
            status => Reply::Refused(format!("the subscriber answered {status}")),
        }
    }

    /// Asks the callback URI whether it is one (clause 5.4.18.3.1).
    ///
    /// # Errors
    /// Why there was no answer.
    pub async fn probe(&self, subscription: &Subscription) -> Result<StatusCode, String> {
        let authorization = self.authorization(subscription).await?;
        self.call(Method::GET, subscription, &authorization, String::new()).await
    }

    /// How requests to `subscription` show who sends them: of what it takes, a token before a password.
    ///
    /// # Errors
    /// Why there is no token, if that is all it takes.
    pub async fn authorization(&self, subscription: &Subscription) -> Result<Authorization, String> {
        let Some(authentication) = &subscription.authentication else { return Ok(Authorization::default()) };
        let takes = |wanted| authentication.auth_types.contains(&wanted);
        let password = takes(AuthType::Basic)
            .then(|| basic(authentication.user_name.as_deref(), authentication.secrets.get(PASSWORD)));
        if takes(AuthType::Oauth2ClientCredentials) {
            match self.token(subscription.id, authentication).await {
                Ok(authorization) => return Ok(authorization),
                Err(reason) if password.is_none() => return Err(reason),
                Err(reason) => {
                    tracing::warn!(subscription.id = %subscription.id, "the password is used, as there is no token: {reason}");
                }
            }
        }
        Ok(Authorization { header: password.transpose()?, is_kept_token: false })
    }

    async fn token(&self, id: SubscriptionId, authentication: &Authentication) -> Result<Authorization, String> {
        let kept =
            self.tokens().get(&id).filter(|token| Instant::now() < token.until).map(|token| token.secret.clone());
        if let Some(token) = kept {
            return Ok(Authorization { header: Some(bearer(&token)?), is_kept_token: true });
        }
        let asked = Instant::now();
        let failed = |reason: String| format!("the token endpoint gave no token: {reason}");
        let answer = self.ask_for_token(authentication).await.map_err(failed)?;
        let life = answer.expires_in.map_or(TOKEN_LIFE, Duration::from_secs).min(super::DAY);
        let header = bearer(&answer.access_token)?;
        let token = Token { secret: answer.access_token, until: asked + life.saturating_sub(TOKEN_MARGIN) };
        let mut tokens = self.tokens();
        tokens.retain(|_, token| asked < token.until);
        tokens.insert(id, token);
        Ok(Authorization { header: Some(header), is_kept_token: false })
    }

    /// RFC 6749 clause 4.4.2.
    async fn ask_for_token(&self, authentication: &Authentication) -> Result<TokenAnswer, String> {
        let header = basic(authentication.client_id.as_deref(), authentication.secrets.get(CLIENT_PASSWORD))?;
        let request = Request::post(authentication.token_endpoint.as_deref().unwrap_or_default())
            .header(AUTHORIZATION, header)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json")
            .body("grant_type=client_credentials".to_owned())
            .map_err(|error| error.to_string())?;
        let (status, answer) = self.exchange(self.client(authentication), request).await?;
        if status != StatusCode::OK {
            return Err(format!("it answered {status}"));
        }
        // serde's message could quote the token.
        serde_json::from_slice(&answer).map_err(|_| "its answer is none that has one".to_owned())
    }

    async fn call(
        &self,
        method: Method,
        subscription: &Subscription,
        authorization: &Authorization,
        body: String,
    ) -> Result<StatusCode, String> {
        let mut request = Request::builder()
            .method(method)
            .uri(&subscription.callback_uri)
            .header("Version", subscription.version())
            .header(ACCEPT, "application/json");
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(header) = &authorization.header {
            request = request.header(AUTHORIZATION, header);
        }
        let request = request.body(body).map_err(|error| error.to_string())?;
        let client = subscription.authentication.as_ref().map_or(&self.plain, |given| self.client(given));
        Ok(self.exchange(client, request).await?.0)
    }

    /// The client that shows the certificate, to who asks for it.
    fn client(&self, authentication: &Authentication) -> &Https {
        let certified = self.certified.as_ref().filter(|_| authentication.auth_types.contains(&AuthType::TlsCert));
        certified.unwrap_or(&self.plain)
    }

    async fn exchange(&self, client: &Https, request: Request<String>) -> Result<(StatusCode, Vec<u8>), String> {
        address::check(request.uri(), self.allow_link_local)?;
        let exchange = async {
            let answer = client.request(request).await.map_err(|error| chain(&error))?;
            let status = answer.status();
            let text = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
            // An answer that is cut or too long says no less by its status.
            Ok((status, text.map_or_else(|_| Vec::new(), |text| text.to_bytes().to_vec())))
        };
        timeout(DEADLINE, exchange).await.unwrap_or_else(|_| Err(format!("no answer within {DEADLINE:?}")))
    }

    fn tokens(&self) -> std::sync::MutexGuard<'_, HashMap<SubscriptionId, Token>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client over connections that [`address`] lets through, to servers that these `authorities` vouch for (the system's, if
/// there are none).
///
/// # Errors
/// TLS can't be set up.
pub(crate) fn https(
    allow_link_local: bool,
    authorities: &[CertificateDer<'static>],
    identity: Option<Identity>,
) -> Result<Https, CallbackError> {
    let mut tcp = HttpConnector::new_with_resolver(address::resolver(allow_link_local));
    // The scheme is the TLS connector's matter.
    tcp.enforce_http(false);
    tcp.set_connect_timeout(Some(CONNECT_DEADLINE));
    tcp.set_nodelay(true);
    let tls = HttpsConnectorBuilder::new().with_tls_config(tls(authorities, identity)?);
    let connector = tls.https_or_http().enable_http1().wrap_connector(tcp);
    let mut pool = Client::builder(TokioExecutor::new());
    Ok(pool.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE).build(connector))
}

/// The `Authorization` of user name and password.
///
/// # Errors
/// None: base64 can be a header.
pub(crate) fn basic(user: Option<&str>, password: Option<&Secret>) -> Result<HeaderValue, String> {
    let password = password.map_or("", Secret::expose);
    sensitive(format!("Basic {}", BASE64.encode(format!("{}:{password}", user.unwrap_or_default()))))
}

fn bearer(token: &Secret) -> Result<HeaderValue, String> {
    sensitive(format!("Bearer {}", token.expose().trim()))
}

fn sensitive(text: String) -> Result<HeaderValue, String> {
    let mut header =
        HeaderValue::try_from(text).map_err(|_| "the token has characters that no token has".to_owned())?;
    header.set_sensitive(true);
    Ok(header)
}

pub(crate) type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn tls(authorities: &[CertificateDer<'static>], identity: Option<Identity>) -> Result<ClientConfig, CallbackError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let builder = if authorities.is_empty() {
        // A system without any is no reason not to start: callbacks may all be http.
        builder.clone().with_native_roots().unwrap_or_else(|error| {
            tracing::warn!(
                error = &error as &dyn Error,
                "the system has no certificates: no https callback is trusted"
            );
            builder.with_root_certificates(RootCertStore::empty())
        })
    } else {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(authorities.iter().cloned());
        builder.with_root_certificates(roots)
    };
    Ok(match identity {
        Some((certificates, key)) => builder.with_client_auth_cert(certificates, key)?,
        None => builder.with_no_client_auth(),
    })
}

/// The certificates of a PEM file: at least one.
///
/// # Errors
/// [`CallbackError::File`].
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, CallbackError> {
    let unusable =
        |error: rustls::pki_types::pem::Error| CallbackError::File { path: path.to_owned(), reason: error.to_string() };
    let found: Vec<_> =
        CertificateDer::pem_file_iter(path).map_err(unusable)?.collect::<Result<_, _>>().map_err(unusable)?;
    if found.is_empty() {
        let reason = "it has no certificate in PEM".to_owned();
        return Err(CallbackError::File { path: path.to_owned(), reason });
    }
    Ok(found)
}

fn identity(path: &Path) -> Result<Identity, CallbackError> {
    let key = PrivateKeyDer::from_pem_file(path);
    let key = key.map_err(|error| CallbackError::File { path: path.to_owned(), reason: error.to_string() })?;
    Ok((certificates(path)?, key))
}
