//! What can go wrong in the store, and which of it passes by itself. Callers get it from every method of [`super::Store`].

use std::path::PathBuf;

use crate::domain::ids::VnfLcmOpOccId;
use crate::store::seal;
use crate::store::sql::FILTER_DEADLINE;

/// Why a store method did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no such row, or it is another project's.
    #[error("no such row")]
    NotFound,
    /// The row is not in the state, or no longer of the version, that the caller saw.
    #[error("the row changed meanwhile")]
    Stale,
    /// The row is of no version that the caller takes.
    #[error("the row is of another version")]
    OtherVersion,
    /// Another row has the same unique value.
    #[error("{0} is taken")]
    Duplicate(&'static str),
    /// The VNF instance has an operation that is not over.
    #[error("operation {0} of this VNF instance is not over")]
    Busy(VnfLcmOpOccId),
    /// Other rows refer to the row.
    #[error("the row is in use")]
    InUse,
    /// The lease ran out and somebody else may hold the operation: write nothing more.
    #[error("the lease is lost")]
    LeaseLost,
    /// A row can't be read back: a defect, or a key that is not the one it was sealed with.
    #[error("{table} {id}: {reason}")]
    Corrupt {
        /// The table.
        table: &'static str,
        /// The row.
        id: String,
        /// What is wrong.
        reason: String,
    },
    /// A secret can't be sealed.
    #[error("the secrets can't be stored")]
    Seal(#[source] seal::SealError),
    /// The URL names no database that Gybe can use.
    #[error("the database URL must be sqlite://PATH or postgres://...")]
    Url,
    /// Another process has the SQLite file open.
    #[error("{} is in use by another process: a SQLite database serves one process; several need PostgreSQL", path.display())]
    Held {
        /// The database file.
        path: PathBuf,
    },
    /// The database file or the lock file beside it can't be opened.
    #[error("{} can't be opened", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A statement of a filtered list was stopped at its deadline.
    #[error("the filter takes longer than {} s", FILTER_DEADLINE.as_secs())]
    FilterDeadline,
    /// The schema is not there or is an older release's.
    #[error("the database's schema is not up to date: run `gybe migrate`")]
    NotMigrated,
    /// The database did not answer in time; a write may have taken effect.
    #[error("the database does not answer")]
    Silent,
    /// The database did not answer as it should.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    /// The schema could not be brought up to date.
    #[error("migrating the database failed")]
    Migrate(#[from] sqlx::migrate::MigrateError),
}

impl StoreError {
    /// Whether the database can't be reached at the moment. A write may have taken effect.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Silent => true,
            Self::Database(error) => is_outage(error),
            _ => false,
        }
    }

    /// Whether it lies in the database, which may do the same later, and not in what was asked of it.
    pub fn is_passing(&self) -> bool {
        self.is_outage() || matches!(self, Self::Database(sqlx::Error::PoolTimedOut))
    }

    /// What kind of failure it is, for the metrics; `None` if the store did its work by saying no.
    pub(super) fn failure(&self) -> Option<&'static str> {
        match self {
            Self::Database(sqlx::Error::PoolTimedOut) => Some("no-connection-free"),
            Self::Database(_) | Self::Silent => Some("database"),
            Self::Corrupt { .. } | Self::Seal(_) => Some("unreadable"),
            Self::LeaseLost => Some("lease-lost"),
            Self::FilterDeadline => Some("filter-deadline"),
            _ => None,
        }
    }
}

/// Whether the error is about the way to the database, or about the server on its way out or in, rather than about what was
/// asked of it.
fn is_outage(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => true,
        // PostgreSQL's class 08 is of connections; 57P01 to 57P03 are said by a server that stops, crashed or starts.
        sqlx::Error::Database(error) => error
            .code()
            .is_some_and(|code| code.starts_with("08") || matches!(code.as_ref(), "57P01" | "57P02" | "57P03")),
        _ => false,
    }
}
