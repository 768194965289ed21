//! VIMs and packages that an admin shares with other projects.

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::refused_by_policy;
use super::site::Site;
use crate::support::cluster::Cluster;
use crate::support::documents::UNKNOWN;
use crate::support::gybe::{Gybe, instantiate_request};
use crate::support::sample;

const PACKAGES: &str = "/vnfpkgm/v2/vnf_packages";

/// The API server refuses the Service.
const BROKEN: &str = "
{apiVersion: v1, kind: Service, metadata: {name: app}, spec: {ports: [{port: 99999}]}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: app}
spec:
  serviceName: app
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}}
    spec: {containers: [{name: app, image: app}]}
";

fn shares(of: &str, id: &str) -> String {
    format!("/tenancy/v1/{of}/{id}/shares")
}

/// An instantiation in that namespace of that VIM.
fn into(namespace: &str, vim: &str) -> Value {
    let mut request = instantiate_request(namespace);
    request["vimConnectionInfo"] = json!({ "vim": { "vimId": vim, "vimType": "ETSINFV.KUBERNETES.V_1" } });
    request
}

async fn vims(gybe: &Gybe) -> Value {
    gybe.get("/v1.0/vims").await.expect(StatusCode::OK)["vims"].clone()
}

#[tokio::test]
async fn a_shared_vim_is_used_in_the_shared_namespaces_until_it_is_shared_no_longer() {
    let cluster = Cluster::running().await;
    let (namespace, other) = (cluster.namespace().await, cluster.namespace().await);
    let (lent, kept) = (namespace.name.as_str(), other.name.as_str());
    let mut site = Site::start(&[]);
    let vim = site.act_as("a", "member").register_vim(&cluster.admin, "cluster", true).await;
    let (path, shares) = (format!("/v1.0/vims/{vim}"), shares("vims", &vim));
    let body = json!({ "shares": [{ "projectId": "b", "namespaces": [lent] }] });

    // Nobody of the other project knows of it, and no manager shares.
    let b = site.act_as("b", "member");
    let vnfd = b.onboard("small").await;
    let instance = b.create("v2", &vnfd).await;
    let guessed = b.post(&format!("{instance}/instantiate"), &into(lent, &vim)).await.problem(422);
    assert!(guessed.contains("there is no VIM"), "{guessed}");
    let change = json!({ "vim": { "description": "mine" } });
    for answer in [b.get(&path).await, b.put(&path, &change).await, b.delete(&path).await] {
        answer.problem(404);
    }
    site.act_as("a", "manager").put(&shares, &body).await.problem(403);

    let admin = site.act_as("b", "admin");
    assert_eq!(admin.put(&shares, &body).await.expect(StatusCode::OK), body);
    assert_eq!(admin.get(&shares).await.expect(StatusCode::OK), body);
    let b = site.act_as("b", "member");
    let shown = b.get(&path).await.expect(StatusCode::OK)["vim"].clone();
    assert_eq!(vims(b).await, json!([shown]));
    let seen =
        json!([shown["auth_cred"], shown["extra"], shown["shared"], shown["is_default"], shown["shared_namespaces"]]);
    assert_eq!(seen, json!([{}, {}, true, false, [lent]]));
    assert_eq!(vims(site.act_as("a", "reader")).await[0]["shared"], true);
    let b = site.act_as("b", "member");
    for answer in [b.put(&path, &change).await, b.delete(&path).await] {
        assert!(answer.problem(403).contains("is another project's"), "{}", answer.text);
    }
    let detail = refused_by_policy(b, &instance, "instantiate", &into(kept, &vim)).await;
    assert!(detail.contains(&format!("namespace '{kept}'; allowed: {lent}")), "{detail}");
    b.complete(&instance, "instantiate", &into(lent, &vim)).await;
    b.complete(&instance, "heal", &json!({})).await;
    b.get(&format!("{instance}/drift")).await.expect(StatusCode::OK);
    let second = b.create("v2", &vnfd).await;
    let broken = b.upload(&sample::scalable("broken", &[("Files/app.yaml", BROKEN)])).await;
    let third = b.create("v2", broken["vnfdId"].as_str().unwrap()).await;
    let failed = b.begin(&third, "instantiate", &into(lent, &vim)).await;
    assert_eq!(b.wait_ended(&failed).await["operationState"], "FAILED_TEMP");
    site.act_as("a", "member").delete(&path).await.problem(409);

    site.act_as("a", "admin").delete(&shares).await.expect(StatusCode::NO_CONTENT);
    let b = site.act_as("b", "member");
    b.get(&path).await.problem(404);
    assert_eq!(vims(b).await, json!([]));
    b.post(&format!("{second}/instantiate"), &into(lent, &vim)).await.problem(422);
    let detail = refused_by_policy(b, &instance, "heal", &json!({})).await;
    assert!(detail.contains("no longer shared with project 'b'"), "{detail}");
    let detail = b.post(&format!("{failed}/retry"), &json!({})).await.problem(403);
    assert!(detail.contains("no longer shared with project 'b'"), "{detail}");
    b.post(&format!("{failed}/rollback"), &json!({})).await.expect(StatusCode::ACCEPTED);
    assert_eq!(b.wait_ended(&failed).await["operationState"], "ROLLED_BACK");
    b.complete(&instance, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
    b.delete(&instance).await.expect(StatusCode::NO_CONTENT);
    site.act_as("a", "member").delete(&path).await.expect(StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn a_shared_package_is_read_and_instantiated_by_others_and_changed_by_its_owner_alone() {
    let mut site = Site::start(&[]);
    let package = site.act_as("a", "member").upload(&sample::pack("small")).await;
    let (id, vnfd) = (package["id"].as_str().unwrap().to_owned(), package["vnfdId"].as_str().unwrap().to_owned());
    let (path, shares) = (format!("{PACKAGES}/{id}"), shares("vnf_packages", &id));
    let onboarded = format!("/vnfpkgm/v2/onboarded_vnf_packages/{vnfd}");
    let create = json!({ "vnfdId": vnfd });

    let b = site.act_as("b", "member");
    b.post("/vnflcm/v2/vnf_instances", &create).await.problem(422);
    b.patch(&path, &json!({ "operationalState": "DISABLED" })).await.problem(404);
    let everybody = json!({ "shares": [{ "allProjects": true }] });
    let shared = site.act_as("b", "admin").put(&shares, &everybody).await;
    assert_eq!(shared.expect(StatusCode::OK), everybody);

    let b = site.act_as("b", "member");
    for list in [PACKAGES, "/vnfpkgm/v1/onboarded_vnf_packages", &format!("{PACKAGES}?filter=(eq,vnfdId,{vnfd})")] {
        let listed = b.get(list).await.expect(StatusCode::OK);
        assert_eq!((listed.as_array().unwrap().len(), &listed[0]["id"]), (1, &package["id"]), "{list}");
    }
    for read in [&path, &onboarded, &format!("{path}/package_content"), &format!("{path}/vnfd")] {
        assert!(b.get(read).await.status.is_success(), "{read}");
    }
    let upload = b.client.put(b.uri(&format!("{path}/package_content"))).header("Content-Type", "application/zip");
    let uri = json!({ "addressInformation": "http://packages.example/a.csar" });
    for answer in [
        b.patch(&path, &json!({ "operationalState": "DISABLED" })).await,
        b.delete(&path).await,
        b.send(upload.body("x")).await,
        b.post(&format!("{path}/package_content/upload_from_uri"), &uri).await,
    ] {
        assert!(answer.text.contains("urn:gybe:problem:shared-read-only"), "{}", answer.text);
        answer.problem(403);
    }
    let of_shared = b.create("v1", &vnfd).await;
    // An own package of the same VNFD comes first from now on; what was made of the other one stays.
    let own = b.upload(&sample::pack("small")).await;
    assert_eq!(b.get(&onboarded).await.expect(StatusCode::OK)["id"], own["id"]);
    assert_eq!(b.get(&of_shared).await.expect(StatusCode::OK)["vnfPkgId"], package["id"]);

    let owner = site.act_as("a", "member");
    owner.patch(&path, &json!({ "operationalState": "DISABLED" })).await.expect(StatusCode::OK);
    owner.delete(&path).await.problem(409);
    owner.patch(&path, &json!({ "operationalState": "ENABLED" })).await.expect(StatusCode::OK);
    site.act_as("a", "admin").put(&shares, &json!({ "shares": [] })).await.expect(StatusCode::OK);
    let b = site.act_as("b", "member");
    b.get(&path).await.problem(404);
    b.delete(&path).await.problem(404);
    let detail = b.post(&format!("{of_shared}/instantiate"), &instantiate_request("default")).await.problem(422);
    assert!(detail.contains("no longer shared with project 'b'"), "{detail}");
    b.delete(&of_shared).await.expect(StatusCode::NO_CONTENT);
    let owner = site.act_as("a", "member");
    owner.patch(&path, &json!({ "operationalState": "DISABLED" })).await.expect(StatusCode::OK);
    owner.delete(&path).await.expect(StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn odd_shares_are_refused() {
    let cluster = Cluster::running().await;
    let mut site = Site::start(&[]);
    let a = site.act_as("a", "member");
    let vim = a.register_vim(&cluster.admin, "cluster", false).await;
    let package = a.post(PACKAGES, &json!({})).await.expect(StatusCode::CREATED)["id"].as_str().unwrap().to_owned();
    let admin = site.act_as("b", "admin");
    for of in ["vims", "vnf_packages"] {
        for id in [UNKNOWN, "x", if of == "vims" { &package } else { &vim }] {
            let path = shares(of, id);
            admin.get(&path).await.problem(404);
            admin.put(&path, &json!({ "shares": [] })).await.problem(404);
            admin.delete(&path).await.problem(404);
        }
    }
    let many: Vec<Value> = (0..257).map(|number| json!({ "projectId": number.to_string() })).collect();
    for (given, status, expected) in [
        (json!(many), 422, "257 shares"),
        (json!([{ "projectId": "" }]), 422, "1 to 255 bytes"),
        (json!([{ "projectId": "b\n" }]), 422, "control characters"),
        (json!([{ "projectId": "x".repeat(256) }]), 422, "1 to 255 bytes"),
        (json!([{ "projectId": "a" }]), 422, "is the owner"),
        (json!([{ "projectId": "b" }, { "projectId": "b" }]), 422, "twice"),
        (json!([{ "projectId": "b", "allProjects": true }]), 422, "either projectId, or allProjects"),
        (json!([{}]), 422, "either projectId"),
        (json!([{ "project": "b" }]), 400, "project"),
        (json!([{ "projectId": "b", "namespaces": ["x"] }]), 400, "namespaces"),
    ] {
        let detail = admin.put(&shares("vnf_packages", &package), &json!({ "shares": given })).await.problem(status);
        assert!(detail.contains(expected), "{detail}");
    }
    let namespaces: Vec<String> = (0..65).map(|number| format!("n{number}")).collect();
    for (namespaces, status) in [(json!([]), 422), (json!(["A"]), 422), (json!(namespaces), 422), (Value::Null, 400)] {
        let body = json!({ "shares": [{ "allProjects": true, "namespaces": namespaces }] });
        admin.put(&shares("vims", &vim), &body).await.problem(status);
    }
    // A name that is no pattern: only the project that is called so.
    let star = json!({ "shares": [{ "projectId": "*" }, { "projectId": "%" }] });
    admin.put(&shares("vnf_packages", &package), &star).await.expect(StatusCode::OK);
    admin.get(&format!("{PACKAGES}/{package}")).await.problem(404);
}
