//! Audit: [`Pending`] records each request that changes something, or was to and was refused, where callers are authenticated;
//! `GET /audit/v1/records` lists the records. [`super::authorize`] keeps a [`Pending`] record when the answer is ready and before it
//! is sent: a client that has its answer has its record.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::HeaderValue;
use actix_web::{HttpMessage as _, HttpRequest, HttpResponse, web};
use quick_cache::sync::Cache;
use serde::Serialize;
use time::OffsetDateTime;
use tokio::time::Instant;
use utoipa::ToSchema;

use crate::api::access::RequestId;
use crate::api::context::Api;
use crate::api::list::List;
use crate::clock::{Ids as _, System};
use crate::domain::audit::{AuditRecord, bounded, is_recorded};
use crate::domain::caller::{Caller, Role};
use crate::error::ApiError;
use crate::sol003::common::{ListParameters, ProblemDetails};
use crate::store::attributes::audit as attributes;
use crate::store::{Page, PageCursor};
use crate::traces;

/// The target of the lines of the log.
const AUDIT: &str = "gybe::audit";

/// A record, as the list shows it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Record {
    id: String,
    /// When the answer was ready.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    time: OffsetDateTime,
    /// The project of the caller. Absent: nobody whom Gybe knows sent the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    project_id: Option<String>,
    /// The caller.
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    /// How the caller was authenticated.
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_method: Option<&'static str>,
    /// The address from which the request came.
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<String>,
    http_method: String,
    /// The pattern of the path.
    route: String,
    /// The path, with the identifiers of the resources.
    path: String,
    /// The resource or operation that the request created.
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<String>,
    /// The HTTP status of the answer.
    status: u16,
    /// `X-Request-Id` of the answer.
    request_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
}

impl Record {
    fn new(record: &AuditRecord) -> Self {
        let caller = record.caller.as_ref();
        Self {
            id: record.id.to_string(),
            time: record.time,
            project_id: caller.map(|caller| caller.project.0.clone()),
            subject: caller.map(|caller| caller.subject.clone()),
            role: caller.and_then(|caller| caller.role).map(Role::as_str),
            auth_method: caller.map(|caller| caller.method.as_str()),
            peer: record.peer.clone(),
            http_method: record.http_method.clone(),
            route: record.route.clone(),
            path: record.path.clone(),
            location: record.location.clone(),
            status: record.status,
            request_id: record.request_id.clone(),
            trace_id: record.trace_id.clone(),
        }
    }
}

/// `GET /audit/v1/records`: those of the caller's project, or with `all_projects` those of all, also of requests without a known
/// caller.
#[utoipa::path(get, path = "/audit/v1/records", tag = "audit", params(ListParameters),
    responses((status = 200, description = "The records, oldest first; Link leads to the next page", body = Vec<Record>), (status = 400, body = ProblemDetails), (status = 403, description = "all_projects, and the caller is no admin", body = ProblemDetails)))]
pub async fn list(api: web::Data<Api>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let list = List::read(&api, &request, &attributes::MEMBERS, &[])?;
    let project = list.project();
    let fetch = async |page: &Page<'_>| api.store.audit_records(project, page).await;
    let cursor = |record: &AuditRecord| PageCursor::of(record.time, record.id);
    let (elements, last) = list.gather(fetch, cursor, |_| None, Record::new).await?;
    Ok(list.response(&elements, last))
}

/// Limits the records of refused requests of a sender, so that nobody fills the database with them. All senders whom nobody knows count as
/// one.
pub struct RefusalLimit(Cache<String, (Instant, u32)>);

/// Records of refused requests of a sender within [`WINDOW`].
const REFUSALS: u32 = 20;
const WINDOW: Duration = Duration::from_secs(10);
/// Senders that are counted; those that were not refused for the longest time are forgotten.
const SENDERS: usize = 1000;

impl Default for RefusalLimit {
    fn default() -> Self {
        Self(Cache::new(SENDERS))
    }
}

impl RefusalLimit {
    /// Whether one more record is within the rate.
    fn has_room(&self, caller: Option<&Caller>) -> bool {
        let sender = caller.map_or_else(String::new, |caller| format!("{} {}", caller.project.0, caller.subject));
        let window = self.0.get(&sender).filter(|(begun, _)| begun.elapsed() < WINDOW);
        let (begun, count) = window.unwrap_or_else(|| (Instant::now(), 0));
        self.0.insert(sender, (begun, count + 1));
        count < REFUSALS
    }
}

/// A request that is to be recorded when its answer is ready.
pub struct Pending {
    api: web::Data<Api>,
    /// Without time, status and location.
    record: AuditRecord,
}

impl Pending {
    /// The record of `request`; `None` if requests of its method are not recorded. `caller` is `None` for somebody unknown. A process
    /// without the API has nothing that could be changed.
    pub fn of(request: &HttpRequest, caller: Option<&Caller>) -> Option<Self> {
        let api = request.app_data::<web::Data<Api>>().filter(|_| is_recorded(request.method().as_str()))?;
        // A traceparent is version, trace, span and flags, with dashes between them.
        let trace = traces::traceparent().and_then(|parent| parent.split('-').nth(1).map(str::to_owned));
        let record = AuditRecord {
            id: System.uuid(),
            time: api.clock.now(),
            caller: caller.cloned(),
            peer: request.peer_addr().map(|address| address.ip().to_canonical().to_string()),
            http_method: bounded(request.method().as_str()),
            route: request.match_pattern().unwrap_or_default(),
            path: bounded(request.path()),
            location: None,
            status: 0,
            request_id: request_id(request),
            trace_id: trace,
        };
        Some(Self { api: api.clone(), record })
    }

    /// Records the request and its answer. A record that the database does not take, or that is beyond the rate of refused requests, is
    /// in the log alone.
    pub async fn keep(self, status: StatusCode, location: Option<&HeaderValue>) {
        let Self { api, mut record } = self;
        let location = location.and_then(|value| value.to_str().ok());
        record.location = location.map(|location| bounded(location.strip_prefix(&api.public_url).unwrap_or(location)));
        (record.time, record.status) = (api.clock.now(), status.as_u16());
        log(&record);
        let is_refused = matches!(status, StatusCode::FORBIDDEN | StatusCode::SERVICE_UNAVAILABLE);
        let is_refused = is_refused || record.caller.is_none();
        if is_refused && !api.refusal_limit.has_room(record.caller.as_ref()) {
            return;
        }
        if let Err(error) = api.store.add_audit_record(&record).await {
            tracing::error!(
                audit.id = %record.id,
                error = &error as &dyn std::error::Error,
                "the audit record was not stored; the line before has it"
            );
        }
    }
}

fn request_id(request: &HttpRequest) -> String {
    let extensions = request.extensions();
    let id = extensions.get::<RequestId>().and_then(|id| id.0.to_str().ok());
    id.unwrap_or_default().to_owned()
}

fn log(record: &AuditRecord) {
    let AuditRecord { caller, http_method, path, status, .. } = record;
    let subject = caller.as_ref().map_or("-", |caller| &caller.subject);
    let project = caller.as_ref().map_or("-", |caller| &caller.project.0);
    let auth_method = caller.as_ref().map(|caller| caller.method.as_str());
    tracing::info!(
        target: AUDIT,
        {
            audit.id = %record.id,
            audit.subject = subject,
            audit.project = project,
            audit.auth_method = auth_method,
            audit.peer = record.peer,
            audit.location = record.location,
            http.method = http_method,
            http.path = path,
            http.status = status
        },
        "{subject} of project {project}: {http_method} {path} {status}"
    );
}
