//! Metrics for Prometheus: plain structs, which the counting part owns or gets. `app` registers those of the process;
//! `api::health` prints them. docs/operations.md explains each name.
//!
//! Labels come from closed sets, so that no client can create further series: templates rather than paths, the first
//! [`MAX_VIMS`] clusters by name, known methods.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use time::OffsetDateTime;

use crate::domain::ids::VimId;
use crate::domain::op_occ::{LcmOperation, OpState};

/// Clusters with a label of their own; further ones share one.
const MAX_VIMS: usize = 64;
/// The label of everything without one of its own.
const OTHER: &str = "other";

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// Buckets from a millisecond to ten seconds.
fn call_seconds() -> Histogram {
    Histogram::new([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0])
}

/// Buckets from a tenth of a second to an hour.
fn operation_seconds() -> Histogram {
    Histogram::new([0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0])
}

// --- operations -----------------------------------------------------------------------------------------------------

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabels {
    operation: &'static str,
    outcome: &'static str,
}

/// Metrics of a conductor.
#[derive(Clone)]
pub struct OperationMetrics {
    outcomes: Family<OperationLabels, Counter>,
    seconds: Histograms<OperationLabels>,
    leases: Gauge,
    unwritten: Counter,
}

impl Default for OperationMetrics {
    fn default() -> Self {
        let seconds = Histograms::new_with_constructor(operation_seconds as fn() -> Histogram);
        Self { outcomes: Family::default(), seconds, leases: Gauge::default(), unwritten: Counter::default() }
    }
}

impl OperationMetrics {
    /// Counts an operation that left its running state for `outcome`, `after` its acceptance.
    pub fn ended(&self, operation: LcmOperation, outcome: OpState, after: time::Duration) {
        let labels = OperationLabels { operation: operation.as_str(), outcome: outcome.as_str() };
        self.outcomes.get_or_create(&labels).inc();
        self.seconds.get_or_create(&labels).observe(after.as_seconds_f64());
    }

    /// Counts a failed attempt to write the outcome of an operation.
    pub fn unwritten(&self) {
        self.unwritten.inc();
    }

    /// Counts a lease until the value is dropped.
    #[must_use]
    pub fn lease(&self) -> GaugeGuard {
        GaugeGuard::new(&self.leases)
    }

    pub fn register(&self, registry: &mut Registry) {
        registry.register("gybe_operations_ended", "Operations that left a running state", self.outcomes.clone());
        let help = "From the acceptance of an operation to its outcome";
        registry.register_with_unit("gybe_operation_duration", help, Unit::Seconds, self.seconds.clone());
        registry.register("gybe_leases_held", "Operations that this process works on", self.leases.clone());
        let help = "Failed attempts to write the outcome of an operation";
        registry.register("gybe_operation_outcomes_unwritten", help, self.unwritten.clone());
    }
}

/// Counts as one until it is dropped, however its work ends.
pub struct GaugeGuard(Gauge);

