//! `/vnf_packages` and `/onboarded_vnf_packages` in both editions (SOL005 clause 9.4; SOL003 clause 10 for reading).
//! [`super::package_content`] serves the content of packages, [`super::onboarding`] receives it.

use std::future::{Ready, ready};
use std::path::PathBuf;

use actix_web::dev::Payload;
use actix_web::http::header::LOCATION;
use actix_web::{FromRequest, HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::api::body::{Id, Json};
use crate::api::context::Api;
use crate::api::list::List;
use crate::domain::ids::VnfPkgId;
use crate::domain::package::{Content, Onboarding, OperationalState, VnfPackage};
use crate::domain::problem::{Problem, ProblemType, problem};
use crate::domain::share::read_only;
use crate::error::ApiError;
use crate::lcm::modify;
use crate::sol003::common::{ListParameters, ProblemDetails};
use crate::sol003::pkgm::{CreateVnfPkgInfoRequest, VnfPkgInfo, VnfPkgInfoModifications, v2};
use crate::sol003::{Edition, Interface};
use crate::store::attributes::{Members, packages as attributes};
use crate::store::{Page, PageCursor, StoreError};

pub(super) fn missing(id: VnfPkgId) -> impl Fn(StoreError) -> ApiError {
    move |error| match error {
        StoreError::NotFound => Problem::not_found("VNF package", &id.to_string()).into(),
        other => other.into(),
    }
}

/// Refuses to change a package that another project shares.
///
/// # Errors
/// 403, and 404 for a package that is not visible.
pub(super) async fn refuse_shared(api: &Api, id: VnfPkgId) -> Result<(), ApiError> {
    let project = &api.caller.project;
    let package = api.store.visible_package(project, id).await.map_err(missing(id))?;
    if package.project_id == *project { Ok(()) } else { Err(read_only("VNF package", &id.to_string()).into()) }
}

/// The package that a path names.
pub enum PackageId {
    /// `/vnf_packages/{id}`.
    ById(VnfPkgId),
    /// `/onboarded_vnf_packages/{vnfdId}`: onboarded packages only.
    ByVnfd(String),
}

/// The parameter of a path below `onboarded_vnf_packages`, decoded.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct VnfdIdPath {
    vnfd_id: String,
}

impl FromRequest for PackageId {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        match request.match_info().load::<VnfdIdPath>() {
            // No VNFD has such an id, and PostgreSQL refuses it in a query.
            Ok(VnfdIdPath { vnfd_id }) if vnfd_id.contains('\0') => {
                ready(Err(Problem::not_found("resource", "with U+0000 in its id").into()))
            }
            Ok(VnfdIdPath { vnfd_id }) => ready(Ok(Self::ByVnfd(vnfd_id))),
            Err(_) => ready(Id::from_request(request, payload).into_inner().map(|Id(id)| Self::ById(id))),
        }
    }
}

impl PackageId {
    /// The package.
    ///
    /// # Errors
    /// 404.
    pub async fn package(self, api: &Api) -> Result<VnfPackage, ApiError> {
        match self {
            Self::ById(id) => api.store.visible_package(&api.caller.project, id).await.map_err(missing(id)),
            Self::ByVnfd(vnfd_id) => {
                api.store.package_of_vnfd(&api.caller.project, &vnfd_id).await.map_err(|error| match error {
                    StoreError::NotFound => Problem::not_found("onboarded VNF package with the VNFD", &vnfd_id).into(),
                    other => other.into(),
                })
            }
        }
    }

    /// The package's id, its CSAR, and what onboarding read from that.
    ///
    /// # Errors
    /// 404, and 409 until it is onboarded.
    pub async fn onboarded(self, api: &Api) -> Result<(VnfPkgId, PathBuf, Box<Content>), ApiError> {
        let VnfPackage { id, onboarding, content_epoch, .. } = self.package(api).await?;
        match onboarding {
            Onboarding::Onboarded(content) => Ok((id, api.packages.path(id, content_epoch), content)),
            other => Err(problem!(
                ProblemType::Conflict,
                "VNF package {id} is {state}: wait until it is {allowed}, or upload its content",
                id = id.to_string(),
                state = other.as_str(),
                allowed = "ONBOARDED",
            )
            .into()),
        }
    }
}

