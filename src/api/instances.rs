//! `/vnf_instances` of both editions (SOL003 clauses 5.4.2 to 5.4.11).

use std::collections::HashMap;
use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::http::header::{ContentType, ETAG, IF_MATCH, LOCATION};
use actix_web::web::Bytes;
use actix_web::{FromRequest, HttpRequest, HttpResponse, web};
use serde_json::{Map, Value};

use crate::api::body::{Id, Json};
use crate::api::context::Api;
use crate::api::list::{BATCH, List, PageTexts};
use crate::api::load::{self, Load};
use crate::api::selectors::Selection;
use crate::domain::ids::{VnfInstanceId, VnfLcmOpOccId};
use crate::domain::instance::VnfInstance;
use crate::domain::problem::{Problem, ProblemType, problem};
use crate::error::ApiError;
use crate::lcm::accept::changed;
use crate::lcm::sent::Sent;
use crate::sol003::common::{
    CreateVnfRequest, HealVnfRequest, ListParameters, OperateVnfRequest, ProblemDetails, ScaleVnfRequest,
    ScaleVnfToLevelRequest, TerminateVnfRequest,
};
use crate::sol003::sync::SyncVnfRequest;
use crate::sol003::{Edition, v1, v2};
use crate::store::attributes::{Members, vnf_instances};
use crate::store::{Listed, StoreError};

/// The body of an instantiate request. A body of 2.6.1 is converted to 3.3.1.
pub struct Instantiate(pub Sent<v2::InstantiateVnfRequest>);

impl FromRequest for Instantiate {
    type Error = ApiError;
    type Future = Pin<Box<dyn Future<Output = Result<Self, ApiError>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        if request.app_data::<Edition>() == Some(&Edition::V1) {
            let sent = Sent::<v1::InstantiateVnfRequest>::from_request(request, payload);
            return Box::pin(async move { Ok(Self(sent.await?.map(Into::into))) });
        }
        let sent = Sent::from_request(request, payload);
        Box::pin(async move { Ok(Self(sent.await?)) })
    }
}

fn store_error(id: VnfInstanceId) -> impl Fn(StoreError) -> ApiError {
    move |error| match error {
        StoreError::NotFound => Problem::not_found("VNF instance", &id.to_string()).into(),
        other => other.into(),
    }
}

/// The response to an accepted operation: 202 without a body; `Location` is the absolute URI of the op occurrence.
pub(super) fn accepted(api: &Api, edition: Edition, op: VnfLcmOpOccId) -> HttpResponse {
    let location = format!("{}{}/vnf_lcm_op_occs/{op}", api.public_url, edition.root());
    HttpResponse::Accepted().insert_header((LOCATION, location)).finish()
}

/// The attributes of an instance in `edition`.
fn attributes(edition: Edition) -> &'static Members {
    match edition {
        Edition::V1 => &vnf_instances::V1,
        Edition::V2 => &vnf_instances::V2,
    }
}

/// `GET /vnf_instances`.
#[utoipa::path(get, path = "/vnf_instances", tag = "vnf_instances", params(ListParameters),
    responses((status = 200, description = "The VNF instances, oldest first; Link leads to the next page", body = Vec<v2::VnfInstance>), (status = 400, body = ProblemDetails), (status = 403, description = "all_projects, and the caller is no admin", body = ProblemDetails)))]
pub async fn list(api: web::Data<Api>, edition: Edition, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let list = List::read(&api, &request, attributes(edition), vnf_instances::NOT_BY_DEFAULT)?;
    let listed = api.store.list_instances(list.project(), &list.page()).await?;
    let mut texts = PageTexts::new(api.page_size);
    for batch in listed.chunks(BATCH) {
        for (one, text) in rendered(&api, edition, &list, batch).await? {
            if texts.is_full() {
                let (texts, last) = texts.with_next_page();
                return Ok(list.response(&texts, last));
            }
            texts.push(list.owned(text, &one.project_id), one.place);
        }
    }
    let (texts, last) = texts.with_next_page();
    // Listed instances may be deleted by now, even all of them: then the last listed one still leads to the next page.
    let last = last.or(listed.last().map(|one| one.place)).filter(|_| listed.len() > api.page_size);
    Ok(list.response(&texts, last))
}

