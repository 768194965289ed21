//! Makes a package from plain manifests: a VDU for each workload, a scaling aspect for each that is asked for, TOSCA.meta with hashes.
//!
//! What it makes depends on its input only: the same manifests make the same package, with the same `vnfdId`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::str::FromStr;

use aws_lc_rs::digest::{Context, SHA256};
use uuid::Uuid;

use crate::cli::build::{TOSCA_META, sha256};
use crate::cli::folder::Files;
use crate::cli::{CliError, Exit};
use crate::domain::manifest::Manifest;
use crate::domain::package::DefinitionFile;
use crate::domain::render::SCALABLE_KINDS;
use crate::domain::scale::MAX_INSTANCES;
use crate::domain::text::names;
use crate::domain::vnfd::WORKLOAD_KINDS;
use crate::package::encoding::decode;
use crate::package::manifest;

/// The folder of the manifests in the package.
pub const MANIFESTS: &str = "Files/kubernetes/";
/// The one deployment flavour of a package that is made here.
pub const FLAVOUR: &str = "simple";

/// A scaling aspect: `NAME[=WORKLOAD,…]:STEPS` on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aspect {
    pub name: String,
    /// The names of the workloads that a step adds an instance to.
    pub workloads: Vec<String>,
    /// The number of steps: `max_scale_level`.
    pub max_level: u32,
}

impl FromStr for Aspect {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "'{text:.100}' is not like NAME=WORKLOAD,WORKLOAD:STEPS, such as web=nginx:4; without '=', the workload has the \
                 name of the aspect; at most {MAX_INSTANCES} steps"
            )
        };
        let (left, steps) = text.rsplit_once(':').ok_or_else(wrong)?;
        let (name, workloads) = left.split_once('=').unwrap_or((left, left));
        let workloads: Vec<String> = workloads.split(',').map(str::to_owned).collect();
        let max_level = steps.parse().ok().filter(|steps| (1..=MAX_INSTANCES).contains(steps)).ok_or_else(wrong)?;
        let is_name = |name: &str| {
            !name.is_empty() && name.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_.".contains(letter))
        };
        if !is_name(name) || !workloads.iter().all(|workload| is_name(workload)) {
            return Err(wrong());
        }
        Ok(Self { name: name.to_owned(), workloads, max_level })
    }
}

/// A workload of the manifests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    pub name: String,
    pub kind: String,
    /// As the manifest says; 1 if it says nothing.
    pub replicas: u32,
}

impl Workload {
    /// Whether it has replicas that can be set.
    pub fn is_scalable(&self) -> bool {
        SCALABLE_KINDS.contains(&self.kind.as_str())
    }
}

/// Whether the path is one of a manifest.
pub fn is_manifest(path: &str) -> bool {
    let extension = path.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
    matches!(extension.as_deref(), Some("yaml" | "yml" | "json"))
}

/// Reads the objects of a folder of manifests.
///
/// # Errors
/// There is none, a file can't be read as Kubernetes objects, or the folder is of another tool.
pub fn objects(files: &Files) -> Result<Vec<Manifest>, CliError> {
    if let Some(chart) = files.keys().find(|path| path.rsplit('/').next() == Some("Chart.yaml")) {
        let what = "a Helm chart is not a folder of manifests; render it: helm template RELEASE CHART > DIR/all.yaml";
        return Err(CliError::usage(format!("{chart}:1: {what}")));
    }
    let file = |(path, content): (&String, &Vec<u8>)| match decode(content.clone()) {
        Ok(text) => Ok(DefinitionFile::new(path, text)),
        Err(reason) => Err(CliError::new(Exit::Failed, format!("{path}:1: {reason}"))),
    };
    let definitions = files.iter().filter(|(path, _)| is_manifest(path)).map(file).collect::<Result<Vec<_>, _>>()?;
    let manifests = manifest::read(&definitions)?;
    if let Some(other) = manifests.iter().find(|it| it.api_version().starts_with("kustomize.config.k8s.io/")) {
        let what = "a kustomization is not a Kubernetes object; build it: kubectl kustomize DIR > OTHER/all.yaml";
        return Err(CliError::usage(format!("{}: {what}", other.position())));
    }
    if manifests.is_empty() {
        let what = "there is no Kubernetes object in the .yaml, .yml and .json files of the folder; name the folder of the manifests";
        return Err(CliError::usage(what));
    }
    Ok(manifests)
}

/// The workloads among the objects, each name once.
pub fn workloads(manifests: &[Manifest]) -> Vec<Workload> {
    let mut seen = BTreeSet::new();
    let is_workload = |it: &&Manifest| WORKLOAD_KINDS.contains(&it.kind()) && seen.insert(it.name().to_owned());
    let workload = |it: &Manifest| {
        let stated = it.object.get("spec").and_then(|spec| spec.get("replicas")?.as_u64());
        let replicas = stated.and_then(|number| number.try_into().ok()).unwrap_or(1);
        Workload { name: it.name().to_owned(), kind: it.kind().to_owned(), replicas }
    };
    manifests.iter().filter(is_workload).map(workload).collect()
}

