//! Broadcasts that an operation has ended: to the view of this process directly, and to other processes through
//! [`Endings::with_other_processes`].

use tokio::sync::{broadcast, mpsc};

use crate::store::OperationEnded;

/// Maximum number of events that wait for a receiver. A receiver that lags behind gets an error and reads all instances.
const CAPACITY: usize = 4096;

/// The senders of [`OperationEnded`].
pub(super) struct Endings {
    ours: broadcast::Sender<OperationEnded>,
    others: Option<mpsc::UnboundedSender<OperationEnded>>,
}

impl Endings {
    /// Sends within this process only.
    pub fn within_process() -> Self {
        Self { ours: broadcast::Sender::new(CAPACITY), others: None }
    }

    /// Sends within this process, and to the returned receiver, which forwards to other processes.
    pub fn with_other_processes() -> (Self, mpsc::UnboundedReceiver<OperationEnded>) {
        let (others, queue) = mpsc::unbounded_channel();
        (Self { ours: broadcast::Sender::new(CAPACITY), others: Some(others) }, queue)
    }

    /// Call it only after the commit.
    pub fn send(&self, ended: OperationEnded) {
        // Fails if there is no receiver.
        let _ = self.ours.send(ended);
        if let Some(others) = &self.others {
            let _ = others.send(ended);
        }
    }

    /// The sender to the receivers of this process, for events of other processes.
    pub fn local_sender(&self) -> broadcast::Sender<OperationEnded> {
        self.ours.clone()
    }

    pub fn subscribe(&self) -> broadcast::Receiver<OperationEnded> {
        self.ours.subscribe()
    }
}
