//! What is told of an instance stays true when its objects change behind our back: the real binary on the real control
//! plane; and how watches are kept, on models of what is watched.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt as _};
use gybe::clock::{Ids as _, System};
use gybe::domain::drift::ObjectDrift;
use gybe::domain::instance::VnfInstance;
use gybe::domain::namespace::Namespace;
use gybe::domain::observation::ObservedKind;
use gybe::domain::op_occ::OpState;
use gybe::domain::resource::{INSTANCE_LABEL, Resource};
use gybe::domain::secret::Secret;
use gybe::domain::vim::{VimAccess, VimConnection, VimCredential};
use gybe::infra::kubernetes::KubernetesDriver;
use gybe::infra::{InfraError, Observer, Scope, WatchEvent};
use gybe::store::OperationOutcome;
use gybe::view::View;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::support::cluster::{Cluster, TestNamespace};
use crate::support::gybe::{Gybe, vim};
use crate::support::postgres::Database;
use crate::support::proxy::Proxy;
use crate::support::store_fixture::{Fixture, connection_to, ending, instantiated, vim as a_vim};

/// The promise is two seconds after the change; the machine that tests run on is shared.
const PROMISE: Duration = Duration::from_secs(6);

/// An instance of `core5g`.
struct Site {
    cluster: Cluster,
    namespace: TestNamespace,
    gybe: Gybe,
    vim: String,
    path: String,
}

impl Site {
    async fn new(gybe: Gybe) -> Self {
        let cluster = Cluster::running().await;
        let access = cluster.admin.clone();
        Self::with(gybe, cluster, &access).await
    }

    async fn with(gybe: Gybe, cluster: Cluster, access: &VimAccess) -> Self {
        let namespace = cluster.namespace().await;
        let vim = gybe.register_vim(access, "cluster", true).await;
        let vnfd = gybe.onboard("core5g").await;
        let path = gybe.create("v2", &vnfd).await;
        let request = json!({ "flavourId": "simple", "additionalParams": { "namespace": namespace.name.as_str() } });
        gybe.complete(&path, "instantiate", &request).await;
        Self { cluster, namespace, gybe, vim, path }
    }

    fn api(&self, api_version: &str, kind: &str, plural: &str) -> kube::Api<DynamicObject> {
        self.cluster.api(api_version, kind, plural, Some(&self.namespace.name))
    }

    async fn set_replicas(&self, kind: &str, plural: &str, name: &str, replicas: u32) {
        let change = Patch::Merge(json!({ "spec": { "replicas": replicas } }));
        self.api("apps/v1", kind, plural).patch(name, &PatchParams::default(), &change).await.unwrap();
    }

    async fn delete_pod(&self, name: &str) {
        self.api("v1", "Pod", "pods").delete(name, &DeleteParams::default().grace_period(0)).await.unwrap();
    }

    async fn instance(&self) -> Value {
        self.gybe.get(&self.path).await.expect(StatusCode::OK)
    }

    /// Waits until the instance is as wanted, and tells how long that took.
    async fn becomes(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        let instance = self.gybe.until(&self.path, wanted).await;
        println!("true again after {} ms", begun.elapsed().as_millis());
        assert!(begun.elapsed() < PROMISE, "that took {:?}", begun.elapsed());
        instance
    }
}

fn pods(instance: &Value, vdu: &str) -> Vec<String> {
    let all = instance["instantiatedVnfInfo"]["vnfcResourceInfo"].as_array().unwrap();
    let of_vdu = all.iter().filter(|vnfc| vnfc["vduId"] == vdu);
    of_vdu.map(|vnfc| vnfc["computeResource"]["resourceId"].as_str().unwrap().to_owned()).collect()
}

fn level(instance: &Value, aspect: &str) -> u64 {
    let all = instance["instantiatedVnfInfo"]["scaleStatus"].as_array().unwrap();
    all.iter().find(|info| info["aspectId"] == aspect).unwrap()["scaleLevel"].as_u64().unwrap()
}

