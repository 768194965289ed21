//! Puts notifications into the outbox. Each store method that changes the state of an operation, a VNF instance or a
//! package calls a function of this file in the same transaction; `tests/it/store/publishing.rs` checks that.
//!
//! The statement that changes the state also returns the subscriptions that may match ([`audience!`] and the macros after
//! it), so that a project without subscriptions pays no round trip. A subscription takes part from the moment it is
//! committed: the statement sees it then, in whichever process it was created.
//!
//! Changes also go to the journal (`events.rs`), if somebody watches it.
//!
//! [`NotificationFilter::matches`] decides who is notified. The change is stored once, with one small row per subscription.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::Row as _;
use sqlx::types::Json;

use super::events::NewEvent;
use super::{Row, Tx, events, optional_json, point_in_time, read, subscriptions};
use crate::domain::event::{EventChange, EventKind};
use crate::domain::ids::{ProjectId, VnfInstanceId, VnfPkgId};
use crate::domain::instance::VnfInstance;
use crate::domain::notification::{
    Change, FilteredAttributes, InstanceAttributes, NotificationContent, OperationChange, PackageAttributes,
    PackageChange, PackageEvent, ProductVersion,
};
use crate::domain::notification_filter::NotificationFilter;
use crate::domain::package::OperationalState;
use crate::domain::problem::Problem;
use crate::domain::resource_changes::ResourceChanges;
use crate::domain::vnfd::Vnfd;
use crate::store::StoreError;
use crate::store::sql::Published;
use crate::store::sql::convert::{Unreadable, enumerator, length, millis};

/// The subscriptions of a project that may match a change, as JSON: those with `$key` in `only_vnf_instance_id`, which is
/// '' unless the filter names a single VNF instance.
macro_rules! audience {
    ($project:literal, $keys:literal) => {
        concat!(
            "(SELECT ",
            json_array!(),
            "(",
            json_object!(),
            "('id', s.id, 'filter', ",
            as_json!("s.filter"),
            ")) FROM subscriptions AS s WHERE s.project_id = ",
            $project,
            " AND s.only_vnf_instance_id IN (",
            $keys,
            "))"
        )
    };
}
pub(super) use audience;

/// What [`operation`] reads: for the RETURNING of a statement that changes the state of `vnf_lcm_op_occs`. The column
/// `audience` is NULL, and nothing of it is computed, if the project has no subscriptions.
///
/// The attributes of the VNF instance are those before the transaction changes it.
macro_rules! operation_change {
    () => {
        concat!(
            "id, project_id, vnf_instance_id, operation, state, state_entered_time, is_automatic_invocation, ",
            super::events::watched!(),
            " AS is_watched, (SELECT ",
            json_object!(),
            "('subscriptions', ",
            super::publish::audience!("vnf_lcm_op_occs.project_id", "'', vnf_lcm_op_occs.vnf_instance_id"),
            ", 'instance', ",
            json_object!(),
            "('name', i.vnf_instance_name, 'vnfd_id', i.vnfd_id, 'product', ",
            json_object!(),
            "('provider', i.vnf_provider, 'name', i.vnf_product_name, 'software_version', i.vnf_software_version, \
              'vnfd_version', i.vnfd_version)), 'error', ",
            as_json!("vnf_lcm_op_occs.error"),
            ", 'resource_changes', ",
            as_json!("vnf_lcm_op_occs.resource_changes"),
            ", 'changed_info', ",
            as_json!("vnf_lcm_op_occs.changed_info"),
            ") FROM vnf_instances AS i WHERE i.id = vnf_lcm_op_occs.vnf_instance_id \
               AND EXISTS (SELECT 1 FROM subscriptions WHERE project_id = vnf_lcm_op_occs.project_id)) AS audience"
        )
    };
}
pub(super) use operation_change;

/// What [`creation`] reads: for the RETURNING of a statement that inserts into `vnf_instances`.
macro_rules! created_instance {
    () => {
        concat!(
            "id, ",
            super::events::watched!(),
            " AS is_watched, ",
            super::publish::audience!("vnf_instances.project_id", "'', vnf_instances.id"),
            " AS audience"
        )
    };
}
pub(super) use created_instance;

/// What [`refresh`] reads: for the RETURNING of a statement that changes what is observed of a VNF instance.
macro_rules! refreshed_instance {
    () => {
        concat!("id, ", super::events::watched!(), " AS is_watched")
    };
}
pub(super) use refreshed_instance;

