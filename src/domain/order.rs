//! The order in which objects of different kinds are created. They are deleted in the reverse order.
//!
//! Objects of the same class have no order among them: Gybe creates and deletes them concurrently. What makes the API server call a
//! pod of the package comes last: before that pod runs, such calls fail, and a webhook that fails can keep the pod from being made.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::domain::resource::{ObjectKey, Resource};

/// Dependency classes, in the order in which they are created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// `Namespace`.
    Namespace,
    /// `CustomResourceDefinition`: it defines the kind of other objects.
    Definition,
    /// All kinds whose names end in `Class`: the API server refuses a pod whose class does not exist, and looks for a default class
    /// when it admits a claim or an `Ingress`.
    ReferencedClass,
    /// `ResourceQuota`, `LimitRange`: must hold before the first pod.
    Limit,
    /// `NetworkPolicy`, `PodSecurityPolicy`: must hold before the first pod.
    Policy,
    /// `ServiceAccount` and RBAC.
    Access,
    /// What pods read or join when they start: `Secret`, `ConfigMap`, `ClusterTrustBundle`, `NetworkAttachmentDefinition`.
    Configuration,
    /// Volumes, claims of devices, and the kinds of `storage.k8s.io` other than `StorageClass`.
    Storage,
    /// `Service`, `Endpoints`, `EndpointSlice`: before the pods that get their environment from them.
    Service,
    /// Pods, and objects that create pods.
    Workload,
    /// Objects that refer to workloads and services: autoscalers, disruption budgets, `Ingress`.
    Attachment,
    /// Everything else: custom resources, whose operator may be a workload of the package.
    Custom,
    /// `APIService`: a workload serves its kinds.
    ApiService,
    /// Objects of the kinds that an `APIService` of the package serves.
    Served,
    /// Webhook configurations and admission policies: from then on they decide about every other object.
    Admission,
}

/// The class of an object, by its kind alone. [`Classes`] also knows the kinds that the package itself serves.
pub fn class(key: &ObjectKey) -> Class {
    match (key.group(), key.kind.as_str()) {
        ("", "Namespace") => Class::Namespace,
        ("apiextensions.k8s.io", "CustomResourceDefinition") => Class::Definition,
        (_, kind) if kind.ends_with("Class") => Class::ReferencedClass,
        ("", "ResourceQuota" | "LimitRange") => Class::Limit,
        ("networking.k8s.io", "NetworkPolicy") | ("policy", "PodSecurityPolicy") => Class::Policy,
        ("", "ServiceAccount") | ("rbac.authorization.k8s.io", _) => Class::Access,
        ("", "Secret" | "ConfigMap") | ("certificates.k8s.io", "ClusterTrustBundle") | ("k8s.cni.cncf.io", _) => {
            Class::Configuration
        }
        ("", "PersistentVolume" | "PersistentVolumeClaim") | ("storage.k8s.io" | "resource.k8s.io", _) => {
            Class::Storage
        }
        ("", "Service" | "Endpoints") | ("discovery.k8s.io", "EndpointSlice") => Class::Service,
        ("", "Pod" | "ReplicationController") | ("apps" | "batch", _) => Class::Workload,
        ("autoscaling" | "policy", _) | ("networking.k8s.io", "Ingress") => Class::Attachment,
        ("apiregistration.k8s.io", "APIService") => Class::ApiService,
        ("admissionregistration.k8s.io", _) => Class::Admission,
        _ => Class::Custom,
    }
}

/// The classes of the objects of one package.
pub struct Classes {
    /// Each `apiVersion` that an `APIService` of the package announces.
    announced: BTreeSet<String>,
}

impl Classes {
    /// For a package with these objects.
    pub fn of<'a>(keys: impl IntoIterator<Item = &'a ObjectKey>) -> Self {
        Self { announced: keys.into_iter().filter_map(announced).collect() }
    }

    /// The class of one of its objects.
    pub fn class(&self, key: &ObjectKey) -> Class {
        if self.announced.contains(&key.api_version) { Class::Served } else { class(key) }
    }
}

/// The `apiVersion` that an `APIService` announces. Kubernetes requires the name `<version>.<group>`.
pub fn announced(key: &ObjectKey) -> Option<String> {
    let (version, group) = key.name.split_once('.').filter(|_| class(key) == Class::ApiService)?;
    Some(format!("{group}/{version}"))
}

/// Groups `keys` by class, in the order in which the classes are created.
pub fn waves(keys: impl IntoIterator<Item = ObjectKey>) -> Vec<(Class, Vec<ObjectKey>)> {
    let keys: Vec<ObjectKey> = keys.into_iter().collect();
    let classes = Classes::of(&keys);
    let mut by_class = BTreeMap::<Class, Vec<ObjectKey>>::new();
    for key in keys {
        by_class.entry(classes.class(&key)).or_default().push(key);
    }
    by_class.into_iter().collect()
}

