//! Requests with an `Idempotency-Key`, and the answers to them.

use std::time::Duration;

use async_trait::async_trait;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::ids::ProjectId;
use crate::store::StoreError;

/// An answer is kept for this time after its request began.
pub const ANSWERS_KEPT: Duration = Duration::from_hours(24);

/// The store as `crate::api::idempotency` uses it.
#[async_trait]
pub trait RequestStore: Send + Sync {
    /// Claims the key of a request for `patience`. A request that creates a resource gives it the identifier `resource`.
    async fn claim_request(
        &self,
        request: &KeyedRequest,
        resource: Uuid,
        patience: Duration,
    ) -> Result<RequestClaim, StoreError>;
    /// Keeps the answer to a claimed request.
    async fn keep_answer(&self, request: &KeyedRequest, answer: &KeptAnswer) -> Result<(), StoreError>;
    /// Forgets a claimed request that had no effect: its key can be used again.
    async fn forget_request(&self, request: &KeyedRequest) -> Result<(), StoreError>;
    /// Deletes at most `limit` requests that began before this time. Returns their number.
    async fn delete_requests(&self, before: OffsetDateTime, limit: usize) -> Result<usize, StoreError>;
    /// Deletes at most `limit` requests, except the `keep` newest of all projects. Returns their number.
    async fn trim_requests(&self, keep: usize, limit: usize) -> Result<usize, StoreError>;
}

/// A request with an `Idempotency-Key`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyedRequest {
    /// The caller's tenant.
    pub project: ProjectId,
    /// The key as the caller sent it.
    pub key: String,
    /// A digest of the request: the same for equal requests.
    pub fingerprint: String,
}

/// The result of [`RequestStore::claim_request`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestClaim {
    /// The key is new.
    New,
    /// The process that worked on the request is gone. The request may have created the resource of this identifier.
    Abandoned(Uuid),
    /// The request has its answer. It may have created the resource of this identifier.
    Answered(Uuid, KeptAnswer),
    /// The same request is being worked on.
    InProgress,
    /// Another request has the key.
    OtherRequest,
}

/// An answer as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptAnswer {
    /// The HTTP status code.
    pub status: u16,
    /// `Location`.
    pub location: Option<String>,
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// `None`: there is none, or it is too large to keep.
    pub body: Option<String>,
}
