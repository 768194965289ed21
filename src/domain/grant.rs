//! What an operation asks the NFVO for (granting, SOL003 clause 9): the resources that its plan adds and removes.
//!
//! Pure. A VDU's instances, which are pods, are COMPUTE resources, volume claims are STORAGE. What a plan adds and removes
//! follows from its steps, whatever the operation, and their identifiers from names and numbers: planned again, it asks for
//! the same. Of a DaemonSet nobody knows how many pods the cluster will make: it counts as one.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::change::{has_run, is_remade};
use crate::domain::instance::{InstantiatedVnfInfo, VnfInstance, Vnfc};
use crate::domain::op_occ::LcmOperation;
use crate::domain::plan::{Plan, Step};
use crate::domain::replicas::{started_replicas, with_vnf_state};
use crate::domain::resource::{ObjectKey, Resource, ResourceState};

/// A Grant that the NFVO has not decided on yet (clause 9.4.2.3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingGrant {
    /// Where it will be.
    pub uri: String,
    /// The identifiers of the resources that it is to answer.
    pub asked: Asked,
}

/// Identifiers of resource definitions, as they were asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// Of those to be added.
    pub add: Vec<String>,
    /// Of those to be removed.
    pub remove: Vec<String>,
}

/// The type of a resource (clause 9.5.2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ResourceType {
    /// An instance of a VDU.
    Compute,
    /// A volume claim.
    Storage,
}

/// A resource that is added or removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// Its identifier in the request.
    pub id: String,
    /// What it is.
    pub kind: ResourceType,
    /// The VDU that it belongs to, if any.
    pub vdu_id: Option<String>,
    /// Of one that is added: what the VNFD or the package calls it.
    pub template: Option<String>,
    /// Of one that is there: its name in the cluster, and the kind of object that it comes from.
    pub existing: Option<(String, String)>,
}

/// How far instances are to be apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Scope {
    /// On nodes of their own.
    NfviNode,
    /// In zones of their own.
    Zone,
}

/// Instances of one workload that are to be apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Apart {
    /// How far.
    pub scope: Scope,
    /// Those that are added, by the identifiers of their definitions.
    pub added: Vec<String>,
    /// Those that are there and stay, by their names.
    pub existing: Vec<String>,
}

/// What an operation asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// What it adds.
    pub add: Vec<Definition>,
    /// What it removes.
    pub remove: Vec<Definition>,
    /// What of it is to be apart.
    pub apart: Vec<Apart>,
}

impl Demand {
    /// What an operation adds and removes that does `plan` with an `inventory` as it is, and `planned` rows to be added or
    /// replaced.
    pub fn of(
        operation: LcmOperation,
        instance: &VnfInstance,
        plan: &Plan,
        inventory: &[Resource],
        planned: &[Resource],
    ) -> Self {
        let info = instance.instantiated.as_ref();
        let rows: BTreeMap<&ObjectKey, &Resource> =
            inventory.iter().chain(planned).map(|row| (&row.key, row)).collect();
        let mut counting =
            Counting { info, demand: Self::default(), numbers: BTreeMap::new(), changed: BTreeSet::new() };
        for step in &plan.forward {
            counting.step(step, &rows, planned);
        }
        if operation == LcmOperation::Terminate {
            // Whatever made them: pods and claims of custom resources are not told by a manifest.
            counting.demand.remove.clear();
            info.into_iter().for_each(|info| counting.remove_all(info));
        }
        counting.demand
    }

    /// The identifiers that a Grant is to answer.
    pub fn asked(&self) -> Asked {
        let ids = |definitions: &[Definition]| definitions.iter().map(|it| it.id.clone()).collect();
        Asked { add: ids(&self.add), remove: ids(&self.remove) }
    }
}

