//! What a plan would do, object by object: the forward steps of a plan, reduced to one effect on each object.
//!
//! `crate::lcm::preview` asks for the effects, and `crate::infra` compares them with the cluster by dry runs. The steps that only wait or
//! mark rows have no effect.

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use time::OffsetDateTime;

use crate::domain::change::{find, is_unchanged_job, must_be_replaced};
use crate::domain::drift::Difference;
use crate::domain::ids::PlanId;
use crate::domain::mask::Mask;
use crate::domain::namespace::Namespace;
use crate::domain::op_occ::LcmOperation;
use crate::domain::order::announced;
use crate::domain::plan::{Plan, PodRef, Step};
use crate::domain::preflight::Check;
use crate::domain::replicas::with_vnf_state;
use crate::domain::resource::{KindInfo, ObjectKey, Resource, ResourceState};
use crate::domain::warning::Warnings;

/// What a plan does with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Makes or updates it as its row says.
    Apply {
        /// Whether to set the replicas of a workload that somebody else scales, too.
        sets_replicas: bool,
    },
    /// Deletes it and makes it as its row says.
    Replace,
    /// Deletes it.
    Delete,
    /// Deletes a pod that a controller replaces.
    DeletePod,
    /// Leaves it as it is, for this reason.
    Leave(&'static str),
}

/// An object of a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedObject {
    /// The row with the intent that the plan ends with; of an object that is deleted, its present row.
    pub row: Resource,
    pub effect: Effect,
}

/// What would become of an object in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Create,
    Change,
    /// It is deleted and made again.
    Recreate,
    Delete,
    Unchanged,
    /// No dry run can tell; the note says why.
    Unknown,
}

/// An object of a plan, compared with the cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectPreview {
    pub key: ObjectKey,
    /// Whether it lives in the namespace of the VNF.
    pub namespaced: bool,
    pub action: Action,
    /// Those of an object that is changed: `intended` is what the plan makes of `actual`.
    pub differences: Vec<Difference>,
    /// An explanation.
    pub note: Option<String>,
    /// Why the cluster refuses what the plan does with the object.
    pub refusal: Option<String>,
}

impl ObjectPreview {
    /// Hides the secrets that `mask` knows.
    pub fn mask(&mut self, mask: &Mask) {
        for text in self.note.iter_mut().chain(&mut self.refusal) {
            *text = mask.apply(text);
        }
        self.differences.iter_mut().for_each(|difference| difference.mask(mask));
    }
}

/// The answer to a preview.
#[derive(Clone, Debug, PartialEq)]
pub struct Preview {
    /// The kept plan.
    pub plan_id: PlanId,
    /// Until when it is kept.
    pub expires_at: OffsetDateTime,
    pub operation: LcmOperation,
    /// The namespace of the VNF; `None` if the operation needs none.
    pub namespace: Option<Namespace>,
    /// The steps to COMPLETED.
    pub steps: Vec<Step>,
    pub objects: Vec<ObjectPreview>,
    pub checks: Vec<Check>,
    pub warnings: Warnings,
}

/// The effects of the forward steps of `plan`, in the order in which the steps come to the objects. `inventory` has the present rows,
/// `planned` the rows that are added to it or replace rows of it.
pub fn planned_objects(plan: &Plan, inventory: &[Resource], planned: &[Resource]) -> Vec<PlannedObject> {
    let mut script = Script { rows: inventory.to_vec(), objects: Vec::new() };
    planned.iter().for_each(|row| script.write(row.clone()));
    plan.forward.iter().for_each(|step| script.step(step));
    script.objects
}

/// The objects and rows after some of the steps.
struct Script {
    rows: Vec<Resource>,
    objects: Vec<PlannedObject>,
}

