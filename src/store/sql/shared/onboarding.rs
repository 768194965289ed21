//! The onboarding columns of `vnf_packages`.
//!
//! A lease runs until `lease_until`, exclusively, by the database's clock. Each claim increments `lease_epoch`, and each write
//! compares both: a process that lost its lease changes nothing.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::Row as _;
use sqlx::types::Json;
use tokio::sync::Notify;

use super::super::tell_others_of_onboarding;
use super::packages::{TABLE, id, one};
use super::{Database, Query, QueryBuilder, Row, Tx, is_unique_violation, project, publish, quotas, read};
use crate::domain::event::EventChange;
use crate::domain::ids::{ProjectId, VnfPkgId};
use crate::domain::notification::PackageEvent;
use crate::domain::package::{Content, DefinitionFile, InterruptedOnboarding, PackageSource};
use crate::domain::problem::Problem;
use crate::domain::quota::QuotaResource;
use crate::store::seal::SealContext;
use crate::store::sql::convert::{Unreadable, length};
use crate::store::{ClaimedOnboarding, OnboardingClaim, OnboardingLease, OnboardingStore, StoreError};

/// Files that go into one INSERT: each may have [`DefinitionFile::MAX_BYTES`], all of a package together have 32 MiB.
const FILES_PER_INSERT: usize = 32;

/// The fence: $1 is the package, $2 the epoch; see [`held_by`].
macro_rules! held {
    () => {
        concat!(
            "id = $1 AND lease_epoch = $2 AND onboarding_state IN ('UPLOADING', 'PROCESSING') AND lease_until > ",
            now!()
        )
    };
}

#[async_trait]
impl OnboardingStore for Database {
    async fn begin_upload(
        &self,
        project: &ProjectId,
        id: VnfPkgId,
        source: Option<&PackageSource>,
        owner: &str,
        ttl: Duration,
    ) -> Result<OnboardingLease, StoreError> {
        self.traced("onboarding::begin_upload", async {
            let row = id.to_string();
            let source = source.map(|source| self.keys.seal(&sealed_at(&row), source)).transpose().map_err(StoreError::Seal)?;
            let mut tx = self.writer.begin().await?;
            // Its size is not known yet. A project without room is refused before a byte arrives.
            quotas::admit(self, &mut tx, project, QuotaResource::PackageBytes, 1, 0).await?;
            let update = concat!(
                "UPDATE vnf_packages \
                 SET onboarding_state = 'UPLOADING', problem = NULL, source = $3, \
                     lease_owner = $4, lease_epoch = lease_epoch + 1, lease_until = ",
                now!(),
                " + $5 WHERE id = $1 AND project_id = $2 AND onboarding_state IN ('CREATED', 'ERROR') RETURNING id, project_id, lease_epoch"
            );
            let begun = sqlx::query(update)
                .bind(&row)
                .bind(&project.0)
                .bind(source)
                .bind(owner)
                .bind(length(ttl))
                .fetch_optional(&mut *tx)
                .await?;
            let Some(begun) = begun else {
                drop(tx);
                one(self, project, id).await?;
                return Err(StoreError::Stale);
            };
            tell_others_of_onboarding(&mut tx).await?;
            let events = publish::package_state(&mut tx, project, id, EventChange::Updated, "UPLOADING").await?;
            tx.commit().await?;
            self.signals.onboarding();
            self.signals.journaled(events);
            read(TABLE, &begun, lease)
        })
        .await
    }

    async fn finish_upload(&self, lease: &OnboardingLease, ttl: Duration) -> Result<(), StoreError> {
        self.traced("onboarding::finish_upload", async {
            let update = concat!(
                "UPDATE vnf_packages \
                 SET onboarding_state = 'PROCESSING', content_epoch = lease_epoch, source = NULL, lease_until = ",
                now!(),
                " + $3 WHERE ",
                held!(),
                " AND onboarding_state = 'UPLOADING'"
            );
            let mut tx = self.writer.begin().await?;
            let done = held_by(sqlx::query(update), lease).bind(length(ttl)).execute(&mut *tx).await?;
            if done.rows_affected() == 0 {
                drop(tx);
                return Err(refusal(self, lease).await?);
            }
            self.changed_state(tx, lease, "PROCESSING").await
        })
        .await
    }

