//! VNF packages on the wire (SOL005 clause 9.5, SOL003 clause 10.5): requests, and resources in both editions. [`v1`] is 2.6.1
//! (`/vnfpkgm/v1`), [`v2`] is 3.3.1 (`/vnfpkgm/v2`).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use crate::domain::package::{OperationalState, VnfPackage};
use crate::domain::secret::Secret;
use crate::sol003::Edition;

mod attributes;
pub mod v1;
pub mod v2;

pub use attributes::*;

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
    /// Only artifacts that are in a non-MANO artifact set.
    exclude_all_mano_artifacts: Option<String>,
    /// Only artifacts that are in no non-MANO artifact set.
    exclude_all_non_mano_artifacts: Option<String>,
    /// With those outside of the package: there are none.
    include_external_artifacts: Option<String>,
    /// With what they are signed with.
    include_signatures: Option<String>,
    /// Only these non-MANO artifact sets, separated by commas.
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
    /// Password there. Gybe keeps both, sealed, until the content has arrived.
    #[schema(value_type = Option<String>)]
    pub password: Option<Secret>,
}

/// A package in one of the editions.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum VnfPkgInfo {
    /// 2.6.1.
    V1(Box<v1::VnfPkgInfo>),
    /// 3.3.1.
    V2(Box<v2::VnfPkgInfo>),
}

impl VnfPkgInfo {
    /// The package in `edition`; links begin with `base`.
    pub fn new(package: &VnfPackage, edition: Edition, base: &str) -> Self {
        match edition {
            Edition::V1 => Self::V1(Box::new(v1::VnfPkgInfo::new(package, base))),
            Edition::V2 => Self::V2(Box::new(v2::VnfPkgInfo::new(package, base))),
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
    use crate::domain::package::{ArtifactClassification, ArtifactInfo, Content, Onboarding, SoftwareImage};
    use crate::domain::problem::Problem;
    use crate::domain::vnfd::Vnfd;
    use crate::sol003::Interface;

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
    fn shows_a_package_without_content() {
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
        let content =
            Content { vnfd, sha512: "cd".to_owned(), size: 5, artifacts, warnings: ["unused"].into_iter().collect() };
        let mut package = package(Onboarding::Onboarded(Box::new(content)));
        package.in_use = true;
        package.user_defined_data.insert("a".to_owned(), 1.into());
        package
    }

    #[test]
    fn shows_the_content_of_an_onboarded_package() {
        for edition in [Edition::V1, Edition::V2] {
            let shown = rendered(&onboarded(), edition);
            assert_eq!(shown["vnfdId"], "id");
            assert_eq!(shown["vnfdVersion"], "1");
            assert_eq!(shown["vnfSoftwareVersion"], "2");
            assert_eq!(shown["checksum"], json!({"algorithm": "SHA-512", "hash": "cd"}));
            assert_eq!((&shown["usageState"], &shown["userDefinedData"]), (&json!("IN_USE"), &json!({"a": 1})));
            assert_eq!(shown["gybe:warnings"], json!(["unused"]));
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
    fn editions_differ_in_artifacts_and_vnfm_info() {
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
    fn shows_a_refused_package_with_the_reason_and_as_created_in_v1() {
        for (edition, state) in [(Edition::V1, "CREATED"), (Edition::V2, "ERROR")] {
            let shown = rendered(&package(Onboarding::Error(Problem::unprocessable("why"))), edition);
            assert_eq!(shown["onboardingState"], state);
            assert_eq!(shown["onboardingFailureDetails"]["detail"], "why");
            assert_eq!(shown["onboardingFailureDetails"]["status"], 422);
            assert_eq!(shown.get("vnfdId"), None);
        }
    }

    #[test]
    fn modifications_round_trip() {
        let sent = json!({"operationalState": "ENABLED"});
        let patch: VnfPkgInfoModifications = serde_json::from_value(sent.clone()).unwrap();
        assert_eq!(serde_json::to_value(patch).unwrap(), sent);
        assert!(serde_json::from_value::<VnfPkgInfoModifications>(json!({"vnfdId": "x"})).is_err());
        assert!(serde_json::from_value::<VnfPkgInfoModifications>(json!({"operationalState": "enabled"})).is_err());
    }

    #[test]
    fn schema_requires_the_attributes_of_every_package() {
        let schema = serde_json::to_value(VnfPkgAttributes::schema()).unwrap();
        assert_eq!(schema["required"], json!(["id", "operationalState", "usageState", "_links"]));
    }
}