impl Script {
    fn step(&mut self, step: &Step) {
        match step {
            Step::Apply { objects } => self.each(objects, |row| row),
            Step::Operate { objects, vnf_state } => self.each(objects, |row| {
                let manifest = with_vnf_state(&row.manifest, *vnf_state);
                Resource { manifest, ..row }
            }),
            Step::SetReplicas { changes } => {
                for change in changes {
                    let Some(row) = self.row(&change.object) else { continue };
                    let manifest = row.manifest_with_replicas(change.replicas);
                    self.record(Resource { manifest, ..row }, Effect::Apply { sets_replicas: true });
                }
            }
            Step::DeleteReplaced { rows } => {
                for row in rows {
                    let is_replaced = find(&self.rows, &row.key).is_some_and(|now| must_be_replaced(now, row));
                    if is_replaced {
                        self.record(row.clone(), Effect::Replace);
                    }
                }
            }
            Step::Change { rows, sets_replicas } => {
                for row in rows {
                    let now = find(&self.rows, &row.key);
                    if now.is_some_and(|now| is_unchanged_job(now, row)) {
                        self.record(row.clone(), Effect::Leave("a Job that was made does not run again"));
                        continue;
                    }
                    let state = now.map(|now| now.state.clone()).unwrap_or_default();
                    let row = Resource { state, ..row.clone() };
                    self.record(row, Effect::Apply { sets_replicas: *sets_replicas });
                }
            }
            Step::Restore { rows } => {
                for row in rows {
                    let state = find(&self.rows, &row.key).map(|now| now.state.clone()).unwrap_or_default();
                    self.record(Resource { state, ..row.clone() }, Effect::Apply { sets_replicas: false });
                }
            }
            Step::Remove { objects, .. } => {
                for key in objects {
                    let Some(row) = self.row(key) else { continue };
                    self.record(row, Effect::Delete);
                }
            }
            Step::DeletePods { pods } => pods.iter().for_each(|pod| self.delete_pod(pod)),
            Step::MarkUncertain { .. } | Step::AwaitReady { .. } | Step::EndPods { .. } => {}
        }
    }

    fn each(&mut self, objects: &[ObjectKey], intent: impl Fn(Resource) -> Resource) {
        for key in objects {
            let Some(row) = self.row(key) else { continue };
            self.record(intent(row), Effect::Apply { sets_replicas: false });
        }
    }

    /// A bare pod is an object of the inventory, which a later step makes again.
    fn delete_pod(&mut self, pod: &PodRef) {
        let is_it = |row: &&Resource| matches!(&row.state, ResourceState::Present { uid, .. } if *uid == pod.uid);
        match self.rows.iter().find(is_it).cloned() {
            Some(row) => self.record(row, Effect::Replace),
            None => self.record(pod_row(pod), Effect::DeletePod),
        }
    }

    fn row(&self, key: &ObjectKey) -> Option<Resource> {
        find(&self.rows, key).cloned()
    }

    /// Writes a row. One that exists keeps its state.
    fn write(&mut self, row: Resource) {
        match self.rows.iter_mut().find(|now| now.key.is_same_object(&row.key)) {
            Some(now) => *now = Resource { state: now.state.clone(), ..row },
            None => self.rows.push(row),
        }
    }

    /// Adds an effect to what the steps before do with the object.
    fn record(&mut self, row: Resource, effect: Effect) {
        if !matches!(effect, Effect::Delete | Effect::DeletePod) {
            self.write(row.clone());
        }
        if effect == Effect::Replace
            && let Some(now) = self.rows.iter_mut().find(|now| now.key.is_same_object(&row.key))
        {
            now.state = ResourceState::Planned;
        }
        let Some(object) = self.objects.iter_mut().find(|it| it.row.key.is_same_object(&row.key)) else {
            self.objects.push(PlannedObject { row, effect });
            return;
        };
        object.effect = match (object.effect, effect) {
            (Effect::Delete | Effect::Replace, Effect::Apply { .. }) => Effect::Replace,
            (Effect::Apply { sets_replicas: before }, Effect::Apply { sets_replicas }) => {
                Effect::Apply { sets_replicas: before || sets_replicas }
            }
            (_, last) => last,
        };
        object.row = row;
    }
}

/// The row of a pod that a controller has made.
fn pod_row(pod: &PodRef) -> Resource {
    Resource {
        key: ObjectKey { api_version: "v1".to_owned(), kind: "Pod".to_owned(), name: pod.name.clone() },
        info: KindInfo { plural: "pods".to_owned(), namespaced: true },
        vdu_id: None,
        manifest: Map::new(),
        state: ResourceState::Present { uid: pod.uid.clone(), owned: true },
    }
}

