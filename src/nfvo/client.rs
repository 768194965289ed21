//! The grant interface of the NFVO over HTTP (SOL003 clause 9.4), for the conductor. [`crate::outbound`] sends the requests.
//!
//! Credentials go to the configured URL only: of the `Location` of a grant, only the last segment is used, which is the
//! identifier of the grant.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use http::{HeaderMap, Method, Request, StatusCode};
use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use tokio::time::Instant;
use tracing::Instrument as _;
use tracing::field::Empty;

use crate::domain::mask::Mask;
use crate::domain::problem::{ProblemType, problem};
use crate::domain::secret::Secret;
use crate::metrics::GrantMetrics;
use crate::nfvo::{GrantDecision, Nfvo, NfvoError};
use crate::outbound::tokens::{TokenCache, TokenClient};
use crate::outbound::{Authorization, Outbound, OutboundConfig, OutboundError, PeerResponse, basic};
use crate::sol003::grant::{Grant, GrantRequest};
use crate::traces::TRACES;

/// Size limit of a response, in bytes. A grant for thousands of pods fits.
const MAX_RESPONSE: usize = 4 * 1024 * 1024;
/// Length limit of a text of the NFVO in errors, in characters.
const MAX_TEXT: usize = 1000;
/// Length limit of the identifier of a grant, in bytes.
const MAX_ID: usize = 255;

/// The grant interface of an NFVO.
#[derive(Clone)]
pub struct NfvoEndpoint {
    /// Root with the version, such as `https://nfvo/grant/v1`, without a slash at the end.
    pub url: String,
    /// `Version` header of requests.
    pub api_version: String,
    pub credential: Option<Credential>,
    pub outbound: OutboundConfig,
}

/// The account of Gybe at the NFVO.
#[derive(Clone)]
pub struct Credential {
    /// User name, or client identifier.
    pub user: String,
    pub password: Secret,
    /// Token endpoint for OAUTH2_CLIENT_CREDENTIALS; `None`: BASIC.
    pub token_endpoint: Option<String>,
}

impl NfvoEndpoint {
    /// Name of the authentication method, as SOL003 spells it.
    pub fn authentication(&self) -> &'static str {
        match &self.credential {
            Some(Credential { token_endpoint: Some(_), .. }) => "OAUTH2_CLIENT_CREDENTIALS",
            Some(Credential { token_endpoint: None, .. }) => "BASIC",
            None => "none",
        }
    }
}

impl fmt::Debug for NfvoEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NfvoEndpoint")
            .field("url", &self.url)
            .field("api_version", &self.api_version)
            .field("authentication", &self.authentication())
            .field("user", &self.credential.as_ref().map(|it| &it.user))
            .field("token_endpoint", &self.credential.as_ref().and_then(|it| it.token_endpoint.as_ref()))
            .field("outbound", &self.outbound)
            .finish()
    }
}

/// A client of the grant interface.
pub struct GrantClient {
    endpoint: NfvoEndpoint,
    outbound: Outbound,
    tokens: TokenCache<()>,
    metrics: GrantMetrics,
}

/// The problem details of the NFVO.
#[derive(Deserialize)]
struct NfvoProblem {
    title: Option<String>,
    detail: Option<String>,
}

/// The two exchanges of the interface.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Exchange {
    Request,
    Poll,
}

impl GrantClient {
    /// A client of the grant interface at `endpoint`.
    ///
    /// # Errors
    /// [`OutboundError`].
    pub fn new(endpoint: NfvoEndpoint) -> Result<Self, OutboundError> {
        let outbound = Outbound::new(&endpoint.outbound, MAX_RESPONSE)?;
        Ok(Self { endpoint, outbound, tokens: TokenCache::default(), metrics: GrantMetrics::default() })
    }

    pub fn metrics(&self) -> GrantMetrics {
        self.metrics.clone()
    }

    async fn call(&self, exchange: Exchange, uri: &str, body: String) -> Result<GrantDecision, NfvoError> {
        let (start, method) = (Instant::now(), if exchange == Exchange::Request { Method::POST } else { Method::GET });
        let span = tracing::info_span!(target: TRACES, "grant", otel.kind = "client", otel.status_code = Empty,
            otel.name = format!("NFVO {method} grant"), http.request.method = method.as_str(), result = Empty);
        let decision = async {
            let (response, authorization) = self.send(method, uri, body).await.map_err(unreachable)?;
            if response.status == StatusCode::UNAUTHORIZED && authorization.is_cached_token {
                self.tokens.forget(&());
                return Err(unreachable("it refused the token (401); the next attempt requests a new one".to_owned()));
            }
            self.decision(exchange, uri, response)
        };
        let decision = decision.instrument(span.clone()).await;
        let result = match &decision {
            Ok(GrantDecision::Granted { .. }) => "granted",
            Ok(GrantDecision::Pending { .. }) => "pending",
            Err(NfvoError::Retryable(_)) => "failed",
            Err(NfvoError::Permanent(problem)) if problem.status == 403 => "refused",
            Err(NfvoError::Permanent(_)) => "unusable",
        };
        span.record("result", result);
        if decision.is_err() {
            span.record("otel.status_code", "ERROR");
        }
        self.metrics.exchanged(result, start.elapsed());
        decision
    }

