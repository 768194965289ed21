//! Grants that are late, refused, unusable or never given.

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{GrantFixture, arguments};
use crate::support::grant_server::{GrantServer, created, grant, problem};
use crate::support::gybe::{Gybe, SHORT_GRACE};
use crate::support::postgres::Database;
use crate::support::subscriber::{Reply, Subscriber};

#[tokio::test]
async fn a_late_grant_is_awaited_with_one_request_and_nothing_created() {
    let fixture = GrantFixture::new(&[]).await;
    let (path, subscriber) = (fixture.small("v2").await, Subscriber::start().await);
    let subscription = json!({ "callbackUri": subscriber.url });
    fixture.gybe.post("/vnflcm/v2/subscriptions", &subscription).await.expect(StatusCode::CREATED);
    fixture.nfvo.defer();
    let op = fixture.gybe.begin(&path, "instantiate", &fixture.instantiation()).await;
    fixture.nfvo.wait_for_requests(1).await;
    let states: Vec<String> = subscriber.wait_for_accepted(1).await.iter().map(|one| one.summary()).collect();
    assert_eq!(states, ["STARTING"], "STARTING is notified before the grant");
    fixture.nfvo.wait_for_polls(2).await;
    let waiting = fixture.show(&op).await;
    assert_eq!((&waiting["operationState"], waiting.get("grantId")), (&json!("STARTING"), None), "{waiting:#}");
    assert!(fixture.cluster.marked(&fixture.namespace.name).await.is_empty());
    fixture.nfvo.decide(|request| Reply::Status(200, grant(request).to_string()));
    let op = fixture.gybe.wait_ended(&op).await;
    assert_eq!(op["operationState"], "COMPLETED", "{op:#}");
    assert_eq!(op["grantId"], format!("grant-{}", op["id"].as_str().unwrap()));
    assert_eq!(fixture.nfvo.requests().len(), 1);
    let states: Vec<String> = subscriber.wait_for_accepted(3).await.iter().map(|one| one.summary()).collect();
    assert_eq!(states, ["STARTING", "PROCESSING", "COMPLETED"]);
    let metrics = fixture.gybe.get("/metrics").await.text;
    for result in ["pending", "granted"] {
        let name = format!("gybe_grant_exchange_duration_seconds_count{{result=\"{result}\"}}");
        assert!(metrics.contains(&name), "{name}: {metrics}");
    }
}

async fn check_resume_after_kill(mut fixture: GrantFixture) {
    let path = fixture.small("v2").await;
    fixture.nfvo.defer();
    let op = fixture.gybe.begin(&path, "instantiate", &fixture.instantiation()).await;
    fixture.nfvo.wait_for_polls(1).await;
    let shown = fixture.gybe.debug(&["ops"]);
    assert!(shown.contains("  STARTING  grant  "), "{shown}");
    fixture.gybe.kill();
    fixture.nfvo.decide(|request| Reply::Status(200, grant(request).to_string()));
    fixture.gybe.restart();
    let op = fixture.gybe.wait_ended(&op).await;
    assert_eq!(op["operationState"], "COMPLETED", "{op:#}");
    assert_eq!(fixture.nfvo.requests().len(), 1, "the grant is not requested again");
    assert_eq!(
        fixture.cluster.marked(&fixture.namespace.name).await.iter().filter(|(kind, _)| *kind == "Deployment").count(),
        1
    );
}

#[tokio::test]
async fn a_grant_wait_continues_after_a_kill() {
    check_resume_after_kill(GrantFixture::new(&[]).await).await;
}

#[tokio::test]
async fn a_grant_wait_continues_after_a_kill_on_postgresql() {
    let (database, nfvo) = (Database::create().await, GrantServer::start().await);
    let gybe = Gybe::start_on_with(&database.url, &arguments(&nfvo, &["--lease", "5"]));
    check_resume_after_kill(GrantFixture::on(nfvo, gybe).await).await;
}

