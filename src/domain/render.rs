//! Renders the manifests of a package as the intents of one VNF instance: in its namespace, with its labels and the replicas of the
//! VNFD.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Map, Value, json};

use crate::domain::ids::VnfInstanceId;
use crate::domain::instance::VnfState;
use crate::domain::manifest::Manifest;
use crate::domain::namespace::{Namespace, PackageNamespaces, place};
use crate::domain::order;
use crate::domain::problem::{Problem, ProblemType, QuotedValues, problem};
use crate::domain::replicas::{started_replicas, with_vnf_state};
use crate::domain::resource::{
    INSTANCE_LABEL, KindInfo, MANAGED_BY, MANAGED_BY_LABEL, ObjectKey, Resource, ResourceState,
};
use crate::domain::scale::MAX_INSTANCES;
use crate::domain::text::is_dns_label;
use crate::domain::vnfd::{Flavour, Vdu, WORKLOAD_KINDS};

/// Those of [`WORKLOAD_KINDS`] that have `spec.replicas`.
pub const SCALABLE_KINDS: [&str; 3] = ["Deployment", "StatefulSet", "ReplicaSet"];

/// The input of [`resources`].
pub struct RenderInput<'a> {
    /// The objects of the definition files, in order.
    pub manifests: &'a [Manifest],
    /// The chosen flavour.
    pub flavour: &'a Flavour,
    /// The number of instances the VNFD states for each VDU.
    pub instances: &'a BTreeMap<String, u32>,
    /// The namespace of the VNF.
    pub namespace: &'a Namespace,
    /// Whether to make the namespace if the package does not.
    pub create_namespace: bool,
    /// The owner.
    pub instance: VnfInstanceId,
    /// The kinds from discovery, by (apiVersion, kind).
    pub kinds: &'a BTreeMap<(String, String), KindInfo>,
}

/// Checks the manifests without a cluster: each object is defined once, no workload has too many pods, and each CustomResourceDefinition
/// has the name that Kubernetes requires.
///
/// # Errors
/// 422 with the objects and their positions.
pub fn check(manifests: &[Manifest]) -> Result<(), Problem> {
    let mut seen: HashMap<ObjectKey, &Manifest> = HashMap::new();
    for manifest in manifests {
        if let Some(first) = seen.insert(key(manifest), manifest) {
            return Err(problem!(
                ProblemType::Unprocessable,
                "{object} is defined twice, at {first} and {second}; an object of a VNF has one definition",
                object = key(manifest).to_string(),
                first = first.position(),
                second = manifest.position(),
            ));
        }
    }
    if let Some(manifest) = manifests.iter().find(|manifest| has_too_many_pods(manifest)) {
        return Err(problem!(
            ProblemType::Unprocessable,
            "{object} at {place} has more than {limit} pods, which is the limit",
            object = key(manifest).to_string(),
            place = manifest.position(),
            limit = MAX_INSTANCES,
        ));
    }
    for definition in manifests.iter().filter(is_definition) {
        if let Some(why) = misnamed(definition) {
            return Err(problem!(
                ProblemType::Unprocessable,
                "{object} at {place}: {reason}",
                object = key(definition).to_string(),
                place = definition.position(),
                reason = why,
            ));
        }
    }
    Ok(())
}

