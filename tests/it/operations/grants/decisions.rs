//! Grants that are late, refused, unusable or never given.

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{Site, arguments};
use crate::support::granter::{Granter, created, grant, problem};
use crate::support::gybe::Gybe;
use crate::support::postgres::Database;
use crate::support::subscriber::{Answer, Subscriber};

#[tokio::test]
async fn a_grant_that_takes_its_time_is_waited_for_with_nothing_made_and_asked_for_once() {
    let site = Site::new(&[]).await;
    let (path, subscriber) = (site.small("v2").await, Subscriber::start().await);
    let subscription = json!({ "callbackUri": subscriber.url });
    site.gybe.post("/vnflcm/v2/subscriptions", &subscription).await.expect(StatusCode::CREATED);
    site.nfvo.take_time();
    let op = site.gybe.begin(&path, "instantiate", &site.instantiation()).await;
    site.nfvo.until_asked(1).await;
    let told: Vec<String> = subscriber.until_taken(1).await.iter().map(|one| one.tells()).collect();
    assert_eq!(told, ["STARTING"], "it is told before it is granted");
    site.nfvo.until_looked(2).await;
    let waiting = site.show(&op).await;
    assert_eq!((&waiting["operationState"], waiting.get("grantId")), (&json!("STARTING"), None), "{waiting:#}");
    assert!(site.cluster.marked(&site.namespace.name).await.is_empty());
    site.nfvo.decide(|request| Answer::Status(200, grant(request).to_string()));
    let op = site.gybe.settled(&op).await;
    assert_eq!(op["operationState"], "COMPLETED", "{op:#}");
    assert_eq!(op["grantId"], format!("grant-{}", op["id"].as_str().unwrap()));
    assert_eq!(site.nfvo.requests().len(), 1);
    let told: Vec<String> = subscriber.until_taken(3).await.iter().map(|one| one.tells()).collect();
    assert_eq!(told, ["STARTING", "PROCESSING", "COMPLETED"]);
    let metrics = site.gybe.get("/metrics").await.text;
    for result in ["pending", "granted"] {
        let name = format!("gybe_grant_exchange_duration_seconds_count{{result=\"{result}\"}}");
        assert!(metrics.contains(&name), "{name}: {metrics}");
    }
}

async fn goes_on_after_a_kill(mut site: Site) {
    let path = site.small("v2").await;
    site.nfvo.take_time();
    let op = site.gybe.begin(&path, "instantiate", &site.instantiation()).await;
    site.nfvo.until_looked(1).await;
    let shown = site.gybe.debug(&["ops"]);
    assert!(shown.contains("  STARTING  grant  "), "{shown}");
    site.gybe.kill();
    site.nfvo.decide(|request| Answer::Status(200, grant(request).to_string()));
    site.gybe.restart();
    let op = site.gybe.settled(&op).await;
    assert_eq!(op["operationState"], "COMPLETED", "{op:#}");
    assert_eq!(site.nfvo.requests().len(), 1, "it is not asked for again");
    assert_eq!(
        site.cluster.marked(&site.namespace.name).await.iter().filter(|(kind, _)| *kind == "Deployment").count(),
        1
    );
}

#[tokio::test]
async fn an_operation_whose_process_is_killed_while_it_waits_goes_on() {
    goes_on_after_a_kill(Site::new(&[]).await).await;
}

#[tokio::test]
async fn an_operation_whose_process_is_killed_while_it_waits_goes_on_on_postgresql() {
    let (database, nfvo) = (Database::create().await, Granter::start().await);
    let gybe = Gybe::start_on_with(&database.url, &arguments(&nfvo, &["--lease", "5"]));
    goes_on_after_a_kill(Site::on(nfvo, gybe).await).await;
}

