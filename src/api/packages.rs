//! `/vnf_packages` (SOL005 clause 9.4; SOL003 clause 10 for reading).

use std::time::Duration;

use actix_files::NamedFile;
use actix_web::http::header::{
    ACCEPT, CONTENT_DISPOSITION, CONTENT_TYPE, ContentDisposition, DispositionType, HeaderValue, LOCATION,
};
use actix_web::{HttpRequest, HttpResponse, web};
use mime::Mime;
use serde_json::{Map, Value};
use tokio::sync::Semaphore;

use crate::api::Api;
use crate::api::body::{Id, Json};
use crate::api::list::List;
use crate::api::load::{self, Load};
use crate::api::range;
use crate::domain::ids::VnfPkgId;
use crate::domain::package::{Content, Onboarding, OperationalState, VnfPackage};
use crate::domain::problem::Problem;
use crate::error::{ApiError, internal};
use crate::lcm::modify;
use crate::lcm::params::blocking;
use crate::package::archive::{Archive, Limits};
use crate::package::{csar, files};
use crate::sol003::common::{ListParameters, ProblemDetails};
use crate::sol003::pkgm::{
    CreateVnfPkgInfoRequest, UploadVnfPackageFromUriRequest, VnfPkgInfo, VnfPkgInfoModifications,
};
use crate::store::attributes::packages as attributes;
use crate::store::{Place, StoreError};

fn missing(id: VnfPkgId) -> impl Fn(StoreError) -> ApiError {
    move |error| match error {
        StoreError::NotFound => Problem::not_found("VNF package", &id.to_string()).into(),
        other => other.into(),
    }
}

/// The package and what it holds; 409 until it is onboarded.
async fn onboarded(api: &Api, id: VnfPkgId) -> Result<Box<Content>, ApiError> {
    let package = api.store.package(&api.project, id).await.map_err(missing(id))?;
    match package.onboarding {
        Onboarding::Onboarded(content) => Ok(content),
        other => Err(Problem::conflict(format!("VNF package {id} is {}, not ONBOARDED", other.as_str())).into()),
    }
}

/// `GET /vnf_packages`.
#[utoipa::path(get, path = "/vnf_packages", tag = "vnf_packages", params(ListParameters),
    responses((status = 200, description = "The packages, oldest first; Link leads to the next page", body = Vec<VnfPkgInfo>), (status = 400, body = ProblemDetails)))]
pub async fn list(api: web::Data<Api>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let list = List::read(&api, &request, &attributes::V1, attributes::NOT_BY_DEFAULT)?;
    let mut packages = api.store.packages(&api.project, &list.page()).await?;
    let last = list.cut(&mut packages, |package| Place::of(package.created_at, package.id.0));
    let element = |package: &VnfPackage| list.element(&VnfPkgInfo::new(package, &api.public_url));
    let elements: Vec<_> = packages.iter().map(element).collect::<Result<_, _>>()?;
    Ok(list.answer(&elements, last))
}

/// `POST /vnf_packages`.
#[utoipa::path(post, path = "/vnf_packages", tag = "vnf_packages", request_body = CreateVnfPkgInfoRequest,
    responses((status = 201, body = VnfPkgInfo)))]
pub async fn create(
    api: web::Data<Api>,
    Json(request): Json<CreateVnfPkgInfoRequest>,
) -> Result<HttpResponse, ApiError> {
    let package = VnfPackage {
        id: VnfPkgId(api.ids.uuid()),
        project_id: api.project.clone(),
        onboarding: Onboarding::Created,
        operational_state: OperationalState::Disabled,
        in_use: false,
        user_defined_data: request.user_defined_data.unwrap_or_default(),
        created_at: api.clock.now(),
    };
    api.store.create_package(&package).await?;
    let location = format!("{}/vnfpkgm/v1/vnf_packages/{}", api.public_url, package.id);
    let body = VnfPkgInfo::new(&package, &api.public_url);
    Ok(HttpResponse::Created().insert_header((LOCATION, location)).json(body))
}

/// `GET /vnf_packages/{id}`.
#[utoipa::path(get, path = "/vnf_packages/{id}", tag = "vnf_packages", params(("id" = String, Path)),
    responses((status = 200, body = VnfPkgInfo), (status = 404, body = ProblemDetails)))]
