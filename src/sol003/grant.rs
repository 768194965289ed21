//! The grant interface (SOL003 clause 9), of which Gybe is the client: `GrantRequest`, and the part of `Grant` that Gybe reads.
//!
//! Both editions have the same request. A Grant has its VIM connections in an array `vimConnections` in 2.6.1 and in a map
//! `vimConnectionInfo` in 3.3.1; Gybe reads both from any NFVO.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::domain::grant::{AntiAffinity, GrantedResource, PlacementScope, ResourceRequest, ResourceType};
use crate::domain::instance::VnfInstance;
use crate::domain::op_occ::{LcmOperation, VnfLcmOpOcc};
use crate::sol003::common::{Link, optional_id};
use crate::sol003::{Edition, v1, v2};

/// `GrantRequest` (clause 9.5.2.2). Empty lists are sent: some NFVOs require them.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GrantRequest {
    vnf_instance_id: String,
    vnf_lcm_op_occ_id: String,
    vnfd_id: String,
    /// For CHANGE_VNFPKG: the VNFD of the new package.
    #[serde(skip_serializing_if = "Option::is_none")]
    dst_vnfd_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flavour_id: Option<String>,
    operation: &'static str,
    is_automatic_invocation: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    instantiation_level_id: Option<String>,
    add_resources: Vec<ResourceDefinition>,
    remove_resources: Vec<ResourceDefinition>,
    update_resources: Vec<ResourceDefinition>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    placement_constraints: Vec<PlacementConstraint>,
    #[serde(skip_serializing_if = "Option::is_none")]
    additional_params: Option<Value>,
    #[serde(rename = "_links")]
    links: GrantRequestLinks,
}

/// `ResourceDefinition` (clause 9.5.3.2).
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ResourceDefinition {
    id: String,
    #[serde(rename = "type")]
    kind: ResourceType,
    #[serde(skip_serializing_if = "Option::is_none")]
    vdu_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_template_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource: Option<ResourceHandle>,
}

/// `ResourceHandle` (clause 4.4.1.7) of an existing resource.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ResourceHandle {
    vim_connection_id: String,
    resource_id: String,
    vim_level_resource_type: String,
}

/// `PlacementConstraint` (clause 9.5.3.6).
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PlacementConstraint {
    affinity_or_anti_affinity: &'static str,
    scope: PlacementScope,
    resource: Vec<ConstraintResourceRef>,
}

