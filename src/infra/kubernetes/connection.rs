//! The HTTP client of one access to a cluster: connections, TLS and credentials. [`super::client`] keeps such clients.
//!
//! The clients speak HTTP/1.1: an API server limits the streams of one HTTP/2 connection, and the watches of many operations would
//! use them all up. Connections of calls are pooled. Each watch has a connection of its own, which ends with it: a watch that takes
//! a connection from the pool makes the next call wait for a handshake.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures::stream::StreamExt as _;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyStream, StreamBody};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client as HttpClient, Error as HttpError};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::{Body, ClientBuilder, ConfigExt as _};
use kube::{Client, Config};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tower::util::{ServiceExt as _, service_fn};
use tower::{BoxError, Service};

use super::call_metrics::{is_watch, measured};
use super::response_limit::ResponseLimit;
use super::token_source::TokenSource;
use crate::domain::vim::{VimAccess, VimCredential};
use crate::infra::simulated::SimulatedCluster;
use crate::metrics::VimMetrics;
use crate::outbound::address::AddressRules;
use crate::outbound::{LOOP_HEADER, LOOP_ID, OutboundConfig};

/// As whom the API server treats a request, if the credential has the right `impersonate`. The groups of a ServiceAccount follow.
const IMPERSONATE_USER: HeaderName = HeaderName::from_static("impersonate-user");
pub(super) const CONNECT_DEADLINE: Duration = Duration::from_secs(4);
/// A connection that is silent for this long is probed.
const KEEPALIVE: Duration = Duration::from_secs(20);

/// A client for `access`, and where its tokens come from, if they come from a token endpoint.
///
/// # Errors
/// What is wrong with the access, as a text for the caller.
pub(super) fn connect(
    access: &VimAccess,
    metrics: &VimMetrics,
    token_endpoints: &OutboundConfig,
) -> Result<(Client, Option<Arc<TokenSource>>), String> {
    let config = config(access)?;
    let tokens = match &access.credential {
        VimCredential::TokenEndpoint(client) => {
            // As in Tacker, `ssl_ca_cert` has the authorities of both servers.
            let authorities: Vec<_> = config.root_cert.iter().flatten().cloned().map(CertificateDer::from).collect();
            Some(Arc::new(TokenSource::new(client, token_endpoints, &authorities)?))
        }
        _ => None,
    };
    let client = client(&config, metrics, tokens.clone())?;
    Ok((client, tokens))
}

/// A client for a VIM that is simulated: its requests stay in this process.
///
/// # Errors
/// This process simulates no VIM.
pub(super) fn simulated(
    access: &VimAccess,
    metrics: &VimMetrics,
    cluster: Option<&SimulatedCluster>,
) -> Result<(Client, Option<Arc<TokenSource>>), String> {
    let cluster = cluster
        .ok_or("the VIM is simulated: start `gybe serve` with --simulate, or terminate its VNFs with gybe:abandon")?;
    let url = access.endpoint.parse().map_err(|error| format!("its URL is malformed: {error}"))?;
    let cluster = cluster.clone();
    let http = service_fn(move |request| cluster.clone().call(request));
    Ok((ClientBuilder::new(measured(http, &url, metrics), "default").build(), None))
}

fn client(config: &Config, metrics: &VimMetrics, tokens: Option<Arc<TokenSource>>) -> Result<Client, String> {
    let mut tcp = HttpConnector::new_with_resolver(AddressRules::default().resolver());
    // The TLS connector around it checks the scheme.
    tcp.enforce_http(false);
    tcp.set_connect_timeout(Some(CONNECT_DEADLINE));
    // A PATCH is sent in two writes. Without TCP_NODELAY, the second would wait for the delayed ACK of the first, 40 ms.
    tcp.set_nodelay(true);
    // A watch may be silent for long. Probes find a dead connection within a minute.
    tcp.set_keepalive(Some(KEEPALIVE));
    tcp.set_keepalive_interval(Some(KEEPALIVE / 4));
    tcp.set_keepalive_retries(Some(4));
    let tls = config.rustls_https_connector_with_connector(tcp).map_err(|error| error.to_string())?;
    let mut pool = HttpClient::builder(TokioExecutor::new());
    let calls = pool.pool_timer(TokioTimer::new()).build::<_, Body>(tls.clone());
    let watches = pool.pool_max_idle_per_host(0).build::<_, Body>(tls);
    let http = service_fn(move |request| {
        let is_watch = is_watch(&request);
        let answer = if is_watch { &watches } else { &calls }.request(request);
        async move {
            let (head, body) = answer.await?.into_parts();
            // The refusal of a watch is read to its end, like the answer to a call.
            let is_stream = is_watch && head.status.is_success();
            let mut limit = if is_stream { ResponseLimit::per_line() } else { ResponseLimit::whole() };
            let frames = BodyStream::new(body).map(move |frame| {
                let frame = frame?;
                limit.count(frame.data_ref().map_or(&[], |data| data))?;
                Ok::<_, BoxError>(frame)
            });
            Ok::<_, HttpError>(Response::from_parts(head, StreamBody::new(frames)))
        }
    });
    let headers = config.extra_headers_layer().map_err(|error| error.to_string())?;
    let http = measured(http, &config.cluster_url, metrics);
    let http = service_fn(move |request| authorized(http.clone(), tokens.clone(), request));
    let client = ClientBuilder::new(http, config.default_namespace.as_str());
    Ok(client.with_layer(&headers).with_layer(&config.base_uri_layer()).build())
}

