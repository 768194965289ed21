//! Which pods a heal request means (SOL003 clause 5.4.9, SOL002 for `vnfcInstanceId`).

use crate::domain::instance::Vnfc;
use crate::domain::problem::Problem;

/// The VNFCs named by `ids`; all if it is empty. An id is a `vnfcInfo.id` or a `vnfcResourceInfo.id`.
///
/// # Errors
/// 422 naming the ids that no VNFC has.
pub fn select<'a>(vnfcs: &'a [Vnfc], ids: &[String]) -> Result<Vec<&'a Vnfc>, Problem> {
    if ids.is_empty() {
        return Ok(vnfcs.iter().collect());
    }
    let is = |vnfc: &Vnfc, id: &str| vnfc.pod_name == id || vnfc.info_id() == id;
    let unknown: Vec<&str> =
        ids.iter().map(String::as_str).filter(|id| !vnfcs.iter().any(|vnfc| is(vnfc, id))).collect();
    if !unknown.is_empty() {
        return Err(Problem::impossible(format!(
            "vnfcInstanceId {} is not a VNFC of this VNF instance; GET the instance for instantiatedVnfInfo.vnfcResourceInfo",
            unknown.join(", ")
        )));
    }
    Ok(vnfcs.iter().filter(|vnfc| ids.iter().any(|id| is(vnfc, id))).collect())
}
