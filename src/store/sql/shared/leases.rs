//! Op occurrences as conductors use them: claims, and writes under a lease until the operation ends or is postponed.
//!
//! A lease expires at `lease_until` by the clock of the database. Each claim increments `lease_epoch`, and each write begins
//! with an UPDATE of the op occurrence that compares both: a conductor that lost its lease changes nothing. That UPDATE also
//! locks the row, so the operation can't be claimed before the commit.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::Row as _;
use sqlx::types::Json;
use time::OffsetDateTime;
use tokio::sync::{Notify, watch};

use super::super::notify_work;
use super::op_occs::{TABLE, columns, for_conductors, op_occ, push_state, push_update};
use super::{
    Database, Query, QueryBuilder, Row, Tx, instances, metering, op_occs, optional_json, publish, read, resources,
    steps, tenancy,
};
use crate::domain::event::EventChange;
use crate::domain::fair_share::{Crowded, Sharer};
use crate::domain::grant::PendingGrant;
use crate::domain::op_occ::CancelMode;
use crate::domain::plan::PLAN_FORMAT;
use crate::domain::problem::Problem;
use crate::domain::progress::{StepAttempt, StepWrites};
use crate::domain::resource::{ObjectKey, Resource};
use crate::domain::transition::{Due, Update};
use crate::domain::warning::Warnings;
use crate::store::sql::convert::{Unreadable, enumerator, length};
use crate::store::{
    Checkpoint, Claim, Claimed, Lease, LeaseStore, OperationEnded, OperationOutcome, PlannedOperation, RenewedLease,
    StoreError,
};

/// The fence: $1 is the operation, $2 the epoch; see [`held_by`].
macro_rules! held {
    () => {
        concat!("id = $1 AND lease_epoch = $2 AND lease_until > ", now!())
    };
}

/// Begins an UPDATE that releases the lease.
const RELEASE: &str = "UPDATE vnf_lcm_op_occs SET lease_owner = NULL, lease_until = 0";

#[async_trait]
impl LeaseStore for Database {
    async fn claim(&self, owner: &str, ttl: Duration, limit: u32, except: &Crowded) -> Result<Claim, StoreError> {
        self.traced("leases::claim", async {
            let rows = take(self, owner, ttl, limit, except).await?;
            if rows.is_empty() {
                return Ok(Claim::Idle(until_due(self, except).await?));
            }
            // Only the holder of the lease changes the instance: this process.
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
            let rows = self.writer.fetch_all(held_by(sqlx::query(update), lease).bind(length(ttl))).await?;
            read(TABLE, rows.first().ok_or(StoreError::LeaseLost)?, requested)
        })
        .await
    }

    async fn renew_all(&self, leases: &[Lease], ttl: Duration) -> Result<Vec<RenewedLease>, StoreError> {
        if leases.is_empty() {
            return Ok(Vec::new());
        }
        self.traced("leases::renew_all", async {
            let mut update = QueryBuilder::new(concat!("UPDATE vnf_lcm_op_occs SET lease_until = ", now!(), " + "));
            update.push_bind(length(ttl)).push(concat!(" WHERE lease_until > ", now!(), " AND id IN ("));
            // The list of ids makes the database read the primary key; the pairs are the fence.
            let mut ids = update.separated(", ");
            for lease in leases {
                ids.push_bind(lease.op.to_string());
            }
            update.push(") AND (id, lease_epoch) IN (VALUES ");
            let mut pairs = update.separated(", ");
            for lease in leases {
                pairs.push("(").push_bind_unseparated(lease.op.to_string());
                pairs.push_unseparated(", ").push_bind_unseparated(lease.epoch).push_unseparated(")");
            }
            update.push(") RETURNING id, lease_epoch, cancel_mode");
            let rows = self.writer.fetch_all(update.build().persistent(false)).await?;
            rows.iter().map(|row| read(TABLE, row, renewed)).collect()
        })
        .await
    }

