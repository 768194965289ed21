//! Every response and notification of package management matches the JSON Schemas of SOL003, where these are available.

use reqwest::StatusCode;
use serde_json::json;

use crate::support::gybe::Gybe;
use crate::support::sample;
use crate::support::schemas::{self, Schema, SchemaCheck, package_v2, v1};
use crate::support::subscriber::Subscriber;

/// The schemas of an edition.
struct PackageSchemas {
    package: Schema,
    problem: Schema,
    subscription: Schema,
    /// `None` for 3.3.1: its notification schemas are not available.
    notifications: Option<[Schema; 2]>,
    versions: Option<Schema>,
}

const V1: PackageSchemas = PackageSchemas {
    package: v1("v2.6.1/VNFPackageManagement/vnfPkgInfo.schema.json"),
    problem: v1("v2.6.1/VNFPackageManagement/ProblemDetails.schema.json"),
    subscription: v1("v2.6.1/VNFPackageManagement/PkgmSubscription.schema.json"),
    notifications: Some([
        v1("v2.6.1/VNFPackageManagement/VnfPackageOnboardingNotification.schema.json"),
        v1("v2.6.1/VNFPackageManagement/VnfPackageChangeNotification.schema.json"),
    ]),
    versions: Some(v1("v2.6.1/VNFPackageManagement/ApiVersionInformation.schema.json")),
};
const V2: PackageSchemas = PackageSchemas {
    package: package_v2("VnfPkgInfo"),
    problem: package_v2("ProblemDetails"),
    subscription: package_v2("PkgmSubscription"),
    notifications: None,
    versions: None,
};

#[tokio::test]
async fn every_response_and_notification_matches_the_schemas() {
    if schemas::folder().is_none() {
        return;
    }
    let mut checks = SchemaCheck::default();
    for (edition, schemas) in [("v1", V1), ("v2", V2)] {
        let (gybe, subscriber) = (Gybe::start(), Subscriber::start().await);
        let root = format!("/vnfpkgm/{edition}");
        let filter = json!({ "vnfProductsFromProviders": [{ "vnfProvider": "Gybe", "vnfProducts": [{ "vnfProductName": "Small",
            "versions": [{ "vnfSoftwareVersion": "1.0", "vnfdVersions": ["1.0"] }] }] }], "usageState": ["NOT_IN_USE"] });
        let request = json!({ "callbackUri": subscriber.url, "filter": filter });
        let subscribed = gybe.post(&format!("{root}/subscriptions"), &request).await.expect(StatusCode::CREATED);
        checks.add("subscription", schemas.subscription, &subscribed);
        let listed = gybe.get(&format!("{root}/subscriptions")).await.expect(StatusCode::OK);
        checks.add_list("subscriptions", schemas.subscription, &listed);

        let request = json!({ "userDefinedData": { "a": 1 } });
        let created = gybe.post(&format!("{root}/vnf_packages"), &request).await.expect(StatusCode::CREATED);
        checks.add("created package", schemas.package, &created);
        gybe.upload(b"no zip").await;
        let onboarded = gybe.upload(&sample::with_image()).await;
        let href = onboarded["_links"]["self"]["href"].as_str().unwrap().replace("/v1/", &format!("/{edition}/"));
        let shown = gybe.get(&href).await.expect(StatusCode::OK);
        assert_eq!(shown["softwareImages"][0]["imagePath"], "Files/kubernetes/deployment.yaml", "{shown:#}");
        checks.add("onboarded package", schemas.package, &shown);
        for list in ["vnf_packages?all_fields", "vnf_packages", "onboarded_vnf_packages?all_fields"] {
            let listed = gybe.get(&format!("{root}/{list}")).await.expect(StatusCode::OK);
            assert!(!listed.as_array().unwrap().is_empty());
            checks.add_list(list, schemas.package, &listed);
        }
        for wrong in ["vnf_packages/none", "vnf_packages?x=1", "subscriptions/none", "nothing"] {
            let answer = gybe.get(&format!("{root}/{wrong}")).await;
            assert!(answer.status.is_client_error());
            checks.add(wrong, schemas.problem, &serde_json::from_str(&answer.text).unwrap());
        }
        gybe.patch(&href, &json!({ "operationalState": "DISABLED" })).await.expect(StatusCode::OK);
        gybe.delete(&href).await.expect(StatusCode::NO_CONTENT);
        let received = subscriber.wait_for_accepted(3).await;
        if let Some(versions) = schemas.versions {
            let shown = gybe.get(&format!("{root}/api_versions")).await.expect(StatusCode::OK);
            checks.add("api_versions", versions, &shown);
        }
        if let Some([onboarding, change]) = schemas.notifications {
            for one in &received {
                let is_change = one.body["notificationType"] == "VnfPackageChangeNotification";
                checks.add("notification", if is_change { change } else { onboarding }, &one.body);
            }
        }
    }
    let (number, errors) = checks.errors();
    assert!(errors.is_empty(), "{errors}");
    println!("{number} values match the schemas");
}
