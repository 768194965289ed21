//! A VIM's API server that is cut off, slow, overloaded, broken, forgetful or restarted for a while: operations on it go on
//! when that is over, those on another VIM notice nothing, and the server is not stormed.

use std::time::{Duration, Instant};

use kube::api::ListParams;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::cluster::Cluster;
use crate::support::fault_proxy::{Fault, Front};
use crate::support::gybe::Gybe;
use crate::support::witness::Witness;

/// A fault lasts so long after another operation has begun. The patience with one is 15 seconds in STARTING, and minutes later.
const LASTS: Duration = Duration::from_secs(4);
/// The restart of an API server takes longer.
const RESTART: Duration = Duration::from_secs(10);
/// More requests than this within a second are a storm: a large CNF's 37 objects come to two or three each when all is well.
const STORM: usize = 150;

fn instantiation(namespace: &str, vim: &str) -> Value {
    json!({
        "flavourId": "simple", "additionalParams": { "namespace": namespace },
        "vimConnectionInfo": { "vim": { "vimId": vim, "vimType": "ETSINFV.KUBERNETES.V_1" } },
    })
}

/// Has the API server of a VIM at each of the faults for a while, with one operation in the middle of its work, and one that
/// begins then.
async fn outlives(faults: &[Fault], lasts: Duration) {
    let cluster = Cluster::running().await;
    let (ours, others) = (cluster.namespace().await, cluster.namespace().await);
    let (name, other) = (ours.name.as_str(), others.name.as_str());
    let rules = json!([{ "apiGroups": ["*"], "resources": ["*"], "verbs": ["*"] }]);
    let account = cluster.account(&ours.name, "gybe", rules.clone()).await;
    // With a credential of its own, the second operation has everything still to ask.
    let stranger = cluster.account(&ours.name, "stranger", rules).await;
    let witness = Witness::of(&cluster, &[name.to_owned()]).await;
    let front = Front::of(&cluster.admin).await;
    let gybe = Gybe::start();
    let vim = gybe.register_vim(&front.access(&account), "faulty", false).await;
    let unknown = gybe.register_vim(&front.access(&stranger), "unknown", false).await;
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
    front.set(faults[0]);
    // While the one VIM is out of order, the other is worked on to the end.
    gybe.complete(&elsewhere, "instantiate", &instantiation(other, &well)).await;
    let second = gybe.begin(&tiny, "instantiate", &instantiation(name, &unknown)).await;
    for fault in faults {
        front.set(*fault);
        tokio::time::sleep(lasts / u32::try_from(faults.len()).unwrap()).await;
    }
    let requests = front.requests(begun);
    assert!(front.densest(Duration::from_secs(1), begun) < STORM, "{requests} requests");
    front.set(Fault::None);
    for op in [&first, &second] {
        let op = gybe.settled(op).await;
        assert_eq!(op["operationState"], "COMPLETED", "{op:#}\n{}", gybe.log());
    }

    for instance in [&large, &tiny] {
        gybe.complete(instance, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
    }
    let left = services.list(&ListParams::default().labels("app.kubernetes.io/managed-by=gybe")).await.unwrap();
    assert!(left.items.is_empty());
    for ((instance, kind, name), uids) in witness.seen() {
        assert_eq!(uids.len(), 1, "{kind} {name} of {instance} was made more than once");
    }
    println!("{faults:?}: {requests} requests in {:.1} s", begun.elapsed().as_secs_f32());
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_outlive_an_api_server_that_is_cut_off() {
    outlives(&[Fault::CutOff], LASTS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_outlive_an_api_server_that_is_slow() {
    outlives(&[Fault::Slow(Duration::from_millis(500))], LASTS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_outlive_an_api_server_that_is_overloaded() {
    outlives(&[Fault::Answers(StatusCode::TOO_MANY_REQUESTS, 1)], LASTS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_outlive_an_api_server_with_internal_errors() {
    outlives(&[Fault::Answers(StatusCode::INTERNAL_SERVER_ERROR, 1)], LASTS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_outlive_an_api_server_that_is_unavailable() {
    outlives(&[Fault::Answers(StatusCode::SERVICE_UNAVAILABLE, 1)], LASTS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_outlive_an_api_server_that_fails_now_and_then() {
    outlives(&[Fault::Answers(StatusCode::SERVICE_UNAVAILABLE, 5)], LASTS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_outlive_an_api_server_that_drops_watches() {
    outlives(&[Fault::DropsWatches(Duration::from_millis(50))], LASTS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_outlive_an_api_server_whose_replies_are_lost() {
    outlives(&[Fault::LosesReplies(2)], LASTS).await;
}

/// Nobody answers, then it says that it is not ready yet.
#[tokio::test(flavor = "multi_thread")]
async fn operations_outlive_an_api_server_that_is_restarted() {
    outlives(&[Fault::CutOff, Fault::Answers(StatusCode::SERVICE_UNAVAILABLE, 1)], RESTART).await;
}
