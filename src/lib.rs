//! Gybe: an ETSI NFV-SOL 003 VNF Manager for containerised network functions on Kubernetes.
//!
//! `api` answers requests and, through `lcm`, writes them to `store`. `conductor` claims operations there and executes them
//! through `infra`, after a grant by the `nfvo` if there is one. `view` updates instances between operations. `domain` contains
//! the decisions, as pure functions. `docs/architecture.md` has the picture.

pub mod api;
pub mod app;
pub mod auth;
pub mod blocking;
pub mod cli;
pub mod clock;
pub mod conductor;
pub mod config;
pub mod debug;
pub mod domain;
pub mod error;
pub mod fetch;
pub mod infra;
pub mod lcm;
pub mod metrics;
pub mod nfvo;
pub mod notify;
pub mod outbound;
pub mod package;
pub mod places;
pub mod retention;
pub mod sol003;
pub mod store;
pub mod telemetry;
pub mod traces;
pub mod view;
