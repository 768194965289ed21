//! The outbox: `outbox_changes` has each published change once, `outbox_deliveries` a row for each subscription that it
//! still has to reach. `publish.rs` inserts them. A change is deleted with its last delivery.
//!
//! The process that delivers to a subscription holds its lease, which is fenced like the lease of an operation
//! (`leases.rs`). So one process at a time delivers to a subscription, in the order of the positions per VNF instance, and
//! over all packages.
//!
//! Every transaction locks subscriptions before changes, and changes in the order of their positions: no deadlock.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::Row as _;
use tokio::sync::Notify;

use super::publish::StoredPackageChange;
use super::subscriptions::{TABLE as SUBSCRIPTIONS, columns, subscription};
use super::{Database, Query, QueryBuilder, Row, Tx, json, optional_json, point_in_time, read};
use crate::domain::ids::{ProjectId, SubscriptionId, VnfInstanceId};
use crate::domain::notification::{
    IDENTIFIER_CREATION, IDENTIFIER_DELETION, Notification, NotificationContent, OPERATION_OCCURRENCE, OperationChange,
    PACKAGE_CHANGE, PACKAGE_ONBOARDING, Undelivered,
};
use crate::store::sql::convert::{Unreadable, count, enumerator, length};
use crate::store::{ClaimedSubscription, OutboxClaim, OutboxLease, OutboxStats, OutboxStore, Sent, StoreError};

const TABLE: &str = "outbox_changes";
/// The most deliveries that one statement changes.
const BATCH: usize = 10_000;
/// The most batches of a resend. Repeat the request for more.
const MAX_RESEND_BATCHES: usize = 20;
/// Figures count up to here: counting further would read millions of rows.
const MAX_COUNT: u64 = 10_000;

/// The fence: $1 is the subscription, $2 the epoch, see [`held_by`].
macro_rules! held {
    () => {
        concat!("id = $1 AND lease_epoch = $2 AND lease_until > ", now!())
    };
}

/// The subscriptions with a delivery that waits, as `waiting (id)`, and a NULL at the end. Takes one step in the index per
/// such subscription, independent of the number of deliveries.
macro_rules! waiting {
    () => {
        "WITH RECURSIVE waiting (id) AS ( \
             SELECT MIN(subscription_id) FROM outbox_deliveries WHERE parked IS NULL \
             UNION ALL \
             SELECT (SELECT MIN(d.subscription_id) FROM outbox_deliveries AS d \
                     WHERE d.parked IS NULL AND d.subscription_id > waiting.id) \
             FROM waiting WHERE waiting.id IS NOT NULL) "
    };
}

/// When the first delivery that waits for the subscription `s` is due; NULL if none waits.
macro_rules! first_due {
    () => {
        "(SELECT d.not_before FROM outbox_deliveries AS d WHERE d.subscription_id = s.id AND d.parked IS NULL \
          ORDER BY d.position LIMIT 1)"
    };
}

/// What [`notification`] reads, of the deliveries that `$deliveries` selects as (position, parked).
///
/// The deliveries are selected first, which CROSS JOIN guarantees on SQLite: each reads one change by its key.
macro_rules! select_notifications {
    ($extra:literal, $deliveries:expr) => {
        concat!(
            "SELECT c.position, c.id, c.notification_type, c.time_stamp, c.vnf_instance_id, c.vnf_lcm_op_occ_id, \
                    c.operation, c.operation_state, c.is_automatic_invocation, c.error, c.resource_changes, \
                    c.changed_info, c.vnf_package",
            $extra,
            " FROM (",
            $deliveries,
            ") AS d CROSS JOIN outbox_changes AS c WHERE c.position = d.position ORDER BY c.position"
        )
    };
}

