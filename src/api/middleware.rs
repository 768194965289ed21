//! Around every request: errors of the framework become `application/problem+json`, and the `Version` header is set.

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, CONTENT_RANGE, CONTENT_TYPE, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{Error, HttpRequest, HttpResponse};

use super::clients;
use crate::config::clients::ErrorType;
use crate::domain::problem::{Problem, ProblemType};
use crate::error::{ApiError, PROBLEM_JSON, response};
use crate::sol003::{Edition, Interface};

/// Passes the request on and dresses the answer. An error of the framework is an answer like any other here.
///
/// # Errors
/// None: what the inner service fails with becomes a response.
pub async fn problem_details(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let version = version(request.path());
    let mut response = next.call(request).await?.map_into_boxed_body();
    let status = response.status();
    if status.is_client_error() || status.is_server_error() {
        response = describe(response, status);
        if clients::error_type(response.request()) == ErrorType::Json {
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
    }
    if let Some(version) = version {
        response.headers_mut().insert(HeaderName::from_static("version"), HeaderValue::from_static(version));
    }
    Ok(response)
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

/// Gives an error answer that has no problem body one, and keeps the headers that belong to its status.
fn describe(answer: ServiceResponse, status: StatusCode) -> ServiceResponse {
    if answer.headers().get(CONTENT_TYPE).is_some_and(|value| value == PROBLEM_JSON) {
        return answer;
    }
    let kept = [ALLOW, CONTENT_RANGE].map(|name| Some((answer.headers().get(&name)?.clone(), name)));
    let method = answer.request().method().clone();
    let path = answer.request().path().to_owned();
    let problem = match status {
        StatusCode::METHOD_NOT_ALLOWED => {
            Problem::new(ProblemType::MethodNotAllowed, format!("{method} is not possible on {path}"))
        }
        StatusCode::NOT_FOUND => Problem::new(ProblemType::NotFound, format!("there is nothing at {path}")),
        StatusCode::RANGE_NOT_SATISFIABLE => {
            Problem::new(ProblemType::RangeNotSatisfiable, "the content does not have the range that was asked for")
        }
        StatusCode::PRECONDITION_FAILED => {
            Problem::new(ProblemType::PreconditionFailed, "the content does not match the conditions of the request")
        }
        status if status.is_server_error() => Problem::new(
            ProblemType::Internal,
            "the request failed: repeat it, and tell the operator if it fails again",
        ),
        status => Problem::new(
            ProblemType::BadRequest,
            status.canonical_reason().unwrap_or("the server refuses the request as it is"),
        ),
    };
    let mut described = response(&problem);
    for (value, name) in kept.into_iter().flatten() {
        described.headers_mut().insert(name, value);
    }
    answer.into_response(described)
}

/// What no resource serves.
///
/// # Errors
/// Always 404.
pub async fn unknown_path(request: HttpRequest) -> Result<HttpResponse, ApiError> {
    Err(Problem::new(ProblemType::NotFound, format!("there is nothing at {}", request.path())).into())
}