    async fn finish_onboarding(
        &self,
        lease: &OnboardingLease,
        content: &Content,
        files: &[DefinitionFile],
    ) -> Result<(), StoreError> {
        self.traced("onboarding::finish_onboarding", async {
            let mut tx = self.writer.begin().await?;
            quotas::admit(self, &mut tx, &lease.project, QuotaResource::PackageBytes, content.size, 0).await?;
            let update = concat!(
                "UPDATE vnf_packages \
                 SET onboarding_state = 'ONBOARDED', operational_state = 'ENABLED', vnfd_id = $3, vnfd = $4, sha512 = $5, \
                     size = $6, artifacts = $7, warnings = $8, lease_owner = NULL, lease_until = 0 \
                 WHERE ",
                held!(),
                " AND onboarding_state = 'PROCESSING' RETURNING ",
                publish::package_change!()
            );
            let onboarded = held_by(sqlx::query(update), lease)
                .bind(&content.vnfd.id)
                .bind(Json(&content.vnfd))
                .bind(&content.sha512)
                .bind(i64::try_from(content.size).unwrap_or(i64::MAX))
                .bind(Json(&content.artifacts))
                .bind(Json(&content.warnings))
                .fetch_optional(&mut *tx)
                .await;
            let onboarded = onboarded.map_err(|error| {
                if is_unique_violation(&error) { StoreError::Duplicate("the VNFD's id") } else { error.into() }
            })?;
            let Some(row) = onboarded else {
                drop(tx);
                return Err(refusal(self, lease).await?);
            };
            let published = publish::package(&mut tx, &row, lease.package, PackageEvent::Onboarded).await?;
            for files in files.chunks(FILES_PER_INSERT) {
                let mut insert = QueryBuilder::new("INSERT INTO vnf_package_files (vnf_pkg_id, path, content, problem) ");
                insert.push_values(files, |mut values, file| {
                    values.push_bind(lease.package.to_string()).push_bind(&file.path).push_bind(&file.text).push_bind(&file.problem);
                });
                insert.build().persistent(false).execute(&mut *tx).await?;
            }
            tx.commit().await?;
            self.signals.published(published);
            Ok(())
        })
        .await
    }

    async fn fail_onboarding(&self, lease: &OnboardingLease, problem: &Problem) -> Result<(), StoreError> {
        self.traced("onboarding::fail_onboarding", async {
            let update = concat!(
                "UPDATE vnf_packages \
                 SET onboarding_state = 'ERROR', problem = $3, source = NULL, lease_owner = NULL, lease_until = 0 \
                 WHERE ",
                held!()
            );
            let mut tx = self.writer.begin().await?;
            let done = held_by(sqlx::query(update), lease).bind(Json(problem)).execute(&mut *tx).await?;
            lost_unless(done.rows_affected() == 1)?;
            self.changed_state(tx, lease, "ERROR").await
        })
        .await
    }

    async fn renew_onboarding(&self, lease: &OnboardingLease, ttl: Duration) -> Result<(), StoreError> {
        self.traced("onboarding::renew_onboarding", async {
            let update = concat!("UPDATE vnf_packages SET lease_until = ", now!(), " + $3 WHERE ", held!());
            let done = self.writer.execute(held_by(sqlx::query(update), lease).bind(length(ttl))).await?;
            lost_unless(done.rows_affected() == 1)
        })
        .await
    }

    async fn release_onboarding(&self, lease: OnboardingLease) -> Result<(), StoreError> {
        self.traced("onboarding::release_onboarding", async {
            let mut tx = self.writer.begin().await?;
            let update = concat!("UPDATE vnf_packages SET lease_owner = NULL, lease_until = 0 WHERE ", held!());
            let done = held_by(sqlx::query(update), &lease).execute(&mut *tx).await?;
            lost_unless(done.rows_affected() == 1)?;
            tell_others_of_onboarding(&mut tx).await?;
            tx.commit().await?;
            self.signals.onboarding();
            Ok(())
        })
        .await
    }

