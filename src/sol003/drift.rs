//! `GET …/vnf_instances/{id}/drift`: an extension of ours, the same at both API roots.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::domain::drift::{Author, Difference as DomainDifference, DriftState, ObjectDrift};

/// A report has at most so many differences, however many there are.
const MOST: usize = 1000;
/// A value of more bytes is only said to be there.
const LONGEST: usize = 1024;

/// How the objects of a VNF instance stand to their intent.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Drift {
    /// Whether nothing differs.
    in_sync: bool,
    /// Where they are; objects of cluster-scoped kinds apart.
    namespace: String,
    /// All objects of the inventory.
    objects: Vec<ObjectState>,
}

/// One object.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectState {
    /// `apiVersion`.
    api_version: String,
    /// `kind`.
    kind: String,
    /// `metadata.name`.
    name: String,
    /// `IN_SYNC`; `CHANGED`; `MISSING`: it is not there; `FOREIGN`: the object of that name is somebody else's.
    state: &'static str,
    /// What more there is to say.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    /// Where it is not as intended.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    differences: Vec<Difference>,
    /// How many more differences there are than are shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    more_differences: Option<usize>,
}

/// A place where an object differs from its intent.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// JSON pointer into the object as it is; `-` in it: an element that the list does not have.
    path: String,
    /// What it should be; null: nothing should be there. A Secret's values are `***`, a long value is its length.
    #[schema(value_type = Object)]
    intended: Value,
    /// What it is; null: nothing is there.
    #[schema(value_type = Object)]
    actual: Value,
    /// The field manager that set it, such as `kubectl-edit`. Absent if that does not show, as for what was removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    manager: Option<String>,
    /// How: `Apply` or `Update`.
    #[serde(skip_serializing_if = "Option::is_none")]
    operation: Option<String>,
    /// When.
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
}

impl Drift {
    /// The wire form, bounded in size.
    pub fn new(namespace: &str, objects: Vec<ObjectDrift>) -> Self {
        let mut left = MOST;
        Self {
            in_sync: objects.iter().all(|object| object.state == DriftState::InSync),
            namespace: namespace.to_owned(),
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

fn bounded(value: Option<Value>) -> Value {
    let value = value.unwrap_or_default();
    match value.to_string().len() {
        length if length > LONGEST => format!("({length} bytes)").into(),
        _ => value,
    }
}
