//! Reading VNF packages: bytes that somebody else made, up to no good until shown otherwise.
//!
//! [`csar`] opens the archive and checks it, [`vnfd`] reads the descriptor, [`manifest`] the Kubernetes objects, both over
//! [`yaml`]. All of it is synchronous and touches nothing but the archive: callers run it in `spawn_blocking`.

pub mod manifest;
pub mod yaml;
