//! Fetches the content of packages from where callers say that it is (`upload_from_uri`), if the operator lets them.
//!
//! A caller who can have Gybe fetch what he likes reaches what only Gybe's machine reaches. So nothing is fetched unless
//! `--package-sources` names the host; what is connected to is looked at as with callbacks ([`crate::outbound::address`]); no
//! redirect is followed; and what went wrong is told without a word of what the other side answered. Sizes and times
//! are bounded here until the answer begins, and by [`crate::package::files`] from then on.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::BoxStream;
use http::header::{ACCEPT, AUTHORIZATION, HeaderValue};
use http::{Request, StatusCode, Uri};
use http_body_util::BodyExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::bytes::Bytes;

use crate::domain::problem::{Problem, ProblemType, chain};
use crate::domain::secret::Secret;
use crate::outbound::{Https, OutboundError, address, basic, certificates, https};

/// The head of an answer must be there after this.
const DEADLINE: Duration = Duration::from_secs(30);
/// So many packages are fetched at once: each may take the whole package size on disk before it is refused.
const AT_ONCE: usize = 8;
/// A URI may be so long.
const MAX_URI: usize = 2048;

/// Where packages may be had.
pub struct Sources {
    hosts: Vec<String>,
    client: Https,
    places: Arc<Semaphore>,
}

/// Content to be fetched.
pub struct Source {
    uri: Uri,
    authorization: Option<HeaderValue>,
    place: OwnedSemaphorePermit,
}

impl Source {
    /// The host that has it. Path and query could be secrets.
    pub fn host(&self) -> &str {
        self.uri.host().unwrap_or_default()
    }
}

impl Sources {
    /// Those of `hosts`: `host` (at the port of the scheme), `host:port`, or `*` for all there are; if it is empty, none.
    /// Over TLS, the servers are those that the PEM file `ca_file` vouches for, or the system's authorities.
    ///
    /// # Errors
    /// The file is of no use.
    pub fn new(hosts: Vec<String>, ca_file: Option<&Path>) -> Result<Self, OutboundError> {
        let authorities = ca_file.map(certificates).transpose()?.unwrap_or_default();
        let client = https(false, &authorities, None)?;
        Ok(Self { hosts, client, places: Arc::new(Semaphore::new(AT_ONCE)) })
    }

    /// What a caller wants fetched, if it may be.
    ///
    /// # Errors
    /// 400 for what is no URI of this kind, 403 if the operator does not allow it, 503 if too much is being fetched.
    pub fn source(&self, uri: &str, user: Option<&str>, password: Option<&Secret>) -> Result<Source, Problem> {
        let refused = |text: String| Problem::new(ProblemType::FetchNotAllowed, text);
        if self.hosts.is_empty() {
            return Err(refused("this VNFM fetches no packages: PUT the content to package_content".to_owned()));
        }
        let uri = read(uri)?;
        let host = uri.host().unwrap_or_default().to_ascii_lowercase();
        let port = uri.port_u16();
        let is = |allowed: &String| match port {
            _ if allowed == "*" => true,
            Some(port) => *allowed == format!("{host}:{port}") || (*allowed == host && port == default_port(&uri)),
            None => *allowed == host || *allowed == format!("{host}:{}", default_port(&uri)),
        };
        if !self.hosts.iter().any(is) {
            return Err(refused(format!(
                "this VNFM fetches no packages from {host}: the operator can allow it with --package-sources"
            )));
        }
        address::check(&uri, false).map_err(refused)?;
        let is_ambiguous = user.is_some_and(|user| user.contains(':'));
        if is_ambiguous || (user.is_none() && password.is_some()) {
            return Err(Problem::bad_request("password needs a userName, which can't have a colon"));
        }
        let authorization = user.map(|user| basic(Some(user), password)).transpose().map_err(Problem::bad_request)?;
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_| {
            Problem::new(ProblemType::Overloaded, "too many packages are being fetched: repeat the request later")
        })?;
        Ok(Source { uri, authorization, place })
    }

    /// Begins to fetch. The place is held until the content has arrived or is given up.
    ///
    /// # Errors
    /// 502: why it can't be had.
    pub async fn fetch(&self, source: Source) -> Result<BoxStream<'static, io::Result<Bytes>>, Problem> {
        let host = source.host().to_owned();
        let failed = |what: String| {
            Problem::new(ProblemType::FetchFailed, format!("the package can't be had from {host}: {what}"))
        };
        let Source { uri, authorization, place } = source;
        let mut request = Request::get(uri).header(ACCEPT, "application/zip, application/octet-stream, */*;q=0.1");
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let request = request.body(String::new()).map_err(|error| failed(error.to_string()))?;
        let answer = match timeout(DEADLINE, self.client.request(request)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(failed(chain(&error))),
            Err(_) => return Err(failed(format!("no answer within {DEADLINE:?}"))),
        };
        match answer.status() {
            StatusCode::OK => {
                let content = answer.into_body().into_data_stream().map(move |chunk| {
                    let _held = &place;
                    chunk.map_err(io::Error::other)
                });
                Ok(content.boxed())
            }
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                Err(failed(format!("the answer is {status}; see to userName and password")))
            }
            status if status.is_redirection() => {
                Err(failed(format!("the answer is {status}, and redirects are not followed: give the URI it leads to")))
            }
            status => Err(failed(format!("the answer is {status}"))),
        }
    }
}

