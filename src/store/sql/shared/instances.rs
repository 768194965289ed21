//! `vnf_instances`. The API inserts and deletes rows. The view updates a row while no operation of the instance is live. All
//! other updates are in the transaction that changes the state of an operation: they use [`replace`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use sqlx::Row as _;
use sqlx::types::Json;
use tokio::sync::broadcast;

use super::shares::shared_packages;
use super::{
    Database, Query, QueryBuilder, Row, Tx, filters, json, live_operation, metering, optional_json, point_in_time,
    project as project_of, publish, quotas, read, resources, tenancy,
};
use crate::domain::ids::{ProjectId, VnfInstanceId};
use crate::domain::instance::{VnfInstance, VnfMetadata};
use crate::domain::quota::QuotaResource;
use crate::domain::resource::Resource;
use crate::domain::tenancy::NamespaceProject;
use crate::domain::vim::{Secrets, VimConnection};
use crate::store::seal::SealContext;
use crate::store::sql::convert::{Unreadable, millis};
use crate::store::{InstanceLocation, InstanceStore, Listed, OperationEnded, Page, PageCursor, StoreError};

const TABLE: &str = "vnf_instances";
/// The most op occurrences that are deleted with their VNF instance.
const MAX_HISTORY: i64 = 10_000;

macro_rules! select {
    () => {
        "SELECT id, project_id, vnf_instance_name, vnf_instance_description, vnfd_id, vnf_pkg_id, vnf_provider, \
                vnf_product_name, vnf_software_version, vnfd_version, vnf_metadata, extensions, \
                vnf_configurable_properties, vim_connections, vim_secrets, instantiated_vnf_info, warnings, version, created_at \
         FROM vnf_instances "
    };
}

/// Locks the row of the package, so that a concurrent disable or delete of the package sees the instance, or this statement
/// sees the change of the package.
macro_rules! insert {
    ($($condition:expr),+) => {
        concat!(
            "INSERT INTO vnf_instances \
                 (id, project_id, vnf_instance_name, vnf_instance_description, vnfd_id, vnf_pkg_id, vnf_provider, \
                  vnf_product_name, vnf_software_version, vnfd_version, vnf_metadata, extensions, \
                  vnf_configurable_properties, vim_connections, vim_secrets, instantiated_vnf_info, \
                  warnings, version, created_at) \
             SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19 \
             FROM vnf_packages WHERE id = $6 AND operational_state = 'ENABLED' AND (project_id = $2 OR id IN ",
            shared_packages!("$2"),
            ")",
            $($condition,)+
            for_share!()
        )
    };
}

#[async_trait]
impl InstanceStore for Database {
    async fn create_instance(&self, instance: &VnfInstance) -> Result<(), StoreError> {
        self.traced("instances::create", async {
            // Without subscribers and quota one statement is enough, which PostgreSQL runs in one round trip. It inserts nothing if
            // there may be a subscriber or a quota; after a subscriber the next call does not try it.
            let is_simple = quotas::is_unlimited_by_default(self, QuotaResource::VnfInstances);
            if is_simple && !self.creations_have_audience.load(Ordering::Relaxed) {
                let insert = sqlx::query(insert!(
                    " AND NOT EXISTS (SELECT 1 FROM subscriptions WHERE project_id = $2 AND only_vnf_instance_id IN ('', $1)) \
                      AND NOT EXISTS (SELECT 1 FROM project_quotas WHERE project_id = $2 AND vnf_instances IS NOT NULL) \
                      AND NOT EXISTS (SELECT 1 FROM event_journal WHERE wanted_until > ",
                    now!(),
                    ")"
                ));
                let insert = bind(self, insert, instance)?.bind(millis(instance.created_at));
                if self.writer.execute(insert).await?.rows_affected() == 1 {
                    return Ok(());
                }
            }
            let mut tx = self.writer.begin().await?;
            quotas::admit(self, &mut tx, &instance.project_id, QuotaResource::VnfInstances, 1, 0).await?;
            let insert = sqlx::query(concat!(insert!(""), " RETURNING ", publish::created_instance!()));
            let insert = bind(self, insert, instance)?.bind(millis(instance.created_at));
            let row = insert.fetch_optional(&mut *tx).await?.ok_or(StoreError::Stale)?;
            let published = publish::creation(&mut tx, &row, instance).await?;
            tx.commit().await?;
            self.creations_have_audience.store(published.notifications || published.events, Ordering::Relaxed);
            self.signals.published(published);
            Ok(())
        })
        .await
    }

