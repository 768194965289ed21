//! The configuration of authentication: what it is made of, and what is said of mistakes.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output, Stdio};

use reqwest::StatusCode;
use tempfile::TempDir;

use crate::support::gybe::{Gybe, binary};

fn check(folder: &TempDir, file: &str, arguments: &[&str]) -> Output {
    let path = folder.path().join("gybe.toml");
    std::fs::write(&path, file).unwrap();
    Command::new(binary()).arg("check-config").arg("--config").arg(&path).args(arguments).output().unwrap()
}

fn hash(password: &str) -> String {
    let mut command = Command::new(binary());
    let command = command.arg("hash-password").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    writeln!(child.stdin.take().unwrap(), "{password}").unwrap();
    let output = child.wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[tokio::test]
async fn the_token_file_is_made_once_and_its_token_is_not_shown() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("tokens.toml");
    let mut gybe = Gybe::start_with(&["--token-file", path.to_str().unwrap()]);
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let token = text.split("token = \"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    for _ in 0..2 {
        let request = gybe.client.get(gybe.uri("/vnflcm/v2/vnf_instances")).bearer_auth(&token);
        gybe.send(request).await.expect(StatusCode::OK);
        assert!(gybe.log().contains(path.to_str().unwrap()) && !gybe.log().contains(&token));
        gybe.kill();
        gybe.restart();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}

#[test]
fn other_addresses_than_loopback_need_a_method() {
    let folder = TempDir::new().unwrap();
    let refused = check(&folder, "", &["--listen", "0.0.0.0:9890"]);
    assert!(String::from_utf8(refused.stderr).unwrap().contains("callers are not authenticated"));
    let tokens = folder.path().join("tokens.toml");
    let allowed = check(&folder, "", &["--listen", "0.0.0.0:9890", "--token-file", tokens.to_str().unwrap()]);
    assert!(allowed.status.success(), "{}", String::from_utf8_lossy(&allowed.stderr));
    assert!(!tokens.exists(), "check-config makes no token");
}

#[test]
fn what_is_configured_for_projects_is_printed_and_leads_to_the_same_configuration() {
    let folder = TempDir::new().unwrap();
    let tables = "[tenancy]\nverify_project = 'off'\n[neutron_defaults]\nproject = 'core'\n[quotas]\nvims = 3\n";
    let printed = String::from_utf8(check(&folder, tables, &[]).stdout).unwrap();
    for line in [
        "verify_project = \"off\"",
        "project_annotation = \"openstack.org/kuryr-project\"",
        "project = \"core\"",
        "vims = 3",
        "packages = -1",
    ] {
        assert!(printed.lines().any(|it| it == line), "{line}: {printed}");
    }
    let (_, again) = printed.split_once("[tenancy]").unwrap();
    let second = String::from_utf8(check(&folder, &format!("[tenancy]{again}"), &[]).stdout).unwrap();
    assert_eq!(second.split_once("[tenancy]").unwrap().1, again);
}

#[test]
fn the_methods_are_named_and_mistakes_are_explained_without_secrets() {
    let folder = TempDir::new().unwrap();
    let hash = hash("s3cret");
    let user = format!("[[auth.basic.user]]\nname = 'ibm'\npassword_hash = '{hash}'\nrole = 'member'\n");
    let shown = check(&folder, &format!("{user}[auth.proxy]\nnetworks = ['10.0.0.7/32']\n"), &[]);
    let text = String::from_utf8(shown.stdout).unwrap();
    assert!(text.contains("# Authentication of callers: basic, proxy") && !text.contains(&hash), "{text}");
    for (file, expected) in [
        (user.replace("member", "boss"), "auth.basic.user 'ibm': 'boss' is not a role"),
        (user.replace("$argon2id", "$md5"), "auth.basic.user 'ibm': password_hash must be a hash"),
        ("[auth.proxy]\nnetworks = []".to_owned(), "auth.proxy.networks must name"),
        ("[auth.token]\n".to_owned(), "unknown field `token`"),
        ("[auth.roles]\nboss = ['x']".to_owned(), "unknown variant `boss`"),
    ] {
        let output = check(&folder, &file, &[]);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && error.contains(expected), "{file}: {error}");
        assert!(!error.contains("argon2id$v"), "{error}");
    }
}
