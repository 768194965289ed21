//! The view of instances follows changes of their objects: the real binary on the real control plane; and how watches
//! are kept, on fake observers.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt as _};
use gybe::clock::{Ids as _, System};
use gybe::domain::drift::ObjectDrift;
use gybe::domain::ids::ProjectId;
use gybe::domain::instance::VnfInstance;
use gybe::domain::namespace::Namespace;
use gybe::domain::observation::ObservedKind;
use gybe::domain::op_occ::OpState;
use gybe::domain::resource::{INSTANCE_LABEL, Resource};
use gybe::domain::secret::Secret;
use gybe::domain::tenancy::ObservedNamespace;
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
use crate::support::store_fixture::{StoreFixture, connection_to, ending, instantiated, vim as a_vim};

/// Two seconds are the requirement; test machines are shared.
const PROMISE: Duration = Duration::from_secs(6);

/// An instance of `core5g`.
struct ViewFixture {
    cluster: Cluster,
    namespace: TestNamespace,
    gybe: Gybe,
    vim: String,
    path: String,
}

impl ViewFixture {
    async fn new(gybe: Gybe) -> Self {
        let cluster = Cluster::running().await;
        let access = cluster.admin.clone();
        Self::with(gybe, cluster, &access).await
    }

    async fn with(gybe: Gybe, cluster: Cluster, access: &VimAccess) -> Self {
        let namespace = cluster.namespace().await;
        let vim = gybe.register_vim(access, "cluster", true).await;
        let vnfd = gybe.onboard("core5g").await;
        let path = gybe.instantiate("v2", &vnfd, namespace.name.as_str()).await;
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

    /// Waits until the instance satisfies `wanted`; returns the duration.
    async fn becomes(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        let instance = self.gybe.wait_until(&self.path, wanted).await;
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
async fn a_replaced_pod_is_a_new_vnfc() {
    let fixture = ViewFixture::new(Gybe::start()).await;
    let before = fixture.instance().await;
    let pod = pods(&before, "AMF").remove(0);
    fixture.delete_pod(&pod).await;
    let after = fixture.becomes(|it| pods(it, "AMF").len() == 1 && pods(it, "AMF")[0] != pod).await;
    let infos = after["instantiatedVnfInfo"]["vnfcInfo"].as_array().unwrap();
    assert!(infos.iter().any(|info| info["id"] == format!("AMF-{}", pods(&after, "AMF")[0])));
    assert_eq!(pods(&before, "SMF"), pods(&after, "SMF"));

    // A StatefulSet reuses the pod's name.
    let name = pods(&after, "UDR_DB").remove(0);
    let version = fixture.gybe.get(&fixture.path).await.headers["etag"].clone();
    fixture.delete_pod(&name).await;
    let begun = Instant::now();
    while fixture.gybe.get(&fixture.path).await.headers["etag"] == version {
        assert!(begun.elapsed() < PROMISE);
        tokio::task::yield_now().await;
    }
    fixture.becomes(|it| pods(it, "UDR_DB") == [name.clone()]).await;
}

/// `vnfcResourceInfo.id`, `vnfcInfo.id` and the pod of the only VNFC of AMF.
fn amf(instance: &Value) -> [String; 3] {
    let info = &instance["instantiatedVnfInfo"];
    let one = |list: &str| {
        let mut all = info[list].as_array().unwrap().iter().filter(|vnfc| vnfc["vduId"] == "AMF");
        let one = all.next().unwrap().clone();
        assert_eq!(all.next(), None, "{info:#}");
        one
    };
    let (resource, vnfc) = (one("vnfcResourceInfo"), one("vnfcInfo"));
    assert_eq!(vnfc["vnfcResourceInfoId"], resource["id"]);
    [&resource["id"], &vnfc["id"], &resource["computeResource"]["resourceId"]].map(|it| it.as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_healed_vnfc_keeps_its_ids_while_its_pods_change() {
    let fixture = ViewFixture::new(Gybe::start()).await;
    let [id, info_id, first] = amf(&fixture.instance().await);
    assert_eq!((&id, &info_id), (&first, &format!("AMF-{first}")));
    let mut pods = vec![first];
    // By either id, with all others, and by the same id again.
    for request in [json!({ "vnfcInstanceId": [info_id] }), json!({ "vnfcInstanceId": [id] }), json!({})] {
        fixture.gybe.complete(&fixture.path, "heal", &request).await;
        let [id_now, info_id_now, pod] = amf(&fixture.instance().await);
        assert_eq!((&id_now, &info_id_now), (&id, &info_id));
        assert!(!pods.contains(&pod), "{pod} replaces {pods:?}");
        pods.push(pod);
    }
    // The view keeps the ids when something else changes, and after a restart.
    let mut fixture = fixture;
    fixture.gybe.kill();
    fixture.gybe.restart();
    fixture.set_replicas("Deployment", "deployments", "smf", 2).await;
    let instance = fixture.becomes(|it| self::pods(it, "SMF").len() == 2).await;
    assert_eq!(amf(&instance), [id.clone(), info_id.clone(), pods.pop().unwrap()]);
    for filter in [
        format!("vnfcResourceInfo/id,{id}"),
        format!("vnfcInfo/id,{info_id}"),
        format!("vnfcInfo/vnfcResourceInfoId,{id}"),
    ] {
        let list = format!("/vnflcm/v2/vnf_instances?filter=(eq,instantiatedVnfInfo/{filter})");
        let found = fixture.gybe.get(&list).await.expect(StatusCode::OK);
        assert_eq!(found.as_array().unwrap().len(), 1, "{filter}");
    }
    let healed =
        format!("/vnflcm/v2/vnf_lcm_op_occs?filter=(eq,operation,HEAL);(eq,resourceChanges/affectedVnfcs/id,{id})");
    assert_eq!(fixture.gybe.get(&healed).await.expect(StatusCode::OK).as_array().unwrap().len(), 3);
    // A pod that nobody healed is a new VNFC.
    let [_, _, pod] = amf(&instance);
    fixture.delete_pod(&pod).await;
    let after = fixture.becomes(|it| self::pods(it, "AMF").len() == 1 && self::pods(it, "AMF")[0] != pod).await;
    let [id_now, _, pod] = amf(&after);
    assert_eq!(id_now, pod);
    let gone = fixture.gybe.post(&format!("{}/heal", fixture.path), &json!({ "vnfcInstanceId": [id] })).await;
    assert!(gone.problem(422).contains(&id));
}

#[tokio::test]
async fn edited_replicas_update_vnfcs_and_an_exactly_matching_level() {
    let fixture = ViewFixture::new(Gybe::start()).await;
    fixture.set_replicas("Deployment", "deployments", "smf", 3).await;
    fixture.becomes(|it| (level(it, "smf"), pods(it, "SMF").len()) == (1, 3)).await;
    fixture.set_replicas("Deployment", "deployments", "smf", 2).await;
    fixture.becomes(|it| (level(it, "smf"), pods(it, "SMF").len()) == (1, 2)).await;

    // Both VDUs of the aspect must be at the level.
    fixture.set_replicas("Deployment", "deployments", "udr", 3).await;
    fixture.becomes(|it| (level(it, "subscriber_data"), pods(it, "UDR").len()) == (0, 3)).await;
    fixture.set_replicas("StatefulSet", "statefulsets", "udr-db", 2).await;
    let storages = |it: &Value| it["instantiatedVnfInfo"]["virtualStorageResourceInfo"].as_array().map_or(0, Vec::len);
    fixture.becomes(|it| (level(it, "subscriber_data"), pods(it, "UDR_DB").len(), storages(it)) == (1, 2, 2)).await;

    // The next scaling starts from the reported level.
    fixture.gybe.complete(&fixture.path, "scale", &json!({ "type": "SCALE_OUT", "aspectId": "subscriber_data" })).await;
    let instance = fixture.instance().await;
    assert_eq!((level(&instance, "subscriber_data"), pods(&instance, "UDR").len()), (2, 5));
    // A heal restores the intent of the last operation, and its level.
    fixture.gybe.complete(&fixture.path, "heal", &json!({})).await;
    fixture.becomes(|it| (level(it, "smf"), pods(it, "SMF").len()) == (0, 1)).await;
}

#[tokio::test]
async fn deleting_a_workload_removes_its_vnfcs() {
    let fixture = ViewFixture::new(Gybe::start()).await;
    let deployments = fixture.api("apps/v1", "Deployment", "deployments");
    deployments.delete("amf", &DeleteParams::background()).await.unwrap();
    let instance = fixture.becomes(|it| pods(it, "AMF").is_empty()).await;
    assert_eq!((level(&instance, "amf"), pods(&instance, "NRF").len()), (0, 2));
    fixture.gybe.complete(&fixture.path, "heal", &json!({})).await;
    assert_eq!(pods(&fixture.instance().await, "AMF").len(), 1);
}

#[tokio::test]
async fn interrupted_watches_resume() {
    let cluster = Cluster::running().await;
    let proxy = Proxy::before(&cluster.admin.endpoint).await;
    let access = VimAccess { endpoint: proxy.endpoint(), ..cluster.admin.clone() };
    let fixture = ViewFixture::with(Gybe::start(), cluster, &access).await;
    for _ in 0..3 {
        let pod = pods(&fixture.instance().await, "AMF").remove(0);
        proxy.cut();
        fixture.delete_pod(&pod).await;
        fixture.becomes(|it| pods(it, "AMF").len() == 1 && pods(it, "AMF")[0] != pod).await;
    }
}

#[tokio::test]
async fn changes_during_downtime_are_found_at_the_next_start() {
    let mut fixture = ViewFixture::new(Gybe::start()).await;
    let pod = pods(&fixture.instance().await, "AMF").remove(0);
    fixture.gybe.kill();
    fixture.delete_pod(&pod).await;
    fixture.set_replicas("Deployment", "deployments", "smf", 3).await;
    fixture.gybe.restart();
    fixture.becomes(|it| pods(it, "AMF").len() == 1 && pods(it, "AMF")[0] != pod && level(it, "smf") == 1).await;
}

#[tokio::test]
async fn another_process_watches_after_a_kill() {
    let database = Database::create().await;
    let recorder = Gybe::start_on(&database.url);
    let mut fixture = ViewFixture::new(Gybe::start_on(&database.url)).await;
    // When this is true again, the recorder has seen the instance.
    let pod = pods(&fixture.instance().await, "AMF").remove(0);
    fixture.delete_pod(&pod).await;
    fixture.becomes(|it| pods(it, "AMF").len() == 1 && pods(it, "AMF")[0] != pod).await;
    fixture.gybe.kill();
    fixture.gybe = recorder;
    let pod = pods(&fixture.instance().await, "AMF").remove(0);
    fixture.delete_pod(&pod).await;
    fixture.becomes(|it| pods(it, "AMF").len() == 1 && pods(it, "AMF")[0] != pod).await;
}

#[tokio::test]
async fn the_view_does_not_write_during_an_operation() {
    let fixture = ViewFixture::new(Gybe::start_with(&["--ready-grace", "10"])).await;
    let all = fixture.instance().await["instantiatedVnfInfo"]["vnfcResourceInfo"].as_array().unwrap().len();
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "full" },
        "spec": { "hard": { "pods": all.to_string() } },
    });
    fixture.cluster.create("resourcequotas", Some(&fixture.namespace.name), quota).await;
    let op = fixture.gybe.begin(&fixture.path, "scale", &json!({ "type": "SCALE_OUT", "aspectId": "smf" })).await;
    assert_eq!(fixture.gybe.wait_ended(&op).await["operationState"], "FAILED_TEMP");
    let before = fixture.gybe.get(&fixture.path).await;
    let nrf = pods(&before.expect(StatusCode::OK), "NRF");
    fixture.set_replicas("Deployment", "deployments", "nrf", 0).await;
    for pod in nrf {
        while fixture.api("v1", "Pod", "pods").get_opt(&pod).await.unwrap().is_some() {
            tokio::task::yield_now().await;
        }
    }
    let after = fixture.gybe.get(&fixture.path).await;
    assert_eq!((&after.headers["etag"], &after.text), (&before.headers["etag"], &before.text));
    fixture.gybe.post(&format!("{op}/fail"), &json!({})).await.expect(StatusCode::OK);
    fixture.becomes(|it| pods(it, "NRF").is_empty()).await;
}

#[tokio::test]
async fn a_kind_without_watch_permission_is_reported_once_and_the_rest_is_watched() {
    let fixture = ViewFixture::new(Gybe::start()).await;
    let rules = json!([
        { "apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"] },
        { "apiGroups": ["apps"], "resources": ["replicasets"], "verbs": ["list", "watch"] },
    ]);
    let reader = fixture.cluster.account(&fixture.namespace.name, "reader", rules).await;
    let change = json!({ "vim": { "auth_cred": vim(&reader, "cluster", true)["vim"]["auth_cred"] } });
    fixture.gybe.put(&format!("/v1.0/vims/{}", fixture.vim), &change).await.expect(StatusCode::OK);
    fixture.set_replicas("Deployment", "deployments", "smf", 3).await;
    let instance = fixture.becomes(|it| pods(it, "SMF").len() == 3).await;
    fixture.gybe.wait_until(&fixture.path, |_| fixture.gybe.log().contains("the Deployments can't be watched")).await;
    assert!(fixture.gybe.log().contains("cannot list resource"));
    assert_eq!(fixture.gybe.log().matches("the Deployments can't be watched").count(), 1);
    let storages = |it: &Value| it["instantiatedVnfInfo"]["virtualStorageResourceInfo"].as_array().unwrap().len();
    assert_eq!(storages(&instance), 1, "storage that cannot be observed stays unchanged");
}

/// A fake observer: a test sends its events.
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

