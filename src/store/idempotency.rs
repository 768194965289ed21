//! The `Idempotency-Key` of a request that makes a VNF instance, and what comes of it.

use crate::domain::ids::VnfInstanceId;

/// What tells a request that is repeated from another one (the `Idempotency-Key` header).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// As the caller sent it.
    pub key: String,
    /// The same for equal requests.
    pub fingerprint: String,
}

/// What [`Store::create_instance_once`](super::Store::create_instance_once) did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreateOutcome {
    /// The instance was added.
    Created,
    /// An equal request has made that one.
    Existing(VnfInstanceId),
    /// Another request has used the key.
    KeyConflict,
}
