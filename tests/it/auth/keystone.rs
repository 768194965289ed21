//! Tokens of a real Keystone, sent by the real OpenStack client and by others.

use std::time::{Duration, Instant};

use futures::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::json;

use super::authenticated::{Authenticated, VIMS};
use crate::support::cluster::{Cluster, TestNamespace};
use crate::support::keystone::{ADMIN, Account, Keystone, MEMBER_A, MEMBER_B, READER_A, SERVICE};
use crate::support::openstack::{OpenStack, column, text, vim_config};
use crate::support::sample;
use crate::support::subscriber::{Received, Reply, Subscriber};

/// The longest that a valid token is not asked about again.
const REMEMBERED: Duration = Duration::from_secs(60);

/// The detail of the 401 for a request with these headers.
async fn refusal(gybe: &Authenticated, headers: &[(&str, &str)]) -> String {
    let response = gybe.with(Method::GET, VIMS, headers).await;
    let challenge = response.headers.get("WWW-Authenticate").map(|value| value.to_str().unwrap());
    assert!(
        challenge.is_some_and(|it| it.starts_with("Keystone uri=\"http://127.0.0.1:")),
        "{headers:?}: {challenge:?}"
    );
    response.expect(StatusCode::UNAUTHORIZED)["detail"].as_str().unwrap().to_owned()
}

/// A user of the OpenStack client.
struct User {
    openstack: OpenStack,
    vim: String,
    package: String,
    instance: String,
}

impl User {
    /// Logs in with a password, registers a VIM, onboards a package and creates a VNF instance.
    async fn at_work(
        gybe: &mut Authenticated,
        keystone: &Keystone,
        region: &str,
        account: Account,
        (cluster, namespace): (&Cluster, &TestNamespace),
    ) -> Self {
        let rules = json!([{ "apiGroups": ["*"], "resources": ["*"], "verbs": ["*"] }]);
        let access = cluster.account(&namespace.name, account.user, rules).await;
        gybe.act_as(&keystone.token(account).await);
        let mut openstack = OpenStack::with_password(keystone, account, region);
        let vim = openstack.file("vim.json", vim_config(&access));
        let vim =
            text(&openstack.table("1", &["vim", "register", "--config-file", &vim, "--is-default", "cluster"]), "id");
        let package = text(&openstack.table("1", &["vnf", "package", "create"]), "ID");
        let csar = openstack.file("package.zip", sample::pack("small"));
        openstack.does("1", &["vnf", "package", "upload", "--path", &csar, &package]);
        let href = format!("/vnfpkgm/v1/vnf_packages/{package}");
        let onboarded = gybe.gybe.wait_until(&href, |package| package["onboardingState"] == "ONBOARDED").await;
        let vnfd = onboarded["vnfdId"].as_str().unwrap();
        let instance = text(&openstack.table("1", &["vnflcm", "create", vnfd]), "ID");
        Self { openstack, vim, package, instance }
    }

    /// The ids of its lists.
    fn lists(&mut self) -> [Vec<String>; 3] {
        [
            column(&self.openstack.table("1", &["vim", "list", "--long"]), "ID"),
            column(&self.openstack.table("1", &["vnf", "package", "list"]), "Id"),
            column(&self.openstack.table("2", &["vnflcm", "list"]), "ID"),
        ]
    }

