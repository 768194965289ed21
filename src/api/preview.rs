//! `/vnf_instances/{id}/{task}/preview`, an extension of Gybe: what a task would do. The handlers read the cluster while the client waits,
//! and write nothing but the plan that they keep.

use actix_web::{HttpRequest, HttpResponse, web};

use crate::api::body::Id;
use crate::api::context::Api;
use crate::api::instances::Instantiate;
use crate::api::load::{self, Load, Share};
use crate::domain::ids::VnfInstanceId;
use crate::domain::problem::Problem;
use crate::error::ApiError;
use crate::lcm::accept::Acceptor;
use crate::lcm::preview::{Previewing, Rehearsal};
use crate::lcm::sent::Sent;
use crate::sol003::common::{
    HealVnfRequest, OperateVnfRequest, ProblemDetails, ScaleVnfRequest, ScaleVnfToLevelRequest, TerminateVnfRequest,
};
use crate::sol003::preview::Preview;
use crate::sol003::v2;

/// The end of the routes of previews.
pub const PREVIEW: &str = "/preview";

/// A preview that is being made.
struct Making<'a> {
    api: &'a Api,
    rehearsal: Rehearsal,
    /// The right to wait for a cluster.
    _share: Share,
}

impl<'a> Making<'a> {
    fn new(api: &'a Api, load: &Load, request: &HttpRequest) -> Result<Self, Problem> {
        let share = load::third_party(load, request, &api.caller)?;
        Ok(Self { api, rehearsal: Rehearsal::default(), _share: share })
    }

    /// Makes the checks of a task, and begins nothing.
    fn acceptor(&self) -> Acceptor<'_> {
        Acceptor { rehearsal: Some(&self.rehearsal), ..self.api.acceptor() }
    }

    /// The answer, once the acceptor has accepted the task.
    async fn answer(self) -> Result<HttpResponse, ApiError> {
        let Api { store, driver, previewer, clock, ids, granting, .. } = self.api;
        let previewing = Previewing {
            store: &**store,
            driver: &**driver,
            previewer: &**previewer,
            clock: &**clock,
            ids: &**ids,
            granting: *granting,
        };
        let preview = previewing.preview(self.rehearsal).await?;
        Ok(HttpResponse::Ok().json(Preview::from(preview)))
    }
}

/// `POST /vnf_instances/{id}/instantiate/preview`.
///
/// An extension of Gybe: the checks of `instantiate`, and the plan that it would run, object by object. Only that plan is kept.
#[utoipa::path(post, path = "/vnf_instances/{id}/instantiate/preview", tag = "vnf_instances", params(("id" = String, Path)),
    request_body = v2::InstantiateVnfRequest,
    responses((status = 200, description = "What the task would do", body = Preview),
        (status = 403, body = ProblemDetails), (status = 404, body = ProblemDetails), (status = 409, body = ProblemDetails), (status = 422, body = ProblemDetails),
        (status = 504, description = "The cluster does not answer", body = ProblemDetails)))]
pub async fn instantiate(
    api: web::Data<Api>,
    load: web::Data<Load>,
    request: HttpRequest,
    Id(id): Id<VnfInstanceId>,
    Instantiate(sent): Instantiate,
) -> Result<HttpResponse, ApiError> {
    let making = Making::new(&api, &load, &request)?;
    making.acceptor().instantiate(id, sent).await?;
    making.answer().await
}

/// `POST /vnf_instances/{id}/scale/preview`.
///
/// An extension of Gybe: the checks of `scale`, and the plan that it would run, object by object. Only that plan is kept.
#[utoipa::path(post, path = "/vnf_instances/{id}/scale/preview", tag = "vnf_instances", params(("id" = String, Path)),
    request_body = ScaleVnfRequest,
    responses((status = 200, description = "What the task would do", body = Preview),
        (status = 403, body = ProblemDetails), (status = 404, body = ProblemDetails), (status = 409, body = ProblemDetails), (status = 422, body = ProblemDetails),
        (status = 504, description = "The cluster does not answer", body = ProblemDetails)))]
pub async fn scale(
    api: web::Data<Api>,
    load: web::Data<Load>,
    request: HttpRequest,
    Id(id): Id<VnfInstanceId>,
    sent: Sent<ScaleVnfRequest>,
) -> Result<HttpResponse, ApiError> {
    let making = Making::new(&api, &load, &request)?;
    making.acceptor().scale(id, &sent).await?;
    making.answer().await
}

/// `POST /vnf_instances/{id}/scale_to_level/preview`.
///
/// An extension of Gybe: the checks of `scale_to_level`, and the plan that it would run, object by object. Only that plan is kept.
#[utoipa::path(post, path = "/vnf_instances/{id}/scale_to_level/preview", tag = "vnf_instances", params(("id" = String, Path)),
    request_body = ScaleVnfToLevelRequest,
    responses((status = 200, description = "What the task would do", body = Preview),
        (status = 403, body = ProblemDetails), (status = 404, body = ProblemDetails), (status = 409, body = ProblemDetails), (status = 422, body = ProblemDetails),
        (status = 504, description = "The cluster does not answer", body = ProblemDetails)))]