    async fn instance(&self, project: &ProjectId, id: VnfInstanceId) -> Result<VnfInstance, StoreError> {
        self.traced("instances::one", async {
            let row = sqlx::query(concat!(select!(), "WHERE id = $1 AND project_id = $2"))
                .bind(id.to_string())
                .bind(&project.0)
                .fetch_optional(&self.reader())
                .await?;
            read(TABLE, &row.ok_or(StoreError::NotFound)?, |row| instance(self, row))
        })
        .await
    }

    async fn project_of_instance(&self, id: VnfInstanceId) -> Result<ProjectId, StoreError> {
        self.traced("instances::project", async {
            let select = sqlx::query_scalar("SELECT project_id FROM vnf_instances WHERE id = $1").bind(id.to_string());
            select.fetch_optional(&self.reader()).await?.map(ProjectId).ok_or(StoreError::NotFound)
        })
        .await
    }

    async fn instance_version(&self, project: &ProjectId, id: VnfInstanceId) -> Result<i64, StoreError> {
        self.traced("instances::version", async {
            let version = sqlx::query_scalar("SELECT version FROM vnf_instances WHERE id = $1 AND project_id = $2")
                .bind(id.to_string())
                .bind(&project.0)
                .fetch_optional(&self.reader())
                .await?;
            version.ok_or(StoreError::NotFound)
        })
        .await
    }

    async fn list_instances(&self, project: Option<&ProjectId>, page: &Page<'_>) -> Result<Vec<Listed>, StoreError> {
        // On SQLite, a list without a filter reads only the index `vnf_instances_list`.
        self.traced("instances::list", async {
            let mut select = QueryBuilder::new("SELECT id, created_at, version, project_id FROM vnf_instances");
            filters::push_page(&mut select, "created_at", project, page);
            let listed = |row: &Row| {
                let id: VnfInstanceId = row.try_get::<&str, _>(0)?.parse()?;
                let place = PageCursor { at: row.try_get(1)?, id: id.0 };
                Ok(Listed { id, project_id: project_of(row)?, place, version: row.try_get(2)? })
            };
            filters::fetch(self, &mut select, project, page).await?.iter().map(|row| read(TABLE, row, listed)).collect()
        })
        .await
    }

    async fn instances(
        &self,
        project: Option<&ProjectId>,
        ids: &[VnfInstanceId],
    ) -> Result<Vec<VnfInstance>, StoreError> {
        self.traced("instances::some", async {
            let mut select = QueryBuilder::new(concat!(select!(), "WHERE true"));
            if let Some(project) = project {
                select.push(" AND project_id = ").push_bind(&project.0);
            }
            push_ids(&mut select, "id", Some(ids));
            let rows = select.build().persistent(false).fetch_all(&self.reader()).await?;
            rows.iter().map(|row| read(TABLE, row, |row| instance(self, row))).collect()
        })
        .await
    }

