//! `vnf_packages` and `vnf_package_files`.
//!
//! Two requests may change a row at a time. Each statement names the state it leaves in its WHERE, so that only one of them
//! wins. [`super::onboarding`] has the statements of onboarding.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Map, Value};
use sqlx::Row as _;
use sqlx::types::Json;

use super::shares::shared_packages;
use super::{
    Database, QueryBuilder, Row, filters, is_foreign_key_violation, json, point_in_time, project, publish, quotas, read,
};
use crate::domain::event::EventChange;
use crate::domain::ids::{ProjectId, VnfPkgId};
use crate::domain::notification::PackageEvent;
use crate::domain::package::{Content, DefinitionFile, Onboarding, OperationalState, VnfPackage};
use crate::domain::quota::QuotaResource;
use crate::store::sql::Published;
use crate::store::sql::convert::{Unreadable, enumerator, millis, operational_state};
use crate::store::{OnboardedVnfd, PackageStore, Page, StoreError};

pub(super) const TABLE: &str = "vnf_packages";

/// All that a package has, without the table.
macro_rules! columns {
    () => {
        "SELECT id, project_id, onboarding_state, operational_state, user_defined_data, created_at, \
                vnfd, sha512, size, artifacts, warnings, problem, content_epoch, \
                EXISTS (SELECT 1 FROM vnf_instances WHERE vnf_pkg_id = vnf_packages.id) \
                    OR EXISTS (SELECT 1 FROM vnf_lcm_op_occs WHERE target_pkg_id = vnf_packages.id) AS in_use \
         FROM "
    };
}

macro_rules! select {
    () => {
        concat!(columns!(), "vnf_packages ")
    };
}

/// The packages that the project $1 owns or that are shared with it.
macro_rules! is_visible {
    () => {
        concat!("(project_id = $1 OR id IN ", shared_packages!("$1"), ")")
    };
}

/// Of several visible packages with one VNFD: an own one first, else the oldest.
macro_rules! first_of_vnfd {
    () => {
        concat!(" WHERE vnfd_id = $2 AND ", is_visible!(), " ORDER BY project_id <> $1, created_at, id LIMIT 1")
    };
}

#[async_trait]
impl PackageStore for Database {
    async fn create_package(&self, package: &VnfPackage) -> Result<(), StoreError> {
        self.traced("packages::create", async {
            let mut tx = self.writer.begin().await?;
            quotas::admit(self, &mut tx, &package.project_id, QuotaResource::Packages, 1, 0).await?;
            let insert = sqlx::query(
                "INSERT INTO vnf_packages \
                     (id, project_id, onboarding_state, operational_state, user_defined_data, created_at) \
                 VALUES ($1, $2, $3, $4, $5, $6)",
            )
            .bind(package.id.to_string())
            .bind(&package.project_id.0)
            .bind(Onboarding::Created.as_str())
            .bind(operational_state(OperationalState::Disabled))
            .bind(Json(&package.user_defined_data))
            .bind(millis(package.created_at));
            insert.execute(&mut *tx).await?;
            let (state, change) = (Onboarding::Created.as_str(), EventChange::Created);
            let events = publish::package_state(&mut tx, &package.project_id, package.id, change, state).await?;
            tx.commit().await?;
            self.signals.journaled(events);
            Ok(())
        })
        .await
    }

    async fn package(&self, project: &ProjectId, id: VnfPkgId) -> Result<VnfPackage, StoreError> {
        self.traced("packages::one", one(self, project, id)).await
    }

    async fn visible_package(&self, project: &ProjectId, id: VnfPkgId) -> Result<VnfPackage, StoreError> {
        self.traced("packages::visible", async {
            let select = sqlx::query(concat!(select!(), "WHERE id = $2 AND ", is_visible!()));
            let row = select.bind(&project.0).bind(id.to_string()).fetch_optional(&self.reader()).await?;
            read(TABLE, &row.ok_or(StoreError::NotFound)?, package)
        })
        .await
    }

    async fn package_of_any_project(&self, id: VnfPkgId) -> Result<VnfPackage, StoreError> {
        self.traced("packages::any", async {
            let select = sqlx::query(concat!(select!(), "WHERE id = $1")).bind(id.to_string());
            let row = select.fetch_optional(&self.reader()).await?;
            read(TABLE, &row.ok_or(StoreError::NotFound)?, package)
        })
        .await
    }

