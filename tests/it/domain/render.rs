//! From manifests to intents (`gybe::domain::render`).

use std::collections::BTreeMap;

use gybe::domain::ids::VnfInstanceId;
use gybe::domain::manifest::Manifest;
use gybe::domain::namespace::Namespace;
use gybe::domain::render::{RenderInput, check, defined_kinds, kinds, resources, warnings};
use gybe::domain::replicas::REPLICAS_ANNOTATION;
use gybe::domain::resource::{INSTANCE_LABEL, KindInfo, Resource};
use gybe::domain::vnfd::{Flavour, ScalingAspect, Vdu};
use serde_json::{Value, json};
use uuid::Uuid;

const INSTANCE: VnfInstanceId = VnfInstanceId(Uuid::from_u128(7));

fn manifest(api_version: &str, kind: &str, name: &str, spec: Value) -> Manifest {
    let object = json!({ "apiVersion": api_version, "kind": kind, "metadata": { "name": name }, "spec": spec });
    Manifest { file: format!("{name}.yaml"), line: 3, object: object.as_object().unwrap().clone() }
}

fn deployment(name: &str) -> Manifest {
    let template = json!({ "metadata": { "labels": { "app": name } }, "spec": { "containers": [] } });
    manifest("apps/v1", "Deployment", name, json!({ "replicas": 4, "template": template }))
}

/// VDU1 is realised by the workload `amf`.
fn flavour() -> Flavour {
    let vdu = Vdu { name: "amf".to_owned(), kind: None, min: 1, max: 9, initial: Some(1) };
    Flavour { vdus: BTreeMap::from([("VDU1".to_owned(), vdu)]), ..Flavour::default() }
}

fn render(manifests: &[Manifest], instances: &[(&str, u32)], create_namespace: bool) -> Vec<Resource> {
    render_with(&flavour(), manifests, instances, create_namespace)
}

fn render_with(
    flavour: &Flavour,
    manifests: &[Manifest],
    instances: &[(&str, u32)],
    create_namespace: bool,
) -> Vec<Resource> {
    let known = kinds(manifests).into_iter().map(|kind| {
        let namespaced = kind.1 != "Namespace";
        (kind, KindInfo { plural: "things".to_owned(), namespaced })
    });
    resources(&RenderInput {
        manifests,
        flavour,
        instances: &instances.iter().map(|(vdu, number)| ((*vdu).to_owned(), *number)).collect(),
        namespace: &Namespace::try_from("target".to_owned()).unwrap(),
        create_namespace,
        instance: INSTANCE,
        kinds: &known.collect(),
    })
    .unwrap()
}

#[test]
fn objects_pods_and_claims_get_namespace_and_labels() {
    let mut set = deployment("db");
    set.object.insert("kind".to_owned(), "StatefulSet".into());
    set.object["spec"]["volumeClaimTemplates"] = json!([{ "metadata": { "name": "data" } }]);
    let rendered = render(&[set], &[], false);
    let object = Value::Object(rendered[0].manifest.clone());
    assert_eq!(object["metadata"]["namespace"], "target");
    let marked = ["/metadata", "/spec/template/metadata", "/spec/volumeClaimTemplates/0/metadata"];
    for place in marked {
        let labels = &object.pointer(place).unwrap()["labels"];
        assert_eq!(labels[INSTANCE_LABEL], INSTANCE.to_string(), "{place}");
    }
    assert_eq!(object["metadata"]["labels"]["app.kubernetes.io/managed-by"], "gybe");
    assert_eq!(object["spec"]["template"]["metadata"]["labels"]["app"], "db", "the author's labels stay");
}

#[test]
fn the_instance_count_of_the_vnfd_overrides_the_manifest() {
    let rendered = render(&[deployment("amf"), deployment("other")], &[("VDU1", 2)], false);
    assert_eq!(rendered[0].vdu_id.as_deref(), Some("VDU1"));
    assert_eq!(rendered[0].replicas(), Some(2));
    assert_eq!((rendered[1].vdu_id.as_deref(), rendered[1].replicas()), (None, Some(4)));
}

/// A package may contain manifests that were exported from a stopped VNF.
#[test]
fn a_manifest_exported_from_a_stopped_workload_is_started() {
    let mut exported = deployment("other");
    exported.object["spec"]["replicas"] = 0.into();
    exported.object["metadata"]["annotations"] = json!({ REPLICAS_ANNOTATION: "3" });
    let rendered = render(&[exported], &[], false);
    assert_eq!(rendered[0].manifest["spec"]["replicas"], 3);
    assert_eq!(rendered[0].manifest["metadata"].get("annotations"), None);
}

#[test]
fn a_workload_scaled_by_an_aspect_states_its_replicas() {
    let mut silent = deployment("amf");
    silent.object["spec"].as_object_mut().unwrap().remove("replicas");
    assert_eq!(render(&[silent.clone()], &[], false)[0].replicas(), None);
    let mut flavour = flavour();
    let aspect = ScalingAspect { max_level: 1, deltas: BTreeMap::from([("VDU1".to_owned(), vec![1])]) };
    flavour.aspects.insert("out".to_owned(), aspect);
    assert_eq!(render_with(&flavour, &[silent], &[], false)[0].replicas(), Some(1));
}

#[test]
fn a_workload_begins_with_the_replicas_of_its_manifest_beside_an_autoscaler() {
    let target = json!({ "scaleTargetRef": { "kind": "Deployment", "name": "other" } });
    let autoscaler = manifest("autoscaling/v2", "HorizontalPodAutoscaler", "h", target);
    let rendered = render(&[deployment("amf"), deployment("other"), autoscaler], &[("VDU1", 2)], false);
    assert_eq!(rendered[0].replicas(), Some(2));
    assert_eq!(rendered[1].replicas(), deployment("other").object["spec"]["replicas"].as_u64().map(|it| it as u32));
}

