//! Requests with an `Idempotency-Key`. Times are by the clock of the database.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::Row as _;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Database, Row, Tx};
use crate::store::sql::convert::{Unreadable, count, length, millis};
use crate::store::{ANSWERS_KEPT, KeptAnswer, KeyedRequest, RequestClaim, RequestStore, StoreError};

#[async_trait]
impl RequestStore for Database {
    async fn claim_request(
        &self,
        request: &KeyedRequest,
        resource: Uuid,
        patience: Duration,
    ) -> Result<RequestClaim, StoreError> {
        self.traced("requests::claim", async {
            let mut tx = self.writer.begin().await?;
            // The key decides between two equal requests at the same time: a check before the INSERT would race.
            let insert = sqlx::query(concat!(
                "INSERT INTO idempotent_requests (project_id, key, fingerprint, resource_id, started_at, claimed_until) \
                 VALUES ($1, $2, $3, $4, ",
                now!(),
                ", ",
                now!(),
                " + $5) ON CONFLICT (project_id, key) DO NOTHING"
            ));
            let insert = insert.bind(&request.project.0).bind(&request.key).bind(&request.fingerprint);
            let insert = insert.bind(resource.to_string()).bind(length(patience));
            let claim = if insert.execute(&mut *tx).await?.rows_affected() == 1 {
                RequestClaim::New
            } else {
                claim_again(&mut tx, request, resource, patience).await?
            };
            tx.commit().await?;
            Ok(claim)
        })
        .await
    }

    async fn keep_answer(&self, request: &KeyedRequest, answer: &KeptAnswer) -> Result<(), StoreError> {
        self.traced("requests::keep", async {
            let keep = sqlx::query(
                "UPDATE idempotent_requests SET status = $1, location = $2, content_type = $3, body = $4 \
                 WHERE project_id = $5 AND key = $6 AND fingerprint = $7",
            );
            let keep = keep.bind(i64::from(answer.status)).bind(&answer.location).bind(&answer.content_type);
            let keep = keep.bind(&answer.body).bind(&request.project.0).bind(&request.key).bind(&request.fingerprint);
            self.writer.execute(keep).await?;
            Ok(())
        })
        .await
    }

    async fn forget_request(&self, request: &KeyedRequest) -> Result<(), StoreError> {
        self.traced("requests::forget", async {
            let forget = sqlx::query(
                "DELETE FROM idempotent_requests \
                 WHERE project_id = $1 AND key = $2 AND fingerprint = $3 AND status IS NULL",
            );
            let forget = forget.bind(&request.project.0).bind(&request.key).bind(&request.fingerprint);
            self.writer.execute(forget).await?;
            Ok(())
        })
        .await
    }

    async fn delete_requests(&self, before: OffsetDateTime, limit: usize) -> Result<usize, StoreError> {
        self.traced("requests::delete", async {
            let delete = sqlx::query(
                "DELETE FROM idempotent_requests WHERE (project_id, key) IN (SELECT project_id, key \
                 FROM idempotent_requests WHERE started_at < $1 ORDER BY started_at LIMIT $2)",
            );
            let done = self.writer.execute(delete.bind(millis(before)).bind(count(limit))).await?;
            Ok(done.rows_affected().try_into().unwrap_or(usize::MAX))
        })
        .await
    }

    async fn trim_requests(&self, keep: usize, limit: usize) -> Result<usize, StoreError> {
        self.traced("requests::trim", async {
            let delete = sqlx::query(
                "DELETE FROM idempotent_requests WHERE (project_id, key) IN (SELECT project_id, key \
                 FROM idempotent_requests ORDER BY started_at DESC LIMIT $1 OFFSET $2)",
            );
            let done = self.writer.execute(delete.bind(count(limit)).bind(count(keep))).await?;
            Ok(done.rows_affected().try_into().unwrap_or(usize::MAX))
        })
        .await
    }
}

/// Claims a key that has a row.
async fn claim_again(
    tx: &mut Tx,
    request: &KeyedRequest,
    resource: Uuid,
    patience: Duration,
) -> Result<RequestClaim, StoreError> {
    let select = sqlx::query(concat!(
        "SELECT fingerprint, resource_id, started_at, claimed_until, status, location, content_type, body, ",
        now!(),
        " AS present FROM idempotent_requests WHERE project_id = $1 AND key = $2",
        for_update!()
    ));
    let row = select.bind(&request.project.0).bind(&request.key).fetch_optional(&mut **tx).await?;
    // Deleted meanwhile: the caller asks again.
    let Some(row) = row else { return Ok(RequestClaim::InProgress) };
    let known = KnownRequest::read(&row).map_err(|error| StoreError::Corrupt {
        table: "idempotent_requests",
        id: request.key.clone(),
        reason: error.to_string(),
    })?;
    if known.is_old {
        renew(tx, request, Some(resource), patience).await?;
        return Ok(RequestClaim::New);
    }
    Ok(match known {
        KnownRequest { fingerprint, .. } if fingerprint != request.fingerprint => RequestClaim::OtherRequest,
        KnownRequest { resource, answer: Some(answer), .. } => RequestClaim::Answered(resource, answer),
        KnownRequest { resource, is_abandoned: true, .. } => {
            renew(tx, request, None, patience).await?;
            RequestClaim::Abandoned(resource)
        }
        _ => RequestClaim::InProgress,
    })
}

/// Claims a row again: for the same request, or, with a `resource`, for a new one.
async fn renew(
    tx: &mut Tx,
    request: &KeyedRequest,
    resource: Option<Uuid>,
    patience: Duration,
) -> Result<(), StoreError> {
    let renew = sqlx::query(concat!(
        "UPDATE idempotent_requests SET claimed_until = ",
        now!(),
        " + $1, fingerprint = $2, status = NULL, location = NULL, content_type = NULL, body = NULL, \
         resource_id = COALESCE($3, resource_id), started_at = CASE WHEN $3 IS NULL THEN started_at ELSE ",
        now!(),
        " END WHERE project_id = $4 AND key = $5"
    ));
    let renew = renew.bind(length(patience)).bind(&request.fingerprint).bind(resource.map(|id| id.to_string()));
    renew.bind(&request.project.0).bind(&request.key).execute(&mut **tx).await?;
    Ok(())
}

/// A row.
struct KnownRequest {
    fingerprint: String,
    resource: Uuid,
    is_old: bool,
    is_abandoned: bool,
    answer: Option<KeptAnswer>,
}

impl KnownRequest {
    fn read(row: &Row) -> Result<Self, Unreadable> {
        let present: i64 = row.try_get("present")?;
        let answer = row.try_get::<Option<i64>, _>("status")?.map(|status| {
            Ok::<_, Unreadable>(KeptAnswer {
                status: status.try_into()?,
                location: row.try_get("location")?,
                content_type: row.try_get("content_type")?,
                body: row.try_get("body")?,
            })
        });
        Ok(Self {
            fingerprint: row.try_get("fingerprint")?,
            resource: row.try_get::<&str, _>("resource_id")?.parse()?,
            is_old: row.try_get::<i64, _>("started_at")? + length(ANSWERS_KEPT) <= present,
            is_abandoned: row.try_get::<i64, _>("claimed_until")? <= present,
            answer: answer.transpose()?,
        })
    }
}
