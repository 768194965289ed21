//! Reads `additionalParams` and the definition files that they name.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::domain::manifest::Manifest;
use crate::domain::op_occ::{ABANDON, LcmOperation};
use crate::domain::package::DefinitionFile;
use crate::domain::problem::{Problem, ProblemType, QuotedValues, problem};
use crate::domain::text::{names, type_name};
use crate::domain::vdu_mapping::{self, VDU_MAPPING, VduMapping};
use crate::package::manifest;

/// The `additionalParams` of an InstantiateVnfRequest that Gybe knows. Others are kept for the record.
#[derive(Clone, Debug, Default)]
pub struct InstantiateParams {
    /// `namespace`, as sent: [`crate::domain::namespace::decide`] checks it.
    pub namespace: Option<Value>,
    /// `createNamespace`: create the namespace if it does not exist.
    pub create_namespace: bool,
    /// `lcm-kubernetes-def-files`: paths in the package; absent: all definition files of the package.
    pub definition_files: Option<Vec<String>>,
    /// `vdu_mapping`: the workloads of VDUs whose `properties.name` names none.
    pub vdu_mapping: VduMapping,
}

/// The `additionalParams` of a ChangeCurrentVnfPkgRequest that Gybe knows, as Tacker's clients send them. Others are kept for
/// the record.
#[derive(Clone, Debug, Default)]
pub struct ChangeParams {
    /// `namespace`, as sent.
    pub namespace: Option<Value>,
    /// As [`InstantiateParams::definition_files`], in the new package.
    pub definition_files: Option<Vec<String>>,
    /// The `vdu_id` of each of `vdu_params`. Validated only; every object is updated anyway.
    pub vdus: Vec<String>,
    /// As [`InstantiateParams::vdu_mapping`], in the new package.
    pub vdu_mapping: VduMapping,
}

/// The members of `additionalParams` of each operation that have an effect, or that Tacker has and need none here.
const fn known_members(operation: LcmOperation) -> &'static [&'static str] {
    match operation {
        LcmOperation::Instantiate => &["createNamespace", DEFINITION_FILES, "namespace", VDU_MAPPING],
        LcmOperation::ChangeVnfpkg => &[DEFINITION_FILES, "namespace", "upgrade_type", VDU_MAPPING, "vdu_params"],
        LcmOperation::Heal => &["all"],
        LcmOperation::Terminate => &[ABANDON],
        LcmOperation::Scale | LcmOperation::ScaleToLevel | LcmOperation::Operate | LcmOperation::ModifyInfo => &[],
    }
}

/// A warning of the members of `additionalParams` that have no effect.
pub fn unknown_members(operation: LcmOperation, params: &Map<String, Value>) -> Option<String> {
    let known = known_members(operation);
    let plain =
        |name: &str| -> String { name.to_lowercase().chars().filter(|it| it.is_ascii_alphanumeric()).collect() };
    let similar = |name: &str| {
        let name = plain(name);
        let same = known.iter().find(|known| plain(known) == name);
        let longer = || known.iter().find(|known| name.contains(&plain(known)));
        same.or_else(longer).map(|known| format!(" (did you mean '{known}'?)")).unwrap_or_default()
    };
    let unknown = params.iter().filter(|(name, value)| !value.is_null() && !known.contains(&name.as_str()));
    let unknown = unknown.map(|(name, _)| name);
    let unknown: Vec<String> = unknown.map(|name| format!("'{name:.64}'{}", similar(name))).collect();
    let all: Vec<String> = known.iter().map(|name| (*name).to_owned()).collect();
    (!unknown.is_empty()).then(|| {
        let shown = names(unknown.iter());
        format!(
            "these members of additionalParams are unknown and have no effect: {shown}; known: {}",
            names(all.iter())
        )
    })
}

/// The members of `additionalParams` by which Tacker's clients name a Helm chart.
const HELM: [&str; 6] = [
    "helm_chart_path",
    "helm_parameters",
    "helm_replica_values",
    "helm_value_names",
    "use_helm",
    "using_helm_install_param",
];

