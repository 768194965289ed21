//! The errors of the store, and which of them are transient. Every method of [`super::Store`] returns them.

use std::path::PathBuf;

use crate::domain::ids::VnfLcmOpOccId;
use crate::domain::quota::QuotaExceeded;
use crate::store::FILTER_DEADLINE;
use crate::store::seal;

/// Why a method of the store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The row does not exist, or belongs to another project.
    #[error("no such row")]
    NotFound,
    /// The row no longer has the state or the version that the caller read.
    #[error("the row changed meanwhile")]
    Stale,
    /// The row has none of the versions that the caller accepts.
    #[error("the row has another version")]
    OtherVersion,
    /// Another row has the same unique value.
    #[error("{0} is already used")]
    Duplicate(&'static str),
    /// VNF instances of another project are in the namespace.
    #[error("instances of another project are in the namespace")]
    NamespaceTaken,
    /// The namespace is registered for another project, or is to be deleted.
    #[error("the namespace is registered for another project, or is to be deleted")]
    NamespaceReserved,
    /// The VNF instance has a live operation.
    #[error("operation {0} of this VNF instance has not ended")]
    Busy(VnfLcmOpOccId),
    /// There are as many rows as allowed.
    #[error("there are {most} {what}, which is the limit")]
    Full {
        /// What there are, in the plural.
        what: &'static str,
        /// How many are allowed.
        most: usize,
    },
    /// The project's quota has no room.
    #[error(transparent)]
    QuotaExceeded(QuotaExceeded),
    /// Other rows refer to the row.
    #[error("the row is in use")]
    InUse,
    /// The lease expired and another conductor may hold the operation. The caller must not write anything more.
    #[error("the lease is lost")]
    LeaseLost,
    /// A row cannot be read: a defect, or the key that sealed its secrets is missing.
    #[error("{table} {id}: {reason}")]
    Corrupt {
        /// The table.
        table: &'static str,
        /// The identifier of the row.
        id: String,
        /// Why it cannot be read.
        reason: String,
    },
    /// The secrets of a row cannot be sealed.
    #[error("the secrets cannot be sealed")]
    Seal(#[source] seal::SealError),
    /// Keys sealed values in the database, and the key ring lacks these keys.
    #[error(
        "the database has secrets that the key {0} sealed, and the key ring does not have this key: put the key file back, or add the key to it as a further line; without it the secrets are lost"
    )]
    MissingKeys(String),
    /// The URL does not name a database of a supported engine.
    #[error("the database URL must be sqlite://PATH or postgres://...")]
    InvalidUrl,
    /// Another process uses the SQLite file.
    #[error("{} is in use by another process: SQLite supports one process; use PostgreSQL for several", path.display())]
    FileInUse {
        /// The database file.
        path: PathBuf,
    },
    /// The database file or its lock file cannot be opened.
    #[error("{} cannot be opened", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The statement of a filtered list was stopped at its deadline.
    #[error("the filter takes longer than {} s", FILTER_DEADLINE.as_secs())]
    FilterDeadline,
    /// The schema is missing or belongs to an older release.
    #[error("the database's schema is not up to date: run `gybe migrate`")]
    NotMigrated,
    /// The database did not answer in time. A write may have taken effect.
    #[error("the database does not answer")]
    NoAnswer,
    /// The database returned an error.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    /// A migration failed.
    #[error("migrating the database failed")]
    Migrate(#[from] sqlx::migrate::MigrateError),
}

impl StoreError {
    /// Whether the database is unreachable. A write may have taken effect.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::NoAnswer => true,
            Self::Database(error) => is_outage(error),
            _ => false,
        }
    }

    /// Whether the same call can succeed later: the database is unreachable, has no free connection, or is locked.
    pub fn is_transient(&self) -> bool {
        self.is_outage() || self.is_locked() || matches!(self, Self::Database(sqlx::Error::PoolTimedOut))
    }

    /// Whether the database stopped the statement because it waited too long for others, such as a migration. Nothing of it took
    /// effect.
    pub fn is_locked(&self) -> bool {
        matches!(self, Self::Database(sqlx::Error::Database(error)) if is_locked(error.code().as_deref()))
    }

    /// The kind of failure for the metrics. `None`: the store works, and refused the call.
    pub(super) fn failure(&self) -> Option<&'static str> {
        match self {
            Self::Database(sqlx::Error::PoolTimedOut) => Some("no-connection-free"),
            Self::Database(_) | Self::NoAnswer => Some("database"),
            Self::Corrupt { .. } | Self::Seal(_) => Some("unreadable"),
            Self::LeaseLost => Some("lease-lost"),
            Self::FilterDeadline => Some("filter-deadline"),
            _ => None,
        }
    }
}

/// PostgreSQL: lock_not_available, deadlock_detected, serialization_failure, query_canceled (`statement_timeout`).
fn is_locked(code: Option<&str>) -> bool {
    matches!(code, Some("55P03" | "40P01" | "40001" | "57014"))
}

/// Whether the connection failed, or the server is starting or stopping.
fn is_outage(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => true,
        // PostgreSQL: class 08 is connection errors; 57P01 to 57P03 come from a server that stops, has crashed or starts.
        sqlx::Error::Database(error) => error
            .code()
            .is_some_and(|code| code.starts_with("08") || matches!(code.as_ref(), "57P01" | "57P02" | "57P03")),
        _ => false,
    }
}
