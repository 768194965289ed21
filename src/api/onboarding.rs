//! The content of packages arrives (SOL005 clauses 9.4.6 and 9.4.7). [`crate::lcm::onboarding`] does the work.

use actix_web::{HttpRequest, HttpResponse, web};

use crate::api::body::{Id, Json};
use crate::api::context::Api;
use crate::api::load::{self, Load};
use crate::api::packages::refuse_shared;
use crate::domain::ids::VnfPkgId;
use crate::domain::package::PackageSource;
use crate::domain::secret::Secret;
use crate::error::ApiError;
use crate::sol003::common::{FileContent, ProblemDetails};
use crate::sol003::pkgm::UploadVnfPackageFromUriRequest;

/// `PUT /vnf_packages/{id}/package_content`. The content is on disk when this responds, and is checked afterwards:
/// `onboardingState` and `onboardingFailureDetails` show the result.
#[utoipa::path(put, path = "/vnf_packages/{id}/package_content", tag = "vnf_packages", params(("id" = String, Path)),
    request_body(content = inline(FileContent), content_type = "application/zip"),
    responses((status = 202), (status = 403, description = "Another project shares the package", body = ProblemDetails), (status = 409, description = "It has content already, or the quota of the project is used up", body = ProblemDetails), (status = 413, body = ProblemDetails), (status = 415, body = ProblemDetails)))]
pub async fn upload(
    api: web::Data<Api>,
    load: web::Data<Load>,
    Id(id): Id<VnfPkgId>,
    request: HttpRequest,
    content: web::Payload,
) -> Result<HttpResponse, ApiError> {
    refuse_shared(&api, id).await?;
    let _slot = load::upload(&load, &request, &api.caller)?;
    api.onboarder.upload(&api.caller.project, id, content).await?;
    Ok(HttpResponse::Accepted().finish())
}

/// `POST /vnf_packages/{id}/package_content/upload_from_uri`. The content is fetched after this responds:
/// `onboardingState` and `onboardingFailureDetails` show the result. User name and password are sent to that URI only.
#[utoipa::path(post, path = "/vnf_packages/{id}/package_content/upload_from_uri", tag = "vnf_packages", params(("id" = String, Path)),
    request_body = UploadVnfPackageFromUriRequest,
    responses((status = 202), (status = 400, body = ProblemDetails), (status = 403, description = "Nothing is fetched from there, or another project shares the package", body = ProblemDetails), (status = 409, description = "It has content already", body = ProblemDetails)))]
pub async fn upload_from_uri(
    api: web::Data<Api>,
    Id(id): Id<VnfPkgId>,
    Json(request): Json<UploadVnfPackageFromUriRequest>,
) -> Result<HttpResponse, ApiError> {
    refuse_shared(&api, id).await?;
    let UploadVnfPackageFromUriRequest { address_information, user_name, password } = request;
    let source = PackageSource { uri: Secret::new(address_information), user_name, password };
    api.onboarder.fetch(&api.caller.project, id, &source).await?;
    Ok(HttpResponse::Accepted().finish())
}
