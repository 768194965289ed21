//! What is counted, for Prometheus: plain structs, each owned by or handed to the part that counts. `app` registers those
//! that the process has; `api::health` writes them out. docs/operations.md says what each name means.
//!
//! Labels come from closed sets, so that no caller makes the number of series grow: templates rather than paths, the first
//! [`MOST_VIMS`] clusters by name, known methods.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::domain::op_occ::{LcmOperation, OpState};

/// Clusters with a label of their own; any further ones share one.
const MOST_VIMS: usize = 64;
/// The label of what has none of its own.
const OTHER: &str = "other";

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// For what takes a millisecond to ten seconds.
fn call_seconds() -> Histogram {
    Histogram::new([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0])
}

/// For what takes a tenth of a second to an hour.
fn operation_seconds() -> Histogram {
    Histogram::new([0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0])
}

// --- operations -----------------------------------------------------------------------------------------------------

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    operation: &'static str,
    outcome: &'static str,
}

/// A conductor's.
#[derive(Clone)]
pub struct OperationMetrics {
    outcomes: Family<Outcome, Counter>,
    seconds: Histograms<Outcome>,
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
    /// An operation left its running state for `outcome`, so long after it was accepted.
    pub fn ended(&self, operation: LcmOperation, outcome: OpState, after: time::Duration) {
        let labels = Outcome { operation: operation.as_str(), outcome: outcome.as_str() };
        self.outcomes.get_or_create(&labels).inc();
        self.seconds.get_or_create(&labels).observe(after.as_seconds_f64());
    }

    /// The outcome of an operation could not be written.
    pub fn unwritten(&self) {
        self.unwritten.inc();
    }

    /// A lease is held until the value is dropped.
    #[must_use]
    pub fn lease(&self) -> GaugeGuard {
        GaugeGuard::new(&self.leases)
    }

    /// Makes them part of what is written out.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("gybe_operations_ended", "Operations that left a running state", self.outcomes.clone());
        let help = "From the acceptance of an operation to its outcome";
        registry.register_with_unit("gybe_operation_duration", help, Unit::Seconds, self.seconds.clone());
        registry.register("gybe_leases_held", "Operations that this process works on", self.leases.clone());
        let help = "Outcomes of operations that the database did not take, each try";
        registry.register("gybe_operation_outcomes_unwritten", help, self.unwritten.clone());
    }
}

/// Counts as one while it lives, however the work that it stands for ends.
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
struct Verb {
    vim: Arc<str>,
    verb: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    vim: Arc<str>,
    verb: &'static str,
    result: &'static str,
}

/// Those of the drivers of a process.
#[derive(Clone)]
pub struct VimMetrics {
    calls: Family<Call, Counter>,
    seconds: Histograms<Verb>,
    vims: Arc<Mutex<BTreeSet<Arc<str>>>>,
}

impl Default for VimMetrics {
    fn default() -> Self {
        let seconds = Histograms::new_with_constructor(call_seconds as fn() -> Histogram);
        Self { calls: Family::default(), seconds, vims: Arc::default() }
    }
}

impl VimMetrics {
    /// The label of the cluster at `address` (host and port: URLs may hold credentials).
    pub fn vim(&self, address: &str) -> Arc<str> {
        let mut vims = self.vims.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = vims.get(address) {
            return Arc::clone(known);
        }
        if vims.len() >= MOST_VIMS {
            return OTHER.into();
        }
        let label: Arc<str> = address.into();
        vims.insert(Arc::clone(&label));
        label
    }

    /// A request was answered, or not, after so long.
    pub fn called(&self, vim: &Arc<str>, verb: &'static str, result: &'static str, after: Duration) {
        self.calls.get_or_create(&Call { vim: Arc::clone(vim), verb, result }).inc();
        self.seconds.get_or_create(&Verb { vim: Arc::clone(vim), verb }).observe(after.as_secs_f64());
    }

    /// Makes them part of what is written out.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("gybe_vim_calls", "Requests to clusters", self.calls.clone());
        let help = "From a request to a cluster to the head of the answer";
        registry.register_with_unit("gybe_vim_call_duration", help, Unit::Seconds, self.seconds.clone());
    }
}

// --- requests -------------------------------------------------------------------------------------------------------

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: String,
    method: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answer {
    route: String,
    method: &'static str,
    status: u16,
}

/// Those of the HTTP server.
#[derive(Clone)]
pub struct HttpMetrics {
    answers: Family<Answer, Counter>,
    seconds: Histograms<Route>,
    under_way: Gauge,
    bodies: Gauge,
    connections: Gauge,
    shed: Counter,
}

impl Default for HttpMetrics {
    fn default() -> Self {
        let seconds = Histograms::new_with_constructor(call_seconds as fn() -> Histogram);
        let (under_way, bodies, connections) = (Gauge::default(), Gauge::default(), Gauge::default());
        Self { answers: Family::default(), seconds, under_way, bodies, connections, shed: Counter::default() }
    }
}