    async fn delete_instance(
        &self,
        project: &ProjectId,
        id: VnfInstanceId,
        versions: Option<&[i64]>,
    ) -> Result<(), StoreError> {
        // Locks the row first and checks after that. An operation that begins meanwhile must update the row too: either it is
        // visible here, or it finds the row deleted.
        self.traced("instances::delete", async {
            let mut tx = self.writer.begin().await?;
            let (instantiated, version) = sqlx::query_as::<_, (bool, i64)>(concat!(
        "SELECT instantiated_vnf_info IS NOT NULL, version FROM vnf_instances WHERE id = $1 AND project_id = $2",
        for_update!()
    ))
    .bind(id.to_string())
    .bind(&project.0)
    .fetch_optional(&mut *tx)
    .await?
    .ok_or(StoreError::NotFound)?;
            if versions.is_some_and(|versions| !versions.contains(&version)) {
                return Err(StoreError::OtherVersion);
            }
            if let Some(live) = live_operation::live(&mut tx, id).await? {
                return Err(StoreError::Busy(live));
            }
            if instantiated {
                return Err(StoreError::Stale);
            }
            let resource = sqlx::query("SELECT 1 FROM vnf_resources WHERE vnf_instance_id = $1 LIMIT 1")
                .bind(id.to_string())
                .fetch_optional(&mut *tx)
                .await?;
            if resource.is_some() {
                return Err(StoreError::InUse);
            }
            let delete = concat!("DELETE FROM vnf_instances WHERE id = $1 RETURNING ", publish::deleted_instance!());
            let row = sqlx::query(delete).bind(id.to_string()).fetch_one(&mut *tx).await?;
            let published = publish::deletion(&mut tx, &row, project, id).await?;
            metering::close(&mut tx, id).await?;
            // Those beyond the limit end with their age.
            let history = sqlx::query(
                "DELETE FROM vnf_lcm_op_occs WHERE id IN (SELECT id FROM vnf_lcm_op_occs \
                 WHERE project_id = $1 AND vnf_instance_id = $2 ORDER BY start_time, id LIMIT $3)",
            );
            history.bind(&project.0).bind(id.to_string()).bind(MAX_HISTORY).execute(&mut *tx).await?;
            tx.commit().await?;
            self.signals.published(published);
            Ok(())
        })
        .await
    }

    async fn instantiated(&self, ids: Option<&[VnfInstanceId]>) -> Result<Vec<InstanceLocation>, StoreError> {
        // Two reads without a transaction: `endings` reports a change between them.
        self.traced("instances::instantiated", async {
            let mut select = QueryBuilder::new(
                "SELECT id, project_id, vnf_metadata, vim_connections, vim_secrets FROM vnf_instances \
                 WHERE instantiated_vnf_info IS NOT NULL",
            );
            push_ids(&mut select, "id", ids);
            let rows = select.build().persistent(false).fetch_all(&self.reader()).await?;
            let mut select = QueryBuilder::new(
                "SELECT DISTINCT vnf_instance_id AS id, kind FROM vnf_resources \
                 WHERE (vdu_id IS NOT NULL OR kind = 'PersistentVolumeClaim')",
            );
            push_ids(&mut select, "vnf_instance_id", ids);
            let mut kinds: HashMap<String, BTreeSet<String>> = HashMap::new();
            for row in select.build().persistent(false).fetch_all(&self.reader()).await? {
                kinds.entry(row.try_get("id")?).or_default().insert(row.try_get("kind")?);
            }
            let mut location = |row: &Row| {
                let id = row.try_get::<&str, _>("id")?;
                let metadata: VnfMetadata = json(row, "vnf_metadata")?;
                Ok(InstanceLocation {
                    id: id.parse()?,
                    project_id: project_of(row)?,
                    home: vim_connections(self, row)?.into_values().find(|connection| connection.home),
                    namespace: metadata.namespace.ok_or("instantiated without a namespace")?,
                    kinds: kinds.remove(id).unwrap_or_default(),
                })
            };
            // An unreadable row must not hide the others.
            let readable = |row: &Row| {
                let location = read(TABLE, row, &mut location);
                location.inspect_err(|error| tracing::error!("cannot watch a VNF instance: {error}")).ok()
            };
            Ok(rows.iter().filter_map(readable).collect())
        })
        .await
    }

