//! The Kubernetes objects of a package's definition files.
//!
//! The API calls [`read`] before the 202, the planner when it makes a plan. It ensures what [`Manifest`] promises, so that
//! errors that need no cluster are reported with file and line.

use serde_json::{Map, Value};

use crate::domain::manifest::{Manifest, is_review};
use crate::domain::package::DefinitionFile;
use crate::domain::problem::Problem;
use crate::package::yaml::{self, At, Budget, Data, Node};

/// The most objects one VNF instance is made of.
pub const MAX_OBJECTS: usize = 2_000;

/// Metadata that only the cluster sets. Manifests have it when they were pasted from `kubectl get -o yaml`, and then it belongs
/// to another object: a `resourceVersion` would fail the request, and `ownerReferences` would get the object garbage-collected.
const SERVER_MANAGED: [&str; 9] = [
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// The objects of `files`, in the order of the files and of the documents in each. A `List` is replaced by its items. Fields
/// that only the server sets are removed.
///
/// # Errors
/// 422 naming file and line of the first document that is no Kubernetes object with a fixed name.
pub fn read(files: &[DefinitionFile]) -> Result<Vec<Manifest>, Problem> {
    let (mut manifests, mut budget) = (Vec::new(), Budget::default());
    for file in files {
        for document in yaml::manifests(&file.path, &file.text, &mut budget)? {
            collect(&file.path, document, &mut manifests)?;
        }
    }
    Ok(manifests)
}

fn collect(file: &str, node: Node, into: &mut Vec<Manifest>) -> Result<(), Problem> {
    let object = At::root(file, "the object", &node);
    if node.as_map().is_none() {
        return Err(object.problem(format!(
            "a Kubernetes object is a mapping with apiVersion, kind and metadata, and this is {}; correct the file, or \
             leave it out of the definition files",
            node.type_name()
        )));
    }
    if let Some(items) = list_items(object)? {
        return items.into_iter().try_for_each(|item| collect(file, item, into));
    }
    let named = check(object)?;
    if into.len() == MAX_OBJECTS {
        return Err(object.problem(format!("a VNF has at most {MAX_OBJECTS} Kubernetes objects; use several VNFs")));
    }
    let line = node.line;
    let mut object = without_server_managed(node);
    if !named {
        name_review(&mut object, into.len());
    }
    into.push(Manifest { file: file.to_owned(), line, object });
    Ok(())
}

/// The items of a `List` or `…List` document. Items of a typed list may take their kind from the list.
fn list_items(list: At<'_>) -> Result<Option<Vec<Node>>, Problem> {
    let kind = list.member("kind").and_then(|kind| kind.node().as_text()).unwrap_or_default();
    let named = list.member("metadata").is_some_and(|metadata| metadata.member("name").is_some());
    let Some(item_kind) = kind.strip_suffix("List").filter(|_| !named) else { return Ok(None) };
    check_list_version(list)?;
    if item_kind.is_empty() {
        return Ok(Some(list.required("items")?.items()?.map(|item| item.node().clone()).collect()));
    }
    let Some(items) = list.member("items") else { return Ok(None) };
    let inherited = |item: At<'_>| {
        let mut node = item.node().clone();
        if let Data::Map(object) = &mut node.data {
            let kind = Node { line: node.line, data: Data::Text(item_kind.to_owned()) };
            object.entry("kind".to_owned()).or_insert(kind);
            if let Some(version) = list.member("apiVersion") {
                object.entry("apiVersion".to_owned()).or_insert_with(|| version.node().clone());
            }
        }
        node
    };
    Ok(Some(items.items()?.map(inherited).collect()))
}

/// The parts become segments of URLs and must not change the path.
fn check_api_version(version: At<'_>) -> Result<(), Problem> {
    let parts: Vec<&str> = version.text()?.split('/').collect();
    let word = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-');
    if parts.len() > 2 || !parts.iter().all(|part| part.chars().all(word) && !part.is_empty() && !part.starts_with('.'))
    {
        return Err(version.problem(format!("apiVersion '{}' is not like v1 or apps/v1", excerpt(version.text()?))));
    }
    Ok(())
}

/// Checks the `apiVersion` of a list, which may be missing or empty. The core group has one version.
fn check_list_version(list: At<'_>) -> Result<(), Problem> {
    let Some(version) = list.member("apiVersion") else { return Ok(()) };
    let text = version.text()?;
    if text.is_empty() {
        return Ok(());
    }
    check_api_version(version)?;
    match text.contains('/') || text == "v1" {
        true => Ok(()),
        false => Err(version.problem(format!("no cluster has lists of apiVersion '{}'; write v1", excerpt(text)))),
    }
}

