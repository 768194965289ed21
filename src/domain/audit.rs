//! Who did what: the record of a request that changes something, or was to change something and was refused.

use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::caller::Caller;

/// The longest path in a record, in bytes.
const LONGEST_PATH: usize = 512;

/// An audit record. It has no bodies, no queries and no credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRecord {
    pub id: Uuid,
    /// When the answer was ready.
    pub time: OffsetDateTime,
    /// Who sent the request; `None`: nobody whom Gybe knows.
    pub caller: Option<Caller>,
    /// The address of the connection's other end.
    pub peer: Option<String>,
    /// The HTTP method.
    pub http_method: String,
    /// The pattern of the route, such as `/vnflcm/v1/vnf_instances/{id}`.
    pub route: String,
    /// The path, with the identifiers of the resources.
    pub path: String,
    /// The resource or operation that the request created, as `Location` says.
    pub location: Option<String>,
    /// The HTTP status of the answer.
    pub status: u16,
    /// `X-Request-Id` of the answer.
    pub request_id: String,
    /// The trace (W3C Trace Context), if traces are on.
    pub trace_id: Option<String>,
}

/// Whether requests with this method are recorded.
pub fn is_recorded(http_method: &str) -> bool {
    !matches!(http_method, "GET" | "HEAD" | "OPTIONS" | "TRACE")
}

/// The beginning of a path, or all of it.
pub fn bounded(path: &str) -> String {
    let mut end = path.len().min(LONGEST_PATH);
    while !path.is_char_boundary(end) {
        end -= 1;
    }
    path[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_what_changes_something_with_a_bounded_path() {
        for (method, recorded) in [("GET", false), ("HEAD", false), ("POST", true), ("DELETE", true), ("BREW", true)] {
            assert_eq!(is_recorded(method), recorded, "{method}");
        }
        assert_eq!(bounded("/a"), "/a");
        assert_eq!(bounded(&"ä".repeat(400)).len(), 512);
        assert_eq!(bounded(&format!("x{}", "ä".repeat(400))).len(), 511);
    }
}
