//! The projects of namespaces, `tenant_namespaces`, and the instances in them, `tenant_instances`. A foreign key over namespace and
//! project holds that all instances in a namespace are of one project.

use sqlx::Row as _;

use super::{Database, Row, Tx, is_foreign_key_violation};
use crate::domain::ids::{ProjectId, VnfInstanceId};
use crate::domain::tenancy::NamespaceProject;
use crate::store::StoreError;

/// Puts the instance into the namespace. A namespace without instances takes the project of the first one that comes.
/// `NamespaceTaken` if others are there, of another project. `NamespaceReserved` if the namespace is registered for another project, or
/// is to be deleted.
pub(super) async fn enter(tx: &mut Tx, instance: &str, namespace: &NamespaceProject) -> Result<(), StoreError> {
    leave(tx, instance).await?;
    let claim = sqlx::query(
        "INSERT INTO tenant_namespaces (uid, project_id) VALUES ($1, $2) \
         ON CONFLICT (uid) DO UPDATE SET project_id = excluded.project_id \
         WHERE NOT EXISTS (SELECT 1 FROM tenant_instances WHERE namespace_uid = excluded.uid)",
    );
    let claimed = claim.bind(&namespace.namespace_uid).bind(&namespace.project.0).execute(&mut **tx).await;
    claimed.map_err(taken)?;
    // After the claim, which waits for a transaction that decides about the namespace (`super::namespaces`).
    let reserved =
        sqlx::query("SELECT 1 FROM project_namespaces WHERE uid = $1 AND (state = 'DELETING' OR project_id <> $2)");
    let reserved = reserved.bind(&namespace.namespace_uid).bind(&namespace.project.0);
    if reserved.fetch_optional(&mut **tx).await?.is_some() {
        return Err(StoreError::NamespaceReserved);
    }
    let enter =
        sqlx::query("INSERT INTO tenant_instances (vnf_instance_id, namespace_uid, project_id) VALUES ($1, $2, $3)");
    let enter = enter.bind(instance).bind(&namespace.namespace_uid).bind(&namespace.project.0);
    enter.execute(&mut **tx).await.map_err(taken)?;
    Ok(())
}

fn taken(error: sqlx::Error) -> StoreError {
    if is_foreign_key_violation(&error) { StoreError::NamespaceTaken } else { error.into() }
}

/// The instance is in no namespace any more.
pub(super) async fn leave(tx: &mut Tx, instance: &str) -> Result<(), StoreError> {
    let leave = sqlx::query("DELETE FROM tenant_instances WHERE vnf_instance_id = $1");
    leave.bind(instance).execute(&mut **tx).await?;
    Ok(())
}

/// The namespace of the instance, with its project.
pub(super) async fn of(db: &Database, id: VnfInstanceId) -> Result<Option<NamespaceProject>, StoreError> {
    let select = sqlx::query("SELECT namespace_uid, project_id FROM tenant_instances WHERE vnf_instance_id = $1");
    let row = select.bind(id.to_string()).fetch_optional(&db.reader()).await?;
    let read = |row: Row| -> Result<NamespaceProject, StoreError> {
        Ok(NamespaceProject {
            namespace_uid: row.try_get("namespace_uid")?,
            project: ProjectId(row.try_get("project_id")?),
        })
    };
    row.map(read).transpose()
}