impl HttpMetrics {
    /// A request to the resource of that template was answered; `None`: there is no such resource.
    pub fn answered(&self, route: Option<String>, method: &str, status: u16, after: Duration) {
        const METHODS: [&str; 7] = ["GET", "POST", "PATCH", "PUT", "DELETE", "HEAD", "OPTIONS"];
        let route = route.unwrap_or_else(|| OTHER.to_owned());
        let method = METHODS.into_iter().find(|known| *known == method).unwrap_or(OTHER);
        self.answers.get_or_create(&Answer { route: route.clone(), method, status }).inc();
        self.seconds.get_or_create(&Route { route, method }).observe(after.as_secs_f64());
    }

    /// A request is worked on until the value is dropped.
    #[must_use]
    pub fn request(&self) -> GaugeGuard {
        GaugeGuard::new(&self.under_way)
    }

    /// The body of a request arrives until the value is dropped.
    #[must_use]
    pub fn body(&self) -> GaugeGuard {
        GaugeGuard::new(&self.bodies)
    }

    /// A connection is open until the value is dropped.
    #[must_use]
    pub fn connection(&self) -> GaugeGuard {
        GaugeGuard::new(&self.connections)
    }

    /// The connections that are open.
    pub fn connections(&self) -> usize {
        self.connections.get().try_into().unwrap_or(0)
    }

    /// A request was sent away, as there were too many, or too many large ones.
    pub fn shed(&self) {
        self.shed.inc();
    }

    /// Makes them part of what is written out.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("gybe_http_requests", "Requests answered", self.answers.clone());
        let help = "From a request's head to that of its answer";
        registry.register_with_unit("gybe_http_request_duration", help, Unit::Seconds, self.seconds.clone());
        let help = "Requests under way, without those of the probes";
        registry.register("gybe_http_requests_under_way", help, self.under_way.clone());
        let help = "Requests whose bodies are arriving";
        registry.register("gybe_http_bodies_arriving", help, self.bodies.clone());
        let help = "Connections of callers that are open";
        registry.register("gybe_http_connections", help, self.connections.clone());
        let help = "Requests sent away with 503 as there were too many";
        registry.register("gybe_http_requests_shed", help, self.shed.clone());
    }
}

// --- notifications --------------------------------------------------------------------------------------------------

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Exchange {
    result: &'static str,
}

/// A notifier's.
#[derive(Clone)]
pub struct NotificationMetrics {
    seconds: Histograms<Exchange>,
}

impl Default for NotificationMetrics {
    fn default() -> Self {
        Self { seconds: Histograms::new_with_constructor(call_seconds as fn() -> Histogram) }
    }
}

impl NotificationMetrics {
    /// A notification was sent; the subscriber answered, or did not, after so long.
    pub fn sent(&self, result: &'static str, after: Duration) {
        self.seconds.get_or_create(&Exchange { result }).observe(after.as_secs_f64());
    }

    /// Makes them part of what is written out.
    pub fn register(&self, registry: &mut Registry) {
        let help = "From a notification to the subscriber's answer";
        registry.register_with_unit("gybe_notification_duration", help, Unit::Seconds, self.seconds.clone());
    }
}

// --- grants ---------------------------------------------------------------------------------------------------------

/// Those of the way to the NFVO.
#[derive(Clone)]
pub struct GrantMetrics {
    seconds: Histograms<Exchange>,
}

impl Default for GrantMetrics {
    fn default() -> Self {
        Self { seconds: Histograms::new_with_constructor(call_seconds as fn() -> Histogram) }
    }
}

impl GrantMetrics {
    /// The NFVO was asked for a grant or looked for one; it answered, or did not, after so long.
    pub fn exchanged(&self, result: &'static str, after: Duration) {
        self.seconds.get_or_create(&Exchange { result }).observe(after.as_secs_f64());
    }

    /// Makes them part of what is written out.
    pub fn register(&self, registry: &mut Registry) {
        let help = "From a request for a grant, or a look for it, to the NFVO's answer";
        registry.register_with_unit("gybe_grant_exchange_duration", help, Unit::Seconds, self.seconds.clone());
    }
}

// --- the store ------------------------------------------------------------------------------------------------------

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Failure {
    kind: &'static str,
}

/// A store's: what it could not do, as opposed to what it refused.
#[derive(Clone, Default)]
pub struct StoreMetrics {
    failures: Family<Failure, Counter>,
}

impl StoreMetrics {
    /// Counts a failure of that kind.
    pub fn failed(&self, kind: &'static str) {
        self.failures.get_or_create(&Failure { kind }).inc();
    }

    /// Makes them part of what is written out.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("gybe_store_errors", "Calls of the store that failed", self.failures.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_vims_with_a_label_of_their_own_is_bounded() {
        let metrics = VimMetrics::default();
        let labels: BTreeSet<_> = (0..1000).map(|number| metrics.vim(&format!("10.0.0.1:{number}"))).collect();
        assert_eq!(labels.len(), MOST_VIMS + 1);
        assert_eq!(&*metrics.vim("10.0.0.1:7"), "10.0.0.1:7");
        assert_eq!(&*metrics.vim("10.0.0.1:999"), OTHER);
    }
}
