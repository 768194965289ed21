//! The query of a list: filter, selectors and page (SOL013 clauses 5.2 to 5.4). The handlers of all lists use it. A new
//! resource needs a table of its attributes in `crate::store::attributes`.

use actix_web::http::Uri;
use actix_web::http::header::ContentType;
use actix_web::web::{Bytes, Query};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use serde_json::Value;

use crate::api::context::Api;
use crate::api::page;
use crate::api::selectors::Selection;
use crate::domain::caller::Role;
use crate::domain::ids::ProjectId;
use crate::domain::problem::{Problem, ProblemType, QuotedValues, problem};
use crate::error::{ApiError, internal};
use crate::sol003::{Edition, Interface};
use crate::store::attributes::{self, Filter, Members};
use crate::store::{Page, PageCursor, StoreError};

/// The query parameters of a list.
const PARAMETERS: [&str; 7] =
    ["filter", "all_fields", "fields", "exclude_fields", "exclude_default", page::MARKER, ALL_PROJECTS];
/// The parameter with which an admin asks for the elements of all projects, an extension.
pub(super) const ALL_PROJECTS: &str = "all_projects";
/// The store reads at most this many elements at a time: an element may have hundreds of KiB.
pub const BATCH: usize = 128;
/// A page of this many bytes is full, whatever its number of elements.
const PAGE_BYTES: usize = 32 * 1024 * 1024;
/// The parameters that select attributes.
const SELECTORS: &[&str] = PARAMETERS.split_at(1).1.split_at(4).0;

/// A request for a list.
pub struct List<'a> {
    api: &'a Api,
    request: &'a HttpRequest,
    filter: Filter,
    after: Option<PageCursor>,
    all_projects: bool,
    /// Selects the attributes of each element.
    pub selection: Selection,
}

impl<'a> List<'a> {
    /// Reads the query of `request` for a resource with these attributes. A list shows `not_by_default` only on request.
    ///
    /// # Errors
    /// 400 for a query that cannot be read; 403 if the caller is no admin and asks for all projects.
    pub fn read(
        api: &'a Api,
        request: &'a HttpRequest,
        members: &'static Members,
        not_by_default: &[&str],
    ) -> Result<Self, Problem> {
        let parameters = parameters(request.uri())?;
        let value = |name: &str| parameters.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str());
        // Tacker shows all attributes without selectors. Some clients rely on it.
        let root = (request.app_data(), request.app_data());
        let as_tacker = api.profile.full_v1_lists && root == (Some(&Interface::Lifecycle), Some(&Edition::V1));
        let all_fields = as_tacker && !SELECTORS.iter().any(|name| value(name).is_some());
        let selector = |name: &str| if all_fields && name == "all_fields" { Some("") } else { value(name) };
        Ok(Self {
            api,
            request,
            filter: value("filter").map_or(Ok(Filter::default()), |text| attributes::parse_filter(text, members))?,
            after: value(page::MARKER).map(page::cursor).transpose()?,
            all_projects: value(ALL_PROJECTS).map_or(Ok(false), |value| all_projects(api, value))?,
            selection: Selection::read(selector, members, not_by_default)?,
        })
    }

    /// Adds a condition of the handler to the filter.
    ///
    /// # Errors
    /// The condition cannot be read: a defect.
    pub fn only(mut self, condition: &str, members: &Members) -> Result<Self, Problem> {
        self.filter.and(attributes::parse_filter(condition, members)?);
        Ok(self)
    }

    /// The project whose elements the list has; `None`: all projects.
    pub fn project(&self) -> Option<&'a ProjectId> {
        (!self.all_projects).then_some(&self.api.caller.project)
    }

    /// `text`, the JSON object of an element that `owner` has. In a list of all projects it names the owner.
    pub fn owned(&self, text: Bytes, owner: &ProjectId) -> Bytes {
        match text.strip_prefix(b"{") {
            Some(members) if self.all_projects => {
                let mut named = format!("{{\"{PROJECT}\":{},", Value::from(owner.0.as_str())).into_bytes();
                named.extend_from_slice(members);
                named.into()
            }
            _ => text,
        }
    }

    /// The page to read from the store. It has one element more than the response, which shows whether there is a next page.
    pub fn page(&self) -> Page<'_> {
        Page { filter: &self.filter, after: self.after, limit: self.api.page_size + 1 }
    }

    /// The elements of the page as JSON texts, and the cursor of the last one if there is a next page. Reads the store in
    /// batches of [`BATCH`]. `owner` is the project of an element that does not name it itself.
    ///
    /// # Errors
    /// Those of `fetch`; 500 if an element cannot be serialized: a defect.
    pub async fn gather<T, E: Serialize>(
        &self,
        fetch: impl AsyncFn(&Page<'_>) -> Result<Vec<T>, StoreError>,
        cursor: impl Fn(&T) -> PageCursor,
        owner: impl Fn(&T) -> Option<&ProjectId>,
        element: impl Fn(&T) -> E,
    ) -> Result<(Vec<Bytes>, Option<PageCursor>), ApiError> {
        let mut texts = PageTexts::new(self.api.page_size);
        loop {
            let page = self.page();
            let limit = (page.limit - texts.len()).min(BATCH);
            let batch = fetch(&Page { after: texts.last.or(page.after), limit, ..page }).await?;
            for one in &batch {
                if texts.is_full() {
                    return Ok(texts.with_next_page());
                }
                let text = self.selection.text(&element(one)).map_err(|error| internal(&error))?;
                let text = match owner(one) {
                    Some(owner) => self.owned(text, owner),
                    None => text,
                };
                texts.push(text, cursor(one));
            }
            if batch.len() < limit {
                return Ok(texts.last_page());
            }
        }
    }

    /// The response with these elements, and with the link to the page after `last`.
    pub fn response(&self, elements: &[Bytes], last: Option<PageCursor>) -> HttpResponse {
        let mut response = HttpResponse::Ok();
        if let Some(last) = last {
            response.insert_header(page::next(&self.api.public_url, self.request.uri(), &last));
        }
        response.content_type(ContentType::json()).body(array(elements))
    }
}

