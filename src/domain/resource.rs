//! The inventory: the objects of a VNF instance in its cluster, one row of `vnf_resources` each.
//!
//! A row is written before its object is made, and removed after its object is gone. So terminate and rollback need only the rows, and
//! leave nothing behind, wherever a process is killed.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::domain::instance::VnfState;
use crate::domain::replicas::{started_replicas, with_vnf_state};

/// Label on every object we make.
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
/// Its value.
pub const MANAGED_BY: &str = "gybe";
/// Label on every object we make, on pod templates and on volume claim templates: the VNF instance's id.
pub const INSTANCE_LABEL: &str = "gybe.dev/vnf-instance-id";

/// Identifies an object of a VNF instance. Its namespace is that of the instance.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectKey {
    /// `apiVersion`, such as `apps/v1`.
    pub api_version: String,
    /// `kind`.
    pub kind: String,
    /// `metadata.name`, bare.
    pub name: String,
}

impl ObjectKey {
    /// The API group; empty for the core group.
    pub fn group(&self) -> &str {
        self.api_version.split_once('/').map_or("", |(group, _)| group)
    }

    /// The version within the group.
    pub fn version(&self) -> &str {
        self.api_version.split_once('/').map_or(self.api_version.as_str(), |(_, version)| version)
    }

    /// Whether both keys name the same object: the cluster serves it in each version of its group.
    pub fn is_same_object(&self, other: &Self) -> bool {
        (self.group(), &self.kind, &self.name) == (other.group(), &other.kind, &other.name)
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// A kind as discovery describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KindInfo {
    /// The resource's name in URLs, such as `deployments`.
    pub plural: String,
    /// Whether its objects live in a namespace.
    pub namespaced: bool,
}

impl KindInfo {
    /// A kind that the cluster does not serve yet: an `APIService` of the package announces it.
    pub const fn announced() -> Self {
        Self { plural: String::new(), namespaced: true }
    }

    /// Whether the cluster has described it.
    pub const fn is_known(&self) -> bool {
        !self.plural.is_empty()
    }
}

/// One object of a VNF instance: its inventory row. In a plan, the row to be written, without the state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Resource {
    pub key: ObjectKey,
    /// Its kind, as discovered when the operation was planned, or before the object was made.
    pub info: KindInfo,
    /// The VDU it realises, if any.
    pub vdu_id: Option<String>,
    /// The intent: the whole object as it is applied.
    pub manifest: Map<String, Value>,
    #[serde(skip)]
    pub state: ResourceState,
}

/// What is known about an object in the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ResourceState {
    /// It was not made: no request was sent, or the cluster refused it.
    #[default]
    Planned,
    /// A request to make it may have been sent.
    Intent,
    /// It was made or found.
    Present {
        /// `metadata.uid`.
        uid: String,
        /// Whether we made it. A Namespace or CustomResourceDefinition that existed before is used and never deleted.
        owned: bool,
    },
}

impl Resource {
    /// `spec.replicas` of the intent; of a stopped workload, the replicas that it gets back.
    pub fn replicas(&self) -> Option<u32> {
        if let Some(replicas) = started_replicas(&self.manifest) {
            return replicas;
        }
        self.manifest.get("spec")?.get("replicas")?.as_u64()?.try_into().ok()
    }

    /// `terminationGracePeriodSeconds` of the pods of this object; 30 by default.
    pub fn termination_grace(&self) -> u64 {
        let own = self.manifest.get("spec");
        let template = own.and_then(|spec| spec.get("template")).and_then(|template| template.get("spec"));
        let grace = |spec: &Value| spec.get("terminationGracePeriodSeconds")?.as_u64();
        template.or(own).and_then(grace).unwrap_or(30)
    }

    /// The same intent with other replicas. A stopped workload is started.
    pub fn manifest_with_replicas(&self, replicas: u32) -> Map<String, Value> {
        let mut manifest = with_vnf_state(&self.manifest, VnfState::Started);
        if let Some(Value::Object(spec)) = manifest.get_mut("spec") {
            spec.insert("replicas".to_owned(), replicas.into());
        }
        manifest
    }
}

#[cfg(test)]
impl Resource {
    /// The row of an object that does not exist yet.
    pub fn planned(api_version: &str, kind: &str, name: &str, manifest: &Value) -> Self {
        Self {
            key: ObjectKey { api_version: api_version.to_owned(), kind: kind.to_owned(), name: name.to_owned() },
            info: KindInfo { plural: "x".to_owned(), namespaced: true },
            vdu_id: None,
            manifest: manifest.as_object().unwrap().clone(),
            state: ResourceState::Planned,
        }
    }
}
