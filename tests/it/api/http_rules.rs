//! The rules of SOL013 for every resource: `Version`, `Accept` and `Content-Type`, methods with `Allow`, `HEAD` and
//! `OPTIONS`, and optional tasks.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::gybe::{ApiResponse, Gybe};

const UNKNOWN: &str = "8f14e45f-ceea-467f-a8f4-0123456789ab";
const ROOTS: [(&str, &str); 4] =
    [("/vnflcm/v1", "1.3.0"), ("/vnflcm/v2", "2.0.0"), ("/vnfpkgm/v1", "1.0.0"), ("/vnfpkgm/v2", "2.1.0")];

/// The resources of `/vnflcm` with their methods.
const LIFECYCLE: [(&str, &str); 28] = [
    ("/api_versions", "GET"),
    ("/vnf_instances", "GET, POST"),
    ("/vnf_instances/{id}", "GET, PATCH, DELETE"),
    ("/vnf_instances/{id}/instantiate", "POST"),
    ("/vnf_instances/{id}/instantiate/preview", "POST"),
    ("/vnf_instances/{id}/scale", "POST"),
    ("/vnf_instances/{id}/scale/preview", "POST"),
    ("/vnf_instances/{id}/scale_to_level", "POST"),
    ("/vnf_instances/{id}/scale_to_level/preview", "POST"),
    ("/vnf_instances/{id}/heal", "POST"),
    ("/vnf_instances/{id}/sync", "POST"),
    ("/vnf_instances/{id}/heal/preview", "POST"),
    ("/vnf_instances/{id}/operate", "POST"),
    ("/vnf_instances/{id}/operate/preview", "POST"),
    ("/vnf_instances/{id}/terminate", "POST"),
    ("/vnf_instances/{id}/terminate/preview", "POST"),
    ("/vnf_instances/{id}/change_flavour", "POST"),
    ("/vnf_instances/{id}/change_ext_conn", "POST"),
    ("/vnf_instances/{id}/drift", "GET"),
    ("/vnf_lcm_op_occs", "GET"),
    ("/vnf_lcm_op_occs/{id}", "GET"),
    ("/vnf_lcm_op_occs/{id}/steps", "GET"),
    ("/vnf_lcm_op_occs/{id}/retry", "POST"),
    ("/vnf_lcm_op_occs/{id}/rollback", "POST"),
    ("/vnf_lcm_op_occs/{id}/fail", "POST"),
    ("/vnf_lcm_op_occs/{id}/cancel", "POST"),
    ("", ""),
    ("/nothing", ""),
];

/// The resources of `/vnflcm/v2` only.
const OF_V2: [(&str, &str); 9] = [
    ("/vnf_instances/{id}/change_vnfpkg", "POST"),
    ("/vnf_instances/{id}/change_vnfpkg/preview", "POST"),
    ("/vnf_instances/{id}/change_current_vnfpkg", "POST"),
    ("/vnf_instances/{id}/change_current_vnfpkg/preview", "POST"),
    ("/vnf_instances/{id}/create_snapshot", "POST"),
    ("/vnf_instances/{id}/revert_to_snapshot", "POST"),
    ("/vnf_snapshots", "GET, POST"),
    ("/vnf_snapshots/{id}", "GET, PATCH, DELETE"),
    ("/vnf_snapshots/{id}/vnf_state_snapshot", "GET"),
];

/// The resources of `/vnfpkgm`.
const PACKAGES: [(&str, &str); 20] = [
    ("/api_versions", "GET"),
    ("/vnf_packages", "GET, POST"),
    ("/vnf_packages/{id}", "GET, PATCH, DELETE"),
    ("/vnf_packages/{id}/package_content", "PUT, GET"),
    ("/vnf_packages/{id}/package_content/upload_from_uri", "POST"),
    ("/vnf_packages/{id}/vnfd", "GET"),
    ("/vnf_packages/{id}/manifest", "GET"),
    ("/vnf_packages/{id}/artifacts", "GET"),
    ("/vnf_packages/{id}/artifacts/Files/a.yaml", "GET"),
    ("/onboarded_vnf_packages", "GET"),
    ("/onboarded_vnf_packages/{id}", "GET"),
    ("/onboarded_vnf_packages/{id}/package_content", "GET"),
    ("/onboarded_vnf_packages/{id}/vnfd", "GET"),
    ("/onboarded_vnf_packages/{id}/manifest", "GET"),
    ("/onboarded_vnf_packages/{id}/artifacts", "GET"),
    ("/onboarded_vnf_packages/{id}/artifacts/Files/a.yaml", "GET"),
    ("/subscriptions", "GET, POST"),
    ("/subscriptions/{id}", "GET, DELETE"),
    ("/subscriptions/{id}/notifications", "GET"),
    ("/subscriptions/{id}/notifications/resend", "POST"),
];

