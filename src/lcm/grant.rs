//! Granting (SOL003 clause 9): builds the request for a Grant from a plan, and applies a Grant to the operation. The conductor
//! calls these functions in STARTING if an NFVO is configured.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::domain::grant::{ResourceIds, ResourceRequest};
use crate::domain::instance::VnfInstance;
use crate::domain::interface::Edition;
use crate::domain::op_occ::{LcmOperation, VnfLcmOpOcc};
use crate::domain::problem::{Problem, ProblemType, QuotedValues, problem};
use crate::domain::vdu_mapping::VDU_MAPPING;
use crate::domain::vim::VimConnection;
use crate::lcm::params::{DEFINITION_FILES, InstantiateParams};
use crate::sol003::grant::{Grant, GrantInfo, GrantRequest};

/// The most VIM connections in a Grant.
const MAX_CONNECTIONS: usize = 16;
/// The largest VIM connection, certificates included, in bytes of JSON text.
const MAX_CONNECTION_BYTES: usize = 64 * 1024;

/// The changes that a Grant makes before the operation begins.
#[derive(Debug, Default)]
pub struct GrantChanges {
    /// The instance with the connections of the Grant; `None`: the Grant has no new ones.
    pub instance: Option<VnfInstance>,
    /// Whether the Grant places the VNF in another VIM than planned.
    pub moved: bool,
    /// The parameters of the request with those of the Grant; `None`: unchanged.
    pub params: Option<Value>,
}

/// The request for the resources of `requested`. Its links begin with `base` and are those of `edition`.
pub fn request(
    op: &VnfLcmOpOcc,
    instance: &VnfInstance,
    requested: &ResourceRequest,
    edition: Edition,
    base: &str,
) -> GrantRequest {
    GrantRequest::new(op, instance, requested, edition, base)
}

/// Checks a Grant against the request `asked` and applies it: new VIM connections (only PATCH changes known ones, clause
/// 9.5.2.3), the VIM of the VNF where the request left it open, and `createNamespace` of the additional parameters.
///
/// # Errors
/// 502 if the Grant is of another operation or omits a resource; 422 if it requires something impossible, such as moving a VNF.
pub fn apply(
    grant: &Grant,
    asked: &ResourceIds,
    op: &VnfLcmOpOcc,
    instance: &VnfInstance,
) -> Result<GrantChanges, Problem> {
    if grant.vnf_lcm_op_occ_id != op.id.to_string() || grant.vnf_instance_id != instance.id.to_string() {
        return Err(bad_request("the grant is another operation's, by its vnfLcmOpOccId and vnfInstanceId"));
    }
    answered("addResources", &asked.add, grant.added())?;
    answered("removeResources", &asked.remove, grant.removed())?;
    let params = match (op.operation, &grant.additional_params) {
        (LcmOperation::Instantiate, Some(granted)) => params(granted, op, instance)?,
        _ => None,
    };
    let mut granted = instance.clone();
    let new = connect(&mut granted, grant, op)?;
    let moved = place(&mut granted, grant, op, new.first())?;
    let changed = !new.is_empty() || moved;
    Ok(GrantChanges { instance: changed.then_some(granted), moved, params })
}

