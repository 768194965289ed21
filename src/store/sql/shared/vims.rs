//! VIMs, `vims`. Their secrets are sealed when they are written and opened when they are read.

use std::collections::BTreeMap;

use async_trait::async_trait;
use sqlx::Row as _;
use sqlx::types::Json;
use time::OffsetDateTime;

use super::super::{VIM_NAME, violated};
use super::events::NewEvent;
use super::shares::shared_vims;
use super::{
    Database, Query, QueryBuilder, Row, Tx, events, is_unique_violation, json, optional_json, point_in_time, project,
    quotas, read,
};
use crate::domain::event::{EventChange, EventKind};
use crate::domain::ids::{ProjectId, VimId};
use crate::domain::quota::QuotaResource;
use crate::domain::vim::{Vim, VimStatus};
use crate::domain::vim_policy::NamespacePattern;
use crate::store::seal::SealContext;
use crate::store::sql::convert::{Unreadable, count, enumerator, millis, time};
use crate::store::{OperationEnded, PageCursor, StoreError, VimStore};

const TABLE: &str = "vims";
/// The most VIMs of a project: each may have connections of its own.
const MAX_VIMS: usize = 1000;

macro_rules! select {
    () => {
        "SELECT id, project_id, name, description, vim_type, endpoint, access_info, secrets, impersonate, vim_project, extra, \
                policy, is_default, user_name, cluster_uid, status, created_at, updated_at, \
                EXISTS (SELECT 1 FROM vim_shares WHERE vim_id = vims.id) AS shared \
         FROM vims "
    };
}

/// The VIMs that the project $1 owns or that are shared with it.
macro_rules! is_visible {
    () => {
        concat!("(project_id = $1 OR id IN ", shared_vims!("$1"), ")")
    };
}

/// Ends the query of [`page`].
macro_rules! page {
    () => {
        " AND (created_at, id) > ($2, $3) ORDER BY created_at, id LIMIT $4"
    };
}

#[async_trait]
impl VimStore for Database {
    async fn create_vim(&self, vim: &Vim) -> Result<(), StoreError> {
        self.traced("vims::create", async {
            let mut tx = self.writer.begin().await?;
            quotas::admit(self, &mut tx, &vim.project_id, QuotaResource::Vims, 1, 0).await?;
            let insert = sqlx::query(
                "INSERT INTO vims (id, project_id, name, description, vim_type, endpoint, access_info, secrets, vim_project, \
                                   extra, is_default, user_name, status, updated_at, impersonate, cluster_uid, policy, created_at) \
                 SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18 \
                 WHERE (SELECT COUNT(*) FROM (SELECT 1 FROM vims WHERE project_id = $2 LIMIT $19) AS present) < $19",
            );
            let insert = bind(self, insert, vim)?.bind(millis(vim.created_at)).bind(count(MAX_VIMS));
            if insert.execute(&mut *tx).await.map_err(duplicate)?.rows_affected() == 0 {
                return Err(StoreError::Full { what: "VIMs", most: MAX_VIMS });
            }
            let events = journal(&mut tx, &vim.project_id, vim.id, EventChange::Created, None).await?;
            tx.commit().await?;
            self.signals.journaled(events);
            Ok(())
        })
        .await
    }

    async fn vim(&self, project: &ProjectId, id: VimId) -> Result<Vim, StoreError> {
        self.traced("vims::one", one(self, project, id)).await
    }

    async fn visible_vim(&self, project: &ProjectId, id: VimId) -> Result<Vim, StoreError> {
        self.traced("vims::visible", async {
            let select = sqlx::query(concat!(select!(), "WHERE id = $2 AND ", is_visible!()));
            let row = select.bind(&project.0).bind(id.to_string()).fetch_optional(&self.reader()).await?;
            let vim = read(TABLE, &row.ok_or(StoreError::NotFound)?, |row| vim(self, row))?;
            lend(self, project, vec![vim]).await?.pop().ok_or(StoreError::NotFound)
        })
        .await
    }

    async fn vim_named(&self, project: &ProjectId, name: &str) -> Result<Vim, StoreError> {
        self.traced("vims::named", async {
            let select = concat!(
                select!(),
                "WHERE name = $2 AND ",
                is_visible!(),
                " ORDER BY project_id <> $1, created_at, id LIMIT 1"
            );
            let row = sqlx::query(select).bind(&project.0).bind(name).fetch_optional(&self.reader()).await?;
            let vim = read(TABLE, &row.ok_or(StoreError::NotFound)?, |row| vim(self, row))?;
            lend(self, project, vec![vim]).await?.pop().ok_or(StoreError::NotFound)
        })
        .await
    }

    async fn default_vim(&self, project: &ProjectId) -> Result<Vim, StoreError> {
        self.traced("vims::default", async {
            let row = sqlx::query(concat!(select!(), "WHERE project_id = $1 AND is_default"))
                .bind(&project.0)
                .fetch_optional(&self.reader())
                .await?;
            read(TABLE, &row.ok_or(StoreError::NotFound)?, |row| vim(self, row))
        })
        .await
    }