    async fn send(&self, method: Method, uri: &str, body: String) -> Result<(PeerResponse, Authorization), String> {
        let authorization = self.authorization().await?;
        let mut request = Request::builder()
            .method(method)
            .uri(uri)
            .header("Version", &self.endpoint.api_version)
            .header(ACCEPT, "application/json, application/problem+json");
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(header) = &authorization.header {
            request = request.header(AUTHORIZATION, header);
        }
        let request = request.body(body).map_err(|error| error.to_string())?;
        Ok((self.outbound.exchange(request, true).await?, authorization))
    }

    async fn authorization(&self) -> Result<Authorization, String> {
        let Some(Credential { user, password, token_endpoint }) = &self.endpoint.credential else {
            return Ok(Authorization::default());
        };
        let Some(endpoint) = token_endpoint else {
            let header = Some(basic(Some(user), Some(password))?);
            return Ok(Authorization { header, is_cached_token: false });
        };
        let client = TokenClient { endpoint, id: Some(user), password: Some(password), certified: true };
        Ok(self.tokens.authorization((), &self.outbound, &client).await?)
    }

    fn decision(&self, exchange: Exchange, uri: &str, response: PeerResponse) -> Result<GrantDecision, NfvoError> {
        let PeerResponse { status, headers, body } = response;
        let granted = if exchange == Exchange::Request { StatusCode::CREATED } else { StatusCode::OK };
        match status {
            status if status == granted => {
                let body = body.ok_or_else(|| invalid_grant("is cut off, or larger than 4 MiB"))?;
                // serde's message could quote a credential.
                let grant: Grant = serde_json::from_slice(&body).map_err(|error| {
                    invalid_grant(&format!("is not a valid Grant: line {}, column {}", error.line(), error.column()))
                })?;
                if grant.id.is_empty() || grant.id.len() > MAX_ID {
                    return Err(invalid_grant("has an id that is empty or longer than 255 bytes"));
                }
                let uri = if exchange == Exchange::Request { self.grant_uri(&headers) } else { Some(uri.to_owned()) };
                let uri = uri.unwrap_or_else(|| format!("{}/grants/{}", self.endpoint.url, grant.id));
                Ok(GrantDecision::Granted { grant: Box::new(grant), uri })
            }
            StatusCode::ACCEPTED => {
                let uri = if exchange == Exchange::Request { self.grant_uri(&headers) } else { Some(uri.to_owned()) };
                let uri =
                    uri.ok_or_else(|| invalid_grant("(202) has no Location that ends with the identifier of a grant"))?;
                Ok(GrantDecision::Pending { uri, retry_after: retry_after(&headers) })
            }
            StatusCode::FORBIDDEN => {
                let reason = problem_text(body.as_deref()).unwrap_or_else(|| "it gave no reason".to_owned());
                let problem =
                    problem!(ProblemType::GrantRefused, "the NFVO refused the grant: {reason}", reason = reason);
                Err(NfvoError::Permanent(problem))
            }
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {
                Err(unreachable(answered(status, body.as_deref())))
            }
            status if status.is_server_error() => Err(unreachable(answered(status, body.as_deref()))),
            status => {
                let reason = answered(status, body.as_deref());
                let problem = problem!(ProblemType::GrantFailed, "the NFVO gave no grant: {reason}", reason = reason);
                Err(NfvoError::Permanent(problem))
            }
        }
    }

    /// The URI of the grant: the configured root with the last segment of `Location`.
    fn grant_uri(&self, headers: &HeaderMap) -> Option<String> {
        let location = headers.get(LOCATION)?.to_str().ok()?;
        let path = location.split(['?', '#']).next()?;
        let id = path.trim_end_matches('/').rsplit('/').next()?;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%:@".contains(&byte);
        let is_id =
            !id.is_empty() && id.len() <= MAX_ID && !matches!(id, "." | ".." | "grants") && id.bytes().all(is_plain);
        is_id.then(|| format!("{}/grants/{id}", self.endpoint.url))
    }
}

#[async_trait]
impl Nfvo for GrantClient {
    async fn request_grant(&self, request: &GrantRequest) -> Result<GrantDecision, NfvoError> {
        let uri = format!("{}/grants", self.endpoint.url);
        let body = serde_json::to_string(request).map_err(|error| unreachable(error.to_string()))?;
        self.call(Exchange::Request, &uri, body).await
    }

