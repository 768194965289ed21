//! `VnfPkgInfo` (SOL005 clause 9.5.2.5, SOL003 clause 10.5.2.2) over `vnf_packages`.

use super::{Attribute, AttributeKind, AttributeType, JsonRows, Members, attribute, mandatory, never, text};

/// Attributes at `/vnfpkgm/v1`.
pub static V1: Members = Members::of(&[
    ID,
    VNFD_ID,
    PROVIDER,
    PRODUCT_NAME,
    SOFTWARE_VERSION,
    VNFD_VERSION,
    CHECKSUM,
    attribute("softwareImages", AttributeKind::Array(ARTIFACTS, Members::of(&IMAGE_V1))),
    attribute("additionalArtifacts", AttributeKind::Array(ARTIFACTS, Members::of(&ARTIFACT_V1))),
    attribute(
        "onboardingState",
        AttributeKind::Simple(
            AttributeType::Enumeration(&["CREATED", "UPLOADING", "PROCESSING", "ONBOARDED"]),
            "CASE vnf_packages.onboarding_state WHEN 'ERROR' THEN 'CREATED' ELSE vnf_packages.onboarding_state END",
        ),
    ),
    OPERATIONAL_STATE,
    USAGE_STATE,
    USER_DEFINED_DATA,
    FAILURE_DETAILS,
    WARNINGS,
]);

/// Attributes at `/vnfpkgm/v2`.
pub static V2: Members = Members::of(&[
    ID,
    VNFD_ID,
    PROVIDER,
    PRODUCT_NAME,
    SOFTWARE_VERSION,
    VNFD_VERSION,
    never("compatibleSpecificationVersions"),
    CHECKSUM,
    never("packageSecurityOption"),
    never("signingCertificate"),
    attribute("softwareImages", AttributeKind::Array(ARTIFACTS, Members::of(&IMAGE_V2))),
    attribute("additionalArtifacts", AttributeKind::Array(ARTIFACTS, Members::of(&ARTIFACT_V2))),
    attribute(
        "onboardingState",
        AttributeKind::Simple(
            AttributeType::Enumeration(&["CREATED", "UPLOADING", "PROCESSING", "ONBOARDED", "ERROR"]),
            "vnf_packages.onboarding_state",
        ),
    ),
    OPERATIONAL_STATE,
    USAGE_STATE,
    mandatory("vnfmInfo", AttributeKind::Open("vnf_packages.vnfd -> 'vnfm_info'")),
    USER_DEFINED_DATA,
    FAILURE_DETAILS,
    WARNINGS,
]);

/// Attributes that a list leaves out by default (SOL003 clause 10.4.2.3.2).
pub const NOT_BY_DEFAULT: &[&str] = &["softwareImages", "additionalArtifacts", "userDefinedData", "checksum"];

/// The filter of the resource `onboarded_vnf_packages`, in either edition.
pub const ONBOARDED: &str = "(eq,onboardingState,ONBOARDED)";

const WARNINGS: Attribute = mandatory("gybe:warnings", AttributeKind::Open("vnf_packages.warnings"));
const ID: Attribute = text("id", "vnf_packages.id");
const VNFD_ID: Attribute = text("vnfdId", "vnf_packages.vnfd_id");
const PROVIDER: Attribute = text("vnfProvider", "vnf_packages.vnfd ->> 'provider'");
const PRODUCT_NAME: Attribute = text("vnfProductName", "vnf_packages.vnfd ->> 'product_name'");
const SOFTWARE_VERSION: Attribute = text("vnfSoftwareVersion", "vnf_packages.vnfd ->> 'software_version'");
const VNFD_VERSION: Attribute = text("vnfdVersion", "vnf_packages.vnfd ->> 'version'");
const CHECKSUM: Attribute = attribute("checksum", AttributeKind::Structure(Members::of(&CHECKSUM_MEMBERS)));
const OPERATIONAL_STATE: Attribute = attribute(
    "operationalState",
    AttributeKind::Simple(AttributeType::Enumeration(&["ENABLED", "DISABLED"]), "vnf_packages.operational_state"),
);
const USAGE_STATE: Attribute = attribute(
    "usageState",
    AttributeKind::Simple(
        AttributeType::Enumeration(&["IN_USE", "NOT_IN_USE"]),
        "CASE WHEN EXISTS (SELECT 1 FROM vnf_instances WHERE vnf_pkg_id = vnf_packages.id) \
           OR EXISTS (SELECT 1 FROM vnf_lcm_op_occs WHERE target_pkg_id = vnf_packages.id) \
         THEN 'IN_USE' ELSE 'NOT_IN_USE' END",
    ),
);
const USER_DEFINED_DATA: Attribute =
    attribute("userDefinedData", AttributeKind::Open("vnf_packages.user_defined_data"));
const FAILURE_DETAILS: Attribute = attribute("onboardingFailureDetails", AttributeKind::Open("vnf_packages.problem"));

static CHECKSUM_MEMBERS: [Attribute; 2] = [
    text("algorithm", "CASE WHEN vnf_packages.sha512 IS NOT NULL THEN 'SHA-512' END"),
    text("hash", "vnf_packages.sha512"),
];

