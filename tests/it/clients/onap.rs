//! ONAP SO with its SOL003 adapter: `/vnflcm/v1`, no `Version`, a subscription per VNF that is never deleted, a
//! callback that accepts POST only. The adapter deletes the instance while it handles the notification that the
//! termination completed. It is also the NFVO: it returns the grant at once, and finds the VNF by the self link.

use std::sync::{Arc, Mutex};

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{ConfiguredGybe, blocking_request, last_segment};
use crate::support::cluster::Cluster;
use crate::support::subscriber::{Received, Reply, Subscriber};

const HEADER: (&str, &str) = ("X-Client", "onap-so");
const CONFIGURATION: &str = r#"
[[client]]
name = "ONAP SO"
profile = "onap"
header = { name = "X-Client", value = "onap-so" }
"#;
const VIM: &str = "CloudOwner_RegionOne";
const LCN: &str = "/so/vnfm-adapter/v1/lcn/VnfLcmOperationOccurrenceNotification";
const TOKEN: &str = "/oauth/token";
const GRANTS: &str = "/so/vnfm-adapter/v1/grants";

/// The state of the adapter.
#[derive(Default)]
struct AdapterState {
    /// The self links of the VNFs that the adapter created.
    vnfs: Mutex<Vec<String>>,
    /// The results of its deletions.
    deleted: Mutex<Vec<u16>>,
}

/// The adapter's grant. The response contains it, because the adapter does not support deferred grants. The adapter finds
/// the VNF by its self link and reads both lists of resources.
fn granted(request: &Value, state: &AdapterState) -> Reply {
    let vnf = request["_links"]["vnfInstance"]["href"].as_str().unwrap();
    if !state.vnfs.lock().unwrap().iter().any(|known| known == vnf) || !request["removeResources"].is_array() {
        return Reply::Status(500, String::new());
    }
    let infos = |list: &str| -> Value {
        let definitions = request[list].as_array().unwrap().iter();
        definitions.map(|it| json!({ "resourceDefinitionId": it["id"], "vimConnectionId": VIM })).collect()
    };
    let grant = json!({
        "id": "grant-1",
        "vnfInstanceId": request["vnfInstanceId"],
        "vnfLcmOpOccId": request["vnfLcmOpOccId"],
        "addResources": infos("addResources"),
        "removeResources": infos("removeResources"),
        "_links": { "self": { "href": format!("http://so{GRANTS}/grant-1") } },
    });
    Reply::With(201, vec![("location", format!("http://so{GRANTS}/grant-1"))], grant.to_string())
}

/// The adapter as a server. It deletes the instance inside the callback that reports the end of a termination.
fn adapter(gybe: &str, state: &Arc<AdapterState>) -> impl Fn(&Received) -> Reply + Send + Sync + 'static {
    let (gybe, state) = (gybe.to_owned(), Arc::clone(state));
    move |request| match (request.method.as_str(), request.path.as_str()) {
        ("POST", GRANTS) => granted(&request.body, &state),
        ("GET", path) if path.starts_with(GRANTS) => Reply::Status(501, String::new()),
        ("POST", TOKEN) => Reply::Status(200, json!({ "access_token": "of-so", "expires_in": 600 }).to_string()),
        ("POST", LCN) if request.header("authorization") == Some("Bearer of-so") => {
            let body = &request.body;
            if body["operation"] == "TERMINATE" && body["operationState"] == "COMPLETED" {
                let instance = body["_links"]["vnfInstance"]["href"].as_str().unwrap();
                let path = instance.strip_prefix(&gybe).unwrap();
                state.deleted.lock().unwrap().push(blocking_request(&gybe, &format!("DELETE {path}")));
            }
            Reply::Status(204, String::new())
        }
        ("POST", LCN) => Reply::Status(401, String::new()),
        _ => Reply::Status(405, String::new()),
    }
}

fn summaries(received: &[Received]) -> Vec<String> {
    received.iter().filter(|one| one.path == LCN && one.method == "POST").map(Received::summary).collect()
}

