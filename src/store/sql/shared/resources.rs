//! The inventory, `vnf_resources`. All writes are parts of a conductor's transactions (`leases.rs`), which have the fence. Each
//! takes few statements for any number of rows.

use sqlx::Row as _;
use sqlx::types::Json;

use super::{Database, QueryBuilder, Row, Tx, json};
use crate::domain::ids::VnfInstanceId;
use crate::domain::resource::{KindInfo, ObjectKey, Resource, ResourceState};
use crate::store::StoreError;
use crate::store::sql::convert::{Unreadable, count};

/// Rows per statement: SQLite takes 32766 values, PostgreSQL 65535.
const ROWS_PER_STATEMENT: usize = 1000;

/// Whether to keep the statement for this number of rows prepared: operations on a few objects use the same ones again.
const fn common(rows: usize) -> bool {
    rows <= 4
}

pub(super) async fn all(db: &Database, instance: VnfInstanceId) -> Result<Vec<Resource>, StoreError> {
    let rows = sqlx::query(
        "SELECT api_version, kind, resource_name, plural, namespaced, state, uid, owned, vdu_id, manifest \
         FROM vnf_resources WHERE vnf_instance_id = $1 ORDER BY position",
    )
    .bind(instance.to_string())
    .fetch_all(&db.reader())
    .await?;
    let read = |row: &Row| {
        resource(row).map_err(|error| StoreError::Corrupt {
            table: "vnf_resources",
            id: instance.to_string(),
            reason: error.to_string(),
        })
    };
    rows.iter().map(read).collect()
}

/// Adds `resources` after the present rows. A row that exists keeps its position and state; the rest is replaced.
pub(super) async fn insert(tx: &mut Tx, instance: &str, resources: &[Resource]) -> Result<(), sqlx::Error> {
    for resources in resources.chunks(ROWS_PER_STATEMENT) {
        let mut insert = QueryBuilder::new(
            "WITH last AS (SELECT COALESCE(MAX(position), -1) AS position FROM vnf_resources WHERE vnf_instance_id = ",
        );
        insert.push_bind(instance);
        insert.push(
            ") INSERT INTO vnf_resources (vnf_instance_id, position, api_version, kind, resource_name, plural, \
             namespaced, state, uid, owned, vdu_id, manifest) ",
        );
        insert.push_values(resources.iter().zip(1..), |mut values, (resource, place)| {
            let (state, uid, owned) = columns(&resource.state);
            values.push_bind(instance);
            values.push("(SELECT position FROM last) + ").push_bind_unseparated(count(place));
            values.push_bind(&resource.key.api_version).push_bind(&resource.key.kind).push_bind(&resource.key.name);
            values.push_bind(&resource.info.plural).push_bind(resource.info.namespaced);
            values.push_bind(state).push_bind(uid).push_bind(owned);
            values.push_bind(&resource.vdu_id).push_bind(Json(&resource.manifest));
        });
        insert.push(
            " ON CONFLICT (vnf_instance_id, api_version, kind, resource_name) DO UPDATE \
             SET plural = excluded.plural, namespaced = excluded.namespaced, vdu_id = excluded.vdu_id, \
                 manifest = excluded.manifest",
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

fn resource(row: &Row) -> Result<Resource, Unreadable> {
    let state = match row.try_get("state")? {
        "PLANNED" => ResourceState::Planned,
        "INTENT" => ResourceState::Intent,
        "PRESENT" => ResourceState::Present { uid: row.try_get("uid")?, owned: row.try_get("owned")? },
        other => return Err(format!("state {other}").into()),
    };
    Ok(Resource {
        key: ObjectKey {
            api_version: row.try_get("api_version")?,
            kind: row.try_get("kind")?,
            name: row.try_get("resource_name")?,
        },
        info: KindInfo { plural: row.try_get("plural")?, namespaced: row.try_get("namespaced")? },
        vdu_id: row.try_get("vdu_id")?,
        manifest: json(row, "manifest")?,
        state,
    })
}
