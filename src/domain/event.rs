//! Events: what `/events/v1` tells of changes. The store writes one to its journal in the transaction of each change.

use time::OffsetDateTime;

use crate::domain::ids::ProjectId;
use crate::domain::progress::StepAttempt;

/// What has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    VnfLcmOpOcc,
    /// An attempt of a step of an operation.
    Step,
    VnfInstance,
    VnfPackage,
    Vim,
}

impl EventKind {
    const ALL: [Self; 5] = [Self::VnfLcmOpOcc, Self::Step, Self::VnfInstance, Self::VnfPackage, Self::Vim];

    /// The name in the journal and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::VnfLcmOpOcc => "vnf_lcm_op_occ",
            Self::Step => "step",
            Self::VnfInstance => "vnf_instance",
            Self::VnfPackage => "vnf_package",
            Self::Vim => "vim",
        }
    }

    /// The kind with this name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// What happened to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventChange {
    Created,
    Updated,
    Deleted,
}

impl EventChange {
    const ALL: [Self; 3] = [Self::Created, Self::Updated, Self::Deleted];

    /// The name in the journal and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Deleted => "deleted",
        }
    }

    /// The change with this name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|change| change.as_str() == name)
    }
}

/// An event of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its number: events become visible in this order, without gaps, and events of one resource are in the order of its changes.
    pub sequence: i64,
    /// Whose resource it is.
    pub project: ProjectId,
    /// When the change was written.
    pub at: OffsetDateTime,
    pub kind: EventKind,
    /// The resource; of a step, its op occurrence.
    pub resource: String,
    /// The VNF instance that it belongs to.
    pub vnf_instance: Option<String>,
    pub change: EventChange,
    /// The state that the resource has since then.
    pub state: Option<String>,
    /// The attempt of a step.
    pub step: Option<StepAttempt>,
}
