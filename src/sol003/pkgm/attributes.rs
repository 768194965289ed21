//! The parts of package resources that both editions share.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::domain::package::{ArtifactInfo, Content, Onboarding, OperationalState, SoftwareImage, VnfPackage};
use crate::domain::problem::Problem;
use crate::domain::vnfd::Vnfd;
use crate::domain::warning::Warnings;
use crate::sol003::common::{Link, ProblemDetails};
use crate::sol003::{Edition, Interface};

/// The attributes of `VnfPkgInfo` (SOL005 clause 9.5.2.5) that both editions have.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct VnfPkgAttributes {
    /// The package.
    id: String,
    /// `descriptor_id`; like the next five, from ONBOARDED on.
    #[serde(skip_serializing_if = "Option::is_none")]
    vnfd_id: Option<String>,
    /// `provider`.
    #[serde(skip_serializing_if = "Option::is_none")]
    vnf_provider: Option<String>,
    /// `product_name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    vnf_product_name: Option<String>,
    /// `software_version`.
    #[serde(skip_serializing_if = "Option::is_none")]
    vnf_software_version: Option<String>,
    /// `descriptor_version`.
    #[serde(skip_serializing_if = "Option::is_none")]
    vnfd_version: Option<String>,
    /// Of the whole CSAR.
    #[serde(skip_serializing_if = "Option::is_none")]
    checksum: Option<Checksum>,
    /// Whether new instances may be made of it.
    #[schema(value_type = PackageOperationalState)]
    operational_state: OperationalState,
    /// Whether any VNF instance refers to it.
    usage_state: PackageUsageState,
    /// The caller's own data.
    #[serde(skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Option<Object>)]
    user_defined_data: Map<String, Value>,
    /// Why the content was refused, until other content is uploaded. In 2.6.1, which has no such attribute, an extension:
    /// clients have no other way to learn it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<ProblemDetails>)]
    onboarding_failure_details: Option<Problem>,
    /// Extension: what Gybe accepted although it is probably not as it was meant.
    #[serde(rename = "gybe:warnings", skip_serializing_if = "Warnings::is_empty")]
    #[schema(value_type = Vec<String>, required = false)]
    warnings: Warnings,
    /// Related resources.
    #[serde(rename = "_links")]
    links: VnfPkgLinks,
}

impl VnfPkgAttributes {
    pub(super) fn new(package: &VnfPackage, edition: Edition, base: &str) -> Self {
        let this = format!("{base}{}/vnf_packages/{}", Interface::Packages.root(edition), package.id);
        let content = content(package);
        let vnfd = |text: fn(&Vnfd) -> &String| content.map(|content| text(&content.vnfd).clone());
        Self {
            id: package.id.to_string(),
            vnfd_id: vnfd(|vnfd| &vnfd.id),
            vnf_provider: vnfd(|vnfd| &vnfd.provider),
            vnf_product_name: vnfd(|vnfd| &vnfd.product_name),
            vnf_software_version: vnfd(|vnfd| &vnfd.software_version),
            vnfd_version: vnfd(|vnfd| &vnfd.version),
            checksum: content.map(|content| Checksum { algorithm: "SHA-512".to_owned(), hash: content.sha512.clone() }),
            operational_state: package.operational_state,
            usage_state: if package.in_use { PackageUsageState::InUse } else { PackageUsageState::NotInUse },
            user_defined_data: package.user_defined_data.clone(),
            onboarding_failure_details: match &package.onboarding {
                Onboarding::Error(problem) => Some(problem.clone().with_help(base)),
                _ => None,
            },
            warnings: content.map(|content| content.warnings.clone()).unwrap_or_default(),
            links: VnfPkgLinks {
                vnfd: content.map(|_| Link::to(format!("{this}/vnfd"))),
                package_content: Link::to(format!("{this}/package_content")),
                this: Link::to(this),
            },
        }
    }
}

/// The content of an onboarded package.
pub(super) fn content(package: &VnfPackage) -> Option<&Content> {
    match &package.onboarding {
        Onboarding::Onboarded(content) => Some(content),
        Onboarding::Created | Onboarding::Uploading | Onboarding::Processing | Onboarding::Error(_) => None,
    }
}

/// The software images of a package.
pub(super) fn images(package: &VnfPackage) -> impl Iterator<Item = (&ArtifactInfo, &SoftwareImage)> {
    let artifacts = content(package).into_iter().flat_map(|content| &content.artifacts);
    artifacts.filter_map(|artifact| Some((artifact, artifact.image.as_ref()?)))
}