/// Refuses requests for a Helm chart.
///
/// # Errors
/// 422.
fn refuse_helm(params: &Map<String, Value>) -> Result<(), Problem> {
    let asks = |name: &&&str| match params.get(**name) {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::String(text)) => !text.is_empty() && text != "false",
        Some(_) => true,
    };
    match HELM.iter().find(asks) {
        None => Ok(()),
        Some(name) => Err(problem!(
            ProblemType::Unprocessable,
            "additionalParams.{parameter}: Helm charts are not supported yet. Render the chart ('helm template'), put the result into the package as definition files, and name them in {alternative}",
            parameter = name,
            alternative = DEFINITION_FILES,
        )),
    }
}

/// The only `upgrade_type`: each workload is updated by its own strategy.
const ROLLING_UPDATE: &str = "RollingUpdate";

impl ChangeParams {
    /// Reads them.
    ///
    /// # Errors
    /// 400 naming a parameter of the wrong type; 422 for an unknown `upgrade_type`.
    pub fn read(params: &Map<String, Value>) -> Result<Self, Problem> {
        let InstantiateParams { namespace, definition_files, vdu_mapping, .. } = InstantiateParams::read(params)?;
        match sent(params, "upgrade_type") {
            None => {}
            Some(Value::String(kind)) if kind == ROLLING_UPDATE => {}
            Some(Value::String(other)) => {
                let shown: String = other.chars().take(64).collect();
                return Err(problem!(
                    ProblemType::Unprocessable,
                    "additionalParams.upgrade_type '{value}' is not supported; use {allowed}",
                    value = shown,
                    allowed = ROLLING_UPDATE,
                ));
            }
            Some(other) => return Err(wrong_type("upgrade_type", "a string", other)),
        }
        let vdu = |entry: &Value| entry.get("vdu_id").and_then(Value::as_str).map(str::to_owned);
        let vdus = match sent(params, "vdu_params") {
            None => Some(Vec::new()),
            Some(Value::Array(entries)) => entries.iter().map(vdu).collect(),
            Some(_) => None,
        };
        let wrong = "additionalParams.vdu_params must be an array of objects, each with a vdu_id";
        Ok(Self { namespace, definition_files, vdus: vdus.ok_or_else(|| Problem::bad_request(wrong))?, vdu_mapping })
    }
}

/// `additionalParams` key of the definition files, as Tacker names it.
pub const DEFINITION_FILES: &str = "lcm-kubernetes-def-files";

/// The most definition files that a request names.
pub(super) const MAX_DEFINITION_FILES: usize = 1000;

impl InstantiateParams {
    /// Reads them.
    ///
    /// # Errors
    /// 400 naming a parameter of the wrong type; 422 for a Helm chart.
    pub fn read(params: &Map<String, Value>) -> Result<Self, Problem> {
        refuse_helm(params)?;
        let create_namespace = match sent(params, "createNamespace") {
            None => false,
            Some(Value::Bool(create)) => *create,
            // Some NFVOs send every value as a string.
            Some(Value::String(text)) if text == "true" || text == "false" => text == "true",
            Some(other) => return Err(wrong_type("createNamespace", "a boolean", other)),
        };
        let definition_files = match sent(params, DEFINITION_FILES) {
            None => None,
            Some(Value::Array(paths)) => {
                let paths: Option<Vec<String>> = paths.iter().map(|path| path.as_str().map(str::to_owned)).collect();
                Some(
                    paths.ok_or_else(|| {
                        definition_files_problem(ProblemType::BadRequest, "must be an array of strings")
                    })?,
                )
            }
            // From NFVOs that send strings only: a JSON array, or paths separated by commas.
            Some(Value::String(text)) => Some(paths_in(text)?),
            Some(other) => return Err(wrong_type(DEFINITION_FILES, "an array of strings", other)),
        };
        if definition_files.as_ref().is_some_and(|paths| paths.len() > MAX_DEFINITION_FILES) {
            return Err(problem!(
                ProblemType::Unprocessable,
                "additionalParams.{parameter} names more than {limit} files",
                parameter = DEFINITION_FILES,
                limit = MAX_DEFINITION_FILES,
            ));
        }
        let vdu_mapping = sent(params, VDU_MAPPING).map(vdu_mapping::read).transpose()?.unwrap_or_default();
        let namespace = sent(params, "namespace").cloned();
        Ok(Self { namespace, create_namespace, definition_files, vdu_mapping })
    }
}

