//! `project_quotas`, and what projects have. [`admit`] is part of each transaction that adds something that is limited.

use async_trait::async_trait;
use sqlx::Row as _;

use super::{Database, Row, Tx, read};
use crate::domain::ids::ProjectId;
use crate::domain::metering::MeteredResource::{self, MemoryMib, VcpuMilli};
use crate::domain::quota::{Limit, OwnQuotas, QuotaResource, QuotaUsage, Quotas, check};
use crate::store::sql::convert::{Unreadable, count};
use crate::store::{NamespaceUsage, ProjectUsage, QuotaStore, StoreError};

const TABLE: &str = "project_quotas";

/// The columns, in the order of [`QuotaResource::ALL`].
macro_rules! columns {
    () => {
        "vnf_instances, packages, package_bytes, operations, subscriptions, vims"
    };
}

/// What a project ($1) has of `$resource`, as a subquery.
macro_rules! used {
    (VnfInstances) => {
        "(SELECT COUNT(*) FROM vnf_instances WHERE project_id = $1)"
    };
    (Packages) => {
        "(SELECT COUNT(*) FROM vnf_packages WHERE project_id = $1)"
    };
    (PackageBytes) => {
        "(SELECT CAST(COALESCE(SUM(size), 0) AS bigint) FROM vnf_packages WHERE project_id = $1)"
    };
    // The condition on the state is that of a partial index.
    (Operations) => {
        "(SELECT COUNT(*) FROM vnf_lcm_op_occs WHERE project_id = $1 AND state IN ('STARTING', 'PROCESSING', 'ROLLING_BACK'))"
    };
    (Subscriptions) => {
        "(SELECT COUNT(*) FROM subscriptions WHERE project_id = $1)"
    };
    (Vims) => {
        "(SELECT COUNT(*) FROM vims WHERE project_id = $1)"
    };
}

/// The VNF instances of a project ($1) by namespace: those that were put into one of its namespaces, and of the others those that
/// are its own. Namespaces that were made for it are there without VNF instances, too.
macro_rules! namespaces {
    () => {
        concat!(
            "SELECT name AS id, uid, CAST(SUM(vnfs) AS bigint) AS vnf_instances, CAST(COALESCE(SUM(vnfcs), 0) AS bigint) AS vnfcs FROM ( \
                 SELECT i.vnf_metadata ->> 'namespace' AS name, t.namespace_uid AS uid, 1 AS vnfs, ",
            json_array_length!(),
            "(i.instantiated_vnf_info -> 'vnfcs') AS vnfcs \
                 FROM tenant_instances AS t JOIN vnf_instances AS i ON i.id = t.vnf_instance_id WHERE t.project_id = $1 \
                 UNION ALL \
                 SELECT i.vnf_metadata ->> 'namespace', NULL, 1, ",
            json_array_length!(),
            "(i.instantiated_vnf_info -> 'vnfcs') \
                 FROM vnf_instances AS i WHERE i.project_id = $1 \
                   AND NOT EXISTS (SELECT 1 FROM tenant_instances WHERE vnf_instance_id = i.id) \
                 UNION ALL \
                 SELECT name, uid, 0, 0 FROM project_namespaces WHERE project_id = $1 AND uid IS NOT NULL) AS placed \
             WHERE name IS NOT NULL GROUP BY name, uid ORDER BY name, uid LIMIT $2"
        )
    };
}

#[async_trait]
impl QuotaStore for Database {
    fn configure_quotas(&self, configured: Quotas) {
        // The first one stays: requests may have been checked with it.
        let _ = self.configured_quotas.set(configured);
    }

    async fn quotas(&self, project: &ProjectId) -> Result<Quotas, StoreError> {
        self.traced("quotas::one", async {
            let row = sqlx::query(select_own()).bind(&project.0).fetch_optional(&self.reader()).await?;
            quotas(self, row.as_ref())
        })
        .await
    }

    async fn set_quotas(&self, project: &ProjectId, own: &OwnQuotas) -> Result<(), StoreError> {
        self.traced("quotas::set", async {
            let upsert = concat!(
                "INSERT INTO project_quotas (project_id, ",
                columns!(),
                ") VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (project_id) DO UPDATE \
                 SET vnf_instances = excluded.vnf_instances, packages = excluded.packages, \
                     package_bytes = excluded.package_bytes, operations = excluded.operations, \
                     subscriptions = excluded.subscriptions, vims = excluded.vims"
            );
            let upsert = own
                .0
                .iter()
                .fold(sqlx::query(upsert).bind(&project.0), |query, limit| query.bind(limit.map(i64::from)));
            self.writer.execute(upsert).await?;
            Ok(())
        })
        .await
    }