/// All resources with their methods, with an unknown id.
fn resources() -> Vec<(String, &'static str)> {
    let below = |root: &'static str, resources: &'static [(&'static str, &'static str)]| {
        resources.iter().map(move |(path, methods)| (format!("{root}{path}").replace("{id}", UNKNOWN), *methods))
    };
    below("/vnflcm/v1", &LIFECYCLE)
        .chain(below("/vnflcm/v2", &LIFECYCLE))
        .chain(below("/vnflcm/v2", &OF_V2))
        .chain(below("/vnfpkgm/v1", &PACKAGES))
        .chain(below("/vnfpkgm/v2", &PACKAGES))
        .collect()
}

async fn send(gybe: &Gybe, method: &str, path: &str, headers: &[(&str, &str)]) -> ApiResponse {
    let request = gybe.client.request(method.parse::<Method>().unwrap(), gybe.uri(path));
    gybe.send(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))).await
}

/// The methods in `Allow`, sorted.
fn allowed(answer: &ApiResponse) -> Vec<&str> {
    let mut methods: Vec<&str> = answer.headers["allow"].to_str().unwrap().split(", ").collect();
    methods.sort_unstable();
    methods
}

#[tokio::test]
async fn unsupported_method_is_405_with_allow_even_for_an_unknown_id() {
    let gybe = Gybe::start();
    for (path, methods) in resources() {
        let mut all: Vec<&str> = methods.split(", ").filter(|method| !method.is_empty()).collect();
        if all.contains(&"GET") {
            all.push("HEAD");
        }
        all.push("OPTIONS");
        all.sort_unstable();
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "OPTIONS"] {
            let answer = send(&gybe, method, &path, &[]).await;
            let what = format!("{method} {path}: {answer:?}");
            if methods.is_empty() {
                assert_eq!(answer.status, StatusCode::NOT_FOUND, "{what}");
            } else if method == "OPTIONS" {
                assert_eq!((answer.status, answer.text.as_str()), (StatusCode::NO_CONTENT, ""), "{what}");
                assert_eq!(allowed(&answer), all, "{what}");
            } else if all.contains(&method) {
                assert_ne!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{what}");
            } else {
                assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{what}");
                assert_eq!(answer.content_type.as_deref(), Some("application/problem+json"), "{what}");
                assert_eq!(allowed(&answer), all, "{what}");
            }
        }
    }
}

#[tokio::test]
async fn head_returns_the_headers_of_get() {
    let gybe = Gybe::start();
    let path = gybe.create("v2", &gybe.onboard("small").await).await;
    for path in [path.as_str(), "/vnflcm/v1/vnf_instances", "/vnfpkgm/v1/vnf_packages", "/healthz", "/vnflcm/v2/none"] {
        let (get, head) = (send(&gybe, "GET", path, &[]).await, send(&gybe, "HEAD", path, &[]).await);
        assert_eq!((get.status, head.text.as_str()), (head.status, ""), "{path}");
        for header in ["content-type", "content-length", "etag", "version"] {
            assert_eq!(get.headers.get(header), head.headers.get(header), "{path}: {header}");
        }
    }
}

#[tokio::test]
async fn every_response_has_the_version_of_its_root() {
    let gybe = Gybe::start();
    let path = gybe.create("v2", &gybe.onboard("small").await).await;
    for (root, version) in ROOTS {
        for (method, rest) in [("GET", "/api_versions"), ("GET", "/nothing"), ("DELETE", "/api_versions")] {
            let answer = send(&gybe, method, &format!("{root}{rest}"), &[]).await;
            assert_eq!(answer.headers["version"], version, "{method} {root}{rest}");
        }
    }
    for (unversioned, newest) in [("/vnflcm/api_versions", "2.0.0"), ("/vnfpkgm/api_versions", "2.1.0")] {
        assert_eq!(gybe.get(unversioned).await.headers["version"], newest);
    }
    let refused = send(&gybe, "GET", &path, &[("Version", "9.9.9")]).await;
    let gone = gybe.delete(&path).await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    assert_eq!(
        (&gone.headers["version"], &refused.headers["version"]),
        (&"2.0.0".parse().unwrap(), &"2.0.0".parse().unwrap())
    );
}