/// The JSON texts of the listed instances, from the cache or the store. Leaves out instances that were deleted meanwhile.
async fn rendered<'a>(
    api: &Api,
    edition: Edition,
    list: &List<'_>,
    listed: &'a [Listed],
) -> Result<impl Iterator<Item = (&'a Listed, Bytes)>, ApiError> {
    let selection = &list.selection;
    let cached = |one: &Listed| api.instance_cache.get(edition, selection, one.id, one.version);
    let texts: Vec<Option<Bytes>> = listed.iter().map(cached).collect();
    let missing = listed.iter().zip(&texts).filter(|(_, text)| text.is_none()).map(|(one, _)| one.id);
    let missing: Vec<VnfInstanceId> = missing.collect();
    let mut rendered = HashMap::new();
    if !missing.is_empty() {
        for instance in api.store.instances(list.project(), &missing).await? {
            rendered.insert(instance.id, api.instance_cache.render(edition, selection, &instance)?);
        }
    }
    let text = move |(one, text): (&'a Listed, Option<Bytes>)| Some((one, text.or_else(|| rendered.remove(&one.id))?));
    Ok(listed.iter().zip(texts).filter_map(text))
}

/// `POST /vnf_instances`.
#[utoipa::path(post, path = "/vnf_instances", tag = "vnf_instances", request_body = CreateVnfRequest,
    responses((status = 201, body = v2::VnfInstance), (status = 409, description = "The quota of the project is used up", body = ProblemDetails), (status = 422, description = "No such VNFD", body = ProblemDetails)))]
pub async fn create(
    api: web::Data<Api>,
    edition: Edition,
    Json(body): Json<CreateVnfRequest>,
) -> Result<HttpResponse, ApiError> {
    created(&api, edition, &api.acceptor().create(body).await?)
}

/// 201 with the VNF instance.
pub(super) fn created(api: &Api, edition: Edition, instance: &VnfInstance) -> Result<HttpResponse, ApiError> {
    let location = format!("{}{}/vnf_instances/{}", api.public_url, edition.root(), instance.id);
    let text = api.instance_cache.render(edition, &Selection::ALL, instance)?;
    Ok(HttpResponse::Created().insert_header((LOCATION, location)).content_type(ContentType::json()).body(text))
}

/// `GET /vnf_instances/{id}`.
#[utoipa::path(get, path = "/vnf_instances/{id}", tag = "vnf_instances", params(("id" = String, Path)),
    responses((status = 200, body = v2::VnfInstance), (status = 404, body = ProblemDetails)))]
pub async fn show(api: web::Data<Api>, edition: Edition, Id(id): Id<VnfInstanceId>) -> Result<HttpResponse, ApiError> {
    let version = api.store.instance_version(&api.caller.project, id).await.map_err(store_error(id))?;
    let (version, text) = match api.instance_cache.get(edition, &Selection::ALL, id, version) {
        Some(text) => (version, text),
        None => {
            let instance = api.store.instance(&api.caller.project, id).await.map_err(store_error(id))?;
            (instance.version, api.instance_cache.render(edition, &Selection::ALL, &instance)?)
        }
    };
    let etag = (ETAG, format!("\"{version}\""));
    Ok(HttpResponse::Ok().insert_header(etag).content_type(ContentType::json()).body(text))
}

/// `PATCH /vnf_instances/{id}`.
#[utoipa::path(patch, path = "/vnf_instances/{id}", tag = "vnf_instances", params(("id" = String, Path)),
    request_body(content = v2::VnfInfoModificationRequest, content_type = "application/merge-patch+json"),
    responses((status = 202, description = "Accepted; Location is the op occurrence"), (status = 403, description = "The policy of the VIM refuses the namespace or a kind", body = ProblemDetails), (status = 409, body = ProblemDetails), (status = 412, body = ProblemDetails)))]
pub async fn modify(
    api: web::Data<Api>,
    edition: Edition,
    Id(id): Id<VnfInstanceId>,
    request: HttpRequest,
    Json(mut patch): Json<Map<String, Value>>,
) -> Result<HttpResponse, ApiError> {
    if let (Edition::V1, Some(connections)) = (edition, patch.get_mut("vimConnectionInfo")) {
        v1::connection_map(connections);
    }
    let op = api.acceptor().modify(id, patch, if_match(&request).as_deref()).await?;
    Ok(accepted(&api, edition, op))
}

/// The versions in `If-Match`; `None` without the header and for `*`. A tag that does not come from Gybe matches no version.
fn if_match(request: &HttpRequest) -> Option<Vec<i64>> {
    let mut headers = request.headers().get_all(IF_MATCH).peekable();
    headers.peek()?;
    let tags: Vec<&str> =
        headers.flat_map(|value| value.to_str().unwrap_or_default().split(',')).map(str::trim).collect();
    let version = |tag: &&str| tag.trim_start_matches("W/").trim_matches('"').parse().ok();
    (tags != ["*"]).then(|| tags.iter().filter_map(version).collect())
}

