//! Reads a CSAR as onboarding does, and goes on after an error: authors want to see all errors of a package at once.
//!
//! `crate::cli` calls [`inspect`]. The VNFD is read up to its first error, because all that follows depends on it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use super::{PackageIndex, TOSCA_META, Verifier, definition_files, is_descriptor, stem, with_images};
use crate::domain::package::{ArtifactInfo, DefinitionFile};
use crate::domain::problem::Problem;
use crate::domain::warning::Warnings;
use crate::package::archive::{Archive, Limits};
use crate::package::external::{self, ExternalContents, is_url};
use crate::package::meta::{LocatedValue, Meta};
use crate::package::vnfd::Descriptor;

/// The part of a package that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The ZIP archive.
    Archive,
    /// TOSCA.meta or the manifest.
    Lists,
    /// A listed file.
    Artifact,
    /// A file of Kubernetes objects that no list names.
    Unlisted,
    /// The descriptor.
    Vnfd,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub part: Part,
    /// Whether onboarding fails, and not only warns.
    pub is_error: bool,
    /// As onboarding says it, usually with file and line at the beginning.
    pub text: String,
}

/// What was read of a package.
#[derive(Debug, Default)]
pub struct Inspection {
    pub faults: Vec<Fault>,
    /// `None` if it has an error.
    pub descriptor: Option<Descriptor>,
    /// The YAML and JSON artifacts that are part of the VNF.
    pub files: Vec<DefinitionFile>,
}

/// Reads the CSAR at `path`.
pub fn inspect(path: &Path, limits: &Limits) -> Inspection {
    let mut inspection = Inspection::default();
    match Archive::open(path, limits) {
        Ok(mut archive) => inspection.read(&mut archive, limits),
        Err(problem) => inspection.error(Part::Archive, problem),
    }
    inspection
}

impl Inspection {
    fn error(&mut self, part: Part, problem: Problem) {
        self.faults.push(Fault { part, is_error: true, text: problem.detail });
    }

    fn warn(&mut self, part: Part, warnings: &Warnings) {
        let fault = |text: &str| Fault { part, is_error: false, text: text.to_owned() };
        self.faults.extend(warnings.iter().map(fault));
    }

    fn read(&mut self, archive: &mut Archive, limits: &Limits) {
        let index = match PackageIndex::find(archive) {
            Ok(index) => index,
            Err(problem) => return self.error(Part::Lists, problem),
        };
        let lists = index.lists(archive).unwrap_or_else(|problem| {
            self.error(Part::Lists, problem);
            index.meta.iter().map(|meta| (TOSCA_META.to_owned(), meta.clone())).collect()
        });
        let artifacts = self.artifacts(&index, &lists, archive);
        self.vnfd(&index, &artifacts, archive);
        self.unlisted(&index, &lists, &artifacts, archive);
        let of_vnf = |it: &ArtifactInfo| it.classification.is_none() && it.non_mano_artifact_set.is_none();
        let artifacts: Vec<ArtifactInfo> = artifacts.into_iter().filter(of_vnf).collect();
        // The caller reads the files, and finds what this would warn of.
        let mut ignored = Warnings::default();
        match definition_files(archive, &ExternalContents::new(), &artifacts, limits, &mut ignored) {
            Ok(files) => self.files = files,
            Err(problem) => self.error(Part::Archive, problem),
        }
    }

    fn artifacts(
        &mut self,
        index: &PackageIndex,
        lists: &[(String, Meta)],
        archive: &mut Archive,
    ) -> Vec<ArtifactInfo> {
        if let Err(problem) = external::listed(lists) {
            self.error(Part::Artifact, problem);
        }
        let (contents, mut warnings) = (ExternalContents::new(), Warnings::default());
        let mut verifier = Verifier { archive, contents: &contents, digests: HashMap::new(), found: BTreeMap::new() };
        for (file, list) in lists {
            for artifact in &list.artifacts {
                if is_fetched(file, &artifact.path, &mut warnings) {
                    continue;
                }
                if let Err(problem) = verifier.verify_one(file, artifact, &mut warnings) {
                    self.error(Part::Artifact, problem);
                }
            }
        }
        for (file, list) in lists {
            for path in &list.unhashed {
                if is_fetched(file, path, &mut warnings) {
                    continue;
                }
                if let Err(problem) = verifier.add_unhashed(file, path, &mut warnings) {
                    self.error(Part::Artifact, problem);
                }
            }
        }
        self.warn(Part::Artifact, &warnings);
        verifier.found.into_values().map(|artifact| index.described(artifact, lists)).collect()
    }

    fn vnfd(&mut self, index: &PackageIndex, artifacts: &[ArtifactInfo], archive: &mut Archive) {
        let descriptor = match index.vnfd(archive) {
            Ok(descriptor) => descriptor,
            Err(problem) => return self.error(Part::Vnfd, problem),
        };
        let mut warnings = descriptor.warnings.clone();
        if let Err(problem) = with_images(archive, artifacts.to_vec(), &descriptor.images, &mut warnings) {
            self.error(Part::Artifact, problem);
        }
        self.warn(Part::Vnfd, &warnings);
        self.descriptor = Some(descriptor);
    }

    /// Finds files that look like definition files and that no operation will use.
    fn unlisted(
        &mut self,
        index: &PackageIndex,
        lists: &[(String, Meta)],
        artifacts: &[ArtifactInfo],
        archive: &Archive,
    ) {
        let mut known: BTreeSet<&str> = artifacts.iter().map(|artifact| artifact.path.as_str()).collect();
        let listed = lists.iter().flat_map(|(_, list)| &list.artifacts);
        known.extend(listed.map(|artifact| artifact.path.text.as_str()));
        known.insert(&index.definitions.0);
        let descriptor = self.descriptor.iter().flat_map(|descriptor| &descriptor.files);
        known.extend(descriptor.map(|(path, _)| path.as_str()));
        let is_unlisted = |path: &&str| {
            let is_yaml = stem(path, &["yaml", "yml", "json"]).is_some();
            is_yaml && !is_descriptor(path) && !known.contains(path) && index.classification(path).is_none()
        };
        let faults = archive.paths().filter(is_unlisted).map(|path| Fault {
            part: Part::Unlisted,
            is_error: false,
            text: format!("{path}:1: no list of the package names this file, so no operation uses it"),
        });
        let faults: Vec<Fault> = faults.collect();
        self.faults.extend(faults);
    }
}

/// Whether the server fetches the artifact when the package is onboarded.
fn is_fetched(file: &str, path: &LocatedValue, warnings: &mut Warnings) -> bool {
    if !is_url(&path.text) || !external::is_definition_file(&path.text) {
        return false;
    }
    let shown = external::shown(&path.text);
    warnings.add(format!(
        "{file}:{}: the artifact {shown} is a URL: a server fetches it if its --package-sources names the host, and it was not checked",
        path.line
    ));
    true
}
