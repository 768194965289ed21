//! The plan of an operation: computed once, stored with the op occurrence, replayed after a crash.
//!
//! Every step states the result it must reach. A second run of a step, or of a part of it, changes nothing more.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::domain::instance::{InstantiatedVnfInfo, PackageAttributes, VnfState};
use crate::domain::order::{Class, class, is_awaited, servers, waves};
use crate::domain::resource::{ObjectKey, Resource};
use crate::domain::scale::ScaleLevels;
use crate::domain::warning::Warnings;

/// The number of the format of plans. Increase it with a change that the release before cannot carry out, such as a new kind of step
/// or another meaning of one: its processes then leave such plans to newer ones.
pub const PLAN_FORMAT: u32 = 3;

/// The steps of an operation, the steps that undo them, and the attributes of the VNF afterwards.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The steps to COMPLETED.
    pub forward: Vec<Step>,
    /// The steps from FAILED_TEMP to ROLLED_BACK. `Some` exactly if
    /// [`VnfLcmOpOcc::can_roll_back`](crate::domain::op_occ::VnfLcmOpOcc::can_roll_back); otherwise a rollback fails.
    pub backward: Option<Vec<Step>>,
    /// The scale levels once COMPLETED; `None` if the operation does not change them.
    pub scale_levels: Option<ScaleLevels>,
    /// The state of the VNF once COMPLETED; `None` if the operation does not change it.
    pub vnf_state: Option<VnfState>,
    /// `instantiatedVnfInfo` after an INSTANTIATE, a CHANGE_VNFPKG or a MODIFY_INFO that brings a package, without pods and volumes: these are observed at the end.
    pub instantiated: Option<InstantiatedVnfInfo>,
    /// The package of the VNF once COMPLETED; `None` if the operation does not change it.
    pub package: Option<PackageAttributes>,
    /// What planning found; the op occurrence shows them.
    #[serde(default, skip_serializing_if = "Warnings::is_empty")]
    pub warnings: Warnings,
}

impl Plan {
    /// The inventory rows that its steps write, in either direction.
    pub fn rows(&self) -> impl Iterator<Item = &Resource> {
        let steps = self.forward.iter().chain(self.backward.iter().flatten());
        steps.flat_map(|step| match step {
            Step::DeleteReplaced { rows } | Step::Change { rows, .. } | Step::Restore { rows } => rows.as_slice(),
            _ => &[],
        })
    }

    /// The uids of the pods that it deletes for their controllers to replace.
    pub fn replaced_pods(&self) -> BTreeSet<&str> {
        let pods =
            self.forward.iter().filter_map(|step| if let Step::DeletePods { pods } = step { Some(pods) } else { None });
        pods.flatten().map(|pod| pod.uid.as_str()).collect()
    }
}

