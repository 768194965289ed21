//! Which keys sealed the secrets in the database, and their change.
//!
//! Each key that a process seals with has a row in `sealing_keys`: a text that this key sealed, the canary. A process whose key
//! ring lacks such a key refuses to start, so that a lost key is noticed before a new one takes its place.

use sqlx::{Executor as _, Row as _};

use super::super::Db;
use super::{QueryBuilder, Row};
use crate::store::StoreError;
use crate::store::seal::{KeyRing, SealContext, SealError};

/// A sealed column.
struct SealedColumn {
    table: &'static str,
    column: &'static str,
    /// The primary key. Its values, joined by spaces, are the row of the [`SealContext`].
    key: &'static [&'static str],
}

/// All sealed columns but the canaries.
const COLUMNS: [SealedColumn; 7] = [
    SealedColumn { table: "vims", column: "secrets", key: &["id"] },
    SealedColumn { table: "vnf_instances", column: "vim_secrets", key: &["id"] },
    SealedColumn { table: "subscriptions", column: "secrets", key: &["id"] },
    SealedColumn { table: "vnf_packages", column: "source", key: &["id"] },
    SealedColumn { table: "vnf_lcm_op_occs", column: "sealed_plan", key: &["id"] },
    SealedColumn { table: "kept_plans", column: "sealed_plan", key: &["id"] },
    SealedColumn {
        table: "vnf_resources",
        column: "sealed_manifest",
        key: &["vnf_instance_id", "api_version", "kind", "resource_name"],
    },
];

/// Rows per statement of [`rekey`].
const BATCH: usize = 200;

const CANARY: &str = "canary";

type Connection = <Db as sqlx::Database>::Connection;

/// Checks that `keys` open what is sealed in the database, and registers the key that seals.
///
/// # Errors
/// [`StoreError::MissingKeys`].
pub(in super::super) async fn check_keys(connection: &mut Connection, keys: &KeyRing) -> Result<(), StoreError> {
    let rows = sqlx::query("SELECT key_id AS id, canary FROM sealing_keys").fetch_all(&mut *connection).await?;
    let mut registered = Vec::new();
    let mut missing = Vec::new();
    for row in &rows {
        let id: String = row.try_get("id")?;
        match keys.open::<String>(&canary_of(&id), &row.try_get::<Vec<u8>, _>("canary")?) {
            Ok(_) => registered.push(id),
            Err(SealError::UnknownKey(_)) => missing.push(id),
            Err(error) => {
                return Err(StoreError::Corrupt { table: "sealing_keys", id, reason: error.to_string() });
            }
        }
    }
    // Before the first canary, and if a canary does not open, the sealed values decide.
    if rows.is_empty() || !missing.is_empty() {
        let used = keys_in_use(&mut *connection).await?;
        let lost: Vec<String> = used.into_iter().filter(|id| !keys.has(id)).collect();
        if !lost.is_empty() {
            return Err(StoreError::MissingKeys(lost.join(", ")));
        }
        // Nothing needs these keys any more.
        for id in missing {
            sqlx::query("DELETE FROM sealing_keys WHERE key_id = $1").bind(id).execute(&mut *connection).await?;
        }
    }
    register(connection, keys, &registered).await
}

/// Adds the canary of the key that seals, unless it is among `registered`.
async fn register(connection: &mut Connection, keys: &KeyRing, registered: &[String]) -> Result<(), StoreError> {
    let id = keys.sealing_key().map_err(StoreError::Seal)?;
    if !registered.contains(&id) {
        let canary = keys.seal(&canary_of(&id), &CANARY).map_err(StoreError::Seal)?;
        let insert =
            sqlx::query("INSERT INTO sealing_keys (key_id, canary) VALUES ($1, $2) ON CONFLICT (key_id) DO NOTHING");
        insert.bind(&id).bind(canary).execute(connection).await?;
    }
    Ok(())
}

