//! `/vnf_lcm_op_occs` of both editions (SOL003 clauses 5.4.12 to 5.4.17).

use std::collections::HashMap;

use actix_web::{HttpRequest, HttpResponse, web};

use crate::api::body::{Id, Json};
use crate::api::context::Api;
use crate::api::list::List;
use crate::domain::ids::VnfLcmOpOccId;
use crate::domain::op_occ::{OpState, VnfLcmOpOcc as DomainOpOcc};
use crate::domain::problem::{Problem, ProblemType, QuotedValues, problem};
use crate::domain::progress::StepAttempt;
use crate::domain::transition::OpEvent;
use crate::error::ApiError;
use crate::lcm::access::registered;
use crate::sol003::Edition;
use crate::sol003::common::{CancelMode, ListParameters, ProblemDetails};
use crate::sol003::op_occ::VnfLcmOpOcc;
use crate::sol003::steps::Steps;
use crate::store::attributes::op_occs as attributes;
use crate::store::{Page, PageCursor, StoreError};

async fn op_occ(api: &Api, id: VnfLcmOpOccId) -> Result<DomainOpOcc, ApiError> {
    match api.store.op_occ(&api.caller.project, id).await {
        Err(StoreError::NotFound) => Err(Problem::not_found("operation occurrence", &id.to_string()).into()),
        other => Ok(other?),
    }
}

/// An element of the list, with the latest attempt of a step if it runs.
type Listed = (Option<StepAttempt>, DomainOpOcc);

/// The latest attempts of those of `ops` that run, in one read.
async fn latest_steps(api: &Api, ops: &[DomainOpOcc]) -> Result<HashMap<VnfLcmOpOccId, StepAttempt>, StoreError> {
    let running: Vec<VnfLcmOpOccId> = ops.iter().filter(|op| op.state.is_running()).map(|op| op.id).collect();
    if running.is_empty() { Ok(HashMap::new()) } else { api.store.latest_steps(&running).await }
}

async fn shown(api: &Api, op: &DomainOpOcc, edition: Edition) -> Result<VnfLcmOpOcc, ApiError> {
    let latest = latest_steps(api, std::slice::from_ref(op)).await?;
    Ok(VnfLcmOpOcc::new(op, latest.get(&op.id), edition, &api.public_url))
}

/// Moves an operation out of FAILED_TEMP, the only state in which retry, rollback and fail are allowed.
async fn leave_failed_temp(api: &Api, op: &DomainOpOcc, event: OpEvent) -> Result<(), ApiError> {
    let not_stopped = |state: OpState| wrong_state(op.id, state, "retry, rollback and fail", &[OpState::FailedTemp]);
    match api.store.resume_operation(&api.caller.project, op.id, event, api.clock.now()).await {
        Err(StoreError::Stale) => Err(not_stopped(op_occ(api, op.id).await?.state).into()),
        other => Ok(other?),
    }
}

/// `GET /vnf_lcm_op_occs`.
#[utoipa::path(get, path = "/vnf_lcm_op_occs", tag = "vnf_lcm_op_occs", params(ListParameters),
    responses((status = 200, description = "The op occurrences, oldest first; Link leads to the next page", body = Vec<VnfLcmOpOcc>), (status = 400, body = ProblemDetails), (status = 403, description = "all_projects, and the caller is no admin", body = ProblemDetails)))]
pub async fn list(api: web::Data<Api>, edition: Edition, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let attributes = match edition {
        Edition::V1 => &attributes::V1,
        Edition::V2 => &attributes::V2,
    };
    let list = List::read(&api, &request, attributes, attributes::NOT_BY_DEFAULT)?;
    let project = list.project();
    let fetch = async |page: &Page<'_>| {
        let ops = api.store.op_occs(project, page).await?;
        let mut latest = latest_steps(&api, &ops).await?;
        Ok(ops.into_iter().map(|op| (latest.remove(&op.id), op)).collect())
    };
    let element = |(latest, op): &Listed| VnfLcmOpOcc::new(op, latest.as_ref(), edition, &api.public_url);
    let place = |(_, op): &Listed| PageCursor::of(op.start_time, op.id.0);
    let (elements, last) = list.gather(fetch, place, |(_, op)| Some(&op.project_id), element).await?;
    Ok(list.response(&elements, last))
}

/// `GET /vnf_lcm_op_occs/{id}`.
#[utoipa::path(get, path = "/vnf_lcm_op_occs/{id}", tag = "vnf_lcm_op_occs", params(("id" = String, Path)),
    responses((status = 200, body = VnfLcmOpOcc), (status = 404, body = ProblemDetails)))]
pub async fn show(api: web::Data<Api>, edition: Edition, Id(id): Id<VnfLcmOpOccId>) -> Result<HttpResponse, ApiError> {
    let op = op_occ(&api, id).await?;
    Ok(HttpResponse::Ok().json(shown(&api, &op, edition).await?))
}

