//! Reads CSARs: [`onboard`] checks and reads an uploaded package, the other functions serve parts of it later.
//!
//! Both forms of SOL004 are supported: with `TOSCA-Metadata/TOSCA.meta` that names the VNFD, or without it and with the VNFD as the one
//! YAML file at the root. Artifacts are listed with their hashes in TOSCA.meta, in the manifest (`*.mf`), or in both.
//! Nothing is fetched here: of definition files by URL, the caller of [`onboard_with`] has the content; an import that is a URL is refused.

pub mod inspect;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{Cursor, Write};
use std::path::Path;

use aws_lc_rs::digest;
use zip::ZipWriter;
use zip::result::ZipResult;
use zip::write::SimpleFileOptions;

use crate::domain::package::{ArtifactClassification, ArtifactInfo, Content, DefinitionFile};
use crate::domain::problem::{Problem, ProblemType, problem};
use crate::domain::warning::Warnings;
use crate::package::archive::{self, Archive, Limits};
use crate::package::bundle::Bundle;
use crate::package::encoding::decode;
use crate::package::external::{self, ExternalArtifact, ExternalContents, is_url};
use crate::package::meta::{self, Artifact, LocatedValue, Meta};
use crate::package::vnfd::{self, DescribedImage, Descriptor};
use crate::package::yaml;

const TOSCA_META: &str = "TOSCA-Metadata/TOSCA.meta";

/// The result of onboarding a CSAR.
#[derive(Debug)]
pub struct Onboarded {
    /// The descriptor, the artifacts and the digest.
    pub content: Content,
    /// The artifacts that can be definition files.
    pub files: Vec<DefinitionFile>,
}

/// The VNFD of a package, for `GET …/vnfd`.
#[derive(Debug)]
pub struct VnfdFiles {
    /// The VNFD as text, if it is one file.
    pub text: Option<String>,
    /// A ZIP of its files and of TOSCA.meta.
    pub zip: Vec<u8>,
}

/// Checks the CSAR at `path` against `limits`, every artifact against its hash, and the VNFD. What an operation may need and could not
/// use, such as a definition file that is no YAML, is a warning.
///
/// # Errors
/// 422 naming file and line of the first thing that is wrong and what to do; 500 if the storage fails.
pub fn onboard(path: &Path, limits: &Limits) -> Result<Onboarded, Problem> {
    onboard_with(path, limits, &ExternalContents::new())
}

/// The artifacts that the CSAR at `path` lists by URL, and that are to be fetched before [`onboard_with`].
///
/// # Errors
/// As [`onboard`]; 422 as [`external::listed`].
pub fn external(path: &Path, limits: &Limits) -> Result<Vec<ExternalArtifact>, Problem> {
    let mut archive = Archive::open(path, limits)?;
    external::listed(&PackageIndex::find(&mut archive)?.lists(&mut archive)?)
}

/// As [`onboard`], with the contents of the artifacts that the CSAR lists by URL.
///
/// # Errors
/// As [`onboard`]; 422 for an artifact by URL without content.
pub fn onboard_with(path: &Path, limits: &Limits, contents: &ExternalContents) -> Result<Onboarded, Problem> {
    let mut archive = Archive::open(path, limits)?;
    let index = PackageIndex::find(&mut archive)?;
    let mut warnings = Warnings::default();
    let artifacts = index.artifacts(&mut archive, contents, &mut warnings)?;
    let Descriptor { vnfd, images, warnings: of_vnfd, .. } = index.vnfd(&mut archive)?;
    warnings.merge(&of_vnfd);
    let files = definition_files(&mut archive, contents, &artifacts, limits, &mut warnings)?;
    let artifacts = with_images(&mut archive, artifacts, &images, &mut warnings)?;
    let (sha512, size) = archive::sha512(path)?;
    Ok(Onboarded { content: Content { vnfd, sha512, size, artifacts, warnings }, files })
}

