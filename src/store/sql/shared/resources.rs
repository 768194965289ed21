//! The inventory, `vnf_resources`. All writes are parts of a conductor's transactions (`leases.rs`), which have the fence. Each
//! takes few statements for any number of rows.
//!
//! The manifest of a Secret is sealed. The column `manifest` is `null` then, which the release before cannot read: it must not
//! apply an empty Secret.

use serde_json::{Map, Value};
use sqlx::Row as _;
use sqlx::types::Json;

use super::{Database, QueryBuilder, Row, Tx, json, read};
use crate::domain::ids::VnfInstanceId;
use crate::domain::mask::is_secret;
use crate::domain::resource::{KindInfo, ObjectKey, Resource, ResourceState};
use crate::store::StoreError;
use crate::store::seal::SealContext;
use crate::store::sql::convert::{Unreadable, count};

/// Rows per statement: SQLite takes 32766 values, PostgreSQL 65535.
const ROWS_PER_STATEMENT: usize = 1000;

/// Whether to keep the statement for this number of rows prepared: operations on a few objects use the same ones again.
const fn common(rows: usize) -> bool {
    rows <= 4
}

pub(super) async fn all(db: &Database, instance: VnfInstanceId) -> Result<Vec<Resource>, StoreError> {
    let rows = sqlx::query(
        "SELECT api_version, kind, resource_name, plural, namespaced, state, uid, owned, vdu_id, manifest, sealed_manifest \
         FROM vnf_resources WHERE vnf_instance_id = $1 ORDER BY position",
    )
    .bind(instance.to_string())
    .fetch_all(&db.reader())
    .await?;
    let read = |row: &Row| {
        resource(db, instance, row).map_err(|error| StoreError::Corrupt {
            table: "vnf_resources",
            id: instance.to_string(),
            reason: error.to_string(),
        })
    };
    rows.iter().map(read).collect()
}

/// Adds `resources` after the present rows. A row that exists keeps its position and state; the rest is replaced.
pub(super) async fn insert(
    db: &Database,
    tx: &mut Tx,
    instance: &str,
    resources: &[Resource],
) -> Result<(), StoreError> {
    for resources in resources.chunks(ROWS_PER_STATEMENT) {
        let sealed = resources.iter().map(|resource| sealed_manifest(db, instance, resource));
        let sealed: Vec<Option<Vec<u8>>> = sealed.collect::<Result<_, _>>()?;
        let mut insert = QueryBuilder::new(
            "WITH last AS (SELECT COALESCE(MAX(position), -1) AS position FROM vnf_resources WHERE vnf_instance_id = ",
        );
        insert.push_bind(instance);
        insert.push(
            ") INSERT INTO vnf_resources (vnf_instance_id, position, api_version, kind, resource_name, plural, \
             namespaced, state, uid, owned, vdu_id, manifest, sealed_manifest) ",
        );
        insert.push_values(resources.iter().zip(sealed).zip(1..), |mut values, ((resource, sealed), place)| {
            let (state, uid, owned) = columns(&resource.state);
            values.push_bind(instance);
            values.push("(SELECT position FROM last) + ").push_bind_unseparated(count(place));
            values.push_bind(&resource.key.api_version).push_bind(&resource.key.kind).push_bind(&resource.key.name);
            values.push_bind(&resource.info.plural).push_bind(resource.info.namespaced);
            values.push_bind(state).push_bind(uid).push_bind(owned);
            let clear = sealed.is_none().then_some(&resource.manifest);
            values.push_bind(&resource.vdu_id).push_bind(Json(clear)).push_bind(sealed);
        });
        insert.push(
            " ON CONFLICT (vnf_instance_id, api_version, kind, resource_name) DO UPDATE \
             SET plural = excluded.plural, namespaced = excluded.namespaced, vdu_id = excluded.vdu_id, \
                 manifest = excluded.manifest, sealed_manifest = excluded.sealed_manifest",
        );
        insert.build().persistent(common(resources.len())).execute(&mut **tx).await?;
    }
    Ok(())
}

/// Marks rows of `objects` that are `Planned` as `Intent`.
pub(super) async fn mark_intent(tx: &mut Tx, instance: &str, objects: &[ObjectKey]) -> Result<(), sqlx::Error> {
    for objects in objects.chunks(ROWS_PER_STATEMENT) {
        let mut update = QueryBuilder::new("UPDATE vnf_resources SET state = 'INTENT' WHERE state = 'PLANNED'");
        push_keys(&mut update, instance, objects);
        update.build().persistent(common(objects.len())).execute(&mut **tx).await?;
    }
    Ok(())
}

/// Deletes the rows of `objects` that exist.
pub(super) async fn remove(tx: &mut Tx, instance: &str, objects: &[ObjectKey]) -> Result<(), sqlx::Error> {
    for objects in objects.chunks(ROWS_PER_STATEMENT) {
        let mut delete = QueryBuilder::new("DELETE FROM vnf_resources WHERE TRUE");
        push_keys(&mut delete, instance, objects);
        delete.build().persistent(common(objects.len())).execute(&mut **tx).await?;
    }
    Ok(())
}

/// Deletes all rows of an instance.
pub(super) async fn discard(tx: &mut Tx, instance: &str) -> Result<(), sqlx::Error> {
    let delete = sqlx::query("DELETE FROM vnf_resources WHERE vnf_instance_id = $1");
    delete.bind(instance).execute(&mut **tx).await?;
    Ok(())
}

