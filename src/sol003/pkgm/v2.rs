//! `/vnfpkgm/v2`: SOL003 3.3.1. There is a state ERROR, and packages say which VNFMs they are for.
//!
//! `packageSecurityOption` and `signingCertificate` are never there: Gybe checks hashes, but no signatures.

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::package::{ArtifactClassification, ArtifactInfo, VnfPackage};
use crate::sol003::Edition;
use crate::sol003::pkgm::attributes::{
    ArtifactAttributes, PackageOnboardingState, SoftwareImageAttributes, VnfPkgAttributes, additional_artifacts,
    content, images,
};

/// `VnfPkgInfo` (SOL003 clause 10.5.2.2).
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = VnfPkgInfoV2)]
pub struct VnfPkgInfo {
    #[serde(flatten)]
    attributes: VnfPkgAttributes,
    /// The state of onboarding.
    #[schema(value_type = PackageOnboardingState)]
    onboarding_state: &'static str,
    /// The VNFMs that the VNFD names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    vnfm_info: Vec<String>,
    /// The artifacts that are software images.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    software_images: Vec<VnfPackageSoftwareImageInfo>,
    /// The other artifacts the package lists.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    additional_artifacts: Vec<VnfPackageArtifactInfo>,
}

/// `VnfPackageSoftwareImageInfo` (SOL003 clause 10.5.3.2).
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct VnfPackageSoftwareImageInfo {
    #[serde(flatten)]
    attributes: SoftwareImageAttributes,
    /// Always false: Gybe does not support encrypted content.
    is_encrypted: bool,
}

/// `VnfPackageArtifactInfo` (SOL003 clause 10.5.3.3).
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct VnfPackageArtifactInfo {
    #[serde(flatten)]
    attributes: ArtifactAttributes,
    /// Always false: Gybe does not support encrypted content.
    is_encrypted: bool,
    /// The non-MANO artifact set that contains the artifact.
    #[serde(skip_serializing_if = "Option::is_none")]
    non_mano_artifact_set_id: Option<String>,
    /// HISTORY, TESTING or LICENSE.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    artifact_classification: Option<ArtifactClassification>,
}

impl VnfPkgInfo {
    /// The package as clients see it; `base` is the URL under which they reach us.
    pub fn new(package: &VnfPackage, base: &str) -> Self {
        let images = images(package).map(|(artifact, image)| VnfPackageSoftwareImageInfo {
            attributes: SoftwareImageAttributes::new(package, artifact, image),
            is_encrypted: false,
        });
        Self {
            attributes: VnfPkgAttributes::new(package, Edition::V2, base),
            onboarding_state: package.onboarding.as_str(),
            vnfm_info: content(package).map_or_else(Vec::new, |content| content.vnfd.vnfm_info.clone()),
            software_images: images.collect(),
            additional_artifacts: additional_artifacts(package).map(Into::into).collect(),
        }
    }
}

impl From<&ArtifactInfo> for VnfPackageArtifactInfo {
    fn from(artifact: &ArtifactInfo) -> Self {
        Self {
            attributes: artifact.into(),
            is_encrypted: false,
            non_mano_artifact_set_id: artifact.non_mano_artifact_set.clone(),
            artifact_classification: artifact.classification,
        }
    }
}
