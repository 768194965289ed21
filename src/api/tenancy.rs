//! `/tenancy/v1/projects/{id}`, an extension of Gybe: what a project has and may have. Members see their own project, admins all.

use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::body::Json;
use crate::api::context::Api;
use crate::domain::caller::{Role, is_name};
use crate::domain::ids::ProjectId;
use crate::domain::problem::{Problem, ProblemType, problem};
use crate::domain::quota::{Limit, OwnQuotas, QuotaResource, Quotas};
use crate::error::ApiError;
use crate::sol003::common::ProblemDetails;
use crate::store::{NamespaceUsage, ProjectUsage};

/// The quotas of a project: -1 is unlimited.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ProjectQuotas {
    /// VNF instances, instantiated or not.
    #[schema(minimum = -1)]
    vnf_instances: i64,
    /// VNF packages, with or without content.
    #[schema(minimum = -1)]
    packages: i64,
    /// Bytes of the content of onboarded packages.
    #[schema(minimum = -1)]
    package_bytes: i64,
    /// Operations in STARTING, PROCESSING or ROLLING_BACK.
    #[schema(minimum = -1)]
    operations: i64,
    /// Subscriptions of both APIs.
    #[schema(minimum = -1)]
    subscriptions: i64,
    /// Registered VIMs.
    #[schema(minimum = -1)]
    vims: i64,
}

impl From<Quotas> for ProjectQuotas {
    fn from(quotas: Quotas) -> Self {
        let [vnf_instances, packages, package_bytes, operations, subscriptions, vims] = quotas.0.map(i64::from);
        Self { vnf_instances, packages, package_bytes, operations, subscriptions, vims }
    }
}

/// New quotas of a project. -1 is unlimited; a member that is absent or null is as configured.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SetProjectQuotas {
    #[schema(minimum = -1)]
    vnf_instances: Option<i64>,
    #[schema(minimum = -1)]
    packages: Option<i64>,
    #[schema(minimum = -1)]
    package_bytes: Option<i64>,
    #[schema(minimum = -1)]
    operations: Option<i64>,
    #[schema(minimum = -1)]
    subscriptions: Option<i64>,
    #[schema(minimum = -1)]
    vims: Option<i64>,
}

impl SetProjectQuotas {
    fn own(&self) -> Result<OwnQuotas, Problem> {
        let numbers =
            [self.vnf_instances, self.packages, self.package_bytes, self.operations, self.subscriptions, self.vims];
        let mut own = OwnQuotas::default();
        for (resource, (limit, number)) in QuotaResource::ALL.into_iter().zip(own.0.iter_mut().zip(numbers)) {
            *limit = number.map(Limit::try_from).transpose().map_err(|error| {
                problem!(
                    ProblemType::BadRequest,
                    "{member}: {number} is not a limit: send -1 (unlimited), or a number that is not below 0",
                    member = resource.as_str(),
                    number = error.0,
                )
            })?;
        }
        Ok(own)
    }
}

/// What a project has.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ProjectUsageReport {
    project_id: String,
    /// VNF instances of the project, instantiated or not.
    vnf_instances: u64,
    /// VNFCs in the namespaces below.
    vnfcs: u64,
    packages: u64,
    package_bytes: u64,
    /// Operations in STARTING, PROCESSING or ROLLING_BACK.
    operations: u64,
    subscriptions: u64,
    vims: u64,
    /// What the manifests request for the VNFCs, as metered at the last operation of each VNF.
    requests: RequestsReport,
    quotas: ProjectQuotas,
    /// The namespaces with VNFs that are booked to the project, by name; at most 1000.
    namespaces: Vec<NamespaceReport>,
}

/// Requests for resources of the cluster.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RequestsReport {
    /// Thousandths of a CPU.
    cpu_milli: u64,
    #[serde(rename = "memoryMiB")]
    memory_mib: u64,
}

/// The VNFs of a project in a namespace.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct NamespaceReport {
    name: String,
    /// `metadata.uid` of the Namespace, if namespaces belong to projects.
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<String>,
    vnf_instances: u64,
    vnfcs: u64,
}

