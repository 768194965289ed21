//! The update of the containers of a running VNF: what a change of `vnfdId` by PATCH changes, as Tacker's container update does
//! (`docs/adr/0030-container-update-by-patch.md`).
//!
//! ConfigMaps and Secrets get the content of the new package, containers its images, and pods that use a changed ConfigMap or Secret are
//! replaced. Everything else stays. `crate::lcm::container_update` plans the update with the steps of [`crate::domain::change`].

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::domain::change::find;
use crate::domain::ids::VnfLcmOpOccId;
use crate::domain::manifest::{Manifest, set_annotation};
use crate::domain::problem::{Problem, ProblemType, QuotedValues, problem};
use crate::domain::resource::{ObjectKey, Resource, ResourceState};
use crate::domain::text::names;
use crate::domain::vnfd::{Flavour, WORKLOAD_KINDS};

/// Annotation of pods: the operation that replaced them because a ConfigMap or Secret changed.
pub const RESTART_ANNOTATION: &str = "gybe.dev/restarted-by";

/// The kinds whose content is applied.
const SETTINGS: [&str; 2] = ["ConfigMap", "Secret"];

/// The members of a pod's spec that are lists of containers.
const CONTAINERS: [&str; 2] = ["containers", "initContainers"];

/// The rows of the inventory that differ after the update to the rows `new` of the other package, as they are then.
pub fn changed_rows(inventory: &[Resource], new: &[Resource], op: VnfLcmOpOccId) -> Vec<Resource> {
    let mut changed: Vec<Resource> = inventory.iter().filter_map(|row| changed_settings(row, new)).collect();
    let settings: BTreeSet<(String, String)> =
        changed.iter().map(|row| (row.key.kind.clone(), row.key.name.clone())).collect();
    changed.extend(inventory.iter().filter_map(|row| changed_workload(row, new, &settings, op)));
    changed
}

/// The row of a ConfigMap or Secret that differs in the other package.
fn changed_settings(row: &Resource, new: &[Resource]) -> Option<Resource> {
    let wanted = find(new, &row.key).filter(|wanted| is_settings(&row.key) && wanted.manifest != row.manifest)?;
    Some(Resource { state: ResourceState::Planned, vdu_id: row.vdu_id.clone(), ..wanted.clone() })
}

/// The row of a workload that has other images, or whose pods use one of the changed `settings`.
fn changed_workload(
    row: &Resource,
    new: &[Resource],
    settings: &BTreeSet<(String, String)>,
    op: VnfLcmOpOccId,
) -> Option<Resource> {
    if !is_workload(&row.key) {
        return None;
    }
    let mut after = Resource { state: ResourceState::Planned, ..row.clone() };
    if let Some(wanted) = find(new, &row.key).and_then(|wanted| pod_spec(&wanted.key, &wanted.manifest)) {
        set_images(pod_spec_mut(&row.key, &mut after.manifest)?, wanted);
    }
    if after.manifest == row.manifest && uses(pod_spec(&row.key, &row.manifest)?, settings) {
        annotate_pods(&row.key, &mut after.manifest, op);
    }
    (after.manifest != row.manifest).then_some(after)
}

fn is_settings(key: &ObjectKey) -> bool {
    key.group().is_empty() && SETTINGS.contains(&key.kind.as_str())
}

fn is_workload(key: &ObjectKey) -> bool {
    WORKLOAD_KINDS.contains(&key.kind.as_str())
        && matches!((key.group(), key.kind == "Pod"), ("", true) | ("apps", false))
}

fn pod_spec<'a>(key: &ObjectKey, object: &'a Map<String, Value>) -> Option<&'a Map<String, Value>> {
    let spec = object.get("spec")?;
    if key.kind == "Pod" { spec.as_object() } else { spec.pointer("/template/spec")?.as_object() }
}

fn pod_spec_mut<'a>(key: &ObjectKey, object: &'a mut Map<String, Value>) -> Option<&'a mut Map<String, Value>> {
    pod_mut(key, object)?.get_mut("spec")?.as_object_mut()
}

/// The pod template of a workload; of a Pod, itself.
fn pod_mut<'a>(key: &ObjectKey, object: &'a mut Map<String, Value>) -> Option<&'a mut Map<String, Value>> {
    if key.kind == "Pod" { Some(object) } else { object.get_mut("spec")?.get_mut("template")?.as_object_mut() }
}

/// Sets the images of the containers of `pod` to those of the containers of the same name in `wanted`.
fn set_images(pod: &mut Map<String, Value>, wanted: &Map<String, Value>) {
    for list in CONTAINERS {
        let Some(Value::Array(containers)) = pod.get_mut(list) else { continue };
        for container in containers.iter_mut().filter_map(Value::as_object_mut) {
            let same = elements(wanted, list).find(|it| it.get("name") == container.get("name"));
            if let Some(image) = same.and_then(|it| it.get("image")) {
                container.insert("image".to_owned(), image.clone());
            }
        }
    }
}

fn elements<'a>(object: &'a Map<String, Value>, list: &str) -> impl Iterator<Item = &'a Value> {
    object.get(list).and_then(Value::as_array).into_iter().flatten()
}