/// The attributes of a package in `edition`.
fn attributes(edition: Edition) -> &'static Members {
    match edition {
        Edition::V1 => &attributes::V1,
        Edition::V2 => &attributes::V2,
    }
}

/// `GET /vnf_packages`.
#[utoipa::path(get, path = "/vnf_packages", tag = "vnf_packages", params(ListParameters),
    responses((status = 200, description = "The packages, oldest first; Link leads to the next page", body = Vec<v2::VnfPkgInfo>), (status = 400, body = ProblemDetails), (status = 403, description = "all_projects, and the caller is no admin", body = ProblemDetails)))]
pub async fn list(api: web::Data<Api>, edition: Edition, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let list = List::read(&api, &request, attributes(edition), attributes::NOT_BY_DEFAULT)?;
    listed(&api, edition, &list).await
}

/// `GET /onboarded_vnf_packages`: those of `/vnf_packages` that are ONBOARDED.
pub async fn list_onboarded(
    api: web::Data<Api>,
    edition: Edition,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let list = List::read(&api, &request, attributes(edition), attributes::NOT_BY_DEFAULT)?;
    listed(&api, edition, &list.only(attributes::ONBOARDED, attributes(edition))?).await
}

async fn listed(api: &Api, edition: Edition, list: &List<'_>) -> Result<HttpResponse, ApiError> {
    let project = list.project();
    let fetch = async |page: &Page<'_>| api.store.packages(project, page).await;
    let element = |package: &VnfPackage| VnfPkgInfo::new(package, edition, &api.public_url);
    let place = |package: &VnfPackage| PageCursor::of(package.created_at, package.id.0);
    let (elements, last) = list.gather(fetch, place, |package| Some(&package.project_id), element).await?;
    Ok(list.response(&elements, last))
}

/// `POST /vnf_packages`.
#[utoipa::path(post, path = "/vnf_packages", tag = "vnf_packages", request_body = CreateVnfPkgInfoRequest,
    responses((status = 201, body = v2::VnfPkgInfo), (status = 409, description = "The quota of the project is used up", body = ProblemDetails)))]
pub async fn create(
    api: web::Data<Api>,
    edition: Edition,
    Json(request): Json<CreateVnfPkgInfoRequest>,
) -> Result<HttpResponse, ApiError> {
    let package = VnfPackage {
        id: VnfPkgId(api.ids.uuid()),
        project_id: api.caller.project.clone(),
        onboarding: Onboarding::Created,
        operational_state: OperationalState::Disabled,
        in_use: false,
        content_epoch: 0,
        user_defined_data: request.user_defined_data.unwrap_or_default(),
        created_at: api.clock.now(),
    };
    modify::refuse_excess("userDefinedData", Some(&package.user_defined_data))?;
    api.store.create_package(&package).await?;
    Ok(created(&api, edition, &package))
}

/// 201 with the package.
pub(super) fn created(api: &Api, edition: Edition, package: &VnfPackage) -> HttpResponse {
    let location = format!("{}{}/vnf_packages/{}", api.public_url, Interface::Packages.root(edition), package.id);
    let body = VnfPkgInfo::new(package, edition, &api.public_url);
    HttpResponse::Created().insert_header((LOCATION, location)).json(body)
}

/// `GET /vnf_packages/{id}` and `/onboarded_vnf_packages/{vnfdId}`.
#[utoipa::path(get, path = "/vnf_packages/{id}", tag = "vnf_packages", params(("id" = String, Path)),
    responses((status = 200, body = v2::VnfPkgInfo), (status = 404, body = ProblemDetails)))]
pub async fn show(api: web::Data<Api>, edition: Edition, package: PackageId) -> Result<HttpResponse, ApiError> {
    let package = package.package(&api).await?;
    Ok(HttpResponse::Ok().json(VnfPkgInfo::new(&package, edition, &api.public_url)))
}

