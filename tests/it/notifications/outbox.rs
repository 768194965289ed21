//! The outbox on both engines: which changes are notified to which subscription.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use gybe::clock::{Clock, Ids as _, System};
use gybe::domain::ids::{ProjectId, SubscriptionId};
use gybe::domain::interface::{Edition, Interface};
use gybe::domain::notification_filter::NotificationFilter;
use gybe::domain::op_occ::OpState;
use gybe::domain::subscription::{Subscription, Verbosity};
use gybe::domain::transition::OpEvent;
use gybe::retention::{Retention, RetentionPolicy};
use gybe::store::attributes::Filter;
use gybe::store::{ClaimedSubscription, OutboxClaim, Page, Sent, StoreError, Subscribed};
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use super::{CREATED, DELETED, OPERATION, OutboxFixture, PATIENT, claim, subscription, summaries, with_basic};
use crate::support::subscriber::{Received, Subscriber};

on_both_engines! {
    OutboxFixture::sqlite(), OutboxFixture::postgres();
    each_state_of_an_operation_is_notified
    filtered_out_changes_are_not_notified
    equal_subscriptions_are_rejected_as_duplicates
    a_change_without_subscribers_leaves_no_outbox_row
    the_response_precedes_the_first_notification
    subscription_secrets_are_encrypted
    deleting_a_subscription_deletes_its_notifications
    stores_a_change_once_and_deletes_it_with_its_last_delivery
    keeps_changes_that_other_subscriptions_wait_for
    a_subscription_with_many_notifications_is_deleted_in_batches
    parked_notifications_are_deleted_after_their_time
    figures_count_a_bounded_number_of_notifications
}

async fn each_state_of_an_operation_is_notified(outbox: OutboxFixture) {
    let subscriber = Subscriber::start().await;
    let _notifier = outbox.notifier();
    let subscription = subscription(&format!("{}/cb", subscriber.url), json!({}));
    outbox.subscribe(&subscription).await;
    let instance = outbox.instance().await;
    let op = outbox.begin(&instance).await;
    outbox.end(OpState::FailedTemp).await;
    outbox.store.resume_operation(&instance.project_id, op, OpEvent::Retry, System.now()).await.unwrap();
    outbox.end(OpState::FailedTemp).await;
    outbox.store.resume_operation(&instance.project_id, op, OpEvent::Fail, System.now()).await.unwrap();
    outbox.store.delete_instance(&instance.project_id, instance.id, None).await.unwrap();

    let received = subscriber.wait_for_accepted(8).await;
    let states = ["STARTING", "PROCESSING", "FAILED_TEMP", "PROCESSING", "FAILED_TEMP", "FAILED"];
    assert_eq!(summaries(&received), [&[CREATED], &states[..], &[DELETED]].concat());
    let ids: BTreeSet<String> = received.iter().map(Received::id).collect();
    assert_eq!(ids.len(), 8, "each notification has its own id");
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
        let result = !matches!(one.summary().as_str(), "STARTING" | "PROCESSING");
        assert_eq!(one.body["notificationStatus"], if result { "RESULT" } else { "START" });
        assert_eq!(one.body["error"].is_object(), result, "{:#}", one.body);
        assert_eq!((&one.body["operation"], &one.body["verbosity"]), (&json!("HEAL"), &json!("FULL")));
        assert_eq!(one.body["vnfLcmOpOccId"], op.to_string());
        assert_eq!(one.body["isAutomaticInvocation"], false);
        assert!(one.body["_links"]["vnfLcmOpOcc"]["href"].as_str().unwrap().ends_with(&op.to_string()));
    }
}

async fn filtered_out_changes_are_not_notified(outbox: OutboxFixture) {
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
    for (filter, summaries) in cases {
        let subscription = subscription("http://127.0.0.1:1/", filter.clone());
        outbox.subscribe(&subscription).await;
        wanted.push((subscription.id, filter, summaries));
    }
    outbox.complete(&instance).await;
    outbox.store.delete_instance(&instance.project_id, instance.id, None).await.unwrap();
    for (id, filter, summaries) in wanted {
        assert_eq!(outbox.waiting(id).await, summaries, "{filter}");
    }
}

