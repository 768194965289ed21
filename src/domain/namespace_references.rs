//! References to the package's own namespace. They follow the package into the namespace of the VNF.
//!
//! [`crate::domain::namespace::place`] calls [`OwnReferences::follow`] for each object. References to other namespaces stay.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::domain::manifest::Manifest;

/// The label that Kubernetes sets on every Namespace: its name.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// Annotations whose value names objects as `<namespace>/<name>`, several of them separated by commas: cert-manager, Multus.
const OBJECT_ANNOTATIONS: [&str; 4] = [
    "cert-manager.io/inject-ca-from",
    "cert-manager.io/inject-ca-from-secret",
    "k8s.v1.cni.cncf.io/networks",
    "v1.multus-cni.io/default-network",
];

/// The members of an object whose names the author chose: a member `namespace` there is not a reference.
const FREE_FORM: [&str; 6] = ["data", "binaryData", "stringData", "labels", "annotations", "matchLabels"];

/// What refers to the package's own namespace.
pub struct OwnReferences<'a> {
    /// The namespaces of the objects of the package.
    namespaces: BTreeSet<&'a str>,
    /// The names of the Services of the package.
    services: BTreeSet<&'a str>,
}

impl<'a> OwnReferences<'a> {
    /// For a package with these objects, whose namespaced objects are in `namespaces`.
    pub fn new(manifests: &'a [Manifest], namespaces: BTreeSet<&'a str>) -> Self {
        let services = manifests.iter().filter(|it| it.kind() == "Service" && it.api_version() == "v1");
        Self { namespaces, services: services.map(Manifest::name).collect() }
    }

    /// Whether `namespace` is a namespace of the package.
    pub fn is_own(&self, namespace: &str) -> bool {
        self.namespaces.contains(namespace)
    }

    /// Makes the references in `object`, apart from its `metadata.namespace`, refer to `target`:
    ///
    /// - members `namespace`, `namespaces` and `matchNames`, such as those of subjects, webhooks and affinities;
    /// - selectors of namespaces by their name;
    /// - the annotations in [`OBJECT_ANNOTATIONS`];
    /// - DNS names `<Service of the package>.<own namespace>.svc`, in every text but those of Secrets' `data`.
    pub fn follow(&self, object: &mut Map<String, Value>, target: &str) {
        for (name, value) in object.iter_mut() {
            match (name.as_str(), value) {
                ("namespace", Value::String(namespace)) if self.is_own(namespace) => target.clone_into(namespace),
                ("namespaces" | "matchNames", Value::Array(names)) => self.follow_names(names, target),
                ("matchExpressions", Value::Array(terms)) => {
                    terms.iter_mut().for_each(|term| self.follow_term(term, target))
                }
                (member, Value::Object(members)) if FREE_FORM.contains(&member) => self.follow_texts(members, target),
                (_, value) => self.follow_value(value, target),
            }
        }
    }

    fn follow_value(&self, value: &mut Value, target: &str) {
        match value {
            Value::Object(members) => self.follow(members, target),
            Value::Array(elements) => elements.iter_mut().for_each(|element| self.follow_value(element, target)),
            Value::String(text) => self.follow_dns_names(text, target),
            _ => {}
        }
    }

    fn follow_names(&self, names: &mut [Value], target: &str) {
        let own = names.iter_mut().filter(|name| name.as_str().is_some_and(|name| self.is_own(name)));
        own.for_each(|name| *name = target.into());
    }

    /// A requirement of a label selector.
    fn follow_term(&self, term: &mut Value, target: &str) {
        if term.get("key").and_then(Value::as_str) == Some(NAME_LABEL)
            && let Some(Value::Array(values)) = term.get_mut("values")
        {
            self.follow_names(values, target);
        }
    }

    fn follow_texts(&self, members: &mut Map<String, Value>, target: &str) {
        for (name, value) in members {
            let Value::String(text) = value else { continue };
            if name == NAME_LABEL && self.is_own(text) {
                target.clone_into(text);
            } else if OBJECT_ANNOTATIONS.contains(&name.as_str()) {
                self.follow_object_names(text, target);
            }
            self.follow_dns_names(text, target);
        }
    }

    /// `<namespace>/<name>,…`, or Multus' list of them in JSON.
    fn follow_object_names(&self, text: &mut String, target: &str) {
        if let Ok(mut value @ Value::Array(_)) = serde_json::from_str::<Value>(text) {
            self.follow_value(&mut value, target);
            *text = value.to_string();
            return;
        }
        let names = text.split(',').map(|part| match part.trim_start().split_once('/') {
            Some((namespace, name)) if self.is_own(namespace) => format!("{target}/{name}"),
            _ => part.to_owned(),
        });
        *text = names.collect::<Vec<_>>().join(",");
    }

