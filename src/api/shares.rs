//! `/tenancy/v1/vims/{id}/shares` and `/tenancy/v1/vnf_packages/{id}/shares`, extensions of Gybe: admins share what any project has
//! (`docs/adr/0035-policies-of-vims.md`).

use actix_web::HttpResponse;
use actix_web::web::{self, ServiceConfig, delete, get, put, resource};

use crate::api::body::{Id, Json};
use crate::api::context::Api;
use crate::api::on;
use crate::domain::ids::{VimId, VnfPkgId};
use crate::domain::problem::{Problem, ProblemType, problem};
use crate::domain::share::{Grantee, VimShare, check};
use crate::domain::vim_policy::MAX_ENTRIES;
use crate::error::ApiError;
use crate::sol003::common::ProblemDetails;
use crate::sol003::share::{PackageShares, VimShares};
use crate::store::StoreError;

/// The resources.
pub fn routes(config: &mut ServiceConfig) {
    config
        .service(
            resource("/tenancy/v1/vims/{id}/shares")
                .route(on(get, show_vim))
                .route(on(put, share_vim))
                .route(on(delete, unshare_vim)),
        )
        .service(
            resource("/tenancy/v1/vnf_packages/{id}/shares")
                .route(on(get, show_package))
                .route(on(put, share_package))
                .route(on(delete, unshare_package)),
        );
}

fn missing(what: &'static str, id: impl ToString) -> impl Fn(StoreError) -> ApiError {
    let id = id.to_string();
    move |error| match error {
        StoreError::NotFound => Problem::not_found(what, &id).into(),
        other => other.into(),
    }
}

/// `GET /tenancy/v1/vims/{id}/shares`.
#[utoipa::path(get, path = "/tenancy/v1/vims/{id}/shares", tag = "shares", params(("id" = String, Path)),
    responses((status = 200, body = VimShares), (status = 404, body = ProblemDetails)))]
pub async fn show_vim(api: web::Data<Api>, Id(id): Id<VimId>) -> Result<HttpResponse, ApiError> {
    let shared = api.store.vim_shares(id).await.map_err(missing("VIM", id))?;
    Ok(HttpResponse::Ok().json(VimShares { shares: shared.shares.iter().map(Into::into).collect() }))
}

/// `PUT /tenancy/v1/vims/{id}/shares`: replaces all shares. VNFs of projects that may no longer use the VIM can still be terminated.
#[utoipa::path(put, path = "/tenancy/v1/vims/{id}/shares", tag = "shares", params(("id" = String, Path)), request_body = VimShares,
    responses((status = 200, body = VimShares), (status = 404, body = ProblemDetails), (status = 422, body = ProblemDetails)))]
pub async fn share_vim(
    api: web::Data<Api>,
    Id(id): Id<VimId>,
    Json(request): Json<VimShares>,
) -> Result<HttpResponse, ApiError> {
    let owner = api.store.vim_shares(id).await.map_err(missing("VIM", id))?.owner;
    let shares = request.shares.into_iter().map(VimShare::try_from).collect::<Result<Vec<_>, _>>()?;
    check(&owner, shares.iter().map(|share| &share.grantee))?;
    if shares.iter().any(|share| !(1..=MAX_ENTRIES).contains(&share.namespaces.len())) {
        return Err(problem!(
            ProblemType::Unprocessable,
            "shares: each has 1 to {limit} namespaces; '*' stands for all but kube-*",
            limit = MAX_ENTRIES,
        )
        .into());
    }
    api.store.set_vim_shares(id, &shares).await.map_err(missing("VIM", id))?;
    Ok(HttpResponse::Ok().json(VimShares { shares: shares.iter().map(Into::into).collect() }))
}

/// `DELETE /tenancy/v1/vims/{id}/shares`: nobody but the owner may use the VIM, except to terminate VNFs that are there.
#[utoipa::path(delete, path = "/tenancy/v1/vims/{id}/shares", tag = "shares", params(("id" = String, Path)),
    responses((status = 204), (status = 404, body = ProblemDetails)))]
pub async fn unshare_vim(api: web::Data<Api>, Id(id): Id<VimId>) -> Result<HttpResponse, ApiError> {
    api.store.set_vim_shares(id, &[]).await.map_err(missing("VIM", id))?;
    Ok(HttpResponse::NoContent().finish())
}

/// `GET /tenancy/v1/vnf_packages/{id}/shares`.
#[utoipa::path(get, path = "/tenancy/v1/vnf_packages/{id}/shares", tag = "shares", params(("id" = String, Path)),
    responses((status = 200, body = PackageShares), (status = 404, body = ProblemDetails)))]
pub async fn show_package(api: web::Data<Api>, Id(id): Id<VnfPkgId>) -> Result<HttpResponse, ApiError> {
    let shared = api.store.package_shares(id).await.map_err(missing("VNF package", id))?;
    Ok(HttpResponse::Ok().json(PackageShares { shares: shared.shares.iter().map(Into::into).collect() }))
}

/// `PUT /tenancy/v1/vnf_packages/{id}/shares`: replaces all shares. VNF instances that projects have of the package stay.
#[utoipa::path(put, path = "/tenancy/v1/vnf_packages/{id}/shares", tag = "shares", params(("id" = String, Path)), request_body = PackageShares,
    responses((status = 200, body = PackageShares), (status = 404, body = ProblemDetails), (status = 422, body = ProblemDetails)))]
pub async fn share_package(
    api: web::Data<Api>,
    Id(id): Id<VnfPkgId>,
    Json(request): Json<PackageShares>,
) -> Result<HttpResponse, ApiError> {
    let owner = api.store.package_shares(id).await.map_err(missing("VNF package", id))?.owner;
    let shares = request.shares.into_iter().map(Grantee::try_from).collect::<Result<Vec<_>, _>>()?;
    check(&owner, shares.iter())?;
    api.store.set_package_shares(id, &shares).await.map_err(missing("VNF package", id))?;
    Ok(HttpResponse::Ok().json(PackageShares { shares: shares.iter().map(Into::into).collect() }))
}

/// `DELETE /tenancy/v1/vnf_packages/{id}/shares`: nobody but the owner may use the package for new VNFs.
#[utoipa::path(delete, path = "/tenancy/v1/vnf_packages/{id}/shares", tag = "shares", params(("id" = String, Path)),
    responses((status = 204), (status = 404, body = ProblemDetails)))]
pub async fn unshare_package(api: web::Data<Api>, Id(id): Id<VnfPkgId>) -> Result<HttpResponse, ApiError> {
    api.store.set_package_shares(id, &[]).await.map_err(missing("VNF package", id))?;
    Ok(HttpResponse::NoContent().finish())
}
