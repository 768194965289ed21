//! From errors to HTTP responses: always `application/problem+json` (RFC 9457, SOL013 clause 6.3).
//!
//! A cause that clients must not see is logged here, once, with its chain and an id that the response carries.

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use actix_web::{HttpResponse, ResponseError};

use crate::clock::{Ids, System};
use crate::domain::problem::{Problem, ProblemType, chain, problem};
use crate::store::{FILTER_DEADLINE, StoreError};

/// The media type of every error body.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// A response other than success.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.detail)]
pub struct ApiError(pub Problem);

impl From<Problem> for ApiError {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        Self(match error {
            StoreError::NotFound => Problem::new(ProblemType::NotFound, "the resource does not exist"),
            StoreError::Stale => Problem::new(
                ProblemType::ConcurrentChange,
                "another client changed the resource: read it again, then repeat the request",
            ),
            StoreError::Duplicate(attribute) => {
                problem!(
                    ProblemType::AlreadyExists,
                    "{attribute} is taken: choose another value",
                    attribute = attribute
                )
            }
            StoreError::Full { what, most } => problem!(
                ProblemType::Conflict,
                "there are {maximum} {what}, which is the limit: delete some that are not used",
                maximum = most,
                what = what,
            ),
            StoreError::QuotaExceeded(exceeded) => exceeded.into(),
            StoreError::InUse => {
                Problem::new(ProblemType::InUse, "other resources use the resource: delete them first")
            }
            StoreError::NamespaceTaken => Problem::new(
                ProblemType::Conflict,
                "VNF instances of another project are in the namespace: terminate them first, or use another namespace",
            ),
            StoreError::NamespaceReserved => Problem::new(
                ProblemType::Conflict,
                "the namespace is registered for another project, or is to be deleted: an administrator sees which at /tenancy/v1/namespaces; use another one, or have it deleted or resynchronised there first",
            ),
            StoreError::Busy(op) => problem!(
                ProblemType::OperationInProgress,
                "operation {vnfLcmOpOccId} of this VNF instance has not ended: wait for it; if it is in FAILED_TEMP, retry it, roll it back or fail it",
                vnfLcmOpOccId = op.to_string(),
            ),
            StoreError::Database(sqlx::Error::PoolTimedOut) => {
                Problem::new(ProblemType::Overloaded, "all database connections are busy: repeat the request later")
            }
            StoreError::FilterDeadline => problem!(
                ProblemType::FilterTooSlow,
                "the filter took longer than {seconds} s and was stopped: add a condition on an attribute that is not in JSON; for op occurrences these are id, vnfInstanceId, operation, operationState, startTime, stateEnteredTime, isAutomaticInvocation, isCancelPending, cancelMode and grantId",
                seconds = FILTER_DEADLINE.as_secs(),
            ),
            error if error.is_locked() => {
                tracing::warn!(error.chain = chain(&error), "request failed: the database is locked");
                Problem::new(
                    ProblemType::Overloaded,
                    "the database is busy with other work, such as a migration, and changed nothing: repeat the request later",
                )
            }
            error if error.is_outage() => {
                tracing::warn!(error.chain = chain(&error), "request failed: the database cannot be reached");
                Problem::new(
                    ProblemType::DatabaseUnreachable,
                    "the database cannot be reached: the request may have taken effect; read the resource, then repeat the request later",
                )
            }
            error => internal(&error),
        })
    }
}

/// A 500. The log has the cause under the id that the client gets.
pub fn internal(error: &(dyn std::error::Error + 'static)) -> Problem {
    let id = System.uuid();
    tracing::error!(error.id = %id, error.chain = chain(error), "request failed with internal error {id}");
    problem!(
        ProblemType::Internal,
        "internal error: give the operator the id {errorId}, under which the log has the cause",
        errorId = id.to_string(),
    )
}

/// A 400 for JSON of another shape: the path in the body and the type expected there. The value may be a secret and is not
/// quoted.
pub fn invalid_body(error: &serde_path_to_error::Error<serde_json::Error>) -> Problem {
    let inner = error.inner();
    let text = inner.to_string();
    let reason = match text.split_once(", expected ") {
        Some((_, expected)) if inner.is_data() => {
            format!("expected {}", readable(expected.split(" at line ").next().unwrap_or_default()))
        }
        _ => text,
    };
    let path = error.path().to_string();
    if path == "." {
        return problem!(ProblemType::BadRequest, "the request body cannot be read: {reason}", reason = reason);
    }
    problem!(ProblemType::BadRequest, "the request body cannot be read: {path}: {reason}", path = path, reason = reason)
}

/// The type that serde expects, in words of JSON.
fn readable(expected: &str) -> String {
    match expected {
        "u8" => format!("a whole number from 0 to {}", u8::MAX),
        "u16" => format!("a whole number from 0 to {}", u16::MAX),
        "u32" => format!("a whole number from 0 to {}", u32::MAX),
        "u64" | "usize" => "a whole number, not below 0".to_owned(),
        "i32" | "i64" => "a whole number".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "a sequence" => "an array".to_owned(),
        "a map" => "an object".to_owned(),
        "unit" => "null".to_owned(),
        structure if structure.starts_with("struct ") => "an object".to_owned(),
        other => other.to_owned(),
    }
}

/// The response for a problem.
pub fn response(problem: &Problem) -> HttpResponse {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = HttpResponse::build(status).json(problem.clone().with_help(""));
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

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only read")]
    struct Body {
        steps: Option<u32>,
        list: Option<Vec<u32>>,
        object: Option<serde_json::Map<String, serde_json::Value>>,
    }

    fn detail(body: &str) -> String {
        let read: Result<Body, _> = serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_str(body));
        invalid_body(&read.unwrap_err()).detail
    }

    #[test]
    fn unreadable_bodies_name_json_types() {
        for steps in ["-1", "\"2\"", "1.5", "4294967296"] {
            let detail = detail(&format!("{{\"steps\": {steps}}}"));
            assert!(detail.ends_with("steps: expected a whole number from 0 to 4294967295"), "{detail}");
        }
        assert!(detail(r#"{"list": 1}"#).ends_with("list: expected an array"));
        assert!(detail(r#"{"object": 1}"#).ends_with("object: expected an object"));
        assert!(detail("7").ends_with("expected an object"));
    }
}
