//! The change of `vnfdId` of a running VNF by PATCH: the checks before the 202, and the plan (`docs/adr/0030-container-update-by-patch.md`).
//!
//! `crate::domain::container_update` decides which objects change. The operation is a MODIFY_INFO with a target package; it has a plan
//! with a way back, like CHANGE_VNFPKG.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::blocking::blocking;
use crate::domain::change::{backward, find, forward, levels_under, modifications};
use crate::domain::container_update::{changed_rows, check_vdus, combined, warnings};
use crate::domain::ids::VnfPkgId;
use crate::domain::instance::{InstantiatedVnfInfo, PackageAttributes, VnfInstance};
use crate::domain::manifest::Manifest;
use crate::domain::package::DefinitionFile;
use crate::domain::plan::Plan;
use crate::domain::problem::{Problem, ProblemType, QuotedValues, problem};
use crate::domain::resource::Resource;
use crate::domain::text::type_name;
use crate::domain::vim_policy::ObjectUse;
use crate::domain::{namespace, render, rollout};
use crate::error::ApiError;
use crate::lcm::accept::{Acceptor, usable};
use crate::lcm::change::{started, unknown_vnfd};
use crate::lcm::modify::{self, ATTRIBUTES};
use crate::lcm::params::{MAX_DEFINITION_FILES, manifests, paths_in};
use crate::lcm::plan::{PlanError, Planner};
use crate::store::StoreError;

/// The attribute of a patch that names the new package.
pub const VNFD_ID: &str = "vnfdId";

/// The key of `metadata` by which Tacker's clients name the files with changed ConfigMaps and Secrets.
const SETTINGS_PATHS: &str = "configmap_secret_paths";

/// The part of a VnfInfoModificationRequest that a plan needs.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UpdateRecord {
    #[serde(default)]
    metadata: Option<Map<String, Value>>,
}

impl Acceptor<'_> {
    /// The package that the patch names for `instance`; `None`: it names none, or the VNF is NOT_INSTANTIATED.
    ///
    /// # Errors
    /// 400 for values of the wrong type; 409 if the VNF is STOPPED; 422 for an unknown VNFD, flavour or file, a
    /// descriptor that lacks a VDU or level of the VNF, and invalid manifests.
    pub(super) async fn target_package(
        &self,
        instance: &VnfInstance,
        patch: &Map<String, Value>,
    ) -> Result<Option<VnfPkgId>, ApiError> {
        let vnfd_id = match patch.get(VNFD_ID) {
            None => return Ok(None),
            // `modify` refuses it.
            Some(_) if instance.instantiated.is_none() => return Ok(None),
            Some(Value::String(id)) => id,
            Some(other) => {
                return Err(problem!(
                    ProblemType::BadRequest,
                    "vnfdId must be a string, not {actual}",
                    actual = type_name(other),
                )
                .into());
            }
        };
        let info = started(instance)?;
        let paths = settings_paths(patch.get("metadata").and_then(Value::as_object))?;
        let onboarded = match self.store.vnfd(self.project, vnfd_id).await {
            Err(StoreError::NotFound) => return Err(unknown_vnfd(vnfd_id).into()),
            found => found?,
        };
        usable(&onboarded)?;
        let flavour = onboarded.vnfd.flavour(&info.flavour_id)?;
        levels_under(flavour, &info.scale_levels)?;
        check_vdus(&self.store.resources(instance.id).await?, flavour)?;
        let files = self.store.definition_files(onboarded.package_id).await?;
        let (home, present) = (instance.metadata.namespace.clone(), info.definition_files.clone());
        let objects = blocking(move || {
            let (_, manifests) = concerned(&files, &present, &paths)?;
            render::check(&manifests)?;
            home.map_or(Ok(()), |home| namespace::refuse_system_namespaces(&manifests, &home))?;
            Ok(ObjectUse::of_manifests(&manifests))
        })
        .await?;
        self.check_policy(instance, &objects).await?;
        Ok(Some(onboarded.package_id))
    }
}

/// Sets the attributes of the patch, which the update leaves until its end. `vimConnectionInfo` has its new value from the beginning.
///
/// # Errors
/// As [`modify::apply`], which the patch has passed before the 202.
pub fn apply_attributes(instance: &mut VnfInstance, patch: &Value) -> Result<(), Problem> {
    let mut attributes = patch.as_object().cloned().unwrap_or_default();
    attributes.retain(|name, _| ATTRIBUTES.contains(&name.as_str()) && name != "vimConnectionInfo");
    modify::apply(instance, attributes).map(drop)
}

