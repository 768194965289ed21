//! A database of the schema before the outbox was split into changes and deliveries (migration 13) is upgraded with
//! notifications in it.

use std::borrow::Cow;
use std::time::Duration;

use gybe::domain::ids::ProjectId;
use gybe::domain::notification::{NotificationContent, Undelivered};
use gybe::domain::problem::Problem;
use gybe::store::{Store, migrate};
use sqlx::migrate::Migrator;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};

use super::{CREATED, PATIENT, Running};
use crate::support::postgres::Database;
use crate::support::store::open;
use crate::support::subscriber::{Received, Subscriber};

/// The last migration before the split.
const BEFORE: i64 = 11;

const ALL: &str = "aaaaaaaa-0000-4000-8000-000000000001";
const OTHER: &str = "aaaaaaaa-0000-4000-8000-000000000002";
const PACKAGES: &str = "aaaaaaaa-0000-4000-8000-000000000003";
const INSTANCE: &str = "bbbbbbbb-0000-4000-8000-000000000001";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delivers_notifications_that_waited_before_the_upgrade_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gybe.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).create_if_missing(true).foreign_keys(true);
    let mut connection = options.connect().await.unwrap();
    before(sqlx::migrate!("./migrations/sqlite")).run(&mut connection).await.unwrap();
    let subscriber = Subscriber::start().await;
    sqlx::raw_sql(AssertSqlSafe(sample(&subscriber.url))).execute(&mut connection).await.unwrap();
    let rows = sqlx::query_as(NOTIFICATIONS).fetch_all(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let url = format!("sqlite://{}", path.display());
    migrate(&url).await.unwrap();
    deliver_all(&url, &subscriber, &rows).await;
    let mut connection = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).connect().await.unwrap();
    assert_eq!(sqlx::query_scalar::<_, i64>(LEFT).fetch_one(&mut connection).await.unwrap(), 0);
    let triggers = "SELECT COUNT(*) FROM sqlite_master WHERE type IN ('trigger', 'view')";
    assert_eq!(sqlx::query_scalar::<_, i64>(triggers).fetch_one(&mut connection).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delivers_notifications_that_waited_before_the_upgrade_on_postgresql() {
    let database = Database::create_empty().await;
    let mut connection = sqlx::PgConnection::connect(&database.url).await.unwrap();
    before(sqlx::migrate!("./migrations/postgres")).run(&mut connection).await.unwrap();
    let subscriber = Subscriber::start().await;
    sqlx::raw_sql(AssertSqlSafe(sample(&subscriber.url))).execute(&mut connection).await.unwrap();
    let rows = sqlx::query_as(NOTIFICATIONS).fetch_all(&mut connection).await.unwrap();
    migrate(&database.url).await.unwrap();
    deliver_all(&database.url, &subscriber, &rows).await;
    assert_eq!(sqlx::query_scalar::<_, i64>(LEFT).fetch_one(&mut connection).await.unwrap(), 0);
    let functions = "SELECT COUNT(*) FROM pg_proc WHERE pronamespace = 'public'::regnamespace";
    assert_eq!(sqlx::query_scalar::<_, i64>(functions).fetch_one(&mut connection).await.unwrap(), 0);
}

/// The migrations up to [`BEFORE`].
fn before(mut all: Migrator) -> Migrator {
    all.migrations = Cow::Owned(all.migrations.iter().filter(|one| one.version <= BEFORE).cloned().collect());
    all
}

/// Fills the outbox through the triggers of that schema, then delivers one notification and parks another.
fn sample(subscriber: &str) -> String {
    let problem = serde_json::to_string(&Problem::conflict("stopped")).unwrap();
    let vnfd = r#"{"id": "vnfd", "version": "1.0", "provider": "Company", "product_name": "Sample",
        "software_version": "2.0", "vnfm_info": ["Gybe"], "flavours": {}}"#;
    let subscription = |id: &str, interface: &str, only: &str| {
        format!(
            "INSERT INTO subscriptions (id, project_id, interface, edition, callback_uri, filter, verbosity, base_url, \
                 only_vnf_instance_id, fingerprint, created_at) \
             VALUES ('{id}', 'default', '{interface}', 'V2', '{subscriber}/{id}', '{{}}', 'FULL', 'http://gybe', '{only}', \
                     '{id}', 1);"
        )
    };
    [
        subscription(ALL, "vnflcm", ""),
        subscription(OTHER, "vnflcm", ""),
        subscription(PACKAGES, "vnfpkgm", "-"),
        format!(
            "INSERT INTO vnf_packages (id, project_id, onboarding_state, onboarding_since, operational_state, \
                 user_defined_data, created_at) \
             VALUES ('cccccccc-0000-4000-8000-000000000001', 'default', 'PROCESSING', 1, 'DISABLED', '{{}}', 1); \
             UPDATE vnf_packages SET onboarding_state = 'ONBOARDED', operational_state = 'ENABLED', vnfd_id = 'vnfd', \
                 vnfd = '{vnfd}', sha512 = '0', size = 1, artifacts = '[]'; \
             UPDATE vnf_packages SET operational_state = 'DISABLED'; \
             UPDATE vnf_packages SET operational_state = 'ENABLED';"
        ),
        format!(
            "INSERT INTO vnf_instances (id, project_id, vnfd_id, vnf_pkg_id, vnf_provider, vnf_product_name, \
                 vnf_software_version, vnfd_version, vnf_metadata, extensions, vnf_configurable_properties, \
                 vim_connections, version, created_at) \
             VALUES ('{INSTANCE}', 'default', 'vnfd', 'cccccccc-0000-4000-8000-000000000001', 'Company', 'Sample', '2.0', \
                     '1.0', '{{}}', '{{}}', '{{}}', '{{}}', 1, 1); \
             INSERT INTO vnf_lcm_op_occs (id, project_id, vnf_instance_id, operation, state, state_entered_time, \
                 start_time, is_automatic_invocation, params, not_before) \
             VALUES ('dddddddd-0000-4000-8000-000000000001', 'default', '{INSTANCE}', 'HEAL', 'STARTING', 1, 1, false, \
                     '{{}}', 0); \
             UPDATE vnf_lcm_op_occs SET state = 'PROCESSING'; \
             UPDATE vnf_lcm_op_occs SET state = 'FAILED_TEMP', error = '{problem}'; \
             UPDATE vnf_lcm_op_occs SET state = 'FAILED', target_pkg_id = NULL;"
        ),
        format!("DELETE FROM notifications WHERE subscription_id = '{OTHER}' AND notification_type = '{CREATED}';"),
        format!(
            "UPDATE notifications SET parked = 'refused' \
             WHERE subscription_id = '{ALL}' AND operation_state = 'FAILED_TEMP';"
        ),
    ]
    .concat()
}

