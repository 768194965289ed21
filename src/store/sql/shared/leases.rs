//! What conductors do with op occurrences: claim one, and write under the lease until it ends or is put off.
//!
//! A lease runs until `lease_until`, exclusively, by the database's clock. Each claim counts `lease_epoch` up, and each
//! write begins with an UPDATE of the op occurrence's row that compares both: a conductor that was thought dead changes
//! nothing any more. That UPDATE also locks the row, so the operation can't be claimed between it and the commit.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::Row as _;
use sqlx::types::Json;
use time::OffsetDateTime;
use tokio::sync::{Notify, watch};

use super::super::{commit_unsynced, wake_others};
use super::op_occs::{TABLE, columns, final_states, for_conductors, op_occ};
use super::{Database, Query, QueryBuilder, Row, Tx, instances, optional_json, read, resources};
use crate::domain::grant::PendingGrant;
use crate::domain::op_occ::{CancelMode, OpState};
use crate::domain::plan::Plan;
use crate::domain::problem::Problem;
use crate::domain::resource::{ObjectKey, Resource, ResourceState};
use crate::store::sql::convert::{Unreadable, count, enumerator, length, millis};
use crate::store::{
    Checkpoint, Claim, Claimed, Granted, Lease, LeaseStore, OperationEnded, OperationOutcome, StoreError,
};

/// The fence: $1 is the operation, $2 the epoch; see [`held_by`].
macro_rules! held {
    () => {
        concat!("id = $1 AND lease_epoch = $2 AND lease_until > ", now!())
    };
}

#[async_trait]
impl LeaseStore for Database {
    async fn claim(&self, owner: &str, ttl: Duration, most: u32) -> Result<Claim, StoreError> {
        self.traced("leases::claim", async {
            let rows = take(self, owner, ttl, most).await?;
            if rows.is_empty() {
                return Ok(Claim::Idle(until_due(self).await?));
            }
            // Nobody changes an instance but whoever holds the lease, which is us.
            let instances = instances::of_operations(self, &rows).await?;
            let (claimed, unreadable): (Vec<_>, Vec<_>) =
                rows.iter().map(|row| claimed(self, row, &instances)).partition(Result::is_ok);
            let mut unreadable = unreadable.into_iter().filter_map(Result::err);
            if claimed.is_empty()
                && let Some(error) = unreadable.next()
            {
                return Err(error);
            }
            for error in unreadable {
                tracing::error!(error = &error as &dyn std::error::Error, "an operation can't be worked on");
            }
            Ok(Claim::Work(claimed.into_iter().filter_map(Result::ok).collect()))
        })
        .await
    }

    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<Option<CancelMode>, StoreError> {
        self.traced("leases::renew", async {
            let update = concat!(
                "UPDATE vnf_lcm_op_occs SET lease_until = ",
                now!(),
                " + $3 WHERE ",
                held!(),
                " RETURNING id, cancel_mode"
            );
            let rows = self.writer.fetch_all_unsynced(held_by(sqlx::query(update), lease).bind(length(ttl))).await?;
            read(TABLE, rows.first().ok_or(StoreError::LeaseLost)?, requested)
        })
        .await
    }

    async fn store_plan(
        &self,
        lease: &Lease,
        ttl: Duration,
        plan: &Plan,
        resources: &[Resource],
        now: OffsetDateTime,
    ) -> Result<(), StoreError> {
        self.traced("leases::store_plan", store_plan(self, lease, ttl, plan, resources, None, now)).await
    }

    async fn store_granted_plan(
        &self,
        lease: &Lease,
        ttl: Duration,
        plan: &Plan,
        resources: &[Resource],
        granted: &Granted,
        now: OffsetDateTime,
    ) -> Result<(), StoreError> {
        self.traced("leases::store_plan", store_plan(self, lease, ttl, plan, resources, Some(granted), now)).await
    }

    async fn await_grant(&self, lease: Lease, delay: Duration, pending: &PendingGrant) -> Result<(), StoreError> {
        // Nobody else is told: whoever looks for work next finds when it is due.
        self.traced("leases::await_grant", async {
            let lease = &lease;
            let update = concat!(
                "UPDATE vnf_lcm_op_occs \
                 SET lease_owner = NULL, lease_until = 0, attempt = 0, error = NULL, grant_uri = $4, grant_asked = $5, \
                     not_before = ",
                now!(),
                " + CASE WHEN cancel_mode IS NULL THEN $3 ELSE 0 END WHERE ",
                held!(),
                " AND state = 'STARTING' RETURNING vnf_instance_id"
            );
            let update = sqlx::query(update);
            let update = held_by(update, lease).bind(length(delay)).bind(&pending.uri).bind(Json(&pending.asked));
            let mut tx = self.writer.begin().await?;
            fenced(&mut tx, update, lease).await?;
            tx.commit().await?;
            self.wake_ours();
            Ok(())
        })
        .await
    }