/// The VNFD in the CSAR at `path`.
///
/// # Errors
/// As [`onboard`].
pub fn vnfd(path: &Path, limits: &Limits) -> Result<VnfdFiles, Problem> {
    let mut archive = Archive::open(path, limits)?;
    let index = PackageIndex::find(&mut archive)?;
    let mut files = index.vnfd(&mut archive)?.files;
    let text = if let [(_, text)] = files.as_slice() { Some(text.clone()) } else { None };
    if let Some(meta) = archive.text(TOSCA_META)? {
        files.insert(0, (TOSCA_META.to_owned(), meta));
    }
    Ok(VnfdFiles { text, zip: zipped(&files)? })
}

/// Path and text of the manifest (`*.mf`) of the CSAR at `path`; `None` if it has none.
///
/// # Errors
/// As [`onboard`].
pub fn manifest(path: &Path, limits: &Limits) -> Result<Option<(String, String)>, Problem> {
    let mut archive = Archive::open(path, limits)?;
    match PackageIndex::find(&mut archive)?.manifest {
        Some((manifest, _)) => Ok(archive.text(&manifest)?.map(|text| (manifest, text))),
        None => Ok(None),
    }
}

/// The selection of artifacts for a ZIP (SOL003 3.3.1 clause 10.4.6). All artifacts are in the CSAR.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Exclude artifacts that are in no non-MANO set.
    pub without_mano: bool,
    /// Exclude artifacts that are in one.
    pub without_non_mano: bool,
    /// Of the non-MANO artifacts, only these sets.
    pub sets: Option<BTreeSet<String>>,
    /// Include signatures and certificates that are files of the package.
    pub signatures: bool,
}

impl Selection {
    fn has(&self, artifact: &ArtifactInfo) -> bool {
        match &artifact.non_mano_artifact_set {
            None => !self.without_mano,
            Some(set) => !self.without_non_mano && self.sets.as_ref().is_none_or(|sets| sets.contains(set)),
        }
    }
}

/// A ZIP of the selected `artifacts` in the CSAR at `path`, without software images.
///
/// # Errors
/// As [`onboard`]; 422 if it would be larger than 4 GiB.
pub fn bundle(
    path: &Path,
    limits: &Limits,
    artifacts: &[ArtifactInfo],
    selection: &Selection,
) -> Result<Bundle, Problem> {
    let mut archive = Archive::open(path, limits)?;
    let artifacts = artifacts.iter().filter(|artifact| artifact.image.is_none() && selection.has(artifact));
    let mut paths: BTreeSet<String> = artifacts.map(|artifact| artifact.path.clone()).collect();
    paths.retain(|path| !is_url(path));
    if selection.signatures {
        let lists = PackageIndex::find(&mut archive)?.lists(&mut archive)?;
        let signed = lists.iter().flat_map(|(_, list)| &list.artifacts).filter(|one| paths.contains(&one.path.text));
        let signatures: Vec<String> = signed.flat_map(|one| one.signatures.iter().cloned()).collect();
        paths.extend(signatures.into_iter().filter(|path| archive.size(path).is_some()));
    }
    archive.bundle(path, paths.iter().map(String::as_str))
}

/// A ZIP of these files, path and text.
///
/// # Errors
/// 500 if they can't be packed, which is a defect.
pub fn zipped(files: &[(String, String)]) -> Result<Vec<u8>, Problem> {
    let zip = || -> ZipResult<Vec<u8>> {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        for (path, text) in files {
            writer.start_file(path.as_str(), SimpleFileOptions::default())?;
            writer.write_all(text.as_bytes())?;
        }
        Ok(writer.finish()?.into_inner())
    };
    zip().map_err(|error| Problem::new(ProblemType::Internal, format!("the files can't be packed: {error}")))
}