/// Sends the request with the present token of the token endpoint, if there is one. If the API server refuses that token, asks for
/// another one and sends the request once more.
async fn authorized<S, B>(
    http: S,
    tokens: Option<Arc<TokenSource>>,
    mut request: Request<Body>,
) -> Result<Response<B>, S::Error>
where
    S: Service<Request<Body>, Response = Response<B>> + Clone,
{
    let Some((tokens, token)) = tokens.and_then(|tokens| Some((tokens.clone(), tokens.current()?))) else {
        return http.oneshot(request).await;
    };
    request.headers_mut().insert(AUTHORIZATION, token.clone());
    let again = copy_of(&request);
    let answer = http.clone().oneshot(request).await?;
    if answer.status() != StatusCode::UNAUTHORIZED {
        return Ok(answer);
    }
    let (Some(mut again), Some(token)) = (again, tokens.renewed(&token).await) else { return Ok(answer) };
    again.headers_mut().insert(AUTHORIZATION, token);
    http.oneshot(again).await
}

fn copy_of(request: &Request<Body>) -> Option<Request<Body>> {
    let mut copy = Request::new(request.body().try_clone()?);
    copy.method_mut().clone_from(request.method());
    copy.uri_mut().clone_from(request.uri());
    copy.headers_mut().clone_from(request.headers());
    Some(copy)
}

fn config(access: &VimAccess) -> Result<Config, String> {
    let url = access.endpoint.parse().map_err(|error| format!("its URL is malformed: {error}"))?;
    let mut config = Config::new(url);
    if config.cluster_url.host().is_none_or(str::is_empty) || config.cluster_url.query().is_some() {
        return Err("its URL must have a host and no query".to_owned());
    }
    AddressRules::default().check(&config.cluster_url)?;
    config.headers.push((LOOP_HEADER, LOOP_ID));
    if let Some(account) = &access.impersonate {
        let user = HeaderValue::try_from(account.user_name()).map_err(|error| error.to_string())?;
        config.headers.push((IMPERSONATE_USER, user));
    }
    config.accept_invalid_certs = access.insecure;
    config.root_cert = match &access.ca {
        Some(pem) => Some(certificates(pem).map_err(|error| format!("its CA is not PEM: {error}"))?),
        // Nothing is verified: do not fail on a system without root certificates.
        None if access.insecure || access.endpoint.starts_with("http://") => Some(Vec::new()),
        None => None,
    };
    match &access.credential {
        VimCredential::BearerToken(token) => {
            // A token that was read from a file may end with a line break.
            let mut bearer = HeaderValue::try_from(format!("Bearer {}", token.expose().trim()))
                .map_err(|_| "its bearer token has characters that no HTTP header may have".to_owned())?;
            bearer.set_sensitive(true);
            config.headers.push((AUTHORIZATION, bearer));
        }
        VimCredential::ClientCertificate { certificate, key } => {
            config.auth_info.client_certificate_data = Some(BASE64.encode(certificate));
            config.auth_info.client_key_data = Some(BASE64.encode(key.expose()).into());
        }
        // [`authorized`] adds the token of each request.
        VimCredential::TokenEndpoint(_) | VimCredential::Simulated => {}
    }
    Ok(config)
}

fn certificates(pem: &str) -> Result<Vec<Vec<u8>>, String> {
    let certificates: Vec<Vec<u8>> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .map(|der| der.map(|der| der.to_vec()).map_err(|error| error.to_string()))
        .collect::<Result<_, _>>()?;
    if certificates.is_empty() { Err("it holds no certificate".to_owned()) } else { Ok(certificates) }
}
