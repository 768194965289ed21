//! Requests to a server of Gybe.
//!
//! A request whose answer got lost is sent again: a GET and a DELETE mean the same twice, and a POST has an `Idempotency-Key`, by which
//! the server gives its first answer again. So each command acts once.

use std::path::Path;
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, LINK, LOCATION, RETRY_AFTER};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use serde_json::Value;
use tokio::time::{sleep, timeout};
use tokio_util::bytes::Bytes;

use crate::cli::events::Events;
use crate::cli::{CliError, Exit};
use crate::clock::{Ids as _, System};
use crate::domain::problem::{ProblemType, chain};
use crate::domain::secret::Secret;
use crate::outbound::address::{AddressRules, NotToSelf};
use crate::outbound::{bearer, certificates, https};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// For the answer to a request. Drift reads all objects of a VNF.
const DEADLINE: Duration = Duration::from_secs(60);
/// For the answer to an upload.
const UPLOAD_DEADLINE: Duration = Duration::from_secs(50 * 60);
/// The most bytes of an answer.
const MAX_ANSWER: usize = 64 << 20;
/// Attempts of a request.
const ATTEMPTS: u32 = 4;
/// The pause before the second attempt; it doubles with each.
const PAUSE: Duration = Duration::from_millis(300);
/// The longest pause that a server may ask for.
const MAX_PAUSE: Duration = Duration::from_secs(10);
/// The most pages of a list.
const MAX_PAGES: usize = 1000;

/// A server, and the credential for it.
pub struct Server {
    http: Client<HttpsConnector<NotToSelf>, Full<Bytes>>,
    base: String,
    authorization: Option<HeaderValue>,
}

/// The answer to a request that succeeded.
pub struct Answer {
    headers: HeaderMap,
    /// Null if there is none.
    pub body: Value,
}

impl Answer {
    /// The last part of `Location`: the id of what was made.
    pub fn location_id(&self) -> Option<&str> {
        self.headers.get(LOCATION)?.to_str().ok()?.rsplit('/').next()
    }

    /// Path and query of the next page.
    fn next(&self) -> Option<String> {
        // A URL may have commas, which separate links, too.
        let mut links =
            self.headers.get_all(LINK).iter().filter_map(|link| link.to_str().ok()).flat_map(|it| it.split('<'));
        let next = links.find(|link| link.contains("rel=\"next\""))?;
        let uri: Uri = next.split('>').next()?.parse().ok()?;
        uri.path_and_query().map(ToString::to_string)
    }
}

/// A request that can be sent several times.
struct Repeatable<'a> {
    method: Method,
    path: &'a str,
    body: Bytes,
    content_type: Option<&'static str>,
    key: Option<String>,
    deadline: Duration,
}

/// Why an attempt has no answer.
enum Failed {
    /// Another attempt may have one.
    Passing(String, Option<Duration>),
    Final(CliError),
}

