//! The bare client does the minimum that any program must do to create the same objects and have them ready. It applies
//! class after class, all objects of a class concurrently (as Gybe does), and watches until all are ready; it deletes
//! the classes in reverse and watches until all are gone. It has no database, no ownership check and no inventory;
//! manifests and kinds are in memory before it starts.

use std::collections::HashSet;
use std::path::Path;
use std::pin::pin;

use futures::TryStreamExt as _;
use futures::future::join_all;
use gybe::domain::namespace::Namespace;
use gybe::domain::order::{Class, class, waves};
use gybe::domain::resource::Resource;
use gybe::infra::kubernetes::KubernetesDriver;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams};
use kube::api::{WatchEvent, WatchParams};
use kube::client::{Body, ClientBuilder, ConfigExt as _};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config, ResourceExt as _};
use serde_json::Value;

use crate::support::cluster::{Cluster, render, scope};

/// The kinds that become ready some time after creation.
const AWAITED: [&str; 5] = ["Deployment", "StatefulSet", "DaemonSet", "Job", "PersistentVolumeClaim"];

/// The objects of a package for one namespace.
pub struct Bare {
    client: Client,
    namespace: Namespace,
    /// In the order of creation.
    waves: Vec<Vec<Resource>>,
}

impl Bare {
    /// The sample's objects for `namespace`. Nothing is created yet.
    pub async fn new(client: &Client, cluster: &Cluster, sample: &str, namespace: &Namespace) -> Self {
        let scope = scope(&cluster.admin, namespace);
        let resources = render(&KubernetesDriver::new(), &scope, &[], &manifests(sample)).await;
        let waves = waves(resources.iter().map(|resource| resource.key.clone())).into_iter().map(|(_, keys)| {
            let of_wave = resources.iter().filter(|resource| keys.contains(&resource.key));
            of_wave.cloned().collect()
        });
        Self { client: client.clone(), namespace: namespace.clone(), waves: waves.collect() }
    }

    /// Creates all objects and waits until they are ready.
    pub async fn apply(&self) {
        let params = PatchParams::apply("bare");
        for wave in &self.waves {
            let apply = async |resource: &Resource| {
                let api = self.api(&resource.key.api_version, &resource.key.kind, &resource.info.plural);
                api.patch(&resource.key.name, &params, &Patch::Apply(&resource.manifest)).await.unwrap();
            };
            join_all(wave.iter().map(apply)).await;
        }
        join_all(AWAITED.map(|kind| self.wait_ready(kind))).await;
    }

    /// Watches the objects of a kind until all are ready.
    async fn wait_ready(&self, kind: &str) {
        let resources: Vec<&Resource> = self.waves.iter().flatten().filter(|it| it.key.kind == kind).collect();
        let Some(first) = resources.first() else { return };
        let mut left: HashSet<&str> = resources.iter().map(|resource| resource.key.name.as_str()).collect();
        let api = self.api(&first.key.api_version, kind, &first.info.plural);
        // From version 0, the watch starts with all existing objects.
        let mut events = pin!(api.watch(&WatchParams::default(), "0").await.unwrap());
        while !left.is_empty() {
            if let WatchEvent::Added(object) | WatchEvent::Modified(object) = events.try_next().await.unwrap().unwrap()
                && is_ready(kind, &object)
            {
                left.remove(object.name_any().as_str());
            }
        }
    }

    /// Deletes all objects and waits until they are gone, with their pods and volume claims.
    pub async fn remove(&self) {
        for wave in self.waves.iter().rev() {
            join_all(wave.iter().map(|resource| self.delete(resource))).await;
        }
    }

    async fn delete(&self, resource: &Resource) {
        let params = match class(&resource.key) {
            Class::Workload => DeleteParams::foreground(),
            _ => DeleteParams::background(),
        };
        let api = self.api(&resource.key.api_version, &resource.key.kind, &resource.info.plural);
        until_deleted(&api, &resource.key.name, &params).await;
        let claims = self.api("v1", "PersistentVolumeClaim", "persistentvolumeclaims");
        for name in claims_of(resource) {
            until_deleted(&claims, &name, &DeleteParams::background()).await;
        }
    }

    fn api(&self, api_version: &str, kind: &str, plural: &str) -> Api<DynamicObject> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let kind = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural);
        Api::namespaced_with(self.client.clone(), self.namespace.as_str(), &kind)
    }
}

async fn until_deleted(api: &Api<DynamicObject>, name: &str, params: &DeleteParams) {
    // Only objects with finalizers are deleted later; for some other kinds, the response contains the deleted object.
    let Some(object) = api.delete(name, params).await.unwrap().left() else { return };
    if object.finalizers().is_empty() {
        return;
    }
    let watch = WatchParams::default().fields(&format!("metadata.name={name}"));
    let mut events = pin!(api.watch(&watch, &object.resource_version().unwrap()).await.unwrap());
    while !matches!(events.try_next().await.unwrap().unwrap(), WatchEvent::Deleted(_)) {}
}

/// The names of the volume claims from a StatefulSet's templates.
fn claims_of(resource: &Resource) -> Vec<String> {
    let templates = resource.manifest.get("spec").and_then(|spec| spec.get("volumeClaimTemplates")?.as_array());
    let names = templates.into_iter().flatten().map(|template| template["metadata"]["name"].as_str().unwrap());
    let replicas = resource.replicas().unwrap_or(1);
    names.flat_map(|name| (0..replicas).map(move |n| format!("{name}-{}-{n}", resource.key.name))).collect()
}

fn is_ready(kind: &str, object: &DynamicObject) -> bool {
    let number = |path: &str| object.data.pointer(path).and_then(Value::as_i64).unwrap_or(0);
    let seen = || number("/status/observedGeneration") >= object.metadata.generation.unwrap_or(0);
    match kind {
        "Deployment" => {
            let wanted = number("/spec/replicas");
            seen() && number("/status/updatedReplicas") == wanted && number("/status/availableReplicas") == wanted
        }
        "StatefulSet" => seen() && number("/status/availableReplicas") == number("/spec/replicas"),
        "DaemonSet" => seen() && number("/status/numberAvailable") == number("/status/desiredNumberScheduled"),
        "Job" => {
            let conditions = object.data.pointer("/status/conditions").and_then(Value::as_array);
            conditions.into_iter().flatten().any(|it| it["type"] == "Complete" && it["status"] == "True")
        }
        _ => object.data.pointer("/status/phase").and_then(Value::as_str) == Some("Bound"),
    }
}

/// All manifests of a sample, as one text.
fn manifests(sample: &str) -> String {
    let mut files: Vec<_> = std::fs::read_dir(folder(sample)).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    let texts: Vec<String> = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    texts.join("\n---\n")
}

/// The folder of a sample's manifests.
pub fn folder(sample: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("samples").join(sample).join("Files/kubernetes")
}

/// A client of the cluster that is as fast as Gybe's: a PATCH does not wait for a delayed ACK.
pub async fn client() -> Client {
    let path = Path::new(&std::env::var("GYBE_TEST_CLUSTER").unwrap()).join("admin.kubeconfig");
    let kubeconfig = Kubeconfig::read_from(path).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    let tls = config.rustls_https_connector_with_connector(tcp).unwrap();
    let http = HttpClient::builder(TokioExecutor::new()).build::<_, Body>(tls);
    let client = ClientBuilder::new(http, config.default_namespace.as_str());
    client.with_layer(&config.base_uri_layer()).build()
}
