//! Paging of lists (SOL013 clause 5.4.2): a list that is longer than a page carries a link to the next one.
//!
//! The marker in the link is the place in the list's order, not a cursor of ours: it stays good when what it was made from
//! is gone, in every process and for ever.

use actix_web::http::Uri;
use actix_web::http::header::{HeaderName, HeaderValue, LINK};

use crate::domain::problem::Problem;
use crate::store::Place;

const MARKER: &str = "nextpage_opaque_marker";

/// Where the page begins that the query of `uri` asks for; `None`: at the beginning.
///
/// # Errors
/// 400 for a marker that we never gave.
pub fn after(uri: &Uri) -> Result<Option<Place>, Problem> {
    let prefix = format!("{MARKER}=");
    let marker = uri.query().unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix(&prefix));
    let Some(marker) = marker else { return Ok(None) };
    let place = marker
        .split_once('.')
        .and_then(|(created_at, id)| Some(Place { created_at: created_at.parse().ok()?, id: id.parse().ok()? }));
    place
        .map(Some)
        .ok_or_else(|| Problem::malformed(format!("{MARKER} is not one of ours: use the link as it was given")))
}

/// The link to the page after `last`, for a request of `uri`: with all of its other parameters.
pub fn next(base: &str, uri: &Uri, last: &Place) -> (HeaderName, HeaderValue) {
    let kept = uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty() && !pair.starts_with(MARKER));
    let marker = format!("{MARKER}={}.{}", last.created_at, last.id);
    let query: Vec<_> = kept.chain([marker.as_str()]).collect();
    let link = format!("<{base}{}?{}>; rel=\"next\"", uri.path(), query.join("&"));
    // A URI has no character that a header may not have.
    (LINK, HeaderValue::try_from(link).unwrap_or_else(|_| HeaderValue::from_static("")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_leads_back_to_the_place_it_was_made_of_and_keeps_the_other_parameters() {
        let place =
            Place { created_at: 1_763_640_000_123, id: "8f14e45f-ceea-467f-a8f4-0123456789ab".parse().unwrap() };
        let uri = Uri::from_static("/vnf_instances?filter=(eq,id,1)&nextpage_opaque_marker=1.x&all_fields");
        let (_, link) = next("http://gybe", &uri, &place);
        let link = link.to_str().unwrap();
        assert!(link.starts_with("<http://gybe/vnf_instances?filter=(eq,id,1)&all_fields&nextpage"), "{link}");
        let uri: Uri = link[1..].split_once('>').unwrap().0.parse().unwrap();
        assert_eq!(after(&uri).unwrap(), Some(place));
    }

    #[test]
    fn a_marker_that_is_none_is_refused() {
        for query in [
            "nextpage_opaque_marker=",
            "nextpage_opaque_marker=1",
            "nextpage_opaque_marker=1.2",
            "a&nextpage_opaque_marker=x.y",
        ] {
            let uri: Uri = format!("/vnf_instances?{query}").parse().unwrap();
            assert_eq!(after(&uri).unwrap_err().status, 400, "{query}");
        }
        assert_eq!(after(&Uri::from_static("/vnf_instances?filter=x")).unwrap(), None);
    }
}