/// The attribute that names the project of an element in a list of all projects, an extension.
pub(super) const PROJECT: &str = "gybe:projectId";

/// Whether the list is to have the elements of all projects, which only an admin may see. `value` is that of `all_projects`.
///
/// # Errors
/// 403 for others, 400 for another value.
pub(super) fn all_projects(api: &Api, value: &str) -> Result<bool, Problem> {
    match value {
        "false" => Ok(false),
        "" | "true" if api.caller.has(Role::Admin) => Ok(true),
        "" | "true" => Err(problem!(
            ProblemType::RoleMissing,
            "{parameter} needs the role {needed}: leave it out to list what your project has",
            parameter = ALL_PROJECTS,
            needed = Role::Admin.as_str(),
        )),
        _ => Err(problem!(
            ProblemType::BadRequest,
            "{parameter} is '{value}', and must be true or false",
            parameter = ALL_PROJECTS,
            value = value,
        )),
    }
}

/// The JSON texts of a page's elements, in order.
pub struct PageTexts {
    page_size: usize,
    texts: Vec<Bytes>,
    bytes: usize,
    last: Option<PageCursor>,
}

impl PageTexts {
    /// An empty page of at most `page_size` elements.
    pub fn new(page_size: usize) -> Self {
        Self { page_size, texts: Vec::new(), bytes: 0, last: None }
    }

    fn len(&self) -> usize {
        self.texts.len()
    }

    /// Whether the next element belongs to the next page.
    pub fn is_full(&self) -> bool {
        self.len() >= self.page_size || self.bytes >= PAGE_BYTES
    }

    /// Adds the next element.
    pub fn push(&mut self, text: Bytes, cursor: PageCursor) {
        self.bytes += text.len();
        self.texts.push(text);
        self.last = Some(cursor);
    }

    /// The texts of a page that another page follows.
    pub fn with_next_page(self) -> (Vec<Bytes>, Option<PageCursor>) {
        (self.texts, self.last)
    }

    /// The texts of the last page.
    pub fn last_page(self) -> (Vec<Bytes>, Option<PageCursor>) {
        (self.texts, None)
    }
}

/// The decoded query parameters. Refuses unknown and repeated ones.
fn parameters(uri: &Uri) -> Result<Vec<(String, String)>, Problem> {
    let unreadable = |_| Problem::bad_request("the query string is not valid: percent-encode it as a form");
    let query = uri.query().unwrap_or_default();
    let mut parameters = Query::<Vec<(String, String)>>::from_query(query).map_err(unreadable)?.into_inner();
    for (name, _) in &mut parameters {
        // As `openstack vnflcm op list` spells it.
        if name == "exclude-fields" {
            "exclude_fields".clone_into(name);
        }
    }
    for (index, (name, _)) in parameters.iter().enumerate() {
        if !PARAMETERS.contains(&name.as_str()) {
            return Err(problem!(
                ProblemType::BadRequest,
                "unknown query parameter '{parameter}'; supported: {allowed}",
                parameter = name,
                allowed = QuotedValues::from_iter(PARAMETERS),
            ));
        }
        if parameters[..index].iter().any(|(other, _)| other == name) {
            return Err(problem!(
                ProblemType::BadRequest,
                "query parameter '{parameter}' is given twice: give it once",
                parameter = name,
            ));
        }
    }
    Ok(parameters)
}

fn array(texts: &[Bytes]) -> Vec<u8> {
    let mut array = Vec::with_capacity(texts.iter().map(|text| text.len() + 1).sum::<usize>() + 2);
    array.push(b'[');
    for (index, text) in texts.iter().enumerate() {
        if index > 0 {
            array.push(b',');
        }
        array.extend_from_slice(text);
    }
    array.push(b']');
    array
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<Vec<(String, String)>, Problem> {
        parameters(&format!("/vnf_instances?{query}").parse().unwrap())
    }

    #[test]
    fn decodes_parameters_as_forms() {
        let pairs = read("filter=%28eq%2Cid%2Ca+b%29&all_fields").unwrap();
        assert_eq!(pairs[0].1, "(eq,id,a b)");
        assert_eq!(pairs[1], ("all_fields".to_owned(), String::new()));
        assert!(read("").unwrap().is_empty());
    }

    #[test]
    fn rejects_unknown_and_repeated_parameters() {
        for (query, wrong) in
            [("attribute_not_exist=1", "attribute_not_exist"), ("filter=a&filter=b", "'filter' is given twice")]
        {
            let problem = read(query).unwrap_err();
            assert_eq!(problem.status, 400);
            assert!(problem.detail.contains(wrong), "{}", problem.detail);
        }
    }
}
