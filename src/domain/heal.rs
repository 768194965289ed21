//! The pods that a heal request names (SOL003 clause 5.4.9, SOL002 for `vnfcInstanceId`).

use std::collections::BTreeSet;

use crate::domain::instance::Vnfc;
use crate::domain::problem::{Problem, ProblemType, QuotedValues, problem};

/// The VNFCs with these `ids`, or all if there are none. An id is a `vnfcInfo.id` or a `vnfcResourceInfo.id`.
///
/// # Errors
/// 422 with the ids that no VNFC has.
pub fn select<'a>(vnfcs: &'a [Vnfc], ids: &[String]) -> Result<Vec<&'a Vnfc>, Problem> {
    if ids.is_empty() {
        return Ok(vnfcs.iter().collect());
    }
    let mut unknown: BTreeSet<&String> = ids.iter().collect();
    let mut selected = Vec::new();
    for vnfc in vnfcs {
        // A request may name a VNFC by both ids.
        let (id, info_id) = (vnfc.id().to_owned(), vnfc.info_id());
        let by_id = unknown.remove(&id);
        if unknown.remove(&info_id) || by_id {
            selected.push(vnfc);
        }
    }
    if unknown.is_empty() {
        return Ok(selected);
    }
    Err(problem!(
        ProblemType::Unprocessable,
        "vnfcInstanceId {vnfcInstanceId} is not a VNFC of this VNF instance; GET the instance for instantiatedVnfInfo.vnfcResourceInfo",
        vnfcInstanceId = unknown.into_iter().collect::<QuotedValues>(),
    ))
}