/// Checks that the Grant has each requested resource (clause 9.5.2.3).
fn answered(list: &str, asked: &[String], infos: &[GrantInfo]) -> Result<(), Problem> {
    let answers: BTreeSet<&String> = infos.iter().map(|info| &info.resource_definition_id).collect();
    let missing: Vec<&String> = asked.iter().filter(|id| !answers.contains(id)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(problem!(
        ProblemType::GrantIncomplete,
        "the grant does not answer, in {list}: {resourceDefinitionIds}",
        list = list,
        resourceDefinitionIds = missing.into_iter().collect::<QuotedValues>(),
    ))
}

/// Adds the new connections. Returns their ids in the Grant's order.
fn connect(instance: &mut VnfInstance, grant: &Grant, op: &VnfLcmOpOcc) -> Result<Vec<String>, Problem> {
    let connections = grant.connections();
    if connections.len() > MAX_CONNECTIONS {
        return Err(problem!(
            ProblemType::GrantInvalid,
            "the grant brings more than {limit} VIM connections",
            limit = MAX_CONNECTIONS,
        ));
    }
    let mut new = Vec::new();
    for (id, wire) in connections {
        let bytes = serde_json::to_vec(&wire).map_or(usize::MAX, |text| text.len()) + id.len();
        if bytes > MAX_CONNECTION_BYTES || id.is_empty() {
            return Err(problem!(
                ProblemType::GrantInvalid,
                "the grant brings a VIM connection without an id, or of more than {limit} bytes",
                limit = MAX_CONNECTION_BYTES,
            ));
        }
        if instance.vim_connections.contains_key(&id) {
            continue;
        }
        // The rollback of an instantiation removes them again.
        let added_by = (op.operation == LcmOperation::Instantiate).then_some(op.id);
        instance.vim_connections.insert(id.clone(), VimConnection { added_by, ..wire.into() });
        new.push(id);
    }
    Ok(new)
}

/// Makes the VIM of the Grant the home of the VNF if the request left it open. Returns whether the VIM differs from the planned one.
fn place(instance: &mut VnfInstance, grant: &Grant, op: &VnfLcmOpOcc, first: Option<&String>) -> Result<bool, Problem> {
    let infos = grant.added().iter().chain(grant.removed());
    // Some NFVOs send empty strings for absent ids.
    let wanted: BTreeSet<&String> =
        infos.filter_map(|info| info.vim_connection_id.as_ref()).filter(|id| !id.is_empty()).collect();
    if wanted.len() > 1 {
        return Err(problem!(
            ProblemType::Unprocessable,
            "the grant spreads the VNF over several vimConnectionIds ({vimConnectionIds}): it lives in one namespace of one cluster",
            vimConnectionIds = wanted.into_iter().collect::<QuotedValues>(),
        ));
    }
    let wanted = wanted.into_iter().next();
    let home = instance.home().map(|(id, _)| id.clone());
    let stands_in = home.as_ref().filter(|id| is_stand_in(instance, id, op)).cloned();
    if home.is_some() && stands_in.is_none() {
        return match wanted {
            Some(wanted) if Some(wanted) != home.as_ref() => Err(problem!(
                ProblemType::Unprocessable,
                "the grant would have the VNF in vimConnectionInfo '{vimConnectionId}': it is '{allowed}' by its instantiation, and a VNF is not moved",
                vimConnectionId = wanted,
                allowed = home.unwrap_or_default(),
            )),
            _ => Ok(false),
        };
    }
    let Some(chosen) = wanted.or(first).or(home.as_ref()).cloned() else {
        return Err(Problem::unprocessable(
            "no VIM: the request has no vimConnectionInfo, no default VIM is registered, and the grant names none",
        ));
    };
    let Some(connection) = instance.vim_connections.get(&chosen) else {
        return Err(problem!(
            ProblemType::GrantInvalid,
            "the grant does not say what its vimConnectionId '{vimConnectionId}' is",
            vimConnectionId = chosen,
        ));
    };
    if !connection.is_kubernetes() {
        return Err(problem!(
            ProblemType::Unprocessable,
            "the grant would have the VNF in '{vimConnectionId}', of vimType '{vimType}': use {allowed}",
            vimConnectionId = chosen,
            vimType = connection.vim_type,
            allowed = "ETSINFV.KUBERNETES.V_1",
        ));
    }
    if Some(&chosen) == home.as_ref() {
        return Ok(false);
    }
    if let Some(stand_in) = stands_in {
        instance.vim_connections.remove(&stand_in);
    }
    for (id, connection) in &mut instance.vim_connections {
        connection.home = *id == chosen;
    }
    Ok(true)
}

/// Whether the Grant may choose the VIM of the VNF, because the request for the operation names none.
pub fn may_place(op: &VnfLcmOpOcc, instance: &VnfInstance) -> bool {
    instance.home().is_none_or(|(id, _)| is_stand_in(instance, id, op))
}

/// Whether the connection is that of the default VIM, chosen because the instantiation request has none.
fn is_stand_in(instance: &VnfInstance, id: &str, op: &VnfLcmOpOcc) -> bool {
    let requested = op.params.get("vimConnectionInfo").and_then(Value::as_object);
    op.operation == LcmOperation::Instantiate
        && instance.vim_connections.get(id).is_some_and(|connection| connection.added_by == Some(op.id))
        && requested.is_none_or(|requested| !requested.contains_key(id))
}

/// The parameters of the request as the Grant changes them. The Grant cannot change parameters that
/// were decided before the request for it.
fn params(granted: &Map<String, Value>, op: &VnfLcmOpOcc, instance: &VnfInstance) -> Result<Option<Value>, Problem> {
    let read = |members: &Map<String, Value>| InstantiateParams::read(members);
    let said = read(granted)
        .map_err(|problem| problem!(ProblemType::GrantInvalid, "the grant: {reason}", reason = problem.detail))?;
    let requested = op.params.get("additionalParams").and_then(Value::as_object).cloned().unwrap_or_default();
    let namespace = instance.metadata.namespace.as_ref().map(|namespace| Value::from(namespace.as_str()));
    if said.namespace.is_some() && said.namespace != namespace {
        return Err(Problem::unprocessable(
            "the grant names another additionalParams.namespace than the one that was decided on when the operation was accepted",
        ));
    }
    if said.definition_files.is_some() && said.definition_files != read(&requested)?.definition_files {
        return Err(Problem::unprocessable(format!(
            "the grant names other additionalParams.{DEFINITION_FILES} than those whose resources it was asked for"
        )));
    }
    if !said.vdu_mapping.is_empty() && said.vdu_mapping != read(&requested)?.vdu_mapping {
        return Err(Problem::unprocessable(format!(
            "the grant names another additionalParams.{VDU_MAPPING} than the one whose resources it was asked for"
        )));
    }
    const CREATE: &str = "createNamespace";
    let Some(create) = granted.get(CREATE) else { return Ok(None) };
    if said.create_namespace == read(&requested)?.create_namespace {
        return Ok(None);
    }
    let mut params = op.params.clone();
    let mut additional = requested;
    additional.insert(CREATE.to_owned(), create.clone());
    if let Value::Object(members) = &mut params {
        members.insert("additionalParams".to_owned(), additional.into());
    }
    Ok(Some(params))
}

/// 502: the Grant can't be used.
fn bad_request(text: &str) -> Problem {
    Problem::new(ProblemType::GrantInvalid, text)
}
