//! VNF packages as SOL005 clause 9.5 and SOL003 clause 10.5 write them: what both editions share. [`v1`] has what is of 2.6.1
//! (`/vnfpkgm/v1`), [`v2`] what is of 3.3.1 (`/vnfpkgm/v2`).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};

use crate::domain::package::{ArtifactInfo, Content, Onboarding, OperationalState, SoftwareImage, VnfPackage};
use crate::domain::problem::Problem;
use crate::domain::secret::Secret;
use crate::domain::vnfd::Vnfd;
use crate::sol003::common::{Link, ProblemDetails};
use crate::sol003::{Edition, Interface};

pub mod v1;
pub mod v2;

/// `CreateVnfPkgInfoRequest` (SOL005 clause 9.5.2.2).
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreateVnfPkgInfoRequest {
    /// The caller's own data.
    #[schema(value_type = Option<Object>)]
    pub user_defined_data: Option<Map<String, Value>>,
}

/// `VnfPkgInfoModifications` (SOL005 clause 9.5.2.3): the request, and in the answer what was changed.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VnfPkgInfoModifications {
    /// Whether new instances may be made of the package.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<PackageOperationalState>)]
    pub operational_state: Option<OperationalState>,
    /// Merged into the package's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub user_defined_data: Option<Map<String, Value>>,
}

/// The parameters of `artifacts` (SOL003 3.3.1 clause 10.4.6), for the description of the API. The flags need no value.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes what `api::package_content` reads; never constructed")]
pub struct ArtifactParameters {
    /// Only those that are in a set for others than NFV-MANO.
    exclude_all_mano_artifacts: Option<String>,
    /// Only those that are in no set for others than NFV-MANO.
    exclude_all_non_mano_artifacts: Option<String>,
    /// With those outside of the package: there are none.
    include_external_artifacts: Option<String>,
    /// With what they are signed with.
    include_signatures: Option<String>,
    /// Of the sets for others than NFV-MANO, these only, with commas between.
    select_non_mano_artifact_sets: Option<String>,
}

/// `UploadVnfPackageFromUriRequest` (SOL005 clause 9.5.2.4).
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UploadVnfPackageFromUriRequest {
    /// Where the content is: an `http` or `https` URI of a host that the operator allows.
    pub address_information: String,
    /// User name there.
    pub user_name: Option<String>,
    /// Password there. Neither is kept.
    #[schema(value_type = Option<String>)]
    pub password: Option<Secret>,
}

/// A package in an edition.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum VnfPkgInfo {
    /// As 2.6.1 has it.
    V1(Box<v1::VnfPkgInfo>),
    /// As 3.3.1 has it.
    V2(Box<v2::VnfPkgInfo>),
}

impl VnfPkgInfo {
    /// The package as clients of `edition` see it; `base` is the URL under which they reach us.
    pub fn new(package: &VnfPackage, edition: Edition, base: &str) -> Self {
        match edition {
            Edition::V1 => Self::V1(Box::new(v1::VnfPkgInfo::new(package, base))),
            Edition::V2 => Self::V2(Box::new(v2::VnfPkgInfo::new(package, base))),
        }
    }
}

/// What `VnfPkgInfo` (SOL005 clause 9.5.2.5) has in both editions.
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
    /// Why the content was refused, until other content is uploaded. 2.6.1 has no such attribute: there it is an extension,
    /// without which nobody could learn why.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<ProblemDetails>)]
    onboarding_failure_details: Option<Problem>,
    /// Related resources.
    #[serde(rename = "_links")]
    links: VnfPkgLinks,
}

impl VnfPkgAttributes {
    fn new(package: &VnfPackage, edition: Edition, base: &str) -> Self {
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
                Onboarding::Error(problem) => Some(problem.clone()),
                _ => None,
            },
            links: VnfPkgLinks {
                vnfd: content.map(|_| Link::to(format!("{this}/vnfd"))),
                package_content: Link::to(format!("{this}/package_content")),
                this: Link::to(this),
            },
        }
    }
}

/// What onboarding found, if it did.
fn content(package: &VnfPackage) -> Option<&Content> {
    match &package.onboarding {
        Onboarding::Onboarded(content) => Some(content),
        Onboarding::Created | Onboarding::Uploading | Onboarding::Processing | Onboarding::Error(_) => None,
    }
}

