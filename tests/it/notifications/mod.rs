//! Notifications and subscriptions: the outbox and the notifier on their own, and the whole through the real binary.

mod authentication;
mod callback_outage;
mod delivery;
mod outbox;
mod subscriptions;

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gybe::clock::{Clock as _, Ids as _, System};
use gybe::domain::ids::{ProjectId, SubscriptionId, VnfLcmOpOccId};
use gybe::domain::instance::VnfInstance;
use gybe::domain::interface::{Edition, Interface};
use gybe::domain::op_occ::{LcmOperation, OpState, VnfLcmOpOcc};
use gybe::domain::package::Content;
use gybe::domain::plan::Plan;
use gybe::domain::problem::Problem;
use gybe::domain::secret::Secret;
use gybe::domain::subscription::{AuthType, Authentication, PASSWORD, Subscription, Undelivered, Verbosity};
use gybe::domain::vim::Secrets;
use gybe::domain::vnfd::{Flavour, Vnfd};
use gybe::notify::Notifier;
use gybe::notify::callback::{Callbacks, OutboundConfig};
use gybe::store::{OnboardedVnfd, OutboxClaim, Store, Subscribed};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::support::postgres::Database;
use crate::support::store::{instance, onboarded, open, outcome, record, store_plan, work};
use crate::support::subscriber::Received;

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
        let id = VnfLcmOpOccId(System.uuid());
        let op = VnfLcmOpOcc::starting(id, LcmOperation::Heal, &instance, json!({}), System.now());
        self.store.begin_operation(&op, &instance).await.unwrap();
        op.id
    }

    /// Takes the operation that is there, plans it and ends it in `to`.
    async fn end(&self, to: OpState) {
        let claimed = work(self.store.claim("test", PATIENT, 1).await.unwrap());
        if claimed.op.state == OpState::Starting {
            store_plan(&*self.store, &claimed.lease, PATIENT, &Plan::default(), &[], System.now()).await.unwrap();
        }
        let from = if claimed.op.state == OpState::Starting { OpState::Processing } else { claimed.op.state };
        let error = (to != OpState::Completed).then(|| Problem::conflict("stopped"));
        let ending = outcome(&record(from), to, error, System.now());
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
        Running::new(Arc::clone(&self.store), &OutboundConfig::default())
    }
}

/// A notifier at work; killed when dropped.
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

async fn claim(outbox: &OutboxSite) -> gybe::store::ClaimedSubscription {
    loop {
        match outbox.store.claim_subscription("test", PATIENT).await.unwrap() {
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