    async fn store_plan(
        &self,
        lease: &Lease,
        ttl: Duration,
        update: &Update,
        planned: &PlannedOperation<'_>,
        now: OffsetDateTime,
    ) -> Result<(), StoreError> {
        self.traced("leases::store_plan", async {
            let grant = planned.granted.map(|granted| &granted.grant);
            let mut query = QueryBuilder::new("UPDATE vnf_lcm_op_occs SET grant_asked = NULL");
            op_occs::push_plan(self, &mut query, lease.op, planned.plan)?;
            query.push(", warnings = ").push_bind(Json(planned.warnings));
            query.push(", grant_id = ").push_bind(grant.map(|grant| &grant.id));
            query.push(", grant_uri = ").push_bind(grant.map(|grant| &grant.uri));
            query.push(concat!(", lease_until = ", now!(), " + ")).push_bind(length(ttl));
            if let Some(instance) = planned.granted.and_then(|granted| granted.instance.as_ref()) {
                query.push(", vim = ").push_bind(instance.vim());
            }
            push_state(&mut query, update, now);
            push_update(&mut query, update, None);
            push_fence(&mut query, lease);
            // A cancel request that arrived meanwhile must take effect in STARTING.
            query.push(" AND cancel_mode IS NULL");
            push_from(&mut query, update);
            let mut tx = self.writer.begin().await?;
            query.push(concat!(" RETURNING ", publish::operation_change!()));
            let row = fenced(&mut tx, query.build(), lease).await?;
            let published = publish::operation(&mut tx, &row, EventChange::Updated).await?;
            resources::insert(self, &mut tx, row.try_get("vnf_instance_id")?, planned.resources).await?;
            if let Some(instance) = planned.granted.and_then(|granted| granted.instance.as_ref()) {
                instances::replace(self, &mut tx, instance).await?;
            }
            if let Some(namespace) = planned.granted.and_then(|granted| granted.namespace.as_ref()) {
                tenancy::enter(&mut tx, row.try_get("vnf_instance_id")?, namespace).await?;
            }
            tx.commit().await?;
            self.signals.published(published);
            Ok(())
        })
        .await
    }

    async fn await_grant(&self, lease: Lease, update: &Update, pending: &PendingGrant) -> Result<(), StoreError> {
        // Wakes no other process: each finds out when the operation is due the next time it looks for work.
        self.traced("leases::await_grant", async {
            let mut query = QueryBuilder::new(RELEASE);
            query.push(", grant_uri = ").push_bind(&pending.uri);
            query.push(", grant_asked = ").push_bind(Json(&pending.asked));
            push_update(&mut query, update, None);
            push_fence(&mut query, &lease);
            push_from(&mut query, update);
            let mut tx = self.writer.begin().await?;
            fenced(&mut tx, query.push(" RETURNING id").build(), &lease).await?;
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
            resources::insert(self, &mut tx, instance, new).await?;
            tx.commit().await?;
            read(TABLE, &row, requested)
        })
        .await
    }

    async fn record_warnings(&self, lease: &Lease, warnings: &Warnings) -> Result<(), StoreError> {
        self.traced("leases::record_warnings", async {
            let update = concat!("UPDATE vnf_lcm_op_occs SET warnings = $3 WHERE ", held!());
            let done = self.writer.execute(held_by(sqlx::query(update), lease).bind(Json(warnings))).await?;
            if done.rows_affected() == 1 { Ok(()) } else { Err(StoreError::LeaseLost) }
        })
        .await
    }

