//! `/ui/session`: logs browsers in and out. The cookie of a session stands for the credential of the user
//! ([`crate::auth::session`]); [`super::authorize`] asks here which credential a request has.
//!
//! Against requests that other web sites make browsers send: the cookie is `SameSite=Strict`, [`super::cross_site`] refuses pages
//! of others, and whatever is no read must have the header [`HEADER`], which only a page of this server can send.
//!
//! The login is outside of [`super::idempotency`]: its answers must not be kept.

use actix_web::http::Method;
use actix_web::http::header::{AUTHORIZATION, CONTENT_LENGTH, COOKIE, HeaderMap, SET_COOKIE};
use actix_web::middleware::from_fn;
use actix_web::web::{self, Data, Payload, ServiceConfig, delete, get, post, resource};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::authorize::{identify, unauthenticated};
use crate::api::context::Api;
use crate::api::tls::PeerCertificate;
use crate::api::{audit, body, negotiate};
use crate::auth::session::{LIFETIME, MOST_SESSIONS, SessionCredential, SessionSecret};
use crate::auth::{AuthError, Authenticator, Credentials};
use crate::domain::caller::{AuthMethod, Caller, Role};
use crate::domain::problem::{Problem, ProblemType, problem};
use crate::domain::secret::Secret;
use crate::error::ApiError;
use crate::store::BrowserSession;

/// The header of requests that the dashboard sends.
pub const HEADER: &str = "x-gybe-ui";
const PATH: &str = "/ui/session";
/// The longest body of a login, in bytes.
const LONGEST_BODY: usize = 32 * 1024;

/// The resource.
pub fn routes(config: &mut ServiceConfig) {
    config.service(
        resource(PATH)
            .route(post().to(begin).wrap(from_fn(negotiate::check_headers)))
            .route(get().to(show))
            .route(super::on(delete, end)),
    );
}

/// A login: a token, or user name and password.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Login {
    token: Option<Secret>,
    user: Option<String>,
    password: Option<Secret>,
}

impl Login {
    /// The credentials that it may be.
    fn credentials(&self) -> Result<Vec<SessionCredential>, Problem> {
        let credentials = match (&self.token, &self.user, &self.password) {
            (Some(token), None, None) => SessionCredential::of_token(token.expose()).map(Vec::from),
            (None, Some(user), Some(password)) => {
                SessionCredential::of_user(user, password.expose()).map(|credential| vec![credential])
            }
            _ => return Err(Problem::bad_request("send either token, or user and password")),
        };
        credentials.ok_or_else(|| {
            Problem::bad_request(
                "the token, user name or password is empty, too long, or has characters that no HTTP header can carry",
            )
        })
    }
}

