//! The events of `/events/v1`, an extension of Gybe, as `data` of a stream of server-sent events.

use serde::Serialize;
use time::OffsetDateTime;

use crate::domain::event::Event as Domain;
use crate::sol003::steps::Step;

/// An event.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    project_id: &'a str,
    /// The resource; of a step, its op occurrence.
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    op_occ_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vnf_instance_id: Option<&'a str>,
    change: &'static str,
    /// Of a step, the step has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'a str>,
    #[serde(with = "time::serde::rfc3339")]
    time: OffsetDateTime,
    #[serde(flatten)]
    step: Option<Step>,
}

/// The event as a message of the stream.
///
/// # Errors
/// It cannot be serialized: a defect.
pub fn message(event: &Domain) -> Result<String, serde_json::Error> {
    let step = event.step.as_ref();
    let data = serde_json::to_string(&Event {
        kind: event.kind.as_str(),
        project_id: &event.project.0,
        id: &event.resource,
        op_occ_id: step.map(|_| event.resource.as_str()),
        vnf_instance_id: event.vnf_instance.as_deref(),
        change: event.change.as_str(),
        state: event.state.as_deref().filter(|_| step.is_none()),
        time: event.at,
        step: step.map(Step::new),
    })?;
    // JSON has no line breaks.
    Ok(format!("id: {}\nevent: {}\ndata: {data}\n\n", event.sequence, event.kind.as_str()))
}

/// The message that tells a client to read its lists again: it has missed events. The next event comes after `sequence`.
pub fn reset(sequence: i64) -> String {
    format!("id: {sequence}\nevent: reset\ndata: {{}}\n\n")
}

/// The first message: where the stream begins, and how soon a client that lost it comes back, in milliseconds.
pub fn beginning(sequence: i64) -> String {
    format!("retry: 2000\nid: {sequence}\n\n")
}

/// What keeps proxies from closing a quiet stream.
pub const COMMENT: &str = ":\n\n";