/// The other artifacts that a package lists.
pub(super) fn additional_artifacts(package: &VnfPackage) -> impl Iterator<Item = &ArtifactInfo> {
    let artifacts = content(package).into_iter().flat_map(|content| &content.artifacts);
    artifacts.filter(|artifact| artifact.image.is_none())
}

/// The attributes of `VnfPackageArtifactInfo` (SOL003 clause 10.5.3.3) that both editions have.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ArtifactAttributes {
    /// Path in the CSAR.
    artifact_path: String,
    /// As the package states it.
    checksum: Checksum,
    /// `Content-Type`, if the package states it.
    #[serde(skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Option<Object>)]
    metadata: Map<String, Value>,
}

impl From<&ArtifactInfo> for ArtifactAttributes {
    fn from(artifact: &ArtifactInfo) -> Self {
        let content_type = artifact.content_type.iter();
        Self {
            artifact_path: artifact.path.clone(),
            checksum: artifact.into(),
            metadata: content_type.map(|value| ("Content-Type".to_owned(), value.clone().into())).collect(),
        }
    }
}

/// The attributes of `VnfPackageSoftwareImageInfo` (SOL003 clause 10.5.3.2) that both editions have.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SoftwareImageAttributes {
    /// Its node in the VNFD.
    id: String,
    /// Its name.
    name: String,
    /// Its provider.
    provider: String,
    /// Its version.
    version: String,
    /// As the package states it.
    checksum: Checksum,
    /// AKI, AMI, ARI, BARE, DOCKER, OVA or OVF.
    container_format: String,
    /// AKI, AMI, ARI, ISO, QCOW2, RAW, VDI, VHD, VHDX or VMDK.
    disk_format: String,
    /// The creation time of the package: a VNFD does not state that of an image.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    created_at: OffsetDateTime,
    /// The disk it needs, in bytes.
    min_disk: u64,
    /// The memory it needs, in bytes; 0 if the VNFD does not say.
    min_ram: u64,
    /// Its size, in bytes.
    size: u64,
    /// Path in the CSAR.
    image_path: String,
}

impl SoftwareImageAttributes {
    pub(super) fn new(package: &VnfPackage, artifact: &ArtifactInfo, image: &SoftwareImage) -> Self {
        Self {
            id: image.id.clone(),
            name: image.name.clone(),
            provider: image.provider.clone(),
            version: image.version.clone(),
            checksum: artifact.into(),
            container_format: image.container_format.clone(),
            disk_format: image.disk_format.clone(),
            created_at: package.created_at,
            min_disk: image.min_disk,
            min_ram: image.min_ram,
            size: image.size,
            image_path: artifact.path.clone(),
        }
    }
}

/// `Checksum` (SOL003 clause 10.5.3.4).
#[derive(Debug, Serialize, ToSchema)]
pub struct Checksum {
    /// Such as `SHA-256`.
    pub algorithm: String,
    /// Hexadecimal digits.
    pub hash: String,
}

impl From<&ArtifactInfo> for Checksum {
    fn from(artifact: &ArtifactInfo) -> Self {
        Self { algorithm: artifact.algorithm.clone(), hash: artifact.hash.clone() }
    }
}

/// `PackageOnboardingStateType` (SOL005 clause 9.5.4.3), for the description of the API.
#[derive(ToSchema)]
#[schema(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PackageOnboardingState {
    /// No content yet.
    Created,
    /// Content is arriving.
    Uploading,
    /// Content is being checked.
    Processing,
    /// Ready for use.
    Onboarded,
    /// The content was refused; of 3.3.1 alone.
    Error,
}

/// `PackageOperationalStateType` (SOL005 clause 9.5.4.4), for the description of the API.
#[derive(ToSchema)]
#[schema(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PackageOperationalState {
    /// New instances may be made.
    Enabled,
    /// No new instances.
    Disabled,
}

/// `PackageUsageStateType` (SOL005 clause 9.5.4.5).
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PackageUsageState {
    /// There are instances of it.
    InUse,
    /// There are none.
    NotInUse,
}

/// `_links` of a [`VnfPkgInfo`].
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct VnfPkgLinks {
    /// The package.
    #[serde(rename = "self")]
    pub this: Link,
    /// The VNFD; from ONBOARDED on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vnfd: Option<Link>,
    /// The CSAR.
    pub package_content: Link,
}
