//! `notifications`, the outbox: what [`crate::notify`] does with it, and what operators see of it. Triggers fill it
//! (migrations, 0004 for VNF instances, 0008 for packages).
//!
//! Who sends to a subscription holds its lease, which is fenced as that of an operation (`leases.rs`). So there is one
//! process at a time that sends to it, and the order per VNF instance, and over all packages, is that of the positions.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;
use sqlx::Row as _;
use tokio::sync::Notify;

use super::subscriptions::{TABLE as SUBSCRIPTIONS, columns, subscription};
use super::{Database, Query, QueryBuilder, Row, Tx, json, optional_json, point_in_time, read};
use crate::domain::ids::{ProjectId, SubscriptionId, VnfInstanceId};
use crate::domain::package::OperationalState;
use crate::domain::subscription::{
    Change, IDENTIFIER_CREATION, IDENTIFIER_DELETION, Notification, OPERATION_OCCURRENCE, OperationChange,
    PACKAGE_CHANGE, PACKAGE_ONBOARDING, PackageChange, PackageEvent, Undelivered,
};
use crate::store::sql::convert::{Unreadable, count, enumerator, length};
use crate::store::{ClaimedSubscription, OutboxClaim, OutboxLease, OutboxStats, OutboxStore, Sent, StoreError};

const TABLE: &str = "notifications";

/// The fence: $1 is the subscription, $2 the epoch; see [`held_by`].
macro_rules! held {
    () => {
        concat!("id = $1 AND lease_epoch = $2 AND lease_until > ", now!())
    };
}

/// The subscriptions that something waits for, as `waiting (id)`, with a NULL at the end: one step in the index each, however
/// many subscriptions and notifications there are.
macro_rules! waiting {
    () => {
        "WITH RECURSIVE waiting (id) AS ( \
             SELECT MIN(subscription_id) FROM notifications WHERE parked IS NULL \
             UNION ALL \
             SELECT (SELECT MIN(n.subscription_id) FROM notifications AS n \
                     WHERE n.parked IS NULL AND n.subscription_id > waiting.id) \
             FROM waiting WHERE waiting.id IS NOT NULL) "
    };
}

/// When the notification that waits first for the subscription `s` is to be sent; NULL if none waits.
macro_rules! first_due {
    () => {
        "(SELECT n.not_before FROM notifications AS n WHERE n.subscription_id = s.id AND n.parked IS NULL \
          ORDER BY n.position LIMIT 1)"
    };
}

