//! Bad input through the real binary: each is rejected by a problem that tells what to do, without any effect.

use std::io::Write as _;

use reqwest::StatusCode;
use serde_json::{Value, json};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::support::cluster::Cluster;
use crate::support::gybe::{Gybe, connection, instantiate_request};
use crate::support::sample;

const UNKNOWN: &str = "8f14e45f-ceea-467f-a8f4-0123456789ab";

/// The `detail` of the error of a CSAR that is rejected.
async fn rejection(gybe: &Gybe, csar: &[u8]) -> String {
    let package = gybe.upload(csar).await;
    assert_eq!(package["onboardingState"], "CREATED", "{package:#}");
    assert_eq!(package["operationalState"], "DISABLED");
    assert_eq!(package.get("vnfdId"), None);
    package["onboardingFailureDetails"]["detail"].as_str().unwrap().to_owned()
}

fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in entries {
        zip.start_file(*name, SimpleFileOptions::default()).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn with_symlink() -> Vec<u8> {
    let mut zip = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    zip.add_symlink("Files/passwd", "/etc/passwd", SimpleFileOptions::default()).unwrap();
    zip.finish().unwrap().into_inner()
}

#[tokio::test]
async fn reports_the_error_of_a_package() {
    let gybe = Gybe::start();
    let zeros = vec![0; 64 << 20];
    let many: Vec<(String, &[u8])> = (0..10_001).map(|n| (format!("Files/{n}"), &b""[..])).collect();
    let many: Vec<(&str, &[u8])> = many.iter().map(|(name, content)| (name.as_str(), *content)).collect();
    for (csar, wanted) in [
        (b"this is no zip".to_vec(), "zip"),
        (zip(&[("../../etc/cron.d/x", b"x")]), "../"),
        (with_symlink(), "link"),
        (zip(&[("Files/zeros", &zeros)]), "Files/zeros"),
        (zip(&many), "10000 entries"),
        (sample::pack("broken/missing-file"), "Files/kubernetes/service.yaml"),
        (sample::pack("broken/wrong-hash"), "hash"),
        (sample::pack("broken/no-entry-definitions"), "TOSCA-Metadata/TOSCA.meta"),
        (sample::pack("broken/bad-vnfd"), "application"),
    ] {
        let detail = rejection(&gybe, &csar).await;
        assert!(detail.to_lowercase().contains(&wanted.to_lowercase()), "wanted {wanted}: {detail}");
    }
    assert_eq!(gybe.get("/vnflcm/v2/vnf_instances").await.expect(StatusCode::OK), json!([]));
}

#[tokio::test]
async fn a_rejected_package_can_be_uploaded_again() {
    let gybe = Gybe::start();
    let package = gybe.upload(b"no zip").await;
    let content = format!("{}/package_content", package["_links"]["self"]["href"].as_str().unwrap());
    let upload = || gybe.client.put(gybe.uri(&content)).header("Content-Type", "application/zip");
    gybe.send(upload().body(sample::pack("small"))).await.expect(StatusCode::ACCEPTED);
    let href = package["_links"]["self"]["href"].as_str().unwrap();
    let package = gybe.wait_until(href, |package| package["onboardingState"] == "ONBOARDED").await;
    assert_eq!(package["operationalState"], "ENABLED");
    assert_eq!(package.get("onboardingFailureDetails"), None);
    assert!(gybe.send(upload().body("again")).await.problem(409).contains("content already"));
}

/// Posts each body to `instantiate`; none may create an op occurrence.
async fn check_instantiation_rejected(gybe: &Gybe, path: &str, requests: &[(Value, u16, &str)]) {
    for (request, status, wanted) in requests {
        let detail = gybe.post(&format!("{path}/instantiate"), request).await.problem(*status);
        assert!(detail.contains(wanted), "{request}: {detail}");
    }
    assert_eq!(gybe.get("/vnflcm/v2/vnf_lcm_op_occs").await.expect(StatusCode::OK), json!([]));
    let instance = gybe.get(path).await.expect(StatusCode::OK);
    assert_eq!(instance["metadata"].get("namespace"), None);
}

#[tokio::test]
async fn rejects_impossible_instantiation_before_the_202() {
    let cluster = Cluster::running().await;
    let gybe = Gybe::start();
    let vnfd = gybe.onboard("small").await;
    let path = gybe.create("v2", &vnfd).await;
    check_instantiation_rejected(&gybe, &path, &[(json!({ "flavourId": "simple" }), 422, "no default VIM")]).await;
    gybe.register_vim(&cluster.admin, "cluster", true).await;
    let namespace = |value: Value| json!({ "flavourId": "simple", "additionalParams": { "namespace": value } });
    let mut unknown_type = connection(&cluster.admin);
    unknown_type["vimType"] = "openstack".into();
    let unknown_type = json!({ "flavourId": "simple", "vimConnectionInfo": { "v": unknown_type } });
    let unknown_vim = json!({ "flavourId": "simple", "vimConnectionInfo": { "v": { "vimId": UNKNOWN } } });
    let files =
        |files: Value| json!({ "flavourId": "simple", "additionalParams": { "lcm-kubernetes-def-files": files } });
    check_instantiation_rejected(
        &gybe,
        &path,
        &[
            (namespace(json!("")), 400, "namespace"),
            (namespace(json!("Bad_Name")), 400, "Bad_Name"),
            (namespace(json!(7)), 400, "a number"),
            (json!({ "flavourId": "huge" }), 422, "simple"),
            (json!({ "flavourId": "simple", "instantiationLevelId": "huge" }), 422, "'huge'"),
            (json!({}), 400, "flavourId"),
            (json!({ "flavourId": 1 }), 400, "flavourId"),
            (files(json!(["Files/kubernetes/none.yaml"])), 422, "Files/kubernetes/deployment.yaml"),
            (files(json!(5)), 400, "array of strings"),
            (unknown_vim, 422, UNKNOWN),
            (unknown_type, 422, "openstack"),
            (json!({ "flavourId": "simple", "vimConnectionInfo": [] }), 400, "vimConnectionInfo"),
        ],
    )
    .await;
}

#[tokio::test]
async fn rejects_manifests_with_two_namespaces_and_names_the_files() {
    let cluster = Cluster::running().await;
    let gybe = Gybe::start();
    gybe.register_vim(&cluster.admin, "cluster", true).await;
    let vnfd = gybe.onboard("broken/two-namespaces").await;
    let path = gybe.create("v2", &vnfd).await;
    let wanted = "north (Files/kubernetes/deployment.yaml); south (Files/kubernetes/service.yaml)";
    check_instantiation_rejected(&gybe, &path, &[(json!({ "flavourId": "simple" }), 422, wanted)]).await;
}

#[tokio::test]
async fn unknown_kind_fails_the_operation_before_anything_is_created() {
    let cluster = Cluster::running().await;
    let namespace = cluster.namespace().await;
    let gybe = Gybe::start();
    gybe.register_vim(&cluster.admin, "cluster", true).await;
    let vnfd = gybe.onboard("broken/unknown-kind").await;
    let path = gybe.create("v2", &vnfd).await;
    let request = instantiate_request(namespace.name.as_str());
    let op = gybe.begin(&path, "instantiate", &request).await;
    let op = gybe.wait_ended(&op).await;
    assert_eq!(op["operationState"], "ROLLED_BACK");
    let detail = op["error"]["detail"].as_str().unwrap();
    assert!(detail.contains("example.invalid/v1 Widget at Files/kubernetes/widget.yaml:"), "{detail}");
    let deployments = cluster.api("apps/v1", "Deployment", "deployments", Some(&namespace.name));
    assert!(deployments.list(&kube::api::ListParams::default()).await.unwrap().items.is_empty());
    gybe.delete(&path).await.expect(StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn rejects_registration_of_an_unusable_vim() {
    let cluster = Cluster::running().await;
    let gybe = Gybe::start();
    let good = crate::support::gybe::vim(&cluster.admin, "x", false);
    let changed = |member: &str, value: Value| {
        let mut vim = good.clone();
        vim["vim"][member] = value;
        vim
    };
    let ca = cluster.admin.ca.clone().unwrap();
    for (vim, status, wanted) in [
        (changed("auth_url", json!("https://127.0.0.1:9")), 422, "127.0.0.1:9"),
        (changed("auth_url", json!("ftp://x")), 422, "http"),
        (changed("auth_cred", json!({ "bearer_token": "wrong-token", "ssl_ca_cert": ca })), 422, "refused"),
        (changed("auth_cred", json!({ "ssl_ca_cert": ca })), 422, "bearer_token"),
        (changed("auth_cred", json!({ "bearer_token": "wrong-token" })), 422, "certificate"),
        (changed("auth_url", json!("http://127.0.0.1:9")), 422, "insecure"),
        (changed("auth_url", json!("https://user:wrong-token@127.0.0.1:9")), 422, "user or password"),
        (changed("auth_cred", json!("wrong-token")), 400, "vim.auth_cred: expected an object"),
        (changed("type", json!("openstack")), 422, "kubernetes"),
        (changed("name", json!(7)), 400, "vim.name"),
    ] {
        let detail = gybe.post("/v1.0/vims", &vim).await.problem(status);
        assert!(detail.contains(wanted), "wanted {wanted}: {detail}");
        assert!(!detail.contains("wrong-token"), "{detail}");
    }
    assert_eq!(gybe.get("/v1.0/vims").await.expect(StatusCode::OK), json!({ "vims": [] }));
}

#[tokio::test]
async fn unusable_inline_vim_fails_the_operation_and_creates_nothing() {
    let cluster = Cluster::running().await;
    let gybe = Gybe::start();
    let vnfd = gybe.onboard("small").await;
    let path = gybe.create("v2", &vnfd).await;
    let mut wrong = connection(&cluster.admin);
    wrong["accessInfo"] = json!({ "bearer_token": "wrong-token" });
    let request = json!({ "flavourId": "simple", "vimConnectionInfo": { "v": wrong } });
    let op = gybe.begin(&path, "instantiate", &request).await;
    let op = gybe.wait_ended(&op).await;
    assert_eq!((op["operationState"].as_str(), &op["error"]["status"]), (Some("ROLLED_BACK"), &json!(403)));
    let instance = gybe.get(&path).await.expect(StatusCode::OK);
    assert_eq!((&instance["vimConnectionInfo"], &instance["metadata"]), (&json!({}), &json!({})));
}

#[tokio::test]
async fn rejects_scaling_and_healing_of_unknown_targets() {
    let cluster = Cluster::running().await;
    let namespace = cluster.namespace().await;
    let gybe = Gybe::start();
    gybe.register_vim(&cluster.admin, "cluster", true).await;
    let vnfd = gybe.onboard("core5g").await;
    let path = gybe.create("v2", &vnfd).await;
    let scale = |aspect: &str, steps: u32| json!({ "type": "SCALE_OUT", "aspectId": aspect, "numberOfSteps": steps });
    assert!(gybe.post(&format!("{path}/scale"), &scale("amf", 1)).await.problem(409).contains("NOT_INSTANTIATED"));
    let request = instantiate_request(namespace.name.as_str());
    gybe.complete(&path, "instantiate", &request).await;
    for (task, request, status, wanted) in [
        ("scale", scale("sideways", 1), 422, "amf, smf, subscriber_data"),
        ("scale", scale("amf", 5), 422, "0 to 4"),
        ("scale", scale("amf", 0), 400, "numberOfSteps"),
        ("scale", json!({ "type": "SCALE_UP", "aspectId": "amf" }), 400, "SCALE_OUT"),
        ("heal", json!({ "vnfcInstanceId": ["nobody"] }), 422, "nobody"),
        ("terminate", json!({ "terminationType": "FORCEFUL", "gracefulTerminationTimeout": 1 }), 422, "GRACEFUL"),
        ("terminate", json!({}), 400, "terminationType"),
        ("instantiate", request, 409, "INSTANTIATED already"),
    ] {
        let detail = gybe.post(&format!("{path}/{task}"), &request).await.problem(status);
        assert!(detail.contains(wanted), "wanted {wanted}: {detail}");
    }
    assert!(gybe.delete(&path).await.problem(409).contains("terminate it first"));
    let ops = gybe.get("/vnflcm/v2/vnf_lcm_op_occs").await.expect(StatusCode::OK);
    assert_eq!(ops.as_array().unwrap().len(), 1);
    gybe.complete(&path, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
}

#[tokio::test]
async fn rejects_unreadable_bodies_with_a_problem() {
    let gybe = Gybe::start();
    let instances = gybe.uri("/vnflcm/v2/vnf_instances");
    let post = |body: Vec<u8>| gybe.client.post(&instances).header("Content-Type", "application/json").body(body);
    let deep = "[".repeat(100_000).into_bytes();
    for (body, status) in [
        (b"{".to_vec(), 400),
        (b"".to_vec(), 400),
        (b"[]".to_vec(), 400),
        (b"{} {}".to_vec(), 400),
        (b"{\"vnfdId\":\"x\",\"ignored\":\"\xff\"}".to_vec(), 400),
        (deep, 400),
        (vec![b' '; 2 << 20], 413),
    ] {
        gybe.send(post(body)).await.problem(status);
    }
    let xml = gybe.client.post(&instances).header("Content-Type", "application/xml").body("<x/>");
    gybe.send(xml).await.problem(415);
    let unknown = gybe.post("/vnflcm/v2/vnf_instances", &json!({ "vnfdId": "nothing" })).await;
    assert!(unknown.problem(422).contains("'nothing'"));
    let reserved = json!({ "vnfdId": "nothing", "metadata": { "namespace": "x" } });
    assert!(gybe.post("/vnflcm/v2/vnf_instances", &reserved).await.problem(422).contains("reserved"));
    assert_eq!(gybe.get("/vnflcm/v2/vnf_instances").await.expect(StatusCode::OK), json!([]));
}

#[tokio::test]
async fn unknown_resource_is_404_and_wrong_method_is_405_with_allow() {
    let gybe = Gybe::start();
    for path in [
        format!("/vnflcm/v2/vnf_instances/{UNKNOWN}"),
        "/vnflcm/v1/vnf_instances/no-uuid".to_owned(),
        format!("/vnflcm/v1/vnf_lcm_op_occs/{UNKNOWN}"),
        format!("/vnfpkgm/v1/vnf_packages/{UNKNOWN}"),
        format!("/v1.0/vims/{UNKNOWN}"),
        "/nowhere".to_owned(),
        "/vnflcm/v2/nowhere".to_owned(),
    ] {
        gybe.get(&path).await.problem(404);
    }
    let wrong = gybe.put(&format!("/vnflcm/v2/vnf_instances/{UNKNOWN}"), &json!({})).await;
    wrong.problem(405);
    let allow = wrong.headers["allow"].to_str().unwrap();
    assert!(["GET", "PATCH", "DELETE"].iter().all(|method| allow.contains(method)), "{allow}");
    assert_eq!(wrong.headers["version"], "2.0.0");
    // Clients build URLs from parts that may be empty.
    gybe.get("//vnflcm/v1/vnf_instances?").await.expect(StatusCode::OK);
}