#[tokio::test]
async fn a_pod_that_is_replaced_is_another_vnfc() {
    let site = Site::new(Gybe::start()).await;
    let before = site.instance().await;
    let pod = pods(&before, "AMF").remove(0);
    site.delete_pod(&pod).await;
    let after = site.becomes(|it| pods(it, "AMF").len() == 1 && pods(it, "AMF")[0] != pod).await;
    let infos = after["instantiatedVnfInfo"]["vnfcInfo"].as_array().unwrap();
    assert!(infos.iter().any(|info| info["id"] == format!("AMF-{}", pods(&after, "AMF")[0])));
    assert_eq!(pods(&before, "SMF"), pods(&after, "SMF"));

    // A StatefulSet gives the new pod the old one's name.
    let name = pods(&after, "UDR_DB").remove(0);
    let version = site.gybe.get(&site.path).await.headers["etag"].clone();
    site.delete_pod(&name).await;
    let begun = Instant::now();
    while site.gybe.get(&site.path).await.headers["etag"] == version {
        assert!(begun.elapsed() < PROMISE);
        tokio::task::yield_now().await;
    }
    site.becomes(|it| pods(it, "UDR_DB") == [name.clone()]).await;
}

#[tokio::test]
async fn edited_replicas_show_as_vnfcs_and_as_the_level_they_are_exactly() {
    let site = Site::new(Gybe::start()).await;
    site.set_replicas("Deployment", "deployments", "smf", 3).await;
    site.becomes(|it| (level(it, "smf"), pods(it, "SMF").len()) == (1, 3)).await;
    site.set_replicas("Deployment", "deployments", "smf", 2).await;
    site.becomes(|it| (level(it, "smf"), pods(it, "SMF").len()) == (1, 2)).await;

    // Both VDUs of the aspect have to be at the level.
    site.set_replicas("Deployment", "deployments", "udr", 3).await;
    site.becomes(|it| (level(it, "subscriber_data"), pods(it, "UDR").len()) == (0, 3)).await;
    site.set_replicas("StatefulSet", "statefulsets", "udr-db", 2).await;
    let storages = |it: &Value| it["instantiatedVnfInfo"]["virtualStorageResourceInfo"].as_array().map_or(0, Vec::len);
    site.becomes(|it| (level(it, "subscriber_data"), pods(it, "UDR_DB").len(), storages(it)) == (1, 2, 2)).await;

    // What is told is what the next scaling starts from.
    site.gybe.complete(&site.path, "scale", &json!({ "type": "SCALE_OUT", "aspectId": "subscriber_data" })).await;
    let instance = site.instance().await;
    assert_eq!((level(&instance, "subscriber_data"), pods(&instance, "UDR").len()), (2, 5));
    // A heal goes back to the intent of the last operation, and the level with it.
    site.gybe.complete(&site.path, "heal", &json!({})).await;
    site.becomes(|it| (level(it, "smf"), pods(it, "SMF").len()) == (0, 1)).await;
}

#[tokio::test]
async fn a_workload_that_is_removed_takes_its_vnfcs_along() {
    let site = Site::new(Gybe::start()).await;
    let deployments = site.api("apps/v1", "Deployment", "deployments");
    deployments.delete("amf", &DeleteParams::background()).await.unwrap();
    let instance = site.becomes(|it| pods(it, "AMF").is_empty()).await;
    assert_eq!((level(&instance, "amf"), pods(&instance, "NRF").len()), (0, 2));
    site.gybe.complete(&site.path, "heal", &json!({})).await;
    assert_eq!(pods(&site.instance().await, "AMF").len(), 1);
}

#[tokio::test]
async fn watches_that_are_cut_are_taken_up_again() {
    let cluster = Cluster::running().await;
    let proxy = Proxy::before(&cluster.admin.endpoint).await;
    let access = VimAccess { endpoint: proxy.endpoint(), ..cluster.admin.clone() };
    let site = Site::with(Gybe::start(), cluster, &access).await;
    for _ in 0..3 {
        let pod = pods(&site.instance().await, "AMF").remove(0);
        proxy.cut();
        site.delete_pod(&pod).await;
        site.becomes(|it| pods(it, "AMF").len() == 1 && pods(it, "AMF")[0] != pod).await;
    }
}

