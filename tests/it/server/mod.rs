//! Running Gybe: probes, metrics, logs, traces, load and shutdown.

mod operator;
mod probes;
mod traces;
