//! Paging of lists (SOL013 clause 5.4.2): a list that is longer than a page carries a link to the next one.
//!
//! The marker in the link is the place in the list's order, not a cursor of ours: it stays good when what it was made from
//! is gone, in every process and for ever.

use actix_web::http::Uri;
use actix_web::http::header::{HeaderName, HeaderValue, LINK};

use crate::domain::problem::Problem;
use crate::store::PageCursor;

/// The parameter that tells where a page begins.
pub const MARKER: &str = "nextpage_opaque_marker";

/// The place that a page begins after.
///
/// # Errors
/// 400 for a marker that we never gave.
pub fn place(marker: &str) -> Result<PageCursor, Problem> {
    let place =
        marker.split_once('.').and_then(|(at, id)| Some(PageCursor { at: at.parse().ok()?, id: id.parse().ok()? }));
    place.ok_or_else(|| Problem::bad_request(format!("{MARKER} is not one of ours: use the link as it was given")))
}

/// The link to the page after `last`, for a request of `uri`: with all of its other parameters. Flags get a value: Python's
/// `parse_qs`, with which `openstack` takes the link apart, forgets parameters that have none.
pub fn next(base: &str, uri: &Uri, last: &PageCursor) -> (HeaderName, HeaderValue) {
    let kept = uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty() && !pair.starts_with(MARKER));
    let kept = kept.map(|pair| match pair.split_once('=') {
        None | Some((_, "")) => format!("{}=true", pair.trim_end_matches('=')),
        Some(_) => pair.to_owned(),
    });
    let query: Vec<_> = kept.chain([format!("{MARKER}={}.{}", last.at, last.id)]).collect();
    let link = format!("<{base}{}?{}>; rel=\"next\"", uri.path(), query.join("&"));
    // A URI has no character that a header may not have.
    (LINK, HeaderValue::try_from(link).unwrap_or_else(|_| HeaderValue::from_static("")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_leads_back_to_the_place_it_was_made_of_and_keeps_the_other_parameters() {
        let last = PageCursor { at: 1_763_640_000_123, id: "8f14e45f-ceea-467f-a8f4-0123456789ab".parse().unwrap() };
        let uri = Uri::from_static("/vnf_instances?filter=(eq,id,1)&nextpage_opaque_marker=1.x&all_fields");
        let (_, link) = next("http://gybe", &uri, &last);
        let link = link.to_str().unwrap();
        assert!(link.starts_with("<http://gybe/vnf_instances?filter=(eq,id,1)&all_fields=true&nextpage"), "{link}");
        let (_, marker) = link.split_once("marker=").unwrap();
        assert_eq!(place(marker.strip_suffix(">; rel=\"next\"").unwrap()).unwrap(), last);
    }

    #[test]
    fn a_marker_that_is_none_is_refused() {
        for marker in ["", "1", "1.2", "x.y", "x.8f14e45f-ceea-467f-a8f4-0123456789ab"] {
            assert_eq!(place(marker).unwrap_err().status, 400, "{marker}");
        }
    }
}
