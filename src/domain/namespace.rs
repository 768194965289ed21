//! The namespace of a VNF instance: decides it, checks it, and puts the objects into it.
//!
//! Precedence: `additionalParams.namespace`, else the one namespace that the manifests name, else `default`.
//! [`decide`] runs in the API before the 202. [`place`] runs in the planner, which knows from discovery which kinds are namespaced.
//! [`crate::domain::namespace_references`] finds what refers to the package's own namespace.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::domain::manifest::Manifest;
use crate::domain::namespace_references::OwnReferences;
use crate::domain::problem::{Problem, ProblemType, QuotedValues, problem};
use crate::domain::text::{is_dns_label, type_name};

/// The name of a namespace: a DNS label (RFC 1123 section 2.1, as Kubernetes restricts it), 1 to 63 characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Namespace(String);

impl Namespace {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Namespace> for String {
    fn from(namespace: Namespace) -> Self {
        namespace.0
    }
}

/// A text that is not the name of a namespace.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is not a namespace name: use 1 to 63 lower-case letters, digits and '-', beginning and ending with a letter or digit"
)]
pub struct NotANamespace(String);

impl TryFrom<String> for Namespace {
    type Error = NotANamespace;

    fn try_from(name: String) -> Result<Self, NotANamespace> {
        // The text comes from a caller: quote no more of it than a name can have.
        if is_dns_label(&name) { Ok(Self(name)) } else { Err(NotANamespace(name.chars().take(64).collect())) }
    }
}

/// Decides the namespace from the request's `additionalParams.namespace` and the manifests. Without either it is `default`, unless a
/// namespace is `required`.
///
/// # Errors
/// 400 if the parameter is not a string or not a DNS label; 422 if it is absent and the manifests name several namespaces, or none although
/// one is required, or if [`refuse_system_namespaces`] refuses an object.
pub fn decide(parameter: Option<&Value>, manifests: &[Manifest], required: bool) -> Result<Namespace, Problem> {
    let namespace = chosen(parameter, manifests, required)?;
    refuse_system_namespaces(manifests, &namespace)?;
    Ok(namespace)
}

fn chosen(parameter: Option<&Value>, manifests: &[Manifest], required: bool) -> Result<Namespace, Problem> {
    match parameter {
        None if required && named_namespaces(manifests).is_empty() => Err(problem!(
            ProblemType::Unprocessable,
            "no namespace is given, and this site never uses '{fallback}': set {parameter}",
            fallback = "default",
            parameter = PARAMETER,
        )),
        None => from_manifests(manifests),
        Some(Value::String(name)) => Namespace::try_from(name.clone())
            .map_err(|error| invalid(ProblemType::BadRequest, PARAMETER, name, &error.to_string())),
        Some(other) => Err(problem!(
            ProblemType::BadRequest,
            "{parameter} must be {expected}, not {actual}",
            parameter = PARAMETER,
            expected = "a string",
            actual = type_name(other),
        )),
    }
}

const PARAMETER: &str = "additionalParams.namespace";

fn invalid(kind: ProblemType, parameter: &str, value: &str, reason: &str) -> Problem {
    problem!(kind, "{parameter}: {reason}", parameter = parameter, reason = reason).quoting("value", value)
}

/// The namespaces that the manifests name, each with its files.
fn named_namespaces(manifests: &[Manifest]) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut named: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for manifest in manifests.iter().filter(|manifest| !is_cluster_scoped(manifest)) {
        if let Some(namespace) = manifest.namespace() {
            named.entry(namespace).or_default().insert(&manifest.file);
        }
    }
    named
}

fn from_manifests(manifests: &[Manifest]) -> Result<Namespace, Problem> {
    let named = named_namespaces(manifests);
    if named.len() > 1 {
        let list = named.iter().map(|(namespace, files)| {
            format!("{namespace} ({})", files.iter().copied().collect::<Vec<_>>().join(", "))
        });
        return Err(problem!(
            ProblemType::Unprocessable,
            "the manifests name {number} namespaces: {places}. A VNF instance has one: set {parameter}, or correct the package",
            number = named.len(),
            places = list.collect::<Vec<_>>().join("; "),
            parameter = PARAMETER,
        )
        .quoting("namespaces", &named.keys().collect::<QuotedValues>()));
    }
    let name = named.into_keys().next().unwrap_or("default");
    Namespace::try_from(name.to_owned())
        .map_err(|error| invalid(ProblemType::Unprocessable, "metadata.namespace", name, &error.to_string()))
}

