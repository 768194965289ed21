//! `/v1.0/vims`: registration of clusters, in Tacker's form.
//!
//! Registration asks the API server for the user name of the credential (SelfSubjectReview). Every authenticated user may do
//! that, so a ServiceAccount with rights in one namespace only can be registered.

use std::time::Duration;

use actix_web::web::Query;
use actix_web::{HttpRequest, HttpResponse, web};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Map, Value, json};

use crate::api::body::{Id, Json};
use crate::api::context::Api;
use crate::api::list::{ALL_PROJECTS, BATCH, all_projects};
use crate::api::load::{self, Load};
use crate::api::page;
use crate::domain::caller::Role;
use crate::domain::ids::VimId;
use crate::domain::impersonation::{Impersonation, ServiceAccount};
use crate::domain::problem::{Problem, ProblemType, QuotedValues, problem};
use crate::domain::secret::masked_members;
use crate::domain::share::read_only;
use crate::domain::text::check_length;
use crate::domain::vim::{SIMULATED, Vim, VimAccess, VimStatus, split_secrets};
use crate::domain::vim_policy::{MAX_ENTRIES, VimPolicy};
use crate::error::{ApiError, internal};
use crate::lcm::vim_move;
use crate::sol003::common::ProblemDetails;
use crate::sol003::vim::{CreateVim, Envelope, List, Parameters, Policy, UpdateVim, Vim as Wire};
use crate::store::{PageCursor, StoreError};

fn store_error(id: VimId) -> impl Fn(StoreError) -> ApiError {
    move |error| {
        let problem = match error {
            StoreError::NotFound => Problem::not_found("VIM", &id.to_string()),
            StoreError::InUse => problem!(
                ProblemType::InUse,
                "VIM {id} is in use: the vimConnectionInfo of a VNF instance names it; terminate or change that instance first",
                id = id.to_string(),
            ),
            StoreError::Duplicate("default VIM") => Problem::new(
                ProblemType::AlreadyExists,
                "the project has a default VIM already: set its is_default to false first",
            ),
            other => return other.into(),
        };
        problem.into()
    }
}

/// Asks the API server for the user name of the VIM's credential, and whether it may impersonate for each project. 422 if it does not answer, or refuses the credential: then the VIM
/// is `not` so, "registered" or "changed".
async fn identify(api: &Api, vim: &mut Vim, not: &str) -> Result<(), ApiError> {
    let unusable = |reason| {
        problem!(
            ProblemType::VimUnusable,
            "the VIM cannot be used and was not {outcome}: {reason}; correct auth_url or auth_cred",
            outcome = not,
            reason = reason,
        )
    };
    let access = vim.access().map_err(|reason| unusable(format!("auth_cred: {reason}")))?;
    let user = api.driver.who_am_i(&access).await.map_err(|error| unusable(error.to_string()))?;
    vim.user_name = Some(user);
    vim.status = VimStatus::Active;
    let accounts = vim.impersonate.iter().flat_map(Impersonation::iter);
    let checks = accounts.map(|(project, account)| {
        let access = VimAccess { impersonate: Some(account.clone()), ..access.clone() };
        async move {
            let checked = check_impersonation(api, &access, account).await;
            checked.map_err(|reason| unusable(format!("impersonate: project '{project}': {reason}")))
        }
    });
    let checks: Vec<_> = checks.collect();
    Ok(stream::iter(checks).buffer_unordered(IMPERSONATION_CHECKS).try_collect().await?)
}

/// Checks that the API server takes a request for one of the ServiceAccount. A proxy before it may remove the header that says so, and
/// the request would have the rights of the credential.
async fn check_impersonation(api: &Api, access: &VimAccess, account: &ServiceAccount) -> Result<(), String> {
    let user = api.driver.who_am_i(access).await.map_err(|error| error.to_string())?;
    if user == account.user_name() {
        return Ok(());
    }
    Err(format!(
        "a request that impersonates {account} reaches the API server as '{user}': is there a proxy between that removes the header \
         Impersonate-User?"
    ))
}

