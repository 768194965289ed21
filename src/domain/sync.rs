//! A sync: brings back the objects of a VNF that drifted, one by one, and touches nothing else (an extension of Gybe).
//!
//! `crate::lcm::sync` asks for the plan of a sync from the drift. The operation is a HEAL that runs this plan.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::domain::drift::{DriftState, ObjectDrift};
use crate::domain::plan::{Plan, Step, apply_all};
use crate::domain::problem::{Problem, ProblemType, QuotedValues, problem};
use crate::domain::resource::{ObjectKey, Resource};
use crate::domain::warning::Warnings;

/// The member of the recorded request of a HEAL that is a sync: the request.
pub const SYNC: &str = "gybe:sync";
/// The most rules of a request, and paths of a rule.
const MAX_RULES: usize = 100;
/// The longest path, in bytes.
const MAX_PATH: usize = 512;
/// The most names of objects in an error.
const MAX_NAMED: usize = 20;

/// Differences that are no drift, because somebody else owns the field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IgnoreRule {
    /// `kind` of the objects.
    pub kind: String,
    /// `metadata.name`; `None`: all of the kind.
    pub name: Option<String>,
    /// JSON pointers (RFC 6901) into the object: what is there or below is ignored.
    pub paths: Vec<String>,
}

/// Checks the rules of a request.
///
/// # Errors
/// 400 if a path is no JSON pointer; 422 if there are too many.
pub fn check(rules: &[IgnoreRule]) -> Result<(), Problem> {
    if rules.len() > MAX_RULES || rules.iter().any(|rule| rule.paths.len() > MAX_RULES) {
        return Err(problem!(
            ProblemType::Unprocessable,
            "ignore has more than {limit} rules, or a rule more than {limit} paths",
            limit = MAX_RULES,
        ));
    }
    match rules.iter().flat_map(|rule| &rule.paths).find(|path| !path.starts_with('/') || path.len() > MAX_PATH) {
        None => Ok(()),
        Some(path) => Err(problem!(
            ProblemType::BadRequest,
            "'{path}' in ignore is no path: send JSON pointers such as /spec/replicas, of at most {limit} bytes",
            path = path.chars().take(64).collect::<String>(),
            limit = MAX_PATH,
        )),
    }
}

/// Refuses rules with the name of an object that the VNF does not have: with a misspelt name, the sync would change what the rule was to keep.
///
/// # Errors
/// 422.
pub fn check_objects(rules: &[IgnoreRule], inventory: &[Resource]) -> Result<(), Problem> {
    let has = |rule: &IgnoreRule| {
        let Some(name) = &rule.name else { return true };
        inventory.iter().any(|row| row.key.kind == rule.kind && row.key.name == *name)
    };
    let Some(rule) = rules.iter().find(|rule| !has(rule)) else { return Ok(()) };
    let of_kind = inventory.iter().filter(|row| row.key.kind == rule.kind);
    let names: QuotedValues = of_kind.take(MAX_NAMED).map(|row| row.key.name.as_str()).collect();
    Err(problem!(
        ProblemType::Unprocessable,
        "ignore names {kind} '{name}', which the VNF does not have; of this kind it has: {names}",
        kind = rule.kind,
        name = rule.name.as_deref().unwrap_or_default(),
        names = names,
    ))
}

/// The plan that brings the objects of `inventory` back that `drifts` shows as changed or missing, but for what `rules` ignore. A Job that
/// was made does not run again.
pub fn plan(rules: &[IgnoreRule], inventory: &[Resource], drifts: &[ObjectDrift]) -> Plan {
    let drifts: BTreeMap<&ObjectKey, &ObjectDrift> = drifts.iter().map(|drift| (&drift.key, drift)).collect();
    let (mut whole, mut parts, mut warnings) = (Vec::new(), Vec::new(), Warnings::default());
    for row in inventory.iter().filter(|row| row.key.kind != "Job") {
        let Some(drift) = drifts.get(&row.key) else { continue };
        match remedy(rules, row, drift) {
            Remedy::None => {}
            Remedy::Apply => whole.push(row),
            Remedy::Restore(part) => parts.push(*part),
            Remedy::Leave(why) => {
                warnings.add(format!("{} is left as it is: {why}", row.key));
            }
        }
    }
    let mut forward = if whole.is_empty() { Vec::new() } else { apply_all(whole) };
    if !parts.is_empty() {
        let objects = parts.iter().map(|row| row.key.clone()).collect();
        forward.extend([Step::Restore { rows: parts }, Step::AwaitReady { objects }]);
    }
    Plan { forward, warnings, ..Plan::default() }
}

