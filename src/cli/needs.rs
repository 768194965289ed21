//! What a package needs of a cluster: rights of the credential, and the CPU and memory that its pods request.
//!
//! Without a cluster, the name of a resource is made from its kind by the rule of Kubernetes; a CustomResourceDefinition of the
//! package says it. `gybe package lint` prints the result.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::domain::manifest::Manifest;
use crate::domain::metering::pod_requests;
use crate::domain::namespace::is_cluster_scoped;
use crate::domain::render;
use crate::domain::scale::{ScaleLevels, initial_levels, instances};
use crate::domain::vnfd::Flavour;

/// What Gybe does with each object that it makes.
const OBJECT_VERBS: [&str; 6] = ["create", "delete", "get", "list", "patch", "watch"];
/// What Gybe reads of what others made.
const READ_VERBS: [&str; 3] = ["get", "list", "watch"];

/// A rule of a Role, as Kubernetes writes it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyRule {
    pub api_groups: Vec<String>,
    pub resources: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resource_names: Vec<String>,
    pub verbs: Vec<String>,
}

/// What the pods of a VNF request together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Requests {
    /// Pods. A DaemonSet counts as one.
    pub pods: u64,
    /// CPU in thousandths.
    pub cpu_milli: u64,
    /// Memory in bytes.
    pub memory_bytes: u64,
}

/// What a package needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Needs {
    /// In the namespace of the VNF.
    pub rules: Vec<PolicyRule>,
    /// In the whole cluster.
    pub cluster_rules: Vec<PolicyRule>,
    /// At the default instantiation level.
    pub requests: Requests,
    /// With each aspect at its highest level.
    pub highest_requests: Requests,
}

/// What the objects need.
pub fn of(manifests: &[Manifest], flavour: &Flavour) -> Needs {
    let levels = initial_levels(flavour, None).unwrap_or_default();
    Needs {
        rules: rules(manifests, false),
        cluster_rules: rules(manifests, true),
        requests: requests(manifests, flavour, &levels),
        highest_requests: requests(manifests, flavour, &flavour.max_levels()),
    }
}

/// What Gybe reads in each namespace, and the pods that it deletes to heal a VNF.
fn common_rules() -> Vec<PolicyRule> {
    let mut rights = Rights::default();
    rights.add("", "pods", &READ_VERBS);
    rights.add("", "pods", &["delete"]);
    rights.add("", "pods/log", &["get"]);
    rights.add("", "namespaces", &["get"]);
    rights.add("", "events", &READ_VERBS);
    rights.add("", "serviceaccounts", &READ_VERBS);
    rights.add("", "persistentvolumeclaims", &READ_VERBS);
    rights.add("", "persistentvolumeclaims", &["delete"]);
    rights.add("apps", "replicasets", &READ_VERBS);
    rights.add("autoscaling", "horizontalpodautoscalers", &READ_VERBS);
    rights.rules()
}

/// The kinds that packages usually have. Rights to grant rights are left to who knows the package.
const USUAL: [(&str, &[&str]); 6] = [
    ("", &["configmaps", "persistentvolumeclaims", "pods", "secrets", "serviceaccounts", "services"]),
    ("apps", &["daemonsets", "deployments", "replicasets", "statefulsets"]),
    ("autoscaling", &["horizontalpodautoscalers"]),
    ("batch", &["cronjobs", "jobs"]),
    ("networking.k8s.io", &["ingresses", "networkpolicies"]),
    ("policy", &["poddisruptionbudgets"]),
];

/// The rights for packages that nobody has named.
pub fn general_rules() -> Vec<PolicyRule> {
    let mut rights = Rights::default();
    for (group, resource) in USUAL.iter().flat_map(|(group, resources)| resources.iter().map(move |it| (group, it))) {
        rights.add(group, resource, &OBJECT_VERBS);
    }
    rights.add_all(&common_rules());
    rights.rules()
}