/// The `impersonate` of a request.
fn impersonation(given: Option<&Map<String, Value>>) -> Result<Option<Impersonation>, Problem> {
    given.map(Impersonation::parse).transpose().map_err(Problem::unprocessable)
}

/// `GET /v1.0/vims`. Tacker's clients find a VIM by `?id=` or `?name=`, and take the first that is listed.
#[utoipa::path(get, path = "/v1.0/vims", tag = "vims", params(Parameters),
    responses((status = 200, body = List), (status = 400, body = ProblemDetails), (status = 403, description = "all_projects, and the caller is no admin", body = ProblemDetails)))]
pub async fn list(api: web::Data<Api>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let query = VimQuery::read(&api, request.query_string())?;
    let (vims, last) = query.page(&api).await?;
    let mut response = HttpResponse::Ok();
    let mut body = json!({ "vims": vims });
    if let Some(last) = last {
        response.insert_header(page::next(&api.public_url, request.uri(), &last));
        // Tacker's clients look for the next page here.
        let href = page::next_uri(&api.public_url, request.uri(), &last);
        body["vims_links"] = json!([{ "rel": "next", "href": href }]);
    }
    Ok(response.json(body))
}

/// The query of the list.
struct VimQuery {
    /// Attributes and the values that a VIM must have.
    conditions: Vec<(String, String)>,
    /// The attributes to show; all if empty.
    fields: Vec<String>,
    /// The page begins after this VIM.
    after: Option<PageCursor>,
    all_projects: bool,
}

impl VimQuery {
    /// 400 for an unknown parameter: ignoring it would list every VIM. 403 as [`all_projects`].
    fn read(api: &Api, query: &str) -> Result<Self, Problem> {
        let pairs = Query::<Vec<(String, String)>>::from_query(query);
        let pairs = pairs
            .map_err(|_| Problem::bad_request("the query string is not valid: percent-encode it as a form"))?
            .into_inner();
        let (markers, pairs): (Vec<_>, Vec<_>) = pairs.into_iter().partition(|(name, _)| name == page::MARKER);
        let (of_all, pairs): (Vec<_>, Vec<_>) = pairs.into_iter().partition(|(name, _)| name == ALL_PROJECTS);
        let (fields, conditions): (Vec<_>, Vec<_>) = pairs.into_iter().partition(|(name, _)| name == "fields");
        if let Some((other, _)) = conditions.iter().find(|(name, _)| !FILTERABLE_ATTRIBUTES.contains(&name.as_str())) {
            return Err(problem!(
                ProblemType::BadRequest,
                "unknown query parameter '{parameter}'; supported: {allowed}",
                parameter = other,
                allowed = ["fields", page::MARKER, ALL_PROJECTS]
                    .iter()
                    .chain(&FILTERABLE_ATTRIBUTES)
                    .collect::<QuotedValues>(),
            ));
        }
        let fields = fields.iter().flat_map(|(_, names)| names.split(',')).map(str::to_owned).collect();
        let after = markers.first().map(|(_, marker)| page::cursor(marker)).transpose()?;
        let of_all = of_all.iter().map(|(_, value)| all_projects(api, value)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { conditions, fields, after, all_projects: of_all.contains(&true) })
    }

    /// The VIMs of the page, and the position of the last one if there is a next page.
    async fn page(&self, api: &Api) -> Result<(Vec<Value>, Option<PageCursor>), ApiError> {
        let (mut shown, mut bytes, mut last, mut after) = (Vec::new(), 0, None, self.after);
        loop {
            let project = (!self.all_projects).then_some(&api.caller.project);
            let batch = api.store.vims(project, after, BATCH).await?;
            for vim in &batch {
                let position = PageCursor::of(vim.created_at, vim.id.0);
                let wire = serde_json::to_value(Wire::from(vim)).map_err(|error| internal(&error))?;
                if self.matches(&wire) {
                    if shown.len() == api.page_size || bytes > PAGE_BYTES {
                        return Ok((shown, last));
                    }
                    let wire = self.select(wire);
                    bytes += wire.to_string().len();
                    shown.push(wire);
                    last = Some(position);
                }
                after = Some(position);
            }
            if batch.len() < BATCH {
                return Ok((shown, None));
            }
        }
    }