/// The software images of a package.
fn images(package: &VnfPackage) -> impl Iterator<Item = (&ArtifactInfo, &SoftwareImage)> {
    let artifacts = content(package).into_iter().flat_map(|content| &content.artifacts);
    artifacts.filter_map(|artifact| Some((artifact, artifact.image.as_ref()?)))
}

/// The other artifacts that a package lists.
fn additional_artifacts(package: &VnfPackage) -> impl Iterator<Item = &ArtifactInfo> {
    let artifacts = content(package).into_iter().flat_map(|content| &content.artifacts);
    artifacts.filter(|artifact| artifact.image.is_none())
}

/// What `VnfPackageArtifactInfo` (SOL003 clause 10.5.3.3) has in both editions.
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

/// What `VnfPackageSoftwareImageInfo` (SOL003 clause 10.5.3.2) has in both editions.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SoftwareImageAttributes {
    /// The node of the VNFD that it is of.
    id: String,
    /// Its name.
    name: String,
    /// Who made it.
    provider: String,
    /// Its version.
    version: String,
    /// As the package states it.
    checksum: Checksum,
    /// AKI, AMI, ARI, BARE, DOCKER, OVA or OVF.
    container_format: String,
    /// AKI, AMI, ARI, ISO, QCOW2, RAW, VDI, VHD, VHDX or VMDK.
    disk_format: String,
    /// When the package was created here: VNFDs don't say since when there is an image.
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
    fn new(package: &VnfPackage, artifact: &ArtifactInfo, image: &SoftwareImage) -> Self {
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;
    use utoipa::PartialSchema;
    use uuid::Uuid;

    use super::*;
    use crate::domain::ids::{ProjectId, VnfPkgId};
    use crate::domain::package::ArtifactClassification;

    fn package(onboarding: Onboarding) -> VnfPackage {
        VnfPackage {
            id: VnfPkgId(Uuid::nil()),
            project_id: ProjectId::default(),
            onboarding,
            operational_state: OperationalState::Disabled,
            in_use: false,
            content_epoch: 0,
            user_defined_data: Map::new(),
            created_at: OffsetDateTime::UNIX_EPOCH,
        }
    }

    fn rendered(package: &VnfPackage, edition: Edition) -> Value {
        serde_json::to_value(VnfPkgInfo::new(package, edition, "https://vnfm:9890")).unwrap()
    }

    #[test]
    fn a_package_without_content_says_so() {
        for edition in [Edition::V1, Edition::V2] {
            let root = Interface::Packages.root(edition);
            let url = format!("https://vnfm:9890{root}/vnf_packages/00000000-0000-0000-0000-000000000000");
            let expected = json!({
                "id": "00000000-0000-0000-0000-000000000000",
                "onboardingState": "CREATED",
                "operationalState": "DISABLED",
                "usageState": "NOT_IN_USE",
                "_links": {"self": {"href": url}, "packageContent": {"href": format!("{url}/package_content")}},
            });
            assert_eq!(rendered(&package(Onboarding::Created), edition), expected);
        }
    }

    fn onboarded() -> VnfPackage {
        let artifact = |path: &str| ArtifactInfo {
            path: path.to_owned(),
            algorithm: "SHA-256".to_owned(),
            hash: "ab".to_owned(),
            content_type: None,
            non_mano_artifact_set: None,
            classification: None,
            image: None,
        };
        let vnfd = Vnfd {
            id: "id".to_owned(),
            version: "1".to_owned(),
            provider: "p".to_owned(),
            product_name: "n".to_owned(),
            software_version: "2".to_owned(),
            vnfm_info: vec!["Gybe".to_owned()],
            flavours: BTreeMap::new(),
        };
        let image = SoftwareImage {
            id: "VDU1".to_owned(),
            name: "image".to_owned(),
            provider: "p".to_owned(),
            version: "3".to_owned(),
            container_format: "BARE".to_owned(),
            disk_format: "RAW".to_owned(),
            min_disk: 2,
            min_ram: 0,
            size: 1,
        };
        let artifacts = vec![
            ArtifactInfo { content_type: Some("text/x".to_owned()), ..artifact("a.yaml") },
            ArtifactInfo { non_mano_artifact_set: Some("set".to_owned()), ..artifact("b") },
            ArtifactInfo { classification: Some(ArtifactClassification::History), ..artifact("ChangeLog.txt") },
            ArtifactInfo { image: Some(image), ..artifact("image.raw") },
        ];
        let content = Content { vnfd, sha512: "cd".to_owned(), size: 5, artifacts };
        let mut package = package(Onboarding::Onboarded(Box::new(content)));
        package.in_use = true;
        package.user_defined_data.insert("a".to_owned(), 1.into());
        package
    }

    #[test]
    fn an_onboarded_package_shows_its_content() {
        for edition in [Edition::V1, Edition::V2] {
            let shown = rendered(&onboarded(), edition);
            assert_eq!(shown["vnfdId"], "id");
            assert_eq!(shown["vnfdVersion"], "1");
            assert_eq!(shown["vnfSoftwareVersion"], "2");
            assert_eq!(shown["checksum"], json!({"algorithm": "SHA-512", "hash": "cd"}));
            assert_eq!((&shown["usageState"], &shown["userDefinedData"]), (&json!("IN_USE"), &json!({"a": 1})));
            assert!(shown["_links"]["vnfd"]["href"].as_str().unwrap().ends_with("/vnfd"));
            let image = &shown["softwareImages"][0];
            assert_eq!(
                (&image["id"], &image["imagePath"], &image["minDisk"]),
                (&json!("VDU1"), &json!("image.raw"), &json!(2))
            );
            assert_eq!(
                (&image["createdAt"], &image["checksum"]["hash"]),
                (&json!("1970-01-01T00:00:00Z"), &json!("ab"))
            );
        }
    }

    #[test]
    fn the_editions_differ_in_what_they_say_of_artifacts_and_vnfms() {
        let checksum = json!({"algorithm": "SHA-256", "hash": "ab"});
        let (first, second) = (rendered(&onboarded(), Edition::V1), rendered(&onboarded(), Edition::V2));
        let expected = json!([
            {"artifactPath": "a.yaml", "checksum": checksum, "metadata": {"Content-Type": "text/x"}},
            {"artifactPath": "b", "checksum": checksum},
            {"artifactPath": "ChangeLog.txt", "checksum": checksum},
        ]);
        assert_eq!((&first["additionalArtifacts"], first.get("vnfmInfo")), (&expected, None));
        let expected = json!([
            {"artifactPath": "a.yaml", "checksum": checksum, "metadata": {"Content-Type": "text/x"}, "isEncrypted": false},
            {"artifactPath": "b", "checksum": checksum, "isEncrypted": false, "nonManoArtifactSetId": "set"},
            {"artifactPath": "ChangeLog.txt", "checksum": checksum, "isEncrypted": false, "artifactClassification": "HISTORY"},
        ]);
        assert_eq!((&second["additionalArtifacts"], &second["vnfmInfo"]), (&expected, &json!(["Gybe"])));
        assert_eq!(first["softwareImages"][0].get("isEncrypted"), None);
        assert_eq!(second["softwareImages"][0]["isEncrypted"], false);
    }

    #[test]
    fn a_refused_package_says_why_and_is_as_good_as_new_where_there_is_no_error_state() {
        for (edition, state) in [(Edition::V1, "CREATED"), (Edition::V2, "ERROR")] {
            let shown = rendered(&package(Onboarding::Error(Problem::unprocessable("why"))), edition);
            assert_eq!(shown["onboardingState"], state);
            assert_eq!(shown["onboardingFailureDetails"]["detail"], "why");
            assert_eq!(shown["onboardingFailureDetails"]["status"], 422);
            assert_eq!(shown.get("vnfdId"), None);
        }
    }

    #[test]
    fn modifications_are_what_was_sent() {
        let sent = json!({"operationalState": "ENABLED"});
        let patch: VnfPkgInfoModifications = serde_json::from_value(sent.clone()).unwrap();
        assert_eq!(serde_json::to_value(patch).unwrap(), sent);
        assert!(serde_json::from_value::<VnfPkgInfoModifications>(json!({"vnfdId": "x"})).is_err());
        assert!(serde_json::from_value::<VnfPkgInfoModifications>(json!({"operationalState": "enabled"})).is_err());
    }

    #[test]
    fn the_schema_demands_what_every_package_has() {
        let schema = serde_json::to_value(VnfPkgAttributes::schema()).unwrap();
        assert_eq!(schema["required"], json!(["id", "operationalState", "usageState", "_links"]));
    }
}