/// Whether a built-in kind is cluster-scoped. For checks that run without a cluster; the planner knows it from discovery.
pub fn is_cluster_scoped(manifest: &Manifest) -> bool {
    let group = manifest.api_version().split_once('/').map_or("", |(group, _)| group);
    match (group, manifest.kind()) {
        ("", kind) => matches!(kind, "Namespace" | "Node" | "PersistentVolume"),
        ("rbac.authorization.k8s.io", kind) => kind.starts_with("Cluster"),
        ("storage.k8s.io", kind) => kind != "CSIStorageCapacity",
        ("networking.k8s.io", kind) => matches!(kind, "IngressClass" | "IPAddress" | "ServiceCIDR"),
        (
            "apiextensions.k8s.io"
            | "apiregistration.k8s.io"
            | "scheduling.k8s.io"
            | "admissionregistration.k8s.io"
            | "certificates.k8s.io"
            | "flowcontrol.apiserver.k8s.io"
            | "node.k8s.io",
            _,
        ) => true,
        _ => false,
    }
}

/// The namespaces of the objects of a package, and what refers to them.
pub struct PackageNamespaces<'a> {
    references: OwnReferences<'a>,
}

impl<'a> PackageNamespaces<'a> {
    /// The namespaces that `manifests` use.
    pub fn of(manifests: &'a [Manifest]) -> Self {
        let named: BTreeSet<&str> = named_namespaces(manifests).into_keys().collect();
        // The namespace of an object that names none: the one that the package names, else `default`.
        let unset = if named.len() == 1 { named.first() } else { None }.copied().unwrap_or("default");
        let mut namespaced = manifests.iter().filter(|manifest| !is_cluster_scoped(manifest));
        let names_none = named.is_empty() || namespaced.any(|manifest| manifest.namespace().is_none());
        let own = named.into_iter().chain(names_none.then_some(unset)).collect();
        Self { references: OwnReferences::new(manifests, own) }
    }
}

/// The object of `manifest` in `namespace`: its own namespace if its kind is `namespaced`, and what refers to a namespace of the
/// package.
pub fn place(
    manifest: &Manifest,
    namespaced: bool,
    namespace: &Namespace,
    origin: &PackageNamespaces<'_>,
) -> Map<String, Value> {
    let mut object = manifest.object.clone();
    origin.references.follow(&mut object, namespace.as_str());
    if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
        if namespaced {
            metadata.insert("namespace".to_owned(), namespace.as_str().into());
        } else {
            metadata.remove("namespace");
        }
    }
    if matches!(manifest.kind(), "RoleBinding" | "ClusterRoleBinding")
        && let Some(Value::Array(subjects)) = object.get_mut("subjects")
    {
        for subject in subjects.iter_mut().filter_map(Value::as_object_mut) {
            let text = |member: &str| subject.get(member).and_then(Value::as_str).unwrap_or_default();
            if text("kind") == "ServiceAccount" && text("namespace").is_empty() {
                subject.insert("namespace".to_owned(), namespace.as_str().into());
            }
        }
    }
    object
}

/// Whether that is the name of a namespace of Kubernetes itself, or the beginning of one: the prefix is reserved.
pub fn is_of_kubernetes(name: &str) -> bool {
    name.starts_with("kube-")
}

/// Refuses objects that name a namespace of Kubernetes itself on purpose: the other objects of the package are elsewhere, and a VNF
/// instance has one namespace.
///
/// # Errors
/// 422 with the objects and their positions.
pub fn refuse_system_namespaces(manifests: &[Manifest], namespace: &Namespace) -> Result<(), Problem> {
    let is_of_system =
        |manifest: &&Manifest| manifest.namespace().is_some_and(|it| is_of_kubernetes(it) && it != namespace.as_str());
    let (system, others): (Vec<&Manifest>, Vec<&Manifest>) =
        manifests.iter().filter(|manifest| !is_cluster_scoped(manifest)).partition(is_of_system);
    if system.is_empty() || others.is_empty() {
        return Ok(());
    }
    let objects: Vec<String> = system
        .iter()
        .map(|it| format!("{} {} in {} at {}", it.kind(), it.name(), it.namespace().unwrap_or_default(), it.position()))
        .collect();
    Err(problem!(
        ProblemType::Unprocessable,
        "these objects belong to a namespace of Kubernetes itself: {objects}. All objects of a VNF instance are in its namespace, '{namespace}'. Remove them from the package; an administrator can create them beforehand",
        objects = objects.into_iter().collect::<QuotedValues>(),
        namespace = namespace.as_str(),
    ))
}
