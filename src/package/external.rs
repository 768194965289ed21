//! Artifacts that a package lists by URL (`docs/adr/0032-artifacts-by-url.md`): which ones there are, and what was fetched of them.
//!
//! [`super::csar`] finds and checks them; `crate::lcm::onboarding` fetches them in between, once, from the hosts that the operator allows.

use std::collections::BTreeMap;

use crate::domain::problem::{Problem, ProblemType, problem};
use crate::domain::secret::without_user_info;
use crate::package::meta::{LocatedValue, Meta};

/// The most artifacts by URL of a package.
pub const MAX_EXTERNAL: usize = 32;

/// An artifact that a package lists by URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalArtifact {
    /// The URL, as the package has it. Its query may hold a secret.
    pub url: String,
    /// File and line that list it.
    pub place: String,
}

/// The contents of such artifacts, by URL.
pub type ExternalContents = BTreeMap<String, Vec<u8>>;

/// Whether the path of an artifact is a URL.
pub fn is_url(path: &str) -> bool {
    path.contains("://") || path.starts_with("file:")
}

/// The path of an artifact for messages: of a URL without user, password and query, which may be secret.
pub fn shown(path: &str) -> String {
    let path = if is_url(path) { path.split(['?', '#']).next().unwrap_or_default() } else { path };
    without_user_info(path)
}

/// Whether the artifact with this URL can be a definition file: only those are fetched.
pub fn is_definition_file(url: &str) -> bool {
    let path = url.split(['?', '#']).next().unwrap_or_default().to_ascii_lowercase();
    [".yaml", ".yml", ".json"].iter().any(|extension| path.ends_with(extension))
}

/// The artifacts in `lists` (with their files) that are to be fetched, each once.
///
/// # Errors
/// 422 for a URL that is neither http nor https, for one with a user name or password, and for too many.
pub fn listed(lists: &[(String, Meta)]) -> Result<Vec<ExternalArtifact>, Problem> {
    let mut found: Vec<ExternalArtifact> = Vec::new();
    for (file, list) in lists {
        let paths = list.artifacts.iter().map(|artifact| &artifact.path).chain(&list.unhashed);
        for LocatedValue { line, text } in paths.filter(|path| is_url(&path.text) && is_definition_file(&path.text)) {
            let place = format!("{file}:{line}");
            if !["http://", "https://"].iter().any(|scheme| text.starts_with(scheme)) {
                return Err(problem!(
                    ProblemType::InvalidPackage,
                    "{place}: the artifact {url} is a URL that is not fetched; use http or https, or put the file into the CSAR",
                    place = place,
                    url = shown(text),
                ));
            }
            if without_user_info(text) != *text {
                return Err(problem!(
                    ProblemType::InvalidPackage,
                    "{place}: the artifact {url} has a user name or password in its URL, which whoever may read the package would see; leave them out, or put the file into the CSAR",
                    place = place,
                    url = shown(text),
                ));
            }
            if !found.iter().any(|known| known.url == *text) {
                found.push(ExternalArtifact { url: text.clone(), place });
            }
        }
    }
    if found.len() > MAX_EXTERNAL {
        return Err(problem!(
            ProblemType::InvalidPackage,
            "the package lists {number} artifacts by URL; at most {limit} are fetched. Put files into the CSAR",
            number = found.len(),
            limit = MAX_EXTERNAL,
        ));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::meta;

    fn of(lines: &str) -> Result<Vec<ExternalArtifact>, Problem> {
        listed(&[("m".to_owned(), meta::read("m", lines).unwrap())])
    }

    #[test]
    fn definition_files_by_url_are_found_once_each() {
        let found = of("Source: https://h/a.yaml\nAlgorithm: SHA-256\nHash: 00\n\nName: http://h:1/b.JSON?x=y\n\nSource: https://h/a.yaml\n\n\
                        Source: https://h/image.qcow2\nAlgorithm: SHA-256\nHash: 00\n\nName: Files/c.yaml\n")
        .unwrap();
        let found: Vec<_> = found.iter().map(|one| (one.url.as_str(), one.place.as_str())).collect();
        assert_eq!(found, [("https://h/a.yaml", "m:1"), ("http://h:1/b.JSON?x=y", "m:5")]);
    }

    #[test]
    fn other_schemes_and_too_many_are_refused() {
        for url in ["file:/etc/passwd.yaml", "ftp://h/a.yaml", "file:///a.yml"] {
            assert!(
                of(&format!("Name: {url}\n")).unwrap_err().detail.contains("is a URL that is not fetched"),
                "{url}"
            );
        }
        for url in ["https://u:s3cr3t@h/a.yaml?x=y", "ftp://u:s3cr3t@h/a.yaml", "http://s3cr3t@h/a.yaml"] {
            let detail = of(&format!("Name: {url}\n")).unwrap_err().detail;
            assert!(detail.contains("***@h/a.yaml") && !detail.contains("s3cr3t"), "{detail}");
        }
        let many: String = (0..=MAX_EXTERNAL).map(|number| format!("Name: https://h/{number}.yaml\n\n")).collect();
        assert!(of(&many).unwrap_err().detail.contains("at most 32 are fetched"));
    }
}
