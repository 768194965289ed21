//! The contents of grant requests.

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{GrantFixture, PUBLIC_URL, arguments, count_resources};
use crate::support::grant_server::{GrantServer, problem};
use crate::support::gybe::Gybe;
use crate::support::postgres::Database;
use crate::support::schemas::{self, SchemaCheck, grant_v2};

/// Checks the requests against the schema of 3.3.1, where it is available.
fn check_requests_against_schema(nfvo: &GrantServer) {
    if schemas::folder().is_none() {
        return;
    }
    let mut check = SchemaCheck::default();
    nfvo.requests().iter().for_each(|one| check.add("grant request", grant_v2("GrantRequest"), &one.body));
    let (number, errors) = check.errors();
    assert!(errors.is_empty(), "{errors}");
    println!("{number} requests match the schema");
}

async fn check_life_cycle_grants(fixture: GrantFixture, edition: &str) {
    let GrantFixture { nfvo, gybe, .. } = &fixture;
    let vnfd = gybe.onboard("core5g").await;
    let path = gybe.create(edition, &vnfd).await;
    let instance = fixture.show(&path).await["_links"]["self"]["href"].clone();
    assert!(instance.as_str().unwrap().starts_with(&format!("{PUBLIC_URL}/vnflcm/{edition}/vnf_instances/")));
    // For each operation, the COMPUTE and STORAGE resources that it adds and removes.
    for (task, body, operation, added, removed) in [
        ("instantiate", fixture.instantiation(), "INSTANTIATE", Some((11, 1)), Some((0, 0))),
        ("scale", json!({ "type": "SCALE_OUT", "aspectId": "subscriber_data" }), "SCALE", Some((3, 1)), Some((0, 0))),
        ("scale", json!({ "type": "SCALE_IN", "aspectId": "subscriber_data" }), "SCALE", Some((0, 0)), Some((3, 0))),
        ("scale_to_level", json!({ "instantiationLevelId": "large" }), "SCALE_TO_LEVEL", None, Some((0, 0))),
        ("heal", json!({ "vnfcInstanceId": ["UDR_DB-udr-db-0"] }), "HEAL", Some((1, 0)), Some((1, 0))),
        ("operate", json!({ "changeStateTo": "STOPPED" }), "OPERATE", Some((0, 0)), None),
        ("operate", json!({ "changeStateTo": "STARTED" }), "OPERATE", None, Some((0, 0))),
        ("terminate", json!({ "terminationType": "FORCEFUL" }), "TERMINATE", Some((0, 0)), None),
    ] {
        let before = fixture.show(&path).await;
        let pods = before["instantiatedVnfInfo"]["vnfcResourceInfo"].as_array().map_or(0, Vec::len);
        let op = gybe.complete(&path, task, &body).await;
        let request = nfvo.last();
        assert_eq!(request["operation"], operation);
        assert_eq!(request["vnfLcmOpOccId"], op["id"]);
        assert_eq!(request["_links"]["vnfLcmOpOcc"], op["_links"]["self"]);
        assert_eq!(request["_links"]["vnfInstance"]["href"], instance, "the instance's self link");
        assert_eq!((&request["vnfdId"], &request["flavourId"]), (&json!(vnfd), &json!("simple")));
        assert_eq!(request["updateResources"], json!([]));
        let of = |list| {
            let [compute, storage] = ["COMPUTE", "STORAGE"].map(|kind| count_resources(&request, list, kind));
            let known = if list == "addResources" { 0 } else { compute.0 + storage.0 };
            assert_eq!(
                compute.1 + storage.1,
                known,
                "existing resources are identified, new resources are not: {request:#}"
            );
            (compute.0, storage.0)
        };
        let (adds, removes) = (of("addResources"), of("removeResources"));
        assert!(added.is_none_or(|added| added == adds), "{operation}: {adds:?}: {request:#}");
        match operation {
            "TERMINATE" => assert_eq!(removes.0, pods, "the request removes all pods"),
            "OPERATE" if body["changeStateTo"] == "STOPPED" => assert_eq!(removes, (pods, 0), "volumes stay"),
            // The nodes determine the number of pods of a DaemonSet.
            "OPERATE" => {
                let of = |list: &Value| list.as_array().unwrap().iter().filter(|it| it["vduId"] != "UPF").count();
                let stopped = &nfvo.requests()[5].body;
                assert_eq!(of(&request["addResources"]), of(&stopped["removeResources"]));
            }
            "SCALE_TO_LEVEL" => assert!(adds.0 > 0),
            _ => {}
        }
        assert!(removed.is_none_or(|removed| removed == removes), "{operation}: {removes:?}: {request:#}");
        let id = format!("grant-{}", op["id"].as_str().unwrap());
        assert_eq!(op["grantId"], id);
        assert_eq!(op["_links"]["grant"]["href"], format!("{}/grants/{id}", nfvo.url));
        let found = gybe.get(&format!("/vnflcm/{edition}/vnf_lcm_op_occs?filter=(eq,grantId,{id})")).await;
        assert_eq!(found.expect(StatusCode::OK)[0]["id"], op["id"]);
    }
    assert_eq!(nfvo.requests().len(), 8, "one grant request per operation");
    assert!(nfvo.server.received().iter().all(|one| one.method == "POST"), "a grant in the response is not polled");
    check_requests_against_schema(nfvo);
    let renamed = gybe.patch(&path, &json!({ "vnfInstanceName": "renamed" })).await;
    renamed.expect(StatusCode::ACCEPTED);
    let op = gybe.wait_ended(&renamed.location.unwrap()).await;
    assert_eq!((&op["operationState"], op.get("grantId")), (&json!("COMPLETED"), None));
    assert_eq!(nfvo.requests().len(), 8, "a change of attributes needs no grant");
}

