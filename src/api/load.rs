//! The bound on requests under way: beyond it, a request is sent away before its body is read, so that load costs callers
//! time and never the process its memory. Slow heads and bodies have their own bounds (`app`, [`super::body`]).

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::{Error, web};
use tokio::sync::Semaphore;

use super::health;
use crate::domain::problem::Problem;
use crate::error::response;
use crate::metrics::HttpMetrics;

/// How many requests may be under way, in all workers together.
pub struct Limit(Semaphore);

impl Limit {
    /// So many.
    pub fn new(requests: usize) -> Self {
        Self(Semaphore::new(requests.min(Semaphore::MAX_PERMITS)))
    }
}

/// Passes the request on if there is room for it; the health endpoints always have some.
///
/// # Errors
/// Those of the inner service.
pub async fn shed(
    limit: web::Data<Limit>,
    metrics: web::Data<HttpMetrics>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    if health::PATHS.contains(&request.path()) {
        return Ok(next.call(request).await?.map_into_boxed_body());
    }
    let Ok(_room) = limit.0.try_acquire() else {
        metrics.shed();
        let problem = Problem::new(503, "overloaded", "too many requests are under way: repeat the request later");
        return Ok(request.into_response(response(&problem)));
    };
    let _counted = metrics.request();
    Ok(next.call(request).await?.map_into_boxed_body())
}
