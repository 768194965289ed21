//! CPU-bound work of some milliseconds, such as reading YAML or a ZIP, off the async threads.

use tokio::sync::Semaphore;

use crate::domain::problem::{Panic, Problem};
use crate::error::internal;

/// Concurrent calls of [`blocking`]. Each may take a core and tens of megabytes; more of them would be no faster.
const CONCURRENCY: usize = 8;
static SLOTS: Semaphore = Semaphore::const_new(CONCURRENCY);

/// Runs `work` on a blocking thread as soon as one of the slots is free.
///
/// # Errors
/// Those of `work`; 500 if it panics.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    // The semaphore is never closed. The slot is freed when the work ends, even if the caller has gone.
    let slot = SLOTS.acquire().await;
    let work = move || {
        let _slot = slot;
        work()
    };
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(match error.try_into_panic() {
            Ok(panic) => internal(&Panic::of(&*panic)),
            Err(cancelled) => internal(&cancelled),
        })
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use futures::future::join_all;

    use super::*;

    #[tokio::test]
    async fn limits_concurrency_and_runs_everything() {
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let works = (0..5 * CONCURRENCY).map(|number| {
            let (running, most) = (Arc::clone(&running), Arc::clone(&most));
            blocking(move || {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(5));
                running.fetch_sub(1, Ordering::SeqCst);
                Ok(number)
            })
        });
        let done: Vec<usize> = join_all(works).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(done, (0..5 * CONCURRENCY).collect::<Vec<_>>());
        assert!((2..=CONCURRENCY).contains(&most.load(Ordering::SeqCst)), "{most:?}");
    }

    #[tokio::test]
    async fn a_panic_is_a_500_without_its_text_and_frees_the_slot() {
        for _ in 0..2 * CONCURRENCY {
            let problem = blocking::<()>(|| panic!("no row of {}", "hunter2".to_owned())).await.unwrap_err();
            assert_eq!(problem.status, 500);
            assert!(!problem.detail.contains("hunter2"));
        }
    }
}