impl ProjectUsageReport {
    fn new(project: ProjectId, usage: ProjectUsage, quotas: Quotas) -> Self {
        let of = |resource| usage.counted.of(resource);
        Self {
            project_id: project.0,
            vnf_instances: of(QuotaResource::VnfInstances),
            vnfcs: usage.namespaces.iter().map(|namespace| namespace.vnfcs).sum(),
            packages: of(QuotaResource::Packages),
            package_bytes: of(QuotaResource::PackageBytes),
            operations: of(QuotaResource::Operations),
            subscriptions: of(QuotaResource::Subscriptions),
            vims: of(QuotaResource::Vims),
            requests: RequestsReport { cpu_milli: usage.cpu_milli, memory_mib: usage.memory_mib },
            quotas: quotas.into(),
            namespaces: usage
                .namespaces
                .into_iter()
                .map(|NamespaceUsage { name, uid, vnf_instances, vnfcs }| NamespaceReport {
                    name,
                    uid,
                    vnf_instances,
                    vnfcs,
                })
                .collect(),
        }
    }
}

/// The project of a path, which the caller may see: its own, or any if it is an admin. Gybe does not know which projects exist, so an
/// admin may also name one that has nothing.
///
/// # Errors
/// 404.
pub fn visible_project(api: &Api, id: String) -> Result<ProjectId, Problem> {
    if is_name(&id) && (id == api.caller.project.0 || api.caller.has(Role::Admin)) {
        return Ok(ProjectId(id));
    }
    Err(Problem::not_found("project", &id))
}

/// `GET /tenancy/v1/projects/{id}/usage`: what the project has, over all its namespaces, and its quotas.
#[utoipa::path(get, path = "/tenancy/v1/projects/{id}/usage", tag = "projects", params(("id" = String, Path, description = "The project, as its callers' tokens name it")),
    responses((status = 200, body = ProjectUsageReport), (status = 404, description = "It is not the caller's", body = ProblemDetails)))]
pub async fn usage(api: web::Data<Api>, id: web::Path<String>) -> Result<HttpResponse, ApiError> {
    let project = visible_project(&api, id.into_inner())?;
    let (usage, quotas) = (api.store.project_usage(&project).await?, api.store.quotas(&project).await?);
    Ok(HttpResponse::Ok().json(ProjectUsageReport::new(project, usage, quotas)))
}

/// `GET /tenancy/v1/projects/{id}/quotas`: the limits that hold for the project.
#[utoipa::path(get, path = "/tenancy/v1/projects/{id}/quotas", tag = "projects", params(("id" = String, Path)),
    responses((status = 200, body = ProjectQuotas), (status = 404, description = "It is not the caller's", body = ProblemDetails)))]
pub async fn quotas(api: web::Data<Api>, id: web::Path<String>) -> Result<HttpResponse, ApiError> {
    let project = visible_project(&api, id.into_inner())?;
    Ok(HttpResponse::Ok().json(ProjectQuotas::from(api.store.quotas(&project).await?)))
}

/// `PUT /tenancy/v1/projects/{id}/quotas`: replaces the limits of the project. They may be below what it has: it then gets nothing
/// more.
#[utoipa::path(put, path = "/tenancy/v1/projects/{id}/quotas", tag = "projects", params(("id" = String, Path)), request_body = SetProjectQuotas,
    responses((status = 200, description = "The limits that hold now", body = ProjectQuotas), (status = 400, body = ProblemDetails), (status = 404, description = "No project can have that name", body = ProblemDetails)))]
pub async fn set_quotas(
    api: web::Data<Api>,
    id: web::Path<String>,
    Json(request): Json<SetProjectQuotas>,
) -> Result<HttpResponse, ApiError> {
    let project = visible_project(&api, id.into_inner())?;
    api.store.set_quotas(&project, &request.own()?).await?;
    Ok(HttpResponse::Ok().json(ProjectQuotas::from(api.store.quotas(&project).await?)))
}
