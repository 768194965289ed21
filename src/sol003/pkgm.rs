//! `/vnfpkgm/v1`: VNF packages as SOL005 2.6.1 clause 9.5 and SOL003 2.6.1 clause 10.5 write them.
//!
//! `onboardingState` ERROR and `onboardingFailureDetails` are of later editions; without them a client could not learn why
//! its package was refused.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::domain::package::{ArtifactInfo, Onboarding, OperationalState, VnfPackage};
use crate::domain::problem::Problem;
use crate::domain::vnfd::Vnfd;
use crate::sol003::common::{Link, ProblemDetails};

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

/// `UploadVnfPackageFromUriRequest` (SOL005 clause 9.5.2.4).
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UploadVnfPackageFromUriRequest {
    /// Where the content is.
    pub address_information: String,
    /// User name there.
    pub user_name: Option<String>,
    /// Password there.
    pub password: Option<String>,
}

/// `VnfPkgInfo` (SOL005 clause 9.5.2.5).
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct VnfPkgInfo {
    /// The package.
    pub id: String,
    /// `descriptor_id`; like the next five, from ONBOARDED on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vnfd_id: Option<String>,
    /// `provider`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vnf_provider: Option<String>,
    /// `product_name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vnf_product_name: Option<String>,
    /// `software_version`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vnf_software_version: Option<String>,
    /// `descriptor_version`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vnfd_version: Option<String>,
    /// Of the whole CSAR.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checksum: Option<Checksum>,
    /// The artifacts the package lists.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub additional_artifacts: Vec<VnfPackageArtifactInfo>,
    /// Where onboarding stands.
    #[schema(value_type = PackageOnboardingState)]
    pub onboarding_state: &'static str,
    /// Whether new instances may be made of it.
    #[schema(value_type = PackageOperationalState)]
    pub operational_state: OperationalState,
    /// Whether any VNF instance refers to it.
    pub usage_state: PackageUsageState,
    /// The caller's own data.
    #[serde(skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Option<Object>)]
    pub user_defined_data: Map<String, Value>,
    /// Why the content was refused; in ERROR only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<ProblemDetails>)]
    pub onboarding_failure_details: Option<Problem>,
    /// Related resources.
    #[serde(rename = "_links")]
    pub links: VnfPkgLinks,
}

/// `VnfPackageArtifactInfo` (SOL003 clause 10.5.3.3).
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct VnfPackageArtifactInfo {
    /// Path in the CSAR.
    pub artifact_path: String,
    /// As the package states it.
    pub checksum: Checksum,
    /// `Content-Type`, if the package states it.
    #[serde(skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Option<Object>)]
    pub metadata: Map<String, Value>,
}

