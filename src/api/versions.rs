//! `api_versions` (SOL013 clause 9.3.3).

use actix_web::web;
use serde::Serialize;
use utoipa::ToSchema;

use crate::sol003::Edition;

/// The version of the package API.
pub const PACKAGES: &str = "1.0.0";

/// `ApiVersionInformation` (SOL013 clause 7.1.8).
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiVersionInformation {
    uri_prefix: String,
    api_versions: Vec<ApiVersion>,
}

/// One version.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ApiVersion {
    version: &'static str,
    is_deprecated: bool,
}

fn information(uri_prefix: &str, versions: &[&'static str]) -> web::Json<ApiVersionInformation> {
    let api_versions = versions.iter().map(|version| ApiVersion { version, is_deprecated: false }).collect();
    web::Json(ApiVersionInformation { uri_prefix: uri_prefix.to_owned(), api_versions })
}

/// `GET /vnflcm/api_versions`.
#[utoipa::path(get, path = "/vnflcm/api_versions", tag = "versions", responses((status = 200, body = ApiVersionInformation)))]
pub async fn lcm_all() -> web::Json<ApiVersionInformation> {
    information("/vnflcm", &[Edition::V1.version(), Edition::V2.version()])
}

/// `GET /vnflcm/v{1,2}/api_versions`.
#[utoipa::path(get, path = "/api_versions", tag = "versions", responses((status = 200, body = ApiVersionInformation)))]
pub async fn lcm_one(edition: Edition) -> web::Json<ApiVersionInformation> {
    information(edition.root(), &[edition.version()])
}

/// `GET /vnfpkgm/api_versions` and `GET /vnfpkgm/v1/api_versions`.
#[utoipa::path(get, path = "/api_versions", tag = "versions", responses((status = 200, body = ApiVersionInformation)))]
pub async fn packages() -> web::Json<ApiVersionInformation> {
    information("/vnfpkgm", &[PACKAGES])
}
