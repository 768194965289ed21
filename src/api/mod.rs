//! The HTTP API: short handlers, a file per resource. A handler reads the request, calls `lcm` or `store`, and renders the
//! response.
//!
//! [`routes`] is the table of all resources. Every error response is `application/problem+json`, also those of the framework
//! ([`middleware`]).

pub mod access;
pub mod audit;
pub mod authorize;
pub mod body;
pub mod browser;
pub mod clients;
pub mod connections;
pub mod context;
pub mod cross_site;
pub mod drift;
pub mod event_hub;
pub mod events;
pub mod health;
pub mod idempotency;
pub mod instance_cache;
pub mod instances;
pub mod list;
pub mod load;
pub mod middleware;
pub mod negotiate;
pub mod oauth;
pub mod onboarding;
pub mod op_occs;
pub mod openapi;
pub mod package_content;
pub mod packages;
pub mod page;
pub mod preview;
pub mod problems;
pub mod range;
pub mod root;
pub mod selectors;
pub mod sessions;
pub mod shares;
pub mod subscriptions;
pub mod tenancy;
pub mod tenancy_metering;
pub mod tenancy_namespaces;
pub mod tls;
pub mod ui;
pub mod unsupported;
pub mod versions;
pub mod vims;

use actix_web::middleware::from_fn;
use actix_web::web::{self, ServiceConfig, delete, get, patch, post, put, resource, scope};
use actix_web::{FromRequest, Handler, Resource, Responder, Route, Scope};

pub use crate::api::context::Api;
use crate::sol003::{Edition, Interface};

/// All resources.
pub fn routes(config: &mut ServiceConfig) {
    config
        .service(all_versions(Interface::Lifecycle))
        .service(root(Interface::Lifecycle, Edition::V1).configure(lcm))
        .service(root(Interface::Lifecycle, Edition::V2).configure(lcm).configure(lcm_of_v2))
        .service(all_versions(Interface::Packages))
        .service(root(Interface::Packages, Edition::V1).configure(packages))
        .service(root(Interface::Packages, Edition::V2).configure(packages))
        .configure(vims)
        .service(resource("/audit/v1/records").route(on(get, audit::list)))
        .service(resource("/events/v1").route(on(get, events::stream)))
        .configure(projects)
        .configure(namespaces)
        .configure(shares::routes)
        .service(resource("/").route(on(get, root::show)))
        .service(resource("/openapi").route(on(get, browser::page)))
        .service(resource("/openapi/{name}").route(on(get, browser::document)))
        .configure(problems::routes)
        .configure(ui::routes)
        .configure(sessions::routes)
        .service(resource(oauth::PATH).route(post().to(oauth::token)))
        .default_service(web::to(middleware::unknown_path));
}

/// A route of that method: 405 comes first. Then the caller must be allowed to send the request, its headers are checked, and a
/// repeated POST gets its first answer again.
fn on<F, A>(method: fn() -> Route, handler: F) -> Route
where
    F: Handler<A>,
    A: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    method()
        .to(handler)
        .wrap(from_fn(idempotency::answer_once))
        .wrap(from_fn(negotiate::check_headers))
        .wrap(from_fn(authorize::authorize))
}

/// What projects have and may have.
fn projects(config: &mut ServiceConfig) {
    config
        .service(resource("/tenancy/v1/projects/{id}/usage").route(on(get, tenancy::usage)))
        .service(resource("/tenancy/v1/projects/{id}/metering").route(on(get, tenancy_metering::metering)))
        .service(
            resource("/tenancy/v1/projects/{id}/quotas")
                .route(on(get, tenancy::quotas))
                .route(on(put, tenancy::set_quotas)),
        );
}

/// Namespaces of projects.
fn namespaces(config: &mut ServiceConfig) {
    config
        .service(
            resource("/tenancy/v1/namespaces")
                .route(on(get, tenancy_namespaces::list))
                .route(on(post, tenancy_namespaces::create)),
        )
        .service(
            resource("/tenancy/v1/namespaces/{id}")
                .route(on(get, tenancy_namespaces::show))
                .route(on(delete, tenancy_namespaces::remove)),
        )
        .service(resource("/tenancy/v1/namespaces/{id}/resync").route(on(post, tenancy_namespaces::resync)));
}

/// The VIMs, as in Tacker: each path also with a suffix.
fn vims(config: &mut ServiceConfig) {
    for suffix in [".json", ""] {
        config
            .service(resource(format!("/v1.0/vims{suffix}")).route(on(get, vims::list)).route(on(post, vims::create)))
            .service(
                resource(format!("/v1.0/vims/{{id}}{suffix}"))
                    .route(on(get, vims::show))
                    .route(on(put, vims::update))
                    .route(on(delete, vims::remove)),
            );
    }
}

fn all_versions(interface: Interface) -> Resource {
    resource(format!("/{}/api_versions", interface.name())).app_data(interface).route(on(get, versions::all))
}

fn root(interface: Interface, edition: Edition) -> Scope {
    let root = scope(interface.root(edition)).app_data(interface).app_data(edition);
    root.service(resource("/api_versions").route(on(get, versions::one)))
}

