//! Running Gybe: probes, metrics, logs, traces, load, shutdown, and a simulated VIM.

mod monitoring;
mod operator;
mod probes;
mod simulated;
mod traces;
