//! `Idempotency-Key`: a repeated POST gets the first answer again and has no second effect
//! ([ADR 20](../../docs/adr/0020-answers-to-repeated-requests.md)).
//!
//! [`answer_once`] wraps each route. It claims the key in the store before the handler runs, and keeps the answer afterwards. The
//! request works on if its client goes away, so that the answer is there when the client asks again. If the process is killed
//! in between, the next equal request learns by the identifier that was reserved for the new resource whether the first one had
//! its effect. An answer that refuses the request is not kept: nothing happened, and the next request may succeed.
//!
//! A preview has no effect that must not happen twice: the key means nothing to it.

use std::sync::Arc;
use std::time::Duration;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{Extensions, Payload, ServiceRequest, ServiceResponse};
use actix_web::http::header::{CONTENT_TYPE, HeaderMap, HeaderName, LOCATION};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::web::Bytes;
use actix_web::{Error, HttpMessage as _, HttpRequest, HttpResponse, web};
use aws_lc_rs::digest::{SHA256, digest};
use serde_json::Value;
use tokio::time::{Instant, sleep};
use tracing::Instrument as _;
use uuid::Uuid;

use crate::api::context::Api;
use crate::api::preview::PREVIEW;
use crate::api::{body, instances, packages, subscriptions, vims};
use crate::clock::Ids;
use crate::domain::ids::{SubscriptionId, VimId, VnfInstanceId, VnfLcmOpOccId, VnfPkgId};
use crate::domain::problem::{Problem, ProblemType};
use crate::error::{ApiError, internal, response};
use crate::sol003::Edition;
use crate::store::{KeptAnswer, KeyedRequest, RequestClaim, StoreError};

const HEADER: HeaderName = HeaderName::from_static("idempotency-key");
/// A request is given up if it has no answer after this time: its process is gone.
const PATIENCE: Duration = Duration::from_secs(120);
/// A second request waits for the answer to the first for this time.
const WAIT: Duration = Duration::from_secs(5);
/// From one look for the answer to the next.
const INTERVAL: Duration = Duration::from_millis(50);
/// The largest body that is kept, in bytes. A larger one is rendered again from the resource.
const MAX_BODY: usize = 64 * 1024;

/// The identifiers of a request: its one new resource has the reserved one.
struct Reserved(Uuid);

impl Ids for Reserved {
    fn uuid(&self) -> Uuid {
        self.0
    }
}

/// Calls the handler, unless the request is a repetition of one that has its answer.
///
/// # Errors
/// Those of the inner service.
pub async fn answer_once(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let is_preview = request.match_pattern().is_some_and(|route| route.ends_with(PREVIEW));
    if *request.method() != Method::POST || is_preview || !request.headers().contains_key(HEADER) {
        return Ok(next.call(request).await?.map_into_boxed_body());
    }
    match claimed(&mut request).await {
        Ok(Claimed::Answered(answer)) => Ok(request.into_response(answer)),
        Ok(Claimed::Run { keyed, api }) => {
            // Dropping the connection drops this future, and not the task.
            let work = actix_web::rt::spawn(run(request, next, keyed, api).in_current_span());
            work.await.map_err(|error| ApiError(internal(&error)))?
        }
        Err(error) => Ok(request.into_response(response(&error.0))),
    }
}

/// What to do with a request.
enum Claimed {
    /// Send this answer.
    Answered(HttpResponse),
    /// Call the handler with this `Api`.
    Run { keyed: KeyedRequest, api: web::Data<Api> },
}

async fn claimed(request: &mut ServiceRequest) -> Result<Claimed, ApiError> {
    let key = key(request.headers())?;
    let missing = || internal(&std::io::Error::other("the route is outside of the API"));
    let api = request.app_data::<web::Data<Api>>().cloned().ok_or_else(missing)?;
    let payload = request.take_payload();
    let bytes = Bytes::from(body::received(request.request(), payload).await?);
    let fingerprint = fingerprint(request.path(), &bytes);
    request.set_payload(Payload::from(bytes));
    let keyed = KeyedRequest { project: api.caller.project.clone(), key, fingerprint };
    let reserved = api.ids.uuid();
    let begun = Instant::now();
    let resource = loop {
        match api.store.claim_request(&keyed, reserved, PATIENCE).await? {
            RequestClaim::New => break reserved,
            RequestClaim::Abandoned(resource) => {
                if let Some(answer) = answer_of(&api, request.request(), resource).await? {
                    let (answer, kept) = kept(answer);
                    api.store.keep_answer(&keyed, &kept).await?;
                    return Ok(Claimed::Answered(answer));
                }
                break resource;
            }
            RequestClaim::Answered(resource, answer) => {
                return repeated(&api, request.request(), resource, &answer).await.map(Claimed::Answered);
            }
            RequestClaim::OtherRequest => return Err(other_request().into()),
            RequestClaim::InProgress if begun.elapsed() < WAIT => sleep(INTERVAL).await,
            RequestClaim::InProgress => return Err(in_progress().into()),
        }
    };
    let api = web::Data::new(Api { ids: Arc::new(Reserved(resource)), ..Api::clone(&api) });
    Ok(Claimed::Run { keyed, api })
}

/// Calls the handler, and keeps its answer.
async fn run(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
    keyed: KeyedRequest,
    api: web::Data<Api>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let mut data = Extensions::new();
    data.insert(api.clone());
    // The framework looks in the container that was added last first.
    request.add_data_container(std::rc::Rc::new(data));
    let (request, answer) = next.call(request).await?.map_into_boxed_body().into_parts();
    if answer.status().is_client_error() || answer.status().is_server_error() {
        // After a failure that may have had an effect, the key stays claimed: the next request looks for the effect.
        let had_none =
            answer.status().is_client_error() || matches!(answer_of(&api, &request, api.ids.uuid()).await, Ok(None));
        if had_none {
            log(api.store.forget_request(&keyed).await);
        }
        return Ok(ServiceResponse::new(request, answer));
    }
    let (answer, kept) = kept(answer);
    log(api.store.keep_answer(&keyed, &kept).await);
    Ok(ServiceResponse::new(request, answer))
}

