//! Changes the attributes of a VNF instance: the merge patch of `PATCH /vnf_instances/{id}` (SOL003 clause 5.4.3.3.4, RFC 7396).

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::domain::instance::{NAMESPACE_KEY, VnfInstance};
use crate::domain::problem::{Problem, ProblemType, QuotedValues, problem};
use crate::domain::secret::Secret;
use crate::domain::text::{check_length, names};
use crate::domain::vim::VimConnection;
use crate::error::{internal, invalid_body};
use crate::sol003::v2::{VimConnectionInfo, VnfInfoModificationRequest};

/// The attributes that can change. Other members of a patch are ignored with a warning, because they may belong to later editions.
pub(super) const ATTRIBUTES: [&str; 6] = [
    "vnfInstanceName",
    "vnfInstanceDescription",
    "metadata",
    "extensions",
    "vnfConfigurableProperties",
    "vimConnectionInfo",
];
/// The largest metadata, extensions and the like, each in bytes of JSON text.
const MAX_BYTES: usize = 64 * 1024;
/// The most VIM connections of an instance, and their largest total size in bytes of JSON text.
const MAX_CONNECTIONS: (usize, usize) = (64, 256 * 1024);
/// The longest name and description in characters, as in Tacker.
const LONGEST: [(&str, usize); 2] = [("vnfInstanceName", 255), ("vnfInstanceDescription", 1024)];

/// Applies `patch`, which has no `vnfdId`, to `instance`. Returns the patch without secrets, for the op occurrence.
///
/// # Errors
/// 400 if a member is of the wrong type; 422 for an attribute that can't change or is too large.
pub fn apply(instance: &mut VnfInstance, patch: Map<String, Value>) -> Result<Value, Problem> {
    if let Some(name) = ["vnfdId", "vnfPkgId"].iter().find(|name| patch.contains_key(**name)) {
        return Err(problem!(
            ProblemType::Unprocessable,
            "{attribute} can't be changed like this: PATCH of vnfdId and POST …/change_vnfpkg change the package of an INSTANTIATED VNF; for another package, create another instance",
            attribute = name,
        ));
    }
    refuse_without_effect(&patch)?;
    let known = patch.into_iter().filter(|(name, _)| ATTRIBUTES.contains(&name.as_str()));
    let patch: Value = known.collect();
    let typed: Result<VnfInfoModificationRequest, _> = serde_path_to_error::deserialize(&patch);
    refuse_namespace(typed.map_err(|error| invalid_body(&error))?.metadata.as_ref())?;
    let mut document = json!({
        "vnfInstanceName": instance.name,
        "vnfInstanceDescription": instance.description,
        "metadata": instance.metadata.user,
        "extensions": instance.extensions,
        "vnfConfigurableProperties": instance.configurable_properties,
    });
    json_patch::merge(&mut document, &patch);
    let text = |name: &str| document.get(name).and_then(Value::as_str).map(str::to_owned);
    (instance.name, instance.description) = (text("vnfInstanceName"), text("vnfInstanceDescription"));
    refuse_long_texts(instance.name.as_deref(), instance.description.as_deref())?;
    let object = |name: &str| document.get(name).and_then(Value::as_object).cloned().unwrap_or_default();
    instance.metadata.user = object("metadata");
    instance.extensions = object("extensions");
    instance.configurable_properties = object("vnfConfigurableProperties");
    refuse_excess("metadata", Some(&instance.metadata.user))?;
    refuse_excess("extensions", Some(&instance.extensions))?;
    refuse_excess("vnfConfigurableProperties", Some(&instance.configurable_properties))?;

    let mut changed = patch;
    match changed.get("vimConnectionInfo").cloned() {
        Some(Value::Object(entries)) => {
            changed["vimConnectionInfo"] = connections(&mut instance.vim_connections, entries)?;
        }
        Some(_) => instance.vim_connections.clear(),
        None => {}
    }
    Ok(changed)
}

/// Refuses a patch that would change nothing although it has members, and `additionalParams`, which belong to operations.
///
/// # Errors
/// 422.
fn refuse_without_effect(patch: &Map<String, Value>) -> Result<(), Problem> {
    let unknown: Vec<&String> = patch.keys().filter(|name| !ATTRIBUTES.contains(&name.as_str())).collect();
    let has_params = patch.contains_key("additionalParams");
    if !has_params && (unknown.is_empty() || unknown.len() < patch.len()) {
        return Ok(());
    }
    let unknown: QuotedValues =
        if has_params { ["additionalParams"].into_iter().collect() } else { unknown.into_iter().collect() };
    Err(problem!(
        ProblemType::Unprocessable,
        "{attributes} can't be changed by PATCH; these can: {allowed}",
        attributes = unknown,
        allowed = ATTRIBUTES.into_iter().collect::<QuotedValues>(),
    ))
}

/// A warning of the members of a patch that are ignored.
pub fn unknown_attributes(patch: &Map<String, Value>) -> Option<String> {
    let unknown = patch.keys().filter(|name| !ATTRIBUTES.contains(&name.as_str()));
    let unknown: Vec<String> = unknown.map(|name| format!("'{name:.64}'")).collect();
    (!unknown.is_empty()).then(|| format!("these attributes are unknown and ignored: {}", names(unknown.iter())))
}