/// `changedInfo` of the update: the attributes of the patch, and those that the new package changed.
pub fn changed_info(before: &VnfInstance, after: &VnfInstance, patch: &Value) -> Value {
    let of_package = modifications(before, after, patch);
    let sent = patch.as_object().into_iter().flatten().filter(|(name, _)| ATTRIBUTES.contains(&name.as_str()));
    let of_package = of_package.as_object().into_iter().flatten();
    sent.chain(of_package).map(|(name, value)| (name.clone(), value.clone())).collect::<Map<String, Value>>().into()
}

/// `metadata.configmap_secret_paths` of a patch.
///
/// # Errors
/// 400 unless it is an array of strings, or a string with one; 422 for too many.
fn settings_paths(metadata: Option<&Map<String, Value>>) -> Result<Vec<String>, Problem> {
    let wrong = |value: &Value| {
        problem!(
            ProblemType::BadRequest,
            "metadata.{parameter} must be an array of strings, not {actual}",
            parameter = SETTINGS_PATHS,
            actual = if value.is_array() { "an array of something else" } else { type_name(value) },
        )
    };
    let paths = match metadata.and_then(|metadata| metadata.get(SETTINGS_PATHS)) {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::String(text)) => paths_in(text)?,
        Some(Value::Array(paths)) => paths
            .iter()
            .map(|path| path.as_str().map(str::to_owned))
            .collect::<Option<Vec<String>>>()
            .ok_or_else(|| wrong(&Value::Array(Vec::new())))?,
        Some(other) => return Err(wrong(other)),
    };
    if paths.len() > MAX_DEFINITION_FILES {
        return Err(problem!(
            ProblemType::Unprocessable,
            "metadata.{parameter} names more than {limit} files",
            parameter = SETTINGS_PATHS,
            limit = MAX_DEFINITION_FILES,
        ));
    }
    let mut plain: Vec<String> = Vec::new();
    for path in paths {
        let path = path.strip_prefix("./").unwrap_or(&path).to_owned();
        if !plain.contains(&path) {
            plain.push(path);
        }
    }
    Ok(plain)
}

/// The objects of the new package that concern the VNF, with the files' paths: those of `paths`, then those of the files that the VNF
/// came from (`present`), as far as the package has them. An object that both have is that of `paths`.
///
/// # Errors
/// 422 if the package lacks one of `paths`, or all files; or as [`manifests`].
fn concerned(
    files: &[DefinitionFile],
    present: &[String],
    paths: &[String],
) -> Result<(Vec<String>, Vec<Manifest>), Problem> {
    let has = |path: &&String| files.iter().any(|file| file.path == **path);
    let listed = || files.iter().map(|file| &file.path).collect::<QuotedValues>();
    let missing: Vec<&String> = paths.iter().filter(|path| !has(path)).collect();
    if !missing.is_empty() {
        return Err(problem!(
            ProblemType::Unprocessable,
            "metadata.{parameter} names {files}, which the package does not list as a YAML or JSON artifact; it lists: {allowed}",
            parameter = SETTINGS_PATHS,
            files = missing.into_iter().collect::<QuotedValues>(),
            allowed = listed(),
        ));
    }
    let kept: Vec<String> = present.iter().filter(|path| has(path) && !paths.contains(path)).cloned().collect();
    if paths.is_empty() && kept.is_empty() {
        return Err(problem!(
            ProblemType::Unprocessable,
            "the package lists none of the definition files of the VNF ({files}); it lists: {allowed}. Name those with ConfigMaps and Secrets in metadata.{parameter}, or POST …/change_vnfpkg",
            files = present.iter().collect::<QuotedValues>(),
            allowed = listed(),
            parameter = SETTINGS_PATHS,
        ));
    }
    let of = |paths: &[String]| match paths {
        [] => Ok(Vec::new()),
        paths => manifests(files, Some(paths)).map(|(_, manifests)| manifests),
    };
    let all = combined(of(paths)?, of(&kept)?);
    // A file whose objects are all replaced by those of other files is none of the VNF's any more.
    let in_use = |path: &String| all.iter().any(|manifest| manifest.file == *path);
    let files = kept.into_iter().filter(in_use).chain(paths.iter().cloned());
    Ok((files.collect(), all))
}

