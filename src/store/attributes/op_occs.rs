//! `VnfLcmOpOcc` (SOL003 clause 5.5.2.13) over `vnf_lcm_op_occs`.

use super::{Attribute, AttributeKind, AttributeType, JsonRows, Members, attribute, mandatory, never, text};

/// Attributes in edition 2.6.1.
pub static V1: Members = Members::of(&[
    ID,
    STATE,
    STATE_ENTERED_TIME,
    START_TIME,
    VNF_INSTANCE_ID,
    GRANT_ID,
    OPERATION,
    IS_AUTOMATIC_INVOCATION,
    attribute("operationParams", AttributeKind::Structure(with_connections(&PARAMS_CONNECTIONS, PARAMS))),
    IS_CANCEL_PENDING,
    CANCEL_MODE,
    ERROR,
    RESOURCE_CHANGES,
    attribute("changedInfo", AttributeKind::Structure(with_connections(&CHANGED_CONNECTIONS, CHANGED))),
    CHANGED_EXT_CONNECTIVITY,
    WARNINGS,
    PROGRESS,
    PACKAGE,
    LEVELS,
]);

/// Attributes in edition 3.3.1.
pub static V2: Members = Members::of(&[
    ID,
    STATE,
    STATE_ENTERED_TIME,
    START_TIME,
    VNF_INSTANCE_ID,
    GRANT_ID,
    OPERATION,
    IS_AUTOMATIC_INVOCATION,
    attribute("operationParams", AttributeKind::Open(PARAMS)),
    IS_CANCEL_PENDING,
    CANCEL_MODE,
    ERROR,
    RESOURCE_CHANGES,
    attribute("changedInfo", AttributeKind::Open(CHANGED)),
    CHANGED_EXT_CONNECTIVITY,
    attribute("modificationsTriggeredByVnfPkgChange", AttributeKind::Open(MODIFICATIONS)),
    never("vnfSnapshotInfoId"),
    WARNINGS,
    PROGRESS,
    PACKAGE,
    LEVELS,
]);

/// Attributes that a list leaves out by default (SOL003 clause 5.4.12.3.2).
pub const NOT_BY_DEFAULT: &[&str] = &[
    "operationParams",
    "error",
    "resourceChanges",
    "changedInfo",
    "changedExtConnectivity",
    "gybe:package",
    "gybe:levels",
];

const WARNINGS: Attribute = mandatory("gybe:warnings", AttributeKind::Open("vnf_lcm_op_occs.warnings"));
// A filter does not see what changes all the time.
const PROGRESS: Attribute = never("gybe:progress");
// For people who look at one operation.
const PACKAGE: Attribute = never("gybe:package");
const LEVELS: Attribute = never("gybe:levels");
const PARAMS: &str = "vnf_lcm_op_occs.params";
// The API shows the column `changed_info` as `changedInfo`, or as `modificationsTriggeredByVnfPkgChange` for CHANGE_VNFPKG.
const CHANGED: &str = "(CASE WHEN vnf_lcm_op_occs.operation <> 'CHANGE_VNFPKG' THEN vnf_lcm_op_occs.changed_info END)";
const MODIFICATIONS: &str =
    "(CASE WHEN vnf_lcm_op_occs.operation = 'CHANGE_VNFPKG' THEN vnf_lcm_op_occs.changed_info END)";

const ID: Attribute = text("id", "vnf_lcm_op_occs.id");
const STATE: Attribute = attribute(
    "operationState",
    AttributeKind::Simple(
        AttributeType::Enumeration(&[
            "STARTING",
            "PROCESSING",
            "COMPLETED",
            "FAILED_TEMP",
            "FAILED",
            "ROLLING_BACK",
            "ROLLED_BACK",
        ]),
        "vnf_lcm_op_occs.state",
    ),
);
const STATE_ENTERED_TIME: Attribute =
    attribute("stateEnteredTime", AttributeKind::Simple(AttributeType::Time, "vnf_lcm_op_occs.state_entered_time"));
const START_TIME: Attribute =
    attribute("startTime", AttributeKind::Simple(AttributeType::Time, "vnf_lcm_op_occs.start_time"));
