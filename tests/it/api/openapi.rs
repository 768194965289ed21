//! The OpenAPI documents: valid, up to date, complete, and equal to what is served.

use std::collections::BTreeSet;
use std::path::Path;

use gybe::api::openapi;
use gybe::domain::problem::ProblemType;
use reqwest::{Method, StatusCode};
use serde_json::Value;

use crate::support::documents::{document, resources};
use crate::support::gybe::{ApiResponse, Gybe};
use crate::support::python;

#[test]
fn checked_in_documents_are_up_to_date() {
    for name in openapi::NAMES {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi").join(name);
        let checked_in = std::fs::read_to_string(&path).unwrap_or_default();
        let current = openapi::text(name).unwrap().unwrap();
        assert!(checked_in == current, "{} is out of date: run `cargo run -- openapi`", path.display());
    }
}

#[test]
fn documents_are_valid() {
    let folder = tempfile::tempdir().unwrap();
    let mut check = python::script("documents.py");
    for name in openapi::NAMES {
        let path = folder.path().join(name);
        std::fs::write(&path, openapi::text(name).unwrap().unwrap()).unwrap();
        check.arg(path);
    }
    let output = check.output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.is_empty(), "{said}");
}

/// The paths in the table of routes, as written there.
#[test]
fn every_served_resource_is_documented() {
    let documented: String = openapi::NAMES.iter().map(|name| document(name)["paths"].to_string()).collect();
    let routes = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/api/mod.rs")).unwrap();
    let served: Vec<&str> = routes.split("resource(\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    assert!(served.len() > 30, "{served:?}");
    for path in served {
        // The documentation itself, and the resources outside of the roots that have a document.
        if path == "/"
            || path.starts_with("/openapi")
            || path.starts_with("/problems")
            || path.ends_with("api_versions")
        {
            continue;
        }
        let path = path.replace(":.*}", "}");
        assert!(documented.contains(&format!("\"{path}\":")), "{path} is in no document");
    }
}

async fn send(gybe: &Gybe, method: &str, path: &str, headers: &[(&str, &str)], body: &'static str) -> ApiResponse {
    let request = gybe.client.request(method.parse::<Method>().unwrap(), gybe.uri(path)).body(body);
    gybe.send(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))).await
}

/// Checks that the response is a problem with `status` and `detail`.
#[track_caller]
fn is_problem(answer: &ApiResponse, what: &str) {
    assert_eq!(answer.content_type.as_deref(), Some("application/problem+json"), "{what}: {answer:?}");
    let problem: Value = serde_json::from_str(&answer.text).unwrap();
    assert_eq!(problem["status"], answer.status.as_u16(), "{what}: {problem}");
    assert!(!problem["detail"].as_str().unwrap().is_empty(), "{what}: {problem}");
    let name = problem["type"].as_str().unwrap().strip_prefix("urn:gybe:problem:").unwrap();
    assert_eq!(problem["help"], format!("/problems/{name}"), "{what}: {problem}");
    let documented = ProblemType::by_name(name).unwrap();
    assert_eq!((documented.status(), documented.title()), (answer.status.as_u16(), problem["title"].as_str().unwrap()));
}

#[tokio::test]
async fn documented_methods_are_served_and_others_are_405_with_allow() {
    let gybe = Gybe::start();
    for resource in resources() {
        let path = resource.somewhere();
        let mut all: BTreeSet<&str> = resource.operations.iter().map(|operation| operation.method.as_str()).collect();
        all.insert("OPTIONS");
        if all.contains("GET") {
            all.insert("HEAD");
        }
        for method in ["GET", "PUT", "POST", "PATCH", "DELETE", "TRACE", "PURGE"] {
            let answer = send(&gybe, method, &path, &[], "").await;
            let what = format!("{method} {path}");
            assert_eq!(
                answer.headers.get("version").map(|it| it.to_str().unwrap()),
                resource.version.as_deref(),
                "{what}"
            );
            if answer.status.is_client_error() {
                is_problem(&answer, &what);
            }
            if resource.has(method) {
                assert_ne!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{what}");
                assert!(!answer.status.is_server_error(), "{what}: {}", answer.text);
                assert!(!answer.text.contains("there is nothing at"), "{what}: {}", answer.text);
            } else {
                assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{what}");
                let allow: BTreeSet<&str> = answer.headers["allow"].to_str().unwrap().split(", ").collect();
                assert_eq!(allow, all, "{what}");
            }
        }
    }
}

