-- The store's methods publish notifications, no longer triggers. The outbox has each change once, and a small row for each
-- subscription that it has to reach (docs/adr/0016-notifications-published-by-the-store.md).

DROP TRIGGER vnf_lcm_op_occs_begun;
DROP TRIGGER vnf_lcm_op_occs_entered;
DROP TRIGGER vnf_instances_created;
DROP TRIGGER vnf_instances_deleted;
DROP TRIGGER vnf_instances_orphan;
DROP TRIGGER vnf_packages_onboarded;
DROP TRIGGER vnf_packages_entered;
DROP TRIGGER vnf_packages_deleted;
DROP TRIGGER lifecycle_changes_told;
DROP TRIGGER package_changes_told;
DROP VIEW lifecycle_changes;
DROP VIEW package_changes;

-- Published changes that have not reached all subscriptions. Each is deleted with its last delivery.
CREATE TABLE outbox_changes (
    -- Notifications of one VNF instance, and those of all packages, are delivered in this order.
    position                INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    -- The identifier of the notification, for all subscriptions.
    id                      TEXT    NOT NULL,
    notification_type       TEXT    NOT NULL,
    time_stamp              INTEGER NOT NULL,
    -- Empty for packages.
    vnf_instance_id         TEXT    NOT NULL,
    -- The operation as it was when it entered the state; NULL if an identifier or a package changed.
    vnf_lcm_op_occ_id       TEXT,
    operation               TEXT,
    operation_state         TEXT,
    is_automatic_invocation INTEGER          CHECK (is_automatic_invocation IN (0, 1)),
    error                   TEXT             CHECK (json_valid(error)),
    resource_changes        TEXT             CHECK (json_valid(resource_changes)),
    changed_info            TEXT             CHECK (json_valid(changed_info)),
    -- The package as it was when it changed; NULL if a VNF instance changed.
    vnf_package             TEXT             CHECK (json_valid(vnf_package)),
    CHECK ((notification_type = 'VnfLcmOperationOccurrenceNotification')
        = (vnf_lcm_op_occ_id IS NOT NULL AND operation IS NOT NULL AND operation_state IS NOT NULL
           AND is_automatic_invocation IS NOT NULL)),
    CHECK ((vnf_package IS NOT NULL) = (vnf_instance_id = ''))
) STRICT;

CREATE TABLE outbox_deliveries (
    subscription_id TEXT    NOT NULL REFERENCES subscriptions (id) ON DELETE CASCADE,
    position        INTEGER NOT NULL REFERENCES outbox_changes (position) ON DELETE CASCADE,
    -- As in outbox_changes: serves the order per VNF instance.
    vnf_instance_id TEXT    NOT NULL,
    -- By the database's clock: not delivered earlier, and parked a day later.
    not_before      INTEGER NOT NULL,
    -- Why delivery has ended until the operator requests it again. NULL: it waits for delivery.
    parked          TEXT,
    PRIMARY KEY (position, subscription_id)
) STRICT, WITHOUT ROWID;

INSERT INTO outbox_changes
    (position, id, notification_type, time_stamp, vnf_instance_id, vnf_lcm_op_occ_id, operation, operation_state,
     is_automatic_invocation, error, resource_changes, changed_info, vnf_package)
SELECT n.position, n.id, n.notification_type, n.time_stamp, n.vnf_instance_id, n.vnf_lcm_op_occ_id, n.operation,
       n.operation_state, n.is_automatic_invocation, n.error, n.resource_changes, n.changed_info, n.vnf_package
FROM notifications AS n
WHERE n.position IN (SELECT MIN(position) FROM notifications GROUP BY id);

INSERT INTO outbox_deliveries (subscription_id, position, vnf_instance_id, not_before, parked)
SELECT n.subscription_id, c.position, n.vnf_instance_id, n.not_before, n.parked
FROM notifications AS n JOIN outbox_changes AS c ON c.id = n.id;

DROP TABLE notifications;

CREATE INDEX outbox_deliveries_list ON outbox_deliveries (subscription_id, position);
CREATE INDEX outbox_deliveries_pending ON outbox_deliveries (subscription_id, position) WHERE parked IS NULL;
CREATE INDEX outbox_deliveries_order ON outbox_deliveries (subscription_id, vnf_instance_id, position) WHERE parked IS NULL;
