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

/// Text that hardly compresses.
fn noise(bytes: usize) -> String {
    let mut state: u32 = 1;
    let digit = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        char::from(b'!' + (state % 90) as u8)
    };
    std::iter::repeat_with(digit).take(bytes).collect()
}

/// The open files of the process that have no name any more.
fn unnamed_files(gybe: &Gybe) -> usize {
    let open = std::fs::read_dir(format!("/proc/{}/fd", gybe.child.id())).unwrap();
    let target = |entry: std::io::Result<std::fs::DirEntry>| std::fs::read_link(entry.unwrap().path()).ok();
    open.filter_map(target).filter(|path| path.to_string_lossy().ends_with(" (deleted)")).count()
}

#[tokio::test]
async fn an_artifact_is_sent_from_the_archive_and_never_unpacked() {
    let gybe = Gybe::start();
    let text = noise(12 << 20);
    let package = gybe.upload(&sample::with_manifests(&[("Files/image.tar", &text)])).await;
    assert_eq!(package["onboardingState"], "ONBOARDED", "{package:#}");
    let href = package["_links"]["self"]["href"].as_str().unwrap();
    let uri = gybe.uri(&format!("{href}/artifacts/Files/image.tar"));
    let before = unnamed_files(&gybe);

    let whole = gybe.client.get(&uri).send().await.unwrap();
    assert_eq!(whole.headers()["accept-ranges"], "bytes");
    assert_eq!(whole.content_length(), Some(text.len() as u64));
    // More is under way than fits into the sockets.
    assert_eq!(unnamed_files(&gybe), before);
    assert!(whole.bytes().await.unwrap() == text.as_bytes());

    let last = text.len() - 1;
    for (range, part) in [
        ("bytes=0-0".to_owned(), 0..1),
        (format!("bytes={}-", text.len() - 5), text.len() - 5..text.len()),
        ("bytes=-7".to_owned(), text.len() - 7..text.len()),
        (format!("bytes=9000000-{}", usize::MAX), 9_000_000..text.len()),
        ("bytes=5000000-5200000".to_owned(), 5_000_000..5_200_001),
    ] {
        let answer = gybe.client.get(&uri).header("Range", &range).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::PARTIAL_CONTENT, "{range}");
        let shown = format!("bytes {}-{}/{}", part.start, part.end - 1, text.len());
        assert_eq!(answer.headers()["content-range"], shown.as_str(), "{range}");
        assert!(answer.bytes().await.unwrap() == text.as_bytes()[part], "{range}");
    }
    for ignored in [format!("lines=0-{last}"), "bytes=0-1,5-6".to_owned()] {
        let answer = gybe.client.get(&uri).header("Range", &ignored).send().await.unwrap();
        assert_eq!((answer.status(), answer.content_length()), (StatusCode::OK, Some(text.len() as u64)), "{ignored}");
    }
    let resumed = gybe.client.get(&uri).header("Range", "bytes=0-1").header("If-Range", "\"other\"");
    assert_eq!(resumed.send().await.unwrap().status(), StatusCode::OK);
    for wrong in [format!("bytes={}-", text.len()), "bytes=5-4".to_owned(), "bytes=x".to_owned()] {
        let answer = gybe.send(gybe.client.get(&uri).header("Range", &wrong)).await;
        answer.problem(416);
        assert_eq!(answer.headers["content-range"], format!("bytes */{}", text.len()).as_str(), "{wrong}");
    }
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
