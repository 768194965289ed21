//! What Gybe reads of `additionalParams`, and the definition files they name.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::domain::manifest::Manifest;
use crate::domain::namespace::type_name;
use crate::domain::package::DefinitionFile;
use crate::domain::problem::Problem;
use crate::domain::scale::names;
use crate::error::internal;
use crate::package::manifest;

/// The `additionalParams` of an InstantiateVnfRequest that Gybe knows. Others are kept for the record.
#[derive(Clone, Debug, Default)]
pub struct InstantiateParams {
    /// `namespace`, as sent: [`crate::domain::namespace::decide`] checks it.
    pub namespace: Option<Value>,
    /// `createNamespace`: make the namespace if it is not there.
    pub create_namespace: bool,
    /// `lcm-kubernetes-def-files`: paths in the package; absent: all definition files of the package.
    pub definition_files: Option<Vec<String>>,
}

/// The `additionalParams` of a ChangeCurrentVnfPkgRequest that Gybe knows, as Tacker's clients send them. Others are kept for
/// the record.
#[derive(Clone, Debug, Default)]
pub struct ChangeParams {
    /// `namespace`, as sent.
    pub namespace: Option<Value>,
    /// As for an instantiation, of the new package.
    pub definition_files: Option<Vec<String>>,
    /// The `vdu_id` of each of `vdu_params`. That they are changed is nothing special: all objects are.
    pub vdus: Vec<String>,
}

/// The `upgrade_type` that there is: each workload is changed by its own strategy.
const ROLLING_UPDATE: &str = "RollingUpdate";

impl ChangeParams {
    /// Reads them.
    ///
    /// # Errors
    /// 400 naming the parameter that is of the wrong type; 422 for an `upgrade_type` that there is not.
    pub fn read(params: &Map<String, Value>) -> Result<Self, Problem> {
        let InstantiateParams { namespace, definition_files, .. } = InstantiateParams::read(params)?;
        match params.get("upgrade_type") {
            None => {}
            Some(Value::String(kind)) if kind == ROLLING_UPDATE => {}
            Some(Value::String(other)) => {
                let shown: String = other.chars().take(64).collect();
                let text =
                    format!("additionalParams.upgrade_type '{shown}' is not supported: there is {ROLLING_UPDATE}");
                return Err(Problem::impossible(text));
            }
            Some(other) => {
                let text = format!("additionalParams.upgrade_type must be a string, not {}", type_name(other));
                return Err(Problem::malformed(text));
            }
        }
        let vdu = |entry: &Value| entry.get("vdu_id").and_then(Value::as_str).map(str::to_owned);
        let vdus = match params.get("vdu_params") {
            None => Some(Vec::new()),
            Some(Value::Array(entries)) => entries.iter().map(vdu).collect(),
            Some(_) => None,
        };
        let wrong = "additionalParams.vdu_params must be an array of objects, each with a vdu_id";
        Ok(Self { namespace, definition_files, vdus: vdus.ok_or_else(|| Problem::malformed(wrong))? })
    }
}

/// `additionalParams` key of the definition files, as Tacker names it.
pub const DEFINITION_FILES: &str = "lcm-kubernetes-def-files";

/// A request names at most so many definition files.
const MAX_DEFINITION_FILES: usize = 1000;

impl InstantiateParams {
    /// Reads them.
    ///
    /// # Errors
    /// 400 naming the parameter that is of the wrong type.
    pub fn read(params: &Map<String, Value>) -> Result<Self, Problem> {
        let wrong = |name: &str, wanted: &str, value: &Value| {
            Problem::malformed(format!("additionalParams.{name} must be {wanted}, not {}", type_name(value)))
        };
        let create_namespace = match params.get("createNamespace") {
            None => false,
            Some(Value::Bool(create)) => *create,
            // Some NFVOs send every value as a string.
            Some(Value::String(text)) if text == "true" || text == "false" => text == "true",
            Some(other) => return Err(wrong("createNamespace", "a boolean", other)),
        };
        let definition_files = match params.get(DEFINITION_FILES) {
            None => None,
            Some(Value::Array(paths)) if paths.len() > MAX_DEFINITION_FILES => {
                return Err(Problem::impossible(format!(
                    "additionalParams.{DEFINITION_FILES} names more than {MAX_DEFINITION_FILES} files"
                )));
            }
            Some(Value::Array(paths)) => {
                let paths: Option<Vec<String>> = paths.iter().map(|path| path.as_str().map(str::to_owned)).collect();
                Some(paths.ok_or_else(|| {
                    Problem::malformed(format!("additionalParams.{DEFINITION_FILES} must be an array of strings"))
                })?)
            }
            Some(other) => return Err(wrong(DEFINITION_FILES, "an array of strings", other)),
        };
        Ok(Self { namespace: params.get("namespace").cloned(), create_namespace, definition_files })
    }
}

/// The objects of the chosen definition files (all of the package if `chosen` is `None`), with the files' paths.
///
/// # Errors
/// 422 if a chosen file is not in the package, if nothing is chosen, or as [`manifest::read`].
pub fn manifests(files: &[DefinitionFile], chosen: Option<&[String]>) -> Result<(Vec<String>, Vec<Manifest>), Problem> {
    let files = match chosen {
        None => Cow::Borrowed(files),
        Some(chosen) => Cow::Owned(select(files, chosen)?),
    };
    if files.is_empty() {
        return Err(Problem::impossible(format!(
            "there is no definition file to instantiate: name some in additionalParams.{DEFINITION_FILES}"
        )));
    }
    let manifests = manifest::read(&files)?;
    if manifests.is_empty() {
        return Err(Problem::impossible("the definition files hold no Kubernetes object"));
    }
    Ok((files.iter().map(|file| file.path.clone()).collect(), manifests))
}

/// Runs work of some milliseconds (reading YAML) where it holds no other request up.
///
/// # Errors
/// Those of `work`; 500 if it panicked.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(internal(&error)))
}

fn select(files: &[DefinitionFile], chosen: &[String]) -> Result<Vec<DefinitionFile>, Problem> {
    let has = |path: &String| files.iter().any(|file| file.path == *path);
    let missing: Vec<&String> = chosen.iter().filter(|path| !has(path)).collect();
    if !missing.is_empty() {
        return Err(Problem::impossible(format!(
            "additionalParams.{DEFINITION_FILES} names {}, which the package does not list as a YAML or JSON artifact; it lists: {}",
            names(missing.into_iter()),
            names(files.iter().map(|file| &file.path))
        )));
    }
    // In the order of the request, each once.
    let mut seen = std::collections::HashSet::new();
    let order = chosen.iter().filter(|path| seen.insert(path.as_str()));
    Ok(order.filter_map(|path| files.iter().find(|file| file.path == *path).cloned()).collect())
}
