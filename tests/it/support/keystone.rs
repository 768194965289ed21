//! The real Keystone of the test run, and Keystones of single tests, which they may kill (tests/openstack).

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use gybe::clock::{Ids, System};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The folder of `tests/openstack/up`.
const VARIABLE: &str = "GYBE_TEST_OPENSTACK";

/// A user, whose password is its name, and its project.
#[derive(Clone, Copy, Debug)]
pub struct Account {
    pub user: &'static str,
    pub project: &'static str,
}

pub const MEMBER_A: Account = Account { user: "member-a", project: "tenanta" };
pub const READER_A: Account = Account { user: "reader-a", project: "tenanta" };
pub const MEMBER_B: Account = Account { user: "member-b", project: "tenantb" };
pub const ADMIN: Account = Account { user: "admin", project: "admin" };
/// The user by whom Gybe asks Keystone, and other services of a cloud call Gybe.
pub const SERVICE: Account = Account { user: "gybe", project: "service" };

/// A Keystone. One that a test has started ends when this is dropped.
pub struct Keystone {
    /// The URL of its API, which ends with `/v3`.
    pub url: String,
    own: Option<Own>,
    client: Client,
}

struct Own {
    /// A folder that `identity.py serve` takes.
    folder: TempDir,
    child: Child,
    token_seconds: u32,
}

/// A token with what Keystone says of it.
pub struct Token {
    /// The value of `X-Auth-Token`.
    pub secret: String,
    pub body: Value,
}

impl Token {
    pub fn project(&self) -> &str {
        self.body["project"]["id"].as_str().unwrap()
    }

    pub fn user(&self) -> &str {
        self.body["user"]["id"].as_str().unwrap()
    }
}

impl Keystone {
    /// The one that all tests share: they add to it, and take nothing away that others use.
    pub fn shared() -> Self {
        let url = std::fs::read_to_string(folder().join("url")).unwrap().trim().to_owned();
        Self { url, own: None, client: Client::new() }
    }

    /// Starts another one with the same users, whose tokens last `token_seconds`.
    pub fn start(token_seconds: u32) -> Self {
        let copy = TempDir::new().unwrap();
        let copied = Command::new("cp").arg("-r").arg(folder().join("prepared/.")).arg(copy.path()).status().unwrap();
        assert!(copied.success());
        let (child, url) = serve(copy.path(), "0", token_seconds);
        Self { url, own: Some(Own { folder: copy, child, token_seconds }), client: Client::new() }
    }

    /// Kills the one that this test has started.
    pub fn kill(&mut self) {
        let own = self.own.as_mut().expect("no test kills the shared Keystone");
        own.child.kill().unwrap();
        own.child.wait().unwrap();
    }

    /// Starts it again at the same port.
    pub fn restart(&mut self) {
        let own = self.own.as_mut().expect("no test restarts the shared Keystone");
        let port = self.url.trim_end_matches("/v3").rsplit(':').next().unwrap();
        let (child, url) = serve(own.folder.path(), port, own.token_seconds);
        assert_eq!(url, self.url);
        own.child = child;
    }

    /// Logs in for the project of the account.
    pub async fn token(&self, account: Account) -> Token {
        let project = json!({ "name": account.project, "domain": { "id": "default" } });
        self.token_for(account.user, json!({ "project": project })).await
    }

    /// Logs in for a scope, or for `"unscoped"`.
    pub async fn token_for(&self, user: &str, scope: Value) -> Token {
        let of_user = json!({ "user": { "name": user, "domain": { "id": "default" }, "password": user } });
        self.log_in(json!({ "identity": { "methods": ["password"], "password": of_user }, "scope": scope })).await
    }

    /// Logs in with the `auth` of a request.
    pub async fn log_in(&self, auth: Value) -> Token {
        let request = self.client.post(format!("{}/auth/tokens", self.url)).json(&json!({ "auth": auth }));
        let response = request.send().await.unwrap();
        let secret = response.headers().get("X-Subject-Token").map(|value| value.to_str().unwrap().to_owned());
        let body: Value = response.json().await.unwrap();
        Token { secret: secret.unwrap_or_else(|| panic!("no token: {body:#}")), body: body["token"].clone() }
    }

    /// Revokes a token, as its user.
    pub async fn revoke(&self, token: &Token) {
        let request = self.client.delete(format!("{}/auth/tokens", self.url));
        let request = request.header("X-Auth-Token", &token.secret).header("X-Subject-Token", &token.secret);
        assert_eq!(request.send().await.unwrap().status(), StatusCode::NO_CONTENT);
    }

    /// Makes an application credential of the token's user that may only send requests of `access_rules`, and logs in with it.
    pub async fn limited_token(&self, token: &Token, access_rules: Value) -> Token {
        let credential = json!({ "name": System.uuid(), "access_rules": access_rules });
        let path = format!("/users/{}/application_credentials", token.user());
        let made = self.send(token, Method::POST, &path, json!({ "application_credential": credential })).await;
        let credential = &made["application_credential"];
        let with = json!({ "id": credential["id"], "secret": credential["secret"] });
        self.log_in(json!({ "identity": { "methods": ["application_credential"], "application_credential": with } }))
            .await
    }

    /// The id of a project.
    pub async fn project(&self, name: &str) -> String {
        let admin = self.token(ADMIN).await;
        let found = self.send(&admin, Method::GET, &format!("/projects?name={name}"), Value::Null).await;
        found["projects"][0]["id"].as_str().unwrap().to_owned()
    }

    /// Adds a VNF manager to the catalogue, in a region of its own, and returns the region.
    pub async fn register(&self, vnfm: &str) -> String {
        let admin = self.token(ADMIN).await;
        let services = self.send(&admin, Method::GET, "/services?type=nfv-orchestration", Value::Null).await;
        let region = System.uuid().to_string();
        self.send(&admin, Method::POST, "/regions", json!({ "region": { "id": region } })).await;
        let endpoint = json!({
            "service_id": services["services"][0]["id"], "region_id": region, "interface": "public", "url": vnfm,
        });
        self.send(&admin, Method::POST, "/endpoints", json!({ "endpoint": endpoint })).await;
        region
    }

    /// Sends a request that must succeed, and returns the body of the response.
    async fn send(&self, token: &Token, method: Method, path: &str, body: Value) -> Value {
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        request = request.header("X-Auth-Token", &token.secret);
        if !body.is_null() {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let (status, body) = (response.status(), response.json::<Value>().await.unwrap());
        assert!(status.is_success(), "{path}: {status} {body:#}");
        body
    }
}

impl Drop for Keystone {
    fn drop(&mut self) {
        if let Some(own) = &mut self.own {
            // The test may have killed it already.
            let _ = own.child.kill();
            let _ = own.child.wait();
        }
    }
}

fn folder() -> PathBuf {
    PathBuf::from(std::env::var_os(VARIABLE).unwrap_or_else(|| {
        panic!(
            "{VARIABLE} is not set: run scripts/test, which starts a Keystone, \
             or start one with `tests/openstack/up DIR && export {VARIABLE}=DIR`"
        )
    }))
}

/// Serves the folder at `port`, and returns the URL.
fn serve(served: &Path, port: &str, token_seconds: u32) -> (Child, String) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/openstack/identity.py");
    let log = std::fs::File::create(served.join("log")).unwrap();
    let mut command = Command::new(folder().join("venv/bin/python"));
    command.arg(script).arg("serve").arg(served).args([port, &token_seconds.to_string()]);
    let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let url = line.trim().to_owned();
    assert!(url.ends_with("/v3"), "{line}\n{}", std::fs::read_to_string(served.join("log")).unwrap());
    (child, url)
}
