//! What Gybe reads of `additionalParams`, and the definition files they name.

use std::borrow::Cow;

use serde_json::{Map, Value};
use tokio::sync::Semaphore;

use crate::domain::manifest::Manifest;
use crate::domain::namespace::type_name;
use crate::domain::package::DefinitionFile;
use crate::domain::problem::{Panic, Problem};
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

/// Works of [`blocking`] at once: each may take a core and tens of megabytes, and more of them would be no faster.
const AT_ONCE: usize = 8;
static TURNS: Semaphore = Semaphore::const_new(AT_ONCE);

/// Runs work of some milliseconds (reading YAML) where it holds no other request up, when it is its turn.
///
/// # Errors
/// Those of `work`; 500 if it panicked.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    // It is never closed. The turn ends with the work, also where nobody waits for that any more.
    let turn = TURNS.acquire().await;
    let work = move || {
        let _turn = turn;
        work()
    };
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(match error.try_into_panic() {
            Ok(panic) => internal(&Panic::of(&*panic)),
            Err(cancelled) => internal(&cancelled),
        })
    })
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use futures::future::join_all;

    use super::*;

    #[tokio::test]
    async fn only_so_many_works_are_done_at_once_and_all_get_their_turn() {
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let works = (0..5 * AT_ONCE).map(|number| {
            let (running, most) = (Arc::clone(&running), Arc::clone(&most));
            blocking(move || {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(5));
                running.fetch_sub(1, Ordering::SeqCst);
                Ok(number)
            })
        });
        let done: Vec<usize> = join_all(works).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(done, (0..5 * AT_ONCE).collect::<Vec<_>>());
        assert!((2..=AT_ONCE).contains(&most.load(Ordering::SeqCst)), "{most:?}");
    }

    #[tokio::test]
    async fn a_panic_is_an_error_that_quotes_nothing_and_gives_its_turn_back() {
        for _ in 0..2 * AT_ONCE {
            let problem = blocking::<()>(|| panic!("no row of {}", "hunter2".to_owned())).await.unwrap_err();
            assert_eq!(problem.status, 500);
            assert!(!problem.detail.contains("hunter2"));
        }
    }
}