    async fn record_intent(
        &self,
        lease: &Lease,
        ttl: Duration,
        objects: &[ObjectKey],
        new: &[Resource],
    ) -> Result<Option<CancelMode>, StoreError> {
        self.traced("leases::record_intent", async {
            let mut tx = self.writer.begin().await?;
            let update = concat!(
                "UPDATE vnf_lcm_op_occs SET lease_until = ",
                now!(),
                " + $3 WHERE ",
                held!(),
                " RETURNING id, vnf_instance_id, cancel_mode"
            );
            let update = held_by(sqlx::query(update), lease).bind(length(ttl));
            let row = update.fetch_optional(&mut *tx).await?.ok_or(StoreError::LeaseLost)?;
            let instance = row.try_get("vnf_instance_id")?;
            resources::mark_intent(&mut tx, instance, objects).await?;
            resources::insert(&mut tx, instance, new).await?;
            tx.commit().await?;
            read(TABLE, &row, requested)
        })
        .await
    }

    async fn checkpoint(&self, lease: &Lease, checkpoint: &Checkpoint) -> Result<(), StoreError> {
        // With a step done, what was said of the attempts at it is past; the error in ROLLING_BACK is the one that led there.
        self.traced("leases::checkpoint", async {
            let update = concat!(
                "UPDATE vnf_lcm_op_occs \
                 SET attempt = CASE WHEN steps_done = $3 THEN attempt ELSE 0 END, \
                     error = CASE WHEN steps_done = $3 OR state = 'ROLLING_BACK' THEN error ELSE NULL END, \
                     steps_done = $3 \
                 WHERE ",
                held!(),
                " RETURNING vnf_instance_id"
            );
            let update = held_by(sqlx::query(update), lease).bind(count(checkpoint.steps_done));
            if checkpoint.rows.is_empty() && checkpoint.states.is_empty() && checkpoint.removed.is_empty() {
                let rows = self.writer.fetch_all_unsynced(update).await?;
                return if rows.len() == 1 { Ok(()) } else { Err(StoreError::LeaseLost) };
            }
            let states = checkpoint.states.iter().map(|(_, state)| state);
            let begins =
                states.chain(checkpoint.rows.iter().map(|row| &row.state)).any(|state| *state == ResourceState::Intent);
            let mut tx = self.writer.begin().await?;
            let row = fenced(&mut tx, update, lease).await?;
            let instance = row.try_get("vnf_instance_id")?;
            resources::insert(&mut tx, instance, &checkpoint.rows).await?;
            resources::set_states(&mut tx, instance, &checkpoint.states).await?;
            resources::remove(&mut tx, instance, &checkpoint.removed).await?;
            let unsynced = commit_unsynced(tx).await?;
            if begins {
                unsynced.synced().await?;
            }
            Ok(())
        })
        .await
    }

    async fn postpone(
        &self,
        lease: Lease,
        delay: Duration,
        attempt: u32,
        error: Option<&Problem>,
    ) -> Result<(), StoreError> {
        self.traced("leases::postpone", async {
            let lease = &lease;
            let update = concat!(
                "UPDATE vnf_lcm_op_occs \
                 SET lease_owner = NULL, lease_until = 0, attempt = $4, \
                     error = CASE WHEN state = 'ROLLING_BACK' THEN error ELSE $5 END, \
                     not_before = ",
                now!(),
                " + CASE WHEN cancel_mode IS NULL THEN $3 ELSE 0 END WHERE ",
                held!()
            );
            let mut tx = self.writer.begin().await?;
            let done = held_by(sqlx::query(update), lease)
                .bind(length(delay))
                .bind(i64::from(attempt))
                .bind(error.map(Json))
                .execute(&mut *tx)
                .await?;
            if done.rows_affected() == 0 {
                return Err(StoreError::LeaseLost);
            }
            // Handed over by a process that stops: another one may go on at once.
            if delay.is_zero() {
                wake_others(&mut tx).await?;
            }
            let _ = commit_unsynced(tx).await?;
            self.wake_ours();
            Ok(())
        })
        .await
    }

