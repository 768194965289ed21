//! The dashboard in headless Chromium, on the real control plane.

use std::path::{Path, PathBuf};
use std::process::Command;

use reqwest::StatusCode;
use serde_json::json;

use crate::auth::site::{Site, token};
use crate::support::cluster::Cluster;
use crate::support::gybe::{Gybe, SHORT_GRACE};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser")
}

/// The packages of the tests' browser; installed here unless `scripts/test` has done so.
fn installed() -> String {
    let install = Command::new(folder().join("install")).output().unwrap();
    assert!(install.status.success(), "{}", String::from_utf8_lossy(&install.stderr));
    String::from_utf8(install.stdout).unwrap().trim().to_owned()
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
    let (small, broken) = (gybe.onboard("small").await, gybe.onboard("broken/image-pull").await);
    let (good, bad) = (create(gybe, &small, "good").await, create(gybe, &broken, "bad").await);
    create(gybe, &small, "spare").await;
    let story = json!({
        "url": gybe.url,
        "token": token("a", "member"),
        "namespace": namespace.name.as_str(),
        "good": good,
        "bad": bad,
    });
    let mut node = Command::new("node");
    node.arg(folder().join("story.mjs")).arg(story.to_string()).env("GYBE_BROWSER_PACKAGES", installed());
    let told = tokio::task::spawn_blocking(move || node.output().unwrap()).await.unwrap();
    let faults = [told.stdout, told.stderr].map(|output| String::from_utf8_lossy(&output).into_owned()).concat();
    assert!(told.status.success(), "{faults}");
}