#[tokio::test]
async fn every_resource_rejects_bad_input_with_a_problem() {
    let gybe = Gybe::start();
    for resource in resources() {
        let path = resource.somewhere();
        for operation in &resource.operations {
            let (method, what) = (operation.method.as_str(), format!("{} {path}", operation.method));
            let mut refused = Vec::new();
            if resource.version.is_some() && !path.ends_with("/api_versions") {
                refused.push((send(&gybe, method, &path, &[("Version", "first")], "").await, 400));
                refused.push((send(&gybe, method, &path, &[("Version", "9.0.0")], "").await, 406));
            }
            if operation.reads_json {
                let json = [("Content-Type", "application/json")];
                for body in ["{", "[]", "null", "\u{feff}{}", "{\"a\":1}{"] {
                    refused.push((send(&gybe, method, &path, &json, body).await, 400));
                }
                refused.push((send(&gybe, method, &path, &[("Content-Type", "text/xml")], "<a/>").await, 415));
            }
            if operation.is_list {
                for query in
                    ["attribute_not_exist=some_value", "filter=(eq,id)", "nextpage_opaque_marker=x", "fields=%ff"]
                {
                    refused.push((send(&gybe, method, &format!("{path}?{query}"), &[], "").await, 400));
                }
            }
            for (answer, status) in refused {
                assert_eq!(answer.status.as_u16(), status, "{what}: {answer:?}");
                is_problem(&answer, &what);
                assert_eq!(
                    answer.headers.get("version").map(|it| it.to_str().unwrap()),
                    resource.version.as_deref(),
                    "{what}"
                );
            }
        }
    }
}

#[tokio::test]
async fn documents_are_served() {
    let gybe = Gybe::start();
    for name in openapi::NAMES {
        assert_eq!(gybe.get(&format!("/openapi/{name}")).await.expect(StatusCode::OK), document(name));
    }
    gybe.get("/openapi/none.json").await.problem(404);
}

#[tokio::test]
async fn serves_the_documentation_of_each_problem_type() {
    let gybe = Gybe::start();
    let all = gybe.get("/problems").await;
    assert_eq!(all.content_type.as_deref(), Some("text/plain; charset=utf-8"));
    for one in ProblemType::ALL {
        let page = gybe.get(&format!("/problems/{}", one.name())).await;
        assert_eq!(page.status, StatusCode::OK, "{}", one.name());
        assert!(page.text.contains(one.urn()) && all.text.contains(&page.text), "{}", page.text);
    }
    gybe.get("/problems/none").await.problem(404);
    for name in openapi::NAMES {
        assert!(document(name).to_string().contains(ProblemType::VimDenied.urn()), "{name}");
    }
}

/// The values of an attribute in an HTML text.
fn values<'a>(page: &'a str, attribute: &str) -> Vec<&'a str> {
    let begin = format!("{attribute}=\"");
    page.split(&begin).skip(1).map(|rest| rest.split('"').next().unwrap()).collect()
}

#[tokio::test]
async fn documentation_page_loads_nothing_from_other_hosts() {
    let gybe = Gybe::start();
    assert_eq!(gybe.get("/openapi").await.text, gybe.get("/openapi/").await.text, "a slash at the end changes nothing");
    let page = gybe.get("/openapi/").await;
    assert_eq!(page.content_type.as_deref(), Some("text/html; charset=utf-8"));
    assert!(page.headers["content-security-policy"].to_str().unwrap().contains("default-src 'self'"));
    let mut files = [values(&page.text, "src"), values(&page.text, "href")].concat();
    let base = files.iter().position(|file| *file == "/openapi/").expect("links begin with the base of the page");
    files.remove(base);
    assert_eq!(files.len(), 5, "{files:?}");
    for file in files {
        assert!(!file.contains('/'), "{file}");
        let response = gybe.client.get(gybe.uri(&format!("/openapi/{file}"))).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{file}");
        assert!(response.bytes().await.unwrap().len() > 200, "{file}");
    }
    let start = gybe.get("/openapi/start.js").await.text;
    assert!(openapi::NAMES.iter().all(|name| start.contains(name)) && !start.contains("//"), "{start}");
    assert!(gybe.get("/openapi/swagger-ui-bundle.js").await.text.contains("SwaggerUIBundle"));
    assert!(gybe.get("/openapi/LICENSE").await.text.contains("Apache License"));
    gybe.get("/openapi/index.html").await.problem(404);
}
