//! `/vnfpkgm` through the real binary, in both editions. `sources.rs` tests uploads from a URI, `subscriptions.rs`
//! notifications.

use std::io::Write as _;
use std::time::Duration;

use futures::future::join_all;
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
async fn a_package_shows_the_contents_of_its_descriptor() {
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
fn incompressible_text(bytes: usize) -> String {
    let mut state: u32 = 1;
    let digit = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        char::from(b'!' + (state % 90) as u8)
    };
    std::iter::repeat_with(digit).take(bytes).collect()
}

/// The number of open files of the process that have been unlinked.
fn unnamed_files(gybe: &Gybe) -> usize {
    let open = std::fs::read_dir(format!("/proc/{}/fd", gybe.child.id())).unwrap();
    let target = |entry: std::io::Result<std::fs::DirEntry>| std::fs::read_link(entry.unwrap().path()).ok();
    open.filter_map(target).filter(|path| path.to_string_lossy().ends_with(" (deleted)")).count()
}

#[tokio::test]
async fn artifacts_are_streamed_from_the_archive_without_unpacking() {
    let gybe = Gybe::start();
    let text = incompressible_text(12 << 20);
    let package = gybe.upload(&sample::with_manifests(&[("Files/image.tar", &text)])).await;
    assert_eq!(package["onboardingState"], "ONBOARDED", "{package:#}");
    let href = package["_links"]["self"]["href"].as_str().unwrap();
    let uri = gybe.uri(&format!("{href}/artifacts/Files/image.tar"));
    let before = unnamed_files(&gybe);

    let whole = gybe.client.get(&uri).send().await.unwrap();
    assert_eq!(whole.headers()["accept-ranges"], "bytes");
    assert_eq!(whole.content_length(), Some(text.len() as u64));
    // The content is larger than the socket buffers.
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
async fn accept_header_selects_vnfd_as_text_or_zip() {
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
    for (href, accept) in [
        (&several, "text/plain"),
        (&several, "text/*, application/zip;q=0"),
        (&single, "application/json"),
        (&single, "text/html, image/*"),
    ] {
        gybe.send(get(href, accept)).await.problem(406);
    }
    for accept in ["application/zip", "text/plain;q=0, */*"] {
        let answer = get(&single, accept).send().await.unwrap();
        assert_eq!(answer.headers()["content-type"], "application/zip", "{accept}");
    }
    let get = |accept: &str| gybe.client.get(gybe.uri(&format!("{single}/manifest"))).header("Accept", accept);
    let manifest = gybe.send(get("text/*")).await;
    assert_eq!(manifest.status, StatusCode::OK);
    assert!(manifest.text.contains("Algorithm"));
    let zip = get("application/zip").send().await.unwrap();
    assert_eq!(zip.headers()["content-type"], "application/zip");
    let zip = zip::ZipArchive::new(std::io::Cursor::new(zip.bytes().await.unwrap())).unwrap();
    assert!(zip.len() == 1 && zip.name_for_index(0).unwrap().unwrap().ends_with(".mf"));
    gybe.send(get("application/json")).await.problem(406);
    gybe.get(&format!("{several}/manifest")).await.problem(404);
    gybe.send(gybe.client.get(gybe.uri(&format!("{several}/package_content"))).header("Accept", "text/plain"))
        .await
        .problem(406);
    let zip = gybe.client.get(gybe.uri(&format!("{several}/package_content"))).header("Accept", "application/json");
    assert_eq!(gybe.send(zip).await.content_type.as_deref(), Some("application/zip"), "as Tacker's client asks for it");
    assert_eq!(gybe.get(&several).await.headers["accept-ranges"], "none");
}

#[tokio::test]
async fn both_editions_show_the_same_packages() {
    let gybe = Gybe::start();
    let created = gybe.post("/vnfpkgm/v2/vnf_packages", &json!({})).await;
    let package = created.expect(StatusCode::CREATED);
    assert_eq!(created.headers["version"], "2.1.0");
    let href = format!("{}/vnfpkgm/v2/vnf_packages/{}", gybe.url, package["id"].as_str().unwrap());
    assert_eq!(created.location.as_deref(), Some(href.as_str()));
    assert_eq!(package["_links"]["self"]["href"], href);
    let (first, shown) = onboarded(&gybe, "small").await;
    let second = gybe.get(&first.replace("/v1/", "/v2/")).await.expect(StatusCode::OK);
    assert_eq!((&second["id"], &second["vnfmInfo"]), (&shown["id"], &json!(["etsivnfm:v3.3.1"])));
    assert_eq!(second["additionalArtifacts"][0]["isEncrypted"], false);
    assert_eq!((shown.get("vnfmInfo"), shown["additionalArtifacts"][0].get("isEncrypted")), (None, None));
    for (edition, state) in [("v1", "CREATED"), ("v2", "ERROR")] {
        let refused = gybe.upload(b"no zip").await["id"].as_str().unwrap().to_owned();
        let path = format!("/vnfpkgm/{edition}/vnf_packages");
        let found = gybe.get(&format!("{path}?filter=(eq,onboardingState,{state});(eq,id,{refused})")).await;
        assert_eq!(found.expect(StatusCode::OK)[0]["onboardingState"], state);
    }
    gybe.get("/vnfpkgm/v1/vnf_packages?filter=(eq,onboardingState,ERROR)").await.problem(400);
    for (path, versions) in
        [("/vnfpkgm", &["1.0.0", "2.1.0"][..]), ("/vnfpkgm/v1", &["1.0.0"]), ("/vnfpkgm/v2", &["2.1.0"])]
    {
        let shown = gybe.get(&format!("{path}/api_versions")).await.expect(StatusCode::OK);
        assert_eq!(shown["uriPrefix"], path);
        let found: Vec<_> = shown["apiVersions"].as_array().unwrap().iter().map(|one| &one["version"]).collect();
        assert_eq!(found, versions.iter().map(|one| json!(one)).collect::<Vec<_>>().iter().collect::<Vec<_>>());
    }
}

/// The sample `small` with another `descriptor_id`.
fn small_with_vnfd_id(vnfd_id: &str) -> Vec<u8> {
    sample::edited("small", |path, text| {
        if path.ends_with("small_top.vnfd.yaml") {
            *text = text.replace("73931552-9c18-4c34-b436-5587710fb0b6", &format!("'{}'", vnfd_id.replace('\'', "''")));
        }
    })
}

/// `text` percent-encoded as one path segment.
fn percent_encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[tokio::test]
async fn an_onboarded_package_is_addressed_by_any_vnfd_id() {
    let gybe = Gybe::start();
    gybe.post("/vnfpkgm/v1/vnf_packages", &json!({})).await.expect(StatusCode::CREATED);
    for vnfd_id in ["plain-1", "urn:vendor/x y?#%2F", "ü'..//\"&+%", "vnfd"] {
        let csar = small_with_vnfd_id(vnfd_id);
        let package = gybe.upload(&csar).await;
        assert_eq!(package["vnfdId"], vnfd_id, "{package:#}");
        for edition in ["v1", "v2"] {
            let path = format!("/vnfpkgm/{edition}/onboarded_vnf_packages/{}", percent_encoded(vnfd_id));
            let shown = gybe.get(&path).await.expect(StatusCode::OK);
            let by_id = format!("/vnfpkgm/{edition}/vnf_packages/{}", package["id"].as_str().unwrap());
            assert_eq!(shown, gybe.get(&by_id).await.expect(StatusCode::OK));
            let whole = gybe.client.get(gybe.uri(&format!("{path}/package_content"))).send().await.unwrap();
            assert!(whole.bytes().await.unwrap() == csar);
            let part = gybe.client.get(gybe.uri(&format!("{path}/package_content"))).header("Range", "bytes=1-3");
            let part = part.send().await.unwrap();
            assert_eq!(
                (part.status(), part.bytes().await.unwrap().as_ref()),
                (StatusCode::PARTIAL_CONTENT, &csar[1..4])
            );
            for subresource in [
                "vnfd",
                "artifacts",
                "artifacts/Files/kubernetes/deployment.yaml",
                "artifacts/Files%2Fkubernetes%2Fdeployment.yaml",
            ] {
                let answer = gybe.client.get(gybe.uri(&format!("{path}/{subresource}"))).send().await.unwrap();
                assert_eq!(answer.status(), StatusCode::OK, "{subresource}");
            }
            gybe.get(&format!("{path}/manifest")).await.problem(404);
            gybe.get(&format!("{path}/artifacts/none")).await.problem(404);
        }
    }
    for unknown in ["unknown", "%00", "plain-1%00", "%FF", "PLAIN-1"] {
        gybe.get(&format!("/vnfpkgm/v1/onboarded_vnf_packages/{unknown}")).await.problem(404);
        gybe.get(&format!("/vnfpkgm/v2/onboarded_vnf_packages/{unknown}/artifacts")).await.problem(404);
    }
}

#[tokio::test]
async fn the_onboarded_package_list_has_filters_selectors_and_pages() {
    let gybe = Gybe::start_with(&["--page-size", "2"]);
    gybe.post("/vnfpkgm/v1/vnf_packages", &json!({})).await.expect(StatusCode::CREATED);
    gybe.upload(b"no zip").await;
    for name in ["a", "b", "c"] {
        gybe.upload(&small_with_vnfd_id(name)).await;
    }
    let root = "/vnfpkgm/v2/onboarded_vnf_packages";
    let ids = |list: &Value| list.as_array().unwrap().iter().map(|one| one["vnfdId"].clone()).collect::<Vec<_>>();
    let first = gybe.get(&format!("{root}?all_fields")).await;
    let shown = first.expect(StatusCode::OK);
    assert_eq!(ids(&shown), ["a", "b"]);
    assert!(shown[0].get("checksum").is_some());
    let link = first.headers["link"].to_str().unwrap();
    let next = link.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap();
    assert!(next.contains(root) && next.contains("all_fields"), "{next}");
    let last = gybe.get(next).await;
    assert_eq!((ids(&last.expect(StatusCode::OK)), last.headers.get("link")), (vec![json!("c")], None));
    let found = gybe.get(&format!("{root}?filter=(in,vnfdId,b,c);(neq,vnfdId,c)")).await.expect(StatusCode::OK);
    assert_eq!(ids(&found), ["b"]);
    assert!(found[0].get("checksum").is_none() && found[0].get("vnfmInfo").is_some());
    let none = gybe.get(&format!("{root}?filter=(eq,onboardingState,CREATED)")).await.expect(StatusCode::OK);
    assert_eq!(none, json!([]));
    gybe.get(&format!("{root}?nothing=1")).await.problem(400);
}

#[tokio::test]
async fn artifacts_are_downloaded_as_one_zip_with_ranges() {
    let gybe = Gybe::start();
    let text = incompressible_text(12 << 20);
    let manifests = [("Files/image.tar", text.as_str()), ("Files/a b.yaml", "a: b\n")];
    let package = gybe.upload(&sample::with_manifests(&manifests)).await;
    let href = package["_links"]["self"]["href"].as_str().unwrap().replace("/v1/", "/v2/");
    let uri = gybe.uri(&format!("{href}/artifacts"));
    let before = unnamed_files(&gybe);
    let whole = gybe.client.get(&uri).send().await.unwrap();
    assert_eq!(
        (&whole.headers()["content-type"], &whole.headers()["accept-ranges"]),
        (&"application/zip".parse().unwrap(), &"bytes".parse().unwrap())
    );
    let size = whole.content_length().unwrap();
    assert_eq!(unnamed_files(&gybe), before);
    let whole = whole.bytes().await.unwrap();
    assert_eq!(whole.len() as u64, size);
    let mut zip = zip::ZipArchive::new(std::io::Cursor::new(&whole)).unwrap();
    for (path, content) in manifests {
        assert!(std::io::read_to_string(zip.by_name(path).unwrap()).unwrap() == content, "{path}");
    }
    assert_eq!(zip.len(), 2);

    let get = |query: &str| gybe.client.get(format!("{uri}{query}"));
    for (start, end) in [(0, 0), (1, 40), (5_000_000, 5_200_000), (size - 30, size - 1)] {
        let part = get("").header("Range", format!("bytes={start}-{end}")).send().await.unwrap();
        assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
        assert_eq!(part.headers()["content-range"], format!("bytes {start}-{end}/{size}").as_str());
        let range = usize::try_from(start).unwrap()..=usize::try_from(end).unwrap();
        assert!(part.bytes().await.unwrap() == whole[range]);
    }
    let beyond = gybe.send(get("").header("Range", format!("bytes={size}-"))).await;
    beyond.problem(416);
    let head = gybe.client.head(&uri).send().await.unwrap();
    assert_eq!(
        (head.status(), head.headers()["content-length"].to_str().unwrap()),
        (StatusCode::OK, size.to_string().as_str())
    );

    gybe.send(get("").header("Accept", "text/plain")).await.problem(406);
    for (query, number) in [
        ("?exclude_all_mano_artifacts", 0),
        ("?exclude_all_non_mano_artifacts&include_external_artifacts&include_signatures", 2),
    ] {
        let zip = get(query).send().await.unwrap().bytes().await.unwrap();
        assert_eq!(zip::ZipArchive::new(std::io::Cursor::new(zip)).unwrap().len(), number, "{query}");
    }
    for wrong in ["?exclude_all", "?include_signatures=no", "?select_non_mano_artifact_sets=onap", "?filter=(eq,a,b)"] {
        gybe.send(get(wrong)).await.problem(400);
    }
}

#[tokio::test]
async fn user_defined_data_is_merged_and_limited() {
    let gybe = Gybe::start();
    let created = gybe.post("/vnfpkgm/v2/vnf_packages", &json!({ "userDefinedData": { "a": 1, "b": 2 } })).await;
    let href = created.location.clone().unwrap();
    let patch = json!({ "userDefinedData": { "a": null, "c": { "d": 3 } } });
    assert_eq!(
        gybe.patch(&href, &patch).await.expect(StatusCode::OK),
        patch,
        "the response contains only the changed attributes"
    );
    let shown = gybe.get(&href).await.expect(StatusCode::OK);
    assert_eq!(shown["userDefinedData"], json!({ "b": 2, "c": { "d": 3 } }));
    gybe.patch(&href, &json!({ "operationalState": "ENABLED" })).await.problem(409);
    let keys: Vec<String> = (0..12).map(|number| format!("at once {number}")).collect();
    let patches: Vec<Value> = keys.iter().map(|key| json!({ "userDefinedData": { key: true } })).collect();
    for patched in join_all(patches.iter().map(|patch| gybe.patch(&href, patch))).await {
        patched.expect(StatusCode::OK);
    }
    let shown = gybe.get(&href).await.expect(StatusCode::OK);
    assert!(keys.iter().all(|key| shown["userDefinedData"][key] == true), "no update is lost: {shown:#}");

    let half = |name: &str| json!({ "userDefinedData": { name: "x".repeat(40_000) } });
    gybe.patch(&href, &half("first")).await.expect(StatusCode::OK);
    gybe.patch(&href, &half("second")).await.problem(422);
    gybe.post("/vnfpkgm/v2/vnf_packages", &json!({ "userDefinedData": { "a": "x".repeat(70_000) } }))
        .await
        .problem(422);
}

#[tokio::test]
async fn a_package_is_deleted_only_if_disabled_and_unused() {
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
async fn rejects_second_package_with_the_same_vnfd_id() {
    let gybe = Gybe::start();
    let (_, package) = onboarded(&gybe, "small").await;
    let second = gybe.upload(&sample::pack("small")).await;
    // 2.6.1 has no state ERROR: it shows CREATED.
    assert_eq!(second["onboardingState"], "CREATED");
    let href = second["_links"]["self"]["href"].as_str().unwrap();
    let second = gybe.get(&href.replace("/v1/", "/v2/")).await.expect(StatusCode::OK);
    assert_eq!(second["onboardingState"], "ERROR");
    let detail = second["onboardingFailureDetails"]["detail"].as_str().unwrap();
    assert!(detail.contains(package["vnfdId"].as_str().unwrap()), "{detail}");
    // The content is deleted shortly after the state changes.
    let folder = gybe.folder().join("data/packages");
    while std::fs::read_dir(&folder).unwrap().count() != 1 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_aborted_upload_can_be_repeated() {
    let gybe = Gybe::start();
    let created = gybe.post("/vnfpkgm/v2/vnf_packages", &json!({})).await;
    let href = created.location.clone().unwrap();
    let path = href.strip_prefix(&gybe.url).unwrap();
    let mut connection = std::net::TcpStream::connect(gybe.url.strip_prefix("http://").unwrap()).unwrap();
    let head = format!(
        "PUT {path}/package_content HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/zip\r\nContent-Length: 1000\r\n\r\nPK"
    );
    connection.write_all(head.as_bytes()).unwrap();
    gybe.poll(&href, Duration::from_millis(5), |it| it["onboardingState"] == "UPLOADING").await;
    let folder = gybe.folder().join("data/packages");
    while std::fs::read_dir(&folder).unwrap().count() == 0 {
        tokio::task::yield_now().await;
    }
    // Reset instead of a regular shutdown.
    rustix::net::sockopt::set_socket_linger(&connection, Some(Duration::ZERO)).unwrap();
    drop(connection);
    let package = gybe.poll(&href, Duration::from_millis(5), |it| it["onboardingState"] == "ERROR").await;
    assert!(package["onboardingFailureDetails"]["detail"].as_str().unwrap().contains("interrupted"), "{package:#}");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
    let again = gybe.client.put(gybe.uri(&format!("{href}/package_content"))).body(sample::pack("small"));
    assert_eq!(again.send().await.unwrap().status(), StatusCode::ACCEPTED);
    gybe.poll(&href, Duration::from_millis(5), |it| it["onboardingState"] == "ONBOARDED").await;
}
