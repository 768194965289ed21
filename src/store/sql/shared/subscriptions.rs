//! `subscriptions` as the API sees them. Their secrets are sealed on the way in and opened on the way out. What is sent to
//! them is in `outbox.rs`.

use aws_lc_rs::digest::{SHA256, digest};
use sqlx::Row as _;
use sqlx::types::Json;

use super::super::tell_others_of_subscription;
use super::{Database, QueryBuilder, Row, filters, json, optional_json, point_in_time, project, read};
use crate::domain::ids::{ProjectId, SubscriptionId};
use crate::domain::subscription::{Authentication, Edition, Subscription, Verbosity};
use crate::store::seal::Context;
use crate::store::sql::convert::{Unreadable, millis};
use crate::store::{Page, StoreError, Subscribed};

pub(super) const TABLE: &str = "subscriptions";

/// What [`subscription`] reads.
macro_rules! columns {
    () => {
        "id, project_id, edition, callback_uri, filter, verbosity, authentication, secrets, base_url, created_at"
    };
}
pub(super) use columns;

pub(super) async fn create(db: &Database, subscription: &Subscription) -> Result<Subscribed, StoreError> {
    let id = subscription.id.to_string();
    let fingerprint = fingerprint(subscription);
    let authentication = subscription.authentication.as_ref();
    let secrets = authentication.map(|authentication| &authentication.secrets);
    let sealed = secrets.map(|secrets| db.seal(&sealed_at(&id), secrets)).transpose()?.flatten();
    let mut tx = db.writer.begin().await?;
    let insert = sqlx::query(
        "INSERT INTO subscriptions (id, project_id, edition, callback_uri, filter, verbosity, authentication, secrets, \
                                    base_url, only_vnf_instance_id, fingerprint, created_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) \
         ON CONFLICT (project_id, fingerprint) DO NOTHING",
    );
    let done = insert
        .bind(id)
        .bind(&subscription.project_id.0)
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
        .execute(&mut *tx)
        .await?;
    if done.rows_affected() == 0 {
        let equal = sqlx::query("SELECT id FROM subscriptions WHERE project_id = $1 AND fingerprint = $2")
            .bind(&subscription.project_id.0)
            .bind(&fingerprint)
            .fetch_optional(&mut *tx)
            .await?;
        // On PostgreSQL it may have gone between the two statements.
        return read(TABLE, &equal.ok_or(StoreError::Stale)?, |row| Ok(Subscribed::Already(id_of(row)?)));
    }
    tell_others_of_subscription(&mut tx).await?;
    tx.commit().await?;
    db.signals.subscribed();
    Ok(Subscribed::Now)
}

pub(super) async fn one(db: &Database, project: &ProjectId, id: SubscriptionId) -> Result<Subscription, StoreError> {
    let row = sqlx::query(concat!("SELECT ", columns!(), " FROM subscriptions WHERE id = $1 AND project_id = $2"))
        .bind(id.to_string())
        .bind(&project.0)
        .fetch_optional(&db.reader())
        .await?;
    read(TABLE, &row.ok_or(StoreError::NotFound)?, |row| subscription(db, row))
}

pub(super) async fn list(db: &Database, project: &ProjectId, page: &Page<'_>) -> Result<Vec<Subscription>, StoreError> {
    let mut select = QueryBuilder::new(concat!("SELECT ", columns!(), " FROM subscriptions"));
    filters::push_page(&mut select, "created_at", project, page);
    let rows = filters::fetch(db, &mut select).await?;
    rows.iter().map(|row| read(TABLE, row, |row| subscription(db, row))).collect()
}

/// What waits in the outbox for it goes with it.
pub(super) async fn delete(db: &Database, project: &ProjectId, id: SubscriptionId) -> Result<(), StoreError> {
    let delete = sqlx::query("DELETE FROM subscriptions WHERE id = $1 AND project_id = $2");
    let done = db.writer.execute(delete.bind(id.to_string()).bind(&project.0)).await?;
    if done.rows_affected() == 1 { Ok(()) } else { Err(StoreError::NotFound) }
}

/// The same for equal subscriptions only: edition, callback URI, verbosity and filter, but not who may call back.
fn fingerprint(subscription: &Subscription) -> String {
    let Subscription { edition, callback_uri, verbosity, filter, .. } = subscription;
    let whole = (edition.as_str(), callback_uri, verbosity.as_str(), filter);
    // Maps with string keys are always written.
    let text = serde_json::to_string(&whole).unwrap_or_default();
    hex::encode(digest(&SHA256, text.as_bytes()).as_ref())
}

/// The one VNF instance that the filter names; empty if it names several, or none.
fn only_instance(subscription: &Subscription) -> &str {
    let ids = subscription.filter.get("vnfInstanceSubscriptionFilter").and_then(|filter| filter.get("vnfInstanceIds"));
    match ids.and_then(serde_json::Value::as_array).map(Vec::as_slice) {
        Some([only]) => only.as_str().unwrap_or_default(),
        _ => "",
    }
}

const fn sealed_at(id: &str) -> Context<'_> {
    Context { table: TABLE, column: "secrets", row: id }
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
        created_at: point_in_time(row, "created_at")?,
    })
}
