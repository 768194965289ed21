//! `spec.replicas` of an intent while its VNF is stopped (OPERATE, SOL003 clause 5.4.10), and the number it gets back at the start.
//!
//! The number is an annotation of the same intent. One write carries both, so the number is never lost or outdated, whatever
//! becomes of the operation.

use serde_json::{Map, Value};

use crate::domain::instance::VnfState;

/// On a workload of a stopped VNF: its `spec.replicas` while the VNF is started; empty if its intent has none, as an
/// autoscaler sets them.
pub const REPLICAS_ANNOTATION: &str = "gybe.dev/started-replicas";

/// The intent of a workload with replicas when its VNF is in `state`. One that is so already is not changed.
pub fn with_vnf_state(manifest: &Map<String, Value>, state: VnfState) -> Map<String, Value> {
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
