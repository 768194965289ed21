//! The integration tests, in one binary. `scripts/test` starts what they need (a Kubernetes control plane, PostgreSQL)
//! and passes its location in the environment.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests say what they show in their names")]

// First, because it defines a macro that the others use.
#[macro_use]
mod support;

mod api;
mod auth;
mod cli;
mod clients;
mod conformance;
mod domain;
mod driver;
mod fuzz_corpus;
mod layering;
mod node;
mod notifications;
mod operations;
mod packages;
mod recovery;
mod server;
mod store;
mod ui;