#[async_trait]
impl OutboxStore for Database {
    async fn undelivered(
        &self,
        project: &ProjectId,
        id: SubscriptionId,
        limit: usize,
    ) -> Result<Vec<Undelivered>, StoreError> {
        self.traced("outbox::undelivered", async {
            let select = select_notifications!(
                ", d.parked, CASE WHEN d.parked IS NULL THEN (SELECT reason FROM subscriptions WHERE id = $1) END AS reason",
                "SELECT position, parked FROM outbox_deliveries WHERE subscription_id = $1 \
                    AND EXISTS (SELECT 1 FROM subscriptions WHERE id = $1 AND project_id = $2) \
                  ORDER BY position LIMIT $3"
            );
            let select = sqlx::query(select).bind(id.to_string()).bind(&project.0).bind(count(limit));
            let undelivered = |row: &Row| {
                let parked: Option<String> = row.try_get("parked")?;
                let is_parked = parked.is_some();
                let reason = parked.or(row.try_get("reason")?);
                Ok(Undelivered { notification: notification(row)?, is_parked, reason })
            };
            select.fetch_all(&self.reader()).await?.iter().map(|row| read(TABLE, row, undelivered)).collect()
        })
        .await
    }

    async fn resend(&self, project: &ProjectId, id: SubscriptionId) -> Result<u64, StoreError> {
        self.traced("outbox::resend", async {
            let mut tx = self.writer.begin().await?;
            // The operator has removed the cause of the failures: do not wait for the end of the back-off.
            let update =
                sqlx::query("UPDATE subscriptions SET not_before = 0, attempt = 0 WHERE id = $1 AND project_id = $2");
            if update.bind(id.to_string()).bind(&project.0).execute(&mut *tx).await?.rows_affected() == 0 {
                return Err(StoreError::NotFound);
            }
            tx.commit().await?;
            let update = concat!(
                "UPDATE outbox_deliveries SET parked = NULL, not_before = ",
                now!(),
                " WHERE subscription_id = $1 AND position IN (SELECT position FROM outbox_deliveries \
                   WHERE subscription_id = $1 AND parked IS NOT NULL ORDER BY position LIMIT $2)"
            );
            let mut resent = 0;
            for _ in 0..MAX_RESEND_BATCHES {
                let update = sqlx::query(update).bind(id.to_string()).bind(count(BATCH));
                let done = self.writer.execute(update).await?.rows_affected();
                resent += done;
                if done < BATCH as u64 {
                    break;
                }
            }
            self.signals.wake_outbox();
            Ok(resent)
        })
        .await
    }

    async fn claim_subscription(
        &self,
        owner: &str,
        ttl: Duration,
        except: &[ProjectId],
    ) -> Result<OutboxClaim, StoreError> {
        // Looks before it claims, so that it writes nothing while nothing is due.
        self.traced("outbox::claim", async {
            loop {
                match due(self, except).await? {
                    Some(Duration::ZERO) => {}
                    due => return Ok(OutboxClaim::Idle(due)),
                }
                let mut update = QueryBuilder::new("UPDATE subscriptions SET lease_owner = ");
                update.push_bind(owner);
                update.push(concat!(", lease_epoch = lease_epoch + 1, lease_until = ", now!(), " + "));
                update.push_bind(length(ttl));
                update.push(concat!(
                    " WHERE id = (",
                    waiting!(),
                    "SELECT s.id FROM subscriptions AS s WHERE s.id IN (SELECT id FROM waiting) AND s.project_id <> '' \
                       AND s.not_before <= ",
                    now!(),
                    " AND s.lease_until <= ",
                    now!(),
                    " AND ",
                    first_due!(),
                    " <= ",
                    now!(),
                ));
                push_except(&mut update, except);
                update.push(concat!(
                    " ORDER BY s.not_before, s.id LIMIT 1",
                    skip_locked!(),
                    ") RETURNING lease_epoch, attempt, ",
                    columns!()
                ));
                let rows = self.writer.fetch_all(update.build().persistent(except.is_empty())).await?;
                let Some(row) = rows.first() else { return Ok(OutboxClaim::Idle(Some(Duration::from_millis(100)))) };
                let claimed = read(SUBSCRIPTIONS, row, |row| {
                    let subscription = subscription(self, row)?;
                    let lease = OutboxLease { subscription: subscription.id, epoch: row.try_get("lease_epoch")? };
                    Ok(ClaimedSubscription {
                        lease,
                        subscription,
                        attempt: row.try_get::<i64, _>("attempt")?.try_into()?,
                    })
                });
                match claimed {
                    Ok(claimed) => return Ok(OutboxClaim::Work(Box::new(claimed))),
                    // Its lease stays, so that the next claim takes another one.
                    Err(error) => {
                        tracing::error!(error = &error as &dyn std::error::Error, "a subscription is unreadable");
                    }
                }
            }
        })
        .await
    }

