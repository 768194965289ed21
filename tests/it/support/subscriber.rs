//! A subscriber: an HTTP server that records notifications and responds as a test specifies.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::pending;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::HeaderMap;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

/// The longest that a test waits for an expected notification.
const PATIENCE: Duration = Duration::from_secs(120);

/// The response to a request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Status and body.
    Status(u16, String),
    /// Status, headers and body.
    With(u16, Vec<(&'static str, String)>, String),
    /// A redirect to that URI.
    Redirect(String),
    /// Closes the connection without a response.
    Closes,
    /// Never responds.
    Hangs,
    /// Responds with 204 after this signal.
    When(Arc<Notify>),
}

/// A received request.
#[derive(Clone, Debug)]
pub struct Received {
    pub method: String,
    pub path: String,
    pub headers: HeaderMap,
    /// The body; null if it is not JSON.
    pub body: Value,
    /// The same as text.
    pub text: String,
    /// Whether the response was 204.
    pub accepted: bool,
}

impl Received {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The operation state of the notification, or its type if it has none.
    pub fn summary(&self) -> String {
        let text = self.body["operationState"].as_str().or(self.body["notificationType"].as_str());
        text.unwrap_or_default().to_owned()
    }

    pub fn id(&self) -> String {
        self.body["id"].as_str().unwrap().to_owned()
    }
}

type Rule = Box<dyn Fn(&Received) -> Reply + Send + Sync>;

/// A running subscriber. It ends when dropped.
pub struct Subscriber {
    /// Its URL: scheme, host and port.
    pub url: String,
    received: watch::Sender<Vec<Received>>,
    rule: Arc<Mutex<Rule>>,
    _server: AbortOnDropHandle<()>,
}

impl Subscriber {
    /// Starts a subscriber that accepts everything.
    pub async fn start() -> Self {
        Self::listen(None).await
    }

    /// Starts a subscriber that accepts everything, over TLS.
    pub async fn start_tls(tls: ServerConfig) -> Self {
        Self::listen(Some(TlsAcceptor::from(Arc::new(tls)))).await
    }

    async fn listen(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let received = watch::Sender::new(Vec::new());
        let rule: Arc<Mutex<Rule>> = Arc::new(Mutex::new(Box::new(|_| Reply::Status(204, String::new()))));
        let (keep, answers) = (received.clone(), Arc::clone(&rule));
        let server = tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let (keep, answers, tls) = (keep.clone(), Arc::clone(&answers), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        Some(tls) => {
                            // A client without the required certificate is ignored.
                            if let Ok(connection) = tls.accept(connection).await {
                                converse(connection, keep, answers).await;
                            }
                        }
                        None => converse(connection, keep, answers).await,
                    }
                });
            }
        });
        Self { url, received, rule, _server: AbortOnDropHandle::new(server) }
    }

    /// Responds by `rule` from now on.
    pub fn answer(&self, rule: impl Fn(&Received) -> Reply + Send + Sync + 'static) {
        *self.rule.lock().unwrap() = Box::new(rule);
    }

    /// Responds to every request with that status from now on.
    pub fn answer_status(&self, status: u16) {
        self.answer(move |_| Reply::Status(status, String::new()));
    }

    /// The requests so far.
    pub fn received(&self) -> Vec<Received> {
        self.received.borrow().clone()
    }

    /// The accepted requests so far.
    pub fn accepted(&self) -> Vec<Received> {
        self.received().into_iter().filter(|one| one.accepted).collect()
    }

    /// Waits until the requests satisfy `wanted` and returns them.
    pub async fn wait_until(&self, wanted: impl Fn(&[Received]) -> bool) -> Vec<Received> {
        let mut received = self.received.subscribe();
        let seen = tokio::time::timeout(PATIENCE, received.wait_for(|received| wanted(received))).await;
        match seen {
            Ok(received) => received.unwrap().clone(),
            Err(_) => panic!("these are not the expected requests: {:#?}", self.received()),
        }
    }

    /// Waits until at least `number` requests are accepted and returns those.
    pub async fn wait_for_accepted(&self, number: usize) -> Vec<Received> {
        self.wait_until(|received| received.iter().filter(|one| one.accepted).count() >= number).await;
        self.accepted()
    }
}

async fn converse(
    connection: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    keep: watch::Sender<Vec<Received>>,
    answers: Arc<Mutex<Rule>>,
) {
    let service = service_fn(|request| respond(request, keep.clone(), Arc::clone(&answers)));
    // An error where the test closes the connection.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(connection), service).await;
}

async fn respond(
    request: Request<Incoming>,
    keep: watch::Sender<Vec<Received>>,
    answers: Arc<Mutex<Rule>>,
) -> Result<Response<Full<Bytes>>, std::io::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
    let mut received = Received {
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        headers: head.headers,
        body: serde_json::from_slice(&body).unwrap_or_default(),
        text: String::from_utf8_lossy(&body).into_owned(),
        accepted: false,
    };
    let answer = answers.lock().unwrap()(&received);
    received.accepted = received.method == "POST" && matches!(&answer, Reply::Status(204, _) | Reply::When(_));
    keep.send_modify(|all| all.push(received));
    let response = Response::builder();
    let response = match answer {
        Reply::Status(status, body) => response.status(status).body(Full::from(body)),
        Reply::With(status, headers, body) => {
            let named = headers.iter().fold(response.status(status), |it, (name, value)| it.header(*name, value));
            named.body(Full::from(body))
        }
        Reply::Redirect(uri) => response.status(302).header("location", uri).body(Full::default()),
        Reply::Closes => return Err(std::io::Error::other("told to close")),
        Reply::Hangs => pending().await,
        Reply::When(signal) => {
            signal.notified().await;
            response.status(204).body(Full::default())
        }
    };
    Ok(response.unwrap())
}
