//! Notifications of packages: the outbox on both engines, and through the real binary with real HTTP servers as
//! subscribers. `notifications/delivery.rs` tests delivery, which is the same for all notifications.

use std::collections::BTreeSet;

use gybe::clock::{Clock as _, Ids as _, System};
use gybe::domain::ids::{ProjectId, SubscriptionId, VnfPkgId};
use gybe::domain::interface::{Edition, Interface};
use gybe::domain::notification::{NotificationContent, PackageChange, PackageEvent, Undelivered};
use gybe::domain::notification_filter::NotificationFilter;
use gybe::domain::package::OperationalState;
use gybe::domain::subscription::{Subscription, Verbosity};
use gybe::store::attributes::Filter;
use gybe::store::{Page, Store, Subscribed};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::gybe::{ApiResponse, Gybe};
use crate::support::postgres::Database;
use crate::support::sample;
use crate::support::store_fixture::{LONG, StoreFixture};
use crate::support::subscriber::{self, Received, Subscriber};

on_both_engines! {
    StoreFixture::sqlite(), StoreFixture::postgres();
    only_changes_of_onboarded_packages_are_notified
    filtered_out_changes_are_not_notified
    subscriptions_of_one_api_get_no_notifications_of_the_other
    a_rejected_change_is_not_notified
}

const ONBOARDING: &str = "VnfPackageOnboardingNotification";
const CHANGE: &str = "VnfPackageChangeNotification";

fn subscription(interface: Interface, filter: Value) -> Subscription {
    Subscription {
        id: SubscriptionId(System.uuid()),
        project_id: ProjectId::default(),
        interface,
        edition: Edition::V2,
        callback_uri: format!("http://127.0.0.1:1/{}", System.uuid()),
        filter: NotificationFilter(filter.as_object().unwrap().clone()),
        verbosity: Verbosity::Full,
        authentication: None,
        base_url: "http://gybe.example".to_owned(),
        orphan_grace: None,
        created_at: System.now(),
    }
}

async fn subscribed(store: &dyn Store, interface: Interface, filter: Value) -> SubscriptionId {
    let subscription = subscription(interface, filter);
    assert_eq!(store.create_subscription(&subscription).await.unwrap(), Subscribed::Created);
    subscription.id
}

async fn waiting(store: &dyn Store, id: SubscriptionId) -> Vec<Undelivered> {
    store.undelivered(&ProjectId::default(), id, 100).await.unwrap()
}

/// The package events in the outbox of the subscription.
async fn events(store: &dyn Store, id: SubscriptionId) -> Vec<PackageEvent> {
    let event = |one: &Undelivered| match &one.notification.content {
        NotificationContent::Package(change) => change.event,
        other => panic!("{other:?}"),
    };
    waiting(store, id).await.iter().map(event).collect()
}

/// Takes a new package through all its states.
async fn run_life_cycle(f: &StoreFixture, vnfd_id: &str) -> VnfPkgId {
    let (store, project, package) = (&f.store, ProjectId::default(), f.package());
    store.create_package(&package).await.unwrap();
    let refused = f.uploading(package.id).await.unwrap();
    store.finish_upload(&refused, LONG).await.unwrap();
    let problem = gybe::domain::problem::Problem::unprocessable("no CSAR");
    store.fail_onboarding(&refused, &problem).await.unwrap();
    f.onboard(package.id, vnfd_id).await.unwrap();
    let data = json!({ "owner": "me" }).as_object().unwrap().clone();
    store.update_package(&project, package.id, None, Some([&package.user_defined_data, &data])).await.unwrap();
    for state in [OperationalState::Disabled, OperationalState::Enabled, OperationalState::Disabled] {
        store.update_package(&project, package.id, Some(state), None).await.unwrap();
    }
    store.delete_package(&project, package.id).await.unwrap();
    package.id
}

const DISABLED: PackageEvent = PackageEvent::OperationalState(OperationalState::Disabled);
const ENABLED: PackageEvent = PackageEvent::OperationalState(OperationalState::Enabled);
const ALL: [PackageEvent; 5] = [PackageEvent::Onboarded, DISABLED, ENABLED, DISABLED, PackageEvent::Deleted];