const fn canary_of(key_id: &str) -> SealContext<'_> {
    SealContext { table: "sealing_keys", column: "canary", row: key_id }
}

/// The identifiers of the keys that sealed the values in the database.
async fn keys_in_use(connection: &mut Connection) -> Result<Vec<String>, StoreError> {
    let mut used = Vec::new();
    for SealedColumn { table, column, .. } in COLUMNS {
        let mut select = QueryBuilder::new("SELECT DISTINCT substr(");
        select.push(column).push(", 1, 8) AS id FROM ").push(table).push(" WHERE ").push(column).push(" IS NOT NULL");
        for row in connection.fetch_all(select.build()).await? {
            used.push(hex::encode(row.try_get::<Vec<u8>, _>("id")?));
        }
    }
    used.sort_unstable();
    used.dedup();
    Ok(used)
}

/// Whether the database has sealed values. A database without a schema has none.
pub(in super::super) async fn is_sealed(connection: &mut Connection) -> Result<bool, StoreError> {
    for SealedColumn { table, column, .. } in COLUMNS {
        let mut select = QueryBuilder::new("SELECT 1 FROM ");
        select.push(table).push(" WHERE ").push(column).push(" IS NOT NULL LIMIT 1");
        match connection.fetch_optional(select.build()).await {
            Ok(None) => {}
            Ok(Some(_)) => return Ok(true),
            // An earlier schema lacks the table or the column.
            Err(sqlx::Error::Database(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(false)
}

/// Seals all values with the first key of `keys` that other keys sealed. Returns how many. Other processes may write meanwhile.
///
/// # Errors
/// [`StoreError::Corrupt`] if a value cannot be opened. The values before it are sealed with the first key.
pub(in super::super) async fn rekey(connection: &mut Connection, keys: &KeyRing) -> Result<u64, StoreError> {
    check_keys(connection, keys).await?;
    let first = keys.sealing_key().map_err(StoreError::Seal)?;
    let first_bytes = hex::decode(&first).map_err(|_| StoreError::Seal(SealError::Failed))?;
    let mut number = 0;
    for of in &COLUMNS {
        loop {
            let mut select = QueryBuilder::new("SELECT ");
            select.push(of.key.join(", ")).push(", ").push(of.column).push(" FROM ").push(of.table);
            select.push(" WHERE ").push(of.column).push(" IS NOT NULL AND substr(").push(of.column);
            select.push(", 1, 8) <> ").push_bind(&first_bytes).push(format!(" LIMIT {BATCH}"));
            let rows = connection.fetch_all(select.build()).await?;
            if rows.is_empty() {
                break;
            }
            for row in &rows {
                number += seal_again(&mut *connection, keys, of, row).await?;
            }
        }
    }
    sqlx::query("DELETE FROM sealing_keys WHERE key_id <> $1").bind(&first).execute(connection).await?;
    Ok(number)
}

async fn seal_again(
    connection: &mut Connection,
    keys: &KeyRing,
    of: &SealedColumn,
    row: &Row,
) -> Result<u64, StoreError> {
    let id = of.key.iter().map(|column| row.try_get::<String, _>(*column)).collect::<Result<Vec<_>, _>>()?;
    let sealed: Vec<u8> = row.try_get(of.column)?;
    let place = id.join(" ");
    let context = SealContext { table: of.table, column: of.column, row: &place };
    let again = keys.seal_again(&context, &sealed).map_err(|error| StoreError::Corrupt {
        table: of.table,
        id: place.clone(),
        reason: error.to_string(),
    })?;
    let mut update = QueryBuilder::new("UPDATE ");
    update.push(of.table).push(" SET ").push(of.column).push(" = ").push_bind(again);
    // Another process may have written the row since it was read.
    update.push(" WHERE ").push(of.column).push(" = ").push_bind(sealed);
    for (column, value) in of.key.iter().zip(id) {
        update.push(" AND ").push(*column).push(" = ").push_bind(value);
    }
    Ok(connection.execute(update.build()).await?.rows_affected())
}