/// The files that name all others of a package.
struct PackageIndex {
    /// The path of the VNFD, and the file and line that names it.
    definitions: (String, String),
    /// The manifest, and the file and line that names it.
    manifest: Option<(String, String)>,
    /// TOSCA.meta.
    meta: Option<Meta>,
}

impl PackageIndex {
    fn find(archive: &mut Archive) -> Result<Self, Problem> {
        match archive.text(TOSCA_META)? {
            Some(text) => Self::named(meta::read(TOSCA_META, &text)?),
            None => Self::at_root(archive),
        }
    }

    fn named(meta: Meta) -> Result<Self, Problem> {
        let named = |key: &str| {
            let value = meta.keys.get(key).filter(|value| !value.text.is_empty())?;
            Some((value.text.clone(), format!("{TOSCA_META}:{}", value.line)))
        };
        let definitions = named("entry-definitions").ok_or_else(|| {
            let reason = "there is no Entry-Definitions; add a line 'Entry-Definitions: <path of the VNFD>'";
            yaml::problem(TOSCA_META, 1, reason)
        })?;
        let manifest = named("etsi-entry-manifest").or_else(|| named("entry-manifest"));
        Ok(Self { definitions, manifest, meta: Some(meta) })
    }

    /// Without TOSCA.meta (SOL004 clause 4.1.3): the VNFD is the one YAML file at the root, the manifest has its name.
    fn at_root(archive: &Archive) -> Result<Self, Problem> {
        let root: Vec<&str> = archive.paths().filter(|path| !path.contains('/')).collect();
        let definitions: Vec<&str> =
            root.iter().copied().filter(|path| stem(path, &["yaml", "yml"]).is_some()).collect();
        let [definitions] = definitions.as_slice() else {
            return Err(Problem::invalid_package(no_entry(archive, &definitions)));
        };
        let name = stem(definitions, &["yaml", "yml"]);
        let manifests = root.iter().copied().filter(|path| stem(path, &["mf"]).is_some());
        let (own, others): (Vec<&str>, Vec<&str>) = manifests.partition(|path| stem(path, &["mf"]) == name);
        if let Some(other) = others.first() {
            return Err(problem!(
                ProblemType::InvalidPackage,
                "{file}: a CSAR without {meta} has one manifest with the name of its VNFD, {vnfd}; rename it",
                file = other,
                meta = TOSCA_META,
                vnfd = definitions,
            ));
        }
        let place = "the root of the CSAR".to_owned();
        let manifest = own.first().map(|path| ((*path).to_owned(), place.clone()));
        Ok(Self { definitions: ((*definitions).to_owned(), place), manifest, meta: None })
    }

    /// The artifacts of the manifest and of TOSCA.meta, each checked and listed once.
    fn artifacts(
        &self,
        archive: &mut Archive,
        contents: &ExternalContents,
        warnings: &mut Warnings,
    ) -> Result<Vec<ArtifactInfo>, Problem> {
        let lists = self.lists(archive)?;
        let mut verifier = Verifier { archive, contents, digests: HashMap::new(), found: BTreeMap::new() };
        for (file, list) in &lists {
            verifier.verify(file, &list.artifacts, warnings)?;
        }
        for (file, list) in &lists {
            list.unhashed.iter().try_for_each(|path| verifier.add_unhashed(file, path, warnings))?;
        }
        Ok(verifier.found.into_values().map(|artifact| self.described(artifact, &lists)).collect())
    }

    /// The artifact with its non-MANO set and its classification.
    fn described(&self, artifact: ArtifactInfo, lists: &[(String, Meta)]) -> ArtifactInfo {
        ArtifactInfo {
            non_mano_artifact_set: lists.iter().find_map(|(_, list)| list.sets.get(&artifact.path).cloned()),
            classification: self.classification(&artifact.path),
            ..artifact
        }
    }