#[tokio::test]
async fn onap_deletes_a_vnf_inside_the_callback_that_reports_termination() {
    let cluster = Cluster::running().await;
    let namespace = cluster.namespace().await;
    let (adapter_server, state) = (Subscriber::start().await, Arc::<AdapterState>::default());
    let nfvo = format!("[nfvo]\nurl = \"{}/so/vnfm-adapter/v1\"\nedition = \"v1\"\n", adapter_server.url);
    let server = ConfiguredGybe::start(&(nfvo + CONFIGURATION));
    let (gybe, so) = (&server.gybe, server.caller(&[HEADER]));
    gybe.register_vim(&cluster.admin, VIM, false).await;
    let vnfd = gybe.onboard("small").await;
    adapter_server.answer(adapter(&gybe.url, &state));

    // The adapter uses the self link as the key of the VNF.
    let create = json!({ "vnfdId": vnfd, "vnfInstanceName": "my_vnf", "vnfInstanceDescription": "c4a7e2b0-aai" });
    let created = so.post("/vnflcm/v1/vnf_instances", &create).await;
    let vnf = created.expect(StatusCode::CREATED);
    let key = vnf["_links"]["self"]["href"].as_str().unwrap().to_owned();
    assert_eq!(created.location.as_deref(), Some(key.as_str()));
    assert!(key.starts_with(&gybe.url));
    assert_eq!(created.headers["version"], "1.3.0");
    state.vnfs.lock().unwrap().push(key.clone());

    let subscription = json!({
        "filter": {
            "vnfInstanceSubscriptionFilter": { "vnfInstanceIds": [vnf["id"]] },
            "notificationTypes": ["VnfLcmOperationOccurrenceNotification"],
        },
        "callbackUri": format!("{}{LCN}", adapter_server.url),
        "authentication": {
            "authType": ["OAUTH2_CLIENT_CREDENTIALS", "BASIC", "TLS_CERT"],
            "paramsOauth2ClientCredentials":
                { "clientId": "vnfm", "clientPassword": "s3cr3t", "tokenEndpoint": format!("{}{TOKEN}", adapter_server.url) },
            "paramsBasic": { "userName": "vnfm", "password": "s3cr3t" },
        },
    });
    let subscribed = so.post("/vnflcm/v1/subscriptions", &subscription).await;
    subscribed.expect(StatusCode::CREATED);
    assert!(!subscribed.text.contains("s3cr3t"));

    // ONAP terminates first and relies on a 409 if the instance is not instantiated.
    let terminate = json!({ "terminationType": "FORCEFUL" });
    so.post(&format!("{key}/terminate"), &terminate).await.problem(409);
    assert_eq!(so.get(&key).await.expect(StatusCode::OK)["instantiationState"], "NOT_INSTANTIATED");

    let instantiate = json!({
        "flavourId": "simple",
        "vimConnectionInfo": [{
            "id": VIM, "vimId": VIM, "vimType": "openstack",
            "interfaceInfo": { "identityEndPoint": "http://keystone:5000/v3" },
            "accessInfo": { "projectId": "tenant-1", "domainName": "Default",
                "credentials": { "username": "admin", "password": "s3cr3t" } },
        }],
        "additionalParams": { "namespace": namespace.name.as_str(), "createNamespace": "false",
            "lcm-kubernetes-def-files": "Files/kubernetes/deployment.yaml" },
        "extVirtualLinks": [],
    });
    let op = so.begin(&key, "instantiate", &instantiate).await;
    so.poll(&op, &["COMPLETED"]).await;
    let received = adapter_server.wait_until(|received| summaries(received).len() == 3).await;
    assert_eq!(summaries(&received), ["STARTING", "PROCESSING", "COMPLETED"]);
    let grant_requests: Vec<_> = received.iter().filter(|one| one.path == GRANTS).collect();
    assert_eq!(grant_requests.len(), 1);
    assert_eq!(grant_requests[0].body["operation"], "INSTANTIATE");
    let completed = &received.iter().rfind(|one| one.path == LCN).unwrap().body;
    assert_eq!(completed["_links"]["vnfInstance"]["href"], key.as_str());
    assert_eq!(completed["vnfLcmOpOccId"], last_segment(&op));
    let affected = completed["affectedVnfcs"].as_array().unwrap();
    assert_eq!(affected.len(), 1);
    for vnfc in affected {
        assert_eq!(vnfc["changeType"], "ADDED");
        assert_eq!(vnfc["computeResource"]["vimConnectionId"], VIM);
        assert!(vnfc["id"].is_string() && vnfc["computeResource"]["resourceId"].is_string());
    }
    // The attributes that the adapter reads after the notification.
    let instance = so.get(&key).await;
    let connection = &instance.expect(StatusCode::OK)["vimConnectionInfo"][0];
    assert_eq!((&connection["id"], &connection["vimId"]), (&json!(VIM), &json!(VIM)));
    assert_eq!(connection["accessInfo"]["projectId"], "tenant-1");
    assert!(!instance.text.contains("s3cr3t"), "{}", instance.text);

    // The adapter's job ends with the notification, after the adapter has deleted the instance.
    so.begin(&key, "terminate", &terminate).await;
    adapter_server.wait_until(|received| summaries(received).len() == 6).await;
    assert_eq!(*state.deleted.lock().unwrap(), [204]);
    so.get(&key).await.problem(404);
    let tests: Vec<_> = adapter_server.received().into_iter().filter(|one| one.method == "GET").collect();
    assert_eq!(tests.len(), 1, "the callback was tested once; 405 was accepted");
    assert!(gybe.log().contains("answered 405"), "the log reports the 405");
}

