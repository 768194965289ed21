//! `/vnf_instances/{id}/drift`, an extension of Gybe. The handler reads the cluster while the client waits.

use actix_web::{HttpRequest, HttpResponse, web};

use crate::api::body::Id;
use crate::api::context::Api;
use crate::api::load::{self, Load};
use crate::blocking::blocking;
use crate::domain::evidence::Evidence;
use crate::domain::ids::VnfInstanceId;
use crate::domain::mask::Mask;
use crate::domain::operate::expected;
use crate::domain::problem::{Problem, ProblemType, problem};
use crate::domain::resource::Resource;
use crate::domain::secret::Secret;
use crate::error::ApiError;
use crate::infra::Scope;
use crate::lcm::access::access;
use crate::lcm::cluster_questions::answered;
use crate::sol003::common::ProblemDetails;
use crate::sol003::drift::{Drift, ProjectDrift};
use crate::store::StoreError;

/// `GET /vnf_instances/{id}/drift`.
///
/// The differences of each object from its intent, and who made them. An extension of Gybe. While an operation of the instance
/// runs, its remaining changes show as drift.
#[utoipa::path(get, path = "/vnf_instances/{id}/drift", tag = "vnf_instances", params(("id" = String, Path)),
    responses((status = 200, description = "The differences of the objects from their intent, found by a dry run of applying it again", body = Drift),
        (status = 403, description = "The VIM's credential may not get or patch the objects", body = ProblemDetails),
        (status = 404, body = ProblemDetails), (status = 409, description = "NOT_INSTANTIATED and without objects", body = ProblemDetails),
        (status = 504, description = "The cluster does not answer", body = ProblemDetails)))]
pub async fn show(
    api: web::Data<Api>,
    load: web::Data<Load>,
    request: HttpRequest,
    Id(id): Id<VnfInstanceId>,
) -> Result<HttpResponse, ApiError> {
    let instance = api.store.instance(&api.caller.project, id).await.map_err(|error| match error {
        StoreError::NotFound => Problem::not_found("VNF instance", &id.to_string()).into(),
        other => ApiError::from(other),
    })?;
    let resources = api.store.resources(id).await?;
    // An INSTANTIATE that has not completed may have objects already, or have left some.
    let namespace = instance.metadata.namespace.clone();
    let Some(namespace) = namespace.filter(|_| instance.instantiated.is_some() || !resources.is_empty()) else {
        return Err(problem!(
            ProblemType::Conflict,
            "VNF instance {id} is {state} and has no objects: instantiate it first",
            id = id.to_string(),
            state = instance.instantiation_state(),
        )
        .into());
    };
    let access = access(&*api.store, &api.caller.project, instance.home().map(|(_, connection)| connection)).await?;
    let resources: Vec<Resource> = expected(&instance, &resources).cloned().collect();
    let _share = load::third_party(&load, &request, &api.caller)?;
    let scope = Scope { access, namespace, instance: id, project: api.caller.project.clone(), writer: None };
    let questions = async {
        let objects = api.observer.drift(&scope, &resources).await;
        (objects.map_err(Problem::from), project_drift(&api, &scope).await)
    };
    let (objects, project) = answered(&scope.access.endpoint, questions).await?;
    let project = project?;
    let Scope { access, namespace, .. } = scope;
    let objects = blocking(move || {
        let secrets = access.credential.secrets();
        let mask = Mask::with_credentials(&resources, secrets.iter().map(Secret::expose));
        let mut objects = objects.map_err(|problem| Evidence::default().attach_to(problem, &mask))?;
        objects.iter_mut().for_each(|object| object.mask(&mask));
        Ok(objects)
    });
    Ok(HttpResponse::Ok().json(Drift::new(namespace.as_str(), project, objects.await?)))
}

/// The project of the namespace when the VNF came there, and now; `None` if nobody asked then, or asks now.
async fn project_drift(api: &Api, scope: &Scope) -> Result<Option<ProjectDrift>, ApiError> {
    let Some(tenancy) = &api.tenancy else { return Ok(None) };
    let Some(intended) = api.store.namespace_project(scope.instance).await? else { return Ok(None) };
    let namespace = tenancy.read(&scope.access, &scope.namespace).await?;
    let actual = namespace.and_then(|namespace| tenancy.rules.project_of(&scope.namespace, &namespace).ok());
    Ok(Some(ProjectDrift::new(intended.project, actual)))
}