    async fn announce_step(&self, lease: &Lease, attempt: &StepAttempt) -> Result<(), StoreError> {
        self.traced("leases::announce_step", async {
            let fence = concat!(
                "UPDATE vnf_lcm_op_occs SET lease_epoch = lease_epoch WHERE ",
                held!(),
                " RETURNING ",
                steps::returned!()
            );
            let mut tx = self.writer.begin().await?;
            // Locks the row: the end of the attempt is written before or after this, not meanwhile.
            let row =
                held_by(sqlx::query(fence), lease).fetch_optional(&mut *tx).await?.ok_or(StoreError::LeaseLost)?;
            let events = steps::announce(&mut tx, &row, attempt).await?;
            tx.commit().await?;
            self.signals.journaled(events);
            Ok(())
        })
        .await
    }

    async fn record_steps(&self, lease: &Lease, writes: &StepWrites) -> Result<(), StoreError> {
        self.traced("leases::record_steps", async {
            let mut query = steps::update("UPDATE vnf_lcm_op_occs SET lease_epoch = lease_epoch");
            push_fence(&mut query, lease);
            query.push(concat!(" RETURNING ", steps::returned!()));
            steps::push_writes(&mut query, writes);
            let mut tx = self.writer.begin().await?;
            let row = fenced(&mut tx, query.build(), lease).await?;
            let events = steps::finish(&mut tx, &row, writes).await?;
            tx.commit().await?;
            self.signals.journaled(events);
            Ok(())
        })
        .await
    }

    async fn checkpoint(&self, lease: &Lease, checkpoint: &Checkpoint) -> Result<(), StoreError> {
        self.traced("leases::checkpoint", async {
            let Checkpoint { update, rows, states, removed, steps: writes } = checkpoint;
            let mut query = steps::update("UPDATE vnf_lcm_op_occs SET lease_epoch = lease_epoch");
            push_update(&mut query, update, None);
            push_fence(&mut query, lease);
            query.push(concat!(" RETURNING ", steps::returned!()));
            steps::push_writes(&mut query, writes);
            let update = query.build();
            if rows.is_empty() && states.is_empty() && removed.is_empty() && steps::is_finished(writes) {
                let rows = self.writer.fetch_all(update).await?;
                let row = rows.first().ok_or(StoreError::LeaseLost)?;
                self.signals.journaled(steps::has_events(row, writes)?);
                return Ok(());
            }
            let mut tx = self.writer.begin().await?;
            let row = fenced(&mut tx, update, lease).await?;
            let instance = row.try_get("vnf_instance_id")?;
            resources::insert(self, &mut tx, instance, rows).await?;
            resources::set_states(&mut tx, instance, states).await?;
            resources::remove(&mut tx, instance, removed).await?;
            let events = steps::finish(&mut tx, &row, writes).await?;
            tx.commit().await?;
            self.signals.journaled(events);
            Ok(())
        })
        .await
    }

    async fn postpone(&self, lease: Lease, update: &Update, error: Option<&Problem>) -> Result<(), StoreError> {
        self.traced("leases::postpone", async {
            let mut query = QueryBuilder::new(RELEASE);
            push_update(&mut query, update, error);
            push_fence(&mut query, &lease);
            let mut tx = self.writer.begin().await?;
            if query.build().execute(&mut *tx).await?.rows_affected() == 0 {
                return Err(StoreError::LeaseLost);
            }
            // A process that stops hands its operations over: another one may go on at once.
            if update.due == Some(Due::After(Duration::ZERO)) {
                notify_work(&mut tx).await?;
            }
            tx.commit().await?;
            self.wake_ours();
            Ok(())
        })
        .await
    }

