//! `subscriptions`, as the API uses them. Their secrets are sealed when written and opened when read. `publish.rs` reads
//! their filters, `outbox.rs` delivers to them.

use std::collections::HashSet;
use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::digest::{SHA256, digest};
use sqlx::Row as _;
use sqlx::types::Json;

use super::{Database, QueryBuilder, Row, Tx, filters, json, optional_json, point_in_time, project, quotas, read};
use crate::domain::ids::{ProjectId, SubscriptionId, VnfInstanceId};
use crate::domain::interface::{Edition, Interface};
use crate::domain::notification_filter::NotificationFilter;
use crate::domain::quota::QuotaResource;
use crate::domain::subscription::{Authentication, Subscription, Verbosity};
use crate::store::seal::SealContext;
use crate::store::sql::convert::{Unreadable, count, length, millis};
use crate::store::{Page, StoreError, Subscribed, SubscriptionStore};

pub(super) const TABLE: &str = "subscriptions";
/// The project of a subscription that is deleted, but for its row and the notifications to it: [`super::retention`] deletes these.
/// No project has this name, so no caller and no change finds the subscription.
pub(super) const DELETED: &str = "";
/// Subscriptions with more deliveries are deleted in the background.
const DELETED_AT_ONCE: usize = 1000;

/// What [`subscription`] reads.
macro_rules! columns {
    () => {
        "id, project_id, interface, edition, callback_uri, filter, verbosity, authentication, secrets, base_url, orphan_grace, \
         created_at"
    };
}
pub(super) use columns;

/// An expired subscription is not shown. [`expire_orphans`] deletes it.
macro_rules! is_shown {
    () => {
        concat!("(expires_at IS NULL OR expires_at > ", now!(), ")")
    };
}

#[async_trait]
impl SubscriptionStore for Database {
    async fn create_subscription(&self, subscription: &Subscription) -> Result<Subscribed, StoreError> {
        self.traced("subscriptions::create", async {
            let id = subscription.id.to_string();
            let fingerprint = fingerprint(subscription);
            let authentication = subscription.authentication.as_ref();
            let secrets = authentication.map(|authentication| &authentication.secrets);
            let sealed = secrets.map(|secrets| self.seal(&sealed_at(&id), secrets)).transpose()?.flatten();
            let mut tx = self.writer.begin().await?;
            let insert = sqlx::query(
                "INSERT INTO subscriptions \
                     (id, project_id, interface, edition, callback_uri, filter, verbosity, authentication, secrets, \
                      base_url, only_vnf_instance_id, fingerprint, created_at, orphan_grace) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) \
                 ON CONFLICT (project_id, fingerprint) DO NOTHING",
            );
            let done = insert
                .bind(id)
                .bind(&subscription.project_id.0)
                .bind(subscription.interface.name())
                .bind(subscription.edition.as_str())
                .bind(&subscription.callback_uri)
                .bind(Json(&subscription.filter))
                .bind(subscription.verbosity.as_str())
                .bind(authentication.map(Json))
                .bind(sealed)
                .bind(&subscription.base_url)
                .bind(only_instance(subscription))
                .bind(&fingerprint)
                .bind(millis(subscription.created_at))
                .bind(subscription.orphan_grace.map(length))
                .execute(&mut *tx)
                .await?;
            if done.rows_affected() == 0 {
                // The client wants the subscription: if it has expired, it starts a new grace period.
                let revive = concat!(
                    "UPDATE subscriptions SET expires_at = CASE WHEN ",
                    is_shown!(),
                    " THEN expires_at ELSE ",
                    now!(),
                    " + orphan_grace END WHERE project_id = $1 AND fingerprint = $2 RETURNING id"
                );
                let equal = sqlx::query(revive)
                    .bind(&subscription.project_id.0)
                    .bind(&fingerprint)
                    .fetch_optional(&mut *tx)
                    .await?;
                // On PostgreSQL it may have been deleted between the two statements.
                let equal = read(TABLE, &equal.ok_or(StoreError::Stale)?, id_of)?;
                tx.commit().await?;
                return Ok(Subscribed::Existing(equal));
            }
            quotas::admit(self, &mut tx, &subscription.project_id, QuotaResource::Subscriptions, 1, 1).await?;
            tx.commit().await?;
            Ok(Subscribed::Created)
        })
        .await
    }

    async fn subscription(&self, project: &ProjectId, id: SubscriptionId) -> Result<Subscription, StoreError> {
        self.traced("subscriptions::one", async {
            let select = concat!(
                "SELECT ",
                columns!(),
                " FROM subscriptions WHERE id = $1 AND project_id = $2 AND ",
                is_shown!()
            );
            let row = sqlx::query(select).bind(id.to_string()).bind(&project.0).fetch_optional(&self.reader()).await?;
            read(TABLE, &row.ok_or(StoreError::NotFound)?, |row| subscription(self, row))
        })
        .await
    }