/// A parameter that the client sent. `null` is none.
fn sent<'a>(params: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    params.get(name).filter(|value| !value.is_null())
}

fn wrong_type(parameter: &str, expected: &str, value: &Value) -> Problem {
    problem!(
        ProblemType::BadRequest,
        "additionalParams.{parameter} must be {expected}, not {actual}",
        parameter = parameter,
        expected = expected,
        actual = type_name(value),
    )
}

fn definition_files_problem(kind: ProblemType, reason: &str) -> Problem {
    problem!(kind, "additionalParams.{parameter} {reason}", parameter = DEFINITION_FILES, reason = reason)
}

/// The paths in a text: a JSON array, or separated by commas.
pub(super) fn paths_in(text: &str) -> Result<Vec<String>, Problem> {
    if text.trim_start().starts_with('[') {
        return serde_json::from_str(text).map_err(|_| {
            definition_files_problem(ProblemType::BadRequest, "is a string that is no JSON array of strings")
        });
    }
    Ok(text.split(',').map(|path| path.trim().to_owned()).filter(|path| !path.is_empty()).collect())
}

/// The objects of the chosen definition files (all of the package if `chosen` is `None`), with the files' paths.
///
/// # Errors
/// 422 if a chosen file is not in the package or cannot be read, if nothing is chosen, or as [`manifest::read`].
pub fn manifests(files: &[DefinitionFile], chosen: Option<&[String]>) -> Result<(Vec<String>, Vec<Manifest>), Problem> {
    let files = match chosen {
        None => Cow::Borrowed(files),
        Some(chosen) => Cow::Owned(select(files, chosen)?),
    };
    if files.is_empty() {
        return Err(problem!(
            ProblemType::Unprocessable,
            "there is no definition file to instantiate: name some in additionalParams.{parameter}",
            parameter = DEFINITION_FILES,
        ));
    }
    if let Some(file) = files.iter().find(|file| file.problem.is_some()) {
        return Err(problem!(
            ProblemType::Unprocessable,
            "{file}: {reason}. If it is no definition file, name the others in additionalParams.{parameter}",
            file = file.path,
            reason = file.problem.clone().unwrap_or_default(),
            parameter = DEFINITION_FILES,
        ));
    }
    let manifests = manifest::read(&files)?;
    if manifests.is_empty() {
        return Err(Problem::unprocessable("the definition files hold no Kubernetes object"));
    }
    Ok((files.iter().map(|file| file.path.clone()).collect(), manifests))
}

