//! Load limits: they bound the requests under way and the memory of their bodies. Load beyond them gets 503.
//!
//! A request needs a [`Slot`] while Gybe processes it. Without a free slot it gets 503 before its body is read. It gives the
//! slot back while its body arrives, so that slow senders block nobody, and takes a new one afterwards, or gets 503. The first
//! [`FREE_BYTES`] of each body are free; beyond that, all bodies share [`BODY_BYTES`]. `app` and [`super::body`] bound the time
//! of slow heads and bodies. Packages are written to disk and may arrive for long: they have slots of their own ([`upload`]). So have
//! requests that wait for a server that a caller names, which may be silent for long ([`third_party`]).
//!
//! Projects share the requests, the uploads and those that wait ([`Places`]): a project that floods Gybe gets 503 while others find room
//! ([`Load::of_project`]).

use std::sync::Arc;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::header::CONTENT_LENGTH;
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage as _, HttpRequest, web};
use futures::StreamExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::api::health;
use crate::domain::caller::Caller;
use crate::domain::fair_share::Sharer;
use crate::domain::problem::{Problem, ProblemType, problem};
use crate::error::response;
use crate::metrics::{GaugeGuard, HttpMetrics};
use crate::places::{Place, Places};

/// The largest request body that is not a package, in bytes.
pub const MAX_BODY: usize = 1024 * 1024;

/// The bytes of each body that do not count towards [`BODY_BYTES`]. Most bodies are smaller: a few large ones never cause a
/// 503 for them.
const FREE_BYTES: usize = 8 * 1024;
/// The bytes that all bodies share, from their arrival to the response: sixteen of the largest. Parsed JSON can take twenty
/// times the memory of its text.
const BODY_BYTES: usize = 16 * MAX_BODY;

/// The most packages that arrive at the same time.
const UPLOADS: usize = 64;

/// The most requests that wait at the same time for a server that a caller named.
const THIRD_PARTIES: usize = 64;

/// The limits, which all HTTP workers share.
pub struct Load {
    slots: Arc<Semaphore>,
    requests: Arc<Places>,
    uploads: Arc<Places>,
    third_parties: Arc<Places>,
    bytes: Arc<Semaphore>,
    metrics: HttpMetrics,
}

/// The right of a request to be processed. It lives in the request's extensions and ends with the request.
struct Slot {
    _permit: OwnedSemaphorePermit,
    _counted: GaugeGuard,
}

/// The share of [`BODY_BYTES`] of a body. It ends with the request, as the values that were parsed from the body do.
struct BodyBytes(#[expect(dead_code, reason = "held, not read")] OwnedSemaphorePermit);

impl Load {
    /// Limits for at most `requests` at the same time.
    pub fn new(requests: usize, metrics: HttpMetrics) -> Self {
        let requests = requests.min(Semaphore::MAX_PERMITS);
        let slots = Arc::new(Semaphore::new(requests));
        let bytes = Arc::new(Semaphore::new(BODY_BYTES));
        let [requests, uploads, third_parties] = [requests, UPLOADS, THIRD_PARTIES].map(Places::new);
        Self { slots, requests, uploads, third_parties, bytes, metrics }
    }

    /// The right of a caller's project to one more request, until it is dropped. It is held while the body arrives too: a slow sender
    /// uses the share of its own project.
    ///
    /// # Errors
    /// 503 if the project has its share of the requests under way.
    pub fn of_project(&self, caller: &Caller) -> Result<Place, Problem> {
        self.requests
            .try_take(&Sharer::of(&caller.project))
            .ok_or_else(|| self.crowded(caller, "requests are under way"))
    }

    fn slot(&self) -> Result<Slot, Problem> {
        match Arc::clone(&self.slots).try_acquire_owned() {
            Ok(permit) => Ok(Slot { _permit: permit, _counted: self.metrics.request() }),
            Err(_) => Err(self.overloaded("too many requests are under way")),
        }
    }

    /// Extends `held`, the share of a body, to a body of `size` bytes.
    fn reserve(&self, held: &mut Option<OwnedSemaphorePermit>, size: usize) -> Result<(), Problem> {
        let missing =
            size.saturating_sub(FREE_BYTES).saturating_sub(held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits));
        // It fits into a u32: a body has at most MAX_BODY bytes.
        let Some(missing) = u32::try_from(missing).ok().filter(|missing| *missing > 0) else { return Ok(()) };
        let more = Arc::clone(&self.bytes).try_acquire_many_owned(missing);
        let more = more.map_err(|_| self.overloaded("too many large request bodies are under way"))?;
        match held {
            Some(held) => held.merge(more),
            None => *held = Some(more),
        }
        Ok(())
    }

    fn crowded(&self, caller: &Caller, what: &str) -> Problem {
        self.overloaded(&format!("too many {what} for project '{}'", caller.project.0))
    }

    fn overloaded(&self, what: &str) -> Problem {
        self.metrics.shed();
        problem!(ProblemType::Overloaded, "{reason}: repeat the request later", reason = what)
    }
}

