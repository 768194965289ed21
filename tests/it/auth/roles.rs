//! Every documented request against the policy: without a credential, with a wrong one, and as each role.

use gybe::domain::caller::Role;
use gybe::domain::policy::{Permission, ROWS, permission};
use reqwest::{Method, StatusCode};
use serde_json::Value;

use super::site::Site;
use crate::support::documents::{EVENTS, resources};
use crate::support::gybe::{ApiResponse, Gybe};

/// The documented path as the table of routes has it.
fn route(path: &str) -> String {
    path.replace("{path}", "{path:.*}")
}

async fn send(gybe: &Gybe, method: &str, path: &str) -> ApiResponse {
    let request = gybe.client.request(method.parse::<Method>().unwrap(), gybe.uri(path));
    gybe.send(request.header("Content-Type", "application/json").body("{}")).await
}

#[track_caller]
fn is_unauthenticated(answer: &ApiResponse, what: &str) {
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{what}: {}", answer.text);
    assert!(answer.headers["www-authenticate"].to_str().unwrap().starts_with("Bearer"), "{what}");
    assert!(answer.text.contains("urn:gybe:problem:unauthenticated"), "{what}: {}", answer.text);
}

#[tokio::test]
async fn every_request_needs_a_credential_unless_the_policy_says_everybody() {
    let mut site = Site::start(&[]);
    for resource in resources() {
        let path = resource.somewhere();
        for operation in &resource.operations {
            let (method, what) = (operation.method.as_str(), format!("{} {path}", operation.method));
            let permission = permission(method, &route(&resource.path));
            let permission = permission.unwrap_or_else(|| panic!("{what} has no row in the policy"));
            let answer = send(site.act_as_nobody(), method, &path).await;
            if permission == Permission::Public {
                assert_eq!(answer.status, StatusCode::OK, "{what}: {}", answer.text);
                continue;
            }
            is_unauthenticated(&answer, &what);
            let gybe = site.act_with(Some("not-a-token-0123456789abcdef0123"));
            is_unauthenticated(&send(gybe, method, &path).await, &what);
        }
    }
}

#[tokio::test]
async fn roles_below_that_of_the_policy_are_refused() {
    let mut site = Site::start(&[]);
    for resource in resources() {
        let path = resource.somewhere();
        for operation in &resource.operations {
            let (method, what) = (operation.method.as_str(), format!("{} {path}", operation.method));
            let Some(Permission::Needs(needed)) = permission(method, &route(&resource.path)) else { continue };
            for role in Role::ALL {
                let answer = send(site.act_as("a", role.as_str()), method, &path).await;
                if role < needed {
                    assert_eq!(answer.status, StatusCode::FORBIDDEN, "{what} as {role}: {}", answer.text);
                    let problem: Value = serde_json::from_str(&answer.text).unwrap();
                    assert_eq!(problem["type"], "urn:gybe:problem:role-missing", "{what} as {role}");
                    assert_eq!(problem["needed"], needed.as_str(), "{what} as {role}");
                } else {
                    assert!(![401, 403].contains(&answer.status.as_u16()), "{what} as {role}: {}", answer.text);
                }
            }
        }
    }
}

#[tokio::test]
async fn every_row_of_the_policy_is_served() {
    let mut site = Site::start(&[]);
    let gybe = site.act_as("a", "admin");
    for (methods, route, _) in ROWS {
        let path = route.replace("{version}", "v2").replace("{name}", "vims.json").replace("{path:.*}", "a");
        let path = path.replace("{id}", crate::support::documents::UNKNOWN).replace("{vnfdId}", "x");
        // A stream without end is refused instead.
        let path = if path == EVENTS { format!("{EVENTS}?lastEventId=x") } else { path };
        for method in *methods {
            let request = gybe.client.request(method.parse::<Method>().unwrap(), gybe.uri(&path));
            let answer = request.header("Content-Type", "application/json").body("{}").send().await.unwrap();
            let (status, text) = (answer.status(), answer.text().await.unwrap());
            assert!(status != StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
            assert!(!text.contains("there is nothing at"), "{method} {path}: {text}");
        }
    }
}

#[tokio::test]
async fn the_metrics_are_for_admins_and_for_the_listener_of_probes() {
    let mut site = Site::start(&[]);
    for role in ["reader", "member", "manager"] {
        assert_eq!(site.act_as("a", role).get("/metrics").await.status, StatusCode::FORBIDDEN);
    }
    assert_eq!(site.act_as("a", "admin").get("/metrics").await.status, StatusCode::OK);
    let nobody = site.act_as_nobody();
    assert_eq!(nobody.get("/metrics").await.status, StatusCode::UNAUTHORIZED);
    for probe in ["/healthz", "/readyz"] {
        assert_eq!(nobody.get(probe).await.status, StatusCode::OK);
    }
}