#[tokio::test]
async fn a_refused_operation_is_rolled_back_with_the_reason_and_can_be_repeated() {
    let fixture = GrantFixture::new(&[]).await;
    let path = fixture.small("v2").await;
    fixture.nfvo.answer(|_| problem(403, "no room in this site, token=abcdefgh"));
    let error = fixture.instantiate_refused(&path).await;
    assert_eq!(error["status"], 403);
    let detail = error["detail"].as_str().unwrap();
    assert!(
        detail.contains("refused the grant: As it is: no room in this site") && !detail.contains("abcdefgh"),
        "{detail}"
    );
    fixture.nfvo.defer();
    fixture.nfvo.decide(|_| problem(403, "on second thoughts"));
    let error = fixture.instantiate_refused(&path).await;
    assert!(error["detail"].as_str().unwrap().contains("on second thoughts"), "{error}");
    fixture.nfvo.answer(|request| created(request, &grant(request)));
    fixture.gybe.complete(&path, "instantiate", &fixture.instantiation()).await;
    // Existing objects stay unchanged.
    fixture.nfvo.answer(|_| problem(403, "not you"));
    let op = fixture.gybe.begin(&path, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
    assert_eq!(fixture.gybe.wait_ended(&op).await["operationState"], "ROLLED_BACK");
    assert_eq!(fixture.show(&path).await["instantiationState"], "INSTANTIATED");
    assert!(!fixture.cluster.marked(&fixture.namespace.name).await.is_empty());
}

#[tokio::test]
async fn an_unusable_grant_is_rolled_back_with_the_reason() {
    let fixture = GrantFixture::new(&[]).await;
    let path = fixture.small("v2").await;
    let changed = |change: fn(&mut Value)| {
        move |request: &Value| {
            let mut grant = grant(request);
            change(&mut grant);
            created(request, &grant)
        }
    };
    type Rule = Box<dyn Fn(&Value) -> Reply + Send + Sync>;
    let cases: [(Rule, &str); 10] = [
        (
            Box::new(|request| Reply::With(201, vec![], grant(request).to_string()[1..].to_owned())),
            "is not a valid Grant",
        ),
        (Box::new(|_| Reply::Status(201, "{\"id\":\"g\"}".to_owned())), "is not a valid Grant"),
        (Box::new(|_| Reply::Status(201, " ".repeat(5 * 1024 * 1024))), "larger than 4 MiB"),
        (Box::new(|_| Reply::Status(202, String::new())), "has no Location"),
        (Box::new(|_| Reply::Redirect("http://127.0.0.1:1/".to_owned())), "302"),
        (Box::new(|_| problem(422, "what VNFD?")), "what VNFD?"),
        (Box::new(changed(|grant| grant["vnfLcmOpOccId"] = json!("another"))), "another operation's"),
        (
            Box::new(changed(|grant| grant["addResources"] = json!([]))),
            "does not answer, in addResources: add-compute-VDU1-1",
        ),
        (
            Box::new(changed(|grant| grant["addResources"][0]["vimConnectionId"] = json!("nowhere"))),
            "does not say what its vimConnectionId 'nowhere' is",
        ),
        (
            Box::new(changed(|grant| grant["additionalParams"] = json!({ "namespace": "elsewhere" }))),
            "another additionalParams.namespace",
        ),
    ];
    for (rule, said) in cases {
        fixture.nfvo.answer(rule);
        let error = fixture.instantiate_refused(&path).await;
        assert!(error["detail"].as_str().unwrap().contains(said), "{said}: {error}");
    }
    assert_eq!(fixture.nfvo.requests().len(), 10, "a grant request is not repeated after a permanent error");
}

#[tokio::test]
async fn an_unreachable_nfvo_is_retried_for_a_while() {
    let fixture = GrantFixture::new(&[]).await;
    let vnfd = fixture.gybe.onboard("small").await;
    let [back, gone] = [fixture.gybe.create("v2", &vnfd).await, fixture.gybe.create("v2", &vnfd).await];
    let id = gone.rsplit('/').next().unwrap().to_owned();
    let failures = std::sync::atomic::AtomicUsize::new(0);
    fixture.nfvo.answer(move |request| {
        if request["vnfInstanceId"] == id.as_str() {
            return Reply::Closes;
        }
        match failures.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
            0 => Reply::Closes,
            1 => problem(503, "starting"),
            2 => Reply::Hangs,
            _ => created(request, &grant(request)),
        }
    });
    let begun = fixture.gybe.begin(&back, "instantiate", &fixture.instantiation()).await;
    let error = fixture.instantiate_rolled_back(&gone).await;
    assert_eq!(error["status"], 504);
    assert!(error["detail"].as_str().unwrap().contains("the NFVO gave no grant"), "{error}");
    let op = fixture.gybe.wait_ended(&begun).await;
    assert_eq!(op["operationState"], "COMPLETED", "{op:#}");
}