/// Whether objects of later classes need objects of this class to be ready. Objects of a defined kind cannot be made before its
/// definition is established, or its `APIService` available.
pub fn is_awaited(class: Class) -> bool {
    matches!(class, Class::Definition | Class::ApiService)
}

/// The workloads among `all` that must be ready before `objects` are made: their pods answer for an `APIService` or a webhook among
/// them. A Service of the package leads from one to the other.
pub fn servers<'a>(objects: impl IntoIterator<Item = &'a Resource>, all: &'a [&Resource]) -> Vec<ObjectKey> {
    let services: BTreeSet<&str> = objects.into_iter().flat_map(service_names).collect();
    let selectors: Vec<&Map<String, Value>> = all
        .iter()
        .filter(|row| {
            row.key.group().is_empty() && row.key.kind == "Service" && services.contains(row.key.name.as_str())
        })
        .filter_map(|row| {
            row.manifest.get("spec")?.get("selector")?.as_object().filter(|selector| !selector.is_empty())
        })
        .collect();
    let serves = |row: &&&Resource| {
        let labels = pod_labels(row);
        labels.is_some_and(|labels| {
            selectors.iter().any(|selector| selector.iter().all(|(name, value)| labels.get(name) == Some(value)))
        })
    };
    all.iter().filter(serves).map(|row| row.key.clone()).collect()
}

/// The Services that the API server calls because of the object.
fn service_names(row: &Resource) -> Vec<&str> {
    match class(&row.key) {
        Class::ApiService => {
            let spec = row.manifest.get("spec");
            spec.and_then(|spec| spec.pointer("/service/name")?.as_str()).into_iter().collect()
        }
        Class::Admission => {
            let webhooks = row.manifest.get("webhooks").and_then(Value::as_array).into_iter().flatten();
            webhooks.filter_map(|webhook| webhook.pointer("/clientConfig/service/name")?.as_str()).collect()
        }
        _ => Vec::new(),
    }
}

/// The labels of the pods of a workload that runs until it is deleted.
fn pod_labels(row: &Resource) -> Option<&Map<String, Value>> {
    let metadata = match (row.key.group(), row.key.kind.as_str()) {
        ("", "Pod") => row.manifest.get("metadata"),
        ("apps", _) | ("", "ReplicationController") => row.manifest.get("spec")?.get("template")?.get("metadata"),
        _ => None,
    };
    metadata?.get("labels")?.as_object()
}

