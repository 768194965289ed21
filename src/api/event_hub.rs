//! [`EventHub`]: reads the journal once for all streams of the process. [`super::events`] has the streams.
//!
//! It reads while there is a stream, when the store signals events, and every few seconds in case a signal was lost. Streams share a bounded
//! buffer: one that lags behind it has missed events.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, broadcast, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::domain::caller::Caller;
use crate::domain::event::Event;
use crate::domain::fair_share::Sharer;
use crate::places::{Place, Places};
use crate::store::{Store, StoreError};

/// The most streams of a process. Projects share them.
const STREAMS: usize = 1000;
/// The events that a stream may lag behind.
const BUFFER: usize = 1024;
/// Events read at once.
const BATCH: usize = 500;
/// The store writes the journal for this time after the last stream ended, so that clients that come back miss nothing.
const WANTED: Duration = Duration::from_secs(600);
/// How often that is extended.
const EXTENDED: Duration = Duration::from_secs(60);
/// Events that come together are read together.
const COLLECT: Duration = Duration::from_millis(20);
/// Without a signal, the journal is read again after this time.
const RESCAN: Duration = Duration::from_secs(5);
/// The pause after the store failed.
const PAUSE: Duration = Duration::from_secs(1);

/// What streams receive; `None`: they have missed events.
pub type Received = Option<Arc<Event>>;

/// The reader of the journal.
pub struct EventHub {
    store: Arc<dyn Store>,
    received: broadcast::Sender<Received>,
    /// The last event that was sent, or is about to be; `None` until the journal was read.
    position: watch::Sender<Option<i64>>,
    demand: Notify,
    places: Arc<Places>,
    closing: CancellationToken,
}

/// The right of a stream to receive events, until it is dropped.
pub struct Subscriber {
    pub receiver: broadcast::Receiver<Received>,
    _place: Place,
}

impl EventHub {
    /// A hub that does not read yet.
    pub fn new(store: Arc<dyn Store>) -> Arc<Self> {
        let (received, position) = (broadcast::Sender::new(BUFFER), watch::Sender::new(None));
        let (demand, places, closing) = (Notify::new(), Places::new(STREAMS), CancellationToken::new());
        Arc::new(Self { store, received, position, demand, places, closing })
    }

    /// Subscribes to the events after the returned one. `None` if there are too many streams, of the caller's project or of all.
    pub async fn subscribe(&self, caller: &Caller) -> Option<(Subscriber, i64)> {
        let place = self.places.try_take(&Sharer::of(&caller.project))?;
        let subscriber = Subscriber { receiver: self.received.subscribe(), _place: place };
        self.demand.notify_one();
        // Read after the subscription: whatever was sent before is not after it.
        let position = self.position.subscribe().wait_for(Option::is_some).await.ok().and_then(|position| *position);
        position.map(|position| (subscriber, position))
    }

    /// The last event that was sent.
    pub fn position(&self) -> i64 {
        self.position.borrow().unwrap_or_default()
    }

    /// Cancelled when the process stops: the streams end.
    pub const fn closing(&self) -> &CancellationToken {
        &self.closing
    }

    /// Reads while there are streams, until `stop`. Then the streams end.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let _closes = self.closing.clone().drop_guard();
        while !stop.is_cancelled() {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.demand.notified() => {}
            }
            while !self.is_idle() && !stop.is_cancelled() {
                if let Err(error) = self.read(&stop).await {
                    tracing::warn!(error = &error as &dyn std::error::Error, "the journal of events can't be read");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Whether there is no stream. Then the position is forgotten: the next stream begins where the journal is by then.
    fn is_idle(&self) -> bool {
        // Under the lock of the position: a stream that subscribes meanwhile is counted, or waits for the next position.
        self.position.send_if_modified(|position| {
            let is_idle = self.received.receiver_count() == 0;
            if is_idle {
                *position = None;
            }
            is_idle
        })
    }

    /// Reads until there is no stream left, or the journal must be wanted again.
    async fn read(&self, stop: &CancellationToken) -> Result<(), StoreError> {
        let signal = self.store.events_signal();
        let bounds = self.store.want_events(WANTED).await?;
        let wanted = Instant::now();
        let known = *self.position.borrow();
        let mut position = known.filter(|position| bounds.has_all_after(*position)).unwrap_or(bounds.last);
        self.position.send_replace(Some(position));
        if known.is_some_and(|known| known != position) {
            self.send(None);
        }
        loop {
            let mut signalled = std::pin::pin!(signal.notified());
            signalled.as_mut().enable();
            while !self.pass_on(&mut position).await? {}
            if self.received.receiver_count() == 0 || wanted.elapsed() > EXTENDED {
                return Ok(());
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = &mut signalled => tokio::time::sleep(COLLECT).await,
                () = tokio::time::sleep(RESCAN) => {}
            }
        }
    }

    /// Passes on some of the events after `position`. Returns whether these were all. Streams have missed events if the next number is
    /// not there: the journal was cut before that was read, or began anew.
    async fn pass_on(&self, position: &mut i64) -> Result<bool, StoreError> {
        let events = self.store.events_after(*position, BATCH).await?;
        let is_all = events.len() < BATCH;
        if events.first().is_some_and(|first| first.sequence != *position + 1) {
            self.send(None);
        }
        for event in events {
            *position = event.sequence;
            // First the position: a stream that subscribes in between reads this event from the journal.
            self.position.send_replace(Some(event.sequence));
            self.send(Some(Arc::new(event)));
        }
        Ok(is_all)
    }

    fn send(&self, received: Received) {
        // Fails if there is no stream.
        let _ = self.received.send(received);
    }
}
