//! Subscriptions through the API of the real binary: their creation, and the notifications over the life cycle of a CNF
//! and after a kill.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::cluster::Cluster;
use crate::support::gybe::{ApiResponse, Gybe};
use crate::support::postgres::Database;
use crate::support::proxy::Proxy;
use crate::support::rng::Rng;
use crate::support::subscriber::{self, Received, Subscriber};

const NOWHERE: &str = "8f14e45f-ceea-467f-a8f4-0123456789ab";

async fn subscribe(gybe: &Gybe, edition: &str, request: Value) -> ApiResponse {
    gybe.post(&format!("/vnflcm/{edition}/subscriptions"), &request).await
}

fn summaries(received: &[Received]) -> Vec<String> {
    received.iter().filter(|one| one.method == "POST").map(Received::summary).collect()
}

#[tokio::test]
async fn a_subscription_is_created_shown_and_deleted_without_its_secrets() {
    let (gybe, subscriber) = (Gybe::start(), Subscriber::start().await);
    let filter = json!({ "notificationTypes": ["VnfIdentifierCreationNotification"],
        "vnfInstanceSubscriptionFilter": { "vnfdIds": ["b", "a"], "vnfInstanceIds": [] } });
    let request = json!({
        "callbackUri": subscriber.url, "filter": filter, "verbosity": "SHORT", "unknown": true,
        "authentication": {
            "authType": ["OAUTH2_CLIENT_CREDENTIALS", "BASIC", "TLS_CERT"],
            "paramsBasic": { "userName": "nobody-sees", "password": "s3cr3t" },
            "paramsOauth2ClientCredentials": { "clientId": "c", "clientPassword": "s3cr3t", "tokenEndpoint": subscriber.url },
        },
    });
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    for (edition, verbosity) in [("v1", Value::Null), ("v2", json!("SHORT"))] {
        let made = subscribe(&gybe, edition, request.clone()).await;
        let shown = made.expect(StatusCode::CREATED);
        let href = shown["_links"]["self"]["href"].as_str().unwrap();
        assert_eq!(made.location.as_deref(), Some(href));
        assert!(href.starts_with(&format!("{}/vnflcm/{edition}/subscriptions/", gybe.url)));
        assert_eq!((&shown["callbackUri"], &shown["verbosity"]), (&json!(subscriber.url), &verbosity));
        assert_eq!(shown["filter"]["vnfInstanceSubscriptionFilter"], json!({ "vnfdIds": ["a", "b"] }));
        assert!(!made.text.contains("s3cr3t") && !made.text.contains("nobody-sees"));
        assert_eq!(gybe.get(href).await.expect(StatusCode::OK), shown);

        let again = client.post(gybe.uri(&format!("/vnflcm/{edition}/subscriptions"))).json(&request);
        let again = gybe.send(again).await;
        assert_eq!((again.status, again.text.as_str()), (StatusCode::SEE_OTHER, ""));
        assert_eq!(again.location.as_deref(), Some(href));
    }
    let list = gybe.get("/vnflcm/v2/subscriptions").await.expect(StatusCode::OK);
    assert_eq!(list.as_array().unwrap().len(), 2, "subscriptions of different editions are distinct");
    for one in list.as_array().unwrap() {
        let href = one["_links"]["self"]["href"].as_str().unwrap();
        gybe.delete(href).await.expect(StatusCode::NO_CONTENT);
        gybe.get(href).await.problem(404);
    }
    assert_eq!(gybe.get("/vnflcm/v1/subscriptions").await.expect(StatusCode::OK), json!([]));
    for path in ["", "/notifications"] {
        gybe.get(&format!("/vnflcm/v2/subscriptions/{NOWHERE}{path}")).await.problem(404);
    }
    gybe.delete(&format!("/vnflcm/v2/subscriptions/{NOWHERE}")).await.problem(404);
    gybe.post(&format!("/vnflcm/v2/subscriptions/{NOWHERE}/notifications/resend"), &json!({})).await.problem(404);
    assert!(!gybe.log().contains("s3cr3t"));
}

