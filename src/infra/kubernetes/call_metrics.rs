//! Measures and traces every request to a cluster: a layer between kube's client and the connections.

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

/// `http` with metrics and traces for the cluster at `url`.
pub(super) fn measured<S, B>(
    http: S,
    url: &Uri,
    metrics: &VimMetrics,
) -> impl Service<Request<Body>, Response = Response<B>, Error = S::Error, Future: Send> + Clone + use<S, B>
where
    S: Service<Request<Body>, Response = Response<B>, Future: Send> + Clone + Send,
    B: Send,
    S::Error: Send,
{
    let port = url.port_u16().map_or_else(String::new, |port| format!(":{port}"));
    let vim = metrics.vim(&format!("{}{port}", url.host().unwrap_or_default()));
    let metrics = metrics.clone();
    service_fn(move |request: Request<Body>| {
        let (metrics, vim) = (metrics.clone(), Arc::clone(&vim));
        let verb = verb(&request);
        // The path names kind, namespace and object.
        let span = tracing::info_span!(target: TRACES, "call", otel.name = format!("VIM {verb}"), otel.kind = "client",
            otel.status_code = Empty, server.address = &*vim, http.request.method = request.method().as_str(),
            url.path = request.uri().path(), http.response.status_code = Empty, result = Empty);
        let call = PendingCall { metrics, vim, verb, result: "given-up", begun: Instant::now(), span: span.clone() };
        let answer = http.clone().oneshot(request);
        let answered = async move {
            let answer = answer.await;
            let status = answer.as_ref().ok().map(|answer| answer.status());
            call.span.record("http.response.status_code", status.map(|status| status.as_u16()));
            call.finish(status.map_or("unreachable", result));
            answer
        };
        answered.instrument(span)
    })
}

/// A request under way. It is counted when it is dropped: after its answer, or as `given-up` if its caller stopped waiting.
struct PendingCall {
    metrics: VimMetrics,
    vim: Arc<str>,
    verb: &'static str,
    result: &'static str,
    begun: Instant,
    span: Span,
}

impl PendingCall {
    fn finish(mut self, result: &'static str) {
        self.result = result;
    }
}

impl Drop for PendingCall {
    fn drop(&mut self) {
        self.span.record("result", self.result);
        if !matches!(self.result, "ok" | "absent") {
            self.span.record("otel.status_code", "ERROR");
        }
        self.metrics.called(&self.vim, self.verb, self.result, self.begun.elapsed());
    }
}

/// Whether the request opens a watch, whose answer does not end by itself.
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
