//! Towards the NFVO: [`Nfvo`] is what the conductor asks, [`client`] how it is done over HTTP.
//!
//! A Grant is asked for once and then, if the NFVO takes its time, looked for; both may be repeated. No call waits for the
//! NFVO's decision beyond one HTTP exchange: that is what the queue of operations is for.

pub mod client;

use std::time::Duration;

use async_trait::async_trait;

use crate::domain::problem::Problem;
use crate::sol003::grant::{Grant, GrantRequest};

/// What the NFVO says.
#[derive(Debug)]
pub enum Decision {
    /// Yes.
    Granted {
        /// What is granted.
        grant: Box<Grant>,
        /// Where it is.
        uri: String,
    },
    /// Nothing yet.
    Pending {
        /// Where the Grant will be.
        uri: String,
        /// When to look again, if the NFVO says so.
        retry_after: Option<Duration>,
    },
}

/// Why there is no Grant. The texts are for the caller; what the NFVO wrote is in them, bounded and without what looks like a
/// secret.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NfvoError {
    /// It may work later: no connection, no answer in time, 408, 425, 429, 5xx.
    #[error("{}", .0.detail)]
    Passing(Problem),
    /// It was refused, or the answer is none that time would make better.
    #[error("{}", .0.detail)]
    Lasting(Problem),
}

/// A way to the NFVO. See the module's documentation.
#[async_trait]
pub trait Nfvo: Send + Sync {
    /// Asks for a Grant (`POST …/grants`, clause 9.4.2.3.1).
    async fn ask(&self, request: &GrantRequest) -> Result<Decision, NfvoError>;

    /// Looks for the Grant that is, or will be, at `uri` (`GET …/grants/{grantId}`, clause 9.4.3.3.2).
    async fn look(&self, uri: &str) -> Result<Decision, NfvoError>;
}
