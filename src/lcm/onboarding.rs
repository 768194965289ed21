//! Onboarding of packages (SOL005 clauses 9.4.6 and 9.4.7): the content is uploaded or fetched, then read and checked.
//!
//! A package is onboarded under a lease, as an operation is. The API process that accepts the request takes the lease and
//! normally finishes. If it is killed, the lease expires, and [`Onboarder::run`] of any process that serves the same data
//! directory takes over:
//!
//! | what the other process did | what happens |
//! |---|---|
//! | it received an upload (UPLOADING) | ERROR: the remaining bytes are lost; the client uploads again |
//! | it fetched from a URI (UPLOADING) | the content is fetched again |
//! | it checked the content (PROCESSING) | the content is checked again |
//!
//! A CSAR is on disk before a package is PROCESSING. Its file is named after the lease under which it arrived, so a process
//! that lost its lease never touches the file of the next one.

use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::{Instant, interval_at, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::blocking::blocking;
use crate::domain::fair_share::Sharer;
use crate::domain::ids::{ProjectId, VnfPkgId};
use crate::domain::package::{DefinitionFile, InterruptedOnboarding, Onboarding, PackageSource, VnfPackage};
use crate::domain::problem::{Problem, ProblemType, problem};
use crate::error::{ApiError, internal};
use crate::fetch::{FetchPermit, FetchRequest, PackageSources};
use crate::package::archive::Limits;
use crate::package::csar;
use crate::package::external::{ExternalArtifact, ExternalContents};
use crate::package::files::PackageFiles;
use crate::places::Places;
use crate::store::{ClaimedOnboarding, OnboardingClaim, OnboardingLease, Store, StoreError};

/// Packages checked concurrently: fewer than the threads for [`blocking`] work, so that requests always find a free one.
const CHECKS: usize = 4;
/// The most packages that a process takes over from others concurrently.
const MAX_TAKEOVERS: usize = 8;
/// If this many processes end while they check the same package, the package is at fault.
const MAX_LOST_CHECKS: i64 = 5;
/// The pause after the store fails.
const STORE_PAUSE: Duration = Duration::from_secs(1);

/// Onboards packages.
pub struct Onboarder {
    store: Arc<dyn Store>,
    files: Arc<PackageFiles>,
    sources: Arc<PackageSources>,
    /// The places of checks, which projects share.
    checks: Arc<Places>,
    /// The holder of the leases: unique among the running processes.
    owner: String,
    lease_ttl: Duration,
    /// The process's runtime: work must outlive its request, and the runtime of an HTTP worker ends with the worker.
    runtime: Handle,
    tasks: TaskTracker,
    /// Set when the process ends.
    stopping: CancellationToken,
}

impl Onboarder {
    /// An onboarder that accepts content; [`Onboarder::run`] takes over from processes that were killed. Leases are held
    /// for `lease_ttl` unless renewed.
    pub fn new(
        store: Arc<dyn Store>,
        files: Arc<PackageFiles>,
        sources: Arc<PackageSources>,
        owner: String,
        lease_ttl: Duration,
    ) -> Arc<Self> {
        let (checks, runtime, tasks) = (Places::new(CHECKS), Handle::current(), TaskTracker::new());
        Arc::new(Self {
            store,
            files,
            sources,
            checks,
            owner,
            lease_ttl,
            runtime,
            tasks,
            stopping: CancellationToken::new(),
        })
    }

    /// Writes `content` to disk and hands it over to be checked. `onboardingState` and `onboardingFailureDetails` show the
    /// result of the check.
    ///
    /// # Errors
    /// 404; 409 if the package has content or an upload is in progress; those of [`PackageFiles::receive`].
    pub async fn upload<B: AsRef<[u8]>, E>(
        self: &Arc<Self>,
        project: &ProjectId,
        id: VnfPkgId,
        content: impl Stream<Item = Result<B, E>> + Unpin,
    ) -> Result<(), ApiError> {
        // Before the package changes its state, and before a byte is read.
        self.files.check_space().await?;
        let lease = self.begin(project, id, None).await?;
        let mut upload = UploadGuard { onboarder: Arc::clone(self), lease, is_finished: false };
        let lease = &upload.lease;
        let received = self.under_lease(lease, self.files.receive(id, lease.epoch, content)).await;
        let ended = self.end_upload(lease, received).await;
        upload.is_finished = true;
        ended?;
        let lease = copy_of(&upload.lease);
        self.spawn(id, async move |onboarder| onboarder.check(&lease, lease.epoch).await);
        Ok(())
    }

    /// Fetches the content of a package from `source` after this returns, then has it checked, as after an upload.
    ///
    /// # Errors
    /// 404; 409 as [`Onboarder::upload`]; those of [`PackageSources::request`] and [`PackageSources::try_permit`].
    pub async fn fetch(
        self: &Arc<Self>,
        project: &ProjectId,
        id: VnfPkgId,
        source: &PackageSource,
    ) -> Result<(), ApiError> {
        self.store.package(project, id).await.map_err(|error| refusal(id, error))?;
        self.files.check_space().await?;
        let request = self.sources.request(source)?;
        let permit = self.sources.try_permit(project)?;
        let lease = self.begin(project, id, Some(source)).await?;
        self.spawn(id, async move |onboarder| onboarder.fetch_and_check(lease, request, Some(permit)).await);
        Ok(())
    }

    /// Takes over onboardings whose lease expired, until `stop`. Sleeps until the store signals that an onboarding began in some
    /// process, or until the next lease expires. After `stop` it ends its fetches, releases their leases, and waits for running
    /// checks.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let wake = self.store.onboardings();
        let slots = Arc::new(Semaphore::new(MAX_TAKEOVERS));
        while !stop.is_cancelled() {
            let slot = tokio::select! {
                () = stop.cancelled() => break,
                slot = Arc::clone(&slots).acquire_owned() => slot,
            };
            // Registered before the claim: a signal between the claim and the sleep is not lost.
            let mut woken = pin!(wake.notified());
            woken.as_mut().enable();
            let due = match self.store.claim_onboarding(&self.owner, self.lease_ttl).await {
                Ok(OnboardingClaim::Work(claimed)) => {
                    self.spawn(claimed.lease.package, async move |onboarder| {
                        let _slot = slot;
                        onboarder.resume(*claimed).await
                    });
                    continue;
                }
                Ok(OnboardingClaim::Idle(due)) => due,
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "no onboarding can be claimed");
                    Some(STORE_PAUSE)
                }
            };
            drop(slot);
            tokio::select! {
                () = stop.cancelled() => {}
                () = woken => {}
                () = sleep(due.unwrap_or_default()), if due.is_some() => {}
            }
        }
        self.stopping.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Removes the files that no package of any project refers to: a process that was killed may have left them.
    ///
    /// # Errors
    /// The store fails.
    pub async fn remove_orphans(&self) -> Result<(), StoreError> {
        for (id, epoch) in self.files.all().unwrap_or_default() {
            let is_orphan = match self.store.package_of_any_project(id).await {
                Ok(VnfPackage { onboarding: Onboarding::Created | Onboarding::Error(_), .. }) => true,
                Ok(VnfPackage { onboarding: Onboarding::Uploading, .. }) => false,
                Ok(VnfPackage { content_epoch, .. }) => epoch < content_epoch,
                Err(StoreError::NotFound) => true,
                Err(error) => return Err(error),
            };
            if is_orphan {
                self.files.remove_through(id, epoch).await;
            }
        }
        Ok(())
    }

    async fn begin(
        &self,
        project: &ProjectId,
        id: VnfPkgId,
        source: Option<&PackageSource>,
    ) -> Result<OnboardingLease, ApiError> {
        let begun = self.store.begin_upload(project, id, source, &self.owner, self.lease_ttl).await;
        begun.map_err(|error| refusal(id, error))
    }

    /// Records that all of the content has arrived, or why it has not.
    async fn end_upload(
        &self,
        lease: &OnboardingLease,
        received: Result<Result<(), Problem>, StoreError>,
    ) -> Result<(), ApiError> {
        let id = lease.package;
        let ended = match received {
            Ok(Ok(())) => self.store.finish_upload(lease, self.lease_ttl).await,
            Ok(Err(problem)) => {
                self.store.fail_onboarding(lease, &problem).await?;
                return Err(problem.into());
            }
            Err(error) => Err(error),
        };
        match ended {
            Err(StoreError::LeaseLost) => {
                // Nobody needs the file. After any other error the package may be PROCESSING, so the file stays.
                self.files.remove_through(id, lease.epoch).await;
                Err(problem!(
                    ProblemType::Conflict,
                    "the upload of VNF package {id} was interrupted: upload it again",
                    id = id.to_string(),
                )
                .into())
            }
            other => Ok(other?),
        }
    }

    /// Fetches the content, then checks it. If `permit` is `None`, waits for a permit.
    async fn fetch_and_check(
        &self,
        lease: OnboardingLease,
        request: FetchRequest,
        permit: Option<FetchPermit>,
    ) -> Result<(), StoreError> {
        let (id, host) = (lease.package, request.host().to_owned());
        let fetch = async {
            let permit = match permit {
                Some(permit) => permit,
                None => self.sources.permit(&lease.project).await,
            };
            let content = self.sources.fetch(request, permit).await?;
            self.files.receive(id, lease.epoch, content).await
        };
        let fetch_or_stop = async {
            tokio::select! {
                fetched = fetch => Some(fetched),
                () = self.stopping.cancelled() => None,
            }
        };
        match self.under_lease(&lease, fetch_or_stop).await? {
            None => return self.store.release_onboarding(lease).await,
            Some(Err(problem)) => {
                tracing::info!(vnf_package.id = %id, "package {id} was not fetched from {host}: {}", problem.detail);
                return self.store.fail_onboarding(&lease, &problem).await;
            }
            Some(Ok(())) => {}
        }
        self.store.finish_upload(&lease, self.lease_ttl).await?;
        self.check(&lease, lease.epoch).await
    }

    /// The contents of the artifacts that the CSAR at `path` lists by URL. All together have the bounds of definition files.
    async fn external_contents(&self, project: &ProjectId, path: PathBuf) -> Result<ExternalContents, Problem> {
        let listed = async {
            let _place = self.checks.take(&Sharer::of(project)).await;
            blocking(move || csar::external(&path, &Limits::default())).await
        };
        let mut contents = ExternalContents::new();
        let mut left = Limits::default().definition_bytes;
        for ExternalArtifact { url, place } in listed.await? {
            let fetched = self.sources.artifact(project, &url, left.min(DefinitionFile::MAX_BYTES)).await;
            let located = |problem: Problem| Problem { detail: format!("{place}: {}", problem.detail), ..problem };
            let content = fetched.map_err(located)?;
            left = left.saturating_sub(content.len() as u64);
            contents.insert(url, content);
        }
        Ok(contents)
    }

    /// Reads the content that arrived under the lease with epoch `content_epoch`, and records the result.
    async fn check(&self, lease: &OnboardingLease, content_epoch: i64) -> Result<(), StoreError> {
        let id = lease.package;
        let path = self.files.path(id, content_epoch);
        let fetch_or_stop = async {
            tokio::select! {
                fetched = self.external_contents(&lease.project, path.clone()) => Some(fetched),
                () = self.stopping.cancelled() => None,
            }
        };
        let Some(fetched) = self.under_lease(lease, fetch_or_stop).await? else {
            return self.store.release_onboarding(copy_of(lease)).await;
        };
        let read = async {
            let contents = fetched?;
            let _place = self.checks.take(&Sharer::of(&lease.project)).await;
            blocking(move || csar::onboard_with(&path, &Limits::default(), &contents)).await
        };
        let onboarded = match self.under_lease(lease, read).await? {
            Ok(onboarded) => onboarded,
            Err(problem) => {
                tracing::info!(vnf_package.id = %id, "package {id} is refused: {}", problem.detail);
                self.files.remove_through(id, content_epoch).await;
                return self.store.fail_onboarding(lease, &problem).await;
            }
        };
        let problem = match self.store.finish_onboarding(lease, &onboarded.content, &onboarded.files).await {
            Ok(()) => {
                self.files.remove_through(id, content_epoch - 1).await;
                return Ok(());
            }
            Err(StoreError::Duplicate(_)) => problem!(
                ProblemType::AlreadyExists,
                "another package has the vnfdId '{vnfdId}': delete that one, or give this descriptor another descriptor_id",
                vnfdId = onboarded.content.vnfd.id,
            ),
            Err(StoreError::QuotaExceeded(exceeded)) => exceeded.into(),
            // When the lease expires, a process checks the package again.
            Err(error) if error.is_transient() || matches!(error, StoreError::LeaseLost) => return Err(error),
            // The store rejects something in the package.
            Err(error) => internal(&error),
        };
        self.store.fail_onboarding(lease, &problem).await?;
        // Delete the content only after the store has recorded the failure: until then another process may need the content.
        self.files.remove_through(id, content_epoch).await;
        Ok(())
    }

    /// Continues the onboarding of another process.
    async fn resume(&self, claimed: ClaimedOnboarding) -> Result<(), StoreError> {
        let ClaimedOnboarding { lease, interrupted } = claimed;
        let id = lease.package;
        tracing::warn!(vnf_package.id = %id, lease.epoch, "the onboarding of package {id} was interrupted and continues here");
        let problem = match interrupted {
            InterruptedOnboarding::Fetch(source) => match self.sources.request(&source) {
                Ok(request) => return self.fetch_and_check(lease, request, None).await,
                Err(problem) => problem,
            },
            InterruptedOnboarding::Check { content_epoch } if lease.epoch - content_epoch < MAX_LOST_CHECKS => {
                return self.check(&lease, content_epoch).await;
            }
            InterruptedOnboarding::Check { .. } => problem!(
                ProblemType::Interrupted,
                "the VNFM stopped {attempts} times while it read the package: tell the operator of the VNFM",
                attempts = MAX_LOST_CHECKS,
            ),
            InterruptedOnboarding::Upload => {
                let text = "the VNFM stopped while it received the package: upload it again";
                Problem::new(ProblemType::Interrupted, text)
            }
        };
        self.files.remove_through(id, lease.epoch).await;
        self.store.fail_onboarding(&lease, &problem).await
    }

    /// Runs `work` and renews the lease meanwhile. Abandons `work` if the lease is lost.
    async fn under_lease<T>(&self, lease: &OnboardingLease, work: impl Future<Output = T>) -> Result<T, StoreError> {
        let mut work = pin!(work);
        let mut renewal = interval_at(Instant::now() + self.lease_ttl / 3, self.lease_ttl / 3);
        loop {
            tokio::select! {
                done = &mut work => return Ok(done),
                _ = renewal.tick() => {}
            }
            match self.store.renew_onboarding(lease, self.lease_ttl).await {
                Err(StoreError::LeaseLost) => return Err(StoreError::LeaseLost),
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "the lease of package {} can't be renewed", lease.package);
                }
                Ok(()) => {}
            }
        }
    }

    /// Runs `work` for a package on the runtime of the process. No caller waits for the result, so an error goes to the log.
    fn spawn<W>(self: &Arc<Self>, id: VnfPkgId, work: impl FnOnce(Arc<Self>) -> W)
    where
        W: Future<Output = Result<(), StoreError>> + Send + 'static,
    {
        let work = work(Arc::clone(self));
        let work = async move {
            if let Err(error) = work.await {
                let error = &error as &dyn std::error::Error;
                tracing::error!(
                    vnf_package.id = %id,
                    error,
                    "the result of onboarding package {id} was not recorded; onboarding continues when the lease expires"
                );
            }
        };
        self.tasks.spawn_on(work, &self.runtime);
    }
}

/// An upload in progress. Actix drops the handler when a connection is reset. The package must still accept a new upload
/// immediately.
struct UploadGuard {
    onboarder: Arc<Onboarder>,
    lease: OnboardingLease,
    is_finished: bool,
}

impl Drop for UploadGuard {
    fn drop(&mut self) {
        if self.is_finished {
            return;
        }
        let lease = copy_of(&self.lease);
        self.onboarder.spawn(lease.package, async move |onboarder| {
            let problem = Problem::bad_request("the upload was interrupted: upload the package again");
            onboarder.store.fail_onboarding(&lease, &problem).await
        });
    }
}

/// A copy of the lease, for the task that continues under it.
fn copy_of(lease: &OnboardingLease) -> OnboardingLease {
    OnboardingLease { package: lease.package, project: lease.project.clone(), epoch: lease.epoch }
}

fn refusal(id: VnfPkgId, error: StoreError) -> ApiError {
    match error {
        StoreError::Stale => problem!(
            ProblemType::Conflict,
            "VNF package {id} has content already, or an upload is in progress",
            id = id.to_string(),
        )
        .into(),
        StoreError::NotFound => Problem::not_found("VNF package", &id.to_string()).into(),
        other => other.into(),
    }
}
