//! `spec.replicas` of an intent while its VNF is stopped (OPERATE, SOL003 clause 5.4.10), and the number it gets back at the start.
//!
//! The number is an annotation of the same intent. One write carries both, so the number is never lost or outdated, whatever
//! becomes of the operation.

use serde_json::{Map, Value};

use crate::domain::instance::VnfState;

/// On a workload of a stopped VNF: its `spec.replicas` while the VNF is started; empty if its intent has none, as an
/// autoscaler sets them.
pub const REPLICAS_ANNOTATION: &str = "gybe.dev/started-replicas";

/// The intent of a workload with replicas while its VNF is in `state`. An intent in that state stays as it is.
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

/// The replicas that a stopped workload gets back at the start; `None` if it is not stopped, `Some(None)` if an autoscaler sets them.
pub fn started_replicas(manifest: &Map<String, Value>) -> Option<Option<u32>> {
    let text = manifest.get("metadata")?.get("annotations")?.get(REPLICAS_ANNOTATION)?.as_str()?;
    Some(text.parse().ok())
}

/// Sets or removes `spec.replicas`; returns the old value.
fn set_replicas(manifest: &mut Map<String, Value>, replicas: Option<Value>) -> Option<Value> {
    let Some(Value::Object(spec)) = manifest.get_mut("spec") else { return None };
    match replicas {
        Some(replicas) => spec.insert("replicas".to_owned(), replicas),
        None => spec.remove("replicas"),
    }
}

/// Sets or removes the annotation. A removal also removes an empty `annotations`.
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
