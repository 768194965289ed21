//! Reading VNF packages: bytes that somebody else made, up to no good until shown otherwise.
//!
//! [`csar`] is what the API calls. Under it [`archive`] opens the file within bounds, [`bundle`] sends parts of it, [`meta`] reads what is listed where,
//! [`vnfd`] the descriptor and [`manifest`] the Kubernetes objects, both over [`yaml`].
//! All of it is synchronous and touches nothing but the archive: callers run it in `spawn_blocking`.

pub mod archive;
pub mod bundle;
pub mod csar;
pub mod files;
pub mod manifest;
pub mod meta;
pub mod vnfd;
pub mod yaml;
