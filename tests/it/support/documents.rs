//! The operations of the OpenAPI documents, for tests that iterate over them.

use gybe::api::openapi;
use serde_json::Value;

/// An id that does not exist.
pub const UNKNOWN: &str = "8f14e45f-ceea-467f-a8f4-0123456789ab";

/// The stream of events.
pub const EVENTS: &str = "/events/v1";

/// A resource of a document.
#[derive(Debug)]
pub struct Resource {
    /// Its path as in the document, with the server's path, such as `/vnflcm/v2/vnf_instances/{id}`.
    pub path: String,
    /// The `Version` of its responses; `/v1.0/vims` has none.
    pub version: Option<String>,
    pub operations: Vec<Operation>,
}

/// A method of a resource.
#[derive(Debug)]
pub struct Operation {
    /// In upper case.
    pub method: String,
    /// Whether it has a JSON body.
    pub reads_json: bool,
    /// The members of that body with their types; the type is empty for a reference.
    pub members: Vec<(String, String)>,
    /// Whether it has the query parameters of a list.
    pub is_list: bool,
}

impl Resource {
    /// The path with a value for each parameter, `id` first.
    pub fn somewhere(&self) -> String {
        // A stream without end is refused instead.
        let path = if self.path == EVENTS { format!("{EVENTS}?lastEventId=x") } else { self.path.clone() };
        path.replace("{id}", UNKNOWN).replace("{path}", "Files/a.yaml")
    }

    pub fn has(&self, method: &str) -> bool {
        self.operations.iter().any(|operation| operation.method == method)
    }
}

/// All documented resources.
pub fn resources() -> Vec<Resource> {
    openapi::NAMES.iter().flat_map(|name| of(&document(name))).collect()
}

pub fn document(name: &str) -> Value {
    serde_json::from_str(&openapi::text(name).unwrap().unwrap()).unwrap()
}

fn of(document: &Value) -> Vec<Resource> {
    let root = document["servers"][0]["url"].as_str();
    let version = root.map(|_| document["info"]["version"].as_str().unwrap().to_owned());
    let paths = document["paths"].as_object().unwrap().iter();
    let resource = |(path, methods): (&String, &Value)| Resource {
        path: format!("{}{path}", root.unwrap_or_default()),
        version: version.clone(),
        operations: methods
            .as_object()
            .unwrap()
            .iter()
            .map(|(method, described)| operation(document, method, described))
            .collect(),
    };
    paths.map(resource).collect()
}

fn operation(document: &Value, method: &str, described: &Value) -> Operation {
    let content = described["requestBody"]["content"].as_object().into_iter().flatten();
    let json = content.into_iter().find(|(media_type, _)| media_type.ends_with("json"));
    let parameters = described["parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
    Operation {
        method: method.to_uppercase(),
        reads_json: json.is_some(),
        members: json.map(|(_, content)| members(document, &content["schema"])).unwrap_or_default(),
        is_list: parameters.iter().any(|parameter| parameter["name"] == "filter"),
    }
}

fn members(document: &Value, schema: &Value) -> Vec<(String, String)> {
    let schema = match schema["$ref"].as_str() {
        Some(reference) => document.pointer(reference.trim_start_matches('#')).unwrap(),
        None => schema,
    };
    let properties = schema["properties"].as_object().into_iter().flatten();
    let kind = |member: &Value| match &member["type"] {
        Value::String(kind) => kind.clone(),
        // Such as `["string", "null"]`.
        Value::Array(kinds) => kinds[0].as_str().unwrap().to_owned(),
        _ => String::new(),
    };
    properties.map(|(name, member)| (name.clone(), kind(member))).collect()
}
