//! The HTTP API: short handlers, a file per resource. A handler reads the request, calls `lcm` or `store`, and renders the
//! response.
//!
//! [`routes`] is the table of all resources. Every error response is `application/problem+json`, also those of the framework
//! ([`middleware`]).

pub mod access;
pub mod body;
pub mod browser;
pub mod clients;
pub mod connections;
pub mod context;
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

use actix_web::web::{self, ServiceConfig, delete, get, patch, post, put, resource, scope};
use actix_web::{Resource, Route, Scope};

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
        .service(resource(["/v1.0/vims", "/v1.0/vims.json"]).route(get().to(vims::list)).route(post().to(vims::create)))
        .service(
            resource(["/v1.0/vims/{id}.json", "/v1.0/vims/{id}"])
                .route(get().to(vims::show))
                .route(put().to(vims::update))
                .route(delete().to(vims::remove)),
        )
        .service(resource("/openapi").route(get().to(browser::redirect)))
        .service(resource("/openapi/").route(get().to(browser::page)))
        .service(resource("/openapi/{name}").route(get().to(browser::document)))
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

/// The resources of subscriptions. The APIs differ in the handler `create` only.
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

/// The resources that 2.6.1 does not have.
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