async fn equal_subscriptions_are_rejected_as_duplicates(outbox: OutboxFixture) {
    let first = subscription("http://nfvo/cb", json!({ "operationTypes": ["HEAL"] }));
    outbox.subscribe(&first).await;
    let again = Subscription { id: SubscriptionId(System.uuid()), ..first.clone() };
    assert_eq!(outbox.store.create_subscription(&again).await.unwrap(), Subscribed::Existing(first.id));
    for different in [
        Subscription { callback_uri: "http://nfvo/other".to_owned(), ..again.clone() },
        Subscription { edition: Edition::V1, ..again.clone() },
        Subscription { verbosity: Verbosity::Short, ..again.clone() },
        Subscription { filter: NotificationFilter::default(), ..again.clone() },
    ] {
        outbox.subscribe(&Subscription { id: SubscriptionId(System.uuid()), ..different }).await;
    }
    let all = Page { filter: &Filter::default(), after: None, limit: 10 };
    let subscriptions = outbox.store.subscriptions(Some(&first.project_id), Interface::Lifecycle, &all).await.unwrap();
    assert_eq!(subscriptions.len(), 5);
}

async fn a_change_without_subscribers_leaves_no_outbox_row(outbox: OutboxFixture) {
    let instance = outbox.instance().await;
    outbox.complete(&instance).await;
    outbox.subscribe(&subscription("http://nfvo/cb", json!({ "operationStates": ["FAILED"] }))).await;
    outbox.complete(&instance).await;
    let depth = outbox.store.outbox_depth().await.unwrap();
    assert_eq!((depth.waiting, depth.parked, depth.oldest), (0, 0, None));
}

async fn the_response_precedes_the_first_notification(outbox: OutboxFixture) {
    outbox.subscribe(&subscription("http://127.0.0.1:1/", json!({ "notificationTypes": [CREATED] }))).await;
    let made = outbox.instance().await;
    claim(&outbox).await;
    // The database rounds to milliseconds.
    assert!(System.now() - made.created_at >= Duration::from_millis(99));
}

async fn subscription_secrets_are_encrypted(outbox: OutboxFixture) {
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
    assert!(has("gybe-user"), "otherwise the test reads the wrong place");
    assert!(!has("s3cr3t"));
}

async fn deleting_a_subscription_deletes_its_notifications(outbox: OutboxFixture) {
    let subscription = subscription("http://127.0.0.1:1/", json!({}));
    outbox.subscribe(&subscription).await;
    outbox.complete(&outbox.instance().await).await;
    outbox.store.delete_subscription(&subscription.project_id, subscription.id).await.unwrap();
    assert_eq!(outbox.store.outbox_depth().await.unwrap().waiting, 0);
    let again = outbox.store.delete_subscription(&subscription.project_id, subscription.id).await;
    assert!(matches!(again, Err(StoreError::NotFound)));
}

/// Rows of the table.
async fn rows(outbox: &OutboxFixture, table: &str) -> i64 {
    let query = sqlx::AssertSqlSafe(format!("SELECT COUNT(*) FROM {table}"));
    if let Some(path) = outbox.url.strip_prefix("sqlite://") {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
        let mut connection = sqlx::ConnectOptions::connect(&options).await.unwrap();
        sqlx::query_scalar(query).fetch_one(&mut connection).await.unwrap()
    } else {
        let mut connection = <sqlx::PgConnection as sqlx::Connection>::connect(&outbox.url).await.unwrap();
        sqlx::query_scalar(query).fetch_one(&mut connection).await.unwrap()
    }
}

