//! The NFVO's grant interface over HTTP (SOL003 clause 9.4). How requests are made and bounded is [`crate::outbound`]'s.
//!
//! Credentials go to the configured URL only: of the `Location` of a Grant nothing but its last segment, the grant's
//! identifier, is used.

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
use crate::domain::problem::{Problem, ProblemType};
use crate::domain::secret::Secret;
use crate::metrics::GrantMetrics;
use crate::nfvo::{Decision, Nfvo, NfvoError};
use crate::outbound::tokens::{Client, Tokens};
use crate::outbound::{Answer, Authorization, Outbound, OutboundConfig, OutboundError, basic};
use crate::sol003::grant::{Grant, GrantRequest};
use crate::traces::TRACES;

/// A Grant for a VNF of thousands of pods has room.
const MAX_ANSWER: usize = 4 * 1024 * 1024;
/// So much of what the NFVO wrote is told.
const MAX_TEXT: usize = 1000;
/// No identifier of a grant is longer.
const MAX_ID: usize = 255;

/// How the NFVO is reached.
#[derive(Clone)]
pub struct NfvoEndpoint {
    /// Root of its grant interface with the version, such as `https://nfvo/grant/v1`, without a slash at the end.
    pub url: String,
    /// `Version` of requests.
    pub api_version: String,
    /// As whom, if by name.
    pub credential: Option<Credential>,
    /// Addresses, authorities and the certificate.
    pub outbound: OutboundConfig,
}

/// Who Gybe is to the NFVO.
#[derive(Clone)]
pub struct Credential {
    /// User name, or client identifier.
    pub user: String,
    /// The password of it.
    pub password: Secret,
    /// Where a token is had for it (OAUTH2_CLIENT_CREDENTIALS); `None`: it is shown itself (BASIC).
    pub token_endpoint: Option<String>,
}

impl NfvoEndpoint {
    /// Name of the authentication method, as SOL003 spells it.
    pub fn authentication(&self) -> &'static str {
        match &self.credential {
            Some(Credential { token_endpoint: Some(_), .. }) => "OAUTH2_CLIENT_CREDENTIALS",
            Some(Credential { token_endpoint: None, .. }) => "BASIC",
            None => "no password",
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

/// The way to the NFVO.
pub struct GrantClient {
    endpoint: NfvoEndpoint,
    outbound: Outbound,
    tokens: Tokens<()>,
    metrics: GrantMetrics,
}

/// What is read of the NFVO's problem details.
#[derive(Deserialize)]
struct TheirProblem {
    title: Option<String>,
    detail: Option<String>,
}

/// Which of the two exchanges it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asking {
    Ask,
    Look,
}

impl GrantClient {
    /// A client of the grant interface at `endpoint`.
    ///
    /// # Errors
    /// [`OutboundError`].
    pub fn new(endpoint: NfvoEndpoint) -> Result<Self, OutboundError> {
        let outbound = Outbound::new(&endpoint.outbound, MAX_ANSWER)?;
        Ok(Self { endpoint, outbound, tokens: Tokens::default(), metrics: GrantMetrics::default() })
    }

    /// What it counts.
    pub fn metrics(&self) -> GrantMetrics {
        self.metrics.clone()
    }

    async fn call(&self, asking: Asking, uri: &str, body: String) -> Result<Decision, NfvoError> {
        let (begun, method) = (Instant::now(), if asking == Asking::Ask { Method::POST } else { Method::GET });
        let span = tracing::info_span!(target: TRACES, "grant", otel.kind = "client", otel.status_code = Empty,
            otel.name = format!("NFVO {method} grant"), http.request.method = method.as_str(), result = Empty);
        let decision = async {
            let (answer, authorization) = self.exchange(method, uri, body).await.map_err(unreachable)?;
            if answer.status == StatusCode::UNAUTHORIZED && authorization.is_kept_token {
                self.tokens.forget(&());
                return Err(unreachable("it does not take the token any more: the next one is asked for".to_owned()));
            }
            self.understand(asking, uri, answer)
        };
        let decision = decision.instrument(span.clone()).await;
        let result = match &decision {
            Ok(Decision::Granted { .. }) => "granted",
            Ok(Decision::Pending { .. }) => "pending",
            Err(NfvoError::Passing(_)) => "failed",
            Err(NfvoError::Lasting(problem)) if problem.status == 403 => "refused",
            Err(NfvoError::Lasting(_)) => "unusable",
        };
        span.record("result", result);
        if decision.is_err() {
            span.record("otel.status_code", "ERROR");
        }
        self.metrics.exchanged(result, begun.elapsed());
        decision
    }

    async fn exchange(&self, method: Method, uri: &str, body: String) -> Result<(Answer, Authorization), String> {
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
            return Ok(Authorization { header, is_kept_token: false });
        };
        let client = Client { endpoint, id: Some(user), password: Some(password), certified: true };
        self.tokens.authorization((), &self.outbound, &client).await
    }

