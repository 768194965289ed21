//! Notifications: from the change of a state to subscribers that are real HTTP servers.
//!
//! The outbox and the notifier on their own, on both engines. `subscriptions.rs` has what goes through the real binary.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gybe::clock::{Clock as _, Ids as _, System};
use gybe::domain::ids::{ProjectId, SubscriptionId, VnfLcmOpOccId};
use gybe::domain::instance::VnfInstance;
use gybe::domain::interface::Interface;
use gybe::domain::op_occ::{LcmOperation, OpState, VnfLcmOpOcc};
use gybe::domain::package::Content;
use gybe::domain::plan::Plan;
use gybe::domain::problem::Problem;
use gybe::domain::subscription::{
    AuthType, Authentication, CLIENT_PASSWORD, Edition, PASSWORD, Subscription, Undelivered, Verbosity,
};
use gybe::domain::vim::{Secret, Secrets};
use gybe::domain::vnfd::{Flavour, Vnfd};
use gybe::notify::Notifier;
use gybe::notify::callback::{Callbacks, Settings};
use gybe::store::attributes::Filter;
use gybe::store::{OnboardedVnfd, OperationOutcome, OutboxClaim, Page, Store, StoreError, Subscribed};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::support::fault_proxy::{certificate, wanting};
use crate::support::postgres::Database;
use crate::support::store::{instance, onboarded, open, work};
use crate::support::subscriber::{Answer, Received, Subscriber};

on_both_engines! {
    OutboxSite::sqlite(), OutboxSite::postgres();
    an_operation_is_told_of_state_by_state
    what_a_filter_leaves_out_is_not_told
    equal_subscriptions_are_one
    what_is_told_to_nobody_leaves_no_row
    the_answer_to_a_request_has_a_head_start
    secrets_of_a_subscription_are_not_in_clear
    after_an_outage_everything_is_delivered_in_order_under_its_first_id
    a_dead_subscriber_keeps_nobody_else_waiting
    what_is_refused_is_parked_and_sent_again_when_asked
    what_can_not_be_delivered_for_long_is_given_up
    a_subscription_whose_lease_ran_out_is_taken_over
    who_stops_waits_a_moment_for_what_was_sent
    a_subscription_that_goes_takes_its_notifications_along
}

const PATIENT: Duration = Duration::from_secs(30);

/// A store of its own that VNF instances can be made in.
struct OutboxSite {
    store: Arc<dyn Store>,
    url: String,
    onboarded: OnboardedVnfd,
    _database: Box<dyn Any + Send + Sync>,
}

