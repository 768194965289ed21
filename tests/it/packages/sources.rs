//! `upload_from_uri` through the real binary, from real HTTP servers: allowed and rejected sources.

use aws_lc_rs::digest;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::cluster::Cluster;
use crate::support::gybe::{ApiResponse, Gybe, instantiate_request};
use crate::support::repository::{Repository, Sent};
use crate::support::sample::{self, edit_files};

/// Creates a package; returns its path and that of the task.
async fn created(gybe: &Gybe) -> (String, String) {
    let created = gybe.post("/vnfpkgm/v2/vnf_packages", &json!({})).await;
    created.expect(StatusCode::CREATED);
    let href = created.location.unwrap();
    (href.clone(), format!("{href}/package_content/upload_from_uri"))
}

async fn asked(gybe: &Gybe, uri: &str) -> ApiResponse {
    let (_, task) = created(gybe).await;
    gybe.post(&task, &json!({ "addressInformation": uri })).await
}

/// Fetches a package from `repository` and returns its final state.
async fn fetched(gybe: &Gybe, repository: &Repository) -> Value {
    let (href, task) = created(gybe).await;
    let answer = gybe.post(&task, &json!({ "addressInformation": format!("http://{}/a.csar", repository.host) })).await;
    answer.expect(StatusCode::ACCEPTED);
    assert_eq!(answer.text, "");
    gybe.wait_until(&href, |one| !matches!(one["onboardingState"].as_str(), Some("UPLOADING" | "PROCESSING"))).await
}

fn failure(package: &Value) -> &str {
    assert_eq!(package["onboardingState"], "ERROR", "{package:#}");
    package["onboardingFailureDetails"]["detail"].as_str().unwrap()
}

