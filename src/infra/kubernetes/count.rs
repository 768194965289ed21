//! Counts and traces the requests to a cluster, between kube's client and the connections: nothing goes past it.

use std::sync::Arc;

use http::{Method, Request, Response, StatusCode, Uri};
use kube::client::Body;
use tokio::time::Instant;
use tower::Service;
use tower::util::{ServiceExt as _, service_fn};
use tracing::field::Empty;
use tracing::{Instrument as _, Span};

use crate::metrics::VimMetrics;
use crate::traces::TRACES;

/// `http`, each of whose requests is counted as one to the cluster at `url`.
pub(super) fn counted<S, B>(
    http: S,
    url: &Uri,
    metrics: &VimMetrics,
) -> impl Service<Request<Body>, Response = Response<B>, Error = S::Error, Future: Send> + Clone + use<S, B>
where
    S: Service<Request<Body>, Response = Response<B>, Future: Send> + Clone + Send,
    B: Send,
    S::Error: Send,
{
    let address = url.port_u16().map_or_else(String::new, |port| format!(":{port}"));
    let vim = metrics.vim(&format!("{}{address}", url.host().unwrap_or_default()));
    let metrics = metrics.clone();
    service_fn(move |request: Request<Body>| {
        let (metrics, vim) = (metrics.clone(), Arc::clone(&vim));
        let verb = verb(&request);
        // The path names kind, namespace and object.
        let span = tracing::info_span!(target: TRACES, "call", otel.name = format!("VIM {verb}"), otel.kind = "client",
            otel.status_code = Empty, server.address = &*vim, http.request.method = request.method().as_str(),
            url.path = request.uri().path(), http.response.status_code = Empty, result = Empty);
        let call = Call { metrics, vim, verb, result: "given-up", begun: Instant::now(), span: span.clone() };
        let answer = http.clone().oneshot(request);
        let answered = async move {
            let answer = answer.await;
            let status = answer.as_ref().ok().map(|answer| answer.status());
            call.span.record("http.response.status_code", status.map(|status| status.as_u16()));
            call.over(status.map_or("unreachable", result));
            answer
        };
        answered.instrument(span)
    })
}

/// A request under way. Counted when it is over, or dropped because nobody waits for its answer any more.
struct Call {
    metrics: VimMetrics,
    vim: Arc<str>,
    verb: &'static str,
    result: &'static str,
    begun: Instant,
    span: Span,
}

impl Call {
    fn over(mut self, result: &'static str) {
        self.result = result;
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.span.record("result", self.result);
        if !matches!(self.result, "ok" | "absent") {
            self.span.record("otel.status_code", "ERROR");
        }
        self.metrics.called(&self.vim, self.verb, self.result, self.begun.elapsed());
    }
}

/// Whether the answer goes on for as long as somebody listens.
pub(super) fn is_watch(request: &Request<Body>) -> bool {
    request.uri().query().is_some_and(|query| query.contains("watch=true"))
}

fn verb(request: &Request<Body>) -> &'static str {
    match *request.method() {
        Method::GET if is_watch(request) => "watch",
        Method::GET => "get",
        Method::POST => "post",
        Method::PATCH => "patch",
        Method::PUT => "put",
        Method::DELETE => "delete",
        _ => "other",
    }
}

fn result(status: StatusCode) -> &'static str {
    match status.as_u16() {
        404 => "absent",
        409 => "conflict",
        429 => "throttled",
        400..500 => "refused",
        500.. => "failed",
        _ => "ok",
    }
}