    fn matches(&self, vim: &Value) -> bool {
        let has = |name: &str, expected: &str| match &vim[name] {
            Value::Bool(value) => expected.eq_ignore_ascii_case(if *value { "true" } else { "false" }),
            value => value.as_str() == Some(expected),
        };
        self.conditions.iter().all(|(name, expected)| has(name, expected))
    }

    fn select(&self, mut vim: Value) -> Value {
        if let (Value::Object(members), false) = (&mut vim, self.fields.is_empty()) {
            members.retain(|name, _| self.fields.contains(name));
        }
        vim
    }
}

/// The attributes that the list can be filtered by.
const FILTERABLE_ATTRIBUTES: [&str; 9] =
    ["id", "name", "type", "description", "auth_url", "tenant_id", "is_default", "shared", "status"];

/// `POST /v1.0/vims`.
#[utoipa::path(post, path = "/v1.0/vims", tag = "vims", request_body = Envelope<CreateVim>,
    responses((status = 201, body = Envelope<Wire>), (status = 403, description = "policy, and the caller is no manager", body = ProblemDetails), (status = 409, description = "The name is taken, or the quota of the project is used up", body = ProblemDetails), (status = 422, description = "The cluster cannot be used", body = ProblemDetails)))]
pub async fn create(
    api: web::Data<Api>,
    load: web::Data<Load>,
    http: HttpRequest,
    Json(Envelope { vim: request }): Json<Envelope<CreateVim>>,
) -> Result<HttpResponse, ApiError> {
    if request.vim_type == SIMULATED {
        return Err(problem!(
            ProblemType::Unprocessable,
            "a VIM of type '{vimType}' cannot be registered: `gybe serve --simulate` has one, named '{vimType}', that is ready to use",
            vimType = request.vim_type,
        )
        .into());
    }
    if request.vim_type != "kubernetes" {
        return Err(problem!(
            ProblemType::Unprocessable,
            "VIM type '{vimType}' is not supported; use {allowed}",
            vimType = request.vim_type,
            allowed = "kubernetes",
        )
        .into());
    }
    let policy = request.policy.map_or_else(|| Ok(VimPolicy::of_new_vim(&api.caller)), |it| policy(&api, it))?;
    let (access_info, secrets) = split_secrets(request.auth_cred);
    let project = request.vim_project.as_ref().and_then(|project| project.get("name")).and_then(Value::as_str);
    let mut vim = Vim {
        id: VimId(api.ids.uuid()),
        project_id: api.caller.project.clone(),
        name: request.name,
        description: request.description.unwrap_or_default(),
        vim_type: request.vim_type,
        endpoint: request.auth_url,
        access_info,
        secrets,
        impersonate: impersonation(request.impersonate.as_ref())?,
        vim_project: project.unwrap_or("default").to_owned(),
        extra: masked_members(request.extra.unwrap_or_default()),
        policy,
        shared: false,
        lent: None,
        is_default: request.is_default.unwrap_or(false),
        user_name: None,
        cluster_uid: None,
        status: VimStatus::Active,
        created_at: api.clock.now(),
        updated_at: None,
    };
    check_size(&vim)?;
    let _share = load::third_party(&load, &http, &api.caller)?;
    identify(&api, &mut vim, "registered").await?;
    vim.cluster_uid = vim_move::cluster_uid(&*api.observer, &vim).await;
    api.store.create_vim(&vim).await.map_err(store_error(vim.id))?;
    Ok(created(&vim))
}

/// 201 with the VIM.
pub(super) fn created(vim: &Vim) -> HttpResponse {
    HttpResponse::Created().json(Envelope { vim: Wire::from(vim) })
}