/// A demand that grows step by step.
struct Counting<'a> {
    info: Option<&'a InstantiatedVnfInfo>,
    demand: Demand,
    /// How many were added of what is called so.
    numbers: BTreeMap<String, u32>,
    /// What a change of package was counted for.
    changed: BTreeSet<ObjectKey>,
}

impl Counting<'_> {
    fn step(&mut self, step: &Step, rows: &BTreeMap<&ObjectKey, &Resource>, planned: &[Resource]) {
        let row = |key: &ObjectKey| rows.get(key).copied();
        match step {
            Step::Apply { objects } => {
                // A row that is planned now replaces what an earlier instantiation left, if it left anything.
                let made =
                    |row: &&Resource| row.state == ResourceState::Planned || planned.iter().any(|it| it.key == row.key);
                for row in objects.iter().filter_map(row).filter(made) {
                    self.add(row, 0, pods(row));
                }
            }
            Step::SetReplicas { changes } => {
                for change in changes {
                    let Some(row) = row(&change.object) else { continue };
                    let before = row.replicas().unwrap_or(change.replicas);
                    self.add(row, before, change.replicas);
                    self.remove_pods(row, before.saturating_sub(change.replicas));
                }
            }
            Step::Operate { objects, vnf_state } => {
                for row in objects.iter().filter_map(row) {
                    let now = |manifest| replicas(manifest).unwrap_or(0);
                    let (before, after) = (now(&row.manifest), now(&with_vnf_state(&row.manifest, *vnf_state)));
                    self.add_pods(row, before, after);
                    self.remove_pods(row, before.saturating_sub(after));
                }
            }
            // Whatever controls them makes others.
            Step::DeletePods { pods } => {
                for pod in pods {
                    let vnfc = self.info.and_then(|info| info.vnfcs.iter().find(|vnfc| vnfc.pod_name == pod.name));
                    let vdu_id = vnfc.map(|vnfc| vnfc.vdu_id.clone());
                    let kind = vnfc.map_or("Pod", |vnfc| &vnfc.workload_kind).to_owned();
                    self.demand.remove.push(Definition {
                        id: format!("remove-compute-{}", pod.name),
                        kind: ResourceType::Compute,
                        vdu_id: vdu_id.clone(),
                        template: None,
                        existing: Some((pod.name.clone(), kind)),
                    });
                    self.demand.add.push(Definition {
                        id: format!("add-compute-for-{}", pod.name),
                        kind: ResourceType::Compute,
                        template: vdu_id.clone(),
                        vdu_id,
                        existing: None,
                    });
                }
            }
            Step::Remove { objects, keep_rows, .. } => {
                for row in objects.iter().filter_map(row) {
                    self.remove_pods(row, u32::MAX);
                    if !keep_rows {
                        self.remove_claims(row);
                    }
                }
            }
            Step::Change { rows: wanted } => wanted.iter().for_each(|row| self.change(row, rows)),
            // What is cleared is made anew by the change that follows.
            Step::AwaitReady { .. }
            | Step::EndPods { .. }
            | Step::DeleteReplaced { .. }
            | Step::MarkUncertain { .. } => {}
        }
    }

    /// What becomes of an object that is to be as `wanted` says. Pods that are replaced one by one are no more and no fewer.
    fn change(&mut self, wanted: &Resource, rows: &BTreeMap<&ObjectKey, &Resource>) {
        // Replicas that an autoscaler had are set twice.
        if !self.changed.insert(wanted.key.clone()) {
            return;
        }
        let is_there = |row: &&&Resource| {
            row.key.is_same_object(&wanted.key) && matches!(row.state, ResourceState::Present { .. })
        };
        match rows.values().find(is_there) {
            None => self.add(wanted, 0, pods(wanted)),
            Some(now) if is_remade(now, wanted) => {
                self.remove_pods(now, u32::MAX);
                self.add(wanted, 0, pods(wanted));
            }
            Some(now) if has_run(now, wanted) || now.key.kind == "PersistentVolumeClaim" => {}
            Some(now) => {
                let (before, after) = (pods(now), pods(wanted));
                self.add(wanted, before, after);
                self.remove_pods(now, before.saturating_sub(after));
            }
        }
    }

    /// What the object makes when it has `after` instances and not `before`.
    fn add(&mut self, row: &Resource, before: u32, after: u32) {
        self.add_pods(row, before, after);
        if row.key.kind == "PersistentVolumeClaim" {
            self.push(ResourceType::Storage, &row.key.name, row.vdu_id.as_ref());
        }
        for template in claim_templates(row) {
            // Claims outlive the pods that a StatefulSet has no more.
            let is_there = |ordinal: &u32| {
                let name = format!("{template}-{}-{ordinal}", row.key.name);
                self.info.is_some_and(|info| info.storages.iter().any(|storage| storage.claim_name == name))
            };
            let new = (before..after).filter(|ordinal| !is_there(ordinal)).count();
            for _ in 0..new {
                self.push(ResourceType::Storage, template, row.vdu_id.as_ref());
            }
        }
    }

    fn add_pods(&mut self, row: &Resource, before: u32, after: u32) {
        let Some(vdu) = &row.vdu_id else { return };
        let added: Vec<String> = (before..after).map(|_| self.push(ResourceType::Compute, vdu, Some(vdu))).collect();
        let there: Vec<String> =
            pods_of(self.info, row).map(|vnfc| vnfc.pod_name.clone()).take(before as usize).collect();
        if !added.is_empty() && added.len() + there.len() > 1 {
            let scopes = apart(row).into_iter();
            let apart = scopes.map(|scope| Apart { scope, added: added.clone(), existing: there.clone() });
            self.demand.apart.extend(apart);
        }
    }

    /// Gives back the identifier.
    fn push(&mut self, kind: ResourceType, template: &str, vdu_id: Option<&String>) -> String {
        let what = match kind {
            ResourceType::Compute => format!("add-compute-{template}"),
            ResourceType::Storage => format!("add-storage-{template}"),
        };
        let number = self.numbers.entry(what.clone()).or_default();
        *number += 1;
        let id = format!("{what}-{number}");
        let (vdu_id, template) = (vdu_id.cloned(), Some(template.to_owned()));
        self.demand.add.push(Definition { id: id.clone(), kind, vdu_id, template, existing: None });
        id
    }

    /// So many pods of the workload, the last ones of a StatefulSet, as it removes these first; of others nobody knows which
    /// the cluster will choose.
    fn remove_pods(&mut self, row: &Resource, number: u32) {
        let mut pods: Vec<&Vnfc> = pods_of(self.info, row).collect();
        let ordinal = |vnfc: &Vnfc| vnfc.pod_name.rsplit('-').next().and_then(|last| last.parse::<u32>().ok());
        if row.key.kind == "StatefulSet" {
            pods.sort_by_key(|vnfc| ordinal(vnfc));
        }
        let removed = pods.iter().rev().take(number as usize).map(|vnfc| removed_pod(vnfc));
        self.demand.remove.extend(removed);
    }

    fn remove_claims(&mut self, row: &Resource) {
        let is_of = |claim: &str| {
            let made = |template: &str| {
                let rest = claim.strip_prefix(template)?.strip_prefix('-')?;
                rest.strip_prefix(row.key.name.as_str())?.strip_prefix('-')?.parse::<u32>().ok()
            };
            (row.key.kind == "PersistentVolumeClaim" && row.key.name == claim)
                || claim_templates(row).into_iter().any(|template| made(template).is_some())
        };
        let claims = self.info.into_iter().flat_map(|info| &info.storages).filter(|it| is_of(&it.claim_name));
        let removed: Vec<Definition> = claims.map(|storage| removed_claim(&storage.claim_name)).collect();
        self.demand.remove.extend(removed);
    }

    fn remove_all(&mut self, info: &InstantiatedVnfInfo) {
        let (pods, claims) = (info.vnfcs.iter().map(removed_pod), info.storages.iter());
        self.demand.remove.extend(pods.chain(claims.map(|storage| removed_claim(&storage.claim_name))));
    }
}

