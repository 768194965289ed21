//! Which objects belong to a VNF instance: its label, its field manager, and the kinds of which nobody owns an object alone.

use kube::ResourceExt;

use crate::domain::ids::VnfInstanceId;
use crate::domain::resource::{INSTANCE_LABEL, ObjectKey};
use crate::domain::writer::{WRITTEN_BY_ANNOTATION, Writer};
use crate::infra::{InfraError, InfraErrorKind, Scope};

/// Whether the object carries the label of the instance.
pub(super) fn is_owned(object: &impl ResourceExt, instance: VnfInstanceId) -> bool {
    object.labels().get(INSTANCE_LABEL).is_some_and(|id| *id == instance.to_string())
}

/// Refuses an object that a later writer than that of `scope` has written.
pub(super) fn refuse_superseded(scope: &Scope, key: &ObjectKey, found: &impl ResourceExt) -> Result<(), InfraError> {
    let last = found.annotations().get(WRITTEN_BY_ANNOTATION).and_then(|text| text.parse::<Writer>().ok());
    match (scope.writer, last) {
        (Some(writer), Some(last)) if last > writer => Err(InfraError::new(
            InfraErrorKind::Superseded,
            format!("a later operation, or another process, has written {key} in the meantime"),
        )),
        _ => Ok(()),
    }
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
