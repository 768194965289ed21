//! Which objects belong to a VNF instance: its label, its field manager, and the kinds of which nobody owns an object alone.

use kube::ResourceExt;

use crate::domain::ids::VnfInstanceId;
use crate::domain::resource::{INSTANCE_LABEL, ObjectKey};

/// Whether the object carries the label of the instance.
pub(super) fn is_owned(object: &impl ResourceExt, instance: VnfInstanceId) -> bool {
    object.labels().get(INSTANCE_LABEL).is_some_and(|id| *id == instance.to_string())
}

/// The label selector of the objects of the instance.
pub(super) fn instance_selector(instance: VnfInstanceId) -> String {
    format!("{INSTANCE_LABEL}={instance}")
}

/// The field manager of the instance.
pub(super) fn field_manager(instance: VnfInstanceId) -> String {
    format!("gybe-{instance}")
}

/// Whether objects of others may depend on the object: they live in it, or are of the kind it defines. Such an object may exist
/// before us, and others may use it beside us.
pub(super) fn is_shared(key: &ObjectKey) -> bool {
    is_namespace(key) || is_definition(key)
}

/// Whether the object is a Namespace.
pub(super) fn is_namespace(key: &ObjectKey) -> bool {
    key.api_version == "v1" && key.kind == "Namespace"
}

/// Whether the object is a CustomResourceDefinition.
pub(super) fn is_definition(key: &ObjectKey) -> bool {
    key.group() == "apiextensions.k8s.io" && key.kind == "CustomResourceDefinition"
}
