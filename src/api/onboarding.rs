//! How the content of packages gets here (SOL005 clauses 9.4.6 and 9.4.7): it is uploaded or fetched, then read and checked.

use std::time::Duration;

use actix_web::http::header::CONTENT_TYPE;
use actix_web::{HttpRequest, HttpResponse, web};

use tokio::sync::Semaphore;

use crate::api::Api;
use crate::api::body::{Id, Json};
use crate::api::load::{self, Load};
use crate::api::packages::missing;
use crate::blocking::blocking;
use crate::domain::ids::VnfPkgId;
use crate::domain::package::Onboarding;
use crate::domain::problem::{Problem, ProblemType};
use crate::error::{ApiError, internal};
use crate::fetch::Source;
use crate::package::archive::Limits;
use crate::package::{csar, files};
use crate::sol003::common::ProblemDetails;
use crate::sol003::pkgm::UploadVnfPackageFromUriRequest;
use crate::store::StoreError;

/// `PUT /vnf_packages/{id}/package_content`. The content is on disk when this answers; it is checked afterwards, and
/// `onboardingState` and `onboardingFailureDetails` tell how that went.
#[utoipa::path(put, path = "/vnf_packages/{id}/package_content", tag = "vnf_packages", params(("id" = String, Path)),
    request_body(content = Vec<u8>, content_type = "application/zip"),
    responses((status = 202), (status = 409, description = "It has content already", body = ProblemDetails), (status = 413, body = ProblemDetails), (status = 415, body = ProblemDetails)))]
pub async fn upload(
    api: web::Data<Api>,
    load: web::Data<Load>,
    Id(id): Id<VnfPkgId>,
    request: HttpRequest,
    content: web::Payload,
) -> Result<HttpResponse, ApiError> {
    refuse_other_types(&request)?;
    let _arriving = load::upload(&load, &request)?;
    begin(&api, id).await?;
    let mut caller = Caller { api: api.clone(), id, is_there: true };
    if let Err(problem) = api.packages.receive(id, api.ids.uuid(), content).await {
        api.store.fail_onboarding(id, &problem, api.clock.now()).await?;
        caller.is_there = false;
        return Err(problem.into());
    }
    api.store.begin_processing(id, api.clock.now()).await?;
    caller.is_there = false;
    let runtime = api.runtime.clone();
    runtime.spawn(async move { told(id, onboard(&api, id).await) });
    Ok(HttpResponse::Accepted().finish())
}

/// Whose upload is under way. A connection that is reset ends the handler wherever it stands: the package is to be one that
/// can be uploaded again all the same.
struct Caller {
    api: web::Data<Api>,
    id: VnfPkgId,
    /// Until the upload is over, either way.
    is_there: bool,
}

impl Drop for Caller {
    fn drop(&mut self) {
        if !self.is_there {
            return;
        }
        let (api, id) = (self.api.clone(), self.id);
        self.api.runtime.spawn(async move {
            let problem = Problem::bad_request("the upload broke off: upload the package again");
            told(id, api.store.fail_onboarding(id, &problem, api.clock.now()).await);
        });
    }
}

/// Before anything is stored: what is no ZIP as it arrives, such as a form with one in it, is none afterwards either.
fn refuse_other_types(request: &HttpRequest) -> Result<(), Problem> {
    let value = request.headers().get(CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default());
    let media_type = value.map(|value| value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    match media_type.as_deref() {
        None | Some("application/zip" | "application/octet-stream" | "application/x-zip-compressed") => Ok(()),
        Some(other) => {
            let text = format!("Content-Type '{other}' is not supported; send the package as application/zip");
            Err(Problem::new(ProblemType::UnsupportedMediaType, text))
        }
    }
}

async fn begin(api: &Api, id: VnfPkgId) -> Result<(), ApiError> {
    api.store.begin_upload(&api.project, id, api.clock.now()).await.map_err(|error| match error {
        StoreError::Stale => {
            Problem::conflict(format!("VNF package {id} has content already, or an upload is under way")).into()
        }
        other => missing(id)(other),
    })
}

/// Nobody waits for the outcome any more: the log has to tell.
fn told(id: VnfPkgId, written: Result<(), StoreError>) {
    if let Err(error) = written {
        tracing::error!(vnf_package.id = %id, error = &error as &dyn std::error::Error, "the outcome of onboarding package {id} was not written");
    }
}

/// `POST /vnf_packages/{id}/package_content/upload_from_uri`. The content is fetched after this answered; how that went,
/// `onboardingState` and `onboardingFailureDetails` tell. User name and password go to that URI and nowhere else.
#[utoipa::path(post, path = "/vnf_packages/{id}/package_content/upload_from_uri", tag = "vnf_packages", params(("id" = String, Path)),
    request_body = UploadVnfPackageFromUriRequest,
    responses((status = 202), (status = 400, body = ProblemDetails), (status = 403, description = "Nothing is fetched from there", body = ProblemDetails), (status = 409, description = "It has content already", body = ProblemDetails)))]
pub async fn upload_from_uri(
    api: web::Data<Api>,
    Id(id): Id<VnfPkgId>,
    Json(request): Json<UploadVnfPackageFromUriRequest>,
) -> Result<HttpResponse, ApiError> {
    api.store.package(&api.project, id).await.map_err(missing(id))?;
    let UploadVnfPackageFromUriRequest { address_information, user_name, password } = request;
    let source = api.sources.source(&address_information, user_name.as_deref(), password.as_ref())?;
    begin(&api, id).await?;
    let runtime = api.runtime.clone();
    runtime.spawn(async move { told(id, fetch(&api, id, source).await) });
    Ok(HttpResponse::Accepted().finish())
}

/// Fetches the content, then goes on as if it had been uploaded.
async fn fetch(api: &Api, id: VnfPkgId, source: Source) -> Result<(), StoreError> {
    let (host, now) = (source.host().to_owned(), || api.clock.now());
    let received = match api.sources.fetch(source).await {
        Ok(content) => api.packages.receive(id, api.ids.uuid(), content).await,
        Err(problem) => Err(problem),
    };
    if let Err(problem) = received {
        tracing::info!(vnf_package.id = %id, "package {id} was not had from {host}: {}", problem.detail);
        return api.store.fail_onboarding(id, &problem, now()).await;
    }
    api.store.begin_processing(id, now()).await?;
    onboard(api, id).await
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
    let problem = match api.store.finish_onboarding(id, &found.content, &found.files, now()).await {
        Err(StoreError::Duplicate(_)) => Problem::conflict(format!(
            "another package has the vnfdId '{}': delete that one, or give this descriptor another descriptor_id",
            found.content.vnfd.id
        )),
        // Something in it can't be stored, or the store failed: if it still does, the next start says so.
        Err(error) => internal(&error),
        Ok(()) => return Ok(()),
    };
    api.store.fail_onboarding(id, &problem, now()).await?;
    // Not before: if the store can't say whether the package is onboarded, its content is to be there.
    api.packages.remove(id).await;
    Ok(())
}

/// Packages whose onboarding was cut off by the end of its process are marked so, and files without a package removed.
/// Called at start, and now and then where there are several processes; `stale_after` is how long ago an onboarding must have begun for its process to be gone.
///
/// # Errors
/// The store can't be asked.
pub async fn clear_abandoned(api: &Api, stale_after: Duration) -> Result<(), StoreError> {
    let now = api.clock.now();
    let problem = Problem::new(ProblemType::Interrupted, "the VNFM stopped while it read the package: upload it again");
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
