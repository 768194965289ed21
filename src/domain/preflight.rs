//! The checks of a preview: what would stop the operation, as far as it can be known before. This module says what to ask; `crate::infra`
//! asks the cluster.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::domain::image_reference;
use crate::domain::mask::Mask;
use crate::domain::preview::{Action, Effect, ObjectPreview, PlannedObject};
use crate::domain::resource::{ObjectKey, Resource};

/// The most questions of each sort. A package may have thousands of objects.
const MAX_QUESTIONS: usize = 100;

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Ok,
    /// The operation would stop.
    Failed,
    /// Nobody can tell now, or the credential may not read it.
    Unknown,
}

/// What is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Whether the API server accepts the objects: validation, admission, quotas of objects, owners.
    Admission,
    /// Whether the credential may do what the plan does.
    Rights,
    /// Whether the classes and networks exist that objects refer to.
    Reference,
    /// Whether the references of images can be read.
    Image,
    /// Whether the API server accepts the pods of workloads.
    Pods,
    /// Whether quotas have room for the pods.
    Quota,
    /// Whether the pods are within the limits of the namespace.
    Limits,
    /// Whether the pods are within the Pod Security level of the namespace.
    PodSecurity,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    pub subject: Subject,
    pub verdict: Verdict,
    /// What was found, in a sentence.
    pub detail: String,
    /// The object that it is about, if it is about one.
    pub object: Option<ObjectKey>,
}

impl Check {
    pub fn new(subject: Subject, verdict: Verdict, detail: impl Into<String>, object: Option<ObjectKey>) -> Self {
        Self { subject, verdict, detail: detail.into(), object }
    }

    /// Hides the secrets that `mask` knows.
    pub fn mask(&mut self, mask: &Mask) {
        self.detail = mask.apply(&self.detail);
    }
}

/// The checks that the dry runs of the objects are: one for each object that the cluster refuses, or one that all are accepted.
pub fn admission(objects: &[ObjectPreview]) -> Vec<Check> {
    let refused = objects.iter().filter_map(|object| {
        let refusal = object.refusal.clone()?;
        Some(Check::new(Subject::Admission, Verdict::Failed, refusal, Some(object.key.clone())))
    });
    let refused: Vec<Check> = refused.collect();
    if refused.is_empty() {
        let text = "the cluster accepts the objects that could be checked";
        return vec![Check::new(Subject::Admission, Verdict::Ok, text, None)];
    }
    refused
}

/// A right that a plan needs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    pub group: String,
    /// The resource's name in URLs.
    pub plural: String,
    pub namespaced: bool,
    pub verb: &'static str,
}

/// An object that another one refers to, and that no object of the plan is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    pub target: ReferencedKind,
    /// The namespace, if it is another one than that of the VNF.
    pub namespace: Option<String>,
    pub name: String,
}

/// The kinds of which a missing object keeps pods from running.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReferencedKind {
    Network,
    PriorityClass,
    RuntimeClass,
    StorageClass,
}

impl ReferencedKind {
    /// `apiVersion`, `kind`, plural, and whether it is namespaced.
    pub const fn api(self) -> (&'static str, &'static str, &'static str, bool) {
        match self {
            Self::Network => {
                ("k8s.cni.cncf.io/v1", "NetworkAttachmentDefinition", "network-attachment-definitions", true)
            }
            Self::PriorityClass => ("scheduling.k8s.io/v1", "PriorityClass", "priorityclasses", false),
            Self::RuntimeClass => ("node.k8s.io/v1", "RuntimeClass", "runtimeclasses", false),
            Self::StorageClass => ("storage.k8s.io/v1", "StorageClass", "storageclasses", false),
        }
    }
}

/// A pod as a workload would make it.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplePod {
    /// The workload.
    pub workload: ObjectKey,
    /// Whether the workload has no pods yet, so that a quota without room for one more stops it.
    pub is_first: bool,
    pub manifest: Map<String, Value>,
}

