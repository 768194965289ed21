//! Waiting until objects are ready: the watches and the clock.
//!
//! - [`rules`]: when an object of each kind is ready. A new rule goes there.
//! - [`pods`] and [`events`]: what is wrong with a pod, and which events report a fault.
//! - [`causes`]: which faults pass by themselves, and how long each may last.
//! - [`revisions`]: which pods are of an older revision than their workload.
//! - [`progress`]: all awaited objects together, and how long a fault may last.
//! - [`index`]: pods and events by the objects they belong to.

use std::collections::{HashMap, HashSet};

use futures::stream::{StreamExt as _, select_all};
use kube::api::{Api, DeleteParams, DynamicObject};
use tokio::time::{Instant, timeout_at};

use self::progress::{Progress, Readiness, Timing, WatchSubject};
use super::client::Cluster;
use super::delete::delete_all;
use super::observe::observed_object;
use super::watch::{ListWatch, follow};
use crate::clock::{Clock as _, System};
use crate::domain::observation::ObservedKind;
use crate::domain::resource::{KindInfo, Resource};
use crate::infra::{InfraError, InfraErrorKind, PodSnapshot, ReadinessSink, ReadinessTimeouts, Scope};

pub(super) mod causes;
pub(super) mod events;
mod index;
pub(super) mod pods;
mod progress;
mod revisions;
pub(super) mod rules;

/// The most events that are taken in before the next assessment, which passes over all objects.
const MAX_BATCH: usize = 1000;

/// How often a wait deletes a pod of one name because it blocks a rollout. A StatefulSet may make the pod of its former revision
/// again until it has counted its pods anew; one that always does so is not helped by more deletions.
const MAX_REPLACEMENTS: usize = 5;

/// Waits until all of `resources` are ready. Sends what it sees to `reports`.
///
/// # Errors
/// [`InfraErrorKind::NotReady`] names the objects that failed or were not ready in time, and why.
pub(super) async fn await_ready(
    cluster: &Cluster,
    scope: &Scope,
    resources: &[Resource],
    timeouts: ReadinessTimeouts,
    reports: &ReadinessSink,
) -> Result<PodSnapshot, InfraError> {
    let begun = Instant::now();
    let ReadinessTimeouts { waited, settle, grace, timeout } = timeouts;
    let mut progress = Progress::new(resources, Timing { begun, begun_utc: System.now(), waited, settle });
    let subjects: Vec<WatchSubject> = progress.subjects().cloned().collect();
    let events = select_all(subjects.into_iter().map(|subject| {
        let target = list_watch(cluster, scope, resources, &subject);
        follow(cluster, target).map(move |event| (subject.clone(), event))
    }));
    let mut events = events.ready_chunks(MAX_BATCH);
    let deadline = begun + timeout.saturating_sub(waited);
    let mut replaced: HashMap<String, HashSet<String>> = HashMap::new();
    loop {
        let readiness = progress.assess(Instant::now(), grace);
        let report = progress.take_report();
        reports.send_if_modified(|known| !report.is_empty() && std::mem::replace(known, report.clone()) != report);
        let (missing, grace_ends) = match readiness {
            Readiness::Ready => return Ok(snapshot(&progress)),
            Readiness::Failed(text) => return Err(not_ready(scope, &text)),
            Readiness::Waiting(missing, grace_ends) => (missing, grace_ends),
        };
        if Instant::now() >= deadline {
            let seconds = timeout.as_secs();
            return Err(not_ready(scope, &format!("not ready within {seconds} s: {missing}")));
        }
        let (blocking, next_blocking) = progress.blocking_pods(Instant::now(), grace);
        let is_new = |(name, uid): &(String, String)| {
            let uids = replaced.entry(name.clone()).or_default();
            uids.len() < MAX_REPLACEMENTS && uids.insert(uid.clone())
        };
        let blocking = blocking.into_iter().filter(is_new).collect();
        delete_blocking(cluster, scope, blocking).await?;
        let until = [grace_ends, next_blocking].into_iter().flatten().fold(deadline, Instant::min);
        let events = match timeout_at(until, events.next()).await {
            Ok(Some(events)) => events,
            Ok(None) => return Err(InfraError::transient("the watches have ended")),
            // A fault has lasted for as long as it may, a container has settled, or the time for all is over.
            Err(_) => continue,
        };
        for (subject, event) in events {
            match event {
                Ok(event) => progress.apply(&subject, event),
                // Without the right to watch pods or events, the status of the objects has to do.
                Err(error) if error.kind == InfraErrorKind::Denied && !progress.is_required(&subject) => {
                    tracing::debug!(namespace = %scope.namespace, "waiting without {subject:?}: {error}");
                    progress.ignore(&subject);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// Deletes pods that keep the present revision of their workload from being rolled out, so that their controllers replace them.
async fn delete_blocking(cluster: &Cluster, scope: &Scope, pods: Vec<(String, String)>) -> Result<(), InfraError> {
    if pods.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = pods.iter().map(|(name, _)| name.as_str()).collect();
    tracing::info!(namespace = %scope.namespace, instance = %scope.instance,
        "deleting pods that are not ready and of an older revision: {}", names.join(", "));
    let named = pods.iter().map(|(name, uid)| (name.as_str(), uid.as_str()));
    match delete_all(cluster, &cluster.pods(&scope.namespace), named, &DeleteParams::default()).await {
        // Without the right to delete pods, they end the wait with their own fault.
        Err(error) if error.kind == InfraErrorKind::Denied => {
            tracing::warn!(namespace = %scope.namespace, "pods that block a rollout are not deleted: {error}");
            Ok(())
        }
        deleted => deleted,
    }
}

fn snapshot(progress: &Progress) -> PodSnapshot {
    let with_deployment = |(pod, deployment)| {
        let mut pod = observed_object(pod, ObservedKind::Pod)?;
        pod.owners.extend(deployment);
        Some(pod)
    };
    PodSnapshot(progress.pods().map(|pods| pods.filter_map(with_deployment).collect()))
}

fn not_ready(scope: &Scope, text: &str) -> InfraError {
    InfraError::not_ready(format!("in namespace {}: {text}", scope.namespace)).quoting("namespace", &scope.namespace)
}

fn list_watch(cluster: &Cluster, scope: &Scope, resources: &[Resource], subject: &WatchSubject) -> ListWatch {
    match subject {
        WatchSubject::EventsAbout(kind) => {
            let events = cluster.builtin("v1", "Event", "events", &scope.namespace);
            ListWatch::by_fields(events, scope, &format!("involvedObject.kind={kind}"))
        }
        WatchSubject::Objects { api_version, kind, name } => {
            let resource = resources.iter().find(|it| it.key.api_version == *api_version && it.key.kind == *kind);
            let pods = || KindInfo { plural: "pods".to_owned(), namespaced: true };
            let info = resource.map_or_else(pods, |it| it.info.clone());
            let api: Api<DynamicObject> = cluster.api(api_version, kind, &info, &scope.namespace);
            match name {
                Some(name) => ListWatch::by_name(api, scope, name),
                None => ListWatch::of_instance(api, scope),
            }
        }
    }
}