async fn only_changes_of_onboarded_packages_are_notified(f: StoreFixture) {
    let first = subscribed(&*f.store, Interface::Packages, json!({})).await;
    let second = subscribed(&*f.store, Interface::Packages, json!({})).await;
    let package = run_life_cycle(&f, "told").await;
    // A package that was never onboarded.
    let other = f.package();
    f.store.create_package(&other).await.unwrap();
    f.store.delete_package(&ProjectId::default(), other.id).await.unwrap();
    assert_eq!(events(&*f.store, first).await, ALL);
    let (summaries, again) = (waiting(&*f.store, first).await, waiting(&*f.store, second).await);
    for one in &summaries {
        let NotificationContent::Package(change) = &one.notification.content else { panic!("{one:?}") };
        let PackageChange { package: id, vnfd_id, vnfm_info, .. } = &**change;
        assert_eq!((*id, vnfd_id.as_str(), &vnfm_info[..]), (package, "told", &["Gybe".to_owned()][..]));
        assert!((System.now() - one.notification.time_stamp).abs() < std::time::Duration::from_secs(60));
    }
    let ids = |all: &[Undelivered]| all.iter().map(|one| one.notification.id).collect::<Vec<_>>();
    assert_eq!(ids(&summaries), ids(&again), "equal changes are notified under equal ids");
    assert_eq!(ids(&summaries).into_iter().collect::<BTreeSet<_>>().len(), 5, "each notification has its own id");
}

async fn filtered_out_changes_are_not_notified(f: StoreFixture) {
    let products = |provider: &str, products: Value| json!({ "vnfProductsFromProviders": [{ "vnfProvider": "X" }, { "vnfProvider": provider, "vnfProducts": products }] });
    let versions = |versions: Value| products("Company", json!([{ "vnfProductName": "Sample", "versions": versions }]));
    let (enabled, disabled) = (&[ALL[0], ALL[2]][..], &[ALL[1], ALL[3], ALL[4]][..]);
    let cases: Vec<(Value, &[PackageEvent])> = vec![
        (json!({}), &ALL),
        (json!({ "notificationTypes": [ONBOARDING] }), &ALL[..1]),
        (json!({ "notificationTypes": [CHANGE] }), &ALL[1..]),
        (json!({ "notificationTypes": [CHANGE, ONBOARDING] }), &ALL),
        (json!({ "vnfdId": ["another", "filtered"] }), &ALL),
        (json!({ "vnfdId": ["another"] }), &[]),
        (json!({ "vnfPkgId": ["8f14e45f-ceea-467f-a8f4-0123456789ab"] }), &[]),
        (json!({ "operationalState": "ENABLED" }), enabled),
        (json!({ "operationalState": "DISABLED" }), disabled),
        (json!({ "operationalState": ["DISABLED", "ENABLED"] }), &ALL),
        (
            json!({ "operationalState": "DISABLED", "notificationTypes": [ONBOARDING, CHANGE], "vnfdId": ["filtered"] }),
            disabled,
        ),
        (json!({ "usageState": "NOT_IN_USE" }), &ALL),
        (json!({ "usageState": "IN_USE" }), &[]),
        (json!({ "usageState": ["IN_USE", "NOT_IN_USE"] }), &ALL),
        (json!({ "vnfmInfo": ["another", "Gybe"] }), &ALL),
        (json!({ "vnfmInfo": ["another"] }), &[]),
        (json!({ "vnfProductsFromProviders": [{ "vnfProvider": "Company" }] }), &ALL),
        (products("Y", json!([{ "vnfProductName": "Sample" }])), &[]),
        (products("Company", json!([{ "vnfProductName": "Another" }, { "vnfProductName": "Sample" }])), &ALL),
        (products("Company", json!([{ "vnfProductName": "Another" }])), &[]),
        (versions(json!([{ "vnfSoftwareVersion": "1.0" }])), &ALL),
        (versions(json!([{ "vnfSoftwareVersion": "3.0" }])), &[]),
        (versions(json!([{ "vnfSoftwareVersion": "1.0", "vnfdVersions": ["0.9", "2.0"] }])), &ALL),
        (versions(json!([{ "vnfSoftwareVersion": "1.0", "vnfdVersions": ["0.9"] }])), &[]),
    ];
    let mut wanted = Vec::new();
    for (filter, summaries) in cases {
        wanted.push((subscribed(&*f.store, Interface::Packages, filter.clone()).await, filter, summaries));
    }
    run_life_cycle(&f, "filtered").await;
    for (id, filter, summaries) in wanted {
        assert_eq!(events(&*f.store, id).await, summaries, "{filter}");
    }

    // Of a package in use, and by its id.
    let package = f.onboarded().await;
    f.store.create_instance(&f.instance_of(package)).await.unwrap();
    let in_use = subscribed(&*f.store, Interface::Packages, json!({ "usageState": "IN_USE" })).await;
    let unused = subscribed(&*f.store, Interface::Packages, json!({ "usageState": "NOT_IN_USE" })).await;
    let by_id = subscribed(&*f.store, Interface::Packages, json!({ "vnfPkgId": [package.to_string()] })).await;
    let project = ProjectId::default();
    f.store.update_package(&project, package, Some(OperationalState::Disabled), None).await.unwrap();
    for (id, summaries) in [(in_use, &[DISABLED][..]), (unused, &[]), (by_id, &[DISABLED])] {
        assert_eq!(events(&*f.store, id).await, summaries);
    }
}

