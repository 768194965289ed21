//! `/vnfpkgm/v1` through the real binary.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::gybe::Gybe;
use crate::support::sample;

async fn onboarded(gybe: &Gybe, sample: &str) -> (String, Value) {
    let package = gybe.upload(&sample::pack(sample)).await;
    assert_eq!(package["onboardingState"], "ONBOARDED", "{package:#}");
    (package["_links"]["self"]["href"].as_str().unwrap().to_owned(), package)
}

#[tokio::test]
async fn a_package_is_shown_with_what_its_descriptor_says() {
    let gybe = Gybe::start();
    let created = gybe.post("/vnfpkgm/v1/vnf_packages", &json!({ "userDefinedData": { "a": "b" } })).await;
    let package = created.expect(StatusCode::CREATED);
    assert_eq!(created.location.as_deref(), package["_links"]["self"]["href"].as_str());
    assert_eq!(package["onboardingState"], "CREATED");
    assert_eq!(package["operationalState"], "DISABLED");
    assert_eq!(package["usageState"], "NOT_IN_USE");
    assert_eq!(package["userDefinedData"], json!({ "a": "b" }));
    assert_eq!(package.get("vnfdId"), None);
    for part in ["package_content", "vnfd", "manifest", "artifacts/x"] {
        gybe.get(&format!("{}/{part}", created.location.as_deref().unwrap())).await.problem(409);
    }

    let (href, package) = onboarded(&gybe, "core5g").await;
    assert_eq!(package["vnfdId"], "c7182c9d-3559-41e4-9393-b87a40d8cc41");
    assert_eq!(package["operationalState"], "ENABLED");
    assert_eq!(package["checksum"]["hash"].as_str().unwrap().len(), 128, "SHA-512");
    let all = gybe.get("/vnfpkgm/v1/vnf_packages").await.expect(StatusCode::OK);
    assert_eq!(all.as_array().unwrap().len(), 2);
    let shown = gybe.get(&href).await.expect(StatusCode::OK);
    assert_eq!(shown["additionalArtifacts"].as_array().unwrap().len(), 9);
}

#[tokio::test]
async fn content_and_artifacts_are_served_with_ranges() {
    let gybe = Gybe::start();
    let csar = sample::pack("small");
    let (href, _) = onboarded(&gybe, "small").await;
    let get = |part: &str, range: Option<&str>| {
        let request = gybe.client.get(gybe.uri(&format!("{href}/{part}")));
        if let Some(range) = range { request.header("Range", range) } else { request }
    };
    let whole = get("package_content", None).send().await.unwrap();
    assert_eq!(whole.headers()["content-type"], "application/zip");
    assert_eq!(whole.bytes().await.unwrap(), csar);
    let part = get("package_content", Some("bytes=2-5")).send().await.unwrap();
    assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(part.headers()["content-range"].to_str().unwrap(), format!("bytes 2-5/{}", csar.len()));
    assert_eq!(part.bytes().await.unwrap(), &csar[2..=5]);
    let beyond = format!("bytes={}-", csar.len());
    gybe.send(get("package_content", Some(&beyond))).await.problem(416);

    let artifact = get("artifacts/Files/kubernetes/deployment.yaml", None).send().await.unwrap();
    assert_eq!(artifact.headers()["content-type"], "application/yaml");
    let text = artifact.text().await.unwrap();
    assert!(text.contains("kind: Deployment"));
    let part = get("artifacts/Files/kubernetes/deployment.yaml", Some("bytes=0-3")).send().await.unwrap();
    assert_eq!((part.status(), part.text().await.unwrap().as_str()), (StatusCode::PARTIAL_CONTENT, &text[..4]));
    for wrong in ["artifacts/Files/none", "artifacts/TOSCA-Metadata/TOSCA.meta", "artifacts/..%2F..%2Fetc%2Fpasswd"] {
        gybe.send(get(wrong, None)).await.problem(404);
    }
}

#[tokio::test]
async fn the_descriptor_is_served_as_text_or_zip_as_accepted() {
    let gybe = Gybe::start();
    let (several, _) = onboarded(&gybe, "small").await;
    let (single, _) = onboarded(&gybe, "no-metadata").await;
    let get = |href: &str, accept: &str| gybe.client.get(gybe.uri(&format!("{href}/vnfd"))).header("Accept", accept);
    let answer = gybe.send(get(&single, "text/plain, application/zip")).await;
    assert!(answer.content_type.as_deref().unwrap().starts_with("text/plain"));
    assert!(answer.text.contains("descriptor_id"));
    let answer = get(&several, "application/zip").send().await.unwrap();
    let bytes = answer.bytes().await.unwrap();
    let zip = zip::ZipArchive::new(std::io::Cursor::new(bytes)).unwrap();
    assert!(zip.index_for_name("TOSCA-Metadata/TOSCA.meta").is_some());
    gybe.send(get(&several, "text/plain")).await.problem(406);
    let manifest = gybe.get(&format!("{single}/manifest")).await;
    assert_eq!(manifest.status, StatusCode::OK);
    assert!(manifest.text.contains("Algorithm"));
    gybe.get(&format!("{several}/manifest")).await.problem(404);
}

#[tokio::test]
async fn a_package_is_deleted_only_while_it_is_disabled_and_not_in_use() {
    let gybe = Gybe::start();
    let (href, package) = onboarded(&gybe, "small").await;
    let vnfd = package["vnfdId"].as_str().unwrap();
    let instance = gybe.create("v2", vnfd).await;
    assert_eq!(gybe.get(&href).await.expect(StatusCode::OK)["usageState"], "IN_USE");
    assert!(gybe.delete(&href).await.problem(409).contains("DISABLED first"));
    let disable = json!({ "operationalState": "DISABLED" });
    assert_eq!(gybe.patch(&href, &disable).await.expect(StatusCode::OK), disable);
    gybe.patch(&href, &disable).await.problem(409);
    gybe.patch(&href, &json!({})).await.problem(400);
    gybe.patch(&href, &json!({ "operationalState": "ASLEEP" })).await.problem(400);
    let another = gybe.post("/vnflcm/v2/vnf_instances", &json!({ "vnfdId": vnfd })).await;
    assert!(another.problem(422).contains("ENABLED"));
    assert!(gybe.delete(&href).await.problem(409).contains("IN_USE"));
    gybe.delete(&instance).await.expect(StatusCode::NO_CONTENT);
    gybe.delete(&href).await.expect(StatusCode::NO_CONTENT);
    gybe.get(&href).await.problem(404);
    let files = std::fs::read_dir(gybe.folder().join("data/packages")).unwrap();
    assert_eq!(files.count(), 0, "the content is gone from the disk");
}

#[tokio::test]
async fn a_vnfd_is_onboarded_once() {
    let gybe = Gybe::start();
    let (_, package) = onboarded(&gybe, "small").await;
    let second = gybe.upload(&sample::pack("small")).await;
    assert_eq!(second["onboardingState"], "ERROR");
    let detail = second["onboardingFailureDetails"]["detail"].as_str().unwrap();
    assert!(detail.contains(package["vnfdId"].as_str().unwrap()), "{detail}");
}

#[tokio::test]
async fn nothing_is_fetched_on_a_callers_word() {
    let gybe = Gybe::start();
    let created = gybe.post("/vnfpkgm/v1/vnf_packages", &json!({})).await;
    let path = format!("{}/package_content/upload_from_uri", created.location.as_deref().unwrap());
    let request = json!({ "addressInformation": "http://169.254.169.254/latest/meta-data" });
    assert!(gybe.post(&path, &request).await.problem(403).contains("package_content"));
}
