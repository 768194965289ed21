//! `/vnfpkgm/v1`: SOL003 2.6.1. There is no state ERROR: a package whose content was refused is CREATED again, as Annex B of
//! SOL005 2.6.1 has it, and can be uploaded again.

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::package::{Onboarding, VnfPackage};
use crate::sol003::Edition;
use crate::sol003::pkgm::attributes::{
    ArtifactAttributes, SoftwareImageAttributes, VnfPkgAttributes, additional_artifacts, images,
};

/// `VnfPkgInfo` (SOL003 clause 10.5.2.2).
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = VnfPkgInfoV1)]
pub struct VnfPkgInfo {
    #[serde(flatten)]
    attributes: VnfPkgAttributes,
    /// The state of onboarding: CREATED, UPLOADING, PROCESSING or ONBOARDED.
    #[schema(value_type = String)]
    onboarding_state: &'static str,
    /// The artifacts that are software images.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    software_images: Vec<SoftwareImageAttributes>,
    /// The other artifacts the package lists.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    additional_artifacts: Vec<ArtifactAttributes>,
}

impl VnfPkgInfo {
    /// The package as clients see it; `base` is the URL under which they reach us.
    pub fn new(package: &VnfPackage, base: &str) -> Self {
        let state = match &package.onboarding {
            Onboarding::Error(_) => &Onboarding::Created,
            other => other,
        };
        let images = images(package).map(|(artifact, image)| SoftwareImageAttributes::new(package, artifact, image));
        Self {
            attributes: VnfPkgAttributes::new(package, Edition::V1, base),
            onboarding_state: state.as_str(),
            software_images: images.collect(),
            additional_artifacts: additional_artifacts(package).map(Into::into).collect(),
        }
    }
}