    async fn end_operation(&self, lease: Lease, ending: &OperationOutcome) -> Result<(), StoreError> {
        // An operation that stops on its way back forgets how far it got: going back again begins anew (every step is safe to run
        // again), and so does a retry forward, whose steps have been undone in part.
        //
        // One that somebody is to decide about within a time is due when that is over. It is then ended by a conductor, from
        // FAILED_TEMP; should it come back there, there is no second way back.
        self.traced("leases::end_operation", async {
            let lease = &lease;
            let mut tx = self.writer.begin().await?;
            let update = concat!(
                "UPDATE vnf_lcm_op_occs \
                 SET state = $4, state_entered_time = $5, attempt = 0, cancel_mode = NULL, \
                     steps_done = CASE WHEN state = 'ROLLING_BACK' OR $4 = 'ROLLING_BACK' THEN 0 ELSE steps_done END, \
                     error = CASE WHEN $4 = 'COMPLETED' THEN NULL ELSE COALESCE($6, error) END, \
                     resource_changes = COALESCE($7, resource_changes), changed_info = COALESCE($8, changed_info), \
                     target_pkg_id = CASE WHEN $4 IN ",
                final_states!(),
                " THEN NULL ELSE target_pkg_id END, \
                     unattended_remedy = CASE WHEN state = 'FAILED_TEMP' THEN 'FAIL' ELSE unattended_remedy END, \
                     not_before = CASE WHEN $4 = 'FAILED_TEMP' AND unattended_after IS NOT NULL THEN ",
                now!(),
                " + unattended_after ELSE not_before END, \
                     lease_owner = NULL, lease_until = 0 WHERE ",
                held!(),
                " AND state = $3 RETURNING vnf_instance_id, unattended_after"
            );
            let update = held_by(sqlx::query(update), lease)
                .bind(ending.from.as_str())
                .bind(ending.to.as_str())
                .bind(millis(ending.now))
                .bind(ending.error.as_ref().map(Json))
                .bind(ending.resource_changes.as_ref().map(Json))
                .bind(ending.changed_info.as_ref().map(Json));
            let row = fenced(&mut tx, update, lease).await?;
            let id: &str = row.try_get("vnf_instance_id")?;
            let is_unattended = row.try_get::<Option<i64>, _>("unattended_after")?.is_some();
            if ending.discard_inventory {
                resources::discard(&mut tx, id).await?;
            }
            if let Some(instance) = &ending.instance {
                instances::replace(self, &mut tx, instance).await?;
            }
            tx.commit().await?;
            self.signals.change();
            // There is more to do now, or at a time that nobody waits for yet.
            if ending.to.is_running() || (ending.to == OpState::FailedTemp && is_unattended) {
                self.wake_ours();
            }
            if ending.to.is_final() {
                self.endings.send(id.parse().map_or(OperationEnded::Any, OperationEnded::One));
            }
            Ok(())
        })
        .await
    }

    fn wake(&self) -> Arc<Notify> {
        Arc::clone(&self.signals.wake)
    }

    fn cancels(&self) -> watch::Receiver<()> {
        self.signals.cancels.subscribe()
    }

    async fn sync(&self) -> Result<(), StoreError> {
        Ok(self.writer.sync().await?)
    }
}

/// Gives leases. The number is part of the statement, for PostgreSQL would plan for any number otherwise: with the whole
/// table read.
async fn take(db: &Database, owner: &str, ttl: Duration, most: u32) -> Result<Vec<Row>, StoreError> {
    let mut update = QueryBuilder::new(concat!(
        "WITH due AS MATERIALIZED ( \
             SELECT id FROM vnf_lcm_op_occs WHERE ",
        for_conductors!(),
        " AND not_before <= ",
        now!(),
        " AND lease_until <= ",
        now!(),
        " ORDER BY not_before, id LIMIT "
    ));
    update.push(most);
    update.push(concat!(
        skip_locked!(),
        ") UPDATE vnf_lcm_op_occs SET lease_epoch = lease_epoch + 1, \
         attempt = CASE WHEN lease_until > 0 THEN attempt + 1 ELSE attempt END, lease_until = ",
        now!(),
        " + "
    ));
    update.push_bind(length(ttl)).push(", lease_owner = ").push_bind(owner);
    update.push(concat!(
        " WHERE id IN (SELECT id FROM due) RETURNING plan, steps_done, attempt, lease_epoch, grant_asked, ",
        columns!()
    ));
    Ok(db.writer.fetch_all_unsynced(update.build()).await?)
}

