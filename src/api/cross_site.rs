//! Refuses (403) requests that a page of another web site sends through the browser of somebody who reaches Gybe.
//!
//! A browser lets every page send requests to every address, those on its own machine included. Two checks, for each path and
//! method, tell such requests apart:
//!
//! - `Origin`, or else `Sec-Fetch-Site`, names the site of the page. Only pages of Gybe itself may send requests: those of the host
//!   in `Host`, or of a configured public URL. Programs send neither header.
//! - `Host`, while Gybe listens on loopback. A page can make the name of its own host resolve to 127.0.0.1 (DNS rebinding), and is
//!   then a page of the host in `Host`. So only loopback and the hosts of the public URLs are allowed there. Beyond loopback,
//!   Gybe has names and addresses that it cannot know.
//!
//! It also refuses requests of Gybe itself that come back through a proxy or a name: nobody may act through Gybe on Gybe.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{HOST, HeaderMap, HeaderValue, ORIGIN};
use actix_web::http::uri::Authority;
use actix_web::http::{Method, Uri};
use actix_web::middleware::Next;
use actix_web::{Error, web};

use crate::domain::problem::{Problem, ProblemType, QuotedValues, problem};
use crate::error::response;
use crate::outbound::{LOOP_HEADER, LOOP_ID};

/// A host and a port. The port of `http` and of `https` is none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Site {
    host: String,
    port: Option<u16>,
}

impl Site {
    fn of_authority(text: &str) -> Option<Self> {
        let authority: Authority = text.parse().ok().filter(|_| !text.contains('@'))?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
        Some(Self { host: host.to_ascii_lowercase(), port: authority.port_u16() })
    }

    fn of_url(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let standard = match uri.scheme_str()? {
            "http" => 80,
            "https" => 443,
            _ => return None,
        };
        let site = Self::of_authority(uri.authority()?.as_str())?;
        Some(Self { port: site.port.filter(|port| *port != standard), ..site })
    }

    fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.address().is_some_and(|address| address.to_canonical().is_loopback())
    }

    fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

/// The sites of which pages may send requests.
#[derive(Clone, Debug)]
pub struct OwnSites {
    listens_on_loopback: bool,
    /// Those of the public URLs.
    public: BTreeSet<Site>,
}

impl OwnSites {
    /// The sites of a server that listens on `address`, and which clients reach under `public_urls`.
    pub fn new<'a>(address: SocketAddr, public_urls: impl IntoIterator<Item = &'a str>) -> Self {
        Self {
            listens_on_loopback: address.ip().is_loopback(),
            public: public_urls.into_iter().filter_map(Site::of_url).collect(),
        }
    }

    fn check(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
        let chain = headers.get_all(LOOP_HEADER.as_str()).flat_map(|value| text(value).split(','));
        if chain.into_iter().any(|member| LOOP_ID.as_bytes().eq_ignore_ascii_case(member.trim().as_bytes())) {
            return Err(comes_back());
        }
        let hosts = headers.get_all(HOST).map(text).chain(uri.authority().map(Authority::as_str));
        let hosts: Vec<&str> = hosts.collect();
        if let Some(host) = hosts.iter().find(|host| !self.is_own_host(host)) {
            return Err(self.wrong_host(host));
        }
        let sites: Vec<Site> = hosts.into_iter().filter_map(Site::of_authority).collect();
        let is_own = |origin: &Site| self.public.contains(origin) || sites.contains(origin);
        let mut origins = headers.get_all(ORIGIN).map(text).peekable();
        if origins.peek().is_some() {
            let foreign = origins.find(|origin| !Site::of_url(origin).is_some_and(|site| is_own(&site)));
            return foreign.map_or(Ok(()), |origin| Err(cross_site(ORIGIN.as_str(), origin)));
        }
        match headers.get("sec-fetch-site").map(text) {
            None | Some("same-origin" | "none") => Ok(()),
            Some(_) if is_visit_of_page(method, uri.path(), headers) => Ok(()),
            Some(other) => Err(cross_site("Sec-Fetch-Site", other)),
        }
    }

    fn is_own_host(&self, host: &str) -> bool {
        let is_own = |site: &Site| site.is_loopback() || self.public.iter().any(|public| public.host == site.host);
        !self.listens_on_loopback || Site::of_authority(host).as_ref().is_some_and(is_own)
    }

    fn wrong_host(&self, host: &str) -> Problem {
        let public = self.public.iter().map(|site| site.host.as_str());
        problem!(
            ProblemType::CrossSiteRequest,
            "Host '{host}' is not a host of this server; allowed: {allowed}. A proxy must send one of them, or --public-url must name the host that clients use",
            host = host,
            allowed = ["localhost", "127.0.0.1", "::1"].into_iter().chain(public).collect::<QuotedValues>(),
        )
    }
}

fn text(value: &HeaderValue) -> &str {
    value.to_str().unwrap_or("?")
}

fn cross_site(header: &str, value: &str) -> Problem {
    problem!(
        ProblemType::CrossSiteRequest,
        "{header} '{value}' says that a page of another web site sends this request; only programs and pages of this server may, or of the site in --public-url",
        header = header,
        value = value,
    )
}

fn comes_back() -> Problem {
    let text = "Gybe itself sends this request: a callback URI, token endpoint, package source or VIM leads back to Gybe; name another server";
    Problem::new(ProblemType::CrossSiteRequest, text)
}

/// Whether somebody follows a link of another page to the dashboard or the documentation. That page learns nothing of it.
fn is_visit_of_page(method: &Method, path: &str, headers: &HeaderMap) -> bool {
    let is_visit = headers.get("sec-fetch-mode").is_some_and(|mode| mode == "navigate");
    let is_page = ["/", "/ui"].contains(&path)
        || ["/openapi", "/problems"].iter().any(|root| path == *root || path.starts_with(&format!("{root}/")));
    is_visit && is_page && [Method::GET, Method::HEAD].contains(method)
}

