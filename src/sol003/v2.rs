//! `/vnflcm/v2`: SOL003 3.3.1. `vimConnectionInfo` is a map; `instantiatedVnfInfo` has `maxScaleLevels`, `vnfcInfo` and `metadata`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::domain::instance::{InstantiatedVnfInfo as DomainInfo, VnfInstance as Domain};
use crate::domain::secret::masked_members;
use crate::domain::vdu_mapping::VDU_MAPPING;
use crate::domain::vim::{VimConnection, split_secrets};
use crate::sol003::Edition;
use crate::sol003::common::{
    InstantiatedAttributes, ScaleInfo, VnfInstanceAttributes, VnfcInfo, optional_id, scale_infos,
};

/// One entry of `vimConnectionInfo` (clause 4.4.1.6). The key in the map is its id.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct VimConnectionInfo {
    /// A registered VIM.
    #[serde(default, deserialize_with = "optional_id", skip_serializing_if = "Option::is_none")]
    pub vim_id: Option<String>,
    /// `ETSINFV.KUBERNETES.V_1` or `kubernetes`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vim_type: Option<String>,
    /// `endpoint`, `ssl_ca_cert`, `insecure`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub interface_info: Option<Map<String, Value>>,
    /// `bearer_token`, or `client_cert` with `client_key`. Secrets never come back.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub access_info: Option<Map<String, Value>>,
    /// The client's own data.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub extra: Option<Map<String, Value>>,
}

impl From<VimConnectionInfo> for VimConnection {
    fn from(wire: VimConnectionInfo) -> Self {
        let (access_info, secrets) = split_secrets(wire.access_info.unwrap_or_default());
        Self {
            vim_id: wire.vim_id,
            vim_name: None,
            vim_type: wire.vim_type.unwrap_or_else(|| "ETSINFV.KUBERNETES.V_1".to_owned()),
            interface_info: masked_members(wire.interface_info.unwrap_or_default()),
            access_info,
            secrets,
            extra: masked_members(wire.extra.unwrap_or_default()),
            home: false,
            lender: None,
            added_by: None,
        }
    }
}

impl From<&VimConnection> for VimConnectionInfo {
    /// The connection without its secrets.
    fn from(connection: &VimConnection) -> Self {
        let full = |map: &Map<String, Value>| (!map.is_empty()).then(|| map.clone());
        Self {
            vim_id: connection.vim_name.clone().or_else(|| connection.vim_id.clone()),
            vim_type: Some(connection.vim_type.clone()),
            interface_info: full(&connection.interface_info),
            access_info: full(&connection.access_info),
            extra: full(&connection.extra),
        }
    }
}

impl VimConnectionInfo {
    /// The members of `connection` that a patch is merged into: without `accessInfo`, and with the id of a VIM that the client named.
    pub fn of(connection: &VimConnection) -> Self {
        Self { vim_id: connection.vim_id.clone(), access_info: None, ..connection.into() }
    }
}

/// `InstantiateVnfRequest` (clause 5.5.2.4), the members that Gybe reads.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstantiateVnfRequest {
    /// The deployment flavour.
    pub flavour_id: String,
    /// The instantiation level; the VNFD's default if absent.
    #[serde(default, deserialize_with = "optional_id")]
    pub instantiation_level_id: Option<String>,
    /// The VIM; the default VIM if absent. With several entries, the VNF lives in the first of Kubernetes. Others that Gybe can't use
    /// are kept without their credentials.
    pub vim_connection_info: Option<BTreeMap<String, VimConnectionInfo>>,
    /// Ignored: the manifests of a CNF define its connections. The op occurrence records it.
    #[schema(value_type = Option<Vec<Object>>)]
    pub ext_virtual_links: Option<Vec<Map<String, Value>>>,
    /// Ignored. The op occurrence records it.
    #[schema(value_type = Option<Vec<Object>>)]
    pub ext_managed_virtual_links: Option<Vec<Map<String, Value>>>,
    /// Ignored. The op occurrence records it.
    pub localization_language: Option<String>,
    /// The first entry of the array in 2.6.1. The map of 3.3.1 has the order of the ids.
    #[serde(skip)]
    pub first_connection: Option<String>,
    /// `namespace`, `createNamespace`, `lcm-kubernetes-def-files`, `vdu_mapping`.
    #[schema(value_type = Option<Object>)]
    pub additional_params: Option<Map<String, Value>>,
    /// Merged into the attribute of the instance.
    #[schema(value_type = Option<Object>)]
    pub extensions: Option<Map<String, Value>>,
    /// Merged into the attribute of the instance.
    #[schema(value_type = Option<Object>)]
    pub vnf_configurable_properties: Option<Map<String, Value>>,
    /// An extension: the plan of a preview. The task runs exactly this plan, or is refused with 409.
    #[serde(rename = "gybe:planId")]
    pub plan_id: Option<String>,
}