    fn follow_dns_names(&self, text: &mut String, target: &str) {
        if !text.contains(".svc") {
            return;
        }
        for namespace in &self.namespaces {
            let pattern = format!(".{namespace}.svc");
            let mut followed = String::with_capacity(text.len());
            let mut rest = text.as_str();
            while let Some((before, after)) = rest.split_once(pattern.as_str()) {
                let service = before.rsplit(|c: char| !is_label_char(c)).next().unwrap_or_default();
                let is_ours = self.services.contains(service) && !after.starts_with(is_label_char);
                followed.push_str(before);
                followed.push_str(&if is_ours { format!(".{target}.svc") } else { pattern.clone() });
                rest = after;
            }
            followed.push_str(rest);
            *text = followed;
        }
    }
}

/// Whether the character may be part of a label of a DNS name (RFC 1123 section 2.1).
fn is_label_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-'
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The object of a package in namespace `core` with a Service `nrf`, in namespace `edge`.
    fn followed(object: Value) -> Value {
        let service = json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "nrf" } });
        let manifests = [Manifest { file: "a".to_owned(), line: 1, object: service.as_object().unwrap().clone() }];
        let mut object = object.as_object().unwrap().clone();
        OwnReferences::new(&manifests, BTreeSet::from(["core"])).follow(&mut object, "edge");
        object.into()
    }

    #[test]
    fn members_that_name_the_own_namespace_follow() {
        for (before, after) in [
            (
                json!({ "clientConfig": { "service": { "name": "x", "namespace": "core" } } }),
                "/clientConfig/service/namespace",
            ),
            (json!({ "spec": { "service": { "name": "x", "namespace": "core" } } }), "/spec/service/namespace"),
            (json!({ "namespaceSelector": { "matchNames": ["core"] } }), "/namespaceSelector/matchNames/0"),
            (json!({ "a": [{ "namespaces": ["core"] }] }), "/a/0/namespaces/0"),
            (
                json!({ "matchLabels": { "kubernetes.io/metadata.name": "core" } }),
                "/matchLabels/kubernetes.io~1metadata.name",
            ),
            (
                json!({ "matchExpressions": [{ "key": "kubernetes.io/metadata.name", "values": ["core"] }] }),
                "/matchExpressions/0/values/0",
            ),
        ] {
            assert_eq!(followed(before.clone()).pointer(after), Some(&json!("edge")), "{before}");
        }
    }

    #[test]
    fn other_namespaces_and_texts_of_the_author_stay() {
        for object in [
            json!({ "clientConfig": { "service": { "name": "x", "namespace": "kube-system" } } }),
            json!({ "data": { "namespace": "core" }, "labels": { "namespace": "core" } }),
            json!({ "env": [{ "name": "A", "value": "core" }] }),
            json!({ "matchExpressions": [{ "key": "team", "values": ["core"] }] }),
        ] {
            assert_eq!(followed(object.clone()), object);
        }
    }

    #[test]
    fn annotations_that_name_objects_follow() {
        let annotations = json!({ "annotations": {
            "k8s.v1.cni.cncf.io/networks": "core/n2@eth1, other/n3,n4",
            "cert-manager.io/inject-ca-from": "core/certificate",
            "note": "core/x",
        } });
        let expected = json!({ "annotations": {
            "k8s.v1.cni.cncf.io/networks": "edge/n2@eth1, other/n3,n4",
            "cert-manager.io/inject-ca-from": "edge/certificate",
            "note": "core/x",
        } });
        assert_eq!(followed(annotations), expected);
        let listed =
            json!({ "annotations": { "k8s.v1.cni.cncf.io/networks": r#"[{"name":"n2","namespace":"core"}]"# } });
        let expected =
            json!({ "annotations": { "k8s.v1.cni.cncf.io/networks": r#"[{"name":"n2","namespace":"edge"}]"# } });
        assert_eq!(followed(listed), expected);
    }

    #[test]
    fn dns_names_of_the_services_of_the_package_follow() {
        for (before, after) in [
            ("http://nrf.core.svc.cluster.local:8000", "http://nrf.edge.svc.cluster.local:8000"),
            ("nrf.core.svc,pod-0.nrf.core.svc", "nrf.edge.svc,pod-0.nrf.edge.svc"),
            ("smf.core.svc", "smf.core.svc"),
            ("my-nrf.core.svc", "my-nrf.core.svc"),
            ("nrf.core.svc2", "nrf.core.svc2"),
            ("nrf.other.svc", "nrf.other.svc"),
        ] {
            assert_eq!(followed(json!({ "args": [before] })), json!({ "args": [after] }));
            assert_eq!(followed(json!({ "data": { "conf": before } })), json!({ "data": { "conf": after } }));
        }
    }
}