/// One step. The objects of a step do not depend on each other; the conductor handles them together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "step")]
pub enum Step {
    /// Make or update the objects by their inventory rows.
    Apply {
        /// Keys of inventory rows.
        objects: Vec<ObjectKey>,
    },
    /// Set the rows to `Intent` before their objects are removed. If a crash loses the record of the removal, the row shows that a
    /// Job must be made again; a Job whose row is `Present` has run and must not run again.
    #[serde(alias = "doubt")]
    MarkUncertain {
        /// Keys of inventory rows.
        objects: Vec<ObjectKey>,
    },
    /// Delete the objects that cannot be updated in place to these rows. Their inventory rows become `Planned` before that.
    #[serde(alias = "clear")]
    DeleteReplaced {
        /// The rows of the new package.
        rows: Vec<Resource>,
    },
    /// Make or update the objects as these rows say, and write the rows into the inventory.
    Change {
        /// The rows of the new package.
        rows: Vec<Resource>,
        /// Whether to set the replicas of workloads that somebody else has scaled, too: their autoscaler is gone.
        #[serde(default)]
        sets_replicas: bool,
    },
    /// Make or update the objects as these rows say, and leave the inventory as it is: a row lacks what others may change.
    Restore {
        /// Rows of the inventory, without some of their fields.
        rows: Vec<Resource>,
    },
    /// Wait until the objects are ready.
    AwaitReady {
        /// Keys of inventory rows.
        objects: Vec<ObjectKey>,
    },
    /// Set the replicas of the workloads, in the inventory and in the cluster.
    SetReplicas {
        /// The workloads.
        changes: Vec<ReplicaChange>,
    },
    /// Scale the workloads to 0, or back to the replicas they had, in the inventory and in the cluster.
    Operate {
        /// Keys of inventory rows.
        objects: Vec<ObjectKey>,
        /// Stopped: to 0; started: back.
        vnf_state: VnfState,
    },
    /// Wait until the workloads, which are scaled to 0, have no pods.
    EndPods {
        /// Keys of inventory rows.
        objects: Vec<ObjectKey>,
        /// As for [`Step::Remove`].
        grace_seconds: Option<u32>,
    },
    /// Delete the pods. Their controllers make others.
    DeletePods {
        /// The pods.
        pods: Vec<PodRef>,
    },
    /// Remove the objects, their dependents, and the volumes claimed by their templates.
    Remove {
        /// Keys of inventory rows.
        objects: Vec<ObjectKey>,
        /// Seconds until pods that still run are killed; 0 kills at once. `None`: the `terminationGracePeriodSeconds` of the pods.
        grace_seconds: Option<u32>,
        /// Whether the rows stay, because the objects will be made again.
        #[serde(default)]
        keep_rows: bool,
    },
}

impl Step {
    /// The name of the step in traces.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Apply { .. } => "apply",
            Self::MarkUncertain { .. } => "mark uncertain",
            Self::DeleteReplaced { .. } => "delete replaced",
            Self::Change { .. } => "change",
            Self::Restore { .. } => "restore",
            Self::AwaitReady { .. } => "await ready",
            Self::SetReplicas { .. } => "set replicas",
            Self::Operate { .. } => "operate",
            Self::EndPods { .. } => "end pods",
            Self::DeletePods { .. } => "delete pods",
            Self::Remove { .. } => "remove",
        }
    }

    /// The name of the step in the API.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Apply { .. } => "Apply",
            Self::MarkUncertain { .. } => "MarkUncertain",
            Self::DeleteReplaced { .. } => "DeleteReplaced",
            Self::Change { .. } => "Change",
            Self::Restore { .. } => "Restore",
            Self::AwaitReady { .. } => "AwaitReady",
            Self::SetReplicas { .. } => "SetReplicas",
            Self::Operate { .. } => "Operate",
            Self::EndPods { .. } => "EndPods",
            Self::DeletePods { .. } => "DeletePods",
            Self::Remove { .. } => "Remove",
        }
    }

    /// What the step does, for people.
    pub fn label(&self) -> String {
        let objects = |verb: &str| match (self.size(), self.objects().next()) {
            (1, Some(key)) => format!("{verb} {key}"),
            (1, None) => format!("{verb} 1 pod"),
            (count, Some(_)) => format!("{verb} {count} objects"),
            (count, None) => format!("{verb} {count} pods"),
        };
        match self {
            Self::Apply { .. } => objects("apply"),
            Self::MarkUncertain { .. } => "note that the objects may change".to_owned(),
            Self::DeleteReplaced { .. } => "delete objects that cannot be updated in place".to_owned(),
            Self::Change { .. } => objects("change"),
            Self::Restore { .. } => objects("bring back"),
            Self::AwaitReady { objects } => match objects.as_slice() {
                [one] => format!("wait until {one} is ready"),
                many => format!("wait until {} objects are ready", many.len()),
            },
            Self::SetReplicas { .. } => objects("set the replicas of"),
            Self::Operate { vnf_state: VnfState::Stopped, .. } => objects("scale to 0:"),
            Self::Operate { vnf_state: VnfState::Started, .. } => objects("scale back:"),
            Self::EndPods { .. } => objects("wait for the end of the pods of"),
            Self::DeletePods { .. } => objects("delete"),
            Self::Remove { .. } => objects("remove"),
        }
    }

    /// Its objects; none of a step for pods.
    pub fn objects(&self) -> impl Iterator<Item = &ObjectKey> {
        let (keys, rows, changes): (&[ObjectKey], &[Resource], &[ReplicaChange]) = match self {
            Self::Apply { objects }
            | Self::MarkUncertain { objects }
            | Self::AwaitReady { objects }
            | Self::Operate { objects, .. }
            | Self::EndPods { objects, .. }
            | Self::Remove { objects, .. } => (objects, &[], &[]),
            Self::DeleteReplaced { rows } | Self::Change { rows, .. } | Self::Restore { rows } => (&[], rows, &[]),
            Self::SetReplicas { changes } => (&[], &[], changes),
            Self::DeletePods { .. } => (&[], &[], &[]),
        };
        keys.iter().chain(rows.iter().map(|row| &row.key)).chain(changes.iter().map(|change| &change.object))
    }

    /// The number of its objects.
    pub fn size(&self) -> usize {
        match self {
            Self::Apply { objects }
            | Self::MarkUncertain { objects }
            | Self::AwaitReady { objects }
            | Self::Operate { objects, .. }
            | Self::EndPods { objects, .. }
            | Self::Remove { objects, .. } => objects.len(),
            Self::DeleteReplaced { rows } | Self::Change { rows, .. } | Self::Restore { rows } => rows.len(),
            Self::SetReplicas { changes } => changes.len(),
            Self::DeletePods { pods } => pods.len(),
        }
    }
}