/// Warnings of VDUs whose workload is not among the manifests, or has no replicas although an aspect scales it.
pub fn warnings(manifests: &[Manifest], flavour: &Flavour) -> Vec<String> {
    let workload = |vdu: &Vdu| manifests.iter().find(|it| vdu.is_realised_by(it.kind(), it.name()));
    let aspects = |id: &String| -> Vec<String> {
        let scaling = flavour.aspects.iter().filter(|(_, aspect)| aspect.deltas.contains_key(id));
        scaling.map(|(aspect, _)| format!("'{aspect}'")).collect()
    };
    let warning = |(id, vdu): (&String, &Vdu)| {
        let (found, aspects) = (workload(vdu), aspects(id));
        let unscalable = match (found, aspects.is_empty()) {
            (Some(found), false) if !SCALABLE_KINDS.contains(&found.kind()) => {
                return Some(format!(
                    "VDU '{id}' is a {}, which has no replicas: aspect {} can't be scaled",
                    found.kind(),
                    aspects.join(", ")
                ));
            }
            (Some(_), _) => return None,
            (None, true) => String::new(),
            (None, false) => format!(", and aspect {} can't be scaled", aspects.join(", ")),
        };
        Some(format!(
            "VDU '{id}': no {} named '{}' is in the definition files, so it has no VNFCs{unscalable}",
            vdu.kind.clone().unwrap_or_else(|| WORKLOAD_KINDS.join(", ")),
            vdu.name
        ))
    };
    flavour.vdus.iter().filter_map(warning).collect()
}

/// Whether VDU `id` has a workload whose replicas can be scaled among the inventory `rows`.
pub fn has_scalable_workload(rows: &[Resource], id: &str) -> bool {
    rows.iter().any(|row| row.vdu_id.as_deref() == Some(id) && SCALABLE_KINDS.contains(&row.key.kind.as_str()))
}

/// Whether a workload has, or a Job runs at a time, too many pods. The API server refuses a value that is not a number.
fn has_too_many_pods(manifest: &Manifest) -> bool {
    let spec = manifest.object.get("spec");
    let mut numbers = ["replicas", "parallelism"].into_iter().filter_map(|name| spec?.get(name)?.as_u64());
    numbers.any(|number| number > u64::from(MAX_INSTANCES))
}

/// The inventory rows of a new VNF instance.
///
/// # Errors
/// 422 with the objects whose kind the cluster does not serve.
pub fn resources(input: &RenderInput<'_>) -> Result<Vec<Resource>, Problem> {
    refuse_unknown_kinds(input)?;
    let origin = PackageNamespaces::of(input.manifests);
    let mut resources: Vec<Resource> = input
        .manifests
        .iter()
        .filter_map(|manifest| {
            let info = input.kinds.get(&kind(manifest))?;
            let vdu = vdu_of(manifest, input.flavour);
            let object = place(manifest, info.namespaced, input.namespace, &origin);
            // The manifest may be an export from a stopped VNF.
            let mut object = with_vnf_state(&object, VnfState::Started);
            mark(&mut object, input.instance);
            let stated = vdu.and_then(|id| input.instances.get(id)).copied();
            let scaled = vdu.is_some_and(|id| input.flavour.aspects.values().any(|it| it.deltas.contains_key(id)));
            set_replicas(&mut object, manifest, stated, scaled);
            Some(Resource {
                key: key(manifest),
                info: info.clone(),
                vdu_id: vdu.cloned(),
                manifest: object,
                state: ResourceState::Planned,
            })
        })
        .collect();
    let brings_namespace =
        |resource: &Resource| resource.key.kind == "Namespace" && resource.key.name == input.namespace.as_str();
    if input.create_namespace && !resources.iter().any(brings_namespace) {
        resources.insert(0, namespace_resource(input));
    }
    Ok(resources)
}

/// The replicas in the manifest of the workload of that VDU; 1, Kubernetes' default, if it states none.
pub fn declared_replicas(manifests: &[Manifest], vdu: &Vdu) -> u32 {
    let realises = |it: &&Manifest| vdu.is_realised_by(it.kind(), it.name()) && SCALABLE_KINDS.contains(&it.kind());
    let workload = manifests.iter().find(realises);
    let replicas = workload.and_then(|it| match started_replicas(&it.object) {
        Some(started) => started,
        None => it.object.get("spec")?.get("replicas")?.as_u64()?.try_into().ok(),
    });
    replicas.unwrap_or(1)
}

/// The (apiVersion, kind) pairs of the manifests, for discovery; not those that the package itself will serve.
pub fn kinds(manifests: &[Manifest]) -> BTreeSet<(String, String)> {
    let announced = announced_versions(manifests);
    manifests.iter().map(kind).filter(|(api_version, _)| !announced.contains(api_version)).collect()
}

