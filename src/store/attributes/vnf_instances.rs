//! `VnfInstance` (SOL003 clause 5.5.2.2) over `vnf_instances`.

use super::{Attribute, AttributeKind, AttributeType, JsonRows, Members, attribute, mandatory, never, text};
use crate::domain::vim::PUBLIC_ACCESS;

/// Attributes in edition 2.6.1.
pub static V1: Members = Members::of(&[
    ID,
    NAME,
    DESCRIPTION,
    VNFD_ID,
    PROVIDER,
    PRODUCT_NAME,
    SOFTWARE_VERSION,
    VNFD_VERSION,
    text("vnfPkgId", "vnf_instances.vnf_pkg_id"),
    PROPERTIES,
    STATE,
    METADATA,
    EXTENSIONS,
    attribute("vimConnectionInfo", AttributeKind::Array(CONNECTIONS, Members::of(&CONNECTION_V1))),
    attribute("instantiatedVnfInfo", AttributeKind::Structure(Members::of(&INSTANTIATED_V1))),
    WARNINGS,
]);

/// Attributes in edition 3.3.1.
pub static V2: Members = Members::of(&[
    ID,
    NAME,
    DESCRIPTION,
    VNFD_ID,
    PROVIDER,
    PRODUCT_NAME,
    SOFTWARE_VERSION,
    VNFD_VERSION,
    PROPERTIES,
    STATE,
    METADATA,
    EXTENSIONS,
    attribute("vimConnectionInfo", AttributeKind::Map(CONNECTIONS, Members::of(&CONNECTION_V2))),
    attribute("instantiatedVnfInfo", AttributeKind::Structure(Members::of(&INSTANTIATED_V2))),
    WARNINGS,
]);

/// Attributes that a list leaves out by default (SOL003 clause 5.4.2.3.2).
pub const NOT_BY_DEFAULT: &[&str] =
    &["vnfConfigurableProperties", "vimConnectionInfo", "instantiatedVnfInfo", "metadata", "extensions"];

const WARNINGS: Attribute = mandatory("gybe:warnings", AttributeKind::Open("vnf_instances.warnings"));
const ID: Attribute = text("id", "vnf_instances.id");
const NAME: Attribute = text("vnfInstanceName", "vnf_instances.vnf_instance_name");
const DESCRIPTION: Attribute = text("vnfInstanceDescription", "vnf_instances.vnf_instance_description");
const VNFD_ID: Attribute = text("vnfdId", "vnf_instances.vnfd_id");
const PROVIDER: Attribute = text("vnfProvider", "vnf_instances.vnf_provider");
const PRODUCT_NAME: Attribute = text("vnfProductName", "vnf_instances.vnf_product_name");
const SOFTWARE_VERSION: Attribute = text("vnfSoftwareVersion", "vnf_instances.vnf_software_version");
const VNFD_VERSION: Attribute = text("vnfdVersion", "vnf_instances.vnfd_version");
const PROPERTIES: Attribute =
    attribute("vnfConfigurableProperties", AttributeKind::Open("vnf_instances.vnf_configurable_properties"));
const METADATA: Attribute = attribute("metadata", AttributeKind::Open("vnf_instances.vnf_metadata"));
const EXTENSIONS: Attribute = attribute("extensions", AttributeKind::Open("vnf_instances.extensions"));
const STATE: Attribute = attribute(
    "instantiationState",
    AttributeKind::Simple(
        AttributeType::Enumeration(&["NOT_INSTANTIATED", "INSTANTIATED"]),
        "CASE WHEN vnf_instances.instantiated_vnf_info IS NULL THEN 'NOT_INSTANTIATED' ELSE 'INSTANTIATED' END",
    ),
);

const CONNECTIONS: JsonRows = JsonRows::Members("vnf_instances.vim_connections");
const VIM_ID: Attribute = text("vimId", "entry.value ->> 'vim_id'");
const VIM_TYPE: Attribute = text("vimType", "entry.value ->> 'vim_type'");
const INTERFACE_INFO: Attribute = attribute("interfaceInfo", AttributeKind::Open("entry.value -> 'interface_info'"));
const ACCESS_INFO: Attribute =
    attribute("accessInfo", AttributeKind::OpenMembers("entry.value -> 'access_info'", &PUBLIC_ACCESS));
const EXTRA: Attribute = attribute("extra", AttributeKind::Open("entry.value -> 'extra'"));
static CONNECTION_V1: [Attribute; 6] = [text("id", "entry.key"), VIM_ID, VIM_TYPE, INTERFACE_INFO, ACCESS_INFO, EXTRA];
static CONNECTION_V2: [Attribute; 5] = [VIM_ID, VIM_TYPE, INTERFACE_INFO, ACCESS_INFO, EXTRA];

static INSTANTIATED_V1: [Attribute; 12] = [
    FLAVOUR_ID,
    VNF_STATE,
    SCALE_STATUS,
    VNFC_RESOURCES,
    STORAGES,
    EXT_CPS,
    EXT_VIRTUAL_LINKS,
    EXT_MANAGED_VIRTUAL_LINKS,
    MONITORING_PARAMETERS,
    LANGUAGE,
    VIRTUAL_LINKS,
    OTHER_VIRTUAL_LINKS,
];

static INSTANTIATED_V2: [Attribute; 15] = [
    FLAVOUR_ID,
    VNF_STATE,
    SCALE_STATUS,
    VNFC_RESOURCES,
    STORAGES,
    EXT_CPS,
    EXT_VIRTUAL_LINKS,
    EXT_MANAGED_VIRTUAL_LINKS,
    MONITORING_PARAMETERS,
    LANGUAGE,
    VIRTUAL_LINKS,
    OTHER_VIRTUAL_LINKS,
    attribute(
        "maxScaleLevels",
        AttributeKind::Array(
            JsonRows::Members("vnf_instances.instantiated_vnf_info -> 'max_scale_levels'"),
            SCALE_INFO,
        ),
    ),
    attribute("vnfcInfo", AttributeKind::Array(VNFCS, Members::of(&VNFC_INFO))),
    attribute("metadata", AttributeKind::Structure(Members::of(&INSTANTIATED_METADATA))),
];

