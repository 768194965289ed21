//! The fields of a manifest that Gybe applies. It leaves out what the control plane, or a controller, fills in by contract.
//!
//! `crate::infra::kubernetes` calls [`applied`] before each apply and each comparison.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

/// Members of `metadata` that the API server sets. An exported manifest has them.
const SERVER_METADATA: [&str; 7] =
    ["creationTimestamp", "deletionTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid"];

/// Annotations by which an author asks a controller to fill in `caBundle`: cert-manager, OpenShift's service CA.
const CA_INJECTION: [&str; 4] = [
    "cert-manager.io/inject-ca-from",
    "cert-manager.io/inject-ca-from-secret",
    "cert-manager.io/inject-apiserver-ca",
    "service.beta.openshift.io/inject-cabundle",
];

/// The manifest as Gybe applies it:
///
/// - without `status` and without the metadata that the API server sets;
/// - `stringData` of a Secret as `data`. The API server stores it there, and server-side apply records no owner of what it stores: a
///   key that a later manifest lacks would stay (kubernetes/kubernetes#108008);
/// - without `rules` of an aggregated ClusterRole, which the control plane overwrites
///   (Kubernetes documentation, "Aggregated ClusterRoles");
/// - without a `caBundle` that is empty, or that an annotation leaves to a controller.
pub fn applied(manifest: &Map<String, Value>) -> Map<String, Value> {
    let mut object = manifest.clone();
    object.remove("status");
    if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
        SERVER_METADATA.iter().for_each(|name| {
            metadata.remove(*name);
        });
    }
    let text = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind) = (text("apiVersion").to_owned(), text("kind").to_owned());
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    match (group, kind.as_str()) {
        ("", "Secret") => encode_string_data(&mut object),
        ("rbac.authorization.k8s.io", "ClusterRole") if object.get("aggregationRule").is_some_and(Value::is_object) => {
            object.remove("rules");
        }
        ("admissionregistration.k8s.io" | "apiregistration.k8s.io" | "apiextensions.k8s.io", _) => {
            leave_ca_bundles(&mut object);
        }
        _ => {}
    }
    object
}

/// Moves `stringData` into `data`. A value that is not a text stays, so that the API server refuses it.
fn encode_string_data(secret: &mut Map<String, Value>) {
    let Some(Value::Object(texts)) = secret.get_mut("stringData") else { return };
    let encoded: Map<String, Value> =
        texts.iter().filter_map(|(key, value)| Some((key.clone(), STANDARD.encode(value.as_str()?).into()))).collect();
    texts.retain(|_, value| !value.is_string());
    if texts.is_empty() {
        secret.remove("stringData");
    }
    let data = secret.entry("data").or_insert_with(|| Value::Object(Map::new()));
    if data.is_null() {
        *data = Value::Object(Map::new());
    }
    if let Value::Object(data) = data {
        data.extend(encoded);
    }
}

fn leave_ca_bundles(object: &mut Map<String, Value>) {
    let annotations = object.get("metadata").and_then(|metadata| metadata.get("annotations"));
    let is_injected = CA_INJECTION.iter().any(|name| annotations.is_some_and(|all| all.get(name).is_some()));
    let leave = |config: Option<&mut Value>| {
        let Some(Value::Object(config)) = config else { return };
        if config.get("caBundle").is_some_and(|bundle| is_injected || is_placeholder(bundle)) {
            config.remove("caBundle");
        }
    };
    if let Some(Value::Array(webhooks)) = object.get_mut("webhooks") {
        webhooks.iter_mut().for_each(|webhook| leave(webhook.get_mut("clientConfig")));
    }
    leave(object.get_mut("spec"));
    leave(object.get_mut("spec").and_then(|spec| spec.pointer_mut("/conversion/webhook/clientConfig")));
}

/// Whether a bundle holds no certificate: generators write `""`, or a line feed as `Cg==`.
fn is_placeholder(bundle: &Value) -> bool {
    match bundle {
        Value::Null => true,
        Value::String(text) => matches!(text.trim(), "" | "Cg==" | "Cgo="),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn intent(manifest: Value) -> Value {
        let Value::Object(manifest) = manifest else { panic!("{manifest}") };
        applied(&manifest).into()
    }

    #[test]
    fn string_data_becomes_data_and_takes_precedence() {
        let secret = json!({ "apiVersion": "v1", "kind": "Secret", "data": { "a": "eA==", "b": "eA==" },
            "stringData": { "b": "new", "c": "" } });
        let expected = json!({ "apiVersion": "v1", "kind": "Secret", "data": { "a": "eA==", "b": "bmV3", "c": "" } });
        assert_eq!(intent(secret), expected);
        let wrong = json!({ "apiVersion": "v1", "kind": "Secret", "stringData": { "a": "x", "b": 1 } });
        let expected =
            json!({ "apiVersion": "v1", "kind": "Secret", "stringData": { "b": 1 }, "data": { "a": "eA==" } });
        assert_eq!(intent(wrong), expected, "the API server refuses it");
        let other = json!({ "apiVersion": "example.test/v1", "kind": "Secret", "stringData": { "a": "x" } });
        assert_eq!(intent(other.clone()), other);
    }

    #[test]
    fn the_control_plane_fills_in_the_rules_of_an_aggregated_role() {
        let role = |more: Value| {
            let mut role = json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "rules": [] });
            role.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            role
        };
        assert_eq!(intent(role(json!({}))), role(json!({})));
        let aggregated = intent(role(json!({ "aggregationRule": { "clusterRoleSelectors": [] } })));
        assert_eq!(aggregated.get("rules"), None);
    }

    #[test]
    fn an_injected_or_empty_ca_bundle_is_left_to_its_controller() {
        let hook = |annotations: Value, bundle: &str| {
            json!({ "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
                "metadata": { "annotations": annotations }, "webhooks": [{ "clientConfig": { "caBundle": bundle } }] })
        };
        let bundle = |object: Value| intent(object).pointer("/webhooks/0/clientConfig/caBundle").cloned();
        assert_eq!(bundle(hook(json!({}), "QQ==")), Some(json!("QQ==")));
        assert_eq!(bundle(hook(json!({}), "Cg==")), None);
        assert_eq!(bundle(hook(json!({ "cert-manager.io/inject-ca-from": "a/b" }), "QQ==")), None);
        let api =
            json!({ "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "spec": { "caBundle": "" } });
        assert_eq!(intent(api)["spec"], json!({}));
        let definition = json!({ "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "spec": { "conversion": { "webhook": { "clientConfig": { "caBundle": "" } } } } });
        assert_eq!(intent(definition).pointer("/spec/conversion/webhook/clientConfig"), Some(&json!({})));
    }

    #[test]
    fn status_and_server_metadata_of_an_exported_manifest_are_not_applied() {
        let exported = json!({ "apiVersion": "v1", "kind": "ConfigMap", "status": {},
            "metadata": { "name": "a", "uid": "1", "resourceVersion": "2", "generation": 3, "labels": {} } });
        let expected = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "a", "labels": {} } });
        assert_eq!(intent(exported), expected);
    }
}
