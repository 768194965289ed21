//! An HTTP proxy in front of a VIM's API server. It forwards requests with the caller's bearer token, streams watches,
//! counts requests and injects faults. TLS ends at the proxy, so a client certificate cannot be forwarded: use a token.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use futures::stream::StreamExt as _;
use gybe::domain::vim::VimAccess;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{AUTHORIZATION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use reqwest::StatusCode;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

/// How requests and connections are treated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ProxyFault {
    /// Everything is forwarded.
    None,
    /// Closes all connections, and new ones before the TLS handshake.
    CutOff,
    /// Forwards requests after this delay.
    Slow(Duration),
    /// Responds with this status and `Retry-After: 1` to every n-th request (1: all).
    Answers(StatusCode, usize),
    /// Responds with 503 to requests whose path begins so, as for an API whose server is down.
    SilentApi(&'static str),
    /// Responds with 401 to requests with the bearer token of the first request.
    RefusesFirstToken,
    /// Closes watches after this time.
    DropsWatches(Duration),
    /// Forwards every n-th modifying request, waits for the response, and closes the connection instead of returning
    /// it.
    LosesReplies(usize),
}

/// A running proxy. Dropping it closes all connections.
pub struct FaultProxy {
    address: SocketAddr,
    certificate: String,
    inner: Arc<Inner>,
}

struct Inner {
    upstream: reqwest::Client,
    endpoint: String,
    fault: watch::Sender<ProxyFault>,
    counter: AtomicUsize,
    /// The arrival time of each request.
    seen: watch::Sender<Vec<Instant>>,
    /// Those of lists of objects.
    lists: Mutex<Vec<Instant>>,
    /// The `Authorization` of the first request.
    first_token: OnceLock<HeaderValue>,
}

type Body = UnsyncBoxBody<Bytes, reqwest::Error>;

/// Makes hyper close the connection.
#[derive(Debug, thiserror::Error)]
#[error("cut")]
struct Cut;

impl FaultProxy {
    /// A proxy in front of the API server of `access`.
    pub async fn of(access: &VimAccess) -> Self {
        let (certificate, key) = certificate();
        let authority = reqwest::Certificate::from_pem(access.ca.as_deref().unwrap().as_bytes()).unwrap();
        let upstream = reqwest::Client::builder().tls_certs_only([authority]).http1_only().build().unwrap();
        let inner = Arc::new(Inner {
            upstream,
            endpoint: access.endpoint.clone(),
            fault: watch::Sender::new(ProxyFault::None),
            counter: AtomicUsize::new(0),
            seen: watch::Sender::default(),
            lists: Mutex::default(),
            first_token: OnceLock::new(),
        });
        let tls = server_config(&(certificate.clone(), key));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, TlsAcceptor::from(Arc::new(tls)), Arc::clone(&inner)));
        Self { address, certificate, inner }
    }

    /// `access`, which must have a bearer token, through this proxy.
    pub fn access(&self, access: &VimAccess) -> VimAccess {
        VimAccess {
            endpoint: format!("https://{}", self.address),
            ca: Some(self.certificate.clone()),
            ..access.clone()
        }
    }

    /// Injects `fault` from now on.
    pub fn set(&self, fault: ProxyFault) {
        self.inner.fault.send_replace(fault);
    }

    /// The highest number of requests within `span`, since `from`.
    pub fn peak_requests(&self, span: Duration, from: Instant) -> usize {
        let seen: Vec<Instant> = self.inner.seen.borrow().iter().copied().filter(|at| *at >= from).collect();
        let within = |start: &Instant| seen.iter().filter(|at| *at >= start && **at - *start < span).count();
        seen.iter().map(within).max().unwrap_or(0)
    }

    /// The number of lists of objects since `from`.
    pub fn lists(&self, from: Instant) -> usize {
        self.inner.lists.lock().unwrap().iter().filter(|at| **at >= from).count()
    }

    /// The number of requests since `from`; a connection that was closed counts as one.
    pub fn requests(&self, from: Instant) -> usize {
        requests_since(&self.inner.seen.borrow(), from)
    }

    /// Waits for so many requests since `from`.
    pub async fn wait_for_requests(&self, from: Instant, number: usize) {
        let mut seen = self.inner.seen.subscribe();
        seen.wait_for(|seen| requests_since(seen, from) >= number).await.unwrap();
    }
}

fn requests_since(seen: &[Instant], from: Instant) -> usize {
    seen.iter().filter(|at| **at >= from).count()
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.set(ProxyFault::CutOff);
    }
}

async fn serve(listener: TcpListener, tls: TlsAcceptor, inner: Arc<Inner>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(connection(stream, tls.clone(), Arc::clone(&inner)));
    }
}

