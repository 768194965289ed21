//! Reading requests: JSON bodies, ids in paths, the API and the edition of the root. What can't be read is a 400 that says where.

use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::str::FromStr;
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::http::Method;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::{FromRequest, HttpRequest, web};
use serde::de::DeserializeOwned;

use super::load::{self, Load};
use crate::domain::problem::Problem;
use crate::error::{ApiError, internal, invalid_body};
use crate::sol003::{Edition, Interface};

/// A JSON body. `serde_json` bounds its depth, [`load`] its size, [`BODY_TIMEOUT`] its time.
pub struct Json<T>(pub T);

/// A body must be complete after this long.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(30);

impl<T: DeserializeOwned + 'static> FromRequest for Json<T> {
    type Error = ApiError;
    type Future = Pin<Box<dyn Future<Output = Result<Self, ApiError>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let media_type = media_type(request);
        let (request, payload) = (request.clone(), payload.take());
        Box::pin(async move {
            if let Some(other) = media_type.filter(|media_type| !is_json(media_type, request.method())) {
                let wanted = if request.method() == Method::PATCH { "merge-patch+json" } else { "json" };
                let text = format!("Content-Type '{other}' is not supported; send application/{wanted}");
                return Err(Problem::new(415, "unsupported-media-type", text).into());
            }
            let missing = || internal(&std::io::Error::other("a route outside of the bounds on load has a body"));
            let load = request.app_data::<web::Data<Load>>().ok_or_else(missing)?;
            let bytes = tokio::time::timeout(BODY_TIMEOUT, load::body(load, &request, payload))
                .await
                .map_err(|_| Problem::new(408, "timeout", "the request body did not arrive in time"))??;
            parse(&bytes).map(Self).map_err(ApiError)
        })
    }
}

fn media_type(request: &HttpRequest) -> Option<String> {
    let value = request.headers().get(CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

/// A PATCH is a merge patch; clients of Tacker also send it as JSON or as plain text.
fn is_json(media_type: &str, method: &Method) -> bool {
    match media_type {
        "application/json" => true,
        "application/merge-patch+json" | "text/plain" => method == Method::PATCH,
        _ => false,
    }
}

/// Reads a JSON text; the error names the member.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // PostgreSQL has no NUL in texts; it is refused here, for SQLite too, rather than where it would be stored.
    if bytes.windows(6).any(|window| window == br"\u0000") {
        return Err(Problem::bad_request("the request body has the character U+0000, which can't be stored"));
    }
    // What is skipped of it, too: a text that is none may not be stored, nor sent on.
    let text = std::str::from_utf8(bytes).map_err(|_| Problem::bad_request("the request body is not in UTF-8"))?;
    // Serde would take an array for the members of a structure, in their order.
    if text.trim_start().starts_with('[') {
        return Err(Problem::bad_request("the request body must be a JSON object, and is an array"));
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| invalid_body(&error))?;
    deserializer.end().map_err(|error| Problem::bad_request(format!("the request body can't be read: {error}")))?;
    Ok(value)
}

/// The `{id}` of a path. What is no UUID names nothing that exists: 404.
pub struct Id<T>(pub T);

impl<T: FromStr> FromRequest for Id<T> {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let text = request.match_info().get("id").unwrap_or_default();
        ready(text.parse().map(Self).map_err(|_| Problem::not_found("the resource", text).into()))
    }
}

impl FromRequest for Edition {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(of_the_root(request))
    }
}

impl FromRequest for Interface {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(of_the_root(request))
    }
}

/// What the scope of an API root says of it.
fn of_the_root<T: Copy + 'static>(request: &HttpRequest) -> Result<T, ApiError> {
    let missing =
        || internal(&std::io::Error::other("a route outside of an API root asks for what only one has")).into();
    request.app_data::<T>().copied().ok_or_else(missing)
}