    async fn next_notifications(&self, lease: &OutboxLease, limit: usize) -> Result<Vec<Notification>, StoreError> {
        // MIN, not NOT EXISTS: statistics are taken of an empty outbox, and with them PostgreSQL plans a NOT EXISTS as a
        // join that compares all rows with all.
        self.traced("outbox::next", async {
            let select = select_notifications!(
                "",
                concat!(
                    "SELECT position FROM outbox_deliveries AS d WHERE subscription_id = $1 AND parked IS NULL AND not_before <= ",
                    now!(),
                    " AND position = (SELECT MIN(first.position) FROM outbox_deliveries AS first \
                                       WHERE first.subscription_id = $1 AND first.vnf_instance_id = d.vnf_instance_id \
                                         AND first.parked IS NULL) \
                     ORDER BY position LIMIT $2"
                )
            );
            let select = sqlx::query(select).bind(lease.subscription.to_string()).bind(count(limit));
            let rows = select.fetch_all(&self.reader()).await?;
            rows.iter().map(|row| read(TABLE, row, notification)).collect()
        })
        .await
    }

    async fn renew_subscription(&self, lease: &OutboxLease, ttl: Duration) -> Result<(), StoreError> {
        self.traced("outbox::renew", async {
            let update = concat!("UPDATE subscriptions SET lease_until = ", now!(), " + $3 WHERE ", held!());
            let done = self.writer.execute(held_by(sqlx::query(update), lease).bind(length(ttl))).await?;
            if done.rows_affected() == 1 { Ok(()) } else { Err(StoreError::LeaseLost) }
        })
        .await
    }

    async fn record_sent(&self, lease: &OutboxLease, ttl: Duration, sent: &Sent) -> Result<(), StoreError> {
        self.traced("outbox::record", async {
            let mut tx = self.writer.begin().await?;
            let delivered = !sent.delivered.is_empty();
            let update = concat!(
                "UPDATE subscriptions SET lease_until = ",
                now!(),
                " + $3, attempt = CASE WHEN $4 THEN 0 ELSE attempt END, \
                       reason = CASE WHEN $4 THEN NULL ELSE reason END WHERE ",
                held!()
            );
            fenced(&mut tx, held_by(sqlx::query(update), lease).bind(length(ttl)).bind(delivered)).await?;
            if delivered {
                delete_delivered(&mut tx, lease.subscription, &sent.delivered).await?;
            }
            for (position, reason) in &sent.refused {
                sqlx::query("UPDATE outbox_deliveries SET parked = $3 WHERE subscription_id = $1 AND position = $2")
                    .bind(lease.subscription.to_string())
                    .bind(position)
                    .bind(reason)
                    .execute(&mut *tx)
                    .await?;
            }
            tx.commit().await?;
            Ok(())
        })
        .await
    }

    async fn release_subscription(&self, lease: OutboxLease) -> Result<(), StoreError> {
        self.traced("outbox::release", async {
            let lease = &lease;
            let update = concat!("UPDATE subscriptions SET lease_owner = NULL, lease_until = 0 WHERE ", held!());
            let done = self.writer.execute(held_by(sqlx::query(update), lease)).await?;
            if done.rows_affected() == 0 {
                return Err(StoreError::LeaseLost);
            }
            // Another process may have published meanwhile, and could not claim: look again.
            self.signals.wake_outbox();
            Ok(())
        })
        .await
    }

