//! `upload_from_uri` through the real binary, from real HTTP servers: allowed and rejected sources.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::gybe::{ApiResponse, Gybe};
use crate::support::repository::{Repository, Sent};
use crate::support::sample;

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
