//! The dashboard in headless Chromium, on the real control plane.

use std::path::{Path, PathBuf};
use std::process::Command;

use futures::{StreamExt as _, stream};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::auth::site::{Site, token};
use crate::support::cluster::Cluster;
use crate::support::gybe::{Gybe, SHORT_GRACE};
use crate::support::sample;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser")
}

/// The packages of the tests' browser; installed here unless `scripts/test` has done so.
fn installed() -> String {
    let install = Command::new(folder().join("install")).output().unwrap();
    assert!(install.status.success(), "{}", String::from_utf8_lossy(&install.stderr));
    String::from_utf8(install.stdout).unwrap().trim().to_owned()
}

/// A package with an aspect `app` of a workload with this image.
fn package(version: &str, image: &str) -> Vec<u8> {
    let workload = format!(
        "{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: app}}, spec: {{selector: {{matchLabels: {{app: app}}}}, \
         template: {{metadata: {{labels: {{app: app}}}}, spec: {{containers: [{{name: app, image: '{image}'}}]}}}}}}}}\n"
    );
    sample::scalable(version, &[("Files/app.yaml", &workload)])
}

/// Has a browser play the script, which must find no fault.
async fn play(script: &str, given: &Value) {
    let mut node = Command::new("node");
    node.arg(folder().join(script)).arg(given.to_string()).env("GYBE_BROWSER_PACKAGES", installed());
    let told = tokio::task::spawn_blocking(move || node.output().unwrap()).await.unwrap();
    let faults = [told.stdout, told.stderr].map(|output| String::from_utf8_lossy(&output).into_owned()).concat();
    assert!(told.status.success(), "{faults}");
}

/// Creates a VNF instance; returns its id.
async fn create(gybe: &Gybe, vnfd: &str, name: &str) -> String {
    let body = json!({ "vnfdId": vnfd, "vnfInstanceName": name });
    let created = gybe.post("/vnflcm/v2/vnf_instances", &body).await.expect(StatusCode::CREATED);
    created["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn somebody_watches_operations_live_sees_why_one_waits_and_rolls_it_back() {
    let cluster = Cluster::running().await;
    let namespace = cluster.namespace().await;
    let mut site = Site::start(&[&SHORT_GRACE[..], &["--page-size", "2"]].concat());
    let gybe = site.act_as("a", "member");
    gybe.register_vim(&cluster.admin, "cluster", true).await;
    let old = gybe.upload(&package("1.0", "registry.k8s.io/pause:3.10")).await["vnfdId"].as_str().unwrap().to_owned();
    gybe.upload(&package("2.0", "registry.k8s.io/pause:3.9")).await;
    let broken = gybe.onboard("broken/image-pull").await;
    let (good, bad) = (create(gybe, &old, "good").await, create(gybe, &broken, "bad").await);
    create(gybe, &old, "spare").await;
    let story = json!({
        "url": gybe.url,
        "token": token("a", "member"),
        "namespace": namespace.name.as_str(),
        "good": good,
        "bad": bad,
    });
    play("story.mjs", &story).await;
}

#[tokio::test]
async fn ten_thousand_vnfs_are_paged_and_filtered_by_the_server() {
    let mut site = Site::start(&[]);
    let gybe = site.act_as("a", "member");
    let vnfd = gybe.onboard("small").await;
    let all = stream::iter(0..10_000)
        .map(async |number| create(gybe, &vnfd, &format!("vnf {number}")).await)
        .buffer_unordered(64);
    assert_eq!(all.count().await, 10_000);
    play("many.mjs", &json!({ "url": gybe.url, "token": token("a", "member"), "last": "vnf 9999" })).await;
}