#[tokio::test]
async fn a_package_is_fetched_from_an_allowed_host_with_the_callers_credentials() {
    let csar = sample::pack("small");
    let repository = Repository::start(Sent::content(&csar)).await;
    let gybe = Gybe::start_with(&["--package-sources", &format!("elsewhere.example,{}", repository.host)]);
    let (href, task) = created(&gybe).await;
    let uri = format!("http://{}/packages/small.csar?token=t0k3n", repository.host);
    let request = json!({ "addressInformation": uri, "userName": "nfvo", "password": "s3cr3t" });
    gybe.post(&task, &request).await.expect(StatusCode::ACCEPTED);
    let package = gybe.wait_until(&href, |package| package["onboardingState"] == "ONBOARDED").await;
    assert_eq!(
        (&package["operationalState"], &package["vnfdId"]),
        (&json!("ENABLED"), &json!("73931552-9c18-4c34-b436-5587710fb0b6"))
    );
    let content = gybe.client.get(gybe.uri(&format!("{href}/package_content"))).send().await.unwrap();
    assert!(content.bytes().await.unwrap() == csar);
    let [head] = &repository.requests()[..] else { panic!("{:?}", repository.requests()) };
    assert!(head.starts_with("GET /packages/small.csar?token=t0k3n HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("Basic bmZ2bzpzM2NyM3Q="), "{head}");
    gybe.post(&task, &request).await.problem(409);
    assert_eq!(repository.requests().len(), 1, "nothing is fetched for a package that has content");
    for secret in ["s3cr3t", "bmZ2bzpzM2NyM3Q=", "t0k3n"] {
        assert!(!gybe.log().contains(secret) && !gybe.get(&href).await.text.contains(secret));
    }
    let database = std::fs::read(gybe.folder().join("gybe.db")).unwrap();
    let log = std::fs::read(gybe.folder().join("gybe.db-wal")).unwrap_or_default();
    let holds = |bytes: &[u8]| bytes.windows(6).any(|window| window == b"s3cr3t");
    assert!(!holds(&database) && !holds(&log), "it is not kept");
}

#[tokio::test]
async fn hosts_that_are_not_allowed_are_403() {
    let repository = Repository::start(Sent::content(&sample::pack("small"))).await;
    let uri = format!("http://{}/a.csar", repository.host);
    let off = Gybe::start();
    assert!(asked(&off, &uri).await.problem(403).contains("package_content"));
    let other = Gybe::start_with(&["--package-sources", "127.0.0.1,repository.example"]);
    assert!(asked(&other, &uri).await.problem(403).contains("--package-sources"), "another port is another server");
    let all = Gybe::start_with(&["--package-sources", "*"]);
    for uri in ["http://169.254.169.254/latest/meta-data", "http://[fe80::1]/", "http://[::ffff:a9fe:a9fe]/"] {
        asked(&all, uri).await.problem(403);
    }
    for uri in ["", "file:///etc/passwd", "ftp://h/", "http://user:s3cr3t@h/", "/a.csar"] {
        assert!(!asked(&all, uri).await.problem(400).contains("s3cr3t"), "{uri}");
    }
    let (_, task) = created(&all).await;
    all.post(&task, &json!({})).await.problem(400);
    all.post(&task, &json!({ "addressInformation": uri, "password": "s3cr3t" })).await.problem(400);
    let nowhere = "/vnfpkgm/v1/vnf_packages/8f14e45f-ceea-467f-a8f4-0123456789ab/package_content/upload_from_uri";
    all.post(nowhere, &json!({ "addressInformation": uri })).await.problem(404);
    assert!(repository.requests().is_empty());
}

#[tokio::test]
async fn a_name_that_resolves_to_a_metadata_service_is_not_contacted() {
    let gybe = Gybe::start_with(&["--package-sources", "*"]);
    let (href, task) = created(&gybe).await;
    // The address in decimal, which the system's resolver accepts: a name, not a literal address.
    gybe.post(&task, &json!({ "addressInformation": "http://2852039166/" })).await.expect(StatusCode::ACCEPTED);
    let package = gybe.wait_until(&href, |package| package["onboardingState"] == "ERROR").await;
    assert!(failure(&package).contains("169.254.169.254 is link-local or a metadata service"), "{package:#}");
}

#[tokio::test]
async fn a_failed_fetch_is_reported_and_can_be_repeated() {
    let csar = sample::pack("small");
    let mut cut_off = Sent::content(&csar);
    if let Sent::Whole(bytes) = &mut cut_off {
        bytes.truncate(500);
    }
    let metadata = "302 Found\r\nLocation: http://169.254.169.254/latest/meta-data";
    for (sent, wanted) in [
        (Sent::head("404 Not Found"), "the answer is 404"),
        (Sent::head("401 Unauthorized"), "check userName and password"),
        (Sent::head("204 No Content"), "the answer is 204"),
        (Sent::head("500 Internal Server Error\r\nX-Secret: s3cr3t"), "the answer is 500"),
        (Sent::head(metadata), "redirects are not followed"),
        (Sent::Whole(b"no HTTP".to_vec()), "the package can't be fetched"),
        (cut_off, "interrupted"),
        (Sent::content(b"no zip"), "no intact ZIP archive"),
    ] {
        let repository = Repository::start(sent.clone()).await;
        let gybe = Gybe::start_with(&["--package-sources", &repository.host]);
        let package = fetched(&gybe, &repository).await;
        let detail = failure(&package);
        assert!(detail.contains(wanted) && !detail.contains("s3cr3t"), "{sent:?}: {detail}");
        assert!(!detail.contains("meta-data"), "the error does not repeat the text of the server: {detail}");
        let files = std::fs::read_dir(gybe.folder().join("data/packages")).unwrap();
        assert_eq!(files.count(), 0, "no partial content is left on the disk");
        let href = package["_links"]["self"]["href"].as_str().unwrap();
        let upload = gybe.client.put(gybe.uri(&format!("{href}/package_content"))).body(csar.clone());
        gybe.send(upload).await.expect(StatusCode::ACCEPTED);
        gybe.wait_until(href, |package| package["onboardingState"] == "ONBOARDED").await;
    }
}

#[tokio::test]
async fn an_endless_source_is_aborted() {
    let repository = Repository::start(Sent::Endless(vec![b'x'; 64 * 1024])).await;
    let gybe = Gybe::start_with(&["--package-sources", &repository.host, "--max-package-size", "1"]);
    let package = fetched(&gybe, &repository).await;
    assert!(failure(&package).contains("larger than the 1048576 bytes"), "{package:#}");
}

#[tokio::test]
async fn an_interrupted_fetch_is_repeated_by_the_next_process() {
    let csar = sample::pack("small");
    let stalled = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nPK".to_vec();
    let repository = Repository::start(Sent::Stalls(stalled)).await;
    let mut gybe = Gybe::start_with(&["--package-sources", &repository.host]);
    let (href, task) = created(&gybe).await;
    let uri = format!("http://{}/?token=t0k3n", repository.host);
    let request = json!({ "addressInformation": uri, "userName": "nfvo", "password": "s3cr3t" });
    gybe.post(&task, &request).await.expect(StatusCode::ACCEPTED);
    let folder = gybe.folder().join("data/packages");
    // The fetch waits for bytes that do not arrive.
    while std::fs::read_dir(&folder).unwrap().count() == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(gybe.get(&href).await.expect(StatusCode::OK)["onboardingState"], "UPLOADING");
    gybe.delete(&href).await.problem(409);
    gybe.kill();
    repository.send(Sent::content(&csar));
    gybe.restart();
    let package = gybe.wait_until(&href, |package| package["onboardingState"] == "ONBOARDED").await;
    assert_eq!(package["vnfdId"], "73931552-9c18-4c34-b436-5587710fb0b6");
    let content = gybe.client.get(gybe.uri(&format!("{href}/package_content"))).send().await.unwrap();
    assert!(content.bytes().await.unwrap() == csar);
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1, "no content of the first attempt is left");
    let requests = repository.requests();
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[0], requests[1], "the second request has the credentials of the first");
}

