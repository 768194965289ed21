//! Finds what is wrong with a package, by the readers of the server: `gybe package lint`.
//!
//! [`package`] reads the parts of a CSAR with `crate::package` and goes on after an error. Objects are checked and rendered as for an
//! instantiation that names nothing but its namespace. What only a cluster knows, such as whether it serves a kind, is not checked.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use crate::cli::needs::{self, Needs};
use crate::domain::ids::VnfInstanceId;
use crate::domain::manifest::Manifest;
use crate::domain::namespace::{self, Namespace, is_of_kubernetes};
use crate::domain::package::DefinitionFile;
use crate::domain::problem::Problem;
use crate::domain::render::{self, RenderInput};
use crate::domain::resource::Resource;
use crate::domain::rollout;
use crate::domain::scale::{check_numbers, initial_levels, instances, profile_warnings};
use crate::domain::vnfd::Flavour;
use crate::package::archive::Limits;
use crate::package::csar::inspect::{Fault, Part, inspect};
use crate::package::manifest;
use crate::package::vnfd::Descriptor;
use crate::package::yaml::{self, At, Budget};

/// What is checked. Each rule has a section in docs/packaging.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// The ZIP can be read.
    Archive,
    /// TOSCA.meta and the manifest can be read, and name the VNFD.
    Lists,
    /// Listed files are there and have their hashes.
    Artifact,
    /// Manifests are listed.
    Unlisted,
    /// The descriptor can be read, and does not contradict itself.
    Vnfd,
    /// Definition files are Kubernetes objects.
    Manifest,
    /// The objects can be those of one VNF.
    Object,
    /// The objects are in one namespace.
    Namespace,
    /// VDUs have workloads.
    Vdu,
    /// The numbers of instances are possible.
    Scaling,
    /// Workloads roll out by themselves, and say when they are ready.
    Rollout,
}

impl Rule {
    /// What to do.
    const fn remedy(self) -> &'static str {
        match self {
            Self::Archive => "Pack the files again: gybe package build DIR",
            Self::Lists => "Compare with a package of 'gybe package init'",
            Self::Artifact => {
                "'gybe package build DIR' writes all hashes and lists the files that are there; a file that is not there: add it, or delete its entry"
            }
            Self::Unlisted => "List it: 'gybe package build DIR' does",
            Self::Vnfd => "docs/packaging.md has a VNFD by example",
            Self::Manifest => "'kubectl create --dry-run=client -f FILE' shows what kubectl reads",
            Self::Object => "Correct the object, or remove it from the package",
            Self::Namespace => {
                "Leave metadata.namespace out; the request that instantiates the VNF names its namespace"
            }
            Self::Vdu => {
                "Make properties.name of the VDU and metadata.name of its workload equal, or give vdu_mapping in the request"
            }
            Self::Scaling => "Correct the initial delta, the deltas or the level in the VNFD",
            Self::Rollout => "If it is meant so, nothing is to be done",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The name that serde gives it.
        f.write_str(&format!("{self:?}").to_lowercase())
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Whether the package can't be onboarded or instantiated.
    pub error: bool,
    /// The path in the package, or of the package.
    pub file: String,
    /// From 1.
    pub line: usize,
    pub rule: Rule,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub remedy: &'static str,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = if self.error { "" } else { " (warning)" };
        let Self { file, line, rule, message, remedy, .. } = self;
        write!(f, "{file}:{line}: {rule}{severity}: {}. {remedy}", message.trim_end_matches('.'))
    }
}

/// The findings, in the order of files and lines, and what the package needs.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    pub findings: Vec<Finding>,
    /// `None` if its objects can't be read.
    pub needs: Option<Needs>,
    /// Of the VNFD; `None` if it can't be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vnfd_id: Option<String>,
    /// The deployment flavours of the VNFD.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub flavours: Vec<String>,
}

impl Report {
    /// The number of errors.
    pub fn errors(&self) -> usize {
        self.findings.iter().filter(|finding| finding.error).count()
    }

    fn add(&mut self, error: bool, rule: Rule, (file, line): (&str, usize), message: impl Into<String>) {
        let (file, message) = (file.to_owned(), message.into());
        self.findings.push(Finding { error, file, line, rule, message, remedy: rule.remedy() });
    }

    /// Adds a text that may begin with file and line; `place` is where it belongs otherwise.
    fn add_text(&mut self, error: bool, rule: Rule, place: (&str, usize), text: &str) {
        match located(text) {
            Some((file, line, message)) => self.add(error, rule, (file, line), message),
            None => self.add(error, rule, place, text),
        }
    }
}