pub async fn scale_to_level(
    api: web::Data<Api>,
    load: web::Data<Load>,
    request: HttpRequest,
    Id(id): Id<VnfInstanceId>,
    sent: Sent<ScaleVnfToLevelRequest>,
) -> Result<HttpResponse, ApiError> {
    let making = Making::new(&api, &load, &request)?;
    making.acceptor().scale_to_level(id, &sent).await?;
    making.answer().await
}

/// `POST /vnf_instances/{id}/heal/preview`.
///
/// An extension of Gybe: the checks of `heal`, and the plan that it would run, object by object. Only that plan is kept.
#[utoipa::path(post, path = "/vnf_instances/{id}/heal/preview", tag = "vnf_instances", params(("id" = String, Path)),
    request_body = HealVnfRequest,
    responses((status = 200, description = "What the task would do", body = Preview),
        (status = 403, body = ProblemDetails), (status = 404, body = ProblemDetails), (status = 409, body = ProblemDetails), (status = 422, body = ProblemDetails),
        (status = 504, description = "The cluster does not answer", body = ProblemDetails)))]
pub async fn heal(
    api: web::Data<Api>,
    load: web::Data<Load>,
    request: HttpRequest,
    Id(id): Id<VnfInstanceId>,
    sent: Sent<HealVnfRequest>,
) -> Result<HttpResponse, ApiError> {
    let making = Making::new(&api, &load, &request)?;
    making.acceptor().heal(id, &sent).await?;
    making.answer().await
}

/// `POST /vnf_instances/{id}/operate/preview`.
///
/// An extension of Gybe: the checks of `operate`, and the plan that it would run, object by object. Only that plan is kept.
#[utoipa::path(post, path = "/vnf_instances/{id}/operate/preview", tag = "vnf_instances", params(("id" = String, Path)),
    request_body = OperateVnfRequest,
    responses((status = 200, description = "What the task would do", body = Preview),
        (status = 403, body = ProblemDetails), (status = 404, body = ProblemDetails), (status = 409, body = ProblemDetails), (status = 422, body = ProblemDetails),
        (status = 504, description = "The cluster does not answer", body = ProblemDetails)))]
pub async fn operate(
    api: web::Data<Api>,
    load: web::Data<Load>,
    request: HttpRequest,
    Id(id): Id<VnfInstanceId>,
    sent: Sent<OperateVnfRequest>,
) -> Result<HttpResponse, ApiError> {
    let making = Making::new(&api, &load, &request)?;
    making.acceptor().operate(id, &sent).await?;
    making.answer().await
}

/// `POST /vnf_instances/{id}/change_vnfpkg/preview`, also as `change_current_vnfpkg/preview`.
///
/// An extension of Gybe: the checks of `change_vnfpkg`, and the plan that it would run, object by object. Only that plan is kept.
#[utoipa::path(post, path = "/vnf_instances/{id}/change_vnfpkg/preview", tag = "vnf_instances", params(("id" = String, Path)),
    request_body = v2::ChangeCurrentVnfPkgRequest,
    responses((status = 200, description = "What the task would do", body = Preview),
        (status = 403, body = ProblemDetails), (status = 404, body = ProblemDetails), (status = 409, body = ProblemDetails), (status = 422, body = ProblemDetails),
        (status = 504, description = "The cluster does not answer", body = ProblemDetails)))]
pub async fn change_vnfpkg(
    api: web::Data<Api>,
    load: web::Data<Load>,
    request: HttpRequest,
    Id(id): Id<VnfInstanceId>,
    sent: Sent<v2::ChangeCurrentVnfPkgRequest>,
) -> Result<HttpResponse, ApiError> {
    let making = Making::new(&api, &load, &request)?;
    making.acceptor().change_vnfpkg(id, sent).await?;
    making.answer().await
}

/// `POST /vnf_instances/{id}/terminate/preview`.
///
/// An extension of Gybe: the checks of `terminate`, and the plan that it would run, object by object. Only that plan is kept.
#[utoipa::path(post, path = "/vnf_instances/{id}/terminate/preview", tag = "vnf_instances", params(("id" = String, Path)),
    request_body = TerminateVnfRequest,
    responses((status = 200, description = "What the task would do", body = Preview),
        (status = 403, body = ProblemDetails), (status = 404, body = ProblemDetails), (status = 409, body = ProblemDetails), (status = 422, body = ProblemDetails),
        (status = 504, description = "The cluster does not answer", body = ProblemDetails)))]
pub async fn terminate(
    api: web::Data<Api>,
    load: web::Data<Load>,
    request: HttpRequest,
    Id(id): Id<VnfInstanceId>,
    sent: Sent<TerminateVnfRequest>,
) -> Result<HttpResponse, ApiError> {
    let making = Making::new(&api, &load, &request)?;
    making.acceptor().terminate(id, &sent).await?;
    making.answer().await
}