    /// TOSCA.meta and the manifest with their paths.
    fn lists(&self, archive: &mut Archive) -> Result<Vec<(String, Meta)>, Problem> {
        let mut lists: Vec<_> = self.meta.iter().map(|meta| (TOSCA_META.to_owned(), meta.clone())).collect();
        if let Some((manifest, place)) = &self.manifest {
            let text = archive.text(manifest)?.ok_or_else(|| {
                problem!(
                    ProblemType::InvalidPackage,
                    "{place}: there is no file {file} in the CSAR; add the manifest or remove the line",
                    place = place,
                    file = manifest,
                )
            })?;
            lists.push((manifest.clone(), meta::read(manifest, &text)?));
        }
        Ok(lists)
    }

    /// The classification of the artifact at `path`, if TOSCA.meta names it or its directory as no part of the VNF.
    fn classification(&self, path: &str) -> Option<ArtifactClassification> {
        let keys = &self.meta.as_ref()?.keys;
        let is_in = |place: &str| {
            let rest = path.strip_prefix(place.trim_end_matches('/'));
            !place.is_empty() && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let named = CLASSIFIED.into_iter().find(|(key, _)| keys.get(*key).is_some_and(|place| is_in(&place.text)));
        named.map(|(_, classification)| classification)
    }

    fn vnfd(&self, archive: &mut Archive) -> Result<Descriptor, Problem> {
        let (path, place) = &self.definitions;
        vnfd::read(path, place, &mut |path| archive.text(path))
    }
}

/// The keys of TOSCA.meta for files that are no part of the VNF (SOL004 clause 4.1.2.3).
const CLASSIFIED: [(&str, ArtifactClassification); 3] = [
    ("etsi-entry-change-log", ArtifactClassification::History),
    ("etsi-entry-tests", ArtifactClassification::Testing),
    ("etsi-entry-licenses", ArtifactClassification::License),
];

/// The name of the file at `path` without its extension, if that is one of `extensions`.
fn stem<'a>(path: &'a str, extensions: &[&str]) -> Option<&'a str> {
    let (stem, extension) = path.rsplit_once('.')?;
    extensions.iter().any(|known| extension.eq_ignore_ascii_case(known)).then_some(stem)
}

fn no_entry(archive: &Archive, at_root: &[&str]) -> String {
    // A frequent mistake: the ZIP has the directory instead of its content.
    if let Some(directory) = archive.paths().find_map(|path| path.strip_suffix(TOSCA_META)?.strip_suffix('/')) {
        return format!(
            "the CSAR has {directory}/{TOSCA_META}, but not {TOSCA_META}: pack what is in the directory {directory}, \
             without the directory itself"
        );
    }
    let found = if at_root.is_empty() { "none".to_owned() } else { at_root.join(", ") };
    format!(
        "the CSAR has neither {TOSCA_META} nor exactly one YAML file at its root (it has: {found}); add {TOSCA_META} \
         with a line 'Entry-Definitions: <path of the VNFD>'"
    )
}

/// Checks artifacts against their hashes. A file that is listed several times is hashed once.
struct Verifier<'a> {
    archive: &'a mut Archive,
    contents: &'a ExternalContents,
    digests: HashMap<(String, &'static str), String>,
    found: BTreeMap<String, ArtifactInfo>,
}