/// What [`deletion`] reads: for the RETURNING of a statement that deletes from `vnf_instances`.
macro_rules! deleted_instance {
    () => {
        concat!(
            "id, vnf_instance_name, vnfd_id, vnf_provider, vnf_product_name, vnf_software_version, vnfd_version, ",
            now!(),
            " AS present, ",
            super::events::watched!(),
            " AS is_watched, EXISTS (SELECT 1 FROM subscriptions WHERE project_id = vnf_instances.project_id \
               AND orphan_grace IS NOT NULL) AS has_orphan_grace, ",
            super::publish::audience!("vnf_instances.project_id", "'', vnf_instances.id"),
            " AS audience"
        )
    };
}
pub(super) use deleted_instance;

/// What [`package`] reads: for the RETURNING of a statement that changes or deletes a row of `vnf_packages`.
macro_rules! package_change {
    () => {
        concat!(
            "id, project_id, vnfd_id, vnfd, operational_state, ",
            super::events::watched!(),
            " AS is_watched, EXISTS (SELECT 1 FROM vnf_instances WHERE vnf_pkg_id = vnf_packages.id) \
             OR EXISTS (SELECT 1 FROM vnf_lcm_op_occs WHERE target_pkg_id = vnf_packages.id) AS is_in_use, ",
            now!(),
            " AS present, ",
            super::publish::audience!("vnf_packages.project_id", "'-'"),
            " AS audience"
        )
    };
}
pub(super) use package_change;

/// A subscription that may match.
#[derive(Deserialize)]
struct Candidate {
    id: String,
    filter: NotificationFilter,
}

/// The column `audience` of [`operation_change!`].
#[derive(Deserialize)]
struct OperationAudience {
    subscriptions: Option<Vec<Candidate>>,
    instance: InstanceAttributes,
    error: Option<Problem>,
    resource_changes: Option<ResourceChanges>,
    changed_info: Option<Value>,
}

/// Publishes that an operation began, or entered a state. Returns what it has published, as the functions below: after the
/// commit, the caller passes it to [`crate::store::sql::Signals::published`].
pub(super) async fn operation(tx: &mut Tx, row: &Row, change: EventChange) -> Result<Published, StoreError> {
    let events = is_watched(row)? && journal_operation(tx, row, change).await?;
    let converted = read("vnf_lcm_op_occs", row, |row| {
        let Some(audience) = optional_json::<OperationAudience>(row, "audience")? else { return Ok(None) };
        let change = OperationChange {
            vnf_instance_id: row.try_get::<&str, _>("vnf_instance_id")?.parse()?,
            op: row.try_get::<&str, _>("id")?.parse()?,
            operation: enumerator(row.try_get("operation")?)?,
            state: enumerator(row.try_get("state")?)?,
            is_automatic_invocation: row.try_get("is_automatic_invocation")?,
            error: audience.error,
            resource_changes: audience.resource_changes,
            changed_info: audience.changed_info,
        };
        let change = Change {
            time_stamp: point_in_time(row, "state_entered_time")?,
            content: NotificationContent::Operation(Box::new(change.without_intermediate_results())),
            attributes: FilteredAttributes::Instance(audience.instance),
        };
        Ok(Some((audience.subscriptions.unwrap_or_default(), change)))
    })?;
    let notifications = match converted {
        Some((candidates, change)) => publish(tx, &candidates, &change).await?,
        None => false,
    };
    Ok(Published { notifications, events })
}

/// Writes to the journal that somebody has asked to cancel an operation. Its state is as before: subscribers are not notified. Returns
/// whether the journal is watched.
pub(super) async fn cancel_request(tx: &mut Tx, project: &ProjectId, row: &Row) -> Result<bool, StoreError> {
    let event = NewEvent {
        vnf_instance: row.try_get("vnf_instance_id")?,
        state: row.try_get("state")?,
        ..NewEvent::of(EventKind::VnfLcmOpOcc, row.try_get("id")?, EventChange::Updated)
    };
    events::write(tx, &project.0, &[event]).await
}

fn is_watched(row: &Row) -> Result<bool, sqlx::Error> {
    row.try_get("is_watched")
}

/// Writes to the journal that an operation has changed, and with it its VNF instance.
async fn journal_operation(tx: &mut Tx, row: &Row, change: EventChange) -> Result<bool, StoreError> {
    let instance: &str = row.try_get("vnf_instance_id")?;
    let operation = NewEvent {
        vnf_instance: Some(instance),
        state: row.try_get("state")?,
        ..NewEvent::of(EventKind::VnfLcmOpOcc, row.try_get("id")?, change)
    };
    let instance = NewEvent {
        vnf_instance: Some(instance),
        ..NewEvent::of(EventKind::VnfInstance, instance, EventChange::Updated)
    };
    events::write(tx, row.try_get("project_id")?, &[operation, instance]).await
}

/// Writes to the journal that a VNF instance was created or deleted.
async fn journal_instance(
    tx: &mut Tx,
    project: &ProjectId,
    id: VnfInstanceId,
    change: EventChange,
) -> Result<bool, StoreError> {
    let id = id.to_string();
    let event = NewEvent { vnf_instance: Some(&id), ..NewEvent::of(EventKind::VnfInstance, &id, change) };
    events::write(tx, &project.0, &[event]).await
}

