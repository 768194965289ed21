//! What an operation changed: in the VIM (SOL003 clause 5.5.2.13, `resourceChanges`), and the package and the levels of the VNF.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::domain::instance::{VirtualStorage, VnfInstance, Vnfc};
use crate::domain::scale::ScaleLevels;

/// `resourceChanges` (SOL003 clause 5.5.2.13).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ResourceChanges {
    /// The `vimConnectionInfo` entry of the VIM they are in.
    pub vim_connection_id: String,
    /// VNFCs that came or went.
    pub affected_vnfcs: Vec<AffectedVnfc>,
    /// Volume claims that came or went. Op occurrences of older versions have none.
    #[serde(default)]
    pub affected_storages: Vec<AffectedStorage>,
    /// The package, if the operation brought one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<Replaced<PackageVersion>>,
    /// The levels of all aspects, if one of them changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub levels: Option<Replaced<ScaleLevels>>,
}

/// A value before and after an operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replaced<T> {
    /// When the operation began.
    pub before: T,
    /// When it ended.
    pub after: T,
}

impl<T: PartialEq> Replaced<T> {
    /// `None` if both are the same.
    fn changed(before: T, after: T) -> Option<Self> {
        (before != after).then_some(Self { before, after })
    }
}

/// Which package a VNF has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageVersion {
    /// `vnfdId`.
    pub vnfd_id: String,
    /// `vnfdVersion`.
    pub version: String,
}

impl PackageVersion {
    fn of(instance: &VnfInstance) -> Self {
        Self { vnfd_id: instance.vnfd_id.clone(), version: instance.vnfd_version.clone() }
    }
}

/// One VNFC that an operation touched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AffectedVnfc {
    /// Came or went.
    pub change: ChangeType,
    /// The VNFC.
    pub vnfc: Vnfc,
}

/// One volume claim that an operation touched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AffectedStorage {
    /// Came or went.
    pub change: ChangeType,
    /// The claim.
    pub storage: VirtualStorage,
}

/// `changeType` of an affected VNFC or storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ChangeType {
    /// It was not there before.
    Added,
    /// It is not there any more.
    Removed,
}

impl ResourceChanges {
    /// What changed between two sets of VNFCs, each with volume claims. A VNFC whose pod was replaced is both removed
    /// and added, with its id.
    pub fn between(
        vim_connection_id: &str,
        before: (&[Vnfc], &[VirtualStorage]),
        after: (&[Vnfc], &[VirtualStorage]),
    ) -> Self {
        let vnfcs = changed(before.0, after.0, |vnfc| &vnfc.pod_uid);
        let storages = changed(before.1, after.1, |storage| &storage.claim_uid);
        Self {
            vim_connection_id: vim_connection_id.to_owned(),
            affected_vnfcs: vnfcs.map(|(change, vnfc)| AffectedVnfc { change, vnfc: vnfc.clone() }).collect(),
            affected_storages: storages
                .map(|(change, storage)| AffectedStorage { change, storage: storage.clone() })
                .collect(),
            package: None,
            levels: None,
        }
    }

    /// The same with what changed in the VNF from `before` to `after`.
    #[must_use]
    pub fn with_vnf(self, before: &VnfInstance, after: &VnfInstance) -> Self {
        let levels = |instance: &VnfInstance| Some(instance.instantiated.as_ref()?.scale_levels.clone());
        Self {
            package: Replaced::changed(PackageVersion::of(before), PackageVersion::of(after)),
            levels: levels(before).zip(levels(after)).and_then(|(before, after)| Replaced::changed(before, after)),
            ..self
        }
    }
}

/// First what went, then what came, each in its order.
fn changed<'a, T>(
    before: &'a [T],
    after: &'a [T],
    uid: impl Fn(&T) -> &String + Copy + 'a,
) -> impl Iterator<Item = (ChangeType, &'a T)> {
    let [were, are] = [before, after].map(|set| set.iter().map(uid).collect::<HashSet<&String>>());
    let removed = before.iter().filter(move |one| !are.contains(uid(one))).map(|one| (ChangeType::Removed, one));
    removed.chain(after.iter().filter(move |one| !were.contains(uid(one))).map(|one| (ChangeType::Added, one)))
}