/// Checks the name of the object. Only reviews may have none.
fn check(object: At<'_>) -> Result<bool, Problem> {
    let version = object.required("apiVersion")?;
    check_api_version(version)?;
    let kind = object.required("kind")?;
    if kind.text()?.is_empty() || !kind.text()?.chars().all(|letter| letter.is_ascii_alphanumeric()) {
        return Err(kind.problem(format!("kind '{}' is not like Deployment", excerpt(kind.text()?))));
    }
    let is_review = is_review(version.text()?);
    let metadata = match object.member("metadata") {
        None if is_review => return Ok(false),
        _ => object.required("metadata")?,
    };
    let named = !is_review || metadata.entries()?.any(|member| member.key() == "name");
    if named {
        check_name(metadata)?;
    }
    if let Some(namespace) = metadata.member("namespace") {
        namespace.text()?;
    }
    // A bare `1.0` or `yes` is no string; Kubernetes would refuse it only in the middle of an operation.
    for strings in ["labels", "annotations"].iter().filter_map(|member| metadata.member(member)) {
        strings.entries()?.try_for_each(|entry| entry.text().map(drop))?;
    }
    Ok(named)
}

/// Names a review without a name by its position among the objects: Kubernetes needs no name, the inventory does.
fn name_review(review: &mut Map<String, Value>, place: usize) {
    let kind = review.get("kind").and_then(Value::as_str).unwrap_or_default();
    let name = format!("{}-{place}", excerpt(kind).to_ascii_lowercase());
    if let Value::Object(metadata) = review.entry("metadata").or_insert_with(|| Map::new().into()) {
        metadata.insert("name".to_owned(), name.into());
    }
}

fn check_name(metadata: At<'_>) -> Result<(), Problem> {
    if let Some(generate) = metadata.member("generateName").filter(|_| metadata.member("name").is_none()) {
        return Err(generate.problem(
            "generateName lets the cluster choose a name, and an operation that is repeated would make a second object; \
             give a fixed metadata.name",
        ));
    }
    let name = metadata.required("name")?;
    let text = name.text()?;
    let unsafe_in_urls = |letter: char| matches!(letter, '/' | '%' | '?' | '#' | '\\') || !letter.is_ascii_graphic();
    if text.is_empty() || text.len() > 253 || matches!(text, "." | "..") || text.contains(unsafe_in_urls) {
        return Err(name.problem(format!(
            "metadata.name '{}' can't be a name in Kubernetes: use 1 to 253 lower-case letters, digits, '-' and '.'",
            excerpt(text)
        )));
    }
    Ok(())
}

/// The beginning of a text, for an error message.
fn excerpt(text: &str) -> String {
    text.chars().take(100).collect()
}

