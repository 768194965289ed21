//! Wire types that both editions share (SOL003 2.6.1 and 3.3.1 are the same, or one has more optional members).

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use crate::domain::instance::{InstantiatedVnfInfo, VirtualStorage, VnfInstance, VnfMetadata, VnfState, Vnfc};
use crate::domain::op_occ::CancelMode as DomainCancelMode;
use crate::domain::resource_changes::{
    AffectedStorage, AffectedVnfc as DomainAffectedVnfc, ChangeType, ResourceChanges as DomainResourceChanges,
};
use crate::domain::scale::ScaleLevels;
use crate::domain::warning::Warnings;
use crate::sol003::Edition;

/// `ProblemDetails` (SOL013 clause 6.3.3).
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the body that `error::response` writes; never constructed")]
pub struct ProblemDetails {
    /// The URN of the problem's type.
    #[schema(rename = "type")]
    kind: Option<String>,
    /// A short text, the same for each problem of the type.
    title: Option<String>,
    /// The HTTP status code.
    status: u16,
    /// What is wrong, what is allowed, and what to do. Each value in it is also a member of its own.
    detail: String,
    /// A link to the documentation of the type.
    help: Option<String>,
}

/// Reads an optional identifier. Some clients send an empty text for none.
///
/// # Errors
/// It is no text.
pub fn optional_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.filter(|id| !id.is_empty()))
}

/// Reads an optional member. Many clients send `null` for an absent one.
///
/// # Errors
/// It is of another type.
pub fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// The content of a file, as it is.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
#[expect(dead_code, reason = "describes bodies that `api` streams; never constructed")]
pub struct FileContent(Vec<u8>);

/// `Link` (SOL013 clause 6.4).
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Link {
    /// Absolute URI.
    pub href: String,
}

impl Link {
    /// A link to `href`.
    pub fn to(href: impl Into<String>) -> Self {
        Self { href: href.into() }
    }
}

/// The parameters of a list (SOL013 clauses 5.2 to 5.4).
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes what `api::list` reads; never constructed")]
pub struct ListParameters {
    /// Conditions that an element must all meet, such as `(eq,vnfProvider,Company);(in,vnfdId,a,b)`.
    filter: Option<String>,
    /// Show all attributes. A flag without a value.
    all_fields: Option<String>,
    /// Of the optional structures, arrays and maps, show only these.
    fields: Option<String>,
    /// Do not show these structures, arrays and maps.
    exclude_fields: Option<String>,
    /// Do not show the attributes that are left out by default: alone, or with `fields`. A flag without a value.
    exclude_default: Option<String>,
    /// The marker in the Link header of the page before.
    nextpage_opaque_marker: Option<String>,
    /// Show the elements of all projects, an extension: `true`, for admins only. Each names its project.
    all_projects: Option<String>,
}

/// `CreateVnfRequest` (clause 5.5.2.3).
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreateVnfRequest {
    /// The VNFD of the new instance.
    pub vnfd_id: String,
    /// A display name.
    pub vnf_instance_name: Option<String>,
    /// A description.
    pub vnf_instance_description: Option<String>,
    /// The client's own data. `namespace` is reserved.
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Map<String, Value>>,
}

/// `ScaleVnfRequest` (clause 5.5.2.5).
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScaleVnfRequest {
    /// Direction.
    #[serde(rename = "type")]
    pub scale_type: ScaleType,
    /// The scaling aspect.
    pub aspect_id: String,
    /// How many steps; 1 if absent.
    #[schema(minimum = 1)]
    pub number_of_steps: Option<u32>,
    /// Ignored. The op occurrence records it.
    #[schema(value_type = Option<Object>)]
    pub additional_params: Option<Map<String, Value>>,
    /// An extension: the plan of a preview. The task runs exactly this plan, or is refused with 409.
    #[serde(rename = "gybe:planId")]
    pub plan_id: Option<String>,
}

/// `ScaleVnfToLevelRequest` (clause 5.5.2.6). Exactly one of `instantiationLevelId` and `scaleInfo`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScaleVnfToLevelRequest {
    /// The instantiation level to go to.
    #[serde(default, deserialize_with = "optional_id")]
    pub instantiation_level_id: Option<String>,
    /// The levels to go to; aspects that are not named stay where they are.
    pub scale_info: Option<Vec<ScaleInfo>>,
    /// Ignored. The op occurrence records it.
    #[schema(value_type = Option<Object>)]
    pub additional_params: Option<Map<String, Value>>,
    /// An extension: the plan of a preview. The task runs exactly this plan, or is refused with 409.
    #[serde(rename = "gybe:planId")]
    pub plan_id: Option<String>,
}

/// `type` of a scale request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ScaleType {
    /// Add instances.
    ScaleOut,
    /// Remove instances.
    ScaleIn,
}