/// Verbs by group and resource.
#[derive(Default)]
struct Rights {
    verbs: BTreeMap<(String, String), BTreeSet<String>>,
    /// What roles of the package grant: only who has a right may grant it.
    granted: BTreeSet<PolicyRule>,
}

impl Rights {
    fn add(&mut self, group: &str, resource: &str, verbs: &[&str]) {
        let known = self.verbs.entry((group.to_owned(), resource.to_owned())).or_default();
        known.extend(verbs.iter().map(|verb| (*verb).to_owned()));
    }

    fn add_all(&mut self, rules: &[PolicyRule]) {
        for rule in rules {
            let verbs: Vec<&str> = rule.verbs.iter().map(String::as_str).collect();
            for (group, resource) in
                rule.api_groups.iter().flat_map(|it| rule.resources.iter().map(move |one| (it, one)))
            {
                self.add(group, resource, &verbs);
            }
        }
    }

    /// The rules, one for each set of verbs in a group.
    fn rules(self) -> Vec<PolicyRule> {
        let mut grouped: BTreeMap<(String, Vec<String>), Vec<String>> = BTreeMap::new();
        for ((group, resource), verbs) in self.verbs {
            grouped.entry((group, verbs.into_iter().collect())).or_default().push(resource);
        }
        let rule = |((group, verbs), resources)| PolicyRule {
            api_groups: vec![group],
            resources,
            resource_names: Vec::new(),
            verbs,
        };
        grouped.into_iter().map(rule).chain(self.granted).collect()
    }
}

fn rules(manifests: &[Manifest], of_cluster: bool) -> Vec<PolicyRule> {
    let defined = render::defined_kinds(manifests);
    let mut rights = Rights::default();
    for manifest in manifests {
        let kind = defined.get(&(manifest.api_version().to_owned(), manifest.kind().to_owned()));
        let is_cluster = kind.map_or_else(|| is_cluster_scoped(manifest), |kind| !kind.namespaced);
        if is_cluster != of_cluster {
            continue;
        }
        let group = manifest.api_version().split_once('/').map_or("", |(group, _)| group);
        let resource = kind.map_or_else(|| plural(manifest.kind()), |kind| kind.plural.clone());
        let verbs: &[&str] = if manifest.is_review() { &["create"] } else { &OBJECT_VERBS };
        rights.add(group, &resource, verbs);
        rights.granted.extend(granted(manifest, manifests));
        if manifest.kind() == "CronJob" {
            rights.add("batch", "jobs", &["delete", "get", "list", "watch"]);
        }
    }
    if !of_cluster {
        rights.add_all(&common_rules());
    }
    rights.rules()
}

/// The rights that a role grants, and that to bind a role which is not of the package.
fn granted(manifest: &Manifest, manifests: &[Manifest]) -> Vec<PolicyRule> {
    match manifest.kind() {
        "Role" | "ClusterRole" => {
            let rules = manifest.object.get("rules").and_then(Value::as_array);
            rules.into_iter().flatten().filter_map(Value::as_object).filter_map(rule).collect()
        }
        "RoleBinding" | "ClusterRoleBinding" => {
            let of_role = |member| manifest.object.get("roleRef").and_then(|role| role.get(member)?.as_str());
            let (Some(kind), Some(name)) = (of_role("kind"), of_role("name")) else { return Vec::new() };
            if manifests.iter().any(|it| it.kind() == kind && it.name() == name) {
                return Vec::new();
            }
            vec![PolicyRule {
                api_groups: vec!["rbac.authorization.k8s.io".to_owned()],
                resources: vec![plural(kind)],
                resource_names: vec![name.to_owned()],
                verbs: vec!["bind".to_owned()],
            }]
        }
        _ => Vec::new(),
    }
}

/// A rule about resources; `None` for one about URLs.
fn rule(rule: &Map<String, Value>) -> Option<PolicyRule> {
    let texts = |member: &str| -> Vec<String> {
        let items = rule.get(member).and_then(Value::as_array).into_iter().flatten();
        items.filter_map(|item| item.as_str().map(str::to_owned)).collect()
    };
    let (resources, verbs) = (texts("resources"), texts("verbs"));
    let known = PolicyRule { api_groups: texts("apiGroups"), resources, resource_names: texts("resourceNames"), verbs };
    (!known.resources.is_empty() && !known.verbs.is_empty()).then_some(known)
}