fn without_server_managed(node: Node) -> Map<String, Value> {
    let Value::Object(mut object) = Value::from(node) else { return Map::new() };
    object.remove("status");
    if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
        metadata.retain(|key, value| !SERVER_MANAGED.contains(&key.as_str()) && !value.is_null());
    }
    object
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn file(path: &str, text: impl Into<String>) -> DefinitionFile {
        DefinitionFile::new(path, text)
    }

    fn error(text: &str) -> String {
        read(&[file("f.yaml", text)]).unwrap_err().detail
    }

    const OBJECT: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: c\n";

    #[test]
    fn reads_objects_in_order_with_file_and_line() {
        let first = file("a.yaml", format!("---\n{OBJECT}---\n# nothing\n---\n{}", OBJECT.replace(": c", ": d")));
        let second = file("b.json", r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"e"}}"#);
        let all = read(&[first, second]).unwrap();
        let seen: Vec<_> = all.iter().map(|m| (m.position(), m.kind(), m.name())).collect();
        let expected = [
            ("a.yaml:2".to_owned(), "ConfigMap", "c"),
            ("a.yaml:9".to_owned(), "ConfigMap", "d"),
            ("b.json:1".to_owned(), "Deployment", "e"),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn replaces_lists_by_their_items() {
        let text = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Secret\n  metadata: {name: a}\n\
                    - kind: ConfigMapList\n  apiVersion: v1\n  items:\n  - metadata: {name: b}\n";
        let all = read(&[file("f.yaml", text)]).unwrap();
        let seen: Vec<_> = all.iter().map(|m| (m.line, m.api_version(), m.kind(), m.name())).collect();
        assert_eq!(seen, [(4, "v1", "Secret", "a"), (10, "v1", "ConfigMap", "b")]);
        let named = "apiVersion: example.com/v1\nkind: AllowList\nmetadata: {name: a}\nitems: [b]\n";
        assert_eq!(read(&[file("f.yaml", named)]).unwrap()[0].kind(), "AllowList");
        assert_eq!(
            error("apiVersion: v1\nkind: List\nitems: 1\n"),
            "f.yaml:3: items must be a list, and this is a number"
        );
        let version = |version: &str| format!("apiVersion: {version}\nkind: List\nitems: []\n");
        assert_eq!(error(&version("1:30")), "f.yaml:1: apiVersion '1:30' is not like v1 or apps/v1");
        assert_eq!(error(&version("v2")), "f.yaml:1: no cluster has lists of apiVersion 'v2'; write v1");
        assert!(read(&[file("f.yaml", version("apps/v1"))]).unwrap().is_empty());
        assert!(read(&[file("f.yaml", version("''"))]).unwrap().is_empty());
        assert!(error("apiVersion: v1\nkind: List\n").starts_with("f.yaml:1: the object has no items; add it"));
    }

    #[test]
    fn accepts_a_review_without_a_name() {
        let review = "apiVersion: authorization.k8s.io/v1\nkind: SelfSubjectAccessReview\n";
        let text = format!("{review}---\n{review}metadata: {{namespace: x}}\n---\n{review}metadata: {{name: mine}}\n");
        let all = read(&[file("f.yaml", text)]).unwrap();
        let names: Vec<_> = all.iter().map(Manifest::name).collect();
        assert_eq!(names, ["selfsubjectaccessreview-0", "selfsubjectaccessreview-1", "mine"]);
        assert_eq!(all[1].namespace(), Some("x"));
        assert!(error(&format!("{review}metadata: x\n")).starts_with("f.yaml:3: metadata must be a mapping"));
        assert!(error(&format!("{review}metadata: {{name: ''}}\n")).contains("can't be a name"));
    }

    #[test]
    fn removes_fields_that_only_the_server_sets() {
        let text = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\n  uid: x\n  resourceVersion: '5'\n  labels:\n    \
                    generation: '2'\n  managedFields: []\n  ownerReferences: [{uid: y}]\n  creationTimestamp: null\n  \
                    namespace:\n  selfLink: /x\nspec: {a: 1}\nstatus: {phase: Running}\n";
        let all = read(&[file("f.yaml", text)]).unwrap();
        let expected = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"generation": "2"}}, "spec": {"a": 1}});
        assert_eq!(Value::Object(all[0].object.clone()), expected);
    }

    #[test]
    fn rejects_other_documents_with_file_and_line() {
        let pod = "apiVersion: v1\nkind: Pod\n";
        let cases = [
            ("just a text\n".to_owned(), "1: a Kubernetes object is a mapping with apiVersion"),
            ("replicas: 1\n".to_owned(), "1: the object has no apiVersion; add it"),
            ("apiVersion: 1\n".to_owned(), "1: apiVersion must be a string, and this is a number; put it in quotes"),
            ("apiVersion: v1\n".to_owned(), "1: the object has no kind; add it"),
            ("apiVersion: a/../b\nkind: P\n".to_owned(), "1: apiVersion 'a/../b' is not like v1"),
            ("apiVersion: ../v1\nkind: P\n".to_owned(), "1: apiVersion '../v1' is not like v1"),
            ("apiVersion: v1\nkind: a/b\n".to_owned(), "2: kind 'a/b' is not like Deployment"),
            ("apiVersion: v1\nkind:\n".to_owned(), "1: the object has no kind; add it"),
            ("apiVersion: v1\nkind: ''\n".to_owned(), "2: kind '' is not like Deployment"),
            (pod.to_owned(), "1: the object has no metadata; add it"),
            (format!("{pod}metadata: x\n"), "3: metadata must be a mapping, and this is a string"),
            (format!("{pod}metadata: {{}}\n"), "3: metadata has no name; add it"),
            (format!("{pod}metadata:\n  name: 5\n"), "4: name must be a string, and this is a number"),
            (format!("{pod}metadata:\n  name: a/../b\n"), "4: metadata.name 'a/../b' can't be a name"),
            (format!("{pod}metadata:\n  generateName: a-\n"), "4: generateName lets the cluster choose"),
            (format!("{pod}metadata:\n  name: a\n  namespace: 5\n"), "5: namespace must be a string"),
            (
                format!("{pod}metadata:\n  name: a\n  labels:\n    v: 1.0\n"),
                "6: v must be a string, and this is a number",
            ),
            (format!("{pod}metadata:\n  name: a\n  annotations: []\n"), "5: annotations must be a mapping"),
        ];
        for (text, expected) in cases {
            let found = error(&text);
            assert!(found.starts_with(&format!("f.yaml:{expected}")), "{text}\n{found}");
        }
    }

    #[test]
    fn bounds_the_expansion_of_many_small_files() {
        let row = vec!["*a"; 900].join(", ");
        let text = format!("{OBJECT}data:\n  a: &a [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]\n  b: [{row}]\n");
        let files: Vec<DefinitionFile> =
            (0..100).map(|number| file(&format!("{number}.yaml"), text.as_str())).collect();
        assert!(read(&files[..40]).is_ok());
        assert!(read(&files).unwrap_err().detail.starts_with("50.yaml:7: files are not read beyond"));
    }

    #[test]
    fn bounds_the_number_of_objects() {
        let text = format!("---\n{OBJECT}").repeat(MAX_OBJECTS);
        assert_eq!(read(&[file("f.yaml", text.as_str())]).unwrap().len(), MAX_OBJECTS);
        assert!(error(&format!("{text}---\n{OBJECT}")).contains("at most 2000"));
    }

    proptest! {
        #[test]
        fn never_panics(text in any::<String>()) {
            let _ = read(&[file("f.yaml", text)]);
        }

        #[test]
        fn never_panics_on_what_looks_like_an_object(
            text in "((apiVersion|kind|metadata|name|items|labels)(: |:\n|:\n  |: \\[|: \\{)|v1\n|List\n|---\n|  |- |[\\]}]|x){0,40}"
        ) {
            let _ = read(&[file("f.yaml", text)]);
        }
    }
}