async fn stores_a_change_once_and_deletes_it_with_its_last_delivery(outbox: OutboxFixture) {
    for number in 0..2 {
        outbox.subscribe(&subscription(&format!("http://127.0.0.1:1/{number}"), json!({}))).await;
    }
    for _ in 0..20 {
        outbox.instance().await;
    }
    assert_eq!((rows(&outbox, "outbox_changes").await, rows(&outbox, "outbox_deliveries").await), (20, 40));
    let (first, second) = (claim(&outbox).await, claim(&outbox).await);
    assert_ne!(first.lease.subscription, second.lease.subscription);
    // In waves that both record at once: the last two deliveries of a change are often deleted at the same time.
    while rows(&outbox, "outbox_deliveries").await > 0 {
        let wave = async |claimed: &ClaimedSubscription| {
            let next = outbox.store.next_notifications(&claimed.lease, 3).await.unwrap();
            let delivered = next.iter().map(|one| one.position).collect();
            let sent = Sent { delivered, ..Sent::default() };
            outbox.store.record_sent(&claimed.lease, PATIENT, &sent).await.unwrap();
        };
        tokio::join!(wave(&first), wave(&second));
    }
    assert_eq!(rows(&outbox, "outbox_changes").await, 0);
}

async fn keeps_changes_that_other_subscriptions_wait_for(outbox: OutboxFixture) {
    let all = subscription("http://127.0.0.1:1/all", json!({}));
    let created = subscription("http://127.0.0.1:1/created", json!({ "notificationTypes": [CREATED] }));
    outbox.subscribe(&all).await;
    outbox.subscribe(&created).await;
    outbox.complete(&outbox.instance().await).await;
    assert_eq!(rows(&outbox, "outbox_changes").await, 4);
    outbox.store.delete_subscription(&all.project_id, all.id).await.unwrap();
    assert_eq!((rows(&outbox, "outbox_changes").await, rows(&outbox, "outbox_deliveries").await), (1, 1));
    assert_eq!(outbox.waiting(created.id).await, [CREATED]);
    outbox.store.delete_subscription(&created.project_id, created.id).await.unwrap();
    assert_eq!(rows(&outbox, "outbox_changes").await, 0);
}

impl OutboxFixture {
    async fn execute(&self, statement: String) {
        let statement = sqlx::raw_sql(sqlx::AssertSqlSafe(statement));
        if let Some(path) = self.url.strip_prefix("sqlite://") {
            let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
            let mut connection = sqlx::ConnectOptions::connect(&options).await.unwrap();
            statement.execute(&mut connection).await.unwrap();
        } else {
            let mut connection = <sqlx::PgConnection as sqlx::Connection>::connect(&self.url).await.unwrap();
            statement.execute(&mut connection).await.unwrap();
        }
    }

    /// Adds so many notifications to the subscription, due at this time (milliseconds).
    async fn fill(&self, subscription: &Subscription, number: usize, due: i64, parked: Option<&str>) {
        let parked = parked.map_or("NULL".to_owned(), |reason| format!("'{reason}'"));
        let prefix = System.uuid();
        self.execute(format!(
            "INSERT INTO outbox_changes (id, notification_type, time_stamp, vnf_instance_id) \
             WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {number}) \
             SELECT '{prefix}-' || i, '{CREATED}', 0, 'x' FROM n; \
             INSERT INTO outbox_deliveries (subscription_id, position, vnf_instance_id, not_before, parked) \
             SELECT '{}', position, 'x', {due}, {parked} FROM outbox_changes WHERE id LIKE '{prefix}-%'",
            subscription.id
        ))
        .await;
    }

    /// A pass of the retention at this time, with notifications kept for a day.
    async fn retain(&self, now: OffsetDateTime) {
        struct Fixed(OffsetDateTime);
        impl Clock for Fixed {
            fn now(&self) -> OffsetDateTime {
                self.0
            }
        }
        let policy = RetentionPolicy {
            operations: None,
            operations_per_instance: 1000,
            notifications: Some(Duration::from_hours(24)),
            audit: Duration::from_hours(24),
            metering: Duration::from_hours(24),
        };
        let mut retention = Retention::new(Arc::clone(&self.store), Arc::new(Fixed(now)), policy);
        retention.pass(&CancellationToken::new()).await.unwrap();
    }
}

