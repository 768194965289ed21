//! `vnf_instances`. Written by the API when it makes or deletes one, else only together with an operation's state: by
//! [`super::op_occs::begin`] and [`super::leases::end_operation`].

use std::collections::BTreeMap;

use sqlx::Row as _;
use sqlx::types::Json;

use super::{Database, Query, Row, Tx, json, op_occs, optional_json, point_in_time, project, read};
use crate::domain::ids::{ProjectId, VnfInstanceId};
use crate::domain::instance::VnfInstance;
use crate::domain::vim::{Secrets, VimConnection};
use crate::store::StoreError;
use crate::store::seal::Context;
use crate::store::sql::convert::{Unreadable, millis};

const TABLE: &str = "vnf_instances";

macro_rules! select {
    () => {
        "SELECT id, project_id, vnf_instance_name, vnf_instance_description, vnfd_id, vnf_pkg_id, vnf_provider, \
                vnf_product_name, vnf_software_version, vnfd_version, vnf_metadata, extensions, \
                vnf_configurable_properties, vim_connections, vim_secrets, instantiated_vnf_info, version, created_at \
         FROM vnf_instances "
    };
}

/// The package's row is locked against a concurrent disable and delete: who comes second sees what the first did.
pub(super) async fn create(db: &Database, instance: &VnfInstance) -> Result<(), StoreError> {
    let insert = sqlx::query(concat!(
        "INSERT INTO vnf_instances \
             (id, project_id, vnf_instance_name, vnf_instance_description, vnfd_id, vnf_pkg_id, vnf_provider, \
              vnf_product_name, vnf_software_version, vnfd_version, vnf_metadata, extensions, \
              vnf_configurable_properties, vim_connections, vim_secrets, instantiated_vnf_info, version, created_at) \
         SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18 \
         FROM vnf_packages WHERE id = $6 AND project_id = $2 AND operational_state = 'ENABLED'",
        for_share!()
    ));
    let done = bind(db, insert, instance)?.bind(millis(instance.created_at)).execute(&db.writer).await?;
    if done.rows_affected() == 1 { Ok(()) } else { Err(StoreError::Stale) }
}

/// Replaces all but id, project and `created_at`, if the version is still `instance.version`, and counts that up.
pub(super) async fn replace(db: &Database, tx: &mut Tx, instance: &VnfInstance) -> Result<(), StoreError> {
    let update = sqlx::query(
        "UPDATE vnf_instances \
         SET vnf_instance_name = $3, vnf_instance_description = $4, vnfd_id = $5, vnf_pkg_id = $6, vnf_provider = $7, \
             vnf_product_name = $8, vnf_software_version = $9, vnfd_version = $10, vnf_metadata = $11, \
             extensions = $12, vnf_configurable_properties = $13, vim_connections = $14, vim_secrets = $15, \
             instantiated_vnf_info = $16, version = version + 1 \
         WHERE id = $1 AND project_id = $2 AND version = $17",
    );
    let done = bind(db, update, instance)?.execute(&mut **tx).await?;
    if done.rows_affected() == 1 {
        return Ok(());
    }
    let there = sqlx::query("SELECT 1 FROM vnf_instances WHERE id = $1 AND project_id = $2")
        .bind(instance.id.to_string())
        .bind(&instance.project_id.0)
        .fetch_optional(&mut **tx)
        .await?;
    Err(if there.is_some() { StoreError::Stale } else { StoreError::NotFound })
}

pub(super) async fn one(db: &Database, project: &ProjectId, id: VnfInstanceId) -> Result<VnfInstance, StoreError> {
    let row = sqlx::query(concat!(select!(), "WHERE id = $1 AND project_id = $2"))
        .bind(id.to_string())
        .bind(&project.0)
        .fetch_optional(&db.reader)
        .await?;
    read(TABLE, &row.ok_or(StoreError::NotFound)?, |row| instance(db, row))
}

pub(super) async fn all(db: &Database, project: &ProjectId) -> Result<Vec<VnfInstance>, StoreError> {
    let rows = sqlx::query(concat!(select!(), "WHERE project_id = $1 ORDER BY created_at, id"))
        .bind(&project.0)
        .fetch_all(&db.reader)
        .await?;
    rows.iter().map(|row| read(TABLE, row, |row| instance(db, row))).collect()
}

