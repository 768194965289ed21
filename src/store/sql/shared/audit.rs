//! `audit_records`. A record of a request without a known caller has no project.

use async_trait::async_trait;
use sqlx::Row as _;
use time::OffsetDateTime;

use super::{Database, QueryBuilder, Row, filters, point_in_time, read};
use crate::domain::audit::AuditRecord;
use crate::domain::caller::{AuthMethod, Caller};
use crate::domain::ids::ProjectId;
use crate::store::sql::convert::{Unreadable, count, millis};
use crate::store::{AuditStore, Page, StoreError};

const TABLE: &str = "audit_records";

#[async_trait]
impl AuditStore for Database {
    async fn add_audit_record(&self, record: &AuditRecord) -> Result<(), StoreError> {
        self.traced("audit::add", async {
            let caller = record.caller.as_ref();
            let insert = sqlx::query(
                "INSERT INTO audit_records (id, at, project_id, subject, role, auth_method, peer, http_method, route, path, \
                     location, status, request_id, trace_id) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
            )
            .bind(record.id.to_string())
            .bind(millis(record.time))
            .bind(caller.map(|caller| &caller.project.0))
            .bind(caller.map(|caller| &caller.subject))
            .bind(caller.and_then(|caller| caller.role).map(|role| role.as_str()))
            .bind(caller.map(|caller| caller.method.as_str()))
            .bind(&record.peer)
            .bind(&record.http_method)
            .bind(&record.route)
            .bind(&record.path)
            .bind(&record.location)
            .bind(i64::from(record.status))
            .bind(&record.request_id)
            .bind(&record.trace_id);
            self.writer.execute(insert).await?;
            Ok(())
        })
        .await
    }

    async fn audit_records(
        &self,
        project: Option<&ProjectId>,
        page: &Page<'_>,
    ) -> Result<Vec<AuditRecord>, StoreError> {
        self.traced("audit::list", async {
            let mut select = QueryBuilder::new(
                "SELECT id, at, project_id, subject, role, auth_method, peer, http_method, route, path, location, status, \
                     request_id, trace_id FROM audit_records",
            );
            filters::push_page(&mut select, "at", project, page);
            filters::fetch(self, &mut select, project, page).await?.iter().map(|row| read(TABLE, row, record)).collect()
        })
        .await
    }

    async fn delete_audit_records(&self, before: OffsetDateTime, limit: usize) -> Result<usize, StoreError> {
        self.traced("audit::delete", async {
            let delete = sqlx::query(
                "DELETE FROM audit_records WHERE id IN (SELECT id FROM audit_records WHERE at < $1 ORDER BY at LIMIT $2)",
            );
            let done = self.writer.execute(delete.bind(millis(before)).bind(count(limit))).await?;
            Ok(done.rows_affected().try_into().unwrap_or(usize::MAX))
        })
        .await
    }
}

fn record(row: &Row) -> Result<AuditRecord, Unreadable> {
    let subject: Option<String> = row.try_get("subject")?;
    let caller = subject.map(|subject| {
        let role: Option<&str> = row.try_get("role")?;
        Ok::<_, Unreadable>(Caller {
            subject,
            project: ProjectId(row.try_get("project_id")?),
            role: role.map(str::parse).transpose()?,
            method: method(row.try_get("auth_method")?)?,
        })
    });
    Ok(AuditRecord {
        id: row.try_get::<&str, _>("id")?.parse()?,
        time: point_in_time(row, "at")?,
        caller: caller.transpose()?,
        peer: row.try_get("peer")?,
        http_method: row.try_get("http_method")?,
        route: row.try_get("route")?,
        path: row.try_get("path")?,
        location: row.try_get("location")?,
        status: u16::try_from(row.try_get::<i64, _>("status")?).unwrap_or_default(),
        request_id: row.try_get("request_id")?,
        trace_id: row.try_get("trace_id")?,
    })
}

fn method(name: &str) -> Result<AuthMethod, Unreadable> {
    let method = AuthMethod::ALL.into_iter().find(|method| method.as_str() == name);
    method.ok_or_else(|| format!("unknown method '{name}'").into())
}
