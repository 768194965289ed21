//! A request as the client sent it, for `operationParams` of the op occurrence.

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::domain::problem::Problem;
use crate::domain::secret::{masked, masked_members};
use crate::domain::vim::PUBLIC_ACCESS;
use crate::error::internal;
use crate::sol003::v1;

/// The body of a request: as Gybe reads it, and as the client sent it.
#[derive(Debug)]
pub struct Sent<T> {
    pub request: T,
    /// The text. Its values are read again for the record: many of them need twenty times the memory of the text.
    pub body: String,
}

impl<T> Sent<T> {
    /// The same body, read as something else.
    pub fn map<U>(self, read: impl FnOnce(T) -> U) -> Sent<U> {
        Sent { request: read(self.request), body: self.body }
    }

    /// The body as the op occurrence records it: all members that the client sent, without secrets. `null` is no member, and
    /// `vimConnectionInfo` is a map, as in 3.3.1.
    ///
    /// # Errors
    /// 500: the body is no JSON object, which is a defect.
    pub fn record(&self) -> Result<Value, Problem> {
        let mut body: Map<String, Value> = serde_json::from_str(&self.body).map_err(|error| internal(&error))?;
        if let Some(connections) = body.get_mut(CONNECTIONS) {
            v1::connection_map(connections);
        }
        let members = body.into_iter().filter(|(_, value)| !value.is_null());
        Ok(members.map(|(name, value)| shown(name, value)).collect())
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Sent<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let body = Value::deserialize(deserializer)?;
        let text = body.to_string();
        Ok(Self { request: serde_json::from_value(body).map_err(D::Error::custom)?, body: text })
    }
}

const CONNECTIONS: &str = "vimConnectionInfo";

/// The members of a patch as the op occurrence records them. `null` removes a member and stays.
pub(super) fn patch_record(patch: &Map<String, Value>) -> Value {
    patch.iter().map(|(name, value)| shown(name.clone(), value.clone())).collect()
}

/// A member without its secrets.
fn shown(name: String, value: Value) -> (String, Value) {
    let value = match name.as_str() {
        // The VNF instance shows them as they are.
        "metadata" | "extensions" | "vnfConfigurableProperties" => value,
        CONNECTIONS => connections(&value),
        _ => return masked_members(Map::from_iter([(name, value)])).into_iter().next().unwrap_or_default(),
    };
    (name, value)
}

fn connections(value: &Value) -> Value {
    let Value::Object(entries) = value else { return masked(value.clone()) };
    entries.iter().map(|(id, entry)| (id.clone(), connection(entry))).collect()
}

fn connection(entry: &Value) -> Value {
    let Value::Object(members) = entry else { return masked(entry.clone()) };
    let member = |(name, value): (&String, &Value)| {
        let value = match (name.as_str(), value) {
            ("accessInfo", Value::Object(access)) => access.iter().map(access_member).collect(),
            ("accessInfo", Value::Null) => Value::Null,
            ("accessInfo", _) => "***".into(),
            _ => masked(value.clone()),
        };
        (name.clone(), value)
    };
    members.iter().map(member).collect()
}

/// Of `accessInfo`, all is secret that is not known as public.
fn access_member((name, value): (&String, &Value)) -> (String, Value) {
    let is_public = PUBLIC_ACCESS.contains(&name.as_str()) && !value.is_object() && !value.is_array();
    (name.clone(), if is_public || value.is_null() { masked(value.clone()) } else { "***".into() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn records_what_was_sent_without_secrets() {
        let body = json!({
            "flavourId": "simple", "instantiationLevelId": null, "vendor": { "a": [1, null] }, "apiToken": "s3cret",
            "additionalParams": { "namespace": "edge", "password": "s3cret", "list": [null, { "deployKey": "s3cret" }] },
            "extensions": { "key": "shown" },
            "vimConnectionInfo": { "vim": {
                "vimId": "v", "interfaceInfo": { "endpoint": "https://u:s3cret@e/path?a@b", "password": "s3cret" },
                "accessInfo": { "bearer_token": "s3cret", "other": { "a": "s3cret" }, "username": "u", "region": ["s3cret"] },
            } },
        });
        let sent: Sent<Value> = serde_json::from_value(body).unwrap();
        assert_eq!(
            sent.record().unwrap(),
            json!({
                "flavourId": "simple", "vendor": { "a": [1, null] }, "apiToken": "***",
                "additionalParams": { "namespace": "edge", "password": "***", "list": [null, { "deployKey": "***" }] },
                "extensions": { "key": "shown" },
                "vimConnectionInfo": { "vim": {
                    "vimId": "v", "interfaceInfo": { "endpoint": "https://***@e/path?a@b", "password": "***" },
                    "accessInfo": { "bearer_token": "***", "other": "***", "username": "u", "region": "***" },
                } },
            })
        );
        let odd = json!({ "vimConnectionInfo": [{ "id": "v", "accessInfo": "s3cret" }] });
        let sent: Sent<Value> = serde_json::from_value(odd).unwrap();
        assert_eq!(sent.record().unwrap(), json!({ "vimConnectionInfo": { "v": { "accessInfo": "***" } } }));
    }
}
