//! Records every object that VNF instances ever had in some namespaces. So an object that was created twice is found
//! even if one of the two is deleted again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use gybe::domain::resource::INSTANCE_LABEL;
use kube::ResourceExt as _;
use kube::api::{Api, DynamicObject, ListParams, WatchEvent, WatchParams};
use tokio_util::task::AbortOnDropHandle;

use super::cluster::Cluster;

/// Instance id, kind and name of an object.
pub type ObjectName = (String, String, String);

/// The uids that each name had, with the creation time in seconds since the epoch.
pub type RecordedObjects = BTreeMap<ObjectName, BTreeMap<String, i64>>;

type Records = Arc<Mutex<RecordedObjects>>;

/// The watches. They end when the value is dropped.
pub struct ObjectRecorder {
    records: Records,
    watches: Vec<AbortOnDropHandle<()>>,
}

/// The most telling kinds of the sample packages.
const KINDS: [(&str, &str, &str); 7] = [
    ("v1", "Pod", "pods"),
    ("v1", "Service", "services"),
    ("v1", "ConfigMap", "configmaps"),
    ("v1", "Secret", "secrets"),
    ("apps/v1", "Deployment", "deployments"),
    ("apps/v1", "StatefulSet", "statefulsets"),
    ("batch/v1", "Job", "jobs"),
];

impl ObjectRecorder {
    /// Records the objects of `namespaces` from now on.
    pub async fn of(cluster: &Cluster, namespaces: &[String]) -> Self {
        let records = Records::default();
        let namespaces: Arc<BTreeSet<String>> = Arc::new(namespaces.iter().cloned().collect());
        let mut watches = Vec::new();
        for (api_version, kind, plural) in KINDS {
            let api = cluster.api(api_version, kind, plural, None);
            let version = api.list(&ListParams::default().limit(1)).await.unwrap().metadata.resource_version.unwrap();
            let (records, namespaces) = (Arc::clone(&records), Arc::clone(&namespaces));
            watches.push(AbortOnDropHandle::new(tokio::spawn(follow(api, version, kind, namespaces, records))));
        }
        Self { records, watches }
    }

    /// Everything recorded so far.
    pub fn recorded(&self) -> RecordedObjects {
        assert!(self.watches.iter().all(|watch| !watch.is_finished()), "the witness missed something");
        self.records.lock().unwrap().clone()
    }
}

async fn follow(
    api: Api<DynamicObject>,
    mut version: String,
    kind: &str,
    namespaces: Arc<BTreeSet<String>>,
    records: Records,
) {
    let params = WatchParams::default().labels(INSTANCE_LABEL).timeout(290);
    loop {
        // Unreachable or overloaded: a later watch from the same version misses nothing.
        let Ok(events) = api.watch(&params, &version).await else {
            tokio::time::sleep(Duration::from_millis(200)).await;
            continue;
        };
        let mut events = events.boxed();
        while let Ok(Some(event)) = events.try_next().await {
            match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) | WatchEvent::Deleted(object) => {
                    version = object.resource_version().unwrap();
                    let is_there = object.namespace().is_some_and(|namespace| namespaces.contains(&namespace));
                    if is_there && !is_of_a_job(&object) {
                        let key = (object.labels()[INSTANCE_LABEL].clone(), kind.to_owned(), object.name_any());
                        let made = object.creation_timestamp().unwrap().0.as_second();
                        records.lock().unwrap().entry(key).or_default().insert(object.uid().unwrap(), made);
                    }
                }
                WatchEvent::Bookmark(bookmark) => version = bookmark.metadata.resource_version,
                // The API server no longer has that version.
                WatchEvent::Error(_) => return,
            }
        }
    }
}

/// Whether the pod belongs to a Job. Such pods are no VNFCs, and the Job decides on their number.
pub fn is_of_a_job(object: &DynamicObject) -> bool {
    object.owner_references().iter().any(|owner| owner.kind == "Job")
}
