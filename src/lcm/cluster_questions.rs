//! Questions to a cluster that a client waits for: drift, previews and syncs ask them.

use std::time::Duration;

use crate::domain::problem::{Problem, ProblemType, problem};

/// The cluster must answer all requests within this time.
const DEADLINE: Duration = Duration::from_secs(30);

/// The answers of the cluster at `endpoint`.
///
/// # Errors
/// 504 after [`DEADLINE`].
pub async fn answered<T>(endpoint: &str, questions: impl Future<Output = T>) -> Result<T, Problem> {
    tokio::time::timeout(DEADLINE, questions).await.map_err(|_| {
        problem!(
            ProblemType::VimUnreachable,
            "{endpoint} did not answer all requests within {limit} s: repeat the request later",
            endpoint = endpoint,
            limit = DEADLINE.as_secs(),
        )
    })
}
