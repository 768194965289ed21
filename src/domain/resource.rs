//! The inventory: the objects of a VNF instance in its cluster, one row of `vnf_resources` each.
//!
//! A row is written before the object is made and removed after the object is gone, so that terminate and rollback
//! work from the rows alone and nothing is left behind, wherever a process is killed.

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

/// What names an object among those of one VNF instance. Its namespace is the instance's.
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

    /// Whether it is the same object to the cluster, which serves it in each version of its group.
    pub fn is_same_object(&self, other: &Self) -> bool {
        (self.group(), &self.kind, &self.name) == (other.group(), &other.kind, &other.name)
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// What the cluster's discovery says of a kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KindInfo {
    /// The resource's name in URLs, such as `deployments`.
    pub plural: String,
    /// Whether its objects live in a namespace.
    pub namespaced: bool,
}

/// One object of a VNF instance. In a plan it is what the row is to say, without the state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Resource {
    /// Which object.
    pub key: ObjectKey,
    /// Its kind, as discovered when the operation was planned.
    pub info: KindInfo,
    /// The VDU it realises, if any.
    pub vdu_id: Option<String>,
    /// The whole intent, as it is applied.
    pub manifest: Map<String, Value>,
    /// What is known of it in the cluster.
    #[serde(skip)]
    pub state: ResourceState,
}

/// What is known of an object in the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ResourceState {
    /// It has not been made: no request was sent, or the cluster refused it.
    #[default]
    Planned,
    /// A request to make it may have been sent.
    Intent,
    /// It is there.
    Present {
        /// `metadata.uid`.
        uid: String,
        /// Whether we made it. A Namespace or CustomResourceDefinition that was there before us is used and never deleted.
        owned: bool,
    },
}

impl Resource {
    /// `spec.replicas` of the intent; of a workload that is stopped, those it has when it is started.
    pub fn replicas(&self) -> Option<u32> {
        if let Some(replicas) = started_replicas(&self.manifest) {
            return replicas;
        }
        self.manifest.get("spec")?.get("replicas")?.as_u64()?.try_into().ok()
    }

    /// The time that the pods of this object are given to end, in seconds: `terminationGracePeriodSeconds`, 30 if it
    /// does not say.
    pub fn termination_grace(&self) -> u64 {
        let own = self.manifest.get("spec");
        let template = own.and_then(|spec| spec.get("template")).and_then(|template| template.get("spec"));
        let says = |spec: &Value| spec.get("terminationGracePeriodSeconds")?.as_u64();
        template.or(own).and_then(says).unwrap_or(30)
    }

    /// The same intent with other replicas; of a workload that was stopped, it is started.
    pub fn manifest_with_replicas(&self, replicas: u32) -> Map<String, Value> {
        let mut manifest = with_vnf_state(&self.manifest, VnfState::Started);
        if let Some(Value::Object(spec)) = manifest.get_mut("spec") {
            spec.insert("replicas".to_owned(), replicas.into());
        }
        manifest
    }
}