#[tokio::test]
async fn version_header_is_optional_but_must_be_supported() {
    let gybe = Gybe::start();
    for (root, version) in ROOTS {
        let list = format!("{root}/{}", if root.starts_with("/vnfpkgm") { "vnf_packages" } else { "vnf_instances" });
        gybe.get(&list).await.expect(StatusCode::OK);
        let with_suffix = format!("{version}-impl:example.org:nfvo:3");
        // An empty header is none.
        for wanted in [version, &with_suffix, "", " "] {
            send(&gybe, "GET", &list, &[("Version", wanted)]).await.expect(StatusCode::OK);
        }
        for wanted in ["2", "v1", "1.3", "1.3.0.0", "01.3.0", "1.3.x", "1..0", "-impl:a:b:1", "1.3.0-beta"] {
            let detail = send(&gybe, "GET", &list, &[("Version", wanted)]).await.problem(400);
            assert!(detail.contains(version), "{wanted}: {detail}");
        }
        for wanted in ["9.0.0", "3.3.1", "999999999.0.0"] {
            let detail = send(&gybe, "GET", &list, &[("Version", wanted)]).await.problem(406);
            assert!(detail.contains(version), "{wanted}: {detail}");
        }
        // A client that requests the API versions does not know them yet; an unknown path has none.
        send(&gybe, "GET", &format!("{root}/api_versions"), &[("Version", "9.0.0")]).await.expect(StatusCode::OK);
        send(&gybe, "GET", &format!("{root}/nothing"), &[("Version", "9.0.0")]).await.problem(404);
    }
    for (path, other) in [("/vnflcm/v1", "2.0.0"), ("/vnflcm/v2", "1.3.0")] {
        send(&gybe, "GET", &format!("{path}/vnf_instances"), &[("Version", other)]).await.problem(406);
    }
    send(&gybe, "GET", "/vnfpkgm/v1/vnf_packages", &[("Version", "1.2.0")]).await.expect(StatusCode::OK);
}

#[tokio::test]
async fn unacceptable_media_type_is_406_before_any_effect() {
    let gybe = Gybe::start();
    let vnfd = gybe.onboard("small").await;
    let body = json!({ "vnfdId": vnfd });
    let post = || gybe.client.post(gybe.uri("/vnflcm/v2/vnf_instances")).json(&body);
    gybe.send(post().header("Version", "1.3.0")).await.problem(406);
    gybe.send(post().header("Version", "one")).await.problem(400);
    for accept in ["text/html", "application/xml, text/*", "application/json;q=0", "*/*, application/json; q=0.0", ""] {
        gybe.send(post().header("Accept", accept)).await.problem(406);
    }
    assert_eq!(gybe.get("/vnflcm/v2/vnf_instances").await.expect(StatusCode::OK), json!([]));
    for accept in
        ["application/json", "*/*", "application/*", "text/html, application/json;q=0.1", "*/*;q=0, application/json"]
    {
        gybe.send(post().header("Accept", accept)).await.expect(StatusCode::CREATED);
    }
}

#[tokio::test]
async fn method_is_checked_before_all_headers() {
    let gybe = Gybe::start();
    for path in ["/vnflcm/v1/vnf_lcm_op_occs/x", "/vnflcm/v2/subscriptions/x", "/vnfpkgm/v1/onboarded_vnf_packages/x"] {
        for method in ["PATCH", "PUT", "TRACE"] {
            for header in [("Accept", "text/html"), ("Version", "9.9.9"), ("Content-Type", "text/xml")] {
                let answer = send(&gybe, method, path, &[header]).await;
                assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path} {header:?}");
            }
        }
    }
}

