//! The client etsi-mano: it sends `Version` and polls op occurrences. It needs no profile; [`super::settings`] tests
//! strict clients.

use reqwest::StatusCode;
use serde_json::json;

use super::ConfiguredGybe;
use crate::support::cluster::Cluster;

#[tokio::test]
async fn etsi_mano_sends_its_version_and_polls() {
    let cluster = Cluster::running().await;
    let namespace = cluster.namespace().await;
    let server = ConfiguredGybe::start("");
    let gybe = &server.gybe;
    gybe.register_vim(&cluster.admin, "cluster", true).await;
    let vnfd = gybe.onboard("small").await;
    for (root, version) in [("/vnflcm/v1", "1.3.0"), ("/vnflcm/v2", "2.0.0")] {
        let nfvo = server.caller(&[("Version", version), ("Accept", "application/json")]);
        let created = nfvo.post(&format!("{root}/vnf_instances"), &json!({ "vnfdId": vnfd })).await;
        let vnf = created.expect(StatusCode::CREATED)["_links"]["self"]["href"].as_str().unwrap().to_owned();
        assert_eq!(created.headers["version"], version);
        let parameters = json!({ "namespace": namespace.name.as_str() });
        let instantiate = json!({ "flavourId": "simple", "additionalParams": parameters });
        let op = nfvo.begin(&vnf, "instantiate", &instantiate).await;
        nfvo.poll(&op, &["COMPLETED"]).await;
        let op = nfvo.begin(&vnf, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
        nfvo.poll(&op, &["COMPLETED"]).await;
        nfvo.delete(&vnf).await.expect(StatusCode::NO_CONTENT);
        let other = server.caller(&[("Version", "9.0.0")]);
        other.get(&vnf).await.problem(406);
    }
}