/// `Checksum` (SOL003 clause 10.5.3.4).
#[derive(Debug, Serialize, ToSchema)]
pub struct Checksum {
    /// Such as `SHA-256`.
    pub algorithm: String,
    /// Hexadecimal digits.
    pub hash: String,
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
    /// The content was refused.
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
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
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

impl VnfPkgInfo {
    /// The package as clients see it; `base` is the URL under which they reach us.
    pub fn new(package: &VnfPackage, base: &str) -> Self {
        let this = format!("{base}/vnfpkgm/v1/vnf_packages/{}", package.id);
        let (content, failure) = match &package.onboarding {
            Onboarding::Onboarded(content) => (Some(content.as_ref()), None),
            Onboarding::Error(problem) => (None, Some(problem.clone())),
            Onboarding::Created | Onboarding::Uploading | Onboarding::Processing => (None, None),
        };
        let vnfd = |text: fn(&Vnfd) -> &String| content.map(|content| text(&content.vnfd).clone());
        Self {
            id: package.id.to_string(),
            vnfd_id: vnfd(|vnfd| &vnfd.id),
            vnf_provider: vnfd(|vnfd| &vnfd.provider),
            vnf_product_name: vnfd(|vnfd| &vnfd.product_name),
            vnf_software_version: vnfd(|vnfd| &vnfd.software_version),
            vnfd_version: vnfd(|vnfd| &vnfd.version),
            checksum: content.map(|content| Checksum { algorithm: "SHA-512".to_owned(), hash: content.sha512.clone() }),
            additional_artifacts: content.into_iter().flat_map(|content| &content.artifacts).map(Into::into).collect(),
            onboarding_state: package.onboarding.as_str(),
            operational_state: package.operational_state,
            usage_state: if package.in_use { PackageUsageState::InUse } else { PackageUsageState::NotInUse },
            user_defined_data: package.user_defined_data.clone(),
            onboarding_failure_details: failure,
            links: VnfPkgLinks {
                vnfd: content.map(|_| Link::to(format!("{this}/vnfd"))),
                package_content: Link::to(format!("{this}/package_content")),
                this: Link::to(this),
            },
        }
    }
}

impl From<&ArtifactInfo> for VnfPackageArtifactInfo {
    fn from(artifact: &ArtifactInfo) -> Self {
        let content_type = artifact.content_type.iter();
        Self {
            artifact_path: artifact.path.clone(),
            checksum: Checksum { algorithm: artifact.algorithm.clone(), hash: artifact.hash.clone() },
            metadata: content_type.map(|value| ("Content-Type".to_owned(), value.clone().into())).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;
    use time::OffsetDateTime;
    use utoipa::PartialSchema;
    use uuid::Uuid;

    use super::*;
    use crate::domain::ids::{ProjectId, VnfPkgId};
    use crate::domain::package::Content;

    fn package(onboarding: Onboarding) -> VnfPackage {
        VnfPackage {
            id: VnfPkgId(Uuid::nil()),
            project_id: ProjectId::default(),
            onboarding,
            operational_state: OperationalState::Disabled,
            in_use: false,
            user_defined_data: Map::new(),
            created_at: OffsetDateTime::UNIX_EPOCH,
        }
    }

    fn rendered(package: &VnfPackage) -> Value {
        serde_json::to_value(VnfPkgInfo::new(package, "https://vnfm:9890")).unwrap()
    }

    #[test]
    fn a_package_without_content_says_so() {
        let url = "https://vnfm:9890/vnfpkgm/v1/vnf_packages/00000000-0000-0000-0000-000000000000";
        let expected = json!({
            "id": "00000000-0000-0000-0000-000000000000",
            "onboardingState": "CREATED",
            "operationalState": "DISABLED",
            "usageState": "NOT_IN_USE",
            "_links": {"self": {"href": url}, "packageContent": {"href": format!("{url}/package_content")}},
        });
        assert_eq!(rendered(&package(Onboarding::Created)), expected);
    }

    #[test]
    fn an_onboarded_package_shows_its_content() {
        let artifact = |path: &str, content_type: Option<&str>| ArtifactInfo {
            path: path.to_owned(),
            algorithm: "SHA-256".to_owned(),
            hash: "ab".to_owned(),
            content_type: content_type.map(str::to_owned),
        };
        let vnfd = Vnfd {
            id: "id".to_owned(),
            version: "1".to_owned(),
            provider: "p".to_owned(),
            product_name: "n".to_owned(),
            software_version: "2".to_owned(),
            vnfm_info: Vec::new(),
            flavours: BTreeMap::new(),
        };
        let artifacts = vec![artifact("a.yaml", Some("text/x")), artifact("b", None)];
        let content = Content { vnfd, sha512: "cd".to_owned(), size: 5, artifacts };
        let mut package = package(Onboarding::Onboarded(Box::new(content)));
        package.in_use = true;
        package.user_defined_data.insert("a".to_owned(), 1.into());
        let shown = rendered(&package);
        assert_eq!(shown["vnfdId"], "id");
        assert_eq!(shown["vnfdVersion"], "1");
        assert_eq!(shown["vnfSoftwareVersion"], "2");
        assert_eq!(shown["checksum"], json!({"algorithm": "SHA-512", "hash": "cd"}));
        let checksum = json!({"algorithm": "SHA-256", "hash": "ab"});
        let expected = json!([
            {"artifactPath": "a.yaml", "checksum": checksum, "metadata": {"Content-Type": "text/x"}},
            {"artifactPath": "b", "checksum": checksum},
        ]);
        assert_eq!(shown["additionalArtifacts"], expected);
        assert_eq!((&shown["usageState"], &shown["userDefinedData"]), (&json!("IN_USE"), &json!({"a": 1})));
        assert!(shown["_links"]["vnfd"]["href"].as_str().unwrap().ends_with("/vnfd"));
    }

    #[test]
    fn a_refused_package_says_why() {
        let shown = rendered(&package(Onboarding::Error(Problem::impossible("why"))));
        assert_eq!(shown["onboardingState"], "ERROR");
        assert_eq!(shown["onboardingFailureDetails"]["detail"], "why");
        assert_eq!(shown["onboardingFailureDetails"]["status"], 422);
        assert_eq!(shown.get("vnfdId"), None);
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
        let schema = serde_json::to_value(VnfPkgInfo::schema()).unwrap();
        let required = json!(["id", "onboardingState", "operationalState", "usageState", "_links"]);
        assert_eq!(schema["required"], required);
    }
}
