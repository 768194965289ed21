//! Who hears that an operation is over: the view of this process at once, those of others through [`Endings::outbound`].

use tokio::sync::{broadcast, mpsc};

use crate::store::OperationEnded;

/// So many may wait for a receiver; beyond, it is told that it lags and looks at all instances.
const WAITING: usize = 4096;

/// Hands endings on.
pub(super) struct Endings {
    ours: broadcast::Sender<OperationEnded>,
    others: Option<mpsc::UnboundedSender<OperationEnded>>,
}

impl Endings {
    /// Within this process only.
    pub fn here() -> Self {
        Self { ours: broadcast::Sender::new(WAITING), others: None }
    }

    /// Within this process, and to whoever takes them to the others.
    pub fn outbound() -> (Self, mpsc::UnboundedReceiver<OperationEnded>) {
        let (others, queue) = mpsc::unbounded_channel();
        (Self { ours: broadcast::Sender::new(WAITING), others: Some(others) }, queue)
    }

    /// Only after the commit. It is no matter if nobody listens.
    pub fn tell(&self, ended: OperationEnded) {
        let _ = self.ours.send(ended);
        if let Some(others) = &self.others {
            let _ = others.send(ended);
        }
    }

    /// What this process's receivers hear from, for what other processes told.
    pub fn inbound(&self) -> broadcast::Sender<OperationEnded> {
        self.ours.clone()
    }

    pub fn subscribe(&self) -> broadcast::Receiver<OperationEnded> {
        self.ours.subscribe()
    }
}