/// An absolute `http` or `https` URI, without user and password, which would be shown.
fn read(uri: &str) -> Result<Uri, Problem> {
    let is_usable = |uri: &Uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.host().is_some_and(|host| !host.is_empty())
            && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
    };
    let read = Some(uri).filter(|uri| uri.len() <= MAX_URI).and_then(|uri| uri.parse().ok()).filter(is_usable);
    read.ok_or_else(|| {
        Problem::bad_request(format!(
            "addressInformation must be an absolute http or https URI of at most {MAX_URI} characters; user and password are given beside it"
        ))
    })
}

fn default_port(uri: &Uri) -> u16 {
    if uri.scheme_str() == Some("https") { 443 } else { 80 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(hosts: &[&str], uri: &str) -> u16 {
        let sources = Sources::new(hosts.iter().map(|&host| host.to_owned()).collect(), None).unwrap();
        sources.source(uri, None, None).map_or_else(|problem| problem.status, |_| 202)
    }

    #[test]
    fn packages_are_fetched_from_hosts_that_are_allowed_and_no_others() {
        let hosts = ["repo.example", "other.example:8443"];
        for allowed in
            ["http://repo.example/a.csar", "https://REPO.example:443/a.csar?token=x", "https://other.example:8443/"]
        {
            assert_eq!(status(&hosts, allowed), 202, "{allowed}");
        }
        for refused in [
            "http://repo.example:8080/",
            "https://other.example/",
            "http://repo.example.evil/",
            "http://evil/repo.example",
            "http://127.0.0.1/",
        ] {
            assert_eq!(status(&hosts, refused), 403, "{refused}");
            assert_eq!(status(&[], refused), 403);
        }
        assert_eq!(status(&["*"], "http://anything:1/"), 202);
        for never in ["http://169.254.169.254/latest", "http://[fe80::1]/", "http://[::ffff:169.254.169.254]/"] {
            assert_eq!(status(&["*"], never), 403, "{never}");
        }
        for wrong in
            ["", "repo.example", "ftp://repo.example/", "file:///etc/passwd", "http://user:secret@repo.example/"]
        {
            assert_eq!(status(&["*"], wrong), 400, "{wrong}");
        }
    }

    #[test]
    fn only_so_many_are_fetched_at_once() {
        let sources = Sources::new(vec!["*".to_owned()], None).unwrap();
        let fetch = || sources.source("http://repo.example/", None, None);
        let held: Vec<_> = (0..AT_ONCE).map(|_| fetch().unwrap()).collect();
        assert_eq!(fetch().err().unwrap().status, 503);
        drop(held);
        assert!(fetch().is_ok());
    }

    #[test]
    fn a_password_needs_a_user_name() {
        let sources = Sources::new(vec!["*".to_owned()], None).unwrap();
        let secret: Secret = serde_json::from_str("\"s3cr3t\"").unwrap();
        for (user, password) in [(None, Some(&secret)), (Some("a:b"), Some(&secret))] {
            let problem = sources.source("http://repo.example/", user, password).err().unwrap();
            assert_eq!(problem.status, 400);
            assert!(!problem.detail.contains("s3cr3t"));
        }
        let source = sources.source("http://repo.example/", Some("a"), Some(&secret)).unwrap();
        assert!(source.authorization.unwrap().is_sensitive());
    }
}
