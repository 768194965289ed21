//! The identifiers of VNFCs: which pod is which VNFC after pods came and went (`docs/adr/0031-a-healed-vnfc-keeps-its-id.md`).
//!
//! A VNFC is a pod until a heal replaces the pod: then the replacement is the same VNFC. The end of an operation and `crate::view` name
//! the VNFCs that they observe with [`identified`].

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::instance::Vnfc;

/// The `observed` VNFCs with their ids. A pod that was among those `before` keeps its id. A new pod of a workload takes the id of a VNFC
/// of that workload whose pod, one of the uids `healed`, is gone: of the one with its own name first. Every other pod is a new VNFC.
pub fn identified(before: &[Vnfc], mut observed: Vec<Vnfc>, healed: &BTreeSet<&str>) -> Vec<Vnfc> {
    let known: BTreeMap<&str, &Vnfc> = before.iter().map(|vnfc| (vnfc.pod_uid.as_str(), vnfc)).collect();
    for vnfc in &mut observed {
        if let Some(same) = known.get(vnfc.pod_uid.as_str()) {
            vnfc.kept_id.clone_from(&same.kept_id);
        }
    }
    for (place, id) in taken_ids(before, &known, &observed, healed) {
        let vnfc = &mut observed[place];
        vnfc.kept_id = Some(id).filter(|id| *id != vnfc.pod_name);
    }
    with_distinct_ids(&known, observed)
}

/// The ids that new pods take, with their places in `observed`.
fn taken_ids(
    before: &[Vnfc],
    known: &BTreeMap<&str, &Vnfc>,
    observed: &[Vnfc],
    healed: &BTreeSet<&str>,
) -> Vec<(usize, String)> {
    let there: BTreeSet<&str> = observed.iter().map(|vnfc| vnfc.pod_uid.as_str()).collect();
    let mut new: BTreeMap<_, BTreeMap<&str, usize>> = BTreeMap::new();
    for (place, pod) in observed.iter().enumerate().filter(|(_, pod)| !known.contains_key(pod.pod_uid.as_str())) {
        new.entry(workload(pod)).or_default().insert(&pod.pod_name, place);
    }
    let is_replaced = |vnfc: &&Vnfc| healed.contains(vnfc.pod_uid.as_str()) && !there.contains(vnfc.pod_uid.as_str());
    let mut taken = Vec::new();
    let mut renamed = Vec::new();
    for gone in before.iter().filter(is_replaced) {
        match new.get_mut(&workload(gone)).and_then(|pods| pods.remove(gone.pod_name.as_str())) {
            Some(place) => taken.push((place, gone.id().to_owned())),
            None => renamed.push(gone),
        }
    }
    for gone in renamed {
        let pod = new.get_mut(&workload(gone)).and_then(BTreeMap::pop_first);
        taken.extend(pod.map(|(_, place)| (place, gone.id().to_owned())));
    }
    taken
}

fn workload(vnfc: &Vnfc) -> [&str; 3] {
    [&vnfc.vdu_id, &vnfc.workload_kind, &vnfc.workload_name]
}