/// The replicas of one workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaChange {
    /// The workload.
    pub object: ObjectKey,
    /// The new `spec.replicas`.
    pub replicas: u32,
}

/// One pod, by name and uid: a pod of the same name with another uid is another pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodRef {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
}

/// The steps that make the objects of `rows`, class by class, and wait until all are ready.
pub fn apply_all<'a>(rows: impl IntoIterator<Item = &'a Resource>) -> Vec<Step> {
    let rows: Vec<&Resource> = rows.into_iter().collect();
    let keys: Vec<ObjectKey> = rows.iter().map(|row| row.key.clone()).collect();
    let mut steps = Vec::new();
    for (class, objects) in waves(keys.iter().cloned()) {
        let keys: BTreeSet<&ObjectKey> = objects.iter().collect();
        let these = rows.iter().copied().filter(|row| keys.contains(&row.key));
        steps.extend(await_servers(these, &rows));
        steps.push(Step::Apply { objects: objects.clone() });
        if is_awaited(class) {
            steps.push(Step::AwaitReady { objects });
        }
    }
    steps.push(Step::AwaitReady { objects: keys });
    steps
}

/// The wait for the workloads among `all` that must run before `objects` are made.
pub fn await_servers<'a>(objects: impl IntoIterator<Item = &'a Resource>, all: &'a [&Resource]) -> Option<Step> {
    let servers = servers(objects, all);
    (!servers.is_empty()).then_some(Step::AwaitReady { objects: servers })
}

/// The steps that remove all `objects`, class by class in reverse.
pub fn remove_all(objects: &[ObjectKey], grace_seconds: Option<u32>) -> Vec<Step> {
    let waves = waves(objects.iter().cloned());
    waves.into_iter().rev().map(|(_, objects)| Step::Remove { objects, grace_seconds, keep_rows: false }).collect()
}