/// What to ask the cluster, each sort at most [`MAX_QUESTIONS`] times.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Questions {
    pub rights: Vec<Right>,
    /// With the first object that has the reference.
    pub references: Vec<(Reference, ObjectKey)>,
    pub pods: Vec<SamplePod>,
}

impl Questions {
    /// For a plan with these objects and their previews, in the same order. Also returns the checks that need no cluster.
    pub fn of(objects: &[PlannedObject], previews: &[ObjectPreview]) -> (Self, Vec<Check>) {
        let made = || objects.iter().filter(|it| is_made(it)).map(|it| &it.row);
        let mut checks = images(made());
        let (mut rights, mut references) = (rights(objects, previews), references(made()));
        let mut pods: Vec<SamplePod> =
            objects.iter().zip(previews).filter_map(|(object, preview)| sample_pod(object, preview)).collect();
        let mut cut = |subject, number: usize, what: &str| {
            if number > MAX_QUESTIONS {
                let text = format!("{} of {number} {what} are not checked", number - MAX_QUESTIONS);
                checks.push(Check::new(subject, Verdict::Unknown, text, None));
            }
        };
        cut(Subject::Rights, rights.len(), "rights");
        cut(Subject::Reference, references.len(), "references");
        cut(Subject::Pods, pods.len(), "workloads");
        rights.truncate(MAX_QUESTIONS);
        references.truncate(MAX_QUESTIONS);
        pods.truncate(MAX_QUESTIONS);
        (Self { rights, references, pods }, checks)
    }
}

const fn is_made(object: &PlannedObject) -> bool {
    matches!(object.effect, Effect::Apply { .. } | Effect::Replace)
}

/// The rights that the effects need, without doubles.
fn rights(objects: &[PlannedObject], previews: &[ObjectPreview]) -> Vec<Right> {
    let known = objects.iter().zip(previews).filter(|(object, _)| object.row.info.is_known());
    let rights = known.flat_map(|(object, preview)| {
        let row = &object.row;
        verbs(object, preview.action).iter().map(|verb| Right {
            group: row.key.group().to_owned(),
            plural: row.info.plural.clone(),
            namespaced: row.info.namespaced,
            verb,
        })
    });
    rights.collect::<BTreeSet<_>>().into_iter().collect()
}

/// What the driver sends for an object. It waits for deletions by list and watch.
fn verbs(object: &PlannedObject, action: Action) -> &'static [&'static str] {
    let is_shared = matches!(object.row.key.kind.as_str(), "Namespace" | "CustomResourceDefinition");
    match (object.effect, action) {
        (Effect::Apply { .. } | Effect::Replace, Action::Unchanged) if is_shared => &["get"],
        (Effect::Apply { .. }, Action::Change | Action::Unchanged) => &["get", "patch"],
        (Effect::Apply { .. }, _) | (Effect::Replace, Action::Create) => &["get", "create", "patch"],
        (Effect::Replace, _) => &["get", "create", "patch", "delete", "list", "watch"],
        (Effect::Delete | Effect::DeletePod, Action::Unchanged) | (Effect::Leave(_), _) => &[],
        (Effect::Delete | Effect::DeletePod, _) => &["get", "delete", "list", "watch"],
    }
}

/// The pod templates of a workload, or the pod itself: `metadata` and `spec`.
fn pod_template(row: &Resource) -> Option<&Value> {
    let spec = row.manifest.get("spec")?;
    match (row.key.group(), row.key.kind.as_str()) {
        ("apps", _) | ("batch", "Job") | ("", "ReplicationController") => spec.get("template"),
        ("batch", "CronJob") => spec.pointer("/jobTemplate/spec/template"),
        _ => None,
    }
}

/// The `spec` of the pods of an object.
fn pod_spec(row: &Resource) -> Option<&Value> {
    match (row.key.group(), row.key.kind.as_str()) {
        ("", "Pod") => row.manifest.get("spec"),
        _ => pod_template(row)?.get("spec"),
    }
}