impl Verifier<'_> {
    fn verify(&mut self, file: &str, artifacts: &[Artifact], warnings: &mut Warnings) -> Result<(), Problem> {
        artifacts.iter().try_for_each(|artifact| self.verify_one(file, artifact, warnings))
    }

    /// Whether the artifact has a content to verify. One by URL that is no definition file has none, with a warning.
    ///
    /// # Errors
    /// 422 if it must have one.
    fn has_content(&self, file: &str, path: &LocatedValue, warnings: &mut Warnings) -> Result<bool, Problem> {
        let LocatedValue { line, text } = path;
        let shown = external::shown(text);
        if self.contents.contains_key(text) || (!is_url(text) && self.archive.size(text).is_some()) {
            return Ok(true);
        }
        if text.starts_with("http") && is_url(text) && !external::is_definition_file(text) {
            warnings.add(format!(
                "{file}:{line}: the artifact {shown} is a URL and is no YAML or JSON file; it is not fetched"
            ));
            return Ok(false);
        }
        let what = if is_url(text) {
            format!("the artifact {shown} is a URL, and was not fetched; put the file into the CSAR")
        } else {
            format!("there is no file {text} in the CSAR; add it, or correct the path (from the root of the CSAR)")
        };
        Err(yaml::problem(file, *line, &what))
    }

    fn verify_one(&mut self, file: &str, artifact: &Artifact, warnings: &mut Warnings) -> Result<(), Problem> {
        let wrong = |line: usize, what: String| Err(yaml::problem(file, line, &what));
        let path = &artifact.path.text;
        if !self.has_content(file, &artifact.path, warnings)? {
            return Ok(());
        }
        let Some((name, algorithm)) = algorithm(&artifact.algorithm.text) else {
            let what = format!(
                "the algorithm {} is not known; use SHA-256, SHA-224, SHA-384 or SHA-512",
                artifact.algorithm.text
            );
            return wrong(artifact.algorithm.line, what);
        };
        let digest = self.digest(path, name, algorithm)?;
        let shown = external::shown(path);
        if !digest.eq_ignore_ascii_case(&artifact.hash.text) {
            let what = format!(
                "the hash of {shown} is wrong: its {name} is {digest}; correct the hash, or put the right file into the CSAR"
            );
            return wrong(artifact.hash.line, what);
        }
        let info = ArtifactInfo {
            content_type: artifact.content_type.clone(),
            ..listed(path, &artifact.algorithm.text, &artifact.hash.text)
        };
        self.found.entry(path.clone()).or_insert(info);
        Ok(())
    }

    /// Adds an artifact that `file` lists without a hash. The files of the VNFD need none.
    fn add_unhashed(&mut self, file: &str, path: &LocatedValue, warnings: &mut Warnings) -> Result<(), Problem> {
        let name = &path.text;
        if self.found.contains_key(name) || is_descriptor(name) {
            return Ok(());
        }
        let located =
            |what: &str| format!("{file}:{}: the artifact {} has no hash, {what}", path.line, external::shown(name));
        if is_url(name) {
            if !self.has_content(file, path, warnings)? {
                return Ok(());
            }
        } else if self.archive.size(name).is_none() {
            warnings.add(located("and there is no such file in the CSAR; it is ignored"));
            return Ok(());
        }
        let (algorithm, function) = UNHASHED;
        let digest = self.digest(name, algorithm, function)?;
        warnings.add(located("so nothing proves that its content is the author's; add Algorithm and Hash"));
        self.found.insert(name.clone(), listed(name, algorithm, &digest));
        Ok(())
    }

    fn digest(
        &mut self,
        path: &str,
        name: &'static str,
        algorithm: &'static digest::Algorithm,
    ) -> Result<String, Problem> {
        let key = (path.to_owned(), name);
        if let Some(known) = self.digests.get(&key) {
            return Ok(known.clone());
        }
        let digest = match self.contents.get(path) {
            Some(content) => hex::encode(digest::digest(algorithm, content)),
            None => self.archive.digest(path, algorithm)?,
        };
        self.digests.insert(key, digest.clone());
        Ok(digest)
    }
}

/// The algorithm for the artifacts that have no hash.
const UNHASHED: (&str, &digest::Algorithm) = ("SHA-256", &digest::SHA256);

/// An artifact with its path and hash only.
fn listed(path: &str, algorithm: &str, hash: &str) -> ArtifactInfo {
    ArtifactInfo {
        path: path.to_owned(),
        algorithm: algorithm.to_owned(),
        hash: hash.to_owned(),
        content_type: None,
        non_mano_artifact_set: None,
        classification: None,
        image: None,
    }
}

