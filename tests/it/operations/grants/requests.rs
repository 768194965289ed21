//! What the NFVO is asked for.

use std::path::Path;

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{PUBLIC_URL, Site, arguments, counted};
use crate::support::granter::{Granter, grant, problem};
use crate::support::gybe::Gybe;
use crate::support::postgres::Database;

/// Checks a value against a schema, as far as those of SOL003 go.
fn validate(value: &Value, schema: &Value, definitions: &Value, at: &str) {
    if let Some(name) = schema["$ref"].as_str() {
        let named = &definitions[name.rsplit('/').next().unwrap()];
        assert!(named.is_object(), "{name}");
        return validate(value, named, definitions, at);
    }
    if let Some(allowed) = schema["enum"].as_array() {
        assert!(allowed.contains(value), "{at}: {value} is none of {allowed:?}");
    }
    match schema["type"].as_str() {
        Some("object") => {
            let members = value.as_object().unwrap_or_else(|| panic!("{at}: {value} is no object"));
            for required in schema["required"].as_array().into_iter().flatten() {
                assert!(members.contains_key(required.as_str().unwrap()), "{at} has no {required}");
            }
            if let Some(properties) = schema["properties"].as_object() {
                for (name, value) in members {
                    let property = properties.get(name).unwrap_or_else(|| panic!("{at}.{name} is not in the standard"));
                    validate(value, property, definitions, &format!("{at}.{name}"));
                }
            }
        }
        Some("array") => {
            let items = value.as_array().unwrap_or_else(|| panic!("{at}: {value} is no array"));
            assert!(items.len() as u64 >= schema["minItems"].as_u64().unwrap_or(0), "{at} has too few items");
            items.iter().for_each(|item| validate(item, &schema["items"], definitions, at));
        }
        Some("string") => assert!(value.is_string(), "{at}: {value} is no string"),
        Some("boolean") => assert!(value.is_boolean(), "{at}: {value} is no boolean"),
        _ => {}
    }
}

/// Checks requests against the schemas of 3.3.1, where they are beside the repository.
fn requests_are_as_in_the_standard(nfvo: &Granter) {
    let schemas = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/schemas/v3.3.1");
    let Ok(text) = std::fs::read_to_string(schemas.join("sol003-v331-operation.definitions.json")) else { return };
    let schema: Value = serde_json::from_str(&text).unwrap();
    let definitions = &schema["definitions"];
    let requests = nfvo.requests();
    requests.iter().for_each(|one| validate(&one.body, &definitions["GrantRequest"], definitions, "GrantRequest"));
    println!("{} requests are as in the standard", requests.len());
}