#[tokio::test]
async fn what_is_refused_is_rolled_back_with_the_reason_and_can_be_asked_for_again() {
    let site = Site::new(&[]).await;
    let path = site.small("v2").await;
    site.nfvo.answer(|_| problem(403, "no room in this site, token=abcdefgh"));
    let error = site.refused(&path).await;
    assert_eq!(error["status"], 403);
    let detail = error["detail"].as_str().unwrap();
    assert!(
        detail.contains("refused the grant: As it is: no room in this site") && !detail.contains("abcdefgh"),
        "{detail}"
    );
    site.nfvo.take_time();
    site.nfvo.decide(|_| problem(403, "on second thoughts"));
    let error = site.refused(&path).await;
    assert!(error["detail"].as_str().unwrap().contains("on second thoughts"), "{error}");
    site.nfvo.answer(|request| created(request, &grant(request)));
    site.gybe.complete(&path, "instantiate", &site.instantiation()).await;
    // What lives is left as it is.
    site.nfvo.answer(|_| problem(403, "not you"));
    let op = site.gybe.begin(&path, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
    assert_eq!(site.gybe.settled(&op).await["operationState"], "ROLLED_BACK");
    assert_eq!(site.show(&path).await["instantiationState"], "INSTANTIATED");
    assert!(!site.cluster.marked(&site.namespace.name).await.is_empty());
}

#[tokio::test]
async fn a_grant_that_is_of_no_use_is_rolled_back_with_what_is_wrong() {
    let site = Site::new(&[]).await;
    let path = site.small("v2").await;
    let changed = |change: fn(&mut Value)| {
        move |request: &Value| {
            let mut grant = grant(request);
            change(&mut grant);
            created(request, &grant)
        }
    };
    type Rule = Box<dyn Fn(&Value) -> Answer + Send + Sync>;
    let cases: [(Rule, &str); 10] = [
        (
            Box::new(|request| Answer::With(201, vec![], grant(request).to_string()[1..].to_owned())),
            "is not a valid Grant",
        ),
        (Box::new(|_| Answer::Status(201, "{\"id\":\"g\"}".to_owned())), "is not a valid Grant"),
        (Box::new(|_| Answer::Status(201, " ".repeat(5 * 1024 * 1024))), "larger than 4 MiB"),
        (Box::new(|_| Answer::Status(202, String::new())), "has no Location"),
        (Box::new(|_| Answer::Redirect("http://127.0.0.1:1/".to_owned())), "302"),
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
        site.nfvo.answer(rule);
        let error = site.refused(&path).await;
        assert!(error["detail"].as_str().unwrap().contains(said), "{said}: {error}");
    }
    assert_eq!(site.nfvo.requests().len(), 10, "what time does not heal is not asked for again");
}

#[tokio::test]
async fn an_nfvo_that_is_down_is_asked_again_for_a_while() {
    let site = Site::new(&[]).await;
    let vnfd = site.gybe.onboard("small").await;
    let [back, gone] = [site.gybe.create("v2", &vnfd).await, site.gybe.create("v2", &vnfd).await];
    let id = gone.rsplit('/').next().unwrap().to_owned();
    let failures = std::sync::atomic::AtomicUsize::new(0);
    site.nfvo.answer(move |request| {
        if request["vnfInstanceId"] == id.as_str() {
            return Answer::Closes;
        }
        match failures.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
            0 => Answer::Closes,
            1 => problem(503, "starting"),
            2 => Answer::Hangs,
            _ => created(request, &grant(request)),
        }
    });
    let begun = site.gybe.begin(&back, "instantiate", &site.instantiation()).await;
    let error = site.rolled_back(&gone).await;
    assert_eq!(error["status"], 504);
    assert!(error["detail"].as_str().unwrap().contains("the NFVO gave no grant"), "{error}");
    let op = site.gybe.settled(&begun).await;
    assert_eq!(op["operationState"], "COMPLETED", "{op:#}");
}

/// As etsi-mano says no.
#[tokio::test]
async fn an_nfvo_that_answers_500_where_the_grant_is_to_be_is_taken_at_its_word_after_some_tries() {
    let site = Site::new(&[]).await;
    let path = site.small("v2").await;
    site.nfvo.take_time();
    site.nfvo.decide(|_| problem(500, "no room for it"));
    let error = site.refused(&path).await;
    assert!(error["detail"].as_str().unwrap().contains("no room for it"), "{error}");
    assert_eq!(site.nfvo.requests().len(), 1);
}

#[tokio::test]
async fn an_nfvo_that_does_not_decide_in_time_is_not_waited_for() {
    let site = Site::new(&["--nfvo-grant-timeout", "3"]).await;
    let path = site.small("v2").await;
    site.nfvo.take_time();
    let error = site.refused(&path).await;
    assert!(error["detail"].as_str().unwrap().contains("not decided on the grant within 3 seconds"), "{error}");
}

#[tokio::test]
async fn an_operation_that_is_cancelled_while_it_waits_is_rolled_back_at_once() {
    let site = Site::new(&[]).await;
    let path = site.small("v2").await;
    site.nfvo.take_time();
    let op = site.gybe.begin(&path, "instantiate", &site.instantiation()).await;
    site.nfvo.until_looked(1).await;
    let cancel = site.gybe.post(&format!("{op}/cancel"), &json!({ "cancelMode": "GRACEFUL" })).await;
    cancel.expect(StatusCode::ACCEPTED);
    let op = site.gybe.settled(&op).await;
    assert_eq!(op["operationState"], "ROLLED_BACK", "{op:#}");
    site.nothing_was_made(&path).await;
    // Neither does an exchange that is under way hold it up.
    site.nfvo.answer(|_| Answer::Hangs);
    let op = site.gybe.begin(&path, "instantiate", &site.instantiation()).await;
    site.nfvo.until_asked(2).await;
    let begun = std::time::Instant::now();
    site.gybe.post(&format!("{op}/cancel"), &json!({ "cancelMode": "GRACEFUL" })).await.expect(StatusCode::ACCEPTED);
    assert_eq!(site.gybe.settled(&op).await["operationState"], "ROLLED_BACK");
    assert!(begun.elapsed().as_secs() < 8, "sooner than the exchange would have been given up");
}

#[tokio::test]
async fn what_is_tried_again_has_the_grant_that_it_was_given() {
    let site = Site::new(&[]).await;
    let csar = crate::support::sample::pack("broken/image-pull");
    let package = site.gybe.upload(&csar).await;
    let path = site.gybe.create("v2", package["vnfdId"].as_str().unwrap()).await;
    let op = site.gybe.begin(&path, "instantiate", &site.instantiation()).await;
    let failed = site.gybe.settled(&op).await;
    assert_eq!(failed["operationState"], "FAILED_TEMP", "{failed:#}");
    site.gybe.post(&format!("{op}/retry"), &json!({})).await.expect(StatusCode::ACCEPTED);
    let again = site.gybe.settled(&op).await;
    assert_eq!((&again["operationState"], &again["grantId"]), (&json!("FAILED_TEMP"), &failed["grantId"]));
    site.gybe.post(&format!("{op}/rollback"), &json!({})).await.expect(StatusCode::ACCEPTED);
    let back = site.gybe.settled(&op).await;
    assert_eq!((&back["operationState"], &back["grantId"]), (&json!("ROLLED_BACK"), &failed["grantId"]));
    assert_eq!(site.nfvo.requests().len(), 1);
    site.nothing_was_made(&path).await;
}