async fn subscriptions_of_one_api_get_no_notifications_of_the_other(f: StoreFixture) {
    let packages = subscribed(&*f.store, Interface::Packages, json!({})).await;
    let lifecycle = subscribed(&*f.store, Interface::Lifecycle, json!({})).await;
    let package = f.onboarded().await;
    f.store.create_instance(&f.instance_of(package)).await.unwrap();
    assert_eq!(events(&*f.store, packages).await, [PackageEvent::Onboarded]);
    let summaries = waiting(&*f.store, lifecycle).await;
    assert!(
        matches!(&summaries[..], [Undelivered { notification, .. }] if matches!(notification.content, NotificationContent::InstanceCreated(_)))
    );
    let page = Page { filter: &Filter::default(), after: None, limit: 10 };
    for (interface, id) in [(Interface::Packages, packages), (Interface::Lifecycle, lifecycle)] {
        let all = f.store.subscriptions(Some(&ProjectId::default()), interface, &page).await.unwrap();
        assert_eq!(all.iter().map(|one| (one.interface, one.id)).collect::<Vec<_>>(), [(interface, id)]);
    }
    // An equal callback URI and filter in the other API is another subscription.
    let one = subscription(Interface::Packages, json!({}));
    let other = Subscription { id: SubscriptionId(System.uuid()), interface: Interface::Lifecycle, ..one.clone() };
    assert_eq!(f.store.create_subscription(&one).await.unwrap(), Subscribed::Created);
    assert_eq!(f.store.create_subscription(&other).await.unwrap(), Subscribed::Created);
    let again = Subscription { id: SubscriptionId(System.uuid()), ..one.clone() };
    assert_eq!(f.store.create_subscription(&again).await.unwrap(), Subscribed::Existing(one.id));
}

async fn a_rejected_change_is_not_notified(f: StoreFixture) {
    let package = f.onboarded().await;
    f.store.create_instance(&f.instance_of(package)).await.unwrap();
    let (project, store) = (ProjectId::default(), &f.store);
    store.update_package(&project, package, Some(OperationalState::Disabled), None).await.unwrap();
    let id = subscribed(&**store, Interface::Packages, json!({})).await;
    store.update_package(&project, package, Some(OperationalState::Disabled), None).await.unwrap_err();
    store.delete_package(&project, package).await.unwrap_err();
    assert!(waiting(&**store, id).await.is_empty());
}

const NOWHERE: &str = "8f14e45f-ceea-467f-a8f4-0123456789ab";

async fn subscribe(gybe: &Gybe, edition: &str, request: Value) -> ApiResponse {
    gybe.post(&format!("/vnfpkgm/{edition}/subscriptions"), &request).await
}

/// `changeType` and `operationalState` of the accepted notifications.
fn summaries(received: &[Received]) -> Vec<String> {
    let tells = |one: &Received| match (one.body["changeType"].as_str(), one.body["operationalState"].as_str()) {
        (None, None) => "onboarded".to_owned(),
        (Some(change), state) => format!("{change} {}", state.unwrap_or_default()),
        other => panic!("{other:?}"),
    };
    received.iter().filter(|one| one.method == "POST").map(tells).collect()
}

/// Onboards, disables and deletes the sample; returns its id.
async fn live(gybe: &Gybe) -> String {
    let package = gybe.upload(&sample::pack("small")).await;
    assert_eq!(package["onboardingState"], "ONBOARDED", "{package:#}");
    let href = package["_links"]["self"]["href"].as_str().unwrap();
    gybe.patch(href, &json!({ "operationalState": "DISABLED" })).await.expect(StatusCode::OK);
    gybe.delete(href).await.expect(StatusCode::NO_CONTENT);
    package["id"].as_str().unwrap().to_owned()
}

const LIFE: [&str; 3] = ["onboarded", "OP_STATE_CHANGE DISABLED", "PKG_DELETE "];

