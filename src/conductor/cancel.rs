//! A cancel request (SOL003 clause 5.4.17) for the operation that a conductor works on.
//!
//! [`super::lease`] reads the request from the store and records it here. [`super::steps`] checks for a cancel request before each
//! request to the VIM, and stops waiting for readiness when there is one. [`super::run`] checks before each step. After a GRACEFUL
//! request, a removal in progress continues until the objects are gone; a FORCEFUL request ends the removal.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::domain::op_occ::CancelMode;

/// The time that requests in progress have to end after a FORCEFUL cancel request. Their effects must be recorded, so that a
/// rollback finds the objects that they created. Requests without a response after this time are abandoned.
const FORCEFUL_GRACE: Duration = Duration::from_secs(2);

/// The cancel request of an operation, as soon as there is one. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Cancel {
    requested: CancellationToken,
    forceful: CancellationToken,
}

impl Cancel {
    /// Records a request. A GRACEFUL request after a FORCEFUL one changes nothing.
    pub fn record(&self, mode: CancelMode) {
        if mode == CancelMode::Forceful {
            self.forceful.cancel();
        }
        self.requested.cancel();
    }

    /// The pending request.
    pub fn pending(&self) -> Option<CancelMode> {
        let mode = if self.forceful.is_cancelled() { CancelMode::Forceful } else { CancelMode::Graceful };
        self.requested.is_cancelled().then_some(mode)
    }

    /// Completes when there is a request, in either mode.
    pub async fn requested(&self) {
        self.requested.cancelled().await;
    }

    /// Completes when requests in progress must be abandoned: [`FORCEFUL_GRACE`] after a FORCEFUL request.
    pub async fn forceful_grace_over(&self) {
        self.forceful.cancelled().await;
        tokio::time::sleep(FORCEFUL_GRACE).await;
    }
}