#[tokio::test]
async fn grant_requests_list_added_and_removed_resources_v2() {
    check_life_cycle_grants(GrantFixture::new(&[]).await, "v2").await;
}

#[tokio::test]
async fn grant_requests_list_added_and_removed_resources_v1_on_postgresql() {
    let (database, nfvo) = (Database::create().await, GrantServer::start().await);
    let gybe = Gybe::start_on_with(&database.url, &arguments(&nfvo, &["--nfvo-edition", "v1"]));
    check_life_cycle_grants(GrantFixture::on(nfvo, gybe).await, "v1").await;
}

#[tokio::test]
async fn anti_affinity_is_sent_as_placement_constraint() {
    let fixture = GrantFixture::new(&[]).await;
    let manifest = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: app}
spec:
  replicas: 3
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}}
    spec:
      affinity:
        podAntiAffinity:
          requiredDuringSchedulingIgnoredDuringExecution:
            - labelSelector: {matchLabels: {app: app}}
              topologyKey: kubernetes.io/hostname
      containers: [{name: app, image: "registry.k8s.io/pause:3.10"}]
"#;
    let csar = crate::support::sample::with_manifests(&[("Files/kubernetes/apart.yaml", manifest)]);
    let package = fixture.gybe.upload(&csar).await;
    let path = fixture.gybe.create("v2", package["vnfdId"].as_str().unwrap()).await;
    fixture.nfvo.answer(|_| problem(403, "not now"));
    fixture.instantiate_refused(&path).await;
    let request = fixture.nfvo.last();
    let constraints = request["placementConstraints"].as_array().unwrap();
    let [constraint] = &constraints[..] else { panic!("{constraints:#?}") };
    assert_eq!(
        (&constraint["affinityOrAntiAffinity"], &constraint["scope"]),
        (&json!("ANTI_AFFINITY"), &json!("NFVI_NODE"))
    );
    let named: Vec<&Value> = constraint["resource"].as_array().unwrap().iter().map(|it| &it["resourceId"]).collect();
    let added: Vec<&Value> = request["addResources"].as_array().unwrap().iter().map(|it| &it["id"]).collect();
    assert_eq!((named.len(), named), (3, added));
    check_requests_against_schema(&fixture.nfvo);
}

#[tokio::test]
async fn grant_requests_link_to_the_url_of_the_nfvo() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let client = "[[client]]\nname = 'nfvo'\nuser = 'nfvo'\npublic_url = 'http://inside.example'\n";
    std::io::Write::write_all(&mut file, client.as_bytes()).unwrap();
    let fixture = GrantFixture::new(&["--config", file.path().to_str().unwrap(), "--nfvo-client", "nfvo"]).await;
    let path = fixture.small("v2").await;
    fixture.gybe.complete(&path, "instantiate", &fixture.instantiation()).await;
    let links = &fixture.nfvo.last()["_links"];
    assert_eq!(
        links["vnfInstance"]["href"],
        format!("http://inside.example{path}"),
        "as a client that is reached there"
    );
    assert!(links["vnfLcmOpOcc"]["href"].as_str().unwrap().starts_with("http://inside.example/vnflcm/v2/"));
}
