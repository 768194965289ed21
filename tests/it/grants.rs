//! Granting (SOL003 clause 9): the real binary on the real control plane, and an NFVO that is a real HTTP server.
//!
//! `matrix.rs` has what becomes of an operation that is killed, cancelled or taken over while it is granted.

use std::path::Path;

use gybe::domain::vim::{VimAccess, VimCredential};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::cluster::{Cluster, TestNamespace};
use crate::support::fault_proxy::{certificate, wanting};
use crate::support::granter::{Granter, created, grant, problem};
use crate::support::gybe::{Gybe, connection};
use crate::support::postgres::Database;
use crate::support::subscriber::{Answer, Subscriber};

/// What the NFVO knows us by; the port differs from run to run.
const PUBLIC_URL: &str = "http://vnfm.example";

/// A `gybe` whose operations `nfvo` grants.
struct Site {
    cluster: Cluster,
    namespace: TestNamespace,
    nfvo: Granter,
    gybe: Gybe,
}

impl Site {
    async fn new(more: &[&str]) -> Self {
        let nfvo = Granter::start().await;
        let gybe = Gybe::start_with(&arguments(&nfvo, more));
        Self::on(nfvo, gybe).await
    }

    async fn on(nfvo: Granter, gybe: Gybe) -> Self {
        let cluster = Cluster::running().await;
        let namespace = cluster.namespace().await;
        gybe.register_vim(&cluster.admin, "cluster", true).await;
        Self { cluster, namespace, nfvo, gybe }
    }

    async fn small(&self, edition: &str) -> String {
        let vnfd = self.gybe.onboard("small").await;
        self.gybe.create(edition, &vnfd).await
    }

    fn instantiation(&self) -> Value {
        json!({ "flavourId": "simple", "additionalParams": { "namespace": self.namespace.name.as_str() } })
    }

    async fn show(&self, path: &str) -> Value {
        self.gybe.get(path).await.expect(StatusCode::OK)
    }

    /// That nothing was made, and that the instance is as if nobody had asked.
    async fn nothing_was_made(&self, instance: &str) {
        assert!(self.cluster.marked(&self.namespace.name).await.is_empty());
        let instance = self.show(instance).await;
        assert_eq!(instance["instantiationState"], "NOT_INSTANTIATED");
        assert_eq!(instance["metadata"].get("namespace"), None);
        assert!(instance["vimConnectionInfo"].as_object().is_none_or(serde_json::Map::is_empty), "{instance:#}");
    }

    /// Asks for an instantiation that comes to nothing; gives back its error.
    async fn refused(&self, instance: &str) -> Value {
        let error = self.rolled_back(instance).await;
        self.nothing_was_made(instance).await;
        error
    }

    /// As [`Site::refused`], while others of the site live.
    async fn rolled_back(&self, instance: &str) -> Value {
        let op = self.gybe.begin(instance, "instantiate", &self.instantiation()).await;
        let op = self.gybe.settled(&op).await;
        assert_eq!(op["operationState"], "ROLLED_BACK", "{op:#}");
        assert_eq!(op.get("grantId"), None);
        op["error"].clone()
    }
}

