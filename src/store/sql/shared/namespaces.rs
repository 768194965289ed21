//! `project_namespaces`. Which VNF instances are in a namespace is in `tenant_instances`; instances from before namespaces belonged to
//! projects are found by VIM and name.
//!
//! A transaction that decides by the instances in a namespace locks its row of `tenant_namespaces` first. So does one that puts an
//! instance there ([`super::tenancy`]). So neither overlooks the other.

use async_trait::async_trait;
use sqlx::Row as _;
use sqlx::types::Json;

use super::{Database, QueryBuilder, Row, Tx, is_unique_violation, json, point_in_time, project, read};
use crate::domain::ids::{NamespaceId, ProjectId};
use crate::domain::project_namespace::ProjectNamespace;
use crate::store::sql::convert::{Unreadable, count, enumerator, millis};
use crate::store::{NamespaceStore, PageCursor, StoreError};

const TABLE: &str = "project_namespaces";

macro_rules! columns {
    () => {
        "id, project_id, vim_id, vim_project, name, uid, is_made, settings, state, created_by, created_at"
    };
}

/// A VNF instance in the namespace with the uid $1, or in namespace $3 of VIM $2 if nobody asked for its project, and of another project
/// than $4 if that is not NULL.
macro_rules! occupant {
    () => {
        concat!(
            "SELECT 1 FROM tenant_instances WHERE namespace_uid = $1 AND ($4 IS NULL OR project_id <> $4) \
             UNION ALL \
             SELECT 1 FROM vnf_instances AS i WHERE i.vnf_metadata ->> 'namespace' = $3 AND ($4 IS NULL OR i.project_id <> $4) \
               AND NOT EXISTS (SELECT 1 FROM tenant_instances WHERE vnf_instance_id = i.id) \
               AND EXISTS (SELECT 1 FROM ",
            members_of!(),
            "(i.vim_connections) AS connection WHERE connection.value ->> 'vim_id' = $2) LIMIT 1"
        )
    };
}

#[async_trait]
impl NamespaceStore for Database {
    async fn claim_namespace(&self, wanted: &ProjectNamespace) -> Result<ProjectNamespace, StoreError> {
        self.traced("namespaces::claim", async {
            let upsert = concat!(
                "INSERT INTO project_namespaces (",
                columns!(),
                ") VALUES ($1, $2, $3, $4, $5, NULL, $6, $7, 'PENDING', $8, $9) \
                 ON CONFLICT (vim_id, name) DO UPDATE SET settings = excluded.settings, state = 'PENDING' \
                 WHERE project_namespaces.project_id = excluded.project_id AND project_namespaces.state <> 'DELETING' \
                 RETURNING ",
                columns!()
            );
            let upsert = sqlx::query(upsert)
                .bind(wanted.id.to_string())
                .bind(&wanted.project.0)
                .bind(wanted.vim.to_string())
                .bind(&wanted.vim_project.0)
                .bind(wanted.name.as_str())
                .bind(wanted.is_made)
                .bind(Json(&wanted.settings))
                .bind(&wanted.created_by)
                .bind(millis(wanted.created_at));
            let rows = self.writer.fetch_all(upsert).await?;
            read(TABLE, rows.first().ok_or(StoreError::NamespaceReserved)?, namespace)
        })
        .await
    }

    async fn check_unused(
        &self,
        namespace: &ProjectNamespace,
        uid: &str,
        project: Option<&ProjectId>,
    ) -> Result<(), StoreError> {
        self.traced("namespaces::check", async {
            let select = occupant(namespace, uid, project);
            let found = select.fetch_optional(&self.reader()).await?;
            if found.is_some() { Err(StoreError::InUse) } else { Ok(()) }
        })
        .await
    }

    async fn finish_namespace(&self, namespace: &ProjectNamespace) -> Result<(), StoreError> {
        self.traced("namespaces::finish", async {
            let mut tx = self.writer.begin().await?;
            if is_occupied(&mut tx, namespace, Some(&namespace.project)).await? {
                return Err(StoreError::NamespaceTaken);
            }
            let update = sqlx::query(
                "UPDATE project_namespaces SET uid = $2, is_made = $3, state = 'READY' WHERE id = $1 AND state <> 'DELETING'",
            );
            let update = update.bind(namespace.id.to_string()).bind(&namespace.uid).bind(namespace.is_made);
            let done = update.execute(&mut *tx).await.map_err(duplicate)?;
            if done.rows_affected() == 0 {
                return Err(StoreError::Stale);
            }
            Ok(tx.commit().await?)
        })
        .await
    }

    async fn move_namespace(&self, namespace: &ProjectNamespace) -> Result<(), StoreError> {
        self.traced("namespaces::move", async {
            let mut tx = self.writer.begin().await?;
            if is_occupied(&mut tx, namespace, None).await? {
                return Err(StoreError::InUse);
            }
            let update = sqlx::query(
                "UPDATE project_namespaces SET project_id = $2, uid = $3, is_made = $4 WHERE id = $1 AND state = 'READY'",
            );
            let update = update.bind(namespace.id.to_string()).bind(&namespace.project.0);
            let update = update.bind(&namespace.uid).bind(namespace.is_made);
            let done = update.execute(&mut *tx).await.map_err(duplicate)?;
            if done.rows_affected() == 0 {
                return Err(StoreError::Stale);
            }
            Ok(tx.commit().await?)
        })
        .await
    }

