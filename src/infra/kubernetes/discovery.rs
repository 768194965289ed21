//! What kinds a cluster serves.
//!
//! Only the group versions in question are asked for: one request each, that every authenticated user may make.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::future::try_join_all;
use tokio::time::Instant;

use super::client::Cluster;
use crate::domain::resource::KindInfo;
use crate::infra::{InfraError, Kind};

/// How long an answer is believed.
const LIFE: Duration = Duration::from_secs(60);

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

    fn learn(&self, api_version: &str, served: &Served) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(api_version.to_owned(), (Instant::now(), served.clone()));
    }
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
    let answers = wanted.into_iter().map(async |(api_version, kinds)| {
        let served = match cluster.known.fresh(api_version, &kinds) {
            Some(served) => served,
            None => ask(cluster, api_version).await?,
        };
        let found = kinds
            .into_iter()
            .filter_map(|kind| Some(((api_version.to_owned(), kind.to_owned()), served.get(kind)?.clone())));
        Ok::<Vec<_>, InfraError>(found.collect())
    });
    Ok(try_join_all(answers).await?.into_iter().flatten().collect())
}

async fn ask(cluster: &Cluster, api_version: &str) -> Result<Served, InfraError> {
    let answer = if api_version.contains('/') {
        cluster.call(cluster.client.list_api_group_resources(api_version)).await
    } else {
        cluster.call(cluster.client.list_core_api_resources(api_version)).await
    };
    let served: Served = match answer {
        Ok(list) => list
            .resources
            .into_iter()
            // The others are subresources, such as `deployments/scale`.
            .filter(|resource| !resource.name.contains('/'))
            .map(|resource| (resource.kind, KindInfo { plural: resource.name, namespaced: resource.namespaced }))
            .collect(),
        Err(failed) if failed.code == Some(404) => Served::new(),
        Err(failed) => return Err(failed.into()),
    };
    cluster.known.learn(api_version, &served);
    Ok(served)
}