/// Publishes that a VNF instance was created.
pub(super) async fn creation(tx: &mut Tx, row: &Row, instance: &VnfInstance) -> Result<Published, StoreError> {
    let events =
        is_watched(row)? && journal_instance(tx, &instance.project_id, instance.id, EventChange::Created).await?;
    let candidates = read("vnf_instances", row, candidates)?;
    let attributes = InstanceAttributes {
        name: instance.name.clone(),
        vnfd_id: instance.vnfd_id.clone(),
        product: ProductVersion {
            provider: instance.provider.clone(),
            name: instance.product_name.clone(),
            software_version: instance.software_version.clone(),
            vnfd_version: instance.vnfd_version.clone(),
        },
    };
    let change = Change {
        time_stamp: instance.created_at,
        content: NotificationContent::InstanceCreated(instance.id),
        attributes: FilteredAttributes::Instance(attributes),
    };
    Ok(Published { notifications: publish(tx, &candidates, &change).await?, events })
}

/// Writes to the journal that what is observed of a VNF instance has changed. Subscribers are not notified. Returns whether it is watched.
pub(super) async fn refresh(tx: &mut Tx, row: &Row, instance: &VnfInstance) -> Result<bool, StoreError> {
    Ok(is_watched(row)? && journal_instance(tx, &instance.project_id, instance.id, EventChange::Updated).await?)
}

/// Publishes that a VNF instance was deleted, and expires the subscriptions that it orphaned.
pub(super) async fn deletion(
    tx: &mut Tx,
    row: &Row,
    project: &ProjectId,
    id: VnfInstanceId,
) -> Result<Published, StoreError> {
    let events = is_watched(row)? && journal_instance(tx, project, id, EventChange::Deleted).await?;
    let (candidates, change) = read("vnf_instances", row, |row| {
        let attributes = InstanceAttributes {
            name: row.try_get("vnf_instance_name")?,
            vnfd_id: row.try_get("vnfd_id")?,
            product: ProductVersion {
                provider: row.try_get("vnf_provider")?,
                name: row.try_get("vnf_product_name")?,
                software_version: row.try_get("vnf_software_version")?,
                vnfd_version: row.try_get("vnfd_version")?,
            },
        };
        let change = Change {
            time_stamp: point_in_time(row, "present")?,
            content: NotificationContent::InstanceDeleted(id),
            attributes: FilteredAttributes::Instance(attributes),
        };
        Ok((candidates(row)?, change))
    })?;
    let notifications = publish(tx, &candidates, &change).await?;
    if row.try_get("has_orphan_grace")? {
        subscriptions::expire_orphans(tx, project, id).await?;
    }
    Ok(Published { notifications, events })
}

/// Publishes what happened to a package. Packages that were never onboarded are not published.
pub(super) async fn package(
    tx: &mut Tx,
    row: &Row,
    id: VnfPkgId,
    event: PackageEvent,
) -> Result<Published, StoreError> {
    let change = if event == PackageEvent::Deleted { EventChange::Deleted } else { EventChange::Updated };
    let events = journal_package(tx, row, change).await?;
    let converted = read("vnf_packages", row, |row| {
        let candidates = candidates(row)?;
        let Some(vnfd) = optional_json::<Vnfd>(row, "vnfd")?.filter(|_| !candidates.is_empty()) else {
            return Ok(None);
        };
        let operational_state: OperationalState = enumerator(row.try_get("operational_state")?)?;
        let attributes = PackageAttributes {
            operational_state,
            is_in_use: row.try_get("is_in_use")?,
            product: ProductVersion {
                provider: vnfd.provider,
                name: vnfd.product_name,
                software_version: vnfd.software_version,
                vnfd_version: vnfd.version,
            },
        };
        let vnfd_id = row.try_get("vnfd_id")?;
        let content = PackageChange { package: id, vnfd_id, vnfm_info: vnfd.vnfm_info, event };
        let change = Change {
            time_stamp: point_in_time(row, "present")?,
            content: NotificationContent::Package(Box::new(content)),
            attributes: FilteredAttributes::Package(attributes),
        };
        Ok(Some((candidates, change)))
    })?;
    let notifications = match converted {
        Some((candidates, change)) => publish(tx, &candidates, &change).await?,
        None => false,
    };
    Ok(Published { notifications, events })
}

/// Writes to the journal that a package was created, or that its onboarding has changed its state. Subscribers are not notified. Returns
/// whether the journal is watched.
pub(super) async fn package_state(
    tx: &mut Tx,
    project: &ProjectId,
    id: VnfPkgId,
    change: EventChange,
    state: &str,
) -> Result<bool, StoreError> {
    let id = id.to_string();
    let event = NewEvent { state: Some(state), ..NewEvent::of(EventKind::VnfPackage, &id, change) };
    events::write(tx, &project.0, &[event]).await
}

