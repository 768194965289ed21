//! What becomes of an object when its VNF is stopped and started again (OPERATE, SOL003 clause 5.4.10).
//!
//! Pure; the planner sorts the inventory by [`stopping`], the conductor changes the intents. Kubernetes can't stop a pod: a CNF
//! is stopped when it has none. Workloads with `spec.replicas` are set to 0, and the number they had is kept in an annotation
//! of the same intent: written in one with it, it can't be lost or outdated, whatever becomes of the operation. What makes
//! pods without replicas is removed, and made again from its row. A Job has run, and is not run again. What an operator makes of
//! custom resources is that operator's.

use serde_json::{Map, Value};

use crate::domain::instance::VnfState;
use crate::domain::resource::ObjectKey;

/// On a workload of a stopped VNF: its `spec.replicas` while the VNF is started; empty if its intent has none, as an
/// autoscaler sets them.
pub const REPLICAS_ANNOTATION: &str = "gybe.dev/started-replicas";

/// How an object is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopping {
    /// It stays, with no replicas.
    Emptied,
    /// It is removed; its row stays.
    Removed,
    /// It makes no pods, or none any more.
    Untouched,
}

/// How objects of that kind are stopped.
pub fn stopping(key: &ObjectKey) -> Stopping {
    match (key.group(), key.kind.as_str()) {
        ("apps", "Deployment" | "StatefulSet" | "ReplicaSet") | ("", "ReplicationController") => Stopping::Emptied,
        ("apps", "DaemonSet") | ("batch", "CronJob") | ("", "Pod") => Stopping::Removed,
        _ => Stopping::Untouched,
    }
}

/// The intent of a workload with replicas when its VNF is in `state`. One that is so already is not changed.
pub fn operated(manifest: &Map<String, Value>, state: VnfState) -> Map<String, Value> {
    let mut manifest = manifest.clone();
    match (state, started_replicas(&manifest)) {
        (VnfState::Stopped, None) => {
            let replicas = set_replicas(&mut manifest, Some(0.into()));
            set_annotation(&mut manifest, Some(replicas.map_or_else(String::new, |number| number.to_string())));
        }
        (VnfState::Started, Some(replicas)) => {
            set_replicas(&mut manifest, replicas.map(Value::from));
            set_annotation(&mut manifest, None);
        }
        (VnfState::Stopped, Some(_)) | (VnfState::Started, None) => {}
    }
    manifest
}

/// The replicas that a stopped workload is to have when it is started, if it is stopped; of these `None` if they are an
/// autoscaler's.
pub fn started_replicas(manifest: &Map<String, Value>) -> Option<Option<u32>> {
    let text = manifest.get("metadata")?.get("annotations")?.get(REPLICAS_ANNOTATION)?.as_str()?;
    Some(text.parse().ok())
}

/// Sets `spec.replicas`, or takes it away; gives back what it was.
fn set_replicas(manifest: &mut Map<String, Value>, replicas: Option<Value>) -> Option<Value> {
    let Some(Value::Object(spec)) = manifest.get_mut("spec") else { return None };
    match replicas {
        Some(replicas) => spec.insert("replicas".to_owned(), replicas),
        None => spec.remove("replicas"),
    }
}

/// Sets the annotation, or takes it away, and then leaves no annotations behind that were not there.
fn set_annotation(manifest: &mut Map<String, Value>, text: Option<String>) {
    let Some(Value::Object(metadata)) = manifest.get_mut("metadata") else { return };
    let annotations = metadata.entry("annotations").or_insert_with(|| Value::Object(Map::new()));
    let Value::Object(members) = annotations else { return };
    match text {
        Some(text) => members.insert(REPLICAS_ANNOTATION.to_owned(), text.into()),
        None => members.remove(REPLICAS_ANNOTATION),
    };
    if members.is_empty() {
        metadata.remove("annotations");
    }
}
