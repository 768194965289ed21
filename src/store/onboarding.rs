//! Onboarding of packages in the store, as [`crate::lcm::onboarding`] uses it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;

use crate::domain::ids::{ProjectId, VnfPkgId};
use crate::domain::package::{Content, DefinitionFile, InterruptedOnboarding, PackageSource};
use crate::domain::problem::Problem;
use crate::store::StoreError;

/// Onboarding, which a process does under a lease.
#[async_trait]
pub trait OnboardingStore: Send + Sync {
    /// CREATED or ERROR → UPLOADING, by the client or from `source`, under a lease for `ttl`. `Stale` in any other state.
    async fn begin_upload(
        &self,
        project: &ProjectId,
        id: VnfPkgId,
        source: Option<&PackageSource>,
        owner: &str,
        ttl: Duration,
    ) -> Result<OnboardingLease, StoreError>;
    /// UPLOADING → PROCESSING: the content is in the file named after the lease. The lease runs for `ttl` from now. `Stale`
    /// in any other state; `LeaseLost` if the lease ran out or another process has it, as in the methods below.
    async fn finish_upload(&self, lease: &OnboardingLease, ttl: Duration) -> Result<(), StoreError>;
    /// PROCESSING → ONBOARDED and ENABLED, with the definition files' texts. `Stale` in any other state; `Duplicate` if the
    /// project has the VNFD already.
    async fn finish_onboarding(
        &self,
        lease: &OnboardingLease,
        content: &Content,
        files: &[DefinitionFile],
    ) -> Result<(), StoreError>;
    /// UPLOADING or PROCESSING → ERROR.
    async fn fail_onboarding(&self, lease: &OnboardingLease, problem: &Problem) -> Result<(), StoreError>;
    /// Makes the lease run for `ttl` from now.
    async fn renew_onboarding(&self, lease: &OnboardingLease, ttl: Duration) -> Result<(), StoreError>;
    /// Gives up the lease: another process may take over at once.
    async fn release_onboarding(&self, lease: OnboardingLease) -> Result<(), StoreError>;
    /// Takes over the onboarding whose lease expired first.
    async fn claim_onboarding(&self, owner: &str, ttl: Duration) -> Result<OnboardingClaim, StoreError>;
    /// Fires (`notify_waiters`) when an onboarding begins or is released, in any process: the time that
    /// [`OnboardingClaim::Idle`] gave may be too late. Register before the claim. It may fire without cause.
    fn onboardings(&self) -> Arc<Notify>;
}

/// The right to onboard one package until the lease expires. Not `Clone`: a write needs one.
#[derive(Debug)]
pub struct OnboardingLease {
    /// The package.
    pub package: VnfPkgId,
    /// The project of the package.
    pub project: ProjectId,
    /// The fence: each claim increments the epoch, and each write compares it.
    pub epoch: i64,
}

/// An onboarding that was taken over.
#[derive(Debug)]
pub struct ClaimedOnboarding {
    /// The right to continue the onboarding.
    pub lease: OnboardingLease,
    /// The work that the other process did not finish.
    pub interrupted: InterruptedOnboarding,
}

/// The result of [`OnboardingStore::claim_onboarding`].
#[derive(Debug)]
pub enum OnboardingClaim {
    /// An onboarding whose lease expired.
    Work(Box<ClaimedOnboarding>),
    /// No lease has expired. The time until the next one expires; `None` if nothing is being onboarded.
    Idle(Option<Duration>),
}