#[tokio::test]
async fn rejects_invalid_subscriptions_and_stores_nothing() {
    let (gybe, subscriber) = (Gybe::start(), Subscriber::start().await);
    let callback = subscriber.url.as_str();
    for (request, status) in [
        (json!({}), 400),
        (json!({ "callbackUri": callback, "filter": { "operationStates": ["DONE"] } }), 400),
        (json!({ "callbackUri": callback, "authentication": { "authType": ["KERBEROS"] } }), 400),
        (json!({ "callbackUri": "nfvo/callback" }), 422),
        (json!({ "callbackUri": callback, "authentication": { "authType": ["TLS_CERT"] } }), 422),
        (json!({ "callbackUri": callback, "authentication": { "authType": ["BASIC"] } }), 422),
        (json!({ "callbackUri": "http://169.254.169.254/latest/meta-data" }), 422),
        (json!({ "callbackUri": "http://127.0.0.1:1/" }), 422),
    ] {
        subscribe(&gybe, "v2", request).await.problem(status);
    }
    assert!(subscriber.received().is_empty(), "Gybe does not test the callback of an invalid subscription");
    assert_eq!(gybe.get("/vnflcm/v2/subscriptions").await.expect(StatusCode::OK), json!([]));
}

async fn check_any_text_as_instance(gybe: Gybe) {
    let subscriber = Subscriber::start().await;
    let mut rng = Rng(7);
    let noise: String = (0..20_000).map(|_| char::from(b'a' + rng.below(26) as u8)).collect();
    for id in ["-", "", &noise] {
        let filter = json!({ "vnfInstanceSubscriptionFilter": { "vnfInstanceIds": [id] } });
        subscribe(&gybe, "v2", json!({ "callbackUri": subscriber.url, "filter": filter }))
            .await
            .expect(StatusCode::CREATED);
    }
    subscribe(&gybe, "v2", json!({ "callbackUri": subscriber.url })).await.expect(StatusCode::CREATED);
    let vnfd = gybe.onboard("small").await;
    gybe.create("v2", &vnfd).await;
    let posts = |received: &[Received]| received.iter().filter(|one| one.method == "POST").count();
    let received = subscriber.wait_until(|received| posts(received) > 0).await;
    assert_eq!(posts(&received), 1, "the subscription without a filter is notified");
}

#[tokio::test]
async fn a_filter_accepts_any_text_as_instance_id_on_sqlite() {
    check_any_text_as_instance(Gybe::start()).await;
}

#[tokio::test]
async fn a_filter_accepts_any_text_as_instance_id_on_postgresql() {
    let database = Database::create().await;
    check_any_text_as_instance(Gybe::start_on(&database.url)).await;
}

#[tokio::test]
async fn a_callback_uri_is_tested_as_configured() {
    let subscriber = Subscriber::start().await;
    let secured = json!({ "callbackUri": subscriber.url, "authentication":
        { "authType": ["BASIC"], "paramsBasic": { "userName": "u", "password": "p" } } });
    for (mode, taken, tested) in [
        ("strict", &[204][..], true),
        ("lenient", &[204, 200, 401, 403, 404, 405, 501], true),
        ("off", &[204, 200, 302, 401, 403, 404, 405, 500, 501], false),
    ] {
        let gybe = Gybe::start_with(&["--callback-test", mode]);
        for status in [204, 200, 302, 401, 403, 404, 405, 500, 501] {
            subscriber.answer_status(status);
            let before = subscriber.received().len();
            let answer = subscribe(&gybe, "v2", secured.clone()).await;
            if taken.contains(&status) {
                let made = answer.expect(StatusCode::CREATED);
                gybe.delete(made["_links"]["self"]["href"].as_str().unwrap()).await.expect(StatusCode::NO_CONTENT);
            } else {
                let detail = answer.problem(422);
                assert!(detail.contains(&status.to_string()) && detail.contains("204"), "{mode}: {detail}");
            }
            let received = subscriber.received();
            assert_eq!(received.len() - before, usize::from(tested), "{mode}");
            if let Some(test) = received.get(before) {
                assert_eq!(test.method, "GET");
                assert_eq!((test.header("authorization"), test.header("version")), (Some("Basic dTpw"), Some("2.0.0")));
            }
        }
    }
}

