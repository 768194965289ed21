//! The workflows of openmsa: `/vnflcm/v1` with only a flavour, `detail` of every error, polling. It uses the last op
//! occurrence of the VNF in the list of all.

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{Caller, ConfiguredGybe, last_segment};
use crate::support::cluster::Cluster;
use crate::support::sample;

const CONFIGURATION: &str = r#"
page_size = 2
[[client]]
name = "MSA"
profile = "openmsa"
network = "127.0.0.0/8"
"#;

/// The op occurrence that it uses: the last one of the VNF in the array.
async fn last_of(msa: &Caller<'_>, vnf: &str) -> Value {
    let answer = msa.get("/vnflcm/v1/vnf_lcm_op_occs").await;
    assert!(!answer.headers.contains_key("link"), "it follows none");
    let all = answer.expect(StatusCode::OK);
    let of_vnf = all.as_array().unwrap().iter().rfind(|op| op["vnfInstanceId"] == last_segment(vnf));
    of_vnf.unwrap().clone()
}

#[tokio::test]
async fn openmsa_instantiates_with_the_flavour_alone_and_polls_the_last_op_occurrence() {
    let cluster = Cluster::running().await;
    let namespace = cluster.namespace().await;
    let server = ConfiguredGybe::start(CONFIGURATION);
    let (gybe, msa) = (&server.gybe, server.caller(&[("Authorization", "Bearer of-keycloak")]));
    gybe.register_vim(&cluster.admin, "default", true).await;
    // OpenMSA sends no namespace: the manifests name one.
    let manifest = format!(
        "
apiVersion: apps/v1
kind: Deployment
metadata: {{name: app, namespace: {}}}
spec:
  selector: {{matchLabels: {{app: app}}}}
  template:
    metadata: {{labels: {{app: app}}}}
    spec: {{containers: [{{name: app, image: 'registry.k8s.io/pause:3.10'}}]}}
",
        namespace.name.as_str()
    );
    let package = gybe.upload(&sample::with_manifests(&[("Files/app.yaml", &manifest)])).await;
    let create = json!({ "vnfdId": package["vnfdId"], "vnfInstanceName": "app", "vnfInstanceDescription": "by MSA" });
    let vnf = msa.post("/vnflcm/v1/vnf_instances", &create).await.expect(StatusCode::CREATED);
    let vnf = format!("/vnflcm/v1/vnf_instances/{}", vnf["id"].as_str().unwrap());
    let wrong = msa.post(&format!("{vnf}/instantiate"), &json!({ "flavourId": "none" })).await;
    assert!(wrong.status.is_client_error());
    assert!(serde_json::from_str::<Value>(&wrong.text).unwrap()["detail"].is_string());

    let op = msa.begin(&vnf, "instantiate", &json!({ "flavourId": "simple" })).await;
    msa.poll(&op, &["COMPLETED"]).await;
    // More op occurrences than fit on a page.
    for cause in ["first", "second"] {
        let op = msa.begin(&vnf, "heal", &json!({ "cause": cause })).await;
        msa.poll(&op, &["COMPLETED"]).await;
        let found = last_of(&msa, &vnf).await;
        assert_eq!(found["id"], last_segment(&op));
        assert_eq!(found["operationParams"]["cause"], cause, "lists contain all attributes");
    }
    let shown = msa.get("/vnflcm/v1/vnf_instances").await.expect(StatusCode::OK);
    assert_eq!(shown[0]["instantiatedVnfInfo"]["vnfState"], "STARTED");
    assert_eq!(shown[0], msa.get(&vnf).await.expect(StatusCode::OK));
    let selected = msa.get("/vnflcm/v1/vnf_instances?exclude_default").await.expect(StatusCode::OK);
    assert_eq!(selected[0].get("instantiatedVnfInfo"), None, "a selector in the request still applies");

    let op = msa.begin(&vnf, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
    msa.poll(&op, &["COMPLETED"]).await;
    msa.delete(&vnf).await.expect(StatusCode::NO_CONTENT);
    let gone = msa.get(&vnf).await;
    assert!(gone.problem(404).contains(last_segment(&vnf)));
}
