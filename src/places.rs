//! Places that projects and VIMs share ([`FairShare`]): for operations that work, packages that are checked or fetched, subscriptions that are
//! served, requests. An operation that waits for readiness, for a removal or for a grant gives its place back, and takes one again before
//! its next write ([`WorkPlace`]).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};

use crate::domain::fair_share::{Crowded, FairShare, Sharer};

/// A number of places for one kind of work.
pub struct Places {
    state: Mutex<PlacesState>,
    /// Places became free that nobody waits for.
    freed: Notify,
}

struct PlacesState {
    share: FairShare,
    /// Who waits for a place. Of those with equally many places, the first one's turn is next.
    queue: VecDeque<(Sharer, VecDeque<oneshot::Sender<Place>>)>,
}

/// Places that the operations of a claim will have.
pub struct Reservation {
    places: Arc<Places>,
    count: usize,
}

/// A place, until it is dropped.
pub struct Place {
    places: Arc<Places>,
    sharer: Sharer,
}

impl Places {
    /// That many places.
    pub fn new(count: usize) -> Arc<Self> {
        let state = PlacesState { share: FairShare::new(count), queue: VecDeque::new() };
        Arc::new(Self { state: Mutex::new(state), freed: Notify::new() })
    }

    /// Waits until a place is free, and reserves some: at most `most`, and at most half of those that are free, so that the project
    /// of one claim does not get the last ones.
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

    /// Completes when a place becomes free after this call.
    pub fn freed(&self) -> impl Future<Output = ()> {
        self.freed.notified()
    }

    /// Waits for a place. Who has fewest gets the next one: projects first, then the VIMs of a project.
    pub async fn take(self: &Arc<Self>, sharer: &Sharer) -> Place {
        let (sender, receiver) = oneshot::channel();
        {
            let mut state = self.lock();
            match state.queue.iter_mut().find(|(waiting, _)| waiting == sharer) {
                Some((_, waiting)) => waiting.push_back(sender),
                None => state.queue.push_back((sharer.clone(), VecDeque::from([sender]))),
            }
        }
        self.serve();
        match receiver.await {
            Ok(place) => place,
            // The senders live as long as the queue, which `self` keeps.
            Err(_) => std::future::pending().await,
        }
    }

    /// A place, if there is one that the sharer may have now.
    pub fn try_take(self: &Arc<Self>, sharer: &Sharer) -> Option<Place> {
        let mut state = self.lock();
        state.share.may_take(sharer).then(|| {
            state.share.reserve(1);
            state.share.assign(sharer);
            Place { places: Arc::clone(self), sharer: sharer.clone() }
        })
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
        let PlacesState { share, queue } = &mut *state;
        queue.retain_mut(|(_, waiting)| {
            waiting.retain(|sender| !sender.is_closed());
            !waiting.is_empty()
        });
        let turns = queue.iter().enumerate().filter(|(_, (sharer, _))| share.may_take(sharer));
        let (turn, _) = turns.min_by_key(|(_, (sharer, _))| share.used(sharer))?;
        let (sharer, mut waiting) = queue.remove(turn)?;
        let sender = waiting.pop_front()?;
        share.reserve(1);
        share.assign(&sharer);
        let place = Place { places: Arc::clone(self), sharer: sharer.clone() };
        if !waiting.is_empty() {
            queue.push_back((sharer, waiting));
        }
        Some((sender, place))
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

    /// Who may get none of the places.
    pub fn crowded(&self) -> Crowded {
        self.places.lock().share.crowded(self.count)
    }

    /// Gives one of the places to an operation; `None` if none is left.
    pub fn assign(&mut self, sharer: &Sharer) -> Option<Place> {
        self.count = self.count.checked_sub(1)?;
        self.places.lock().share.assign(sharer);
        Some(Place { places: Arc::clone(&self.places), sharer: sharer.clone() })
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
        self.places.lock().share.give_back(&self.sharer);
        self.places.serve();
        self.places.freed.notify_waiters();
    }
}

/// The place of one operation, which it has while it works.
pub struct WorkPlace {
    places: Arc<Places>,
    sharer: Sharer,
    place: Mutex<Option<Place>>,
}

impl WorkPlace {
    /// The operation has `place`.
    pub fn new(place: Place) -> Self {
        Self { places: Arc::clone(&place.places), sharer: place.sharer.clone(), place: Mutex::new(Some(place)) }
    }

    /// Waits without a place, and takes one again afterwards. Not after an error: the operation ends or is postponed then.
    ///
    /// # Errors
    /// Those of `waiting`.
    pub async fn without<T, E>(&self, waiting: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        self.set(None);
        let done = waiting.await?;
        let place = self.places.take(&self.sharer).await;
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

    use crate::domain::ids::ProjectId;

    use super::*;

    fn sharer(project: &str, vim: &str) -> Sharer {
        Sharer { project: ProjectId(project.to_owned()), vim: Some(vim.to_owned()) }
    }

    #[tokio::test]
    async fn projects_and_their_vims_get_places_in_turn() {
        let places = Places::new(1);
        let [a1, a2, b1] = [sharer("a", "1"), sharer("a", "2"), sharer("b", "1")];
        let first = places.take(&a1).await;
        let (mut one, mut two) = (pin!(places.take(&a1)), pin!(places.take(&a1)));
        let (mut vim, mut project) = (pin!(places.take(&a2)), pin!(places.take(&b1)));
        for waiting in [&mut one, &mut two, &mut vim, &mut project] {
            assert!(waiting.as_mut().now_or_never().is_none());
        }
        drop(first);
        drop(one.now_or_never().expect("the longest waiting"));
        drop(vim.now_or_never().expect("another VIM is next"));
        drop(project.now_or_never().expect("another project is next"));
        drop(two.now_or_never().expect("the first VIM again"));
        assert_eq!(places.reserve(8).await.count(), 1);
    }

    #[tokio::test]
    async fn a_waiting_operation_has_no_place_and_one_that_gives_up_takes_none() {
        let places = Places::new(1);
        let mut reserved = places.reserve(8).await;
        let work = WorkPlace::new(reserved.assign(&sharer("a", "1")).unwrap());
        drop(reserved);
        assert!(places.reserve(1).now_or_never().is_none());
        let other = work.without(async { Ok::<_, ()>(places.reserve(1).now_or_never().map(|it| it.count())) });
        assert_eq!(other.await, Ok(Some(1)), "while it waits");
        assert!(places.reserve(1).now_or_never().is_none(), "it has one again");
        assert!(pin!(places.take(&sharer("b", "1"))).now_or_never().is_none(), "this one gives up");
        work.without(async { Err::<(), _>(()) }).await.unwrap_err();
        assert_eq!(places.reserve(1).now_or_never().map(|it| it.count()), Some(1));
    }

    #[tokio::test]
    async fn a_project_with_its_share_leaves_places_to_others() {
        let places = Places::new(8);
        let stuck = sharer("a", "1");
        let mut held = Vec::new();
        loop {
            let mut reserved = places.reserve(8).await;
            if !reserved.crowded().is_empty() {
                break;
            }
            held.extend(std::iter::from_fn(|| reserved.assign(&stuck)));
        }
        assert_eq!(held.len(), 6);
        assert!(pin!(places.take(&stuck)).now_or_never().is_none());
        assert!(pin!(places.take(&sharer("b", "1"))).now_or_never().is_some());
    }
}
