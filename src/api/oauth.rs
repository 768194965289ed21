//! `POST /oauth/token` (RFC 6749 section 4.4): a token for a user of `[auth.basic]`. Some clients, such as ONAP SO, expect it below the
//! root of the API.
//!
//! The route is outside of [`super::negotiate`] and [`super::idempotency`]: its body is a form, and its answers must not be kept.

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, PRAGMA, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::web::{Data, Payload, Query};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};

use crate::api::{audit, body};
use crate::auth::issued::LIFETIME;
use crate::auth::{AuthError, Authenticator, Credentials};
use crate::error::ApiError;

/// The path, whose errors are not `application/problem+json`.
pub const PATH: &str = "/oauth/token";
const FORM: &str = "application/x-www-form-urlencoded";
const ALLOWED_GRANT: &str = "grant_type=client_credentials";
/// The longest form, in bytes.
const LONGEST_FORM: usize = 8 * 1024;

/// Why there is no token.
enum Refusal {
    /// The request is wrong: the code of RFC 6749 section 5.2, and the description.
    Request(&'static str, String),
    /// The client's credentials are.
    Client(AuthError),
}

/// The parameters of the form that matter here.
#[derive(Default)]
struct TokenRequest {
    grant_type: Option<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
}

/// Answers with a token.
///
/// # Errors
/// The body does not arrive.
pub async fn token(
    authenticator: Data<Authenticator>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, ApiError> {
    let token = match check_head(&authenticator, &request) {
        Ok(()) => {
            let form = body::received(&request, payload.into_inner()).await?;
            issue(&authenticator, &request, &form).await
        }
        Err(refusal) => Err(refusal),
    };
    Ok(match token {
        Ok(token) => HttpResponse::Ok().insert_header((PRAGMA, "no-cache")).json(token),
        Err(refusal) => {
            let answer = refused(refusal);
            if let Some(record) = audit::Pending::of(&request, None) {
                record.keep(answer.status(), None).await;
            }
            answer
        }
    })
}

/// Before the body is read, which anybody may send: there are users, and the body is a short form.
fn check_head(authenticator: &Authenticator, request: &HttpRequest) -> Result<(), Refusal> {
    if !authenticator.issues_tokens() {
        return Err(Refusal::Request("unauthorized_client", "no users are configured here ([auth.basic])".to_owned()));
    }
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !header(CONTENT_TYPE).split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(FORM) {
        return Err(invalid(format!("Content-Type must be {FORM}")));
    }
    match header(CONTENT_LENGTH).parse::<usize>() {
        Ok(length) if length <= LONGEST_FORM => Ok(()),
        _ => Err(invalid(format!("Content-Length must be at most {LONGEST_FORM}"))),
    }
}

async fn issue(authenticator: &Authenticator, request: &HttpRequest, form: &[u8]) -> Result<Value, Refusal> {
    let form = read(form)?;
    match form.grant_type.as_deref() {
        Some("client_credentials") => {}
        Some(_) => return Err(Refusal::Request("unsupported_grant_type", format!("{ALLOWED_GRANT} is supported"))),
        None => return Err(invalid(format!("grant_type is missing: send {ALLOWED_GRANT}"))),
    }
    let headers = |name: &str| request.headers().get_all(name).map(|value| value.as_bytes()).collect();
    let peer = request.peer_addr().map(|address| address.ip());
    let (method, path) = (request.method().as_str(), request.path());
    let credentials = Credentials { headers: Box::new(headers), peer, certificate: None, method, path };
    let in_header = credentials.basic().map_err(Refusal::Client)?;
    let (name, password) = match (in_header, form.client_id, form.client_secret) {
        (Some(pair), id, None) if id.as_ref().is_none_or(|id| *id == pair.0) => pair,
        (None, Some(id), Some(secret)) => (id, secret),
        (None, _, _) => return Err(Refusal::Client(AuthError::Missing)),
        (Some(_), _, _) => {
            return Err(invalid("send the client's credentials once: with HTTP Basic, or in the body".to_owned()));
        }
    };
    let token = authenticator.issue_token(name, password, peer).await.map_err(Refusal::Client)?;
    Ok(json!({ "access_token": token.expose(), "token_type": "Bearer", "expires_in": LIFETIME.as_secs() }))
}

fn invalid(description: String) -> Refusal {
    Refusal::Request("invalid_request", description)
}

fn read(form: &[u8]) -> Result<TokenRequest, Refusal> {
    let pairs = std::str::from_utf8(form).ok().and_then(|text| Query::<Vec<(String, String)>>::from_query(text).ok());
    let Some(pairs) = pairs else { return Err(invalid("the body is not a form".to_owned())) };
    let mut read = TokenRequest::default();
    for (name, value) in pairs.into_inner() {
        let parameter = match name.as_str() {
            "grant_type" => &mut read.grant_type,
            "client_id" => &mut read.client_id,
            "client_secret" => &mut read.client_secret,
            // RFC 6749 section 3.2: others are ignored. A scope means nothing here, as a user has one role.
            _ => continue,
        };
        if parameter.replace(value).is_some() {
            return Err(invalid(format!("{name} is there twice")));
        }
    }
    Ok(read)
}

fn refused(refusal: Refusal) -> HttpResponse {
    let error = |status, code: &str, description: String| {
        let mut response = HttpResponse::build(status);
        response.json(json!({ "error": code, "error_description": description }))
    };
    match refusal {
        Refusal::Request(code, description) => error(StatusCode::BAD_REQUEST, code, description),
        Refusal::Client(AuthError::Throttled { retry_after }) => {
            let description = AuthError::Throttled { retry_after }.to_string();
            let mut response = error(StatusCode::TOO_MANY_REQUESTS, "invalid_client", description);
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(retry_after.as_secs().max(1)));
            response
        }
        Refusal::Client(AuthError::Unavailable(service)) => {
            let description = AuthError::Unavailable(service).to_string();
            error(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable", description)
        }
        Refusal::Client(wrong) => {
            let mut response = error(StatusCode::UNAUTHORIZED, "invalid_client", wrong.to_string());
            let challenge = HeaderValue::from_static("Basic realm=\"gybe\", charset=\"UTF-8\"");
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
            response
        }
    }
}
