//! The HTTP API: thin handlers, a file per resource. A handler reads the request, calls `lcm` or `store`, and renders.
//!
//! [`routes`] is the table of all resources. Every answer other than success is `application/problem+json`, those of the
//! framework included ([`middleware`]).

pub mod access;
pub mod body;
pub mod browser;
pub mod clients;
pub mod connections;
pub mod drift;
pub mod health;
pub mod instance_cache;
pub mod instances;
pub mod list;
pub mod load;
pub mod middleware;
pub mod negotiate;
pub mod onboarding;
pub mod op_occs;
pub mod openapi;
pub mod package_content;
pub mod packages;
pub mod page;
pub mod problems;
pub mod range;
pub mod selectors;
pub mod subscriptions;
pub mod unsupported;
pub mod versions;
pub mod vims;

use std::sync::Arc;

use actix_web::web::{self, ServiceConfig, delete, get, patch, post, put, resource, scope};
use actix_web::{Resource, Route, Scope};

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
use crate::sol003::{Edition, Interface};
use crate::store::Store;

/// What the handlers work with; a client with a profile has one of its own ([`clients`]).
#[derive(Clone)]
pub struct Api {
    /// The durable state.
    pub store: Arc<dyn Store>,
    /// Asked when a VIM is registered.
    pub driver: Arc<dyn Driver>,
    /// Asked for drift.
    pub observer: Arc<dyn Observer>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Identifiers.
    pub ids: Arc<dyn Ids>,
    /// Scheme, host and port that callers reach us under, without a slash at the end: the beginning of every link.
    pub public_url: String,
    /// The most elements that a list has.
    pub page_size: usize,
    /// Instances as they were sent last.
    pub instance_cache: Arc<InstanceCache>,
    /// The way to subscribers.
    pub callbacks: Arc<Callbacks>,
    /// How callback URIs are tested.
    pub callback_test: CallbackTest,
    /// Whether an NFVO grants operations.
    pub granting: bool,
    /// Takes the content of packages.
    pub onboarder: Arc<Onboarder>,
    /// The CSARs.
    pub packages: Arc<PackageFiles>,
    /// The process's own runtime, for work that outlives its request: an HTTP worker's goes with the worker.
    pub runtime: Handle,
    /// The tenant of every caller, as long as callers are not authenticated.
    pub project: ProjectId,
    /// What is done otherwise for this caller.
    pub profile: Profile,
}

