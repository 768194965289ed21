//! `/vnflcm/v1`: SOL003 2.6.1. `vimConnectionInfo` is an array whose entries have an `id`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::domain::instance::VnfInstance as Domain;
use crate::sol003::common::{InstantiatedAttributes, VnfInstanceAttributes, optional_id};
use crate::sol003::{Edition, v2};

/// One entry of `vimConnectionInfo` (clause 4.4.1.6).
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = VimConnectionInfoV1)]
pub struct VimConnectionInfo {
    /// Its identifier, which the client chooses.
    pub id: String,
    /// The other members.
    #[serde(flatten)]
    pub info: v2::VimConnectionInfo,
}

/// The array form of a map of connections, for `operationParams`.
pub fn connection_array(map: Map<String, Value>) -> Value {
    let entries = map.into_iter().filter_map(|(id, entry)| match entry {
        Value::Object(mut entry) => {
            entry.insert("id".to_owned(), id.into());
            Some(Value::Object(entry))
        }
        // A patch that removed the entry.
        _ => None,
    });
    entries.collect()
}

/// Converts an array of connections to the map form, to merge a patch. Leaves an array with a wrong entry as it is: the type
/// check refuses it.
pub fn connection_map(array: &mut Value) {
    let Value::Array(entries) = array else { return };
    let id = |entry: &Value| entry.get("id")?.as_str().map(str::to_owned);
    if entries.iter().all(|entry| id(entry).is_some()) {
        let named = entries.drain(..).filter_map(|mut entry| {
            let id = id(&entry)?;
            entry.as_object_mut()?.remove("id");
            Some((id, entry))
        });
        *array = Value::Object(named.collect());
    }
}

/// `InstantiateVnfRequest` (clause 5.5.2.4), the members that Gybe reads.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = InstantiateVnfRequestV1)]
pub struct InstantiateVnfRequest {
    /// The deployment flavour.
    pub flavour_id: String,
    /// The instantiation level; the VNFD's default if absent.
    #[serde(default, deserialize_with = "optional_id")]
    pub instantiation_level_id: Option<String>,
    /// The VIM; the default VIM if absent.
    pub vim_connection_info: Option<Vec<VimConnectionInfo>>,
    /// Ignored: the manifests of a CNF define its connections. The op occurrence records it.
    #[schema(value_type = Option<Vec<Object>>)]
    pub ext_virtual_links: Option<Vec<Map<String, Value>>>,
    /// Ignored. The op occurrence records it.
    #[schema(value_type = Option<Vec<Object>>)]
    pub ext_managed_virtual_links: Option<Vec<Map<String, Value>>>,
    /// Ignored. The op occurrence records it.
    pub localization_language: Option<String>,
    /// `namespace`, `createNamespace`, `lcm-kubernetes-def-files`, `vdu_mapping`.
    #[schema(value_type = Option<Object>)]
    pub additional_params: Option<Map<String, Value>>,
    /// Merged into the attribute of the instance.
    #[schema(value_type = Option<Object>)]
    pub extensions: Option<Map<String, Value>>,
    /// An extension: the plan of a preview. The task runs exactly this plan, or is refused with 409.
    #[serde(rename = "gybe:planId")]
    pub plan_id: Option<String>,
}

impl From<InstantiateVnfRequest> for v2::InstantiateVnfRequest {
    fn from(request: InstantiateVnfRequest) -> Self {
        Self {
            flavour_id: request.flavour_id,
            instantiation_level_id: request.instantiation_level_id,
            first_connection: request.vim_connection_info.iter().flatten().next().map(|entry| entry.id.clone()),
            vim_connection_info: request
                .vim_connection_info
                .map(|entries| entries.into_iter().map(|entry| (entry.id, entry.info)).collect()),
            ext_virtual_links: request.ext_virtual_links,
            ext_managed_virtual_links: request.ext_managed_virtual_links,
            localization_language: request.localization_language,
            additional_params: request.additional_params,
            extensions: request.extensions,
            vnf_configurable_properties: None,
            plan_id: request.plan_id,
        }
    }
}

/// `VnfInfoModificationRequest` (clause 5.5.2.12). An entry of `vimConnectionInfo` is merged into the entry with its `id`, or added.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = VnfInfoModificationRequestV1)]
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
    /// Entries to merge by `id`, or to add.
    pub vim_connection_info: Option<Vec<VimConnectionInfo>>,
}

/// `VnfInstance` (clause 5.5.2.2).
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = VnfInstanceV1)]
pub struct VnfInstance {
    #[serde(flatten)]
    attributes: VnfInstanceAttributes,
    vnf_pkg_id: String,
    /// Lists leave it out by default.
    #[schema(required = false)]
    vim_connection_info: Vec<VimConnectionInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instantiated_vnf_info: Option<InstantiatedAttributes>,
}

impl VnfInstance {
    /// The wire form of `instance`, with links below `base` (scheme, host and port).
    pub fn new(instance: &Domain, base: &str) -> Self {
        let info = instance.instantiated.as_ref();
        let connections = instance.vim_connections.iter();
        Self {
            attributes: VnfInstanceAttributes::new(instance, Edition::V1, base),
            vnf_pkg_id: instance.vnf_pkg_id.to_string(),
            vim_connection_info: connections
                .map(|(id, vim)| VimConnectionInfo { id: id.clone(), info: vim.into() })
                .collect(),
            instantiated_vnf_info: info.map(|info| InstantiatedAttributes::new(info, instance.vim_connection_id())),
        }
    }
}