    async fn refresh_instance(&self, instance: &VnfInstance) -> Result<(), StoreError> {
        // One statement checks and updates. An operation that begins at the same time updates the row too, so one of the two
        // finds another version.
        self.traced("instances::refresh", async {
            let mut tx = self.writer.begin().await?;
            let refreshed = sqlx::query(concat!(
                "UPDATE vnf_instances SET instantiated_vnf_info = $3, version = version + 1 \
                 WHERE id = $1 AND version = $2 AND instantiated_vnf_info IS NOT NULL \
                   AND NOT EXISTS (SELECT 1 FROM vnf_lcm_op_occs WHERE vnf_instance_id = $1 AND state IN ",
                live_operation::live_states!(),
                ") RETURNING ",
                publish::refreshed_instance!()
            ))
            .bind(instance.id.to_string())
            .bind(instance.version)
            .bind(instance.instantiated.as_ref().map(Json))
            .fetch_optional(&mut *tx)
            .await?;
            if let Some(row) = refreshed {
                let events = publish::refresh(&mut tx, &row, instance).await?;
                tx.commit().await?;
                self.signals.journaled(events);
                return Ok(());
            }
            let live = live_operation::live(&mut tx, instance.id).await?;
            Err(live.map_or(StoreError::Stale, StoreError::Busy))
        })
        .await
    }

    async fn resources(&self, id: VnfInstanceId) -> Result<Vec<Resource>, StoreError> {
        self.traced("resources::all", resources::all(self, id)).await
    }

    async fn namespace_project(&self, id: VnfInstanceId) -> Result<Option<NamespaceProject>, StoreError> {
        self.traced("instances::namespace_project", tenancy::of(self, id)).await
    }

    fn endings(&self) -> broadcast::Receiver<OperationEnded> {
        self.endings.subscribe()
    }
}

/// Replaces all columns but `id`, `project_id` and `created_at`, and increases the version. `Stale` unless the row has the
/// version `instance.version`.
pub(super) async fn replace(db: &Database, tx: &mut Tx, instance: &VnfInstance) -> Result<(), StoreError> {
    let update = sqlx::query(
        "UPDATE vnf_instances \
         SET vnf_instance_name = $3, vnf_instance_description = $4, vnfd_id = $5, vnf_pkg_id = $6, vnf_provider = $7, \
             vnf_product_name = $8, vnf_software_version = $9, vnfd_version = $10, vnf_metadata = $11, \
             extensions = $12, vnf_configurable_properties = $13, vim_connections = $14, vim_secrets = $15, \
             instantiated_vnf_info = $16, warnings = $17, version = version + 1 \
         WHERE id = $1 AND project_id = $2 AND version = $18",
    );
    let done = bind(db, update, instance)?.execute(&mut **tx).await?;
    if done.rows_affected() == 1 {
        if instance.metadata.namespace.is_none() {
            tenancy::leave(tx, &instance.id.to_string()).await?;
        }
        return Ok(());
    }
    let exists = sqlx::query("SELECT 1 FROM vnf_instances WHERE id = $1 AND project_id = $2")
        .bind(instance.id.to_string())
        .bind(&instance.project_id.0)
        .fetch_optional(&mut **tx)
        .await?;
    Err(if exists.is_some() { StoreError::Stale } else { StoreError::NotFound })
}

/// The rows of the instances of these op occurrences.
pub(super) async fn of_operations(db: &Database, op_occs: &[Row]) -> Result<Vec<Row>, StoreError> {
    let mut select = QueryBuilder::new(concat!(select!(), "WHERE id IN ("));
    let mut ids = select.separated(", ");
    for row in op_occs {
        ids.push_bind(row.try_get::<String, _>("vnf_instance_id")?);
    }
    select.push(")");
    Ok(select.build().fetch_all(&db.reader()).await?)
}