/// Writes new states. `NotFound` if a row does not exist: its object would be in no inventory.
pub(super) async fn set_states(
    tx: &mut Tx,
    instance: &str,
    states: &[(ObjectKey, ResourceState)],
) -> Result<(), StoreError> {
    for states in states.chunks(ROWS_PER_STATEMENT) {
        let mut update = QueryBuilder::new("WITH new (api_version, kind, resource_name, state, uid, owned) AS (");
        update.push_values(states, |mut values, (key, state)| {
            let (state, uid, owned) = columns(state);
            values.push_bind(&key.api_version).push_bind(&key.kind).push_bind(&key.name);
            values.push_bind(state).push_bind(uid).push_bind(owned);
        });
        update.push(") UPDATE vnf_resources SET state = new.state, uid = new.uid, owned = new.owned");
        run_update(tx, update, instance, states.len()).await?;
    }
    Ok(())
}

/// Completes an UPDATE of `rows` rows from the values `new`, and runs it.
async fn run_update(tx: &mut Tx, mut update: QueryBuilder, instance: &str, rows: usize) -> Result<(), StoreError> {
    update.push(
        " FROM new WHERE vnf_resources.api_version = new.api_version AND vnf_resources.kind = new.kind \
         AND vnf_resources.resource_name = new.resource_name AND vnf_resources.vnf_instance_id = ",
    );
    let done = update.push_bind(instance).build().persistent(common(rows)).execute(&mut **tx).await?;
    if done.rows_affected() == rows as u64 { Ok(()) } else { Err(StoreError::NotFound) }
}

/// Adds the condition that a row is of one of `objects` of `instance`.
fn push_keys(query: &mut QueryBuilder, instance: &str, objects: &[ObjectKey]) {
    query.push(" AND vnf_instance_id = ").push_bind(instance).push(" AND (api_version, kind, resource_name) IN (");
    query.push_values(objects, |mut values, key| {
        values.push_bind(&key.api_version).push_bind(&key.kind).push_bind(&key.name);
    });
    query.push(")");
}

/// `state`, `uid`, `owned`.
fn columns(state: &ResourceState) -> (&'static str, Option<&str>, Option<bool>) {
    match state {
        ResourceState::Planned => ("PLANNED", None, None),
        ResourceState::Intent => ("INTENT", None, None),
        ResourceState::Present { uid, owned } => ("PRESENT", Some(uid), Some(*owned)),
    }
}

/// The manifest of a Secret, sealed. `None` for other objects.
fn sealed_manifest(db: &Database, instance: &str, resource: &Resource) -> Result<Option<Vec<u8>>, StoreError> {
    if !is_secret(resource) {
        return Ok(None);
    }
    let row = sealed_row(instance, &resource.key);
    db.keys.seal(&sealed_at(&row), &resource.manifest).map(Some).map_err(StoreError::Seal)
}

const fn sealed_at(row: &str) -> SealContext<'_> {
    SealContext { table: "vnf_resources", column: "sealed_manifest", row }
}

/// The primary key, as `sealing::COLUMNS` joins it.
fn sealed_row(instance: &str, key: &ObjectKey) -> String {
    [instance, &key.api_version, &key.kind, &key.name].join(" ")
}

/// Seals manifests of Secrets that the release before wrote, at most `limit`. Returns how many.
pub(super) async fn seal_clear(db: &Database, limit: usize) -> Result<usize, StoreError> {
    let select = "SELECT vnf_instance_id AS id, api_version, kind, resource_name, manifest FROM vnf_resources \
                  WHERE kind = 'Secret' AND api_version = 'v1' AND sealed_manifest IS NULL LIMIT $1";
    let rows = sqlx::query(select).bind(count(limit)).fetch_all(&db.reader()).await?;
    for row in &rows {
        let (key, manifest) = read("vnf_resources", row, |row| {
            let [api_version, kind, name] = ["api_version", "kind", "resource_name"].map(|column| row.try_get(column));
            let key = ObjectKey { api_version: api_version?, kind: kind?, name: name? };
            Ok((key, json::<Map<String, Value>>(row, "manifest")?))
        })?;
        let instance: &str = row.try_get("id")?;
        let sealed = db.keys.seal(&sealed_at(&sealed_row(instance, &key)), &manifest).map_err(StoreError::Seal)?;
        // An operation may write the row meanwhile: it seals it.
        let update = sqlx::query(
            "UPDATE vnf_resources SET manifest = $1, sealed_manifest = $2 WHERE vnf_instance_id = $3 AND api_version = $4 \
             AND kind = $5 AND resource_name = $6 AND sealed_manifest IS NULL AND manifest = $7",
        );
        let update = update.bind(Json(Value::Null)).bind(sealed).bind(instance);
        let update = update.bind(&key.api_version).bind(&key.kind).bind(&key.name).bind(Json(&manifest));
        db.writer.execute(update).await?;
    }
    Ok(rows.len())
}

fn resource(db: &Database, instance: VnfInstanceId, row: &Row) -> Result<Resource, Unreadable> {
    let state = match row.try_get("state")? {
        "PLANNED" => ResourceState::Planned,
        "INTENT" => ResourceState::Intent,
        "PRESENT" => ResourceState::Present { uid: row.try_get("uid")?, owned: row.try_get("owned")? },
        other => return Err(format!("state {other}").into()),
    };
    let key = ObjectKey {
        api_version: row.try_get("api_version")?,
        kind: row.try_get("kind")?,
        name: row.try_get("resource_name")?,
    };
    let manifest = match row.try_get::<Option<Vec<u8>>, _>("sealed_manifest")? {
        Some(sealed) => db.keys.open(&sealed_at(&sealed_row(&instance.to_string(), &key)), &sealed)?,
        None => json(row, "manifest")?,
    };
    Ok(Resource {
        key,
        info: KindInfo { plural: row.try_get("plural")?, namespaced: row.try_get("namespaced")? },
        vdu_id: row.try_get("vdu_id")?,
        manifest,
        state,
    })
}