/// Merges a patch of connections, entry by entry. Returns the patch without secrets.
fn connections(connections: &mut BTreeMap<String, VimConnection>, patch: Map<String, Value>) -> Result<Value, Problem> {
    let mut public = Map::new();
    for (key, entry) in patch {
        if entry.is_null() {
            connections.remove(&key);
            public.insert(key, Value::Null);
            continue;
        }
        let connection = merged(&key, connections.get(&key), entry)?;
        let shown = serde_json::to_value(VimConnectionInfo::from(&connection)).map_err(|error| internal(&error))?;
        public.insert(key.clone(), shown);
        connections.insert(key, connection);
    }
    refuse_excess_connections(connections)?;
    Ok(Value::Object(public))
}

/// The connection `known` with the members of a patch. `accessInfo` has rules of its own ([`VimConnection::take_access`]).
fn merged(key: &str, known: Option<&VimConnection>, mut patch: Value) -> Result<VimConnection, Problem> {
    let given = patch.as_object_mut().and_then(|patch| patch.remove("accessInfo"));
    let mut document = known.map_or(json!({}), |known| json!(VimConnectionInfo::of(known)));
    json_patch::merge(&mut document, &patch);
    let wire: VimConnectionInfo = serde_json::from_value(document).map_err(|_| {
        problem!(ProblemType::BadRequest, "vimConnectionInfo.{key}: a member is of the wrong type", key = key)
    })?;
    let mut connection = VimConnection::from(wire);
    if let Some(known) = known {
        (connection.home, connection.added_by) = (known.home, known.added_by);
        connection.vim_name = known.vim_name.clone().filter(|_| known.vim_id == connection.vim_id);
        connection.lender = known.lender.clone().filter(|_| known.vim_id == connection.vim_id);
    }
    let former = known.filter(|_| !given.as_ref().is_some_and(Value::is_null));
    let given = given.and_then(|given| given.as_object().cloned()).unwrap_or_default();
    connection.take_access(former, given).map_err(|reason| {
        problem!(ProblemType::Unprocessable, "vimConnectionInfo '{key}': {reason}", key = key, reason = reason)
    })?;
    Ok(connection)
}

/// Refuses too many or too large connections.
///
/// # Errors
/// 422.
pub fn refuse_excess_connections(connections: &BTreeMap<String, VimConnection>) -> Result<(), Problem> {
    let (most, most_bytes) = MAX_CONNECTIONS;
    if connections.len() > most {
        return Err(problem!(
            ProblemType::Unprocessable,
            "a VNF instance has at most {limit} vimConnectionInfo entries, and would have {number}",
            limit = most,
            number = connections.len(),
        ));
    }
    let exposed: BTreeMap<_, _> = connections.iter().map(|(key, connection)| (key, exposed(connection))).collect();
    refuse_large("vimConnectionInfo", &exposed, most_bytes)
}

/// Refuses too long names and descriptions.
///
/// # Errors
/// 422.
pub fn refuse_long_texts(name: Option<&str>, description: Option<&str>) -> Result<(), Problem> {
    for (text, (attribute, longest)) in [name, description].into_iter().zip(LONGEST) {
        check_length(attribute, text.unwrap_or_default(), longest)?;
    }
    Ok(())
}

/// A connection with its secrets, as the caller sent it: the target of a merge.
fn exposed(connection: &VimConnection) -> Value {
    let secrets =
        connection.secrets.iter().map(|(name, secret): (&String, &Secret)| (name.clone(), secret.expose().into()));
    let access: Map<String, Value> = connection.access_info.clone().into_iter().chain(secrets).collect();
    json!({
        "vimId": connection.vim_id,
        "vimType": connection.vim_type,
        "interfaceInfo": connection.interface_info,
        "accessInfo": access,
        "extra": connection.extra,
    })
}

/// Refuses the reserved metadata key `namespace`.
///
/// # Errors
/// 422.
pub fn refuse_namespace(metadata: Option<&Map<String, Value>>) -> Result<(), Problem> {
    match metadata.and_then(|metadata| metadata.get(NAMESPACE_KEY)) {
        None => Ok(()),
        Some(_) => Err(Problem::unprocessable(
            "metadata.namespace is reserved: the namespace is given by additionalParams.namespace when the VNF is instantiated, and stays",
        )),
    }
}

/// Refuses a too large free-form attribute.
///
/// # Errors
/// 422.
pub fn refuse_excess(name: &str, members: Option<&Map<String, Value>>) -> Result<(), Problem> {
    members.map_or(Ok(()), |members| refuse_large(name, members, MAX_BYTES))
}

/// Refuses a value of more than `most` bytes as JSON text.
///
/// # Errors
/// 422; 500 if the value can't be serialized, which is a defect.
pub(super) fn refuse_large(name: &str, value: &impl Serialize, most: usize) -> Result<(), Problem> {
    let bytes = serde_json::to_string(value).map_err(|error| internal(&error))?.len();
    if bytes <= most {
        return Ok(());
    }
    Err(problem!(
        ProblemType::Unprocessable,
        "{attribute} would have {bytes} bytes as JSON; at most {limit} are kept",
        attribute = name,
        bytes = bytes,
        limit = most,
    ))
}
