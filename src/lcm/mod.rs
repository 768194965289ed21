//! Lifecycle management: everything between a request and the conductor.
//!
//! [`accept`] checks a request against instance, VNFD and package before the 202 and turns it into an op occurrence;
//! [`plan`] turns an op occurrence into steps when a conductor has claimed it. Both read the request through [`params`]; [`change`]
//! has both for the change of package. [`sent`] is what an op occurrence records of a request. [`access`] resolves how to reach an instance's cluster; [`cluster_questions`] limits how long a client waits for it. [`onboarding`] receives and
//! checks packages. [`preview`] makes the plan of a task without beginning it, [`sync`] one from the drift. [`namespaces`] makes namespaces of projects. [`simulation`] prepares the simulated VIM. [`vim_move`] checks that a VIM with a new address is the same cluster.

pub mod accept;
pub mod access;
pub mod change;
pub mod cluster_questions;
pub mod container_update;
pub mod create;
pub mod grant;
pub mod modify;
pub mod namespaces;
pub mod onboarding;
pub mod params;
pub mod plan;
pub mod preview;
pub mod sent;
pub mod simulation;
pub mod subscribe;
pub mod sync;
pub mod tenancy;
mod vim_connections;
pub mod vim_move;
