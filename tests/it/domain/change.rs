//! The plan of a change of package (`gybe::domain::change`).

use std::collections::BTreeMap;

use gybe::domain::change::{backward, forward, instance_numbers, levels_under, matching_level, retained_rows};
use gybe::domain::manifest::Manifest;
use gybe::domain::namespace::Namespace;
use gybe::domain::package::DefinitionFile;
use gybe::domain::plan::Step;
use gybe::domain::resource::{KindInfo, ObjectKey, Resource, ResourceState};
use gybe::domain::vnfd::{Flavour, InstantiationLevel, ScalingAspect, Vdu};
use gybe::package::manifest;
use serde_json::{Value, json};

/// The row of an existing object; `what` is its apiVersion, kind and name.
fn row(what: &str, spec: Value) -> Resource {
    let [api_version, kind, name] = what.split(' ').collect::<Vec<_>>()[..] else { panic!("{what}") };
    let object = json!({ "apiVersion": api_version, "kind": kind, "metadata": { "name": name }, "spec": spec });
    Resource {
        key: ObjectKey { api_version: api_version.to_owned(), kind: kind.to_owned(), name: name.to_owned() },
        info: KindInfo { plural: String::new(), namespaced: true },
        vdu_id: None,
        manifest: object.as_object().unwrap().clone(),
        state: ResourceState::Present { uid: what.to_owned(), owned: true },
    }
}

/// The steps as text.
fn describe(steps: &[Step]) -> Vec<String> {
    let of_rows = |rows: &[Resource]| rows.iter().map(|row| row.key.to_string()).collect::<Vec<_>>().join(", ");
    let of_keys = |keys: &[ObjectKey]| keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let describe_step = |step: &Step| match step {
        Step::DeleteReplaced { rows } | Step::Change { rows, .. } => format!("{}: {}", step.name(), of_rows(rows)),
        Step::MarkUncertain { objects } | Step::AwaitReady { objects } | Step::Remove { objects, .. } => {
            format!("{}: {}", step.name(), of_keys(objects))
        }
        other => panic!("{other:?}"),
    };
    steps.iter().map(describe_step).collect()
}

#[test]
fn new_objects_are_ready_before_old_ones_are_deleted_and_rollback_reverses_this() {
    let before = [
        row("v1 ConfigMap settings", json!(1)),
        row("v1 Service old", json!(1)),
        row("apps/v1 Deployment web", json!(1)),
        row("apps/v1 Deployment old", json!(1)),
    ];
    let after = [
        row("v1 ResourceQuota new", json!(1)),
        row("v1 ConfigMap settings", json!(2)),
        row("apps/v1 Deployment web", json!(2)),
        row("apps/v1 Deployment new", json!(1)),
    ];
    assert_eq!(
        describe(&forward(&before, &after)),
        [
            "change: ResourceQuota new",
            "change: ConfigMap settings",
            "change: Deployment web, Deployment new",
            "await ready: ResourceQuota new, ConfigMap settings, Deployment web, Deployment new",
            "remove: Deployment old",
            "remove: Service old",
        ]
    );
    assert_eq!(
        describe(&backward(&before, &after)),
        [
            "change: ConfigMap settings",
            "change: Service old",
            "change: Deployment web, Deployment old",
            "remove: Deployment new",
            "remove: ResourceQuota new",
            "await ready: ConfigMap settings, Service old, Deployment web, Deployment old",
        ]
    );
}

