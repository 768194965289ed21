//! Fetches the content of packages from a URI that a caller names (`upload_from_uri`), and the artifacts that packages list by URL, if the
//! operator allows the host.
//!
//! Gybe reaches servers that its callers don't. So it fetches nothing unless `--package-sources` names the host, checks the
//! address as it does for callbacks ([`crate::outbound::address`]), follows no redirects, and repeats nothing of the
//! response in an error. Time is bounded here until the response begins; [`crate::package::files`] bounds size and time of
//! the body.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::BoxStream;
use http::header::{ACCEPT, AUTHORIZATION, HeaderValue};
use http::{Request, StatusCode, Uri};
use http_body_util::BodyExt as _;
use tokio::time::timeout;
use tokio_util::bytes::Bytes;

use crate::domain::fair_share::Sharer;
use crate::domain::ids::ProjectId;
use crate::domain::package::PackageSource;
use crate::domain::problem::{Problem, ProblemType, chain, problem};
use crate::outbound::address::AddressRules;
use crate::outbound::{Https, LOOP_HEADER, LOOP_ID, OutboundError, basic, certificates, https};
use crate::places::{Place, Places};

/// The head of a response must arrive within this time.
const DEADLINE: Duration = Duration::from_secs(30);
/// Packages fetched concurrently: each may take the largest package size on disk before it is refused.
const CONCURRENCY: usize = 8;
/// Characters of a URI.
const MAX_URI: usize = 2048;

/// The hosts that packages may be fetched from, and the client that does.
pub struct PackageSources {
    hosts: Vec<String>,
    client: Https,
    /// Projects share them.
    places: Arc<Places>,
}

/// The time for the content of an artifact.
const ARTIFACT_DEADLINE: Duration = Duration::from_secs(60);

/// A source that was checked.
#[derive(Debug)]
pub struct FetchRequest {
    /// What is fetched, for errors.
    subject: &'static str,
    uri: Uri,
    authorization: Option<HeaderValue>,
}

/// The right to fetch a package, held until its content has arrived.
pub struct FetchPermit(#[expect(dead_code, reason = "held, not read")] Place);

impl FetchRequest {
    /// The host, which may be shown. Path and query may hold secrets.
    pub fn host(&self) -> &str {
        self.uri.host().unwrap_or_default()
    }
}

impl PackageSources {
    /// Allows `hosts`: each is `host` (at the port of the scheme), `host:port`, or `*` for any; none if it is empty. Servers
    /// are verified with the authorities in the PEM file `ca_file`, or those of the system.
    ///
    /// # Errors
    /// The file can't be used.
    pub fn new(hosts: Vec<String>, ca_file: Option<&Path>) -> Result<Self, OutboundError> {
        let authorities = ca_file.map(certificates).transpose()?.unwrap_or_default();
        let client = https(&AddressRules::default(), &authorities, None)?;
        Ok(Self { hosts, client, places: Places::new(CONCURRENCY) })
    }

    /// Checks that `source` may be fetched.
    ///
    /// # Errors
    /// 400 for an unusable URI or user name, 403 if the operator does not allow the host.
    pub fn request(&self, source: &PackageSource) -> Result<FetchRequest, Problem> {
        if self.hosts.is_empty() {
            let text = "this VNFM fetches no packages: PUT the content to package_content";
            return Err(Problem::new(ProblemType::FetchNotAllowed, text));
        }
        let uri = parse(source.uri.expose()).ok_or_else(|| {
            Problem::bad_request(format!(
                "addressInformation must be an absolute http or https URI of at most {MAX_URI} characters; give user and password in userName and password"
            ))
        })?;
        self.check("packages", &uri)?;
        let (user, password) = (source.user_name.as_deref(), source.password.as_ref());
        let is_ambiguous = user.is_some_and(|user| user.contains(':'));
        if is_ambiguous || (user.is_none() && password.is_some()) {
            return Err(Problem::bad_request("password needs a userName, which can't have a colon"));
        }
        let authorization = user.map(|user| basic(Some(user), password)).transpose().map_err(Problem::bad_request)?;
        Ok(FetchRequest { subject: "package", uri, authorization })
    }

    /// Fetches the artifact that a package lists by `url`.
    ///
    /// # Errors
    /// 400 for an unusable URL, 403 if the operator does not allow the host, 422 if the artifact has more than `most` bytes, 502 with
    /// the reason if it can't be fetched. No error shows path or query of the URL.
    pub async fn artifact(&self, project: &ProjectId, url: &str, most: u64) -> Result<Vec<u8>, Problem> {
        let uri = parse(url).ok_or_else(|| {
            Problem::bad_request(format!(
                "the URL must be absolute, http or https, without user and password, and have at most {MAX_URI} characters"
            ))
        })?;
        self.check("artifacts", &uri)?;
        let request = FetchRequest { subject: "artifact", uri, authorization: None };
        let host = request.host().to_owned();
        let permit = self.permit(project).await;
        let content = async {
            let mut chunks = self.fetch(request, permit).await?;
            let mut content = Vec::new();
            while let Some(chunk) = chunks.next().await {
                let chunk = chunk.map_err(|error| failed("artifact", &host, &chain(&error)))?;
                if (content.len() + chunk.len()) as u64 > most {
                    return Err(problem!(
                        ProblemType::InvalidPackage,
                        "the artifact at {host} has more than the {limit} bytes that are read; split the file",
                        host = host,
                        limit = most,
                    ));
                }
                content.extend_from_slice(&chunk);
            }
            Ok(content)
        };
        let timed_out = || failed("artifact", &host, &format!("it has not arrived within {ARTIFACT_DEADLINE:?}"));
        timeout(ARTIFACT_DEADLINE, content).await.unwrap_or_else(|_| Err(timed_out()))
    }

    /// Checks that `what` may be fetched from the host of `uri`.
    fn check(&self, what: &str, uri: &Uri) -> Result<(), Problem> {
        let host = uri.host().unwrap_or_default().to_ascii_lowercase();
        let port = uri.port_u16();
        let is_allowed = |allowed: &String| match port {
            _ if allowed == "*" => true,
            Some(port) => *allowed == format!("{host}:{port}") || (*allowed == host && port == default_port(uri)),
            None => *allowed == host || *allowed == format!("{host}:{}", default_port(uri)),
        };
        if !self.hosts.iter().any(is_allowed) {
            return Err(problem!(
                ProblemType::FetchNotAllowed,
                "this VNFM fetches no {what} from {host}: the operator can allow it with --package-sources",
                what = what,
                host = host,
            ));
        }
        AddressRules::default().check(uri).map_err(|text| Problem::new(ProblemType::FetchNotAllowed, text))
    }

    /// A permit for the project, if it may have one now.
    ///
    /// # Errors
    /// 503.
    pub fn try_permit(&self, project: &ProjectId) -> Result<FetchPermit, Problem> {
        let place = self.places.try_take(&Sharer::of(project)).ok_or_else(|| {
            problem!(
                ProblemType::Overloaded,
                "too many packages are being fetched for project '{project}': repeat the request later",
                project = project.0.as_str(),
            )
        })?;
        Ok(FetchPermit(place))
    }

    /// A permit, once the project may have one.
    pub async fn permit(&self, project: &ProjectId) -> FetchPermit {
        FetchPermit(self.places.take(&Sharer::of(project)).await)
    }

    /// Sends the request and gives back the content as it arrives.
    ///
    /// # Errors
    /// 502 with the reason.
    pub async fn fetch(
        &self,
        request: FetchRequest,
        permit: FetchPermit,
    ) -> Result<BoxStream<'static, io::Result<Bytes>>, Problem> {
        let host = request.host().to_owned();
        let FetchRequest { subject, uri, authorization } = request;
        let failed = |reason: String| failed(subject, &host, &reason);
        let mut request = Request::get(uri)
            .header(ACCEPT, "application/zip, application/octet-stream, */*;q=0.1")
            .header(LOOP_HEADER, LOOP_ID);
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let request = request.body(String::new()).map_err(|error| failed(error.to_string()))?;
        let response = match timeout(DEADLINE, self.client.request(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(failed(chain(&error))),
            Err(_) => return Err(failed(format!("no answer within {DEADLINE:?}"))),
        };
        match response.status() {
            StatusCode::OK => {
                let content = response.into_body().into_data_stream().map(move |chunk| {
                    let _held = &permit;
                    chunk.map_err(io::Error::other)
                });
                Ok(content.boxed())
            }
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                Err(failed(format!("the answer is {status}; check userName and password")))
            }
            status if status.is_redirection() => {
                Err(failed(format!("the answer is {status}, and redirects are not followed: give the URI it leads to")))
            }
            status => Err(failed(format!("the answer is {status}"))),
        }
    }
}

