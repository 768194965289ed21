//! The lifecycle management operation occurrence (SOL003 clause 5.5.2.13): its record and its states. What an event does to it
//! is decided in [`crate::domain::transition`].

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;

use crate::domain::ids::{PlanId, ProjectId, VnfInstanceId, VnfLcmOpOccId, VnfPkgId};
use crate::domain::instance::VnfInstance;
use crate::domain::kept_plan::PLAN_ID;
use crate::domain::problem::Problem;
use crate::domain::resource_changes::ResourceChanges;
use crate::domain::warning::Warnings;

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
    /// Whether POST …/rollback is possible in FAILED_TEMP (clause 5.4.14). The plans of these operations, and of a MODIFY_INFO that brings
    /// a package ([`VnfLcmOpOcc::can_roll_back`]), have rollback steps ([`Plan::backward`](crate::domain::plan::Plan::backward)), no
    /// others; `lcm::plan` creates them.
    pub const fn can_roll_back(self) -> bool {
        match self {
            Self::Instantiate | Self::Scale | Self::ScaleToLevel | Self::Operate | Self::ChangeVnfpkg => true,
            Self::Heal | Self::Terminate | Self::ModifyInfo => false,
        }
    }

    /// The state that it begins in: a change of attributes needs no grant and no plan, so it has no STARTING (clause 5.4.4.3.4).
    pub const fn initial_state(self) -> OpState {
        if matches!(self, Self::ModifyInfo) { OpState::Processing } else { OpState::Starting }
    }

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

/// Whether an operation can be rolled back that brings a package or not.
pub const fn can_roll_back(operation: LcmOperation, brings_package: bool) -> bool {
    operation.can_roll_back() || (matches!(operation, LcmOperation::ModifyInfo) && brings_package)
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
    /// The package that a `CHANGE_VNFPKG` or a `MODIFY_INFO` with `vnfdId` brings: in use until the operation is over.
    pub target_package: Option<VnfPkgId>,
    /// The trace of the request that began it, as a W3C `traceparent`, if there is one.
    pub traceparent: Option<String>,
    /// The grant that it was given, if an NFVO gives some.
    pub grant: Option<GrantReference>,
    /// What becomes of it if nobody decides; `None`: it waits for somebody as long as it takes.
    pub unattended: Option<Unattended>,
    /// What is probably not as the caller meant it.
    pub warnings: Warnings,
}

/// The member of `additionalParams` of a TERMINATE that abandons the objects of the VNF: Gybe forgets them and sends nothing to
/// their cluster. For a cluster that is lost.
pub const ABANDON: &str = "gybe:abandon";

impl VnfLcmOpOcc {
    /// Whether it abandons the objects of the VNF.
    pub fn abandons(&self) -> bool {
        let abandon = self.params.get("additionalParams").and_then(|params| params.get(ABANDON));
        self.operation == LcmOperation::Terminate && abandon == Some(&Value::Bool(true))
    }

    /// The plan of a preview that it runs; `None`: it makes its own.
    pub fn kept_plan(&self) -> Option<PlanId> {
        // A patch may have any members: they have no effect.
        let plan = self.params.get(PLAN_ID).filter(|_| self.operation != LcmOperation::ModifyInfo)?;
        plan.as_str()?.parse().ok()
    }

    /// Whether it brings the VNF a package. No longer true once it is over.
    pub const fn brings_package(&self) -> bool {
        self.target_package.is_some()
    }

    /// Whether POST …/rollback is possible in FAILED_TEMP.
    pub const fn can_roll_back(&self) -> bool {
        can_roll_back(self.operation, self.brings_package())
    }

    /// Whether it works on the objects of the VNF: a change of attributes alone does not.
    pub fn needs_cluster(&self) -> bool {
        !self.abandons() && (self.operation != LcmOperation::ModifyInfo || self.brings_package())
    }

    /// Whether an NFVO grants it: it grants resources of a cluster, and knows no `MODIFY_INFO` (clause 9.5.2.2).
    pub fn needs_grant(&self) -> bool {
        !self.abandons() && self.operation != LcmOperation::ModifyInfo
    }

    /// The VIM in which it works on `instance`; `None` if it needs none, or none is known yet.
    pub fn vim<'a>(&self, instance: &'a VnfInstance) -> Option<&'a str> {
        if self.needs_cluster() { instance.vim() } else { None }
    }

    /// An operation on `instance` that is accepted now.
    pub fn starting(
        id: VnfLcmOpOccId,
        operation: LcmOperation,
        instance: &VnfInstance,
        params: Value,
        now: OffsetDateTime,
    ) -> Self {
        Self {
            id,
            project_id: instance.project_id.clone(),
            vnf_instance_id: instance.id,
            operation,
            state: operation.initial_state(),
            state_entered_time: now,
            start_time: now,
            is_automatic_invocation: false,
            params,
            cancel: None,
            error: None,
            resource_changes: None,
            changed_info: None,
            target_package: None,
            traceparent: None,
            grant: None,
            unattended: None,
            warnings: Warnings::default(),
        }
    }
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
    /// The operation is rolled back. An operation without rollback steps is failed, and so is one whose rollback stopped.
    Rollback,
    /// It is failed.
    Fail,
}

impl Remedy {
    /// The name in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rollback => "ROLLBACK",
            Self::Fail => "FAIL",
        }
    }
}
