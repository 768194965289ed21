//! `/tenancy/v1/namespaces`, an extension of Gybe: namespaces that belong to projects. Administrators make and delete them, members see
//! those of their project. [`crate::lcm::namespaces`] does the work.

use std::collections::BTreeMap;

use actix_web::web::Query;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};

use crate::api::body::{Id, Json};
use crate::api::context::Api;
use crate::api::load::{self, Load};
use crate::api::page;
use crate::api::tenancy::visible_project;
use crate::domain::caller::Role;
use crate::domain::ids::{NamespaceId, ProjectId, VimId};
use crate::domain::namespace::Namespace;
use crate::domain::problem::{Problem, ProblemType, problem};
use crate::domain::project_namespace::{NamespaceSettings, NamespaceState, ProjectNamespace, ProjectServiceAccount};
use crate::error::ApiError;
use crate::lcm::namespaces::{Namespaces, WantedNamespace};
use crate::sol003::common::ProblemDetails;
use crate::store::{PageCursor, StoreError};

/// A namespace to be made or adopted.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateNamespace {
    /// A VIM of the caller's project, or of the project.
    vim_id: String,
    name: String,
    project_id: String,
    /// Labels of the Namespace, such as those of pod security.
    #[serde(default)]
    labels: BTreeMap<String, String>,
    /// `spec.hard` of a ResourceQuota, such as `{"limits.cpu": "8"}`.
    #[serde(default)]
    resource_quota: BTreeMap<String, String>,
    /// Whether a NetworkPolicy denies all traffic, in and out, that no other policy allows.
    #[serde(default)]
    isolate: bool,
    /// Gets a role in the namespace, by a RoleBinding.
    service_account: Option<ServiceAccountOfProject>,
}

/// The ServiceAccount of a project.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ServiceAccountOfProject {
    name: String,
    /// The namespace that it lives in; by default the new one.
    namespace: Option<String>,
    /// The ClusterRole that it gets in the new namespace; by default `admin`.
    cluster_role: Option<String>,
}

/// A namespace of a project.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct NamespaceOfProject {
    id: String,
    vim_id: String,
    name: String,
    project_id: String,
    /// `metadata.uid` of the Namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<String>,
    /// Whether the Namespace was there before. It stays when this is deleted.
    is_adopted: bool,
    /// PENDING: the request that made it did not get to its end; send it again. READY. DELETING: send the DELETE again.
    state: &'static str,
    labels: BTreeMap<String, String>,
    resource_quota: BTreeMap<String, String>,
    isolate: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_account: Option<ServiceAccountOfProject>,
    created_by: String,
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    created_at: OffsetDateTime,
}

impl From<ProjectNamespace> for NamespaceOfProject {
    fn from(namespace: ProjectNamespace) -> Self {
        let NamespaceSettings { labels, resource_quota, isolate, service_account } = namespace.settings;
        Self {
            id: namespace.id.to_string(),
            vim_id: namespace.vim.to_string(),
            name: namespace.name.into(),
            project_id: namespace.project.0,
            is_adopted: namespace.uid.is_some() && !namespace.is_made,
            uid: namespace.uid,
            state: namespace.state.as_str(),
            labels,
            resource_quota,
            isolate,
            service_account: service_account.map(|account| ServiceAccountOfProject {
                name: account.name,
                namespace: Some(account.namespace.into()),
                cluster_role: Some(account.cluster_role),
            }),
            created_by: namespace.created_by,
            created_at: namespace.created_at,
        }
    }
}

