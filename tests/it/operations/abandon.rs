//! Letting go of a VNF instance whose cluster is lost.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::cluster::Cluster;
use crate::support::fault_proxy::{FaultProxy, ProxyFault};
use crate::support::gybe::Gybe;

fn abandon() -> Value {
    json!({ "terminationType": "FORCEFUL", "additionalParams": { "gybe:abandon": true } })
}

fn texts(op: &Value) -> String {
    op["gybe:warnings"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_lost_cluster_does_not_keep_its_instances() {
    let cluster = Cluster::running().await;
    let namespace = cluster.namespace().await;
    let rules = json!([{ "apiGroups": ["*"], "resources": ["*"], "verbs": ["*"] }]);
    let account = cluster.account(&namespace.name, "gybe", rules).await;
    let proxy = FaultProxy::of(&cluster.admin).await;
    let gybe = Gybe::start();
    gybe.register_vim(&proxy.access(&account), "lost", true).await;
    let vnfd = gybe.onboard("small").await;
    let path = gybe.instantiate("v2", &vnfd, namespace.name.as_str()).await;
    let fresh = gybe.create("v2", &vnfd).await;
    proxy.set(ProxyFault::CutOff);

    let wrong = json!({ "terminationType": "FORCEFUL", "additionalParams": { "gybe:abandon": "yes" } });
    let refused = gybe.post(&format!("{path}/terminate"), &wrong).await.problem(400);
    assert!(refused.contains("true or false"), "{refused}");
    let op = gybe.complete(&path, "terminate", &abandon()).await;
    let warnings = texts(&op);
    assert!(warnings.contains(&format!("abandoned in namespace '{}'", namespace.name)), "{op:#}");
    assert!(warnings.contains("Deployment "), "{op:#}");
    assert_eq!(op["operationParams"]["additionalParams"]["gybe:abandon"], true);
    let changes = op["resourceChanges"]["affectedVnfcs"].as_array().unwrap();
    assert!(!changes.is_empty() && changes.iter().all(|vnfc| vnfc["changeType"] == "REMOVED"), "{op:#}");

    let instance = gybe.get(&path).await.expect(StatusCode::OK);
    assert_eq!(instance["instantiationState"], "NOT_INSTANTIATED", "{instance:#}");
    assert_eq!(gybe.delete(&path).await.status, StatusCode::NO_CONTENT);
    // Nothing was sent to the cluster.
    proxy.set(ProxyFault::None);
    let deployments = cluster.api("apps/v1", "Deployment", "deployments", Some(&namespace.name));
    assert!(!deployments.list(&kube::api::ListParams::default()).await.unwrap().items.is_empty());
    // There is nothing to let go of.
    gybe.post(&format!("{fresh}/terminate"), &abandon()).await.problem(409);
}

#[tokio::test]
async fn an_operator_lets_go_of_an_instance_by_command() {
    let cluster = Cluster::running().await;
    let namespace = cluster.namespace().await;
    let mut gybe = Gybe::start();
    gybe.register_vim(&cluster.admin, "cluster", true).await;
    let vnfd = gybe.onboard("small").await;
    let path = gybe.instantiate("v2", &vnfd, namespace.name.as_str()).await;
    gybe.kill();
    let output = gybe.run(&["abandon", path.rsplit('/').next().unwrap()]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let op = text.split_whitespace().nth(1).unwrap().to_owned();
    gybe.restart();
    let op = gybe.wait_ended(&format!("/vnflcm/v2/vnf_lcm_op_occs/{op}")).await;
    assert_eq!((&op["operationState"], &op["operation"]), (&json!("COMPLETED"), &json!("TERMINATE")), "{op:#}");
    assert!(texts(&op).contains("Deployment "), "{op:#}");
}