/// The steps that bring a VNF to `vnf_state`. Its objects are sorted by [`StopMethod`](crate::domain::operate::StopMethod). Webhooks
/// exist only while the workloads run.
pub fn operate(
    scaled: &[ObjectKey],
    deleted: &[ObjectKey],
    vnf_state: VnfState,
    grace_seconds: Option<u32>,
) -> Vec<Step> {
    let (hooks, deleted): (Vec<_>, Vec<_>) = deleted.iter().cloned().partition(|key| class(key) == Class::Admission);
    let scaled = scaled.to_vec();
    let operate = Step::Operate { objects: scaled.clone(), vnf_state };
    let steps = match vnf_state {
        VnfState::Stopped => vec![
            Step::Remove { objects: hooks, grace_seconds: None, keep_rows: true },
            operate,
            Step::Remove { objects: deleted, grace_seconds, keep_rows: true },
            Step::EndPods { objects: scaled.clone(), grace_seconds },
            Step::AwaitReady { objects: scaled },
        ],
        VnfState::Started => {
            let all = [scaled, deleted.clone()].concat();
            let ready = Step::AwaitReady { objects: all };
            vec![operate, Step::Apply { objects: deleted }, ready, Step::Apply { objects: hooks }]
        }
    };
    steps.into_iter().filter(|step| step.size() > 0).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn row(api_version: &str, kind: &str, name: &str, manifest: Value) -> Resource {
        Resource::planned(api_version, kind, name, &manifest)
    }

    /// An adapter: a workload, the API that it serves, an object of that API, and a webhook that another workload answers.
    fn adapter() -> Vec<Resource> {
        let workload = |name: &str| {
            let labels = json!({ "app": name });
            row("apps/v1", "Deployment", name, json!({ "spec": { "template": { "metadata": { "labels": labels } } } }))
        };
        let service = |name: &str| row("v1", "Service", name, json!({ "spec": { "selector": { "app": name } } }));
        let hook = json!({ "webhooks": [{ "clientConfig": { "service": { "name": "hook" } } }] });
        let api = json!({ "spec": { "service": { "name": "api" } } });
        vec![
            row("telemetry.example/v1", "Metric", "m", json!({})),
            row("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", "guard", hook),
            row("apiregistration.k8s.io/v1", "APIService", "v1.telemetry.example", api),
            workload("api"),
            workload("hook"),
            workload("other"),
            service("api"),
            service("hook"),
        ]
    }

    /// What the steps do, with the names of their objects.
    fn told(steps: &[Step]) -> Vec<(&'static str, Vec<&str>)> {
        steps
            .iter()
            .map(|step| match step {
                Step::Apply { objects } | Step::AwaitReady { objects } | Step::Remove { objects, .. } => {
                    (step.name(), objects.iter().map(|key| key.name.as_str()).collect())
                }
                _ => (step.name(), Vec::new()),
            })
            .collect()
    }

    #[test]
    fn what_needs_a_running_workload_is_made_when_that_is_ready() {
        let rows = adapter();
        let steps = apply_all(&rows);
        let (apply, wait) = ("apply", "await ready");
        let all = rows.iter().map(|row| row.key.name.as_str()).collect();
        assert_eq!(
            told(&steps),
            [
                (apply, vec!["api", "hook"]),
                (apply, vec!["api", "hook", "other"]),
                (wait, vec!["api"]),
                (apply, vec!["v1.telemetry.example"]),
                (wait, vec!["v1.telemetry.example"]),
                (apply, vec!["m"]),
                (wait, vec!["hook"]),
                (apply, vec!["guard"]),
                (wait, all),
            ]
        );
    }

    #[test]
    fn webhooks_exist_only_while_the_workloads_run() {
        let rows = adapter();
        let [hook, workload] = [&rows[1], &rows[4]].map(|row| row.key.clone());
        let steps = |state| operate(std::slice::from_ref(&workload), std::slice::from_ref(&hook), state, None);
        let names = |steps: Vec<Step>| steps.iter().map(Step::name).collect::<Vec<_>>();
        assert_eq!(names(steps(VnfState::Stopped)), ["remove", "operate", "end pods", "await ready"]);
        assert_eq!(names(steps(VnfState::Started)), ["operate", "await ready", "apply"]);
    }

    #[test]
    fn webhooks_are_removed_first() {
        let keys: Vec<ObjectKey> = adapter().into_iter().map(|row| row.key).collect();
        let steps = remove_all(&keys, None);
        let order: Vec<&str> = told(&steps).into_iter().map(|(_, names)| names[0]).collect();
        assert_eq!(order, ["guard", "m", "v1.telemetry.example", "api", "api"]);
    }
}
