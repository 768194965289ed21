//! Bearer tokens of a VIM from a token endpoint (RFC 6749), for the clients of [`super::client`].
//!
//! A token is kept until shortly before its end. Calls that need one at the same time wait for the same request. A failure is
//! remembered for a moment, so that many calls do not ask a dead endpoint one after the other. The request is sent before a call counts
//! as one to the API server, whose breaker an issuer out of reach must not open.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use http::{Request, StatusCode};
use rustls::pki_types::CertificateDer;
use serde::Deserialize;
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::{Instant, timeout};

use crate::clock::{Clock as _, System};
use crate::domain::credential_expiry::Validity;
use crate::domain::oidc_client::OidcClient;
use crate::domain::secret::Secret;
use crate::infra::{InfraError, InfraErrorKind};
use crate::outbound::{ExchangeError, Outbound, OutboundConfig, bearer, form};

/// The longest answer of a token endpoint, in bytes.
const MAX_RESPONSE: usize = 256 * 1024;
/// The longest token, in bytes: API servers and proxies refuse longer headers.
const LONGEST_TOKEN: usize = 16 * 1024;
/// Deadline of a token request: shorter than the one for connections to API servers.
const DEADLINE: Duration = Duration::from_secs(3);
/// Tokens are not used in their last seconds.
const MARGIN: Duration = Duration::from_secs(10);
/// Lifetime of a token that does not say when it expires.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(60);
/// Longest time that a token is kept.
const MAX_LIFETIME: Duration = Duration::from_hours(24);
/// The shortest time from one request to the next, whatever the answers are.
const PAUSE: Duration = Duration::from_secs(5);

/// The tokens of one client of a token endpoint.
pub(super) struct TokenSource {
    client: OidcClient,
    outbound: Outbound,
    /// Of a token request.
    deadline: Duration,
    latest: Mutex<Option<Latest>>,
    /// Held during a request.
    requesting: AsyncMutex<()>,
}

/// The answer to the latest request.
#[derive(Clone)]
struct Latest {
    requested: Instant,
    /// How long it is used.
    until: Instant,
    token: Result<HeaderValue, InfraError>,
}

/// The response of a token endpoint (RFC 6749 clause 5.1, OpenID Connect Core clause 3.1.3.3).
#[derive(Deserialize)]
struct TokenResponse {
    id_token: Option<Secret>,
    access_token: Option<Secret>,
    expires_in: Option<u64>,
}