    fn understand(&self, asking: Asking, uri: &str, answer: Answer) -> Result<Decision, NfvoError> {
        let Answer { status, headers, body } = answer;
        let granted = if asking == Asking::Ask { StatusCode::CREATED } else { StatusCode::OK };
        match status {
            status if status == granted => {
                let body = body.ok_or_else(|| bad_request("is cut off, or larger than 4 MiB"))?;
                // serde's message could quote a credential.
                let grant: Grant = serde_json::from_slice(&body).map_err(|error| {
                    bad_request(&format!("is no Grant, by line {} column {}", error.line(), error.column()))
                })?;
                if grant.id.is_empty() || grant.id.len() > MAX_ID {
                    return Err(bad_request("has an id that is empty or too long"));
                }
                let uri = if asking == Asking::Ask { self.place(&headers) } else { Some(uri.to_owned()) };
                let uri = uri.unwrap_or_else(|| format!("{}/grants/{}", self.endpoint.url, grant.id));
                Ok(Decision::Granted { grant: Box::new(grant), uri })
            }
            StatusCode::ACCEPTED => {
                let uri = if asking == Asking::Ask { self.place(&headers) } else { Some(uri.to_owned()) };
                let uri =
                    uri.ok_or_else(|| bad_request("(202) has no Location that ends in the identifier of a grant"))?;
                Ok(Decision::Pending { uri, retry_after: retry_after(&headers) })
            }
            StatusCode::FORBIDDEN => {
                let said = said(body.as_deref()).unwrap_or_else(|| "without a reason".to_owned());
                let text = format!("the NFVO refused the grant: {said}");
                Err(NfvoError::Lasting(Problem::new(ProblemType::GrantRefused, text)))
            }
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {
                Err(unreachable(answered(status, body.as_deref())))
            }
            status if status.is_server_error() => Err(unreachable(answered(status, body.as_deref()))),
            status => {
                let text = format!("the NFVO gave no grant: {}", answered(status, body.as_deref()));
                Err(NfvoError::Lasting(Problem::new(ProblemType::GrantFailed, text)))
            }
        }
    }

    /// The grant's URI below the configured root, by the last segment of `Location`.
    fn place(&self, headers: &HeaderMap) -> Option<String> {
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
    async fn ask(&self, request: &GrantRequest) -> Result<Decision, NfvoError> {
        let uri = format!("{}/grants", self.endpoint.url);
        let body = serde_json::to_string(request).map_err(|error| unreachable(error.to_string()))?;
        self.call(Asking::Ask, &uri, body).await
    }

    /// The root may have been configured anew since the Grant was asked for: it is the one that counts.
    async fn look(&self, uri: &str) -> Result<Decision, NfvoError> {
        let id = uri.rsplit('/').next().unwrap_or_default();
        self.call(Asking::Look, &format!("{}/grants/{id}", self.endpoint.url), String::new()).await
    }
}

fn unreachable(reason: String) -> NfvoError {
    NfvoError::Passing(Problem::new(ProblemType::NfvoUnreachable, format!("the NFVO gave no grant: {reason}")))
}

/// 502: the Grant is of no use; `what` goes on after "its answer".
fn bad_request(what: &str) -> NfvoError {
    NfvoError::Lasting(Problem::new(ProblemType::GrantInvalid, format!("the NFVO's answer {what}")))
}

fn answered(status: StatusCode, body: Option<&[u8]>) -> String {
    match said(body) {
        Some(said) => format!("it answered {status}: {said}"),
        None => format!("it answered {status}"),
    }
}

/// What the NFVO's problem details say, if the body has some.
fn said(body: Option<&[u8]>) -> Option<String> {
    let TheirProblem { title, detail } = serde_json::from_slice(body?).ok()?;
    let said =
        [title, detail].into_iter().flatten().filter(|text| !text.trim().is_empty()).collect::<Vec<_>>().join(": ");
    let said: String = Mask::default().apply(&said).chars().take(MAX_TEXT).collect();
    (!said.is_empty()).then_some(said)
}

/// Seconds, or a date (RFC 9110 clause 10.2.3), of which the answer's own `Date` says how far off it is.
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
    async fn nothing_but_the_identifier_is_taken_from_a_location() {
        let client = client();
        for (location, place) in [
            ("http://nfvo/grant/v1/grants/g-1", Some("http://nfvo/grant/v1/grants/g-1")),
            ("https://evil.example/g-1?x=/y#z", Some("http://nfvo/grant/v1/grants/g-1")),
            ("/grant/v1/grants/g-1/", Some("http://nfvo/grant/v1/grants/g-1")),
            ("http://nfvo/grant/v1/grants", None),
            ("http://nfvo/..", None),
            ("g 1", None),
            ("", None),
        ] {
            assert_eq!(client.place(&headers("location", location)).as_deref(), place, "{location}");
        }
        assert_eq!(client.place(&HeaderMap::new()), None);
    }

    #[test]
    fn retry_after_is_read_in_both_of_its_forms() {
        assert_eq!(retry_after(&headers("retry-after", "7")), Some(Duration::from_secs(7)));
        let mut dated = headers("retry-after", "Wed, 25 Nov 2026 18:00:30 GMT");
        dated.insert("date", HeaderValue::from_static("Wed, 25 Nov 2026 18:00:00 GMT"));
        assert_eq!(retry_after(&dated), Some(Duration::from_secs(30)));
        for unusable in ["soon", "-1", "99999999999999999999999"] {
            assert_eq!(retry_after(&headers("retry-after", unusable)), None, "{unusable}");
        }
    }

    #[test]
    fn what_the_nfvo_says_is_bounded_and_without_secrets() {
        let body = serde_json::json!({ "title": "No", "detail": format!("password=hunter22 {}", "x".repeat(5000)) });
        let said = said(Some(body.to_string().as_bytes())).unwrap();
        assert!(said.starts_with("No: password=*** xxx") && said.chars().count() == MAX_TEXT, "{said}");
        assert_eq!(super::said(Some(b"<html>")), None);
        assert_eq!(super::said(Some(b"{}")), None);
    }

    #[test]
    fn settings_are_shown_without_the_password() {
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
