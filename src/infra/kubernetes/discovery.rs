//! What kinds a cluster serves.
//!
//! An operation asks for the group versions in question only: one request each, that every authenticated user may make.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResource;
use tokio::time::Instant;

use super::client::{AT_ONCE, Cluster};
use crate::domain::resource::KindInfo;
use crate::infra::{InfraError, Kind};

/// How long an answer is believed.
const LIFE: Duration = Duration::from_secs(60);
/// Bytes of names that are kept of a cluster. All that a large one serves has some 50 KiB.
const MOST: usize = 1 << 20;

/// The kinds of a group version.
type Served = HashMap<String, KindInfo>;

/// What discovery said lately, by `apiVersion`.
#[derive(Default)]
pub(super) struct Known(Mutex<HashMap<String, (Instant, Served)>>);

impl Known {
    fn fresh(&self, api_version: &str, kinds: &[&str]) -> Option<Served> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (asked, served) = known.get(api_version)?;
        // A kind that was missing may have come since: its definition is made by the very operation that wants it.
        let all = kinds.iter().all(|kind| served.contains_key(*kind));
        (asked.elapsed() < LIFE && all).then(|| served.clone())
    }

    /// Keeps an answer, in place of older ones if there are too many, or not at all if it is too long. That there is nothing of
    /// a group version is not worth keeping: it would be asked for again in any case.
    fn learn(&self, api_version: &str, served: &Served) {
        if served.is_empty() || size(api_version, served) > MOST {
            return;
        }
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, (asked, _)| asked.elapsed() < LIFE);
        known.insert(api_version.to_owned(), (Instant::now(), served.clone()));
        while known.iter().map(|(version, (_, served))| size(version, served)).sum::<usize>() > MOST {
            let oldest = known.iter().min_by_key(|(_, (asked, _))| *asked).map(|(version, _)| version.clone());
            oldest.and_then(|oldest| known.remove(&oldest));
        }
    }
}

fn size(api_version: &str, served: &Served) -> usize {
    api_version.len() + served.iter().map(|(kind, info)| kind.len() + info.plural.len()).sum::<usize>()
}

/// What the cluster says of `kinds`; those it does not serve are left out.
pub(super) async fn discover(
    cluster: &Cluster,
    kinds: &BTreeSet<Kind>,
) -> Result<BTreeMap<Kind, KindInfo>, InfraError> {
    let mut wanted: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (api_version, kind) in kinds {
        wanted.entry(api_version).or_default().push(kind);
    }
    let questions = wanted.into_iter().map(async |(api_version, kinds)| {
        let served = match cluster.known.fresh(api_version, &kinds) {
            Some(served) => served,
            None => ask(cluster, api_version).await?,
        };
        let found = kinds
            .into_iter()
            .filter_map(|kind| Some(((api_version.to_owned(), kind.to_owned()), served.get(kind)?.clone())));
        Ok::<Vec<_>, InfraError>(found.collect())
    });
    // From a Vec, as the compiler does not see that the stream of the closure can be sent between threads.
    let questions: Vec<_> = questions.collect();
    let answers: Vec<_> = stream::iter(questions).buffer_unordered(AT_ONCE).try_collect().await?;
    Ok(answers.into_iter().flatten().collect())
}

async fn ask(cluster: &Cluster, api_version: &str) -> Result<Served, InfraError> {
    let info = |it: APIResource| (it.kind, KindInfo { plural: it.name, namespaced: it.namespaced });
    let served: Served = served(cluster, api_version).await?.into_iter().map(info).collect();
    cluster.known.learn(api_version, &served);
    Ok(served)
}

/// All kinds of the cluster with their `apiVersion`; of each, the version that its group prefers.
pub(super) async fn all(cluster: &Cluster) -> Result<Vec<(String, APIResource)>, InfraError> {
    let groups = cluster.call(cluster.client.list_api_groups()).await?.groups;
    let versions = groups.into_iter().flat_map(|group| {
        let preferred = group.preferred_version.map(|version| version.group_version);
        let others = group.versions.into_iter().map(|version| version.group_version);
        let others: Vec<String> = others.filter(|version| Some(version) != preferred.as_ref()).collect();
        preferred.into_iter().chain(others)
    });
    let versions: Vec<String> = ["v1".to_owned()].into_iter().chain(versions).collect();
    let answers: Vec<_> = stream::iter(versions)
        .map(async |version| Ok::<_, InfraError>((served(cluster, &version).await?, version)))
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    let mut seen = HashSet::new();
    let kinds =
        answers.into_iter().flat_map(|(kinds, version)| kinds.into_iter().map(move |kind| (version.clone(), kind)));
    let group = |version: &str| version.rsplit_once('/').map_or("", |(group, _)| group).to_owned();
    Ok(kinds.filter(|(version, kind)| seen.insert((group(version), kind.name.clone()))).collect())
}

/// The kinds of a group version; none if it is not served.
async fn served(cluster: &Cluster, api_version: &str) -> Result<Vec<APIResource>, InfraError> {
    let answer = if api_version.contains('/') {
        cluster.call(cluster.client.list_api_group_resources(api_version)).await
    } else {
        cluster.call(cluster.client.list_core_api_resources(api_version)).await
    };
    match answer {
        // The others are subresources, such as `deployments/scale`.
        Ok(list) => Ok(list.resources.into_iter().filter(|resource| !resource.name.contains('/')).collect()),
        Err(failed) if failed.code == Some(404) => Ok(Vec::new()),
        Err(failed) => Err(failed.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_bounded_and_what_was_learnt_first_goes_first() {
        let known = Known::default();
        let served = |letter: &str, size: usize| {
            Served::from([("Kind".to_owned(), KindInfo { plural: letter.repeat(size), namespaced: true })])
        };
        let is_known = |version: &str| known.fresh(version, &["Kind"]).is_some();
        for number in 0..5 {
            known.learn(&format!("{number}/v1"), &served("x", MOST / 4));
        }
        assert_eq!(["0/v1", "1/v1", "2/v1", "3/v1", "4/v1"].map(is_known), [false, false, true, true, true]);
        known.learn("long/v1", &served("x", MOST));
        known.learn("none/v1", &Served::new());
        assert!(!is_known("long/v1") && is_known("4/v1"));
        assert_eq!(known.0.lock().unwrap().len(), 3);
    }
}
