//! What a GET of a list asks for in its query: a filter, selectors, a page (SOL013 clauses 5.2 to 5.4). Used by the handlers of
//! all lists; a further resource needs its table of attributes (`crate::store::attributes`) and this.

use actix_web::http::Uri;
use actix_web::http::header::ContentType;
use actix_web::web::{Bytes, Query};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;

use crate::api::selectors::Selection;
use crate::api::{Api, page};
use crate::domain::problem::Problem;
use crate::error::{ApiError, internal};
use crate::sol003::{Edition, Interface};
use crate::store::attributes::{self, Filter, Members};
use crate::store::{Page, PageCursor, StoreError};

/// The parameters of a list.
const PARAMETERS: [&str; 6] = ["filter", "all_fields", "fields", "exclude_fields", "exclude_default", page::MARKER];
/// So many elements are read and held at a time: one may have hundreds of KiB.
pub const PART: usize = 128;
/// A page that has so many bytes gets no more elements, however many it might have.
const PAGE_BYTES: usize = 32 * 1024 * 1024;
/// Those of them that say what is shown of its elements.
const SELECTORS: &[&str] = PARAMETERS.split_at(1).1.split_at(4).0;

/// A list as it is asked for.
pub struct List<'a> {
    api: &'a Api,
    request: &'a HttpRequest,
    filter: Filter,
    after: Option<PageCursor>,
    /// What is shown of each element.
    pub selection: Selection,
}

impl<'a> List<'a> {
    /// Reads the query of `request` for a resource of these attributes, of which a list does not show `not_by_default`.
    ///
    /// # Errors
    /// 400 that says what is wrong with it.
    pub fn read(
        api: &'a Api,
        request: &'a HttpRequest,
        members: &'static Members,
        not_by_default: &[&str],
    ) -> Result<Self, Problem> {
        let parameters = parameters(request.uri())?;
        let value = |name: &str| parameters.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str());
        // Tacker's way, which some clients know nothing else of.
        let root = (request.app_data(), request.app_data());
        let whole = api.profile.full_v1_lists && root == (Some(&Interface::Lifecycle), Some(&Edition::V1));
        let whole = whole && !SELECTORS.iter().any(|name| value(name).is_some());
        let selector = |name: &str| if whole && name == "all_fields" { Some("") } else { value(name) };
        Ok(Self {
            api,
            request,
            filter: value("filter").map_or(Ok(Filter::default()), |text| attributes::filter(text, members))?,
            after: value(page::MARKER).map(page::place).transpose()?,
            selection: Selection::read(selector, members, not_by_default)?,
        })
    }

    /// Of these only those that match `condition` as well, a filter of our own.
    ///
    /// # Errors
    /// The condition is none, which is a defect.
    pub fn only(mut self, condition: &str, members: &Members) -> Result<Self, Problem> {
        self.filter.and(attributes::filter(condition, members)?);
        Ok(self)
    }

    /// The page to ask the store for: one more than a page has tells whether there is a next one.
    pub fn page(&self) -> Page<'_> {
        Page { filter: &self.filter, after: self.after, limit: self.api.page_size + 1 }
    }

    /// The elements of the page as texts, and the place of the last if there is a next page. The store is asked for a part
    /// of them after the other.
    ///
    /// # Errors
    /// What `fetch` says; 500 if an element can't be written as JSON, which is a defect.
    pub async fn gather<T, E: Serialize>(
        &self,
        fetch: impl AsyncFn(&Page<'_>) -> Result<Vec<T>, StoreError>,
        place: impl Fn(&T) -> PageCursor,
        element: impl Fn(&T) -> E,
    ) -> Result<(Vec<Bytes>, Option<PageCursor>), ApiError> {
        let mut texts = Texts::new(self.api.page_size);
        loop {
            let whole = self.page();
            let limit = (whole.limit - texts.len()).min(PART);
            let part = Page { after: texts.last.or(whole.after), limit, ..whole };
            let found = fetch(&part).await?;
            for one in &found {
                if texts.is_full() {
                    return Ok(texts.cut());
                }
                let text = self.selection.text(&element(one)).map_err(|error| internal(&error))?;
                texts.push(text, place(one));
            }
            if found.len() < limit {
                return Ok(texts.whole());
            }
        }
    }

    /// The answer: these elements, and the link to what comes after `last`.
    pub fn answer(&self, elements: &[Bytes], last: Option<PageCursor>) -> HttpResponse {
        let mut response = HttpResponse::Ok();
        if let Some(last) = last {
            response.insert_header(page::next(&self.api.public_url, self.request.uri(), &last));
        }
        response.content_type(ContentType::json()).body(array(elements))
    }
}

/// Texts of a page's elements, in their order.
pub struct Texts {
    page_size: usize,
    texts: Vec<Bytes>,
    bytes: usize,
    last: Option<PageCursor>,
}

impl Texts {
    /// None yet, of at most so many.
    pub fn new(page_size: usize) -> Self {
        Self { page_size, texts: Vec::new(), bytes: 0, last: None }
    }

    fn len(&self) -> usize {
        self.texts.len()
    }

    /// Whether what comes next is on the next page.
    pub fn is_full(&self) -> bool {
        self.len() >= self.page_size || self.bytes >= PAGE_BYTES
    }

    /// Adds the next element.
    pub fn push(&mut self, text: Bytes, place: PageCursor) {
        self.bytes += text.len();
        self.texts.push(text);
        self.last = Some(place);
    }

    /// There is a next page.
    pub fn cut(self) -> (Vec<Bytes>, Option<PageCursor>) {
        (self.texts, self.last)
    }

    /// This is the last page.
    pub fn whole(self) -> (Vec<Bytes>, Option<PageCursor>) {
        (self.texts, None)
    }
}

/// The decoded parameters: each that a list has, and none twice.
fn parameters(uri: &Uri) -> Result<Vec<(String, String)>, Problem> {
    let unreadable = |_| Problem::bad_request("the query can't be read");
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
            let all = PARAMETERS.join(", ");
            return Err(Problem::bad_request(format!("a list has no parameter '{name}': there are {all}")));
        }
        if parameters[..index].iter().any(|(other, _)| other == name) {
            return Err(Problem::bad_request(format!("the parameter {name} is given twice")));
        }
    }
    Ok(parameters)
}

/// The JSON array of these texts.
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
    fn parameters_are_decoded_as_forms_are() {
        let pairs = read("filter=%28eq%2Cid%2Ca+b%29&all_fields").unwrap();
        assert_eq!(pairs[0].1, "(eq,id,a b)");
        assert_eq!(pairs[1], ("all_fields".to_owned(), String::new()));
        assert!(read("").unwrap().is_empty());
    }

    #[test]
    fn a_parameter_that_there_is_not_or_twice_is_refused() {
        for (query, wrong) in
            [("attribute_not_exist=1", "attribute_not_exist"), ("filter=a&filter=b", "filter is given twice")]
        {
            let problem = read(query).unwrap_err();
            assert_eq!(problem.status, 400);
            assert!(problem.detail.contains(wrong), "{}", problem.detail);
        }
    }
}