/// The references of `rows` to objects that are not among them.
fn references<'a>(rows: impl Iterator<Item = &'a Resource> + Clone) -> Vec<(Reference, ObjectKey)> {
    let is_brought = |reference: &Reference| {
        let (_, kind, ..) = reference.target.api();
        reference.namespace.is_none() && rows.clone().any(|row| row.key.kind == kind && row.key.name == reference.name)
    };
    let mut found = BTreeMap::new();
    for row in rows.clone() {
        for reference in references_of(row) {
            found.entry(reference).or_insert_with(|| row.key.clone());
        }
    }
    found.into_iter().filter(|(reference, _)| !is_brought(reference)).collect()
}

fn references_of(row: &Resource) -> Vec<Reference> {
    let named = |target, name: Option<&Value>| {
        let name = name.and_then(Value::as_str).filter(|name| !name.is_empty())?;
        Some(Reference { target, namespace: None, name: name.to_owned() })
    };
    let pod = pod_spec(row);
    let of_pod = |name: &str| pod.and_then(|spec| spec.get(name));
    let spec = row.manifest.get("spec");
    let claims = spec.and_then(|spec| spec.get("volumeClaimTemplates")).and_then(Value::as_array);
    let claims = claims.into_iter().flatten().filter_map(|claim| claim.pointer("/spec/storageClassName"));
    let own = spec.filter(|_| row.key.kind == "PersistentVolumeClaim").and_then(|spec| spec.get("storageClassName"));
    let classes = [
        named(ReferencedKind::PriorityClass, of_pod("priorityClassName")),
        named(ReferencedKind::RuntimeClass, of_pod("runtimeClassName")),
    ];
    let storage = claims.chain(own).map(|name| named(ReferencedKind::StorageClass, Some(name)));
    classes.into_iter().chain(storage).flatten().chain(networks(row)).collect()
}

/// The annotation by which pods join further networks (k8snetworkplumbingwg, "Kubernetes Network Custom Resource Definition").
const NETWORKS: &str = "k8s.v1.cni.cncf.io/networks";

fn networks(row: &Resource) -> Vec<Reference> {
    let metadata = match row.key.kind.as_str() {
        "Pod" => row.manifest.get("metadata"),
        _ => pod_template(row).and_then(|template| template.get("metadata")),
    };
    let text = metadata.and_then(|it| it.get("annotations")?.get(NETWORKS)?.as_str()).unwrap_or_default();
    let network = |namespace: Option<&str>, name: &str| Reference {
        target: ReferencedKind::Network,
        namespace: namespace.map(str::to_owned),
        name: name.to_owned(),
    };
    if let Ok(Value::Array(elements)) = serde_json::from_str(text) {
        let text = |element: &Value, name: &str| element.get(name).and_then(Value::as_str).map(str::to_owned);
        let elements = elements
            .iter()
            .filter_map(|element| Some(network(text(element, "namespace").as_deref(), &text(element, "name")?)));
        return elements.collect();
    }
    let elements = text.split(',').map(|element| element.split('@').next().unwrap_or_default().trim());
    let elements = elements.filter(|element| !element.is_empty()).map(|element| match element.split_once('/') {
        Some((namespace, name)) => network(Some(namespace), name),
        None => network(None, element),
    });
    elements.collect()
}

