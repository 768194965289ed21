//! The real Kubernetes control plane of the test run: access as administrator and as a ServiceAccount with few
//! permissions, and a namespace per test.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures::{StreamExt as _, TryStreamExt as _};
use gybe::clock::{Ids as _, System};
use gybe::domain::ids::{ProjectId, VnfInstanceId};
use gybe::domain::namespace::Namespace;
use gybe::domain::package::DefinitionFile;
use gybe::domain::render::{RenderInput, kinds, resources};
use gybe::domain::resource::{INSTANCE_LABEL, Resource};
use gybe::domain::secret::Secret;
use gybe::domain::vim::{VimAccess, VimCredential};
use gybe::domain::vnfd::{Flavour, Vdu};
use gybe::infra::{Driver, Scope};
use gybe::package::manifest;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, PostParams, WatchEvent, WatchParams,
};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};

/// See [`Cluster::marked`].
const KINDS: [(&str, &str, &str); 17] = [
    ("v1", "Pod", "pods"),
    ("v1", "Service", "services"),
    ("v1", "ConfigMap", "configmaps"),
    ("v1", "Secret", "secrets"),
    ("v1", "ServiceAccount", "serviceaccounts"),
    ("v1", "PersistentVolumeClaim", "persistentvolumeclaims"),
    ("apps/v1", "Deployment", "deployments"),
    ("apps/v1", "ReplicaSet", "replicasets"),
    ("apps/v1", "StatefulSet", "statefulsets"),
    ("apps/v1", "DaemonSet", "daemonsets"),
    ("batch/v1", "Job", "jobs"),
    ("batch/v1", "CronJob", "cronjobs"),
    ("rbac.authorization.k8s.io/v1", "Role", "roles"),
    ("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings"),
    ("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies"),
    ("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets"),
    ("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers"),
];

/// The control plane.
pub struct Cluster {
    /// The administrator's access.
    pub admin: VimAccess,
    /// The administrator's client, for changes that the driver does not know of.
    pub client: Client,
    kubeconfig: Kubeconfig,
}

impl Cluster {
    /// The control plane in the directory `GYBE_TEST_CLUSTER`.
    pub async fn running() -> Self {
        Self::at("GYBE_TEST_CLUSTER", "tests/cluster/up DIR").await
    }

    /// The cluster with a real node in the directory `GYBE_TEST_NODE`.
    pub async fn with_node() -> Self {
        Self::at("GYBE_TEST_NODE", "tests/cluster/up --node DIR").await
    }

    async fn at(variable: &str, command: &str) -> Self {
        let directory = std::env::var(variable).unwrap_or_else(|_| {
            panic!(
                "{variable} must name the directory of a running cluster: use scripts/test, or start one with {command}"
            )
        });
        let path = Path::new(&directory).join("admin.kubeconfig");
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let kubeconfig = Kubeconfig::from_yaml(&text).unwrap();
        let client = client(&kubeconfig).await;
        Self { admin: access(&serde_json::to_value(&kubeconfig).unwrap()), client, kubeconfig }
    }