/// The files of the package `name` with these manifests, whose objects have these workloads.
///
/// # Errors
/// The name is none, or an aspect names a workload that is not there, can't be scaled, or is of another aspect.
pub fn package(name: &str, manifests: &Files, workloads: &[Workload], aspects: &[Aspect]) -> Result<Files, CliError> {
    check_name(name)?;
    check_aspects(workloads, aspects)?;
    let mut files: Files = manifests
        .iter()
        .filter(|(path, _)| is_manifest(path))
        .map(|(path, it)| (format!("{MANIFESTS}{path}"), it.clone()))
        .collect();
    let mut meta = format!(
        "TOSCA-Meta-File-Version: 1.0\nCSAR-Version: 1.1\nCreated-By: gybe package init\nEntry-Definitions: Definitions/{name}.vnfd.yaml\n"
    );
    for (path, content) in &files {
        let kind = if path.ends_with("json") { "application/json" } else { "application/yaml" };
        // Writing to a text cannot fail.
        let _ = write!(meta, "\nName: {path}\nContent-Type: {kind}\nAlgorithm: SHA-256\nHash: {}\n", sha256(content));
    }
    let id = descriptor_id(name, &files, aspects);
    files.insert(format!("Definitions/{name}.vnfd.yaml"), vnfd(name, id, workloads, aspects).into_bytes());
    files.insert(TOSCA_META.to_owned(), meta.into_bytes());
    Ok(files)
}

fn check_name(name: &str) -> Result<(), CliError> {
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    if name.is_empty() || name.len() > 64 || name.starts_with('.') || !name.chars().all(is_letter) {
        return Err(CliError::usage(format!(
            "'{name:.100}' can't be the name of a package: use 1 to 64 letters, digits, '-', '_' and '.', with --name"
        )));
    }
    Ok(())
}

fn check_aspects(workloads: &[Workload], aspects: &[Aspect]) -> Result<(), CliError> {
    let scalable: Vec<String> = workloads.iter().filter(|it| it.is_scalable()).map(|it| it.name.clone()).collect();
    let (mut named, mut taken) = (BTreeSet::new(), BTreeSet::new());
    for aspect in aspects {
        if !named.insert(&aspect.name) {
            return Err(CliError::usage(format!("the aspect {} is given twice; give each once", aspect.name)));
        }
        for workload in &aspect.workloads {
            if !scalable.contains(workload) {
                return Err(CliError::usage(format!(
                    "the aspect {} names '{workload}', which is no workload that can be scaled; there is: {}",
                    aspect.name,
                    names(scalable.iter())
                )));
            }
            if !taken.insert(workload) {
                return Err(CliError::usage(format!(
                    "'{workload}' is in two aspects; name it in one, or name all workloads that scale together in one aspect"
                )));
            }
        }
    }
    Ok(())
}

/// An identifier that is made of all that the package has.
fn descriptor_id(name: &str, files: &Files, aspects: &[Aspect]) -> Uuid {
    let mut context = Context::new(&SHA256);
    let mut add = |bytes: &[u8]| {
        context.update(&(bytes.len() as u64).to_le_bytes());
        context.update(bytes);
    };
    add(name.as_bytes());
    for (path, content) in files {
        add(path.as_bytes());
        add(content);
    }
    for aspect in aspects {
        add(format!("{}={}:{}", aspect.name, aspect.workloads.join(","), aspect.max_level).as_bytes());
    }
    let digest = context.finish();
    let mut bytes: [u8; 16] = std::array::from_fn(|index| digest.as_ref().get(index).copied().unwrap_or_default());
    // Version 8, variant 10 (RFC 9562): made by a rule of our own.
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    Uuid::from_bytes(bytes)
}

/// The names of the VDUs by the workload's name: capitals, letters, digits and `_`, each once.
fn vdu_ids(workloads: &[Workload]) -> BTreeMap<&str, String> {
    let mut taken = BTreeSet::from(["VNF".to_owned()]);
    let mut ids = BTreeMap::new();
    for workload in workloads {
        let letter = |letter: char| if letter.is_ascii_alphanumeric() { letter.to_ascii_uppercase() } else { '_' };
        let plain: String = workload.name.chars().map(letter).collect();
        let mut id = plain.clone();
        let mut number = 2;
        while !taken.insert(id.clone()) {
            id = format!("{plain}_{number}");
            number += 1;
        }
        ids.insert(workload.name.as_str(), id);
    }
    ids
}

