//! Tokens that Gybe issues to its users, for clients such as ONAP SO.

use gybe::auth::basic::hash_password;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::get;
use crate::support::gybe::{ApiResponse, Gybe};

const INSTANCES: &str = "/vnflcm/v1/vnf_instances";

/// Asks for a token with that form, and with HTTP Basic if `user` has a name.
async fn ask(gybe: &Gybe, user: (&str, &str), form: &'static str) -> ApiResponse {
    let request = gybe.client.post(gybe.uri("/oauth/token")).body(form);
    let request = request.header("Content-Type", "application/x-www-form-urlencoded");
    gybe.send(if user.0.is_empty() { request } else { request.basic_auth(user.0, Some(user.1)) }).await
}

const GRANT: &str = "grant_type=client_credentials";

#[tokio::test]
async fn a_user_gets_a_token_that_works_beyond_a_restart() {
    let folder = TempDir::new().unwrap();
    let config = folder.path().join("gybe.toml");
    let user = |role: &str| {
        let hash = hash_password("s3cret").unwrap();
        let table = format!("name = 'so'\npassword_hash = '{hash}'\nproject = 'edge'\nrole = '{role}'\n");
        std::fs::write(&config, format!("[[auth.basic.user]]\n{table}")).unwrap();
    };
    user("member");
    let mut gybe = Gybe::start_with(&["--config", config.to_str().unwrap()]);
    // As ONAP SO does: the token endpoint is below the root of the API, the credentials are in Authorization.
    let issued = ask(&gybe, ("so", "s3cret"), GRANT).await;
    let token: Value = issued.expect(StatusCode::OK);
    assert_eq!((&token["token_type"], &token["expires_in"]), (&json!("Bearer"), &json!(900)));
    assert_eq!(issued.headers["cache-control"], "no-store");
    let token = token["access_token"].as_str().unwrap().to_owned();
    get(&gybe, &token, INSTANCES).await.expect(StatusCode::OK);
    get(&gybe, &format!("{token}x"), INSTANCES).await.problem(401);

    let form = "grant_type=client_credentials&scope=all&client_id=so&client_secret=s3cret";
    ask(&gybe, ("", ""), form).await.expect(StatusCode::OK);
    for (user, form, status, error) in [
        (("so", "wrong"), GRANT, 401, "invalid_client"),
        (("", ""), GRANT, 401, "invalid_client"),
        (("so", "s3cret"), "", 400, "invalid_request"),
        (("so", "s3cret"), "grant_type=password", 400, "unsupported_grant_type"),
        (("so", "s3cret"), "grant_type=client_credentials&client_id=other", 400, "invalid_request"),
        (("so", "s3cret"), "grant_type=client_credentials&client_secret=s3cret", 400, "invalid_request"),
        (
            ("", ""),
            "grant_type=client_credentials&client_id=a&client_id=so&client_secret=s3cret",
            400,
            "invalid_request",
        ),
    ] {
        let answer = ask(&gybe, user, form).await;
        assert_eq!(answer.expect(StatusCode::from_u16(status).unwrap())["error"], error, "{form}");
        assert_eq!(answer.content_type.as_deref(), Some("application/json"));
        assert_eq!(answer.headers.contains_key("www-authenticate"), status == 401);
    }
    let json = gybe.client.post(gybe.uri("/oauth/token")).basic_auth("so", Some("s3cret")).json(&json!({}));
    assert_eq!(gybe.send(json).await.expect(StatusCode::BAD_REQUEST)["error"], "invalid_request");
    gybe.get("/oauth/token").await.problem(405);

    // Another process on the database knows the token, and the user's role of that time counts.
    gybe.kill();
    user("reader");
    gybe.restart();
    get(&gybe, &token, INSTANCES).await.expect(StatusCode::OK);
    let create = gybe.client.post(gybe.uri(INSTANCES)).bearer_auth(&token).json(&json!({ "vnfdId": "x" }));
    let detail = gybe.send(create).await.problem(403);
    assert!(detail.contains("'so' has the role reader in project 'edge'"), "{detail}");
    assert!(!gybe.log().contains(&token), "no token is logged");
}
