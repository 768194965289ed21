//! Reads VNF packages. Treat every package as hostile.
//!
//! API and onboarding call [`csar`]. It opens the file within bounds by [`archive`], reads the lists of artifacts by [`meta`]
//! and the descriptor by [`vnfd`], and sends parts by [`bundle`]. [`manifest`] reads the Kubernetes objects; [`yaml`] is below
//! it and [`vnfd`]. [`files`] keeps the CSARs on disk. All but that is synchronous and reads only the archive: run it by
//! [`crate::blocking`].

pub mod archive;
pub mod bundle;
pub mod csar;
pub mod encoding;
pub mod external;
pub mod files;
pub mod manifest;
pub mod meta;
pub mod vnfd;
pub mod yaml;
