//! The bounds on what requests take, so that load costs callers time and never the process its memory.
//!
//! A request that is worked on has a [`Slot`]; when there is none it is sent away with 503, before its body is read. While
//! a body arrives its request has no place, so that slow senders take none from others; it gets one again after that, or a
//! 503. Of the bodies of all requests only so many bytes are in memory: beyond [`FREE`] bytes of each, they share
//! [`BODY_BYTES`]. Slow heads and bodies have their bounds in time (`app`, [`super::body`]). Packages, which go to the disk and
//! may take long to arrive, have places of their own ([`upload`]).

use std::sync::Arc;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::header::CONTENT_LENGTH;
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage as _, HttpRequest, web};
use futures::StreamExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{MAX_BODY, health};
use crate::domain::problem::{Problem, ProblemType};
use crate::error::response;
use crate::metrics::{GaugeGuard, HttpMetrics};

/// So many bytes of each body are taken without asking whether others leave room: what most requests have at the most, so
/// that those are never sent away for the sake of a few large ones.
const FREE: usize = 8 * 1024;
/// The bytes that all bodies have beyond that, from their arrival to the answer: as many as sixteen of the largest. Once
/// read, a JSON text can take twenty times its size.
const BODY_BYTES: usize = 16 * MAX_BODY;

/// Packages that arrive at once.
const UPLOADS: usize = 64;

/// What requests share, in all workers together.
pub struct Load {
    places: Arc<Semaphore>,
    uploads: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    metrics: HttpMetrics,
}

/// A request's right to be worked on; it ends with the request.
struct Slot {
    _permit: OwnedSemaphorePermit,
    _counted: GaugeGuard,
}

/// A body's bytes beyond [`FREE`], kept until the end of the request, as long as what was read from them.
struct Bytes(#[expect(dead_code, reason = "held, not read")] OwnedSemaphorePermit);

impl Load {
    /// So many requests are worked on at once.
    pub fn new(requests: usize, metrics: HttpMetrics) -> Self {
        let places = Arc::new(Semaphore::new(requests.min(Semaphore::MAX_PERMITS)));
        let (uploads, bytes) = (Arc::new(Semaphore::new(UPLOADS)), Arc::new(Semaphore::new(BODY_BYTES)));
        Self { places, uploads, bytes, metrics }
    }

    fn place(&self) -> Result<Slot, Problem> {
        match Arc::clone(&self.places).try_acquire_owned() {
            Ok(permit) => Ok(Slot { _permit: permit, _counted: self.metrics.request() }),
            Err(_) => Err(self.overloaded("too many requests are under way")),
        }
    }

    /// Makes room for a body of `size` bytes of which `held` are held already.
    fn make_room(&self, held: &mut Option<OwnedSemaphorePermit>, size: usize) -> Result<(), Problem> {
        let missing =
            size.saturating_sub(FREE).saturating_sub(held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits));
        // At most MAX_BODY.
        let Some(missing) = u32::try_from(missing).ok().filter(|missing| *missing > 0) else { return Ok(()) };
        let more = Arc::clone(&self.bytes).try_acquire_many_owned(missing);
        let more = more.map_err(|_| self.overloaded("too many large request bodies are under way"))?;
        match held {
            Some(held) => held.merge(more),
            None => *held = Some(more),
        }
        Ok(())
    }

    fn overloaded(&self, what: &str) -> Problem {
        self.metrics.shed();
        Problem::new(ProblemType::Overloaded, format!("{what}: repeat the request later"))
    }
}

/// Passes the request on if there is a place for it; the health endpoints always have one.
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
    match load.place() {
        Ok(place) => request.extensions_mut().insert(place),
        Err(problem) => return Ok(request.into_response(response(&problem))),
    };
    Ok(next.call(request).await?.map_into_boxed_body())
}

/// The right to send a package, until it is dropped.
pub struct Upload {
    _permit: OwnedSemaphorePermit,
    _counted: GaugeGuard,
}

/// Exchanges the [`Slot`] of a request that [`limit_load`] let pass for one of those of uploads.
///
/// # Errors
/// 503 if there is none.
pub fn upload(load: &Load, request: &HttpRequest) -> Result<Upload, Problem> {
    let permit = Arc::clone(&load.uploads).try_acquire_owned();
    let permit = permit.map_err(|_| load.overloaded("too many packages are being uploaded"))?;
    drop(request.extensions_mut().remove::<Slot>());
    Ok(Upload { _permit: permit, _counted: load.metrics.body() })
}

/// The body of a request that [`limit_load`] let pass.
///
/// # Errors
/// 413 if it is larger than [`MAX_BODY`], 400 if it breaks off, 503 if there is no room for it, or no place afterwards.
pub async fn body(load: &Load, request: &HttpRequest, mut payload: Payload) -> Result<Vec<u8>, Problem> {
    let too_large = || Problem::new(ProblemType::TooLarge, format!("the request body is larger than {MAX_BODY} bytes"));
    let announced = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|announced| announced > MAX_BODY as u64) {
        return Err(too_large());
    }
    drop(request.extensions_mut().remove::<Slot>());
    let arriving = load.metrics.body();
    let (mut body, mut held) = (Vec::new(), None);
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|_| Problem::bad_request("the request body broke off"))?;
        let size = body.len() + chunk.len();
        if size > MAX_BODY {
            return Err(too_large());
        }
        load.make_room(&mut held, size)?;
        body.extend_from_slice(&chunk);
    }
    drop(arriving);
    let mut extensions = request.extensions_mut();
    extensions.insert(load.place()?);
    if let Some(held) = held {
        extensions.insert(Bytes(held));
    }
    Ok(body)
}
