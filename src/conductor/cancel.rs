//! A cancel request (SOL003 clause 5.4.17) for the operation that a conductor works on.
//!
//! [`super::lease`] gets it from the store and passes it on here. [`super::steps`] looks before each request to the VIM and
//! ends its wait for readiness; [`super::run`] looks before each step. A GRACEFUL request lets a removal under way go on until
//! the objects are gone; a FORCEFUL one ends it.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::domain::op_occ::CancelMode;

/// The time that requests under way have to end after a FORCEFUL cancel request. Their effects must be recorded, so that
/// rolling back finds what they made. A request that the API server does not answer in this time is given up.
const FORCEFUL_GRACE: Duration = Duration::from_secs(2);

/// The cancel request of an operation, as soon as there is one.
#[derive(Debug, Default)]
pub struct Cancel {
    asked: CancellationToken,
    forced: CancellationToken,
}

impl Cancel {
    /// Records a request. After a FORCEFUL one, a GRACEFUL one changes nothing.
    pub fn ask(&self, mode: CancelMode) {
        if mode == CancelMode::Forceful {
            self.forced.cancel();
        }
        self.asked.cancel();
    }

    /// The pending request.
    pub fn pending(&self) -> Option<CancelMode> {
        let mode = if self.forced.is_cancelled() { CancelMode::Forceful } else { CancelMode::Graceful };
        self.asked.is_cancelled().then_some(mode)
    }

    /// Ends once there is a request. Both modes end waiting.
    pub async fn asked(&self) {
        self.asked.cancelled().await;
    }

    /// Ends once requests under way must be given up; never in GRACEFUL mode.
    pub async fn cut_off(&self) {
        self.forced.cancelled().await;
        tokio::time::sleep(FORCEFUL_GRACE).await;
    }
}