/// What a plan makes that may be missing in the cluster until then.
pub struct Brought<'a> {
    rows: Vec<&'a Resource>,
    versions: BTreeSet<String>,
}

impl<'a> Brought<'a> {
    /// Of a plan with these objects.
    pub fn of(objects: &'a [PlannedObject]) -> Self {
        let is_made = |object: &&PlannedObject| matches!(object.effect, Effect::Apply { .. } | Effect::Replace);
        let rows: Vec<&Resource> = objects.iter().filter(is_made).map(|object| &object.row).collect();
        let versions = rows.iter().flat_map(|row| defined_versions(row)).collect();
        Self { rows, versions }
    }

    /// Whether it makes the Namespace.
    pub fn has_namespace(&self, name: &str) -> bool {
        self.rows.iter().any(|row| row.key.group().is_empty() && row.key.kind == "Namespace" && row.key.name == name)
    }

    /// Whether a definition among its objects makes the cluster serve `api_version`.
    pub fn serves(&self, api_version: &str) -> bool {
        self.versions.contains(api_version)
    }

    /// Whether the refusal of `key` names another object of the plan, which may be missing now.
    pub fn is_named_in(&self, refusal: &str, key: &ObjectKey) -> bool {
        let is_named = |row: &&Resource| {
            let name = &row.key.name;
            !row.key.is_same_object(key) && refusal.split(is_outside_names).any(|word| word == name)
        };
        refusal.contains("not found") && self.rows.iter().any(is_named) || self.names_class(refusal)
    }

    fn names_class(&self, refusal: &str) -> bool {
        let mut classes = self.rows.iter().filter(|row| row.key.kind.ends_with("Class"));
        refusal.contains("Class") && classes.any(|row| refusal.split(is_outside_names).any(|word| word == row.key.name))
    }
}

fn is_outside_names(letter: char) -> bool {
    !(letter.is_ascii_alphanumeric() || letter == '-' || letter == '.' || letter == ':')
}

/// Each `apiVersion` that a CustomResourceDefinition defines, or an `APIService` announces.
fn defined_versions(row: &Resource) -> Vec<String> {
    if let Some(version) = announced(&row.key) {
        return vec![version];
    }
    if row.key.kind != "CustomResourceDefinition" {
        return Vec::new();
    }
    let Some(spec) = row.manifest.get("spec") else { return Vec::new() };
    let group = spec.get("group").and_then(Value::as_str).unwrap_or_default();
    let versions = spec.get("versions").and_then(Value::as_array).into_iter().flatten();
    versions.filter_map(|version| Some(format!("{group}/{}", version.get("name")?.as_str()?))).collect()
}