    /// A new namespace. It is deleted at the end of the test.
    pub async fn namespace(&self) -> TestNamespace {
        let id = System.uuid().simple().to_string();
        let name = Namespace::try_from(format!("test-{}", &id[..12])).unwrap();
        let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name.as_str() } });
        self.create("namespaces", None, namespace).await;
        // Pods are admitted only after their ServiceAccount exists.
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), name.as_str());
        let watch = WatchParams::default().fields("metadata.name=default");
        let mut events = accounts.watch(&watch, "0").await.unwrap().boxed();
        while !matches!(events.try_next().await.unwrap().unwrap(), WatchEvent::Added(_)) {}
        TestNamespace { name, kubeconfig: self.kubeconfig.clone() }
    }

    /// The access of a new ServiceAccount in `namespace`, with a Role of these rules there.
    pub async fn account(&self, namespace: &Namespace, name: &str, rules: Value) -> VimAccess {
        let metadata = json!({ "name": name });
        let account = json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata });
        let group = "rbac.authorization.k8s.io";
        let role = json!({ "apiVersion": format!("{group}/v1"), "kind": "Role", "metadata": metadata, "rules": rules });
        let binding = json!({
            "apiVersion": format!("{group}/v1"), "kind": "RoleBinding", "metadata": metadata,
            "roleRef": { "apiGroup": group, "kind": "Role", "name": name },
            "subjects": [{ "kind": "ServiceAccount", "name": name, "namespace": namespace.as_str() }],
        });
        self.create("serviceaccounts", Some(namespace), account).await;
        self.create("roles", Some(namespace), role).await;
        self.create("rolebindings", Some(namespace), binding).await;
        self.wait_for_rights(Some(namespace), (namespace, name), &rules).await;
        self.token(namespace, name).await
    }

    /// Lets the ServiceAccount `name` of `home` do what `rules` say in `namespace`, and waits until the API server knows it.
    pub async fn grant(&self, namespace: &Namespace, home: &Namespace, name: &str, rules: Value) {
        let (group, metadata) = ("rbac.authorization.k8s.io", json!({ "name": format!("{home}-{name}") }));
        let role = json!({ "apiVersion": format!("{group}/v1"), "kind": "Role", "metadata": metadata, "rules": rules });
        let binding = json!({
            "apiVersion": format!("{group}/v1"), "kind": "RoleBinding", "metadata": metadata,
            "roleRef": { "apiGroup": group, "kind": "Role", "name": metadata["name"] },
            "subjects": [{ "kind": "ServiceAccount", "name": name, "namespace": home.as_str() }],
        });
        self.create("roles", Some(namespace), role).await;
        self.create("rolebindings", Some(namespace), binding).await;
        self.wait_for_rights(Some(namespace), (home, name), &rules).await;
    }

    /// Waits until the API server grants an account the first of `rules`. Its authorizer reads Roles and RoleBindings from a cache
    /// that may lag behind, and offers nothing to watch.
    async fn wait_for_rights(&self, namespace: Option<&Namespace>, (home, name): (&Namespace, &str), rules: &Value) {
        let Some(rule) = rules.get(0) else { return };
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "metadata": {},
            "spec": {
                "user": format!("system:serviceaccount:{home}:{name}"),
                "resourceAttributes": {
                    "namespace": namespace.map(Namespace::as_str), "group": rule["apiGroups"][0], "resource": rule["resources"][0],
                    "verb": rule["verbs"][0], "name": rule["resourceNames"][0],
                },
            },
        });
        let review: SubjectAccessReview = serde_json::from_value(review).unwrap();
        let reviews: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let is_granted = async || {
            let answer = reviews.create(&PostParams::default(), &review).await.unwrap();
            answer.status.is_some_and(|status| status.allowed)
        };
        while !is_granted().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The access of a new ServiceAccount in `home` that may do everything in `namespace`, and read which namespaces there are.
    pub async fn account_for(&self, home: &Namespace, name: &str, namespace: &Namespace) -> VimAccess {
        let access = self.account(home, name, json!([])).await;
        let rules = json!([{ "apiGroups": ["*"], "resources": ["*"], "verbs": ["*"] }]);
        self.grant(namespace, home, name, rules).await;
        self.bind_cluster_role("view", home, name).await;
        let namespaces = json!([{ "apiGroups": [""], "resources": ["namespaces"], "verbs": ["list"] }]);
        self.wait_for_rights(None, (home, name), &namespaces).await;
        access
    }

    /// The access of a new ServiceAccount in `home` that may do everything in the cluster.
    pub async fn administrator(&self, home: &Namespace, name: &str) -> VimAccess {
        let access = self.account(home, name, json!([])).await;
        self.bind_cluster_role("cluster-admin", home, name).await;
        let everything = json!([{ "apiGroups": ["*"], "resources": ["*"], "verbs": ["*"] }]);
        self.wait_for_rights(None, (home, name), &everything).await;
        access
    }

    /// Binds a ClusterRole to a ServiceAccount. Kubernetes deletes the binding with the namespace of the account.
    async fn bind_cluster_role(&self, role: &str, home: &Namespace, account: &str) {
        let namespace = self.api("v1", "Namespace", "namespaces", None).get(home.as_str()).await.unwrap();
        let group = "rbac.authorization.k8s.io";
        let owner = json!({
            "apiVersion": "v1", "kind": "Namespace", "name": home.as_str(), "uid": namespace.metadata.uid,
        });
        let binding = json!({
            "apiVersion": format!("{group}/v1"), "kind": "ClusterRoleBinding",
            "metadata": { "name": format!("{home}-{account}"), "ownerReferences": [owner] },
            "roleRef": { "apiGroup": group, "kind": "ClusterRole", "name": role },
            "subjects": [{ "kind": "ServiceAccount", "name": account, "namespace": home.as_str() }],
        });
        self.create("clusterrolebindings", None, binding).await;
    }

    /// The access of a ServiceAccount, with a new token.
    async fn token(&self, namespace: &Namespace, name: &str) -> VimAccess {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), namespace.as_str());
        let request = accounts.create_token_request(name, &PostParams::default(), &TokenRequest::default()).await;
        let token = request.unwrap().status.unwrap().token;
        VimAccess { credential: VimCredential::BearerToken(Secret::new(token)), ..self.admin.clone() }
    }

    /// Creates an object as the administrator, with the field manager of kubectl.
    pub async fn create(&self, plural: &str, namespace: Option<&Namespace>, object: Value) -> DynamicObject {
        let object: DynamicObject = serde_json::from_value(object).unwrap();
        let types = object.types.clone().unwrap();
        let api = self.api(&types.api_version, &types.kind, plural, namespace);
        let params = PostParams { field_manager: Some("kubectl".to_owned()), ..PostParams::default() };
        api.create(&params, &object).await.unwrap()
    }

    /// The objects of a kind, as the administrator.
    pub fn api(
        &self,
        api_version: &str,
        kind: &str,
        plural: &str,
        namespace: Option<&Namespace>,
    ) -> Api<DynamicObject> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let kind = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural);
        match namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace.as_str(), &kind),
            None => Api::all_with(self.client.clone(), &kind),
        }
    }

    /// The objects in the namespace that carry the label of any instance, with their kinds: all kinds of the samples
    /// and of the objects that follow from them.
    pub async fn marked(&self, namespace: &Namespace) -> Vec<(&'static str, DynamicObject)> {
        let mut marked = Vec::new();
        for (api_version, kind, plural) in KINDS {
            let api = self.api(api_version, kind, plural, Some(namespace));
            let list = api.list(&ListParams::default().labels(INSTANCE_LABEL)).await.unwrap();
            marked.extend(list.items.into_iter().map(|object| (kind, object)));
        }
        marked
    }

    /// The API of a resource's kind in its instance's namespace.
    pub fn api_of(&self, resource: &Resource, namespace: &Namespace) -> Api<DynamicObject> {
        let (key, info) = (&resource.key, &resource.info);
        self.api(&key.api_version, &key.kind, &info.plural, info.namespaced.then_some(namespace))
    }
}

