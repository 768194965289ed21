//! Shares, `vim_shares` and `vnf_package_shares`. The project `''` stands for all projects: no project has an empty name.
//! The statements of VIMs and packages name the tables, too: [`shared_vims`] and [`shared_packages`].

use async_trait::async_trait;
use sqlx::Row as _;
use sqlx::types::Json;

use super::{Database, QueryBuilder, Row, json};
use crate::domain::ids::{ProjectId, VimId, VnfPkgId};
use crate::domain::share::{Grantee, VimShare};
use crate::store::{ShareStore, SharedBy, StoreError};

/// The ids of the VIMs that are shared with a project, whose parameter is given.
macro_rules! shared_vims {
    ($project:literal) => {
        concat!("(SELECT vim_id FROM vim_shares WHERE project_id IN (", $project, ", ''))")
    };
}
pub(super) use shared_vims;

/// As [`shared_vims`], of packages.
macro_rules! shared_packages {
    ($project:literal) => {
        concat!("(SELECT vnf_pkg_id FROM vnf_package_shares WHERE project_id IN (", $project, ", ''))")
    };
}
pub(super) use shared_packages;

#[async_trait]
impl ShareStore for Database {
    async fn vim_shares(&self, id: VimId) -> Result<SharedBy<VimShare>, StoreError> {
        self.traced("shares::of_vim", async {
            let select = sqlx::query(
                "SELECT vims.project_id AS owner, vim_shares.project_id, namespaces \
                 FROM vims LEFT JOIN vim_shares ON vim_id = id WHERE id = $1 ORDER BY vim_shares.project_id",
            );
            let rows = select.bind(id.to_string()).fetch_all(&self.reader()).await?;
            let share = |row: &Row, grantee| Ok(VimShare { grantee, namespaces: json(row, "namespaces")? });
            shared_by(&rows, share)
        })
        .await
    }

    async fn set_vim_shares(&self, id: VimId, shares: &[VimShare]) -> Result<(), StoreError> {
        self.traced("shares::set_of_vim", async {
            let mut tx = self.writer.begin().await?;
            let (id, lock) = (id.to_string(), concat!("SELECT id FROM vims WHERE id = $1", for_update!()));
            sqlx::query(lock).bind(&id).fetch_optional(&mut *tx).await?.ok_or(StoreError::NotFound)?;
            sqlx::query("DELETE FROM vim_shares WHERE vim_id = $1").bind(&id).execute(&mut *tx).await?;
            if !shares.is_empty() {
                let mut insert = QueryBuilder::new("INSERT INTO vim_shares (vim_id, project_id, namespaces) ");
                insert.push_values(shares, |mut values, share| {
                    values.push_bind(id.clone()).push_bind(name(&share.grantee).to_owned());
                    values.push_bind(Json(share.namespaces.clone()));
                });
                insert.build().persistent(false).execute(&mut *tx).await?;
            }
            Ok(tx.commit().await?)
        })
        .await
    }

    async fn package_shares(&self, id: VnfPkgId) -> Result<SharedBy<Grantee>, StoreError> {
        self.traced("shares::of_package", async {
            let select = sqlx::query(
                "SELECT vnf_packages.project_id AS owner, vnf_package_shares.project_id \
                 FROM vnf_packages LEFT JOIN vnf_package_shares ON vnf_pkg_id = id WHERE id = $1 \
                 ORDER BY vnf_package_shares.project_id",
            );
            let rows = select.bind(id.to_string()).fetch_all(&self.reader()).await?;
            shared_by(&rows, |_, grantee| Ok(grantee))
        })
        .await
    }

    async fn set_package_shares(&self, id: VnfPkgId, shares: &[Grantee]) -> Result<(), StoreError> {
        self.traced("shares::set_of_package", async {
            let mut tx = self.writer.begin().await?;
            let (id, lock) = (id.to_string(), concat!("SELECT id FROM vnf_packages WHERE id = $1", for_update!()));
            sqlx::query(lock).bind(&id).fetch_optional(&mut *tx).await?.ok_or(StoreError::NotFound)?;
            sqlx::query("DELETE FROM vnf_package_shares WHERE vnf_pkg_id = $1").bind(&id).execute(&mut *tx).await?;
            if !shares.is_empty() {
                let mut insert = QueryBuilder::new("INSERT INTO vnf_package_shares (vnf_pkg_id, project_id) ");
                insert.push_values(shares, |mut values, grantee| {
                    values.push_bind(id.clone()).push_bind(name(grantee).to_owned());
                });
                insert.build().persistent(false).execute(&mut *tx).await?;
            }
            Ok(tx.commit().await?)
        })
        .await
    }
}

/// Reads the rows of one VIM or package: one per share, or one with the owner alone.
fn shared_by<T>(
    rows: &[Row],
    share: impl Fn(&Row, Grantee) -> Result<T, sqlx::Error>,
) -> Result<SharedBy<T>, StoreError> {
    let first = rows.first().ok_or(StoreError::NotFound)?;
    let mut shares = Vec::new();
    for row in rows {
        let project: Option<String> = row.try_get("project_id")?;
        let grantee = match project {
            None => continue,
            Some(project) if project.is_empty() => Grantee::AllProjects,
            Some(project) => Grantee::Project(ProjectId(project)),
        };
        shares.push(share(row, grantee)?);
    }
    Ok(SharedBy { owner: ProjectId(first.try_get("owner")?), shares })
}

fn name(grantee: &Grantee) -> &str {
    match grantee {
        Grantee::AllProjects => "",
        Grantee::Project(project) => &project.0,
    }
}