/// The objects of a step, pods included.
pub fn step_objects(step: &Step) -> Vec<ObjectKey> {
    match step {
        Step::DeletePods { pods } => pods.iter().map(|pod| pod_row(pod).key).collect(),
        _ => step.objects().cloned().collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::change::forward;
    use crate::domain::instance::VnfState;
    use crate::domain::plan::{apply_all, operate, remove_all};

    fn row(api_version: &str, kind: &str, name: &str, spec: Value) -> Resource {
        Resource::planned(api_version, kind, name, &json!({ "spec": spec }))
    }

    fn present(row: Resource) -> Resource {
        let uid = format!("uid-{}", row.key.name);
        Resource { state: ResourceState::Present { uid, owned: true }, ..row }
    }

    fn plan(forward: Vec<Step>) -> Plan {
        Plan { forward, ..Plan::default() }
    }

    fn told(objects: &[PlannedObject]) -> Vec<(&str, Effect)> {
        objects.iter().map(|object| (object.row.key.name.as_str(), object.effect)).collect()
    }

    const APPLY: Effect = Effect::Apply { sets_replicas: false };

    #[test]
    fn leftovers_of_an_instantiation_are_deleted_and_the_rest_is_applied_with_its_new_intent() {
        let old = [present(row("v1", "ConfigMap", "a", json!(1))), present(row("v1", "ConfigMap", "left", json!(1)))];
        let new = [row("v1", "ConfigMap", "a", json!(2)), row("v1", "ConfigMap", "b", json!(2))];
        let mut steps = remove_all(&[old[1].key.clone()], Some(0));
        steps.extend(apply_all(&new));
        let objects = planned_objects(&plan(steps), &old, &new);
        assert_eq!(told(&objects), [("left", Effect::Delete), ("a", APPLY), ("b", APPLY)]);
        assert_eq!((&objects[1].row.manifest["spec"], &objects[1].row.state), (&json!(2), &old[0].state));
    }

    #[test]
    fn a_change_of_package_replaces_jobs_that_differ_and_leaves_those_that_do_not() {
        let job = |name: &str, spec: u32| present(row("batch/v1", "Job", name, json!(spec)));
        let before = [job("same", 1), job("other", 1), present(row("v1", "ConfigMap", "gone", json!(1)))];
        let after = [job("same", 1), job("other", 2), row("v1", "ConfigMap", "new", json!(1))];
        let objects = planned_objects(&plan(forward(&before, &after)), &before, &[]);
        let left = Effect::Leave("a Job that was made does not run again");
        assert_eq!(
            told(&objects),
            [("new", APPLY), ("other", Effect::Replace), ("same", left), ("gone", Effect::Delete)]
        );
    }

    #[test]
    fn a_heal_replaces_bare_pods_and_deletes_those_of_controllers() {
        let rows =
            [present(row("v1", "Pod", "bare", json!({}))), present(row("apps/v1", "Deployment", "web", json!({})))];
        let pod = |name: &str| PodRef { name: name.to_owned(), uid: format!("uid-{name}") };
        let mut steps = vec![Step::DeletePods { pods: vec![pod("bare"), pod("web-1")] }];
        steps.extend(apply_all(&rows));
        let objects = planned_objects(&plan(steps), &rows, &[]);
        assert_eq!(told(&objects), [("bare", Effect::Replace), ("web-1", Effect::DeletePod), ("web", APPLY)]);
    }

    #[test]
    fn a_stop_scales_to_zero_and_deletes_what_has_no_replicas() {
        let rows = [
            present(row("apps/v1", "Deployment", "web", json!({ "replicas": 3 }))),
            present(row("apps/v1", "DaemonSet", "agent", json!({}))),
        ];
        let [web, agent] = [&rows[0], &rows[1]].map(|row| row.key.clone());
        let steps = operate(&[web], &[agent], VnfState::Stopped, None);
        let objects = planned_objects(&plan(steps), &rows, &[]);
        assert_eq!(told(&objects), [("web", APPLY), ("agent", Effect::Delete)]);
        assert_eq!(objects[0].row.manifest["spec"]["replicas"], 0);
    }

    #[test]
    fn a_refusal_that_names_what_the_plan_brings_is_none_yet() {
        let definition = row(
            "apiextensions.k8s.io/v1",
            "CustomResourceDefinition",
            "slices.x.example",
            json!({ "group": "x.example", "versions": [{ "name": "v1" }] }),
        );
        let rows = [definition, row("v1", "Role", "reader", json!({})), row("v1", "PriorityClass", "high", json!({}))];
        let objects: Vec<PlannedObject> = rows.into_iter().map(|row| PlannedObject { row, effect: APPLY }).collect();
        let (brought, binding) = (Brought::of(&objects), row("v1", "RoleBinding", "reader-b", json!({})).key);
        assert!(brought.serves("x.example/v1") && !brought.serves("x.example/v2"));
        for (refusal, expected) in [
            (r#"roles "reader" not found"#, true),
            (r#"roles "readers" not found"#, false),
            (r#"no PriorityClass with name high was found"#, true),
            (r#"no PriorityClass with name low was found"#, false),
            (r#"reader is forbidden: exceeded quota"#, false),
        ] {
            assert_eq!(brought.is_named_in(refusal, &binding), expected, "{refusal}");
        }
    }
}
