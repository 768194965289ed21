//! Wire types, as the standard defines them, and their conversion from and to [`crate::domain`]; no other behaviour.
//!
//! [`v1`] is SOL003 2.6.1 (`/vnflcm/v1`: `vimConnectionInfo` is an array), [`v2`] is 3.3.1 (`/vnflcm/v2`: it is a map). [`pkgm`] has
//! both editions of packages. Not of the standard: [`vim`] is Tacker's; [`drift`], [`event`], [`preview`], [`steps`] and [`sync`] are Gybe's own.

pub mod common;
pub mod drift;
pub mod event;
pub mod grant;
pub mod notification;
pub mod op_occ;
pub mod pkgm;
pub mod preview;
pub mod share;
pub mod steps;
pub mod subscription;
pub mod sync;
pub mod v1;
pub mod v2;
pub mod vim;

pub use crate::domain::interface::{Edition, Interface};