/// `DELETE /vnf_instances/{id}`.
#[utoipa::path(delete, path = "/vnf_instances/{id}", tag = "vnf_instances", params(("id" = String, Path)),
    responses((status = 204), (status = 409, body = ProblemDetails), (status = 412, body = ProblemDetails)))]
pub async fn remove(
    api: web::Data<Api>,
    Id(id): Id<VnfInstanceId>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let versions = if_match(&request);
    api.store.delete_instance(&api.caller.project, id, versions.as_deref()).await.map_err(|error| match error {
        StoreError::OtherVersion => changed().into(),
        StoreError::Stale => problem!(
            ProblemType::Conflict,
            "VNF instance {id} is {state}: terminate it first",
            id = id.to_string(),
            state = "INSTANTIATED",
        )
        .into(),
        StoreError::InUse => problem!(
            ProblemType::InUse,
            "an instantiation of VNF instance {id} was failed and may have left objects: terminate it first, which removes them",
            id = id.to_string(),
        )
        .into(),
        other => store_error(id)(other),
    })?;
    api.instance_cache.remove(id);
    Ok(HttpResponse::NoContent().finish())
}

/// `POST /vnf_instances/{id}/instantiate`.
#[utoipa::path(post, path = "/vnf_instances/{id}/instantiate", tag = "vnf_instances", params(("id" = String, Path)),
    request_body = v2::InstantiateVnfRequest,
    responses((status = 202, description = "Accepted; Location is the op occurrence"), (status = 403, description = "The namespace belongs to another project, the VIM's credential may not get it, or the policy of the VIM refuses the namespace or a kind", body = ProblemDetails), (status = 409, body = ProblemDetails), (status = 422, body = ProblemDetails)))]
pub async fn instantiate(
    api: web::Data<Api>,
    load: web::Data<Load>,
    http: HttpRequest,
    edition: Edition,
    Id(id): Id<VnfInstanceId>,
    Instantiate(sent): Instantiate,
) -> Result<HttpResponse, ApiError> {
    // The cluster and Keystone are asked before the answer.
    let _share = api.tenancy.is_some().then(|| load::third_party(&load, &http, &api.caller)).transpose()?;
    let op = api.acceptor().instantiate(id, sent).await?;
    Ok(accepted(&api, edition, op))
}

/// `POST /vnf_instances/{id}/scale`.
#[utoipa::path(post, path = "/vnf_instances/{id}/scale", tag = "vnf_instances", params(("id" = String, Path)),
    request_body = ScaleVnfRequest,
    responses((status = 202, description = "Accepted; Location is the op occurrence"), (status = 403, description = "The policy of the VIM refuses the namespace or a kind", body = ProblemDetails), (status = 409, body = ProblemDetails), (status = 422, body = ProblemDetails)))]
pub async fn scale(
    api: web::Data<Api>,
    edition: Edition,
    Id(id): Id<VnfInstanceId>,
    sent: Sent<ScaleVnfRequest>,
) -> Result<HttpResponse, ApiError> {
    let op = api.acceptor().scale(id, &sent).await?;
    Ok(accepted(&api, edition, op))
}

/// `POST /vnf_instances/{id}/scale_to_level`.
#[utoipa::path(post, path = "/vnf_instances/{id}/scale_to_level", tag = "vnf_instances", params(("id" = String, Path)),
    request_body = ScaleVnfToLevelRequest,
    responses((status = 202, description = "Accepted; Location is the op occurrence"), (status = 403, description = "The policy of the VIM refuses the namespace or a kind", body = ProblemDetails), (status = 404, description = "Also if the VNF has no scaling aspects", body = ProblemDetails), (status = 409, body = ProblemDetails), (status = 422, body = ProblemDetails)))]
pub async fn scale_to_level(
    api: web::Data<Api>,
    edition: Edition,
    Id(id): Id<VnfInstanceId>,
    sent: Sent<ScaleVnfToLevelRequest>,
) -> Result<HttpResponse, ApiError> {
    let op = api.acceptor().scale_to_level(id, &sent).await?;
    Ok(accepted(&api, edition, op))
}