#[test]
fn immutable_objects_are_recreated_and_completed_jobs_are_kept() {
    let template = |image: &str| json!({ "template": { "spec": { "containers": [{ "image": image }] } } });
    let before = [
        row("batch/v1 Job changed", template("a")),
        row("batch/v1 Job same", template("a")),
        row("v1 Pod changed", json!({ "containers": [1] })),
        row("v1 Pod same", json!({ "containers": [1] })),
        row("apps/v1 ReplicaSet changed", template("a")),
        row("apps/v1 ReplicaSet scaled", json!({ "replicas": 1 })),
        row("apps/v1 Deployment changed", template("a")),
        row("apps/v1 StatefulSet changed", template("a")),
    ];
    let after = [
        row("batch/v1 Job changed", template("b")),
        row("batch/v1 Job same", template("a")),
        row("v1 Pod changed", json!({ "containers": [2] })),
        row("v1 Pod same", json!({ "containers": [1] })),
        row("apps/v1 ReplicaSet changed", template("b")),
        row("apps/v1 ReplicaSet scaled", json!({ "replicas": 2 })),
        row("apps/v1 Deployment changed", template("b")),
        row("apps/v1 StatefulSet changed", template("b")),
    ];
    let [there, back] = [forward(&before, &after), backward(&before, &after)].map(|steps| describe(&steps));
    assert_eq!(
        there[..2],
        ["mark uncertain: Job changed", "delete replaced: Job changed, Pod changed, ReplicaSet changed"]
    );
    assert!(there[2].starts_with("change: Job changed, Job same, Pod changed, Pod same"));
    assert!(there[3].starts_with("await ready: Job changed, Pod changed"), "{}", there[3]);
    assert_eq!(there.len(), 4);
    assert_eq!(back[..3], there[..3]);
    assert!(back[3].starts_with("await ready: Pod changed, Pod same"), "no Job is waited for: {}", back[3]);
    let dropped = describe(&forward(&before[..1], &[]));
    assert_eq!(dropped[1..], ["mark uncertain: Job changed", "remove: Job changed"]);
}

#[test]
fn an_object_in_another_api_version_of_its_group_is_the_same_object() {
    let before = [row("autoscaling/v1 HorizontalPodAutoscaler web", json!(1))];
    let after = [row("autoscaling/v2 HorizontalPodAutoscaler web", json!(1))];
    let objects = ["change: HorizontalPodAutoscaler web", "await ready: HorizontalPodAutoscaler web"];
    assert_eq!(describe(&forward(&before, &after)), objects);
    assert_eq!(describe(&backward(&before, &after)), objects);
    let other = [row("example.org/v2 HorizontalPodAutoscaler web", json!(1))];
    assert_eq!(describe(&forward(&before, &other))[2], "remove: HorizontalPodAutoscaler web");
}

#[test]
fn replicas_are_set_after_a_dropped_autoscaler_is_deleted() {
    let autoscaler = |name: &str, target: &str| {
        row(
            &format!("autoscaling/v2 HorizontalPodAutoscaler {name}"),
            json!({ "scaleTargetRef": { "kind": "Deployment", "name": target } }),
        )
    };
    let deployment = |name: &str, replicas: Option<u32>| {
        row(&format!("apps/v1 Deployment {name}"), replicas.map_or(json!({}), |number| json!({ "replicas": number })))
    };
    let before = [deployment("a", None), deployment("b", None), autoscaler("a", "a"), autoscaler("b", "b")];
    let after = [deployment("a", Some(3)), deployment("b", None), autoscaler("b", "b")];
    let steps = describe(&forward(&before, &after));
    let end = ["remove: HorizontalPodAutoscaler a", "change: Deployment a", "await ready: Deployment a"];
    assert_eq!(steps[steps.len() - 3..], end);
    let before = [deployment("a", Some(3))];
    let after = [deployment("a", None), autoscaler("a", "a")];
    let back = [
        "change: Deployment a",
        "remove: HorizontalPodAutoscaler a",
        "change: Deployment a",
        "await ready: Deployment a",
    ];
    assert_eq!(describe(&backward(&before, &after)), back);
}

#[test]
fn the_namespace_of_the_vnf_is_never_deleted_by_a_change() {
    let home = Namespace::try_from("home".to_owned()).unwrap();
    let before = [row("v1 Namespace home", json!(1)), row("v1 Namespace other", json!(1))];
    let names = |after: &[Resource]| {
        retained_rows(&before, after, &home).iter().map(|row| row.key.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(&[]), ["home"]);
    assert_eq!(names(&[row("v1 Namespace home", json!(2))]), [""; 0]);
}

/// Name, highest level, and the increase of each VDU per level.
type Aspect<'a> = (&'a str, u32, &'a [(&'a str, u32)]);

