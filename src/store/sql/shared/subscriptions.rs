//! `subscriptions` as the API sees them. Their secrets are sealed on the way in and opened on the way out. What is sent to
//! them is in `outbox.rs`.

use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::digest::{SHA256, digest};
use sqlx::Row as _;
use sqlx::types::Json;

use super::super::notify_subscription;
use super::{Database, QueryBuilder, Row, filters, json, optional_json, point_in_time, project, read};
use crate::domain::ids::{ProjectId, SubscriptionId, VnfInstanceId};
use crate::domain::interface::{Edition, Interface};
use crate::domain::subscription::{Authentication, Subscription, Verbosity};
use crate::store::seal::SealContext;
use crate::store::sql::convert::{Unreadable, length, millis};
use crate::store::{Page, StoreError, Subscribed, SubscriptionStore};

pub(super) const TABLE: &str = "subscriptions";

/// What [`subscription`] reads.
macro_rules! columns {
    () => {
        "id, project_id, interface, edition, callback_uri, filter, verbosity, authentication, secrets, base_url, orphan_grace, \
         created_at"
    };
}
pub(super) use columns;

/// What is not shown is left to be removed by the trigger `vnf_instances_orphan`.
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
                // One that is not shown any more is shown again: somebody wants it.
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
                // On PostgreSQL it may have gone between the two statements.
                let equal = read(TABLE, &equal.ok_or(StoreError::Stale)?, id_of)?;
                tx.commit().await?;
                return Ok(Subscribed::Existing(equal));
            }
            notify_subscription(&mut tx).await?;
            tx.commit().await?;
            self.signals.subscribed();
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
        project: &ProjectId,
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
            let rows = filters::fetch(self, &mut select, page).await?;
            rows.iter().map(|row| read(TABLE, row, |row| subscription(self, row))).collect()
        })
        .await
    }

    async fn delete_subscription(&self, project: &ProjectId, id: SubscriptionId) -> Result<(), StoreError> {
        // What waits in the outbox for it goes with it.
        self.traced("subscriptions::delete", async {
            let delete = sqlx::query("DELETE FROM subscriptions WHERE id = $1 AND project_id = $2");
            let done = self.writer.execute(delete.bind(id.to_string()).bind(&project.0)).await?;
            if done.rows_affected() == 1 { Ok(()) } else { Err(StoreError::NotFound) }
        })
        .await
    }
}

/// The same for equal subscriptions only: API and edition, callback URI, verbosity and filter, but not who may call back.
fn fingerprint(subscription: &Subscription) -> String {
    let Subscription { interface, edition, callback_uri, verbosity, filter, .. } = subscription;
    let root = match interface {
        // As it was before there were others.
        Interface::Lifecycle => edition.as_str(),
        Interface::Packages => subscription.root(),
    };
    let whole = (root, callback_uri, verbosity.as_str(), filter);
    // Maps with string keys are always written.
    let text = serde_json::to_string(&whole).unwrap_or_default();
    hex::encode(digest(&SHA256, text.as_bytes()).as_ref())
}

/// The one VNF instance that the filter names; empty if it names several, or none. The triggers look up by it who is to be
/// told of a VNF instance, and who of a package.
fn only_instance(subscription: &Subscription) -> &str {
    if subscription.interface == Interface::Packages {
        return "-";
    }
    let ids = subscription.filter.get("vnfInstanceSubscriptionFilter").and_then(|filter| filter.get("vnfInstanceIds"));
    match ids.and_then(serde_json::Value::as_array).map(Vec::as_slice) {
        // What is no id is nobody's, and may be of any length.
        Some([only]) => only.as_str().filter(|id| id.parse::<VnfInstanceId>().is_ok()).unwrap_or_default(),
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