/// The name of the resource of a kind: the rule by which Kubernetes' own tools guess it.
fn plural(kind: &str) -> String {
    let lower = kind.to_lowercase();
    match lower.as_str() {
        "endpoints" => return lower,
        "networkattachmentdefinition" => return "network-attachment-definitions".to_owned(),
        _ => {}
    }
    let ends = |endings: &[&str]| endings.iter().any(|ending| lower.ends_with(ending));
    match lower.strip_suffix('y') {
        Some(stem) if !ends(&["ay", "ey", "oy", "uy"]) => format!("{stem}ies"),
        _ if ends(&["s", "x", "ch", "sh"]) => format!("{lower}es"),
        _ => format!("{lower}s"),
    }
}

fn requests(manifests: &[Manifest], flavour: &Flavour, levels: &ScaleLevels) -> Requests {
    let numbers = instances(flavour, levels, None);
    let mut sum = Requests::default();
    for manifest in manifests {
        let (kind, name) = (manifest.kind(), manifest.name());
        let stated = |member| manifest.object.get("spec").and_then(|spec| spec.get(member)?.as_u64());
        let number = match kind {
            "Deployment" | "StatefulSet" | "ReplicaSet" | "ReplicationController" => {
                let vdu = flavour.vdus.iter().find(|(_, vdu)| vdu.is_realised_by(kind, name));
                let of_vdu = vdu.and_then(|(id, _)| numbers.get(id)).copied().map(u64::from);
                of_vdu.or_else(|| stated("replicas")).unwrap_or(1)
            }
            "Job" => stated("parallelism").unwrap_or(1),
            "Pod" | "DaemonSet" | "CronJob" => 1,
            _ => continue,
        };
        let of_pod = pod_requests(kind, &manifest.object);
        sum.pods = sum.pods.saturating_add(number);
        sum.cpu_milli = sum.cpu_milli.saturating_add(of_pod.cpu_milli.saturating_mul(number));
        sum.memory_bytes = sum.memory_bytes.saturating_add(of_pod.memory_bytes.saturating_mul(number));
    }
    sum
}

impl Needs {
    /// For people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (title, rules) in
            [("rights in its namespace", &self.rules), ("rights in the whole cluster", &self.cluster_rules)]
        {
            if rules.is_empty() {
                continue;
            }
            // Writing to a text cannot fail.
            let _ = writeln!(text, "{title}:");
            for rule in rules {
                let group = rule.api_groups.iter().map(|group| if group.is_empty() { "core" } else { group.as_str() });
                let group = group.collect::<Vec<_>>().join(",");
                let names = if rule.resource_names.is_empty() {
                    String::new()
                } else {
                    format!(" named {}", rule.resource_names.join(", "))
                };
                let _ = writeln!(text, "  {} of {group}{names}: {}", rule.resources.join(", "), rule.verbs.join(" "));
            }
        }
        for (title, requests) in
            [("requests at the default level", self.requests), ("requests at the highest level", self.highest_requests)]
        {
            let Requests { pods, cpu_milli, memory_bytes } = requests;
            let _ =
                writeln!(text, "{title}: {pods} pods, cpu {cpu_milli}m, memory {}Mi", memory_bytes.div_ceil(1 << 20));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_have_the_names_that_kubernetes_gives_them() {
        for (kind, expected) in [
            ("Deployment", "deployments"),
            ("NetworkPolicy", "networkpolicies"),
            ("Ingress", "ingresses"),
            ("StorageClass", "storageclasses"),
            ("Endpoints", "endpoints"),
            ("Gateway", "gateways"),
            ("Proxy", "proxies"),
        ] {
            assert_eq!(plural(kind), expected);
        }
    }
}