    async fn vims(
        &self,
        project: Option<&ProjectId>,
        after: Option<PageCursor>,
        limit: usize,
    ) -> Result<Vec<Vim>, StoreError> {
        self.traced("vims::list", async {
            let Some(project) = project else {
                // No project has an empty name.
                return page(self, concat!(select!(), "WHERE project_id <> $1", page!()), "", after, limit).await;
            };
            let select = concat!(select!(), "WHERE ", is_visible!(), page!());
            lend(self, project, page(self, select, &project.0, after, limit).await?).await
        })
        .await
    }

    async fn vims_at(&self, endpoint: &str, after: Option<PageCursor>, limit: usize) -> Result<Vec<Vim>, StoreError> {
        let select = concat!(select!(), "WHERE endpoint = $1", page!());
        self.traced("vims::at", page(self, select, endpoint, after, limit)).await
    }

    async fn record_vim_status(&self, vim: &Vim, status: VimStatus) -> Result<(), StoreError> {
        self.traced("vims::status", async {
            let update = sqlx::query(
                "UPDATE vims SET status = $2 WHERE id = $1 AND updated_at IS NOT DISTINCT FROM $3 AND status <> $2",
            );
            let update = update.bind(vim.id.to_string()).bind(status.as_str()).bind(vim.updated_at.map(millis));
            let mut tx = self.writer.begin().await?;
            if update.execute(&mut *tx).await?.rows_affected() == 1 {
                let change = EventChange::Updated;
                let events = journal(&mut tx, &vim.project_id, vim.id, change, Some(status.as_str())).await?;
                tx.commit().await?;
                self.signals.journaled(events);
            }
            Ok(())
        })
        .await
    }

    async fn update_vim(&self, vim: &Vim, seen: Option<OffsetDateTime>) -> Result<(), StoreError> {
        self.traced("vims::update", async {
            let update = sqlx::query(
                "UPDATE vims SET name = $3, description = $4, vim_type = $5, endpoint = $6, access_info = $7, secrets = $8, \
                                 vim_project = $9, extra = $10, is_default = $11, user_name = $12, status = $13, updated_at = $14, \
                                 impersonate = $15, cluster_uid = $16, policy = $17 \
                 WHERE id = $1 AND project_id = $2 AND updated_at IS NOT DISTINCT FROM $18",
            );
            let mut tx = self.writer.begin().await?;
            let update = bind(self, update, vim)?.bind(seen.map(millis));
            if update.execute(&mut *tx).await.map_err(duplicate)?.rows_affected() == 0 {
                drop(tx);
                one(self, &vim.project_id, vim.id).await?;
                return Err(StoreError::Stale);
            }
            let (change, status) = (EventChange::Updated, Some(vim.status.as_str()));
            let events = journal(&mut tx, &vim.project_id, vim.id, change, status).await?;
            tx.commit().await?;
            self.signals.journaled(events);
            // The access to its instances may have changed.
            self.endings.send(OperationEnded::Any);
            Ok(())
        })
        .await
    }

    async fn delete_vim(&self, project: &ProjectId, id: VimId) -> Result<(), StoreError> {
        // A request that names the VIM may be accepted right after the check. Its operation then fails with "no such VIM", as if
        // it had arrived a moment later.
        self.traced("vims::delete", async {
            let delete = sqlx::query(concat!(
                "DELETE FROM vims \
                 WHERE id = $1 AND project_id = $2 \
                   AND NOT EXISTS (SELECT 1 FROM vnf_instances AS i, ",
                members_of!(),
                "(i.vim_connections) AS connection \
                     WHERE (i.project_id = $2 OR connection.value ->> 'lender' = $2 \
                                                 AND CAST(connection.value ->> 'home' AS text) IN ('true', '1')) \
                       AND connection.value ->> 'vim_id' = $1)"
            ))
            .bind(id.to_string())
            .bind(&project.0);
            let mut tx = self.writer.begin().await?;
            if delete.execute(&mut *tx).await?.rows_affected() == 1 {
                let events = journal(&mut tx, project, id, EventChange::Deleted, None).await?;
                tx.commit().await?;
                self.signals.journaled(events);
                return Ok(());
            }
            drop(tx);
            one(self, project, id).await?;
            Err(StoreError::InUse)
        })
        .await
    }
}

/// Writes a change of a VIM to the journal, for its owner. Returns whether that is watched.
async fn journal(
    tx: &mut Tx,
    project: &ProjectId,
    id: VimId,
    change: EventChange,
    state: Option<&str>,
) -> Result<bool, StoreError> {
    let id = id.to_string();
    events::write(tx, &project.0, &[NewEvent { state, ..NewEvent::of(EventKind::Vim, &id, change) }]).await
}

