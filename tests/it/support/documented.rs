//! Holds responses against the OpenAPI documents: the status, the media type, and the schema of the body. `Gybe::send` does so with
//! every response of the tests.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use gybe::api::openapi;
use serde_json::{Map, Value};

use super::documents::document;

/// Describes what is wrong with a response; `None` if it is as documented, or if no document has its path.
pub fn difference(method: &str, path: &str, status: u16, content_type: Option<&str>, body: &str) -> Option<String> {
    let (document, operation) = operation(method, path)?;
    let responses = &operation["responses"];
    let described = match &responses[status.to_string()] {
        Value::Null => &responses["default"],
        described => described,
    };
    let Some(content) = described["content"].as_object() else {
        // The parts of a 206 are not described.
        return (!body.is_empty() && status < 300 && status != 206)
            .then(|| format!("{status} has no body in the document"));
    };
    let is_json = |media_type: &str| media_type == "application/json" || media_type.ends_with("+json");
    let media_type = content_type.unwrap_or_default().split(';').next().unwrap_or_default();
    if body.is_empty() || !is_json(media_type) || content.contains_key("*/*") {
        return None;
    }
    let Some((_, schema)) = content.iter().find(|(documented, _)| is_json(documented)) else {
        return Some(format!("{status} is not JSON in the document"));
    };
    let Ok(value) = serde_json::from_str(body) else { return Some("the body is no JSON".to_owned()) };
    let mut wrong = Vec::new();
    check(document, &schema["schema"], &value, "$", &mut wrong);
    (!wrong.is_empty()).then(|| wrong.join("; "))
}

/// The documents by their names, and the operation of a request.
fn operation(method: &str, path: &str) -> Option<(&'static Value, &'static Value)> {
    static DOCUMENTS: OnceLock<BTreeMap<&str, Value>> = OnceLock::new();
    let documents = DOCUMENTS.get_or_init(|| openapi::NAMES.into_iter().map(|name| (name, document(name))).collect());
    let path = path.split('?').next().unwrap_or_default().trim_end_matches('/').trim_end_matches(".json");
    let method = if method == "HEAD" { "get".to_owned() } else { method.to_lowercase() };
    documents.values().find_map(|document| {
        let root = document["servers"][0]["url"].as_str().unwrap_or_default();
        let below = path.strip_prefix(root)?;
        let paths = document["paths"].as_object()?.iter();
        let mut found: Vec<_> = paths.filter(|(template, _)| matches(template, below)).collect();
        // The most specific one.
        found.sort_by_key(|(template, _)| template.matches('{').count());
        Some((document, found.first()?.1.get(&method)?))
    })
}

fn matches(template: &str, path: &str) -> bool {
    let (template, path): (Vec<&str>, Vec<&str>) = (template.split('/').collect(), path.split('/').collect());
    let is_rest = template.last() == Some(&"{path}");
    let same_length = if is_rest { path.len() >= template.len() } else { path.len() == template.len() };
    same_length && template.iter().zip(&path).all(|(segment, actual)| segment.starts_with('{') || segment == actual)
}

/// Checks a value; adds what is wrong with it. Knows the keywords that the documents use, and fails for others.
fn check(document: &Value, schema: &Value, value: &Value, place: &str, wrong: &mut Vec<String>) {
    let Value::Object(keywords) = schema else { panic!("{schema} is no schema") };
    for (keyword, argument) in keywords {
        match keyword.as_str() {
            "$ref" => {
                let pointer = argument.as_str().unwrap().trim_start_matches('#');
                check(document, document.pointer(pointer).unwrap(), value, place, wrong);
            }
            "allOf" => argument.as_array().unwrap().iter().for_each(|part| check(document, part, value, place, wrong)),
            "oneOf" | "anyOf" => {
                let fits = |part: &Value| {
                    let mut reasons = Vec::new();
                    check(document, part, value, place, &mut reasons);
                    reasons.is_empty()
                };
                if !argument.as_array().unwrap().iter().any(fits) {
                    wrong.push(format!("{place} is none of the alternatives: {value}"));
                }
            }
            "type" if !has_type(argument, value) => wrong.push(format!("{place} is not {argument}: {value}")),
            "enum" if !argument.as_array().unwrap().contains(value) => {
                wrong.push(format!("{place} is not one of {argument}: {value}"))
            }
            "required" => {
                let missing = |name: &&Value| value.is_object() && value.get(name.as_str().unwrap()).is_none();
                let missing: Vec<_> = argument.as_array().unwrap().iter().filter(missing).collect();
                wrong.extend(missing.into_iter().map(|name| format!("{place} lacks {name}")));
            }
            "properties" => check_members(document, argument.as_object().unwrap(), value, place, wrong),
            "additionalProperties" if argument == &Value::Bool(true) => {}
            "additionalProperties" => {
                let known = keywords.get("properties").and_then(Value::as_object);
                let others = value.as_object().into_iter().flatten();
                for (name, member) in others.filter(|(name, _)| known.is_none_or(|known| !known.contains_key(*name))) {
                    check(document, argument, member, &format!("{place}.{name}"), wrong);
                }
            }
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    check(document, argument, item, &format!("{place}[{index}]"), wrong);
                }
            }
            "type" | "enum" | "description" | "format" | "minimum" | "title" | "propertyNames" | "default" => {}
            other => panic!("the schemas of the documents have a new keyword: {other}"),
        }
    }
}

fn check_members(document: &Value, members: &Map<String, Value>, value: &Value, place: &str, wrong: &mut Vec<String>) {
    for (name, schema) in members {
        if let Some(member) = value.get(name) {
            check(document, schema, member, &format!("{place}.{name}"), wrong);
        }
    }
}

fn has_type(allowed: &Value, value: &Value) -> bool {
    let is = |name: &Value| match name.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("unknown type {other}"),
    };
    allowed.as_array().map_or_else(|| is(allowed), |names| names.iter().any(is))
}

#[test]
fn differences_are_found() {
    let list = "/vnflcm/v2/vnf_instances?fields=metadata";
    let found = |status, body| difference("GET", list, status, Some("application/json"), body);
    assert_eq!(found(200, "[]"), None);
    assert!(found(200, "{}").unwrap().contains("$ is not \"array\""));
    let wrong = found(200, r#"[{"id": 1}]"#).unwrap();
    assert!(wrong.contains("$[0].id is not \"string\"") && wrong.contains("$[0] lacks \"vnfdId\""), "{wrong}");
    assert!(found(418, "{}").unwrap().contains("lacks \"detail\""));
    assert!(difference("POST", "/vnflcm/v1/vnf_instances/x/heal", 202, Some("application/json"), "{}").is_some());
    assert_eq!(difference("GET", "/healthz", 200, None, "x"), None);
}
