//! Who may call a handler: a middleware of each route that finds the caller of a request ([`crate::auth`]), asks the policy
//! ([`crate::domain::policy`]), and gives the handler the [`Api`] of the caller's project. Records the request ([`super::audit`]).
//!
//! It runs before everything that reads the request: a sender without a credential learns nothing and costs little.

use std::panic::AssertUnwindSafe;
use std::rc::Rc;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{Extensions, ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderMap, HeaderValue, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage as _, HttpRequest, HttpResponse, web};
use futures::FutureExt as _;
use tracing::Instrument as _;

use crate::api::context::Api;
use crate::api::load::Load;
use crate::api::tls::PeerCertificate;
use crate::api::{audit, sessions};
use crate::auth::{AuthError, Authenticator, Credentials};
use crate::domain::caller::{Caller, Role};
use crate::domain::policy::{Permission, permission};
use crate::domain::problem::{Problem, ProblemType, problem};
use crate::error::{ApiError, internal, response};
use crate::places::Place;

/// Calls the inner service if the caller may send the request.
///
/// # Errors
/// Those of the inner service.
pub async fn authorize(
    authenticator: web::Data<Authenticator>,
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    if !authenticator.is_on() {
        return Ok(next.call(request).await?.map_into_boxed_body());
    }
    match caller(&authenticator, &request).await {
        Sender::Anybody => Ok(next.call(request).await?.map_into_boxed_body()),
        Sender::Allowed(caller, place) => {
            if let Some(place) = place {
                request.extensions_mut().insert(place);
            }
            act_for(&caller, &mut request);
            let Some(record) = audit::Pending::of(request.request(), Some(&caller)) else {
                return Ok(next.call(request).await?.map_into_boxed_body());
            };
            // Dropping the connection drops this future, and not the task: whatever has an effect has a record.
            in_task(recorded(record, request, next)).await
        }
        Sender::Refused(caller, refusal) => {
            let record = audit::Pending::of(request.request(), caller.as_ref());
            let answer = request.into_response(refusal);
            let Some(record) = record else { return Ok(answer) };
            in_task(async move {
                record.keep(answer.status(), None).await;
                Ok(answer)
            })
            .await
        }
    }
}

async fn in_task(
    work: impl Future<Output = Result<ServiceResponse, Error>> + 'static,
) -> Result<ServiceResponse, Error> {
    actix_web::rt::spawn(work.in_current_span()).await.map_err(|error| ApiError(internal(&error)))?
}

/// Calls the handler and records the request, also if the handler panics: it may have had an effect.
async fn recorded(
    record: audit::Pending,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse, Error> {
    match AssertUnwindSafe(next.call(request)).catch_unwind().await {
        Ok(Ok(answer)) => {
            record.keep(answer.status(), answer.headers().get(LOCATION)).await;
            Ok(answer.map_into_boxed_body())
        }
        Ok(Err(error)) => {
            record.keep(error.as_response_error().status_code(), None).await;
            Err(error)
        }
        Err(_) => {
            record.keep(StatusCode::INTERNAL_SERVER_ERROR, None).await;
            Err(ApiError(internal(&std::io::Error::other("the handler panicked"))).into())
        }
    }
}

/// Who sends a request.
enum Sender {
    /// The request is for everybody.
    Anybody,
    /// With the place of its project among the requests; the listener of probes has none.
    Allowed(Caller, Option<Place>),
    /// Somebody who may not send it or sends too many, or nobody whom Gybe knows.
    Refused(Option<Caller>, HttpResponse),
}

async fn caller(authenticator: &Authenticator, request: &ServiceRequest) -> Sender {
    let route = request.match_pattern().unwrap_or_default();
    let needed = match permission(request.method().as_str(), &route) {
        Some(Permission::Public) => return Sender::Anybody,
        Some(Permission::Needs(role)) => Some(role),
        None => None,
    };
    let caller = match identify(authenticator, request.request()).await {
        Ok(caller) => caller,
        Err(ApiError(problem)) => return Sender::Refused(None, response(&problem)),
    };
    match caller {
        Ok(caller) if needed.is_some_and(|role| caller.has(role)) => match place(request, &caller) {
            Ok(place) => Sender::Allowed(caller, place),
            Err(problem) => Sender::Refused(Some(caller), response(&problem)),
        },
        Ok(caller) => {
            let refusal = response(&role_missing(&caller, needed));
            Sender::Refused(Some(caller), refusal)
        }
        Err(error) => Sender::Refused(None, unauthenticated(authenticator, request.headers(), error)),
    }
}

/// The caller of a request, by the session of a browser or by the credential that the request carries itself.
///
/// # Errors
/// Whatever says nothing about the credential: the store failed, or a page of another web site may have sent the request.
pub(super) async fn identify(
    authenticator: &Authenticator,
    request: &HttpRequest,
) -> Result<Result<Caller, AuthError>, ApiError> {
    Ok(match sessions::credential(request).await? {
        Some(session) => sessions::authenticate(authenticator, request, &session).await,
        None => authenticate(authenticator, request).await,
    })
}

async fn authenticate(authenticator: &Authenticator, request: &HttpRequest) -> Result<Caller, AuthError> {
    let headers = |name: &str| request.headers().get_all(name).map(|value| value.as_bytes()).collect();
    let headers = Box::new(headers);
    let peer = request.peer_addr().map(|address| address.ip());
    let (method, path) = (request.method().as_str(), request.path());
    let certificate = request.conn_data::<PeerCertificate>().map(PeerCertificate::valid).transpose()?;
    authenticator.authenticate(&Credentials { headers, peer, certificate, method, path }).await
}

fn place(request: &ServiceRequest, caller: &Caller) -> Result<Option<Place>, Problem> {
    request.app_data::<web::Data<Load>>().map(|load| load.of_project(caller)).transpose()
}

/// From here on the request is of that caller.
fn act_for(caller: &Caller, request: &mut ServiceRequest) {
    tracing::debug!(caller.subject, caller.project = caller.project.0, caller.method = caller.method.as_str());
    let Some(api) = request.app_data::<web::Data<Api>>() else { return };
    let mut data = Extensions::new();
    data.insert(web::Data::new(Api { caller: caller.clone(), ..Api::clone(api) }));
    // The framework looks in the container that was added last first.
    request.add_data_container(Rc::new(data));
}

/// The refusal of a request with these headers and without a caller.
pub(super) fn unauthenticated(authenticator: &Authenticator, headers: &HeaderMap, error: AuthError) -> HttpResponse {
    let reason = error.to_string();
    match error {
        AuthError::Missing | AuthError::Invalid(_) => {
            let problem = problem!(
                ProblemType::Unauthenticated,
                "{reason}: send a valid credential, of a kind that WWW-Authenticate names",
                reason = reason,
            );
            with_challenges(response(&problem), authenticator, headers.contains_key(sessions::HEADER))
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

/// A browser would ask for a password by itself at the challenge of HTTP Basic: the dashboard has a form of its own.
fn with_challenges(mut response: HttpResponse, authenticator: &Authenticator, to_dashboard: bool) -> HttpResponse {
    debug_assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    let challenges = authenticator.challenges().into_iter();
    for challenge in challenges.filter(|challenge| !(to_dashboard && challenge.starts_with("Basic"))) {
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