/// `ChangeCurrentVnfPkgRequest` (clause 5.5.2.11a), the members that Gybe reads.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChangeCurrentVnfPkgRequest {
    /// The VNFD of the new package.
    pub vnfd_id: String,
    /// Merged into the attribute of the instance at once. A rollback does not undo it. The VNF stays in its VIM.
    pub vim_connection_info: Option<BTreeMap<String, VimConnectionInfo>>,
    /// `lcm-kubernetes-def-files` and `vdu_mapping`, as for an instantiation. `namespace` must be the present one, `upgrade_type` must be
    /// `RollingUpdate`. `vdu_params` is validated only: all VDUs are changed.
    #[schema(value_type = Option<Object>)]
    pub additional_params: Option<Map<String, Value>>,
    /// Merged into the attribute of the instance.
    #[schema(value_type = Option<Object>)]
    pub extensions: Option<Map<String, Value>>,
    /// Merged into the attribute of the instance.
    #[schema(value_type = Option<Object>)]
    pub vnf_configurable_properties: Option<Map<String, Value>>,
    /// An extension: the plan of a preview. The task runs exactly this plan, or is refused with 409.
    #[serde(rename = "gybe:planId")]
    pub plan_id: Option<String>,
}

/// `VnfInfoModificationRequest` (clause 5.5.2.12).
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct VnfInfoModificationRequest {
    /// New name.
    pub vnf_instance_name: Option<String>,
    /// New description.
    pub vnf_instance_description: Option<String>,
    /// The VNFD of another package: the containers of the INSTANTIATED VNF are updated to its ConfigMaps, Secrets and images.
    pub vnfd_id: Option<String>,
    /// Merge patch of the metadata; `namespace` is reserved.
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Map<String, Value>>,
    /// Merge patch.
    #[schema(value_type = Option<Object>)]
    pub extensions: Option<Map<String, Value>>,
    /// Merge patch.
    #[schema(value_type = Option<Object>)]
    pub vnf_configurable_properties: Option<Map<String, Value>>,
    /// Merge patch by id: members of an entry are merged, `null` removes one.
    #[schema(value_type = Option<Object>)]
    pub vim_connection_info: Option<BTreeMap<String, Option<VimConnectionInfo>>>,
}

/// `VnfInstance` (clause 5.5.2.2).
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = VnfInstanceV2)]
pub struct VnfInstance {
    #[serde(flatten)]
    attributes: VnfInstanceAttributes,
    /// Lists leave it out by default.
    #[schema(required = false)]
    vim_connection_info: BTreeMap<String, VimConnectionInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instantiated_vnf_info: Option<InstantiatedVnfInfo>,
}

/// `InstantiatedVnfInfo` (clause 5.5.2.2).
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = InstantiatedVnfInfoV2)]
struct InstantiatedVnfInfo {
    #[serde(flatten)]
    attributes: InstantiatedAttributes,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    max_scale_levels: Vec<ScaleInfo>,
    /// Selectors of a list can leave it out.
    #[schema(required = false)]
    vnfc_info: Vec<VnfcInfo>,
    /// The namespace, the definition files, and the workloads that `vdu_mapping` names. Selectors of a list can leave it out.
    #[schema(value_type = Object, required = false)]
    metadata: Value,
}

impl VnfInstance {
    /// The wire form of `instance`, with links below `base` (scheme, host and port).
    pub fn new(instance: &Domain, base: &str) -> Self {
        let info = instance.instantiated.as_ref();
        Self {
            attributes: VnfInstanceAttributes::new(instance, Edition::V2, base),
            vim_connection_info: instance.vim_connections.iter().map(|(id, vim)| (id.clone(), vim.into())).collect(),
            instantiated_vnf_info: info.map(|info| InstantiatedVnfInfo {
                attributes: InstantiatedAttributes::new(info, instance.vim_connection_id()),
                max_scale_levels: scale_infos(&info.max_scale_levels),
                vnfc_info: info.vnfcs.iter().map(VnfcInfo::new).collect(),
                metadata: metadata(instance, info),
            }),
        }
    }
}

/// `instantiatedVnfInfo.metadata`.
fn metadata(instance: &Domain, info: &DomainInfo) -> Value {
    let mut metadata = Map::new();
    metadata.insert("namespace".to_owned(), json!(instance.metadata.namespace));
    metadata.insert("lcm-kubernetes-def-files".to_owned(), json!(info.definition_files));
    if !info.vdu_mapping.is_empty() {
        metadata.insert(VDU_MAPPING.to_owned(), json!(info.vdu_mapping));
    }
    metadata.into()
}