pub async fn show(api: web::Data<Api>, Id(id): Id<VnfPkgId>) -> Result<HttpResponse, ApiError> {
    let package = api.store.package(&api.project, id).await.map_err(missing(id))?;
    Ok(HttpResponse::Ok().json(VnfPkgInfo::new(&package, &api.public_url)))
}

/// `PATCH /vnf_packages/{id}`.
#[utoipa::path(patch, path = "/vnf_packages/{id}", tag = "vnf_packages", params(("id" = String, Path)),
    request_body(content = VnfPkgInfoModifications, content_type = "application/merge-patch+json"),
    responses((status = 200, body = VnfPkgInfoModifications), (status = 409, body = ProblemDetails)))]
pub async fn modify(
    api: web::Data<Api>,
    Id(id): Id<VnfPkgId>,
    Json(patch): Json<VnfPkgInfoModifications>,
) -> Result<HttpResponse, ApiError> {
    modify::refuse_excess("userDefinedData", patch.user_defined_data.as_ref())?;
    if patch.operational_state.is_none() && patch.user_defined_data.is_none() {
        return Err(Problem::malformed("give operationalState, userDefinedData, or both").into());
    }
    let package = api.store.package(&api.project, id).await.map_err(missing(id))?;
    let data = patch.user_defined_data.as_ref().map(|patch| merged(package.user_defined_data, patch));
    api.store.update_package(&api.project, id, patch.operational_state, data.as_ref()).await.map_err(|error| {
        match error {
            StoreError::Stale => {
                Problem::conflict(format!("VNF package {id} is not ONBOARDED, or is in that operationalState already"))
                    .into()
            }
            other => missing(id)(other),
        }
    })?;
    Ok(HttpResponse::Ok().json(patch))
}

fn merged(data: Map<String, Value>, patch: &Map<String, Value>) -> Map<String, Value> {
    let mut document = Value::Object(data);
    json_patch::merge(&mut document, &Value::Object(patch.clone()));
    if let Value::Object(merged) = document { merged } else { Map::new() }
}

/// `DELETE /vnf_packages/{id}`.
#[utoipa::path(delete, path = "/vnf_packages/{id}", tag = "vnf_packages", params(("id" = String, Path)),
    responses((status = 204), (status = 409, description = "ENABLED or IN_USE", body = ProblemDetails)))]
pub async fn remove(api: web::Data<Api>, Id(id): Id<VnfPkgId>) -> Result<HttpResponse, ApiError> {
    api.store.delete_package(&api.project, id).await.map_err(|error| match error {
        StoreError::Stale => Problem::conflict(format!(
            "VNF package {id} is ENABLED or being onboarded: set operationalState to DISABLED first"
        ))
        .into(),
        StoreError::InUse => {
            Problem::conflict(format!("VNF package {id} is IN_USE: delete the VNF instances made of it first")).into()
        }
        other => missing(id)(other),
    })?;
    api.packages.remove(id).await;
    Ok(HttpResponse::NoContent().finish())
}

/// `PUT /vnf_packages/{id}/package_content`. The content is on disk when this answers; it is checked afterwards, and
/// `onboardingState` and `onboardingFailureDetails` tell how that went.
#[utoipa::path(put, path = "/vnf_packages/{id}/package_content", tag = "vnf_packages", params(("id" = String, Path)),
    request_body(content = Vec<u8>, content_type = "application/zip"),
    responses((status = 202), (status = 409, description = "It has content already", body = ProblemDetails), (status = 413, body = ProblemDetails)))]
pub async fn upload(
    api: web::Data<Api>,
    load: web::Data<Load>,
    Id(id): Id<VnfPkgId>,
    request: HttpRequest,
    content: web::Payload,
) -> Result<HttpResponse, ApiError> {
    let _arriving = load::upload(&load, &request)?;
    api.store.begin_upload(&api.project, id, api.clock.now()).await.map_err(|error| match error {
        StoreError::Stale => {
            Problem::conflict(format!("VNF package {id} has content already, or an upload is under way")).into()
        }
        other => missing(id)(other),
    })?;
    if let Err(problem) = api.packages.receive(id, api.ids.uuid(), content).await {
        api.store.fail_onboarding(id, &problem, api.clock.now()).await?;
        return Err(problem.into());
    }
    api.store.begin_processing(id, api.clock.now()).await?;
    let runtime = api.runtime.clone();
    runtime.spawn(async move {
        if let Err(error) = onboard(&api, id).await {
            tracing::error!(vnf_package.id = %id, error = &error as &dyn std::error::Error, "the outcome of onboarding package {id} was not written");
        }
    });
    Ok(HttpResponse::Accepted().finish())
}