/// Whether the file belongs to the VNFD or to the lists of files.
fn is_descriptor(path: &str) -> bool {
    path.starts_with("Definitions/") || path.starts_with("TOSCA-Metadata/")
}

/// The artifacts, one entry for each software image that the VNFD describes, with the checksum that the VNFD states.
fn with_images(
    archive: &mut Archive,
    artifacts: Vec<ArtifactInfo>,
    images: &[DescribedImage],
    warnings: &mut Warnings,
) -> Result<Vec<ArtifactInfo>, Problem> {
    let mut all = Vec::new();
    for artifact in artifacts {
        let before = all.len();
        let is_image = |image: &&DescribedImage| image.paths.contains(&artifact.path) && !is_url(&artifact.path);
        for described in images.iter().filter(is_image) {
            let mut entry = ArtifactInfo { image: Some(described.image.clone()), ..artifact.clone() };
            if let Some((name, hash)) = &described.checksum {
                let known =
                    algorithm(name).map(|(_, function)| archive.digest(&artifact.path, function)).transpose()?;
                if known.is_none_or(|digest| !digest.eq_ignore_ascii_case(hash)) {
                    let id = &described.image.id;
                    warnings
                        .add(format!("the checksum of the image {id} in the VNFD is not that of {}", artifact.path));
                }
                (entry.algorithm, entry.hash) = (name.clone(), hash.clone());
            }
            all.push(entry);
        }
        if all.len() == before {
            all.push(artifact);
        }
    }
    Ok(all)
}

/// `SHA-256`, `sha256` and the like.
fn algorithm(name: &str) -> Option<(&'static str, &'static digest::Algorithm)> {
    match name.to_ascii_lowercase().replace('-', "").as_str() {
        "sha224" => Some(("SHA-224", &digest::SHA224)),
        "sha256" => Some(("SHA-256", &digest::SHA256)),
        "sha384" => Some(("SHA-384", &digest::SHA384)),
        "sha512" => Some(("SHA-512", &digest::SHA512)),
        _ => None,
    }
}

/// The listed YAML and JSON files outside the VNFD. They need not be Kubernetes objects until an operation names them: the values of a
/// Helm chart, for one, are none. Those that no operation could use are warned of.
fn definition_files(
    archive: &mut Archive,
    contents: &ExternalContents,
    artifacts: &[ArtifactInfo],
    limits: &Limits,
    warnings: &mut Warnings,
) -> Result<Vec<DefinitionFile>, Problem> {
    let mut files = Vec::new();
    let mut total = 0;
    for ArtifactInfo { path, .. } in artifacts {
        let content = contents.get(path);
        if content.is_none() && (is_descriptor(path) || stem(path, &["yaml", "yml", "json"]).is_none()) {
            continue;
        }
        let size = content.map_or_else(|| archive.size(path).unwrap_or_default(), |content| content.len() as u64);
        let text = if total + size.min(DefinitionFile::MAX_BYTES) > limits.definition_bytes {
            Err(format!("the YAML and JSON artifacts up to this one have more than {} bytes", limits.definition_bytes))
        } else {
            match content {
                Some(content) => decode(content.clone()).map_err(str::to_owned),
                None => archive.decoded(path)?,
            }
        };
        let file = match text {
            Ok(text) => DefinitionFile::new(path, text),
            Err(problem) => DefinitionFile::unreadable(path, problem),
        };
        total += file.text.len() as u64;
        // A template is YAML only after it is rendered.
        let is_template = ["{{", "{%", "<%"].iter().any(|mark| file.text.contains(mark));
        let problem = match &file.problem {
            Some(problem) => Some(format!("{path}: {problem}")),
            None if is_template => None,
            None => yaml::check_syntax(path, &file.text).err().map(|problem| problem.detail),
        };
        if let Some(problem) = problem {
            warnings.add(format!("{problem}; an operation that needs the file is refused"));
        }
        files.push(file);
    }
    Ok(files)
}