#[tokio::test]
async fn trailing_slash_is_the_same_resource() {
    let gybe = Gybe::start();
    let body = json!({ "vnfdId": gybe.onboard("small").await });
    let created = gybe.post("/vnflcm/v2/vnf_instances/", &body).await;
    let location = created.location.clone().unwrap();
    assert_eq!(location, created.expect(StatusCode::CREATED)["_links"]["self"]["href"]);
    assert!(!location.ends_with('/') && !location.contains("//vnf"), "{location}");
    for path in ["/vnflcm/v1/vnf_instances/", "/vnfpkgm/v2/vnf_packages//", "/v1.0/vims/", "/vnflcm/api_versions/"] {
        gybe.get(path).await.expect(StatusCode::OK);
    }
    gybe.delete(&format!("{location}/")).await.expect(StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn root_says_what_is_here() {
    let gybe = Gybe::start();
    let root = gybe.get("/").await.expect(StatusCode::OK);
    assert_eq!(root["versions"][0]["links"][0]["href"], format!("{}/v1.0", gybe.url));
    for api in root["apis"].as_array().unwrap() {
        for version in ["v1", "v2"] {
            let path = format!("{}/{version}/api_versions", api["uriPrefix"].as_str().unwrap());
            let version = gybe.get(&path).await.expect(StatusCode::OK)["apiVersions"][0].clone();
            assert!(api["apiVersions"].as_array().unwrap().contains(&version), "{root}");
        }
    }
    gybe.get(root["documentation"].as_str().unwrap()).await;
    let page = send(&gybe, "GET", "/", &[("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")]).await;
    assert_eq!(page.content_type.as_deref(), Some("text/html; charset=utf-8"));
    for link in page.text.split("href=\"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert_eq!(gybe.get(link).await.status, StatusCode::OK, "{link}");
    }
}

#[tokio::test]
async fn null_and_an_empty_id_are_no_members() {
    let gybe = Gybe::start();
    let vnfd = gybe.onboard("small").await;
    let create = json!({ "vnfdId": vnfd, "vnfInstanceName": null, "vnfInstanceDescription": null, "metadata": null });
    let created = gybe.post("/vnflcm/v2/vnf_instances", &create).await.expect(StatusCode::CREATED);
    assert!(created.get("vnfInstanceName").is_none(), "{created}");
    gybe.post("/vnfpkgm/v1/vnf_packages", &json!({ "userDefinedData": null })).await.expect(StatusCode::CREATED);
    // Refused because there is no default VIM: everything else is as if it were not there.
    for instantiate in [
        json!({ "flavourId": "simple", "instantiationLevelId": "", "vimConnectionInfo": null, "additionalParams": null,
            "extVirtualLinks": null, "extManagedVirtualLinks": null, "localizationLanguage": null, "extensions": null }),
        json!({ "flavourId": "simple", "instantiationLevelId": null, "additionalParams": { "namespace": null,
            "createNamespace": null, "lcm-kubernetes-def-files": null } }),
    ] {
        let path = created["_links"]["self"]["href"].as_str().unwrap();
        let detail = gybe.post(&format!("{path}/instantiate"), &instantiate).await.problem(422);
        assert!(detail.contains("no default VIM"), "{detail}");
        let connection = json!({ "vim": { "vimId": "", "vimType": null, "interfaceInfo": null, "accessInfo": null } });
        let mut instantiate = instantiate.clone();
        instantiate["vimConnectionInfo"] = connection;
        let detail = gybe.post(&format!("{path}/instantiate"), &instantiate).await.problem(422);
        assert!(detail.contains("give a vimId"), "{detail}");
    }
    for (root, filter) in [
        (
            "/vnflcm/v1",
            json!({ "vnfInstanceSubscriptionFilter": null, "notificationTypes": null, "operationTypes": null }),
        ),
        (
            "/vnflcm/v2",
            json!({ "vnfInstanceSubscriptionFilter": { "vnfdIds": null, "vnfInstanceIds": null,
            "vnfProductsFromProviders": [{ "vnfProvider": "p", "vnfProducts": [{ "vnfProductName": "n", "versions": null }] }] } }),
        ),
        ("/vnfpkgm/v1", json!({ "operationalState": null, "usageState": null, "vnfPkgId": null })),
    ] {
        // Refused because of the URI.
        let request = json!({ "callbackUri": "x", "filter": filter, "authentication": null });
        let detail = gybe.post(&format!("{root}/subscriptions"), &request).await.problem(422);
        assert!(detail.contains("callbackUri"), "{detail}");
    }
}

#[tokio::test]
async fn accept_is_ignored_where_the_response_is_not_json() {
    let gybe = Gybe::start();
    let package = gybe.upload(&crate::support::sample::pack("small")).await;
    let path = gybe.create("v2", package["vnfdId"].as_str().unwrap()).await;
    let zip = [("Accept", "application/zip")];
    let content = package["_links"]["packageContent"]["href"].as_str().unwrap();
    assert_eq!(send(&gybe, "GET", content, &zip).await.status, StatusCode::OK);
    send(&gybe, "GET", &path, &zip).await.problem(406);
    send(&gybe, "DELETE", &path, &[("Accept", "text/html")]).await.expect(StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn wrong_content_type_is_415() {
    let gybe = Gybe::start();
    let path = gybe.create("v2", &gybe.onboard("small").await).await;
    let typed = |method: Method, path: &str, media_type: &str, body: &Value| {
        let request = gybe.client.request(method, gybe.uri(path)).header("Content-Type", media_type);
        gybe.send(request.body(body.to_string()))
    };
    let scale = format!("{path}/scale");
    let request = json!({ "type": "SCALE_OUT", "aspectId": "a" });
    for media_type in
        ["text/plain", "application/xml", "application/merge-patch+json", "application/x-www-form-urlencoded"]
    {
        let detail = typed(Method::POST, &scale, media_type, &request).await.problem(415);
        assert!(detail.contains(media_type) && detail.contains("application/json"), "{detail}");
    }
    typed(Method::POST, &scale, "Application/JSON; charset=utf-8", &request).await.problem(409);
    for media_type in ["application/merge-patch+json", "application/json", "text/plain"] {
        let patched = typed(Method::PATCH, &path, media_type, &json!({ "vnfInstanceName": media_type })).await;
        patched.expect(StatusCode::ACCEPTED);
        gybe.wait_ended(&patched.location.unwrap()).await;
    }
    let detail = typed(Method::PATCH, &path, "application/json-patch+json", &json!({})).await.problem(415);
    assert!(detail.contains("application/merge-patch+json"), "{detail}");
    let package = gybe.post("/vnfpkgm/v1/vnf_packages", &json!({})).await.location.unwrap();
    for media_type in ["multipart/form-data; boundary=x", "application/json", "application/x-www-form-urlencoded", ""] {
        let content = format!("{package}/package_content");
        let detail = typed(Method::PUT, &content, media_type, &json!({})).await.problem(415);
        assert!(detail.contains("application/zip"), "{detail}");
    }
    assert_eq!(gybe.get(&package).await.expect(StatusCode::OK)["onboardingState"], "CREATED");
}

#[tokio::test]
async fn unsupported_task_is_404_with_the_reason() {
    let gybe = Gybe::start();
    let vnfd = gybe.onboard("small").await;
    for (edition, tasks) in [
        ("v1", &["change_flavour", "change_ext_conn"][..]),
        ("v2", &["change_flavour", "change_ext_conn", "create_snapshot", "revert_to_snapshot"]),
    ] {
        let path = gybe.create(edition, &vnfd).await;
        for task in tasks {
            let answer = gybe.post(&format!("{path}/{task}"), &json!({})).await;
            assert!(answer.problem(404).contains("not supported"), "{}", answer.text);
            assert!(answer.text.contains("urn:gybe:problem:not-supported"), "{}", answer.text);
            let unknown = gybe.post(&format!("/vnflcm/{edition}/vnf_instances/{UNKNOWN}/{task}"), &json!({})).await;
            assert!(unknown.problem(404).contains("does not exist"), "{}", unknown.text);
        }
    }
    for path in ["/vnflcm/v2/vnf_snapshots", &format!("/vnflcm/v2/vnf_snapshots/{UNKNOWN}")] {
        assert!(gybe.get(path).await.problem(404).contains("not supported"));
    }
    assert_eq!(gybe.get("/vnflcm/v2/vnf_lcm_op_occs").await.expect(StatusCode::OK), json!([]));
}

#[tokio::test]
async fn change_requires_the_version_in_if_match() {
    let gybe = Gybe::start();
    let path = gybe.create("v1", &gybe.onboard("small").await).await;
    let patch = |name: &str, if_match: &str| {
        let request = gybe.client.patch(gybe.uri(&path)).header("If-Match", if_match);
        gybe.send(request.json(&json!({ "vnfInstanceName": name })))
    };
    let etag = async || gybe.get(&path).await.headers["etag"].to_str().unwrap().to_owned();
    let seen = etag().await;
    for stale in ["\"999\"", "\"998\", \"999\"", "\"other\"", "", "x, *"] {
        patch("refused", stale).await.problem(412);
    }
    let change = async |if_match: &str| {
        let changed = patch("changed", if_match).await;
        changed.expect(StatusCode::ACCEPTED);
        gybe.wait_ended(&changed.location.unwrap()).await;
    };
    change(&seen).await;
    change("*").await;
    change(&format!("\"999\", {}", etag().await)).await;
    assert_ne!(etag().await, seen);
    assert_eq!(gybe.get(&path).await.expect(StatusCode::OK)["vnfInstanceName"], "changed");
    let delete = |if_match: String| gybe.send(gybe.client.delete(gybe.uri(&path)).header("If-Match", if_match));
    delete(seen).await.problem(412);
    delete(etag().await).await.expect(StatusCode::NO_CONTENT);
}
