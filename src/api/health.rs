//! `/healthz`, `/readyz` and `/metrics`, for supervisors and monitoring. Every process serves them, with or without the API.
//! They show no secrets. The first two need no credential; `/metrics` names VIMs, so that only an admin may read it where callers
//! are authenticated, and everybody at `--probe-listen`.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::header::ContentType;
use actix_web::middleware::from_fn;
use actix_web::web::{self, ServiceConfig, get, resource};
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use time::OffsetDateTime;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::api::authorize::authorize;
use crate::domain::op_occ::OpState;
use crate::domain::problem::{ProblemType, QuotedValues, problem};
use crate::domain::vim::VimStatus;
use crate::error::{ApiError, internal};
use crate::store::{HealthStore, OutboxStats, QueueStats, SiteStats, StoreError};

/// The paths. Load shedding never affects them.
pub const PATHS: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

/// Requests within this time share one query of the database, so that probes cannot overload it.
const FRESH: Duration = Duration::from_secs(1);
/// The same for a query whose cost grows with the site.
const SITE_FRESH: Duration = Duration::from_secs(30);
/// The database must answer within this time.
const QUERY_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Status {
    status: &'static str,
}

/// The state of the three endpoints.
pub struct Health {
    store: Arc<dyn HealthStore>,
    stopping: CancellationToken,
    registry: Registry,
    gauges: Gauges,
    /// The operations and the outbox.
    queue: Sampled<(QueueStats, OutboxStats)>,
    site: Sampled<SiteStats>,
}

/// The last answer of the database to a question.
struct Sampled<T> {
    fresh: Duration,
    last: Arc<Mutex<Option<Sample<T>>>>,
}

/// The time and the result of a query; `None` if it failed.
type Sample<T> = (Instant, Option<T>);

impl<T: Clone + Send + 'static> Sampled<T> {
    fn new(fresh: Duration) -> Self {
        Self { fresh, last: Arc::default() }
    }

    /// The answer, not older than it may be; `None` if the database does not answer.
    async fn get(&self, query: impl Future<Output = Result<T, StoreError>> + Send + 'static) -> Option<T> {
        // One request at a time asks the database. The others wait here for its answer.
        let mut last = timeout(QUERY_TIMEOUT, Arc::clone(&self.last).lock_owned()).await.ok()?;
        if let Some((at, answer)) = &*last
            && at.elapsed() < self.fresh
        {
            return answer.clone();
        }
        // The query has its own task: a call of the store must run to its end, also after the timeout.
        let query = tokio::spawn(async move {
            let answer = query.await.inspect_err(|error| {
                tracing::warn!(error = error as &dyn std::error::Error, "the database does not answer");
            });
            let answer = answer.ok();
            *last = Some((Instant::now(), answer.clone()));
            answer
        });
        timeout(QUERY_TIMEOUT, query).await.ok()?.ok()?
    }
}

/// Figures that are read at each request for `/metrics`. `crate::metrics` counts the others as events happen.
#[derive(Clone, Default)]
struct Gauges {
    database: Gauge,
    live: Family<State, Gauge>,
    waiting: Gauge,
    oldest: Gauge<f64, AtomicU64>,
    outbox: Family<State, Gauge>,
    oldest_notification: Gauge<f64, AtomicU64>,
    instances: Family<State, Gauge>,
    vims: Family<Status, Gauge>,
    resident: Gauge,
    files: Gauge,
}

impl Health {
    /// `registry` has the metrics to serve. `stopping` is cancelled when the process begins to stop.
    pub fn new(
        store: Arc<dyn HealthStore>,
        stopping: CancellationToken,
        mut registry: Registry,
        started: OffsetDateTime,
    ) -> Self {
        let gauges = Gauges::default();
        gauges.register(&mut registry, started);
        let (queue, site) = (Sampled::new(FRESH), Sampled::new(SITE_FRESH));
        Self { store, stopping, registry, gauges, queue, site }
    }

    /// Whether the database answers. Reads no table: probes must not take longer when there is more work.
    async fn is_reachable(&self) -> bool {
        let store = Arc::clone(&self.store);
        let ping = tokio::spawn(async move {
            let answer = store.ping().await;
            answer.inspect_err(|error| {
                tracing::warn!(error = error as &dyn std::error::Error, "the database does not answer");
            })
        });
        matches!(timeout(QUERY_TIMEOUT, ping).await, Ok(Ok(Ok(()))))
    }