async fn a_subscription_with_many_notifications_is_deleted_in_batches(outbox: OutboxFixture) {
    let subscription = subscription("http://127.0.0.1:1/", json!({}));
    outbox.subscribe(&subscription).await;
    outbox.fill(&subscription, 1500, 0, None).await;
    let crowded = [ProjectId("another".to_owned()), subscription.project_id.clone()];
    let later = outbox.store.claim_subscription("test", PATIENT, &crowded).await.unwrap();
    assert!(matches!(later, OutboxClaim::Idle(None)), "its project has its share");
    let claimed = claim(&outbox).await;
    outbox.store.delete_subscription(&subscription.project_id, subscription.id).await.unwrap();
    // Nobody sees it any more, and its notifications are not delivered.
    let lost = outbox.store.renew_subscription(&claimed.lease, PATIENT).await;
    assert!(matches!(lost, Err(StoreError::LeaseLost)));
    assert!(matches!(outbox.store.claim_subscription("test", PATIENT, &[]).await.unwrap(), OutboxClaim::Idle(None)));
    let again = outbox.store.delete_subscription(&subscription.project_id, subscription.id).await;
    assert!(matches!(again, Err(StoreError::NotFound)));
    outbox.instance().await;
    assert_eq!(rows(&outbox, "outbox_changes").await, 1500, "no change is published to it");
    let equal = Subscription { id: SubscriptionId(System.uuid()), ..subscription.clone() };
    outbox.subscribe(&equal).await;
    outbox.retain(System.now()).await;
    assert_eq!([rows(&outbox, "outbox_changes").await, rows(&outbox, "subscriptions").await], [0, 1]);
}

async fn parked_notifications_are_deleted_after_their_time(outbox: OutboxFixture) {
    let subscription = subscription("http://127.0.0.1:1/", json!({}));
    outbox.subscribe(&subscription).await;
    let now = System.now();
    let millis = i64::try_from(now.unix_timestamp_nanos() / 1_000_000).unwrap();
    outbox.fill(&subscription, 1200, millis - 1, Some("refused")).await;
    outbox.fill(&subscription, 3, millis + 1, Some("refused")).await;
    outbox.fill(&subscription, 2, 0, None).await;
    outbox.retain(now + Duration::from_hours(24)).await;
    assert_eq!([rows(&outbox, "outbox_changes").await, rows(&outbox, "outbox_deliveries").await], [5, 5]);
    let figures = outbox.store.outbox_depth().await.unwrap();
    assert_eq!((figures.waiting, figures.parked), (2, 3));
}

async fn figures_count_a_bounded_number_of_notifications(outbox: OutboxFixture) {
    let subscription = subscription("http://127.0.0.1:1/", json!({}));
    outbox.subscribe(&subscription).await;
    outbox.fill(&subscription, 10_001, 0, Some("refused")).await;
    outbox.fill(&subscription, 1, 0, None).await;
    let figures = outbox.store.outbox_depth().await.unwrap();
    assert_eq!((figures.waiting, figures.parked), (1, 10_000));
    assert!(figures.oldest.unwrap() > Duration::from_hours(24));
    assert_eq!(outbox.store.resend(&subscription.project_id, subscription.id).await.unwrap(), 10_001);
    assert_eq!(outbox.store.outbox_depth().await.unwrap().parked, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaves_out_a_subscription_that_is_being_deleted() {
    let outbox = OutboxFixture::postgres().await;
    let (leaves, stays) =
        (subscription("http://127.0.0.1:1/a", json!({})), subscription("http://127.0.0.1:1/b", json!({})));
    outbox.subscribe(&leaves).await;
    outbox.subscribe(&stays).await;
    for deleted in [&leaves, &stays] {
        let mut connection = <sqlx::PgConnection as sqlx::Connection>::connect(&outbox.url).await.unwrap();
        let mut tx = sqlx::Connection::begin(&mut connection).await.unwrap();
        let delete = sqlx::query("DELETE FROM outbox_changes");
        delete.execute(&mut *tx).await.unwrap();
        let delete = sqlx::query("DELETE FROM subscriptions WHERE id = $1").bind(deleted.id.to_string());
        delete.execute(&mut *tx).await.unwrap();
        let creation = outbox.instance();
        let commit = async {
            let waiting =
                "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
            while sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut *tx).await.unwrap() == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            tx.commit().await.unwrap();
        };
        tokio::join!(creation, commit);
        let left = i64::from(deleted.id == leaves.id);
        assert_eq!((rows(&outbox, "outbox_changes").await, rows(&outbox, "outbox_deliveries").await), (left, left));
    }
}
