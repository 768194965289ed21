//! From what went wrong to the answer a caller gets: always `application/problem+json` (RFC 9457, SOL013 clause 6.3).
//!
//! A cause that is none of the caller's business is logged once, here, with its whole chain and an id that the answer carries.

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use actix_web::{HttpResponse, ResponseError};

use crate::clock::{Ids, System};
use crate::domain::op_occ::IllegalTransition;
use crate::domain::problem::{Problem, chain};
use crate::store::StoreError;

/// The media type of every error body.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// An answer other than success.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.detail)]
pub struct ApiError(pub Problem);

impl From<Problem> for ApiError {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl From<IllegalTransition> for ApiError {
    fn from(error: IllegalTransition) -> Self {
        Self(Problem::conflict(error.to_string()))
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        Self(match error {
            StoreError::NotFound => Problem::new(404, "not-found", "the resource does not exist"),
            StoreError::Stale => Problem::conflict("the resource was changed meanwhile: read it again and repeat"),
            StoreError::Duplicate(what) => Problem::conflict(format!("{what} is taken")),
            StoreError::InUse => Problem::conflict("the resource is in use"),
            StoreError::Busy(op) => Problem::new(
                409,
                "operation-in-progress",
                format!(
                    "operation {op} of this VNF instance is not over: wait for it; if it is in FAILED_TEMP, retry, roll back or fail it"
                ),
            )
            .with("vnfLcmOpOccId", op.to_string()),
            StoreError::Database(sqlx::Error::PoolTimedOut) => {
                Problem::new(503, "overloaded", "the database has no connection free: repeat the request later")
            }
            error if error.is_outage() => {
                tracing::warn!(error.chain = chain(&error), "request failed as the database can't be reached");
                Problem::new(
                    503,
                    "database-unreachable",
                    "the database can't be reached at the moment: repeat the request later, and before that look whether it took effect",
                )
            }
            error => internal(&error),
        })
    }
}

/// A 500 whose cause is in the log under the id that the caller gets.
pub fn internal(error: &(dyn std::error::Error + 'static)) -> Problem {
    let id = System.uuid();
    tracing::error!(error.id = %id, error.chain = chain(error), "request failed with internal error {id}");
    Problem::new(500, "internal", format!("an internal error happened; the operator finds it in the log under {id}"))
        .with("errorId", id.to_string())
}

/// A 400 for JSON that is not what was expected: where, and what was expected. The value itself may be a secret and is
/// not repeated.
pub fn invalid_body(error: &serde_path_to_error::Error<serde_json::Error>) -> Problem {
    let inner = error.inner();
    let text = inner.to_string();
    let what = match text.split_once(", expected ") {
        Some((_, expected)) if inner.is_data() => {
            format!("expected {}", expected.split(" at line ").next().unwrap_or_default())
        }
        _ => text,
    };
    let path = error.path().to_string();
    let at = if path == "." { String::new() } else { format!("{path}: ") };
    Problem::bad_request(format!("the request body can't be read: {at}{what}"))
}

/// The response for a problem.
pub fn response(problem: &Problem) -> HttpResponse {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = HttpResponse::build(status).json(problem);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("5"));
    }
    response
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        response(&self.0)
    }
}