impl CreateNamespace {
    fn wanted(self, api: &Api) -> Result<WantedNamespace, Problem> {
        let name = |member: &str, text: String| {
            Namespace::try_from(text).map_err(|error| {
                problem!(ProblemType::BadRequest, "{member}: {reason}", member = member, reason = error.to_string())
            })
        };
        let vim = self.vim_id.parse::<VimId>().map_err(|_| Problem::bad_request("vimId must be a UUID"))?;
        let namespace = name("name", self.name)?;
        let project = visible_project(api, self.project_id)
            .map_err(|_| Problem::bad_request("projectId must have 1 to 255 bytes and no control characters"))?;
        let service_account = self.service_account.map(|account| {
            let home =
                account.namespace.map_or_else(|| Ok(namespace.clone()), |it| name("serviceAccount.namespace", it));
            let cluster_role = account.cluster_role.unwrap_or_else(|| "admin".to_owned());
            Ok::<_, Problem>(ProjectServiceAccount { name: account.name, namespace: home?, cluster_role })
        });
        let settings = NamespaceSettings {
            labels: self.labels,
            resource_quota: self.resource_quota,
            isolate: self.isolate,
            service_account: service_account.transpose()?,
        };
        Ok(WantedNamespace { vim, name: namespace, project, settings })
    }
}

/// The query of the list.
#[derive(Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct NamespaceQuery {
    /// Show those of this project. Without it, an admin sees all.
    #[serde(rename = "projectId")]
    project_id: Option<String>,
    /// The position of the page, from the link of the one before.
    nextpage_opaque_marker: Option<String>,
}

/// `POST /tenancy/v1/namespaces`: makes the Namespace, or adopts the one that exists. A request that failed half-way is finished by the
/// same request.
#[utoipa::path(post, path = "/tenancy/v1/namespaces", tag = "namespaces", request_body = CreateNamespace,
    responses((status = 201, body = NamespaceOfProject), (status = 400, body = ProblemDetails), (status = 403, description = "The VIM's credential may not do it", body = ProblemDetails),
        (status = 409, description = "It names another project, has VNFs of one, or is being deleted; or namespaces belong to nobody here", body = ProblemDetails), (status = 422, body = ProblemDetails)))]
pub async fn create(
    api: web::Data<Api>,
    load: web::Data<Load>,
    request: HttpRequest,
    Json(wanted): Json<CreateNamespace>,
) -> Result<HttpResponse, ApiError> {
    let wanted = wanted.wanted(&api)?;
    let _share = load::third_party(&load, &request, &api.caller)?;
    let made = namespaces(&api)?.make(wanted).await?;
    let location = format!("{}/tenancy/v1/namespaces/{}", api.public_url, made.id);
    Ok(HttpResponse::Created().insert_header(("Location", location)).json(NamespaceOfProject::from(made)))
}

/// `GET /tenancy/v1/namespaces`: those of the caller's project; an admin's list has those of all, or of `projectId`.
#[utoipa::path(get, path = "/tenancy/v1/namespaces", tag = "namespaces", params(NamespaceQuery),
    responses((status = 200, description = "The namespaces, oldest first; Link leads to the next page", body = Vec<NamespaceOfProject>), (status = 400, body = ProblemDetails)))]
pub async fn list(api: web::Data<Api>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let query = Query::<NamespaceQuery>::from_query(request.query_string());
    let query = query.map_err(|_| {
        Problem::bad_request("the query can't be read; supported: projectId and nextpage_opaque_marker, each once")
    })?;
    let NamespaceQuery { project_id, nextpage_opaque_marker } = query.into_inner();
    let project = match project_id {
        Some(id) => Some(visible_project(&api, id)?),
        None => own_unless_admin(&api).cloned(),
    };
    let after = nextpage_opaque_marker.as_deref().map(page::cursor).transpose()?;
    let mut shown = api.store.project_namespaces(project.as_ref(), after, api.page_size + 1).await?;
    let mut response = HttpResponse::Ok();
    page::cut(
        &api,
        &request,
        &mut shown,
        |namespace| PageCursor::of(namespace.created_at, namespace.id.0),
        &mut response,
    );
    Ok(response.json(shown.into_iter().map(NamespaceOfProject::from).collect::<Vec<_>>()))
}

