//! Who may call a handler: a middleware of each route that finds the caller of a request ([`crate::auth`]), asks the policy
//! ([`crate::domain::policy`]), and gives the handler the [`Api`] of the caller's project.
//!
//! It runs before everything that reads the request: whoever has no credential learns nothing and costs little.

use std::rc::Rc;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{Extensions, ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::middleware::Next;
use actix_web::{Error, HttpResponse, web};

use crate::api::context::Api;
use crate::api::tls::PeerCertificate;
use crate::auth::{AuthError, Authenticator, Credentials};
use crate::domain::caller::{Caller, Role};
use crate::domain::policy::{Permission, permission};
use crate::domain::problem::{Problem, ProblemType, problem};
use crate::error::response;

/// Calls the inner service if the caller may send the request.
///
/// # Errors
/// Those of the inner service.
pub async fn authorize(
    authenticator: web::Data<Authenticator>,
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    match allowed_caller(&authenticator, &request).await {
        Ok(caller) => {
            if let Some(caller) = caller {
                act_for(caller, &mut request);
            }
            Ok(next.call(request).await?.map_into_boxed_body())
        }
        Err(refusal) => Ok(request.into_response(refusal)),
    }
}

/// The caller, if the request needs one.
async fn allowed_caller(
    authenticator: &Authenticator,
    request: &ServiceRequest,
) -> Result<Option<Caller>, HttpResponse> {
    if !authenticator.is_on() {
        return Ok(None);
    }
    let route = request.match_pattern().unwrap_or_default();
    let needed = match permission(request.method().as_str(), &route) {
        Some(Permission::Public) => return Ok(None),
        Some(Permission::Needs(role)) => Some(role),
        None => None,
    };
    let headers = |name: &str| request.headers().get_all(name).map(|value| value.as_bytes()).collect();
    let peer = request.peer_addr().map(|address| address.ip());
    let (method, path) = (request.method().as_str(), request.path());
    let certificate = request.conn_data::<PeerCertificate>().map(PeerCertificate::valid).transpose();
    let caller = match certificate {
        Ok(certificate) => {
            let headers = Box::new(headers);
            authenticator.authenticate(&Credentials { headers, peer, certificate, method, path }).await
        }
        Err(error) => Err(error),
    };
    let caller = caller.map_err(|error| unauthenticated(authenticator, error))?;
    match needed {
        Some(role) if caller.has(role) => Ok(Some(caller)),
        _ => Err(response(&role_missing(&caller, needed))),
    }
}

/// From here on the request is of that caller.
fn act_for(caller: Caller, request: &mut ServiceRequest) {
    tracing::debug!(caller.subject, caller.project = caller.project.0, caller.method = caller.method.as_str());
    let Some(api) = request.app_data::<web::Data<Api>>() else { return };
    let mut data = Extensions::new();
    data.insert(web::Data::new(Api { caller, ..Api::clone(api) }));
    // The framework looks in the container that was added last first.
    request.add_data_container(Rc::new(data));
}

fn unauthenticated(authenticator: &Authenticator, error: AuthError) -> HttpResponse {
    let reason = error.to_string();
    match error {
        AuthError::Missing | AuthError::Invalid(_) => {
            let problem = problem!(
                ProblemType::Unauthenticated,
                "{reason}: send a valid credential, of a kind that WWW-Authenticate names",
                reason = reason,
            );
            with_challenges(response(&problem), authenticator)
        }
        AuthError::Throttled { retry_after } => {
            let seconds = retry_after.as_secs().max(1);
            let problem = problem!(
                ProblemType::TooManyAttempts,
                "{reason} with a wrong password: try again in {seconds} s",
                reason = reason,
                seconds = seconds,
            );
            let mut response = response(&problem);
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
            response
        }
        AuthError::Unavailable(_) => response(&problem!(
            ProblemType::AuthenticationUnavailable,
            "{reason}: repeat the request later",
            reason = reason,
        )),
    }
}

fn with_challenges(mut response: HttpResponse, authenticator: &Authenticator) -> HttpResponse {
    debug_assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    for challenge in authenticator.challenges() {
        if let Ok(value) = HeaderValue::try_from(challenge) {
            response.headers_mut().append(WWW_AUTHENTICATE, value);
        }
    }
    response
}

fn role_missing(caller: &Caller, needed: Option<Role>) -> Problem {
    problem!(
        ProblemType::RoleMissing,
        "'{subject}' has the role {role} in project '{project}', and the request needs {needed}: ask an administrator for that role",
        subject = caller.subject.as_str(),
        role = caller.role.map_or("none", Role::as_str),
        project = caller.project.0.as_str(),
        needed = needed.map_or("more than any role has", Role::as_str),
    )
}