/// Calls the inner service unless the request is one of another site.
///
/// # Errors
/// Those of the inner service.
pub async fn refuse_cross_site(
    sites: web::Data<OwnSites>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    match sites.check(request.method(), request.uri(), request.headers()) {
        Ok(()) => Ok(next.call(request).await?.map_into_boxed_body()),
        Err(problem) => Ok(request.into_response(response(&problem))),
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn is_allowed(sites: &OwnSites, path: &str, headers: &[(&'static str, &str)]) -> bool {
        let request =
            headers.iter().fold(TestRequest::with_uri(path), |request, header| request.append_header(*header));
        let request = request.to_http_request();
        sites.check(&Method::GET, request.uri(), request.headers()).is_ok()
    }

    fn sites(listen: &str) -> OwnSites {
        OwnSites::new(listen.parse().unwrap(), ["https://vnfm.example", "http://gybe.example:9890"])
    }

    #[test]
    fn on_loopback_only_known_hosts_are_allowed() {
        for listen in ["127.0.0.1:9890", "[::1]:9890"] {
            for host in [
                "localhost",
                "LocalHost:9890",
                "localhost.:1",
                "127.0.0.1:9890",
                "127.8.9.1",
                "[::1]:9890",
                "[::ffff:127.0.0.1]",
                "vnfm.example",
                "VNFM.example.:443",
                "gybe.example",
            ] {
                assert!(is_allowed(&sites(listen), "/", &[("Host", host)]), "{host}");
            }
            for host in [
                "attacker.example",
                "127.0.0.1.attacker.example",
                "localhost.attacker.example",
                "localhost@attacker.example",
                "attacker.example@localhost",
                "10.0.0.7:9890",
                "0.0.0.0:9890",
                "[::]",
                "",
                "a b",
                "xvnfm.example",
            ] {
                assert!(!is_allowed(&sites(listen), "/", &[("Host", host)]), "{host}");
                assert!(!is_allowed(&sites(listen), "/", &[("Host", "localhost"), ("Host", host)]), "{host}");
            }
            assert!(!is_allowed(&sites(listen), "http://attacker.example/", &[("Host", "localhost")]));
        }
    }

    #[test]
    fn beyond_loopback_every_host_is_allowed() {
        for host in ["10.0.0.7:9890", "gybe.nfv.svc", "attacker.example"] {
            assert!(is_allowed(&sites("0.0.0.0:9890"), "/", &[("Host", host)]), "{host}");
        }
    }

    #[test]
    fn only_own_pages_may_send_requests() {
        for listen in ["127.0.0.1:9890", "0.0.0.0:9890"] {
            for (host, origin, allowed) in [
                ("127.0.0.1:9890", "http://127.0.0.1:9890", true),
                ("localhost:9890", "http://LOCALHOST:9890", true),
                ("127.0.0.1:9890", "https://vnfm.example", true),
                ("127.0.0.1:9890", "https://vnfm.example:443", true),
                ("vnfm.example", "https://vnfm.example", true),
                ("127.0.0.1:9890", "http://gybe.example:9890", true),
                ("127.0.0.1:9890", "http://127.0.0.1:3000", false),
                ("localhost:9890", "http://127.0.0.1:9890", false),
                ("127.0.0.1:9890", "https://vnfm.example:8443", false),
                ("127.0.0.1:9890", "http://gybe.example", false),
                ("127.0.0.1:9890", "https://attacker.example", false),
                ("127.0.0.1:9890", "null", false),
                ("127.0.0.1:9890", "", false),
                ("127.0.0.1:9890", "file://", false),
                ("127.0.0.1:9890", "https://vnfm.example@attacker.example", false),
            ] {
                let headers = [("Host", host), ("Origin", origin)];
                assert_eq!(
                    is_allowed(&sites(listen), "/vnflcm/v1/vnf_instances", &headers),
                    allowed,
                    "{host} {origin}"
                );
            }
        }
    }

    #[test]
    fn own_requests_do_not_come_back() {
        let sites = sites("0.0.0.0:9890");
        for (chain, allowed) in [("gybe", false), ("cdn.example, Gybe ", false), ("cdn.example", true), ("gybe2", true)]
        {
            assert_eq!(is_allowed(&sites, "/", &[("Host", "x"), ("CDN-Loop", chain)]), allowed, "{chain}");
        }
    }

    #[test]
    fn requests_without_origin_say_by_sec_fetch_site_where_they_come_from() {
        let sites = sites("127.0.0.1:9890");
        for (site, mode, path, allowed) in [
            ("same-origin", "cors", "/vnflcm/v1/vnf_instances", true),
            ("none", "navigate", "/vnflcm/v1/vnf_instances", true),
            ("cross-site", "no-cors", "/vnflcm/v1/vnf_instances", false),
            ("cross-site", "navigate", "/vnflcm/v1/vnf_instances", false),
            ("same-site", "no-cors", "/vnflcm/v1/vnf_instances", false),
            ("cross-site", "navigate", "/problems/conflict", true),
            ("cross-site", "navigate", "/openapi", true),
            ("cross-site", "navigate", "/ui", true),
            ("cross-site", "navigate", "/ui/session", false),
            ("cross-site", "no-cors", "/openapi/vims.json", false),
            ("cross-site", "navigate", "/openapix", false),
        ] {
            let headers = [("Host", "localhost"), ("Sec-Fetch-Site", site), ("Sec-Fetch-Mode", mode)];
            assert_eq!(is_allowed(&sites, path, &headers), allowed, "{site} {mode} {path}");
        }
    }
}