/// A text of YAML, in quotes: that of JSON is one.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The VNFD, in one file.
fn vnfd(name: &str, id: Uuid, workloads: &[Workload], aspects: &[Aspect]) -> String {
    let ids = vdu_ids(workloads);
    let mut text = format!(
        "# Made by 'gybe package init'. docs/packaging.md says what each field means.\n\
         tosca_definitions_version: tosca_simple_yaml_1_2\n\n\
         imports:\n  - etsi_nfv_sol001_vnfd_types.yaml\n\n\
         topology_template:\n  substitution_mappings:\n    node_type: tosca.nodes.nfv.VNF\n    properties:\n      flavour_id: {FLAVOUR}\n\n  \
         node_templates:\n    VNF:\n      type: tosca.nodes.nfv.VNF\n      properties:\n        descriptor_id: {id}\n        \
         descriptor_version: \"1.0\"\n        provider: Gybe\n        product_name: {}\n        software_version: \"1.0\"\n        \
         vnfm_info: [\"etsivnfm:v3.3.1\"]\n        flavour_id: {FLAVOUR}\n        flavour_description: All workloads\n",
        quoted(name)
    );
    for workload in workloads {
        let (Some(id), name) = (ids.get(workload.name.as_str()), quoted(&workload.name)) else { continue };
        let steps =
            aspects.iter().find(|it| it.workloads.contains(&workload.name)).map_or(0, |aspect| aspect.max_level);
        let (min, max) = match workload.kind.as_str() {
            // One on each node.
            "DaemonSet" => (0, MAX_INSTANCES),
            _ => (workload.replicas, workload.replicas.saturating_add(steps)),
        };
        let _ = write!(
            text,
            "\n    {id}:\n      type: tosca.nodes.nfv.Vdu.OsContainerDeployableUnit\n      properties:\n        name: {name} # of the {}\n        \
             description: {name}\n        vdu_profile:\n          min_number_of_instances: {min}\n          max_number_of_instances: {max}\n",
            workload.kind
        );
    }
    text.push_str(&policies(workloads, aspects, &ids));
    text
}

/// The policies of scaling; none without aspects.
fn policies(workloads: &[Workload], aspects: &[Aspect], ids: &BTreeMap<&str, String>) -> String {
    if aspects.is_empty() {
        return String::new();
    }
    let mut text = "\n  policies:\n    - scaling_aspects:\n        type: tosca.policies.nfv.ScalingAspects\n        properties:\n          aspects:\n"
        .to_owned();
    for Aspect { name, max_level, .. } in aspects {
        let name = quoted(name);
        let _ = write!(
            text,
            "            {name}:\n              name: {name}\n              description: {name}\n              max_scale_level: {max_level}\n              \
             step_deltas: [step]\n"
        );
    }
    for aspect in aspects {
        for workload in workloads.iter().filter(|it| aspect.workloads.contains(&it.name)) {
            let Some(id) = ids.get(workload.name.as_str()) else { continue };
            // An id such as NO would be a boolean.
            let target = quoted(id);
            let _ = write!(
                text,
                "    - initial_{id}:\n        type: tosca.policies.nfv.VduInitialDelta\n        properties:\n          \
                 initial_delta: {{number_of_instances: {}}}\n        targets: [{target}]\n    \
                 - step_{id}:\n        type: tosca.policies.nfv.VduScalingAspectDeltas\n        properties:\n          aspect: {}\n          \
                 deltas:\n            step: {{number_of_instances: 1}}\n        targets: [{target}]\n",
                workload.replicas,
                quoted(&aspect.name)
            );
        }
    }
    text.push_str(
        "    - levels:\n        type: tosca.policies.nfv.InstantiationLevels\n        properties:\n          levels:\n",
    );
    for (level, is_highest) in [("lowest", false), ("highest", true)] {
        let _ = write!(
            text,
            "            {level}:\n              description: The {level} level of each aspect\n              scale_info:\n"
        );
        for aspect in aspects {
            let number = if is_highest { aspect.max_level } else { 0 };
            let _ = writeln!(text, "                {}: {{scale_level: {number}}}", quoted(&aspect.name));
        }
    }
    text.push_str("          default_level: lowest\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aspects_are_read_from_the_command_line() {
        let aspect = |name: &str, workloads: &[&str], max_level| Aspect {
            name: name.to_owned(),
            workloads: workloads.iter().map(|it| (*it).to_owned()).collect(),
            max_level,
        };
        assert_eq!("web=a,b:4".parse(), Ok(aspect("web", &["a", "b"], 4)));
        assert_eq!("nginx:1".parse(), Ok(aspect("nginx", &["nginx"], 1)));
        for wrong in ["nginx", "nginx:0", "nginx:x", ":1", "a=:1", "a=b,:1", "a b:1", "a:10001", "a='x':1"] {
            assert!(wrong.parse::<Aspect>().unwrap_err().contains("is not like"), "{wrong}");
        }
    }

    #[test]
    fn vdus_have_a_name_each() {
        let workload = |name: &str| Workload { name: name.to_owned(), kind: "Pod".to_owned(), replicas: 1 };
        let workloads = ["a-b", "a.b", "vnf"].map(workload);
        let expected = [("a-b", "A_B"), ("a.b", "A_B_2"), ("vnf", "VNF_2")].map(|(name, id)| (name, id.to_owned()));
        assert_eq!(vdu_ids(&workloads), BTreeMap::from(expected));
    }
}
