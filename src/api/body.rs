//! Extractors: JSON bodies, identifiers in paths, the interface and the edition of the API root. A body that cannot be read is a
//! 400 that names the place.

use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::str::FromStr;
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest, web};
use serde::de::DeserializeOwned;

use crate::api::load::{self, Load};
use crate::domain::problem::{Problem, ProblemType, problem};
use crate::error::{ApiError, internal, invalid_body};
use crate::lcm::sent::Sent;
use crate::sol003::{Edition, Interface};

/// A JSON body; [`super::negotiate`] has checked its media type. `serde_json` bounds its depth, [`load`] its size, [`BODY_TIMEOUT`] the time that it takes to arrive.
pub struct Json<T>(pub T);

/// A body must arrive within this time.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(30);

impl<T: DeserializeOwned + 'static> FromRequest for Json<T> {
    type Error = ApiError;
    type Future = Pin<Box<dyn Future<Output = Result<Self, ApiError>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, payload) = (request.clone(), payload.take());
        Box::pin(async move { Ok(Self(parse(&received(&request, payload).await?)?)) })
    }
}

impl<T: DeserializeOwned + 'static> FromRequest for Sent<T> {
    type Error = ApiError;
    type Future = Pin<Box<dyn Future<Output = Result<Self, ApiError>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, payload) = (request.clone(), payload.take());
        Box::pin(async move {
            let bytes = received(&request, payload).await?;
            let request = parse(&bytes)?;
            let body = String::from_utf8(bytes).map_err(|error| internal(&error))?;
            Ok(Self { request, body })
        })
    }
}

/// The whole body, within [`BODY_TIMEOUT`].
///
/// # Errors
/// As [`load::body`], and 408.
pub(super) async fn received(request: &HttpRequest, payload: Payload) -> Result<Vec<u8>, ApiError> {
    let missing = || internal(&std::io::Error::other("the route has a body and no load limits"));
    let load = request.app_data::<web::Data<Load>>().ok_or_else(missing)?;
    let received = tokio::time::timeout(BODY_TIMEOUT, load::body(load, request, payload)).await;
    Ok(received.map_err(|_| body_timeout())??)
}

fn body_timeout() -> Problem {
    problem!(
        ProblemType::RequestTimeout,
        "the request body did not arrive within {limit} s: send it again",
        limit = BODY_TIMEOUT.as_secs(),
    )
}

/// Parses a JSON text.
///
/// # Errors
/// 400 that names the path of the wrong value.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // PostgreSQL stores no NUL in texts. Refused here for both databases, before anything is stored.
    if bytes.windows(6).any(|window| window == br"\u0000") {
        return Err(Problem::bad_request(
            "the request body has the character U+0000, which cannot be stored: remove it",
        ));
    }
    // The whole body, also the members that are skipped: some are stored and sent on as they are.
    let text = std::str::from_utf8(bytes).map_err(|_| Problem::bad_request("the request body is not UTF-8"))?;
    // Serde would read an array as the members of a structure, in order.
    if text.trim_start().starts_with('[') {
        return Err(Problem::bad_request("the request body is a JSON array; send an object"));
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| invalid_body(&error))?;
    deserializer.end().map_err(|error| {
        problem!(ProblemType::BadRequest, "the request body cannot be read: {reason}", reason = error.to_string())
    })?;
    Ok(value)
}

/// The `{id}` of a path. A text that is not a UUID is a 404: all identifiers are UUIDs.
pub struct Id<T>(pub T);

impl<T: FromStr> FromRequest for Id<T> {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let text = request.match_info().get("id").unwrap_or_default();
        ready(text.parse().map(Self).map_err(|_| Problem::not_found("resource", text).into()))
    }
}

impl FromRequest for Edition {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(api_root(request))
    }
}

impl FromRequest for Interface {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(api_root(request))
    }
}

/// The data of the API root's scope.
fn api_root<T: Copy + 'static>(request: &HttpRequest) -> Result<T, ApiError> {
    let missing = || internal(&std::io::Error::other("the route is outside of an API root")).into();
    request.app_data::<T>().copied().ok_or_else(missing)
}