/// The kinds that an `APIService` among the manifests announces. No API server describes them before its workload runs.
pub fn announced_kinds(manifests: &[Manifest]) -> BTreeMap<(String, String), KindInfo> {
    let announced = announced_versions(manifests);
    let kinds = manifests.iter().map(kind).filter(|(api_version, _)| announced.contains(api_version));
    kinds.map(|kind| (kind, KindInfo::announced())).collect()
}

fn announced_versions(manifests: &[Manifest]) -> BTreeSet<String> {
    manifests.iter().filter_map(|manifest| order::announced(&key(manifest))).collect()
}

/// These kinds as if a cluster served them all, for use before the cluster is known.
pub fn assumed(kinds: BTreeSet<(String, String)>) -> BTreeMap<(String, String), KindInfo> {
    kinds.into_iter().map(|kind| (kind, KindInfo::announced())).collect()
}

/// The kinds that CustomResourceDefinitions among the manifests define. Discovery does not know them before the definitions are made.
///
/// Answers of discovery take precedence: a definition of that name may exist and belong to somebody else. A misnamed definition counts
/// for nothing. So the definition that gets made has this group and plural, and no objects of another kind are taken for these.
pub fn defined_kinds(manifests: &[Manifest]) -> BTreeMap<(String, String), KindInfo> {
    let definitions = manifests.iter().filter(is_definition).filter(|definition| misnamed(definition).is_none());
    definitions.filter_map(|manifest| versions_of(manifest.object.get("spec")?)).flatten().collect()
}

fn is_definition(manifest: &&Manifest) -> bool {
    manifest.kind() == "CustomResourceDefinition" && manifest.api_version().starts_with("apiextensions.k8s.io/")
}

/// Why the name of a definition is wrong. Kubernetes checks the same, but we use the plural in URLs before it does.
fn misnamed(definition: &Manifest) -> Option<String> {
    let spec = definition.object.get("spec")?;
    let (group, plural) = (spec.get("group")?.as_str()?, spec.pointer("/names/plural")?.as_str()?);
    if !is_dns_label(plural) {
        return Some(format!(
            "spec.names.plural '{plural:.64}' is not 1 to 63 lower-case letters, digits and '-', beginning and ending with a letter or digit"
        ));
    }
    let name = format!("{plural}.{group:.253}");
    (definition.name() != name).then(|| format!("metadata.name must be {name}: spec.names.plural, a dot, spec.group"))
}

/// The kinds that the `spec` of a CustomResourceDefinition defines, one per version.
fn versions_of(spec: &Value) -> Option<Vec<((String, String), KindInfo)>> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let (group, kind) = (text(spec.get("group")?)?, text(spec.pointer("/names/kind")?)?);
    let plural = text(spec.pointer("/names/plural")?)?;
    let info = KindInfo { plural, namespaced: spec.get("scope")?.as_str()? == "Namespaced" };
    let versions = spec.get("versions")?.as_array()?.iter().filter_map(|version| text(version.get("name")?));
    Some(versions.map(|version| ((format!("{group}/{version}"), kind.clone()), info.clone())).collect())
}

fn kind(manifest: &Manifest) -> (String, String) {
    (manifest.api_version().to_owned(), manifest.kind().to_owned())
}

fn key(manifest: &Manifest) -> ObjectKey {
    ObjectKey {
        api_version: manifest.api_version().to_owned(),
        kind: manifest.kind().to_owned(),
        name: manifest.name().to_owned(),
    }
}

fn refuse_unknown_kinds(input: &RenderInput<'_>) -> Result<(), Problem> {
    let unknown: Vec<String> = input
        .manifests
        .iter()
        .filter(|manifest| !input.kinds.contains_key(&kind(manifest)))
        .map(|manifest| format!("{} {} at {}", manifest.api_version(), manifest.kind(), manifest.position()))
        .collect();
    if unknown.is_empty() {
        return Ok(());
    }
    Err(problem!(
        ProblemType::ObjectRefused,
        "the cluster does not serve the kind of: {objects}. Install its CustomResourceDefinition or correct the package; nothing was created",
        objects = unknown.into_iter().collect::<QuotedValues>(),
    ))
}