/// One check for each image that no runtime can read, or one that all can be read.
fn images<'a>(rows: impl Iterator<Item = &'a Resource>) -> Vec<Check> {
    let (mut number, mut failed) = (0, Vec::new());
    for row in rows {
        let lists =
            ["initContainers", "containers"].into_iter().filter_map(|list| pod_spec(row)?.get(list)?.as_array());
        for container in lists.flatten() {
            number += 1;
            let image = container.get("image").and_then(Value::as_str).unwrap_or_default();
            if let Some(fault) = image_reference::fault(image) {
                let name = container.get("name").and_then(Value::as_str).unwrap_or_default();
                let text = format!("container '{name:.64}' of {}: the image '{image:.256}' {fault}", row.key);
                failed.push(Check::new(Subject::Image, Verdict::Failed, text, Some(row.key.clone())));
            }
        }
    }
    if failed.is_empty() && number > 0 {
        failed.push(Check::new(
            Subject::Image,
            Verdict::Ok,
            format!("the references of {number} images are valid"),
            None,
        ));
    }
    failed.truncate(MAX_QUESTIONS);
    failed
}

/// A pod of the workload, if the plan makes the workload have new ones.
fn sample_pod(object: &PlannedObject, preview: &ObjectPreview) -> Option<SamplePod> {
    let row = &object.row;
    let spec = row.manifest.get("spec")?;
    let is_new = |path: &str| path.starts_with("/spec/template") || path.starts_with("/spec/jobTemplate");
    let has_new_pods = match preview.action {
        Action::Create | Action::Recreate | Action::Unknown => is_made(object) && preview.refusal.is_none(),
        Action::Change => preview.differences.iter().any(|difference| {
            let [before, after] =
                [&difference.actual, &difference.intended].map(|it| it.as_ref().and_then(Value::as_u64));
            is_new(&difference.path) || difference.path == "/spec/replicas" && after > before
        }),
        Action::Delete | Action::Unchanged => false,
    };
    if !has_new_pods || spec.get("replicas").and_then(Value::as_u64) == Some(0) {
        return None;
    }
    let template = pod_template(row)?;
    let mut pod_spec = template.get("spec")?.as_object()?.clone();
    let claims = spec.get("volumeClaimTemplates").and_then(Value::as_array).into_iter().flatten();
    let claims: Vec<Value> =
        claims.filter_map(|claim| Some(json!({ "name": claim.pointer("/metadata/name")?, "emptyDir": {} }))).collect();
    if let Value::Array(volumes) = pod_spec.entry("volumes").or_insert_with(|| json!([])) {
        volumes.extend(claims);
    }
    let mut metadata = json!({ "generateName": "preview-" });
    for name in ["labels", "annotations"] {
        if let Some(value) = template.pointer(&format!("/metadata/{name}")).filter(|value| value.is_object()) {
            metadata[name] = value.clone();
        }
    }
    let manifest = Map::from_iter([
        ("apiVersion".to_owned(), "v1".into()),
        ("kind".to_owned(), "Pod".into()),
        ("metadata".to_owned(), metadata),
        ("spec".to_owned(), pod_spec.into()),
    ]);
    Some(SamplePod { workload: row.key.clone(), is_first: preview.action == Action::Create, manifest })
}

