//! The kinds that a simulated cluster serves: those of Kubernetes without webhooks and aggregated APIs, and those that
//! CustomResourceDefinitions define.

use serde_json::{Value, json};

/// API version, kind, plural, and whether it is namespaced.
type Row = (&'static str, &'static str, &'static str, bool);

const BUILT_IN: [Row; 34] = [
    ("v1", "Namespace", "namespaces", false),
    ("v1", "Pod", "pods", true),
    ("v1", "Service", "services", true),
    ("v1", "ServiceAccount", "serviceaccounts", true),
    ("v1", "Secret", "secrets", true),
    ("v1", "ConfigMap", "configmaps", true),
    ("v1", "PersistentVolumeClaim", "persistentvolumeclaims", true),
    ("v1", "PersistentVolume", "persistentvolumes", false),
    ("v1", "ResourceQuota", "resourcequotas", true),
    ("v1", "LimitRange", "limitranges", true),
    ("v1", "Endpoints", "endpoints", true),
    ("v1", "Event", "events", true),
    ("v1", "ReplicationController", "replicationcontrollers", true),
    ("apps/v1", "Deployment", "deployments", true),
    ("apps/v1", "StatefulSet", "statefulsets", true),
    ("apps/v1", "DaemonSet", "daemonsets", true),
    ("apps/v1", "ReplicaSet", "replicasets", true),
    ("batch/v1", "Job", "jobs", true),
    ("batch/v1", "CronJob", "cronjobs", true),
    ("networking.k8s.io/v1", "Ingress", "ingresses", true),
    ("networking.k8s.io/v1", "IngressClass", "ingressclasses", false),
    ("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies", true),
    ("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets", true),
    ("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", true),
    ("autoscaling/v1", "HorizontalPodAutoscaler", "horizontalpodautoscalers", true),
    ("rbac.authorization.k8s.io/v1", "Role", "roles", true),
    ("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings", true),
    ("rbac.authorization.k8s.io/v1", "ClusterRole", "clusterroles", false),
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "clusterrolebindings", false),
    ("storage.k8s.io/v1", "StorageClass", "storageclasses", false),
    ("scheduling.k8s.io/v1", "PriorityClass", "priorityclasses", false),
    ("node.k8s.io/v1", "RuntimeClass", "runtimeclasses", false),
    ("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions", false),
    ("k8s.cni.cncf.io/v1", "NetworkAttachmentDefinition", "network-attachment-definitions", true),
];

/// A kind that is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServedKind {
    pub api_version: String,
    pub kind: String,
    pub plural: String,
    pub namespaced: bool,
}

impl ServedKind {
    /// Its entry in an `APIResourceList`.
    pub fn resource(&self) -> Value {
        json!({
            "name": self.plural, "singularName": self.kind.to_ascii_lowercase(), "kind": self.kind, "namespaced": self.namespaced,
            "verbs": ["create", "delete", "get", "list", "patch", "watch"],
        })
    }
}

/// All kinds, given the CustomResourceDefinitions that exist.
pub(super) fn served<'a>(definitions: impl Iterator<Item = &'a Value>) -> Vec<ServedKind> {
    let built_in = BUILT_IN.iter().map(|&(api_version, kind, plural, namespaced)| ServedKind {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
        plural: plural.to_owned(),
        namespaced,
    });
    built_in.chain(definitions.flat_map(defined)).collect()
}

/// The kinds that a CustomResourceDefinition defines: one in each version that it serves.
fn defined(definition: &Value) -> Vec<ServedKind> {
    let text = |pointer: &str| definition.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let versions = definition.pointer("/spec/versions").and_then(Value::as_array).into_iter().flatten();
    let versions = versions.filter(|version| version.get("served") == Some(&Value::Bool(true)));
    versions
        .filter_map(|version| {
            Some(ServedKind {
                api_version: format!("{}/{}", text("/spec/group"), version.get("name")?.as_str()?),
                kind: text("/spec/names/kind"),
                plural: text("/spec/names/plural"),
                namespaced: text("/spec/scope") == "Namespaced",
            })
        })
        .collect()
}