/// How an object is brought back.
enum Remedy {
    None,
    /// As its row says.
    Apply,
    /// As its row says but for fields that are ignored.
    Restore(Box<Resource>),
    Leave(&'static str),
}

fn remedy(rules: &[IgnoreRule], row: &Resource, drift: &ObjectDrift) -> Remedy {
    match drift.state {
        DriftState::InSync => return Remedy::None,
        DriftState::Missing => return Remedy::Apply,
        DriftState::Foreign => return Remedy::Leave("an object of somebody else has its name"),
        DriftState::Changed => {}
    }
    let paths: Vec<&str> = rules
        .iter()
        .filter(|rule| rule.kind == row.key.kind && rule.name.as_ref().is_none_or(|name| *name == row.key.name))
        .flat_map(|rule| rule.paths.iter().map(String::as_str))
        .collect();
    let is_ignored = |path: &str| paths.iter().any(|rule| is_within(path, rule));
    let (ignored, wanted): (Vec<&str>, Vec<&str>) =
        drift.differences.iter().map(|difference| difference.path.as_str()).partition(|path| is_ignored(path));
    match (ignored.is_empty(), wanted.is_empty() && drift.detail.is_none()) {
        (_, true) => Remedy::None,
        (true, false) => Remedy::Apply,
        (false, false) => {
            let mut manifest = row.manifest.clone();
            if ignored.iter().all(|path| remove(&mut manifest, path)) {
                Remedy::Restore(Box::new(Resource { manifest, ..row.clone() }))
            } else {
                Remedy::Leave("an ignored difference is in a list, beside others that are not ignored")
            }
        }
    }
}

/// Whether `path` is the place that `rule` names, or below it.
fn is_within(path: &str, rule: &str) -> bool {
    path.strip_prefix(rule).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Removes what is at this JSON pointer. `false` if it leads through a list: the places in the object and in the manifest differ.
fn remove(object: &mut Map<String, Value>, path: &str) -> bool {
    let Some((token, rest)) =
        path.get(1..).map(|path| path.split_once('/').map_or((path, None), |(it, _)| (it, Some(&path[it.len()..]))))
    else {
        return false;
    };
    let name = token.replace("~1", "/").replace("~0", "~");
    match (rest, object.get_mut(&name)) {
        (_, None) => true,
        (None, Some(_)) => object.remove(&name).is_some(),
        (Some(rest), Some(Value::Object(inner))) => remove(inner, rest),
        (Some(_), Some(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::drift::Difference;

    fn row(kind: &str, name: &str) -> Resource {
        let spec = json!({ "replicas": 1, "a/b": 2, "list": [{ "x": 1 }] });
        Resource::planned("v1", kind, name, &json!({ "spec": spec }))
    }

    fn drift(row: &Resource, state: DriftState, paths: &[&str]) -> ObjectDrift {
        let difference =
            |path: &&str| Difference { path: (*path).to_owned(), intended: None, actual: None, author: None };
        ObjectDrift { key: row.key.clone(), state, detail: None, differences: paths.iter().map(difference).collect() }
    }

    #[test]
    fn only_what_drifted_and_is_not_ignored_is_brought_back() {
        let names = ["same", "gone", "changed", "ignored", "part", "listed", "theirs"];
        let rows: Vec<Resource> = names.iter().map(|name| row("Web", name)).collect();
        let changed = DriftState::Changed;
        let drifts = [
            drift(&rows[0], DriftState::InSync, &[]),
            drift(&rows[1], DriftState::Missing, &[]),
            drift(&rows[2], changed, &["/spec/other"]),
            drift(&rows[3], changed, &["/spec/replicas"]),
            drift(&rows[4], changed, &["/spec/replicas", "/spec/a~1b", "/spec/other"]),
            drift(&rows[5], changed, &["/spec/list/0/x", "/spec/other"]),
            drift(&rows[6], DriftState::Foreign, &[]),
        ];
        let rule = |name: Option<&str>, paths: &[&str]| IgnoreRule {
            kind: "Web".to_owned(),
            name: name.map(str::to_owned),
            paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        };
        let rules = [rule(None, &["/spec/replicas", "/spec/list"]), rule(Some("part"), &["/spec/a~1b"])];
        let plan = plan(&rules, &rows, &drifts);
        let names = |step: &Step| match step {
            Step::Apply { objects } => objects.iter().map(|key| key.name.clone()).collect::<Vec<_>>(),
            Step::Restore { rows } => rows.iter().map(|row| format!("part of {}", row.key.name)).collect(),
            _ => Vec::new(),
        };
        assert_eq!(plan.forward.iter().flat_map(names).collect::<Vec<_>>(), ["gone", "changed", "part of part"]);
        let restored = plan.rows().next().map(|row| row.manifest["spec"].clone());
        assert_eq!(restored, Some(json!({ "list": [{ "x": 1 }] })));
        let warnings = serde_json::to_string(&plan.warnings).unwrap();
        assert!(warnings.contains("listed") && warnings.contains("theirs"), "{warnings}");
        assert!(super::plan(&rules, &rows, &drifts[..1]).forward.is_empty());
    }

    #[test]
    fn rules_are_json_pointers_and_few() {
        let rule = |path: &str| IgnoreRule { kind: "Web".to_owned(), name: None, paths: vec![path.to_owned()] };
        assert!(check(&[rule("/spec")]).is_ok());
        assert_eq!(check(&[rule("spec")]).unwrap_err().status, 400);
        assert_eq!(check(&vec![rule("/spec"); 101]).unwrap_err().status, 422);
    }
}
