//! A cancel request (SOL003 clause 5.4.17), as the operation at work learns of it.
//!
//! [`super::lease`] hears of it from the store and says so here; [`super::steps`] looks before each request to the VIM and
//! ends its waiting for readiness, [`super::run`] looks before each step. A removal under way is not waiting: a GRACEFUL request
//! lets it go on until the objects are gone, which a FORCEFUL one after it cuts short.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::domain::op_occ::CancelMode;

/// Requests under way have so long to end after a FORCEFUL request. Their effects are wanted on record: rolling back must
/// find what they made. One that the API server does not answer is given up.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Whether the operation is to stop, and how.
#[derive(Debug, Default)]
pub struct Cancel {
    asked: CancellationToken,
    forced: CancellationToken,
}

impl Cancel {
    /// It is to stop. A FORCEFUL request stays one.
    pub fn ask(&self, mode: CancelMode) {
        if mode == CancelMode::Forceful {
            self.forced.cancel();
        }
        self.asked.cancel();
    }

    /// How it is to stop, if it is.
    pub fn pending(&self) -> Option<CancelMode> {
        let mode = if self.forced.is_cancelled() { CancelMode::Forceful } else { CancelMode::Graceful };
        self.asked.is_cancelled().then_some(mode)
    }

    /// Ends once it is to stop: whoever only waits, stops then in either mode.
    pub async fn asked(&self) {
        self.asked.cancelled().await;
    }

    /// Ends once requests that are still under way are to be given up: never in GRACEFUL mode.
    pub async fn cut_off(&self) {
        self.forced.cancelled().await;
        tokio::time::sleep(LAST_WORDS).await;
    }
}