/// What the refusal of a pod is about.
pub fn refused_pod(refusal: &str) -> Subject {
    let says = |texts: &[&str]| texts.iter().any(|text| refusal.contains(text));
    if says(&["exceeded quota", "failed quota"]) {
        Subject::Quota
    } else if says(&["violates PodSecurity"]) {
        Subject::PodSecurity
    } else if says(&["usage per Container is", "usage per Pod is", "limit to request ratio"]) {
        Subject::Limits
    } else {
        Subject::Pods
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::drift::Difference;

    const APPLY: Effect = Effect::Apply { sets_replicas: false };

    fn object(api_version: &str, kind: &str, name: &str, manifest: &Value, effect: Effect) -> PlannedObject {
        PlannedObject { row: Resource::planned(api_version, kind, name, manifest), effect }
    }

    fn previewed(object: &PlannedObject, action: Action) -> ObjectPreview {
        let (differences, note, refusal) = (Vec::new(), None, None);
        ObjectPreview { key: object.row.key.clone(), namespaced: true, action, differences, note, refusal }
    }

    fn workload(pod: &Value) -> PlannedObject {
        let networks = "a, other/b@net1";
        let template =
            json!({ "metadata": { "labels": { "x": "1" }, "annotations": { NETWORKS: networks } }, "spec": pod });
        let claim = json!({ "metadata": { "name": "data" }, "spec": { "storageClassName": "fast" } });
        let spec = json!({ "replicas": 2, "template": template, "volumeClaimTemplates": [claim] });
        object("apps/v1", "StatefulSet", "db", &json!({ "spec": spec }), APPLY)
    }

    #[test]
    fn asks_for_what_objects_refer_to_and_the_plan_does_not_bring() {
        let db = workload(&json!({ "priorityClassName": "high", "runtimeClassName": "kata" }));
        let high = object("scheduling.k8s.io/v1", "PriorityClass", "high", &json!({}), APPLY);
        let objects = [db, high];
        let previews: Vec<_> = objects.iter().map(|it| previewed(it, Action::Create)).collect();
        let (questions, _) = Questions::of(&objects, &previews);
        let told: Vec<(ReferencedKind, Option<&str>, &str)> =
            questions.references.iter().map(|(it, _)| (it.target, it.namespace.as_deref(), it.name.as_str())).collect();
        assert_eq!(
            told,
            [
                (ReferencedKind::Network, None, "a"),
                (ReferencedKind::Network, Some("other"), "b"),
                (ReferencedKind::RuntimeClass, None, "kata"),
                (ReferencedKind::StorageClass, None, "fast"),
            ]
        );
        let verbs: Vec<&str> = questions.rights.iter().map(|right| right.verb).collect();
        assert_eq!(verbs, ["create", "get", "patch", "create", "get", "patch"]);
        let listed =
            json!({ "spec": {}, "metadata": { "annotations": { NETWORKS: r#"[{"name":"n","namespace":"m"}]"# } } });
        assert_eq!(networks(&object("v1", "Pod", "p", &listed, APPLY).row)[0].namespace.as_deref(), Some("m"));
    }

    #[test]
    fn a_sample_pod_stands_for_new_pods_only() {
        let db = workload(&json!({ "containers": [{ "name": "c", "image": "Wrong" }] }));
        let pods = |preview: ObjectPreview| Questions::of(std::slice::from_ref(&db), &[preview]).0.pods;
        let pod = pods(previewed(&db, Action::Create)).remove(0);
        assert!(pod.is_first);
        assert_eq!(pod.manifest["spec"]["volumes"], json!([{ "name": "data", "emptyDir": {} }]));
        assert_eq!(pod.manifest["metadata"]["labels"], json!({ "x": "1" }));
        let scaled = |from: u64, to: u64| {
            let path = "/spec/replicas".to_owned();
            let difference = Difference { path, intended: Some(to.into()), actual: Some(from.into()), author: None };
            ObjectPreview { differences: vec![difference], ..previewed(&db, Action::Change) }
        };
        assert_eq!([pods(scaled(1, 2)).len(), pods(scaled(2, 1)).len()], [1, 0]);
        assert_eq!(pods(previewed(&db, Action::Unchanged)).len(), 0);
        let (_, checks) = Questions::of(std::slice::from_ref(&db), &[previewed(&db, Action::Create)]);
        assert_eq!((checks[0].subject, checks[0].verdict), (Subject::Image, Verdict::Failed), "{checks:?}");
    }

    #[test]
    fn a_refusal_of_a_pod_has_its_subject() {
        for (refusal, subject) in [
            (r#"pods "x" is forbidden: exceeded quota: q, requested: pods=1"#, Subject::Quota),
            (r#"pods "x" is forbidden: violates PodSecurity "restricted:latest""#, Subject::PodSecurity),
            (r#"pods "x" is forbidden: maximum cpu usage per Container is 1, but limit is 2"#, Subject::Limits),
            (r#"Pod "x" is invalid: spec.containers: Required value"#, Subject::Pods),
        ] {
            assert_eq!(refused_pod(refusal), subject, "{refusal}");
        }
    }
}
