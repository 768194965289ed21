//! Sessions of browsers: what they allow, and how they end.

use std::path::Path;

use gybe::auth::basic::hash_password;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::support::gybe::{ApiResponse, Gybe};

const READER: &str = "reader-0123456789abcdef0123456789abcdef";
const MEMBER: &str = "member-0123456789abcdef0123456789abcdef";
const PASSWORD: &str = "correct horse";

/// A browser, as far as cookies matter.
struct Browser<'a> {
    gybe: &'a Gybe,
    cookie: String,
}

impl<'a> Browser<'a> {
    async fn log_in(gybe: &'a Gybe, login: &Value) -> Self {
        let answer = log_in(gybe, login).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
        let set = answer.headers["set-cookie"].to_str().unwrap();
        for attribute in ["Path=/", "HttpOnly", "SameSite=Strict", "Max-Age=43200"] {
            assert!(set.split("; ").any(|own| own == attribute), "{set}");
        }
        Self { gybe, cookie: set.split(';').next().unwrap().to_owned() }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.gybe.client.request(method, self.gybe.uri(path)).header("Cookie", &self.cookie)
    }

    async fn get(&self, path: &str) -> ApiResponse {
        self.gybe.send(self.request(Method::GET, path)).await
    }

    /// What its user is called; null: nobody is logged in.
    async fn subject(&self) -> Value {
        self.get("/ui/session").await.expect(StatusCode::OK)["subject"].clone()
    }

    fn post_package(&self) -> RequestBuilder {
        self.request(Method::POST, "/vnfpkgm/v2/vnf_packages").json(&json!({}))
    }
}

async fn log_in(gybe: &Gybe, login: &Value) -> ApiResponse {
    gybe.send(gybe.client.post(gybe.uri("/ui/session")).header("X-Gybe-UI", "1").json(login)).await
}

fn token(token: &str) -> Value {
    json!({ "token": token })
}

fn write_tokens(file: &Path, tokens: &[(&str, &str)]) {
    let table =
        |(role, token): &(&str, &str)| format!("[[token]]\ntoken = '{token}'\nsubject = '{role}'\nrole = '{role}'\n");
    std::fs::write(file, tokens.iter().map(table).collect::<String>()).unwrap();
}

/// A Gybe with two static tokens and a user of HTTP Basic.
fn start(folder: &Path) -> Gybe {
    let (tokens, configuration) = (folder.join("tokens.toml"), folder.join("gybe.toml"));
    write_tokens(&tokens, &[("reader", READER), ("member", MEMBER)]);
    let hash = hash_password(PASSWORD).unwrap();
    let user = format!("[[auth.basic.user]]\nname = 'so'\npassword_hash = '{hash}'\nrole = 'member'\n");
    std::fs::write(&configuration, user).unwrap();
    let paths = [&tokens, &configuration].map(|path| path.to_str().unwrap().to_owned());
    Gybe::start_with(&["--token-file", &paths[0], "--config", &paths[1]])
}

