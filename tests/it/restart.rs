//! `kill -9` in the middle of operations: they go on when the process is there again.

use kube::api::ListParams;
use reqwest::StatusCode;
use serde_json::json;

use crate::support::cluster::Cluster;
use crate::support::gybe::Gybe;
use crate::support::postgres::Database;

/// Kills the process once `objects` of the instantiation are in the cluster, starts it again, and looks at the result.
async fn killed_after(mut gybe: Gybe, objects: usize) {
    let cluster = Cluster::running().await;
    let namespace = cluster.namespace().await;
    gybe.register_vim(&cluster.admin, "cluster", true).await;
    let vnfd = gybe.onboard("core5g").await;
    let path = gybe.create("v2", &vnfd).await;
    let request = json!({ "flavourId": "simple", "additionalParams": { "namespace": namespace.name.as_str() } });
    let op = gybe.begin(&path, "instantiate", &request).await;
    let services = cluster.api("v1", "Service", "services", Some(&namespace.name));
    while services.list(&ListParams::default()).await.unwrap().items.len() < objects {
        tokio::task::yield_now().await;
    }
    gybe.kill();
    let uids = |list: Vec<kube::api::DynamicObject>| -> Vec<_> {
        list.into_iter().map(|object| (object.metadata.name, object.metadata.uid)).collect()
    };
    let before = uids(services.list(&ListParams::default()).await.unwrap().items);
    gybe.restart();
    let op = gybe.settled(&op).await;
    assert_eq!(op["operationState"], "COMPLETED", "{op:#}\n{}", gybe.log());

    let after = uids(services.list(&ListParams::default()).await.unwrap().items);
    assert_eq!(after.len(), 10, "each Service is there, once");
    assert!(before.iter().all(|service| after.contains(service)), "what was made before the kill is still the same");
    let instance = gybe.get(&path).await.expect(StatusCode::OK);
    assert_eq!(instance["instantiationState"], "INSTANTIATED");
    gybe.complete(&path, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
    let marked = ListParams::default().labels("app.kubernetes.io/managed-by=gybe");
    assert!(services.list(&marked).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn an_instantiation_goes_on_after_a_kill_before_its_first_object() {
    killed_after(Gybe::start(), 0).await;
}

#[tokio::test]
async fn an_instantiation_goes_on_after_a_kill_in_the_middle_of_a_step() {
    killed_after(Gybe::start(), 3).await;
}

#[tokio::test]
async fn an_instantiation_goes_on_on_postgresql_once_the_lease_has_run_out() {
    let database = Database::create().await;
    killed_after(Gybe::start_on(&database.url), 3).await;
}
