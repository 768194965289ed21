//! Sees every object that VNF instances ever had in some namespaces, for as long as it lives: what was made twice shows even
//! if one of the two is gone again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use gybe::domain::resource::INSTANCE_LABEL;
use kube::ResourceExt as _;
use kube::api::{Api, DynamicObject, ListParams, WatchEvent, WatchParams};
use tokio_util::task::AbortOnDropHandle;

use super::cluster::Cluster;

/// An object by instance, kind and name.
pub type ObservedObject = (String, String, String);

/// What was seen: the uids that each had, and when the object with that uid was made, in seconds since the epoch.
pub type Sightings = BTreeMap<ObservedObject, BTreeMap<String, i64>>;

type Book = Arc<Mutex<Sightings>>;

/// The watches. They end with this value.
pub struct Witness {
    book: Book,
    watches: Vec<AbortOnDropHandle<()>>,
}

/// The kinds of the sample packages that tell most.
const KINDS: [(&str, &str, &str); 7] = [
    ("v1", "Pod", "pods"),
    ("v1", "Service", "services"),
    ("v1", "ConfigMap", "configmaps"),
    ("v1", "Secret", "secrets"),
    ("apps/v1", "Deployment", "deployments"),
    ("apps/v1", "StatefulSet", "statefulsets"),
    ("batch/v1", "Job", "jobs"),
];

impl Witness {
    /// Looks at these namespaces from now on.
    pub async fn of(cluster: &Cluster, namespaces: &[String]) -> Self {
        let book = Book::default();
        let namespaces: Arc<BTreeSet<String>> = Arc::new(namespaces.iter().cloned().collect());
        let mut watches = Vec::new();
        for (api_version, kind, plural) in KINDS {
            let api = cluster.api(api_version, kind, plural, None);
            let version = api.list(&ListParams::default().limit(1)).await.unwrap().metadata.resource_version.unwrap();
            let (book, namespaces) = (Arc::clone(&book), Arc::clone(&namespaces));
            watches.push(AbortOnDropHandle::new(tokio::spawn(follow(api, version, kind, namespaces, book))));
        }
        Self { book, watches }
    }

    /// What was seen so far: everything.
    pub fn seen(&self) -> Sightings {
        assert!(self.watches.iter().all(|watch| !watch.is_finished()), "the witness missed something");
        self.book.lock().unwrap().clone()
    }
}

async fn follow(
    api: Api<DynamicObject>,
    mut version: String,
    kind: &str,
    namespaces: Arc<BTreeSet<String>>,
    book: Book,
) {
    let params = WatchParams::default().labels(INSTANCE_LABEL).timeout(290);
    loop {
        // Out of reach, or busy: nothing is missed by watching from the same version later.
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
                        book.lock().unwrap().entry(key).or_default().insert(object.uid().unwrap(), made);
                    }
                }
                WatchEvent::Bookmark(bookmark) => version = bookmark.metadata.resource_version,
                // The API server has forgotten that version.
                WatchEvent::Error(_) => return,
            }
        }
    }
}

/// Pods of Jobs are no VNFCs, and their number is the Job's own matter.
pub fn is_of_a_job(object: &DynamicObject) -> bool {
    object.owner_references().iter().any(|owner| owner.kind == "Job")
}