#[tokio::test]
async fn no_caller_reaches_gybe_through_its_own_requests() {
    let gybe = Gybe::start();
    let port = gybe.url.rsplit(':').next().unwrap().to_owned();
    let token = |endpoint: &str| {
        json!({ "authType": ["OAUTH2_CLIENT_CREDENTIALS"], "paramsOauth2ClientCredentials":
            { "clientId": "c", "clientPassword": "p", "tokenEndpoint": endpoint } })
    };
    let own = format!("{}/healthz", gybe.url);
    for own in
        [own.clone(), format!("http://localhost:{port}/healthz"), format!("http://[::ffff:127.0.0.1]:{port}/healthz")]
    {
        let detail = subscribe(&gybe, "v1", json!({ "callbackUri": own })).await.problem(422);
        assert!(detail.contains("is the address of Gybe itself"), "{own}: {detail}");
    }
    let request = json!({ "callbackUri": "http://127.0.0.1:9/", "authentication": token(&own) });
    assert!(subscribe(&gybe, "v1", request).await.problem(422).contains("is the address of Gybe itself"));

    // Through somebody else, the request arrives and is recognised.
    let proxy = Proxy::before(&gybe.url).await;
    let behind = json!({ "callbackUri": format!("{}/healthz", format!("http://{}", proxy.address())) });
    assert!(subscribe(&gybe, "v1", behind).await.problem(422).contains("403"));
}

#[tokio::test]
async fn test_of_a_callback_uri_does_not_say_what_listens_where() {
    let (gybe, subscriber) = (Gybe::start(), Subscriber::start().await);
    // Nothing listens at the first; the second is no TLS server.
    let silent = "http://127.0.0.1:9/".to_owned();
    let no_tls = subscriber.url.replace("http://", "https://");
    let mut details = Vec::new();
    for uri in [silent, no_tls] {
        let detail = subscribe(&gybe, "v2", json!({ "callbackUri": uri })).await.problem(422);
        assert!(detail.contains("cannot be reached"), "{detail}");
        details.push(detail.replace(&uri, ""));
    }
    assert_eq!(details[0], details[1]);
    assert!(gybe.log().contains("refused"), "the log has the reason: {}", gybe.log());
}

#[tokio::test]
async fn operator_restricts_where_subscribers_may_be() {
    let subscriber = Subscriber::start().await;
    for (arguments, text) in [
        (&["--outbound-loopback", "false"][..], "is loopback"),
        (&["--outbound-networks", "10.0.0.0/8"], "is in no network"),
    ] {
        let gybe = Gybe::start_with(arguments);
        for uri in [subscriber.url.clone(), subscriber.url.replace("127.0.0.1", "localhost")] {
            let detail = subscribe(&gybe, "v2", json!({ "callbackUri": uri })).await.problem(422);
            assert!(detail.contains(text), "{detail}");
        }
    }
    let gybe = Gybe::start_with(&["--outbound-networks", "10.0.0.0/8,127.0.0.0/8"]);
    subscribe(&gybe, "v2", json!({ "callbackUri": subscriber.url })).await.expect(StatusCode::CREATED);
}

#[tokio::test]
async fn rejected_notifications_are_listed_and_resent_through_the_api() {
    let (gybe, subscriber) = (Gybe::start(), Subscriber::start().await);
    let made = subscribe(&gybe, "v1", json!({ "callbackUri": subscriber.url })).await.expect(StatusCode::CREATED);
    let href = made["_links"]["self"]["href"].as_str().unwrap().to_owned();
    subscriber.answer_status(400);
    let vnfd = gybe.onboard("small").await;
    gybe.create("v1", &vnfd).await;
    let path = format!("{href}/notifications");
    let parked = gybe.wait_until(&path, |parked| parked[0]["deliveryState"] == "PARKED").await;
    assert_eq!(parked[0]["reason"], "the subscriber answered 400 Bad Request");
    assert_eq!(parked[0]["notification"]["notificationType"], "VnfIdentifierCreationNotification");
    let metrics = gybe.get("/metrics").await.text;
    assert!(metrics.contains("gybe_notifications_undelivered{state=\"parked\"} 1"), "{metrics}");
    assert!(metrics.contains("gybe_notification_duration_seconds_count{result=\"refused\"} 1"), "{metrics}");
    subscriber.answer_status(204);
    gybe.post(&format!("{path}/resend"), &json!({})).await.expect(StatusCode::ACCEPTED);
    let received = subscriber.wait_for_accepted(1).await;
    assert_eq!(received[0].body, parked[0]["notification"]);
    assert_eq!(received[0].header("version"), Some("1.3.0"));
    gybe.wait_until(&path, |left| *left == json!([])).await;
}