/// A namespace of a test. Dropping it starts its deletion without waiting for it.
pub struct TestNamespace {
    pub name: Namespace,
    kubeconfig: Kubeconfig,
}

impl TestNamespace {
    /// One more namespace, which the test makes. It is deleted at the end of the test, too.
    pub fn sibling(&self, suffix: &str) -> Self {
        let name = Namespace::try_from(format!("{}-{suffix}", self.name)).unwrap();
        Self { name, kubeconfig: self.kubeconfig.clone() }
    }
}

impl Drop for TestNamespace {
    fn drop(&mut self) {
        let (name, kubeconfig) = (self.name.clone(), self.kubeconfig.clone());
        // The runtime of the test cannot be awaited in `drop`.
        let deletion = std::thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
                let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Namespace"));
                let api: Api<DynamicObject> = Api::all_with(client(&kubeconfig).await, &kind);
                let _ = api.delete(name.as_str(), &DeleteParams::default()).await;
            });
        });
        let _ = deletion.join();
    }
}

/// The rendered resources of YAML documents, as an instantiation creates them: in the namespace of the scope, labelled,
/// with the kinds that the cluster serves. `vdus` lists the VDUs with their workloads.
pub async fn render(driver: &dyn Driver, scope: &Scope, vdus: &[(&str, &str)], yaml: &str) -> Vec<Resource> {
    let file = DefinitionFile::new("test.yaml", yaml);
    let manifests = manifest::read(&[file]).unwrap();
    let vdu = |(id, name): &(&str, &str)| {
        ((*id).to_owned(), Vdu { name: (*name).to_owned(), kind: None, min: 0, max: 10, initial: None })
    };
    let rendering = RenderInput {
        manifests: &manifests,
        flavour: &Flavour { vdus: vdus.iter().map(vdu).collect(), ..Flavour::default() },
        instances: &BTreeMap::new(),
        namespace: &scope.namespace,
        create_namespace: false,
        instance: scope.instance,
        kinds: &driver.discover(&scope.access, &kinds(&manifests)).await.unwrap(),
    };
    resources(&rendering).unwrap()
}

/// The scope of a new VNF instance.
pub fn scope(access: &VimAccess, namespace: &Namespace) -> Scope {
    Scope {
        access: access.clone(),
        namespace: namespace.clone(),
        instance: VnfInstanceId(System.uuid()),
        project: ProjectId("default".to_owned()),
        writer: None,
    }
}

async fn client(kubeconfig: &Kubeconfig) -> Client {
    let config = Config::from_custom_kubeconfig(kubeconfig.clone(), &KubeConfigOptions::default()).await.unwrap();
    Client::try_from(config).unwrap()
}

/// The access from a kubeconfig with one cluster and one user.
fn access(kubeconfig: &Value) -> VimAccess {
    let text = |pointer: &str| kubeconfig.pointer(pointer).unwrap().as_str().unwrap().to_owned();
    let pem = |pointer: &str| String::from_utf8(BASE64.decode(text(pointer)).unwrap()).unwrap();
    VimAccess {
        endpoint: text("/clusters/0/cluster/server"),
        ca: Some(pem("/clusters/0/cluster/certificate-authority-data")),
        insecure: false,
        credential: VimCredential::ClientCertificate {
            certificate: pem("/users/0/user/client-certificate-data"),
            key: Secret::new(pem("/users/0/user/client-key-data")),
        },
        impersonate: None,
    }
}
