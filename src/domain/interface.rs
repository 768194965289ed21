//! The APIs of SOL003 that Gybe serves, each in the two editions.

use serde::{Deserialize, Serialize};

/// An edition of SOL003, by the API root a request came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
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

    /// The name in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "V1",
            Self::V2 => "V2",
        }
    }
}

/// An API of SOL003.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Interface {
    /// VNF lifecycle management (clause 5).
    Lifecycle,
    /// VNF package management (clause 10; what changes packages is SOL005's, clause 9).
    Packages,
}

impl Interface {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Lifecycle, Self::Packages];

    /// `apiName`: the first part of the path.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lifecycle => "vnflcm",
            Self::Packages => "vnfpkgm",
        }
    }

    /// Path of the API root.
    pub const fn root(self, edition: Edition) -> &'static str {
        match (self, edition) {
            (Self::Lifecycle, edition) => edition.root(),
            (Self::Packages, Edition::V1) => "/vnfpkgm/v1",
            (Self::Packages, Edition::V2) => "/vnfpkgm/v2",
        }
    }

    /// The API's version.
    pub const fn version(self, edition: Edition) -> &'static str {
        match (self, edition) {
            (Self::Lifecycle, edition) => edition.version(),
            (Self::Packages, Edition::V1) => "1.0.0",
            (Self::Packages, Edition::V2) => "2.1.0",
        }
    }
}