impl Planner<'_> {
    /// The plan of a MODIFY_INFO: empty unless it brings a package.
    ///
    /// # Errors
    /// [`PlanError`]; nothing has changed.
    pub(super) async fn modify_info(&self) -> Result<Plan, PlanError> {
        if !self.op.brings_package() {
            return Ok(Plan::default());
        }
        let request: UpdateRecord = self.request()?;
        let paths = settings_paths(request.metadata.as_ref())?;
        let info = self.info()?;
        let onboarded = self.target().await?;
        let flavour = onboarded.vnfd.flavour(&info.flavour_id)?;
        check_vdus(self.inventory, flavour)?;
        let (files, present) =
            (self.store.definition_files(onboarded.package_id).await?, info.definition_files.clone());
        let (definition_files, manifests) = blocking(move || concerned(&files, &present, &paths)).await?;
        let new = self.rendered(&manifests, flavour, &BTreeMap::new(), false).await?;
        let changed = changed_rows(self.inventory, &new, self.op.id);
        let before: Vec<Resource> =
            self.inventory.iter().filter(|row| find(&changed, &row.key).is_some()).cloned().collect();
        let told = warnings(self.inventory, &new, &changed).into_iter().chain(rollout::warnings(&changed)).collect();
        let instantiated = InstantiatedVnfInfo {
            scale_levels: levels_under(flavour, &info.scale_levels)?,
            max_scale_levels: flavour.max_levels(),
            definition_files,
            vnfcs: Vec::new(),
            storages: Vec::new(),
            ..info.clone()
        };
        let steps = |steps: Vec<_>| if changed.is_empty() { Vec::new() } else { steps };
        Ok(Plan {
            forward: steps(forward(&before, &changed)),
            backward: Some(steps(backward(&before, &changed))),
            instantiated: Some(instantiated),
            package: Some(PackageAttributes::new(onboarded.package_id, &onboarded.vnfd)),
            warnings: told,
            ..Plan::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config(name: &str) -> String {
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\n")
    }

    fn files(contents: &[(&str, &[&str])]) -> Vec<DefinitionFile> {
        let text = |names: &[&str]| names.iter().map(|name| config(name)).collect::<Vec<_>>().join("---\n");
        contents.iter().map(|(path, names)| DefinitionFile::new(*path, text(names))).collect()
    }

    fn paths(all: &[&str]) -> Vec<String> {
        all.iter().map(|path| (*path).to_owned()).collect()
    }

    #[test]
    fn named_files_replace_the_objects_of_the_files_of_the_vnf() {
        let files =
            files(&[("1.yaml", &["a"]), ("2.yaml", &["b", "c"]), ("new.yaml", &["a", "b"]), ("other.yaml", &["d"])]);
        let (used, objects) =
            concerned(&files, &paths(&["1.yaml", "2.yaml", "gone.yaml"]), &paths(&["new.yaml"])).unwrap();
        assert_eq!(used, ["2.yaml", "new.yaml"]);
        let shown: Vec<(&str, &str)> = objects.iter().map(|it| (it.file.as_str(), it.name())).collect();
        assert_eq!(shown, [("new.yaml", "a"), ("new.yaml", "b"), ("2.yaml", "c")]);
    }

    #[test]
    fn files_that_the_package_lacks_are_refused() {
        let files = files(&[("1.yaml", &["a"])]);
        let detail = |present: &[&str], named: &[&str]| {
            let problem = concerned(&files, &paths(present), &paths(named)).unwrap_err();
            assert_eq!(problem.status, 422);
            problem.detail
        };
        assert!(detail(&["1.yaml"], &["2.yaml"]).contains("names 2.yaml, which the package does not list"));
        assert!(
            detail(&["2.yaml"], &[]).starts_with("the package lists none of the definition files of the VNF (2.yaml)")
        );
    }

    #[test]
    fn reads_paths_as_an_array_or_a_string() {
        let read = |value: Value| settings_paths(json!({ SETTINGS_PATHS: value }).as_object());
        assert_eq!(read(json!(["./a.yaml", "a.yaml", "b.yaml"])).unwrap(), ["a.yaml", "b.yaml"]);
        assert_eq!(read(json!("a.yaml, b.yaml")).unwrap(), ["a.yaml", "b.yaml"]);
        assert_eq!(read(Value::Null).unwrap(), Vec::<String>::new());
        assert_eq!(read(json!([1])).unwrap_err().status, 400);
        assert!(read(json!({})).unwrap_err().detail.ends_with("not an object"));
    }
}