/// Packages that are checked at once; fewer than there are turns for [`blocking`], so that others need not wait for them.
static CHECKS: Semaphore = Semaphore::const_new(4);

/// Reads the content and records what was found.
async fn onboard(api: &Api, id: VnfPkgId) -> Result<(), StoreError> {
    let path = api.packages.path(id);
    let now = || api.clock.now();
    let turn = CHECKS.acquire().await;
    let found = blocking(move || csar::onboard(&path, &Limits::default())).await;
    drop(turn);
    let found = match found {
        Ok(found) => found,
        Err(problem) => {
            tracing::info!(vnf_package.id = %id, "package {id} is refused: {}", problem.detail);
            api.packages.remove(id).await;
            return api.store.fail_onboarding(id, &problem, now()).await;
        }
    };
    match api.store.finish_onboarding(id, &found.content, &found.files, now()).await {
        Err(StoreError::Duplicate(_)) => {
            let text = format!(
                "another package has the vnfdId '{}': delete that one, or give this descriptor another descriptor_id",
                found.content.vnfd.id
            );
            api.store.fail_onboarding(id, &Problem::conflict(text), now()).await
        }
        // Something in it can't be stored, or the store failed: if it still does, the next start says so.
        Err(error) => api.store.fail_onboarding(id, &internal(&error), now()).await,
        Ok(()) => Ok(()),
    }
}

/// Packages whose onboarding was cut off by the end of its process are marked so, and files without a package removed.
/// Called at start, and now and then where there are several processes; `stale_after` is how long ago an onboarding must have begun for its process to be gone.
///
/// # Errors
/// The store can't be asked.
pub async fn clear_abandoned(api: &Api, stale_after: Duration) -> Result<(), StoreError> {
    let now = api.clock.now();
    let problem = Problem::new(500, "interrupted", "the VNFM stopped while it read the package: upload it again");
    let failed = api.store.fail_abandoned_onboardings(now - stale_after, &problem, now).await?;
    for id in failed {
        tracing::warn!(vnf_package.id = %id, "the onboarding of package {id} was interrupted");
    }
    for (path, id) in api.packages.all().unwrap_or_default() {
        let wanted = match api.store.package(&api.project, id).await {
            Ok(package) => !matches!(package.onboarding, Onboarding::Created | Onboarding::Error(_)),
            Err(error) => !matches!(error, StoreError::NotFound),
        };
        if !wanted {
            files::remove(&path).await;
        }
    }
    Ok(())
}

/// `POST /vnf_packages/{id}/package_content/upload_from_uri`: off. Gybe fetches nothing on a caller's word.
#[utoipa::path(post, path = "/vnf_packages/{id}/package_content/upload_from_uri", tag = "vnf_packages", params(("id" = String, Path)),
    request_body = UploadVnfPackageFromUriRequest,
    responses((status = 403, description = "Switched off", body = ProblemDetails)))]
pub async fn upload_from_uri(
    api: web::Data<Api>,
    Id(id): Id<VnfPkgId>,
    Json(_): Json<UploadVnfPackageFromUriRequest>,
) -> Result<HttpResponse, ApiError> {
    api.store.package(&api.project, id).await.map_err(missing(id))?;
    Err(Problem::new(403, "switched-off", "this VNFM fetches no packages: PUT the content to package_content").into())
}

/// `GET /vnf_packages/{id}/package_content`, with `Range`.
#[utoipa::path(get, path = "/vnf_packages/{id}/package_content", tag = "vnf_packages", params(("id" = String, Path)),
    responses((status = 200, body = Vec<u8>, content_type = "application/zip"), (status = 206), (status = 409, body = ProblemDetails), (status = 416, body = ProblemDetails)))]
