//! A connection pool that can be replaced while it is in use. When a server falls silent, each connection of a pool would
//! wait for a timeout of its own; new connections are available sooner.

use std::sync::{Arc, PoisonError, RwLock};

use sqlx::Pool;

/// A connection pool that can be replaced. Clones share the pool.
pub(super) struct ReplaceablePool<D: sqlx::Database>(Arc<RwLock<Pool<D>>>);

impl<D: sqlx::Database> ReplaceablePool<D> {
    pub fn new(pool: Pool<D>) -> Self {
        Self(Arc::new(RwLock::new(pool)))
    }

    pub fn get(&self) -> Pool<D> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the pool. Returns the previous one.
    pub fn replace(&self, pool: Pool<D>) -> Pool<D> {
        std::mem::replace(&mut *self.0.write().unwrap_or_else(PoisonError::into_inner), pool)
    }
}

impl<D: sqlx::Database> Clone for ReplaceablePool<D> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}