/// Kills the process during a delivery; returns the later notifications.
async fn check_kill_during_delivery(mut gybe: Gybe) {
    let subscriber = Subscriber::start().await;
    subscribe(&gybe, "v2", json!({ "callbackUri": subscriber.url })).await.expect(StatusCode::CREATED);
    let vnfd = gybe.onboard("small").await;
    subscriber.answer(|_| subscriber::Reply::Hangs);
    let instance = gybe.create("v2", &vnfd).await;
    let id = instance.rsplit('/').next().unwrap().to_owned();
    let first = subscriber.wait_until(|received| summaries(received).len() == 1).await.pop().unwrap();
    // Creation and deletion need no cluster.
    for name in ["first", "second"] {
        let answer = gybe.patch(&instance, &json!({ "vnfInstanceName": name })).await;
        answer.expect(StatusCode::ACCEPTED);
        let op = gybe.wait_ended(answer.location.as_deref().unwrap()).await;
        assert_eq!(op["operationState"], "COMPLETED");
    }
    gybe.delete(&instance).await.expect(StatusCode::NO_CONTENT);
    gybe.kill();
    subscriber.answer_status(204);
    gybe.restart();
    let received = subscriber.wait_for_accepted(6).await;
    let wanted = [
        "VnfIdentifierCreationNotification",
        "PROCESSING",
        "COMPLETED",
        "PROCESSING",
        "COMPLETED",
        "VnfIdentifierDeletionNotification",
    ];
    assert_eq!(summaries(&received), wanted);
    assert_eq!(received[0].body, first.body, "a repeated notification has the same id");
    assert!(received.iter().all(|one| one.body["vnfInstanceId"] == json!(id)));
    let names: Vec<_> = received.iter().map(|one| one.body["changedInfo"]["vnfInstanceName"].clone()).collect();
    assert_eq!(names[1..5], [Value::Null, json!("first"), Value::Null, json!("second")]);
}

#[tokio::test]
async fn pending_notifications_survive_a_kill_on_sqlite() {
    check_kill_during_delivery(Gybe::start()).await;
}

#[tokio::test]
async fn pending_notifications_survive_a_kill_on_postgresql() {
    let database = Database::create().await;
    // On PostgreSQL, its leases must expire.
    check_kill_during_delivery(Gybe::start_on_with(&database.url, &["--lease", "5"])).await;
}

