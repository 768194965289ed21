//! Sessions of browsers in the store.

use async_trait::async_trait;
use time::OffsetDateTime;

use crate::domain::ids::ProjectId;
use crate::store::StoreError;

/// A session of a browser. The store cannot read its credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrowserSession {
    /// The digest of the session's secret.
    pub id: String,
    /// The project of the user.
    pub project: ProjectId,
    /// Who logged in.
    pub subject: String,
    /// The credential, encrypted under a key of the session's secret.
    pub credential: Vec<u8>,
    /// After this time, the session is none.
    pub ends: OffsetDateTime,
}

/// Sessions of browsers.
#[async_trait]
pub trait SessionStore: Send + Sync {
    /// Adds a session. Of the others of the same subject, only the `others` that end last remain.
    async fn begin_session(&self, session: &BrowserSession, others: usize) -> Result<(), StoreError>;
    /// The encrypted credential of a session; `None` if there is no such session, or it has ended by `now`.
    async fn session_credential(&self, id: &str, now: OffsetDateTime) -> Result<Option<Vec<u8>>, StoreError>;
    /// Ends a session; also if there is none.
    async fn end_session(&self, id: &str) -> Result<(), StoreError>;
    /// Deletes at most `limit` sessions that ended before this time. Returns their number.
    async fn delete_sessions(&self, before: OffsetDateTime, limit: usize) -> Result<usize, StoreError>;
}