/// Locks the row first and looks at the rest after: an operation that begins meanwhile must change the row too, so either
/// it is seen here or it finds the row gone.
pub(super) async fn delete(db: &Database, project: &ProjectId, id: VnfInstanceId) -> Result<(), StoreError> {
    let mut tx = db.begin().await?;
    let instantiated = sqlx::query_scalar::<_, bool>(concat!(
        "SELECT instantiated_vnf_info IS NOT NULL FROM vnf_instances WHERE id = $1 AND project_id = $2",
        for_update!()
    ))
    .bind(id.to_string())
    .bind(&project.0)
    .fetch_optional(&mut *tx)
    .await?
    .ok_or(StoreError::NotFound)?;
    if let Some(live) = op_occs::live(&mut tx, id).await? {
        return Err(StoreError::Busy(live));
    }
    if instantiated {
        return Err(StoreError::Stale);
    }
    let resource = sqlx::query("SELECT 1 FROM vnf_resources WHERE vnf_instance_id = $1 LIMIT 1")
        .bind(id.to_string())
        .fetch_optional(&mut *tx)
        .await?;
    if resource.is_some() {
        return Err(StoreError::InUse);
    }
    sqlx::query("DELETE FROM vnf_instances WHERE id = $1").bind(id.to_string()).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(())
}

/// Binds $1 to $17: all but `created_at`.
fn bind<'q>(db: &Database, query: Query<'q>, instance: &VnfInstance) -> Result<Query<'q>, StoreError> {
    let id = instance.id.to_string();
    let secrets: BTreeMap<&str, &Secrets> = instance
        .vim_connections
        .iter()
        .filter(|(_, connection)| !connection.secrets.is_empty())
        .map(|(id, connection)| (id.as_str(), &connection.secrets))
        .collect();
    let sealed = db.seal(&sealed_at(&id), &secrets)?;
    Ok(query
        .bind(id)
        .bind(&instance.project_id.0)
        .bind(&instance.name)
        .bind(&instance.description)
        .bind(&instance.vnfd_id)
        .bind(instance.vnf_pkg_id.to_string())
        .bind(&instance.provider)
        .bind(&instance.product_name)
        .bind(&instance.software_version)
        .bind(&instance.vnfd_version)
        .bind(Json(&instance.metadata))
        .bind(Json(&instance.extensions))
        .bind(Json(&instance.configurable_properties))
        .bind(Json(&instance.vim_connections))
        .bind(sealed)
        .bind(instance.instantiated.as_ref().map(Json))
        .bind(instance.version))
}

const fn sealed_at(id: &str) -> Context<'_> {
    Context { table: TABLE, column: "vim_secrets", row: id }
}

fn instance(db: &Database, row: &Row) -> Result<VnfInstance, Unreadable> {
    let id = row.try_get::<&str, _>("id")?;
    let mut vim_connections: BTreeMap<String, VimConnection> = json(row, "vim_connections")?;
    let secrets: BTreeMap<String, Secrets> = db.open(&sealed_at(id), row.try_get("vim_secrets")?)?;
    for (id, secrets) in secrets {
        vim_connections.get_mut(&id).ok_or("vim_secrets of an unknown connection")?.secrets = secrets;
    }
    Ok(VnfInstance {
        id: id.parse()?,
        project_id: project(row)?,
        name: row.try_get("vnf_instance_name")?,
        description: row.try_get("vnf_instance_description")?,
        vnfd_id: row.try_get("vnfd_id")?,
        vnf_pkg_id: row.try_get::<&str, _>("vnf_pkg_id")?.parse()?,
        provider: row.try_get("vnf_provider")?,
        product_name: row.try_get("vnf_product_name")?,
        software_version: row.try_get("vnf_software_version")?,
        vnfd_version: row.try_get("vnfd_version")?,
        metadata: json(row, "vnf_metadata")?,
        extensions: json(row, "extensions")?,
        configurable_properties: json(row, "vnf_configurable_properties")?,
        vim_connections,
        instantiated: optional_json(row, "instantiated_vnf_info")?,
        version: row.try_get("version")?,
        created_at: point_in_time(row, "created_at")?,
    })
}
