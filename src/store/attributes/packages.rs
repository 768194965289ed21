//! `VnfPkgInfo` (SOL005 clause 9.5.2.5, SOL003 clause 10.5.2.2) over `vnf_packages`.

use super::{Attribute, Kind, Members, Rows, Type, attribute, mandatory, never, text};

/// Of `/vnfpkgm/v1`.
pub static V1: Members = Members::of(&[
    text("id", "vnf_packages.id"),
    text("vnfdId", "vnf_packages.vnfd_id"),
    text("vnfProvider", "vnf_packages.vnfd ->> 'provider'"),
    text("vnfProductName", "vnf_packages.vnfd ->> 'product_name'"),
    text("vnfSoftwareVersion", "vnf_packages.vnfd ->> 'software_version'"),
    text("vnfdVersion", "vnf_packages.vnfd ->> 'version'"),
    attribute("checksum", Kind::Structure(Members::of(&CHECKSUM))),
    never("softwareImages"),
    attribute("additionalArtifacts", Kind::Array(Rows::Elements("vnf_packages.artifacts"), Members::of(&ARTIFACT))),
    attribute(
        "onboardingState",
        Kind::Simple(
            Type::Enumeration(&["CREATED", "UPLOADING", "PROCESSING", "ONBOARDED", "ERROR"]),
            "vnf_packages.onboarding_state",
        ),
    ),
    attribute(
        "operationalState",
        Kind::Simple(Type::Enumeration(&["ENABLED", "DISABLED"]), "vnf_packages.operational_state"),
    ),
    attribute("usageState", Kind::Simple(Type::Enumeration(&["IN_USE", "NOT_IN_USE"]), USAGE_STATE)),
    attribute("userDefinedData", Kind::Open("vnf_packages.user_defined_data")),
    attribute("onboardingFailureDetails", Kind::Open("vnf_packages.problem")),
]);

/// What a list does not show unless it is asked for.
pub const NOT_BY_DEFAULT: &[&str] = &["softwareImages", "additionalArtifacts", "userDefinedData", "checksum"];

const USAGE_STATE: &str = "CASE WHEN EXISTS (SELECT 1 FROM vnf_instances WHERE vnf_pkg_id = vnf_packages.id) \
                             OR EXISTS (SELECT 1 FROM vnf_lcm_op_occs WHERE target_pkg_id = vnf_packages.id) \
                           THEN 'IN_USE' ELSE 'NOT_IN_USE' END";

static CHECKSUM: [Attribute; 2] = [
    text("algorithm", "CASE WHEN vnf_packages.sha512 IS NOT NULL THEN 'SHA-512' END"),
    text("hash", "vnf_packages.sha512"),
];
static ARTIFACT: [Attribute; 3] = [
    text("artifactPath", "entry.value ->> 'path'"),
    mandatory("checksum", Kind::Structure(Members::of(&ARTIFACT_CHECKSUM))),
    attribute("metadata", Kind::Structure(Members::of(&ARTIFACT_METADATA))),
];
static ARTIFACT_CHECKSUM: [Attribute; 2] =
    [text("algorithm", "entry.value ->> 'algorithm'"), text("hash", "entry.value ->> 'hash'")];
static ARTIFACT_METADATA: [Attribute; 1] = [text("Content-Type", "entry.value ->> 'content_type'")];