/// Gives a new pod whose name is the id of another VNFC its uid as its id.
fn with_distinct_ids(known: &BTreeMap<&str, &Vnfc>, mut observed: Vec<Vnfc>) -> Vec<Vnfc> {
    let kept: BTreeSet<String> = observed.iter().filter_map(|vnfc| vnfc.kept_id.clone()).collect();
    let doubles = observed.iter_mut().filter(|vnfc| vnfc.kept_id.is_none() && kept.contains(&vnfc.pod_name));
    for vnfc in doubles.filter(|vnfc| !known.contains_key(vnfc.pod_uid.as_str())) {
        vnfc.kept_id = Some(vnfc.pod_uid.clone());
    }
    observed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vnfc(workload: &str, pod: &str, uid: &str) -> Vnfc {
        Vnfc {
            vdu_id: workload.to_uppercase(),
            kept_id: None,
            pod_name: pod.to_owned(),
            pod_uid: uid.to_owned(),
            workload_kind: "Deployment".to_owned(),
            workload_name: workload.to_owned(),
        }
    }

    fn ids(vnfcs: &[Vnfc]) -> Vec<(&str, &str)> {
        vnfcs.iter().map(|vnfc| (vnfc.pod_name.as_str(), vnfc.id())).collect()
    }

    #[test]
    fn the_replacement_of_a_healed_pod_has_its_id_through_further_heals() {
        let before = [vnfc("amf", "amf-a", "1"), vnfc("amf", "amf-b", "2"), vnfc("smf", "smf-a", "3")];
        let observed = vec![vnfc("amf", "amf-c", "4"), before[1].clone(), before[2].clone()];
        let once = identified(&before, observed, &BTreeSet::from(["1"]));
        assert_eq!(ids(&once), [("amf-c", "amf-a"), ("amf-b", "amf-b"), ("smf-a", "smf-a")]);
        assert_eq!(once[0].info_id(), "AMF-amf-a");
        let observed = vec![vnfc("amf", "amf-d", "5"), before[1].clone(), before[2].clone()];
        let twice = identified(&once, observed, &BTreeSet::from(["4"]));
        assert_eq!(ids(&twice), [("amf-d", "amf-a"), ("amf-b", "amf-b"), ("smf-a", "smf-a")]);
        // Between heals, what is observed again has the same ids.
        let plain = twice.iter().map(|vnfc| Vnfc { kept_id: None, ..vnfc.clone() }).collect();
        assert_eq!(identified(&twice, plain, &BTreeSet::new()), twice);
    }

    #[test]
    fn a_pod_that_nobody_healed_is_a_new_vnfc() {
        let before = [vnfc("amf", "amf-a", "1"), vnfc("amf", "amf-b", "2")];
        let observed = vec![vnfc("amf", "amf-c", "3"), vnfc("amf", "amf-d", "4")];
        assert_eq!(
            ids(&identified(&before, observed.clone(), &BTreeSet::new())),
            [("amf-c", "amf-c"), ("amf-d", "amf-d")]
        );
        // One was healed, one went by itself: one of the new ones is the healed one.
        let healed = identified(&before, observed, &BTreeSet::from(["2"]));
        assert_eq!(ids(&healed), [("amf-c", "amf-b"), ("amf-d", "amf-d")]);
    }

    #[test]
    fn an_id_never_moves_to_another_workload_or_from_a_pod_that_is_still_there() {
        let before = [vnfc("amf", "amf-a", "1"), vnfc("smf", "smf-a", "2")];
        let observed = vec![vnfc("amf", "amf-a", "1"), vnfc("amf", "amf-b", "3")];
        let after = identified(&before, observed, &BTreeSet::from(["1", "2"]));
        assert_eq!(ids(&after), [("amf-a", "amf-a"), ("amf-b", "amf-b")]);
    }

    #[test]
    fn a_pod_of_the_same_name_is_the_same_vnfc() {
        let before = [vnfc("db", "db-0", "1"), vnfc("db", "db-1", "2")];
        let observed = vec![vnfc("db", "db-1", "3"), vnfc("db", "db-0", "4")];
        let after = identified(&before, observed, &BTreeSet::from(["1", "2"]));
        assert_eq!(ids(&after), [("db-1", "db-1"), ("db-0", "db-0")]);
    }

    #[test]
    fn no_two_vnfcs_have_one_id() {
        let mut before = [vnfc("amf", "amf-b", "1")];
        before[0].kept_id = Some("amf-a".to_owned());
        let observed = vec![vnfc("amf", "amf-a", "2"), vnfc("amf", "amf-b", "1")];
        let after = identified(&before, observed, &BTreeSet::new());
        assert_eq!(ids(&after), [("amf-a", "2"), ("amf-b", "amf-a")]);
    }
}
