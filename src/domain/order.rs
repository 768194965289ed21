//! The order in which objects of different kinds are created. They are deleted in the reverse order.
//!
//! Objects of the same class have no order among them: Gybe creates and deletes them concurrently.

use crate::domain::resource::ObjectKey;

/// Dependency classes, in the order in which they are created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// `Namespace`.
    Namespace,
    /// `CustomResourceDefinition`, `APIService`: they define the kinds of other objects.
    Definition,
    /// `PriorityClass`, `RuntimeClass`, `StorageClass`, `IngressClass`: the API server refuses a pod whose class does not exist,
    /// and looks for a default class when it admits a claim or an `Ingress`.
    ReferencedClass,
    /// `ResourceQuota`, `LimitRange`: must hold before the first pod.
    Limit,
    /// `NetworkPolicy`: must hold before the first pod.
    Policy,
    /// `ServiceAccount` and RBAC.
    Access,
    /// `Secret`, `ConfigMap`.
    Configuration,
    /// `PersistentVolume`, `PersistentVolumeClaim`, and the kinds of `storage.k8s.io` other than `StorageClass`.
    Storage,
    /// `Service`, `Endpoints`, `EndpointSlice`: before the pods that get their environment from them.
    Service,
    /// Pods, and objects that create pods.
    Workload,
    /// Objects that refer to workloads and services: autoscalers, disruption budgets, `Ingress`.
    Attachment,
    /// Everything else.
    Custom,
}

/// The class of an object.
pub fn class(key: &ObjectKey) -> Class {
    match (key.group(), key.kind.as_str()) {
        ("", "Namespace") => Class::Namespace,
        ("apiextensions.k8s.io", "CustomResourceDefinition") | ("apiregistration.k8s.io", "APIService") => {
            Class::Definition
        }
        ("scheduling.k8s.io", "PriorityClass")
        | ("node.k8s.io", "RuntimeClass")
        | ("storage.k8s.io", "StorageClass")
        | ("networking.k8s.io", "IngressClass") => Class::ReferencedClass,
        ("", "ResourceQuota" | "LimitRange") => Class::Limit,
        ("networking.k8s.io", "NetworkPolicy") => Class::Policy,
        ("", "ServiceAccount") | ("rbac.authorization.k8s.io", _) => Class::Access,
        ("", "Secret" | "ConfigMap") => Class::Configuration,
        ("", "PersistentVolume" | "PersistentVolumeClaim") | ("storage.k8s.io", _) => Class::Storage,
        ("", "Service" | "Endpoints") | ("discovery.k8s.io", "EndpointSlice") => Class::Service,
        ("", "Pod" | "ReplicationController") | ("apps" | "batch", _) => Class::Workload,
        ("autoscaling" | "policy", _) | ("networking.k8s.io", "Ingress") => Class::Attachment,
        _ => Class::Custom,
    }
}

/// Groups `keys` by class, in the order in which the classes are created.
pub fn waves(keys: impl IntoIterator<Item = ObjectKey>) -> Vec<(Class, Vec<ObjectKey>)> {
    let mut by_class = std::collections::BTreeMap::<Class, Vec<ObjectKey>>::new();
    for key in keys {
        by_class.entry(class(&key)).or_default().push(key);
    }
    by_class.into_iter().collect()
}

#[cfg(test)]
mod tests {
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
            ("k8s.cni.cncf.io/v1", "NetworkAttachmentDefinition", Class::Custom),
        ] {
            let key = ObjectKey { api_version: api_version.to_owned(), kind: kind.to_owned(), name: "x".to_owned() };
            assert_eq!(class(&key), expected, "{kind}");
        }
        for class in [Class::Storage, Class::Workload, Class::Attachment] {
            assert!(Class::ReferencedClass < class, "{class:?}");
        }
    }
}
