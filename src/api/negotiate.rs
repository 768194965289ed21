//! Before a request reaches its handler: whether its `Version` is served and its `Accept` can be met (SOL013 clauses 5.2 and 9),
//! and what `HEAD` and `OPTIONS` are answered. After it: `Allow` with every 405.
//!
//! Lies closest to the routes of all that is around a request. Which resources expect a body is told from their paths, for
//! a handler may have changed something by the time it knows.

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{ACCEPT, ALLOW, HeaderMap, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{Error, web};

use super::Api;
use crate::domain::problem::Problem;
use crate::error::response;
use crate::sol003::{Edition, Interface};

/// Passes the request on if its answer can be as it wants it.
///
/// # Errors
/// Those of the inner service.
pub async fn negotiate(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    // There is nothing to negotiate about what is not there.
    if request.match_pattern().is_some()
        && let Err(problem) = check(&request)
    {
        return Ok(request.into_response(response(&problem)));
    }
    let method = request.method().clone();
    if method == Method::HEAD {
        // Of the answer to a HEAD, the server sends no body.
        request.head_mut().method = Method::GET;
    }
    let mut answer = next.call(request).await?.map_into_boxed_body();
    if answer.status() == StatusCode::METHOD_NOT_ALLOWED {
        let allowed = allowed(answer.headers());
        if method == Method::OPTIONS {
            *answer.response_mut().status_mut() = StatusCode::NO_CONTENT;
        }
        answer.headers_mut().insert(ALLOW, allowed);
    }
    Ok(answer)
}

/// The methods of the routes, and the two that every resource has.
fn allowed(headers: &HeaderMap) -> HeaderValue {
    let routes = headers.get(ALLOW).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let head = if routes.split(", ").any(|method| method == "GET") { ", HEAD" } else { "" };
    let separator = if routes.is_empty() { "" } else { ", " };
    HeaderValue::try_from(format!("{routes}{head}{separator}OPTIONS")).unwrap_or(HeaderValue::from_static("OPTIONS"))
}

fn check(request: &ServiceRequest) -> Result<(), Problem> {
    let (path, method, headers) = (request.path(), request.method(), request.headers());
    let Some((interface, edition, resource)) = below_a_root(path) else { return Ok(()) };
    match headers.get("version") {
        Some(wanted) => check_version(interface, edition, wanted)?,
        None if request.app_data::<web::Data<Api>>().is_some_and(|api| api.profile.version_required) => {
            let served = interface.version(edition);
            return Err(Problem::bad_request(format!("the Version header is missing: send Version: {served}")));
        }
        None => {}
    }
    if is_answered_with_json(resource, method) && !takes(headers, "application/json") {
        let text = format!("{path} is answered with application/json, which the Accept header excludes");
        return Err(Problem::new(406, "not-acceptable", text));
    }
    Ok(())
}

/// The API that serves `path`, and the resource below its root. `api_versions` is for those who don't know the version yet.
fn below_a_root(path: &str) -> Option<(Interface, Edition, &str)> {
    let mut roots =
        Interface::ALL.into_iter().flat_map(|interface| [(interface, Edition::V1), (interface, Edition::V2)]);
    let found = roots.find_map(|(interface, edition)| {
        Some((interface, edition, path.strip_prefix(interface.root(edition))?.strip_prefix('/')?))
    });
    found.filter(|(_, _, resource)| *resource != "api_versions")
}

/// 400 for what is no version, 406 for one that is not served. What follows the number names an implementation and does not
/// matter.
fn check_version(interface: Interface, edition: Edition, wanted: &HeaderValue) -> Result<(), Problem> {
    let served = interface.version(edition);
    let text = wanted.to_str().unwrap_or_default().trim();
    let number = text.split_once("-impl:").map_or(text, |(number, _)| number);
    let is_part = |part: &str| {
        let digits = !part.is_empty() && part.len() <= 9 && part.bytes().all(|byte| byte.is_ascii_digit());
        digits && (part == "0" || !part.starts_with('0'))
    };
    if number.split('.').count() != 3 || !number.split('.').all(is_part) {
        return Err(Problem::bad_request(format!("the Version header must be a version such as {served}")));
    }
    // Package clients of 2.x editions differ in the minor version; nothing that is served to them does.
    let is_lenient = (interface, edition) == (Interface::Packages, Edition::V1);
    let is_served = number == served || (is_lenient && number.starts_with("1."));
    if is_served {
        return Ok(());
    }
    Err(Problem::new(406, "version-not-supported", format!("version {number} is not served here, but {served} is")))
}

/// Whether the answer, if nothing is wrong, has a JSON body.
fn is_answered_with_json(resource: &str, method: &Method) -> bool {
    let last = resource.rsplit('/').next().unwrap_or_default();
    match *method {
        Method::GET | Method::HEAD => {
            !(["package_content", "vnfd", "manifest", "artifacts"].contains(&last) || resource.contains("/artifacts/"))
        }
        Method::POST => ["vnf_instances", "vnf_packages", "subscriptions", "fail"].contains(&last),
        Method::PATCH => resource.starts_with("vnf_packages/"),
        _ => false,
    }
}

/// Whether the Accept header, if there is one, takes `media_type`: the most specific of its ranges decides.
pub fn takes(headers: &HeaderMap, media_type: &str) -> bool {
    let family = media_type.split('/').next().unwrap_or_default();
    let mut decided = (0, true);
    let mut ranges = headers.get_all(ACCEPT).flat_map(|value| value.to_str().unwrap_or_default().split(',')).peekable();
    if ranges.peek().is_some() {
        decided = (0, false);
    }
    for range in ranges {
        let mut parts = range.split(';').map(str::trim);
        let specific = match parts.next().unwrap_or_default().to_ascii_lowercase().as_str() {
            exactly if exactly == media_type => 3,
            "*/*" => 1,
            other if other.strip_suffix("/*") == Some(family) => 2,
            _ => continue,
        };
        let weight = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
        let wanted = weight.is_none_or(|weight| weight.parse::<f32>().is_ok_and(|weight| weight > 0.0));
        if specific > decided.0 {
            decided = (specific, wanted);
        }
    }
    decided.1
}