/// `GET /v1.0/vims/{id}`.
#[utoipa::path(get, path = "/v1.0/vims/{id}", tag = "vims", params(("id" = String, Path)),
    responses((status = 200, body = Envelope<Wire>), (status = 404, body = ProblemDetails)))]
pub async fn show(api: web::Data<Api>, Id(id): Id<VimId>) -> Result<HttpResponse, ApiError> {
    let vim = api.store.visible_vim(&api.caller.project, id).await.map_err(store_error(id))?;
    Ok(HttpResponse::Ok().json(Envelope { vim: Wire::from(&vim) }))
}

/// `PUT /v1.0/vims/{id}`.
#[utoipa::path(put, path = "/v1.0/vims/{id}", tag = "vims", params(("id" = String, Path)), request_body = Envelope<UpdateVim>,
    responses((status = 200, body = Envelope<Wire>), (status = 403, description = "policy or impersonate, and the caller is no manager; or the VIM is of another project", body = ProblemDetails), (status = 404, body = ProblemDetails),
        (status = 409, description = "The address is of another cluster", body = ProblemDetails), (status = 422, body = ProblemDetails)))]
pub async fn update(
    api: web::Data<Api>,
    load: web::Data<Load>,
    http: HttpRequest,
    Id(id): Id<VimId>,
    Json(Envelope { vim: request }): Json<Envelope<UpdateVim>>,
) -> Result<HttpResponse, ApiError> {
    refuse_shared(&api, id).await?;
    let waits = request.auth_cred.is_some() || request.auth_url.is_some() || request.impersonate.is_some();
    let _share = waits.then(|| load::third_party(&load, &http, &api.caller)).transpose()?;
    let policy = request.policy.map(|given| policy(&api, given)).transpose()?;
    if request.impersonate.is_some() {
        needs_manager(&api, "impersonate")?;
    }
    for _ in 0..MAX_UPDATE_ATTEMPTS {
        let mut vim = api.store.vim(&api.caller.project, id).await.map_err(store_error(id))?;
        let (former, read_version) = (vim.clone(), vim.updated_at);
        vim.name = request.name.clone().unwrap_or(vim.name);
        vim.description = request.description.clone().unwrap_or(vim.description);
        vim.is_default = request.is_default.unwrap_or(vim.is_default);
        vim.extra = request.extra.clone().map_or(vim.extra, masked_members);
        if let Some(given) = &request.impersonate {
            vim.impersonate = impersonation(given.as_ref())?;
        }
        vim.policy = policy.clone().unwrap_or(vim.policy);
        // The store compares `updated_at` to detect a concurrent update. So it must increase even if the clock of the previous
        // writer was ahead.
        let now = api.clock.now();
        vim.updated_at = Some(read_version.map_or(now, |read| now.max(read + Duration::from_millis(1))));
        let new_url = request.auth_url.as_ref().filter(|url| **url != vim.endpoint);
        vim.change_access(new_url.map(String::as_str), request.auth_cred.as_ref()).map_err(Problem::unprocessable)?;
        check_size(&vim)?;
        if request.auth_cred.is_some() || request.impersonate.as_ref().is_some_and(Option::is_some) {
            identify(&api, &mut vim, "changed").await?;
        }
        if request.auth_cred.is_some() {
            vim.cluster_uid = vim_move::check(&*api.store, &*api.observer, &former, &vim).await?;
        }
        match api.store.update_vim(&vim, read_version).await {
            Ok(()) => return Ok(HttpResponse::Ok().json(Envelope { vim: Wire::from(&vim) })),
            // Another request updated the VIM meanwhile: apply the change to the new version.
            Err(StoreError::Stale) => {}
            Err(error) => return Err(store_error(id)(error)),
        }
    }
    Err(problem!(
        ProblemType::ConcurrentChange,
        "other clients changed the VIM during each of {attempts} attempts: repeat the request",
        attempts = MAX_UPDATE_ATTEMPTS,
    )
    .into())
}

