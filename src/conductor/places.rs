//! The places of a process: a place is for an operation that works. One that waits for readiness, for a removal or for a grant gives
//! its place back, and takes one again before its next write. VIMs share the places ([`FairShare`]).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};

use crate::domain::fair_share::FairShare;

/// A number of places. The conductor has two of them: for operations that work, and for all that it holds.
pub struct Places {
    state: Mutex<PlacesState>,
    /// Places became free that nobody waits for.
    freed: Notify,
}

struct PlacesState {
    share: FairShare,
    /// Who waits for a place, by VIM; the VIM whose turn is next is first.
    queue: VecDeque<(String, VecDeque<oneshot::Sender<Place>>)>,
}

/// Places that the operations of a claim will have.
pub struct Reservation {
    places: Arc<Places>,
    count: usize,
}

/// A place, until it is dropped.
pub struct Place {
    places: Arc<Places>,
    vim: String,
}

impl Places {
    /// That many places.
    pub fn new(count: usize) -> Arc<Self> {
        let state = PlacesState { share: FairShare::new(count), queue: VecDeque::new() };
        Arc::new(Self { state: Mutex::new(state), freed: Notify::new() })
    }

    /// Waits until a place is free, and reserves some: at most `most`, and at most half of those that are free, so that the VIM of
    /// one claim does not get the last ones.
    pub async fn reserve(self: &Arc<Self>, most: usize) -> Reservation {
        loop {
            let freed = self.freed.notified();
            {
                let mut state = self.lock();
                let free = state.share.free();
                if free > 0 {
                    let count = most.min((free / 2).max(1));
                    state.share.reserve(count);
                    return Reservation { places: Arc::clone(self), count };
                }
            }
            freed.await;
        }
    }

    /// The VIMs that have their share. An operation of another one may begin.
    pub fn crowded(&self) -> Vec<String> {
        self.lock().share.crowded()
    }

    /// Completes when a place becomes free after the first poll.
    pub fn freed(&self) -> impl Future<Output = ()> {
        self.freed.notified()
    }

    /// Waits for a place for the VIM. VIMs get places in turn.
    async fn take(self: &Arc<Self>, vim: &str) -> Place {
        let (sender, receiver) = oneshot::channel();
        {
            let mut state = self.lock();
            match state.queue.iter_mut().find(|(waiting, _)| waiting == vim) {
                Some((_, waiting)) => waiting.push_back(sender),
                None => state.queue.push_back((vim.to_owned(), VecDeque::from([sender]))),
            }
        }
        self.serve();
        match receiver.await {
            Ok(place) => place,
            // The senders live as long as the queue, which `self` keeps.
            Err(_) => std::future::pending().await,
        }
    }

    /// Gives free places to those that wait.
    fn serve(self: &Arc<Self>) {
        // A place that nobody takes any more is dropped after the lock, which its drop needs.
        while let Some((sender, place)) = self.next() {
            drop(sender.send(place));
        }
    }

    fn next(self: &Arc<Self>) -> Option<(oneshot::Sender<Place>, Place)> {
        let mut state = self.lock();
        for _ in 0..state.queue.len() {
            let (vim, mut waiting) = state.queue.pop_front()?;
            waiting.retain(|sender| !sender.is_closed());
            let next = if state.share.may_take(&vim) { waiting.pop_front() } else { None };
            let place = next.map(|sender| (sender, Place { places: Arc::clone(self), vim: vim.clone() }));
            if place.is_some() {
                state.share.reserve(1);
                state.share.assign(&vim);
            }
            if !waiting.is_empty() {
                state.queue.push_back((vim, waiting));
            }
            if place.is_some() {
                return place;
            }
        }
        None
    }

    fn lock(&self) -> MutexGuard<'_, PlacesState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reservation {
    /// How many places.
    pub const fn count(&self) -> usize {
        self.count
    }

    /// Gives one of the places to an operation in `vim`; `None` if none is left.
    pub fn assign(&mut self, vim: &str) -> Option<Place> {
        self.count = self.count.checked_sub(1)?;
        self.places.lock().share.assign(vim);
        Some(Place { places: Arc::clone(&self.places), vim: vim.to_owned() })
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.places.lock().share.release(self.count);
        self.places.serve();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().share.give_back(&self.vim);
        self.places.serve();
        self.places.freed.notify_waiters();
    }
}

/// The place of one operation, which it has while it works.
pub struct WorkPlace {
    places: Arc<Places>,
    vim: String,
    place: Mutex<Option<Place>>,
}

impl WorkPlace {
    /// The operation has `place`.
    pub fn new(place: Place) -> Self {
        Self { places: Arc::clone(&place.places), vim: place.vim.clone(), place: Mutex::new(Some(place)) }
    }

    /// Waits without a place, and takes one again afterwards. Not after an error: the operation ends or is postponed then.
    ///
    /// # Errors
    /// Those of `waiting`.
    pub async fn without<T, E>(&self, waiting: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        self.set(None);
        let done = waiting.await?;
        let place = self.places.take(&self.vim).await;
        self.set(Some(place));
        Ok(done)
    }

    fn set(&self, place: Option<Place>) {
        let former = std::mem::replace(&mut *self.place.lock().unwrap_or_else(PoisonError::into_inner), place);
        drop(former);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures::FutureExt as _;

    use super::*;

    async fn taken(places: &Arc<Places>, vim: &str) -> Place {
        places.take(vim).await
    }

    #[tokio::test]
    async fn vims_get_places_in_turn() {
        let places = Places::new(1);
        let first = taken(&places, "a").await;
        let (mut a, mut again, mut b) = (pin!(places.take("a")), pin!(places.take("a")), pin!(places.take("b")));
        assert!(a.as_mut().now_or_never().is_none() && again.as_mut().now_or_never().is_none());
        assert!(b.as_mut().now_or_never().is_none());
        drop(first);
        let second = a.now_or_never().unwrap();
        assert!(again.as_mut().now_or_never().is_none());
        drop(second);
        drop(b.now_or_never().expect("the other VIM is next"));
        drop(again.now_or_never().unwrap());
        assert_eq!(places.reserve(8).await.count(), 1);
    }

    #[tokio::test]
    async fn a_waiting_operation_has_no_place_and_one_that_gives_up_takes_none() {
        let places = Places::new(1);
        let mut reserved = places.reserve(8).await;
        let work = WorkPlace::new(reserved.assign("a").unwrap());
        drop(reserved);
        assert!(places.reserve(1).now_or_never().is_none());
        let other = work.without(async { Ok::<_, ()>(places.reserve(1).now_or_never().map(|it| it.count())) });
        assert_eq!(other.await, Ok(Some(1)), "while it waits");
        assert!(places.reserve(1).now_or_never().is_none(), "it has one again");
        assert!(pin!(places.take("b")).now_or_never().is_none(), "this one gives up");
        work.without(async { Err::<(), _>(()) }).await.unwrap_err();
        assert_eq!(places.reserve(1).now_or_never().map(|it| it.count()), Some(1));
    }

    #[tokio::test]
    async fn a_vim_with_its_share_leaves_places_to_others() {
        let places = Places::new(4);
        let mut held = Vec::new();
        while places.crowded().is_empty() {
            let mut reserved = places.reserve(8).await;
            held.extend(std::iter::from_fn(|| reserved.assign("a")));
        }
        assert_eq!(held.len(), 3);
        assert!(pin!(places.take("a")).now_or_never().is_none());
        assert!(pin!(places.take("b")).now_or_never().is_some());
    }
}