#[tokio::test]
async fn without_the_onap_profile_vim_names_are_ignored_and_callbacks_are_tested() {
    let cluster = Cluster::running().await;
    let server = ConfiguredGybe::start(CONFIGURATION);
    let (gybe, stranger) = (&server.gybe, server.caller(&[("X-Client", "onap")]));
    gybe.register_vim(&cluster.admin, VIM, false).await;
    let vnfd = gybe.onboard("small").await;
    let vnf = gybe.create("v1", &vnfd).await;
    let connection = json!([{ "id": "a", "vimId": VIM, "vimType": "kubernetes" }]);
    let instantiate = json!({ "flavourId": "simple", "vimConnectionInfo": connection });
    let refused = stranger.post(&format!("{vnf}/instantiate"), &instantiate).await.problem(422);
    assert!(refused.contains(VIM), "{refused}");
    let adapter_server = Subscriber::start().await;
    adapter_server.answer_status(405);
    let subscription = json!({ "callbackUri": adapter_server.url });
    stranger.post("/vnflcm/v1/subscriptions", &subscription).await.problem(422);
    // With the profile, an unknown VIM name is still refused.
    let unknown = json!([{ "id": "a", "vimId": "CloudOwner_RegionTwo" }]);
    let so = server.caller(&[HEADER]);
    let instantiate = json!({ "flavourId": "simple", "vimConnectionInfo": unknown });
    assert!(so.post(&format!("{vnf}/instantiate"), &instantiate).await.problem(422).contains("CloudOwner_RegionTwo"));
}

#[tokio::test]
async fn a_subscription_to_one_instance_is_deleted_with_it() {
    let configuration = CONFIGURATION.to_owned() + "orphan_subscriptions_after = 1\ncallback_test = 'off'\n";
    let server = ConfiguredGybe::start(&configuration);
    let (gybe, so) = (&server.gybe, server.caller(&[HEADER]));
    let vnfd = gybe.onboard("small").await;
    let (vnf, other) = (gybe.create("v1", &vnfd).await, gybe.create("v1", &vnfd).await);
    let request = |ids: Value, callback: &str| {
        json!({ "callbackUri": format!("http://127.0.0.1:1/{callback}"),
            "filter": { "vnfInstanceSubscriptionFilter": { "vnfInstanceIds": ids } } })
    };
    let subscribe = async |ids, callback: &str| {
        let created = so.post("/vnflcm/v1/subscriptions", &request(ids, callback)).await.expect(StatusCode::CREATED);
        created["_links"]["self"]["href"].as_str().unwrap().to_owned()
    };
    let orphan = subscribe(json!([last_segment(&vnf)]), "one").await;
    let kept = subscribe(json!([last_segment(&vnf), last_segment(&other)]), "both").await;
    let of_all = subscribe(json!([]), "all").await;
    gybe.delete(&vnf).await.expect(StatusCode::NO_CONTENT);

    let hrefs = |list: &Value| -> Vec<String> {
        let links =
            list.as_array().unwrap().iter().map(|one| one["_links"]["self"]["href"].as_str().unwrap().to_owned());
        links.collect()
    };
    let list = gybe.wait_until("/vnflcm/v1/subscriptions", |list| list.as_array().unwrap().len() == 2).await;
    assert_eq!(hrefs(&list), [kept.clone(), of_all.clone()]);
    gybe.get(&orphan).await.problem(404);
    // A subscription to two instances is deleted with the second of them.
    gybe.delete(&other).await.expect(StatusCode::NO_CONTENT);
    let list = gybe.wait_until("/vnflcm/v1/subscriptions", |list| list.as_array().unwrap().len() == 1).await;
    assert_eq!(hrefs(&list), [of_all]);
}
