//! The access log: a middleware that gives each request an id, a log line, metrics and a trace span. Requests that
//! [`super::load`] rejects are only counted: logging them would add to the load.
//!
//! The id is the client's `X-Request-Id` if it is valid, otherwise a new UUID. Each log line of the request and the response
//! carry it.

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage as _, web};
use tokio::time::Instant;
use tracing::field::Empty;
use tracing::{Instrument as _, Span};

use crate::api::health;
use crate::clock::{Ids, System};
use crate::error::ApiError;
use crate::metrics::HttpMetrics;
use crate::traces::{self, TRACES};

/// The id of a request, for handlers and middleware: an extension of the request.
pub struct RequestId(pub HeaderValue);

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Calls the inner service, then counts and logs the request.
///
/// # Errors
/// None: an error of the inner service is a response by now.
pub async fn observe(
    metrics: web::Data<HttpMetrics>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let start = Instant::now();
    let id = request_id(request.headers());
    request.extensions_mut().insert(RequestId(id.clone()));
    let span = tracing::info_span!("request", request.id = id.to_str().unwrap_or_default());
    let trace = span.in_scope(|| trace(&request));
    let call = next.call(request).instrument(trace.clone()).instrument(span.clone());
    let mut response = call.await?.map_into_boxed_body();
    response.headers_mut().insert(REQUEST_ID, id);
    span.in_scope(|| record(&metrics, &response, start, &trace));
    Ok(response)
}

/// The trace span of the request, a child of the client's span if it sent one. Probes have none.
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

/// A known method, or `_OTHER` for all others, as OpenTelemetry's conventions say.
fn method(method: &Method) -> &str {
    const KNOWN: [Method; 7] =
        [Method::GET, Method::POST, Method::PATCH, Method::PUT, Method::DELETE, Method::HEAD, Method::OPTIONS];
    if KNOWN.contains(method) { method.as_str() } else { "_OTHER" }
}

fn request_id(headers: &HeaderMap) -> HeaderValue {
    let sent = headers.get(REQUEST_ID).filter(|value| is_valid_id(value.as_bytes()));
    sent.cloned().unwrap_or_else(|| {
        // A UUID is always a valid header value.
        HeaderValue::try_from(System.uuid().to_string()).unwrap_or_else(|_| HeaderValue::from_static("none"))
    })
}

/// Whether the id is short and has no character that could forge or break a log line.
fn is_valid_id(id: &[u8]) -> bool {
    (1..=128).contains(&id.len()) && id.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(byte))
}

fn record(metrics: &HttpMetrics, response: &ServiceResponse, start: Instant, trace: &Span) {
    let request = response.request();
    let (method, status, duration) = (method(request.method()), response.status().as_u16(), start.elapsed());
    let route = request.match_pattern();
    let route_name = route.as_deref().unwrap_or("-");
    if !trace.is_disabled() {
        traces::rename(trace, route.as_deref().map_or_else(|| method.to_owned(), |route| format!("{method} {route}")));
        trace.record("http.route", route.as_deref());
        trace.record("http.response.status_code", status);
        if status >= 500 {
            trace.record("otel.status_code", "ERROR");
        }
    }
    let milliseconds = duration.as_micros() as f64 / 1000.0;
    let error = response.response().error().and_then(|error| error.as_error::<ApiError>());
    let error = error.and_then(|ApiError(problem)| problem.extra.get("errorId")?.as_str());
    if health::PATHS.contains(&route_name) {
        tracing::debug!(
            http.method = method,
            http.route = route_name,
            http.status = status,
            duration_ms = milliseconds,
            error.id = error,
            "{method} {route_name} {status}"
        );
    } else {
        tracing::info!(
            http.method = method,
            http.route = route_name,
            http.status = status,
            duration_ms = milliseconds,
            error.id = error,
            "{method} {route_name} {status}"
        );
    }
    metrics.answered(route, method, status, duration);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_request_ids_that_could_forge_or_fill_a_log() {
        for (id, valid) in [("req-7f3a/1.2:3", true), ("", false), ("a b", false), ("\"", false), ("{x}", false)] {
            assert_eq!(is_valid_id(id.as_bytes()), valid, "{id}");
        }
        assert!(is_valid_id(&[b'x'; 128]));
        assert!(!is_valid_id(&[b'x'; 129]));
    }
}
