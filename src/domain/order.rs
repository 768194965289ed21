//! The order in which objects of different kinds are made, and deleted in reverse.

use crate::domain::resource::ObjectKey;

/// Dependency classes, in the order in which they are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// `Namespace`.
    Namespace,
    /// `CustomResourceDefinition`, `APIService`: they define the kinds of other objects.
    Definition,
    /// `ResourceQuota`, `LimitRange`, `PriorityClass`: must hold before the first pod.
    Limit,
    /// `NetworkPolicy`: must hold before the first pod.
    Policy,
    /// `ServiceAccount` and RBAC.
    Access,
    /// `Secret`, `ConfigMap`.
    Configuration,
    /// `StorageClass`, `PersistentVolume`, `PersistentVolumeClaim`.
    Storage,
    /// `Service`, `Endpoints`, `EndpointSlice`: before the pods that get their environment from them.
    Service,
    /// Objects that make pods.
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
        ("", "ResourceQuota" | "LimitRange") | ("scheduling.k8s.io", "PriorityClass") => Class::Limit,
        ("networking.k8s.io", "NetworkPolicy") => Class::Policy,
        ("", "ServiceAccount") | ("rbac.authorization.k8s.io", _) => Class::Access,
        ("", "Secret" | "ConfigMap") => Class::Configuration,
        ("", "PersistentVolume" | "PersistentVolumeClaim") | ("storage.k8s.io", _) => Class::Storage,
        ("", "Service" | "Endpoints") | ("discovery.k8s.io", "EndpointSlice") => Class::Service,
        ("", "Pod" | "ReplicationController") | ("apps" | "batch", _) => Class::Workload,
        ("autoscaling" | "policy", _) | ("networking.k8s.io", "Ingress" | "IngressClass") => Class::Attachment,
        _ => Class::Custom,
    }
}

/// Groups `keys` by class, in the order in which the classes are made.
pub fn waves(keys: impl IntoIterator<Item = ObjectKey>) -> Vec<(Class, Vec<ObjectKey>)> {
    let mut by_class = std::collections::BTreeMap::<Class, Vec<ObjectKey>>::new();
    for key in keys {
        by_class.entry(class(&key)).or_default().push(key);
    }
    by_class.into_iter().collect()
}
