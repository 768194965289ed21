//! `api_versions` (SOL013 clause 9.3.3).

use actix_web::web;
use serde::Serialize;
use utoipa::ToSchema;

use crate::sol003::{Edition, Interface};

/// `ApiVersionInformation` (SOL013 clause 7.1.8).
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiVersionInformation {
    uri_prefix: String,
    api_versions: Vec<ApiVersion>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ApiVersion {
    version: &'static str,
    is_deprecated: bool,
}

impl ApiVersionInformation {
    fn new(uri_prefix: &str, versions: &[&'static str]) -> Self {
        let api_versions = versions.iter().map(|version| ApiVersion { version, is_deprecated: false }).collect();
        Self { uri_prefix: uri_prefix.to_owned(), api_versions }
    }

    /// All versions of an API.
    pub fn of(interface: Interface) -> Self {
        let versions = [Edition::V1, Edition::V2].map(|edition| interface.version(edition));
        Self::new(&format!("/{}", interface.name()), &versions)
    }
}

/// `GET /vnflcm/api_versions` and `GET /vnfpkgm/api_versions`.
pub async fn all(interface: Interface) -> web::Json<ApiVersionInformation> {
    web::Json(ApiVersionInformation::of(interface))
}

/// `GET /vnflcm/v{1,2}/api_versions` and `GET /vnfpkgm/v{1,2}/api_versions`.
#[utoipa::path(get, path = "/api_versions", tag = "versions", responses((status = 200, body = ApiVersionInformation)))]
pub async fn one(interface: Interface, edition: Edition) -> web::Json<ApiVersionInformation> {
    web::Json(ApiVersionInformation::new(interface.root(edition), &[interface.version(edition)]))
}
