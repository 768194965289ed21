//! How each object of a VNF is stopped (OPERATE, SOL003 clause 5.4.10).
//!
//! Kubernetes cannot stop a pod: a CNF is stopped when it has no pods. Workloads with `spec.replicas` are scaled to 0
//! ([`crate::domain::replicas`]). Objects that make pods without replicas are deleted, and made again from their inventory row.
//! A Job has run, and does not run again. Pods of custom resources belong to the operator that makes them. A webhook whose pods are
//! gone would refuse the changes of everybody, and of the start itself: it is deleted, too.
//!
//! The planner sorts the inventory by [`stop_method`]; drift asks it which objects of a stopped VNF must not exist.

use crate::domain::instance::{VnfInstance, VnfState};
use crate::domain::resource::{ObjectKey, Resource, ResourceState};

/// How an object is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopMethod {
    /// The object stays, with 0 replicas.
    ScaleToZero,
    /// The object is deleted; its inventory row stays.
    Delete,
    /// The object makes no pods, or no more than it has made.
    LeaveAlone,
}

/// The rows of the inventory whose objects must exist. Stopping removed the others; starting makes them again.
pub fn expected<'a>(instance: &VnfInstance, inventory: &'a [Resource]) -> impl Iterator<Item = &'a Resource> {
    let is_stopped = instance.instantiated.as_ref().is_some_and(|info| info.vnf_state == VnfState::Stopped);
    let is_removed =
        move |row: &Resource| row.state == ResourceState::Planned && stop_method(&row.key) == StopMethod::Delete;
    inventory.iter().filter(move |row| !(is_stopped && is_removed(row)))
}

/// How objects of that kind are stopped.
pub fn stop_method(key: &ObjectKey) -> StopMethod {
    match (key.group(), key.kind.as_str()) {
        ("apps", "Deployment" | "StatefulSet" | "ReplicaSet") | ("", "ReplicationController") => {
            StopMethod::ScaleToZero
        }
        ("apps", "DaemonSet") | ("batch", "CronJob") | ("", "Pod") => StopMethod::Delete,
        ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration" | "MutatingWebhookConfiguration") => {
            StopMethod::Delete
        }
        _ => StopMethod::LeaveAlone,
    }
}
