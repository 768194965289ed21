//! `/tenancy/v1/projects/{id}/metering`, an extension of Gybe: what a project had in a range of time, as JSON or CSV.

use std::fmt::Write as _;

use actix_web::web::Query;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use utoipa::{IntoParams, ToSchema};

use crate::api::context::Api;
use crate::api::negotiate::accepts;
use crate::api::page;
use crate::api::tenancy::visible_project;
use crate::domain::metering::{MeteringRecord, TimeRange, csv_field};
use crate::domain::problem::{Problem, ProblemType, problem};
use crate::error::{ApiError, internal};
use crate::sol003::common::ProblemDetails;
use crate::store::PageCursor;

/// The media types of the resource.
const JSON: &str = "application/json";
const CSV: &str = "text/csv";

/// The query.
#[derive(Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct MeteringQuery {
    /// The begin of the range, inclusively (RFC 3339). By default 30 days before its end.
    from: Option<String>,
    /// The end of the range, exclusively (RFC 3339). By default now.
    to: Option<String>,
    /// The position of the page, from the link of the one before.
    nextpage_opaque_marker: Option<String>,
}

/// What a project had in an interval of time, cut at the range of the request.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct MeteredInterval {
    /// The record, which may reach beyond the range.
    id: String,
    project_id: String,
    /// The id of the VIM, or its address.
    vim_id: String,
    namespace: String,
    vnf_instance_id: String,
    /// `vnf`, `vnfc`, `vcpu_milli` (thousandths of a CPU that the manifests request) or `memory_mib`.
    resource_type: &'static str,
    quantity: u64,
    /// Inclusively.
    from: String,
    /// Exclusively.
    to: String,
    /// Whether the project still has it.
    is_open: bool,
    /// The quantity times the milliseconds from `from` to `to`.
    quantity_milliseconds: u64,
}

impl MeteredInterval {
    fn new(record: &MeteringRecord, cut: TimeRange) -> Result<Self, ApiError> {
        let text = |time: OffsetDateTime| time.format(&Rfc3339).map_err(|error| internal(&error));
        Ok(Self {
            id: record.id.to_string(),
            project_id: record.project.0.clone(),
            vim_id: record.vim.clone(),
            namespace: record.namespace.clone(),
            vnf_instance_id: record.instance.to_string(),
            resource_type: record.resource.as_str(),
            quantity: record.quantity,
            from: text(cut.from)?,
            to: text(cut.to)?,
            is_open: record.to.is_none(),
            quantity_milliseconds: cut.product(record.quantity),
        })
    }

    fn append_csv(&self, csv: &mut String) {
        let texts = [&self.id, &self.project_id, &self.vim_id, &self.namespace, &self.vnf_instance_id];
        for text in texts {
            csv.push_str(&csv_field(text));
            csv.push(',');
        }
        // Writing to a string cannot fail.
        let _ = write!(
            csv,
            "{},{},{},{},{},{}\r\n",
            self.resource_type, self.quantity, self.from, self.to, self.is_open, self.quantity_milliseconds
        );
    }
}

const HEADER: &str =
    "id,projectId,vimId,namespace,vnfInstanceId,resourceType,quantity,from,to,isOpen,quantityMilliseconds\r\n";

/// `GET /tenancy/v1/projects/{id}/metering`: what the project had, from records that operations open and close. A page has at most as many
/// as lists have.
#[utoipa::path(get, path = "/tenancy/v1/projects/{id}/metering", tag = "projects", params(("id" = String, Path), MeteringQuery),
    responses((status = 200, description = "The intervals, by their begin; Link leads to the next page", content((Vec<MeteredInterval> = "application/json"), (String = "text/csv"))),
        (status = 400, body = ProblemDetails), (status = 404, description = "It is not the caller's", body = ProblemDetails), (status = 406, body = ProblemDetails)))]
pub async fn metering(
    api: web::Data<Api>,
    request: HttpRequest,
    id: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    let project = visible_project(&api, id.into_inner())?;
    let (takes_json, takes_csv) = (accepts(request.headers(), JSON), accepts(request.headers(), CSV));
    if !takes_json && !takes_csv {
        let text =
            "the Accept header excludes application/json and text/csv, the media types of this resource: accept one";
        return Err(Problem::new(ProblemType::NotAcceptable, text).into());
    }
    let now = api.clock.now();
    let (range, after) = read(request.query_string(), now)?;
    let mut records = api.store.metering_records(&project, range, after, api.page_size + 1).await?;
    let mut response = HttpResponse::Ok();
    response.insert_header(("Vary", "Accept"));
    page::cut(&api, &request, &mut records, |record| PageCursor::of(record.from, record.id), &mut response);
    let cut = records.iter().filter_map(|record| Some(MeteredInterval::new(record, range.cut(record, now)?)));
    let intervals = cut.collect::<Result<Vec<_>, _>>()?;
    if takes_json {
        return Ok(response.json(intervals));
    }
    let mut csv = HEADER.to_owned();
    intervals.iter().for_each(|interval| interval.append_csv(&mut csv));
    Ok(response.content_type("text/csv; charset=utf-8").body(csv))
}

fn read(query: &str, now: OffsetDateTime) -> Result<(TimeRange, Option<PageCursor>), Problem> {
    let query = Query::<MeteringQuery>::from_query(query).map_err(|_| {
        Problem::bad_request("the query can't be read; supported: from, to and nextpage_opaque_marker, each once")
    })?;
    let MeteringQuery { from, to, nextpage_opaque_marker } = query.into_inner();
    let time = |parameter: &str, text: Option<String>| {
        text.map(|text| {
            OffsetDateTime::parse(&text, &Rfc3339).map_err(|_| {
                problem!(
                    ProblemType::BadRequest,
                    "{parameter} '{value}' is not a time of RFC 3339, such as 2026-11-30T12:00:00Z or 2026-11-30T13:00:00%2B01:00",
                    parameter = parameter,
                    value = text,
                )
            })
        })
        .transpose()
    };
    let range = TimeRange::new(time("from", from)?, time("to", to)?, now)?;
    Ok((range, nextpage_opaque_marker.as_deref().map(page::cursor).transpose()?))
}
