//! [`Api`]: the dependencies and settings of the handlers. `app` makes it.

use std::sync::Arc;

use tokio::runtime::Handle;

use crate::api::instance_cache::InstanceCache;
use crate::clock::{Clock, Ids};
use crate::config::CallbackTest;
use crate::config::clients::Profile;
use crate::domain::ids::ProjectId;
use crate::infra::{Driver, Observer};
use crate::lcm::accept::Acceptor;
use crate::lcm::onboarding::Onboarder;
use crate::notify::callback::Callbacks;
use crate::package::files::PackageFiles;
use crate::store::Store;

/// The dependencies and settings of the handlers. A client with a profile has its own ([`super::clients`]).
#[derive(Clone)]
pub struct Api {
    pub store: Arc<dyn Store>,
    /// Checks VIMs at their registration.
    pub driver: Arc<dyn Driver>,
    /// Finds drift.
    pub observer: Arc<dyn Observer>,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn Ids>,
    /// The scheme, host and port of links, as clients reach Gybe; without a slash at the end.
    pub public_url: String,
    /// The most elements of a page of a list.
    pub page_size: usize,
    /// The JSON texts of instances.
    pub instance_cache: Arc<InstanceCache>,
    /// The client for subscribers' callback URIs.
    pub callbacks: Arc<Callbacks>,
    /// The test of callback URIs of new subscriptions.
    pub callback_test: CallbackTest,
    /// Whether an NFVO grants operations.
    pub granting: bool,
    /// Takes the content of packages.
    pub onboarder: Arc<Onboarder>,
    /// The CSARs.
    pub packages: Arc<PackageFiles>,
    /// The runtime of the process, for work that outlives its request: the runtime of an HTTP worker ends with the worker.
    pub runtime: Handle,
    /// The project of every client, as long as clients are not authenticated.
    pub project: ProjectId,
    /// The client's profile.
    pub profile: Profile,
}

impl Api {
    /// The acceptor of operations for the client's project.
    pub fn acceptor(&self) -> Acceptor<'_> {
        Acceptor {
            store: &*self.store,
            clock: &*self.clock,
            ids: &*self.ids,
            project: &self.project,
            granting: self.granting,
            unattended: self.profile.unattended,
            vims_by_name: self.profile.vims_by_name,
        }
    }
}
