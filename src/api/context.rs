//! [`Api`]: the dependencies and settings of the handlers. `app` creates it.

use std::sync::Arc;

use tokio::runtime::Handle;

use crate::api::audit::RefusalLimit;
use crate::api::event_hub::EventHub;
use crate::api::instance_cache::InstanceCache;
use crate::clock::{Clock, Ids};
use crate::config::CallbackTest;
use crate::config::clients::Profile;
use crate::domain::caller::Caller;
use crate::infra::{Driver, NamespaceKeeper, Observer, Previewer};
use crate::lcm::accept::Acceptor;
use crate::lcm::onboarding::Onboarder;
use crate::lcm::tenancy::Tenancy;
use crate::notify::callback::Callbacks;
use crate::package::files::PackageFiles;
use crate::store::Store;

/// The dependencies and settings of the handlers. Each client with a profile gets its own copy
/// ([`super::clients`]), and so does each request of an authenticated caller ([`super::authorize`]).
#[derive(Clone)]
pub struct Api {
    pub store: Arc<dyn Store>,
    /// Identifies the user of a credential when a VIM is registered.
    pub driver: Arc<dyn Driver>,
    /// Compares objects with their intents (drift).
    pub observer: Arc<dyn Observer>,
    /// Compares plans with clusters (previews).
    pub previewer: Arc<dyn Previewer>,
    /// Makes namespaces of projects.
    pub namespace_keeper: Arc<dyn NamespaceKeeper>,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn Ids>,
    /// The scheme, host and port of links, as clients reach Gybe; without a trailing slash.
    pub public_url: String,
    /// The maximum number of elements per page.
    pub page_size: usize,
    /// Cache of the JSON of instances.
    pub instance_cache: Arc<InstanceCache>,
    /// The client for subscribers' callback URIs.
    pub callbacks: Arc<Callbacks>,
    /// The test of callback URIs of new subscriptions.
    pub callback_test: CallbackTest,
    /// Whether an NFVO grants operations.
    pub granting: bool,
    /// Whether an instantiation without any namespace is refused.
    pub require_namespace: bool,
    /// Which project a namespace belongs to; `None`: to nobody.
    pub tenancy: Option<Arc<Tenancy>>,
    /// Receives and onboards package content.
    pub onboarder: Arc<Onboarder>,
    /// CSAR files on disk.
    pub packages: Arc<PackageFiles>,
    /// The runtime of the process, for work that outlives its request: the runtime of an HTTP worker ends with the worker.
    pub runtime: Handle,
    /// Who sends the request ([`super::authorize`]). Its project owns what the request reads and makes.
    pub caller: Caller,
    /// Limits the audit records of refused requests.
    pub refusal_limit: Arc<RefusalLimit>,
    /// The client's profile.
    pub profile: Profile,
    /// The reader of the journal of events.
    pub events: Arc<EventHub>,
}

impl Api {
    /// The acceptor of operations for the caller's project.
    pub fn acceptor(&self) -> Acceptor<'_> {
        Acceptor {
            store: &*self.store,
            clock: &*self.clock,
            ids: &*self.ids,
            project: &self.caller.project,
            granting: self.granting,
            unattended: self.profile.unattended,
            vims_by_name: self.profile.vims_by_name,
            require_namespace: self.require_namespace,
            tenancy: self.tenancy.as_deref().map(|tenancy| (tenancy, &self.caller)),
            rehearsal: None,
        }
    }
}
