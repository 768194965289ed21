//! Grants from the NFVO: the interface [`Nfvo`] for the conductor, and [`client`], which implements it over HTTP.
//!
//! The conductor requests a grant once, and polls it if the NFVO does not decide at once; both may be repeated. Each call is one
//! HTTP exchange. The queue of operations does the waiting.

pub mod client;

use std::time::Duration;

use async_trait::async_trait;

use crate::domain::problem::Problem;
use crate::sol003::grant::{Grant, GrantRequest};

/// The answer of the NFVO.
#[derive(Debug)]
pub enum GrantDecision {
    Granted {
        grant: Box<Grant>,
        uri: String,
    },
    /// Not decided yet. The grant will be at `uri`; poll it after `retry_after`, if the NFVO gave a delay.
    Pending {
        uri: String,
        retry_after: Option<Duration>,
    },
}

/// Why there is no grant. The texts are for clients. They contain the NFVO's text, bounded and masked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NfvoError {
    /// A later attempt may succeed: no connection, no answer in time, 408, 425, 429, 5xx.
    #[error("{}", .0.detail)]
    Retryable(Problem),
    /// The NFVO refused, or its answer is not valid.
    #[error("{}", .0.detail)]
    Permanent(Problem),
}

/// The grant interface of an NFVO.
#[async_trait]
pub trait Nfvo: Send + Sync {
    /// Requests a grant (`POST …/grants`, SOL003 clause 9.4.2.3.1).
    async fn request_grant(&self, request: &GrantRequest) -> Result<GrantDecision, NfvoError>;

    /// Reads the grant at `uri` (`GET …/grants/{grantId}`, SOL003 clause 9.4.3.3.2).
    async fn poll_grant(&self, uri: &str) -> Result<GrantDecision, NfvoError>;
}