/// `HealVnfRequest` (clause 5.5.2.9, with the VNFC ids of SOL002).
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HealVnfRequest {
    /// The VNFCs to heal, by `vnfcInfo.id` or `vnfcResourceInfo.id`; all if absent or empty.
    pub vnfc_instance_id: Option<Vec<String>>,
    /// Why, for the record.
    pub cause: Option<String>,
    /// Ignored. The op occurrence records it.
    #[schema(value_type = Option<Object>)]
    pub additional_params: Option<Map<String, Value>>,
    /// An extension: the plan of a preview. The task runs exactly this plan, or is refused with 409.
    #[serde(rename = "gybe:planId")]
    pub plan_id: Option<String>,
}

/// `OperateVnfRequest` (clause 5.5.2.10, with the VNFC ids of SOL002).
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OperateVnfRequest {
    /// The new state.
    #[schema(value_type = VnfOperationalStateType)]
    pub change_state_to: VnfState,
    /// For STOPPED only. FORCEFUL, the default, kills pods at once; GRACEFUL lets them end.
    pub stop_type: Option<StopType>,
    /// For GRACEFUL only: pods that still run after this many seconds are killed. Unlimited if absent.
    pub graceful_stop_timeout: Option<u32>,
    /// Must be empty: Kubernetes cannot stop single pods.
    pub vnfc_instance_id: Option<Vec<String>>,
    /// Ignored. The op occurrence records it.
    #[schema(value_type = Option<Object>)]
    pub additional_params: Option<Map<String, Value>>,
    /// An extension: the plan of a preview. The task runs exactly this plan, or is refused with 409.
    #[serde(rename = "gybe:planId")]
    pub plan_id: Option<String>,
}

/// `StopType` (clause 5.5.4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum StopType {
    /// Pods are killed at once.
    Forceful,
    /// Pods have time to end.
    Graceful,
}

// For the OpenAPI documents only: requests and responses use the domain's type.
/// `VnfOperationalStateType` (clause 5.5.4.3).
#[derive(ToSchema)]
#[schema(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum VnfOperationalStateType {
    /// The VNF runs.
    Started,
    /// The VNF has no pods.
    Stopped,
}

/// `TerminateVnfRequest` (clause 5.5.2.8).
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TerminateVnfRequest {
    /// FORCEFUL kills pods at once, GRACEFUL lets them end.
    pub termination_type: TerminationType,
    /// For GRACEFUL only: pods that still run after this many seconds are killed. Unlimited if absent.
    pub graceful_termination_timeout: Option<u32>,
    /// `gybe:abandon` true, an extension: Gybe forgets the objects of the VNF and sends nothing to their cluster, which is lost. The
    /// op occurrence names them in `gybe:warnings`. Others are ignored. The op occurrence records all.
    #[schema(value_type = Option<Object>)]
    pub additional_params: Option<Map<String, Value>>,
    /// An extension: the plan of a preview. The task runs exactly this plan, or is refused with 409.
    #[serde(rename = "gybe:planId")]
    pub plan_id: Option<String>,
}

/// `terminationType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TerminationType {
    /// Pods are killed at once.
    Forceful,
    /// Pods have time to end.
    Graceful,
}

/// `CancelMode` (clause 5.5.2.14).
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CancelMode {
    /// GRACEFUL waits for the requests to the VIM that are under way; FORCEFUL does not.
    #[schema(value_type = CancelModeType)]
    pub cancel_mode: DomainCancelMode,
}

// For the OpenAPI documents only: requests and responses use the domain's type.
/// `CancelModeType` (clause 5.5.4.7).
#[derive(ToSchema)]
#[schema(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CancelModeType {
    /// Requests to the VIM that are under way end first.
    Graceful,
    /// Requests to the VIM that are under way are not waited for.
    Forceful,
}

/// `ScaleInfo` (clause 5.5.3.4).
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScaleInfo {
    /// The scaling aspect.
    pub aspect_id: String,
    /// Its level.
    pub scale_level: u32,
}

/// The wire form of scale levels.
pub fn scale_infos(levels: &ScaleLevels) -> Vec<ScaleInfo> {
    levels.iter().map(|(id, level)| ScaleInfo { aspect_id: id.clone(), scale_level: *level }).collect()
}

/// `ResourceHandle` (clause 4.4.1.7).
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourceHandle {
    /// Id of the `vimConnectionInfo` entry.
    pub vim_connection_id: String,
    /// Name of the Kubernetes object.
    pub resource_id: String,
    /// Its kind; for a pod, the kind of the workload it descends from.
    pub vim_level_resource_type: String,
}