impl Server {
    /// # Errors
    /// The URL is none, a token would be sent unencrypted, or the file can't be read.
    pub fn new(url: &str, ca_file: Option<&Path>, token: Option<&Secret>) -> Result<Self, CliError> {
        let wrong = |why: &str| CliError::usage(format!("the server '{url}' can't be used: {why}"));
        let uri: Uri = url.parse().map_err(|_| wrong("write a URL such as https://vnfm.example:9890"))?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(wrong("write a URL such as https://vnfm.example:9890"));
        };
        if !matches!(scheme, "http" | "https") || authority.as_str().contains('@') || uri.path() != "/" {
            return Err(wrong("write scheme http or https, host and port only, such as https://vnfm.example:9890"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let is_local = host == "localhost" || host.parse().is_ok_and(|it: std::net::IpAddr| it.is_loopback());
        if scheme == "http" && token.is_some() && !is_local {
            return Err(wrong("a token is sent to this machine or by https only"));
        }
        let authorities = ca_file.map(certificates).transpose().map_err(|error| CliError::usage(error.to_string()))?;
        let rules = AddressRules { allow_link_local: true, ..AddressRules::default() };
        let http = https(&rules, &authorities.unwrap_or_default(), None);
        let authorization = token.map(bearer).transpose().map_err(CliError::usage)?;
        Ok(Self {
            http: http.map_err(|error| CliError::usage(error.to_string()))?,
            base: format!("{scheme}://{authority}"),
            authorization,
        })
    }

    /// `GET path`.
    ///
    /// # Errors
    /// As the answer says.
    pub async fn get(&self, path: &str) -> Result<Answer, CliError> {
        self.send(Repeatable::new(Method::GET, path)).await
    }

    /// `GET path`; `None` if there is no such thing.
    ///
    /// # Errors
    /// As the answer says.
    pub async fn find(&self, path: &str) -> Result<Option<Value>, CliError> {
        match self.get(path).await {
            Ok(answer) => Ok(Some(answer.body)),
            Err(error) if error.exit == Exit::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All elements of a list.
    ///
    /// # Errors
    /// As the answer says.
    pub async fn list(&self, path: &str) -> Result<Vec<Value>, CliError> {
        let (mut all, mut next) = (Vec::new(), Some(path.to_owned()));
        for _ in 0..MAX_PAGES {
            let Some(path) = next else { return Ok(all) };
            let mut answer = self.get(&path).await?;
            next = answer.next();
            match answer.body.take() {
                Value::Array(elements) => all.extend(elements),
                _ => {
                    return Err(CliError::new(
                        Exit::Unreachable,
                        format!("{path} is no list: is this a server of Gybe?"),
                    ));
                }
            }
        }
        Ok(all)
    }

    /// `POST path` with a new Idempotency-Key.
    ///
    /// # Errors
    /// As the answer says.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Answer, CliError> {
        let request = Repeatable::new(Method::POST, path).json(body);
        self.send(Repeatable { key: Some(System.uuid().to_string()), ..request }).await
    }

    /// `PUT path` with JSON that replaces what is there, so that it means the same twice.
    ///
    /// # Errors
    /// As the answer says.
    pub async fn put(&self, path: &str, body: &Value) -> Result<Answer, CliError> {
        self.send(Repeatable::new(Method::PUT, path).json(body)).await
    }

    /// `PATCH path` with a merge patch. A server may refuse the second one, because nothing is left to change.
    ///
    /// # Errors
    /// As the answer says.
    pub async fn patch(&self, path: &str, patch: &Value) -> Result<Answer, CliError> {
        let request = Repeatable::new(Method::PATCH, path).json(patch);
        self.send(Repeatable { content_type: Some("application/merge-patch+json"), ..request }).await
    }

    /// Uploads a package. Not repeated: a second upload of the same package is refused.
    ///
    /// # Errors
    /// As the answer says.
    pub async fn upload(&self, path: &str, content: Vec<u8>) -> Result<(), CliError> {
        let request = Repeatable {
            body: content.into(),
            content_type: Some("application/zip"),
            deadline: UPLOAD_DEADLINE,
            ..Repeatable::new(Method::PUT, path)
        };
        match self.attempt(&request).await {
            Ok(_) => Ok(()),
            Err(Failed::Final(error)) => Err(error),
            Err(Failed::Passing(reason, _)) => Err(self.unreachable(&reason)),
        }
    }

    /// `DELETE path`. What is gone already is deleted.
    ///
    /// # Errors
    /// As the answer says.
    pub async fn delete(&self, path: &str) -> Result<(), CliError> {
        match self.send(Repeatable::new(Method::DELETE, path)).await {
            Err(error) if error.exit != Exit::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The events of the server, from now on; `None` if it does not send them now.
    pub async fn events(&self) -> Option<Events> {
        self.open_stream("/events/v1", None).await.ok()
    }

    /// The events at `path`, from the one after `last` or from now on. A server that does not answer is asked again, for some time.
    ///
    /// # Errors
    /// As the server answers.
    pub async fn stream(&self, path: &str, last: Option<&str>) -> Result<Events, CliError> {
        self.repeat(async || self.open_stream(path, last).await).await
    }

    async fn open_stream(&self, path: &str, last: Option<&str>) -> Result<Events, Failed> {
        let mut request = self.request(&Repeatable::new(Method::GET, path)).map_err(Failed::Final)?;
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        if let Some(last) = last.and_then(|last| HeaderValue::from_str(last).ok()) {
            request.headers_mut().insert(LAST_EVENT_ID, last);
        }
        let response = timeout(DEADLINE, self.http.request(request)).await;
        let response = response.map_err(|_| Failed::Passing(format!("none within {DEADLINE:?}"), None))?;
        let response = response.map_err(|error| Failed::Passing(chain(&error), None))?;
        let is_stream =
            response.headers().get(CONTENT_TYPE).is_some_and(|it| it.as_bytes().starts_with(b"text/event-stream"));
        if response.status() == StatusCode::OK && is_stream {
            return Ok(Events::new(response.into_body().map_err(|error| error.to_string()).boxed_unsync()));
        }
        let (head, body) = response.into_parts();
        let body = timeout(DEADLINE, Limited::new(body, MAX_ANSWER).collect()).await;
        let body = body.ok().and_then(Result::ok).map(http_body_util::Collected::to_bytes).unwrap_or_default();
        read(Response::from_parts(head, body))?;
        Err(Failed::Final(CliError::new(Exit::Refused, "the server sends no events".to_owned())))
    }

    async fn send(&self, request: Repeatable<'_>) -> Result<Answer, CliError> {
        self.repeat(async || self.attempt(&request).await).await
    }

    /// Makes attempts until one is no passing failure, at most [`ATTEMPTS`].
    async fn repeat<T>(&self, attempt_once: impl AsyncFn() -> Result<T, Failed>) -> Result<T, CliError> {
        let mut pause = PAUSE;
        for attempt in 1.. {
            match attempt_once().await {
                Ok(answer) => return Ok(answer),
                Err(Failed::Final(error)) => return Err(error),
                Err(Failed::Passing(reason, _)) if attempt == ATTEMPTS => return Err(self.unreachable(&reason)),
                Err(Failed::Passing(_, asked)) => sleep(asked.unwrap_or(pause).min(MAX_PAUSE)).await,
            }
            pause *= 2;
        }
        Err(self.unreachable("no attempt was made"))
    }

    fn unreachable(&self, reason: &str) -> CliError {
        let hint = "name another server with --server or GYBE_SERVER, or start one: gybe serve";
        CliError::new(Exit::Unreachable, format!("no answer from {}: {reason}; {hint}", self.base))
    }

    fn request(&self, request: &Repeatable<'_>) -> Result<Request<Full<Bytes>>, CliError> {
        let mut built = Request::builder().method(request.method.clone()).uri(format!("{}{}", self.base, request.path));
        if let Some(authorization) = &self.authorization {
            built = built.header(AUTHORIZATION, authorization);
        }
        if let Some(kind) = request.content_type {
            built = built.header(CONTENT_TYPE, kind);
        }
        if let Some(key) = &request.key {
            built = built.header(IDEMPOTENCY_KEY, key);
        }
        let built = built.body(Full::new(request.body.clone()));
        built.map_err(|_| CliError::usage(format!("'{}' can't be part of a URL; correct the name", request.path)))
    }

    async fn attempt(&self, request: &Repeatable<'_>) -> Result<Answer, Failed> {
        let built = self.request(request).map_err(Failed::Final)?;
        let exchange = async {
            let response = self.http.request(built).await.map_err(|error| Failed::Passing(chain(&error), None))?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, MAX_ANSWER).collect().await;
            let body =
                body.map_err(|error| Failed::Passing(format!("the answer broke off: {error}"), None))?.to_bytes();
            Ok::<_, Failed>(Response::from_parts(head, body))
        };
        let response = timeout(request.deadline, exchange).await;
        let response = response.map_err(|_| Failed::Passing(format!("none within {:?}", request.deadline), None))??;
        read(response)
    }
}

impl<'a> Repeatable<'a> {
    fn new(method: Method, path: &'a str) -> Self {
        Self { method, path, body: Bytes::new(), content_type: None, key: None, deadline: DEADLINE }
    }

    fn json(self, body: &Value) -> Self {
        Self { body: body.to_string().into(), content_type: Some("application/json"), ..self }
    }
}

/// Reads an answer, and the problem of one that refuses the request.
fn read(response: Response<Bytes>) -> Result<Answer, Failed> {
    let (head, body) = response.into_parts();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let status = head.status;
    if status.is_success() {
        return Ok(Answer { headers: head.headers, body });
    }
    let detail = body.get("detail").and_then(Value::as_str).unwrap_or("the answer does not say why");
    let message = format!("{detail} ({status})");
    let asked = head.headers.get(RETRY_AFTER).and_then(|it| it.to_str().ok()?.parse().ok()).map(Duration::from_secs);
    Err(match status.as_u16() {
        401 | 403 => Failed::Final(CliError::new(Exit::Denied, message)),
        404 => Failed::Final(CliError::new(Exit::NotFound, message)),
        408 | 429 | 500.. => Failed::Passing(message, asked),
        _ if body.get("type").is_some_and(|kind| kind == ProblemType::PlanStale.urn()) => {
            Failed::Final(CliError::new(Exit::Stale, message))
        }
        _ => Failed::Final(CliError::new(Exit::Refused, message)),
    })
}

/// A text as part of a query: all but unreserved characters are percent-encoded.
pub fn encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

/// The query of a filter: the attribute has this value.
pub fn equals(attribute: &str, value: &str) -> String {
    format!("filter={}", encoded(&format!("(eq,{attribute},'{}')", value.replace('\'', "''"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_sent_to_this_machine_or_encrypted() {
        rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
        let token = Secret::new("t");
        let with = |url: &str| Server::new(url, None, Some(&token)).err().map(|error| error.to_string());
        for url in ["https://a.test", "http://127.0.0.1:9890", "http://[::1]:1", "http://localhost:9890/"] {
            assert_eq!(with(url), None, "{url}");
        }
        assert!(with("http://a.test:9890").unwrap().contains("a token is sent to this machine or by https only"));
        for url in ["a.test", "ftp://a.test", "https://u:p@a.test", "https://a.test/path", ""] {
            assert!(with(url).unwrap().contains("can't be used: write"), "{url}");
        }
    }

    #[test]
    fn the_next_page_is_on_the_same_server() {
        let next = |link: &'static str| {
            let headers = HeaderMap::from_iter([(LINK, HeaderValue::from_static(link))]);
            Answer { headers, body: Value::Null }.next()
        };
        assert_eq!(next("<https://evil.test/a?b=c>; rel=\"next\"").as_deref(), Some("/a?b=c"));
        assert_eq!(next("</a>; rel=\"prev\""), None);
    }

    #[test]
    fn filters_are_quoted() {
        assert_eq!(equals("a", "x'y"), "filter=%28eq%2Ca%2C%27x%27%27y%27%29");
    }
}