impl TokenSource {
    /// `authorities` sign the certificate of the token endpoint; without any, those of `config`.
    ///
    /// # Errors
    /// TLS cannot be set up: a text for the caller.
    pub fn new(
        client: &OidcClient,
        config: &OutboundConfig,
        authorities: &[CertificateDer<'static>],
    ) -> Result<Self, String> {
        let outbound = Outbound::trusting(config, authorities, MAX_RESPONSE).map_err(|error| error.to_string())?;
        Ok(Self {
            client: client.clone(),
            outbound,
            deadline: DEADLINE,
            latest: Mutex::default(),
            requesting: AsyncMutex::default(),
        })
    }

    /// The token at hand, if [`Self::ready`] has found one.
    pub fn current(&self) -> Option<HeaderValue> {
        self.latest()?.token.ok()
    }

    /// Makes sure that there is a token.
    ///
    /// # Errors
    /// Why the token endpoint gives none.
    pub async fn ready(&self) -> Result<(), InfraError> {
        let fresh = || self.latest().filter(|latest| Instant::now() < latest.until);
        if let Some(latest) = fresh() {
            return latest.token.map(drop);
        }
        let _requesting = self.requesting.lock().await;
        match fresh() {
            Some(latest) => latest.token.map(drop),
            None => self.request().await.map(drop),
        }
    }

    /// Another token than `refused`, which the API server did not accept; `None` if there is none. A token that was issued just now is
    /// not replaced.
    pub async fn renewed(&self, refused: &HeaderValue) -> Option<HeaderValue> {
        let _requesting = self.requesting.lock().await;
        let latest = self.latest()?;
        if latest.token.as_ref() != Ok(refused) {
            return latest.token.ok();
        }
        if latest.requested.elapsed() < PAUSE {
            return None;
        }
        self.request().await.ok().filter(|token| token != refused)
    }

    fn latest(&self) -> Option<Latest> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks for a token, and keeps the answer.
    async fn request(&self) -> Result<HeaderValue, InfraError> {
        let requested = Instant::now();
        let no_answer = || Err(ExchangeError::Unreachable(format!("no answer within {:?}", self.deadline)));
        let answer = timeout(self.deadline, self.exchange()).await.unwrap_or_else(|_| no_answer());
        let (token, lifetime) = match answer {
            Ok((token, lifetime)) => (Ok(token), lifetime),
            Err(error) => (Err(self.failure(&error)), Duration::ZERO),
        };
        let until = requested + lifetime.saturating_sub(MARGIN).max(PAUSE);
        let latest = Latest { requested, until, token: token.clone() };
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(latest);
        token
    }

    async fn exchange(&self) -> Result<(HeaderValue, Duration), ExchangeError> {
        let request = Request::post(&self.client.token_url)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json")
            .body(form(&self.client.form()))
            .map_err(|_| ExchangeError::Known("oidc_token_url is not a valid URL".to_owned()))?;
        let response = self.outbound.exchange(request, false).await?;
        if response.status != StatusCode::OK {
            return Err(ExchangeError::Known(format!("it answers {}", response.status.as_u16())));
        }
        let body = response.body.ok_or_else(|| {
            ExchangeError::Known(format!("its answer is cut off, or longer than {} KiB", MAX_RESPONSE >> 10))
        })?;
        // serde's message could quote the token.
        let no_token = || ExchangeError::Known("its answer has neither an id_token nor an access_token".to_owned());
        let answer: TokenResponse = serde_json::from_slice(&body).map_err(|_| no_token())?;
        // API servers expect the token that is for the client itself.
        let token = answer.id_token.or(answer.access_token).filter(|token| !token.expose().trim().is_empty());
        let token = token.ok_or_else(no_token)?;
        if token.expose().len() > LONGEST_TOKEN {
            return Err(ExchangeError::Known(format!("its token is longer than {} KiB", LONGEST_TOKEN >> 10)));
        }
        Ok((bearer(&token).map_err(ExchangeError::Known)?, lifetime(&token, answer.expires_in)))
    }

    /// The error of calls that need a token. What listens in the network of the operator is for the log alone.
    fn failure(&self, error: &ExchangeError) -> InfraError {
        let endpoint = &self.client.token_url;
        let text = format!("no token for the VIM from {endpoint}: {}", error.for_caller());
        tracing::warn!("no token for a VIM from {endpoint}: {error}");
        let kind = match error {
            ExchangeError::Known(_) => InfraErrorKind::Unauthorized,
            ExchangeError::Unreachable(_) => InfraErrorKind::Transient,
        };
        InfraError::new(kind, text).quoting("endpoint", endpoint)
    }
}

/// How long a token is valid: as the answer says, and as it says itself.
fn lifetime(token: &Secret, expires_in: Option<u64>) -> Duration {
    let left = Validity::of_token(token.expose()).map(|it| it.ends - System.now());
    let left = left.map(|left| Duration::try_from(left).unwrap_or_default());
    let given = expires_in.map(Duration::from_secs);
    [left, given].into_iter().flatten().min().unwrap_or(DEFAULT_LIFETIME).min(MAX_LIFETIME)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::future::join_all;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    fn source(token_url: &str) -> TokenSource {
        let client = OidcClient {
            token_url: token_url.to_owned(),
            id: "gybe".to_owned(),
            secret: Some(Secret::new("s3cret")),
            user: None,
            scope: None,
            audience: None,
        };
        TokenSource::new(&client, &OutboundConfig::default(), &[]).unwrap()
    }

    /// A token endpoint that answers `{number}` of the request in `body`; `None`: it never answers.
    async fn endpoint(body: Option<&'static str>) -> (String, Arc<AtomicUsize>) {
        let (listener, requests) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), Arc::new(AtomicUsize::new(0)));
        let (url, counted) = (format!("http://{}/token", listener.local_addr().unwrap()), Arc::clone(&requests));
        tokio::spawn(async move {
            while let Ok((mut caller, _)) = listener.accept().await {
                let number = counted.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(async move {
                    let _ = caller.read(&mut [0; 4096]).await;
                    let Some(body) = body else { return std::future::pending().await };
                    let body = body.replace("{number}", &number.to_string());
                    let head =
                        format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
                    let _ = caller.write_all((head + &body).as_bytes()).await;
                });
            }
        });
        (url, requests)
    }

    /// As if the latest answer had come so much earlier.
    fn age(source: &TokenSource, by: Duration) {
        let mut latest = source.latest.lock().unwrap();
        let latest = latest.as_mut().unwrap();
        (latest.requested, latest.until) = (latest.requested - by, latest.until - by);
    }

    #[tokio::test]
    async fn calls_share_a_token_until_shortly_before_its_end() {
        let (url, requests) = endpoint(Some(r#"{"access_token":"t{number}","expires_in":3600}"#)).await;
        let source = source(&url);
        let all = join_all((0..20).map(|_| source.ready())).await;
        assert!(all.into_iter().all(|ready| ready.is_ok()));
        assert_eq!((requests.load(Ordering::Relaxed), source.current().unwrap().to_str().unwrap()), (1, "Bearer t0"));
        // The API server refuses a token that was issued just now: another one would be no better.
        let first = source.current().unwrap();
        assert_eq!(source.renewed(&first).await, None);
        age(&source, PAUSE);
        let renewed = join_all([source.renewed(&first), source.renewed(&first)]).await;
        assert_eq!(renewed, [Some(HeaderValue::from_static("Bearer t1")), Some(HeaderValue::from_static("Bearer t1"))]);
        assert_eq!(requests.load(Ordering::Relaxed), 2);
        age(&source, Duration::from_secs(3591));
        source.ready().await.unwrap();
        assert_eq!(source.current().unwrap(), "Bearer t2");
    }

    #[tokio::test]
    async fn an_answer_without_a_token_is_an_error_without_secrets() {
        let long = Box::leak(format!(r#"{{"access_token":"{}"}}"#, "x".repeat(LONGEST_TOKEN + 1)).into_boxed_str());
        let huge = Box::leak("x".repeat(10 << 20).into_boxed_str());
        for (body, expected) in [
            (&*huge, "longer than 256 KiB"),
            (&*long, "its token is longer than 16 KiB"),
            ("{}", "neither an id_token nor an access_token"),
            (r#"{"access_token":" "}"#, "neither an id_token nor an access_token"),
            (r#"{"access_token":"a\nb"}"#, "contains characters"),
            ("[1]", "neither an id_token nor an access_token"),
        ] {
            let (url, requests) = endpoint(Some(body)).await;
            let source = source(&url);
            for _ in 0..3 {
                let error = source.ready().await.unwrap_err();
                assert!(error.detail.contains(expected) && !error.detail.contains("s3cret"), "{error}");
                assert_eq!(error.kind, InfraErrorKind::Unauthorized);
            }
            assert_eq!(requests.load(Ordering::Relaxed), 1, "a failure is remembered for a moment");
        }
        let error = source("http://169.254.169.254/token").ready().await.unwrap_err();
        assert!(error.detail.contains("link-local or a metadata service"), "{error}");
    }

    #[tokio::test]
    async fn an_endpoint_that_never_answers_costs_all_calls_one_deadline() {
        let (url, requests) = endpoint(None).await;
        let source = TokenSource { deadline: Duration::from_millis(50), ..source(&url) };
        let all = join_all((0..20).map(|_| source.ready())).await;
        assert!(all.into_iter().all(|ready| ready.is_err_and(|error| error.is_transient())));
        assert_eq!(requests.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn the_token_itself_may_end_earlier_than_the_answer_says() {
        let now = System.now().unix_timestamp();
        let token = |exp: i64| {
            use base64::Engine as _;
            let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(format!(r#"{{"exp":{exp}}}"#));
            Secret::new(format!("e30.{claims}.x"))
        };
        assert!(lifetime(&token(now + 100), Some(3600)) <= Duration::from_secs(100));
        assert_eq!(lifetime(&token(now - 100), Some(3600)), Duration::ZERO);
        assert_eq!(lifetime(&token(-5), Some(50)), Duration::from_secs(50));
        assert_eq!(lifetime(&Secret::new("opaque"), None), DEFAULT_LIFETIME);
        assert_eq!(lifetime(&Secret::new("opaque"), Some(u64::MAX)), MAX_LIFETIME);
    }
}