/// `GET /tenancy/v1/namespaces/{id}`.
#[utoipa::path(get, path = "/tenancy/v1/namespaces/{id}", tag = "namespaces", params(("id" = String, Path)),
    responses((status = 200, body = NamespaceOfProject), (status = 404, body = ProblemDetails)))]
pub async fn show(api: web::Data<Api>, Id(id): Id<NamespaceId>) -> Result<HttpResponse, ApiError> {
    Ok(HttpResponse::Ok().json(NamespaceOfProject::from(one(&api, id).await?)))
}

/// `DELETE /tenancy/v1/namespaces/{id}`: deletes a Namespace that Gybe made. An adopted one stays, without the annotation and the objects
/// that it got.
#[utoipa::path(delete, path = "/tenancy/v1/namespaces/{id}", tag = "namespaces", params(("id" = String, Path)),
    responses((status = 204, description = "It is gone"), (status = 202, description = "Kubernetes is deleting it: send the request again", body = NamespaceOfProject), (status = 404, body = ProblemDetails), (status = 409, description = "VNF instances are in it", body = ProblemDetails)))]
pub async fn remove(
    api: web::Data<Api>,
    load: web::Data<Load>,
    request: HttpRequest,
    Id(id): Id<NamespaceId>,
) -> Result<HttpResponse, ApiError> {
    let namespace = one(&api, id).await?;
    let _share = load::third_party(&load, &request, &api.caller)?;
    let shown = ProjectNamespace { state: NamespaceState::Deleting, ..namespace.clone() };
    if namespaces(&api)?.remove(namespace).await? {
        return Ok(HttpResponse::NoContent().finish());
    }
    Ok(HttpResponse::Accepted().json(NamespaceOfProject::from(shown)))
}

/// `POST /tenancy/v1/namespaces/{id}/resync`: follows the annotation of the Namespace, which somebody has changed, while no VNF
/// instances are in it.
#[utoipa::path(post, path = "/tenancy/v1/namespaces/{id}/resync", tag = "namespaces", params(("id" = String, Path)),
    responses((status = 200, body = NamespaceOfProject), (status = 404, body = ProblemDetails), (status = 409, description = "VNF instances are in it", body = ProblemDetails), (status = 422, body = ProblemDetails)))]
pub async fn resync(
    api: web::Data<Api>,
    load: web::Data<Load>,
    request: HttpRequest,
    Id(id): Id<NamespaceId>,
) -> Result<HttpResponse, ApiError> {
    let namespace = one(&api, id).await?;
    let _share = load::third_party(&load, &request, &api.caller)?;
    let moved = namespaces(&api)?.resync(namespace).await?;
    Ok(HttpResponse::Ok().json(NamespaceOfProject::from(moved)))
}

/// The namespace, if the caller may see it.
async fn one(api: &Api, id: NamespaceId) -> Result<ProjectNamespace, ApiError> {
    api.store.project_namespace(own_unless_admin(api), id).await.map_err(|error| match error {
        StoreError::NotFound => Problem::not_found("namespace", &id.to_string()).into(),
        other => ApiError::from(other),
    })
}

/// The project whose namespaces the caller sees; `None`: all.
fn own_unless_admin(api: &Api) -> Option<&ProjectId> {
    (!api.caller.has(Role::Admin)).then_some(&api.caller.project)
}

/// The use case, if namespaces belong to projects here.
fn namespaces(api: &Api) -> Result<Namespaces<'_>, Problem> {
    let tenancy = api.tenancy.as_deref().ok_or_else(|| {
        Problem::conflict("namespaces belong to nobody: this Gybe has no table [tenancy] in its configuration file")
    })?;
    Ok(Namespaces {
        store: &*api.store,
        keeper: &*api.namespace_keeper,
        tenancy,
        clock: &*api.clock,
        ids: &*api.ids,
        caller: &api.caller,
    })
}
