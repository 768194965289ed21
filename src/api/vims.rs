//! `/v1.0/vims`: registering clusters, in Tacker's form.
//!
//! Registering asks the API server who the credential belongs to, which every authenticated user may: no right beyond
//! that is needed, so that a ServiceAccount bound to one namespace can be registered.

use std::time::Duration;

use actix_web::web::Query;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};

use crate::api::Api;
use crate::api::body::{Id, Json};
use crate::domain::ids::VimId;
use crate::domain::problem::Problem;
use crate::domain::secret::masked_members;
use crate::domain::vim::{Vim, split_secrets};
use crate::error::{ApiError, internal};
use crate::lcm::modify;
use crate::sol003::common::ProblemDetails;
use crate::sol003::vim::{CreateVim, Envelope, List, Parameters, UpdateVim, Vim as Wire};
use crate::store::StoreError;

fn missing(id: VimId) -> impl Fn(StoreError) -> ApiError {
    move |error| match error {
        StoreError::NotFound => Problem::not_found("VIM", &id.to_string()).into(),
        StoreError::InUse => Problem::conflict(format!(
            "VIM {id} is in use: a VNF instance's vimConnectionInfo names it; terminate or change that instance first"
        ))
        .into(),
        StoreError::Duplicate("default VIM") => {
            Problem::conflict("the project has a default VIM already: set its is_default to false first").into()
        }
        other => other.into(),
    }
}

/// Fills in who the credential belongs to, as the API server says; 422 if it can't be asked.
async fn identify(api: &Api, vim: &mut Vim) -> Result<(), ApiError> {
    let access = vim.access().map_err(|text| Problem::unprocessable(format!("auth_cred: {text}")))?;
    let user = api.driver.who_am_i(&access).await;
    let user = user.map_err(|error| {
        Problem::unprocessable(format!("the VIM was not registered, as it could not be used: {error}"))
    })?;
    vim.user_name = Some(user);
    Ok(())
}

/// `GET /v1.0/vims`. Tacker's clients find a VIM by `?id=` or `?name=`, and take the first that is listed.
#[utoipa::path(get, path = "/v1.0/vims", tag = "vims", params(Parameters),
    responses((status = 200, body = List), (status = 400, body = ProblemDetails)))]
pub async fn list(api: web::Data<Api>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let wanted = Wanted::read(request.query_string())?;
    let vims = api.store.vims(&api.project).await?;
    let shown = vims.iter().map(|vim| serde_json::to_value(Wire::from(vim)));
    let shown: Vec<Value> = shown.collect::<Result<_, _>>().map_err(|error| internal(&error))?;
    let listed: Vec<Value> = shown.into_iter().filter(|vim| wanted.matches(vim)).map(|vim| wanted.cut(vim)).collect();
    Ok(HttpResponse::Ok().json(json!({ "vims": listed })))
}

/// What the query of the list asks for.
struct Wanted {
    /// Attributes with the values they are to have.
    conditions: Vec<(String, String)>,
    /// The attributes to show; all if none is named.
    fields: Vec<String>,
}

impl Wanted {
    /// 400 for a parameter that there is not: it would otherwise seem that every VIM was meant.
    fn read(query: &str) -> Result<Self, Problem> {
        let pairs = Query::<Vec<(String, String)>>::from_query(query);
        let pairs = pairs.map_err(|_| Problem::bad_request("the query can't be read"))?.into_inner();
        let (fields, conditions): (Vec<_>, Vec<_>) = pairs.into_iter().partition(|(name, _)| name == "fields");
        if let Some((other, _)) = conditions.iter().find(|(name, _)| !CONDITIONS.contains(&name.as_str())) {
            let all = CONDITIONS.join(", ");
            return Err(Problem::bad_request(format!(
                "the list of VIMs has no parameter '{other}': there are fields, {all}"
            )));
        }
        let fields = fields.iter().flat_map(|(_, names)| names.split(',')).map(str::to_owned).collect();
        Ok(Self { conditions, fields })
    }

    fn matches(&self, vim: &Value) -> bool {
        let has = |name: &str, wanted: &str| match &vim[name] {
            Value::Bool(value) => wanted.eq_ignore_ascii_case(if *value { "true" } else { "false" }),
            value => value.as_str() == Some(wanted),
        };
        self.conditions.iter().all(|(name, wanted)| has(name, wanted))
    }

    fn cut(&self, mut vim: Value) -> Value {
        if let (Value::Object(members), false) = (&mut vim, self.fields.is_empty()) {
            members.retain(|name, _| self.fields.contains(name));
        }
        vim
    }
}

/// What a VIM can be found by.
const CONDITIONS: [&str; 9] =
    ["id", "name", "type", "description", "auth_url", "tenant_id", "is_default", "shared", "status"];