async fn the_whole_life_is_granted(site: Site, edition: &str) {
    let Site { nfvo, gybe, .. } = &site;
    let vnfd = gybe.onboard("core5g").await;
    let path = gybe.create(edition, &vnfd).await;
    let instance = site.show(&path).await["_links"]["self"]["href"].clone();
    assert!(instance.as_str().unwrap().starts_with(&format!("{PUBLIC_URL}/vnflcm/{edition}/vnf_instances/")));
    // Of each operation, the COMPUTE and STORAGE resources that it adds and removes.
    for (task, body, operation, added, removed) in [
        ("instantiate", site.instantiation(), "INSTANTIATE", Some((11, 1)), Some((0, 0))),
        ("scale", json!({ "type": "SCALE_OUT", "aspectId": "subscriber_data" }), "SCALE", Some((3, 1)), Some((0, 0))),
        ("scale", json!({ "type": "SCALE_IN", "aspectId": "subscriber_data" }), "SCALE", Some((0, 0)), Some((3, 0))),
        ("scale_to_level", json!({ "instantiationLevelId": "large" }), "SCALE_TO_LEVEL", None, Some((0, 0))),
        ("heal", json!({ "vnfcInstanceId": ["UDR_DB-udr-db-0"] }), "HEAL", Some((1, 0)), Some((1, 0))),
        ("operate", json!({ "changeStateTo": "STOPPED" }), "OPERATE", Some((0, 0)), None),
        ("operate", json!({ "changeStateTo": "STARTED" }), "OPERATE", None, Some((0, 0))),
        ("terminate", json!({ "terminationType": "FORCEFUL" }), "TERMINATE", Some((0, 0)), None),
    ] {
        let before = site.show(&path).await;
        let pods = before["instantiatedVnfInfo"]["vnfcResourceInfo"].as_array().map_or(0, Vec::len);
        let op = gybe.complete(&path, task, &body).await;
        let request = nfvo.last();
        assert_eq!(request["operation"], operation);
        assert_eq!(request["vnfLcmOpOccId"], op["id"]);
        assert_eq!(request["_links"]["vnfLcmOpOcc"], op["_links"]["self"]);
        assert_eq!(request["_links"]["vnfInstance"]["href"], instance, "as the NFVO knows the instance");
        assert_eq!((&request["vnfdId"], &request["flavourId"]), (&json!(vnfd), &json!("simple")));
        assert_eq!(request["updateResources"], json!([]));
        let of = |list| {
            let [compute, storage] = ["COMPUTE", "STORAGE"].map(|kind| counted(&request, list, kind));
            let known = if list == "addResources" { 0 } else { compute.0 + storage.0 };
            assert_eq!(compute.1 + storage.1, known, "what is there is named, what is not is not: {request:#}");
            (compute.0, storage.0)
        };
        let (adds, removes) = (of("addResources"), of("removeResources"));
        assert!(added.is_none_or(|added| added == adds), "{operation}: {adds:?}: {request:#}");
        match operation {
            "TERMINATE" => assert_eq!(removes.0, pods, "all are given back"),
            "OPERATE" if body["changeStateTo"] == "STOPPED" => assert_eq!(removes, (pods, 0), "volumes stay"),
            // How many pods a DaemonSet has, the nodes decide.
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
    assert_eq!(nfvo.requests().len(), 8, "once each");
    assert!(nfvo.server.received().iter().all(|one| one.method == "POST"), "what is granted at once is not looked for");
    requests_are_as_in_the_standard(nfvo);
    let renamed = gybe.patch(&path, &json!({ "vnfInstanceName": "renamed" })).await;
    renamed.expect(StatusCode::ACCEPTED);
    let op = gybe.settled(&renamed.location.unwrap()).await;
    assert_eq!((&op["operationState"], op.get("grantId")), (&json!("COMPLETED"), None));
    assert_eq!(nfvo.requests().len(), 8, "a change of attributes needs no grant");
}

#[tokio::test]
async fn every_operation_is_granted_with_what_it_adds_and_removes_through_v2() {
    the_whole_life_is_granted(Site::new(&[]).await, "v2").await;
}

#[tokio::test]
async fn every_operation_is_granted_with_what_it_adds_and_removes_through_v1_on_postgresql() {
    let (database, nfvo) = (Database::create().await, Granter::start().await);
    let gybe = Gybe::start_on_with(&database.url, &arguments(&nfvo, &["--nfvo-edition", "v1"]));
    the_whole_life_is_granted(Site::on(nfvo, gybe).await, "v1").await;
}

#[tokio::test]
async fn instances_that_must_be_apart_are_asked_for_apart() {
    let site = Site::new(&[]).await;
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
    let package = site.gybe.upload(&csar).await;
    let path = site.gybe.create("v2", package["vnfdId"].as_str().unwrap()).await;
    site.nfvo.answer(|_| problem(403, "not now"));
    site.refused(&path).await;
    let request = site.nfvo.last();
    let constraints = request["placementConstraints"].as_array().unwrap();
    let [constraint] = &constraints[..] else { panic!("{constraints:#?}") };
    assert_eq!(
        (&constraint["affinityOrAntiAffinity"], &constraint["scope"]),
        (&json!("ANTI_AFFINITY"), &json!("NFVI_NODE"))
    );
    let named: Vec<&Value> = constraint["resource"].as_array().unwrap().iter().map(|it| &it["resourceId"]).collect();
    let added: Vec<&Value> = request["addResources"].as_array().unwrap().iter().map(|it| &it["id"]).collect();
    assert_eq!((named.len(), named), (3, added));
    requests_are_as_in_the_standard(&site.nfvo);
}

#[tokio::test]
async fn the_nfvo_is_sent_the_links_that_it_knows() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let client = "[[client]]\nname = 'nfvo'\nuser = 'nfvo'\npublic_url = 'http://inside.example'\n";
    std::io::Write::write_all(&mut file, client.as_bytes()).unwrap();
    let site = Site::new(&["--config", file.path().to_str().unwrap(), "--nfvo-client", "nfvo"]).await;
    let path = site.small("v2").await;
    site.gybe.complete(&path, "instantiate", &site.instantiation()).await;
    let links = &site.nfvo.last()["_links"];
    assert_eq!(
        links["vnfInstance"]["href"],
        format!("http://inside.example{path}"),
        "as a client that is reached there"
    );
    assert!(links["vnfLcmOpOcc"]["href"].as_str().unwrap().starts_with("http://inside.example/vnflcm/v2/"));
}