    async fn package_of_vnfd(&self, project: &ProjectId, vnfd_id: &str) -> Result<VnfPackage, StoreError> {
        self.traced("packages::of_vnfd", async {
            let row = sqlx::query(concat!(select!(), first_of_vnfd!()))
                .bind(&project.0)
                .bind(vnfd_id)
                .fetch_optional(&self.reader())
                .await?;
            read(TABLE, &row.ok_or(StoreError::NotFound)?, package)
        })
        .await
    }

    async fn packages(&self, project: Option<&ProjectId>, page: &Page<'_>) -> Result<Vec<VnfPackage>, StoreError> {
        self.traced("packages::list", async {
            let mut select = QueryBuilder::new(columns!());
            match project {
                None => select.push("vnf_packages"),
                Some(project) => {
                    select.push("(SELECT * FROM vnf_packages WHERE project_id = ").push_bind(project.0.clone());
                    select.push(" OR id IN (SELECT vnf_pkg_id FROM vnf_package_shares WHERE project_id IN (");
                    select.push_bind(project.0.clone()).push(", ''))) AS vnf_packages")
                }
            };
            filters::push_page(&mut select, "created_at", None, page);
            filters::fetch(self, &mut select, project, page)
                .await?
                .iter()
                .map(|row| read(TABLE, row, package))
                .collect()
        })
        .await
    }

    async fn update_package(
        &self,
        project: &ProjectId,
        id: VnfPkgId,
        state: Option<OperationalState>,
        user_defined_data: Option<[&Map<String, Value>; 2]>,
    ) -> Result<(), StoreError> {
        self.traced("packages::update", async {
            let mut tx = self.writer.begin().await?;
            let update = sqlx::query(concat!(
                "UPDATE vnf_packages \
                 SET operational_state = COALESCE($3, operational_state), \
                     user_defined_data = COALESCE($4, user_defined_data) \
                 WHERE id = $1 AND project_id = $2 \
                   AND ($3 IS NULL OR (onboarding_state = 'ONBOARDED' AND operational_state <> $3)) \
                   AND ($5 IS NULL OR user_defined_data = $5) RETURNING ",
                publish::package_change!()
            ))
            .bind(id.to_string())
            .bind(&project.0)
            .bind(state.map(operational_state))
            .bind(user_defined_data.map(|[_, new]| Json(new)))
            .bind(user_defined_data.map(|[old, _]| Json(old)));
            let Some(row) = update.fetch_optional(&mut *tx).await? else {
                drop(tx);
                one(self, project, id).await?;
                return Err(StoreError::Stale);
            };
            let published = match state {
                Some(state) => publish::package(&mut tx, &row, id, PackageEvent::OperationalState(state)).await?,
                // Subscribers are not notified of user-defined data.
                None => {
                    let events = publish::journal_package(&mut tx, &row, EventChange::Updated).await?;
                    Published { events, ..Published::default() }
                }
            };
            tx.commit().await?;
            self.signals.published(published);
            Ok(())
        })
        .await
    }

    async fn delete_package(&self, project: &ProjectId, id: VnfPkgId) -> Result<(), StoreError> {
        // That no instance or operation refers to it is the foreign keys' business, so none can come between a check and the deletion.
        self.traced("packages::delete", async {
            let mut tx = self.writer.begin().await?;
            let delete = sqlx::query(concat!(
                "DELETE FROM vnf_packages \
                 WHERE id = $1 AND project_id = $2 \
                   AND operational_state = 'DISABLED' AND onboarding_state NOT IN ('UPLOADING', 'PROCESSING') RETURNING ",
                publish::package_change!()
            ))
            .bind(id.to_string())
            .bind(&project.0);
            let row = match delete.fetch_optional(&mut *tx).await {
                Ok(Some(row)) => row,
                Ok(None) => {
                    drop(tx);
                    one(self, project, id).await?;
                    return Err(StoreError::Stale);
                }
                Err(error) if is_foreign_key_violation(&error) => return Err(StoreError::InUse),
                Err(error) => return Err(error.into()),
            };
            let published = publish::package(&mut tx, &row, id, PackageEvent::Deleted).await?;
            tx.commit().await?;
            self.files.remove(id);
            self.signals.published(published);
            Ok(())
        })
        .await
    }