const FLAVOUR_ID: Attribute = text("flavourId", "vnf_instances.instantiated_vnf_info ->> 'flavour_id'");
const STATES: AttributeType = AttributeType::Enumeration(&["STARTED", "STOPPED"]);
const VNF_STATE: Attribute =
    attribute("vnfState", AttributeKind::Simple(STATES, "vnf_instances.instantiated_vnf_info ->> 'vnf_state'"));
const SCALE_STATUS: Attribute = attribute(
    "scaleStatus",
    AttributeKind::Array(JsonRows::Members("vnf_instances.instantiated_vnf_info -> 'scale_levels'"), SCALE_INFO),
);
const SCALE_INFO: Members = Members::of(&[
    text("aspectId", "entry.key"),
    attribute("scaleLevel", AttributeKind::Simple(AttributeType::Number, "entry.value")),
    never("vnfdId"),
]);
const EXT_CPS: Attribute = never("extCpInfo");
const EXT_VIRTUAL_LINKS: Attribute = never("extVirtualLinkInfo");
const EXT_MANAGED_VIRTUAL_LINKS: Attribute = never("extManagedVirtualLinkInfo");
const MONITORING_PARAMETERS: Attribute = never("monitoringParameters");
const LANGUAGE: Attribute = never("localizationLanguage");
// The text and the schemas of the standard use different names.
const VIRTUAL_LINKS: Attribute = never("vnfVirtualLinkResourceInfo");
const OTHER_VIRTUAL_LINKS: Attribute = never("virtualLinkResourceInfo");

const VNFCS: JsonRows = JsonRows::Elements("vnf_instances.instantiated_vnf_info -> 'vnfcs'");
const VNFC_RESOURCES: Attribute =
    attribute("vnfcResourceInfo", AttributeKind::Array(VNFCS, Members::of(&VNFC_RESOURCE)));
static VNFC_RESOURCE: [Attribute; 9] = [
    text("id", "COALESCE(entry.value ->> 'kept_id', entry.value ->> 'pod_name')"),
    text("vduId", "entry.value ->> 'vdu_id'"),
    mandatory("computeResource", AttributeKind::Structure(Members::of(&COMPUTE_RESOURCE))),
    attribute("metadata", AttributeKind::Structure(Members::of(&VNFC_METADATA))),
    never("vnfdId"),
    never("zoneId"),
    never("storageResourceIds"),
    never("reservationId"),
    never("vnfcCpInfo"),
];
static COMPUTE_RESOURCE: [Attribute; 4] = [
    HOME,
    text("resourceId", "entry.value ->> 'pod_name'"),
    text("vimLevelResourceType", "entry.value ->> 'workload_kind'"),
    never("resourceProviderId"),
];
static VNFC_METADATA: [Attribute; 2] =
    [text("workload", "entry.value ->> 'workload_name'"), text("podUid", "entry.value ->> 'pod_uid'")];
static VNFC_INFO: [Attribute; 5] = [
    text("id", "(entry.value ->> 'vdu_id') || '-' || COALESCE(entry.value ->> 'kept_id', entry.value ->> 'pod_name')"),
    text("vduId", "entry.value ->> 'vdu_id'"),
    text("vnfcResourceInfoId", "COALESCE(entry.value ->> 'kept_id', entry.value ->> 'pod_name')"),
    attribute("vnfcState", AttributeKind::Simple(STATES, "'STARTED'")),
    never("vnfcConfigurableProperties"),
];

/// The VIM connection that hosts the VNF, as in `ResourceHandle`.
const HOME: Attribute = text(
    "vimConnectionId",
    "COALESCE((SELECT connection.key FROM MEMBERS_OF(vnf_instances.vim_connections) AS connection \
               WHERE CAST(connection.value -> 'home' AS text) = 'true'), '')",
);

const STORAGES: Attribute = attribute(
    "virtualStorageResourceInfo",
    AttributeKind::Array(
        JsonRows::Elements("vnf_instances.instantiated_vnf_info -> 'storages'"),
        Members::of(&STORAGE),
    ),
);
static STORAGE: [Attribute; 7] = [
    text("id", "entry.value ->> 'claim_name'"),
    text("virtualStorageDescId", "entry.value ->> 'claim_name'"),
    mandatory("storageResource", AttributeKind::Structure(Members::of(&STORAGE_RESOURCE))),
    never("vnfdId"),
    never("zoneId"),
    never("reservationId"),
    never("metadata"),
];
static STORAGE_RESOURCE: [Attribute; 4] = [
    HOME,
    text("resourceId", "entry.value ->> 'claim_name'"),
    text("vimLevelResourceType", "'PersistentVolumeClaim'"),
    never("resourceProviderId"),
];

static INSTANTIATED_METADATA: [Attribute; 3] = [
    text(
        "namespace",
        "CASE WHEN vnf_instances.instantiated_vnf_info IS NOT NULL \
         THEN vnf_instances.vnf_metadata ->> 'namespace' END",
    ),
    attribute(
        "lcm-kubernetes-def-files",
        AttributeKind::Open("vnf_instances.instantiated_vnf_info -> 'definition_files'"),
    ),
    attribute("vdu_mapping", AttributeKind::Open("vnf_instances.instantiated_vnf_info -> 'vdu_mapping'")),
];
