//! Every answer of the package interface, and what subscribers are sent, is as the JSON Schemas of SOL003 say: where these are
//! at hand, beside the repository.

use std::path::{Path, PathBuf};

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::gybe::Gybe;
use crate::support::sample;
use crate::support::subscriber::Subscriber;

fn folder() -> Option<PathBuf> {
    Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/schemas")).filter(|folder| folder.is_dir())
}

/// A schema, and the document that its references are within.
struct Schema {
    document: Value,
    definition: Option<&'static str>,
}

impl Schema {
    fn of(folder: &Path, edition: &str, name: &'static str) -> Self {
        let (path, definition) = match edition {
            "v1" => (format!("v2.6.1/VNFPackageManagement/{name}.schema.json"), None),
            _ => ("v3.3.1/sol003-v331-package.definitions.json".to_owned(), Some(name)),
        };
        let text = std::fs::read_to_string(folder.join(&path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        Self { document: serde_json::from_str(&text).unwrap(), definition }
    }

    fn check(&self, value: &Value) {
        let schema = self.definition.map_or(&self.document, |name| &self.document["definitions"][name]);
        assert!(schema.is_object(), "there is no {:?}", self.definition);
        let mut wrong = Vec::new();
        self.validate(schema, value, "", &mut wrong);
        assert!(wrong.is_empty(), "{wrong:#?}\n{value:#}");
    }

    /// What the schemas of packages use of JSON Schema; formats aside.
    fn validate(&self, schema: &Value, value: &Value, at: &str, wrong: &mut Vec<String>) {
        if let Some(name) = schema["$ref"].as_str() {
            let target = self.document.pointer(name.trim_start_matches('#')).unwrap();
            return self.validate(target, value, at, wrong);
        }
        let is = |name: &str| match name {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "integer" => value.is_i64() || value.is_u64(),
            "boolean" => value.is_boolean(),
            other => panic!("{at}: {other}"),
        };
        let types: Vec<&str> = match &schema["type"] {
            Value::String(one) => vec![one],
            Value::Array(several) => several.iter().map(|one| one.as_str().unwrap()).collect(),
            _ => Vec::new(),
        };
        if !types.is_empty() && !types.iter().any(|name| is(name)) {
            wrong.push(format!("{at} is not {types:?}"));
        }
        if schema["enum"].as_array().is_some_and(|values| !values.contains(value)) {
            wrong.push(format!("{at} is none of {}", schema["enum"]));
        }
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if value.get(name).is_none() {
                wrong.push(format!("{at}/{name} is missing"));
            }
        }
        for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
            if let Some(member) = value.get(name) {
                self.validate(schema, member, &format!("{at}/{name}"), wrong);
            }
        }
        for (index, item) in value.as_array().into_iter().flatten().enumerate() {
            if schema["items"].is_object() {
                self.validate(&schema["items"], item, &format!("{at}/{index}"), wrong);
            }
        }
    }
}

/// The sample `small` with a software image.
fn with_image() -> Vec<u8> {
    sample::edited("small", |path, text| {
        if path.ends_with("small_df_simple.yaml") {
            let image = "    Image:\n      type: tosca.nodes.nfv.Vdu.VirtualBlockStorage\n      properties:\n        sw_image_data: {name: i, version: '1', \
                         container_format: bare, disk_format: raw, min_disk: 1 GB, size: 1 MB}\n      artifacts:\n        image: {type: tosca.artifacts.nfv.SwImage, file: ../Files/kubernetes/deployment.yaml}\n";
            *text = text.replacen("  node_templates:\n", &format!("  node_templates:\n{image}"), 1);
        }
    })
}

#[tokio::test]
async fn every_answer_and_notification_is_as_the_schemas_say() {
    let Some(folder) = folder() else { return };
    for edition in ["v1", "v2"] {
        let (gybe, subscriber) = (Gybe::start(), Subscriber::start().await);
        let root = format!("/vnfpkgm/{edition}");
        let schema = |first, second| Schema::of(&folder, edition, if edition == "v1" { first } else { second });
        let (package, problem) = (schema("vnfPkgInfo", "VnfPkgInfo"), schema("ProblemDetails", "ProblemDetails"));
        let subscription = schema("PkgmSubscription", "PkgmSubscription");
        let filter = json!({ "vnfProductsFromProviders": [{ "vnfProvider": "Gybe", "vnfProducts": [{ "vnfProductName": "Small",
            "versions": [{ "vnfSoftwareVersion": "1.0", "vnfdVersions": ["1.0"] }] }] }], "usageState": ["NOT_IN_USE"] });
        let request = json!({ "callbackUri": subscriber.url, "filter": filter });
        let made = gybe.post(&format!("{root}/subscriptions"), &request).await;
        subscription.check(&made.expect(StatusCode::CREATED));
        gybe.get(&format!("{root}/subscriptions"))
            .await
            .expect(StatusCode::OK)
            .as_array()
            .unwrap()
            .iter()
            .for_each(|one| subscription.check(one));

        package.check(
            &gybe
                .post(&format!("{root}/vnf_packages"), &json!({ "userDefinedData": { "a": 1 } }))
                .await
                .expect(StatusCode::CREATED),
        );
        gybe.upload(b"no zip").await;
        let onboarded = gybe.upload(&with_image()).await;
        let href = onboarded["_links"]["self"]["href"].as_str().unwrap().replace("/v1/", &format!("/{edition}/"));
        let shown = gybe.get(&href).await.expect(StatusCode::OK);
        assert_eq!(shown["softwareImages"][0]["imagePath"], "Files/kubernetes/deployment.yaml", "{shown:#}");
        package.check(&shown);
        for list in ["vnf_packages?all_fields", "vnf_packages", "onboarded_vnf_packages?all_fields"] {
            let listed = gybe.get(&format!("{root}/{list}")).await.expect(StatusCode::OK);
            assert!(!listed.as_array().unwrap().is_empty());
            listed.as_array().unwrap().iter().for_each(|one| package.check(one));
        }
        for wrong in ["vnf_packages/none", "vnf_packages?x=1", "subscriptions/none", "nothing"] {
            let answer = gybe.get(&format!("{root}/{wrong}")).await;
            assert!(answer.status.is_client_error());
            problem.check(&serde_json::from_str(&answer.text).unwrap());
        }
        gybe.patch(&href, &json!({ "operationalState": "DISABLED" })).await.expect(StatusCode::OK);
        gybe.delete(&href).await.expect(StatusCode::NO_CONTENT);
        let told = subscriber.until_taken(3).await;
        if edition == "v1" {
            // Those of 3.3.1 are at hand for subscriptions and packages only.
            let versions = schema("ApiVersionInformation", "");
            versions.check(&gybe.get(&format!("{root}/api_versions")).await.expect(StatusCode::OK));
            for one in &told {
                let name = if one.body["notificationType"] == "VnfPackageChangeNotification" {
                    "VnfPackageChangeNotification"
                } else {
                    "VnfPackageOnboardingNotification"
                };
                Schema::of(&folder, edition, name).check(&one.body);
            }
        }
    }
}