pub(super) async fn one(db: &Database, project: &ProjectId, id: VimId) -> Result<Vim, StoreError> {
    let row = sqlx::query(concat!(select!(), "WHERE id = $1 AND project_id = $2"))
        .bind(id.to_string())
        .bind(&project.0)
        .fetch_optional(&db.reader())
        .await?;
    read(TABLE, &row.ok_or(StoreError::NotFound)?, |row| vim(db, row))
}

/// Gives the VIMs of other projects the namespaces in which `project` may use them. A VIM that is shared no longer is left out.
async fn lend(db: &Database, project: &ProjectId, mut vims: Vec<Vim>) -> Result<Vec<Vim>, StoreError> {
    let others: Vec<String> =
        vims.iter().filter(|vim| vim.project_id != *project).map(|vim| vim.id.to_string()).collect();
    if others.is_empty() {
        return Ok(vims);
    }
    let mut select = QueryBuilder::new("SELECT vim_id, namespaces FROM vim_shares WHERE project_id IN ('', ");
    select.push_bind(&project.0).push(") AND vim_id IN (");
    let mut list = select.separated(", ");
    others.into_iter().for_each(|id| _ = list.push_bind(id));
    select.push(")");
    let mut lent: BTreeMap<String, Vec<NamespacePattern>> = BTreeMap::new();
    for row in select.build().persistent(false).fetch_all(&db.reader()).await? {
        lent.entry(row.try_get("vim_id")?).or_default().extend(json::<Vec<NamespacePattern>>(&row, "namespaces")?);
    }
    for vim in vims.iter_mut().filter(|vim| vim.project_id != *project) {
        vim.lent = lent.remove(&vim.id.to_string());
    }
    vims.retain(|vim| vim.project_id == *project || vim.lent.is_some());
    Ok(vims)
}

/// Runs a query of VIMs that begins with a condition for $1 and ends with `page!`.
async fn page(
    db: &Database,
    select: &'static str,
    condition: &str,
    after: Option<PageCursor>,
    limit: usize,
) -> Result<Vec<Vim>, StoreError> {
    let rows = sqlx::query(select)
        .bind(condition)
        .bind(after.map_or(i64::MIN, |cursor| cursor.at))
        .bind(after.map_or_else(String::new, |cursor| cursor.id.to_string()))
        .bind(count(limit))
        .fetch_all(&db.reader())
        .await?;
    rows.iter().map(|row| read(TABLE, row, |row| vim(db, row))).collect()
}

/// Binds $1 to $17: all but `created_at`.
fn bind<'q>(db: &Database, query: Query<'q>, vim: &Vim) -> Result<Query<'q>, StoreError> {
    let id = vim.id.to_string();
    let secrets = db.seal(&sealed_at(&id), &vim.secrets)?;
    Ok(query
        .bind(id)
        .bind(&vim.project_id.0)
        .bind(&vim.name)
        .bind(&vim.description)
        .bind(&vim.vim_type)
        .bind(&vim.endpoint)
        .bind(Json(&vim.access_info))
        .bind(secrets)
        .bind(&vim.vim_project)
        .bind(Json(&vim.extra))
        .bind(vim.is_default)
        .bind(&vim.user_name)
        .bind(vim.status.as_str())
        .bind(vim.updated_at.map(millis))
        .bind(vim.impersonate.as_ref().map(Json))
        .bind(&vim.cluster_uid)
        .bind(Json(&vim.policy)))
}

const fn sealed_at(id: &str) -> SealContext<'_> {
    SealContext { table: TABLE, column: "secrets", row: id }
}

fn duplicate(error: sqlx::Error) -> StoreError {
    if !is_unique_violation(&error) {
        return error.into();
    }
    let rule = error.as_database_error().and_then(violated);
    StoreError::Duplicate(if rule == Some(VIM_NAME) { "name" } else { "default VIM" })
}

fn vim(db: &Database, row: &Row) -> Result<Vim, Unreadable> {
    let id = row.try_get::<&str, _>("id")?;
    Ok(Vim {
        id: id.parse()?,
        project_id: project(row)?,
        name: row.try_get("name")?,
        description: row.try_get("description")?,
        vim_type: row.try_get("vim_type")?,
        endpoint: row.try_get("endpoint")?,
        access_info: json(row, "access_info")?,
        secrets: db.open(&sealed_at(id), row.try_get("secrets")?)?,
        impersonate: optional_json(row, "impersonate")?,
        vim_project: row.try_get("vim_project")?,
        extra: json(row, "extra")?,
        policy: json(row, "policy")?,
        shared: row.try_get("shared")?,
        lent: None,
        is_default: row.try_get("is_default")?,
        user_name: row.try_get("user_name")?,
        cluster_uid: row.try_get("cluster_uid")?,
        status: enumerator(row.try_get("status")?)?,
        created_at: point_in_time(row, "created_at")?,
        updated_at: row.try_get::<Option<i64>, _>("updated_at")?.map(time).transpose()?,
    })
}