impl OutboxSite {
    async fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::new(format!("sqlite://{}/gybe.db", folder.path().display()), Box::new(folder)).await
    }

    async fn postgres() -> Self {
        let database = Database::create().await;
        Self::new(database.url.clone(), Box::new(database)).await
    }

    async fn new(url: String, database: Box<dyn Any + Send + Sync>) -> Self {
        let store = open(&url).await;
        let vnfd = Vnfd {
            id: "vnfd".to_owned(),
            version: "1.0".to_owned(),
            provider: "Company".to_owned(),
            product_name: "Sample".to_owned(),
            software_version: "2.0".to_owned(),
            vnfm_info: Vec::new(),
            flavours: BTreeMap::from([("simple".to_owned(), Flavour::default())]),
        };
        let content = Content { vnfd, sha512: "0".to_owned(), size: 1, artifacts: Vec::new() };
        let onboarded = onboarded(&*store, &content, &[]).await;
        Self { store, url, onboarded, _database: database }
    }

    async fn instance(&self) -> VnfInstance {
        instance(&*self.store, &self.onboarded).await
    }

    async fn subscribe(&self, subscription: &Subscription) {
        assert_eq!(self.store.create_subscription(subscription).await.unwrap(), Subscribed::Created);
    }

    /// Begins an operation of the instance.
    async fn begin(&self, instance: &VnfInstance) -> VnfLcmOpOccId {
        let instance = self.store.instance(&instance.project_id, instance.id).await.unwrap();
        let op = VnfLcmOpOcc {
            id: VnfLcmOpOccId(System.uuid()),
            project_id: instance.project_id.clone(),
            vnf_instance_id: instance.id,
            operation: LcmOperation::Heal,
            state: OpState::Starting,
            state_entered_time: System.now(),
            start_time: System.now(),
            is_automatic_invocation: false,
            params: json!({}),
            cancel: None,
            error: None,
            resource_changes: None,
            changed_info: None,
            target_package: None,
            traceparent: None,
            grant: None,
            unattended: None,
        };
        self.store.begin_operation(&op, &instance).await.unwrap();
        op.id
    }

    /// Takes the operation that is there, plans it and ends it in `to`.
    async fn end(&self, to: OpState) {
        let claimed = work(self.store.claim("test", PATIENT, 1).await.unwrap());
        if claimed.op.state == OpState::Starting {
            self.store.store_plan(&claimed.lease, PATIENT, &Plan::default(), &[], System.now()).await.unwrap();
        }
        let from = if claimed.op.state == OpState::Starting { OpState::Processing } else { claimed.op.state };
        let error = (to != OpState::Completed).then(|| Problem::conflict("stopped"));
        let ending = OperationOutcome::bare(from, to, error, System.now());
        self.store.end_operation(claimed.lease, &ending).await.unwrap();
    }

    /// An operation from begin to COMPLETED.
    async fn complete(&self, instance: &VnfInstance) {
        self.begin(instance).await;
        self.end(OpState::Completed).await;
    }

    /// What is in the outbox for the subscription, as [`Received::tells`] says it.
    async fn waiting(&self, id: SubscriptionId) -> Vec<String> {
        let undelivered = self.store.undelivered(&ProjectId::default(), id, 1000).await.unwrap();
        undelivered
            .iter()
            .map(|one| match &one.notification.change {
                gybe::domain::subscription::Change::Operation(change) => change.state.as_str().to_owned(),
                other => other.notification_type().to_owned(),
            })
            .collect()
    }

    /// What is in the outbox for the subscription, once it is as wanted.
    async fn until(&self, subscription: &Subscription, wanted: impl Fn(&[Undelivered]) -> bool) -> Vec<Undelivered> {
        let begun = Instant::now();
        loop {
            let left = self.store.undelivered(&subscription.project_id, subscription.id, 100).await.unwrap();
            if wanted(&left) {
                return left;
            }
            assert!(begun.elapsed() < PATIENT, "this is not what was wanted: {left:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn notifier(&self) -> Running {
        Running::new(Arc::clone(&self.store), &Settings::default())
    }
}

/// A notifier at work; killed when dropped.
struct Running {
    _task: AbortOnDropHandle<()>,
}

impl Running {
    fn new(store: Arc<dyn Store>, settings: &Settings) -> Self {
        let callbacks = Arc::new(Callbacks::new(settings).unwrap());
        let notifier = Notifier::new(store, callbacks, System.uuid().to_string(), PATIENT);
        Self { _task: AbortOnDropHandle::new(tokio::spawn(notifier.run(CancellationToken::new()))) }
    }
}

fn subscription(callback_uri: &str, filter: Value) -> Subscription {
    Subscription {
        id: SubscriptionId(System.uuid()),
        project_id: ProjectId::default(),
        interface: Interface::Lifecycle,
        edition: Edition::V2,
        callback_uri: callback_uri.to_owned(),
        filter: filter.as_object().unwrap().clone(),
        verbosity: Verbosity::Full,
        authentication: None,
        base_url: "http://gybe.example".to_owned(),
        orphan_grace: None,
        created_at: System.now(),
    }
}

const CREATED: &str = "VnfIdentifierCreationNotification";
const DELETED: &str = "VnfIdentifierDeletionNotification";
const OPERATION: &str = "VnfLcmOperationOccurrenceNotification";

fn told(received: &[Received]) -> Vec<String> {
    received.iter().map(Received::tells).collect()
}

/// What was taken of each VNF instance, in the order in which it was.
fn by_instance(received: &[Received]) -> BTreeMap<String, Vec<String>> {
    let mut told = BTreeMap::<String, Vec<String>>::new();
    for one in received {
        told.entry(one.body["vnfInstanceId"].as_str().unwrap().to_owned()).or_default().push(one.tells());
    }
    told
}

// --- what is told -----------------------------------------------------------------------------------------------------

async fn an_operation_is_told_of_state_by_state(outbox: OutboxSite) {
    let subscriber = Subscriber::start().await;
    let _notifier = outbox.notifier();
    let subscription = subscription(&format!("{}/cb", subscriber.url), json!({}));
    outbox.subscribe(&subscription).await;
    let instance = outbox.instance().await;
    let op = outbox.begin(&instance).await;
    outbox.end(OpState::FailedTemp).await;
    outbox.store.resume_operation(&instance.project_id, op, OpState::Processing, System.now()).await.unwrap();
    outbox.end(OpState::FailedTemp).await;
    outbox.store.resume_operation(&instance.project_id, op, OpState::Failed, System.now()).await.unwrap();
    outbox.store.delete_instance(&instance.project_id, instance.id, None).await.unwrap();

    let received = subscriber.until_taken(8).await;
    let states = ["STARTING", "PROCESSING", "FAILED_TEMP", "PROCESSING", "FAILED_TEMP", "FAILED"];
    assert_eq!(told(&received), [&[CREATED], &states[..], &[DELETED]].concat());
    let ids: BTreeSet<String> = received.iter().map(Received::id).collect();
    assert_eq!(ids.len(), 8, "each has an id of its own");
    for one in &received {
        assert_eq!((one.method.as_str(), one.path.as_str()), ("POST", "/cb"));
        assert_eq!((one.header("version"), one.header("content-type")), (Some("2.0.0"), Some("application/json")));
        assert_eq!(one.header("authorization"), None);
        let (links, root) = (&one.body["_links"], "http://gybe.example/vnflcm/v2");
        assert_eq!(links["vnfInstance"]["href"], format!("{root}/vnf_instances/{}", instance.id));
        assert_eq!(links["subscription"]["href"], format!("{root}/subscriptions/{}", subscription.id));
        assert_eq!(one.body["subscriptionId"], subscription.id.to_string());
        assert_eq!(one.body["vnfInstanceId"], instance.id.to_string());
        assert!(one.body["timeStamp"].as_str().unwrap().ends_with('Z'));
    }
    for one in &received[1..7] {
        let result = !matches!(one.tells().as_str(), "STARTING" | "PROCESSING");
        assert_eq!(one.body["notificationStatus"], if result { "RESULT" } else { "START" });
        assert_eq!(one.body["error"].is_object(), result, "{:#}", one.body);
        assert_eq!((&one.body["operation"], &one.body["verbosity"]), (&json!("HEAL"), &json!("FULL")));
        assert_eq!(one.body["vnfLcmOpOccId"], op.to_string());
        assert_eq!(one.body["isAutomaticInvocation"], false);
        assert!(one.body["_links"]["vnfLcmOpOcc"]["href"].as_str().unwrap().ends_with(&op.to_string()));
    }
}

async fn what_a_filter_leaves_out_is_not_told(outbox: OutboxSite) {
    let other = outbox.instance().await;
    let instance = outbox.instance().await;
    let of_instances = |filter: Value| json!({ "vnfInstanceSubscriptionFilter": filter });
    let products = |provider: &str, products: Value| {
        of_instances(json!({ "vnfProductsFromProviders": [{ "vnfProvider": provider, "vnfProducts": products }] }))
    };
    let versions = |versions: Value| products("Company", json!([{ "vnfProductName": "Sample", "versions": versions }]));
    let all = &["STARTING", "PROCESSING", "COMPLETED", DELETED][..];
    let states = &all[..3];
    let cases = [
        (json!({}), all),
        (json!({ "notificationTypes": [OPERATION] }), states),
        (json!({ "notificationTypes": [DELETED, CREATED] }), &all[3..]),
        (json!({ "operationStates": ["COMPLETED", "FAILED"], "notificationTypes": [OPERATION] }), &all[2..3]),
        (json!({ "operationStates": ["COMPLETED"] }), &all[2..]),
        (json!({ "operationTypes": ["HEAL", "SCALE"] }), all),
        (json!({ "operationTypes": ["SCALE"] }), &all[3..]),
        (of_instances(json!({ "vnfInstanceIds": [instance.id.to_string()] })), all),
        (of_instances(json!({ "vnfInstanceIds": [instance.id.to_string(), other.id.to_string()] })), all),
        (of_instances(json!({ "vnfInstanceIds": [other.id.to_string()] })), &[]),
        (of_instances(json!({ "vnfInstanceNames": ["core", "edge"] })), all),
        (of_instances(json!({ "vnfInstanceNames": ["edge"] })), &[]),
        (of_instances(json!({ "vnfdIds": ["vnfd"] })), all),
        (of_instances(json!({ "vnfdIds": ["another"] })), &[]),
        (of_instances(json!({ "vnfdIds": ["vnfd"], "vnfInstanceNames": ["edge"] })), &[]),
        (of_instances(json!({ "vnfProductsFromProviders": [{ "vnfProvider": "Company" }] })), all),
        (
            of_instances(json!({ "vnfProductsFromProviders": [{ "vnfProvider": "X" }, { "vnfProvider": "Company" }] })),
            all,
        ),
        (products("X", json!([{ "vnfProductName": "Sample" }])), &[]),
        (products("Company", json!([{ "vnfProductName": "Sample" }])), all),
        (products("Company", json!([{ "vnfProductName": "Another" }])), &[]),
        (versions(json!([{ "vnfSoftwareVersion": "2.0" }])), all),
        (versions(json!([{ "vnfSoftwareVersion": "3.0" }])), &[]),
        (versions(json!([{ "vnfSoftwareVersion": "2.0", "vnfdVersions": ["0.9", "1.0"] }])), all),
        (versions(json!([{ "vnfSoftwareVersion": "2.0", "vnfdVersions": ["0.9"] }])), &[]),
    ];
    let mut wanted = Vec::new();
    for (filter, told) in cases {
        let subscription = subscription("http://127.0.0.1:1/", filter.clone());
        outbox.subscribe(&subscription).await;
        wanted.push((subscription.id, filter, told));
    }
    outbox.complete(&instance).await;
    outbox.store.delete_instance(&instance.project_id, instance.id, None).await.unwrap();
    for (id, filter, told) in wanted {
        assert_eq!(outbox.waiting(id).await, told, "{filter}");
    }
}

async fn equal_subscriptions_are_one(outbox: OutboxSite) {
    let first = subscription("http://nfvo/cb", json!({ "operationTypes": ["HEAL"] }));
    outbox.subscribe(&first).await;
    let again = Subscription { id: SubscriptionId(System.uuid()), ..first.clone() };
    assert_eq!(outbox.store.create_subscription(&again).await.unwrap(), Subscribed::Existing(first.id));
    for different in [
        Subscription { callback_uri: "http://nfvo/other".to_owned(), ..again.clone() },
        Subscription { edition: Edition::V1, ..again.clone() },
        Subscription { verbosity: Verbosity::Short, ..again.clone() },
        Subscription { filter: serde_json::Map::new(), ..again.clone() },
    ] {
        outbox.subscribe(&Subscription { id: SubscriptionId(System.uuid()), ..different }).await;
    }
    let all = Page { filter: &Filter::default(), after: None, limit: 10 };
    let subscriptions = outbox.store.subscriptions(&first.project_id, Interface::Lifecycle, &all).await.unwrap();
    assert_eq!(subscriptions.len(), 5);
}

async fn what_is_told_to_nobody_leaves_no_row(outbox: OutboxSite) {
    let instance = outbox.instance().await;
    outbox.complete(&instance).await;
    outbox.subscribe(&subscription("http://nfvo/cb", json!({ "operationStates": ["FAILED"] }))).await;
    outbox.complete(&instance).await;
    let depth = outbox.store.outbox_depth().await.unwrap();
    assert_eq!((depth.waiting, depth.parked, depth.oldest), (0, 0, None));
}

async fn the_answer_to_a_request_has_a_head_start(outbox: OutboxSite) {
    outbox.subscribe(&subscription("http://127.0.0.1:1/", json!({ "notificationTypes": [CREATED] }))).await;
    let made = outbox.instance().await;
    claim(&outbox).await;
    // The database rounds to milliseconds.
    assert!(System.now() - made.created_at >= Duration::from_millis(99));
}

async fn secrets_of_a_subscription_are_not_in_clear(outbox: OutboxSite) {
    let given = with_basic(subscription("http://nfvo/cb", json!({})));
    outbox.subscribe(&given).await;
    let kept = outbox.store.subscription(&given.project_id, given.id).await.unwrap();
    assert_eq!(kept.authentication, given.authentication);
    let dump = if let Some(path) = outbox.url.strip_prefix("sqlite://") {
        ["", "-wal"].map(|suffix| std::fs::read(format!("{path}{suffix}")).unwrap_or_default()).concat()
    } else {
        let mut connection = <sqlx::PgConnection as sqlx::Connection>::connect(&outbox.url).await.unwrap();
        let row = sqlx::query_scalar::<_, String>("SELECT CAST(s AS text) FROM subscriptions AS s");
        row.fetch_one(&mut connection).await.unwrap().into_bytes()
    };
    let has = |text: &str| dump.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(has("gybe-user"), "or this would look in the wrong place");
    assert!(!has("s3cr3t"));
}

// --- delivery ---------------------------------------------------------------------------------------------------------

async fn after_an_outage_everything_is_delivered_in_order_under_its_first_id(outbox: OutboxSite) {
    let subscriber = Subscriber::start().await;
    // Of each kind of outage one in turn.
    let turn = AtomicUsize::new(0);
    subscriber.answer(move |_| match turn.fetch_add(1, Ordering::Relaxed) % 3 {
        0 => Answer::Status(503, String::new()),
        1 => Answer::Closes,
        _ => Answer::Status(429, String::new()),
    });
    let _notifier = outbox.notifier();
    let subscription = subscription(&subscriber.url, json!({}));
    outbox.subscribe(&subscription).await;
    for _ in 0..5 {
        let instance = outbox.instance().await;
        outbox.complete(&instance).await;
        outbox.complete(&instance).await;
    }
    // More than one try of what comes first.
    let before = subscriber.until(|received| received.len() >= 6).await;
    let undelivered = outbox.store.undelivered(&subscription.project_id, subscription.id, 100).await.unwrap();
    assert_eq!(undelivered.len(), 35);
    subscriber.answer_status(204);
    let after = subscriber.until_taken(35).await;
    let states = ["STARTING", "PROCESSING", "COMPLETED"];
    let wanted = [&[CREATED][..], &states, &states].concat();
    let told = by_instance(&after);
    assert_eq!(told.len(), 5);
    told.values().for_each(|told| assert_eq!(*told, wanted));
    let ids: BTreeSet<String> = after.iter().map(Received::id).collect();
    let first: BTreeSet<String> = undelivered.iter().map(|one| one.notification.id.to_string()).collect();
    assert_eq!(ids, first, "under the ids they had when nobody took them");
    assert!(before.iter().all(|one| ids.contains(&one.id())));
}

async fn a_dead_subscriber_keeps_nobody_else_waiting(outbox: OutboxSite) {
    let (dead, living) = (Subscriber::start().await, Subscriber::start().await);
    dead.answer(|_| Answer::Hangs);
    let _notifier = outbox.notifier();
    for subscriber in [&dead, &living] {
        outbox.subscribe(&subscription(&subscriber.url, json!({}))).await;
    }
    let instance = outbox.instance().await;
    dead.until(|received| !received.is_empty()).await;
    let begun = Instant::now();
    outbox.complete(&instance).await;
    let told = told(&living.until_taken(4).await);
    assert_eq!(told, [CREATED, "STARTING", "PROCESSING", "COMPLETED"]);
    assert!(begun.elapsed() < Duration::from_secs(5), "before the dead one is given up: {:?}", begun.elapsed());
    assert_eq!(dead.received().len(), 1, "the next one waits for it");
}

async fn what_is_refused_is_parked_and_sent_again_when_asked(outbox: OutboxSite) {
    let (subscriber, elsewhere) = (Subscriber::start().await, Subscriber::start().await);
    let trap = elsewhere.url.clone();
    subscriber.answer(move |received| match received.tells().as_str() {
        "STARTING" => Answer::Status(404, "s3cr3t".to_owned()),
        "PROCESSING" => Answer::Redirect(trap.clone()),
        _ => Answer::Status(204, String::new()),
    });
    let _notifier = outbox.notifier();
    let subscription = subscription(&subscriber.url, json!({}));
    outbox.subscribe(&subscription).await;
    outbox.complete(&outbox.instance().await).await;
    // What comes after is not held up.
    assert_eq!(told(&subscriber.until_taken(2).await), [CREATED, "COMPLETED"]);
    let parked = outbox.until(&subscription, |left| left.len() == 2).await;
    let reasons: Vec<_> = parked.iter().map(|one| (one.is_parked, one.reason.as_deref().unwrap())).collect();
    let wanted = [
        (true, "the subscriber answered 404 Not Found"),
        (true, "the subscriber answered 302 Found: redirects are not followed"),
    ];
    assert_eq!(reasons, wanted);
    assert!(elsewhere.received().is_empty());
    assert_eq!(outbox.store.outbox_depth().await.unwrap().parked, 2);

    subscriber.answer_status(204);
    assert_eq!(outbox.store.resend(&subscription.project_id, subscription.id).await.unwrap(), 2);
    let received = subscriber.until_taken(4).await;
    assert_eq!(told(&received)[2..], ["STARTING", "PROCESSING"]);
    let ids: Vec<String> = parked.iter().map(|one| one.notification.id.to_string()).collect();
    assert_eq!(received[2..].iter().map(Received::id).collect::<Vec<_>>(), ids);
}

async fn what_can_not_be_delivered_for_long_is_given_up(outbox: OutboxSite) {
    let subscription = subscription("http://127.0.0.1:1/", json!({ "notificationTypes": [OPERATION] }));
    outbox.subscribe(&subscription).await;
    outbox.complete(&outbox.instance().await).await;
    let addressee = claim(&outbox).await;
    let (store, minute) = (&outbox.store, Duration::from_secs(60));
    store.put_off_subscription(addressee.lease, Duration::ZERO, 1, "nobody there", minute).await.unwrap();
    assert_eq!(store.outbox_depth().await.unwrap().parked, 0);
    let addressee = claim(&outbox).await;
    store.put_off_subscription(addressee.lease, Duration::ZERO, 2, "nobody there", Duration::ZERO).await.unwrap();
    let parked = store.undelivered(&subscription.project_id, subscription.id, 10).await.unwrap();
    assert_eq!(parked.len(), 3);
    assert!(parked.iter().all(|one| one.is_parked && one.reason.as_deref() == Some("given up: nobody there")));
}

async fn claim(outbox: &OutboxSite) -> gybe::store::ClaimedSubscription {
    loop {
        match outbox.store.claim_subscription("test", PATIENT).await.unwrap() {
            OutboxClaim::Work(addressee) => return *addressee,
            OutboxClaim::Idle(due) => tokio::time::sleep(due.unwrap()).await,
        }
    }
}

async fn a_subscription_whose_lease_ran_out_is_taken_over(outbox: OutboxSite) {
    outbox.subscribe(&subscription("http://127.0.0.1:1/", json!({ "notificationTypes": [OPERATION] }))).await;
    outbox.complete(&outbox.instance().await).await;
    let first = claim(&outbox).await;
    assert!(matches!(outbox.store.claim_subscription("other", PATIENT).await.unwrap(), OutboxClaim::Idle(Some(_))));
    outbox.store.renew_subscription(&first.lease, Duration::ZERO).await.unwrap();
    let second = claim(&outbox).await;
    assert_eq!(second.lease.epoch, first.lease.epoch + 1);
    let sent = gybe::store::Sent { delivered: vec![1, 2, 3], refused: Vec::new() };
    let lost = outbox.store.record_sent(&first.lease, PATIENT, &sent).await;
    assert!(matches!(lost, Err(StoreError::LeaseLost)), "{lost:?}");
    assert_eq!(outbox.store.outbox_depth().await.unwrap().waiting, 3);
}

async fn who_stops_waits_a_moment_for_what_was_sent(outbox: OutboxSite) {
    let subscriber = Subscriber::start().await;
    let answer = Arc::new(Notify::new());
    let when = Arc::clone(&answer);
    subscriber.answer(move |_| Answer::When(Arc::clone(&when)));
    let subscription = subscription(&subscriber.url, json!({}));
    outbox.subscribe(&subscription).await;
    let (callbacks, stop) = (Arc::new(Callbacks::new(&Settings::default()).unwrap()), CancellationToken::new());
    let notifier = Notifier::new(Arc::clone(&outbox.store), callbacks, "stops".to_owned(), PATIENT);
    let running = tokio::spawn(notifier.run(stop.clone()));
    outbox.complete(&outbox.instance().await).await;
    subscriber.until(|received| !received.is_empty()).await;
    stop.cancel();
    answer.notify_one();
    running.await.unwrap();
    assert_eq!(subscriber.received().len(), 1, "nothing more is sent");
    assert_eq!(outbox.waiting(subscription.id).await, ["STARTING", "PROCESSING", "COMPLETED"]);
    // Nor does it keep the subscription from the next one.
    subscriber.answer_status(204);
    let _notifier = outbox.notifier();
    assert_eq!(told(&subscriber.until_taken(4).await), [CREATED, "STARTING", "PROCESSING", "COMPLETED"]);
}

async fn a_subscription_that_goes_takes_its_notifications_along(outbox: OutboxSite) {
    let subscription = subscription("http://127.0.0.1:1/", json!({}));
    outbox.subscribe(&subscription).await;
    outbox.complete(&outbox.instance().await).await;
    outbox.store.delete_subscription(&subscription.project_id, subscription.id).await.unwrap();
    assert_eq!(outbox.store.outbox_depth().await.unwrap().waiting, 0);
    let again = outbox.store.delete_subscription(&subscription.project_id, subscription.id).await;
    assert!(matches!(again, Err(StoreError::NotFound)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_processes_one_delivers_each() {
    let subscriber = Subscriber::start().await;
    let outbox = OutboxSite::postgres().await;
    let _notifier = outbox.notifier();
    let beside = open(&outbox.url).await;
    let _other = Running::new(Arc::clone(&beside), &Settings::default());
    outbox.subscribe(&subscription(&subscriber.url, json!({}))).await;
    for _ in 0..20 {
        let first = outbox.instance().await;
        let second = instance(&*beside, &outbox.onboarded).await;
        outbox.complete(&first).await;
        outbox.complete(&second).await;
    }
    let received = subscriber.until_taken(160).await;
    let ids: BTreeSet<String> = received.iter().map(Received::id).collect();
    assert_eq!((received.len(), ids.len()), (160, 160), "none twice");
    let wanted = [CREATED, "STARTING", "PROCESSING", "COMPLETED"];
    by_instance(&received).values().for_each(|told| assert_eq!(*told, wanted));
}

// --- who calls back ---------------------------------------------------------------------------------------------------

fn with_basic(subscription: Subscription) -> Subscription {
    let secrets = Secrets::from([(PASSWORD.to_owned(), Secret::new("s3cr3t"))]);
    let authentication = Authentication {
        auth_types: vec![AuthType::Basic],
        user_name: Some("gybe-user".to_owned()),
        client_id: None,
        token_endpoint: None,
        secrets,
    };
    Subscription { authentication: Some(authentication), ..subscription }
}

fn with_token(subscription: Subscription, endpoint: &str) -> Subscription {
    let mut subscription = with_basic(subscription);
    let authentication = subscription.authentication.as_mut().unwrap();
    authentication.auth_types.insert(0, AuthType::Oauth2ClientCredentials);
    authentication.client_id = Some("gybe-client".to_owned());
    authentication.token_endpoint = Some(endpoint.to_owned());
    authentication.secrets.insert(CLIENT_PASSWORD.to_owned(), Secret::new("t0k3n"));
    subscription
}

/// `user:password` as BASIC has it.
fn basic(text: &str) -> String {
    use base64::Engine as _;
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(text))
}

/// A token endpoint: the first token is `one`, the second `two` and so on.
async fn token_endpoint() -> Subscriber {
    let endpoint = Subscriber::start().await;
    let number = AtomicUsize::new(0);
    endpoint.answer(move |_| {
        let token = ["one", "two", "three"][number.fetch_add(1, Ordering::Relaxed)];
        let body = json!({ "access_token": token, "token_type": "Bearer", "expires_in": 3600 });
        Answer::Status(200, body.to_string())
    });
    endpoint
}

#[tokio::test]
async fn a_password_is_shown_to_who_asks_for_it() {
    let (outbox, subscriber) = (OutboxSite::sqlite().await, Subscriber::start().await);
    let _notifier = outbox.notifier();
    outbox.subscribe(&with_basic(subscription(&subscriber.url, json!({})))).await;
    outbox.instance().await;
    let received = subscriber.until_taken(1).await;
    assert_eq!(received[0].header("authorization").unwrap(), basic("gybe-user:s3cr3t"));
}

#[tokio::test]
async fn a_token_is_asked_for_once_and_again_when_it_is_not_taken_any_more() {
    let (outbox, subscriber, endpoint) =
        (OutboxSite::sqlite().await, Subscriber::start().await, token_endpoint().await);
    let _notifier = outbox.notifier();
    outbox.subscribe(&with_token(subscription(&subscriber.url, json!({})), &endpoint.url)).await;
    outbox.complete(&outbox.instance().await).await;
    let received = subscriber.until_taken(4).await;
    assert!(received.iter().all(|one| one.header("authorization") == Some("Bearer one")));
    let asked = endpoint.received();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].header("authorization").unwrap(), basic("gybe-client:t0k3n"));
    assert_eq!(asked[0].header("content-type"), Some("application/x-www-form-urlencoded"));

    subscriber.answer(|received| match received.header("authorization") {
        Some("Bearer two") => Answer::Status(204, String::new()),
        _ => Answer::Status(401, String::new()),
    });
    outbox.instance().await;
    let received = subscriber.until_taken(5).await;
    assert_eq!(received[4].header("authorization"), Some("Bearer two"));
    assert_eq!(endpoint.received().len(), 2);
}

#[tokio::test]
async fn without_a_token_the_password_is_used_where_it_is_taken_too() {
    let (outbox, subscriber, endpoint) =
        (OutboxSite::sqlite().await, Subscriber::start().await, Subscriber::start().await);
    endpoint.answer_status(500);
    let _notifier = outbox.notifier();
    outbox.subscribe(&with_token(subscription(&subscriber.url, json!({})), &endpoint.url)).await;
    outbox.instance().await;
    let received = subscriber.until_taken(1).await;
    assert_eq!(received[0].header("authorization").unwrap(), basic("gybe-user:s3cr3t"));
}

#[tokio::test]
async fn a_certificate_is_shown_to_who_asks_for_it_and_to_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let (server, client) = (certificate(), certificate());
    let file = |name: &str, text: &str| -> PathBuf {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let settings = Settings {
        allow_link_local: false,
        ca_file: Some(file("ca.pem", &server.0)),
        certificate_file: Some(file("client.pem", &(client.0.clone() + &client.1))),
    };
    let tls = wanting(&server, &client);
    let (outbox, subscriber) = (OutboxSite::sqlite().await, Subscriber::start_tls(tls).await);
    let _notifier = Running::new(Arc::clone(&outbox.store), &settings);
    let asks = |asks: AuthType| {
        let mut subscription = with_basic(subscription(&format!("{}/{asks:?}", subscriber.url), json!({})));
        subscription.authentication.as_mut().unwrap().auth_types = vec![asks];
        subscription
    };
    let (without, with) = (asks(AuthType::Basic), asks(AuthType::TlsCert));
    outbox.subscribe(&without).await;
    outbox.subscribe(&with).await;
    outbox.instance().await;
    let received = subscriber.until_taken(1).await;
    assert_eq!(received[0].path, "/TlsCert");
    assert_eq!(received[0].header("authorization"), None);
    // The other one is not heard, as its connection shows no certificate.
    outbox.until(&without, |left| left[0].reason.is_some()).await;
    assert_eq!(subscriber.received().len(), 1);
}

#[tokio::test]
async fn tokens_are_not_asked_for_and_redirects_not_followed_at_metadata_services() {
    let (outbox, subscriber) = (OutboxSite::sqlite().await, Subscriber::start().await);
    let _notifier = outbox.notifier();
    subscriber.answer(|_| Answer::Redirect("http://169.254.169.254/latest/meta-data".to_owned()));
    let token = {
        let mut token = with_token(subscription(&subscriber.url, json!({})), "http://169.254.169.254/token");
        token.authentication.as_mut().unwrap().auth_types = vec![AuthType::Oauth2ClientCredentials];
        token
    };
    let redirected = subscription(&subscriber.url, json!({ "operationTypes": ["SCALE"] }));
    outbox.subscribe(&token).await;
    outbox.subscribe(&redirected).await;
    outbox.instance().await;
    let left = outbox.until(&token, |left| left[0].reason.is_some()).await;
    let reason = left[0].reason.as_deref().unwrap();
    assert!(reason.contains("the token endpoint gave no token") && reason.contains("metadata service"), "{reason}");
    let left = outbox.until(&redirected, |left| left[0].is_parked).await;
    assert!(left[0].reason.as_deref().unwrap().contains("redirects are not followed"));
    let callbacks = Callbacks::new(&Settings::default()).unwrap();
    let probed = callbacks.probe(&subscription("http://169.254.169.254/", json!({}))).await.unwrap_err();
    assert!(probed.contains("metadata service"), "{probed}");
    assert_eq!(callbacks.probe(&redirected).await.unwrap().as_u16(), 302);
}

#[tokio::test]
async fn callbacks_to_metadata_services_are_not_sent() {
    let outbox = OutboxSite::sqlite().await;
    let _notifier = outbox.notifier();
    // As an address, and as what the system's resolver makes one of.
    for host in ["169.254.169.254", "[::ffff:169.254.169.254]", "2852039166"] {
        let subscription = subscription(&format!("http://{host}/latest"), json!({ "operationTypes": ["SCALE"] }));
        outbox.subscribe(&subscription).await;
        outbox.instance().await;
        let left = outbox.until(&subscription, |left| left[0].reason.is_some()).await;
        let reason = left[0].reason.as_deref().unwrap();
        assert!(reason.contains("metadata service"), "{reason}");
    }
}