/// Whether pods with this spec read one of the `settings`, by kind and name: as variables, or as a volume.
fn uses(pod: &Map<String, Value>, settings: &BTreeSet<(String, String)>) -> bool {
    let list = |of: &'_ Value, name: &str| of.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let is_named = |kind: &str, name: Option<&Value>| {
        name.and_then(Value::as_str).is_some_and(|name| settings.contains(&(kind.to_owned(), name.to_owned())))
    };
    let reads = |source: &Value, [config_map, secret]: [&str; 2]| {
        is_named("ConfigMap", source.pointer(config_map)) || is_named("Secret", source.pointer(secret))
    };
    let in_container = |container: &Value| {
        list(container, "envFrom").iter().any(|it| reads(it, ["/configMapRef/name", "/secretRef/name"]))
            || list(container, "env")
                .iter()
                .any(|it| reads(it, ["/valueFrom/configMapKeyRef/name", "/valueFrom/secretKeyRef/name"]))
    };
    let in_volume = |volume: &Value| {
        let projected = volume.get("projected").map(|projected| list(projected, "sources")).unwrap_or_default();
        reads(volume, ["/configMap/name", "/secret/secretName"])
            || projected.iter().any(|it| reads(it, ["/configMap/name", "/secret/name"]))
    };
    CONTAINERS.into_iter().flat_map(|name| elements(pod, name)).any(in_container)
        || elements(pod, "volumes").any(in_volume)
}

/// Annotates the pods of a workload, so that it replaces them.
fn annotate_pods(key: &ObjectKey, object: &mut Map<String, Value>, op: VnfLcmOpOccId) {
    let Some(pod) = pod_mut(key, object) else { return };
    pod.entry("metadata").or_insert_with(|| json!({}));
    set_annotation(pod, RESTART_ANNOTATION, Some(&op.to_string()));
}

/// The objects of the new package that concern the VNF: those of `settings`, which the request names, and of `present` (the files that
/// the VNF came from) those that `settings` does not have.
pub fn combined(settings: Vec<Manifest>, present: Vec<Manifest>) -> Vec<Manifest> {
    let names = |it: &Manifest| (it.kind().to_owned(), it.name().to_owned());
    let named: BTreeSet<_> = settings.iter().map(names).collect();
    settings.into_iter().chain(present.into_iter().filter(|it| !named.contains(&names(it)))).collect()
}