/// File, line and message of `file:line: message`.
fn located(text: &str) -> Option<(&str, usize, &str)> {
    let (place, message) = text.split_once(": ")?;
    let (file, line) = place.rsplit_once(':')?;
    Some((file, line.parse().ok()?, message))
}

/// Checks the CSAR at `path`, which findings call `name`.
pub fn package(path: &Path, name: &str) -> Report {
    let inspection = inspect(path, &Limits::default());
    let mut report = Report::default();
    for Fault { part, is_error, text } in &inspection.faults {
        let rule = match part {
            Part::Archive => Rule::Archive,
            Part::Lists => Rule::Lists,
            Part::Artifact => Rule::Artifact,
            Part::Unlisted => Rule::Unlisted,
            Part::Vnfd => Rule::Vnfd,
        };
        report.add_text(*is_error, rule, (name, 1), text);
    }
    let manifests = definitions(&inspection.files, &mut report);
    if inspection.faults.iter().all(|fault| fault.part != Part::Lists) && inspection.files.is_empty() {
        let message = "no YAML or JSON artifact is listed, so there is nothing to instantiate; add the manifests";
        report.add(true, Rule::Manifest, (name, 1), message);
    }
    objects(&manifests, &mut report);
    if let Some(descriptor) = &inspection.descriptor {
        report.vnfd_id = Some(descriptor.vnfd.id.clone());
        report.flavours = descriptor.vnfd.flavours.keys().cloned().collect();
        for flavour in descriptor.vnfd.flavours.values() {
            vdus(descriptor, flavour, &manifests, &mut report);
        }
        // The needs of the first flavour, as containers differ by their number only.
        if let Some(flavour) = descriptor.vnfd.flavours.values().next().filter(|_| !manifests.is_empty()) {
            report.needs = Some(needs::of(&manifests, flavour));
        }
    }
    report.findings.sort_by(|one, other| (&one.file, one.line, one.rule).cmp(&(&other.file, other.line, other.rule)));
    report.findings.dedup();
    report
}

/// The objects of the definition files that can be read.
fn definitions(files: &[DefinitionFile], report: &mut Report) -> Vec<Manifest> {
    let mut manifests = Vec::new();
    for file in files {
        let read = match &file.problem {
            Some(reason) => Err(format!("{}:1: {reason}", file.path)),
            None => manifest::read(std::slice::from_ref(file)).map_err(|problem| problem.detail),
        };
        match read {
            Ok(read) => manifests.extend(read),
            Err(text) => {
                // The file may be for others: the configuration of an application, the values of a chart.
                let has = |key: &str| file.text.contains(key);
                let is_object = has("apiVersion") || (has("kind") && has("metadata"));
                report.add_text(is_object, Rule::Manifest, (file.path.as_str(), 1), &text);
                if !is_object {
                    let more = "it does not look like Kubernetes objects: requests then must name the other files in additionalParams.lcm-kubernetes-def-files";
                    report.add(false, Rule::Manifest, (file.path.as_str(), 1), more);
                }
            }
        }
    }
    manifests
}

fn place(manifest: Option<&Manifest>) -> (&str, usize) {
    manifest.map_or(("", 1), |manifest| (manifest.file.as_str(), manifest.line))
}

/// Checks that the objects can be those of one VNF in one namespace.
fn objects(manifests: &[Manifest], report: &mut Report) {
    if render::check(manifests).is_err() {
        // Object by object, so that each that is wrong is found.
        let mut right: Vec<Manifest> = Vec::new();
        for manifest in manifests {
            right.push(manifest.clone());
            if let Err(Problem { detail, .. }) = render::check(&right) {
                report.add(true, Rule::Object, place(Some(manifest)), detail);
                right.pop();
            }
        }
    }
    if let Err(problem) = namespace::decide(Some(&json!(NAMESPACE)), manifests, false) {
        let in_system = manifests.iter().find(|manifest| manifest.namespace().is_some_and(is_of_kubernetes));
        report.add(true, Rule::Namespace, place(in_system), problem.detail);
    } else if let Err(problem) = namespace::decide(None, manifests, false) {
        let mut named = manifests.iter().filter(|it| it.namespace().is_some() && !namespace::is_cluster_scoped(it));
        let first = named.next();
        let other = named.find(|it| it.namespace() != first.and_then(Manifest::namespace));
        // A request with the parameter puts all of them into one.
        report.add(false, Rule::Namespace, place(other.or(first)), problem.detail);
    }
}

