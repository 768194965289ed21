//! The VNF instance (SOL003 clause 5.5.2.2): one model behind both editions of the API.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::OffsetDateTime;

use crate::domain::ids::{ProjectId, VnfInstanceId, VnfPkgId};
use crate::domain::namespace::Namespace;
use crate::domain::scale::ScaleLevels;
use crate::domain::vdu_mapping::VduMapping;
use crate::domain::vim::VimConnection;
use crate::domain::vnfd::Vnfd;
use crate::domain::warning::Warnings;

/// A VNF instance.
#[derive(Clone, Debug)]
pub struct VnfInstance {
    /// Its identifier.
    pub id: VnfInstanceId,
    /// The tenant.
    pub project_id: ProjectId,
    /// `vnfInstanceName`.
    pub name: Option<String>,
    /// `vnfInstanceDescription`.
    pub description: Option<String>,
    /// `vnfdId`.
    pub vnfd_id: String,
    /// The package that carries the VNFD.
    pub vnf_pkg_id: VnfPkgId,
    /// `vnfProvider`.
    pub provider: String,
    /// `vnfProductName`.
    pub product_name: String,
    /// `vnfSoftwareVersion`.
    pub software_version: String,
    /// `vnfdVersion`.
    pub vnfd_version: String,
    /// The caller's metadata and the namespace.
    pub metadata: VnfMetadata,
    /// `extensions`.
    pub extensions: Map<String, Value>,
    /// `vnfConfigurableProperties`.
    pub configurable_properties: Map<String, Value>,
    /// `vimConnectionInfo` by its id. Operations use [`VnfInstance::home`].
    pub vim_connections: BTreeMap<String, VimConnection>,
    /// Present while the instance is INSTANTIATED.
    pub instantiated: Option<InstantiatedVnfInfo>,
    /// The warnings of the operation that created its present objects.
    pub warnings: Warnings,
    /// Counts the changes of the row: the ETag, and the value that a compare-and-swap compares.
    pub version: i64,
    /// When the row was made; lists are in this order.
    pub created_at: OffsetDateTime,
}

impl VnfInstance {
    /// `instantiationState`.
    pub const fn instantiation_state(&self) -> &'static str {
        if self.instantiated.is_some() { "INSTANTIATED" } else { "NOT_INSTANTIATED" }
    }

    /// The `vimConnectionInfo` entry of the VIM that the VNF lives in, with its id.
    pub fn home(&self) -> Option<(&String, &VimConnection)> {
        self.vim_connections.iter().find(|(_, connection)| connection.home)
    }

    /// What tells that VIM from others: the endpoint of an inline connection, whose `vimId` may be any text, or the id of its registration.
    pub fn vim(&self) -> Option<&str> {
        let (_, home) = self.home()?;
        let endpoint = home.interface_info.get("endpoint").and_then(Value::as_str);
        endpoint.or(home.vim_id.as_deref())
    }

    /// The id of that entry; empty if there is none.
    pub fn vim_connection_id(&self) -> &str {
        self.home().map_or("", |(id, _)| id)
    }
}

/// The attributes that a VNF instance takes from its package (SOL003 clause 5.5.2.2).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PackageAttributes {
    /// The package.
    pub id: VnfPkgId,
    /// `vnfdId`.
    pub vnfd_id: String,
    /// `vnfProvider`.
    pub provider: String,
    /// `vnfProductName`.
    pub product_name: String,
    /// `vnfSoftwareVersion`.
    pub software_version: String,
    /// `vnfdVersion`.
    pub vnfd_version: String,
}

impl PackageAttributes {
    /// Those of the package `id` with the descriptor `vnfd`.
    pub fn new(id: VnfPkgId, vnfd: &Vnfd) -> Self {
        Self {
            id,
            vnfd_id: vnfd.id.clone(),
            provider: vnfd.provider.clone(),
            product_name: vnfd.product_name.clone(),
            software_version: vnfd.software_version.clone(),
            vnfd_version: vnfd.version.clone(),
        }
    }

    /// Sets them on `instance`.
    pub fn apply_to(&self, instance: &mut VnfInstance) {
        instance.vnf_pkg_id = self.id;
        instance.vnfd_id.clone_from(&self.vnfd_id);
        instance.provider.clone_from(&self.provider);
        instance.product_name.clone_from(&self.product_name);
        instance.software_version.clone_from(&self.software_version);
        instance.vnfd_version.clone_from(&self.vnfd_version);
    }
}

/// The key of [`VnfMetadata`] that callers cannot write.
pub const NAMESPACE_KEY: &str = "namespace";

/// `vnf_instances.vnf_metadata`: the caller's keys, and under the reserved key `namespace` the namespace of the VNF, from the 202 of
/// its instantiation to the end of termination or rollback. The namespace is stored nowhere else.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct VnfMetadata {
    /// The namespace of all namespaced objects of the VNF.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub namespace: Option<Namespace>,
    /// The caller's keys; never `namespace`.
    #[serde(flatten)]
    pub user: Map<String, Value>,
}

/// `vnfState` (SOL003 clause 5.5.4.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum VnfState {
    /// The VNF runs.
    Started,
    /// The VNF is stopped.
    Stopped,
}

/// `instantiatedVnfInfo`, as last observed in the VIM.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InstantiatedVnfInfo {
    /// `flavourId`.
    pub flavour_id: String,
    /// `vnfState`.
    pub vnf_state: VnfState,
    /// `scaleStatus`.
    pub scale_levels: ScaleLevels,
    /// `maxScaleLevels`.
    pub max_scale_levels: ScaleLevels,
    /// The definition files the objects came from.
    pub definition_files: Vec<String>,
    /// The workloads of VDUs that a request named.
    #[serde(default, skip_serializing_if = "VduMapping::is_empty")]
    pub vdu_mapping: VduMapping,
    /// The pods.
    pub vnfcs: Vec<Vnfc>,
    /// The volumes.
    pub storages: Vec<VirtualStorage>,
}

/// A VNFC: one pod of a VDU's workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vnfc {
    /// The VDU, by its node template name.
    pub vdu_id: String,
    /// Its `vnfcResourceInfo.id` if that is not the pod's name, because the pod replaced another one; see
    /// [`crate::domain::vnfc_ids`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_id: Option<String>,
    /// The pod's name: `computeResource.resourceId`.
    pub pod_name: String,
    /// The pod's uid: it differs between a pod and its replacement of the same name.
    pub pod_uid: String,
    /// Kind of the object the pod descends from: `computeResource.vimLevelResourceType`.
    pub workload_kind: String,
    /// Name of that object.
    pub workload_name: String,
}

impl Vnfc {
    /// `vnfcResourceInfo.id`: the name of the first pod of the VNFC.
    pub fn id(&self) -> &str {
        self.kept_id.as_deref().unwrap_or(&self.pod_name)
    }

    /// `vnfcInfo.id`, as Tacker builds it.
    pub fn info_id(&self) -> String {
        format!("{}-{}", self.vdu_id, self.id())
    }
}

/// A volume claim of the VNF.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VirtualStorage {
    /// Name of the PersistentVolumeClaim.
    pub claim_name: String,
    /// Its uid.
    pub claim_uid: String,
}
