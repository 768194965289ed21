//! Audit: [`keep`] records each request that changes something, or was to and was refused, where callers are authenticated;
//! `GET /audit/v1/records` lists the records. [`super::authorize`] calls [`keep`] when the answer is ready and before it is
//! sent, so that whoever has an answer has a record.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use actix_web::dev::ServiceResponse;
use actix_web::http::header::LOCATION;
use actix_web::{HttpMessage as _, HttpRequest, HttpResponse, web};
use serde::Serialize;
use time::OffsetDateTime;
use tokio::time::Instant;
use utoipa::ToSchema;

use crate::api::access::RequestId;
use crate::api::context::Api;
use crate::api::list::List;
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
    responses((status = 200, description = "The records, oldest first; Link leads to the next page", body = Vec<Record>), (status = 400, body = ProblemDetails)))]
pub async fn list(api: web::Data<Api>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let list = List::read(&api, &request, &attributes::MEMBERS, &[])?;
    let project = list.project();
    let fetch = async |page: &Page<'_>| api.store.audit_records(project, page).await;
    let cursor = |record: &AuditRecord| PageCursor::of(record.time, record.id);
    let (elements, last) = list.gather(fetch, cursor, Record::new).await?;
    Ok(list.response(&elements, last))
}

/// Senders whom nobody knows: their refused requests are recorded up to a rate, so that they can't fill the database.
#[derive(Default)]
pub struct UnknownSenders(Mutex<Option<(Instant, u32)>>);

/// Records of unknown senders within [`WINDOW`].
const UNKNOWN_RECORDS: u32 = 20;
const WINDOW: Duration = Duration::from_secs(10);

impl UnknownSenders {
    /// Whether one more record is within the rate.
    fn has_room(&self) -> bool {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, count) = match &mut *window {
            Some(open) if open.0.elapsed() < WINDOW => open,
            other => other.insert((Instant::now(), 0)),
        };
        *count += 1;
        *count <= UNKNOWN_RECORDS
    }
}

/// Records the request of this answer, if requests of its method are recorded. `caller` is `None` for a request of somebody
/// unknown. A record that the database does not take, or that is beyond the rate of unknown senders, is in the log alone.
pub async fn keep<B>(api: &Api, caller: Option<&Caller>, answer: &ServiceResponse<B>) {
    let request = answer.request();
    if !is_recorded(request.method().as_str()) {
        return;
    }
    let record = record(api, caller, answer);
    let subject = caller.map_or("-", |caller| &caller.subject);
    let project = caller.map_or("-", |caller| &caller.project.0);
    let auth_method = caller.map(|caller| caller.method.as_str());
    let AuditRecord { http_method, path, status, .. } = &record;
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
    if caller.is_none() && !api.unknown_senders.has_room() {
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

fn record<B>(api: &Api, caller: Option<&Caller>, answer: &ServiceResponse<B>) -> AuditRecord {
    let request = answer.request();
    let location = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    // A traceparent is version, trace, span and flags, with dashes between them.
    let trace = traces::traceparent().and_then(|parent| parent.split('-').nth(1).map(str::to_owned));
    AuditRecord {
        id: api.ids.uuid(),
        time: api.clock.now(),
        caller: caller.cloned(),
        peer: request.peer_addr().map(|address| address.ip().to_canonical().to_string()),
        http_method: bounded(request.method().as_str()),
        route: request.match_pattern().unwrap_or_default(),
        path: bounded(request.path()),
        location: location.map(|location| bounded(location.strip_prefix(&api.public_url).unwrap_or(location))),
        status: answer.status().as_u16(),
        request_id: request.extensions().get::<RequestId>().map(|id| id.0.clone()).unwrap_or_default(),
        trace_id: trace,
    }
}