async fn connection(stream: TcpStream, tls: TlsAcceptor, inner: Arc<Inner>) {
    let mut fault = inner.fault.subscribe();
    if *fault.borrow() == ProxyFault::CutOff {
        return inner.note();
    }
    let served = async {
        let Ok(stream) = tls.accept(stream).await else { return };
        let service = service_fn(|request| Arc::clone(&inner).answer(request));
        // Closed connections end in an error.
        let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    };
    tokio::select! {
        () = served => {}
        _ = fault.wait_for(|fault| *fault == ProxyFault::CutOff) => {}
    }
}

impl Inner {
    fn note(&self) {
        self.seen.send_modify(|seen| seen.push(Instant::now()));
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Body>, Cut> {
        self.note();
        let number = self.counter.fetch_add(1, Ordering::Relaxed);
        let fault = *self.fault.borrow();
        let watch = request.uri().query().is_some_and(|query| query.contains("watch=true"));
        let changes = request.method() != "GET";
        let selects = request.uri().query().is_some_and(|query| query.contains("Selector="));
        if selects && !watch && !changes {
            self.lists.lock().unwrap().push(Instant::now());
        }
        let token = request.headers().get(AUTHORIZATION);
        let is_first = token.is_some_and(|token| self.first_token.get_or_init(|| token.clone()) == token);
        match fault {
            ProxyFault::Slow(delay) => tokio::time::sleep(delay).await,
            ProxyFault::SilentApi(path) if request.uri().path().starts_with(path) => {
                return Ok(refusal(StatusCode::SERVICE_UNAVAILABLE));
            }
            ProxyFault::RefusesFirstToken if is_first => return Ok(refusal(StatusCode::UNAUTHORIZED)),
            ProxyFault::Answers(status, each) if number.is_multiple_of(each) => return Ok(refusal(status)),
            _ => {}
        }
        let answer = self.pass_on(request).await.map_err(|_| Cut)?;
        match fault {
            ProxyFault::LosesReplies(each) if changes && number.is_multiple_of(each) => {
                // The request takes full effect before the caller sees the error.
                let _ = answer.bytes().await;
                Err(Cut)
            }
            ProxyFault::DropsWatches(after) if watch => Ok(relayed(answer, Some(after))),
            _ => Ok(relayed(answer, None)),
        }
    }

    async fn pass_on(&self, request: Request<Incoming>) -> Result<reqwest::Response, Box<dyn std::error::Error>> {
        let (head, body) = request.into_parts();
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        let mut headers = head.headers;
        headers.remove("host");
        let body = body.collect().await?.to_bytes();
        let request = self.upstream.request(head.method, format!("{}{path}", self.endpoint)).headers(headers);
        Ok(request.body(body).send().await?)
    }
}

/// The streamed response; closed after `cut`.
fn relayed(answer: reqwest::Response, cut: Option<Duration>) -> Response<Body> {
    let mut response = Response::builder().status(answer.status());
    for (name, value) in answer.headers().iter().filter(|(name, _)| *name != "transfer-encoding") {
        response = response.header(name, value);
    }
    let chunks = answer.bytes_stream().map(|chunk| chunk.map(Frame::data));
    let end = async move {
        match cut {
            Some(after) => tokio::time::sleep(after).await,
            None => std::future::pending().await,
        }
    };
    response.body(BodyExt::boxed_unsync(StreamBody::new(chunks.take_until(Box::pin(end))))).unwrap()
}

/// An error response in the form of an API server.
fn refusal(status: StatusCode) -> Response<Body> {
    let text = format!(
        r#"{{"kind":"Status","apiVersion":"v1","metadata":{{}},"status":"Failure","message":"the front says {0}","code":{0}}}"#,
        status.as_u16()
    );
    let body = Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync();
    let response = Response::builder().status(status).header("Content-Type", "application/json");
    response.header("Retry-After", "1").body(body).unwrap()
}

/// A self-signed certificate for 127.0.0.1 and its key.
pub fn certificate() -> (String, String) {
    let folder = TempDir::new().unwrap();
    let [certificate, key] = ["certificate.pem", "key.pem"].map(|name| folder.path().join(name));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=front", "-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-out")
        .arg(&certificate)
        .arg("-keyout")
        .arg(&key)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    [certificate, key].map(|path| std::fs::read_to_string(path).unwrap()).into()
}

/// The configuration of an HTTP/1.1 server with this certificate and key.
pub fn server_config(server: &(String, String)) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(server.0.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(server.1.as_bytes()).unwrap(),
        )
        .unwrap();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    tls
}

/// The configuration of a server with certificate and key `server`, which requires the client certificate `client`.
pub fn requiring_client_certificate(server: &(String, String), client: &(String, String)) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(client.0.as_bytes()).unwrap()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().unwrap();
    let tls = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let own = vec![CertificateDer::from_pem_slice(server.0.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(server.1.as_bytes()).unwrap();
    tls.with_client_cert_verifier(verifier).with_single_cert(own, key).unwrap()
}