    async fn project_usage(&self, project: &ProjectId) -> Result<ProjectUsage, StoreError> {
        self.traced("quotas::usage", async {
            let select = concat!(
                "SELECT ",
                used!(VnfInstances),
                ", ",
                used!(Packages),
                ", ",
                used!(PackageBytes),
                ", ",
                used!(Operations),
                ", ",
                used!(Subscriptions),
                ", ",
                used!(Vims)
            );
            let row = sqlx::query(select).bind(&project.0).fetch_one(&self.reader()).await?;
            let mut counted = QuotaUsage::default();
            for (index, used) in counted.0.iter_mut().enumerate() {
                *used = natural(row.try_get(index)?);
            }
            let select = sqlx::query(namespaces!()).bind(&project.0).bind(count(ProjectUsage::MOST_NAMESPACES));
            let rows = select.fetch_all(&self.reader()).await?;
            let namespaces = rows.iter().map(|row| read("vnf_instances", row, namespace)).collect::<Result<_, _>>()?;
            let [cpu_milli, memory_mib] = requested(self, project).await?;
            Ok(ProjectUsage { counted, cpu_milli, memory_mib, namespaces })
        })
        .await
    }
}

/// Refuses `needed` more of `resource` if the quota of the project has no room for them. `present` of them are in the database
/// already, as this transaction added them.
///
/// A transaction that adds something limited waits here until earlier ones have committed, and then counts. It calls this before it locks
/// rows that others lock, so that no two transactions wait for each other.
pub(super) async fn admit(
    db: &Database,
    tx: &mut Tx,
    project: &ProjectId,
    resource: QuotaResource,
    needed: u64,
    present: u64,
) -> Result<(), StoreError> {
    let row = sqlx::query(select_own()).bind(&project.0).fetch_optional(&mut **tx).await?;
    if quotas(db, row.as_ref())?.limit(resource) == Limit::Unlimited {
        return Ok(());
    }
    let lock = concat!(
        "INSERT INTO project_quotas (project_id) VALUES ($1) \
         ON CONFLICT (project_id) DO UPDATE SET project_id = excluded.project_id RETURNING project_id AS id, ",
        columns!()
    );
    let row = sqlx::query(lock).bind(&project.0).fetch_one(&mut **tx).await?;
    let limit = quotas(db, Some(&row))?.limit(resource);
    let used: i64 = sqlx::query_scalar(count_of(resource)).bind(&project.0).fetch_one(&mut **tx).await?;
    check(resource, limit, natural(used).saturating_sub(present), needed).map_err(StoreError::QuotaExceeded)
}

/// What a project requests now: thousandths of a CPU, and MiB of memory.
async fn requested(db: &Database, project: &ProjectId) -> Result<[u64; 2], StoreError> {
    let select = sqlx::query_as::<_, (String, i64)>(
        "SELECT resource, CAST(SUM(quantity) AS bigint) FROM metering_records \
         WHERE project_id = $1 AND ended_at IS NULL GROUP BY resource",
    );
    let sums = select.bind(&project.0).fetch_all(&db.reader()).await?;
    let sum = |resource: MeteredResource| {
        sums.iter().find(|(name, _)| name == resource.as_str()).map_or(0, |(_, sum)| natural(*sum))
    };
    Ok([sum(VcpuMilli), sum(MemoryMib)])
}

/// Whether a project without limits of its own has none of `resource`.
pub(super) fn is_unlimited_by_default(db: &Database, resource: QuotaResource) -> bool {
    configured(db).limit(resource) == Limit::Unlimited
}

fn configured(db: &Database) -> Quotas {
    db.configured_quotas.get().copied().unwrap_or_default()
}

const fn select_own() -> &'static str {
    concat!("SELECT project_id AS id, ", columns!(), " FROM project_quotas WHERE project_id = $1")
}

const fn count_of(resource: QuotaResource) -> &'static str {
    match resource {
        QuotaResource::VnfInstances => concat!("SELECT ", used!(VnfInstances)),
        QuotaResource::Packages => concat!("SELECT ", used!(Packages)),
        QuotaResource::PackageBytes => concat!("SELECT ", used!(PackageBytes)),
        QuotaResource::Operations => concat!("SELECT ", used!(Operations)),
        QuotaResource::Subscriptions => concat!("SELECT ", used!(Subscriptions)),
        QuotaResource::Vims => concat!("SELECT ", used!(Vims)),
    }
}

/// The limits that hold for the project with this row.
fn quotas(db: &Database, row: Option<&Row>) -> Result<Quotas, StoreError> {
    let Some(row) = row else { return Ok(configured(db)) };
    Ok(read(TABLE, row, own)?.over(&configured(db)))
}

/// Reads the columns after the id.
fn own(row: &Row) -> Result<OwnQuotas, Unreadable> {
    let mut own = OwnQuotas::default();
    for (index, limit) in own.0.iter_mut().enumerate() {
        *limit = row.try_get::<Option<i64>, _>(index + 1)?.map(Limit::try_from).transpose()?;
    }
    Ok(own)
}

fn namespace(row: &Row) -> Result<NamespaceUsage, Unreadable> {
    Ok(NamespaceUsage {
        name: row.try_get("id")?,
        uid: row.try_get("uid")?,
        vnf_instances: natural(row.try_get("vnf_instances")?),
        vnfcs: natural(row.try_get("vnfcs")?),
    })
}

/// A count of the database, which is not negative.
fn natural(number: i64) -> u64 {
    number.try_into().unwrap_or(0)
}
