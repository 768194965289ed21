//! Namespaces for a measurement, created before it and gone before the next one.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use gybe::clock::{Ids as _, System};
use gybe::domain::namespace::Namespace;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace as Object, ServiceAccount};
use kube::api::{Api, DeleteParams, ListParams, PostParams, WatchEvent, WatchParams};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use serde_json::json;

/// The label of these namespaces.
const LABEL: &str = "gybe.dev/benchmark";
/// The number of concurrent requests.
const AT_ONCE: usize = 16;
/// The time limit of deletion.
const PATIENCE: Duration = Duration::from_secs(600);

/// A set of namespaces.
pub struct Namespaces {
    client: Client,
    label: String,
    /// The names.
    pub names: Vec<Namespace>,
}

impl Namespaces {
    /// Creates `number` namespaces in which pods can be created.
    pub async fn create(client: &Client, number: usize) -> Self {
        let label = System.uuid().simple().to_string();
        let names =
            futures::stream::iter(0..number).map(|n| create(client, format!("bench-{}-{n}", &label[..8]), &label));
        let names = names.buffer_unordered(AT_ONCE).collect().await;
        Self { client: client.clone(), label, names }
    }

    /// Deletes them and waits until they are gone.
    pub async fn remove(self) {
        let api: Api<Object> = Api::all(self.client);
        let delete = async |name: &Namespace| drop(api.delete(name.as_str(), &DeleteParams::default()).await.unwrap());
        futures::stream::iter(&self.names).map(delete).buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
        let begun = Instant::now();
        let ours = ListParams::default().labels(&format!("{LABEL}={}", self.label));
        while !api.list_metadata(&ours).await.unwrap().items.is_empty() {
            assert!(begun.elapsed() < PATIENCE, "the namespaces are not gone");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

async fn create(client: &Client, name: String, label: &str) -> Namespace {
    let object = json!({ "metadata": { "name": name, "labels": { LABEL: label } } });
    let api: Api<Object> = Api::all(client.clone());
    api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
    // Wait for what controllers add to a new namespace: pods are admitted only after their ServiceAccount exists, and
    // remaining work would distort the first measurement.
    until_there::<ServiceAccount>(client, &name, "default").await;
    until_there::<ConfigMap>(client, &name, "kube-root-ca.crt").await;
    Namespace::try_from(name).unwrap()
}

async fn until_there<K>(client: &Client, namespace: &str, name: &str)
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let watch = WatchParams::default().fields(&format!("metadata.name={name}"));
    let mut events = api.watch(&watch, "0").await.unwrap().boxed();
    while !matches!(events.next().await.unwrap().unwrap(), WatchEvent::Added(_)) {}
}
