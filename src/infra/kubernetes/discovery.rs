//! Asks a cluster which kinds it serves.
//!
//! An operation asks only for the group versions of its objects: one request each, which every authenticated user may send.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResource;

use super::client::{Cluster, MAX_CONCURRENT_CALLS};
use super::discovery_cache::ServedKinds;
use crate::domain::resource::KindInfo;
use crate::domain::text::is_dns_label;
use crate::infra::{InfraError, ObjectKind};

/// The kinds of `kinds` that the cluster serves, from the cache or the cluster.
pub(super) async fn discover(
    cluster: &Cluster,
    kinds: &BTreeSet<ObjectKind>,
) -> Result<BTreeMap<ObjectKind, KindInfo>, InfraError> {
    let mut by_version: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (api_version, kind) in kinds {
        by_version.entry(api_version).or_default().push(kind);
    }
    let requests = by_version.into_iter().map(async |(api_version, kinds)| {
        let served = match cluster.discovery.get(api_version, &kinds) {
            Some(served) => served,
            None => request_served_kinds(cluster, api_version).await?,
        };
        let found = kinds
            .into_iter()
            .filter_map(|kind| Some(((api_version.to_owned(), kind.to_owned()), served.get(kind)?.clone())));
        Ok::<Vec<_>, InfraError>(found.collect())
    });
    // Collected first: the compiler does not see that a stream of the closure is Send.
    let requests: Vec<_> = requests.collect();
    let answers: Vec<_> = stream::iter(requests).buffer_unordered(MAX_CONCURRENT_CALLS).try_collect().await?;
    Ok(answers.into_iter().flatten().collect())
}

async fn request_served_kinds(cluster: &Cluster, api_version: &str) -> Result<ServedKinds, InfraError> {
    let info = |it: APIResource| (it.kind, KindInfo { plural: it.name, namespaced: it.namespaced });
    let served: ServedKinds = list_kinds(cluster, api_version).await?.into_iter().map(info).collect();
    cluster.discovery.insert(api_version, &served);
    Ok(served)
}

/// All kinds of a cluster.
pub(super) struct AllKinds {
    /// The kinds with their `apiVersion`, each in the version that its group prefers.
    pub kinds: Vec<(String, APIResource)>,
    /// The group versions whose API server does not answer: their kinds are not known. Such an API belongs to an `APIService`.
    pub silent: Vec<String>,
}

/// All kinds of the cluster.
pub(super) async fn all_kinds(cluster: &Cluster) -> Result<AllKinds, InfraError> {
    let groups = cluster.call_discovery(cluster.client.list_api_groups()).await?.groups;
    let versions = groups.into_iter().flat_map(|group| {
        let preferred = group.preferred_version.map(|version| version.group_version);
        let others = group.versions.into_iter().map(|version| version.group_version);
        let others: Vec<String> = others.filter(|version| Some(version) != preferred.as_ref()).collect();
        preferred.into_iter().chain(others)
    });
    let versions: Vec<String> = ["v1".to_owned()].into_iter().chain(versions).collect();
    let answers: Vec<_> = stream::iter(versions)
        .map(async |version| match list_kinds(cluster, &version).await {
            // The API server has just answered, so it is one behind it that does not.
            Err(error) if error.is_transient() && version != "v1" => Ok((None, version)),
            kinds => Ok::<_, InfraError>((Some(kinds?), version)),
        })
        .buffered(MAX_CONCURRENT_CALLS)
        .try_collect()
        .await?;
    let mut seen = HashSet::new();
    let (answers, silent): (Vec<_>, Vec<_>) = answers.into_iter().partition(|(kinds, _)| kinds.is_some());
    let silent = silent.into_iter().map(|(_, version)| version).collect();
    let answers = answers.into_iter().filter_map(|(kinds, version)| Some((kinds?, version)));
    let kinds = answers.flat_map(|(kinds, version)| kinds.into_iter().map(move |kind| (version.clone(), kind)));
    let group = |version: &str| version.rsplit_once('/').map_or("", |(group, _)| group).to_owned();
    let kinds = kinds.filter(|(version, kind)| seen.insert((group(version), kind.name.clone()))).collect();
    Ok(AllKinds { kinds, silent })
}

/// The kinds of a group version; none if it is not served.
async fn list_kinds(cluster: &Cluster, api_version: &str) -> Result<Vec<APIResource>, InfraError> {
    let answer = if api_version.contains('/') {
        cluster.call_discovery(cluster.client.list_api_group_resources(api_version)).await
    } else {
        cluster.call_discovery(cluster.client.list_core_api_resources(api_version)).await
    };
    match answer {
        // A subresource such as `deployments/scale` has a slash in its name. Other names would lead elsewhere in a URL.
        Ok(list) => Ok(list.resources.into_iter().filter(|resource| is_dns_label(&resource.name)).collect()),
        Err(failed) if failed.code == Some(404) => Ok(Vec::new()),
        Err(failed) => {
            let detail = format!("the kinds of {api_version} cannot be read: {}", failed.error.detail);
            Err(InfraError { detail, ..failed.error }.quoting("apiVersion", api_version))
        }
    }
}