#[tokio::test]
async fn what_changed_while_nobody_looked_is_found_at_the_next_start() {
    let mut site = Site::new(Gybe::start()).await;
    let pod = pods(&site.instance().await, "AMF").remove(0);
    site.gybe.kill();
    site.delete_pod(&pod).await;
    site.set_replicas("Deployment", "deployments", "smf", 3).await;
    site.gybe.restart();
    site.becomes(|it| pods(it, "AMF").len() == 1 && pods(it, "AMF")[0] != pod && level(it, "smf") == 1).await;
}

#[tokio::test]
async fn another_process_looks_when_the_one_that_instantiated_is_killed() {
    let database = Database::create().await;
    let witness = Gybe::start_on(&database.url);
    let mut site = Site::new(Gybe::start_on(&database.url)).await;
    // By the time this is true again the witness has been told of the instance.
    let pod = pods(&site.instance().await, "AMF").remove(0);
    site.delete_pod(&pod).await;
    site.becomes(|it| pods(it, "AMF").len() == 1 && pods(it, "AMF")[0] != pod).await;
    site.gybe.kill();
    site.gybe = witness;
    let pod = pods(&site.instance().await, "AMF").remove(0);
    site.delete_pod(&pod).await;
    site.becomes(|it| pods(it, "AMF").len() == 1 && pods(it, "AMF")[0] != pod).await;
}

#[tokio::test]
async fn a_live_operation_owns_the_instance_until_it_is_over() {
    let site = Site::new(Gybe::start()).await;
    let all = site.instance().await["instantiatedVnfInfo"]["vnfcResourceInfo"].as_array().unwrap().len();
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "full" },
        "spec": { "hard": { "pods": all.to_string() } },
    });
    site.cluster.create("resourcequotas", Some(&site.namespace.name), quota).await;
    let op = site.gybe.begin(&site.path, "scale", &json!({ "type": "SCALE_OUT", "aspectId": "smf" })).await;
    assert_eq!(site.gybe.settled(&op).await["operationState"], "FAILED_TEMP");
    let before = site.gybe.get(&site.path).await;
    let nrf = pods(&before.expect(StatusCode::OK), "NRF");
    site.set_replicas("Deployment", "deployments", "nrf", 0).await;
    for pod in nrf {
        while site.api("v1", "Pod", "pods").get_opt(&pod).await.unwrap().is_some() {
            tokio::task::yield_now().await;
        }
    }
    let after = site.gybe.get(&site.path).await;
    assert_eq!((&after.headers["etag"], &after.text), (&before.headers["etag"], &before.text));
    site.gybe.post(&format!("{op}/fail"), &json!({})).await.expect(StatusCode::OK);
    site.becomes(|it| pods(it, "NRF").is_empty()).await;
}

#[tokio::test]
async fn without_a_right_to_watch_a_kind_the_rest_is_kept_true_and_it_is_said_once() {
    let site = Site::new(Gybe::start()).await;
    let rules = json!([
        { "apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"] },
        { "apiGroups": ["apps"], "resources": ["replicasets"], "verbs": ["list", "watch"] },
    ]);
    let reader = site.cluster.account(&site.namespace.name, "reader", rules).await;
    let change = json!({ "vim": { "auth_cred": vim(&reader, "cluster", true)["vim"]["auth_cred"] } });
    site.gybe.put(&format!("/v1.0/vims/{}", site.vim), &change).await.expect(StatusCode::OK);
    site.set_replicas("Deployment", "deployments", "smf", 3).await;
    let instance = site.becomes(|it| pods(it, "SMF").len() == 3).await;
    site.gybe.until(&site.path, |_| site.gybe.log().contains("the Deployments can't be watched")).await;
    assert!(site.gybe.log().contains("cannot list resource"));
    assert_eq!(site.gybe.log().matches("the Deployments can't be watched").count(), 1);
    let storages = |it: &Value| it["instantiatedVnfInfo"]["virtualStorageResourceInfo"].as_array().unwrap().len();
    assert_eq!(storages(&instance), 1, "what can't be seen stays as it was");
}