/// Runs a life cycle with a subscriber per edition that reads the instance upon each notification.
#[tokio::test]
async fn the_life_cycle_of_a_cnf_is_notified_in_both_editions() {
    let cluster = Cluster::running().await;
    let namespace = cluster.namespace().await;
    let gybe = Gybe::start();
    gybe.register_vim(&cluster.admin, "cluster", true).await;
    let vnfd = gybe.onboard("core5g").await;
    let subscribers = [Subscriber::start().await, Subscriber::start().await, Subscriber::start().await];
    for (subscriber, (edition, verbosity)) in subscribers.iter().zip([("v1", "FULL"), ("v2", "FULL"), ("v2", "SHORT")])
    {
        let request = json!({ "callbackUri": subscriber.url, "verbosity": verbosity });
        subscribe(&gybe, edition, request).await.expect(StatusCode::CREATED);
    }
    let instance = gybe.create("v2", &vnfd).await;
    let parameters = json!({ "namespace": namespace.name.as_str() });
    gybe.complete(&instance, "instantiate", &json!({ "flavourId": "simple", "additionalParams": parameters })).await;
    let shown = gybe.get(&instance).await.expect(StatusCode::OK);
    let pods = shown["instantiatedVnfInfo"]["vnfcResourceInfo"].as_array().unwrap().len();
    gybe.begin(&instance, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;

    let wanted = ["STARTING", "PROCESSING", "COMPLETED"];
    for (subscriber, edition) in subscribers.iter().zip(["v1", "v2", "v2"]) {
        let received = subscriber.wait_for_accepted(7).await;
        assert_eq!(summaries(&received)[1..], [wanted, wanted].concat());
        let hrefs = |one: &Received| one.body["_links"]["vnfInstance"]["href"].as_str().unwrap().to_owned();
        assert!(received.iter().all(|one| hrefs(one).starts_with(&format!("{}/vnflcm/{edition}/", gybe.url))));
    }
    let ids = |subscriber: &Subscriber| subscriber.accepted().iter().map(Received::id).collect::<Vec<_>>();
    assert_eq!(ids(&subscribers[0]), ids(&subscribers[1]), "equal changes are notified under equal ids");
    // The client deletes the instance inside the last callback.
    gybe.delete(&instance).await.expect(StatusCode::NO_CONTENT);
    for (subscriber, affected) in subscribers.iter().zip([pods, pods, 0]) {
        let received = subscriber.wait_for_accepted(8).await;
        for (one, change) in [(&received[3], "ADDED"), (&received[6], "REMOVED")] {
            let vnfcs = one.body["affectedVnfcs"].as_array().cloned().unwrap_or_default();
            assert_eq!(vnfcs.len(), affected);
            assert!(vnfcs.iter().all(|vnfc| vnfc["changeType"] == change && vnfc["computeResource"].is_object()));
        }
        assert_eq!(received[7].summary(), "VnfIdentifierDeletionNotification");
        let starts = received.iter().filter(|one| one.body["notificationStatus"] == "START");
        assert!(starts.into_iter().all(|one| one.body.get("affectedVnfcs").is_none()));
    }
    assert_eq!(subscribers[0].received()[1].body.get("verbosity"), None, "2.6.1 has none");
}

#[tokio::test]
async fn the_subscription_list_is_filtered_and_paged() {
    let database = Database::create().await;
    for gybe in [
        Gybe::start_with(&["--callback-test", "off", "--page-size", "2"]),
        Gybe::start_on_with(&database.url, &["--callback-test", "off", "--page-size", "2"]),
    ] {
        let mut ids = Vec::new();
        for (name, operation, verbosity) in
            [("a", "SCALE", "FULL"), ("b", "HEAL", "SHORT"), ("c", "SCALE", "SHORT"), ("d", "TERMINATE", "FULL")]
        {
            let filter = json!({ "operationTypes": [operation] });
            let request = json!({ "callbackUri": format!("http://127.0.0.1:9/{name}"), "filter": filter, "verbosity": verbosity });
            let made = subscribe(&gybe, "v2", request).await.expect(StatusCode::CREATED);
            ids.push(made["id"].as_str().unwrap().to_owned());
        }
        let listed = async |path: String| {
            let (mut path, mut listed) = (Some(path), Vec::new());
            while let Some(next) = path {
                let page = gybe.get(&next).await;
                let shown = page.expect(StatusCode::OK);
                listed.extend(shown.as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()));
                let link = page.headers.get("link").map(|link| link.to_str().unwrap().to_owned());
                path = link.map(|link| link[1..link.find('>').unwrap()].to_owned());
            }
            listed
        };
        let of = |chosen: &[usize]| chosen.iter().map(|index| ids[*index].clone()).collect::<Vec<_>>();
        for (query, wanted) in [
            ("", &[0, 1, 2, 3][..]),
            ("?filter=(eq,callbackUri,http%3A%2F%2F127.0.0.1:9%2Fb)", &[1]),
            ("?filter=(eq,filter/operationTypes,SCALE)", &[0, 2]),
            ("?filter=(eq,verbosity,SHORT);(neq,filter/operationTypes,HEAL)", &[2]),
            ("?filter=(cont,callbackUri,nowhere)", &[]),
        ] {
            assert_eq!(listed(format!("/vnflcm/v2/subscriptions{query}")).await, of(wanted), "{query}");
        }
        // 2.6.1 has no verbosity.
        let path = "/vnflcm/v1/subscriptions?filter=(eq,verbosity,SHORT)";
        assert!(gybe.get(path).await.problem(400).contains("verbosity"));
        gybe.get("/vnflcm/v1/subscriptions?attribute_not_exist=some_value").await.problem(400);
    }
}