/// Calls the inner service if a slot is free. The health endpoints need none: load shedding never affects them.
///
/// # Errors
/// Those of the inner service.
pub async fn limit_load(
    load: web::Data<Load>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    if health::PATHS.contains(&request.path()) {
        return Ok(next.call(request).await?.map_into_boxed_body());
    }
    match load.slot() {
        Ok(slot) => request.extensions_mut().insert(slot),
        Err(problem) => return Ok(request.into_response(response(&problem))),
    };
    Ok(next.call(request).await?.map_into_boxed_body())
}

/// The right to upload a package, or to wait for a third party, until it is dropped.
pub struct Share {
    _place: Place,
    _counted: GaugeGuard,
}

/// Exchanges the [`Slot`] of a request for an upload slot.
///
/// # Errors
/// 503 if the caller's project may have none.
pub fn upload(load: &Load, request: &HttpRequest, caller: &Caller) -> Result<Share, Problem> {
    let place = load.uploads.try_take(&Sharer::of(&caller.project));
    let place = place.ok_or_else(|| load.crowded(caller, "packages are being uploaded"))?;
    drop(request.extensions_mut().remove::<Slot>());
    Ok(Share { _place: place, _counted: load.metrics.body() })
}

/// Exchanges the [`Slot`] of a request for the right to wait for a server that a caller named: an API server or a subscriber. Silent
/// servers then take no slots of other requests.
///
/// # Errors
/// 503 if too many requests of the caller's project wait.
pub fn third_party(load: &Load, request: &HttpRequest, caller: &Caller) -> Result<Share, Problem> {
    let place = load.third_parties.try_take(&Sharer::of(&caller.project));
    let place = place.ok_or_else(|| load.crowded(caller, "requests wait for VIMs and subscribers"))?;
    drop(request.extensions_mut().remove::<Slot>());
    Ok(Share { _place: place, _counted: load.metrics.request() })
}

/// Receives the body of a request that has a [`Slot`].
///
/// # Errors
/// 413 if it is larger than [`MAX_BODY`], 400 if the connection breaks off, 503 if the bodies have no bytes left, or if no slot
/// is free afterwards.
pub async fn body(load: &Load, request: &HttpRequest, mut payload: Payload) -> Result<Vec<u8>, Problem> {
    let too_large = || {
        problem!(ProblemType::TooLarge, "the request body is larger than {limit} bytes: send less", limit = MAX_BODY)
    };
    let announced = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|announced| announced > MAX_BODY as u64) {
        return Err(too_large());
    }
    drop(request.extensions_mut().remove::<Slot>());
    let arriving = load.metrics.body();
    let (mut body, mut held) = (Vec::new(), None);
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|_| Problem::bad_request("the request body broke off: send the request again"))?;
        let size = body.len() + chunk.len();
        if size > MAX_BODY {
            return Err(too_large());
        }
        load.reserve(&mut held, size)?;
        body.extend_from_slice(&chunk);
    }
    drop(arriving);
    let mut extensions = request.extensions_mut();
    extensions.insert(load.slot()?);
    if let Some(held) = held {
        extensions.insert(BodyBytes(held));
    }
    Ok(body)
}