fn failed(subject: &str, host: &str, reason: &str) -> Problem {
    problem!(
        ProblemType::FetchFailed,
        "the {subject} can't be fetched from {host}: {reason}",
        subject = subject,
        host = host,
        reason = reason,
    )
}

/// An absolute `http` or `https` URI without user and password, which errors would show.
fn parse(uri: &str) -> Option<Uri> {
    let is_usable = |uri: &Uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.host().is_some_and(|host| !host.is_empty())
            && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
    };
    Some(uri).filter(|uri| uri.len() <= MAX_URI).and_then(|uri| uri.parse().ok()).filter(is_usable)
}

fn default_port(uri: &Uri) -> u16 {
    if uri.scheme_str() == Some("https") { 443 } else { 80 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::secret::Secret;

    fn source(uri: &str) -> PackageSource {
        PackageSource { uri: Secret::new(uri), user_name: None, password: None }
    }

    fn status(hosts: &[&str], uri: &str) -> u16 {
        let sources = PackageSources::new(hosts.iter().map(|&host| host.to_owned()).collect(), None).unwrap();
        sources.request(&source(uri)).map_or_else(|problem| problem.status, |_| 202)
    }

    #[test]
    fn fetches_only_from_allowed_hosts() {
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
    fn limits_concurrent_fetches_and_leaves_some_to_other_projects() {
        let sources = PackageSources::new(vec!["*".to_owned()], None).unwrap();
        let [busy, quiet] = ["busy", "quiet"].map(|project| ProjectId(project.to_owned()));
        let held: Vec<_> = std::iter::from_fn(|| sources.try_permit(&busy).ok()).collect();
        assert_eq!(held.len(), CONCURRENCY - 1);
        assert_eq!(sources.try_permit(&busy).err().unwrap().status, 503);
        assert!(sources.try_permit(&quiet).is_ok());
        drop(held);
        assert!(sources.try_permit(&busy).is_ok());
    }

    #[test]
    fn a_password_needs_a_user_name() {
        let sources = PackageSources::new(vec!["*".to_owned()], None).unwrap();
        let with = |user: Option<&str>| PackageSource {
            user_name: user.map(str::to_owned),
            password: Some(Secret::new("s3cr3t")),
            ..source("http://repo.example/")
        };
        for user in [None, Some("a:b")] {
            let problem = sources.request(&with(user)).err().unwrap();
            assert_eq!(problem.status, 400);
            assert!(!problem.detail.contains("s3cr3t"));
        }
        let request = sources.request(&with(Some("a"))).unwrap();
        assert!(request.authorization.unwrap().is_sensitive());
    }
}
