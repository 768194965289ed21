//! The parts of the VNF descriptor that Gybe uses: flavours, VDUs, scaling aspects, instantiation levels (SOL001).
//!
//! `crate::package::vnfd` reads it out of a CSAR; [`crate::domain::scale`] computes with it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::problem::{Problem, ProblemType, QuotedValues, problem};

/// One onboarded VNFD.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Vnfd {
    /// `descriptor_id`: the `vnfdId` of every request.
    pub id: String,
    /// `descriptor_version`.
    pub version: String,
    /// `provider`.
    pub provider: String,
    /// `product_name`.
    pub product_name: String,
    /// `software_version`.
    pub software_version: String,
    /// `vnfm_info`: the VNFMs that the package supports.
    pub vnfm_info: Vec<String>,
    /// Deployment flavours by their `flavour_id`. Never empty.
    pub flavours: BTreeMap<String, Flavour>,
}

impl Vnfd {
    /// The flavour of that id.
    ///
    /// # Errors
    /// 422 with the flavours of the VNFD.
    pub fn flavour(&self, id: &str) -> Result<&Flavour, Problem> {
        self.flavours.get(id).ok_or_else(|| {
            problem!(
                ProblemType::Unprocessable,
                "flavourId '{flavourId}' is not in the VNFD; it has: {allowed}",
                flavourId = id,
                allowed = self.flavours.keys().collect::<QuotedValues>(),
            )
        })
    }
}

/// A deployment flavour.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Flavour {
    /// `flavour_description`.
    pub description: String,
    /// VDUs by node template name, which is the `vduId` of the API.
    pub vdus: BTreeMap<String, Vdu>,
    /// Scaling aspects by `aspectId`.
    pub aspects: BTreeMap<String, ScalingAspect>,
    /// Instantiation levels by `instantiationLevelId`.
    pub levels: BTreeMap<String, InstantiationLevel>,
    /// The level of a request that names none.
    pub default_level: Option<String>,
}

impl Flavour {
    /// `maxScaleLevels`: the last level of each aspect.
    pub fn max_levels(&self) -> BTreeMap<String, u32> {
        self.aspects.iter().map(|(id, aspect)| (id.clone(), aspect.max_level)).collect()
    }
}

/// The kinds of workload that can realise a VDU.
pub const WORKLOAD_KINDS: [&str; 5] = ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Pod"];

/// A VDU: one workload (Deployment, StatefulSet, ...) whose `metadata.name` is [`Vdu::name`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Vdu {
    /// `properties.name`: the name of the Kubernetes workload that realises the VDU.
    pub name: String,
    /// The only kind of workload that realises the VDU, from a [`vdu_mapping`](crate::domain::vdu_mapping); `None`: each of
    /// [`WORKLOAD_KINDS`]. No descriptor states it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// `vdu_profile.min_number_of_instances`.
    pub min: u32,
    /// `vdu_profile.max_number_of_instances`.
    pub max: u32,
    /// `VduInitialDelta`: the number of instances at level 0 of every aspect that scales this VDU.
    pub initial: Option<u32>,
}

impl Vdu {
    /// Whether a workload of that kind and name realises the VDU.
    pub fn is_realised_by(&self, kind: &str, name: &str) -> bool {
        WORKLOAD_KINDS.contains(&kind) && self.name == name && self.kind.as_deref().is_none_or(|only| only == kind)
    }
}

/// A scaling aspect.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ScalingAspect {
    /// `max_scale_level`; levels run from 0 to this.
    pub max_level: u32,
    /// Per VDU, how many instances each step adds: entry `i` leads from level `i` to `i + 1`; a single entry holds for all steps.
    pub deltas: BTreeMap<String, Vec<u32>>,
}

/// An instantiation level.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct InstantiationLevel {
    /// The scale level of each aspect at this level.
    pub scale_levels: BTreeMap<String, u32>,
    /// `VduInstantiationLevels`: the number of instances of each VDU, where the VNFD states it.
    pub vdu_instances: BTreeMap<String, u32>,
}
