//! Content negotiation (SOL013 clauses 5.2 and 9): checks `Version`, `Accept` and `Content-Type` before the handler runs, serves
//! `HEAD` and `OPTIONS`, and sets `Allow` in every 405.
//!
//! [`negotiate`] is the innermost middleware of all paths, [`check_headers`] that of each route. It knows from the path which
//! resources have a JSON response: a handler would know only after it has changed something.

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{ACCEPT, ALLOW, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, TRANSFER_ENCODING};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{Error, web};

use crate::api::context::Api;
use crate::domain::problem::{Problem, ProblemType, problem};
use crate::error::response;
use crate::sol003::{Edition, Interface};

/// Serves `HEAD` and `OPTIONS` from the routes of the resource.
///
/// # Errors
/// Those of the inner service.
pub async fn negotiate(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let method = request.method().clone();
    if method == Method::HEAD {
        // The server drops the body of a response to HEAD.
        request.head_mut().method = Method::GET;
    }
    let mut response = next.call(request).await?.map_into_boxed_body();
    if response.status() == StatusCode::METHOD_NOT_ALLOWED {
        let allowed = allowed(response.headers());
        if method == Method::OPTIONS {
            *response.response_mut().status_mut() = StatusCode::NO_CONTENT;
        }
        response.headers_mut().insert(ALLOW, allowed);
    }
    Ok(response)
}

/// The methods of the routes, and HEAD and OPTIONS, which this middleware serves.
fn allowed(headers: &HeaderMap) -> HeaderValue {
    let routes = headers.get(ALLOW).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let head = if routes.split(", ").any(|method| method == "GET") { ", HEAD" } else { "" };
    let separator = if routes.is_empty() { "" } else { ", " };
    HeaderValue::try_from(format!("{routes}{head}{separator}OPTIONS")).unwrap_or(HeaderValue::from_static("OPTIONS"))
}

/// Calls the handler if it can read the request, and respond as the request demands.
///
/// # Errors
/// Those of the inner service.
pub async fn check_headers(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    match check_version_and_accept(&request).and_then(|()| check_content_type(&request)) {
        Ok(()) => Ok(next.call(request).await?.map_into_boxed_body()),
        Err(problem) => Ok(request.into_response(response(&problem))),
    }
}

fn check_version_and_accept(request: &ServiceRequest) -> Result<(), Problem> {
    let (path, method, headers) = (request.path(), request.method(), request.headers());
    let Some((interface, edition, resource)) = below_a_root(path) else {
        return if path.starts_with("/audit/") { check_accept(path, headers) } else { Ok(()) };
    };
    // Some clients send an empty header for none.
    match headers.get("version").filter(|version| !version.as_bytes().trim_ascii().is_empty()) {
        Some(version) => check_version(interface, edition, version)?,
        None if request.app_data::<web::Data<Api>>().is_some_and(|api| api.profile.version_required) => {
            return Err(problem!(
                ProblemType::BadRequest,
                "the Version header is missing: send Version: {allowed}",
                allowed = interface.version(edition),
            ));
        }
        None => {}
    }
    if responds_with_json(resource, method) { check_accept(path, headers) } else { Ok(()) }
}

/// 406 unless the request takes JSON.
fn check_accept(path: &str, headers: &HeaderMap) -> Result<(), Problem> {
    if accepts(headers, "application/json") {
        return Ok(());
    }
    Err(problem!(
        ProblemType::NotAcceptable,
        "the Accept header excludes {allowed}, the media type of {path}: accept it",
        allowed = "application/json",
        path = path,
    ))
}

/// The media types of packages. A browser sends them, or a PUT without a type, to another site only if that allows it.
const PACKAGE_TYPES: [&str; 3] = ["application/zip", "application/octet-stream", "application/x-zip-compressed"];
/// The body of a PATCH is a merge patch. Clients of Tacker send it as JSON or as plain text, too.
const PATCH_TYPES: [&str; 3] = ["application/merge-patch+json", "application/json", "text/plain"];
const JSON_TYPES: [&str; 1] = ["application/json"];

