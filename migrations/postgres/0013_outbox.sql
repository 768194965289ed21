-- The store's methods publish notifications, no longer triggers. The outbox has each change once, and a small row for each
-- subscription that it has to reach (docs/adr/0016-notifications-published-by-the-store.md).

-- First: afterwards nothing is added to what is copied below.
DROP TRIGGER vnf_lcm_op_occs_begun ON vnf_lcm_op_occs;
DROP TRIGGER vnf_lcm_op_occs_entered ON vnf_lcm_op_occs;
DROP TRIGGER vnf_instances_created ON vnf_instances;
DROP TRIGGER vnf_instances_deleted ON vnf_instances;
DROP TRIGGER vnf_instances_orphan ON vnf_instances;
DROP TRIGGER vnf_packages_onboarded ON vnf_packages;
DROP TRIGGER vnf_packages_entered ON vnf_packages;
DROP TRIGGER vnf_packages_deleted ON vnf_packages;
DROP FUNCTION tell_operation();
DROP FUNCTION tell_creation();
DROP FUNCTION tell_deletion();
DROP FUNCTION tell_lifecycle_change(text, bigint, text, text, vnf_lcm_op_occs, bigint);
DROP FUNCTION tell_package_change();
DROP FUNCTION is_of_products(jsonb, jsonb);
DROP FUNCTION expire_orphans();

-- Published changes that have not reached all subscriptions. Each is deleted with its last delivery.
CREATE TABLE outbox_changes (
    -- Notifications of one VNF instance, and those of all packages, are delivered in this order.
    position                bigint  NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- The identifier of the notification, for all subscriptions.
    id                      text    NOT NULL,
    notification_type       text    NOT NULL,
    time_stamp              bigint  NOT NULL,
    -- Empty for packages.
    vnf_instance_id         text    NOT NULL,
    -- The operation as it was when it entered the state; NULL if an identifier or a package changed.
    vnf_lcm_op_occ_id       text,
    operation               text,
    operation_state         text,
    is_automatic_invocation boolean,
    error                   jsonb,
    resource_changes        jsonb,
    changed_info            jsonb,
    -- The package as it was when it changed; NULL if a VNF instance changed.
    vnf_package             jsonb,
    CHECK ((notification_type = 'VnfLcmOperationOccurrenceNotification')
        = (vnf_lcm_op_occ_id IS NOT NULL AND operation IS NOT NULL AND operation_state IS NOT NULL
           AND is_automatic_invocation IS NOT NULL)),
    CHECK ((vnf_package IS NOT NULL) = (vnf_instance_id = ''))
);

CREATE TABLE outbox_deliveries (
    subscription_id text    NOT NULL REFERENCES subscriptions (id) ON DELETE CASCADE,
    position        bigint  NOT NULL REFERENCES outbox_changes (position) ON DELETE CASCADE,
    -- As in outbox_changes: serves the order per VNF instance.
    vnf_instance_id text    NOT NULL,
    -- By the database's clock: not delivered earlier, and parked a day later.
    not_before      bigint  NOT NULL,
    -- Why delivery has ended until the operator requests it again. NULL: it waits for delivery.
    parked          text,
    PRIMARY KEY (position, subscription_id)
);

INSERT INTO outbox_changes
    (position, id, notification_type, time_stamp, vnf_instance_id, vnf_lcm_op_occ_id, operation, operation_state,
     is_automatic_invocation, error, resource_changes, changed_info, vnf_package)
OVERRIDING SYSTEM VALUE
SELECT n.position, n.id, n.notification_type, n.time_stamp, n.vnf_instance_id, n.vnf_lcm_op_occ_id, n.operation,
       n.operation_state, n.is_automatic_invocation, n.error, n.resource_changes, n.changed_info, n.vnf_package
FROM notifications AS n
JOIN (SELECT MIN(position) AS position FROM notifications GROUP BY id) AS first ON first.position = n.position;

INSERT INTO outbox_deliveries (subscription_id, position, vnf_instance_id, not_before, parked)
SELECT n.subscription_id, c.position, n.vnf_instance_id, n.not_before, n.parked
FROM notifications AS n JOIN outbox_changes AS c ON c.id = n.id;

-- New changes come after all that are waiting.
SELECT setval(pg_get_serial_sequence('outbox_changes', 'position'), MAX(position)) FROM outbox_changes HAVING COUNT(*) > 0;

DROP TABLE notifications;

-- There is none of the position and `parked` alone: it would lead through deliveries to other subscriptions, whose number
-- the planner cannot know.
CREATE INDEX outbox_deliveries_list ON outbox_deliveries (subscription_id, position);
CREATE INDEX outbox_deliveries_pending ON outbox_deliveries (subscription_id, position) WHERE parked IS NULL;
CREATE INDEX outbox_deliveries_order ON outbox_deliveries (subscription_id, vnf_instance_id, position) WHERE parked IS NULL;