    async fn end_operation(&self, lease: Lease, outcome: &OperationOutcome) -> Result<(), StoreError> {
        self.traced("leases::end_operation", async {
            let update = &outcome.update;
            let mut query = steps::update(RELEASE);
            push_state(&mut query, update, outcome.now);
            push_update(&mut query, update, outcome.error.as_ref());
            op_occs::push_end(&mut query, update);
            if let Some(changes) = &outcome.resource_changes {
                query.push(", resource_changes = ").push_bind(Json(changes));
            }
            if let Some(info) = &outcome.changed_info {
                query.push(", changed_info = ").push_bind(Json(info));
            }
            push_fence(&mut query, &lease);
            push_from(&mut query, update);
            query.push(concat!(" RETURNING ", publish::operation_change!()));
            steps::push_writes(&mut query, &outcome.steps);
            let mut tx = self.writer.begin().await?;
            let row = fenced(&mut tx, query.build(), &lease).await?;
            steps::finish(&mut tx, &row, &outcome.steps).await?;
            let published = publish::operation(&mut tx, &row, EventChange::Updated).await?;
            let id: &str = row.try_get("vnf_instance_id")?;
            if outcome.discard_inventory {
                resources::discard(&mut tx, id).await?;
            }
            if let Some(instance) = &outcome.instance {
                instances::replace(self, &mut tx, instance).await?;
                if let Some(quantities) = &outcome.metered {
                    metering::measure(&mut tx, instance, quantities, outcome.now).await?;
                }
            }
            tx.commit().await?;
            self.signals.published(published);
            // There is work now, or at a time that no conductor waits for yet.
            if update.to.is_running() || update.due.is_some() {
                self.wake_ours();
            }
            if update.to.is_final() {
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
}

/// Takes leases. The number is part of the statement: PostgreSQL would plan for any number otherwise and read the whole
/// table.
async fn take(db: &Database, owner: &str, ttl: Duration, limit: u32, except: &Crowded) -> Result<Vec<Row>, StoreError> {
    let mut update = QueryBuilder::new(concat!(
        "WITH due AS MATERIALIZED ( \
             SELECT id FROM vnf_lcm_op_occs WHERE ",
        for_conductors!(),
        " AND not_before <= ",
        now!(),
        " AND lease_until <= ",
        now!(),
    ));
    push_ours(&mut update, except);
    update.push(" ORDER BY not_before, id LIMIT ").push(limit);
    update.push(concat!(
        skip_locked!(),
        ") UPDATE vnf_lcm_op_occs SET lease_epoch = lease_epoch + 1, \
         attempt = CASE WHEN lease_until > 0 THEN attempt + 1 ELSE attempt END, lease_until = ",
        now!(),
        " + "
    ));
    update.push_bind(length(ttl)).push(", lease_owner = ").push_bind(owner);
    update.push(concat!(
        " WHERE id IN (SELECT id FROM due) RETURNING plan, sealed_plan, steps_done, attempt, lease_epoch, grant_asked, ",
        "COALESCE(",
        now!(),
        " - step_since, 0) AS step_age, ",
        columns!()
    ));
    // The statement differs with the number of those that are left out.
    Ok(db.writer.fetch_all(update.build().persistent(except.is_empty())).await?)
}

/// Leaves out operations of those in `except`, and those with a plan that a newer release made and this one may not understand.
fn push_ours(query: &mut QueryBuilder, except: &Crowded) {
    // Without statistics, PostgreSQL expects that few rows meet `a IS NULL OR a <= b`, and then reads the whole table. So it gets
    // conditions of which it expects nothing.
    query.push(" AND (CASE WHEN plan_format > ").push(PLAN_FORMAT).push(" THEN 1 ELSE 0 END) <> 1");
    if except.is_empty() {
        return;
    }
    query.push(" AND (CASE");
    if !except.projects.is_empty() {
        query.push(" WHEN project_id IN (");
        let mut list = query.separated(", ");
        except.projects.iter().for_each(|project| _ = list.push_bind(project.0.clone()));
        query.push(") THEN 1");
    }
    if !except.vims.is_empty() {
        query.push(" WHEN vim IN (");
        let mut list = query.separated(", ");
        except.vims.iter().for_each(|vim| _ = list.push_bind(vim.clone()));
        query.push(") THEN 1");
    }
    if !except.sharers.is_empty() {
        query.push(" WHEN (project_id, vim) IN (");
        query.push_values(&except.sharers, |mut row, Sharer { project, vim }| {
            row.push_bind(project.0.clone()).push_bind(vim.clone());
        });
        query.push(") THEN 1");
    }
    query.push(" ELSE 0 END) <> 1");
}

fn claimed(db: &Database, row: &Row, instances: &[Row]) -> Result<Claimed, StoreError> {
    let op = read(TABLE, row, op_occ)?;
    let instance = instances::among(db, instances, op.vnf_instance_id)?;
    read(TABLE, row, |row| {
        Ok(Claimed {
            lease: Lease { op: op.id, epoch: row.try_get("lease_epoch")? },
            op,
            instance,
            plan: op_occs::stored_plan(db, row)?,
            steps_done: row.try_get::<i64, _>("steps_done")?.try_into()?,
            attempt: row.try_get::<i64, _>("attempt")?.try_into()?,
            step_age: Duration::from_millis(row.try_get::<i64, _>("step_age")?.try_into().unwrap_or(0)),
            pending_grant: pending_grant(row)?,
        })
    })
}

fn pending_grant(row: &Row) -> Result<Option<PendingGrant>, Unreadable> {
    let Some(asked) = optional_json(row, "grant_asked")? else { return Ok(None) };
    Ok(Some(PendingGrant { uri: row.try_get("grant_uri")?, asked }))
}

/// The time until an operation is due or a lease expires, whichever is first.
async fn until_due(db: &Database, except: &Crowded) -> Result<Option<Duration>, StoreError> {
    let mut select = QueryBuilder::new(concat!(
        "SELECT MIN(CASE WHEN lease_until > not_before THEN lease_until ELSE not_before END) - ",
        now!(),
        " FROM vnf_lcm_op_occs WHERE ",
        for_conductors!()
    ));
    push_ours(&mut select, except);
    let select = select.build_query_scalar().persistent(except.is_empty());
    let millis: Option<i64> = select.fetch_one(&db.reader()).await?;
    Ok(millis.map(|millis| Duration::from_millis(millis.try_into().unwrap_or(0))))
}

fn renewed(row: &Row) -> Result<RenewedLease, Unreadable> {
    let op = row.try_get::<&str, _>("id")?.parse()?;
    Ok(RenewedLease { op, epoch: row.try_get("lease_epoch")?, cancel: requested(row)? })
}

/// The pending cancel request.
fn requested(row: &Row) -> Result<Option<CancelMode>, Unreadable> {
    Ok(row.try_get::<Option<&str>, _>("cancel_mode")?.map(enumerator).transpose()?)
}

/// Binds $1 and $2 of `held!`.
fn held_by<'q>(query: Query<'q>, lease: &Lease) -> Query<'q> {
    query.bind(lease.op.to_string()).bind(lease.epoch)
}

/// Ends an UPDATE with the fence, as `held!`.
fn push_fence(query: &mut QueryBuilder, lease: &Lease) {
    query.push(" WHERE id = ").push_bind(lease.op.to_string()).push(" AND lease_epoch = ").push_bind(lease.epoch);
    query.push(concat!(" AND lease_until > ", now!()));
}

/// Adds the condition that the op occurrence is still in the state that the update was decided for.
fn push_from(query: &mut QueryBuilder, update: &Update) {
    query.push(" AND state = ").push_bind(update.from.as_str());
}

/// Runs the UPDATE of the op occurrence that begins a conductor's transaction, and returns its row. `LeaseLost` if the fence
/// rejects it, `Stale` if another condition does.
async fn fenced(tx: &mut Tx, update: Query<'_>, lease: &Lease) -> Result<Row, StoreError> {
    if let Some(row) = update.fetch_optional(&mut **tx).await? {
        return Ok(row);
    }
    let select = concat!("SELECT 1 FROM vnf_lcm_op_occs WHERE ", held!());
    let held = held_by(sqlx::query(select), lease).fetch_optional(&mut **tx).await?;
    Err(if held.is_some() { StoreError::Stale } else { StoreError::LeaseLost })
}