    async fn claim_onboarding(&self, owner: &str, ttl: Duration) -> Result<OnboardingClaim, StoreError> {
        self.traced("onboarding::claim_onboarding", async {
            let update = concat!(
                "WITH due AS MATERIALIZED ( \
                     SELECT id FROM vnf_packages WHERE onboarding_state IN ('UPLOADING', 'PROCESSING') AND lease_until <= ",
                now!(),
                " ORDER BY lease_until, id LIMIT 1",
                skip_locked!(),
                ") UPDATE vnf_packages SET lease_owner = $1, lease_epoch = lease_epoch + 1, lease_until = ",
                now!(),
                " + $2 WHERE id IN (SELECT id FROM due) RETURNING id, project_id, lease_epoch, onboarding_state, content_epoch, source"
            );
            let rows = self.writer.fetch_all(sqlx::query(update).bind(owner).bind(length(ttl))).await?;
            let Some(row) = rows.first() else { return Ok(OnboardingClaim::Idle(until_due(self).await?)) };
            let claimed = read(TABLE, row, |row| {
                let interrupted = match row.try_get("onboarding_state")? {
                    "PROCESSING" => InterruptedOnboarding::Check { content_epoch: row.try_get("content_epoch")? },
                    _ => source(self, row)?.map_or(InterruptedOnboarding::Upload, InterruptedOnboarding::Fetch),
                };
                Ok(ClaimedOnboarding { lease: lease(row)?, interrupted })
            })?;
            Ok(OnboardingClaim::Work(Box::new(claimed)))
        })
        .await
    }

    fn onboardings(&self) -> Arc<Notify> {
        Arc::clone(&self.signals.onboardings)
    }
}

impl Database {
    /// Commits that an onboarding has changed the state of its package.
    async fn changed_state(&self, mut tx: Tx, lease: &OnboardingLease, state: &str) -> Result<(), StoreError> {
        let change = EventChange::Updated;
        let events = publish::package_state(&mut tx, &lease.project, lease.package, change, state).await?;
        tx.commit().await?;
        self.signals.journaled(events);
        Ok(())
    }
}

/// The time until the next lease of an onboarding runs out.
async fn until_due(db: &Database) -> Result<Option<Duration>, StoreError> {
    let select = concat!(
        "SELECT MIN(lease_until) - ",
        now!(),
        " FROM vnf_packages WHERE onboarding_state IN ('UPLOADING', 'PROCESSING')"
    );
    let millis: Option<i64> = sqlx::query_scalar(select).fetch_one(&db.reader()).await?;
    Ok(millis.map(|millis| Duration::from_millis(millis.try_into().unwrap_or(0))))
}

/// Where the content is fetched from. A source that can't be opened is as good as none: the content must be sent again.
fn source(db: &Database, row: &Row) -> Result<Option<PackageSource>, Unreadable> {
    let Some(sealed) = row.try_get::<Option<Vec<u8>>, _>("source")? else { return Ok(None) };
    let id: &str = row.try_get("id")?;
    let opened = db.keys.open(&sealed_at(id), &sealed);
    let opened = opened.inspect_err(|error| {
        tracing::error!(vnf_package.id = %id, error = error as &dyn std::error::Error, "the source of package {id} can't be read");
    });
    Ok(opened.ok())
}

const fn sealed_at(id: &str) -> SealContext<'_> {
    SealContext { table: TABLE, column: "source", row: id }
}

fn lease(row: &Row) -> Result<OnboardingLease, Unreadable> {
    Ok(OnboardingLease { package: id(row)?, project: project(row)?, epoch: row.try_get("lease_epoch")? })
}

/// Binds the parameters of `held!`: $1 and $2.
fn held_by<'q>(query: Query<'q>, lease: &OnboardingLease) -> Query<'q> {
    query.bind(lease.package.to_string()).bind(lease.epoch)
}

/// Why a write under the lease changed nothing: `Stale` if the lease is held, so that the state did not fit.
async fn refusal(db: &Database, lease: &OnboardingLease) -> Result<StoreError, StoreError> {
    let select = concat!("SELECT 1 FROM vnf_packages WHERE ", held!());
    let held = held_by(sqlx::query(select), lease).fetch_optional(&db.reader()).await?;
    Ok(if held.is_some() { StoreError::Stale } else { StoreError::LeaseLost })
}

fn lost_unless(done: bool) -> Result<(), StoreError> {
    if done { Ok(()) } else { Err(StoreError::LeaseLost) }
}
