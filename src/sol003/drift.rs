//! `GET …/vnf_instances/{id}/drift`, an extension of Gybe: the same at both API roots.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::domain::drift::{Author, Difference as DomainDifference, DriftState, ObjectDrift};
use crate::domain::ids::ProjectId;

/// The most differences in a report.
pub(super) const MAX_DIFFERENCES: usize = 1000;
/// The longest value that is shown, in bytes of JSON. Of a longer one, only the length is shown.
const MAX_VALUE: usize = 1024;

/// The differences between the objects of a VNF instance and their intent.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Drift {
    /// Whether nothing differs.
    in_sync: bool,
    /// The namespace of the objects, except those of cluster-scoped kinds.
    namespace: String,
    /// The project of the namespace. Absent unless namespaces belong to projects.
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace_project: Option<ProjectDrift>,
    /// All objects of the inventory.
    objects: Vec<ObjectState>,
}

/// The project of a namespace.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProjectDrift {
    /// The project when the VNF was instantiated. All its operations go by it.
    intended: String,
    /// The project that the Namespace names now; null if it names none.
    #[schema(required)]
    actual: Option<String>,
}

impl ProjectDrift {
    pub fn new(intended: ProjectId, actual: Option<ProjectId>) -> Self {
        Self { intended: intended.0, actual: actual.map(|project| project.0) }
    }

    fn is_in_sync(&self) -> bool {
        self.actual.as_ref() == Some(&self.intended)
    }
}

/// An object of the inventory.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectState {
    /// `apiVersion`.
    api_version: String,
    /// `kind`.
    kind: String,
    /// `metadata.name`.
    name: String,
    /// `IN_SYNC`; `CHANGED`; `MISSING`: it does not exist; `FOREIGN`: the object of this name belongs to somebody else.
    state: &'static str,
    /// The reason for the state.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    /// The differences from the intent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    differences: Vec<Difference>,
    /// The number of differences that are not shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    more_differences: Option<usize>,
}

/// A difference between an object and its intent.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// A JSON pointer into the actual object. `-` stands for an element that the list lacks.
    path: String,
    /// The intended value; null if there should be none. The values of a Secret are `***`; of a long value, the length is shown.
    #[schema(value_type = Value)]
    intended: Value,
    /// The actual value; null if there is none.
    #[schema(value_type = Value)]
    actual: Value,
    /// The field manager that set the actual value, such as `kubectl-edit`. Absent if unknown, as for a removed value.
    #[serde(skip_serializing_if = "Option::is_none")]
    manager: Option<String>,
    /// The kind of the request that set it: `Apply` or `Update`.
    #[serde(skip_serializing_if = "Option::is_none")]
    operation: Option<String>,
    /// The time at which it was set.
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
}

impl Drift {
    /// The wire form, bounded in size.
    pub fn new(namespace: &str, project: Option<ProjectDrift>, objects: Vec<ObjectDrift>) -> Self {
        let mut left = MAX_DIFFERENCES;
        Self {
            in_sync: objects.iter().all(|object| object.state == DriftState::InSync)
                && project.as_ref().is_none_or(ProjectDrift::is_in_sync),
            namespace: namespace.to_owned(),
            namespace_project: project,
            objects: objects.into_iter().map(|object| ObjectState::new(object, &mut left)).collect(),
        }
    }
}

impl ObjectState {
    fn new(object: ObjectDrift, left: &mut usize) -> Self {
        let shown = object.differences.len().min(*left);
        *left -= shown;
        Self {
            api_version: object.key.api_version,
            kind: object.key.kind,
            name: object.key.name,
            state: match object.state {
                DriftState::InSync => "IN_SYNC",
                DriftState::Changed => "CHANGED",
                DriftState::Missing => "MISSING",
                DriftState::Foreign => "FOREIGN",
            },
            detail: object.detail,
            more_differences: Some(object.differences.len() - shown).filter(|more| *more > 0),
            differences: object.differences.into_iter().take(shown).map(Difference::from).collect(),
        }
    }
}

impl From<DomainDifference> for Difference {
    fn from(difference: DomainDifference) -> Self {
        let (manager, operation, time) = match difference.author {
            Some(Author { manager, operation, time }) => (Some(manager), operation, time),
            None => (None, None, None),
        };
        Self {
            path: difference.path,
            intended: bounded(difference.intended),
            actual: bounded(difference.actual),
            manager,
            operation,
            time,
        }
    }
}

/// The value as it is shown: of a long one, only the length.
pub(super) fn bounded(value: Option<Value>) -> Value {
    let value = value.unwrap_or_default();
    match value.to_string().len() {
        length if length > MAX_VALUE => format!("({length} bytes)").into(),
        _ => value,
    }
}