const VNF_INSTANCE_ID: Attribute = text("vnfInstanceId", "vnf_lcm_op_occs.vnf_instance_id");
const GRANT_ID: Attribute = text("grantId", "vnf_lcm_op_occs.grant_id");
const OPERATION: Attribute = attribute(
    "operation",
    AttributeKind::Simple(
        AttributeType::Enumeration(&[
            "INSTANTIATE",
            "SCALE",
            "SCALE_TO_LEVEL",
            "CHANGE_FLAVOUR",
            "TERMINATE",
            "HEAL",
            "OPERATE",
            "CHANGE_EXT_CONN",
            "MODIFY_INFO",
            "CREATE_SNAPSHOT",
            "REVERT_TO_SNAPSHOT",
            "CHANGE_VNFPKG",
        ]),
        "vnf_lcm_op_occs.operation",
    ),
);
const IS_AUTOMATIC_INVOCATION: Attribute = attribute(
    "isAutomaticInvocation",
    AttributeKind::Simple(AttributeType::Boolean, "vnf_lcm_op_occs.is_automatic_invocation"),
);
const IS_CANCEL_PENDING: Attribute = attribute(
    "isCancelPending",
    AttributeKind::Simple(AttributeType::Boolean, "(vnf_lcm_op_occs.cancel_mode IS NOT NULL)"),
);
const CANCEL_MODE: Attribute = attribute(
    "cancelMode",
    AttributeKind::Simple(AttributeType::Enumeration(&["GRACEFUL", "FORCEFUL"]), "vnf_lcm_op_occs.cancel_mode"),
);
const ERROR: Attribute = attribute("error", AttributeKind::Open("vnf_lcm_op_occs.error"));
const RESOURCE_CHANGES: Attribute = attribute("resourceChanges", AttributeKind::Structure(Members::of(&CHANGES)));
const CHANGED_EXT_CONNECTIVITY: Attribute = never("changedExtConnectivity");

static CHANGES: [Attribute; 4] = [
    attribute(
        "affectedVnfcs",
        AttributeKind::Array(
            JsonRows::Elements("vnf_lcm_op_occs.resource_changes -> 'affected_vnfcs'"),
            Members::of(&AFFECTED_VNFC),
        ),
    ),
    never("affectedVirtualLinks"),
    never("affectedExtLinkPorts"),
    attribute(
        "affectedVirtualStorages",
        AttributeKind::Array(
            JsonRows::Elements("vnf_lcm_op_occs.resource_changes -> 'affected_storages'"),
            Members::of(&AFFECTED_STORAGE),
        ),
    ),
];
static AFFECTED_VNFC: [Attribute; 11] = [
    text("id", "COALESCE(entry.value -> 'vnfc' ->> 'kept_id', entry.value -> 'vnfc' ->> 'pod_name')"),
    text("vduId", "entry.value -> 'vnfc' ->> 'vdu_id'"),
    CHANGE_TYPE,
    mandatory("computeResource", AttributeKind::Structure(Members::of(&COMPUTE_RESOURCE))),
    never("vnfdId"),
    never("resourceDefinitionId"),
    never("zoneId"),
    never("metadata"),
    never("affectedVnfcCpIds"),
    never("addedStorageResourceIds"),
    never("removedStorageResourceIds"),
];
const CHANGE_TYPE: Attribute = attribute(
    "changeType",
    AttributeKind::Simple(
        AttributeType::Enumeration(&["ADDED", "REMOVED", "MODIFIED", "TEMPORARY"]),
        "entry.value ->> 'change'",
    ),
);
static AFFECTED_STORAGE: [Attribute; 8] = [
    text("id", "entry.value -> 'storage' ->> 'claim_name'"),
    text("virtualStorageDescId", "entry.value -> 'storage' ->> 'claim_name'"),
    CHANGE_TYPE,
    mandatory("storageResource", AttributeKind::Structure(Members::of(&STORAGE_RESOURCE))),
    never("vnfdId"),
    never("resourceDefinitionId"),
    never("zoneId"),
    never("metadata"),
];
static STORAGE_RESOURCE: [Attribute; 4] = [
    text("vimConnectionId", "vnf_lcm_op_occs.resource_changes ->> 'vim_connection_id'"),
    text("resourceId", "entry.value -> 'storage' ->> 'claim_name'"),
    text("vimLevelResourceType", "'PersistentVolumeClaim'"),
    never("resourceProviderId"),
];
static COMPUTE_RESOURCE: [Attribute; 4] = [
    text("vimConnectionId", "vnf_lcm_op_occs.resource_changes ->> 'vim_connection_id'"),
    text("resourceId", "entry.value -> 'vnfc' ->> 'pod_name'"),
    text("vimLevelResourceType", "entry.value -> 'vnfc' ->> 'workload_kind'"),
    never("resourceProviderId"),
];

/// All members of the JSON. 2.6.1 shows the map `vimConnectionInfo` as an array.
const fn with_connections(connections: &'static [Attribute], json: &'static str) -> Members {
    Members { known: connections, rest: Some(json) }
}

const CONNECTION: Members = Members { known: &[text("id", "entry.key")], rest: Some("entry.value") };
static PARAMS_CONNECTIONS: [Attribute; 1] = [attribute(
    "vimConnectionInfo",
    AttributeKind::Array(JsonRows::Members("vnf_lcm_op_occs.params -> 'vimConnectionInfo'"), CONNECTION),
)];
static CHANGED_CONNECTIONS: [Attribute; 1] = [attribute(
    "vimConnectionInfo",
    AttributeKind::Array(JsonRows::Members("vnf_lcm_op_occs.changed_info -> 'vimConnectionInfo'"), CONNECTION),
)];