/// 415 unless the body, if there is one, has a media type of the resource. A body without a type is refused, too: a browser
/// would send it for any page.
fn check_content_type(request: &ServiceRequest) -> Result<(), Problem> {
    let (method, headers) = (request.method(), request.headers());
    let is_package = *method == Method::PUT && request.path().ends_with("/package_content");
    let allowed: &[&str] = match *method {
        Method::PUT if is_package => &PACKAGE_TYPES,
        Method::PATCH => &PATCH_TYPES,
        Method::POST | Method::PUT => &JSON_TYPES,
        _ => return Ok(()),
    };
    let unsupported = |sent: &str| {
        problem!(
            ProblemType::UnsupportedMediaType,
            "Content-Type '{mediaType}' is not supported; send {allowed}",
            mediaType = sent,
            allowed = allowed[0],
        )
    };
    match headers.get(CONTENT_TYPE).map(|value| value.to_str().unwrap_or("?")) {
        Some(sent) if has_body(headers) || is_package => {
            let media_type = sent.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
            if allowed.contains(&media_type.as_str()) { Ok(()) } else { Err(unsupported(&media_type)) }
        }
        None if has_body(headers) && !is_package => Err(unsupported("")),
        _ => Ok(()),
    }
}

fn has_body(headers: &HeaderMap) -> bool {
    headers.contains_key(TRANSFER_ENCODING) || headers.get(CONTENT_LENGTH).is_some_and(|length| length != "0")
}

/// The API that serves `path`, and the path of the resource below its root. `api_versions` is exempt: clients read it before
/// they know a version.
fn below_a_root(path: &str) -> Option<(Interface, Edition, &str)> {
    let mut roots =
        Interface::ALL.into_iter().flat_map(|interface| [(interface, Edition::V1), (interface, Edition::V2)]);
    let root = roots.find_map(|(interface, edition)| {
        Some((interface, edition, path.strip_prefix(interface.root(edition))?.strip_prefix('/')?))
    });
    root.filter(|(_, _, resource)| *resource != "api_versions")
}

/// 400 for a text that is not a version, 406 for a version that is not served. A suffix `-impl:...` names an implementation and
/// is ignored.
fn check_version(interface: Interface, edition: Edition, header: &HeaderValue) -> Result<(), Problem> {
    let served = interface.version(edition);
    let text = header.to_str().unwrap_or_default().trim();
    let number = text.split_once("-impl:").map_or(text, |(number, _)| number);
    let is_part = |part: &str| {
        let digits = !part.is_empty() && part.len() <= 9 && part.bytes().all(|byte| byte.is_ascii_digit());
        digits && (part == "0" || !part.starts_with('0'))
    };
    if number.split('.').count() != 3 || !number.split('.').all(is_part) {
        return Err(problem!(
            ProblemType::BadRequest,
            "the Version header '{value}' is not a version: send Version: {allowed}",
            value = text,
            allowed = served,
        ));
    }
    // Package clients of the 2.x editions send different minor versions; Gybe serves all of them the same.
    let is_lenient = (interface, edition) == (Interface::Packages, Edition::V1);
    let is_served = number == served || (is_lenient && number.starts_with("1."));
    if is_served {
        return Ok(());
    }
    Err(problem!(
        ProblemType::VersionNotSupported,
        "version {version} is not served here: send Version: {allowed}",
        version = number,
        allowed = served,
    ))
}

/// Whether a successful response has a JSON body.
fn responds_with_json(resource: &str, method: &Method) -> bool {
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

/// Whether the `Accept` header allows `media_type`: its most specific range decides. Without the header, all are allowed.
pub fn accepts(headers: &HeaderMap, media_type: &str) -> bool {
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
        let allowed = weight.is_none_or(|weight| weight.parse::<f32>().is_ok_and(|weight| weight > 0.0));
        if specific > decided.0 {
            decided = (specific, allowed);
        }
    }
    decided.1
}