impl GaugeGuard {
    fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for GaugeGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

// --- calls to clusters ----------------------------------------------------------------------------------------------

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VimVerbLabels {
    vim: Arc<str>,
    verb: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VimCallLabels {
    vim: Arc<str>,
    verb: &'static str,
    result: &'static str,
}

/// Metrics of the drivers of a process.
#[derive(Clone)]
pub struct VimMetrics {
    calls: Family<VimCallLabels, Counter>,
    seconds: Histograms<VimVerbLabels>,
    vims: Arc<Mutex<BTreeSet<Arc<str>>>>,
}

impl Default for VimMetrics {
    fn default() -> Self {
        let seconds = Histograms::new_with_constructor(call_seconds as fn() -> Histogram);
        Self { calls: Family::default(), seconds, vims: Arc::default() }
    }
}

impl VimMetrics {
    /// The label of the cluster at `address`, host and port, as URLs may contain credentials.
    pub fn vim(&self, address: &str) -> Arc<str> {
        let mut vims = self.vims.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(label) = vims.get(address) {
            return Arc::clone(label);
        }
        if vims.len() >= MAX_VIMS {
            return OTHER.into();
        }
        let label: Arc<str> = address.into();
        vims.insert(Arc::clone(&label));
        label
    }

    /// Counts a request that ended with `result` after a time.
    pub fn called(&self, vim: &Arc<str>, verb: &'static str, result: &'static str, after: Duration) {
        self.calls.get_or_create(&VimCallLabels { vim: Arc::clone(vim), verb, result }).inc();
        self.seconds.get_or_create(&VimVerbLabels { vim: Arc::clone(vim), verb }).observe(after.as_secs_f64());
    }

    pub fn register(&self, registry: &mut Registry) {
        registry.register("gybe_vim_calls", "Requests to clusters", self.calls.clone());
        let help = "From a request to a cluster to the response head";
        registry.register_with_unit("gybe_vim_call_duration", help, Unit::Seconds, self.seconds.clone());
    }
}

// --- credentials of VIMs --------------------------------------------------------------------------------------------

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VimLabels {
    vim: String,
}

/// When the credentials of VIMs expire.
#[derive(Clone, Default)]
pub struct VimCredentialMetrics {
    expires: Family<VimLabels, Gauge>,
    shown: Arc<Mutex<BTreeSet<String>>>,
}

impl VimCredentialMetrics {
    /// Shows the VIMs whose credentials expire first, of all that say when: at most [`MAX_VIMS`].
    pub fn show(&self, mut all: Vec<(VimId, OffsetDateTime)>) {
        all.sort_unstable_by_key(|(id, expires)| (*expires, *id));
        all.truncate(MAX_VIMS);
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let now: BTreeSet<String> = all.iter().map(|(id, _)| id.to_string()).collect();
        for vim in shown.difference(&now) {
            self.expires.remove(&VimLabels { vim: vim.clone() });
        }
        for (id, expires) in all {
            self.expires.get_or_create(&VimLabels { vim: id.to_string() }).set(expires.unix_timestamp());
        }
        *shown = now;
    }

    pub fn register(&self, registry: &mut Registry) {
        let help = "When the credential of a VIM expires, in seconds since 1970; of the VIMs that are first";
        registry.register_with_unit("gybe_vim_credential_expires_timestamp", help, Unit::Seconds, self.expires.clone());
    }
}

// --- requests -------------------------------------------------------------------------------------------------------

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HttpRouteLabels {
    route: String,
    method: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HttpResponseLabels {
    route: String,
    method: &'static str,
    status: u16,
}

/// Metrics of the HTTP server.
#[derive(Clone)]
pub struct HttpMetrics {
    responses: Family<HttpResponseLabels, Counter>,
    seconds: Histograms<HttpRouteLabels>,
    under_way: Gauge,
    bodies: Gauge,
    connections: Gauge,
    shed: Counter,
}

impl Default for HttpMetrics {
    fn default() -> Self {
        let seconds = Histograms::new_with_constructor(call_seconds as fn() -> Histogram);
        let (under_way, bodies, connections) = (Gauge::default(), Gauge::default(), Gauge::default());
        Self { responses: Family::default(), seconds, under_way, bodies, connections, shed: Counter::default() }
    }
}

impl HttpMetrics {
    /// Counts a response, by the template of the path; `None`: the path is unknown.
    pub fn answered(&self, route: Option<String>, method: &str, status: u16, after: Duration) {
        const METHODS: [&str; 7] = ["GET", "POST", "PATCH", "PUT", "DELETE", "HEAD", "OPTIONS"];
        let route = route.unwrap_or_else(|| OTHER.to_owned());
        let method = METHODS.into_iter().find(|name| *name == method).unwrap_or(OTHER);
        self.responses.get_or_create(&HttpResponseLabels { route: route.clone(), method, status }).inc();
        self.seconds.get_or_create(&HttpRouteLabels { route, method }).observe(after.as_secs_f64());
    }

    /// Counts a request in progress until the value is dropped.
    #[must_use]
    pub fn request(&self) -> GaugeGuard {
        GaugeGuard::new(&self.under_way)
    }

    /// Counts an arriving body until the value is dropped.
    #[must_use]
    pub fn body(&self) -> GaugeGuard {
        GaugeGuard::new(&self.bodies)
    }

    /// Counts an open connection until the value is dropped.
    #[must_use]
    pub fn connection(&self) -> GaugeGuard {
        GaugeGuard::new(&self.connections)
    }

    /// The number of open connections.
    pub fn connections(&self) -> usize {
        self.connections.get().try_into().unwrap_or(0)
    }

    /// Counts a request that was refused under load.
    pub fn shed(&self) {
        self.shed.inc();
    }

    pub fn register(&self, registry: &mut Registry) {
        registry.register("gybe_http_requests", "Requests answered", self.responses.clone());
        let help = "From a request head to its response head";
        registry.register_with_unit("gybe_http_request_duration", help, Unit::Seconds, self.seconds.clone());
        let help = "Requests in progress, without probes";
        registry.register("gybe_http_requests_under_way", help, self.under_way.clone());
        let help = "Requests still being received";
        registry.register("gybe_http_bodies_arriving", help, self.bodies.clone());
        let help = "Open client connections";
        registry.register("gybe_http_connections", help, self.connections.clone());
        let help = "Requests refused with 503 under load";
        registry.register("gybe_http_requests_shed", help, self.shed.clone());
    }
}

// --- notifications --------------------------------------------------------------------------------------------------

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
}

/// Metrics of a notifier.
#[derive(Clone)]
pub struct NotificationMetrics {
    seconds: Histograms<ResultLabels>,
}

impl Default for NotificationMetrics {
    fn default() -> Self {
        Self { seconds: Histograms::new_with_constructor(call_seconds as fn() -> Histogram) }
    }
}

impl NotificationMetrics {
    /// Counts a notification that ended with `result` after a time.
    pub fn sent(&self, result: &'static str, after: Duration) {
        self.seconds.get_or_create(&ResultLabels { result }).observe(after.as_secs_f64());
    }

    pub fn register(&self, registry: &mut Registry) {
        let help = "From a notification to the subscriber's answer";
        registry.register_with_unit("gybe_notification_duration", help, Unit::Seconds, self.seconds.clone());
    }
}

// --- grants ---------------------------------------------------------------------------------------------------------

/// Metrics of requests to the NFVO.
#[derive(Clone)]
pub struct GrantMetrics {
    seconds: Histograms<ResultLabels>,
}

impl Default for GrantMetrics {
    fn default() -> Self {
        Self { seconds: Histograms::new_with_constructor(call_seconds as fn() -> Histogram) }
    }
}

impl GrantMetrics {
    /// Counts a grant request or poll that ended with `result` after a time.
    pub fn exchanged(&self, result: &'static str, after: Duration) {
        self.seconds.get_or_create(&ResultLabels { result }).observe(after.as_secs_f64());
    }

    pub fn register(&self, registry: &mut Registry) {
        let help = "From a grant request, or a poll of a grant, to the answer of the NFVO";
        registry.register_with_unit("gybe_grant_exchange_duration", help, Unit::Seconds, self.seconds.clone());
    }
}

// --- the store ------------------------------------------------------------------------------------------------------

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StoreErrorLabels {
    kind: &'static str,
}

/// The kinds of errors that alarms are about. They count from 0, because a rate misses the first error of a series that begins with it.
const STORE_ERRORS: [&str; 4] = ["database", "no-connection-free", "lease-lost", "unreadable"];

/// Metrics of a store: errors, as opposed to refusals.
#[derive(Clone)]
pub struct StoreMetrics {
    failures: Family<StoreErrorLabels, Counter>,
}

impl Default for StoreMetrics {
    fn default() -> Self {
        let failures = Family::<StoreErrorLabels, Counter>::default();
        for kind in STORE_ERRORS {
            // Making the series is all.
            drop(failures.get_or_create(&StoreErrorLabels { kind }));
        }
        Self { failures }
    }
}

impl StoreMetrics {
    pub fn failed(&self, kind: &'static str) {
        self.failures.get_or_create(&StoreErrorLabels { kind }).inc();
    }

    pub fn register(&self, registry: &mut Registry) {
        registry.register("gybe_store_errors", "Calls of the store that failed", self.failures.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_the_credentials_that_expire_first() {
        let metrics = VimCredentialMetrics::default();
        let vim = |number: u128| {
            let expires = OffsetDateTime::from_unix_timestamp(i64::try_from(number).unwrap()).unwrap();
            (VimId(uuid::Uuid::from_u128(number)), expires)
        };
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let shown = || {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
            text.lines().filter(|line| line.starts_with("gybe_vim_credential_expires_timestamp_seconds{")).count()
        };
        metrics.show((1..=1000).rev().map(vim).collect());
        assert_eq!(shown(), MAX_VIMS);
        metrics.show(vec![vim(1001), vim(5)]);
        assert_eq!(shown(), 2);
        metrics.show(Vec::new());
        assert_eq!(shown(), 0);
    }

    #[test]
    fn bounds_the_number_of_vim_labels() {
        let metrics = VimMetrics::default();
        let labels: BTreeSet<_> = (0..1000).map(|number| metrics.vim(&format!("10.0.0.1:{number}"))).collect();
        assert_eq!(labels.len(), MAX_VIMS + 1);
        assert_eq!(&*metrics.vim("10.0.0.1:7"), "10.0.0.1:7");
        assert_eq!(&*metrics.vim("10.0.0.1:999"), OTHER);
    }
}
