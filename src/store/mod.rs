//! What is durable: packages, VIMs, VNF instances, inventories, op occurrences with their leases, subscriptions with the
//! outbox of what they are to be told.
//!
//! A trait per user has a method per use case, each one transaction; no transaction leaves it. [`Store`] is all of them. The op
//! occurrence rows are the conductor's queue. SQLite and PostgreSQL behave the same; `tests/it/store` runs the same cases on
//! both.
//!
//! Run every method to its end: don't wrap one in a timeout or a `select!`, because the database may carry out the call all
//! the same. The timeouts of the database bound each call. A future that is dropped leaves no transaction open.

pub mod attributes;
mod audit;
mod error;
mod events;
mod health;
mod instances;
mod leases;
mod metering;
mod namespaces;
mod onboarding;
mod operations;
mod outbox;
mod packages;
mod page;
mod plans;
mod quotas;
mod requests;
mod retention;
pub mod seal;
mod sessions;
mod shares;
mod sql;
mod subscriptions;
mod vims;

pub use audit::AuditStore;
pub use error::StoreError;
pub use events::{EventStore, JournalBounds};
pub use health::*;
pub use instances::*;
pub use leases::*;
pub use metering::MeteringStore;
pub use namespaces::NamespaceStore;
pub use onboarding::*;
pub use operations::OperationStore;
pub use outbox::*;
pub use packages::*;
pub use page::*;
pub use plans::PlanStore;
pub use quotas::*;
pub use requests::*;
pub use retention::RetentionStore;
pub use sessions::{BrowserSession, SessionStore};
pub use shares::{ShareStore, SharedBy};
pub use sql::{FILTER_DEADLINE, Migrated, connect, is_sealed, live_operations, migrate, rekey};
pub use subscriptions::*;
pub use vims::VimStore;

/// The whole store. A caller that needs one part of it takes that trait.
pub trait Store:
    PackageStore
    + OnboardingStore
    + VimStore
    + ShareStore
    + InstanceStore
    + OperationStore
    + LeaseStore
    + SubscriptionStore
    + OutboxStore
    + RetentionStore
    + RequestStore
    + PlanStore
    + AuditStore
    + QuotaStore
    + NamespaceStore
    + MeteringStore
    + SessionStore
    + EventStore
    + HealthStore
{
}

impl<T> Store for T where
    T: PackageStore
        + OnboardingStore
        + VimStore
        + ShareStore
        + InstanceStore
        + OperationStore
        + LeaseStore
        + SubscriptionStore
        + OutboxStore
        + RetentionStore
        + RequestStore
        + PlanStore
        + AuditStore
        + QuotaStore
        + NamespaceStore
        + MeteringStore
        + SessionStore
        + EventStore
        + HealthStore
{
}