/// A namespace for the time of a check.
const NAMESPACE: &str = "gybe-lint";

/// Checks the VDUs of a flavour against the objects.
fn vdus(descriptor: &Descriptor, flavour: &Flavour, manifests: &[Manifest], report: &mut Report) {
    let lines = VduLines::of(descriptor);
    let entry = descriptor.files.first().map_or("", |(path, _)| path.as_str());
    let position = |text: &str| -> (String, usize) {
        let id = text.split('\'').nth(1).unwrap_or_default();
        lines.0.get(id).cloned().unwrap_or_else(|| (entry.to_owned(), 1))
    };
    let mut add = |error, rule, text: &str| {
        let (file, line) = position(text);
        report.add(error, rule, (file.as_str(), line), text);
    };
    if !manifests.is_empty() {
        render::warnings(manifests, flavour).iter().for_each(|text| add(false, Rule::Vdu, text));
    }
    let numbers = initial_levels(flavour, None).map(|levels| instances(flavour, &levels, None));
    match numbers.and_then(|numbers| check_numbers(&numbers).map(|()| numbers)) {
        Ok(numbers) => {
            profile_warnings(flavour, &numbers).iter().for_each(|text| add(false, Rule::Scaling, text));
            for (manifest, row) in manifests.iter().zip(rendered(manifests, flavour, &numbers)) {
                for text in rollout::warnings(&[row]) {
                    report.add(false, Rule::Rollout, place(Some(manifest)), text);
                }
            }
        }
        Err(problem) => add(true, Rule::Scaling, &problem.detail),
    }
}

/// The rows of the objects, one each, as if a cluster served all of their kinds.
fn rendered(manifests: &[Manifest], flavour: &Flavour, instances: &BTreeMap<String, u32>) -> Vec<Resource> {
    let kinds: BTreeSet<(String, String)> =
        manifests.iter().map(|it| (it.api_version().to_owned(), it.kind().to_owned())).collect();
    let Ok(namespace) = Namespace::try_from(NAMESPACE.to_owned()) else { return Vec::new() };
    let input = RenderInput {
        manifests,
        flavour,
        instances,
        namespace: &namespace,
        create_namespace: false,
        instance: VnfInstanceId(Uuid::nil()),
        kinds: &render::assumed(kinds),
    };
    render::resources(&input).unwrap_or_default()
}

/// File and line of each VDU's node.
struct VduLines(BTreeMap<String, (String, usize)>);

impl VduLines {
    fn of(descriptor: &Descriptor) -> Self {
        let mut lines = BTreeMap::new();
        for (path, text) in &descriptor.files {
            // It has been read before.
            let documents = yaml::documents(path, text, &mut Budget::default()).unwrap_or_default();
            for node in &documents {
                let templates = At::root(path, "the VNFD", node)
                    .member("topology_template")
                    .and_then(|it| it.member("node_templates"));
                for vdu in templates.into_iter().filter_map(|it| it.entries().ok()).flatten() {
                    let name = vdu.member("properties").and_then(|properties| properties.member("name"));
                    let line = name.unwrap_or(vdu).node().line;
                    lines.entry(vdu.key().to_owned()).or_insert_with(|| (path.clone(), line));
                }
            }
        }
        Self(lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_and_line_are_read_from_the_beginning_of_a_text() {
        assert_eq!(located("a b/c.yaml:12: x: y"), Some(("a b/c.yaml", 12, "x: y")));
        for text in ["the CSAR is refused: x", "a.yaml: x", "a.yaml:x: y", ""] {
            assert_eq!(located(text), None, "{text}");
        }
    }

    #[test]
    fn a_finding_is_one_line_with_file_line_rule_and_remedy() {
        let mut report = Report::default();
        report.add_text(true, Rule::Vnfd, ("p.csar", 1), "Definitions/a.yaml:7: no VDU x.");
        report.add_text(false, Rule::Archive, ("p.csar", 1), "it is no ZIP");
        let lines: Vec<String> = report.findings.iter().map(Finding::to_string).collect();
        assert_eq!(lines[0], "Definitions/a.yaml:7: vnfd: no VDU x. docs/packaging.md has a VNFD by example");
        assert!(lines[1].starts_with("p.csar:1: archive (warning): it is no ZIP. Pack"), "{}", lines[1]);
        assert_eq!(report.errors(), 1);
    }
}