/// The instance with this identifier among the rows.
pub(super) fn among(db: &Database, rows: &[Row], id: VnfInstanceId) -> Result<VnfInstance, StoreError> {
    let id = id.to_string();
    let row = rows.iter().find(|row| row.try_get("id").is_ok_and(|other: &str| other == id));
    read(TABLE, row.ok_or(StoreError::NotFound)?, |row| instance(db, row))
}

/// Appends the condition that `column` is one of `ids`. `None` appends nothing.
fn push_ids(query: &mut QueryBuilder, column: &str, ids: Option<&[VnfInstanceId]>) {
    let Some(ids) = ids else { return };
    query.push(" AND ").push(column).push(" IN (");
    let mut list = query.separated(", ");
    // An empty list is a syntax error, so the list has one text that is not an identifier.
    ids.iter().map(ToString::to_string).chain([String::new()]).for_each(|id| {
        list.push_bind(id);
    });
    query.push(")");
}

/// Binds $1 to $18: all columns but `created_at`.
fn bind<'q>(db: &Database, query: Query<'q>, instance: &VnfInstance) -> Result<Query<'q>, StoreError> {
    let id = instance.id.to_string();
    let secrets: BTreeMap<&str, &Secrets> = instance
        .vim_connections
        .iter()
        .filter(|(_, connection)| !connection.secrets.is_empty())
        .map(|(id, connection)| (id.as_str(), &connection.secrets))
        .collect();
    let sealed = db.seal(&sealed_at(&id), &secrets)?;
    Ok(query
        .bind(id)
        .bind(&instance.project_id.0)
        .bind(&instance.name)
        .bind(&instance.description)
        .bind(&instance.vnfd_id)
        .bind(instance.vnf_pkg_id.to_string())
        .bind(&instance.provider)
        .bind(&instance.product_name)
        .bind(&instance.software_version)
        .bind(&instance.vnfd_version)
        .bind(Json(&instance.metadata))
        .bind(Json(&instance.extensions))
        .bind(Json(&instance.configurable_properties))
        .bind(Json(&instance.vim_connections))
        .bind(sealed)
        .bind(instance.instantiated.as_ref().map(Json))
        .bind(Json(&instance.warnings))
        .bind(instance.version))
}

const fn sealed_at(id: &str) -> SealContext<'_> {
    SealContext { table: TABLE, column: "vim_secrets", row: id }
}

fn vim_connections(db: &Database, row: &Row) -> Result<BTreeMap<String, VimConnection>, Unreadable> {
    let mut vim_connections: BTreeMap<String, VimConnection> = json(row, "vim_connections")?;
    let secrets: BTreeMap<String, Secrets> = db.open(&sealed_at(row.try_get("id")?), row.try_get("vim_secrets")?)?;
    for (id, secrets) in secrets {
        vim_connections.get_mut(&id).ok_or("vim_secrets of an unknown connection")?.secrets = secrets;
    }
    Ok(vim_connections)
}

fn instance(db: &Database, row: &Row) -> Result<VnfInstance, Unreadable> {
    Ok(VnfInstance {
        id: row.try_get::<&str, _>("id")?.parse()?,
        project_id: project_of(row)?,
        name: row.try_get("vnf_instance_name")?,
        description: row.try_get("vnf_instance_description")?,
        vnfd_id: row.try_get("vnfd_id")?,
        vnf_pkg_id: row.try_get::<&str, _>("vnf_pkg_id")?.parse()?,
        provider: row.try_get("vnf_provider")?,
        product_name: row.try_get("vnf_product_name")?,
        software_version: row.try_get("vnf_software_version")?,
        vnfd_version: row.try_get("vnfd_version")?,
        metadata: json(row, "vnf_metadata")?,
        extensions: json(row, "extensions")?,
        configurable_properties: json(row, "vnf_configurable_properties")?,
        vim_connections: vim_connections(db, row)?,
        instantiated: optional_json(row, "instantiated_vnf_info")?,
        warnings: json(row, "warnings")?,
        version: row.try_get("version")?,
        created_at: point_in_time(row, "created_at")?,
    })
}