    async fn put_off_subscription(
        &self,
        lease: OutboxLease,
        delay: Duration,
        attempt: u32,
        reason: &str,
        patience: Duration,
    ) -> Result<(), StoreError> {
        self.traced("outbox::put_off", async {
            let lease = &lease;
            let mut tx = self.writer.begin().await?;
            let update = concat!(
                "UPDATE subscriptions SET lease_owner = NULL, lease_until = 0, attempt = $3, reason = $4, not_before = ",
                now!(),
                " + $5 WHERE ",
                held!()
            );
            let update = held_by(sqlx::query(update), lease).bind(i64::from(attempt)).bind(reason).bind(length(delay));
            fenced(&mut tx, update).await?;
            sqlx::query(concat!(
                "UPDATE outbox_deliveries SET parked = $2 WHERE subscription_id = $1 AND position IN ( \
                     SELECT position FROM outbox_deliveries WHERE subscription_id = $1 AND parked IS NULL \
                     ORDER BY position LIMIT $4) \
                   AND not_before <= ",
                now!(),
                " - $3"
            ))
            .bind(lease.subscription.to_string())
            .bind(format!("given up: {reason}"))
            .bind(length(patience))
            .bind(count(BATCH))
            .execute(&mut *tx)
            .await?;
            tx.commit().await?;
            self.signals.wake_outbox();
            Ok(())
        })
        .await
    }

    fn outbox(&self) -> Arc<Notify> {
        Arc::clone(&self.signals.outbox)
    }
}

/// The time until a subscription with waiting deliveries can be claimed. `None` if nothing waits.
async fn due(db: &Database, except: &[ProjectId]) -> Result<Option<Duration>, StoreError> {
    let mut select = QueryBuilder::new(concat!(
        waiting!(),
        "SELECT MIN(CASE WHEN later > first_due THEN later ELSE first_due END) - ",
        now!(),
        " AS due FROM (SELECT CASE WHEN s.lease_until > s.not_before THEN s.lease_until ELSE s.not_before END AS later, ",
        first_due!(),
        " AS first_due FROM waiting JOIN subscriptions AS s ON s.id = waiting.id WHERE s.project_id <> ''",
    ));
    push_except(&mut select, except);
    select.push(") AS times");
    let row = select.build().persistent(except.is_empty()).fetch_one(&db.reader()).await?;
    let due = row.try_get::<Option<i64>, _>("due")?;
    Ok(due.map(|millis| Duration::from_millis(millis.try_into().unwrap_or(0))))
}

/// Leaves out the subscriptions of those projects.
fn push_except(query: &mut QueryBuilder, except: &[ProjectId]) {
    if except.is_empty() {
        return;
    }
    query.push(" AND s.project_id NOT IN (");
    let mut list = query.separated(", ");
    except.iter().for_each(|project| _ = list.push_bind(project.0.clone()));
    query.push(")");
}

/// Reads a bounded number of index entries, whatever the number of deliveries.
pub(super) async fn depth(db: &Database) -> Result<OutboxStats, StoreError> {
    let select = concat!(
        waiting!(),
        "SELECT (SELECT COUNT(*) FROM (SELECT 1 FROM outbox_deliveries WHERE parked IS NULL LIMIT $1) AS counted) AS number, \
                (SELECT COUNT(*) FROM (SELECT 1 FROM outbox_deliveries WHERE parked IS NOT NULL LIMIT $1) AS counted) AS parked, ",
        now!(),
        " - MIN(",
        first_due!(),
        ") AS oldest FROM waiting JOIN subscriptions AS s ON s.id = waiting.id"
    );
    let row = sqlx::query(select).bind(MAX_COUNT.cast_signed()).fetch_one(&db.reader()).await?;
    let number = |column: &str| -> Result<u64, Unreadable> { Ok(row.try_get::<i64, _>(column)?.try_into()?) };
    read(TABLE, &row, |row| {
        let oldest = row.try_get::<Option<i64>, _>("oldest")?;
        Ok(OutboxStats {
            waiting: number("number")?,
            parked: number("parked")?,
            oldest: oldest.map(|millis| Duration::from_millis(millis.try_into().unwrap_or(0))),
        })
    })
}