/// An observer that sees what it is told to.
#[derive(Default)]
struct Model {
    watches: Mutex<Vec<(Namespace, ObservedKind, mpsc::UnboundedSender<WatchEvent>)>>,
    opened: Notify,
}

#[async_trait]
impl Observer for Model {
    async fn drift(&self, _: &Scope, _: &[Resource]) -> Result<Vec<ObjectDrift>, InfraError> {
        Ok(Vec::new())
    }

    fn watch(
        &self,
        _: &VimAccess,
        namespace: &Namespace,
        kind: ObservedKind,
    ) -> Result<BoxStream<'static, WatchEvent>, InfraError> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.watches.lock().unwrap().push((namespace.clone(), kind, sender));
        self.opened.notify_one();
        Ok(stream::unfold(receiver, async |mut receiver| Some((receiver.recv().await?, receiver))).boxed())
    }
}

impl Model {
    /// The watch of the pods of a namespace, once it is open.
    async fn pods(&self, namespace: &str) -> mpsc::UnboundedSender<WatchEvent> {
        loop {
            let watches = self.watches.lock().unwrap().clone();
            if let Some((_, _, sender)) = watches.into_iter().find(|(at, _, _)| at.as_str() == namespace) {
                return sender;
            }
            self.opened.notified().await;
        }
    }
}

/// Adds INSTANTIATED instances, one in each of `namespaces`.
async fn instances_in(f: &Fixture, namespaces: &[&str]) -> Vec<VnfInstance> {
    let package = f.onboarded().await;
    let mut instances = Vec::new();
    for &namespace in namespaces {
        let mut instance = f.instance_of(package);
        let mut connection = VimConnection { home: true, ..connection_to(None) };
        connection.access_info.insert("client_cert".to_owned(), "certificate".into());
        instance.vim_connections.insert("vim".to_owned(), connection);
        instance.metadata.namespace = Some(Namespace::try_from(namespace.to_owned()).unwrap());
        instance.instantiated = Some(instantiated());
        f.store.create_instance(&instance).await.unwrap();
        instances.push(instance);
    }
    instances
}

/// SQLite has four connections for reading: enough for few at a time, if each goes on once it has one.
#[tokio::test(flavor = "multi_thread")]
async fn many_instances_are_brought_up_to_date_while_whereabouts_are_read_again_and_again() {
    let f = Fixture::sqlite().await;
    let instances = instances_in(&f, &["a"; 60]).await;
    let other = a_vim(System.uuid(), "other");
    f.store.create_vim(&other).await.unwrap();
    let model = Arc::new(Model::default());
    let stop = CancellationToken::new();
    let view = View::new(Arc::clone(&f.store), Arc::clone(&model) as Arc<dyn Observer>);
    let running = tokio::spawn(view.run(stop.clone()));
    model.pods("a").await.send(WatchEvent::All(Vec::new())).unwrap();
    let refreshed = async {
        for instance in &instances {
            // Whoever changes a VIM makes the view look at all.
            while f.store.instance(&instance.project_id, instance.id).await.unwrap().version == instance.version {
                f.store.update_vim(&other, None).await.unwrap();
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), refreshed).await.expect("the view does not wait for itself");
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn instances_of_a_namespace_share_their_watches_which_end_with_the_last_of_them() {
    let f = Fixture::sqlite().await;
    let mut instances = instances_in(&f, &["a", "a", "b"]).await;
    let model = Arc::new(Model::default());
    let stop = CancellationToken::new();
    let view = View::new(Arc::clone(&f.store), Arc::clone(&model) as Arc<dyn Observer>);
    let running = tokio::spawn(view.run(stop.clone()));
    let (a, b) = (model.pods("a").await, model.pods("b").await);
    let refreshed = async |instance: &VnfInstance| {
        while f.store.instance(&instance.project_id, instance.id).await.unwrap().version == instance.version {
            tokio::task::yield_now().await;
        }
    };
    // Their pods are not there any more.
    a.send(WatchEvent::All(Vec::new())).unwrap();
    b.send(WatchEvent::All(Vec::new())).unwrap();
    for instance in &mut instances {
        refreshed(instance).await;
        *instance = f.store.instance(&instance.project_id, instance.id).await.unwrap();
        assert_eq!(instance.instantiated.as_ref().unwrap().vnfcs, []);
    }
    assert_eq!(model.watches.lock().unwrap().len(), 2, "one for each namespace and kind");

    for gone in [&instances[2], &instances[0], &instances[1]] {
        assert!(!a.is_closed());
        f.store.begin_operation(&f.op(gone), gone).await.unwrap();
        let mut claimed = f.claim(Duration::from_secs(60)).await;
        claimed.instance.instantiated = None;
        let ending =
            OperationOutcome { instance: Some(claimed.instance), ..ending(OpState::Starting, OpState::RolledBack) };
        f.store.end_operation(claimed.lease, &ending).await.unwrap();
        if gone.id == instances[2].id {
            b.closed().await;
        }
    }
    a.closed().await;
    stop.cancel();
    running.await.unwrap();
}

/// Answers the requests of one connection each with the next of `answers`, which tells what the request is to contain; then
/// takes connections and is silent.
async fn api_server(answers: Vec<(&'static str, String)>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut held = Vec::new();
        let mut answers = answers.into_iter();
        while let Ok((mut connection, _)) = listener.accept().await {
            let Some((wanted, body)) = answers.next() else {
                held.push(connection);
                continue;
            };
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(connection.read_u8().await.unwrap());
            }
            let request = String::from_utf8(request).unwrap();
            assert!(request.contains(wanted), "{request}");
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n";
            connection.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        }
    });
    url
}