fn pods_of<'r>(info: Option<&'r InstantiatedVnfInfo>, row: &'r Resource) -> impl Iterator<Item = &'r Vnfc> {
    let vnfcs = info.into_iter().flat_map(|info| &info.vnfcs);
    vnfcs.filter(|vnfc| vnfc.workload_kind == row.key.kind && vnfc.workload_name == row.key.name)
}

fn removed_pod(vnfc: &Vnfc) -> Definition {
    Definition {
        id: format!("remove-compute-{}", vnfc.pod_name),
        kind: ResourceType::Compute,
        vdu_id: Some(vnfc.vdu_id.clone()),
        template: None,
        existing: Some((vnfc.pod_name.clone(), vnfc.workload_kind.clone())),
    }
}

fn removed_claim(name: &str) -> Definition {
    Definition {
        id: format!("remove-storage-{name}"),
        kind: ResourceType::Storage,
        vdu_id: None,
        template: None,
        existing: Some((name.to_owned(), "PersistentVolumeClaim".to_owned())),
    }
}

/// How many pods the object makes by its intent.
fn pods(row: &Resource) -> u32 {
    match row.key.kind.as_str() {
        // What an autoscaler sets begins with 1, as Kubernetes has it.
        "Deployment" | "StatefulSet" | "ReplicaSet" => replicas(&row.manifest).unwrap_or(1),
        _ => 1,
    }
}

