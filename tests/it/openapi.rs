//! The OpenAPI documents that are checked in are those that the binary serves.

use gybe::api::openapi;
use reqwest::StatusCode;

use crate::support::gybe::Gybe;

#[test]
fn the_checked_in_documents_are_up_to_date() {
    for name in openapi::NAMES {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi").join(name);
        let checked_in = std::fs::read_to_string(&path).unwrap_or_default();
        let current = openapi::text(name).unwrap().unwrap();
        assert!(checked_in == current, "{} is out of date: run `cargo run -- openapi`", path.display());
    }
}

#[tokio::test]
async fn every_documented_path_and_method_is_served() {
    let gybe = Gybe::start();
    for name in openapi::NAMES {
        let document = gybe.get(&format!("/openapi/{name}")).await.expect(StatusCode::OK);
        let root = document["servers"][0]["url"].as_str().unwrap_or_default().to_owned();
        for (path, methods) in document["paths"].as_object().unwrap() {
            let path = format!("{root}{path}").replace("{id}", "8f14e45f-ceea-467f-a8f4-0123456789ab");
            for method in methods.as_object().unwrap().keys() {
                let method = method.to_uppercase().parse().unwrap();
                let answer = gybe.send(gybe.client.request(method, gybe.uri(&path))).await;
                assert_ne!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
                assert!(!answer.text.contains("there is nothing at"), "{path}: {}", answer.text);
                assert!(!answer.status.is_server_error(), "{path}: {}", answer.text);
            }
        }
    }
}