/// `POST /vnf_instances/{id}/heal`.
#[utoipa::path(post, path = "/vnf_instances/{id}/heal", tag = "vnf_instances", params(("id" = String, Path)),
    request_body = HealVnfRequest,
    responses((status = 202, description = "Accepted; Location is the op occurrence"), (status = 403, description = "The policy of the VIM refuses the namespace or a kind", body = ProblemDetails), (status = 409, body = ProblemDetails), (status = 422, body = ProblemDetails)))]
pub async fn heal(
    api: web::Data<Api>,
    edition: Edition,
    Id(id): Id<VnfInstanceId>,
    sent: Sent<HealVnfRequest>,
) -> Result<HttpResponse, ApiError> {
    let op = api.acceptor().heal(id, &sent).await?;
    Ok(accepted(&api, edition, op))
}

/// `POST /vnf_instances/{id}/sync`.
///
/// An extension of Gybe: brings back the objects that drifted, one by one, and restarts no pod that is right. The operation is a HEAL whose
/// `operationParams` has the request as `gybe:sync`.
#[utoipa::path(post, path = "/vnf_instances/{id}/sync", tag = "vnf_instances", params(("id" = String, Path)),
    request_body = SyncVnfRequest,
    responses((status = 202, description = "Accepted; Location is the op occurrence"), (status = 403, description = "The VIM's credential may not get or patch the objects", body = ProblemDetails), (status = 409, body = ProblemDetails), (status = 422, body = ProblemDetails), (status = 504, description = "The cluster does not answer", body = ProblemDetails)))]
pub async fn sync(
    api: web::Data<Api>,
    load: web::Data<Load>,
    http: HttpRequest,
    edition: Edition,
    Id(id): Id<VnfInstanceId>,
    sent: Sent<SyncVnfRequest>,
) -> Result<HttpResponse, ApiError> {
    let _share = load::third_party(&load, &http, &api.caller)?;
    let op = api.acceptor().sync(id, &sent, &*api.observer).await?;
    Ok(accepted(&api, edition, op))
}

/// `POST /vnf_instances/{id}/operate`.
#[utoipa::path(post, path = "/vnf_instances/{id}/operate", tag = "vnf_instances", params(("id" = String, Path)),
    request_body = OperateVnfRequest,
    responses((status = 202, description = "Accepted; Location is the op occurrence"), (status = 403, description = "The policy of the VIM refuses the namespace or a kind", body = ProblemDetails), (status = 409, body = ProblemDetails), (status = 422, body = ProblemDetails)))]
pub async fn operate(
    api: web::Data<Api>,
    edition: Edition,
    Id(id): Id<VnfInstanceId>,
    sent: Sent<OperateVnfRequest>,
) -> Result<HttpResponse, ApiError> {
    let op = api.acceptor().operate(id, &sent).await?;
    Ok(accepted(&api, edition, op))
}

/// `POST /vnf_instances/{id}/change_vnfpkg`, which later editions call `change_current_vnfpkg`: both are served.
#[utoipa::path(post, path = "/vnf_instances/{id}/change_vnfpkg", tag = "vnf_instances", params(("id" = String, Path)),
    request_body = v2::ChangeCurrentVnfPkgRequest,
    responses((status = 202, description = "Accepted; Location is the op occurrence"), (status = 403, description = "The policy of the VIM refuses the namespace or a kind", body = ProblemDetails), (status = 409, body = ProblemDetails), (status = 422, body = ProblemDetails)))]
pub async fn change_vnfpkg(
    api: web::Data<Api>,
    edition: Edition,
    Id(id): Id<VnfInstanceId>,
    sent: Sent<v2::ChangeCurrentVnfPkgRequest>,
) -> Result<HttpResponse, ApiError> {
    let op = api.acceptor().change_vnfpkg(id, sent).await?;
    Ok(accepted(&api, edition, op))
}

/// `POST /vnf_instances/{id}/terminate`.
#[utoipa::path(post, path = "/vnf_instances/{id}/terminate", tag = "vnf_instances", params(("id" = String, Path)),
    request_body = TerminateVnfRequest,
    responses((status = 202, description = "Accepted; Location is the op occurrence"), (status = 409, body = ProblemDetails), (status = 422, body = ProblemDetails)))]
pub async fn terminate(
    api: web::Data<Api>,
    edition: Edition,
    Id(id): Id<VnfInstanceId>,
    sent: Sent<TerminateVnfRequest>,
) -> Result<HttpResponse, ApiError> {
    let op = api.acceptor().terminate(id, &sent).await?;
    Ok(accepted(&api, edition, op))
}
