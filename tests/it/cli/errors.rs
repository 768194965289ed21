//! What the client says when something is wrong, its exit codes, and its contexts.

use std::os::unix::fs::PermissionsExt as _;

use reqwest::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::Person;
use crate::support::gybe::Gybe;

/// A server with one token, in the file of the home directory.
fn server(home: &TempDir) -> Gybe {
    let tokens = home.path().join("tokens.toml");
    let gybe = Gybe::start_with(&["--token-file", tokens.to_str().unwrap()]);
    let text = std::fs::read_to_string(&tokens).unwrap();
    let token = text.split("token = \"").nth(1).unwrap().split('"').next().unwrap();
    std::fs::write(home.path().join("token"), token).unwrap();
    std::fs::write(home.path().join("wrong"), "wrong-0123456789abcdef0123456789abcdef").unwrap();
    gybe
}

#[tokio::test]
async fn a_context_keeps_server_and_token_for_its_owner_only() {
    let home = TempDir::new().unwrap();
    let (gybe, person) = (server(&home), Person { home: home.path() });
    let at = gybe.url.as_str();
    let refused = person.expect(5, &["login", "--server", at, "--token-file", "wrong"]).await;
    assert!(refused.contains("(401"), "{refused}");
    let kept = person.expect(0, &["login", "--server", at, "--token-file", "token", "--context", "lab"]).await;
    assert_eq!(kept, format!("context 'lab' is {at}\n"));
    let config = home.path().join(".config/gybe/config.toml");
    assert_eq!(std::fs::metadata(&config).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(person.expect(0, &["context", "list"]).await, format!("* lab  {at}\n"));
    assert_eq!(person.expect(0, &["vnf", "list", "-o", "json"]).await, "[]\n");

    // The token of a context is for its server only, and never on the way unencrypted.
    let other = at.replace("127.0.0.1", "localhost");
    person.expect(5, &["vnf", "list", "--server", &other]).await;
    let open = person.expect(2, &["login", "--server", "http://vnfm.example:9890", "--token-file", "token"]).await;
    assert!(open.contains("a token is sent to this machine or by https only"), "{open}");

    let unknown = person.expect(2, &["vnf", "list", "--context", "prod"]).await;
    assert!(
        unknown.contains("there is no context 'prod'; there is: lab. Make one: gybe login --context prod"),
        "{unknown}"
    );
    std::fs::set_permissions(&config, std::fs::Permissions::from_mode(0o644)).unwrap();
    let open = person.expect(2, &["vnf", "list"]).await;
    assert!(open.contains("holds tokens and others may read it: chmod 600"), "{open}");
    std::fs::set_permissions(&config, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&config, "[contexts.lab]\nserver = \"x\"\ntoken = s3cret\n").unwrap();
    let broken = person.expect(2, &["vnf", "list"]).await;
    assert!(broken.contains("config.toml:3: ") && !broken.contains("s3cret"), "{broken}");
}

#[tokio::test]
async fn errors_say_what_to_do_and_have_exit_codes() {
    let home = TempDir::new().unwrap();
    let (gybe, person) = (Gybe::start(), Person { home: home.path() });
    let vnfd = gybe.onboard("small").await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        let body = json!({ "vnfdId": vnfd, "vnfInstanceName": "it's" });
        let created: Value = gybe.post("/vnflcm/v2/vnf_instances", &body).await.expect(StatusCode::CREATED);
        ids.push(created["id"].as_str().unwrap().to_owned());
    }
    let at = ["--server", gybe.url.as_str()];
    let run = async |code, arguments: &[&str]| person.expect(code, &[arguments, &at].concat()).await;

    let several = run(4, &["vnf", "get", "it's"]).await;
    assert_eq!(several, format!("gybe: 2 VNFs have the name 'it's'; give the id: {}, {}\n", ids[0], ids[1]));
    assert_eq!(run(4, &["vnf", "heal", "web"]).await, "gybe: there is no VNF 'web'; see: gybe vnf list\n");
    assert_eq!(run(4, &["vim", "check", "lab"]).await, "gybe: there is no VIM 'lab'; see: gybe vim list\n");
    assert!(run(4, &["op", "get", &ids[0]]).await.contains("(404"));
    let shown = run(0, &["vnf", "get", &ids[0]]).await;
    assert!(shown.starts_with("name       it's\nid         ") && shown.contains("NOT_INSTANTIATED\n"), "{shown}");
    assert!(
        run(3, &["vnf", "scale", &ids[0], "--out", "1"])
            .await
            .contains("has no scaling aspects, or is not instantiated")
    );
    assert!(run(3, &["vnf", "terminate", &ids[0], "--wait"]).await.contains("(409"));
    assert!(run(2, &["vnf", "scale", &ids[0]]).await.contains("required arguments were not provided"));
    assert!(run(2, &["vnf", "scale", &ids[0], "--out", "1", "--in", "1"]).await.contains("cannot be used with"));
    assert!(run(3, &["package", "delete", "Small"]).await.contains("(409"));
    let wrong = run(2, &["vnf", "list", "-o", "xml"]).await;
    assert!(wrong.contains("[possible values: table, json, yaml]"), "{wrong}");
    let yaml = run(0, &["package", "list", "-o", "yaml"]).await;
    assert!(yaml.contains("  vnfProductName: Small\n"), "{yaml}");

    // Nothing is left of a run that the server refuses.
    super::package::write(&home.path().join("app"), &super::package::NGINX);
    let refused = run(3, &["run", "app", "-n", "somewhere"]).await;
    assert!(refused.contains("(422"), "{refused}");
    assert!(!run(0, &["vnf", "list"]).await.contains("app "), "the VNF is deleted");
    assert_eq!(run(2, &["run", "nowhere", "-n", "somewhere"]).await.lines().count(), 1);

    for id in &ids {
        run(0, &["vnf", "delete", id]).await;
    }
    run(0, &["package", "delete", "Small"]).await;
    let nobody = person.expect(6, &["vnf", "list", "--server", "http://127.0.0.1:1"]).await;
    assert!(
        nobody.contains("no answer from http://127.0.0.1:1: ") && nobody.contains("start one: gybe serve"),
        "{nobody}"
    );
    let script = person.expect(0, &["completions", "bash"]).await;
    assert!(script.contains("complete -F _gybe"), "the script completes gybe");
}
