//! `vdu_mapping` of `additionalParams`, as Tacker's clients send it: which workload realises a VDU whose `properties.name` names none.
//!
//! The mapping is stored with the instance. `crate::lcm` reads it from requests and renders with the flavour that [`mapped`] returns; the
//! inventory rows keep the VDU of each workload, so operations that only work on rows need no mapping.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::manifest::Manifest;
use crate::domain::problem::{Problem, ProblemType, QuotedValues, problem};
use crate::domain::text::type_name;
use crate::domain::vnfd::{Flavour, WORKLOAD_KINDS};

/// The name of the parameter.
pub const VDU_MAPPING: &str = "vdu_mapping";

/// The members of an entry.
const MEMBERS: [&str; 2] = ["kind", "name"];

/// The workload of each mapped VDU, by the VDU's node template name.
pub type VduMapping = BTreeMap<String, VduWorkload>;

/// A workload that realises a VDU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VduWorkload {
    /// One of [`WORKLOAD_KINDS`].
    pub kind: String,
    /// `metadata.name`.
    pub name: String,
}

/// Reads the parameter: an object, or a string with one, from NFVOs that send strings only.
///
/// # Errors
/// 400 for a value or member of the wrong type; 422 for a missing or unknown member, and for a kind that realises no VDU.
pub fn read(value: &Value) -> Result<VduMapping, Problem> {
    let parsed;
    let value = match value {
        Value::String(text) => {
            parsed = serde_json::from_str(text).unwrap_or_else(|_| value.clone());
            &parsed
        }
        other => other,
    };
    let Value::Object(entries) = value else {
        return Err(problem!(
            ProblemType::BadRequest,
            "additionalParams.vdu_mapping must be an object with an entry per VDU, not {actual}",
            actual = type_name(value),
        ));
    };
    entries.iter().map(|(vdu, entry)| Ok((vdu.clone(), workload(vdu, entry)?))).collect()
}

fn workload(vdu: &str, entry: &Value) -> Result<VduWorkload, Problem> {
    let Value::Object(members) = entry else {
        return Err(problem!(
            ProblemType::BadRequest,
            "additionalParams.vdu_mapping.{vduId} must be an object with the members {allowed}, not {actual}",
            vduId = vdu,
            allowed = MEMBERS.into_iter().collect::<QuotedValues>(),
            actual = type_name(entry),
        ));
    };
    if let Some(unknown) = members.keys().find(|name| !MEMBERS.contains(&name.as_str())) {
        return Err(problem!(
            ProblemType::Unprocessable,
            "additionalParams.vdu_mapping.{vduId} has an unknown member '{member}'; allowed: {allowed}",
            vduId = vdu,
            member = unknown,
            allowed = MEMBERS.into_iter().collect::<QuotedValues>(),
        ));
    }
    let text = |name: &str| match members.get(name) {
        Some(Value::String(text)) if !text.is_empty() => Ok(text.clone()),
        None | Some(Value::Null | Value::String(_)) => Err(problem!(
            ProblemType::Unprocessable,
            "additionalParams.vdu_mapping.{vduId} lacks '{member}'; required: {allowed}",
            vduId = vdu,
            member = name,
            allowed = MEMBERS.into_iter().collect::<QuotedValues>(),
        )),
        Some(other) => Err(problem!(
            ProblemType::BadRequest,
            "additionalParams.vdu_mapping.{vduId}.{member} must be a string, not {actual}",
            vduId = vdu,
            member = name,
            actual = type_name(other),
        )),
    };
    let (kind, name) = (text("kind")?, text("name")?);
    if !WORKLOAD_KINDS.contains(&kind.as_str()) {
        return Err(problem!(
            ProblemType::Unprocessable,
            "additionalParams.vdu_mapping.{vduId}.kind '{kind}' can't realise a VDU; allowed: {allowed}",
            vduId = vdu,
            kind = kind,
            allowed = WORKLOAD_KINDS.into_iter().collect::<QuotedValues>(),
        ));
    }
    Ok(VduWorkload { kind, name })
}