/// Refuses to change a VIM that another project shares.
///
/// # Errors
/// 403, and 404 for a VIM that is not visible.
async fn refuse_shared(api: &Api, id: VimId) -> Result<(), ApiError> {
    let vim = api.store.visible_vim(&api.caller.project, id).await.map_err(store_error(id))?;
    if vim.lent.is_some() { Err(read_only("VIM", &id.to_string()).into()) } else { Ok(()) }
}

/// Refuses callers who are no managers to set `member`, which limits what the members of projects may do in the VIM.
///
/// # Errors
/// 403.
fn needs_manager(api: &Api, member: &str) -> Result<(), Problem> {
    if api.caller.has(Role::Manager) {
        return Ok(());
    }
    Err(problem!(
        ProblemType::RoleMissing,
        "{parameter} needs the role {needed}: leave it out, or ask a manager of the project",
        parameter = member,
        needed = Role::Manager.as_str(),
    ))
}

/// The policy that a request sets. It holds for the members of the project, so they may not set it.
///
/// # Errors
/// 403 for callers who are no managers; 422 for too many entries, and for those that are no names.
fn policy(api: &Api, given: Policy) -> Result<VimPolicy, Problem> {
    needs_manager(api, "policy")?;
    for (name, list) in given.lists() {
        if list.as_ref().is_some_and(|list| list.len() > MAX_ENTRIES) {
            return Err(problem!(
                ProblemType::Unprocessable,
                "policy.{parameter} has more than {limit} entries",
                parameter = name,
                limit = MAX_ENTRIES,
            ));
        }
    }
    VimPolicy::try_from(given)
        .map_err(|error| problem!(ProblemType::Unprocessable, "policy: {reason}", reason = error.to_string()))
}

/// The most attempts to update a VIM while other clients update it.
const MAX_UPDATE_ATTEMPTS: usize = 4;
/// Impersonated ServiceAccounts of a VIM that the API server is asked about at a time.
const IMPERSONATION_CHECKS: usize = 8;
/// The longest name in characters, as in Tacker. PostgreSQL cannot index longer texts.
const LONGEST_NAME: usize = 255;

/// The longest description and URL.
const LONGEST_TEXT: usize = 4096;
/// The most bytes of `auth_cred` and `extra` together. A bundle of all public certificate authorities has some 200 KiB.
const MAX_VIM_BYTES: usize = 256 * 1024;
/// A page of the list with this many bytes is full.
const PAGE_BYTES: usize = 8 * 1024 * 1024;

/// Checks that the VIM is of a reasonable size: a project may have many, and lists show them.
fn check_size(vim: &Vim) -> Result<(), Problem> {
    check_length("name", &vim.name, LONGEST_NAME)?;
    check_length("description", &vim.description, LONGEST_TEXT)?;
    check_length("auth_url", &vim.endpoint, LONGEST_TEXT)?;
    check_length("vim_project.name", &vim.vim_project, LONGEST_NAME)?;
    let secrets: usize = vim.secrets.iter().map(|(name, secret)| name.len() + secret.expose().len()).sum();
    let public: usize =
        [&vim.access_info, &vim.extra].into_iter().map(|it| Value::from(it.clone()).to_string().len()).sum();
    if secrets + public > MAX_VIM_BYTES {
        return Err(problem!(
            ProblemType::Unprocessable,
            "auth_cred and extra have {size} bytes together, and may have {limit}",
            size = secrets + public,
            limit = MAX_VIM_BYTES,
        ));
    }
    Ok(())
}

/// `DELETE /v1.0/vims/{id}`.
#[utoipa::path(delete, path = "/v1.0/vims/{id}", tag = "vims", params(("id" = String, Path)),
    responses((status = 204), (status = 403, description = "Another project shares the VIM", body = ProblemDetails), (status = 409, description = "An instance uses it", body = ProblemDetails)))]
pub async fn remove(api: web::Data<Api>, Id(id): Id<VimId>) -> Result<HttpResponse, ApiError> {
    refuse_shared(&api, id).await?;
    api.store.delete_vim(&api.caller.project, id).await.map_err(store_error(id))?;
    Ok(HttpResponse::NoContent().finish())
}
