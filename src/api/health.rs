//! `/healthz`, `/readyz` and `/metrics`: what the process says of itself, to whatever runs and watches it. Every process
//! serves them, with or without the API. None needs a credential, and none tells a secret.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::header::ContentType;
use actix_web::web::{self, ServiceConfig, get, resource};
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use time::OffsetDateTime;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::domain::op_occ::OpState;
use crate::domain::problem::{Problem, ProblemType};
use crate::error::{ApiError, internal};
use crate::store::{HealthStore, OutboxStats, QueueStats, StoreError};

/// The paths, which no load shuts out.
pub const PATHS: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

/// What the database said serves all who ask for so long: it is not to be kept busy from outside.
const FRESH: Duration = Duration::from_secs(1);
/// A database that has not answered by then does not answer.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    state: &'static str,
}

/// What the three endpoints work with.
pub struct Health {
    store: Arc<dyn HealthStore>,
    stopping: CancellationToken,
    registry: Registry,
    gauges: Gauges,
    /// What the database said last.
    seen: Arc<Mutex<Option<QueueSample>>>,
}

/// What the database said, and when; `None` if it failed.
type QueueSample = (Instant, Option<(QueueStats, OutboxStats)>);

/// What is read when it is asked for, not counted as it happens.
#[derive(Clone, Default)]
struct Gauges {
    database: Gauge,
    live: Family<State, Gauge>,
    waiting: Gauge,
    oldest: Gauge<f64, AtomicU64>,
    outbox: Family<State, Gauge>,
    oldest_notification: Gauge<f64, AtomicU64>,
    resident: Gauge,
    files: Gauge,
}

impl Health {
    /// Tells of `store` and of what is registered in `registry`; `stopping` says that the process is about to end.
    pub fn new(
        store: Arc<dyn HealthStore>,
        stopping: CancellationToken,
        mut registry: Registry,
        started: OffsetDateTime,
    ) -> Self {
        let gauges = Gauges::default();
        gauges.register(&mut registry, started);
        Self { store, stopping, registry, gauges, seen: Arc::default() }
    }

    /// What there is to do, as the database said within the last second; `None` if it does not answer.
    async fn queue(&self) -> Option<(QueueStats, OutboxStats)> {
        // One at a time asks: those who come meanwhile wait here for its answer.
        let mut seen = timeout(PATIENCE, Arc::clone(&self.seen).lock_owned()).await.ok()?;
        if let Some((at, queue)) = &*seen
            && at.elapsed() < FRESH
        {
            return queue.clone();
        }
        // In a task of its own, as calls of the store are run to their end, however long that takes.
        let store = Arc::clone(&self.store);
        let asked = tokio::spawn(async move {
            let queue = async { Ok::<_, StoreError>((store.queue().await?, store.outbox_depth().await?)) };
            let queue = queue.await.inspect_err(|error| {
                tracing::warn!(error = error as &dyn std::error::Error, "the database does not answer");
            });
            let queue = queue.ok();
            *seen = Some((Instant::now(), queue.clone()));
            queue
        });
        timeout(PATIENCE, asked).await.ok()?.ok()?
    }
}

impl Gauges {
    fn register(&self, registry: &mut Registry, started: OffsetDateTime) {
        registry.register("gybe_database_up", "Whether the database answers", self.database.clone());
        registry.register("gybe_operations_live", "Operations that are not over", self.live.clone());
        let help = "Operations that are due and that no process works on";
        registry.register("gybe_operations_waiting", help, self.waiting.clone());
        let help = "How long the operation that has waited longest has been due";
        registry.register_with_unit("gybe_operations_oldest_waiting", help, Unit::Seconds, self.oldest.clone());
        let help = "Notifications that are not delivered: waiting, or parked until the operator asks";
        registry.register("gybe_notifications_undelivered", help, self.outbox.clone());
        let help = "How long the notification that has waited longest could have been sent";
        let oldest = self.oldest_notification.clone();
        registry.register_with_unit("gybe_notifications_oldest_waiting", help, Unit::Seconds, oldest);
        let start = Gauge::<i64>::default();
        start.set(started.unix_timestamp());
        registry.register_with_unit("process_start_time", "When the process started", Unit::Seconds, start);
        registry.register_with_unit("process_resident_memory", "Memory in RAM", Unit::Bytes, self.resident.clone());
        registry.register("process_open_fds", "Open files and connections", self.files.clone());
    }

    fn set(&self, queue: Option<(QueueStats, OutboxStats)>) {
        self.database.set(queue.is_some().into());
        // Without an answer, the figures stay as they were last seen; `gybe_database_up` tells that they are old.
        if let Some((queue, outbox)) = queue {
            for state in OpState::ALL.into_iter().filter(|state| !state.is_final()) {
                let number = queue.states.iter().find(|(of, _)| *of == state).map_or(0, |(_, number)| *number);
                self.live.get_or_create(&State { state: state.as_str() }).set(number.cast_signed());
            }
            self.waiting.set(queue.waiting.cast_signed());
            self.oldest.set(queue.oldest.unwrap_or_default().as_secs_f64());
            for (state, number) in [("waiting", outbox.waiting), ("parked", outbox.parked)] {
                self.outbox.get_or_create(&State { state }).set(number.cast_signed());
            }
            self.oldest_notification.set(outbox.oldest.unwrap_or_default().as_secs_f64());
        }
        self.resident.set(resident_bytes().unwrap_or(0));
        self.files.set(std::fs::read_dir("/proc/self/fd").map_or(0, |files| files.count().try_into().unwrap_or(0)));
    }
}

fn resident_bytes() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: i64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024)
}

/// The three resources. Needs a [`Health`] in the application's data.
pub fn routes(config: &mut ServiceConfig) {
    let [live, ready, metrics] = PATHS;
    config
        .service(resource(live).route(get().to(alive)))
        .service(resource(ready).route(get().to(readiness)))
        .service(resource(metrics).route(get().to(exposition)));
}

async fn alive() -> HttpResponse {
    HttpResponse::Ok().content_type(ContentType::plaintext()).body("ok\n")
}

async fn readiness(health: web::Data<Health>) -> Result<HttpResponse, ApiError> {
    let mut reasons = Vec::new();
    if health.stopping.is_cancelled() {
        reasons.push("the process is stopping");
    } else if health.queue().await.is_none() {
        reasons.push("the database does not answer");
    }
    if reasons.is_empty() {
        return Ok(HttpResponse::Ok().content_type(ContentType::plaintext()).body("ready\n"));
    }
    Err(Problem::new(ProblemType::ServerNotReady, reasons.join("; ")).with("reasons", reasons).into())
}

async fn exposition(health: web::Data<Health>) -> Result<HttpResponse, ApiError> {
    health.gauges.set(health.queue().await);
    let mut text = String::new();
    text::encode(&mut text, &health.registry).map_err(|error| internal(&error))?;
    let media_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(HttpResponse::Ok().content_type(media_type).body(text))
}