/// Writes to the journal that an onboarded package has changed. Subscribers are not notified. Returns whether the journal is watched.
pub(super) async fn journal_package(tx: &mut Tx, row: &Row, change: EventChange) -> Result<bool, StoreError> {
    if !is_watched(row)? {
        return Ok(false);
    }
    let state = row.try_get::<Option<&str>, _>("operational_state")?.filter(|_| change != EventChange::Deleted);
    let event = NewEvent { state, ..NewEvent::of(EventKind::VnfPackage, row.try_get("id")?, change) };
    events::write(tx, row.try_get("project_id")?, &[event]).await
}

fn candidates(row: &Row) -> Result<Vec<Candidate>, Unreadable> {
    Ok(optional_json(row, "audience")?.unwrap_or_default())
}

/// Stores the change and a delivery for each candidate whose filter matches it.
///
/// On PostgreSQL, the matching subscriptions are locked against deletion until the transaction ends. One that is being
/// deleted is waited for and left out: a delivery to it would break its foreign key and with that the state change.
async fn publish(tx: &mut Tx, candidates: &[Candidate], change: &Change) -> Result<bool, StoreError> {
    let matching: Vec<&str> =
        candidates.iter().filter(|one| one.filter.matches(change)).map(|one| one.id.as_str()).collect();
    if matching.is_empty() {
        return Ok(false);
    }
    let (operation, package) = match &change.content {
        NotificationContent::Operation(operation) => (Some(&**operation), None),
        NotificationContent::Package(package) => (None, Some(StoredPackageChange::from(&**package))),
        NotificationContent::InstanceCreated(_) | NotificationContent::InstanceDeleted(_) => (None, None),
    };
    // Empty for packages: their notifications have one order.
    let vnf_instance_id = change.content.vnf_instance_id().map(|id| id.to_string()).unwrap_or_default();
    let insert = publish_statement!(
        concat!(
            "INSERT INTO outbox_changes (id, notification_type, time_stamp, vnf_instance_id, vnf_lcm_op_occ_id, \
                 operation, operation_state, is_automatic_invocation, error, resource_changes, changed_info, vnf_package) \
             SELECT ",
            random_uuid!(),
            ", $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11"
        ),
        "$12",
        concat!(
            "INSERT INTO outbox_deliveries (subscription_id, position, vnf_instance_id, not_before) \
             SELECT receiver.id, change.position, $3, ",
            now!(),
            " + $13 FROM receiver CROSS JOIN change"
        )
    );
    sqlx::query(insert)
        .bind(change.content.notification_type())
        .bind(millis(change.time_stamp))
        .bind(vnf_instance_id)
        .bind(operation.map(|operation| operation.op.to_string()))
        .bind(operation.map(|operation| operation.operation.as_str()))
        .bind(operation.map(|operation| operation.state.as_str()))
        .bind(operation.map(|operation| operation.is_automatic_invocation))
        .bind(operation.and_then(|operation| operation.error.as_ref()).map(Json))
        .bind(operation.and_then(|operation| operation.resource_changes.as_ref()).map(Json))
        .bind(operation.and_then(|operation| operation.changed_info.as_ref()).map(Json))
        .bind(package.map(Json))
        .bind(Json(&matching))
        .bind(length(change.head_start()))
        .execute(&mut **tx)
        .await?;
    Ok(true)
}

/// The column `vnf_package` of `outbox_changes`.
#[derive(Serialize, Deserialize)]
pub(super) struct StoredPackageChange {
    id: VnfPkgId,
    vnfd_id: String,
    vnfm_info: Vec<String>,
    /// Present if the operational state is what changed.
    operational_state: Option<OperationalState>,
}

impl From<&PackageChange> for StoredPackageChange {
    fn from(change: &PackageChange) -> Self {
        Self {
            id: change.package,
            vnfd_id: change.vnfd_id.clone(),
            vnfm_info: change.vnfm_info.clone(),
            operational_state: match change.event {
                PackageEvent::OperationalState(state) => Some(state),
                PackageEvent::Onboarded | PackageEvent::Deleted => None,
            },
        }
    }
}

impl StoredPackageChange {
    /// The change; `is_onboarding` tells what the notification type says.
    pub(super) fn into_change(self, is_onboarding: bool) -> PackageChange {
        let event = match self.operational_state {
            _ if is_onboarding => PackageEvent::Onboarded,
            Some(state) => PackageEvent::OperationalState(state),
            None => PackageEvent::Deleted,
        };
        PackageChange { package: self.id, vnfd_id: self.vnfd_id, vnfm_info: self.vnfm_info, event }
    }
}
