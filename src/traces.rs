//! OTLP traces, where an endpoint is configured: whom they go to, and how they are tied to those of callers.
//!
//! A span that belongs into traces is made with the target [`TRACES`]; logs leave these out, and traces all others, so that
//! neither changes with the other. Without an endpoint nobody wants the target, and such a span is never made.
//! Attributes are identifiers, names, numbers and states: no text that a caller or a cluster wrote.
//!
//! Nobody ever waits for the collector. Ended spans go into a bounded queue; what finds it full, or can't be delivered, is
//! lost, and the log says so once.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper_rustls::HttpsConnectorBuilder;
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{Link, SpanKind, TraceContextExt as _, TraceId, TracerProvider as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_otlp::{ExporterBuildError, Protocol, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{
    Sampler, SamplingDecision, SamplingResult, SdkTracer, SdkTracerProvider, ShouldSample, Span as SdkSpan, SpanData,
    SpanExporter, SpanProcessor,
};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// The target of spans that belong into traces. No module's name, so that what modules log is not among them.
pub const TRACES: &str = "otlp";

/// Ended spans that wait to be sent; about a kilobyte each.
const QUEUE: usize = 4096;
/// Spans sent at once.
const BATCH: usize = 512;
/// So long, fewer than that are gathered.
const GATHER: Duration = Duration::from_millis(200);
/// A request to the collector has this long.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// At the end, the queue has this long to be sent.
const FLUSH: Duration = Duration::from_secs(5);

/// Why there are no traces.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    /// The system's certificates can't be read.
    #[error("the system's CA certificates, by which the OTLP endpoint is verified, can't be read")]
    Certificates(#[source] std::io::Error),
    /// The endpoint, or an `OTEL_EXPORTER_OTLP_…` variable, is wrong.
    #[error("the OTLP exporter can't be made")]
    Exporter(#[from] ExporterBuildError),
}

/// The way to a collector.
pub struct Traces {
    tracer: SdkTracer,
    stop: CancellationToken,
    delivery: JoinHandle<()>,
}

impl Traces {
    /// Sends to `endpoint` (scheme, host, port and perhaps a path, to which `/v1/traces` is added), from a task on the
    /// current runtime. Headers, such as credentials, come from `OTEL_EXPORTER_OTLP_HEADERS`.
    ///
    /// # Errors
    /// [`TracesError`]. That nobody listens there is none.
    pub fn start(endpoint: &str) -> Result<Self, TracesError> {
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')));
        let exporter = if endpoint.starts_with("https:") {
            let connector = HttpsConnectorBuilder::new().with_native_roots().map_err(TracesError::Certificates)?;
            let connector = connector.https_only().enable_http1().build();
            exporter.with_http_client(HyperClient::new(connector, EXPORT_TIMEOUT, None))
        } else {
            exporter.with_http_client(HyperClient::with_default_connector(EXPORT_TIMEOUT, None))
        };
        let mut exporter = exporter.build()?;
        let resource = Resource::builder()
            .with_service_name("gybe")
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        exporter.set_resource(&resource);
        let (sender, spans) = mpsc::channel(QUEUE);
        let (lost, stop) = (Arc::new(AtomicU64::new(0)), CancellationToken::new());
        let delivery = tokio::spawn(deliver(exporter, spans, Arc::clone(&lost), stop.clone()));
        let provider = SdkTracerProvider::builder()
            .with_sampler(Sampler::ParentBased(Box::new(Beginnings)))
            .with_span_processor(SpanQueue { sender, lost })
            .build();
        Ok(Self { tracer: provider.tracer("gybe"), stop, delivery })
    }

    /// What makes spans of `tracing` into spans for the collector.
    pub fn tracer(&self) -> SdkTracer {
        self.tracer.clone()
    }

    /// Sends what is left, for as long as [`FLUSH`].
    pub async fn finish(self) {
        self.stop.cancel();
        if tokio::time::timeout(FLUSH, self.delivery).await.is_err() {
            tracing::warn!("the last traces were not delivered in time");
        }
    }
}

/// Makes `span` the child of the one that a caller's `traceparent` and `tracestate` name (W3C Trace Context). What can't
/// be read there is ignored. To be called before the span is entered.
pub fn continue_from<'a>(span: &Span, header: impl Fn(&str) -> Option<&'a str>) {
    if span.is_disabled() {
        return;
    }
    let names = ["traceparent", "tracestate"];
    let carrier: HashMap<_, _> = names.into_iter().filter_map(|name| Some((name, header(name)?))).collect();
    let parent = TraceContextPropagator::new().extract(&Carrier(carrier));
    // Fails only where the span is of no trace.
    drop(span.set_parent(parent));
}

/// Names a span that has begun already.
pub fn rename(span: &Span, name: String) {
    span.context().span().update_name(name);
}

/// The current span as a `traceparent`, if it belongs to a trace.
pub fn traceparent() -> Option<String> {
    let mut carrier = HashMap::new();
    TraceContextPropagator::new().inject_context(&Span::current().context(), &mut carrier);
    carrier.remove("traceparent")
}

struct Carrier<'a>(HashMap<&'static str, &'a str>);

impl Extractor for Carrier<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).copied()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().copied().collect()
    }
}

/// Traces begin with a request or an operation. What a process does on its own, such as asking for work, is of no trace.
#[derive(Clone, Debug)]
struct Beginnings;

impl ShouldSample for Beginnings {
    fn should_sample(
        &self,
        _: Option<&Context>,
        _: TraceId,
        _: &str,
        kind: &SpanKind,
        _: &[KeyValue],
        _: &[Link],
    ) -> SamplingResult {
        let decision = match kind {
            SpanKind::Server | SpanKind::Consumer => SamplingDecision::RecordAndSample,
            _ => SamplingDecision::Drop,
        };
        SamplingResult { decision, attributes: Vec::new(), trace_state: Default::default() }
    }
}

/// The sending end.
struct SpanQueue {
    sender: mpsc::Sender<SpanData>,
    lost: Arc<AtomicU64>,
}

impl fmt::Debug for SpanQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpanQueue").finish_non_exhaustive()
    }
}

impl SpanProcessor for SpanQueue {
    fn on_start(&self, _: &mut SdkSpan, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if self.sender.try_send(span).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// Sends what arrives until `stop`, and then what is left.
async fn deliver(
    exporter: impl SpanExporter,
    mut spans: mpsc::Receiver<SpanData>,
    lost: Arc<AtomicU64>,
    stop: CancellationToken,
) {
    let mut batch = Vec::new();
    let mut failing = false;
    loop {
        let count = tokio::select! {
            count = spans.recv_many(&mut batch, BATCH) => count,
            () = stop.cancelled(), if !spans.is_closed() => {
                spans.close();
                continue;
            }
        };
        if count == 0 {
            return;
        }
        let sent = exporter.export(std::mem::take(&mut batch)).await;
        match &sent {
            Err(error) => {
                lost.fetch_add(count as u64, Ordering::Relaxed);
                if !failing {
                    tracing::warn!(error = error as &dyn std::error::Error, "traces can't be delivered and are lost");
                }
            }
            Ok(()) => {
                let lost = lost.swap(0, Ordering::Relaxed);
                if lost > 0 {
                    tracing::warn!(lost, "traces are delivered again; {lost} spans were lost");
                }
            }
        }
        failing = sent.is_err();
        if count < BATCH {
            tokio::select! {
                () = tokio::time::sleep(GATHER) => {}
                () = stop.cancelled() => {}
            }
        }
    }
}