/// `POST /v1.0/vims`.
#[utoipa::path(post, path = "/v1.0/vims", tag = "vims", request_body = Envelope<CreateVim>,
    responses((status = 201, body = Envelope<Wire>), (status = 409, body = ProblemDetails), (status = 422, description = "The cluster can't be used", body = ProblemDetails)))]
pub async fn create(
    api: web::Data<Api>,
    Json(Envelope { vim: request }): Json<Envelope<CreateVim>>,
) -> Result<HttpResponse, ApiError> {
    if request.vim_type != "kubernetes" {
        return Err(
            Problem::unprocessable(format!("type '{}' is not supported; use kubernetes", request.vim_type)).into()
        );
    }
    let (access_info, secrets) = split_secrets(request.auth_cred);
    let project = request.vim_project.as_ref().and_then(|project| project.get("name")).and_then(Value::as_str);
    let mut vim = Vim {
        id: VimId(api.ids.uuid()),
        project_id: api.project.clone(),
        name: request.name,
        description: request.description.unwrap_or_default(),
        vim_type: request.vim_type,
        endpoint: request.auth_url,
        access_info,
        secrets,
        vim_project: project.unwrap_or("default").to_owned(),
        extra: masked_members(request.extra.unwrap_or_default()),
        is_default: request.is_default.unwrap_or(false),
        user_name: None,
        created_at: api.clock.now(),
        updated_at: None,
    };
    refuse_long_name(&vim)?;
    identify(&api, &mut vim).await?;
    api.store.create_vim(&vim).await.map_err(missing(vim.id))?;
    Ok(HttpResponse::Created().json(Envelope { vim: Wire::from(&vim) }))
}

/// `GET /v1.0/vims/{id}`.
#[utoipa::path(get, path = "/v1.0/vims/{id}", tag = "vims", params(("id" = String, Path)),
    responses((status = 200, body = Envelope<Wire>), (status = 404, body = ProblemDetails)))]
pub async fn show(api: web::Data<Api>, Id(id): Id<VimId>) -> Result<HttpResponse, ApiError> {
    let vim = api.store.vim(&api.project, id).await.map_err(missing(id))?;
    Ok(HttpResponse::Ok().json(Envelope { vim: Wire::from(&vim) }))
}

/// `PUT /v1.0/vims/{id}`.
#[utoipa::path(put, path = "/v1.0/vims/{id}", tag = "vims", params(("id" = String, Path)), request_body = Envelope<UpdateVim>,
    responses((status = 200, body = Envelope<Wire>), (status = 404, body = ProblemDetails), (status = 422, body = ProblemDetails)))]
pub async fn update(
    api: web::Data<Api>,
    Id(id): Id<VimId>,
    Json(Envelope { vim: request }): Json<Envelope<UpdateVim>>,
) -> Result<HttpResponse, ApiError> {
    for _ in 0..UPDATES {
        let mut vim = api.store.vim(&api.project, id).await.map_err(missing(id))?;
        let seen = vim.updated_at;
        vim.name = request.name.clone().unwrap_or(vim.name);
        vim.description = request.description.clone().unwrap_or(vim.description);
        vim.is_default = request.is_default.unwrap_or(vim.is_default);
        vim.extra = request.extra.clone().map_or(vim.extra, masked_members);
        // Later than what was seen, by whatever clock that was written: it tells whether another request came between.
        let now = api.clock.now();
        vim.updated_at = Some(seen.map_or(now, |seen| now.max(seen + Duration::from_millis(1))));
        refuse_long_name(&vim)?;
        if let Some(auth_cred) = &request.auth_cred {
            (vim.access_info, vim.secrets) = split_secrets(auth_cred.clone());
            identify(&api, &mut vim).await?;
        }
        match api.store.update_vim(&vim, seen).await {
            Ok(()) => return Ok(HttpResponse::Ok().json(Envelope { vim: Wire::from(&vim) })),
            // Another request came between: what it has written is changed.
            Err(StoreError::Stale) => {}
            Err(error) => return Err(missing(id)(error)),
        }
    }
    Err(Problem::conflict(format!("VIM {id} is changed by others all the time: try again")).into())
}

/// A change is tried so often, if others are always faster.
const UPDATES: usize = 4;
/// The longest name, in characters, as of Tacker. PostgreSQL's index takes no text of any length.
const LONGEST_NAME: usize = 255;

fn refuse_long_name(vim: &Vim) -> Result<(), Problem> {
    modify::refuse_long("name", &vim.name, LONGEST_NAME)
}

/// `DELETE /v1.0/vims/{id}`.
#[utoipa::path(delete, path = "/v1.0/vims/{id}", tag = "vims", params(("id" = String, Path)),
    responses((status = 204), (status = 409, description = "An instance uses it", body = ProblemDetails)))]
pub async fn remove(api: web::Data<Api>, Id(id): Id<VimId>) -> Result<HttpResponse, ApiError> {
    api.store.delete_vim(&api.project, id).await.map_err(missing(id))?;
    Ok(HttpResponse::NoContent().finish())
}