/// The CSAR of sample `small` that lists, instead of its definition file, the artifact at `url`, with that hash unless it is empty.
fn listing(url: &str, hash: &str) -> Vec<u8> {
    edit_files(sample::with_manifests(&[("Files/other.yaml", OTHER)]), &mut |name, text| {
        if name == "TOSCA-Metadata/TOSCA.meta" {
            *text += &format!("\nSource: {url}\n");
            if !hash.is_empty() {
                *text += &format!("Algorithm: SHA-256\nHash: {hash}\n");
            }
        }
    })
}

const OTHER: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: other}\n";

const EXTERNAL: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: external}\ndata: {a: b}\n";

fn sha256(text: &str) -> String {
    hex::encode(digest::digest(&digest::SHA256, text.as_bytes()))
}

/// Uploads the package and returns it as v2 shows it.
async fn uploaded(gybe: &Gybe, csar: &[u8]) -> Value {
    let package = gybe.upload(csar).await;
    gybe.get(&format!("/vnfpkgm/v2/vnf_packages/{}", package["id"].as_str().unwrap())).await.expect(StatusCode::OK)
}

#[tokio::test]
async fn a_definition_file_by_url_is_fetched_once_and_needed_no_more() {
    let cluster = Cluster::running().await;
    let namespace = cluster.namespace().await;
    let repository = Repository::start(Sent::content(EXTERNAL.as_bytes())).await;
    let gybe = Gybe::start_with(&["--package-sources", &repository.host]);
    gybe.register_vim(&cluster.admin, "cluster", true).await;
    let url = format!("http://{}/files/external.yaml?token=t0k3n", repository.host);
    let csar = listing(&url, &sha256(EXTERNAL));
    let package = uploaded(&gybe, &csar).await;
    assert_eq!(package["onboardingState"], "ONBOARDED", "{package:#}");
    assert_eq!(package.get("gybe:warnings"), None, "{package:#}");
    let artifacts = package["additionalArtifacts"].as_array().unwrap();
    assert!(artifacts.iter().any(|artifact| artifact["artifactPath"] == url.as_str()), "{package:#}");
    let href = package["_links"]["self"]["href"].as_str().unwrap();
    let content = gybe.client.get(gybe.uri(&format!("{href}/package_content"))).send().await.unwrap();
    assert!(content.bytes().await.unwrap() == csar);
    gybe.client.get(gybe.uri(&format!("{href}/artifacts"))).send().await.unwrap().error_for_status().unwrap();

    // The host is gone.
    repository.send(Sent::head("404 Not Found"));
    let path = gybe.create("v2", package["vnfdId"].as_str().unwrap()).await;
    let mut request = instantiate_request(namespace.name.as_str());
    request["additionalParams"]["lcm-kubernetes-def-files"] = json!([url]);
    gybe.complete(&path, "instantiate", &request).await;
    let maps = cluster.api("v1", "ConfigMap", "configmaps", Some(&namespace.name));
    assert_eq!(maps.get("external").await.unwrap().data["data"], json!({ "a": "b" }));
    gybe.complete(&path, "heal", &json!({})).await;
    gybe.complete(&path, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
    let [head] = &repository.requests()[..] else { panic!("{:?}", repository.requests()) };
    assert!(head.starts_with("GET /files/external.yaml?token=t0k3n HTTP/1.1\r\n"), "{head}");
    assert!(!gybe.log().contains("t0k3n"));
}

#[tokio::test]
async fn an_artifact_by_url_that_is_not_allowed_missing_or_altered_refuses_the_package() {
    let repository = Repository::start(Sent::content(EXTERNAL.as_bytes())).await;
    let url = format!("http://{}/external.yaml?token=t0k3n", repository.host);
    let csar = listing(&url, &sha256(EXTERNAL));
    for sources in [vec![], vec!["--package-sources", "elsewhere.example"]] {
        let gybe = Gybe::start_with(&sources);
        let package = uploaded(&gybe, &csar).await;
        assert!(
            failure(&package).contains("fetches no artifacts from 127.0.0.1: the operator can allow it"),
            "{package:#}"
        );
        assert!(failure(&package).starts_with("TOSCA-Metadata/TOSCA.meta:"), "{package:#}");
    }
    assert!(repository.requests().is_empty());

    let gybe = Gybe::start_with(&["--package-sources", "*"]);
    let large = Sent::content(&vec![b'#'; (8 << 20) + 1]);
    for (sent, wanted) in [
        (Sent::content(OTHER.as_bytes()), "the hash of http://"),
        (Sent::head("404 Not Found"), "the artifact can't be fetched from 127.0.0.1: the answer is 404"),
        (Sent::head("302 Found\r\nLocation: http://169.254.169.254/"), "redirects are not followed"),
        (large, "more than the 8388608 bytes"),
    ] {
        repository.send(sent);
        let package = uploaded(&gybe, &csar).await;
        assert!(failure(&package).contains(wanted), "{wanted}: {package:#}");
    }
    let metadata = listing("http://169.254.169.254/latest/a.yaml", "00");
    assert!(failure(&uploaded(&gybe, &metadata).await).contains("link-local"));
}

#[tokio::test]
async fn artifacts_by_url_without_hash_or_of_other_types_are_warnings() {
    let repository = Repository::start(Sent::content(EXTERNAL.as_bytes())).await;
    let gybe = Gybe::start_with(&["--package-sources", &repository.host]);
    let package = uploaded(&gybe, &listing(&format!("http://{}/external.yaml", repository.host), "")).await;
    assert_eq!(package["onboardingState"], "ONBOARDED", "{package:#}");
    assert!(package["gybe:warnings"].to_string().contains("has no hash"), "{package:#}");
    let gybe = Gybe::start();
    let package = uploaded(&gybe, &listing("https://elsewhere.example/image.qcow2", "00")).await;
    assert_eq!(package["onboardingState"], "ONBOARDED", "{package:#}");
    assert!(package["gybe:warnings"].to_string().contains("is no YAML or JSON file"), "{package:#}");
    assert_eq!(repository.requests().len(), 1);
}