fn select(files: &[DefinitionFile], chosen: &[String]) -> Result<Vec<DefinitionFile>, Problem> {
    let chosen: Vec<String> = chosen.iter().map(|path| path.strip_prefix("./").unwrap_or(path).to_owned()).collect();
    let has = |path: &String| files.iter().any(|file| file.path == *path);
    let missing: Vec<&String> = chosen.iter().filter(|path| !has(path)).collect();
    if !missing.is_empty() {
        return Err(problem!(
            ProblemType::Unprocessable,
            "additionalParams.{parameter} names {files}, which the package does not list as a YAML or JSON artifact; it lists: {allowed}",
            parameter = DEFINITION_FILES,
            files = missing.into_iter().collect::<QuotedValues>(),
            allowed = files.iter().map(|file| &file.path).collect::<QuotedValues>(),
        ));
    }
    // In the order of the request, each once.
    let mut seen = std::collections::HashSet::new();
    let order = chosen.iter().filter(|path| seen.insert(path.as_str()));
    Ok(order.filter_map(|path| files.iter().find(|file| file.path == *path).cloned()).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(params: Value) -> Result<InstantiateParams, Problem> {
        InstantiateParams::read(params.as_object().unwrap())
    }

    #[test]
    fn reads_values_sent_as_strings() {
        for (files, wanted) in [
            (json!(["a.yaml", "b.yaml"]), &["a.yaml", "b.yaml"][..]),
            (json!("a.yaml, b.yaml"), &["a.yaml", "b.yaml"]),
            (json!(r#"["a.yaml"]"#), &["a.yaml"]),
            (json!("a.yaml"), &["a.yaml"]),
            (json!(""), &[]),
        ] {
            let params = read(json!({ "createNamespace": "true", DEFINITION_FILES: files })).unwrap();
            assert!(params.create_namespace);
            assert_eq!(params.definition_files.unwrap(), wanted);
        }
        assert!(!read(json!({ "createNamespace": "false" })).unwrap().create_namespace);
    }

    #[test]
    fn null_is_no_parameter() {
        let params = read(json!({ "createNamespace": null, DEFINITION_FILES: null, "namespace": null })).unwrap();
        assert_eq!((params.create_namespace, params.definition_files, params.namespace), (false, None, None));
        let params = json!({ "upgrade_type": null, "vdu_params": null });
        assert!(ChangeParams::read(params.as_object().unwrap()).unwrap().vdus.is_empty());
    }

    #[test]
    fn names_members_that_have_no_effect() {
        let warning = |operation, params: Value| unknown_members(operation, params.as_object().unwrap());
        let known = json!({ "namespace": "a", "createNamespace": true, DEFINITION_FILES: [] });
        assert_eq!(warning(LcmOperation::Instantiate, known.clone()), None);
        let misspelt =
            warning(LcmOperation::Instantiate, json!({ "nameSpace": "a", "site": 1, "lcm_kubernetes_def_files": [] }));
        assert_eq!(
            misspelt.unwrap(),
            "these members of additionalParams are unknown and have no effect: 'lcm_kubernetes_def_files' (did you mean \
             'lcm-kubernetes-def-files'?), 'nameSpace' (did you mean 'namespace'?), 'site'; known: createNamespace, \
             lcm-kubernetes-def-files, namespace, vdu_mapping"
        );
        assert!(warning(LcmOperation::Scale, known).unwrap().ends_with("known: none"));
        assert_eq!(warning(LcmOperation::Terminate, json!({ "gybe:abandon": true })), None);
    }

    #[test]
    fn a_helm_chart_is_refused_in_clear_words() {
        for params in [
            json!({ "use_helm": "true" }),
            json!({ "using_helm_install_param": [{ "exthelmchart": "false" }] }),
            json!({ "helm_chart_path": "Files/kubernetes/test-chart.tgz" }),
        ] {
            let problem = read(params.clone()).unwrap_err();
            assert_eq!(problem.status, 422, "{params}");
            assert!(problem.detail.contains("Helm charts are not supported yet"), "{}", problem.detail);
            assert_eq!(ChangeParams::read(params.as_object().unwrap()).unwrap_err().status, 422);
        }
        assert!(read(json!({ "use_helm": "false", "helm_parameters": null })).is_ok());
    }

    #[test]
    fn rejects_values_of_other_types() {
        for params in [
            json!({ "createNamespace": "yes" }),
            json!({ "createNamespace": 1 }),
            json!({ DEFINITION_FILES: "[1]" }),
            json!({ DEFINITION_FILES: 1 }),
            json!({ DEFINITION_FILES: [1] }),
        ] {
            assert_eq!(read(params.clone()).unwrap_err().status, 400, "{params}");
        }
        let many = ",a.yaml".repeat(MAX_DEFINITION_FILES + 1);
        assert_eq!(read(json!({ DEFINITION_FILES: many })).unwrap_err().status, 422);
    }
}