/// A refusal in the form of etsi-mano.
#[tokio::test]
async fn repeated_500_for_a_pending_grant_is_final() {
    let fixture = GrantFixture::new(&[]).await;
    let path = fixture.small("v2").await;
    fixture.nfvo.defer();
    fixture.nfvo.decide(|_| problem(500, "no room for it"));
    let error = fixture.instantiate_refused(&path).await;
    assert!(error["detail"].as_str().unwrap().contains("no room for it"), "{error}");
    assert_eq!(fixture.nfvo.requests().len(), 1);
}

#[tokio::test]
async fn a_grant_wait_times_out() {
    let fixture = GrantFixture::new(&["--nfvo-grant-timeout", "3"]).await;
    let path = fixture.small("v2").await;
    fixture.nfvo.defer();
    let error = fixture.instantiate_refused(&path).await;
    assert!(error["detail"].as_str().unwrap().contains("not decided on the grant within 3 seconds"), "{error}");
}

#[tokio::test]
async fn cancel_during_a_grant_wait_rolls_back_at_once() {
    let fixture = GrantFixture::new(&[]).await;
    let path = fixture.small("v2").await;
    fixture.nfvo.defer();
    let op = fixture.gybe.begin(&path, "instantiate", &fixture.instantiation()).await;
    fixture.nfvo.wait_for_polls(1).await;
    let cancel = fixture.gybe.post(&format!("{op}/cancel"), &json!({ "cancelMode": "GRACEFUL" })).await;
    cancel.expect(StatusCode::ACCEPTED);
    let op = fixture.gybe.wait_ended(&op).await;
    assert_eq!(op["operationState"], "ROLLED_BACK", "{op:#}");
    fixture.check_nothing_created(&path).await;
    // A pending exchange does not delay it either.
    fixture.nfvo.answer(|_| Reply::Hangs);
    let op = fixture.gybe.begin(&path, "instantiate", &fixture.instantiation()).await;
    fixture.nfvo.wait_for_requests(2).await;
    let begun = std::time::Instant::now();
    fixture.gybe.post(&format!("{op}/cancel"), &json!({ "cancelMode": "GRACEFUL" })).await.expect(StatusCode::ACCEPTED);
    assert_eq!(fixture.gybe.wait_ended(&op).await["operationState"], "ROLLED_BACK");
    assert!(begun.elapsed().as_secs() < 8, "the operation ends before the time limit of the grant exchange");
}

#[tokio::test]
async fn a_retry_uses_the_grant_of_the_first_attempt() {
    let fixture = GrantFixture::new(&SHORT_GRACE).await;
    let csar = crate::support::sample::pack("broken/image-pull");
    let package = fixture.gybe.upload(&csar).await;
    let path = fixture.gybe.create("v2", package["vnfdId"].as_str().unwrap()).await;
    let op = fixture.gybe.begin(&path, "instantiate", &fixture.instantiation()).await;
    let failed = fixture.gybe.wait_ended(&op).await;
    assert_eq!(failed["operationState"], "FAILED_TEMP", "{failed:#}");
    fixture.gybe.post(&format!("{op}/retry"), &json!({})).await.expect(StatusCode::ACCEPTED);
    let again = fixture.gybe.wait_ended(&op).await;
    assert_eq!((&again["operationState"], &again["grantId"]), (&json!("FAILED_TEMP"), &failed["grantId"]));
    fixture.gybe.post(&format!("{op}/rollback"), &json!({})).await.expect(StatusCode::ACCEPTED);
    let back = fixture.gybe.wait_ended(&op).await;
    assert_eq!((&back["operationState"], &back["grantId"]), (&json!("ROLLED_BACK"), &failed["grantId"]));
    assert_eq!(fixture.nfvo.requests().len(), 1);
    fixture.check_nothing_created(&path).await;
}