fn flavour(aspects: &[Aspect<'_>], initial: &[(&str, Option<u32>)]) -> Flavour {
    let aspect = |max_level, deltas: &[(&str, u32)]| ScalingAspect {
        max_level,
        deltas: deltas.iter().map(|(vdu, delta)| ((*vdu).to_owned(), vec![*delta])).collect(),
    };
    let vdu = |name: &str, initial| Vdu { name: name.to_lowercase(), kind: None, min: 1, max: 9, initial };
    Flavour {
        vdus: initial.iter().map(|(id, initial)| ((*id).to_owned(), vdu(id, *initial))).collect(),
        aspects: aspects.iter().map(|(id, max, deltas)| ((*id).to_owned(), aspect(*max, deltas))).collect(),
        ..Flavour::default()
    }
}

fn levels(levels: &[(&str, u32)]) -> BTreeMap<String, u32> {
    levels.iter().map(|(name, level)| ((*name).to_owned(), *level)).collect()
}

fn manifests(yaml: &str) -> Vec<Manifest> {
    manifest::read(&[DefinitionFile::new("a.yaml", yaml)]).unwrap()
}

#[test]
fn levels_are_kept_and_new_aspects_start_at_their_default() {
    let level =
        InstantiationLevel { scale_levels: levels(&[("kept", 1), ("new", 2)]), ..InstantiationLevel::default() };
    let flavour = Flavour {
        levels: BTreeMap::from([("default".to_owned(), level)]),
        default_level: Some("default".to_owned()),
        ..flavour(&[("kept", 3, &[("A", 1)]), ("new", 2, &[("A", 1)])], &[("A", Some(1))])
    };
    let after = levels_under(&flavour, &levels(&[("kept", 3), ("dropped", 7)])).unwrap();
    assert_eq!(after, levels(&[("kept", 3), ("new", 2)]));
    let refused = levels_under(&flavour, &levels(&[("kept", 4)])).unwrap_err();
    assert_eq!(refused.status, 422);
    assert!(refused.detail.contains("'kept' is at level 4") && refused.detail.contains("0 to 3"), "{}", refused.detail);
}

#[test]
fn instance_counts_follow_the_new_vnfd_at_the_kept_levels() {
    let three = "{apiVersion: apps/v1, kind: Deployment, metadata: {name: b}, spec: {replicas: 3}}";
    let flavour = flavour(&[("a", 4, &[("A", 2), ("B", 1)])], &[("A", Some(1)), ("B", None), ("C", None)]);
    let stated = instance_numbers(&flavour, &levels(&[("a", 2)]), None, &manifests(three)).unwrap();
    assert_eq!(stated, levels(&[("A", 5), ("B", 5)]), "of C the manifest says it");
    let refused = instance_numbers(&flavour, &levels(&[("a", 6000)]), None, &manifests(three)).unwrap_err();
    assert_eq!(refused.status, 422);
}

#[test]
fn an_instantiation_level_without_aspects_is_kept() {
    let at = |number| InstantiationLevel { vdu_instances: levels(&[("A", number)]), ..InstantiationLevel::default() };
    let with = |small, large| Flavour {
        levels: BTreeMap::from([("large".to_owned(), at(large)), ("small".to_owned(), at(small))]),
        default_level: Some("small".to_owned()),
        ..flavour(&[], &[("A", None)])
    };
    let (before, after) = (with(1, 4), with(2, 6));
    let level = matching_level(&before, &levels(&[]), &levels(&[("A", 4)]));
    assert_eq!(level, Some("large"));
    assert_eq!(instance_numbers(&after, &levels(&[]), level, &[]).unwrap(), levels(&[("A", 6)]));
    assert_eq!(matching_level(&before, &levels(&[]), &levels(&[("A", 1)])), Some("small"));
    assert_eq!(matching_level(&before, &levels(&[]), &levels(&[("A", 3)])), None);
}