    async fn subscriptions(
        &self,
        project: Option<&ProjectId>,
        interface: Interface,
        page: &Page<'_>,
    ) -> Result<Vec<Subscription>, StoreError> {
        self.traced("subscriptions::list", async {
            let mut select = QueryBuilder::new(concat!(
                "SELECT ",
                columns!(),
                " FROM (SELECT * FROM subscriptions WHERE interface = "
            ));
            select.push_bind(interface.name()).push(concat!(" AND ", is_shown!(), ") AS subscriptions"));
            filters::push_page(&mut select, "created_at", project, page);
            let rows = filters::fetch(self, &mut select, project, page).await?;
            rows.iter().map(|row| read(TABLE, row, |row| subscription(self, row))).collect()
        })
        .await
    }

    async fn delete_subscription(&self, project: &ProjectId, id: SubscriptionId) -> Result<(), StoreError> {
        self.traced("subscriptions::delete", async {
            let mut tx = self.writer.begin().await?;
            // Waits for transactions that publish to it, and blocks further ones.
            let lock = concat!("SELECT id FROM subscriptions WHERE id = $1 AND project_id = $2", for_update!());
            let id = id.to_string();
            sqlx::query(lock).bind(&id).bind(&project.0).fetch_optional(&mut *tx).await?.ok_or(StoreError::NotFound)?;
            delete(&mut tx, &id).await?;
            Ok(tx.commit().await?)
        })
        .await
    }
}

/// Starts the grace period of the subscriptions that lost the last VNF instance their filters name, and deletes those
/// whose grace period has ended. To be called after `deleted` was deleted from `vnf_instances`.
///
/// Expired subscriptions are deleted only here. Their number is bounded by the number of deleted instances.
pub(super) async fn expire_orphans(tx: &mut Tx, project: &ProjectId, deleted: VnfInstanceId) -> Result<(), StoreError> {
    let expired = sqlx::query_scalar::<_, String>(concat!(
        "SELECT id FROM subscriptions WHERE project_id = $1 AND orphan_grace IS NOT NULL AND expires_at <= ",
        now!(),
        " ORDER BY id",
        for_update!()
    ));
    let expired = expired.bind(&project.0).fetch_all(&mut **tx).await?;
    start_grace(tx, project, deleted).await?;
    for id in expired {
        delete(tx, &id).await?;
    }
    Ok(())
}

async fn start_grace(tx: &mut Tx, project: &ProjectId, deleted: VnfInstanceId) -> Result<(), StoreError> {
    let rows = sqlx::query(
        "SELECT id, filter FROM subscriptions \
         WHERE project_id = $1 AND orphan_grace IS NOT NULL AND only_vnf_instance_id IN ('', $2)",
    );
    let rows = rows.bind(&project.0).bind(deleted.to_string()).fetch_all(&mut **tx).await?;
    let mut naming = Vec::new();
    for row in &rows {
        let (id, filter) =
            read(TABLE, row, |row| Ok((row.try_get::<String, _>("id")?, json::<NotificationFilter>(row, "filter")?)))?;
        if filter.is_orphaned(deleted, |_| false) {
            naming.push((id, filter));
        }
    }
    if naming.is_empty() {
        return Ok(());
    }
    // Two instances that a filter names may be deleted at once: the second transaction waits here, and then sees that the
    // first instance is gone.
    let lock =
        concat!("SELECT id FROM subscriptions WHERE id IN (", texts_of!("$1"), ") ORDER BY id", for_no_key_update!());
    let ids: Vec<&String> = naming.iter().map(|(id, _)| id).collect();
    sqlx::query(lock).bind(Json(&ids)).fetch_all(&mut **tx).await?;
    let named: Vec<&str> = naming.iter().flat_map(|(_, filter)| filter.instance_ids()).collect();
    let existing = concat!("SELECT id FROM vnf_instances WHERE id IN (", texts_of!("$1"), ")");
    let existing: HashSet<String> =
        sqlx::query_scalar(existing).bind(Json(&named)).fetch_all(&mut **tx).await?.into_iter().collect();
    let orphans = naming.iter().filter(|(_, filter)| filter.is_orphaned(deleted, |id| existing.contains(id)));
    let orphans: Vec<&String> = orphans.map(|(id, _)| id).collect();
    let update = concat!(
        "UPDATE subscriptions SET expires_at = ",
        now!(),
        " + orphan_grace WHERE id IN (",
        texts_of!("$1"),
        ")"
    );
    sqlx::query(update).bind(Json(&orphans)).execute(&mut **tx).await?;
    Ok(())
}

