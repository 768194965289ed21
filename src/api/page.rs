//! Paging of lists (SOL013 clause 5.4.2): the `Link` header leads to the next page.
//!
//! The marker in the link is a position in the order of the list, and the server keeps no state for it. It stays valid for
//! ever and in every process, also when the element that it was made of is deleted.

use actix_web::http::Uri;
use actix_web::http::header::{HeaderName, HeaderValue, LINK};
use actix_web::{HttpRequest, HttpResponseBuilder};

use crate::api::context::Api;
use crate::domain::problem::{Problem, ProblemType, problem};
use crate::store::PageCursor;

/// The query parameter with the position that a page begins after.
pub const MARKER: &str = "nextpage_opaque_marker";

/// Reads a marker.
///
/// # Errors
/// 400 for a text that is not a marker.
pub fn cursor(marker: &str) -> Result<PageCursor, Problem> {
    let cursor =
        marker.split_once('.').and_then(|(at, id)| Some(PageCursor { at: at.parse().ok()?, id: id.parse().ok()? }));
    cursor.ok_or_else(|| {
        problem!(
            ProblemType::BadRequest,
            "{parameter} '{value}' is not a marker of this server: use the link of the page before unchanged",
            parameter = MARKER,
            value = marker,
        )
    })
}

/// Cuts `elements`, which are up to one more than a page has, to the page. Adds the link to the next one, if there is one, where `place`
/// is the position of an element.
pub fn cut<T>(
    api: &Api,
    request: &HttpRequest,
    elements: &mut Vec<T>,
    place: impl Fn(&T) -> PageCursor,
    response: &mut HttpResponseBuilder,
) {
    if elements.len() > api.page_size {
        elements.truncate(api.page_size);
        if let Some(last) = elements.last() {
            response.insert_header(next(&api.public_url, request.uri(), &place(last)));
        }
    }
}

/// The link to the page after `last`, with all other parameters of the request's `uri`. Flags get the value `true`: `openstack`
/// reads the link with Python's `parse_qs`, which drops parameters without a value.
pub fn next(base: &str, uri: &Uri, last: &PageCursor) -> (HeaderName, HeaderValue) {
    let link = format!("<{}>; rel=\"next\"", next_uri(base, uri, last));
    // A URI has no character that a header may not have.
    (LINK, HeaderValue::try_from(link).unwrap_or_else(|_| HeaderValue::from_static("")))
}

/// The URI of that page.
pub fn next_uri(base: &str, uri: &Uri, last: &PageCursor) -> String {
    let others =
        uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty() && !pair.starts_with(MARKER));
    let others = others.map(|pair| match pair.split_once('=') {
        None | Some((_, "")) => format!("{}=true", pair.trim_end_matches('=')),
        Some(_) => pair.to_owned(),
    });
    let query: Vec<_> = others.chain([format!("{MARKER}={}.{}", last.at, last.id)]).collect();
    format!("{base}{}?{}", uri.path(), query.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_has_the_cursor_and_the_other_parameters() {
        let last = PageCursor { at: 1_763_640_000_123, id: "8f14e45f-ceea-467f-a8f4-0123456789ab".parse().unwrap() };
        let uri = Uri::from_static("/vnf_instances?filter=(eq,id,1)&nextpage_opaque_marker=1.x&all_fields");
        let (_, link) = next("http://gybe", &uri, &last);
        let link = link.to_str().unwrap();
        assert!(link.starts_with("<http://gybe/vnf_instances?filter=(eq,id,1)&all_fields=true&nextpage"), "{link}");
        let (_, marker) = link.split_once("marker=").unwrap();
        assert_eq!(cursor(marker.strip_suffix(">; rel=\"next\"").unwrap()).unwrap(), last);
    }

    #[test]
    fn rejects_texts_that_are_no_markers() {
        for marker in ["", "1", "1.2", "x.y", "x.8f14e45f-ceea-467f-a8f4-0123456789ab"] {
            assert_eq!(cursor(marker).unwrap_err().status, 400, "{marker}");
        }
    }
}