/// `VnfcResourceInfo` (clause 5.5.3.5).
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct VnfcResourceInfo {
    /// The name of its first pod. A heal replaces the pod and keeps the id.
    pub id: String,
    /// The VDU.
    pub vdu_id: String,
    /// The pod.
    pub compute_resource: ResourceHandle,
    /// The workload the pod descends from. Selectors of a list can leave it out.
    #[schema(value_type = Object, required = false)]
    pub metadata: Map<String, Value>,
}

impl VnfcResourceInfo {
    /// The wire form of a VNFC in the VIM of connection `vim`.
    pub fn new(vnfc: &Vnfc, vim: &str) -> Self {
        let mut metadata = Map::new();
        metadata.insert("workload".to_owned(), vnfc.workload_name.clone().into());
        metadata.insert("podUid".to_owned(), vnfc.pod_uid.clone().into());
        Self {
            id: vnfc.id().to_owned(),
            vdu_id: vnfc.vdu_id.clone(),
            compute_resource: compute_resource(vnfc, vim),
            metadata,
        }
    }
}

fn compute_resource(vnfc: &Vnfc, vim: &str) -> ResourceHandle {
    ResourceHandle {
        vim_connection_id: vim.to_owned(),
        resource_id: vnfc.pod_name.clone(),
        vim_level_resource_type: vnfc.workload_kind.clone(),
    }
}

/// `VnfcInfo` (SOL002 clause 5.5.3.25).
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct VnfcInfo {
    /// `<vduId>-<vnfcResourceInfoId>`.
    pub id: String,
    /// The VDU.
    pub vdu_id: String,
    /// Its `vnfcResourceInfo`.
    pub vnfc_resource_info_id: String,
    /// Always STARTED: only running pods are listed.
    pub vnfc_state: &'static str,
}

impl VnfcInfo {
    /// The wire form of a VNFC.
    pub fn new(vnfc: &Vnfc) -> Self {
        Self {
            id: vnfc.info_id(),
            vdu_id: vnfc.vdu_id.clone(),
            vnfc_resource_info_id: vnfc.id().to_owned(),
            vnfc_state: "STARTED",
        }
    }
}

/// `VirtualStorageResourceInfo` (clause 5.5.3.7).
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct VirtualStorageResourceInfo {
    /// The claim's name.
    pub id: String,
    /// The claim's name: descriptors of CNFs do not describe storages.
    pub virtual_storage_desc_id: String,
    /// The claim.
    pub storage_resource: ResourceHandle,
}

impl VirtualStorageResourceInfo {
    /// The wire form of a volume claim in the VIM of connection `vim`.
    pub fn new(storage: &VirtualStorage, vim: &str) -> Self {
        Self {
            id: storage.claim_name.clone(),
            virtual_storage_desc_id: storage.claim_name.clone(),
            storage_resource: ResourceHandle {
                vim_connection_id: vim.to_owned(),
                resource_id: storage.claim_name.clone(),
                vim_level_resource_type: "PersistentVolumeClaim".to_owned(),
            },
        }
    }
}

/// The attributes of a VNF instance that both editions have (clause 5.5.2.2).
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct VnfInstanceAttributes {
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
    /// Lists leave it out by default.
    #[schema(value_type = Object, required = false)]
    vnf_configurable_properties: Map<String, Value>,
    instantiation_state: &'static str,
    /// Lists leave it out by default.
    #[schema(value_type = Object, required = false)]
    metadata: VnfMetadata,
    /// Lists leave it out by default.
    #[schema(value_type = Object, required = false)]
    extensions: Map<String, Value>,
    /// Extension: what Gybe accepted although it is probably not as it was meant.
    #[serde(rename = "gybe:warnings", skip_serializing_if = "Warnings::is_empty")]
    #[schema(value_type = Vec<String>, required = false)]
    warnings: Warnings,
    #[serde(rename = "_links")]
    links: VnfInstanceLinks,
}

impl VnfInstanceAttributes {
    /// The attributes of `instance`, with links below `base` (scheme, host and port) in `edition`.
    pub fn new(instance: &VnfInstance, edition: Edition, base: &str) -> Self {
        let href = format!("{base}{}/vnf_instances/{}", edition.root(), instance.id);
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
            instantiation_state: instance.instantiation_state(),
            metadata: instance.metadata.clone(),
            extensions: instance.extensions.clone(),
            warnings: instance.warnings.clone(),
            links: VnfInstanceLinks::new(&href, edition, instance.instantiated.as_ref()),
        }
    }
}

/// The attributes of an instantiated VNF that both editions have.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstantiatedAttributes {
    flavour_id: String,
    #[schema(value_type = VnfOperationalStateType)]
    vnf_state: VnfState,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    scale_status: Vec<ScaleInfo>,
    /// Selectors of a list can leave it out.
    #[schema(required = false)]
    vnfc_resource_info: Vec<VnfcResourceInfo>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    virtual_storage_resource_info: Vec<VirtualStorageResourceInfo>,
}