pub async fn content(
    api: web::Data<Api>,
    Id(id): Id<VnfPkgId>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    onboarded(&api, id).await?;
    let path = api.packages.path(id);
    let file = blocking(move || NamedFile::open(path).map_err(|error| internal(&error))).await?;
    let zip: Mime = "application/zip".parse().map_err(|error: mime::FromStrError| internal(&error))?;
    let disposition = ContentDisposition { disposition: DispositionType::Attachment, parameters: Vec::new() };
    Ok(file.set_content_type(zip).set_content_disposition(disposition).into_response(&request))
}

/// `GET /vnf_packages/{id}/vnfd`: text if the VNFD is one file and the caller takes text, else a ZIP.
#[utoipa::path(get, path = "/vnf_packages/{id}/vnfd", tag = "vnf_packages", params(("id" = String, Path)),
    responses((status = 200, description = "text/plain or application/zip, as Accept says"), (status = 406, body = ProblemDetails), (status = 409, body = ProblemDetails)))]
pub async fn vnfd(api: web::Data<Api>, Id(id): Id<VnfPkgId>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    onboarded(&api, id).await?;
    let path = api.packages.path(id);
    let files = blocking(move || csar::vnfd(&path, &Limits::default())).await?;
    let accept = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("*/*");
    let takes = |kind: &str, whole: &str| accept.contains(kind) || accept.contains(whole) || accept.contains("*/*");
    match files.text {
        Some(text) if takes("text/plain", "text/*") => {
            Ok(HttpResponse::Ok().content_type("text/plain; charset=utf-8").body(text))
        }
        _ if takes("application/zip", "application/*") => {
            Ok(HttpResponse::Ok().content_type("application/zip").body(files.zip))
        }
        _ => Err(Problem::new(406, "not-acceptable", "the VNFD has several files: accept application/zip").into()),
    }
}

/// `GET /vnf_packages/{id}/manifest`.
#[utoipa::path(get, path = "/vnf_packages/{id}/manifest", tag = "vnf_packages", params(("id" = String, Path)),
    responses((status = 200, body = String, content_type = "text/plain"), (status = 404, description = "The package has none", body = ProblemDetails), (status = 409, body = ProblemDetails)))]
pub async fn manifest(api: web::Data<Api>, Id(id): Id<VnfPkgId>) -> Result<HttpResponse, ApiError> {
    onboarded(&api, id).await?;
    let path = api.packages.path(id);
    let text = blocking(move || csar::manifest(&path, &Limits::default())).await?;
    let text = text.ok_or_else(|| Problem::new(404, "not-found", format!("VNF package {id} has no manifest file")))?;
    Ok(HttpResponse::Ok().content_type("text/plain; charset=utf-8").body(text))
}

/// `GET /vnf_packages/{id}/artifacts/{path}`, with `Range`.
#[utoipa::path(get, path = "/vnf_packages/{id}/artifacts/{path}", tag = "vnf_packages", params(("id" = String, Path), ("path" = String, Path)),
    responses((status = 200, description = "The artifact"), (status = 206), (status = 404, body = ProblemDetails), (status = 409, body = ProblemDetails), (status = 416, body = ProblemDetails)))]
pub async fn artifact(
    api: web::Data<Api>,
    Id(id): Id<VnfPkgId>,
    path: web::Path<(String, String)>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let (_, artifact) = path.into_inner();
    let content = onboarded(&api, id).await?;
    let info = content.artifacts.iter().find(|info| info.path == artifact);
    let info = info.ok_or_else(|| Problem::not_found("artifact", &artifact))?;
    let media_type = info.content_type.as_deref().unwrap_or("application/octet-stream").to_owned();
    let csar = api.packages.path(id);
    let (reader, size) = blocking(move || Archive::open(&csar, &Limits::default())?.reader(&csar, &artifact)).await?;
    let mut answer = range::answer(&request, reader, size);
    if answer.status().is_success() {
        answer.headers_mut().insert(CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
        // What the package calls it, where that can be a header.
        if let Ok(media_type) = HeaderValue::from_str(&media_type) {
            answer.headers_mut().insert(CONTENT_TYPE, media_type);
        }
    }
    Ok(answer)
}