/// Refuses a descriptor that lacks a VDU of the VNF: its workload would be no VDU's.
///
/// # Errors
/// 422.
pub fn check_vdus(inventory: &[Resource], flavour: &Flavour) -> Result<(), Problem> {
    let vdus: BTreeSet<&String> = inventory.iter().filter_map(|row| row.vdu_id.as_ref()).collect();
    let missing: Vec<&String> = vdus.into_iter().filter(|vdu| !flavour.vdus.contains_key(*vdu)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(problem!(
        ProblemType::Unprocessable,
        "the new VNFD lacks {vduId} of the VNF; it has: {allowed}. POST …/change_vnfpkg changes the VDUs of a VNF",
        vduId = missing.into_iter().collect::<QuotedValues>(),
        allowed = flavour.vdus.keys().collect::<QuotedValues>(),
    ))
}

/// Warnings of what the update leaves as it is, although the new package has it otherwise.
pub fn warnings(inventory: &[Resource], new: &[Resource], changed: &[Resource]) -> Vec<String> {
    let is_other = |row: &&Resource| {
        let present = find(inventory, &row.key);
        let after = find(changed, &row.key).or(present);
        after.is_some_and(|after| essence(&after.key, &after.manifest) != essence(&row.key, &row.manifest))
    };
    let absent: Vec<String> =
        new.iter().filter(|row| find(inventory, &row.key).is_none()).map(|row| row.key.to_string()).collect();
    let others: Vec<String> = new.iter().filter(is_other).map(|row| row.key.to_string()).collect();
    let told = |objects: Vec<String>, text: &str| {
        (!objects.is_empty())
            .then(|| format!("{text} by a change of vnfdId, but by POST …/change_vnfpkg: {}", names(objects.iter())))
    };
    let texts = [
        told(absent, "these objects of the new package are not created"),
        told(others, "what differs in these objects besides images is not changed"),
    ];
    texts.into_iter().flatten().collect()
}

/// The object without what an update or a scaling sets.
fn essence(key: &ObjectKey, object: &Map<String, Value>) -> Map<String, Value> {
    let mut object = object.clone();
    if !is_workload(key) {
        return object;
    }
    if key.kind != "Pod"
        && let Some(Value::Object(spec)) = object.get_mut("spec")
    {
        spec.remove("replicas");
    }
    if let Some(pod) = pod_mut(key, &mut object) {
        set_annotation(pod, RESTART_ANNOTATION, None);
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::change::must_be_replaced;

    const OP: VnfLcmOpOccId = VnfLcmOpOccId(uuid::Uuid::nil());

    fn config(kind: &str, name: &str, value: &str) -> Resource {
        Resource::planned("v1", kind, name, &json!({ "data": { "key": value } }))
    }

    fn workload(kind: &str, name: &str, pod: &Value) -> Resource {
        match kind {
            "Pod" => Resource::planned("v1", kind, name, &json!({ "spec": pod })),
            _ => Resource::planned(
                "apps/v1",
                kind,
                name,
                &json!({ "spec": { "replicas": 3, "template": { "spec": pod } } }),
            ),
        }
    }

    fn containers(image: &str) -> Value {
        json!({ "containers": [{ "name": "c", "image": image }], "initContainers": [{ "name": "i", "image": image }] })
    }

    fn names_of(rows: &[Resource]) -> Vec<&str> {
        rows.iter().map(|row| row.key.name.as_str()).collect()
    }

    /// The changed rows if ConfigMap `s` and Secret `s` change.
    fn after_change_of_settings(workloads: &[Resource]) -> Vec<Resource> {
        let settings = |value| [config("ConfigMap", "s", value), config("Secret", "s", value)];
        let before = [settings("old").to_vec(), workloads.to_vec()].concat();
        let mut changed = changed_rows(&before, &[settings("new").to_vec(), workloads.to_vec()].concat(), OP);
        assert_eq!(names_of(&changed.drain(..2).collect::<Vec<_>>()), ["s", "s"]);
        changed
    }

    #[test]
    fn pods_that_read_changed_settings_in_any_way_are_replaced() {
        let of = |container: Value, volume: Value| json!({ "containers": [container], "volumes": [volume] });
        for pod in [
            of(json!({ "envFrom": [{ "configMapRef": { "name": "s" } }] }), json!({})),
            of(json!({ "envFrom": [{ "secretRef": { "name": "s" } }] }), json!({})),
            of(json!({ "env": [{ "valueFrom": { "configMapKeyRef": { "name": "s" } } }] }), json!({})),
            of(json!({ "env": [{ "valueFrom": { "secretKeyRef": { "name": "s" } } }] }), json!({})),
            of(json!({}), json!({ "configMap": { "name": "s" } })),
            of(json!({}), json!({ "secret": { "secretName": "s" } })),
            of(json!({}), json!({ "projected": { "sources": [{ "secret": { "name": "s" } }] } })),
            json!({ "containers": [], "initContainers": [{ "envFrom": [{ "configMapRef": { "name": "s" } }] }] }),
        ] {
            for kind in WORKLOAD_KINDS {
                let before = workload(kind, "w", &pod);
                let changed = after_change_of_settings(std::slice::from_ref(&before));
                assert_eq!(names_of(&changed), ["w"], "{kind} {pod}");
                let template = if kind == "Pod" { "/metadata" } else { "/spec/template/metadata" };
                let shown = Value::Object(changed[0].manifest.clone());
                let annotation = shown.pointer(template).unwrap()["annotations"][RESTART_ANNOTATION].clone();
                assert_eq!(annotation, OP.to_string());
                assert_eq!(must_be_replaced(&before, &changed[0]), ["Pod", "ReplicaSet"].contains(&kind));
            }
        }
        let other = of(json!({ "envFrom": [{ "configMapRef": { "name": "t" } }] }), json!({ "emptyDir": {} }));
        assert_eq!(after_change_of_settings(&[workload("Deployment", "w", &other)]), []);
    }

    #[test]
    fn only_images_of_containers_of_the_same_name_change() {
        let mut new = containers("two");
        new["containers"][0]["args"] = json!(["-v"]);
        new["containers"].as_array_mut().unwrap().push(json!({ "name": "more", "image": "two" }));
        for kind in WORKLOAD_KINDS {
            let before = workload(kind, "w", &containers("one"));
            let changed = changed_rows(std::slice::from_ref(&before), &[workload(kind, "w", &new)], OP);
            assert_eq!(changed[0].manifest, workload(kind, "w", &containers("two")).manifest, "{kind}");
            assert_eq!(changed_rows(&changed, &[workload(kind, "w", &new)], OP), [], "{kind}: once");
            let told = warnings(&[before], &[workload(kind, "w", &new)], &changed);
            assert_eq!(told.len(), 1);
            assert!(told[0].contains(&format!("{kind} w")), "{told:?}");
        }
    }

    #[test]
    fn other_objects_are_left_alone_with_a_warning() {
        let job = |image| {
            Resource::planned("batch/v1", "Job", "j", &json!({ "spec": { "template": { "spec": containers(image) } } }))
        };
        let before = [job("one"), config("ConfigMap", "gone", "x"), workload("Deployment", "same", &containers("one"))];
        let new = [job("two"), config("ConfigMap", "added", "x"), workload("Deployment", "same", &containers("one"))];
        assert_eq!(changed_rows(&before, &new, OP), []);
        assert_eq!(
            warnings(&before, &new, &[]),
            [
                "these objects of the new package are not created by a change of vnfdId, but by POST …/change_vnfpkg: ConfigMap added",
                "what differs in these objects besides images is not changed by a change of vnfdId, but by POST …/change_vnfpkg: Job j",
            ]
        );
    }
}