/// Binds $1 and $2 of `held!`.
fn held_by<'q>(query: Query<'q>, lease: &OutboxLease) -> Query<'q> {
    query.bind(lease.subscription.to_string()).bind(lease.epoch)
}

/// Runs the fenced UPDATE of the subscription with which each transaction of the lease's holder begins.
async fn fenced(tx: &mut Tx, update: Query<'_>) -> Result<(), StoreError> {
    let done = update.execute(&mut **tx).await?;
    if done.rows_affected() == 1 { Ok(()) } else { Err(StoreError::LeaseLost) }
}

/// Deletes deliveries of a subscription, and the changes that no other subscription waits for.
///
/// The changes are locked first: of two transactions that delete the last two deliveries of a change, the second one sees
/// what the first one did, and deletes the change.
pub(super) async fn delete_delivered(
    tx: &mut Tx,
    subscription: SubscriptionId,
    positions: &[i64],
) -> Result<(), StoreError> {
    let mut delete = QueryBuilder::new("DELETE FROM outbox_deliveries WHERE subscription_id = ");
    delete.push_bind(subscription.to_string());
    delete.push(" AND position IN (SELECT position FROM outbox_changes WHERE position IN (");
    push_positions(&mut delete, positions);
    delete.push(concat!(") ORDER BY position", for_update!(), ")"));
    delete.build().persistent(false).execute(&mut **tx).await?;
    let mut delete = QueryBuilder::new("DELETE FROM outbox_changes WHERE position IN (");
    push_positions(&mut delete, positions);
    delete.push(") AND NOT EXISTS (SELECT 1 FROM outbox_deliveries AS d WHERE d.position = outbox_changes.position)");
    delete.build().persistent(false).execute(&mut **tx).await?;
    Ok(())
}

fn push_positions(query: &mut QueryBuilder, positions: &[i64]) {
    let mut list = query.separated(", ");
    for position in positions {
        list.push_bind(*position);
    }
}

fn notification(row: &Row) -> Result<Notification, Unreadable> {
    let notification_type: &str = row.try_get("notification_type")?;
    let instance = || -> Result<VnfInstanceId, Unreadable> { Ok(row.try_get::<&str, _>("vnf_instance_id")?.parse()?) };
    let content = match notification_type {
        IDENTIFIER_CREATION => NotificationContent::InstanceCreated(instance()?),
        IDENTIFIER_DELETION => NotificationContent::InstanceDeleted(instance()?),
        PACKAGE_ONBOARDING | PACKAGE_CHANGE => {
            let stored: StoredPackageChange = json(row, "vnf_package")?;
            NotificationContent::Package(Box::new(stored.into_change(notification_type == PACKAGE_ONBOARDING)))
        }
        OPERATION_OCCURRENCE => NotificationContent::Operation(Box::new(OperationChange {
            vnf_instance_id: instance()?,
            op: row.try_get::<&str, _>("vnf_lcm_op_occ_id")?.parse()?,
            operation: enumerator(row.try_get("operation")?)?,
            state: enumerator(row.try_get("operation_state")?)?,
            is_automatic_invocation: row.try_get("is_automatic_invocation")?,
            error: optional_json(row, "error")?,
            resource_changes: optional_json(row, "resource_changes")?,
            changed_info: optional_json(row, "changed_info")?,
        })),
        other => return Err(format!("unknown notificationType {other}").into()),
    };
    Ok(Notification {
        position: row.try_get("position")?,
        id: row.try_get::<&str, _>("id")?.parse()?,
        time_stamp: point_in_time(row, "time_stamp")?,
        content,
    })
}