#[test]
fn the_namespace_is_created_only_on_request_and_once() {
    let own = manifest("v1", "Namespace", "target", json!({}));
    assert_eq!(render(&[deployment("amf")], &[], false).len(), 1);
    let rendered = render(&[deployment("amf")], &[], true);
    assert_eq!((rendered[0].key.kind.as_str(), rendered[0].key.name.as_str()), ("Namespace", "target"));
    assert_eq!(render(&[own, deployment("amf")], &[], true).len(), 2);
}

#[test]
fn rejects_an_unserved_kind_and_names_its_position() {
    let manifests = [manifest("example.invalid/v1", "Widget", "w", json!({}))];
    let problem = resources(&RenderInput {
        manifests: &manifests,
        flavour: &flavour(),
        instances: &BTreeMap::new(),
        namespace: &Namespace::try_from("target".to_owned()).unwrap(),
        create_namespace: false,
        instance: INSTANCE,
        kinds: &BTreeMap::new(),
    })
    .unwrap_err();
    assert_eq!(problem.status, 422);
    assert!(problem.detail.contains("example.invalid/v1 Widget at w.yaml:3"), "{}", problem.detail);
}

#[test]
fn rejects_a_duplicate_object_and_names_both_positions() {
    let problem = check(&[deployment("amf"), deployment("amf")]).unwrap_err();
    assert!(
        problem.detail.contains("Deployment amf is defined twice, at amf.yaml:3 and amf.yaml:3"),
        "{}",
        problem.detail
    );
}

#[test]
fn warns_of_a_vdu_without_a_workload_that_fits() {
    let mut flavour = flavour();
    let missing = warnings(&[deployment("other")], &flavour);
    let said =
        "VDU 'VDU1': no Deployment, StatefulSet, DaemonSet, ReplicaSet, Pod named 'amf' is in the definition files";
    assert!(missing.len() == 1 && missing[0].starts_with(said), "{missing:?}");
    assert!(missing[0].ends_with("so it has no VNFCs"), "{missing:?}");
    let aspect = ScalingAspect { max_level: 1, deltas: BTreeMap::from([("VDU1".to_owned(), vec![1])]) };
    flavour.aspects.insert("out".to_owned(), aspect);
    let missing = warnings(&[deployment("other")], &flavour);
    assert!(missing[0].ends_with("and aspect 'out' can't be scaled"), "{missing:?}");
    let fixed = warnings(&[manifest("apps/v1", "DaemonSet", "amf", json!({}))], &flavour);
    assert_eq!(fixed, ["VDU 'VDU1' is a DaemonSet, which has no replicas: aspect 'out' can't be scaled"]);
    assert!(warnings(&[deployment("amf")], &flavour).is_empty());
}

#[test]
fn rejects_a_workload_with_too_many_pods() {
    for (kind, spec) in [
        ("StatefulSet", json!({ "replicas": 10_001 })),
        ("Job", json!({ "parallelism": 2_000_000_000, "completions": 2_000_000_000 })),
    ] {
        let problem = check(&[manifest("v1", kind, "many", spec)]).unwrap_err();
        assert!(problem.status == 422 && problem.detail.contains("many.yaml:3"), "{}", problem.detail);
    }
    assert!(check(&[manifest("apps/v1", "StatefulSet", "most", json!({ "replicas": 10_000 }))]).is_ok());
}

#[test]
fn kinds_defined_by_the_package_are_known_before_the_cluster_serves_them() {
    let spec = json!({
        "group": "example.test", "scope": "Namespaced", "names": { "kind": "Widget", "plural": "widgets" },
        "versions": [{ "name": "v1" }, { "name": "v2" }],
    });
    let definition = manifest("apiextensions.k8s.io/v1", "CustomResourceDefinition", "widgets.example.test", spec);
    let info = KindInfo { plural: "widgets".to_owned(), namespaced: true };
    let kinds = ["v1", "v2"].map(|version| ((format!("example.test/{version}"), "Widget".to_owned()), info.clone()));
    assert_eq!(defined_kinds(&[definition, deployment("amf")]), BTreeMap::from(kinds));
}

#[test]
fn rejects_a_definition_whose_name_does_not_match_its_kind() {
    let definition = |name: &str, plural: &str| {
        let spec = json!({
            "group": "example.test", "scope": "Namespaced", "names": { "kind": "Widget", "plural": plural },
            "versions": [{ "name": "v1" }],
        });
        manifest("apiextensions.k8s.io/v1", "CustomResourceDefinition", name, spec)
    };
    let long = "w".repeat(64);
    let urls = ["", "../secrets", "widgets/x", "widgets?watch=true", "Widgets", "-widgets", "widgets.v1", &long];
    for plural in urls {
        let named = [definition(&format!("{plural}.example.test"), plural)];
        let detail = check(&named).unwrap_err().detail;
        assert!(detail.contains(".example.test.yaml:3: spec.names.plural '") && detail.contains(plural), "{detail}");
        assert!(defined_kinds(&named).is_empty(), "{plural}");
    }
    let others = [definition("widgets.example.test", "gadgets")];
    let detail = check(&others).unwrap_err().detail;
    assert!(detail.contains("at widgets.example.test.yaml:3: metadata.name must be gadgets.example.test"), "{detail}");
    assert!(defined_kinds(&others).is_empty());
    assert!(check(&[definition("widgets.example.test", "widgets")]).is_ok());
}
