//! The parts of a process that work beside its server, such as the conductor: how they start, and in which order all stops. Only
//! [`super::run`] uses it.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use futures::FutureExt as _;
use futures::future::join_all;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::AppError;

/// Time to hand over operations at the end. Each takes one write; only an unreachable database takes longer.
const HAND_OVER: Duration = Duration::from_secs(10);

/// Signals that stop a process.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    /// Report not ready, claim nothing more and hand over operations; stop answering after `--stop-delay`.
    pub begun: CancellationToken,
    /// End the delay.
    pub at_once: CancellationToken,
}

/// The parts that were started.
pub(super) struct Parts {
    running: Vec<JoinHandle<Result<(), AppError>>>,
    stop: Stop,
}

impl Parts {
    pub(super) const fn new(stop: Stop) -> Self {
        Self { running: Vec::new(), stop }
    }

    /// Starts a part without which the process is useless. It ends by itself when it is given that the process stops. If it panics, the
    /// process stops in order and fails, so that its supervisor restarts it.
    pub(super) fn start<W>(&mut self, name: &'static str, part: impl FnOnce(CancellationToken) -> W)
    where
        W: Future<Output = ()> + Send + 'static,
    {
        let (work, stop) = (part(self.stop.begun.clone()), self.stop.clone());
        self.running.push(tokio::spawn(async move {
            AssertUnwindSafe(work).catch_unwind().await.map_err(|_| {
                tracing::error!("the {name} panicked: the process stops");
                stop.begun.cancel();
                AppError::Panicked(name)
            })
        }));
    }

    /// Waits for the stop, then ends the parts and after them, not before `delay` is over, the server.
    ///
    /// The order matters: a connection to the database lives on the runtime that opened it, which may be one of the
    /// server's workers. Without that worker, operations cannot be handed over through the connection.
    pub(super) async fn end(self, server: ServerHandle, delay: Duration) -> Result<(), AppError> {
        let Self { running, stop } = self;
        stop.begun.cancelled().await;
        let delay = async {
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                () = stop.at_once.cancelled() => {}
            }
        };
        let handed_over = tokio::time::timeout(HAND_OVER, join_all(running));
        let ended = tokio::join!(handed_over, delay).0.unwrap_or_else(|_| {
            tracing::error!(
                "cannot hand over operations in time; other conductors take them over when their leases expire"
            );
            Vec::new()
        });
        server.stop(true).await;
        // No part is aborted. A part that panicked returns an error.
        ended.into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn panicking_part_stops_the_process_with_an_error() {
        let stop = Stop::default();
        let mut parts = Parts::new(stop.clone());
        parts.start("view", async |_| panic!("a defect"));
        stop.begun.cancelled().await;
        let ended = parts.running.remove(0).await.unwrap();
        assert_eq!(ended.unwrap_err().to_string(), "the view panicked");
        assert!(!stop.at_once.is_cancelled());
    }
}