/// `POST /ui/session`.
async fn begin(
    api: Data<Api>,
    authenticator: Data<Authenticator>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, ApiError> {
    check_head(request.headers())?;
    let login: Login = body::parse(&body::received(&request, payload.into_inner()).await?)?;
    if !authenticator.is_on() {
        return Ok(HttpResponse::Ok().json(description(&api.caller)));
    }
    let identified = first_known(&authenticator, &request, login.credentials()?).await;
    let (answer, caller) = match identified {
        Ok((caller, credential)) => (begun(&api, &caller, &credential).await?, Some(caller)),
        Err(error) => (unauthenticated(&authenticator, request.headers(), error), None),
    };
    if let Some(record) = audit::Pending::of(&request, caller.as_ref()) {
        record.keep(answer.status(), None).await;
    }
    Ok(answer)
}

/// Before the body is read, which anybody may send: a page of this server sends it, and it is short.
fn check_head(headers: &HeaderMap) -> Result<(), Problem> {
    check_page(headers)?;
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    match length {
        Some(length) if length <= LONGEST_BODY => Ok(()),
        _ => Err(problem!(
            ProblemType::BadRequest,
            "Content-Length must be at most {allowed}: a login has a token, or user and password",
            allowed = LONGEST_BODY,
        )),
    }
}

/// The caller of the first of `credentials` that a method knows.
async fn first_known(
    authenticator: &Authenticator,
    request: &HttpRequest,
    credentials: Vec<SessionCredential>,
) -> Result<(Caller, SessionCredential), AuthError> {
    let mut refusal = AuthError::Missing;
    for credential in credentials {
        match authenticate(authenticator, request, &credential).await {
            Ok(caller) => return Ok((caller, credential)),
            // What one method says about a credential counts more than that another one does not know it.
            Err(AuthError::Missing) => {}
            Err(error) => refusal = error,
        }
    }
    Err(refusal)
}

/// The caller of `request`, which has the credential of a session instead of its own.
///
/// # Errors
/// [`AuthError`].
pub(super) async fn authenticate(
    authenticator: &Authenticator,
    request: &HttpRequest,
    credential: &SessionCredential,
) -> Result<Caller, AuthError> {
    let peer = request.peer_addr().map(|address| address.ip());
    let certificate = request.conn_data::<PeerCertificate>().map(PeerCertificate::valid).transpose()?;
    let (method, path) = (request.method().as_str(), request.path());
    let headers = Box::new(|name: &str| credential.header(name));
    let caller = authenticator.authenticate(&Credentials { headers, peer, certificate, method, path }).await?;
    // A certificate may confirm a token. It does not take the place of one that is wrong or revoked.
    if caller.method == AuthMethod::Certificate { Err(AuthError::Missing) } else { Ok(caller) }
}

/// 201 with the cookie of a new session.
async fn begun(api: &Api, caller: &Caller, credential: &SessionCredential) -> Result<HttpResponse, ApiError> {
    let failed = |error: AuthError| Problem::new(ProblemType::AuthenticationUnavailable, error.to_string());
    let secret = SessionSecret::random().map_err(failed)?;
    let session = BrowserSession {
        id: secret.id(),
        project: caller.project.clone(),
        subject: caller.subject.clone(),
        credential: secret.seal(credential).map_err(failed)?,
        ends: api.clock.now() + LIFETIME,
    };
    api.store.begin_session(&session, MOST_SESSIONS - 1).await?;
    let cookie = cookie(api, &secret.expose(), LIFETIME.as_secs());
    Ok(HttpResponse::Created().insert_header((SET_COOKIE, cookie)).json(description(caller)))
}

/// `GET /ui/session`: who is logged in; null if nobody is.
async fn show(authenticator: Data<Authenticator>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    Ok(match identify(&authenticator, &request).await? {
        Ok(caller) => HttpResponse::Ok().json(description(&caller)),
        Err(AuthError::Missing | AuthError::Invalid(_)) => HttpResponse::Ok().json(Value::Null),
        Err(error) => unauthenticated(&authenticator, request.headers(), error),
    })
}

/// `DELETE /ui/session`: logs out.
async fn end(api: Data<Api>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    check_page(request.headers())?;
    if let Some(secret) = secret(&api, request.headers()) {
        api.store.end_session(&secret.id()).await?;
    }
    Ok(HttpResponse::NoContent().insert_header((SET_COOKIE, cookie(&api, "", 0))).finish())
}

fn description(caller: &Caller) -> Value {
    json!({
        "subject": caller.subject,
        "projectId": caller.project.0,
        "role": caller.role.map(Role::as_str),
        "authMethod": caller.method.as_str(),
        "release": env!("CARGO_PKG_VERSION"),
    })
}

/// The credential of the session whose cookie a request has; `None` if it has a credential of its own, or there is no such session.
///
/// # Errors
/// The request changes something and has no [`HEADER`], or the store failed.
pub(super) async fn credential(request: &HttpRequest) -> Result<Option<SessionCredential>, ApiError> {
    let headers = request.headers();
    let Some(api) = request.app_data::<web::Data<Api>>() else { return Ok(None) };
    if headers.contains_key(AUTHORIZATION) || headers.contains_key("x-auth-token") {
        return Ok(None);
    }
    let Some(secret) = secret(api, headers) else { return Ok(None) };
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        check_page(headers)?;
    }
    let sealed = api.store.session_credential(&secret.id(), api.clock.now()).await?;
    Ok(sealed.and_then(|sealed| secret.open(&sealed)))
}

/// 403 unless a page of this server sends the request: others cannot make a browser send the header.
fn check_page(headers: &HeaderMap) -> Result<(), Problem> {
    if headers.contains_key(HEADER) {
        return Ok(());
    }
    Err(problem!(
        ProblemType::CrossSiteRequest,
        "a request with the session of a browser needs the header {header}: send it, or a credential of your own",
        header = HEADER,
    ))
}

/// The name of the cookie. Browsers take the first one only over HTTPS, for this host and all paths.
fn name(api: &Api) -> &'static str {
    if api.public_url.starts_with("https://") { "__Host-gybe-session" } else { "gybe-session" }
}

fn cookie(api: &Api, value: &str, seconds: u64) -> String {
    let name = name(api);
    let secure = if name.starts_with("__Host-") { "; Secure" } else { "" };
    format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}")
}

/// The secret in the session's cookie. Several such cookies count as none: nobody can say which one the browser's user has.
fn secret(api: &Api, headers: &HeaderMap) -> Option<SessionSecret> {
    let pairs = headers.get_all(COOKIE).filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(';'));
    let pairs = pairs.filter_map(|pair| pair.trim().split_once('='));
    let mut values = pairs.filter(|(own, _)| *own == name(api)).map(|(_, value)| value);
    let value = values.next()?;
    if values.next().is_some() { None } else { SessionSecret::parse(value) }
}