/// `GET /vnf_lcm_op_occs/{id}/steps`.
///
/// The history of the operation: each attempt of each step with its objects, in the order in which they began. An extension of
/// Gybe. Of many attempts of a step, the first and the last ones are kept.
#[utoipa::path(get, path = "/vnf_lcm_op_occs/{id}/steps", tag = "vnf_lcm_op_occs", params(("id" = String, Path)),
    responses((status = 200, body = Steps), (status = 404, body = ProblemDetails)))]
pub async fn steps(api: web::Data<Api>, Id(id): Id<VnfLcmOpOccId>) -> Result<HttpResponse, ApiError> {
    let op = op_occ(&api, id).await?;
    Ok(HttpResponse::Ok().json(Steps::new(&api.store.steps(op.id).await?)))
}

/// `POST /vnf_lcm_op_occs/{id}/retry`.
#[utoipa::path(post, path = "/vnf_lcm_op_occs/{id}/retry", tag = "vnf_lcm_op_occs", params(("id" = String, Path)),
    responses((status = 202), (status = 403, description = "The VIM is shared with the project no longer", body = ProblemDetails), (status = 409, body = ProblemDetails)))]
pub async fn retry(api: web::Data<Api>, Id(id): Id<VnfLcmOpOccId>) -> Result<HttpResponse, ApiError> {
    let op = op_occ(&api, id).await?;
    // A VIM that is shared no longer may be left, and nothing else.
    let instance = api.store.instance(&api.caller.project, op.vnf_instance_id).await?;
    if let Some((_, home)) = instance.home().filter(|(_, home)| home.lender.is_some()) {
        registered(&*api.store, &api.caller.project, home).await?;
    }
    leave_failed_temp(&api, &op, OpEvent::Retry).await?;
    Ok(HttpResponse::Accepted().finish())
}

/// `POST /vnf_lcm_op_occs/{id}/rollback`.
#[utoipa::path(post, path = "/vnf_lcm_op_occs/{id}/rollback", tag = "vnf_lcm_op_occs", params(("id" = String, Path)),
    responses((status = 202), (status = 404, description = "The operation cannot be rolled back", body = ProblemDetails), (status = 409, body = ProblemDetails)))]
pub async fn rollback(api: web::Data<Api>, Id(id): Id<VnfLcmOpOccId>) -> Result<HttpResponse, ApiError> {
    let op = op_occ(&api, id).await?;
    if !op.can_roll_back() {
        return Err(problem!(
            ProblemType::NotSupported,
            "{operation} cannot be rolled back: retry it or fail it",
            operation = op.operation.as_str(),
        )
        .into());
    }
    leave_failed_temp(&api, &op, OpEvent::Rollback).await?;
    Ok(HttpResponse::Accepted().finish())
}

/// `POST /vnf_lcm_op_occs/{id}/fail`.
#[utoipa::path(post, path = "/vnf_lcm_op_occs/{id}/fail", tag = "vnf_lcm_op_occs", params(("id" = String, Path)),
    responses((status = 200, body = VnfLcmOpOcc), (status = 409, body = ProblemDetails)))]
pub async fn fail(api: web::Data<Api>, edition: Edition, Id(id): Id<VnfLcmOpOccId>) -> Result<HttpResponse, ApiError> {
    let op = op_occ(&api, id).await?;
    leave_failed_temp(&api, &op, OpEvent::Fail).await?;
    let op = op_occ(&api, id).await?;
    Ok(HttpResponse::Ok().json(shown(&api, &op, edition).await?))
}

/// `POST /vnf_lcm_op_occs/{id}/cancel`.
///
/// The 202 says that the request is recorded; the operation stops soon after, unless it ends first.
#[utoipa::path(post, path = "/vnf_lcm_op_occs/{id}/cancel", tag = "vnf_lcm_op_occs", params(("id" = String, Path)),
    request_body = CancelMode,
    responses((status = 202), (status = 404, body = ProblemDetails), (status = 409, body = ProblemDetails)))]
pub async fn cancel(
    api: web::Data<Api>,
    Id(id): Id<VnfLcmOpOccId>,
    Json(request): Json<CancelMode>,
) -> Result<HttpResponse, ApiError> {
    match api.store.cancel_operation(&api.caller.project, id, request.cancel_mode).await {
        Ok(()) => Ok(HttpResponse::Accepted().finish()),
        // Read the operation: for its state in the 409, or for a 404.
        Err(StoreError::Stale | StoreError::NotFound) => {
            let running = [OpState::Starting, OpState::Processing, OpState::RollingBack];
            Err(wrong_state(id, op_occ(&api, id).await?.state, "cancel", &running).into())
        }
        Err(error) => Err(error.into()),
    }
}

/// 409: `tasks` are allowed only in the states `allowed`.
fn wrong_state(id: VnfLcmOpOccId, state: OpState, tasks: &str, allowed: &[OpState]) -> Problem {
    problem!(
        ProblemType::Conflict,
        "operation {id} is in {state}; allowed for {tasks}: {allowed}",
        id = id.to_string(),
        state = state.as_str(),
        tasks = tasks,
        allowed = allowed.iter().map(|state| state.as_str()).collect::<QuotedValues>(),
    )
}