/// The array has software images and additional artifacts. The attributes of one kind are NULL for entries of the other.
const ARTIFACTS: JsonRows = JsonRows::Elements("vnf_packages.artifacts");

/// The value if the entry is an additional artifact.
macro_rules! of_artifact {
    ($value:literal) => {
        concat!("CASE WHEN entry.value -> 'image' IS NULL THEN ", $value, " END")
    };
}
/// The value if the entry is a software image.
macro_rules! of_image {
    ($value:literal) => {
        concat!("CASE WHEN entry.value -> 'image' IS NOT NULL THEN ", $value, " END")
    };
}

const PATH: Attribute = text("artifactPath", of_artifact!("entry.value ->> 'path'"));
const ARTIFACT_CHECKSUM: Attribute =
    mandatory("checksum", AttributeKind::Structure(Members::of(&ARTIFACT_CHECKSUM_MEMBERS)));
const METADATA: Attribute = attribute("metadata", AttributeKind::Structure(Members::of(&METADATA_MEMBERS)));
const ARTIFACT_IS_ENCRYPTED: Attribute =
    attribute("isEncrypted", AttributeKind::Simple(AttributeType::Boolean, of_artifact!("false")));

static ARTIFACT_V1: [Attribute; 3] = [PATH, ARTIFACT_CHECKSUM, METADATA];
static ARTIFACT_V2: [Attribute; 7] = [
    PATH,
    never("artifactURI"),
    ARTIFACT_CHECKSUM,
    ARTIFACT_IS_ENCRYPTED,
    text("nonManoArtifactSetId", of_artifact!("entry.value ->> 'non_mano_artifact_set'")),
    attribute(
        "artifactClassification",
        AttributeKind::Simple(
            AttributeType::Enumeration(&["HISTORY", "TESTING", "LICENSE"]),
            of_artifact!("entry.value ->> 'classification'"),
        ),
    ),
    METADATA,
];
static ARTIFACT_CHECKSUM_MEMBERS: [Attribute; 2] = [
    text("algorithm", of_artifact!("entry.value ->> 'algorithm'")),
    text("hash", of_artifact!("entry.value ->> 'hash'")),
];
static METADATA_MEMBERS: [Attribute; 1] = [text("Content-Type", of_artifact!("entry.value ->> 'content_type'"))];

static IMAGE_V1: [Attribute; 13] = [
    IMAGE_ID,
    IMAGE_NAME,
    IMAGE_PROVIDER,
    IMAGE_VERSION,
    IMAGE_CHECKSUM,
    CONTAINER_FORMAT,
    DISK_FORMAT,
    CREATED_AT,
    MIN_DISK,
    MIN_RAM,
    SIZE,
    never("userMetadata"),
    IMAGE_PATH,
];
static IMAGE_V2: [Attribute; 15] = [
    IMAGE_ID,
    IMAGE_NAME,
    IMAGE_PROVIDER,
    IMAGE_VERSION,
    IMAGE_CHECKSUM,
    attribute("isEncrypted", AttributeKind::Simple(AttributeType::Boolean, of_image!("false"))),
    CONTAINER_FORMAT,
    DISK_FORMAT,
    CREATED_AT,
    MIN_DISK,
    MIN_RAM,
    SIZE,
    never("userMetadata"),
    IMAGE_PATH,
    never("imageUri"),
];
const IMAGE_ID: Attribute = text("id", "entry.value -> 'image' ->> 'id'");
const IMAGE_NAME: Attribute = text("name", "entry.value -> 'image' ->> 'name'");
const IMAGE_PROVIDER: Attribute = text("provider", "entry.value -> 'image' ->> 'provider'");
const IMAGE_VERSION: Attribute = text("version", "entry.value -> 'image' ->> 'version'");
const IMAGE_CHECKSUM: Attribute = mandatory("checksum", AttributeKind::Structure(Members::of(&IMAGE_CHECKSUM_MEMBERS)));
const CONTAINER_FORMAT: Attribute = text("containerFormat", "entry.value -> 'image' ->> 'container_format'");
const DISK_FORMAT: Attribute = text("diskFormat", "entry.value -> 'image' ->> 'disk_format'");
const CREATED_AT: Attribute =
    attribute("createdAt", AttributeKind::Simple(AttributeType::Time, of_image!("vnf_packages.created_at")));
const MIN_DISK: Attribute = number("minDisk", "entry.value -> 'image' ->> 'min_disk'");
const MIN_RAM: Attribute = number("minRam", "entry.value -> 'image' ->> 'min_ram'");
const SIZE: Attribute = number("size", "entry.value -> 'image' ->> 'size'");
const IMAGE_PATH: Attribute = text("imagePath", of_image!("entry.value ->> 'path'"));
static IMAGE_CHECKSUM_MEMBERS: [Attribute; 2] =
    [text("algorithm", of_image!("entry.value ->> 'algorithm'")), text("hash", of_image!("entry.value ->> 'hash'"))];

const fn number(name: &'static str, place: super::Sql) -> Attribute {
    attribute(name, AttributeKind::Simple(AttributeType::Number, place))
}
