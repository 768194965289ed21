//! The outer middleware: turns the framework's errors into `application/problem+json`, and sets the headers of all responses.

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{
    ACCEPT_RANGES, ALLOW, CACHE_CONTROL, CONTENT_RANGE, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue,
    X_CONTENT_TYPE_OPTIONS,
};
use actix_web::middleware::Next;
use actix_web::{Error, HttpRequest, HttpResponse};

use crate::api::{clients, oauth};
use crate::config::clients::ErrorType;
use crate::domain::problem::{Problem, ProblemType, problem};
use crate::error::{ApiError, PROBLEM_JSON, response};
use crate::sol003::{Edition, Interface};

/// Calls the inner service, and adds a problem body to error responses without one.
///
/// # Errors
/// Never fails: actix has already turned its own errors into responses.
pub async fn problem_details(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let version = version(request.path());
    let mut response = next.call(request).await?.map_into_boxed_body();
    let status = response.status();
    if status.is_client_error() || status.is_server_error() {
        response = with_problem_body(response, status);
        if clients::error_type(response.request()) == ErrorType::Json {
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
    }
    if let Some(version) = version {
        response.headers_mut().insert(HeaderName::from_static("version"), HeaderValue::from_static(version));
    }
    set_common_headers(&mut response, version.is_some());
    Ok(response)
}

/// Headers that tell browsers and proxies not to interpret, keep or frame the response; a handler may have set its own. Their names
/// are written as the standards write them (`Location`): several clients compare them with case.
fn set_common_headers(response: &mut ServiceResponse, is_versioned: bool) {
    let common = [
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CACHE_CONTROL, "no-store"),
        (CONTENT_SECURITY_POLICY, "frame-ancestors 'none'"),
    ];
    // Tacker's clients find it in every response. The content of packages has `bytes`.
    let ranges = is_versioned.then_some((ACCEPT_RANGES, "none"));
    for (name, value) in common.into_iter().chain(ranges) {
        if !response.headers().contains_key(&name) {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
    }
    response.response_mut().head_mut().set_camel_case_headers(true);
}

/// The version of the API that serves `path` (SOL013 clause 9.3.3).
fn version(path: &str) -> Option<&'static str> {
    let version = |interface: Interface| {
        let (name, rest) = path.strip_prefix('/')?.split_once('/')?;
        let root = [Edition::V1, Edition::V2].into_iter().find(|edition| path.starts_with(interface.root(*edition)));
        let edition = root.or((rest == "api_versions").then_some(Edition::V2)).filter(|_| name == interface.name())?;
        Some(interface.version(edition))
    };
    Interface::ALL.into_iter().find_map(version)
}

/// Adds a problem body unless the error response has one, or that of RFC 6749. Keeps the headers that belong to the status.
fn with_problem_body(original: ServiceResponse, status: StatusCode) -> ServiceResponse {
    let has_type = |own: &str| original.headers().get(CONTENT_TYPE).is_some_and(|value| value == own);
    if has_type(PROBLEM_JSON) || (original.request().path() == oauth::PATH && has_type("application/json")) {
        return original;
    }
    let headers = [ALLOW, CONTENT_RANGE].map(|name| Some((name.clone(), original.headers().get(&name)?.clone())));
    let mut response = response(&framework_problem(&original, status));
    for (name, value) in headers.into_iter().flatten() {
        response.headers_mut().insert(name, value);
    }
    original.into_response(response)
}

/// The problem for an error response of the framework, which has only a status.
fn framework_problem(original: &ServiceResponse, status: StatusCode) -> Problem {
    let request = original.request();
    match status {
        StatusCode::METHOD_NOT_ALLOWED => {
            let allowed = original.headers().get(ALLOW).and_then(|methods| methods.to_str().ok());
            problem!(
                ProblemType::MethodNotAllowed,
                "{method} is not allowed on {path}; allowed: {allowed}",
                method = request.method().as_str(),
                path = request.path(),
                allowed = allowed.unwrap_or("none"),
            )
        }
        StatusCode::NOT_FOUND => not_found_at(request.path()),
        StatusCode::RANGE_NOT_SATISFIABLE => {
            Problem::new(ProblemType::RangeNotSatisfiable, "the content does not have the range in the Range header")
        }
        StatusCode::PRECONDITION_FAILED => Problem::new(
            ProblemType::PreconditionFailed,
            "the content does not meet the conditions in the request's headers",
        ),
        status if status.is_server_error() => Problem::new(
            ProblemType::Internal,
            "the request failed: repeat it, and tell the operator if it fails again",
        ),
        status => Problem::new(
            ProblemType::BadRequest,
            status.canonical_reason().unwrap_or("the server cannot read the request"),
        ),
    }
}

fn not_found_at(path: &str) -> Problem {
    problem!(ProblemType::NotFound, "there is nothing at {path}", path = path)
}

/// Serves all paths without a resource.
///
/// # Errors
/// Always 404.
pub async fn unknown_path(request: HttpRequest) -> Result<HttpResponse, ApiError> {
    Err(not_found_at(request.path()).into())
}