    async fn has_any(&self, _: &Scope, _: &[Resource]) -> Result<bool, InfraError> {
        Ok(true)
    }

    async fn namespace(&self, _: &VimAccess, _: &Namespace) -> Result<Option<ObservedNamespace>, InfraError> {
        Ok(None)
    }

    fn watch(
        &self,
        _: &VimAccess,
        _: &ProjectId,
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
    /// Waits for the watch of the pods of a namespace.
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

/// Adds an INSTANTIATED instance in each of `namespaces`.
async fn instances_in(f: &StoreFixture, namespaces: &[&str]) -> Vec<VnfInstance> {
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

/// SQLite has four read connections, which suffice only if each read ends before the next one starts.
#[tokio::test(flavor = "multi_thread")]
async fn many_instances_are_refreshed_while_locations_are_reread() {
    let f = StoreFixture::sqlite().await;
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
            // A change of a VIM makes the view reread its instances.
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
async fn instances_of_a_namespace_share_watches_until_the_last_one_ends() {
    let f = StoreFixture::sqlite().await;
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
    // Their pods no longer exist.
    a.send(WatchEvent::All(Vec::new())).unwrap();
    b.send(WatchEvent::All(Vec::new())).unwrap();
    for instance in &mut instances {
        refreshed(instance).await;
        *instance = f.store.instance(&instance.project_id, instance.id).await.unwrap();
        assert_eq!(instance.instantiated.as_ref().unwrap().vnfcs, []);
    }
    assert_eq!(model.watches.lock().unwrap().len(), 2, "one watch per namespace and kind");

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

/// Serves one element of `answers` per connection: the request must contain its text, and its body is the response. Later
/// connections are accepted and get no response.
async fn api_server(answers: Vec<(&'static str, String)>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut silent = Vec::new();
        let mut answers = answers.into_iter();
        while let Ok((mut connection, _)) = listener.accept().await {
            let Some((wanted, body)) = answers.next() else {
                silent.push(connection);
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
async fn long_lists_are_paged_and_an_expired_continuation_is_relisted() {
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
    let watched = [json!({ "type": "MODIFIED", "object": going }), json!({ "type": "ERROR", "object": gone })];
    let endpoint = api_server(vec![
        ("limit=500", list(json!({ "resourceVersion": "7", "continue": "more" }), json!([a]))),
        ("continue=more", list(json!({ "resourceVersion": "7" }), json!([b]))),
        ("resourceVersion=7", watched.map(|event| format!("{event}\n")).concat()),
        ("limit=500", list(json!({ "resourceVersion": "9" }), json!([b]))),
    ])
    .await;
    let credential = VimCredential::BearerToken(Secret::new("token"));
    let access = VimAccess { endpoint, ca: None, insecure: false, credential, impersonate: None };
    let namespace = Namespace::try_from("a".to_owned()).unwrap();
    let events = KubernetesDriver::new().watch(&access, &ProjectId::default(), &namespace, ObservedKind::Pod).unwrap();
    let described: Vec<String> = events
        .map(|event| match event {
            WatchEvent::All(seen) => format!("all {:?}", seen.iter().map(|it| it.name.as_str()).collect::<Vec<_>>()),
            WatchEvent::Changed(seen) => format!("{} {}", seen.name, if seen.active { "lives" } else { "goes" }),
            other => format!("{other:?}"),
        })
        .take(3)
        .collect()
        .await;
    assert_eq!(described, [r#"all ["a", "b"]"#, "a goes", r#"all ["b"]"#]);
}
