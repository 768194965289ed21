//! What discovery said lately about a cluster: so that not each operation asks for the same group versions again.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::resource::KindInfo;

/// How long an answer is used.
const TTL: Duration = Duration::from_secs(60);
/// The most bytes of names that are kept of a cluster. All names of a large cluster have some 50 KiB.
const MAX_BYTES: usize = 1 << 20;

/// The kinds of a group version, by `kind`.
pub(super) type ServedKinds = HashMap<String, KindInfo>;

/// The latest answers, each with its time, by `apiVersion`.
#[derive(Default)]
pub(super) struct DiscoveryCache(Mutex<HashMap<String, (Instant, ServedKinds)>>);

impl DiscoveryCache {
    /// The kinds of `api_version`, if the answer is fresh and has all of `kinds`. A kind that was missing may be served by now:
    /// the operation that asks may have made its definition.
    pub fn get(&self, api_version: &str, kinds: &[&str]) -> Option<ServedKinds> {
        let answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (time, served) = answers.get(api_version)?;
        let has_all = kinds.iter().all(|kind| served.contains_key(*kind));
        (time.elapsed() < TTL && has_all).then(|| served.clone())
    }

    /// Keeps an answer; drops the oldest ones while all together are too long. Ignores an answer that alone is too long, and an
    /// empty one, which [`DiscoveryCache::get`] would never use.
    pub fn insert(&self, api_version: &str, served: &ServedKinds) {
        if served.is_empty() || size(api_version, served) > MAX_BYTES {
            return;
        }
        let mut answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        answers.retain(|_, (time, _)| time.elapsed() < TTL);
        answers.insert(api_version.to_owned(), (Instant::now(), served.clone()));
        while answers.iter().map(|(version, (_, served))| size(version, served)).sum::<usize>() > MAX_BYTES {
            let oldest = answers.iter().min_by_key(|(_, (time, _))| *time).map(|(version, _)| version.clone());
            oldest.and_then(|oldest| answers.remove(&oldest));
        }
    }
}

fn size(api_version: &str, served: &ServedKinds) -> usize {
    api_version.len() + served.iter().map(|(kind, info)| kind.len() + info.plural.len()).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_the_oldest_answers_beyond_the_limit() {
        let cache = DiscoveryCache::default();
        let served = |letter: &str, size: usize| {
            ServedKinds::from([("Kind".to_owned(), KindInfo { plural: letter.repeat(size), namespaced: true })])
        };
        let has = |version: &str| cache.get(version, &["Kind"]).is_some();
        for number in 0..5 {
            cache.insert(&format!("{number}/v1"), &served("x", MAX_BYTES / 4));
        }
        assert_eq!(["0/v1", "1/v1", "2/v1", "3/v1", "4/v1"].map(has), [false, false, true, true, true]);
        cache.insert("long/v1", &served("x", MAX_BYTES));
        cache.insert("none/v1", &ServedKinds::new());
        assert!(!has("long/v1") && has("4/v1"));
        assert_eq!(cache.0.lock().unwrap().len(), 3);
    }
}
