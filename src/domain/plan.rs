//! The plan of an operation: computed once, stored with the op occurrence, replayed after a crash.
//!
//! Every step says what is to hold afterwards, so that running it again, in whole or in part, changes nothing more.

use serde::{Deserialize, Serialize};

use crate::domain::instance::{InstantiatedVnfInfo, PackageAttributes, VnfState};
use crate::domain::order::{Class, waves};
use crate::domain::resource::{ObjectKey, Resource};
use crate::domain::scale::ScaleLevels;

/// What an operation does, and what undoes it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The steps to COMPLETED.
    pub forward: Vec<Step>,
    /// The steps from FAILED_TEMP to ROLLED_BACK; `None` where the operation can't be rolled back.
    pub backward: Option<Vec<Step>>,
    /// The scale levels that hold once COMPLETED; `None` where the operation leaves them alone.
    pub scale_levels: Option<ScaleLevels>,
    /// The state that the VNF is in once COMPLETED; `None` where the operation leaves it alone.
    pub vnf_state: Option<VnfState>,
    /// What an INSTANTIATE or a CHANGE_VNFPKG makes of the VNF, but for the pods and volumes that will be observed.
    pub instantiated: Option<InstantiatedVnfInfo>,
    /// The package that the VNF has once COMPLETED; `None` where the operation leaves it the one it has.
    pub package: Option<PackageAttributes>,
}

impl Plan {
    /// What its steps write into the inventory, in either direction.
    pub fn rows(&self) -> impl Iterator<Item = &Resource> {
        let steps = self.forward.iter().chain(self.backward.iter().flatten());
        steps.flat_map(|step| match step {
            Step::DeleteReplaced { rows } | Step::Change { rows } => rows.as_slice(),
            _ => &[],
        })
    }
}

/// One step. The objects of a step don't depend on each other and are worked on together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "step")]
pub enum Step {
    /// The objects are there as their intents say.
    Apply {
        /// Keys of inventory rows.
        objects: Vec<ObjectKey>,
    },
    /// The rows don't say any more that the objects are there: they are about to be removed. It tells, if the removal is not
    /// recorded, a Job that is to be made again from one that has run and is not to run again.
    #[serde(alias = "doubt")]
    MarkUncertain {
        /// Keys of inventory rows.
        objects: Vec<ObjectKey>,
    },
    /// What can't become what these rows say by being changed is gone. Its rows say so already, and are `Planned`.
    #[serde(alias = "clear")]
    DeleteReplaced {
        /// What is to be.
        rows: Vec<Resource>,
    },
    /// The objects are there as these rows say, and the rows are those of the inventory.
    Change {
        /// What is to be.
        rows: Vec<Resource>,
    },
    /// The objects are ready.
    AwaitReady {
        /// Keys of inventory rows.
        objects: Vec<ObjectKey>,
    },
    /// The workloads have these replicas, in their intents and in the cluster.
    SetReplicas {
        /// The workloads.
        changes: Vec<ReplicaChange>,
    },
    /// The workloads are stopped (without replicas) or started (with those they had), in their intents and in the cluster.
    Operate {
        /// Keys of inventory rows.
        objects: Vec<ObjectKey>,
        /// Which of the two.
        vnf_state: VnfState,
    },
    /// The workloads, which have no replicas, have no pods any more.
    EndPods {
        /// Keys of inventory rows.
        objects: Vec<ObjectKey>,
        /// As for [`Step::Remove`].
        grace_seconds: Option<u32>,
    },
    /// The pods are gone; whatever controls them makes others.
    DeletePods {
        /// The pods.
        pods: Vec<PodRef>,
    },
    /// The objects, what they own and the volumes claimed by their templates are gone.
    Remove {
        /// Keys of inventory rows.
        objects: Vec<ObjectKey>,
        /// Seconds after which pods that still run are killed; 0: at once, `None`: they get the time their own
        /// `terminationGracePeriodSeconds` gives them.
        grace_seconds: Option<u32>,
        /// Whether the rows stay, as the objects are to be made again.
        #[serde(default)]
        keep_rows: bool,
    },
}

impl Step {
    /// What kind of step it is, in a word or two.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Apply { .. } => "apply",
            Self::MarkUncertain { .. } => "mark uncertain",
            Self::DeleteReplaced { .. } => "delete replaced",
            Self::Change { .. } => "change",
            Self::AwaitReady { .. } => "await ready",
            Self::SetReplicas { .. } => "set replicas",
            Self::Operate { .. } => "operate",
            Self::EndPods { .. } => "end pods",
            Self::DeletePods { .. } => "delete pods",
            Self::Remove { .. } => "remove",
        }
    }

    /// How many objects it is about.
    pub fn size(&self) -> usize {
        match self {
            Self::Apply { objects }
            | Self::MarkUncertain { objects }
            | Self::AwaitReady { objects }
            | Self::Operate { objects, .. }
            | Self::EndPods { objects, .. }
            | Self::Remove { objects, .. } => objects.len(),
            Self::DeleteReplaced { rows } | Self::Change { rows } => rows.len(),
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
    /// Its `spec.replicas` afterwards.
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

/// Makes all `objects`, class by class, and waits until all are ready.
pub fn apply_all(objects: &[ObjectKey]) -> Vec<Step> {
    let mut steps = Vec::new();
    for (class, objects) in waves(objects.iter().cloned()) {
        steps.push(Step::Apply { objects: objects.clone() });
        // Objects of the kinds that a definition brings can't be made before it is established.
        if class == Class::Definition {
            steps.push(Step::AwaitReady { objects });
        }
    }
    steps.push(Step::AwaitReady { objects: objects.to_vec() });
    steps
}

/// Removes all `objects`, class by class in reverse.
pub fn remove_all(objects: &[ObjectKey], grace_seconds: Option<u32>) -> Vec<Step> {
    let waves = waves(objects.iter().cloned());
    waves.into_iter().rev().map(|(_, objects)| Step::Remove { objects, grace_seconds, keep_rows: false }).collect()
}

/// Brings the VNF of these objects, sorted by how they are stopped, to `vnf_state`.
pub fn operate(
    emptied: &[ObjectKey],
    removed: &[ObjectKey],
    vnf_state: VnfState,
    grace_seconds: Option<u32>,
) -> Vec<Step> {
    let [emptied, removed] = [emptied, removed].map(<[ObjectKey]>::to_vec);
    let operate = Step::Operate { objects: emptied.clone(), vnf_state };
    let steps = match vnf_state {
        VnfState::Stopped => vec![
            operate,
            Step::Remove { objects: removed, grace_seconds, keep_rows: true },
            Step::EndPods { objects: emptied.clone(), grace_seconds },
            Step::AwaitReady { objects: emptied },
        ],
        VnfState::Started => {
            let all = [emptied, removed.clone()].concat();
            vec![operate, Step::Apply { objects: removed }, Step::AwaitReady { objects: all }]
        }
    };
    steps.into_iter().filter(|step| step.size() > 0).collect()
}
