//! How Gybe authenticates itself to the NFVO.

use serde_json::json;

use super::{GrantFixture, arguments};
use crate::support::fault_proxy::{certificate, requiring_client_certificate};
use crate::support::grant_server::{GrantServer, created, grant};
use crate::support::gybe::Gybe;
use crate::support::subscriber::{Reply, Subscriber};

#[tokio::test]
async fn requests_carry_the_version_and_a_password() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "hunter22\n").unwrap();
    let password = file.path().to_str().unwrap().to_owned();
    let fixture =
        GrantFixture::new(&["--nfvo-user", "gybe", "--nfvo-password-file", &password, "--nfvo-api-version", "1.2.0"])
            .await;
    let path = fixture.small("v2").await;
    fixture.gybe.complete(&path, "instantiate", &fixture.instantiation()).await;
    let asked = fixture.nfvo.requests().pop().unwrap();
    assert_eq!(asked.header("version"), Some("1.2.0"));
    assert_eq!(asked.header("authorization"), Some("Basic Z3liZTpodW50ZXIyMg=="));
    assert_eq!(asked.header("content-type"), Some("application/json"));
    assert!(!fixture.gybe.log().contains("hunter22"));
}

#[tokio::test]
async fn a_token_is_renewed_when_the_nfvo_rejects_it() {
    let nfvo = GrantServer::start().await;
    let issued = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = std::sync::Arc::clone(&issued);
    nfvo.server.answer(move |received| {
        use std::sync::atomic::Ordering::Relaxed;
        if received.path == "/oauth/token" {
            let number = count.fetch_add(1, Relaxed);
            assert_eq!(received.header("authorization"), Some("Basic Z3liZTpodW50ZXIyMg=="));
            let token = json!({ "access_token": format!("t{number}"), "token_type": "Bearer", "expires_in": 3600 });
            return Reply::Status(200, token.to_string());
        }
        // The first token is valid for one grant only.
        let is_terminate = received.body["operation"] == "TERMINATE";
        let good = if is_terminate { "Bearer t1" } else { "Bearer t0" };
        if received.header("authorization") == Some(good) {
            created(&received.body, &grant(&received.body))
        } else {
            Reply::Status(401, String::new())
        }
    });
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "hunter22").unwrap();
    let (endpoint, password) = (format!("{}/oauth/token", nfvo.server.url), file.path().to_str().unwrap().to_owned());
    let more = ["--nfvo-user", "gybe", "--nfvo-password-file", &password, "--nfvo-token-endpoint", &endpoint];
    let gybe = Gybe::start_with(&arguments(&nfvo, &more));
    let fixture = GrantFixture::on(nfvo, gybe).await;
    let path = fixture.small("v2").await;
    fixture.gybe.complete(&path, "instantiate", &fixture.instantiation()).await;
    fixture.gybe.complete(&path, "heal", &json!({})).await;
    assert_eq!(issued.load(std::sync::atomic::Ordering::Relaxed), 1, "a token is kept");
    fixture.gybe.complete(&path, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
    assert_eq!(issued.load(std::sync::atomic::Ordering::Relaxed), 2);
}

#[tokio::test]
async fn sends_a_client_certificate_and_rejects_an_nfvo_of_another_authority() {
    let folder = tempfile::tempdir().unwrap();
    let (server, client, stranger) = (certificate(), certificate(), certificate());
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (ours, theirs) = (file("ca.pem", &server.0), file("other.pem", &stranger.0));
    let own = file("client.pem", &(client.0.clone() + &client.1));
    let nfvo = GrantServer::at(Subscriber::start_tls(requiring_client_certificate(&server, &client)).await);
    let with = arguments(&nfvo, &["--nfvo-ca-file", &ours, "--nfvo-certificate-file", &own]);
    let gybe = Gybe::start_with(&with);
    let without = Gybe::start_with(&arguments(&nfvo, &["--nfvo-ca-file", &theirs]));
    let fixture = GrantFixture::on(nfvo, gybe).await;
    let path = fixture.small("v2").await;
    fixture.gybe.complete(&path, "instantiate", &fixture.instantiation()).await;
    let asked = fixture.nfvo.requests().len();
    let fixture = GrantFixture::on(fixture.nfvo, without).await;
    let path = fixture.small("v2").await;
    let error = fixture.instantiate_refused(&path).await;
    assert!(error["detail"].as_str().unwrap().contains("certificate"), "{error}");
    assert_eq!((asked, fixture.nfvo.requests().len()), (1, 1));
}

#[test]
fn check_config_hides_the_password() {
    let check = |arguments: &[&str]| {
        let mut command = std::process::Command::new(crate::support::gybe::binary());
        let run = command.arg("check-config").args(arguments).env("GYBE_NFVO_PASSWORD", "hunter22").output().unwrap();
        (run.status.success(), String::from_utf8(run.stdout).unwrap() + &String::from_utf8(run.stderr).unwrap())
    };
    let (good, shown) = check(&["--nfvo-url", "https://nfvo/grant/v1/", "--nfvo-user", "gybe", "--nfvo-edition", "v1"]);
    for line in [
        "nfvo.url = \"https://nfvo/grant/v1/\"  # command line",
        "# Authentication at the NFVO: BASIC",
        "nfvo.user = \"gybe\"",
        "nfvo.edition = \"v1\"",
        "nfvo.grant_timeout = 3600  # default",
    ] {
        assert!(good && shown.contains(line), "{line}: {shown}");
    }
    assert!(!shown.contains("hunter22"), "{shown}");
    let postgres =
        ["--database-url", "postgres://db/gybe", "--role", "conductor", "--nfvo-url", "https://nfvo/grant/v1"];
    let (good, shown) = check(&postgres);
    assert!(!good && shown.contains("needs --public-url"), "{shown}");
}