fn vdu_of<'a>(manifest: &Manifest, flavour: &'a Flavour) -> Option<&'a String> {
    let realised = flavour.vdus.iter().find(|(_, vdu)| vdu.is_realised_by(manifest.kind(), manifest.name()));
    realised.map(|(id, _)| id)
}

/// Sets the replicas of a new workload: the number of the VNFD, else that of the manifest. An autoscaler may change them
/// later: [`crate::domain::replicas::leave_replicas`].
fn set_replicas(object: &mut Map<String, Value>, manifest: &Manifest, stated: Option<u32>, scaled: bool) {
    if !SCALABLE_KINDS.contains(&manifest.kind()) {
        return;
    }
    let Some(Value::Object(spec)) = object.get_mut("spec") else { return };
    if let Some(number) = stated {
        spec.insert("replicas".to_owned(), number.into());
    } else if scaled {
        // Kubernetes' default, made explicit: scaling starts from the replicas of the intent.
        spec.entry("replicas").or_insert_with(|| 1.into());
    }
}

/// Puts our labels on the object, and the instance label on the pods and claims that its templates make. A selector may use the author's
/// `managed-by` label, so it stays.
fn mark(object: &mut Map<String, Value>, instance: VnfInstanceId) {
    label(object, instance);
    if !has_label(object, MANAGED_BY_LABEL) {
        set_label(object, MANAGED_BY_LABEL, MANAGED_BY);
    }
    let Some(Value::Object(spec)) = object.get_mut("spec") else { return };
    if let Some(Value::Object(template)) = spec.get_mut("template")
        && template.get("spec").is_some_and(|spec| spec.get("containers").is_some())
    {
        label(template, instance);
    }
    if let Some(Value::Object(job)) = spec.get_mut("jobTemplate")
        && let Some(Value::Object(template)) = job.get_mut("spec").and_then(|spec| spec.get_mut("template"))
    {
        label(template, instance);
    }
    if let Some(Value::Array(claims)) = spec.get_mut("volumeClaimTemplates") {
        claims.iter_mut().filter_map(Value::as_object_mut).for_each(|claim| label(claim, instance));
    }
}

fn label(object: &mut Map<String, Value>, instance: VnfInstanceId) {
    set_label(object, INSTANCE_LABEL, &instance.to_string());
}

fn has_label(object: &Map<String, Value>, name: &str) -> bool {
    let labels = object.get("metadata").and_then(|metadata| metadata.get("labels"));
    labels.is_some_and(|labels| labels.get(name).is_some_and(Value::is_string))
}

fn set_label(object: &mut Map<String, Value>, name: &str, value: &str) {
    let metadata = object.entry("metadata").or_insert_with(|| json!({}));
    if let Value::Object(metadata) = metadata {
        let labels = metadata.entry("labels").or_insert_with(|| json!({}));
        if !labels.is_object() {
            *labels = json!({});
        }
        if let Value::Object(labels) = labels {
            labels.insert(name.to_owned(), value.into());
        }
    }
}

fn namespace_resource(input: &RenderInput<'_>) -> Resource {
    let name = input.namespace.as_str();
    let mut object = Map::new();
    object.insert("apiVersion".to_owned(), "v1".into());
    object.insert("kind".to_owned(), "Namespace".into());
    object.insert("metadata".to_owned(), json!({ "name": name }));
    mark(&mut object, input.instance);
    Resource {
        key: ObjectKey { api_version: "v1".to_owned(), kind: "Namespace".to_owned(), name: name.to_owned() },
        info: KindInfo { plural: "namespaces".to_owned(), namespaced: false },
        vdu_id: None,
        manifest: object,
        state: ResourceState::Planned,
    }
}