fn arguments<'a>(nfvo: &'a Granter, more: &[&'a str]) -> Vec<&'a str> {
    [&["--nfvo-url", &nfvo.url, "--public-url", PUBLIC_URL], more].concat()
}

// --- what is asked for ------------------------------------------------------------------------------------------------

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

/// How many resources of that type a list of the request has, and of how many it says which they are.
fn counted(request: &Value, list: &str, kind: &str) -> (usize, usize) {
    let those = request[list].as_array().unwrap().iter().filter(|definition| definition["type"] == kind);
    those.fold((0, 0), |(all, known), it| (all + 1, known + usize::from(it.get("resource").is_some())))
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

// --- how it is answered -----------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_grant_that_takes_its_time_is_waited_for_with_nothing_made_and_asked_for_once() {
    let site = Site::new(&[]).await;
    let (path, subscriber) = (site.small("v2").await, Subscriber::start().await);
    let subscription = json!({ "callbackUri": subscriber.url });
    site.gybe.post("/vnflcm/v2/subscriptions", &subscription).await.expect(StatusCode::CREATED);
    site.nfvo.take_time();
    let op = site.gybe.begin(&path, "instantiate", &site.instantiation()).await;
    site.nfvo.until_asked(1).await;
    let told: Vec<String> = subscriber.until_taken(1).await.iter().map(|one| one.tells()).collect();
    assert_eq!(told, ["STARTING"], "it is told before it is granted");
    site.nfvo.until_looked(2).await;
    let waiting = site.show(&op).await;
    assert_eq!((&waiting["operationState"], waiting.get("grantId")), (&json!("STARTING"), None), "{waiting:#}");
    assert!(site.cluster.marked(&site.namespace.name).await.is_empty());
    site.nfvo.decide(|request| Answer::Status(200, grant(request).to_string()));
    let op = site.gybe.settled(&op).await;
    assert_eq!(op["operationState"], "COMPLETED", "{op:#}");
    assert_eq!(op["grantId"], format!("grant-{}", op["id"].as_str().unwrap()));
    assert_eq!(site.nfvo.requests().len(), 1);
    let told: Vec<String> = subscriber.until_taken(3).await.iter().map(|one| one.tells()).collect();
    assert_eq!(told, ["STARTING", "PROCESSING", "COMPLETED"]);
    let metrics = site.gybe.get("/metrics").await.text;
    for result in ["pending", "granted"] {
        let name = format!("gybe_grant_exchange_duration_seconds_count{{result=\"{result}\"}}");
        assert!(metrics.contains(&name), "{name}: {metrics}");
    }
}

#[tokio::test]
async fn the_nfvo_is_sent_the_links_that_it_knows() {
    let site = Site::new(&["--nfvo-public-url", "http://inside.example"]).await;
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

async fn goes_on_after_a_kill(mut site: Site) {
    let path = site.small("v2").await;
    site.nfvo.take_time();
    let op = site.gybe.begin(&path, "instantiate", &site.instantiation()).await;
    site.nfvo.until_looked(1).await;
    let shown = site.gybe.debug(&["ops"]);
    assert!(shown.contains("  STARTING  grant  "), "{shown}");
    site.gybe.kill();
    site.nfvo.decide(|request| Answer::Status(200, grant(request).to_string()));
    site.gybe.restart();
    let op = site.gybe.settled(&op).await;
    assert_eq!(op["operationState"], "COMPLETED", "{op:#}");
    assert_eq!(site.nfvo.requests().len(), 1, "it is not asked for again");
    assert_eq!(
        site.cluster.marked(&site.namespace.name).await.iter().filter(|(kind, _)| *kind == "Deployment").count(),
        1
    );
}

#[tokio::test]
async fn an_operation_whose_process_is_killed_while_it_waits_goes_on() {
    goes_on_after_a_kill(Site::new(&[]).await).await;
}

#[tokio::test]
async fn an_operation_whose_process_is_killed_while_it_waits_goes_on_on_postgresql() {
    let (database, nfvo) = (Database::create().await, Granter::start().await);
    let gybe = Gybe::start_on_with(&database.url, &arguments(&nfvo, &["--lease", "5"]));
    goes_on_after_a_kill(Site::on(nfvo, gybe).await).await;
}

#[tokio::test]
async fn what_is_refused_is_rolled_back_with_the_reason_and_can_be_asked_for_again() {
    let site = Site::new(&[]).await;
    let path = site.small("v2").await;
    site.nfvo.answer(|_| problem(403, "no room in this site, token=abcdefgh"));
    let error = site.refused(&path).await;
    assert_eq!(error["status"], 403);
    let detail = error["detail"].as_str().unwrap();
    assert!(
        detail.contains("refused the grant: As it is: no room in this site") && !detail.contains("abcdefgh"),
        "{detail}"
    );
    site.nfvo.take_time();
    site.nfvo.decide(|_| problem(403, "on second thoughts"));
    let error = site.refused(&path).await;
    assert!(error["detail"].as_str().unwrap().contains("on second thoughts"), "{error}");
    site.nfvo.answer(|request| created(request, &grant(request)));
    site.gybe.complete(&path, "instantiate", &site.instantiation()).await;
    // What lives is left as it is.
    site.nfvo.answer(|_| problem(403, "not you"));
    let op = site.gybe.begin(&path, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
    assert_eq!(site.gybe.settled(&op).await["operationState"], "ROLLED_BACK");
    assert_eq!(site.show(&path).await["instantiationState"], "INSTANTIATED");
    assert!(!site.cluster.marked(&site.namespace.name).await.is_empty());
}

#[tokio::test]
async fn a_grant_that_is_of_no_use_is_rolled_back_with_what_is_wrong() {
    let site = Site::new(&[]).await;
    let path = site.small("v2").await;
    let changed = |change: fn(&mut Value)| {
        move |request: &Value| {
            let mut grant = grant(request);
            change(&mut grant);
            created(request, &grant)
        }
    };
    type Rule = Box<dyn Fn(&Value) -> Answer + Send + Sync>;
    let cases: [(Rule, &str); 10] = [
        (Box::new(|request| Answer::With(201, vec![], grant(request).to_string()[1..].to_owned())), "is no Grant"),
        (Box::new(|_| Answer::Status(201, "{\"id\":\"g\"}".to_owned())), "is no Grant"),
        (Box::new(|_| Answer::Status(201, " ".repeat(5 * 1024 * 1024))), "larger than 4 MiB"),
        (Box::new(|_| Answer::Status(202, String::new())), "has no Location"),
        (Box::new(|_| Answer::Redirect("http://127.0.0.1:1/".to_owned())), "302"),
        (Box::new(|_| problem(422, "what VNFD?")), "what VNFD?"),
        (Box::new(changed(|grant| grant["vnfLcmOpOccId"] = json!("another"))), "another operation's"),
        (
            Box::new(changed(|grant| grant["addResources"] = json!([]))),
            "does not answer, in addResources: add-compute-VDU1-1",
        ),
        (
            Box::new(changed(|grant| grant["addResources"][0]["vimConnectionId"] = json!("nowhere"))),
            "does not say what its vimConnectionId 'nowhere' is",
        ),
        (
            Box::new(changed(|grant| grant["additionalParams"] = json!({ "namespace": "elsewhere" }))),
            "another additionalParams.namespace",
        ),
    ];
    for (rule, said) in cases {
        site.nfvo.answer(rule);
        let error = site.refused(&path).await;
        assert!(error["detail"].as_str().unwrap().contains(said), "{said}: {error}");
    }
    assert_eq!(site.nfvo.requests().len(), 10, "what time does not heal is not asked for again");
}

#[tokio::test]
async fn an_nfvo_that_is_down_is_asked_again_for_a_while() {
    let site = Site::new(&[]).await;
    let vnfd = site.gybe.onboard("small").await;
    let [back, gone] = [site.gybe.create("v2", &vnfd).await, site.gybe.create("v2", &vnfd).await];
    let id = gone.rsplit('/').next().unwrap().to_owned();
    let failures = std::sync::atomic::AtomicUsize::new(0);
    site.nfvo.answer(move |request| {
        if request["vnfInstanceId"] == id.as_str() {
            return Answer::Closes;
        }
        match failures.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
            0 => Answer::Closes,
            1 => problem(503, "starting"),
            2 => Answer::Hangs,
            _ => created(request, &grant(request)),
        }
    });
    let begun = site.gybe.begin(&back, "instantiate", &site.instantiation()).await;
    let error = site.rolled_back(&gone).await;
    assert_eq!(error["status"], 504);
    assert!(error["detail"].as_str().unwrap().contains("the NFVO gave no grant"), "{error}");
    let op = site.gybe.settled(&begun).await;
    assert_eq!(op["operationState"], "COMPLETED", "{op:#}");
}

/// As etsi-mano says no.
#[tokio::test]
async fn an_nfvo_that_answers_500_where_the_grant_is_to_be_is_taken_at_its_word_after_some_tries() {
    let site = Site::new(&[]).await;
    let path = site.small("v2").await;
    site.nfvo.take_time();
    site.nfvo.decide(|_| problem(500, "no room for it"));
    let error = site.refused(&path).await;
    assert!(error["detail"].as_str().unwrap().contains("no room for it"), "{error}");
    assert_eq!(site.nfvo.requests().len(), 1);
}

#[tokio::test]
async fn an_nfvo_that_does_not_decide_in_time_is_not_waited_for() {
    let site = Site::new(&["--nfvo-grant-timeout", "3"]).await;
    let path = site.small("v2").await;
    site.nfvo.take_time();
    let error = site.refused(&path).await;
    assert!(error["detail"].as_str().unwrap().contains("not decided on the grant within 3 seconds"), "{error}");
}

#[tokio::test]
async fn an_operation_that_is_cancelled_while_it_waits_is_rolled_back_at_once() {
    let site = Site::new(&[]).await;
    let path = site.small("v2").await;
    site.nfvo.take_time();
    let op = site.gybe.begin(&path, "instantiate", &site.instantiation()).await;
    site.nfvo.until_looked(1).await;
    let cancel = site.gybe.post(&format!("{op}/cancel"), &json!({ "cancelMode": "GRACEFUL" })).await;
    cancel.expect(StatusCode::ACCEPTED);
    let op = site.gybe.settled(&op).await;
    assert_eq!(op["operationState"], "ROLLED_BACK", "{op:#}");
    site.nothing_was_made(&path).await;
    // Neither does an exchange that is under way hold it up.
    site.nfvo.answer(|_| Answer::Hangs);
    let op = site.gybe.begin(&path, "instantiate", &site.instantiation()).await;
    site.nfvo.until_asked(2).await;
    let begun = std::time::Instant::now();
    site.gybe.post(&format!("{op}/cancel"), &json!({ "cancelMode": "GRACEFUL" })).await.expect(StatusCode::ACCEPTED);
    assert_eq!(site.gybe.settled(&op).await["operationState"], "ROLLED_BACK");
    assert!(begun.elapsed().as_secs() < 8, "sooner than the exchange would have been given up");
}

#[tokio::test]
async fn what_is_tried_again_has_the_grant_that_it_was_given() {
    let site = Site::new(&[]).await;
    let csar = crate::support::sample::pack("broken/image-pull");
    let package = site.gybe.upload(&csar).await;
    let path = site.gybe.create("v2", package["vnfdId"].as_str().unwrap()).await;
    let op = site.gybe.begin(&path, "instantiate", &site.instantiation()).await;
    let failed = site.gybe.settled(&op).await;
    assert_eq!(failed["operationState"], "FAILED_TEMP", "{failed:#}");
    site.gybe.post(&format!("{op}/retry"), &json!({})).await.expect(StatusCode::ACCEPTED);
    let again = site.gybe.settled(&op).await;
    assert_eq!((&again["operationState"], &again["grantId"]), (&json!("FAILED_TEMP"), &failed["grantId"]));
    site.gybe.post(&format!("{op}/rollback"), &json!({})).await.expect(StatusCode::ACCEPTED);
    let back = site.gybe.settled(&op).await;
    assert_eq!((&back["operationState"], &back["grantId"]), (&json!("ROLLED_BACK"), &failed["grantId"]));
    assert_eq!(site.nfvo.requests().len(), 1);
    site.nothing_was_made(&path).await;
}

// --- where the VNF lives ----------------------------------------------------------------------------------------------

fn token(access: &VimAccess) -> String {
    match &access.credential {
        VimCredential::BearerToken(token) => token.expose().to_owned(),
        VimCredential::ClientCertificate { .. } => panic!("a token is wanted"),
    }
}

/// `grant`, in the VIM `id`.
fn placed(mut grant: Value, id: &str) -> Value {
    for list in ["addResources", "removeResources"] {
        for info in grant[list].as_array_mut().unwrap() {
            info["vimConnectionId"] = id.into();
        }
    }
    grant
}

async fn lives_where_the_grant_says(site: Site, edition: &str) {
    let rules = json!([{ "apiGroups": ["*"], "resources": ["*"], "verbs": ["*"] }]);
    let account = site.cluster.account(&site.namespace.name, "gybe", rules).await;
    let secret = token(&account);
    let path = site.small(edition).await;
    let (there, array) = (connection(&account), edition == "v1");
    site.nfvo.answer(move |request| {
        let mut grant = placed(grant(request), "granted");
        if array {
            let mut entry = there.clone();
            entry["id"] = "granted".into();
            grant["vimConnections"] = json!([entry]);
        } else {
            grant["vimConnectionInfo"] = json!({ "granted": there });
        }
        created(request, &grant)
    });
    let op = site.gybe.complete(&path, "instantiate", &site.instantiation()).await;
    let instance = site.show(&path).await;
    let vnfc = &instance["instantiatedVnfInfo"]["vnfcResourceInfo"][0];
    assert_eq!(vnfc["computeResource"]["vimConnectionId"], "granted", "{instance:#}");
    let ids: Vec<&str> = match &instance["vimConnectionInfo"] {
        Value::Array(entries) => entries.iter().map(|entry| entry["id"].as_str().unwrap()).collect(),
        map => map.as_object().unwrap().keys().map(String::as_str).collect(),
    };
    assert_eq!(ids, ["granted"], "the default VIM only stood in");
    let shown = format!("{instance}{op}{}", site.gybe.log());
    assert!(!shown.contains(&secret), "the credential is shown");
    let database = std::fs::read(site.gybe.folder().join("gybe.db")).unwrap();
    let journal = std::fs::read(site.gybe.folder().join("gybe.db-wal")).unwrap();
    let in_clear = |bytes: &[u8]| bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
    assert!(!in_clear(&database) && !in_clear(&journal), "the credential is in clear in the database");

    site.nfvo.answer(|request| {
        let mut grant = placed(grant(request), "elsewhere");
        grant["vimConnectionInfo"] = json!({ "elsewhere": { "vimType": "kubernetes" } });
        created(request, &grant)
    });
    let heal = site.gybe.begin(&path, "heal", &json!({})).await;
    let heal = site.gybe.settled(&heal).await;
    assert_eq!(heal["operationState"], "ROLLED_BACK", "{heal:#}");
    assert!(heal["error"]["detail"].as_str().unwrap().contains("a VNF is not moved"), "{heal:#}");
    site.nfvo.answer(|request| created(request, &placed(grant(request), "granted")));
    site.gybe.complete(&path, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
    assert!(site.cluster.marked(&site.namespace.name).await.is_empty());
}

#[tokio::test]
async fn a_vnf_lives_in_the_vim_that_a_grant_of_3_3_1_brings() {
    lives_where_the_grant_says(Site::new(&[]).await, "v2").await;
}

#[tokio::test]
async fn a_vnf_lives_in_the_vim_that_a_grant_of_2_6_1_brings() {
    lives_where_the_grant_says(Site::new(&["--nfvo-edition", "v1"]).await, "v1").await;
}

#[tokio::test]
async fn without_any_vim_the_grant_is_to_bring_one() {
    let nfvo = Granter::start().await;
    let gybe = Gybe::start_with(&arguments(&nfvo, &[]));
    let cluster = Cluster::running().await;
    let namespace = cluster.namespace().await;
    let site = Site { cluster, namespace, nfvo, gybe };
    let path = site.small("v2").await;
    let error = site.refused(&path).await;
    assert!(error["detail"].as_str().unwrap().contains("no VIM"), "{error}");
    assert_eq!(counted(&site.nfvo.last(), "addResources", "COMPUTE"), (1, 0));
    let there = connection(&site.cluster.admin);
    site.nfvo.answer(move |request| {
        let mut grant = grant(request);
        grant["vimConnectionInfo"] = json!({ "granted": there });
        created(request, &grant)
    });
    site.gybe.complete(&path, "instantiate", &site.instantiation()).await;
    site.gybe.complete(&path, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
}

#[tokio::test]
async fn a_grant_does_not_move_a_vnf_from_where_the_request_wants_it() {
    let site = Site::new(&[]).await;
    let path = site.small("v2").await;
    let there = connection(&site.cluster.admin);
    site.nfvo.answer(move |request| {
        let mut grant = placed(grant(request), "granted");
        grant["vimConnectionInfo"] = json!({ "granted": there });
        created(request, &grant)
    });
    let mut request = site.instantiation();
    request["vimConnectionInfo"] = json!({ "requested": connection(&site.cluster.admin) });
    let op = site.gybe.begin(&path, "instantiate", &request).await;
    let op = site.gybe.settled(&op).await;
    assert_eq!(op["operationState"], "ROLLED_BACK");
    assert!(op["error"]["detail"].as_str().unwrap().contains("'requested'"), "{op:#}");
    site.nothing_was_made(&path).await;
}

#[tokio::test]
async fn a_grant_may_have_the_namespace_made() {
    let site = Site::new(&[]).await;
    let path = site.small("v2").await;
    site.nfvo.answer(|request| {
        let mut grant = grant(request);
        grant["additionalParams"] = json!({ "createNamespace": "true", "other": { "things": 1 } });
        created(request, &grant)
    });
    let name = format!("{}-granted", site.namespace.name.as_str());
    let request = json!({ "flavourId": "simple", "additionalParams": { "namespace": name } });
    site.gybe.complete(&path, "instantiate", &request).await;
    let namespaces = site.cluster.api("v1", "Namespace", "namespaces", None);
    assert!(namespaces.get_opt(&name).await.unwrap().is_some());
    site.gybe.complete(&path, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
    assert!(namespaces.get_opt(&name).await.unwrap().is_none());
}

// --- who asks ---------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn the_nfvo_is_shown_the_version_and_a_password() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "hunter22\n").unwrap();
    let password = file.path().to_str().unwrap().to_owned();
    let site =
        Site::new(&["--nfvo-user", "gybe", "--nfvo-password-file", &password, "--nfvo-api-version", "1.2.0"]).await;
    let path = site.small("v2").await;
    site.gybe.complete(&path, "instantiate", &site.instantiation()).await;
    let asked = site.nfvo.requests().pop().unwrap();
    assert_eq!(asked.header("version"), Some("1.2.0"));
    assert_eq!(asked.header("authorization"), Some("Basic Z3liZTpodW50ZXIyMg=="));
    assert_eq!(asked.header("content-type"), Some("application/json"));
    assert!(!site.gybe.log().contains("hunter22"));
}

#[tokio::test]
async fn a_token_is_had_used_and_had_anew_when_the_nfvo_does_not_take_it_any_more() {
    let nfvo = Granter::start().await;
    let issued = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = std::sync::Arc::clone(&issued);
    nfvo.server.answer(move |received| {
        use std::sync::atomic::Ordering::Relaxed;
        if received.path == "/oauth/token" {
            let number = count.fetch_add(1, Relaxed);
            assert_eq!(received.header("authorization"), Some("Basic Z3liZTpodW50ZXIyMg=="));
            let token = json!({ "access_token": format!("t{number}"), "token_type": "Bearer", "expires_in": 3600 });
            return Answer::Status(200, token.to_string());
        }
        // The first token is good for one grant only.
        let is_terminate = received.body["operation"] == "TERMINATE";
        let good = if is_terminate { "Bearer t1" } else { "Bearer t0" };
        if received.header("authorization") == Some(good) {
            created(&received.body, &grant(&received.body))
        } else {
            Answer::Status(401, String::new())
        }
    });
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "hunter22").unwrap();
    let (endpoint, password) = (format!("{}/oauth/token", nfvo.server.url), file.path().to_str().unwrap().to_owned());
    let more = ["--nfvo-user", "gybe", "--nfvo-password-file", &password, "--nfvo-token-endpoint", &endpoint];
    let gybe = Gybe::start_with(&arguments(&nfvo, &more));
    let site = Site::on(nfvo, gybe).await;
    let path = site.small("v2").await;
    site.gybe.complete(&path, "instantiate", &site.instantiation()).await;
    site.gybe.complete(&path, "heal", &json!({})).await;
    assert_eq!(issued.load(std::sync::atomic::Ordering::Relaxed), 1, "a token is kept");
    site.gybe.complete(&path, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
    assert_eq!(issued.load(std::sync::atomic::Ordering::Relaxed), 2);
}

#[tokio::test]
async fn an_nfvo_that_wants_a_certificate_is_shown_it_and_one_of_another_authority_is_not_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let (server, client, stranger) = (certificate(), certificate(), certificate());
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (ours, theirs) = (file("ca.pem", &server.0), file("other.pem", &stranger.0));
    let own = file("client.pem", &(client.0.clone() + &client.1));
    let nfvo = Granter::at(Subscriber::start_tls(wanting(&server, &client)).await);
    let with = arguments(&nfvo, &["--nfvo-ca-file", &ours, "--nfvo-certificate-file", &own]);
    let gybe = Gybe::start_with(&with);
    let without = Gybe::start_with(&arguments(&nfvo, &["--nfvo-ca-file", &theirs]));
    let site = Site::on(nfvo, gybe).await;
    let path = site.small("v2").await;
    site.gybe.complete(&path, "instantiate", &site.instantiation()).await;
    let asked = site.nfvo.requests().len();
    let site = Site::on(site.nfvo, without).await;
    let path = site.small("v2").await;
    let error = site.refused(&path).await;
    assert!(error["detail"].as_str().unwrap().contains("certificate"), "{error}");
    assert_eq!((asked, site.nfvo.requests().len()), (1, 1));
}

#[test]
fn the_configuration_is_shown_without_the_password() {
    let check = |arguments: &[&str]| {
        let mut command = std::process::Command::new(crate::support::gybe::binary());
        let run = command.arg("check-config").args(arguments).env("GYBE_NFVO_PASSWORD", "hunter22").output().unwrap();
        (run.status.success(), String::from_utf8(run.stdout).unwrap() + &String::from_utf8(run.stderr).unwrap())
    };
    let (good, shown) = check(&["--nfvo-url", "https://nfvo/grant/v1/", "--nfvo-user", "gybe", "--nfvo-edition", "v1"]);
    for said in ["\"https://nfvo/grant/v1\"", "BASIC", "\"gybe\"", "V1", "3600s"] {
        assert!(good && shown.contains(said), "{said}: {shown}");
    }
    assert!(!shown.contains("hunter22"), "{shown}");
    let postgres =
        ["--database-url", "postgres://db/gybe", "--role", "conductor", "--nfvo-url", "https://nfvo/grant/v1"];
    let (good, shown) = check(&postgres);
    assert!(!good && shown.contains("needs --public-url"), "{shown}");
}