impl InstantiatedAttributes {
    /// The attributes of `info`, in the VIM of connection `vim`.
    pub fn new(info: &InstantiatedVnfInfo, vim: &str) -> Self {
        let storages = info.storages.iter();
        Self {
            flavour_id: info.flavour_id.clone(),
            vnf_state: info.vnf_state,
            scale_status: scale_infos(&info.scale_levels),
            vnfc_resource_info: info.vnfcs.iter().map(|vnfc| VnfcResourceInfo::new(vnfc, vim)).collect(),
            virtual_storage_resource_info: storages.map(|one| VirtualStorageResourceInfo::new(one, vim)).collect(),
        }
    }
}

/// `_links` of a VNF instance (clause 5.5.2.2). It has the link of a task only while the task is possible.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct VnfInstanceLinks {
    #[serde(rename = "self")]
    this: Link,
    #[serde(skip_serializing_if = "Option::is_none")]
    instantiate: Option<Link>,
    #[serde(skip_serializing_if = "Option::is_none")]
    terminate: Option<Link>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scale: Option<Link>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scale_to_level: Option<Link>,
    #[serde(skip_serializing_if = "Option::is_none")]
    heal: Option<Link>,
    #[serde(skip_serializing_if = "Option::is_none")]
    operate: Option<Link>,
    #[serde(skip_serializing_if = "Option::is_none")]
    change_current_vnf_pkg: Option<Link>,
}

impl VnfInstanceLinks {
    /// The links of the instance at `href`; `info` is `None` if it is not INSTANTIATED.
    pub fn new(href: &str, edition: Edition, info: Option<&InstantiatedVnfInfo>) -> Self {
        let instantiated = info.is_some();
        let started = info.is_some_and(|info| info.vnf_state == VnfState::Started);
        let scalable = started && info.is_some_and(|info| !info.scale_levels.is_empty());
        let task = |name: &str, possible: bool| possible.then(|| Link::to(format!("{href}/{name}")));
        Self {
            this: Link::to(href),
            instantiate: task("instantiate", !instantiated),
            terminate: task("terminate", instantiated),
            scale: task("scale", scalable),
            scale_to_level: task("scale_to_level", scalable),
            heal: task("heal", instantiated),
            operate: task("operate", instantiated),
            change_current_vnf_pkg: task("change_vnfpkg", started && edition == Edition::V2),
        }
    }
}

/// `resourceChanges` of an op occurrence (clause 5.5.2.13).
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourceChanges {
    /// VNFCs that came or went. Selectors of a list can leave them out.
    #[schema(required = false)]
    pub affected_vnfcs: Vec<AffectedVnfc>,
    /// Volume claims that came or went.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub affected_virtual_storages: Vec<AffectedVirtualStorage>,
}

/// `AffectedVnfc` (clause 5.5.3.12).
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AffectedVnfc {
    /// The `vnfcResourceInfo` concerned.
    pub id: String,
    /// The VDU.
    pub vdu_id: String,
    /// ADDED or REMOVED.
    pub change_type: &'static str,
    /// The pod.
    pub compute_resource: ResourceHandle,
}

/// `AffectedVirtualStorage` (clause 5.5.3.14).
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AffectedVirtualStorage {
    /// The `virtualStorageResourceInfo` concerned.
    pub id: String,
    /// The claim's name: descriptors of CNFs do not describe storages.
    pub virtual_storage_desc_id: String,
    /// ADDED or REMOVED.
    pub change_type: &'static str,
    /// The claim.
    pub storage_resource: ResourceHandle,
}

const fn change_type(change: ChangeType) -> &'static str {
    match change {
        ChangeType::Added => "ADDED",
        ChangeType::Removed => "REMOVED",
    }
}

impl ResourceChanges {
    /// The wire form.
    pub fn new(changes: &DomainResourceChanges) -> Self {
        let affected = |affected: &DomainAffectedVnfc| AffectedVnfc {
            id: affected.vnfc.id().to_owned(),
            vdu_id: affected.vnfc.vdu_id.clone(),
            change_type: change_type(affected.change),
            compute_resource: compute_resource(&affected.vnfc, &changes.vim_connection_id),
        };
        let storage = |affected: &AffectedStorage| {
            let info = VirtualStorageResourceInfo::new(&affected.storage, &changes.vim_connection_id);
            AffectedVirtualStorage {
                id: info.id,
                virtual_storage_desc_id: info.virtual_storage_desc_id,
                change_type: change_type(affected.change),
                storage_resource: info.storage_resource,
            }
        };
        Self {
            affected_vnfcs: changes.affected_vnfcs.iter().map(affected).collect(),
            affected_virtual_storages: changes.affected_storages.iter().map(storage).collect(),
        }
    }
}