fn lcm(config: &mut ServiceConfig) {
    config
        .service(resource("/vnf_instances").route(on(get, instances::list)).route(on(post, instances::create)))
        .service(
            resource("/vnf_instances/{id}")
                .route(on(get, instances::show))
                .route(on(patch, instances::modify))
                .route(on(delete, instances::remove)),
        )
        .service(resource("/vnf_instances/{id}/instantiate").route(on(post, instances::instantiate)))
        .service(resource("/vnf_instances/{id}/scale").route(on(post, instances::scale)))
        .service(resource("/vnf_instances/{id}/scale_to_level").route(on(post, instances::scale_to_level)))
        .service(resource("/vnf_instances/{id}/heal").route(on(post, instances::heal)))
        .service(resource("/vnf_instances/{id}/sync").route(on(post, instances::sync)))
        .service(resource("/vnf_instances/{id}/operate").route(on(post, instances::operate)))
        .service(resource("/vnf_instances/{id}/terminate").route(on(post, instances::terminate)))
        .configure(previews)
        .service(resource("/vnf_instances/{id}/change_flavour").route(on(post, unsupported::change_flavour)))
        .service(resource("/vnf_instances/{id}/change_ext_conn").route(on(post, unsupported::change_ext_conn)))
        .service(resource("/vnf_instances/{id}/drift").route(on(get, drift::show)))
        .service(resource("/vnf_lcm_op_occs").route(on(get, op_occs::list)))
        .service(resource("/vnf_lcm_op_occs/{id}").route(on(get, op_occs::show)))
        .service(resource("/vnf_lcm_op_occs/{id}/steps").route(on(get, op_occs::steps)))
        .service(resource("/vnf_lcm_op_occs/{id}/retry").route(on(post, op_occs::retry)))
        .service(resource("/vnf_lcm_op_occs/{id}/rollback").route(on(post, op_occs::rollback)))
        .service(resource("/vnf_lcm_op_occs/{id}/fail").route(on(post, op_occs::fail)))
        .service(resource("/vnf_lcm_op_occs/{id}/cancel").route(on(post, op_occs::cancel)))
        .configure(subscriptions_by(on(post, subscriptions::create)));
}

/// What tasks would do.
fn previews(config: &mut ServiceConfig) {
    config
        .service(resource("/vnf_instances/{id}/instantiate/preview").route(on(post, preview::instantiate)))
        .service(resource("/vnf_instances/{id}/scale/preview").route(on(post, preview::scale)))
        .service(resource("/vnf_instances/{id}/scale_to_level/preview").route(on(post, preview::scale_to_level)))
        .service(resource("/vnf_instances/{id}/heal/preview").route(on(post, preview::heal)))
        .service(resource("/vnf_instances/{id}/operate/preview").route(on(post, preview::operate)))
        .service(resource("/vnf_instances/{id}/terminate/preview").route(on(post, preview::terminate)));
}

/// The resources of subscriptions. The APIs differ in the handler `create` only.
fn subscriptions_by(create: Route) -> impl FnOnce(&mut ServiceConfig) {
    move |config: &mut ServiceConfig| {
        config
            .service(resource("/subscriptions").route(on(get, subscriptions::list)).route(create))
            .service(
                resource("/subscriptions/{id}")
                    .route(on(get, subscriptions::show))
                    .route(on(delete, subscriptions::remove)),
            )
            .service(resource("/subscriptions/{id}/notifications").route(on(get, subscriptions::undelivered)))
            .service(resource("/subscriptions/{id}/notifications/resend").route(on(post, subscriptions::resend)));
    }
}

/// The resources that 2.6.1 does not have.
fn lcm_of_v2(config: &mut ServiceConfig) {
    config
        .service(
            resource(["/vnf_instances/{id}/change_vnfpkg", "/vnf_instances/{id}/change_current_vnfpkg"])
                .route(on(post, instances::change_vnfpkg)),
        )
        .service(
            resource([
                "/vnf_instances/{id}/change_vnfpkg/preview",
                "/vnf_instances/{id}/change_current_vnfpkg/preview",
            ])
            .route(on(post, preview::change_vnfpkg)),
        )
        .service(resource("/vnf_instances/{id}/create_snapshot").route(on(post, unsupported::create_snapshot)))
        .service(resource("/vnf_instances/{id}/revert_to_snapshot").route(on(post, unsupported::revert_to_snapshot)))
        .service(
            resource("/vnf_snapshots").route(on(get, unsupported::snapshots)).route(on(post, unsupported::snapshots)),
        )
        .service(
            resource("/vnf_snapshots/{id}")
                .route(on(get, unsupported::snapshot))
                .route(on(patch, unsupported::snapshot))
                .route(on(delete, unsupported::snapshot)),
        )
        .service(resource("/vnf_snapshots/{id}/vnf_state_snapshot").route(on(get, unsupported::snapshot_state)));
}

fn packages(config: &mut ServiceConfig) {
    config
        .configure(subscriptions_by(on(post, subscriptions::create_for_packages)))
        .service(resource("/vnf_packages").route(on(get, packages::list)).route(on(post, packages::create)))
        .service(
            resource("/vnf_packages/{id}")
                .route(on(get, packages::show))
                .route(on(patch, packages::modify))
                .route(on(delete, packages::remove)),
        )
        .service(
            resource("/vnf_packages/{id}/package_content")
                .route(on(put, onboarding::upload))
                .route(on(get, package_content::content)),
        )
        .service(
            resource("/vnf_packages/{id}/package_content/upload_from_uri").route(on(post, onboarding::upload_from_uri)),
        )
        .service(resource("/onboarded_vnf_packages").route(on(get, packages::list_onboarded)))
        .service(resource("/onboarded_vnf_packages/{vnfdId}").route(on(get, packages::show)))
        .service(resource("/onboarded_vnf_packages/{vnfdId}/package_content").route(on(get, package_content::content)));
    for package in ["/vnf_packages/{id}", "/onboarded_vnf_packages/{vnfdId}"] {
        config
            .service(resource(format!("{package}/vnfd")).route(on(get, package_content::vnfd)))
            .service(resource(format!("{package}/manifest")).route(on(get, package_content::manifest)))
            .service(resource(format!("{package}/artifacts")).route(on(get, package_content::artifacts)))
            .service(resource(format!("{package}/artifacts/{{path:.*}}")).route(on(get, package_content::artifact)));
    }
}