#[tokio::test]
async fn long_lists_come_in_pages_and_what_the_api_server_has_forgotten_is_listed_anew() {
    let instance = "8f14e45f-ceea-467f-a8f4-0123456789ab";
    let pod = |name: &str, more: Value| {
        let mut metadata =
            json!({ "name": name, "uid": name, "labels": { INSTANCE_LABEL: instance }, "resourceVersion": "8" });
        metadata.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata })
    };
    let list = |metadata: Value, items: Value| {
        json!({ "apiVersion": "v1", "kind": "PodList", "metadata": metadata, "items": items }).to_string()
    };
    let (a, b) = (pod("a", json!({})), pod("b", json!({})));
    let going = pod("a", json!({ "deletionTimestamp": "2026-01-01T00:00:00Z" }));
    let gone = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 410, "reason": "Expired", "message": "too old" });
    let events = [json!({ "type": "MODIFIED", "object": going }), json!({ "type": "ERROR", "object": gone })];
    let endpoint = api_server(vec![
        ("limit=500", list(json!({ "resourceVersion": "7", "continue": "more" }), json!([a]))),
        ("continue=more", list(json!({ "resourceVersion": "7" }), json!([b]))),
        ("resourceVersion=7", events.map(|event| format!("{event}\n")).concat()),
        ("limit=500", list(json!({ "resourceVersion": "9" }), json!([b]))),
    ])
    .await;
    let credential = VimCredential::BearerToken(Secret::new("token"));
    let access = VimAccess { endpoint, ca: None, insecure: false, credential };
    let namespace = Namespace::try_from("a".to_owned()).unwrap();
    let sightings = KubernetesDriver::new().watch(&access, &namespace, ObservedKind::Pod).unwrap();
    let told: Vec<String> = sightings
        .map(|sighting| match sighting {
            WatchEvent::All(seen) => format!("all {:?}", seen.iter().map(|it| it.name.as_str()).collect::<Vec<_>>()),
            WatchEvent::Changed(seen) => format!("{} {}", seen.name, if seen.active { "lives" } else { "goes" }),
            other => format!("{other:?}"),
        })
        .take(3)
        .collect()
        .await;
    assert_eq!(told, [r#"all ["a", "b"]"#, "a goes", r#"all ["b"]"#]);
}
