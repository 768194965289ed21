//! Names and ids: commands take both. A name that several things have is an error that lists their ids.

use serde_json::Value;
use uuid::Uuid;

use crate::cli::output::text_at;
use crate::cli::server::{Server, encoded, equals};
use crate::cli::{CliError, Exit};

/// The root of the VNF lifecycle management.
pub const VNFLCM: &str = "/vnflcm/v2";
/// The root of the package management.
pub const VNFPKGM: &str = "/vnfpkgm/v2";

fn is_id(text: &str) -> bool {
    text.len() == 36 && text.parse::<Uuid>().is_ok()
}

/// The one id among what has the name.
fn only(what: &str, name: &str, found: &[Value]) -> Result<String, CliError> {
    let ids: Vec<String> = found.iter().map(|one| text_at(one, "/id")).collect();
    match ids.as_slice() {
        [id] => Ok(id.clone()),
        [] => {
            let list = what.rsplit(' ').next().unwrap_or(what).to_lowercase();
            Err(CliError::new(Exit::NotFound, format!("there is no {what} '{name}'; see: gybe {list} list")))
        }
        _ => {
            let text = format!("{} {what}s have the name '{name}'; give the id: {}", ids.len(), ids.join(", "));
            Err(CliError::new(Exit::NotFound, text))
        }
    }
}

/// The id of a VNF instance.
///
/// # Errors
/// There is none or several of that name.
pub async fn vnf(server: &Server, name: &str) -> Result<String, CliError> {
    if is_id(name) {
        return Ok(name.to_owned());
    }
    only("VNF", name, &named_vnfs(server, name).await?)
}

/// The VNF instances of that name.
///
/// # Errors
/// As the server answers.
pub async fn named_vnfs(server: &Server, name: &str) -> Result<Vec<Value>, CliError> {
    server.list(&format!("{VNFLCM}/vnf_instances?{}", equals("vnfInstanceName", name))).await
}

/// The op occurrence of that id, or the last one of the VNF of that name.
///
/// # Errors
/// There is none.
pub async fn operation(server: &Server, name: &str) -> Result<String, CliError> {
    if is_id(name) {
        return Ok(name.to_owned());
    }
    let vnf = vnf(server, name).await?;
    let all = operations(server, &vnf).await?;
    let last = all.last().map(|op| text_at(op, "/id"));
    last.ok_or_else(|| {
        CliError::new(Exit::NotFound, format!("the VNF '{name}' has no operation; see: gybe vnf get {name}"))
    })
}

/// The op occurrences of a VNF instance, oldest first.
///
/// # Errors
/// As the server answers.
pub async fn operations(server: &Server, vnf: &str) -> Result<Vec<Value>, CliError> {
    server.list(&format!("{VNFLCM}/vnf_lcm_op_occs?all_fields&{}", equals("vnfInstanceId", vnf))).await
}

/// The op occurrences that have not ended: they run, or somebody must decide about them. With `vnf`, only those of this VNF instance.
///
/// # Errors
/// As the server answers.
pub async fn unfinished(server: &Server, vnf: Option<&str>) -> Result<Vec<Value>, CliError> {
    let of = vnf.map(|vnf| format!(";(eq,vnfInstanceId,{vnf})")).unwrap_or_default();
    let filter = format!("(in,operationState,STARTING,PROCESSING,ROLLING_BACK,FAILED_TEMP){of}");
    server.list(&format!("{VNFLCM}/vnf_lcm_op_occs?filter={}", encoded(&filter))).await
}

/// The id of a package: by its own id, its vnfdId or the name of its product.
///
/// # Errors
/// There is none or several of that name.
pub async fn package(server: &Server, name: &str) -> Result<String, CliError> {
    for attribute in ["id", "vnfdId", "vnfProductName"] {
        let found = server.list(&format!("{VNFPKGM}/vnf_packages?{}", equals(attribute, name))).await?;
        if !found.is_empty() {
            return only("package", name, &found);
        }
    }
    only("package", name, &[])
}

/// The id of a VIM.
///
/// # Errors
/// There is none or several of that name.
pub async fn vim(server: &Server, name: &str) -> Result<String, CliError> {
    if is_id(name) {
        return Ok(name.to_owned());
    }
    only("VIM", name, &vims(server, &format!("name={}&fields=id", encoded(name))).await?)
}

/// The VIMs that a query selects.
///
/// # Errors
/// As the server answers.
pub async fn vims(server: &Server, query: &str) -> Result<Vec<Value>, CliError> {
    let mut answer = server.get(&format!("/v1.0/vims?{query}")).await?;
    match answer.body.get_mut("vims").map(Value::take) {
        Some(Value::Array(vims)) => Ok(vims),
        _ => Err(CliError::new(Exit::Unreachable, "the answer is no list of VIMs: is this a server of Gybe?")),
    }
}