    /// Uses the configured root, as it may have changed since the request.
    async fn poll_grant(&self, uri: &str) -> Result<GrantDecision, NfvoError> {
        let id = uri.rsplit('/').next().unwrap_or_default();
        self.call(Exchange::Poll, &format!("{}/grants/{id}", self.endpoint.url), String::new()).await
    }
}

fn unreachable(reason: String) -> NfvoError {
    NfvoError::Retryable(problem!(ProblemType::NfvoUnreachable, "the NFVO gave no grant: {reason}", reason = reason,))
}

/// `defect` continues "the NFVO's answer".
fn invalid_grant(defect: &str) -> NfvoError {
    NfvoError::Permanent(problem!(ProblemType::GrantInvalid, "the NFVO's answer {reason}", reason = defect))
}

fn answered(status: StatusCode, body: Option<&[u8]>) -> String {
    match problem_text(body) {
        Some(text) => format!("it answered {status}: {text}"),
        None => format!("it answered {status}"),
    }
}

/// Title and detail of the NFVO's problem details, masked and shortened; `None` if the body contains none.
fn problem_text(body: Option<&[u8]>) -> Option<String> {
    let NfvoProblem { title, detail } = serde_json::from_slice(body?).ok()?;
    let text =
        [title, detail].into_iter().flatten().filter(|text| !text.trim().is_empty()).collect::<Vec<_>>().join(": ");
    let text: String = Mask::default().apply(&text).chars().take(MAX_TEXT).collect();
    (!text.is_empty()).then_some(text)
}

/// The delay in `Retry-After`: seconds, or a date (RFC 9110 clause 10.2.3), which is compared with the response's `Date`.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = |text: &str| OffsetDateTime::parse(text, &Rfc2822).ok();
    let sent = date(headers.get("date")?.to_str().ok()?)?;
    (date(text)? - sent).try_into().ok()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn client() -> GrantClient {
        let (url, api_version) = ("http://nfvo/grant/v1".to_owned(), "1.4.0".to_owned());
        GrantClient::new(NfvoEndpoint { url, api_version, credential: None, outbound: OutboundConfig::default() })
            .unwrap()
    }

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_str(value).unwrap());
        headers
    }

    #[tokio::test]
    async fn uses_only_the_identifier_of_a_location() {
        let client = client();
        for (location, uri) in [
            ("http://nfvo/grant/v1/grants/g-1", Some("http://nfvo/grant/v1/grants/g-1")),
            ("https://evil.example/g-1?x=/y#z", Some("http://nfvo/grant/v1/grants/g-1")),
            ("/grant/v1/grants/g-1/", Some("http://nfvo/grant/v1/grants/g-1")),
            ("http://nfvo/grant/v1/grants", None),
            ("http://nfvo/..", None),
            ("g 1", None),
            ("", None),
        ] {
            assert_eq!(client.grant_uri(&headers("location", location)).as_deref(), uri, "{location}");
        }
        assert_eq!(client.grant_uri(&HeaderMap::new()), None);
    }

    #[test]
    fn reads_both_forms_of_retry_after() {
        assert_eq!(retry_after(&headers("retry-after", "7")), Some(Duration::from_secs(7)));
        let mut dated = headers("retry-after", "Wed, 25 Nov 2026 18:00:30 GMT");
        dated.insert("date", HeaderValue::from_static("Wed, 25 Nov 2026 18:00:00 GMT"));
        assert_eq!(retry_after(&dated), Some(Duration::from_secs(30)));
        for unusable in ["soon", "-1", "99999999999999999999999"] {
            assert_eq!(retry_after(&headers("retry-after", unusable)), None, "{unusable}");
        }
    }

    #[test]
    fn bounds_and_masks_the_text_of_the_nfvo() {
        let body = serde_json::json!({ "title": "No", "detail": format!("password=hunter22 {}", "x".repeat(5000)) });
        let text = problem_text(Some(body.to_string().as_bytes())).unwrap();
        assert!(text.starts_with("No: password=*** xxx") && text.chars().count() == MAX_TEXT, "{text}");
        assert_eq!(problem_text(Some(b"<html>")), None);
        assert_eq!(problem_text(Some(b"{}")), None);
    }

    #[test]
    fn debug_output_hides_the_password() {
        let credential = Credential {
            user: "gybe".to_owned(),
            password: Secret::new("hunter22"),
            token_endpoint: Some("http://tokens".to_owned()),
        };
        let (url, api_version) = ("http://nfvo".to_owned(), "1.4.0".to_owned());
        let shown = format!(
            "{:?}",
            NfvoEndpoint { url, api_version, credential: Some(credential), outbound: OutboundConfig::default() }
        );
        assert!(shown.contains("OAUTH2_CLIENT_CREDENTIALS") && !shown.contains("hunter22"), "{shown}");
    }
}
