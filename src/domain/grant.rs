//! The resources that an operation adds and removes, as it asks the NFVO for them (granting, SOL003 clause 9).
//!
//! Pods of VDUs are COMPUTE resources, volume claims are STORAGE. The resources follow from the steps of the plan, their identifiers
//! from names and numbers: the same plan always asks for the same. A DaemonSet counts as one pod, because only the cluster knows how
//! many it makes.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::change::{is_unchanged_job, must_be_replaced};
use crate::domain::instance::{InstantiatedVnfInfo, VnfInstance, Vnfc};
use crate::domain::op_occ::LcmOperation;
use crate::domain::plan::{Plan, Step};
use crate::domain::replicas::{started_replicas, with_vnf_state};
use crate::domain::resource::{ObjectKey, Resource, ResourceState};

/// A Grant that the NFVO has not decided on yet (clause 9.4.2.3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingGrant {
    /// The URI at which it will appear.
    pub uri: String,
    /// The resources that it must cover.
    pub asked: ResourceIds,
}

/// Identifiers of the resource definitions of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceIds {
    /// Resources to add.
    pub add: Vec<String>,
    /// Resources to remove.
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

/// A resource to add or remove (`ResourceDefinition`, clause 9.5.3.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantedResource {
    /// Its identifier in the request.
    pub id: String,
    /// Its type.
    pub kind: ResourceType,
    /// Its VDU, if any.
    pub vdu_id: Option<String>,
    /// Of a resource to add: its name in the VNFD or in the package.
    pub template: Option<String>,
    /// Of an existing resource: its name in the cluster, and the kind of object that it comes from.
    pub existing: Option<(String, String)>,
}

/// How far apart instances must be (`PlacementConstraint.scope`, clause 9.5.3.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PlacementScope {
    /// Each on another node.
    NfviNode,
    /// Each in another zone.
    Zone,
}

/// Instances of one workload that must be apart (`PlacementConstraint` with anti-affinity).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AntiAffinity {
    /// How far.
    pub scope: PlacementScope,
    /// The instances to add, by their identifiers in the request.
    pub added: Vec<String>,
    /// The existing instances that stay, by their names.
    pub existing: Vec<String>,
}

/// The resources that an operation asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceRequest {
    /// Resources to add.
    pub add: Vec<GrantedResource>,
    /// Resources to remove.
    pub remove: Vec<GrantedResource>,
    /// Which of them must be apart.
    pub apart: Vec<AntiAffinity>,
}

impl ResourceRequest {
    /// The resources that `plan` adds and removes, given the present `inventory` and the `planned` rows that are added to it or
    /// replace rows of it.
    pub fn new(
        operation: LcmOperation,
        instance: &VnfInstance,
        plan: &Plan,
        inventory: &[Resource],
        planned: &[Resource],
    ) -> Self {
        let info = instance.instantiated.as_ref();
        let rows: BTreeMap<&ObjectKey, &Resource> =
            inventory.iter().chain(planned).map(|row| (&row.key, row)).collect();
        let mut counter =
            ResourceCounter { info, request: Self::default(), numbers: BTreeMap::new(), changed: BTreeSet::new() };
        for step in &plan.forward {
            counter.step(step, &rows, planned);
        }
        if operation == LcmOperation::Terminate {
            // All there are: no manifest names the pods and claims of custom resources.
            counter.request.remove.clear();
            info.into_iter().for_each(|info| counter.remove_all(info));
        }
        counter.request
    }

    /// The identifiers that a Grant must cover.
    pub fn ids(&self) -> ResourceIds {
        let ids = |definitions: &[GrantedResource]| definitions.iter().map(|it| it.id.clone()).collect();
        ResourceIds { add: ids(&self.add), remove: ids(&self.remove) }
    }
}

/// Adds up the resources step by step.
struct ResourceCounter<'a> {
    info: Option<&'a InstantiatedVnfInfo>,
    request: ResourceRequest,
    /// How many resources of each name were added.
    numbers: BTreeMap<String, u32>,
    /// The objects whose change was counted.
    changed: BTreeSet<ObjectKey>,
}

