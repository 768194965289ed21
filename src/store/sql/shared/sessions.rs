//! `browser_sessions`.

use async_trait::async_trait;
use time::OffsetDateTime;

use super::Database;
use crate::store::sql::convert::{count, millis};
use crate::store::{BrowserSession, SessionStore, StoreError};

#[async_trait]
impl SessionStore for Database {
    async fn begin_session(&self, session: &BrowserSession, others: usize) -> Result<(), StoreError> {
        self.traced("sessions::begin", async {
            let mut tx = self.writer.begin().await?;
            let (project, subject) = (&session.project.0, &session.subject);
            let end = sqlx::query(
                "DELETE FROM browser_sessions WHERE project_id = $1 AND subject = $2 AND id NOT IN \
                 (SELECT id FROM browser_sessions WHERE project_id = $1 AND subject = $2 ORDER BY ends_at DESC, id LIMIT $3)",
            );
            end.bind(project).bind(subject).bind(count(others)).execute(&mut *tx).await?;
            let insert = sqlx::query(
                "INSERT INTO browser_sessions (id, project_id, subject, credential, ends_at) VALUES ($1, $2, $3, $4, $5)",
            );
            let insert = insert.bind(&session.id).bind(project).bind(subject);
            insert.bind(&session.credential).bind(millis(session.ends)).execute(&mut *tx).await?;
            tx.commit().await?;
            Ok(())
        })
        .await
    }

    async fn session_credential(&self, id: &str, now: OffsetDateTime) -> Result<Option<Vec<u8>>, StoreError> {
        self.traced("sessions::credential", async {
            let select = sqlx::query_scalar("SELECT credential FROM browser_sessions WHERE id = $1 AND ends_at > $2");
            Ok(select.bind(id).bind(millis(now)).fetch_optional(&self.reader()).await?)
        })
        .await
    }

    async fn end_session(&self, id: &str) -> Result<(), StoreError> {
        self.traced("sessions::end", async {
            self.writer.execute(sqlx::query("DELETE FROM browser_sessions WHERE id = $1").bind(id)).await?;
            Ok(())
        })
        .await
    }

    async fn delete_sessions(&self, before: OffsetDateTime, limit: usize) -> Result<usize, StoreError> {
        self.traced("sessions::delete", async {
            let delete = sqlx::query(
                "DELETE FROM browser_sessions WHERE id IN \
                 (SELECT id FROM browser_sessions WHERE ends_at < $1 ORDER BY ends_at LIMIT $2)",
            );
            let done = self.writer.execute(delete.bind(millis(before)).bind(count(limit))).await?;
            Ok(done.rows_affected().try_into().unwrap_or(usize::MAX))
        })
        .await
    }
}
