//! Faults of a VIM's API server: unreachable, slow, overloaded, failing, losing replies or restarted for a while. Its
//! operations continue afterwards, those on another VIM are not affected, and the server is not flooded.

use std::time::{Duration, Instant};

use kube::api::{DeleteParams, ListParams};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::cluster::{Cluster, TestNamespace};
use crate::support::fault_proxy::{FaultProxy, ProxyFault};
use crate::support::gybe::{Gybe, vim};
use crate::support::object_recorder::ObjectRecorder;

/// How long a fault lasts after the start of another operation. The patience is 15 seconds in STARTING, and minutes
/// later.
const FAULT_DURATION: Duration = Duration::from_secs(4);
/// How long the restart of an API server takes.
const RESTART: Duration = Duration::from_secs(10);
/// The limit of requests per second. The 37 objects of a large CNF need two or three requests each without faults.
const STORM: usize = 150;

fn instantiation(namespace: &str, vim: &str) -> Value {
    json!({
        "flavourId": "simple", "additionalParams": { "namespace": namespace },
        "vimConnectionInfo": { "vim": { "vimId": vim, "vimType": "ETSINFV.KUBERNETES.V_1" } },
    })
}

/// Injects each fault for a while, with one operation in progress and one that starts during the fault.
async fn check_survives(faults: &[ProxyFault], lasts: Duration) {
    let cluster = Cluster::running().await;
    let (ours, others) = (cluster.namespace().await, cluster.namespace().await);
    let (name, other) = (ours.name.as_str(), others.name.as_str());
    let rules = json!([{ "apiGroups": ["*"], "resources": ["*"], "verbs": ["*"] }]);
    let account = cluster.account(&ours.name, "gybe", rules.clone()).await;
    // With a credential of its own, the second operation starts without cached discovery.
    let stranger = cluster.account(&ours.name, "stranger", rules).await;
    let recorder = ObjectRecorder::of(&cluster, &[name.to_owned()]).await;
    let proxy = FaultProxy::of(&cluster.admin).await;
    let gybe = Gybe::start();
    let vim = gybe.register_vim(&proxy.access(&account), "faulty", false).await;
    let unknown = gybe.register_vim(&proxy.access(&stranger), "unknown", false).await;
    let well = gybe.register_vim(&cluster.admin, "well", false).await;
    let (core5g, small) = (gybe.onboard("core5g").await, gybe.onboard("small").await);
    let (large, tiny) = (gybe.create("v2", &core5g).await, gybe.create("v2", &small).await);
    let elsewhere = gybe.create("v2", &small).await;

    let first = gybe.begin(&large, "instantiate", &instantiation(name, &vim)).await;
    let services = cluster.api("v1", "Service", "services", Some(&ours.name));
    while services.list(&ListParams::default()).await.unwrap().items.is_empty() {
        tokio::task::yield_now().await;
    }
    let begun = Instant::now();
    proxy.set(faults[0]);
    // Operations on the other VIM complete during the fault.
    gybe.complete(&elsewhere, "instantiate", &instantiation(other, &well)).await;
    let second = gybe.begin(&tiny, "instantiate", &instantiation(name, &unknown)).await;
    for fault in faults {
        proxy.set(*fault);
        tokio::time::sleep(lasts / u32::try_from(faults.len()).unwrap()).await;
    }
    let requests = proxy.requests(begun);
    assert!(proxy.peak_requests(Duration::from_secs(1), begun) < STORM, "{requests} requests");
    proxy.set(ProxyFault::None);
    for op in [&first, &second] {
        let op = gybe.wait_ended(op).await;
        assert_eq!(op["operationState"], "COMPLETED", "{op:#}\n{}", gybe.log());
    }

    for instance in [&large, &tiny] {
        gybe.complete(instance, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
    }
    let left = services.list(&ListParams::default().labels("app.kubernetes.io/managed-by=gybe")).await.unwrap();
    assert!(left.items.is_empty());
    for ((instance, kind, name), uids) in recorder.recorded() {
        assert_eq!(uids.len(), 1, "{kind} {name} of {instance} was created more than once");
    }
    println!("{faults:?}: {requests} requests in {:.1} s", begun.elapsed().as_secs_f32());
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_survive_an_unreachable_api_server() {
    check_survives(&[ProxyFault::CutOff], FAULT_DURATION).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_survive_a_slow_api_server() {
    check_survives(&[ProxyFault::Slow(Duration::from_millis(500))], FAULT_DURATION).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_survive_an_overloaded_api_server() {
    check_survives(&[ProxyFault::Answers(StatusCode::TOO_MANY_REQUESTS, 1)], FAULT_DURATION).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_survive_internal_errors_of_the_api_server() {
    check_survives(&[ProxyFault::Answers(StatusCode::INTERNAL_SERVER_ERROR, 1)], FAULT_DURATION).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_survive_an_unavailable_api_server() {
    check_survives(&[ProxyFault::Answers(StatusCode::SERVICE_UNAVAILABLE, 1)], FAULT_DURATION).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_survive_an_intermittently_failing_api_server() {
    check_survives(&[ProxyFault::Answers(StatusCode::SERVICE_UNAVAILABLE, 5)], FAULT_DURATION).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_survive_dropped_watches() {
    check_survives(&[ProxyFault::DropsWatches(Duration::from_millis(50))], FAULT_DURATION).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_survive_lost_replies() {
    check_survives(&[ProxyFault::LosesReplies(2)], FAULT_DURATION).await;
}

/// Connections are refused, then the server reports that it is not ready.
#[tokio::test(flavor = "multi_thread")]
async fn operations_survive_a_restart_of_the_api_server() {
    check_survives(&[ProxyFault::CutOff, ProxyFault::Answers(StatusCode::SERVICE_UNAVAILABLE, 1)], RESTART).await;
}

/// The token of the VIM expires while operations and watches use it, and somebody registers a new one a moment later.
#[tokio::test(flavor = "multi_thread")]
async fn operations_and_watches_go_on_with_a_rotated_credential() {
    let cluster = Cluster::running().await;
    let namespace = cluster.namespace().await;
    let rules = json!([{ "apiGroups": ["*"], "resources": ["*"], "verbs": ["*"] }]);
    let expiring = cluster.account(&namespace.name, "expiring", rules.clone()).await;
    let rotated = cluster.account(&namespace.name, "rotated", rules).await;
    let proxy = FaultProxy::of(&cluster.admin).await;
    let gybe = Gybe::start();
    let id = gybe.register_vim(&proxy.access(&expiring), "vim", false).await;
    let path = format!("/v1.0/vims/{id}");
    let instance = gybe.create("v2", &gybe.onboard("core5g").await).await;

    let op = gybe.begin(&instance, "instantiate", &instantiation(namespace.name.as_str(), &id)).await;
    let services = cluster.api("v1", "Service", "services", Some(&namespace.name));
    while services.list(&ListParams::default()).await.unwrap().items.is_empty() {
        tokio::task::yield_now().await;
    }
    proxy.set(ProxyFault::RefusesFirstToken);
    let is_refused =
        |op: &Value| op["error"]["detail"].as_str().is_some_and(|text| text.contains("refused the credential"));
    let refused = gybe.wait_until(&op, is_refused).await;
    assert_eq!(refused["operationState"], "PROCESSING", "a credential that may be about to be replaced stops nothing");
    gybe.wait_until(&path, |vim| vim["vim"]["status"] == "ERROR").await;

    // The CA of the registration stays.
    let auth_cred = json!({ "bearer_token": vim(&rotated, "", false)["vim"]["auth_cred"]["bearer_token"] });
    let shown = gybe.put(&path, &json!({ "vim": { "auth_cred": auth_cred } })).await.expect(StatusCode::OK);
    assert_eq!(shown["vim"]["status"], "ACTIVE");
    let op = gybe.wait_ended(&op).await;
    assert_eq!(op["operationState"], "COMPLETED", "{op:#}\n{}", gybe.log());

    // The watches have the new credential, too.
    let pods = cluster.api("v1", "Pod", "pods", Some(&namespace.name));
    let pod = pods.list(&ListParams::default()).await.unwrap().items.remove(0).metadata.name.unwrap();
    pods.delete(&pod, &DeleteParams::default().grace_period(0)).await.unwrap();
    gybe.wait_until(&instance, |instance| !instance.to_string().contains(&pod)).await;
    gybe.complete(&instance, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
}

/// A VIM behind a proxy, with all rights in a namespace.
struct ProxiedVim {
    cluster: Cluster,
    namespace: TestNamespace,
    proxy: FaultProxy,
    gybe: Gybe,
    id: String,
}

impl ProxiedVim {
    async fn registered() -> Self {
        let cluster = Cluster::running().await;
        let namespace = cluster.namespace().await;
        let rules = json!([{ "apiGroups": ["*"], "resources": ["*"], "verbs": ["*"] }]);
        let account = cluster.account(&namespace.name, "gybe", rules).await;
        let proxy = FaultProxy::of(&cluster.admin).await;
        let gybe = Gybe::start();
        let id = gybe.register_vim(&proxy.access(&account), "vim", false).await;
        Self { cluster, namespace, proxy, gybe, id }
    }
}

/// Nothing asks the API server for its status: the calls of operations show it.
#[tokio::test(flavor = "multi_thread")]
async fn the_status_of_a_vim_is_what_calls_to_it_show() {
    let ProxiedVim { cluster: _cluster, namespace, proxy, gybe, id } = ProxiedVim::registered().await;
    let listed = gybe.get("/v1.0/vims?status=ACTIVE&fields=id").await.expect(StatusCode::OK);
    assert_eq!(listed["vims"], json!([{ "id": id }]));
    let path = format!("/v1.0/vims/{id}");
    let instance = gybe.create("v2", &gybe.onboard("small").await).await;
    proxy.set(ProxyFault::CutOff);
    let op = gybe.begin(&instance, "instantiate", &instantiation(namespace.name.as_str(), &id)).await;
    gybe.wait_until(&path, |vim| vim["vim"]["status"] == "UNREACHABLE").await;
    proxy.set(ProxyFault::None);
    assert_eq!(gybe.wait_ended(&op).await["operationState"], "COMPLETED");
    gybe.wait_until(&path, |vim| vim["vim"]["status"] == "ACTIVE").await;
    gybe.complete(&instance, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
}

/// The watches go on from what they have seen, so that the return of an API server is no flood of lists.
#[tokio::test(flavor = "multi_thread")]
async fn watches_go_on_after_an_outage_without_a_list() {
    let ProxiedVim { cluster, namespace, proxy, gybe, id } = ProxiedVim::registered().await;
    let instance = gybe.create("v2", &gybe.onboard("small").await).await;
    gybe.complete(&instance, "instantiate", &instantiation(namespace.name.as_str(), &id)).await;
    let pods = cluster.api("v1", "Pod", "pods", Some(&namespace.name));
    let replace_pod = async || {
        let pod = pods.list(&ListParams::default()).await.unwrap().items.remove(0).metadata.name.unwrap();
        pods.delete(&pod, &DeleteParams::default().grace_period(0)).await.unwrap();
        pod
    };
    // All watches run: the view sees a change.
    let pod = replace_pod().await;
    gybe.wait_until(&instance, |instance| !instance.to_string().contains(&pod)).await;

    let begun = Instant::now();
    proxy.set(ProxyFault::CutOff);
    let pod = replace_pod().await;
    // Each watch has tried several times to go on.
    proxy.wait_for_requests(begun, 30).await;
    proxy.set(ProxyFault::None);
    gybe.wait_until(&instance, |instance| !instance.to_string().contains(&pod)).await;
    assert_eq!(proxy.lists(begun), 0, "{} requests", proxy.requests(begun));
    gybe.complete(&instance, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
}
