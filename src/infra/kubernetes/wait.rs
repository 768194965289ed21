//! Waiting for readiness: the watches and the clock around [`super::progress`].

use futures::stream::{StreamExt as _, select_all};
use kube::api::{Api, DynamicObject};
use tokio::time::{Instant, timeout_at};

use super::client::Cluster;
use super::observe::seen;
use super::progress::{Progress, Readiness, Topic};
use super::watch::{Source, follow};
use crate::domain::observation::ObservedKind;
use crate::domain::resource::{INSTANCE_LABEL, KindInfo, Resource};
use crate::infra::{InfraError, InfraErrorKind, Patience, PodSnapshot, Scope};

/// So many events are taken in at a time, if so many are there. Each time, all that is known is looked at.
const AT_ONCE: usize = 1000;

/// All of `resources` are ready, or it is said which is not and why. Gives back the pods as [`Progress::pods`] has them.
pub(super) async fn await_ready(
    cluster: &Cluster,
    scope: &Scope,
    resources: &[Resource],
    patience: Patience,
) -> Result<PodSnapshot, InfraError> {
    let mut progress = Progress::new(resources);
    let topics: Vec<Topic> = progress.topics().cloned().collect();
    let events = select_all(topics.into_iter().map(|topic| {
        let source = source(cluster, scope, resources, &topic);
        follow(cluster, source).map(move |event| (topic.clone(), event))
    }));
    let mut events = events.ready_chunks(AT_ONCE);
    let deadline = Instant::now() + patience.timeout;
    loop {
        let (lacks, alarm) = match progress.assess(Instant::now(), patience.grace) {
            Readiness::Ready => {
                let with_owner = |(pod, deployment)| {
                    let mut pod = seen(pod, ObservedKind::Pod)?;
                    pod.owners.extend(deployment);
                    Some(pod)
                };
                return Ok(PodSnapshot(progress.pods().map(|pods| pods.filter_map(with_owner).collect())));
            }
            Readiness::Failed(text) => return Err(not_ready(scope, &text)),
            Readiness::Waiting(lacks, alarm) => (lacks, alarm),
        };
        if Instant::now() >= deadline {
            let waited = patience.timeout.as_secs();
            return Err(not_ready(scope, &format!("not ready within {waited} s: {lacks}")));
        }
        let until = alarm.map_or(deadline, |alarm| alarm.min(deadline));
        let events = match timeout_at(until, events.next()).await {
            Ok(Some(events)) => events,
            Ok(None) => return Err(InfraError::transient("the watches have ended")),
            // The time is up, for an ailment or for all.
            Err(_) => continue,
        };
        for (topic, event) in events {
            match event {
                Ok(event) => progress.learn(&topic, event),
                // Without the right to see pods or events, the objects' own status has to do.
                Err(error) if error.kind == InfraErrorKind::Denied && !progress.needs(&topic) => {
                    tracing::debug!(namespace = %scope.namespace, "waiting without {topic:?}: {error}");
                    progress.forgo(&topic);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

fn not_ready(scope: &Scope, text: &str) -> InfraError {
    InfraError::not_ready(format!("in namespace {}: {text}", scope.namespace))
}

fn source(cluster: &Cluster, scope: &Scope, resources: &[Resource], topic: &Topic) -> Source {
    match topic {
        Topic::Events(kind) => {
            let events = cluster.builtin("v1", "Event", "events", &scope.namespace);
            Source::with_fields(events, &format!("involvedObject.kind={kind}"))
        }
        Topic::Objects(api_version, kind, name) => {
            let resource = resources.iter().find(|it| it.key.api_version == *api_version && it.key.kind == *kind);
            let pods = || KindInfo { plural: "pods".to_owned(), namespaced: true };
            let info = resource.map_or_else(pods, |it| it.info.clone());
            let api: Api<DynamicObject> = cluster.api(api_version, kind, &info, &scope.namespace);
            match name {
                Some(name) => Source::named(api, name),
                None => Source::labelled(api, &format!("{INSTANCE_LABEL}={}", scope.instance)),
            }
        }
    }
}
