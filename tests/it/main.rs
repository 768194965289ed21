//! The integration tests, in one binary. `scripts/test` starts what they need (a Kubernetes control plane, PostgreSQL)
//! and says where it is in the environment.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests say what they show in their names")]

// Before those that use its macro.
#[macro_use]
mod engines;

mod accept;
mod bad_input;
mod bad_neighbours;
mod callback_outage;
mod cancel;
mod change_vnfpkg;
mod chaos;
mod clients;
mod conformance;
mod connections;
mod csar;
mod drift;
mod driver;
mod error_handling;
mod evidence;
mod failures;
mod filters;
mod fuzz_corpus;
mod garbage;
mod grants;
mod http_rules;
mod layering;
mod levels;
mod lifecycle;
mod lists;
mod matrix;
mod namespace;
mod namespaces;
mod notifications;
mod op_occ;
mod op_occ_values;
mod openapi;
mod openstack_client;
mod operate;
mod operator;
mod outages;
mod outcome_persistence;
mod package_schemas;
mod package_sources;
mod package_subscriptions;
mod packages;
mod render;
mod restart;
mod scale;
mod schemas;
mod store;
mod subscriptions;
mod support;
mod traces;
mod transitions;
mod view;
mod vim_errors;
mod vim_faults;
mod vims;