/// `flavour` with the mapped workloads in the place of those that `properties.name` names.
#[must_use]
pub fn mapped(flavour: &Flavour, mapping: &VduMapping) -> Flavour {
    let mut flavour = flavour.clone();
    for (id, vdu) in &mut flavour.vdus {
        if let Some(workload) = mapping.get(id) {
            vdu.name.clone_from(&workload.name);
            vdu.kind = Some(workload.kind.clone());
        }
    }
    flavour
}

/// Checks the mapping of a request against the descriptor and the objects of the definition files.
///
/// # Errors
/// 422 if the flavour has no such VDU, the files have no such workload, or the workload realises another VDU.
pub fn check(flavour: &Flavour, mapping: &VduMapping, manifests: &[Manifest]) -> Result<(), Problem> {
    let unknown: Vec<&String> = mapping.keys().filter(|vdu| !flavour.vdus.contains_key(*vdu)).collect();
    if !unknown.is_empty() {
        return Err(problem!(
            ProblemType::Unprocessable,
            "additionalParams.vdu_mapping names {vduId}, which the VNFD does not have; it has: {allowed}",
            vduId = unknown.into_iter().collect::<QuotedValues>(),
            allowed = flavour.vdus.keys().collect::<QuotedValues>(),
        ));
    }
    if let Some((vdu, workload)) = mapping.iter().find(|(_, workload)| !is_among(workload, manifests)) {
        let workloads = manifests.iter().filter(|it| WORKLOAD_KINDS.contains(&it.kind()));
        return Err(problem!(
            ProblemType::Unprocessable,
            "additionalParams.vdu_mapping.{vduId} names {workload}, which is not in the definition files; they have: {allowed}",
            vduId = vdu,
            workload = format!("{} {}", workload.kind, workload.name),
            allowed = workloads.map(|it| format!("{} {}", it.kind(), it.name())).collect::<QuotedValues>(),
        ));
    }
    let result = mapped(flavour, mapping);
    match mapping.iter().find_map(|(vdu, workload)| Some((vdu, workload, other_vdu_of(&result, vdu, workload)?))) {
        None => Ok(()),
        Some((vdu, workload, other)) => Err(problem!(
            ProblemType::Unprocessable,
            "additionalParams.vdu_mapping.{vduId} names {workload}, which realises VDU '{otherVduId}'; map each VDU to a workload of its own",
            vduId = vdu,
            workload = format!("{} {}", workload.kind, workload.name),
            otherVduId = other,
        )),
    }
}

/// The mapping of a VNF whose package changes: that of the request, and those entries of the stored one that the new package still
/// allows. An entry is dropped if the new descriptor lacks the VDU, the files lack the workload, or the workload realises another VDU now.
pub fn carried_over(
    stored: &VduMapping,
    requested: VduMapping,
    flavour: &Flavour,
    manifests: &[Manifest],
) -> VduMapping {
    let with_request = mapped(flavour, &requested);
    let mut mapping = requested;
    for (vdu, workload) in stored {
        let holds = flavour.vdus.contains_key(vdu)
            && is_among(workload, manifests)
            && other_vdu_of(&with_request, vdu, workload).is_none();
        if holds {
            mapping.entry(vdu.clone()).or_insert_with(|| workload.clone());
        }
    }
    mapping
}

fn is_among(workload: &VduWorkload, manifests: &[Manifest]) -> bool {
    manifests.iter().any(|it| it.kind() == workload.kind && it.name() == workload.name)
}

