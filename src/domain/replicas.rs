//! `spec.replicas` of an intent while its VNF is stopped (OPERATE, SOL003 clause 5.4.10), and the number it gets back at the start.
//!
//! The number is an annotation of the same intent. One write carries both, so the number is never lost or outdated, whatever
//! becomes of the operation.
//!
//! A workload that somebody else scales (a HorizontalPodAutoscaler, KEDA, an operator, `kubectl scale`) keeps the replicas it has:
//! [`leave_replicas`].

use serde_json::{Map, Value};

use crate::domain::instance::VnfState;
use crate::domain::managed_fields::{self, OwnedFields, entries};
use crate::domain::manifest::set_annotation;

/// On a workload of a stopped VNF: its `spec.replicas` while the VNF is started; empty if its intent has none, as an
/// autoscaler sets them.
pub const REPLICAS_ANNOTATION: &str = "gybe.dev/started-replicas";

/// The intent of a workload with replicas while its VNF is in `state`. An intent in that state stays as it is.
pub fn with_vnf_state(manifest: &Map<String, Value>, state: VnfState) -> Map<String, Value> {
    let mut manifest = manifest.clone();
    match (state, started_replicas(&manifest)) {
        (VnfState::Stopped, None) => {
            let replicas = set_replicas(&mut manifest, Some(0.into()));
            let before = replicas.map_or_else(String::new, |number| number.to_string());
            set_annotation(&mut manifest, REPLICAS_ANNOTATION, Some(&before));
        }
        (VnfState::Started, Some(replicas)) => {
            set_replicas(&mut manifest, replicas.map(Value::from));
            set_annotation(&mut manifest, REPLICAS_ANNOTATION, None);
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

/// On a workload that somebody else scales, once its VNF was stopped: the replicas it had then. It gets them back at the start.
pub const SCALED_REPLICAS_ANNOTATION: &str = "gybe.dev/scaled-replicas";

/// The manager that has scaled `live` through its scale subresource, as `kubectl scale`, autoscalers and operators do.
pub fn scaled_by<'a>(live: &'a Value, manager: &str) -> Option<&'a str> {
    let scalers =
        entries(live).iter().filter(|entry| entry.get("subresource").and_then(Value::as_str) == Some("scale"));
    let sets_replicas = |entry: &&Value| entry.pointer("/fieldsV1/f:spec/f:replicas").is_some();
    scalers.filter(sets_replicas).map(managed_fields::manager).find(|name| *name != manager)
}

/// Whether an apply of `intent` to `live` would change the replicas that somebody else may have set.
pub fn changes_replicas(intent: &Map<String, Value>, live: &Value) -> bool {
    let Some(replicas) = live_replicas(live) else { return false };
    match (started_replicas(intent), annotation(live, REPLICAS_ANNOTATION)) {
        (None, None) => {
            intent.get("spec").and_then(|spec| spec.get("replicas")).and_then(Value::as_u64) != Some(replicas)
        }
        (Some(started), None) => replicas > 0 && started.map(u64::from) != Some(replicas),
        (_, Some(_)) => false,
    }
}

/// Whether a stop found the workload scaled by somebody else.
pub fn was_scaled(live: &Value) -> bool {
    annotation(live, SCALED_REPLICAS_ANNOTATION).is_some()
}

/// Leaves the replicas to the one who scales `live`: removes them from `intent`. `manager` is our field manager: if nobody else owns
/// the replicas, the intent repeats them. Across a stop, an annotation of the object keeps them.
pub fn leave_replicas(intent: &mut Map<String, Value>, live: &Value, manager: &str) {
    let Some(replicas) = live_replicas(live) else { return };
    let kept = annotation(live, SCALED_REPLICAS_ANNOTATION).and_then(|text| text.parse::<u32>().ok());
    let is_stopped = annotation(live, REPLICAS_ANNOTATION).is_some();
    let scaled = match (started_replicas(intent).is_some(), is_stopped) {
        (true, false) => Some(replicas),
        (true, true) => kept.map(u64::from),
        (false, true) => {
            if let Some(kept) = kept {
                set_replicas(intent, Some(kept.into()));
            }
            kept.map(u64::from)
        }
        (false, false) => {
            let fields = OwnedFields::of(live, |entry| managed_fields::manager(entry) != manager);
            let is_of_others = !fields.child("f:spec").child("f:replicas").is_empty();
            set_replicas(intent, (!is_of_others).then(|| replicas.into()));
            kept.map(u64::from)
        }
    };
    if let Some(scaled) = scaled {
        set_annotation(intent, SCALED_REPLICAS_ANNOTATION, Some(&scaled.to_string()));
    }
}

fn live_replicas(live: &Value) -> Option<u64> {
    live.pointer("/spec/replicas")?.as_u64()
}

fn annotation<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    object.get("metadata")?.get("annotations")?.get(name)?.as_str()
}

/// Sets or removes `spec.replicas`; returns the old value.
fn set_replicas(manifest: &mut Map<String, Value>, replicas: Option<Value>) -> Option<Value> {
    let Some(Value::Object(spec)) = manifest.get_mut("spec") else { return None };
    match replicas {
        Some(replicas) => spec.insert("replicas".to_owned(), replicas),
        None => spec.remove("replicas"),
    }
}
