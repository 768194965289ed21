//! Gybe: an ETSI NFV-SOL 003 VNF Manager for containerised network functions on Kubernetes.
//!
//! `api` answers requests and writes them into `store`; `conductor` takes operations from there and drives them through
//! `infra`; what they decide is in `domain`, which does nothing. `docs/architecture.md` has the picture.

pub mod clock;
pub mod domain;
pub mod infra;
pub mod package;
pub mod store;