impl Api {
    /// Accepts operations for the caller's project.
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

/// The largest request body that is not a package, in bytes.
pub const MAX_BODY: usize = 1024 * 1024;

/// All resources.
pub fn routes(config: &mut ServiceConfig) {
    config
        .service(all_versions(Interface::Lifecycle))
        .service(root(Interface::Lifecycle, Edition::V1).configure(lcm))
        .service(root(Interface::Lifecycle, Edition::V2).configure(lcm).configure(lcm_of_v2))
        .service(all_versions(Interface::Packages))
        .service(root(Interface::Packages, Edition::V1).configure(packages))
        .service(root(Interface::Packages, Edition::V2).configure(packages))
        .service(resource(["/v1.0/vims", "/v1.0/vims.json"]).route(get().to(vims::list)).route(post().to(vims::create)))
        .service(
            resource(["/v1.0/vims/{id}.json", "/v1.0/vims/{id}"])
                .route(get().to(vims::show))
                .route(put().to(vims::update))
                .route(delete().to(vims::remove)),
        )
        .service(resource("/openapi").route(get().to(browser::redirect)))
        .service(resource("/openapi/").route(get().to(browser::page)))
        .service(resource("/openapi/{name}").route(get().to(openapi::document)))
        .configure(problems::routes)
        .default_service(web::to(middleware::unknown_path));
}

fn all_versions(interface: Interface) -> Resource {
    resource(format!("/{}/api_versions", interface.name())).app_data(interface).route(get().to(versions::all))
}

fn root(interface: Interface, edition: Edition) -> Scope {
    let root = scope(interface.root(edition)).app_data(interface).app_data(edition);
    root.service(resource("/api_versions").route(get().to(versions::one)))
}

fn lcm(config: &mut ServiceConfig) {
    config
        .service(resource("/vnf_instances").route(get().to(instances::list)).route(post().to(instances::create)))
        .service(
            resource("/vnf_instances/{id}")
                .route(get().to(instances::show))
                .route(patch().to(instances::modify))
                .route(delete().to(instances::remove)),
        )
        .service(resource("/vnf_instances/{id}/instantiate").route(post().to(instances::instantiate)))
        .service(resource("/vnf_instances/{id}/scale").route(post().to(instances::scale)))
        .service(resource("/vnf_instances/{id}/scale_to_level").route(post().to(instances::scale_to_level)))
        .service(resource("/vnf_instances/{id}/heal").route(post().to(instances::heal)))
        .service(resource("/vnf_instances/{id}/operate").route(post().to(instances::operate)))
        .service(resource("/vnf_instances/{id}/terminate").route(post().to(instances::terminate)))
        .service(resource("/vnf_instances/{id}/change_flavour").route(post().to(unsupported::change_flavour)))
        .service(resource("/vnf_instances/{id}/change_ext_conn").route(post().to(unsupported::change_ext_conn)))
        .service(resource("/vnf_instances/{id}/drift").route(get().to(drift::show)))
        .service(resource("/vnf_lcm_op_occs").route(get().to(op_occs::list)))
        .service(resource("/vnf_lcm_op_occs/{id}").route(get().to(op_occs::show)))
        .service(resource("/vnf_lcm_op_occs/{id}/retry").route(post().to(op_occs::retry)))
        .service(resource("/vnf_lcm_op_occs/{id}/rollback").route(post().to(op_occs::rollback)))
        .service(resource("/vnf_lcm_op_occs/{id}/fail").route(post().to(op_occs::fail)))
        .service(resource("/vnf_lcm_op_occs/{id}/cancel").route(post().to(op_occs::cancel)))
        .configure(subscriptions_by(post().to(subscriptions::create)));
}

/// What subscriptions of all APIs have; they differ in what makes one.
fn subscriptions_by(create: Route) -> impl FnOnce(&mut ServiceConfig) {
    move |config: &mut ServiceConfig| {
        config
            .service(resource("/subscriptions").route(get().to(subscriptions::list)).route(create))
            .service(
                resource("/subscriptions/{id}")
                    .route(get().to(subscriptions::show))
                    .route(delete().to(subscriptions::remove)),
            )
            .service(resource("/subscriptions/{id}/notifications").route(get().to(subscriptions::undelivered)))
            .service(resource("/subscriptions/{id}/notifications/resend").route(post().to(subscriptions::resend)));
    }
}

/// What 2.6.1 does not have.
fn lcm_of_v2(config: &mut ServiceConfig) {
    config
        .service(
            resource(["/vnf_instances/{id}/change_vnfpkg", "/vnf_instances/{id}/change_current_vnfpkg"])
                .route(post().to(instances::change_vnfpkg)),
        )
        .service(resource("/vnf_instances/{id}/create_snapshot").route(post().to(unsupported::create_snapshot)))
        .service(resource("/vnf_instances/{id}/revert_to_snapshot").route(post().to(unsupported::revert_to_snapshot)))
        .service(
            resource("/vnf_snapshots").route(get().to(unsupported::snapshots)).route(post().to(unsupported::snapshots)),
        )
        .service(
            resource("/vnf_snapshots/{id}")
                .route(get().to(unsupported::snapshot))
                .route(patch().to(unsupported::snapshot))
                .route(delete().to(unsupported::snapshot)),
        )
        .service(resource("/vnf_snapshots/{id}/vnf_state_snapshot").route(get().to(unsupported::snapshot_state)));
}

fn packages(config: &mut ServiceConfig) {
    config
        .configure(subscriptions_by(post().to(subscriptions::create_for_packages)))
        .service(resource("/vnf_packages").route(get().to(packages::list)).route(post().to(packages::create)))
        .service(
            resource("/vnf_packages/{id}")
                .route(get().to(packages::show))
                .route(patch().to(packages::modify))
                .route(delete().to(packages::remove)),
        )
        .service(
            resource("/vnf_packages/{id}/package_content")
                .route(put().to(onboarding::upload))
                .route(get().to(package_content::content)),
        )
        .service(
            resource("/vnf_packages/{id}/package_content/upload_from_uri")
                .route(post().to(onboarding::upload_from_uri)),
        )
        .service(resource("/onboarded_vnf_packages").route(get().to(packages::list_onboarded)))
        .service(resource("/onboarded_vnf_packages/{vnfdId}").route(get().to(packages::show)))
        .service(
            resource("/onboarded_vnf_packages/{vnfdId}/package_content").route(get().to(package_content::content)),
        );
    for package in ["/vnf_packages/{id}", "/onboarded_vnf_packages/{vnfdId}"] {
        config
            .service(resource(format!("{package}/vnfd")).route(get().to(package_content::vnfd)))
            .service(resource(format!("{package}/manifest")).route(get().to(package_content::manifest)))
            .service(resource(format!("{package}/artifacts")).route(get().to(package_content::artifacts)))
            .service(resource(format!("{package}/artifacts/{{path:.*}}")).route(get().to(package_content::artifact)));
    }
}