    /// Reads the figures of the database into the gauges.
    async fn measure(&self) {
        let store = Arc::clone(&self.store);
        let queue = self.queue.get(async move { Ok((store.queue().await?, store.outbox_depth().await?)) }).await;
        let store = Arc::clone(&self.store);
        let site = self.site.get(async move { store.site().await }).await;
        self.gauges.set(queue, site);
    }
}

impl Gauges {
    fn register(&self, registry: &mut Registry, started: OffsetDateTime) {
        registry.register("gybe_database_up", "Whether the database answers", self.database.clone());
        registry.register("gybe_operations_live", "Operations that have not ended", self.live.clone());
        let help = "Operations that are due and not claimed";
        registry.register("gybe_operations_waiting", help, self.waiting.clone());
        let help = "The time that the oldest waiting operation has been due";
        registry.register_with_unit("gybe_operations_oldest_waiting", help, Unit::Seconds, self.oldest.clone());
        let help = "Undelivered notifications: waiting, or parked until an operator resends them; counted up to 10,000";
        registry.register("gybe_notifications_undelivered", help, self.outbox.clone());
        let help = "The time that the oldest waiting notification has been due";
        let oldest = self.oldest_notification.clone();
        registry.register_with_unit("gybe_notifications_oldest_waiting", help, Unit::Seconds, oldest);
        registry.register("gybe_vnf_instances", "VNF instances of all projects", self.instances.clone());
        registry.register(
            "gybe_vims",
            "Registered VIMs of all projects, by what calls to them showed",
            self.vims.clone(),
        );
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("gybe_build", "What runs", build);
        let start = Gauge::<i64>::default();
        start.set(started.unix_timestamp());
        registry.register_with_unit("process_start_time", "When the process started", Unit::Seconds, start);
        registry.register_with_unit("process_resident_memory", "Memory in RAM", Unit::Bytes, self.resident.clone());
        registry.register("process_open_fds", "Open files and connections", self.files.clone());
    }

    fn set(&self, queue: Option<(QueueStats, OutboxStats)>, site: Option<SiteStats>) {
        self.database.set(queue.is_some().into());
        if let Some(site) = site {
            for (state, number) in [("INSTANTIATED", site.instantiated), ("NOT_INSTANTIATED", site.not_instantiated)] {
                self.instances.get_or_create(&State { state }).set(number.cast_signed());
            }
            for status in [VimStatus::Active, VimStatus::Unreachable, VimStatus::Error] {
                let number = site.vims.iter().find(|(of, _)| *of == status).map_or(0, |(_, number)| *number);
                self.vims.get_or_create(&Status { status: status.as_str() }).set(number.cast_signed());
            }
        }
        // Without an answer the figures keep their last values; `gybe_database_up` shows that they are old.
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

/// The three resources. The application's data must have a [`Health`] and an [`Authenticator`](crate::auth::Authenticator).
pub fn routes(config: &mut ServiceConfig) {
    let [live, ready, metrics] = PATHS;
    config
        .service(resource(live).route(get().to(alive)))
        .service(resource(ready).route(get().to(readiness)))
        .service(resource(metrics).route(get().to(exposition).wrap(from_fn(authorize))));
}

async fn alive() -> HttpResponse {
    HttpResponse::Ok().content_type(ContentType::plaintext()).body("ok\n")
}

async fn readiness(health: web::Data<Health>) -> Result<HttpResponse, ApiError> {
    let mut reasons = Vec::new();
    if health.stopping.is_cancelled() {
        reasons.push("the process is stopping");
    } else if !health.is_reachable().await {
        reasons.push("the database does not answer");
    }
    if reasons.is_empty() {
        return Ok(HttpResponse::Ok().content_type(ContentType::plaintext()).body("ready\n"));
    }
    Err(problem!(ProblemType::ServerNotReady, "{reasons}", reasons = reasons.into_iter().collect::<QuotedValues>())
        .into())
}

async fn exposition(health: web::Data<Health>) -> Result<HttpResponse, ApiError> {
    health.measure().await;
    let mut text = String::new();
    text::encode(&mut text, &health.registry).map_err(|error| internal(&error))?;
    let media_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(HttpResponse::Ok().content_type(media_type).body(text))
}
