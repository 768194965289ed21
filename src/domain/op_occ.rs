//! The lifecycle management operation occurrence and its state machine (SOL003 clause 5.6.2.2, figure 5.6.2.2-1).
//!
//! Pure. The API asks [`OpState::on`] before it writes a request, the conductor before it writes a result;
//! the store repeats the *from* state in its WHERE, so that two callers can't both win.

use std::collections::HashSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;

use crate::domain::ids::{ProjectId, VnfInstanceId, VnfLcmOpOccId, VnfPkgId};
use crate::domain::instance::{VirtualStorage, Vnfc};
use crate::domain::problem::Problem;

/// `LcmOperationType` (SOL003 clause 5.5.4.5), those that Gybe carries out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum LcmOperation {
    /// Instantiate a VNF.
    Instantiate,
    /// Scale a VNF by aspect and steps.
    Scale,
    /// Scale a VNF to an instantiation level, or to levels of its aspects.
    ScaleToLevel,
    /// Heal VNFCs or the whole VNF.
    Heal,
    /// Stop a VNF, or start it.
    Operate,
    /// Give a VNF the objects of another package.
    ChangeVnfpkg,
    /// Terminate a VNF.
    Terminate,
    /// Change attributes of the VNF instance (`PATCH`).
    ModifyInfo,
}

/// `LcmOperationStateType` (SOL003 clause 5.5.4.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OpState {
    /// Accepted; being planned and granted. Nothing in the VIM has changed.
    Starting,
    /// The plan is being carried out.
    Processing,
    /// Final: done.
    Completed,
    /// Stopped by an error; waits for retry, rollback or fail.
    FailedTemp,
    /// Final: given up, resources may remain and stay in the inventory.
    Failed,
    /// What the operation made is being removed.
    RollingBack,
    /// Final: as if the operation had never been.
    RolledBack,
}

impl OpState {
    /// All states.
    pub const ALL: [Self; 7] = [
        Self::Starting,
        Self::Processing,
        Self::Completed,
        Self::FailedTemp,
        Self::Failed,
        Self::RollingBack,
        Self::RolledBack,
    ];

    /// Whether nothing can follow.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::RolledBack)
    }

    /// Whether a conductor has work to do.
    pub const fn is_running(self) -> bool {
        matches!(self, Self::Starting | Self::Processing | Self::RollingBack)
    }

    /// The state that follows when `event` happens.
    ///
    /// # Errors
    /// [`IllegalTransition`] where figure 5.6.2.2-1 has no such arrow.
    pub const fn on(self, event: OpEvent) -> Result<Self, IllegalTransition> {
        use OpEvent::{Cancelled, Fail, Granted, Refused, Retry, Rollback, Stopped, Succeeded};
        let next = match (self, event) {
            (Self::Starting, Granted) | (Self::FailedTemp, Retry) => Self::Processing,
            (Self::Starting, Refused | Cancelled) | (Self::RollingBack, Succeeded) => Self::RolledBack,
            (Self::Processing, Succeeded) => Self::Completed,
            (Self::Processing | Self::RollingBack, Stopped | Cancelled) => Self::FailedTemp,
            (Self::FailedTemp, Rollback) => Self::RollingBack,
            (Self::FailedTemp, Fail) => Self::Failed,
            _ => return Err(IllegalTransition { from: self, event }),
        };
        Ok(next)
    }

    /// The name on the wire and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "STARTING",
            Self::Processing => "PROCESSING",
            Self::Completed => "COMPLETED",
            Self::FailedTemp => "FAILED_TEMP",
            Self::Failed => "FAILED",
            Self::RollingBack => "ROLLING_BACK",
            Self::RolledBack => "ROLLED_BACK",
        }
    }
}

impl CancelMode {
    /// The name on the wire and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Graceful => "GRACEFUL",
            Self::Forceful => "FORCEFUL",
        }
    }
}

impl LcmOperation {
    /// The name on the wire and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Instantiate => "INSTANTIATE",
            Self::Scale => "SCALE",
            Self::ScaleToLevel => "SCALE_TO_LEVEL",
            Self::Heal => "HEAL",
            Self::Operate => "OPERATE",
            Self::ChangeVnfpkg => "CHANGE_VNFPKG",
            Self::Terminate => "TERMINATE",
            Self::ModifyInfo => "MODIFY_INFO",
        }
    }
}

/// What can happen to an op occurrence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpEvent {
    /// Planned, checked and granted.
    Granted,
    /// The checks or the grant said no, before anything was changed.
    Refused,
    /// All steps are done.
    Succeeded,
    /// An error that time does not heal, or that did not heal in time.
    Stopped,
    /// The cancel request took effect.
    Cancelled,
    /// `POST …/retry`.
    Retry,
    /// `POST …/rollback`.
    Rollback,
    /// `POST …/fail`.
    Fail,
}

/// An event that the state does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{event:?} is not possible in state {}", from.as_str())]
pub struct IllegalTransition {
    /// The state it happened in.
    pub from: OpState,
    /// What happened.
    pub event: OpEvent,
}

/// How a running operation is to be cancelled (SOL003 clause 5.5.4.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CancelMode {
    /// Requests to the VIM that are under way are finished first.
    Graceful,
    /// Waiting is interrupted.
    Forceful,
}

