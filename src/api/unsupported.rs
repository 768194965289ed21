//! Tasks and resources of SOL003 that Gybe does not support. The standard demands 404: the task resource does not exist for
//! such a VNF. The problem type tells it from a wrong id.

use actix_web::{HttpResponse, web};

use crate::api::body::Id;
use crate::api::context::Api;
use crate::domain::ids::VnfInstanceId;
use crate::domain::problem::{Problem, ProblemType};
use crate::error::ApiError;
use crate::sol003::common::ProblemDetails;
use crate::store::StoreError;

/// `POST /vnf_instances/{id}/change_flavour`.
///
/// # Errors
/// Always 404.
#[utoipa::path(post, path = "/vnf_instances/{id}/change_flavour", tag = "vnf_instances", params(("id" = String, Path)),
    responses((status = 404, description = "Not supported", body = ProblemDetails)))]
pub async fn change_flavour(api: web::Data<Api>, Id(id): Id<VnfInstanceId>) -> Result<HttpResponse, ApiError> {
    refuse(&api, id, "change_flavour is not supported: terminate the VNF and instantiate it with the other flavourId")
        .await
}

/// `POST /vnf_instances/{id}/change_ext_conn`.
///
/// # Errors
/// Always 404.
#[utoipa::path(post, path = "/vnf_instances/{id}/change_ext_conn", tag = "vnf_instances", params(("id" = String, Path)),
    responses((status = 404, description = "Not supported", body = ProblemDetails)))]
pub async fn change_ext_conn(api: web::Data<Api>, Id(id): Id<VnfInstanceId>) -> Result<HttpResponse, ApiError> {
    refuse(&api, id, "change_ext_conn is not supported: the Kubernetes manifests of the CNF define its connections")
        .await
}

/// `POST /vnf_instances/{id}/create_snapshot`.
///
/// # Errors
/// Always 404.
#[utoipa::path(post, path = "/vnf_instances/{id}/create_snapshot", tag = "vnf_instances", params(("id" = String, Path)),
    responses((status = 404, description = "Not supported", body = ProblemDetails)))]
pub async fn create_snapshot(api: web::Data<Api>, Id(id): Id<VnfInstanceId>) -> Result<HttpResponse, ApiError> {
    refuse(&api, id, SNAPSHOTS).await
}

/// `POST /vnf_instances/{id}/revert_to_snapshot`.
///
/// # Errors
/// Always 404.
#[utoipa::path(post, path = "/vnf_instances/{id}/revert_to_snapshot", tag = "vnf_instances", params(("id" = String, Path)),
    responses((status = 404, description = "Not supported", body = ProblemDetails)))]
pub async fn revert_to_snapshot(api: web::Data<Api>, Id(id): Id<VnfInstanceId>) -> Result<HttpResponse, ApiError> {
    refuse(&api, id, SNAPSHOTS).await
}

/// `/vnf_snapshots`.
///
/// # Errors
/// Always 404.
#[utoipa::path(method(get, post), path = "/vnf_snapshots", tag = "vnf_snapshots",
    responses((status = 404, description = "Not supported", body = ProblemDetails)))]
pub async fn snapshots() -> Result<HttpResponse, ApiError> {
    Err(not_supported(SNAPSHOTS))
}

/// `/vnf_snapshots/{id}`.
///
/// # Errors
/// Always 404.
#[utoipa::path(method(get, patch, delete), path = "/vnf_snapshots/{id}", tag = "vnf_snapshots", params(("id" = String, Path)),
    responses((status = 404, description = "Not supported", body = ProblemDetails)))]
pub async fn snapshot() -> Result<HttpResponse, ApiError> {
    Err(not_supported(SNAPSHOTS))
}

/// `GET /vnf_snapshots/{id}/vnf_state_snapshot`.
///
/// # Errors
/// Always 404.
#[utoipa::path(get, path = "/vnf_snapshots/{id}/vnf_state_snapshot", tag = "vnf_snapshots", params(("id" = String, Path)),
    responses((status = 404, description = "Not supported", body = ProblemDetails)))]
pub async fn snapshot_state() -> Result<HttpResponse, ApiError> {
    Err(not_supported(SNAPSHOTS))
}

const SNAPSHOTS: &str =
    "snapshots are not supported: Kubernetes has none of workloads; back up the data with the means of the VNF";

/// 404: no such VNF instance, or the task is not supported.
async fn refuse(api: &Api, id: VnfInstanceId, text: &str) -> Result<HttpResponse, ApiError> {
    match api.store.instance_version(&api.caller.project, id).await {
        Err(StoreError::NotFound) => Err(Problem::not_found("VNF instance", &id.to_string()).into()),
        other => {
            other?;
            Err(not_supported(text))
        }
    }
}

fn not_supported(text: &str) -> ApiError {
    Problem::new(ProblemType::NotSupported, text).into()
}