#[tokio::test]
async fn a_session_can_do_what_its_credential_can_and_ends_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut gybe = start(folder.path());

    let reader = Browser::log_in(&gybe, &token(READER)).await;
    assert_eq!(reader.subject().await, "reader");
    assert_eq!(reader.get("/vnflcm/v2/vnf_instances").await.status, StatusCode::OK);
    let refused = gybe.send(reader.post_package().header("X-Gybe-UI", "1")).await;
    assert!(refused.text.contains("urn:gybe:problem:role-missing"), "{}", refused.text);

    let member = Browser::log_in(&gybe, &json!({ "user": "so", "password": PASSWORD })).await;
    assert_eq!(member.subject().await, "so");
    gybe.send(member.post_package().header("X-Gybe-UI", "1")).await.expect(StatusCode::CREATED);
    // What the page of another site can make the browser send.
    let without_header = gybe.send(member.post_package()).await;
    assert!(without_header.problem(403).contains("x-gybe-ui"));
    let foreign = member.post_package().header("X-Gybe-UI", "1").header("Origin", "https://attacker.example");
    assert!(gybe.send(foreign).await.problem(403).contains("attacker.example"));
    let twice = format!("{}; {}", reader.cookie, member.cookie);
    assert_eq!(Browser { gybe: &gybe, cookie: twice }.subject().await, Value::Null);

    // The credential that a request carries itself counts.
    let both = member.request(Method::GET, "/ui/session").bearer_auth(READER);
    assert_eq!(gybe.send(both).await.expect(StatusCode::OK)["subject"], "reader");

    let out = member.request(Method::DELETE, "/ui/session");
    let out = gybe.send(out.header("X-Gybe-UI", "1")).await;
    assert_eq!(out.status, StatusCode::NO_CONTENT, "{}", out.text);
    assert!(out.headers["set-cookie"].to_str().unwrap().contains("Max-Age=0"));
    assert_eq!(member.subject().await, Value::Null);
    assert_eq!(member.get("/vnflcm/v2/vnf_instances").await.status, StatusCode::UNAUTHORIZED);

    // Neither the log nor the database tells a credential or a cookie.
    let files = ["gybe.db", "gybe.db-wal", "gybe.log"].map(|name| std::fs::read(gybe.folder().join(name)).unwrap());
    let kept = files.concat();
    let secret = reader.cookie.split('=').nth(1).unwrap();
    for hidden in [READER, PASSWORD, "c286Y29ycmVjdCBob3JzZQ", secret] {
        assert!(!kept.windows(hidden.len()).any(|window| window == hidden.as_bytes()), "{hidden}");
    }

    let cookie = reader.cookie.clone();
    gybe.kill();
    gybe.restart();
    assert_eq!(Browser { gybe: &gybe, cookie: cookie.clone() }.subject().await, "reader", "another process knows it");
    gybe.kill();
    write_tokens(&folder.path().join("tokens.toml"), &[("member", MEMBER)]);
    gybe.restart();
    assert_eq!(Browser { gybe: &gybe, cookie }.subject().await, Value::Null, "the token is revoked");
}

#[tokio::test]
async fn logins_are_checked_recorded_and_few() {
    let folder = tempfile::tempdir().unwrap();
    let gybe = start(folder.path());
    for (login, status) in [
        (token("wrong-0123456789abcdef0123456789abcdef"), 401),
        (json!({ "user": "so", "password": "wrong" }), 401),
        (token(""), 400),
        (token("a\r\nb"), 400),
        (json!({}), 400),
        (json!({ "token": READER, "user": "so", "password": PASSWORD }), 400),
        (token(&"a".repeat(40_000)), 400),
    ] {
        let answer = log_in(&gybe, &login).await;
        assert_eq!(answer.status.as_u16(), status, "{}", answer.text);
        assert!(!answer.headers.contains_key("set-cookie"));
        let challenges =
            answer.headers.get_all("www-authenticate").iter().filter(|one| one.as_bytes().starts_with(b"Basic"));
        assert_eq!(challenges.count(), 0, "a browser would ask for a password by itself");
    }
    let request = gybe.client.post(gybe.uri("/ui/session"));
    assert_eq!(gybe.send(request.json(&token(READER))).await.status, StatusCode::FORBIDDEN, "without the header");

    let first = Browser::log_in(&gybe, &token(READER)).await;
    let mut last = Browser::log_in(&gybe, &token(READER)).await;
    for _ in 0..19 {
        last = Browser::log_in(&gybe, &token(READER)).await;
    }
    assert_eq!(first.subject().await, Value::Null, "the oldest of 21 has ended");
    assert_eq!(last.subject().await, "reader");
    let records = last.get("/audit/v1/records?filter=(eq,route,/ui/session)").await.expect(StatusCode::OK);
    assert_eq!(records.as_array().unwrap().len(), 21, "each login");
}
