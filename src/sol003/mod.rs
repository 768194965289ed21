//! Wire types, as the standard spells them; no behaviour beyond conversion.
//!
//! [`v1`] is SOL003 2.6.1 (`/vnflcm/v1`: `vimConnectionInfo` is an array), [`v2`] is 3.3.1 (`/vnflcm/v2`: it is a map).
//! Both show the same [`crate::domain`] instances; [`pkgm`] has the two of packages. [`vim`] is Tacker's, [`drift`] our own, not the
//! standard's.

pub mod common;
pub mod drift;
pub mod grant;
pub mod notification;
pub mod op_occ;
pub mod pkgm;
pub mod subscription;
pub mod v1;
pub mod v2;
pub mod vim;

pub use crate::domain::interface::{Edition, Interface};
