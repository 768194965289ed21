//! A subscriber: an HTTP server that keeps the notifications it is sent and answers as it is told.

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

/// What is to become so within a test does so within this.
const PATIENCE: Duration = Duration::from_secs(120);

/// What it does with a request.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Answers with that status, and that body.
    Status(u16, String),
    /// Redirects to that URI.
    Redirect(String),
    /// Closes the connection without an answer.
    Closes,
    /// Never answers.
    Hangs,
    /// Takes it, and says so when it is told to.
    When(Arc<Notify>),
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Received {
    pub method: String,
    pub path: String,
    pub headers: HeaderMap,
    /// The body; null if it is no JSON.
    pub body: Value,
    /// Whether it was answered with 204.
    pub taken: bool,
}

impl Received {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// What the notification tells: its state, or its type if it has none.
    pub fn tells(&self) -> String {
        let text = self.body["operationState"].as_str().or(self.body["notificationType"].as_str());
        text.unwrap_or_default().to_owned()
    }

    pub fn id(&self) -> String {
        self.body["id"].as_str().unwrap().to_owned()
    }
}

type Rule = Box<dyn Fn(&Received) -> Answer + Send + Sync>;

/// A running subscriber; ends when dropped.
pub struct Subscriber {
    /// Scheme, host and port.
    pub url: String,
    received: watch::Sender<Vec<Received>>,
    rule: Arc<Mutex<Rule>>,
    _server: AbortOnDropHandle<()>,
}

impl Subscriber {
    /// One that takes everything.
    pub async fn start() -> Self {
        Self::listen(None).await
    }

    /// One that takes everything, over TLS.
    pub async fn start_tls(tls: ServerConfig) -> Self {
        Self::listen(Some(TlsAcceptor::from(Arc::new(tls)))).await
    }

    async fn listen(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let received = watch::Sender::new(Vec::new());
        let rule: Arc<Mutex<Rule>> = Arc::new(Mutex::new(Box::new(|_| Answer::Status(204, String::new()))));
        let (keep, answers) = (received.clone(), Arc::clone(&rule));
        let server = tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let (keep, answers, tls) = (keep.clone(), Arc::clone(&answers), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        Some(tls) => {
                            // Who shows no certificate where one is wanted is not heard.
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

    /// What it does from now on.
    pub fn answer(&self, rule: impl Fn(&Received) -> Answer + Send + Sync + 'static) {
        *self.rule.lock().unwrap() = Box::new(rule);
    }

    /// Answers every request with that status from now on.
    pub fn answer_status(&self, status: u16) {
        self.answer(move |_| Answer::Status(status, String::new()));
    }

    /// What came so far.
    pub fn received(&self) -> Vec<Received> {
        self.received.borrow().clone()
    }

    /// What it took so far.
    pub fn taken(&self) -> Vec<Received> {
        self.received().into_iter().filter(|one| one.taken).collect()
    }

    /// What came so far, once it is as wanted.
    pub async fn until(&self, wanted: impl Fn(&[Received]) -> bool) -> Vec<Received> {
        let mut received = self.received.subscribe();
        let seen = tokio::time::timeout(PATIENCE, received.wait_for(|received| wanted(received))).await;
        match seen {
            Ok(received) => received.unwrap().clone(),
            Err(_) => panic!("these are not what was wanted: {:#?}", self.received()),
        }
    }

    /// What it took, once it is so many.
    pub async fn until_taken(&self, number: usize) -> Vec<Received> {
        self.until(|received| received.iter().filter(|one| one.taken).count() >= number).await;
        self.taken()
    }
}

async fn converse(
    connection: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    keep: watch::Sender<Vec<Received>>,
    answers: Arc<Mutex<Rule>>,
) {
    let service = service_fn(|request| respond(request, keep.clone(), Arc::clone(&answers)));
    // Fails where it is told to close the connection.
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
        taken: false,
    };
    let answer = answers.lock().unwrap()(&received);
    received.taken = received.method == "POST" && matches!(&answer, Answer::Status(204, _) | Answer::When(_));
    keep.send_modify(|all| all.push(received));
    let response = Response::builder();
    let response = match answer {
        Answer::Status(status, body) => response.status(status).body(Full::from(body)),
        Answer::Redirect(uri) => response.status(302).header("location", uri).body(Full::default()),
        Answer::Closes => return Err(std::io::Error::other("told to close")),
        Answer::Hangs => pending().await,
        Answer::When(told) => {
            told.notified().await;
            response.status(204).body(Full::default())
        }
    };
    Ok(response.unwrap())
}
