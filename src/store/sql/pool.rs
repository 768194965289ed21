//! A connection pool that can be replaced while it is in use: where connections may die without a word, waiting for each of
//! them to be found out takes longer than making new ones.

use std::sync::{Arc, PoisonError, RwLock};

use sqlx::Pool;

/// The pool of the moment. Clones share it.
pub(super) struct Current<D: sqlx::Database>(Arc<RwLock<Pool<D>>>);

impl<D: sqlx::Database> Current<D> {
    pub fn new(pool: Pool<D>) -> Self {
        Self(Arc::new(RwLock::new(pool)))
    }

    pub fn get(&self) -> Pool<D> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on `pool` is used; gives back the one before.
    pub fn replace(&self, pool: Pool<D>) -> Pool<D> {
        std::mem::replace(&mut *self.0.write().unwrap_or_else(PoisonError::into_inner), pool)
    }
}

impl<D: sqlx::Database> Clone for Current<D> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}
