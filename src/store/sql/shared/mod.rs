//! What both engines share: the database handle, the way into a transaction, and how rows are read. The statements are in
//! the child modules: each implements one trait of the store for [`Database`].
//!
//! This directory is compiled twice (see `crate::store::sql`): `super` is `sqlite` the first time, `postgres` the second.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::types::Json;
use sqlx::{Pool, Row as _};
use time::OffsetDateTime;
use tracing::Instrument as _;
use tracing::field::Empty;

use super::{BackgroundTasks, Db, ENGINE, FilterReader, Tx, Writer, bounded};
use crate::domain::ids::ProjectId;
use crate::domain::quota::Quotas;
use crate::metrics::StoreMetrics;
use crate::store::StoreError;
use crate::store::seal::{KeyRing, SealContext, SealError};
use crate::store::sql::Signals;
use crate::store::sql::convert::{Unreadable, time};
use crate::store::sql::definition_cache::DefinitionFileCache;
use crate::store::sql::endings::Endings;
use crate::store::sql::pool::ReplaceablePool;
use crate::traces::TRACES;

mod audit;
mod events;
mod filters;
pub(super) mod inspect;
mod instances;
mod leases;
mod live_operation;
mod metering;
mod namespaces;
mod onboarding;
mod op_occs;
mod outbox;
mod packages;
mod plans;
mod publish;
mod quotas;
mod requests;
mod resources;
mod retention;
pub(super) mod sealing;
mod sessions;
mod shares;
mod steps;
mod subscriptions;
mod tenancy;
mod vims;

type Row = <Db as sqlx::Database>::Row;
type Arguments = <Db as sqlx::Database>::Arguments;
type Query<'q> = sqlx::query::Query<'q, Db, Arguments>;
type QueryBuilder = sqlx::QueryBuilder<Db>;

/// A database of one engine.
pub(super) struct Database {
    reader: ReplaceablePool<Db>,
    filter_reader: FilterReader,
    writer: Writer,
    keys: KeyRing,
    signals: Signals,
    endings: Endings,
    files: DefinitionFileCache,
    metrics: StoreMetrics,
    /// The limits of projects without their own.
    configured_quotas: OnceLock<Quotas>,
    /// Whether the last published creation of a VNF instance had subscribers. A hint, see `create_instance`.
    creations_have_audience: AtomicBool,
    _tasks: BackgroundTasks,
}

impl Database {
    pub(super) fn new(
        reader: ReplaceablePool<Db>,
        filter_reader: FilterReader,
        writer: Writer,
        keys: KeyRing,
        signals: Signals,
        endings: Endings,
        tasks: BackgroundTasks,
    ) -> Self {
        let (files, metrics) = (DefinitionFileCache::new(), StoreMetrics::default());
        let creations_have_audience = AtomicBool::new(false);
        Self {
            reader,
            filter_reader,
            writer,
            keys,
            signals,
            endings,
            files,
            metrics,
            configured_quotas: OnceLock::new(),
            creations_have_audience,
            _tasks: tasks,
        }
    }

    /// For statements outside transactions that only read. All others use `writer`.
    fn reader(&self) -> Pool<Db> {
        self.reader.get()
    }

    /// Runs one call of the store within the time that the engine allows, in a span called `name`, and counts its failure.
    async fn traced<T>(
        &self,
        name: &'static str,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let span = tracing::info_span!(target: TRACES, "store", otel.kind = "client", otel.status_code = Empty,
            otel.name = name, db.system.name = ENGINE);
        let call = async {
            let done = call.await;
            // The caller reads again and repeats the call: it must read what overtook it.
            if matches!(done, Err(StoreError::Stale)) {
                self.writer.settled().await;
            }
            done
        };
        let done = bounded(call).instrument(span.clone()).await;
        done.inspect_err(|error| {
            if let Some(kind) = error.failure() {
                self.metrics.failed(kind);
                span.record("otel.status_code", "ERROR");
            }
        })
    }

    /// Wakes the conductors of this process: there may be something to claim. Call it after the commit.
    fn wake_ours(&self) {
        self.signals.work();
    }

    /// Seals `secrets`. `None` if there are none, so that a row without secrets needs no key.
    fn seal<K: Serialize, V: Serialize>(
        &self,
        context: &SealContext<'_>,
        secrets: &BTreeMap<K, V>,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        if secrets.is_empty() {
            return Ok(None);
        }
        self.keys.seal(context, secrets).map(Some).map_err(StoreError::Seal)
    }

    /// Opens what [`Database::seal`] made.
    fn open<K: DeserializeOwned + Ord, V: DeserializeOwned>(
        &self,
        context: &SealContext<'_>,
        sealed: Option<Vec<u8>>,
    ) -> Result<BTreeMap<K, V>, SealError> {
        sealed.map_or_else(|| Ok(BTreeMap::new()), |sealed| self.keys.open(context, &sealed))
    }
}

/// Reads a row that has an `id`; if that fails, tells which row it was.
fn read<T>(
    table: &'static str,
    row: &Row,
    convert: impl FnOnce(&Row) -> Result<T, Unreadable>,
) -> Result<T, StoreError> {
    convert(row).map_err(|error| StoreError::Corrupt {
        table,
        id: row.try_get("id").unwrap_or_default(),
        reason: error.to_string(),
    })
}

fn json<T: DeserializeOwned + 'static>(row: &Row, column: &str) -> Result<T, sqlx::Error> {
    row.try_get::<Json<T>, _>(column).map(|Json(value)| value)
}

fn optional_json<T: DeserializeOwned + 'static>(row: &Row, column: &str) -> Result<Option<T>, sqlx::Error> {
    Ok(row.try_get::<Option<Json<T>>, _>(column)?.map(|Json(value)| value))
}

fn point_in_time(row: &Row, column: &str) -> Result<OffsetDateTime, Unreadable> {
    time(row.try_get(column)?)
}

fn project(row: &Row) -> Result<ProjectId, sqlx::Error> {
    row.try_get("project_id").map(ProjectId)
}

/// Whether `error` says that a unique rule was broken.
fn is_unique_violation(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation)
}

/// Whether `error` says that another row refers to the row, or that the row it refers to is not there.
fn is_foreign_key_violation(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_foreign_key_violation)
}
