//! Notifications per second through the outbox, and the cost of writing to it for state changes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::future::join_all;
use gybe::clock::{Clock as _, Ids as _, System};
use gybe::domain::ids::{ProjectId, SubscriptionId};
use gybe::domain::interface::{Edition, Interface};
use gybe::domain::notification_filter::NotificationFilter;
use gybe::domain::subscription::{Subscription, Verbosity};
use gybe::notify::Notifier;
use gybe::notify::callback::{Callbacks, OutboundConfig};
use gybe::package::archive::Limits;
use gybe::package::csar;
use gybe::store::{OnboardedVnfd, Store, Subscribed};
use serde_json::json;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::report::{Section, figure};
use crate::support::postgres::Database;
use crate::support::subscriber::Subscriber;
use crate::support::{sample, store};

/// Notifications per measurement, over all subscribers.
const NUMBER: usize = 5_000;

pub async fn measure() -> Section {
    let mut section = Section::new(
        "notifications",
        "Notifications through the outbox",
        "Real: outbox, notifier, HTTP, both databases with every commit synced to disk; changes are VNF instances made, 8 at \
         a time. Played: the subscribers, in the same process, which answer at once. `changes` is how many a second are \
         written with so many subscribers, `delivered` how many notifications a second then leave the full outbox.",
        &["database", "subscribers", "changes per second", "delivered per second"],
    );
    for subscribers in [0, 1, 10] {
        let folder = TempDir::new().unwrap();
        let url = format!("sqlite://{}", folder.path().join("gybe.db").display());
        measure_on("SQLite", &url, subscribers, &mut section).await;
        let database = Database::create().await;
        measure_on("PostgreSQL", &database.url, subscribers, &mut section).await;
    }
    section
}

async fn measure_on(database: &str, url: &str, subscribers: usize, section: &mut Section) {
    let store = store::open(url).await;
    let vnfd = onboard(&*store).await;
    let subscribers = join_all((0..subscribers).map(|_| subscribe(&*store))).await;
    let changes = NUMBER / subscribers.len().max(1);
    let begun = Instant::now();
    let made = futures::stream::iter(0..changes).map(|_| store::instance(&*store, &vnfd)).buffer_unordered(8);
    assert_eq!(made.count().await, changes);
    let written = rate(changes, begun.elapsed());
    let delivered = if subscribers.is_empty() { json!("-") } else { deliver(store, &subscribers, changes).await };
    section.row(vec![json!(database), json!(subscribers.len()), written, delivered]);
}

/// Empties the outbox.
async fn deliver(store: Arc<dyn Store>, subscribers: &[Subscriber], changes: usize) -> serde_json::Value {
    let callbacks = Arc::new(Callbacks::new(&OutboundConfig::default()).unwrap());
    let lease = Duration::from_secs(30);
    let begun = Instant::now();
    let notifier = Notifier::new(store.clone(), callbacks, System.uuid().to_string(), lease);
    let _notifier = AbortOnDropHandle::new(tokio::spawn(notifier.run(CancellationToken::new())));
    join_all(subscribers.iter().map(|subscriber| subscriber.wait_until(|received| received.len() >= changes))).await;
    let took = begun.elapsed();
    for subscriber in subscribers {
        assert_eq!(subscriber.accepted().len(), changes, "each once");
    }
    rate(changes * subscribers.len(), took)
}

async fn onboard(store: &dyn Store) -> OnboardedVnfd {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("small.csar");
    std::fs::write(&file, sample::pack("small")).unwrap();
    let package = csar::onboard(&file, &Limits::default()).unwrap();
    store::onboarded(store, &package.content, &package.files).await
}

async fn subscribe(store: &dyn Store) -> Subscriber {
    let subscriber = Subscriber::start().await;
    let subscription = Subscription {
        id: SubscriptionId(System.uuid()),
        project_id: ProjectId::default(),
        interface: Interface::Lifecycle,
        edition: Edition::V2,
        callback_uri: subscriber.url.clone(),
        filter: NotificationFilter::default(),
        verbosity: Verbosity::Full,
        authentication: None,
        base_url: "http://127.0.0.1:9890".to_owned(),
        orphan_grace: None,
        created_at: System.now(),
    };
    assert_eq!(store.create_subscription(&subscription).await.unwrap(), Subscribed::Created);
    subscriber
}

fn rate(number: usize, took: Duration) -> serde_json::Value {
    figure(number as f64 / took.as_secs_f64())
}