/// Hash of what makes two subscriptions equal: API and edition, callback URI, verbosity and filter. The authentication
/// is not part of it.
fn fingerprint(subscription: &Subscription) -> String {
    let Subscription { interface, edition, callback_uri, verbosity, filter, .. } = subscription;
    let root = match interface {
        // Older databases have these fingerprints.
        Interface::Lifecycle => edition.as_str(),
        Interface::Packages => subscription.root(),
    };
    let whole = (root, callback_uri, verbosity.as_str(), filter);
    // Cannot fail: all keys are strings.
    let text = serde_json::to_string(&whole).unwrap_or_default();
    hex::encode(digest(&SHA256, text.as_bytes()).as_ref())
}

/// The key by which `publish.rs` finds subscriptions: the one VNF instance that the filter names, '' if it names several or
/// none, '-' for subscriptions to packages.
fn only_instance(subscription: &Subscription) -> &str {
    if subscription.interface == Interface::Packages {
        return "-";
    }
    let mut ids = subscription.filter.instance_ids();
    match (ids.next(), ids.next()) {
        // A text that is no identifier matches no instance and may have any length.
        (Some(only), None) if only.parse::<VnfInstanceId>().is_ok() => only,
        _ => "",
    }
}

const fn sealed_at(id: &str) -> SealContext<'_> {
    SealContext { table: TABLE, column: "secrets", row: id }
}

fn id_of(row: &Row) -> Result<SubscriptionId, Unreadable> {
    Ok(row.try_get::<&str, _>("id")?.parse()?)
}

pub(super) fn subscription(db: &Database, row: &Row) -> Result<Subscription, Unreadable> {
    let mut authentication: Option<Authentication> = optional_json(row, "authentication")?;
    if let Some(authentication) = &mut authentication {
        authentication.secrets = db.open(&sealed_at(row.try_get("id")?), row.try_get("secrets")?)?;
    }
    Ok(Subscription {
        id: id_of(row)?,
        project_id: project(row)?,
        interface: match row.try_get("interface")? {
            "vnfpkgm" => Interface::Packages,
            _ => Interface::Lifecycle,
        },
        edition: match row.try_get("edition")? {
            "V1" => Edition::V1,
            _ => Edition::V2,
        },
        callback_uri: row.try_get("callback_uri")?,
        filter: json(row, "filter")?,
        verbosity: match row.try_get("verbosity")? {
            "SHORT" => Verbosity::Short,
            _ => Verbosity::Full,
        },
        authentication,
        base_url: row.try_get("base_url")?,
        orphan_grace: row
            .try_get::<Option<i64>, _>("orphan_grace")?
            .map(u64::try_from)
            .transpose()?
            .map(Duration::from_millis),
        created_at: point_in_time(row, "created_at")?,
    })
}

/// Deletes a subscription whose row the caller has locked, its deliveries, and the changes that no other subscription
/// waits for. The changes are locked first, as in `outbox::delete_delivered`.
async fn delete(tx: &mut Tx, id: &str) -> Result<(), StoreError> {
    let number: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM (SELECT 1 FROM outbox_deliveries WHERE subscription_id = $1 LIMIT $2) AS counted",
    )
    .bind(id)
    .bind(count(DELETED_AT_ONCE + 1))
    .fetch_one(&mut **tx)
    .await?;
    if number > count(DELETED_AT_ONCE) {
        // The new epoch ends the lease of the process that delivers. The new fingerprint admits an equal subscription.
        let hide = sqlx::query(
            "UPDATE subscriptions SET project_id = $2, fingerprint = id, orphan_grace = NULL, \
                    expires_at = NULL, authentication = NULL, secrets = NULL, lease_epoch = lease_epoch + 1, lease_until = 0 \
             WHERE id = $1",
        );
        hide.bind(id).bind(DELETED).execute(&mut **tx).await?;
        return Ok(());
    }
    let lock = concat!(
        "SELECT COUNT(*) FROM (SELECT 1 FROM outbox_changes WHERE position IN \
             (SELECT position FROM outbox_deliveries WHERE subscription_id = $1) ORDER BY position",
        for_update!(),
        ") AS locked"
    );
    sqlx::query(lock).bind(id).fetch_one(&mut **tx).await?;
    for delete in [
        "DELETE FROM outbox_changes WHERE position IN \
             (SELECT position FROM outbox_deliveries WHERE subscription_id = $1) \
           AND NOT EXISTS (SELECT 1 FROM outbox_deliveries AS d \
                           WHERE d.position = outbox_changes.position AND d.subscription_id <> $1)",
        "DELETE FROM subscriptions WHERE id = $1",
    ] {
        sqlx::query(delete).bind(id).execute(&mut **tx).await?;
    }
    Ok(())
}
