//! Wire types, as the standard spells them; no behaviour beyond conversion.
//!
//! [`v1`] is SOL003 2.6.1 (`/vnflcm/v1`: `vimConnectionInfo` is an array), [`v2`] is 3.3.1 (`/vnflcm/v2`: it is a map).
//! Both show the same [`crate::domain`] instances. [`vim`] is Tacker's, [`drift`] our own, not the
//! standard's.

pub mod common;
pub mod drift;
pub mod op_occ;
pub mod pkgm;
pub mod v1;
pub mod v2;
pub mod vim;

/// An edition of SOL003, by the API root a request came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Edition {
    /// 2.6.1, `/vnflcm/v1`.
    V1,
    /// 3.3.1, `/vnflcm/v2`.
    V2,
}

impl Edition {
    /// The API's version.
    pub const fn version(self) -> &'static str {
        match self {
            Self::V1 => "1.3.0",
            Self::V2 => "2.0.0",
        }
    }

    /// Path of the API root.
    pub const fn root(self) -> &'static str {
        match self {
            Self::V1 => "/vnflcm/v1",
            Self::V2 => "/vnflcm/v2",
        }
    }
}
