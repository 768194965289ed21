//! Events: the ones that readiness depends on.

use kube::api::DynamicObject;

use super::super::fields::text;

/// Reasons of events about a claim that is bound only when a pod uses it.
pub(super) const WAITS_FOR_CONSUMER: [&str; 2] = ["WaitForFirstConsumer", "WaitForPodScheduled"];
/// Reasons of events that say that a controller cannot make pods or volumes.
pub(super) const CREATION_FAILED: [&str; 3] = ["FailedCreate", "ProvisioningFailed", "FailedBinding"];

/// Kinds whose controllers report that they cannot make pods or volumes by events only.
pub(super) fn reports_by_events(kind: &str) -> bool {
    matches!(kind, "StatefulSet" | "DaemonSet" | "Job" | "PersistentVolumeClaim")
}

/// The latest of the events with one of these reasons.
pub(super) fn latest<'a>(events: &[&'a DynamicObject], reasons: &[&str]) -> Option<&'a DynamicObject> {
    let matching = events.iter().copied().filter(|event| reasons.contains(&text(event, "/reason")));
    matching.max_by_key(|event| last_time(event))
}

/// When an event last happened, in RFC 3339; empty if it does not say.
pub(in super::super) fn last_time(event: &DynamicObject) -> String {
    let times = ["/series/lastObservedTime", "/lastTimestamp", "/eventTime"].map(|it| text(event, it));
    times.into_iter().max().unwrap_or("").to_owned()
}

/// The first 19 characters of RFC 3339 in UTC, down to the second, as `creationTimestamp` has it: these compare as the times do.
pub(super) fn to_second(time: &str) -> String {
    time.chars().take(19).collect()
}