#[tokio::test]
async fn a_subscription_is_created_shown_and_deleted_without_its_secrets() {
    let (gybe, subscriber) = (Gybe::start(), Subscriber::start().await);
    let filter = json!({ "vnfdId": ["b", "a"], "operationalState": "ENABLED", "vnfmInfo": ["Gybe"] });
    let request = json!({ "callbackUri": subscriber.url, "filter": filter, "authentication":
        { "authType": ["BASIC"], "paramsBasic": { "userName": "nobody-sees", "password": "s3cr3t" } } });
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    for (edition, kept) in [
        ("v1", json!({ "vnfdId": ["a", "b"], "operationalState": "ENABLED" })),
        ("v2", json!({ "vnfdId": ["a", "b"], "operationalState": "ENABLED", "vnfmInfo": ["Gybe"] })),
    ] {
        let made = subscribe(&gybe, edition, request.clone()).await;
        let shown = made.expect(StatusCode::CREATED);
        let href = shown["_links"]["self"]["href"].as_str().unwrap();
        assert_eq!(made.location.as_deref(), Some(href));
        assert!(href.starts_with(&format!("{}/vnfpkgm/{edition}/subscriptions/", gybe.url)));
        assert_eq!((&shown["filter"], shown.get("verbosity")), (&kept, None));
        assert!(!made.text.contains("s3cr3t") && !made.text.contains("nobody-sees"));
        assert_eq!(gybe.get(href).await.expect(StatusCode::OK), shown);
        let again = client.post(gybe.uri(&format!("/vnfpkgm/{edition}/subscriptions"))).json(&request);
        let again = gybe.send(again).await;
        assert_eq!((again.status, again.location.as_deref()), (StatusCode::SEE_OTHER, Some(href)));
        let id = href.rsplit('/').next().unwrap();
        let elsewhere = format!("/vnflcm/{edition}/subscriptions/{id}");
        gybe.get(&elsewhere).await.problem(404);
        gybe.get(&format!("{elsewhere}/notifications")).await.problem(404);
        gybe.post(&format!("{elsewhere}/notifications/resend"), &json!({})).await.problem(404);
        gybe.delete(&elsewhere).await.problem(404);
        assert_eq!(gybe.get(&format!("/vnflcm/{edition}/subscriptions")).await.expect(StatusCode::OK), json!([]));
    }
    let list = gybe.get("/vnfpkgm/v2/subscriptions").await.expect(StatusCode::OK);
    assert_eq!(list.as_array().unwrap().len(), 2);
    for one in list.as_array().unwrap() {
        let href = one["_links"]["self"]["href"].as_str().unwrap();
        gybe.delete(href).await.expect(StatusCode::NO_CONTENT);
        gybe.get(href).await.problem(404);
        gybe.delete(href).await.problem(404);
    }
    gybe.get(&format!("/vnfpkgm/v1/subscriptions/{NOWHERE}")).await.problem(404);
    assert!(!gybe.log().contains("s3cr3t"));
}

#[tokio::test]
async fn rejects_invalid_subscriptions_and_stores_nothing() {
    let (gybe, subscriber) = (Gybe::start(), Subscriber::start().await);
    let callback = subscriber.url.as_str();
    for (request, status) in [
        (json!({}), 400),
        (json!({ "callbackUri": callback, "filter": { "operationalState": "ASLEEP" } }), 400),
        (json!({ "callbackUri": callback, "filter": { "usageState": ["IN_USE", 5] } }), 400),
        (
            json!({ "callbackUri": callback, "filter": { "notificationTypes": ["VnfIdentifierCreationNotification"] } }),
            400,
        ),
        (json!({ "callbackUri": callback, "filter": { "notificationTypes": [ONBOARDING], "vnfPkgId": ["a"] } }), 422),
        (json!({ "callbackUri": "nfvo/callback" }), 422),
        (json!({ "callbackUri": "http://169.254.169.254/latest/meta-data" }), 422),
        (json!({ "callbackUri": "http://127.0.0.1:1/" }), 422),
    ] {
        subscribe(&gybe, "v2", request).await.problem(status);
    }
    assert!(subscriber.received().is_empty(), "Gybe does not test the callback of an invalid subscription");
    subscriber.answer_status(500);
    subscribe(&gybe, "v1", json!({ "callbackUri": callback })).await.problem(422);
    assert_eq!(subscriber.received()[0].header("version"), Some("1.0.0"));
    assert_eq!(gybe.get("/vnfpkgm/v2/subscriptions").await.expect(StatusCode::OK), json!([]));
}

