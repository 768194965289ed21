//! Logs to standard error: text on a terminal, otherwise one JSON object per line. `RUST_LOG` filters them. `main` sets them up,
//! with the layer for traces ([`crate::traces`]).
//!
//! An object has `timestamp`, `level`, `message` and `target`, the members of the event, and those of its spans, such as
//! `op.id`: all on one level and none twice, so that one query finds everything about an operation.

use std::error::Error;
use std::fmt;
use std::io::IsTerminal;

use serde::Serialize;
use serde_json::{Map, Value};
use time::format_description::well_known::Rfc3339;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{FilterExt as _, LevelFilter, filter_fn};
use tracing_subscriber::fmt::format::{FormatEvent, JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormattedFields};
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry};

use crate::clock::{Clock as _, System};
use crate::domain::problem::{Panic, chain};
use crate::traces::{TRACES, Traces};

/// The default of `RUST_LOG`.
const FILTER: &str = "info";

/// Starts logging, and passes spans to `traces`. `main` calls it once.
pub fn start(traces: Option<&Traces>) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(FILTER));
    let loggable = filter_fn(|metadata| is_loggable(metadata.target(), *metadata.level()));
    let loggable = loggable.with_max_level_hint(LevelFilter::TRACE);
    let logs = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let logs: Box<dyn Layer<Registry> + Send + Sync> = if std::io::stderr().is_terminal() {
        logs.boxed()
    } else {
        logs.fmt_fields(JsonFields::new()).event_format(Flat).boxed()
    };
    let logs = logs.with_filter(filter.and(loggable));
    let Some(traces) = traces else { return tracing_subscriber::registry().with(logs).init() };
    let only_traces = filter_fn(|metadata| metadata.target() == TRACES).with_max_level_hint(LevelFilter::INFO);
    let traces = tracing_opentelemetry::layer()
        .with_tracer(traces.tracer())
        // Operators do not need code location, thread and idle time of a span.
        .with_location(false)
        .with_target(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_filter(only_traces);
    tracing_subscriber::registry().with(logs).with(traces).init();
}

/// Whether an event may be logged, whatever `RUST_LOG` says. kube quotes responses that are not JSON in full, below the level
/// ERROR: bodies of others may contain secrets, and Gybe reports these failures itself. Spans for traces are no events.
fn is_loggable(target: &str, level: Level) -> bool {
    let is_kube = target.split("::").next() == Some("kube_client");
    target != TRACES && (!is_kube || level == Level::ERROR)
}

/// Logs panics like other events, with their location, and without texts that may quote secrets. `main` calls it once.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        tracing::error!(panic.place = place, "a defect in Gybe: {}", Panic::of(panic.payload()));
    }));
}

/// Writes an event as one flat JSON object.
struct Flat;

#[derive(Serialize)]
struct Line<'a> {
    timestamp: String,
    level: &'a str,
    message: Value,
    target: &'a str,
    #[serde(flatten)]
    members: Map<String, Value>,
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> FormatEvent<S, JsonFields> for Flat {
    fn format_event(
        &self,
        context: &FmtContext<'_, S, JsonFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut members = Members(Map::new());
        // From the outermost span inwards, so that the more specific value wins.
        for span in context.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(fields) = span.extensions().get::<FormattedFields<JsonFields>>()
                && let Ok(fields) = serde_json::from_str::<Map<String, Value>>(fields)
            {
                members.0.extend(fields);
            }
        }
        event.record(&mut members);
        let Members(mut members) = members;
        let message = members.remove("message").unwrap_or_default();
        members.retain(|name, _| !["timestamp", "level", "target"].contains(&name.as_str()));
        let metadata = event.metadata();
        let (level, target) = (metadata.level().as_str(), metadata.target());
        let timestamp = System.now().format(&Rfc3339).map_err(|_| fmt::Error)?;
        let line = serde_json::to_string(&Line { timestamp, level, message, target, members });
        writeln!(writer, "{}", line.map_err(|_| fmt::Error)?)
    }
}

struct Members(Map<String, Value>);

impl Members {
    fn set(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Members {
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.set(field, chain(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field, format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] fmt::Error);

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn bodies_of_others_stay_out_of_the_log_whatever_the_filter_says() {
        for (target, level, expected) in [
            ("kube_client::client", Level::WARN, false),
            ("kube_client", Level::TRACE, false),
            ("kube_client::client", Level::ERROR, true),
            ("kube_clients", Level::WARN, true),
            ("gybe::api", Level::DEBUG, true),
            (TRACES, Level::INFO, false),
        ] {
            assert_eq!(is_loggable(target, level), expected, "{target} {level}");
        }
    }

    #[test]
    fn writes_one_flat_object_with_the_members_of_all_spans() {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let logs = tracing_subscriber::fmt().fmt_fields(JsonFields::new()).event_format(Flat);
        tracing::subscriber::with_default(logs.with_writer(move || writer.clone()).finish(), || {
            let span = tracing::info_span!("operation", op.id = "7", quoted = "\"\n");
            span.in_scope(|| {
                let why = Outer(fmt::Error);
                tracing::info!(op.id = "8", steps = 3, level = "mine", error = &why as &dyn Error, "step {}", 2);
            });
        });
        let text = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
        let line: Map<String, Value> = serde_json::from_str(&text).unwrap();
        assert_eq!(line["op.id"], "8");
        assert_eq!(line["message"], "step 2");
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["steps"], 3);
        assert_eq!(line["quoted"], "\"\n");
        assert!(line["error"].as_str().unwrap().starts_with("outer: an error occurred"), "{text}");
        assert_eq!(text.lines().count(), 1);
        for name in line.keys() {
            assert_eq!(text.matches(&format!("\"{name}\":")).count(), 1, "{name} in {text}");
        }
    }
}