const NOTIFICATIONS: &str = "SELECT subscription_id, id, parked FROM notifications ORDER BY position";
const LEFT: &str = "SELECT (SELECT COUNT(*) FROM outbox_changes) + (SELECT COUNT(*) FROM outbox_deliveries)";

type Old = (String, String, Option<String>);

/// Checks that the outbox has what `old` lists, in that order per subscription, and delivers it.
async fn deliver_all(url: &str, subscriber: &Subscriber, old: &[Old]) {
    let of = |subscription: &str| -> Vec<&Old> { old.iter().filter(|(id, ..)| id == subscription).collect() };
    assert_eq!([ALL, OTHER, PACKAGES].map(|id| of(id).len()), [5, 4, 3]);
    let store = open(url).await;
    for id in [ALL, OTHER, PACKAGES] {
        let kept = undelivered(&*store, id).await;
        assert_eq!(kept.iter().map(|one| one.notification.id.to_string()).collect::<Vec<_>>(), ids(&of(id)), "{id}");
        for (one, (.., parked)) in kept.iter().zip(of(id)) {
            assert_eq!((one.is_parked, one.reason.as_ref()), (parked.is_some(), parked.as_ref()));
            if let NotificationContent::Operation(change) = &one.notification.content {
                assert_eq!(change.error.is_some(), change.is_result(), "{change:?}");
            }
        }
    }
    // What changes now comes after what waited.
    let instance = INSTANCE.parse().unwrap();
    store.delete_instance(&ProjectId::default(), instance, None).await.unwrap();
    let _notifier = Running::new(store.clone(), &gybe::notify::callback::OutboundConfig::default());
    let all = of(ALL);
    let waiting: Vec<&Old> = all.iter().filter(|(.., parked)| parked.is_none()).copied().collect();
    let received = received(subscriber, ALL, waiting.len() + 1).await;
    assert_eq!(received[..waiting.len()].iter().map(Received::id).collect::<Vec<_>>(), ids(&waiting));
    assert_eq!(received[waiting.len()].summary(), super::DELETED);
    for (id, further) in [(OTHER, 1), (PACKAGES, 0)] {
        let received = self::received(subscriber, id, of(id).len() + further).await;
        assert_eq!(received[..of(id).len()].iter().map(Received::id).collect::<Vec<_>>(), ids(&of(id)));
    }
    store.resend(&ProjectId::default(), ALL.parse().unwrap()).await.unwrap();
    let received = self::received(subscriber, ALL, waiting.len() + 2).await;
    assert_eq!(received.last().unwrap().summary(), "FAILED_TEMP");
    tokio::time::timeout(PATIENT, async {
        while store.outbox_depth().await.unwrap().waiting > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
}

fn ids(rows: &[&Old]) -> Vec<String> {
    rows.iter().map(|(_, id, _)| id.clone()).collect()
}

async fn undelivered(store: &dyn Store, id: &str) -> Vec<Undelivered> {
    store.undelivered(&ProjectId::default(), id.parse().unwrap(), 100).await.unwrap()
}

/// What the subscription has received, once there are `number`.
async fn received(subscriber: &Subscriber, id: &str, number: usize) -> Vec<Received> {
    let path = format!("/{id}");
    let own = |all: &[Received]| -> Vec<Received> { all.iter().filter(|one| one.path == path).cloned().collect() };
    subscriber.wait_until(|all| own(all).len() >= number).await;
    let own = own(&subscriber.accepted());
    assert_eq!(own.len(), number);
    own
}
