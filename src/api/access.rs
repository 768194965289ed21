//! Around every request that is worked on: its id, its line in the log, its place in the metrics, its trace.
//! (One that [`super::load`] sends away is only counted: logging it would add to the load.)
//!
//! The id is the caller's `X-Request-Id` if that is one, else made here. Whatever is logged on the way carries it, and the
//! answer returns it.

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{Error, web};
use tokio::time::Instant;
use tracing::field::Empty;
use tracing::{Instrument as _, Span};

use super::health;
use crate::clock::{Ids, System};
use crate::error::ApiError;
use crate::metrics::HttpMetrics;
use crate::traces::{self, TRACES};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Passes the request on, counts it and logs it.
///
/// # Errors
/// None: what the inner service fails with is a response by then.
pub async fn observe(
    metrics: web::Data<HttpMetrics>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let begun = Instant::now();
    let id = request_id(request.headers());
    let span = tracing::info_span!("request", request.id = id.to_str().unwrap_or_default());
    let trace = span.in_scope(|| trace(&request));
    let answered = next.call(request).instrument(trace.clone()).instrument(span.clone());
    let mut answer = answered.await?.map_into_boxed_body();
    answer.headers_mut().insert(REQUEST_ID, id);
    span.in_scope(|| record(&metrics, &answer, begun, &trace));
    Ok(answer)
}

/// The request's span, in the trace of the caller if it is in one. Probes are of none.
fn trace(request: &ServiceRequest) -> Span {
    if health::PATHS.contains(&request.path()) {
        return Span::none();
    }
    let span = tracing::info_span!(target: TRACES, "request", otel.kind = "server",
        otel.status_code = Empty, http.request.method = method(request.method()), http.route = Empty,
        http.response.status_code = Empty);
    traces::continue_from(&span, |name| request.headers().get(name)?.to_str().ok());
    span
}

/// A known method, or what stands for all others.
fn method(method: &Method) -> &str {
    const KNOWN: [Method; 7] =
        [Method::GET, Method::POST, Method::PATCH, Method::PUT, Method::DELETE, Method::HEAD, Method::OPTIONS];
    if KNOWN.contains(method) { method.as_str() } else { "_OTHER" }
}

fn request_id(headers: &HeaderMap) -> HeaderValue {
    let theirs = headers.get(REQUEST_ID).filter(|value| is_sane(value.as_bytes()));
    theirs.cloned().unwrap_or_else(|| {
        // A UUID has no character that a header may not have.
        HeaderValue::try_from(System.uuid().to_string()).unwrap_or_else(|_| HeaderValue::from_static("none"))
    })
}

/// Short, and nothing that could be taken for something else in a log.
fn is_sane(id: &[u8]) -> bool {
    (1..=128).contains(&id.len()) && id.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(byte))
}

fn record(metrics: &HttpMetrics, answer: &ServiceResponse, begun: Instant, trace: &Span) {
    let request = answer.request();
    let (method, status, duration) = (method(request.method()), answer.status().as_u16(), begun.elapsed());
    let route = request.match_pattern();
    let shown = route.as_deref().unwrap_or("-");
    if !trace.is_disabled() {
        traces::rename(trace, route.as_deref().map_or_else(|| method.to_owned(), |route| format!("{method} {route}")));
        trace.record("http.route", route.as_deref());
        trace.record("http.response.status_code", status);
        if status >= 500 {
            trace.record("otel.status_code", "ERROR");
        }
    }
    let milliseconds = duration.as_micros() as f64 / 1000.0;
    let error = answer.response().error().and_then(|error| error.as_error::<ApiError>());
    let error = error.and_then(|ApiError(problem)| problem.extra.get("errorId")?.as_str());
    if health::PATHS.contains(&shown) {
        tracing::debug!(
            http.method = method,
            http.route = shown,
            http.status = status,
            duration_ms = milliseconds,
            error.id = error,
            "{method} {shown} {status}"
        );
    } else {
        tracing::info!(
            http.method = method,
            http.route = shown,
            http.status = status,
            duration_ms = milliseconds,
            error.id = error,
            "{method} {shown} {status}"
        );
    }
    metrics.answered(route, method, status, duration);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_that_could_forge_a_log_or_fill_it_is_replaced() {
        for (theirs, sane) in [("req-7f3a/1.2:3", true), ("", false), ("a b", false), ("\"", false), ("{x}", false)] {
            assert_eq!(is_sane(theirs.as_bytes()), sane, "{theirs}");
        }
        assert!(is_sane(&[b'x'; 128]));
        assert!(!is_sane(&[b'x'; 129]));
    }
}