    fn own(&self) -> [Vec<String>; 3] {
        [&self.vim, &self.package, &self.instance].map(|id| vec![id.clone()])
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openstack_users_of_two_projects_see_only_their_own() {
    let (keystone, cluster) = (Keystone::shared(), Cluster::running().await);
    let (of_a, of_b) = (cluster.namespace().await, cluster.namespace().await);
    let mut gybe = Authenticated::by(&keystone.url);
    let region = keystone.register(&gybe.gybe.url).await;
    // The same package, and a VIM of the same name.
    let mut b = User::at_work(&mut gybe, &keystone, &region, MEMBER_B, (&cluster, &of_b)).await;
    let mut a = User::at_work(&mut gybe, &keystone, &region, MEMBER_A, (&cluster, &of_a)).await;

    let request = json!({ "flavourId": "simple", "additionalParams": { "namespace": of_a.name.as_str() } });
    let request = a.openstack.file("instantiate.json", request.to_string());
    a.openstack.does("1", &["vnflcm", "instantiate", &a.instance, &request]);
    let op = text(&a.openstack.table("1", &["vnflcm", "op", "list"])[0], "ID");
    let ended = gybe.gybe.wait_ended(&format!("/vnflcm/v1/vnf_lcm_op_occs/{op}")).await;
    assert_eq!(ended["operationState"], "COMPLETED", "{ended:#}");

    assert_eq!((a.lists(), b.lists()), (a.own(), b.own()));
    assert_eq!(b.openstack.table("1", &["vnflcm", "op", "list"]), json!([]));
    for (version, command) in [
        ("1", &["vim", "show", &a.vim][..]),
        ("1", &["vnf", "package", "show", &a.package]),
        ("1", &["vnflcm", "show", &a.instance]),
        ("1", &["vnflcm", "op", "show", &op]),
        ("2", &["vnflcm", "terminate", &a.instance]),
    ] {
        b.openstack.fails(version, command);
    }
    let mut reader = OpenStack::with_password(&keystone, READER_A, &region);
    let refused = reader.fails("2", &["vnflcm", "terminate", &a.instance]);
    assert!(refused.contains("reader"), "{refused}");
    a.openstack.does("2", &["vnflcm", "terminate", &a.instance]);
    let instance = format!("/vnflcm/v2/vnf_instances/{}", a.instance);
    gybe.gybe.wait_until(&instance, |instance| instance["instantiationState"] == "NOT_INSTANTIATED").await;
    a.openstack.does("2", &["vnflcm", "delete", &a.instance]);
}

#[tokio::test]
async fn only_valid_tokens_of_a_project_are_accepted() {
    let keystone = Keystone::shared();
    let gybe = Authenticated::by(&keystone.url);
    let unscoped = keystone.token_for(MEMBER_A.user, json!("unscoped")).await.secret;
    let of_the_system = keystone.token_for(ADMIN.user, json!({ "system": { "all": true } })).await.secret;
    let revoked = keystone.token(MEMBER_A).await;
    keystone.revoke(&revoked).await;
    let (good, reader) = (keystone.token(MEMBER_A).await.secret, keystone.token(READER_A).await.secret);
    let long = "x".repeat(5000);
    for (headers, expected) in [
        (&[][..], "carries no credential"),
        (&[("X-Auth-Token", "gAAAAAbc")], "Keystone does not know the token"),
        (&[("X-Auth-Token", "")], "Keystone does not know the token"),
        (&[("X-Auth-Token", &revoked.secret)], "Keystone does not know the token"),
        (&[("X-Auth-Token", &unscoped)], "ask Keystone for a token that is scoped to a project"),
        (&[("X-Auth-Token", &of_the_system)], "ask Keystone for a token that is scoped to a project"),
        (&[("X-Auth-Token", &long)], "at most 4096 characters"),
        (&[("X-Auth-Token", &good), ("X-Auth-Token", &reader)], "must be there once"),
        (&[("X-Auth-Token", &good), ("X-Service-Token", &reader)], "without the role 'service'"),
        // Who the sender is, no header of its own says.
        (
            &[("X-User-Id", "u"), ("X-Project-Id", "p"), ("X-Roles", "admin"), ("X-Identity-Status", "Confirmed")],
            "no credential",
        ),
    ] {
        let detail = refusal(&gybe, headers).await;
        assert!(detail.contains(expected), "{headers:?}: {detail}");
    }
    assert_eq!(gybe.status(&good).await, StatusCode::OK);
    assert_eq!(gybe.status(&reader).await, StatusCode::OK);
    let log = gybe.gybe.log();
    for token in [&good, &reader, &unscoped, &revoked.secret] {
        assert!(!log.contains(token), "a token is in the log");
    }
}

#[tokio::test]
async fn access_rules_of_an_application_credential_limit_its_token() {
    let keystone = Keystone::shared();
    let gybe = Authenticated::by(&keystone.url);
    let rules = json!([
        { "service": "nfv-orchestration", "method": "GET", "path": "/vnflcm/v2/**" },
        { "service": "compute", "method": "GET", "path": VIMS },
    ]);
    let token = keystone.limited_token(&keystone.token(MEMBER_A).await, rules).await.secret;
    let instances = gybe.with(Method::GET, "/vnflcm/v2/vnf_instances", &[("X-Auth-Token", &token)]).await;
    assert_eq!(instances.expect(StatusCode::OK), json!([]));
    let detail = refusal(&gybe, &[("X-Auth-Token", &token)]).await;
    assert!(detail.contains("access rules of the application credential"), "{detail}");
}

#[tokio::test]
async fn revoked_token_works_for_a_minute_at_most() {
    let keystone = Keystone::shared();
    let gybe = Authenticated::by(&keystone.url);
    let token = keystone.token(MEMBER_A).await;
    let asked = Instant::now();
    assert_eq!(gybe.status(&token.secret).await, StatusCode::OK);
    keystone.revoke(&token).await;
    gybe.wait_for(&token.secret, StatusCode::UNAUTHORIZED, &[StatusCode::OK]).await;
    assert!(asked.elapsed() < REMEMBERED + Duration::from_secs(10), "{:?}", asked.elapsed());
}

#[tokio::test]
async fn expired_token_works_for_services_only() {
    // Gybe's own token lasts no longer: it renews it.
    let keystone = Keystone::start(5);
    let gybe = Authenticated::by(&keystone.url);
    let token = keystone.token(MEMBER_A).await.secret;
    assert_eq!(gybe.status(&token).await, StatusCode::OK);
    gybe.wait_for(&token, StatusCode::UNAUTHORIZED, &[StatusCode::OK]).await;
    let service = keystone.token(SERVICE).await.secret;
    let headers = [("X-Auth-Token", token.as_str()), ("X-Service-Token", &service)];
    assert_eq!(gybe.with(Method::GET, VIMS, &headers).await.status, StatusCode::OK);
    let unknown = [("X-Auth-Token", "gAAAAAbc"), ("X-Service-Token", &service)];
    assert_eq!(gybe.with(Method::GET, VIMS, &unknown).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn while_keystone_is_down_only_remembered_tokens_work() {
    let mut keystone = Keystone::start(3600);
    let gybe = Authenticated::by(&keystone.url);
    let (known, new) = (keystone.token(MEMBER_A).await.secret, keystone.token(MEMBER_B).await.secret);
    assert_eq!(gybe.status(&known).await, StatusCode::OK);
    keystone.kill();
    assert_eq!(gybe.status(&known).await, StatusCode::OK);
    for token in [&new, "gAAAAAbc"] {
        let refused = gybe.with(Method::GET, VIMS, &[("X-Auth-Token", token)]).await;
        let problem = refused.expect(StatusCode::SERVICE_UNAVAILABLE);
        assert!(problem["detail"].as_str().unwrap().contains("Keystone does not answer"), "{problem:#}");
    }
    keystone.restart();
    gybe.wait_for(&new, StatusCode::OK, &[StatusCode::SERVICE_UNAVAILABLE]).await;
}

/// What a Keystone answers to logins and validations.
fn answer(request: &Received, validation: Reply) -> Reply {
    if request.method == "GET" {
        return validation;
    }
    Reply::With(201, vec![("X-Subject-Token", "own".to_owned())], token_body())
}

fn token_body() -> String {
    json!({ "token": {
        "issued_at": "2026-01-01T00:00:00.000000Z", "expires_at": "2999-01-01T00:00:00.000000Z",
        "user": { "id": "u" }, "project": { "id": "p" }, "roles": [{ "name": "member" }],
    } })
    .to_string()
}

#[tokio::test]
async fn requests_with_equal_tokens_ask_keystone_once() {
    let keystone = Subscriber::start().await;
    keystone.answer(|request| answer(request, Reply::Status(200, token_body())));
    let gybe = Authenticated::by(&keystone.url);
    let statuses = join_all((0..50).map(|_| gybe.status("abc"))).await;
    assert!(statuses.iter().all(|status| *status == StatusCode::OK), "{statuses:?}");
    let asked: Vec<String> =
        keystone.received().into_iter().map(|one| format!("{} {}", one.method, one.path)).collect();
    assert_eq!(asked, ["POST /v3/auth/tokens", "GET /v3/auth/tokens"]);
}

#[tokio::test]
async fn only_an_answer_about_the_token_counts_as_one() {
    let keystone = Subscriber::start().await;
    let gybe = Authenticated::by(&keystone.url);
    let endless = "[".repeat(300 * 1024);
    for (token, reply) in [
        ("a", Reply::Status(500, String::new())),
        ("b", Reply::Status(403, String::new())),
        // Of Gybe's own token: a new one is fetched, once.
        ("c", Reply::Status(401, String::new())),
        ("d", Reply::Status(200, "no token".to_owned())),
        ("e", Reply::Status(200, endless)),
        ("f", Reply::Redirect(format!("{}/elsewhere", keystone.url))),
        ("g", Reply::Closes),
    ] {
        keystone.answer({
            let reply = reply.clone();
            move |request| answer(request, reply.clone())
        });
        assert_eq!(gybe.status(token).await, StatusCode::SERVICE_UNAVAILABLE, "{reply:?}");
    }
    let logins = keystone.received().into_iter().filter(|request| request.method == "POST").count();
    assert_eq!(logins, 2);
    keystone.answer(|request| answer(request, Reply::Status(200, token_body())));
    assert_eq!(gybe.status("h").await, StatusCode::OK);
}