/// The VDU other than `vdu` that the workload realises.
fn other_vdu_of<'a>(flavour: &'a Flavour, vdu: &str, workload: &VduWorkload) -> Option<&'a String> {
    let realised = flavour.vdus.iter().filter(|(id, _)| id.as_str() != vdu);
    realised.filter(|(_, other)| other.is_realised_by(&workload.kind, &workload.name)).map(|(id, _)| id).next()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::vnfd::Vdu;

    fn flavour() -> Flavour {
        let vdu = |name: &str| Vdu { name: name.to_owned(), kind: None, min: 1, max: 9, initial: None };
        let vdus = [("A", "a"), ("B", "b")].map(|(id, name)| (id.to_owned(), vdu(name)));
        Flavour { vdus: vdus.into(), ..Flavour::default() }
    }

    fn manifests() -> Vec<Manifest> {
        let objects = [("Deployment", "front"), ("StatefulSet", "front"), ("Deployment", "b"), ("Service", "a")];
        let manifest = |(kind, name): (&str, &str)| {
            let object = json!({ "apiVersion": "apps/v1", "kind": kind, "metadata": { "name": name } });
            Manifest { object: object.as_object().unwrap().clone(), file: "f.yaml".into(), line: 1 }
        };
        objects.into_iter().map(manifest).collect()
    }

    fn mapping(value: &Value) -> VduMapping {
        read(value).unwrap()
    }

    #[test]
    fn a_mapped_vdu_is_realised_by_exactly_its_workload() {
        let mapping = mapping(&json!({ "A": { "kind": "StatefulSet", "name": "front" } }));
        check(&flavour(), &mapping, &manifests()).unwrap();
        let mapped = mapped(&flavour(), &mapping);
        assert!(mapped.vdus["A"].is_realised_by("StatefulSet", "front"));
        assert!(!mapped.vdus["A"].is_realised_by("Deployment", "front"));
        assert!(!mapped.vdus["A"].is_realised_by("Deployment", "a"));
        assert!(mapped.vdus["B"].is_realised_by("Deployment", "b"));
    }

    #[test]
    fn reads_a_string_with_an_object() {
        let text = r#"{"A": {"kind": "Deployment", "name": "front"}}"#;
        assert_eq!(mapping(&json!(text)), mapping(&serde_json::from_str(text).unwrap()));
    }

    #[test]
    fn wrong_values_are_refused_with_what_is_allowed() {
        for (value, status, detail) in [
            (json!([]), 400, "must be an object with an entry per VDU, not an array"),
            (json!("front"), 400, "not a string"),
            (json!({ "A": "front" }), 400, "with the members kind, name, not a string"),
            (json!({ "A": { "kind": 1, "name": "front" } }), 400, "vdu_mapping.A.kind must be a string, not a number"),
            (json!({ "A": { "name": "front" } }), 422, "vdu_mapping.A lacks 'kind'; required: kind, name"),
            (json!({ "A": { "kind": "Deployment", "name": null } }), 422, "lacks 'name'"),
            (
                json!({ "A": { "kind": "Deployment", "name": "front", "helmreleasename": "r" } }),
                422,
                "unknown member 'helmreleasename'; allowed: kind, name",
            ),
            (
                json!({ "A": { "kind": "Service", "name": "a" } }),
                422,
                "allowed: Deployment, StatefulSet, DaemonSet, ReplicaSet, Pod",
            ),
        ] {
            let problem = read(&value).unwrap_err();
            assert_eq!(problem.status, status, "{value}");
            assert!(problem.detail.contains(detail), "{value}: {}", problem.detail);
        }
    }

    #[test]
    fn a_mapping_that_contradicts_the_package_is_refused() {
        for (value, detail) in [
            (json!({ "C": { "kind": "Deployment", "name": "front" } }), "does not have; it has: A, B"),
            (
                json!({ "A": { "kind": "DaemonSet", "name": "front" } }),
                "they have: Deployment front, StatefulSet front, Deployment b",
            ),
            (json!({ "A": { "kind": "Deployment", "name": "b" } }), "Deployment b, which realises VDU 'B'"),
            (
                json!({ "A": { "kind": "Deployment", "name": "front" }, "B": { "kind": "Deployment", "name": "front" } }),
                "realises VDU 'B'",
            ),
        ] {
            let problem = check(&flavour(), &mapping(&value), &manifests()).unwrap_err();
            assert_eq!(problem.status, 422);
            assert!(problem.detail.contains(detail), "{value}: {}", problem.detail);
        }
    }

    #[test]
    fn a_change_of_package_keeps_the_entries_that_still_hold() {
        let stored = mapping(&json!({
            "A": { "kind": "Deployment", "name": "front" }, "B": { "kind": "Deployment", "name": "gone" },
            "C": { "kind": "Deployment", "name": "b" },
        }));
        let kept = carried_over(&stored, VduMapping::new(), &flavour(), &manifests());
        assert_eq!(kept, mapping(&json!({ "A": { "kind": "Deployment", "name": "front" } })));
        // The request has precedence, for its VDUs and for its workloads.
        let requested = mapping(&json!({ "B": { "kind": "Deployment", "name": "front" } }));
        assert_eq!(carried_over(&stored, requested.clone(), &flavour(), &manifests()), requested);
    }
}