    async fn vnfd(&self, project: &ProjectId, vnfd_id: &str) -> Result<OnboardedVnfd, StoreError> {
        self.traced("packages::vnfd", async {
            let select = concat!("SELECT id, project_id, operational_state, vnfd FROM vnf_packages", first_of_vnfd!());
            let row = sqlx::query(select).bind(&project.0).bind(vnfd_id).fetch_optional(&self.reader()).await?;
            read(TABLE, &row.ok_or(StoreError::NotFound)?, onboarded_vnfd)
        })
        .await
    }

    async fn vnfd_of_package(&self, id: VnfPkgId) -> Result<OnboardedVnfd, StoreError> {
        self.traced("packages::vnfd_of_package", async {
            let select = sqlx::query(
                "SELECT id, project_id, operational_state, vnfd FROM vnf_packages WHERE id = $1 AND vnfd IS NOT NULL",
            );
            let row = select.bind(id.to_string()).fetch_optional(&self.reader()).await?;
            read(TABLE, &row.ok_or(StoreError::NotFound)?, onboarded_vnfd)
        })
        .await
    }

    async fn definition_files(&self, id: VnfPkgId) -> Result<Arc<[DefinitionFile]>, StoreError> {
        self.traced("packages::definition_files", async {
            if let Some(files) = self.files.get(id) {
                return Ok(files);
            }
            let files = sqlx::query_as(
                "SELECT path, content, problem FROM vnf_package_files WHERE vnf_pkg_id = $1 ORDER BY path",
            )
            .bind(id.to_string())
            .fetch_all(&self.reader())
            .await?;
            let files = files.into_iter().map(|(path, text, problem)| DefinitionFile { path, text, problem }).collect();
            self.files.insert(id, &files);
            Ok(files)
        })
        .await
    }
}

pub(super) async fn one(db: &Database, project: &ProjectId, id: VnfPkgId) -> Result<VnfPackage, StoreError> {
    let row = sqlx::query(concat!(select!(), "WHERE id = $1 AND project_id = $2"))
        .bind(id.to_string())
        .bind(&project.0)
        .fetch_optional(&db.reader())
        .await?;
    read(TABLE, &row.ok_or(StoreError::NotFound)?, package)
}

pub(super) fn id(row: &Row) -> Result<VnfPkgId, Unreadable> {
    Ok(row.try_get::<&str, _>("id")?.parse()?)
}

fn onboarded_vnfd(row: &Row) -> Result<OnboardedVnfd, Unreadable> {
    Ok(OnboardedVnfd {
        package_id: id(row)?,
        project_id: project(row)?,
        operational_state: enumerator(row.try_get("operational_state")?)?,
        vnfd: json(row, "vnfd")?,
    })
}

fn package(row: &Row) -> Result<VnfPackage, Unreadable> {
    let onboarding = match row.try_get("onboarding_state")? {
        "CREATED" => Onboarding::Created,
        "UPLOADING" => Onboarding::Uploading,
        "PROCESSING" => Onboarding::Processing,
        "ONBOARDED" => Onboarding::Onboarded(Box::new(Content {
            vnfd: json(row, "vnfd")?,
            sha512: row.try_get("sha512")?,
            size: row.try_get::<i64, _>("size")?.try_into()?,
            artifacts: json(row, "artifacts")?,
            warnings: json(row, "warnings")?,
        })),
        "ERROR" => Onboarding::Error(json(row, "problem")?),
        other => return Err(format!("onboarding_state {other}").into()),
    };
    Ok(VnfPackage {
        id: id(row)?,
        project_id: project(row)?,
        onboarding,
        operational_state: enumerator(row.try_get("operational_state")?)?,
        in_use: row.try_get("in_use")?,
        content_epoch: row.try_get("content_epoch")?,
        user_defined_data: json(row, "user_defined_data")?,
        created_at: point_in_time(row, "created_at")?,
    })
}