#[tokio::test]
async fn the_life_cycle_of_a_package_is_notified_in_both_editions() {
    let gybe = Gybe::start();
    let subscribers = [Subscriber::start().await, Subscriber::start().await];
    let mut hrefs = Vec::new();
    for (subscriber, edition) in subscribers.iter().zip(["v1", "v2"]) {
        let made = subscribe(&gybe, edition, json!({ "callbackUri": format!("{}/cb", subscriber.url) })).await;
        hrefs.push(made.location.clone().unwrap());
        made.expect(StatusCode::CREATED);
    }
    let id = live(&gybe).await;
    let mut ids = Vec::new();
    for ((subscriber, href), (edition, version)) in
        subscribers.iter().zip(&hrefs).zip([("v1", "1.0.0"), ("v2", "2.1.0")])
    {
        let received = subscriber.wait_for_accepted(3).await;
        assert_eq!(summaries(&received), LIFE);
        for one in &received {
            assert_eq!((one.path.as_str(), one.header("version")), ("/cb", Some(version)));
            assert_eq!(
                (&one.body["vnfPkgId"], &one.body["vnfdId"]),
                (&json!(id), &json!("73931552-9c18-4c34-b436-5587710fb0b6"))
            );
            assert_eq!(one.body["_links"]["subscription"]["href"], *href);
            assert_eq!(one.body["subscriptionId"], href.rsplit('/').next().unwrap());
            let package = format!("{}/vnfpkgm/{edition}/vnf_packages/{id}", gybe.url);
            assert_eq!(one.body["_links"]["vnfPackage"]["href"], package);
            let vnfm_info = if edition == "v1" { Value::Null } else { json!(["etsivnfm:v3.3.1"]) };
            assert_eq!(one.body.get("vnfmInfo").unwrap_or(&Value::Null), &vnfm_info);
        }
        let types: Vec<_> = received.iter().map(|one| one.body["notificationType"].as_str().unwrap()).collect();
        assert_eq!(types, [ONBOARDING, CHANGE, CHANGE]);
        ids.push(received.iter().map(Received::id).collect::<Vec<_>>());
    }
    assert_eq!(ids[0], ids[1]);
}

#[tokio::test]
async fn rejected_notifications_are_listed_and_resent_through_the_api() {
    let (gybe, subscriber) = (Gybe::start(), Subscriber::start().await);
    let made = subscribe(&gybe, "v2", json!({ "callbackUri": subscriber.url })).await.expect(StatusCode::CREATED);
    let path = format!("{}/notifications", made["_links"]["self"]["href"].as_str().unwrap());
    subscriber.answer_status(400);
    gybe.onboard("small").await;
    let parked = gybe.wait_until(&path, |parked| parked[0]["deliveryState"] == "PARKED").await;
    assert_eq!(parked[0]["notification"]["notificationType"], ONBOARDING);
    subscriber.answer_status(204);
    gybe.post(&format!("{path}/resend"), &json!({})).await.expect(StatusCode::ACCEPTED);
    assert_eq!(subscriber.wait_for_accepted(1).await[0].body, parked[0]["notification"]);
    gybe.wait_until(&path, |left| *left == json!([])).await;
}

/// Kills the process during a delivery; returns the later notifications.
async fn check_kill_during_delivery(mut gybe: Gybe) {
    let subscriber = Subscriber::start().await;
    subscribe(&gybe, "v2", json!({ "callbackUri": subscriber.url })).await.expect(StatusCode::CREATED);
    subscriber.answer(|_| subscriber::Reply::Hangs);
    let id = live(&gybe).await;
    let first = subscriber.wait_until(|received| summaries(received).len() == 1).await.pop().unwrap();
    gybe.kill();
    subscriber.answer_status(204);
    gybe.restart();
    let received = subscriber.wait_for_accepted(3).await;
    assert_eq!(summaries(&received), LIFE);
    assert_eq!(received[0].body, first.body, "a repeated notification has the same id");
    assert!(received.iter().all(|one| one.body["vnfPkgId"] == json!(id)));
}

#[tokio::test]
async fn pending_notifications_survive_a_kill_on_sqlite() {
    check_kill_during_delivery(Gybe::start()).await;
}

#[tokio::test]
async fn pending_notifications_survive_a_kill_on_postgresql() {
    let database = Database::create().await;
    check_kill_during_delivery(Gybe::start_on_with(&database.url, &["--lease", "5"])).await;
}