/// `ConstraintResourceRef` (clause 9.5.3.8).
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ConstraintResourceRef {
    id_type: &'static str,
    resource_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    vim_connection_id: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct GrantRequestLinks {
    vnf_lcm_op_occ: Link,
    vnf_instance: Link,
}

impl GrantRequest {
    /// The request of `op` for `requested`. Its links begin with `base` (scheme, host and port) and are those of `edition`.
    pub fn new(
        op: &VnfLcmOpOcc,
        instance: &VnfInstance,
        requested: &ResourceRequest,
        edition: Edition,
        base: &str,
    ) -> Self {
        let root = format!("{base}{}", edition.root());
        let home = instance.vim_connection_id();
        let definitions = |of: &[GrantedResource]| of.iter().map(|it| ResourceDefinition::new(it, home)).collect();
        let asked = |name: &str| op.params.get(name).filter(|value| !value.is_null()).cloned();
        let text = |name: &str| asked(name)?.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let flavour = instance.instantiated.as_ref().map(|info| info.flavour_id.clone());
        let is_instantiation = instance.instantiated.is_none();
        Self {
            vnf_instance_id: instance.id.to_string(),
            vnf_lcm_op_occ_id: op.id.to_string(),
            vnfd_id: instance.vnfd_id.clone(),
            dst_vnfd_id: text("vnfdId").filter(|_| op.operation == LcmOperation::ChangeVnfpkg),
            flavour_id: flavour.or_else(|| text("flavourId")),
            operation: op.operation.as_str(),
            is_automatic_invocation: op.is_automatic_invocation,
            instantiation_level_id: text("instantiationLevelId").filter(|_| is_instantiation),
            add_resources: definitions(&requested.add),
            remove_resources: definitions(&requested.remove),
            update_resources: Vec::new(),
            placement_constraints: requested.apart.iter().map(|apart| PlacementConstraint::new(apart, home)).collect(),
            additional_params: asked("additionalParams"),
            links: GrantRequestLinks {
                vnf_lcm_op_occ: Link::to(format!("{root}/vnf_lcm_op_occs/{}", op.id)),
                vnf_instance: Link::to(format!("{root}/vnf_instances/{}", instance.id)),
            },
        }
    }
}

impl ResourceDefinition {
    fn new(definition: &GrantedResource, vim_connection_id: &str) -> Self {
        let GrantedResource { id, kind, vdu_id, template, existing } = definition.clone();
        let handle = |(resource_id, vim_level_resource_type)| ResourceHandle {
            vim_connection_id: vim_connection_id.to_owned(),
            resource_id,
            vim_level_resource_type,
        };
        Self { id, kind, vdu_id, resource_template_id: template, resource: existing.map(handle) }
    }
}

impl PlacementConstraint {
    fn new(apart: &AntiAffinity, vim_connection_id: &str) -> Self {
        let added = apart.added.iter().map(|id| ConstraintResourceRef {
            id_type: "GRANT",
            resource_id: id.clone(),
            vim_connection_id: None,
        });
        let existing = apart.existing.iter().map(|name| ConstraintResourceRef {
            id_type: "RES_MGMT",
            resource_id: name.clone(),
            vim_connection_id: Some(vim_connection_id.to_owned()),
        });
        Self {
            affinity_or_anti_affinity: "ANTI_AFFINITY",
            scope: apart.scope,
            resource: added.chain(existing).collect(),
        }
    }
}

/// The part of `Grant` (clause 9.5.2.3) that Gybe reads: nothing of reservations, images, zones and networks.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Grant {
    /// Its identifier.
    pub id: String,
    /// The VNF instance.
    pub vnf_instance_id: String,
    /// The operation.
    pub vnf_lcm_op_occ_id: String,
    #[serde(default)]
    vim_connections: Option<Vec<v1::VimConnectionInfo>>,
    #[serde(default)]
    vim_connection_info: Option<BTreeMap<String, v2::VimConnectionInfo>>,
    #[serde(default)]
    add_resources: Option<Vec<GrantInfo>>,
    #[serde(default)]
    remove_resources: Option<Vec<GrantInfo>>,
    /// `additionalParams`.
    #[serde(default)]
    pub additional_params: Option<Map<String, Value>>,
}

/// The part of `GrantInfo` (clause 9.5.3.3) that Gybe reads.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GrantInfo {
    /// `resourceDefinitionId` of the request.
    pub resource_definition_id: String,
    /// The VIM for the resource.
    #[serde(default, deserialize_with = "optional_id")]
    pub vim_connection_id: Option<String>,
}

impl Grant {
    /// The VIM connections in the order of the Grant.
    pub fn connections(&self) -> Vec<(String, v2::VimConnectionInfo)> {
        let array = self.vim_connections.iter().flatten().map(|entry| (entry.id.clone(), entry.info.clone()));
        let map = self.vim_connection_info.iter().flatten().map(|(id, info)| (id.clone(), info.clone()));
        array.chain(map).collect()
    }

    /// The granted additions.
    pub fn added(&self) -> &[GrantInfo] {
        self.add_resources.as_deref().unwrap_or_default()
    }

    /// The granted removals.
    pub fn removed(&self) -> &[GrantInfo] {
        self.remove_resources.as_deref().unwrap_or_default()
    }
}

impl fmt::Debug for Grant {
    /// Without credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grant").field("id", &self.id).finish_non_exhaustive()
    }
}
