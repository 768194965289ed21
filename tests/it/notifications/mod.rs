//! Notifications and subscriptions: outbox and notifier alone, and through the real binary.

mod authentication;
mod callback_outage;
mod delivery;
mod outbox;
mod subscriptions;
mod upgrade;

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gybe::clock::{Clock as _, Ids as _, System};
use gybe::domain::fair_share::Crowded;
use gybe::domain::ids::{ProjectId, SubscriptionId, VnfLcmOpOccId};
use gybe::domain::instance::VnfInstance;
use gybe::domain::interface::{Edition, Interface};
use gybe::domain::notification::{NotificationContent, Undelivered};
use gybe::domain::notification_filter::NotificationFilter;
use gybe::domain::op_occ::{LcmOperation, OpState};
use gybe::domain::plan::Plan;
use gybe::domain::problem::Problem;
use gybe::domain::secret::Secret;
use gybe::domain::subscription::{AuthType, Authentication, PASSWORD, Subscription, Verbosity};
use gybe::domain::vim::Secrets;
use gybe::domain::vnfd::Vnfd;
use gybe::notify::Notifier;
use gybe::notify::callback::{Callbacks, OutboundConfig};
use gybe::store::{OnboardedVnfd, OutboxClaim, Store, Subscribed};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::support::postgres::Database;
use crate::support::store::{
    content_of, instance, new_operation, onboarded, open, outcome, record, store_plan, vnfd, work,
};
use crate::support::subscriber::Received;

const PATIENT: Duration = Duration::from_secs(30);

/// A store with an onboarded package, for changes of VNF instances.
struct OutboxFixture {
    store: Arc<dyn Store>,
    url: String,
    onboarded: OnboardedVnfd,
    _database: Box<dyn Any + Send + Sync>,
}

impl OutboxFixture {
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
        let vnfd = Vnfd { software_version: "2.0".to_owned(), ..vnfd("vnfd") };
        let content = content_of(vnfd);
        let onboarded = onboarded(&*store, &content, &[]).await;
        Self { store, url, onboarded, _database: database }
    }

    async fn instance(&self) -> VnfInstance {
        instance(&*self.store, &self.onboarded).await
    }

    async fn subscribe(&self, subscription: &Subscription) {
        assert_eq!(self.store.create_subscription(subscription).await.unwrap(), Subscribed::Created);
    }

    /// Starts an operation of the instance.
    async fn begin(&self, instance: &VnfInstance) -> VnfLcmOpOccId {
        let instance = self.store.instance(&instance.project_id, instance.id).await.unwrap();
        let op = new_operation(&instance, LcmOperation::Heal);
        self.store.begin_operation(&op, &instance).await.unwrap();
        op.id
    }

    /// Claims the operation, plans it and ends it in `to`.
    async fn end(&self, to: OpState) {
        let claimed = work(self.store.claim("test", PATIENT, 1, &Crowded::default()).await.unwrap());
        if claimed.op.state == OpState::Starting {
            store_plan(&*self.store, &claimed.lease, PATIENT, &Plan::default(), &[], System.now()).await.unwrap();
        }
        let from = if claimed.op.state == OpState::Starting { OpState::Processing } else { claimed.op.state };
        let error = (to != OpState::Completed).then(|| Problem::conflict("stopped"));
        let ending = outcome(&record(from), to, error, System.now());
        self.store.end_operation(claimed.lease, &ending).await.unwrap();
    }

    /// Runs an operation to COMPLETED.
    async fn complete(&self, instance: &VnfInstance) {
        self.begin(instance).await;
        self.end(OpState::Completed).await;
    }

    /// The outbox of the subscription, as [`Received::summary`] shows it.
    async fn waiting(&self, id: SubscriptionId) -> Vec<String> {
        let undelivered = self.store.undelivered(&ProjectId::default(), id, 1000).await.unwrap();
        undelivered
            .iter()
            .map(|one| match &one.notification.content {
                NotificationContent::Operation(change) => change.state.as_str().to_owned(),
                other => other.notification_type().to_owned(),
            })
            .collect()
    }

    /// Waits until the outbox of the subscription satisfies `wanted`.
    async fn wait_until(
        &self,
        subscription: &Subscription,
        wanted: impl Fn(&[Undelivered]) -> bool,
    ) -> Vec<Undelivered> {
        let begun = Instant::now();
        loop {
            let left = self.store.undelivered(&subscription.project_id, subscription.id, 100).await.unwrap();
            if wanted(&left) {
                return left;
            }
            assert!(begun.elapsed() < PATIENT, "these are not the expected notifications: {left:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn notifier(&self) -> Running {
        Running::new(Arc::clone(&self.store), &OutboundConfig::default())
    }
}

/// A running notifier. It ends when dropped.
struct Running {
    _task: AbortOnDropHandle<()>,
}

impl Running {
    fn new(store: Arc<dyn Store>, settings: &OutboundConfig) -> Self {
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
        filter: NotificationFilter(filter.as_object().unwrap().clone()),
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

fn summaries(received: &[Received]) -> Vec<String> {
    received.iter().map(Received::summary).collect()
}

/// The accepted notifications by VNF instance, in order.
fn by_instance(received: &[Received]) -> BTreeMap<String, Vec<String>> {
    let mut summaries = BTreeMap::<String, Vec<String>>::new();
    for one in received {
        summaries.entry(one.body["vnfInstanceId"].as_str().unwrap().to_owned()).or_default().push(one.summary());
    }
    summaries
}

async fn claim(outbox: &OutboxFixture) -> gybe::store::ClaimedSubscription {
    loop {
        match outbox.store.claim_subscription("test", PATIENT, &[]).await.unwrap() {
            OutboxClaim::Work(addressee) => return *addressee,
            OutboxClaim::Idle(due) => tokio::time::sleep(due.unwrap()).await,
        }
    }
}

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
