//! A claimed operation, and the conclusion of a run of it. The files of this folder pass both to each other.

use tokio::time::Instant;

use crate::conductor::Conductor;
use crate::conductor::cancel::Cancel;
use crate::conductor::steps::StepError;
use crate::domain::grant::PendingGrant;
use crate::domain::instance::VnfInstance;
use crate::domain::op_occ::VnfLcmOpOcc;
use crate::domain::plan::Plan;
use crate::domain::problem::Problem;
use crate::domain::progress::{StepLog, StepWrites};
use crate::domain::resource::ObjectKey;
use crate::domain::transition::{OpEvent, OpRecord, Update, transition};
use crate::places::WorkPlace;
use crate::store::{Lease, OperationOutcome};

/// A claimed operation that a conductor works on.
pub struct Execution<'a> {
    /// The conductor that claimed it.
    pub conductor: &'a Conductor,
    /// The right to work on it.
    pub lease: &'a Lease,
    /// The cancel request, as soon as there is one.
    pub cancel: &'a Cancel,
    /// Its place, which it gives back while it waits.
    pub place: &'a WorkPlace,
    /// The operation.
    pub op: VnfLcmOpOcc,
    /// Its VNF instance.
    pub instance: VnfInstance,
    /// The plan of the operation; `None` in STARTING.
    pub plan: Option<Plan>,
    /// Steps of the current direction that are done.
    pub steps_done: usize,
    /// Attempts at the current step that failed.
    pub attempt: u32,
    /// When the current step began, in whichever process.
    pub step_since: Instant,
    /// Whether the inventory was empty when the operation was claimed; false until it is read.
    pub inventory_was_empty: bool,
    /// Objects whose intents were stored together with the plan, before any request for the objects.
    pub stored_intents: Vec<ObjectKey>,
    /// The grant that the operation waits for.
    pub pending_grant: Option<PendingGrant>,
    /// The history of its steps.
    pub log: StepLog,
    /// Whether `log` has what other runs have left.
    pub has_log: bool,
}

/// What the conductor writes when it stops working on an operation.
pub enum Conclusion {
    /// The operation enters another state.
    End {
        /// The new state and the other changes.
        outcome: Box<OperationOutcome>,
        /// The operation before the change.
        record: OpRecord,
    },
    /// The operation is postponed.
    Postpone {
        /// The change of the op occurrence.
        update: Update,
        /// The error, if the update replaces the stored error.
        error: Option<Problem>,
        /// The end of the attempt.
        steps: StepWrites,
    },
    /// The operation waits for a grant.
    AwaitGrant {
        /// The change of the op occurrence.
        update: Update,
        /// Where the NFVO will publish the grant.
        pending: PendingGrant,
    },
    /// Another conductor has the operation: this one writes nothing more.
    LeaseLost,
}

impl Execution<'_> {
    /// The part of the operation that decides state changes.
    pub const fn record(&self) -> OpRecord {
        OpRecord::of(&self.op, self.steps_done, self.attempt)
    }

    /// Adds a warning to the op occurrence, unless it has it already.
    ///
    /// # Errors
    /// The store fails, or the lease is lost.
    pub async fn warn(&mut self, text: impl AsRef<str>) -> Result<(), StepError> {
        if self.op.warnings.add(text) {
            self.conductor.store.record_warnings(self.lease, &self.op.warnings).await?;
        }
        Ok(())
    }

    /// The update for `event`, which the state allows unless the record was changed by hand.
    pub fn transition(&self, event: OpEvent) -> Result<Update, StepError> {
        let update = transition(&self.record(), event);
        update.map_err(|error| StepError::Permanent(Problem::conflict(error.to_string())))
    }
}