/// `spec.replicas` as they are now; of a workload whose replicas are an autoscaler's, the 1 that Kubernetes begins with.
fn replicas(manifest: &serde_json::Map<String, Value>) -> Option<u32> {
    let number = manifest.get("spec")?.get("replicas").and_then(Value::as_u64);
    match (number, started_replicas(manifest)) {
        (Some(number), _) => number.try_into().ok(),
        (None, Some(_)) => Some(0),
        (None, None) => Some(1),
    }
}

fn claim_templates(row: &Resource) -> Vec<&str> {
    let templates = row.manifest.get("spec").and_then(|spec| spec.get("volumeClaimTemplates")?.as_array());
    templates.into_iter().flatten().filter_map(|template| template.pointer("/metadata/name")?.as_str()).collect()
}

/// How far the pods of the workload must be from each other: by required anti-affinity to what has the pods' own labels.
fn apart(row: &Resource) -> BTreeSet<Scope> {
    let spec = row.manifest.get("spec");
    let template = spec.and_then(|spec| spec.get("template"));
    let terms = template.and_then(|template| {
        template.pointer("/spec/affinity/podAntiAffinity/requiredDuringSchedulingIgnoredDuringExecution")?.as_array()
    });
    let labels = template.and_then(|template| template.pointer("/metadata/labels"));
    let is_of_these = |term: &&Value| {
        let selector = term.get("labelSelector").and_then(Value::as_object);
        let wanted = selector.filter(|it| it.len() == 1).and_then(|it| it.get("matchLabels")?.as_object());
        wanted.zip(labels).is_some_and(|(wanted, labels)| {
            !wanted.is_empty() && wanted.iter().all(|(name, value)| labels.get(name) == Some(value))
        })
    };
    let scope = |term: &Value| match term.get("topologyKey")?.as_str()? {
        "kubernetes.io/hostname" => Some(Scope::NfviNode),
        "topology.kubernetes.io/zone" => Some(Scope::Zone),
        _ => None,
    };
    terms.into_iter().flatten().filter(is_of_these).filter_map(scope).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::instance::{VirtualStorage, VnfState};
    use crate::domain::plan::{PodRef, ReplicaChange, apply_all, operate, remove_all};
    use crate::domain::resource::KindInfo;

    fn row(kind: &str, name: &str, spec: Value, state: ResourceState) -> Resource {
        let manifest = json!({ "metadata": { "name": name }, "spec": spec });
        Resource {
            key: ObjectKey { api_version: "apps/v1".to_owned(), kind: kind.to_owned(), name: name.to_owned() },
            info: KindInfo { plural: String::new(), namespaced: true },
            vdu_id: (kind != "PersistentVolumeClaim").then(|| name.to_uppercase()),
            manifest: manifest.as_object().unwrap().clone(),
            state,
        }
    }

    fn present() -> ResourceState {
        ResourceState::Present { uid: "uid".to_owned(), owned: true }
    }

    fn vnfc(workload_kind: &str, workload_name: &str, pod_name: &str) -> Vnfc {
        Vnfc {
            vdu_id: workload_name.to_uppercase(),
            pod_name: pod_name.to_owned(),
            pod_uid: String::new(),
            workload_kind: workload_kind.to_owned(),
            workload_name: workload_name.to_owned(),
        }
    }

    fn info() -> InstantiatedVnfInfo {
        InstantiatedVnfInfo {
            flavour_id: String::new(),
            vnf_state: VnfState::Started,
            scale_levels: BTreeMap::new(),
            max_scale_levels: BTreeMap::new(),
            definition_files: Vec::new(),
            vnfcs: [2, 10, 1, 0].map(|n| vnfc("StatefulSet", "db", &format!("db-{n}"))).to_vec(),
            storages: vec![VirtualStorage { claim_name: "data-db-11".to_owned(), claim_uid: String::new() }],
        }
    }

    fn demand(info: Option<&InstantiatedVnfInfo>, steps: &[Step], rows: &[Resource], planned: &[Resource]) -> Demand {
        let mut counting =
            Counting { info, demand: Demand::default(), numbers: BTreeMap::new(), changed: BTreeSet::new() };
        let all = rows.iter().chain(planned).map(|row| (&row.key, row)).collect();
        steps.iter().for_each(|step| counting.step(step, &all, planned));
        counting.demand
    }

    fn database(replicas: u32) -> Resource {
        let claims = json!([{ "metadata": { "name": "data" } }]);
        row("StatefulSet", "db", json!({ "replicas": replicas, "volumeClaimTemplates": claims }), present())
    }

    #[test]
    fn what_is_made_is_added_instance_by_instance() {
        let selector =
            json!({ "labelSelector": { "matchLabels": { "app": "amf" } }, "topologyKey": "kubernetes.io/hostname" });
        let far = json!({ "podAntiAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": [selector] } });
        let template = json!({ "metadata": { "labels": { "app": "amf" } }, "spec": { "affinity": far } });
        let planned = [
            row("Deployment", "amf", json!({ "replicas": 2, "template": template }), ResourceState::Planned),
            row("PersistentVolumeClaim", "logs", json!({}), ResourceState::Planned),
            row("DaemonSet", "upf", json!({}), ResourceState::Planned),
            Resource { state: ResourceState::Planned, ..database(2) },
        ];
        let keys: Vec<ObjectKey> = planned.iter().map(|row| row.key.clone()).collect();
        let demand = demand(None, &apply_all(&keys), &[], &planned);
        let mut asked = demand.asked().add;
        asked.sort();
        assert_eq!(
            asked,
            [
                "add-compute-AMF-1",
                "add-compute-AMF-2",
                "add-compute-DB-1",
                "add-compute-DB-2",
                "add-compute-UPF-1",
                "add-storage-data-1",
                "add-storage-data-2",
                "add-storage-logs-1",
            ]
        );
        assert!(demand.remove.is_empty());
        let added = ["add-compute-AMF-1", "add-compute-AMF-2"].map(str::to_owned).to_vec();
        assert_eq!(demand.apart, [Apart { scope: Scope::NfviNode, added, existing: Vec::new() }]);
    }

    #[test]
    fn scaling_names_the_difference_and_a_claim_that_is_kept_is_not_asked_for_again() {
        let set = |replicas| [Step::SetReplicas { changes: vec![ReplicaChange { object: database(0).key, replicas }] }];
        let info = info();
        let out = demand(Some(&info), &set(13), &[database(11)], &[]);
        assert_eq!(out.asked().add, ["add-compute-DB-1", "add-compute-DB-2", "add-storage-data-1"]);
        assert!(out.remove.is_empty());
        let scaled_in = demand(Some(&info), &set(9), &[database(11)], &[]);
        assert_eq!(scaled_in.asked().remove, ["remove-compute-db-10", "remove-compute-db-2"]);
        assert!(scaled_in.add.is_empty());
    }

    #[test]
    fn a_change_of_package_asks_for_what_it_adds_and_drops() {
        let key = |name: &str| ObjectKey { name: name.to_owned(), ..database(0).key };
        let named = |name: &str, replicas| Resource { key: key(name), ..database(replicas) };
        let before = [database(11), named("old", 1)];
        let rows = vec![database(13), named("new", 1)];
        let mut steps = vec![Step::Change { rows: rows.clone() }, Step::Change { rows: vec![database(13)] }];
        steps.extend(remove_all(&[key("old")], None));
        let mut info = info();
        info.vnfcs.push(Vnfc {
            pod_name: "old-0".to_owned(),
            workload_name: "old".to_owned(),
            ..info.vnfcs[0].clone()
        });
        let demand = demand(Some(&info), &steps, &before, &[]);
        let computes =
            |definitions: &[Definition]| definitions.iter().filter(|it| it.kind == ResourceType::Compute).count();
        assert_eq!(computes(&demand.add), 3, "two more of the one, and the new one: {:?}", demand.add);
        assert_eq!(demand.asked().remove, ["remove-compute-old-0"]);
    }

    #[test]
    fn healing_replaces_pods_and_applies_what_is_there_without_asking() {
        let pods = vec![PodRef { name: "db-1".to_owned(), uid: String::new() }];
        let mut steps = vec![Step::DeletePods { pods }];
        steps.extend(apply_all(&[database(0).key]));
        let demand = demand(Some(&info()), &steps, &[database(11)], &[]);
        assert_eq!(demand.asked().remove, ["remove-compute-db-1"]);
        assert_eq!(demand.asked().add, ["add-compute-for-db-1"]);
        assert_eq!(demand.add[0].vdu_id.as_deref(), Some("DB"));
    }

    #[test]
    fn stopping_gives_pods_back_and_starting_asks_for_them_again() {
        let (keys, info) = ([database(0).key], info());
        let stop = demand(Some(&info), &operate(&keys, &[], VnfState::Stopped, None), &[database(4)], &[]);
        assert_eq!((stop.add.len(), stop.remove.len()), (0, 4));
        let mut stopped = database(4);
        stopped.manifest = with_vnf_state(&stopped.manifest, VnfState::Stopped);
        let start = demand(None, &operate(&keys, &[], VnfState::Started, None), &[stopped], &[]);
        assert_eq!((start.asked().add.len(), start.remove.len()), (4, 0));
        let again = demand(Some(&info), &operate(&keys, &[], VnfState::Started, None), &[database(4)], &[]);
        assert_eq!(again, Demand::default());
    }

    #[test]
    fn removing_a_workload_gives_its_pods_and_claims_back() {
        let mut info = info();
        info.storages.push(VirtualStorage { claim_name: "data-db-x-1".to_owned(), claim_uid: String::new() });
        let demand = demand(Some(&info), &remove_all(&[database(0).key], None), &[database(4)], &[]);
        assert_eq!(demand.remove.len(), 5);
        assert_eq!(demand.asked().remove.last().unwrap(), "remove-storage-data-db-11");
    }
}