/// What [`notification`] reads.
macro_rules! columns_of_notification {
    () => {
        "position, id, notification_type, time_stamp, vnf_instance_id, vnf_lcm_op_occ_id, operation, operation_state, \
         is_automatic_invocation, error, resource_changes, changed_info, vnf_package"
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
            let select = concat!(
                "SELECT ",
                columns_of_notification!(),
                ", parked, CASE WHEN parked IS NULL THEN (SELECT reason FROM subscriptions WHERE id = $1) END AS reason \
                 FROM notifications WHERE subscription_id = $1 \
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
            // Nobody waits for the end of a delay that he has just ended the cause of.
            let update =
                sqlx::query("UPDATE subscriptions SET not_before = 0, attempt = 0 WHERE id = $1 AND project_id = $2");
            if update.bind(id.to_string()).bind(&project.0).execute(&mut *tx).await?.rows_affected() == 0 {
                return Err(StoreError::NotFound);
            }
            let update = concat!(
                "UPDATE notifications SET parked = NULL, not_before = ",
                now!(),
                " WHERE subscription_id = $1 AND parked IS NOT NULL"
            );
            let done = sqlx::query(update).bind(id.to_string()).execute(&mut *tx).await?;
            super::super::notify_subscription(&mut tx).await?;
            tx.commit().await?;
            self.signals.subscribed();
            Ok(done.rows_affected())
        })
        .await
    }

    async fn claim_subscription(&self, owner: &str, ttl: Duration) -> Result<OutboxClaim, StoreError> {
        // Looks first and takes after, so that nothing is written where nothing is due.
        self.traced("outbox::claim", async {
            loop {
                match due(self).await? {
                    Some(Duration::ZERO) => {}
                    due => return Ok(OutboxClaim::Idle(due)),
                }
                let update = concat!(
                    "UPDATE subscriptions SET lease_owner = $1, lease_epoch = lease_epoch + 1, lease_until = ",
                    now!(),
                    " + $2 WHERE id = (",
                    waiting!(),
                    "SELECT s.id FROM subscriptions AS s WHERE s.id IN (SELECT id FROM waiting) AND s.not_before <= ",
                    now!(),
                    " AND s.lease_until <= ",
                    now!(),
                    " AND ",
                    first_due!(),
                    " <= ",
                    now!(),
                    " ORDER BY s.not_before, s.id LIMIT 1",
                    skip_locked!(),
                    ") RETURNING lease_epoch, attempt, ",
                    columns!()
                );
                let rows = self.writer.fetch_all(sqlx::query(update).bind(owner).bind(length(ttl))).await?;
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
                    // Its lease runs on, so that the others come first.
                    Err(error) => {
                        tracing::error!(error = &error as &dyn std::error::Error, "a subscription can't be read")
                    }
                }
            }
        })
        .await
    }

    async fn next_notifications(&self, lease: &OutboxLease, limit: usize) -> Result<Vec<Notification>, StoreError> {
        // The next ones: per VNF instance the one that waits first, if it is due.
        //
        // Asked with MIN, not with NOT EXISTS: an outbox is empty when the planner looks and full when it matters, and a join of
        // what it takes for nothing compares all with all.
        self.traced("outbox::next", async {
            let select = concat!(
                "SELECT ",
                columns_of_notification!(),
                " FROM notifications AS n WHERE subscription_id = $1 AND parked IS NULL AND not_before <= ",
                now!(),
                " AND position = (SELECT MIN(first.position) FROM notifications AS first \
                                   WHERE first.subscription_id = $1 AND first.vnf_instance_id = n.vnf_instance_id \
                                     AND first.parked IS NULL) \
                 ORDER BY position LIMIT $2"
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
                let mut delete = QueryBuilder::new("DELETE FROM notifications WHERE subscription_id = ");
                delete.push_bind(lease.subscription.to_string()).push(" AND position IN (");
                let mut positions = delete.separated(", ");
                for position in &sent.delivered {
                    positions.push_bind(*position);
                }
                delete.push(")");
                delete.build().persistent(false).execute(&mut *tx).await?;
            }
            for (position, reason) in &sent.refused {
                sqlx::query("UPDATE notifications SET parked = $3 WHERE subscription_id = $1 AND position = $2")
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
            // What another process put there meanwhile, it could not send: whoever sends looks again.
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
                "UPDATE notifications SET parked = $2 WHERE subscription_id = $1 AND parked IS NULL AND not_before <= ",
                now!(),
                " - $3"
            ))
            .bind(lease.subscription.to_string())
            .bind(format!("given up: {reason}"))
            .bind(length(patience))
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

/// The time until a subscription is due, or a lease ends; and whether there are subscriptions at all is remembered.
async fn due(db: &Database) -> Result<Option<Duration>, StoreError> {
    let row = sqlx::query(concat!(
        waiting!(),
        "SELECT (SELECT COUNT(*) FROM (SELECT 1 FROM subscriptions LIMIT 1) AS one) AS number, MIN(CASE WHEN later > first_due THEN later ELSE first_due END) - ",
        now!(),
        " AS due FROM (SELECT CASE WHEN s.lease_until > s.not_before THEN s.lease_until ELSE s.not_before END AS later, ",
        first_due!(),
        " AS first_due FROM waiting JOIN subscriptions AS s ON s.id = waiting.id) AS times"
    ));
    let before = db.signals.subscriptions();
    let row = row.fetch_one(&db.reader()).await?;
    db.signals.counted(before, row.try_get::<i64, _>("number")? > 0);
    let due = row.try_get::<Option<i64>, _>("due")?;
    Ok(due.map(|millis| Duration::from_millis(millis.try_into().unwrap_or(0))))
}

pub(super) async fn depth(db: &Database) -> Result<OutboxStats, StoreError> {
    let row = sqlx::query(concat!(
        "SELECT COUNT(*) AS number, COUNT(parked) AS parked, ",
        now!(),
        " - MIN(CASE WHEN parked IS NULL THEN not_before END) AS oldest FROM notifications"
    ))
    .fetch_one(&db.reader())
    .await?;
    let number = |column: &str| -> Result<u64, Unreadable> { Ok(row.try_get::<i64, _>(column)?.try_into()?) };
    read(TABLE, &row, |row| {
        let oldest = row.try_get::<Option<i64>, _>("oldest")?;
        Ok(OutboxStats {
            waiting: number("number")? - number("parked")?,
            parked: number("parked")?,
            oldest: oldest.map(|millis| Duration::from_millis(millis.try_into().unwrap_or(0))),
        })
    })
}

/// Binds what `held!` compares: $1 and $2.
fn held_by<'q>(query: Query<'q>, lease: &OutboxLease) -> Query<'q> {
    query.bind(lease.subscription.to_string()).bind(lease.epoch)
}

/// Runs the UPDATE of the subscription that opens a transaction of whoever sends; `LeaseLost` if the fence stopped it.
async fn fenced(tx: &mut Tx, update: Query<'_>) -> Result<(), StoreError> {
    let done = update.execute(&mut **tx).await?;
    if done.rows_affected() == 1 { Ok(()) } else { Err(StoreError::LeaseLost) }
}

/// What the triggers keep of a package that changed.
#[derive(Deserialize)]
struct ChangedPackage {
    id: String,
    vnfd_id: String,
    vnfm_info: Vec<String>,
    /// There if that is what changed.
    operational_state: Option<OperationalState>,
}

fn notification(row: &Row) -> Result<Notification, Unreadable> {
    let notification_type: &str = row.try_get("notification_type")?;
    let instance = || -> Result<VnfInstanceId, Unreadable> { Ok(row.try_get::<&str, _>("vnf_instance_id")?.parse()?) };
    let change = match notification_type {
        IDENTIFIER_CREATION => Change::Created(instance()?),
        IDENTIFIER_DELETION => Change::Deleted(instance()?),
        PACKAGE_ONBOARDING | PACKAGE_CHANGE => {
            let ChangedPackage { id, vnfd_id, vnfm_info, operational_state } = json(row, "vnf_package")?;
            let event = match operational_state {
                _ if notification_type == PACKAGE_ONBOARDING => PackageEvent::Onboarded,
                Some(state) => PackageEvent::OperationalState(state),
                None => PackageEvent::Deleted,
            };
            Change::Package(Box::new(PackageChange { package: id.parse()?, vnfd_id, vnfm_info, event }))
        }
        OPERATION_OCCURRENCE => Change::Operation(Box::new(OperationChange {
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
        change,
    })
}
