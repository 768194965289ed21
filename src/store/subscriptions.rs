//! Subscriptions in the store.

use async_trait::async_trait;

use crate::domain::ids::{ProjectId, SubscriptionId};
use crate::domain::interface::Interface;
use crate::domain::subscription::Subscription;
use crate::store::{Page, StoreError};

/// Subscriptions to notifications.
///
/// Each change of an instance, an op occurrence or an onboarded package puts a notification into the outbox for each
/// subscription that it matches, in the same transaction.
#[async_trait]
pub trait SubscriptionStore: Send + Sync {
    /// Creates a subscription, unless an equal one exists.
    async fn create_subscription(&self, subscription: &Subscription) -> Result<Subscribed, StoreError>;
    /// Loads a subscription.
    async fn subscription(&self, project: &ProjectId, id: SubscriptionId) -> Result<Subscription, StoreError>;
    /// Loads a page of a project's subscriptions of one API, or of all (`None`), oldest first.
    async fn subscriptions(
        &self,
        project: Option<&ProjectId>,
        interface: Interface,
        page: &Page<'_>,
    ) -> Result<Vec<Subscription>, StoreError>;
    /// Deletes a subscription and its undelivered notifications.
    async fn delete_subscription(&self, project: &ProjectId, id: SubscriptionId) -> Result<(), StoreError>;
}

/// The result of [`SubscriptionStore::create_subscription`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subscribed {
    /// The subscription was created.
    Created,
    /// A subscription with the same API, edition, callback URI, verbosity and filter exists.
    Existing(SubscriptionId),
}