fn claimed(db: &Database, row: &Row, instances: &[Row]) -> Result<Claimed, StoreError> {
    let op = read(TABLE, row, op_occ)?;
    let instance = instances::among(db, instances, op.vnf_instance_id)?;
    read(TABLE, row, |row| {
        Ok(Claimed {
            lease: Lease { op: op.id, epoch: row.try_get("lease_epoch")? },
            op,
            instance,
            plan: optional_json(row, "plan")?,
            steps_done: row.try_get::<i64, _>("steps_done")?.try_into()?,
            attempt: row.try_get::<i64, _>("attempt")?.try_into()?,
            pending_grant: pending_grant(row)?,
        })
    })
}

fn pending_grant(row: &Row) -> Result<Option<PendingGrant>, Unreadable> {
    let Some(asked) = optional_json(row, "grant_asked")? else { return Ok(None) };
    Ok(Some(PendingGrant { uri: row.try_get("grant_uri")?, asked }))
}

/// The time until an operation is due or a lease ends, whichever comes first.
async fn until_due(db: &Database) -> Result<Option<Duration>, StoreError> {
    let millis: Option<i64> = sqlx::query_scalar(concat!(
        "SELECT MIN(CASE WHEN lease_until > not_before THEN lease_until ELSE not_before END) - ",
        now!(),
        " FROM vnf_lcm_op_occs WHERE ",
        for_conductors!()
    ))
    .fetch_one(&db.reader())
    .await?;
    Ok(millis.map(|millis| Duration::from_millis(millis.try_into().unwrap_or(0))))
}

/// The cancel request that is pending, if one is.
fn requested(row: &Row) -> Result<Option<CancelMode>, Unreadable> {
    Ok(row.try_get::<Option<&str>, _>("cancel_mode")?.map(enumerator).transpose()?)
}

/// An operation whose cancel request was accepted in STARTING does not get out of it.
pub(super) async fn store_plan(
    db: &Database,
    lease: &Lease,
    ttl: Duration,
    plan: &Plan,
    resources: &[Resource],
    granted: Option<&Granted>,
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    let mut tx = db.writer.begin().await?;
    let update = concat!(
        "UPDATE vnf_lcm_op_occs \
         SET state = 'PROCESSING', state_entered_time = $3, plan = $4, steps_done = 0, attempt = 0, error = NULL, \
             grant_id = $6, grant_uri = $7, grant_asked = NULL, lease_until = ",
        now!(),
        " + $5 WHERE ",
        held!(),
        " AND state = 'STARTING' AND cancel_mode IS NULL RETURNING vnf_instance_id"
    );
    let grant = granted.map(|granted| &granted.grant);
    let update = held_by(sqlx::query(update), lease)
        .bind(millis(now))
        .bind(Json(plan))
        .bind(length(ttl))
        .bind(grant.map(|grant| &grant.id))
        .bind(grant.map(|grant| &grant.uri));
    let row = fenced(&mut tx, update, lease).await?;
    resources::insert(&mut tx, row.try_get("vnf_instance_id")?, resources).await?;
    if let Some(instance) = granted.and_then(|granted| granted.instance.as_ref()) {
        instances::replace(db, &mut tx, instance).await?;
    }
    tx.commit().await?;
    db.signals.change();
    Ok(())
}

/// Binds what `held!` compares: $1 and $2.
fn held_by<'q>(query: Query<'q>, lease: &Lease) -> Query<'q> {
    query.bind(lease.op.to_string()).bind(lease.epoch)
}

/// Runs the UPDATE of the op occurrence that opens a conductor's transaction; gives back what it returns, such as the VNF
/// instance's id. `LeaseLost` if the fence stopped it, `Stale` if the state did.
async fn fenced(tx: &mut Tx, update: Query<'_>, lease: &Lease) -> Result<Row, StoreError> {
    if let Some(row) = update.fetch_optional(&mut **tx).await? {
        return Ok(row);
    }
    let select = concat!("SELECT 1 FROM vnf_lcm_op_occs WHERE ", held!());
    let held = held_by(sqlx::query(select), lease).fetch_optional(&mut **tx).await?;
    Err(if held.is_some() { StoreError::Stale } else { StoreError::LeaseLost })
}