/// The request has its effect, so that its answer counts. An equal request later looks for the resource.
fn log(result: Result<(), StoreError>) {
    if let Err(error) = result {
        tracing::warn!(error = &error as &dyn std::error::Error, "the answer to a request with a key was not kept");
    }
}

/// The one valid key.
fn key(headers: &HeaderMap) -> Result<String, Problem> {
    let mut keys = headers.get_all(HEADER);
    let key = keys.next().and_then(|key| key.to_str().ok());
    let key = key.filter(|key| (1..=255).contains(&key.len()) && keys.next().is_none());
    let wrong = || {
        Problem::bad_request(
            "the Idempotency-Key header is not valid: send one key of 1 to 255 printable ASCII characters",
        )
    };
    key.map(str::to_owned).ok_or_else(wrong)
}

/// A digest of path and body. Equal JSON is the same body.
fn fingerprint(path: &str, bytes: &[u8]) -> String {
    let canonical = serde_json::from_slice::<Value>(bytes).map(|body| body.to_string().into_bytes());
    let body = canonical.unwrap_or_else(|_| bytes.to_vec());
    hex::encode(digest(&SHA256, &[path.as_bytes(), b"\n", &body].concat()).as_ref())
}

/// The answer as it is sent and as it is kept.
fn kept(answer: HttpResponse) -> (HttpResponse, KeptAnswer) {
    let header = |name| answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (location, content_type, status) = (header(LOCATION), header(CONTENT_TYPE), answer.status().as_u16());
    let (answer, body) = answer.into_parts();
    let (body, text) = match body.try_into_bytes() {
        Ok(bytes) => {
            let text = std::str::from_utf8(&bytes).ok().filter(|text| !text.is_empty() && text.len() <= MAX_BODY);
            let text = text.map(str::to_owned);
            (BoxBody::new(bytes), text)
        }
        // No answer to a POST is streamed.
        Err(body) => (body, None),
    };
    (answer.set_body(body), KeptAnswer { status, location, content_type, body: text })
}

/// The kept answer as it is sent again.
async fn repeated(
    api: &Api,
    request: &HttpRequest,
    resource: Uuid,
    answer: &KeptAnswer,
) -> Result<HttpResponse, ApiError> {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    let is_too_large = answer.body.is_none() && answer.content_type.is_some();
    if is_too_large && let Some(rendered) = answer_of(api, request, resource).await? {
        return Ok(rendered);
    }
    let mut again = HttpResponse::build(status);
    if let Some(location) = &answer.location {
        again.insert_header((LOCATION, location.as_str()));
    }
    if let Some(media_type) = &answer.content_type {
        again.insert_header((CONTENT_TYPE, media_type.as_str()));
    }
    Ok(match &answer.body {
        Some(body) => again.body(body.clone()),
        None => again.finish(),
    })
}

/// The answer to a request that has created the resource of this identifier; `None` if there is no such resource.
async fn answer_of(api: &Api, request: &HttpRequest, id: Uuid) -> Result<Option<HttpResponse>, ApiError> {
    let pattern = request.match_pattern().unwrap_or_default();
    let edition = request.app_data::<Edition>().copied().unwrap_or(Edition::V2);
    let (store, project) = (&api.store, &api.caller.project);
    match pattern.rsplit('/').next().unwrap_or_default() {
        "vnf_instances" => found(store.instance(project, VnfInstanceId(id)).await)?
            .map(|instance| instances::created(api, edition, &instance))
            .transpose(),
        "subscriptions" => {
            Ok(found(store.subscription(project, SubscriptionId(id)).await)?.map(|it| subscriptions::created(api, &it)))
        }
        "vnf_packages" => {
            Ok(found(store.package(project, VnfPkgId(id)).await)?.map(|it| packages::created(api, edition, &it)))
        }
        "vims" | "vims.json" => Ok(found(store.vim(project, VimId(id)).await)?.map(|vim| vims::created(&vim))),
        _ if pattern.contains("/vnf_instances/") => {
            Ok(found(store.op_occ(project, VnfLcmOpOccId(id)).await)?
                .map(|op| instances::accepted(api, edition, op.id)))
        }
        // Other tasks depend on the state: the second one finds that it has changed.
        _ => Ok(None),
    }
}

fn found<T>(result: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match result {
        Err(StoreError::NotFound) => Ok(None),
        other => other.map(Some),
    }
}

fn other_request() -> Problem {
    let text = "another request had this Idempotency-Key: a new request needs a new key, a repeated one the same path and body";
    Problem::new(ProblemType::IdempotencyKeyReused, text)
}

fn in_progress() -> Problem {
    let text = "the first request with this Idempotency-Key has no answer yet: repeat the request later";
    Problem::new(ProblemType::RequestInProgress, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_requests_have_the_same_fingerprint() {
        let one = fingerprint("/a", br#"{"x": 1, "y": [2]}"#);
        assert_eq!(one, fingerprint("/a", br#"{ "y":[2],"x":1 }"#));
        for (path, body) in [("/b", r#"{"x": 1, "y": [2]}"#), ("/a", r#"{"x": 1, "y": [3]}"#), ("/a", ""), ("/a", "{")]
        {
            assert_ne!(one, fingerprint(path, body.as_bytes()), "{path} {body}");
        }
    }
}