/// An operation occurrence as callers see it; lease and plan are the store's and the conductor's.
#[derive(Clone, Debug, PartialEq)]
pub struct VnfLcmOpOcc {
    /// Its identifier.
    pub id: VnfLcmOpOccId,
    /// The tenant.
    pub project_id: ProjectId,
    /// The VNF instance it works on.
    pub vnf_instance_id: VnfInstanceId,
    /// What it does.
    pub operation: LcmOperation,
    /// Where it stands.
    pub state: OpState,
    /// When it entered that state.
    pub state_entered_time: OffsetDateTime,
    /// When it was accepted.
    pub start_time: OffsetDateTime,
    /// Whether the VNFM itself started it.
    pub is_automatic_invocation: bool,
    /// The request body, without credentials.
    pub params: Value,
    /// A cancel request that has not taken effect yet.
    pub cancel: Option<CancelMode>,
    /// Why it stopped; present in `FAILED_TEMP`, `FAILED`, `ROLLING_BACK`, `ROLLED_BACK`.
    pub error: Option<Problem>,
    /// What it changed; present once it ended.
    pub resource_changes: Option<ResourceChanges>,
    /// What a `MODIFY_INFO` changed; once it is COMPLETED, what a `CHANGE_VNFPKG` did.
    pub changed_info: Option<Value>,
    /// The package that a `CHANGE_VNFPKG` brings: in use until the operation is over.
    pub target_package: Option<VnfPkgId>,
    /// The trace of the request that began it, as a W3C `traceparent`, if there is one.
    pub traceparent: Option<String>,
    /// The grant that it was given, if an NFVO gives some.
    pub grant: Option<GrantReference>,
    /// What becomes of it if nobody decides; `None`: it waits for somebody as long as it takes.
    pub unattended: Option<Unattended>,
}

/// A Grant (SOL003 clause 9.5.2.3) that the NFVO gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantReference {
    /// Its identifier: `grantId` of the op occurrence.
    pub id: String,
    /// Where it is in the NFVO.
    pub uri: String,
}

/// What becomes of an operation in `FAILED_TEMP` that nobody retries, rolls back or fails: some NFVOs don't know that state
/// and wait for a final one. Not visible to callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unattended {
    /// How long it waits for somebody.
    pub after: Duration,
    /// What is done then.
    pub remedy: Remedy,
}

/// What is done with an operation that nobody decided about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Remedy {
    /// It is rolled back; one that has no way back is failed. So is one that stops on the way back and is left again.
    Rollback,
    /// It is failed.
    Fail,
}

impl Remedy {
    /// The event that carries it out; `way_back`: whether the operation has one.
    pub const fn event(self, way_back: bool) -> OpEvent {
        match self {
            Self::Rollback if way_back => OpEvent::Rollback,
            Self::Rollback | Self::Fail => OpEvent::Fail,
        }
    }

    /// The name in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rollback => "ROLLBACK",
            Self::Fail => "FAIL",
        }
    }
}

/// `resourceChanges` (SOL003 clause 5.5.2.13).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ResourceChanges {
    /// The `vimConnectionInfo` entry of the VIM they are in.
    pub vim_connection_id: String,
    /// VNFCs that came or went.
    pub affected_vnfcs: Vec<AffectedVnfc>,
    /// Volume claims that came or went. Op occurrences of older versions have none.
    #[serde(default)]
    pub affected_storages: Vec<AffectedStorage>,
}

/// One VNFC that an operation touched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AffectedVnfc {
    /// Came or went.
    pub change: ChangeType,
    /// The VNFC.
    pub vnfc: Vnfc,
}

/// One volume claim that an operation touched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AffectedStorage {
    /// Came or went.
    pub change: ChangeType,
    /// The claim.
    pub storage: VirtualStorage,
}

/// `changeType` of an affected VNFC or storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ChangeType {
    /// It was not there before.
    Added,
    /// It is not there any more.
    Removed,
}

impl ResourceChanges {
    /// What changed between two sets of VNFCs, each with volume claims. A VNFC whose pod was replaced under the same name is
    /// both removed and added.
    pub fn between(
        vim_connection_id: &str,
        before: (&[Vnfc], &[VirtualStorage]),
        after: (&[Vnfc], &[VirtualStorage]),
    ) -> Self {
        let vnfcs = changed(before.0, after.0, |vnfc| &vnfc.pod_uid);
        let storages = changed(before.1, after.1, |storage| &storage.claim_uid);
        Self {
            vim_connection_id: vim_connection_id.to_owned(),
            affected_vnfcs: vnfcs.map(|(change, vnfc)| AffectedVnfc { change, vnfc: vnfc.clone() }).collect(),
            affected_storages: storages
                .map(|(change, storage)| AffectedStorage { change, storage: storage.clone() })
                .collect(),
        }
    }
}

/// First what went, then what came, each in its order.
fn changed<'a, T>(
    before: &'a [T],
    after: &'a [T],
    uid: impl Fn(&T) -> &String + Copy + 'a,
) -> impl Iterator<Item = (ChangeType, &'a T)> {
    let [were, are] = [before, after].map(|set| set.iter().map(uid).collect::<HashSet<&String>>());
    let removed = before.iter().filter(move |one| !are.contains(uid(one))).map(|one| (ChangeType::Removed, one));
    removed.chain(after.iter().filter(move |one| !were.contains(uid(one))).map(|one| (ChangeType::Added, one)))
}
