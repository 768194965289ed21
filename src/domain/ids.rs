//! Identifiers: one type per resource, so that the compiler rejects the id of an op occurrence in place of that of an instance.
//!
//! All are UUIDs; the caller supplies the randomness (see [`crate::clock::Ids`]).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }
    };
}

identifier!(
    /// A VNF instance (SOL003 clause 5.5.2.2, `VnfInstance.id`).
    VnfInstanceId
);
identifier!(
    /// A VNF lifecycle management operation occurrence (SOL003 clause 5.5.2.13, `VnfLcmOpOcc.id`).
    VnfLcmOpOccId
);
identifier!(
    /// An onboarded or to-be-onboarded VNF package (`VnfPkgInfo.id`).
    VnfPkgId
);
identifier!(
    /// A registered VIM.
    VimId
);
identifier!(
    /// A subscription to lifecycle changes (SOL003 clause 5.5.2.16, `LccnSubscription.id`).
    SubscriptionId
);
identifier!(
    /// A plan that a preview keeps (`planId`).
    PlanId
);
identifier!(
    /// A namespace of a project (`/tenancy/v1/namespaces/{id}`).
    NamespaceId
);

/// The tenant that owns a row. There is one, [`ProjectId::DEFAULT`], until callers are authenticated.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProjectId(pub String);

impl ProjectId {
    /// The name of the only project there is without authentication.
    pub const DEFAULT: &'static str = "default";
}

impl Default for ProjectId {
    fn default() -> Self {
        Self(Self::DEFAULT.to_owned())
    }
}