    async fn begin_namespace_deletion(&self, namespace: &ProjectNamespace) -> Result<(), StoreError> {
        self.traced("namespaces::begin_deletion", async {
            let mut tx = self.writer.begin().await?;
            if is_occupied(&mut tx, namespace, None).await? {
                return Err(StoreError::InUse);
            }
            let update = sqlx::query("UPDATE project_namespaces SET state = 'DELETING' WHERE id = $1");
            let done = update.bind(namespace.id.to_string()).execute(&mut *tx).await?;
            if done.rows_affected() == 0 {
                return Err(StoreError::NotFound);
            }
            Ok(tx.commit().await?)
        })
        .await
    }

    async fn forget_namespace(&self, id: NamespaceId) -> Result<(), StoreError> {
        self.traced("namespaces::forget", async {
            let delete = sqlx::query("DELETE FROM project_namespaces WHERE id = $1 AND state = 'DELETING'");
            self.writer.execute(delete.bind(id.to_string())).await?;
            Ok(())
        })
        .await
    }

    async fn project_namespace(
        &self,
        project: Option<&ProjectId>,
        id: NamespaceId,
    ) -> Result<ProjectNamespace, StoreError> {
        self.traced("namespaces::one", async {
            let mut select = QueryBuilder::new(concat!("SELECT ", columns!(), " FROM project_namespaces WHERE id = "));
            select.push_bind(id.to_string());
            if let Some(project) = project {
                select.push(" AND project_id = ").push_bind(&project.0);
            }
            let row = select.build().fetch_optional(&self.reader()).await?;
            read(TABLE, &row.ok_or(StoreError::NotFound)?, namespace)
        })
        .await
    }

    async fn project_namespaces(
        &self,
        project: Option<&ProjectId>,
        after: Option<PageCursor>,
        limit: usize,
    ) -> Result<Vec<ProjectNamespace>, StoreError> {
        self.traced("namespaces::list", async {
            let mut select = QueryBuilder::new(concat!(
                "SELECT ",
                columns!(),
                " FROM project_namespaces WHERE (created_at, id) > ("
            ));
            select.push_bind(after.map_or(i64::MIN, |cursor| cursor.at)).push(", ");
            select.push_bind(after.map_or_else(String::new, |cursor| cursor.id.to_string())).push(")");
            if let Some(project) = project {
                select.push(" AND project_id = ").push_bind(&project.0);
            }
            select.push(" ORDER BY created_at, id LIMIT ").push_bind(count(limit));
            let rows = select.build().fetch_all(&self.reader()).await?;
            rows.iter().map(|row| read(TABLE, row, namespace)).collect()
        })
        .await
    }
}

/// Whether VNF instances of other projects than `project` are in the namespace, or any, if that is `None`. Until the end of the
/// transaction none can come.
async fn is_occupied(
    tx: &mut Tx,
    namespace: &ProjectNamespace,
    project: Option<&ProjectId>,
) -> Result<bool, StoreError> {
    let Some(uid) = &namespace.uid else { return Ok(false) };
    let lock = sqlx::query(
        "INSERT INTO tenant_namespaces (uid, project_id) VALUES ($1, $2) \
         ON CONFLICT (uid) DO UPDATE SET uid = excluded.uid",
    );
    lock.bind(uid).bind(&namespace.project.0).execute(&mut **tx).await?;
    Ok(occupant(namespace, uid, project).fetch_optional(&mut **tx).await?.is_some())
}

fn occupant<'q>(namespace: &ProjectNamespace, uid: &str, project: Option<&ProjectId>) -> super::Query<'q> {
    sqlx::query(occupant!())
        .bind(uid.to_owned())
        .bind(namespace.vim.to_string())
        .bind(namespace.name.as_str().to_owned())
        .bind(project.map(|project| project.0.clone()))
}

fn duplicate(error: sqlx::Error) -> StoreError {
    if is_unique_violation(&error) { StoreError::Duplicate("the Namespace") } else { error.into() }
}

fn namespace(row: &Row) -> Result<ProjectNamespace, Unreadable> {
    Ok(ProjectNamespace {
        id: row.try_get::<&str, _>("id")?.parse()?,
        project: project(row)?,
        vim: row.try_get::<&str, _>("vim_id")?.parse()?,
        vim_project: ProjectId(row.try_get("vim_project")?),
        name: row.try_get::<String, _>("name")?.try_into()?,
        uid: row.try_get("uid")?,
        is_made: row.try_get("is_made")?,
        settings: json(row, "settings")?,
        state: enumerator(row.try_get("state")?)?,
        created_by: row.try_get("created_by")?,
        created_at: point_in_time(row, "created_at")?,
    })
}
