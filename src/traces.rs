//! OTLP traces, if an endpoint is configured: delivery to the collector, and links to the traces of clients.
//!
//! Spans for traces have the target [`TRACES`]. Logs ignore these, and traces all others, so that neither affects the other.
//! Without an endpoint no layer wants the target, and such spans are disabled. Attributes are identifiers, names, numbers and
//! states, never text from clients or clusters.
//!
//! Nothing waits for the collector. Ended spans go into a bounded queue. Spans that find it full, or cannot be delivered, are
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

/// The target of spans for traces. It is not the name of a module, so that events of modules do not have it.
pub const TRACES: &str = "otlp";

/// Length of the queue of ended spans, of about a kilobyte each.
const QUEUE: usize = 4096;
/// Spans in one request.
const BATCH: usize = 512;
/// Time to collect spans when there are fewer than that.
const GATHER: Duration = Duration::from_millis(200);
/// Deadline of a request to the collector.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time to send the queue at the end.
const FLUSH: Duration = Duration::from_secs(5);

/// Why traces cannot start.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    #[error("cannot read the CA certificates of the system, which the OTLP endpoint needs")]
    Certificates(#[source] std::io::Error),
    /// The endpoint, or an `OTEL_EXPORTER_OTLP_…` variable, is not valid.
    #[error("cannot create the OTLP exporter")]
    Exporter(#[from] ExporterBuildError),
}

/// Delivery to a collector.
pub struct Traces {
    tracer: SdkTracer,
    stop: CancellationToken,
    delivery: JoinHandle<()>,
}

impl Traces {
    /// Starts a task on the current runtime that sends to `endpoint`: scheme, host, port and an optional path, to which
    /// `/v1/traces` is appended. Headers, such as credentials, come from `OTEL_EXPORTER_OTLP_HEADERS`.
    ///
    /// # Errors
    /// [`TracesError`]. An unreachable endpoint is not an error.
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
            .with_sampler(Sampler::ParentBased(Box::new(RootSampler)))
            .with_span_processor(SpanQueue { sender, lost })
            .build();
        Ok(Self { tracer: provider.tracer("gybe"), stop, delivery })
    }

    /// Converts spans of `tracing` into spans for the collector.
    pub fn tracer(&self) -> SdkTracer {
        self.tracer.clone()
    }

    /// Sends the rest of the queue, for at most [`FLUSH`].
    pub async fn finish(self) {
        self.stop.cancel();
        if tokio::time::timeout(FLUSH, self.delivery).await.is_err() {
            tracing::warn!("cannot deliver the last traces in time");
        }
    }
}

/// Makes `span` the child of the span in the `traceparent` and `tracestate` of a request (W3C Trace Context). Ignores invalid
/// values. Must be called before the span is entered.
pub fn continue_from<'a>(span: &Span, header: impl Fn(&str) -> Option<&'a str>) {
    if span.is_disabled() {
        return;
    }
    let names = ["traceparent", "tracestate"];
    let carrier: HashMap<_, _> = names.into_iter().filter_map(|name| Some((name, header(name)?))).collect();
    let parent = TraceContextPropagator::new().extract(&Carrier(carrier));
    // Fails only if the span belongs to no trace.
    drop(span.set_parent(parent));
}

/// Renames a span that has started.
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

/// Starts traces with requests and operations. Background work of a process, such as polling for work, has no trace.
#[derive(Clone, Debug)]
struct RootSampler;

impl ShouldSample for RootSampler {
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

/// The sending end of the queue.
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

/// Sends spans until `stop`, and then the rest of the queue.
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
                    tracing::warn!(error = error as &dyn std::error::Error, "cannot deliver traces; they are lost");
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