/// `PATCH /vnf_packages/{id}`.
#[utoipa::path(patch, path = "/vnf_packages/{id}", tag = "vnf_packages", params(("id" = String, Path)),
    request_body(content = VnfPkgInfoModifications, content_type = "application/merge-patch+json"),
    responses((status = 200, body = VnfPkgInfoModifications), (status = 403, description = "Another project shares the package: it can be read and instantiated", body = ProblemDetails), (status = 409, body = ProblemDetails)))]
pub async fn modify(
    api: web::Data<Api>,
    Id(id): Id<VnfPkgId>,
    Json(patch): Json<VnfPkgInfoModifications>,
) -> Result<HttpResponse, ApiError> {
    if patch.operational_state.is_none() && patch.user_defined_data.is_none() {
        return Err(Problem::bad_request(
            "the body has no member to change: send operationalState, userDefinedData, or both",
        )
        .into());
    }
    refuse_shared(&api, id).await?;
    for _ in 0..MERGES {
        let package = api.store.package(&api.caller.project, id).await.map_err(missing(id))?;
        if patch.operational_state.is_some_and(|state| !package.can_become(state)) {
            return Err(problem!(
                ProblemType::Conflict,
                "VNF package {id} is {onboardingState} and {operationalState}: only an ONBOARDED package can change its operationalState, and only to the other one",
                id = id.to_string(),
                onboardingState = package.onboarding.as_str(),
                operationalState = match package.operational_state {
                    OperationalState::Enabled => "ENABLED",
                    OperationalState::Disabled => "DISABLED",
                },
            )
            .into());
        }
        let data = patch.user_defined_data.as_ref().map(|patch| merged(&package.user_defined_data, patch));
        modify::refuse_excess("userDefinedData", data.as_ref())?;
        let data = data.as_ref().map(|merged| [&package.user_defined_data, merged]);
        match api.store.update_package(&api.caller.project, id, patch.operational_state, data).await {
            Ok(()) => return Ok(HttpResponse::Ok().json(patch)),
            // Another request changed the package: merge with the new data.
            Err(StoreError::Stale) => {}
            Err(error) => return Err(missing(id)(error)),
        }
    }
    let detail = "other clients change the VNF package all the time: repeat the request";
    Err(Problem::new(ProblemType::ConcurrentChange, detail).into())
}

/// Attempts to merge a patch while other requests change the package.
const MERGES: usize = 16;

fn merged(data: &Map<String, Value>, patch: &Map<String, Value>) -> Map<String, Value> {
    let mut document = Value::Object(data.clone());
    json_patch::merge(&mut document, &Value::Object(patch.clone()));
    if let Value::Object(merged) = document { merged } else { Map::new() }
}

/// `DELETE /vnf_packages/{id}`.
#[utoipa::path(delete, path = "/vnf_packages/{id}", tag = "vnf_packages", params(("id" = String, Path)),
    responses((status = 204), (status = 403, description = "Another project shares the package: it can be read and instantiated", body = ProblemDetails), (status = 409, description = "ENABLED or IN_USE", body = ProblemDetails)))]
pub async fn remove(api: web::Data<Api>, Id(id): Id<VnfPkgId>) -> Result<HttpResponse, ApiError> {
    refuse_shared(&api, id).await?;
    api.store.delete_package(&api.caller.project, id).await.map_err(|error| match error {
        StoreError::Stale => problem!(
            ProblemType::Conflict,
            "VNF package {id} is ENABLED or being onboarded: set operationalState to DISABLED first",
            id = id.to_string(),
        )
        .into(),
        StoreError::InUse => problem!(
            ProblemType::InUse,
            "VNF package {id} is IN_USE: delete its VNF instances first, or change them to another package",
            id = id.to_string(),
        )
        .into(),
        other => missing(id)(other),
    })?;
    api.packages.remove_through(id, i64::MAX).await;
    Ok(HttpResponse::NoContent().finish())
}