impl ResourceCounter<'_> {
    fn step(&mut self, step: &Step, rows: &BTreeMap<&ObjectKey, &Resource>, planned: &[Resource]) {
        let row = |key: &ObjectKey| rows.get(key).copied();
        match step {
            Step::Apply { objects } => {
                // A row that is planned now replaces one that an earlier instantiation left.
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
            // The controller of each pod makes another one.
            Step::DeletePods { pods } => {
                for pod in pods {
                    let vnfc = self.info.and_then(|info| info.vnfcs.iter().find(|vnfc| vnfc.pod_name == pod.name));
                    let vdu_id = vnfc.map(|vnfc| vnfc.vdu_id.clone());
                    let kind = vnfc.map_or("Pod", |vnfc| &vnfc.workload_kind).to_owned();
                    self.request.remove.push(GrantedResource {
                        id: format!("remove-compute-{}", pod.name),
                        kind: ResourceType::Compute,
                        vdu_id: vdu_id.clone(),
                        template: None,
                        existing: Some((pod.name.clone(), kind)),
                    });
                    self.request.add.push(GrantedResource {
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
            Step::Change { rows: wanted, .. } => wanted.iter().for_each(|row| self.change(row, rows)),
            // The `Change` that follows counts objects that are replaced.
            Step::AwaitReady { .. }
            | Step::EndPods { .. }
            | Step::Restore { .. }
            | Step::DeleteReplaced { .. }
            | Step::MarkUncertain { .. } => {}
        }
    }

    /// Counts the change of an object to `wanted`. A rolling replacement of pods counts as no change.
    fn change(&mut self, wanted: &Resource, rows: &BTreeMap<&ObjectKey, &Resource>) {
        // A workload that an autoscaler scaled is changed twice.
        if !self.changed.insert(wanted.key.clone()) {
            return;
        }
        let is_there = |row: &&&Resource| {
            row.key.is_same_object(&wanted.key) && matches!(row.state, ResourceState::Present { .. })
        };
        match rows.values().find(is_there) {
            None => self.add(wanted, 0, pods(wanted)),
            Some(now) if must_be_replaced(now, wanted) => {
                self.remove_pods(now, u32::MAX);
                self.add(wanted, 0, pods(wanted));
            }
            Some(now) if is_unchanged_job(now, wanted) || now.key.kind == "PersistentVolumeClaim" => {}
            Some(now) => {
                let (before, after) = (pods(now), pods(wanted));
                self.add(wanted, before, after);
                self.remove_pods(now, before.saturating_sub(after));
            }
        }
    }

    /// Counts what the object makes when it goes from `before` to `after` instances.
    fn add(&mut self, row: &Resource, before: u32, after: u32) {
        self.add_pods(row, before, after);
        if row.key.kind == "PersistentVolumeClaim" {
            self.push(ResourceType::Storage, &row.key.name, row.vdu_id.as_ref());
        }
        for template in claim_templates(row) {
            // The claims of a StatefulSet outlive its pods.
            let exists = |ordinal: &u32| {
                let name = format!("{template}-{}-{ordinal}", row.key.name);
                self.info.is_some_and(|info| info.storages.iter().any(|storage| storage.claim_name == name))
            };
            let new = (before..after).filter(|ordinal| !exists(ordinal)).count();
            for _ in 0..new {
                self.push(ResourceType::Storage, template, row.vdu_id.as_ref());
            }
        }
    }

    fn add_pods(&mut self, row: &Resource, before: u32, after: u32) {
        let Some(vdu) = &row.vdu_id else { return };
        let added: Vec<String> = (before..after).map(|_| self.push(ResourceType::Compute, vdu, Some(vdu))).collect();
        let existing: Vec<String> =
            pods_of(self.info, row).map(|vnfc| vnfc.pod_name.clone()).take(before as usize).collect();
        if !added.is_empty() && added.len() + existing.len() > 1 {
            let scopes = anti_affinity_scopes(row).into_iter();
            let apart = scopes.map(|scope| AntiAffinity { scope, added: added.clone(), existing: existing.clone() });
            self.request.apart.extend(apart);
        }
    }

    /// Adds a resource; returns its identifier.
    fn push(&mut self, kind: ResourceType, template: &str, vdu_id: Option<&String>) -> String {
        let what = match kind {
            ResourceType::Compute => format!("add-compute-{template}"),
            ResourceType::Storage => format!("add-storage-{template}"),
        };
        let number = self.numbers.entry(what.clone()).or_default();
        *number += 1;
        let id = format!("{what}-{number}");
        let (vdu_id, template) = (vdu_id.cloned(), Some(template.to_owned()));
        self.request.add.push(GrantedResource { id: id.clone(), kind, vdu_id, template, existing: None });
        id
    }

    /// Removes `number` pods of the workload. A StatefulSet deletes its last pods first; which pods another workload deletes is not
    /// known.
    fn remove_pods(&mut self, row: &Resource, number: u32) {
        let mut pods: Vec<&Vnfc> = pods_of(self.info, row).collect();
        let ordinal = |vnfc: &Vnfc| vnfc.pod_name.rsplit('-').next().and_then(|last| last.parse::<u32>().ok());
        if row.key.kind == "StatefulSet" {
            pods.sort_by_key(|vnfc| ordinal(vnfc));
        }
        let removed = pods.iter().rev().take(number as usize).map(|vnfc| removed_pod(vnfc));
        self.request.remove.extend(removed);
    }

    fn remove_claims(&mut self, row: &Resource) {
        let is_of = |claim: &str| {
            let ordinal = |template: &str| {
                let rest = claim.strip_prefix(template)?.strip_prefix('-')?;
                rest.strip_prefix(row.key.name.as_str())?.strip_prefix('-')?.parse::<u32>().ok()
            };
            (row.key.kind == "PersistentVolumeClaim" && row.key.name == claim)
                || claim_templates(row).into_iter().any(|template| ordinal(template).is_some())
        };
        let claims = self.info.into_iter().flat_map(|info| &info.storages).filter(|it| is_of(&it.claim_name));
        let removed: Vec<GrantedResource> = claims.map(|storage| removed_claim(&storage.claim_name)).collect();
        self.request.remove.extend(removed);
    }

    fn remove_all(&mut self, info: &InstantiatedVnfInfo) {
        let (pods, claims) = (info.vnfcs.iter().map(removed_pod), info.storages.iter());
        self.request.remove.extend(pods.chain(claims.map(|storage| removed_claim(&storage.claim_name))));
    }
}

fn pods_of<'r>(info: Option<&'r InstantiatedVnfInfo>, row: &'r Resource) -> impl Iterator<Item = &'r Vnfc> {
    let vnfcs = info.into_iter().flat_map(|info| &info.vnfcs);
    vnfcs.filter(|vnfc| vnfc.workload_kind == row.key.kind && vnfc.workload_name == row.key.name)
}

fn removed_pod(vnfc: &Vnfc) -> GrantedResource {
    GrantedResource {
        id: format!("remove-compute-{}", vnfc.pod_name),
        kind: ResourceType::Compute,
        vdu_id: Some(vnfc.vdu_id.clone()),
        template: None,
        existing: Some((vnfc.pod_name.clone(), vnfc.workload_kind.clone())),
    }
}

fn removed_claim(name: &str) -> GrantedResource {
    GrantedResource {
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
        // An autoscaled workload begins with 1, Kubernetes' default.
        "Deployment" | "StatefulSet" | "ReplicaSet" => replicas(&row.manifest).unwrap_or(1),
        _ => 1,
    }
}

/// `spec.replicas` as they are now; of an autoscaled workload 1, Kubernetes' default.
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

/// How far apart the pods of the workload must be: by required anti-affinity to their own labels.
fn anti_affinity_scopes(row: &Resource) -> BTreeSet<PlacementScope> {
    let spec = row.manifest.get("spec");
    let template = spec.and_then(|spec| spec.get("template"));
    let terms = template.and_then(|template| {
        template.pointer("/spec/affinity/podAntiAffinity/requiredDuringSchedulingIgnoredDuringExecution")?.as_array()
    });
    let labels = template.and_then(|template| template.pointer("/metadata/labels"));
    let selects_own_pods = |term: &&Value| {
        let selector = term.get("labelSelector").and_then(Value::as_object);
        let wanted = selector.filter(|it| it.len() == 1).and_then(|it| it.get("matchLabels")?.as_object());
        wanted.zip(labels).is_some_and(|(wanted, labels)| {
            !wanted.is_empty() && wanted.iter().all(|(name, value)| labels.get(name) == Some(value))
        })
    };
    let scope = |term: &Value| match term.get("topologyKey")?.as_str()? {
        "kubernetes.io/hostname" => Some(PlacementScope::NfviNode),
        "topology.kubernetes.io/zone" => Some(PlacementScope::Zone),
        _ => None,
    };
    terms.into_iter().flatten().filter(selects_own_pods).filter_map(scope).collect()
}

#[cfg(test)]
mod tests;
