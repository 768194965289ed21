//! `/vnflcm/v2`: SOL003 3.3.1. `vimConnectionInfo` is a map; `instantiatedVnfInfo` has `maxScaleLevels`, `vnfcInfo` and `metadata`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::domain::instance::{InstantiatedVnfInfo as DomainInfo, VnfInstance as Domain, VnfMetadata, VnfState};
use crate::domain::vim::{VimConnection, split_secrets};
use crate::sol003::Edition;
use crate::sol003::common::{
    ScaleInfo, VirtualStorageResourceInfo, VnfInstanceLinks, VnfcInfo, VnfcResourceInfo, scale_infos,
};

/// One entry of `vimConnectionInfo` (clause 4.4.1.6). The key in the map is its id.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct VimConnectionInfo {
    /// A registered VIM.
    #[serde(skip_serializing_if = "Option::is_none")]
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
    /// Anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub extra: Option<Map<String, Value>>,
}

impl From<VimConnectionInfo> for VimConnection {
    fn from(wire: VimConnectionInfo) -> Self {
        let (access_info, secrets) = split_secrets(wire.access_info.unwrap_or_default());
        Self {
            vim_id: wire.vim_id,
            vim_type: wire.vim_type.unwrap_or_else(|| "ETSINFV.KUBERNETES.V_1".to_owned()),
            interface_info: wire.interface_info.unwrap_or_default(),
            access_info,
            secrets,
            extra: wire.extra.unwrap_or_default(),
        }
    }
}

impl From<&VimConnection> for VimConnectionInfo {
    /// The public part: without the secrets.
    fn from(connection: &VimConnection) -> Self {
        let full = |map: &Map<String, Value>| (!map.is_empty()).then(|| map.clone());
        Self {
            vim_id: connection.vim_id.clone(),
            vim_type: Some(connection.vim_type.clone()),
            interface_info: full(&connection.interface_info),
            access_info: full(&connection.access_info),
            extra: full(&connection.extra),
        }
    }
}

/// `InstantiateVnfRequest` (clause 5.5.2.4), what Gybe reads of it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstantiateVnfRequest {
    /// The deployment flavour.
    pub flavour_id: String,
    /// The instantiation level; the VNFD's default if absent.
    pub instantiation_level_id: Option<String>,
    /// The VIM; the default VIM if absent.
    pub vim_connection_info: Option<BTreeMap<String, VimConnectionInfo>>,
    /// `namespace`, `createNamespace`, `lcm-kubernetes-def-files`.
    #[schema(value_type = Option<Object>)]
    pub additional_params: Option<Map<String, Value>>,
    /// Merged into the instance's.
    #[schema(value_type = Option<Object>)]
    pub extensions: Option<Map<String, Value>>,
    /// Merged into the instance's.
    #[schema(value_type = Option<Object>)]
    pub vnf_configurable_properties: Option<Map<String, Value>>,
}

/// `VnfInfoModificationRequest` (clause 5.5.2.12).
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct VnfInfoModificationRequest {
    /// New name.
    pub vnf_instance_name: Option<String>,
    /// New description.
    pub vnf_instance_description: Option<String>,
    /// Merge patch of the metadata; `namespace` is reserved.
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Map<String, Value>>,
    /// Merge patch.
    #[schema(value_type = Option<Object>)]
    pub extensions: Option<Map<String, Value>>,
    /// Merge patch.
    #[schema(value_type = Option<Object>)]
    pub vnf_configurable_properties: Option<Map<String, Value>>,
    /// Entries to add or replace; `null` removes one.
    #[schema(value_type = Option<Object>)]
    pub vim_connection_info: Option<BTreeMap<String, Option<VimConnectionInfo>>>,
}

/// `VnfInstance` (clause 5.5.2.2).
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = VnfInstanceV2)]
pub struct VnfInstance {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    vnf_instance_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vnf_instance_description: Option<String>,
    vnfd_id: String,
    vnf_provider: String,
    vnf_product_name: String,
    vnf_software_version: String,
    vnfd_version: String,
    #[schema(value_type = Object)]
    vnf_configurable_properties: Map<String, Value>,
    vim_connection_info: BTreeMap<String, VimConnectionInfo>,
    instantiation_state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    instantiated_vnf_info: Option<InstantiatedVnfInfo>,
    #[schema(value_type = Object)]
    metadata: VnfMetadata,
    #[schema(value_type = Object)]
    extensions: Map<String, Value>,
    #[serde(rename = "_links")]
    links: VnfInstanceLinks,
}

/// `InstantiatedVnfInfo` (clause 5.5.2.2).
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = InstantiatedVnfInfoV2)]
struct InstantiatedVnfInfo {
    flavour_id: String,
    #[schema(value_type = String)]
    vnf_state: VnfState,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    scale_status: Vec<ScaleInfo>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    max_scale_levels: Vec<ScaleInfo>,
    vnfc_resource_info: Vec<VnfcResourceInfo>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    virtual_storage_resource_info: Vec<VirtualStorageResourceInfo>,
    vnfc_info: Vec<VnfcInfo>,
    #[schema(value_type = Object)]
    metadata: Value,
}

impl VnfInstance {
    /// The wire form of `instance`, with links below `base` (scheme, host and port).
    pub fn new(instance: &Domain, base: &str) -> Self {
        let href = format!("{base}{}/vnf_instances/{}", Edition::V2.root(), instance.id);
        let info = instance.instantiated.as_ref();
        Self {
            id: instance.id.to_string(),
            vnf_instance_name: instance.name.clone(),
            vnf_instance_description: instance.description.clone(),
            vnfd_id: instance.vnfd_id.clone(),
            vnf_provider: instance.provider.clone(),
            vnf_product_name: instance.product_name.clone(),
            vnf_software_version: instance.software_version.clone(),
            vnfd_version: instance.vnfd_version.clone(),
            vnf_configurable_properties: instance.configurable_properties.clone(),
            vim_connection_info: instance.vim_connections.iter().map(|(id, vim)| (id.clone(), vim.into())).collect(),
            instantiation_state: instance.instantiation_state(),
            instantiated_vnf_info: info.map(|info| InstantiatedVnfInfo::new(instance, info)),
            metadata: instance.metadata.clone(),
            extensions: instance.extensions.clone(),
            links: VnfInstanceLinks::new(&href, info.is_some(), info.is_some_and(|info| !info.scale_levels.is_empty())),
        }
    }
}

impl InstantiatedVnfInfo {
    fn new(instance: &Domain, info: &DomainInfo) -> Self {
        let vim = instance.vim_connection_id();
        Self {
            flavour_id: info.flavour_id.clone(),
            vnf_state: info.vnf_state,
            scale_status: scale_infos(&info.scale_levels),
            max_scale_levels: scale_infos(&info.max_scale_levels),
            vnfc_resource_info: info.vnfcs.iter().map(|vnfc| VnfcResourceInfo::new(vnfc, vim)).collect(),
            virtual_storage_resource_info: info
                .storages
                .iter()
                .map(|storage| VirtualStorageResourceInfo::new(storage, vim))
                .collect(),
            vnfc_info: info.vnfcs.iter().map(VnfcInfo::new).collect(),
            metadata: json!({
                "namespace": instance.metadata.namespace,
                "lcm-kubernetes-def-files": info.definition_files,
            }),
        }
    }
}