/// Whether the cluster refused an object only because it does not know another object of the inventory yet, which exists: the API
/// server decides by a cache that may be a moment behind.
pub fn is_known_a_moment_later(refusal: &str, inventory: &[Resource]) -> bool {
    let named = |kind: &str, start: &str, end: &str| {
        let name = refusal.split_once(start).and_then(|(_, rest)| rest.split_once(end)).map(|(name, _)| name);
        name.is_some_and(|name| inventory.iter().any(|row| row.key.kind == kind && row.key.name == name))
    };
    named("PriorityClass", "no PriorityClass with name ", " was found")
        || named("RuntimeClass", "RuntimeClass \"", "\" not found")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn class_objects_precede_the_objects_that_refer_to_them() {
        for (api_version, kind, expected) in [
            ("v1", "Namespace", Class::Namespace),
            ("apiextensions.k8s.io/v1", "CustomResourceDefinition", Class::Definition),
            ("scheduling.k8s.io/v1", "PriorityClass", Class::ReferencedClass),
            ("node.k8s.io/v1", "RuntimeClass", Class::ReferencedClass),
            ("storage.k8s.io/v1", "StorageClass", Class::ReferencedClass),
            ("networking.k8s.io/v1", "IngressClass", Class::ReferencedClass),
            ("gateway.networking.k8s.io/v1", "GatewayClass", Class::ReferencedClass),
            ("snapshot.storage.k8s.io/v1", "VolumeSnapshotClass", Class::ReferencedClass),
            ("resource.k8s.io/v1", "DeviceClass", Class::ReferencedClass),
            ("resource.k8s.io/v1", "ResourceClaimTemplate", Class::Storage),
            ("v1", "LimitRange", Class::Limit),
            ("networking.k8s.io/v1", "NetworkPolicy", Class::Policy),
            ("rbac.authorization.k8s.io/v1", "RoleBinding", Class::Access),
            ("v1", "ConfigMap", Class::Configuration),
            ("v1", "PersistentVolumeClaim", Class::Storage),
            ("storage.k8s.io/v1", "CSIDriver", Class::Storage),
            ("v1", "Service", Class::Service),
            ("v1", "Pod", Class::Workload),
            ("batch/v1", "CronJob", Class::Workload),
            ("networking.k8s.io/v1", "Ingress", Class::Attachment),
            ("policy/v1", "PodDisruptionBudget", Class::Attachment),
            ("k8s.cni.cncf.io/v1", "NetworkAttachmentDefinition", Class::Configuration),
            ("keda.sh/v1alpha1", "ScaledObject", Class::Custom),
            ("apiregistration.k8s.io/v1", "APIService", Class::ApiService),
            ("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", Class::Admission),
            ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy", Class::Admission),
        ] {
            let key = ObjectKey { api_version: api_version.to_owned(), kind: kind.to_owned(), name: "x".to_owned() };
            assert_eq!(class(&key), expected, "{kind}");
        }
        for class in [Class::Storage, Class::Workload, Class::Attachment] {
            assert!(Class::ReferencedClass < class, "{class:?}");
        }
    }

    fn row(api_version: &str, kind: &str, name: &str, manifest: Value) -> Resource {
        Resource::planned(api_version, kind, name, &manifest)
    }

    #[test]
    fn objects_of_a_kind_that_the_package_serves_come_after_its_api_service() {
        let keys = [
            row("telemetry.example/v1", "Metric", "m", json!({})),
            row("telemetry.example/v2", "Metric", "m", json!({})),
            row("apiregistration.k8s.io/v1", "APIService", "v1.telemetry.example", json!({})),
            row("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", "w", json!({})),
            row("apps/v1", "Deployment", "adapter", json!({})),
        ]
        .map(|row| row.key);
        let order: Vec<Class> = waves(keys.clone()).into_iter().map(|(class, _)| class).collect();
        assert_eq!(order, [Class::Workload, Class::Custom, Class::ApiService, Class::Served, Class::Admission]);
        let classes = Classes::of(&keys);
        assert_eq!(classes.class(&keys[0]), Class::Served);
        assert_eq!(classes.class(&keys[1]), Class::Custom, "another version of the group");
    }

    #[test]
    fn finds_the_workloads_that_answer_for_an_api_service_or_a_webhook() {
        let labels = |labels: Value| json!({ "spec": { "template": { "metadata": { "labels": labels } } } });
        let service = |selector: Value| json!({ "spec": { "selector": selector } });
        let webhook = |service: &str| {
            json!({ "webhooks": [
            { "clientConfig": { "url": "https://elsewhere.example" } },
            { "clientConfig": { "service": { "name": service, "namespace": "any" } } },
        ] })
        };
        let rows = [
            row("apps/v1", "Deployment", "adapter", labels(json!({ "app": "adapter", "tier": "x" }))),
            row("apps/v1", "StatefulSet", "db", labels(json!({ "app": "db" }))),
            row("v1", "Pod", "hook", json!({ "metadata": { "labels": { "app": "hook" } } })),
            row("v1", "Service", "adapter", service(json!({ "app": "adapter" }))),
            row("v1", "Service", "hook", service(json!({ "app": "hook" }))),
            row("v1", "Service", "external", json!({ "spec": { "type": "ExternalName" } })),
        ];
        let all: Vec<&Resource> = rows.iter().collect();
        let served_by = |row: Resource| servers([&row], &all).into_iter().map(|key| key.name).collect::<Vec<_>>();
        let api_service = |name: &str| {
            let spec = json!({ "spec": { "service": { "name": name, "namespace": "any" } } });
            row("apiregistration.k8s.io/v1", "APIService", "v1.telemetry.example", spec)
        };
        assert_eq!(served_by(api_service("adapter")), ["adapter"]);
        assert!(served_by(api_service("external")).is_empty());
        assert!(served_by(api_service("of-somebody-else")).is_empty());
        let kind = "ValidatingWebhookConfiguration";
        assert_eq!(served_by(row("admissionregistration.k8s.io/v1", kind, "w", webhook("hook"))), ["hook"]);
        assert!(served_by(row("v1", "Service", "adapter", json!({}))).is_empty());
    }

    #[test]
    fn a_class_of_the_package_may_be_unknown_for_a_moment() {
        let inventory = [row("scheduling.k8s.io/v1", "PriorityClass", "fast", json!({}))];
        let refusal = |name: &str| format!("pods \"app\" is forbidden: no PriorityClass with name {name} was found");
        assert!(is_known_a_moment_later(&refusal("fast"), &inventory));
        assert!(!is_known_a_moment_later(&refusal("faster"), &inventory));
        assert!(!is_known_a_moment_later("pods \"app\" is forbidden: exceeded quota: fast", &inventory));
        let refusal = "pods \"app\" is forbidden: pod rejected: RuntimeClass \"fast\" not found";
        assert!(!is_known_a_moment_later(refusal, &inventory));
        assert!(is_known_a_moment_later(refusal, &[row("node.k8s.io/v1", "RuntimeClass", "fast", json!({}))]));
    }
}
