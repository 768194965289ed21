//! The namespaces of a CNF's objects and the isolation of tenants, on the real control plane.

use kube::api::ListParams;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::cluster::{Cluster, TestNamespace};
use crate::support::fault_proxy::{FaultProxy, ProxyFault};
use crate::support::gybe::{Gybe, instantiate_request};

/// The permissions of a tenant: everything in its namespace, as the ClusterRole `admin` grants, bound there by a Role.
fn tenant_rules() -> Value {
    json!([{ "apiGroups": ["*"], "resources": ["*"], "verbs": ["*"] }])
}

fn into(namespace: &TestNamespace) -> Value {
    instantiate_request(namespace.name.as_str())
}

async fn names(
    cluster: &Cluster,
    namespace: &TestNamespace,
    api_version: &str,
    kind: &str,
    plural: &str,
) -> Vec<String> {
    let api = cluster.api(api_version, kind, plural, Some(&namespace.name));
    let found = api.list(&ListParams::default()).await.unwrap();
    found.items.into_iter().map(|object| object.metadata.name.unwrap()).collect()
}

#[tokio::test]
async fn a_role_in_one_namespace_suffices_for_the_whole_life_cycle() {
    let cluster = Cluster::running().await;
    let namespace = cluster.namespace().await;
    let tenant = cluster.account(&namespace.name, "tenant", tenant_rules()).await;
    let gybe = Gybe::start();
    gybe.register_vim(&tenant, "tenant", true).await;
    let vnfd = gybe.onboard("core5g").await;
    let path = gybe.create("v2", &vnfd).await;
    gybe.complete(&path, "instantiate", &into(&namespace)).await;
    gybe.complete(&path, "scale", &json!({ "type": "SCALE_OUT", "aspectId": "amf" })).await;
    gybe.complete(&path, "scale", &json!({ "type": "SCALE_IN", "aspectId": "amf" })).await;
    let instance = gybe.get(&path).await.expect(StatusCode::OK);
    let vnfc = &instance["instantiatedVnfInfo"]["vnfcInfo"][0]["id"];
    gybe.complete(&path, "heal", &json!({ "vnfcInstanceId": [vnfc] })).await;
    gybe.complete(&path, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
    assert_eq!(names(&cluster, &namespace, "v1", "Pod", "pods").await, Vec::<String>::new());
    gybe.delete(&path).await.expect(StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn a_forbidden_namespace_fails_with_the_kubernetes_message_and_can_be_retried() {
    let cluster = Cluster::running().await;
    let (own, other) = (cluster.namespace().await, cluster.namespace().await);
    let tenant = cluster.account(&own.name, "tenant", tenant_rules()).await;
    let gybe = Gybe::start();
    gybe.register_vim(&tenant, "tenant", true).await;
    let vnfd = gybe.onboard("core5g").await;
    let path = gybe.create("v2", &vnfd).await;
    let op = gybe.begin(&path, "instantiate", &into(&other)).await;
    let failed = gybe.wait_ended(&op).await;
    assert_eq!(failed["operationState"], "FAILED_TEMP");
    assert_eq!(failed["error"]["status"], 403);
    let detail = failed["error"]["detail"].as_str().unwrap();
    let user = format!("system:serviceaccount:{}:tenant", own.name);
    assert!(detail.contains(&user) && detail.contains(other.name.as_str()) && detail.contains("cannot"), "{detail}");

    cluster.grant(&other.name, &own.name, "tenant", tenant_rules()).await;
    gybe.post(&format!("{op}/retry"), &json!({})).await.expect(StatusCode::ACCEPTED);
    let retried = gybe.wait_ended(&op).await;
    assert_eq!(retried["operationState"], "COMPLETED", "{retried:#}");
    assert_eq!(retried.get("error"), None);
    assert!(names(&cluster, &own, "apps/v1", "Deployment", "deployments").await.is_empty());
    assert!(!names(&cluster, &other, "apps/v1", "Deployment", "deployments").await.is_empty());
    gybe.complete(&path, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
}

#[tokio::test]
async fn rollback_of_a_forbidden_instantiation_leaves_nothing() {
    let cluster = Cluster::running().await;
    let (own, other) = (cluster.namespace().await, cluster.namespace().await);
    let tenant = cluster.account(&own.name, "tenant", tenant_rules()).await;
    let gybe = Gybe::start();
    gybe.register_vim(&tenant, "tenant", true).await;
    let vnfd = gybe.onboard("core5g").await;
    let path = gybe.create("v2", &vnfd).await;
    let op = gybe.begin(&path, "instantiate", &into(&other)).await;
    assert_eq!(gybe.wait_ended(&op).await["operationState"], "FAILED_TEMP");
    gybe.delete(&path).await.problem(409);
    gybe.post(&format!("{path}/instantiate"), &into(&own)).await.problem(409);

    gybe.post(&format!("{op}/rollback"), &json!({})).await.expect(StatusCode::ACCEPTED);
    let rolled_back = gybe.wait_ended(&op).await;
    assert_eq!(rolled_back["operationState"], "ROLLED_BACK", "{rolled_back:#}");
    assert_eq!(rolled_back["error"]["status"], 403, "the reason for the rollback stays");
    let instance = gybe.get(&path).await.expect(StatusCode::OK);
    assert_eq!(instance["metadata"].get("namespace"), None);
    for (api_version, kind, plural) in
        [("v1", "Service", "services"), ("v1", "Secret", "secrets"), ("apps/v1", "Deployment", "deployments")]
    {
        assert!(names(&cluster, &other, api_version, kind, plural).await.is_empty());
    }
    gybe.delete(&path).await.expect(StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn one_package_runs_in_two_namespaces() {
    let cluster = Cluster::running().await;
    let (a, b) = (cluster.namespace().await, cluster.namespace().await);
    let gybe = Gybe::start();
    gybe.register_vim(&cluster.admin, "cluster", true).await;
    let vnfd = gybe.onboard("small").await;
    let (first, second) = (gybe.create("v2", &vnfd).await, gybe.create("v1", &vnfd).await);
    let (one, two) = (into(&a), into(&b));
    tokio::join!(gybe.complete(&first, "instantiate", &one), gybe.complete(&second, "instantiate", &two));
    gybe.complete(&first, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
    assert!(names(&cluster, &a, "apps/v1", "Deployment", "deployments").await.is_empty());
    assert_eq!(names(&cluster, &b, "apps/v1", "Deployment", "deployments").await, ["app"]);
}

#[tokio::test]
async fn a_second_instance_in_the_namespace_is_a_conflict_that_names_the_owner() {
    let cluster = Cluster::running().await;
    let namespace = cluster.namespace().await;
    let gybe = Gybe::start();
    gybe.register_vim(&cluster.admin, "cluster", true).await;
    let vnfd = gybe.onboard("small").await;
    let (first, second) = (gybe.create("v2", &vnfd).await, gybe.create("v2", &vnfd).await);
    gybe.complete(&first, "instantiate", &into(&namespace)).await;
    let deployments = cluster.api("apps/v1", "Deployment", "deployments", Some(&namespace.name));
    let before = deployments.get("app").await.unwrap();

    let op = gybe.begin(&second, "instantiate", &into(&namespace)).await;
    let failed = gybe.wait_ended(&op).await;
    assert_eq!(failed["operationState"], "FAILED_TEMP");
    assert_eq!(failed["error"]["status"], 409);
    let detail = failed["error"]["detail"].as_str().unwrap();
    let owner = first.rsplit('/').next().unwrap();
    assert!(detail.contains(owner) && detail.contains("app"), "{detail}");
    gybe.post(&format!("{op}/rollback"), &json!({})).await.expect(StatusCode::ACCEPTED);
    assert_eq!(gybe.wait_ended(&op).await["operationState"], "ROLLED_BACK");
    let after = deployments.get("app").await.unwrap();
    assert_eq!((before.metadata.uid, before.metadata.generation), (after.metadata.uid, after.metadata.generation));
    assert_eq!(before.metadata.labels, after.metadata.labels);
}

#[tokio::test]
async fn uses_the_namespace_of_the_manifests_if_the_request_names_none() {
    let cluster = Cluster::running().await;
    let gybe = Gybe::start();
    gybe.register_vim(&cluster.admin, "cluster", true).await;
    // The package contains the Namespace object `branch-office` and puts everything into it.
    let vnfd = gybe.onboard("with-namespace-object").await;
    let path = gybe.create("v2", &vnfd).await;
    gybe.complete(&path, "instantiate", &json!({ "flavourId": "simple" })).await;
    let instance = gybe.get(&path).await.expect(StatusCode::OK);
    assert_eq!(instance["metadata"]["namespace"], "branch-office");
    let namespaces = cluster.api("v1", "Namespace", "namespaces", None);
    namespaces.get("branch-office").await.expect("the namespace was created");
    gybe.complete(&path, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
    assert!(namespaces.get_opt("branch-office").await.unwrap().is_none(), "Gybe created it, and it holds nothing else");
}

#[tokio::test]
async fn the_parameter_moves_all_objects_and_their_subjects() {
    let cluster = Cluster::running().await;
    let namespace = cluster.namespace().await;
    let gybe = Gybe::start();
    gybe.register_vim(&cluster.admin, "cluster", true).await;
    let vnfd = gybe.onboard("own-namespace").await;
    let path = gybe.create("v2", &vnfd).await;
    gybe.complete(&path, "instantiate", &into(&namespace)).await;
    let group = "rbac.authorization.k8s.io/v1";
    let bindings = cluster.api(group, "RoleBinding", "rolebindings", Some(&namespace.name));
    let binding = bindings.list(&ListParams::default()).await.unwrap().items.remove(0);
    let subjects: Vec<&str> = binding.data["subjects"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|subject| subject["namespace"].as_str())
        .collect();
    assert_eq!(subjects, [namespace.name.as_str(), "monitoring"]);
    assert_eq!(names(&cluster, &namespace, group, "Role", "roles").await.len(), 1);
}

#[tokio::test]
async fn a_namespace_is_created_on_request_and_kept_while_others_use_it() {
    let cluster = Cluster::running().await;
    let gybe = Gybe::start();
    gybe.register_vim(&cluster.admin, "cluster", true).await;
    let vnfd = gybe.onboard("small").await;
    let path = gybe.create("v2", &vnfd).await;
    let name = format!("made-{}", &path[path.len() - 8..]);
    let request = json!({ "flavourId": "simple", "additionalParams": { "namespace": name, "createNamespace": true } });
    gybe.complete(&path, "instantiate", &request).await;
    let target = gybe::domain::namespace::Namespace::try_from(name.clone()).unwrap();
    let guest = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "guest", "namespace": name } });
    cluster.create("configmaps", Some(&target), guest).await;
    gybe.complete(&path, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
    let configmaps = cluster.api("v1", "ConfigMap", "configmaps", Some(&target));
    configmaps.get("guest").await.expect("somebody else's object is still there");
    let namespaces = cluster.api("v1", "Namespace", "namespaces", None);
    namespaces.delete(&name, &kube::api::DeleteParams::default()).await.unwrap();
}

/// An API of somebody else is down: a VNF that has no object of it goes through its life, in a namespace that Gybe creates.
#[tokio::test]
async fn a_life_needs_no_api_of_others() {
    let cluster = Cluster::running().await;
    let home = cluster.namespace().await;
    let account = cluster.administrator(&home.name, "gybe").await;
    let proxy = FaultProxy::of(&account).await;
    proxy.set(ProxyFault::SilentApi("/apis/autoscaling/"));
    let gybe = Gybe::start();
    gybe.register_vim(&proxy.access(&account), "cluster", true).await;
    let vnfd = gybe.onboard("small").await;
    let path = gybe.create("v2", &vnfd).await;
    let name = format!("made-{}", &path[path.len() - 8..]);
    let request = json!({ "flavourId": "simple", "additionalParams": { "namespace": name, "createNamespace": true } });
    gybe.complete(&path, "instantiate", &request).await;
    gybe.complete(&path, "heal", &json!({ "cause": "test" })).await;
    gybe.complete(&path, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
    // It might hold objects of that API.
    let namespaces = cluster.api("v1", "Namespace", "namespaces", None);
    namespaces.delete(&name, &kube::api::DeleteParams::default()).await.unwrap();
}
