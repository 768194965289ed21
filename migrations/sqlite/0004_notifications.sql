-- Subscriptions, and the outbox of notifications to them.
--
-- Triggers fill the outbox, in the transaction that changes the state, whoever makes it: no change can be made without its
-- notifications, none is made for a change that is rolled back, and nothing is asked where there are no subscriptions
-- (docs/adr/0008-outbox-by-triggers.md).

CREATE TABLE subscriptions (
    id                   TEXT    NOT NULL PRIMARY KEY,
    project_id           TEXT    NOT NULL,
    edition              TEXT    NOT NULL CHECK (edition IN ('V1', 'V2')),
    callback_uri         TEXT    NOT NULL,
    -- LifecycleChangeNotificationsFilter, without empty members.
    filter               TEXT    NOT NULL CHECK (json_valid(filter)),
    verbosity            TEXT    NOT NULL CHECK (verbosity IN ('FULL', 'SHORT')),
    authentication       TEXT             CHECK (json_valid(authentication)),
    -- Sealed (src/store/seal.rs); NULL if there are none.
    secrets              BLOB,
    -- Beginning of the links in its notifications.
    base_url             TEXT    NOT NULL,
    -- The one VNF instance that the filter names; empty if it names several, or none.
    only_vnf_instance_id TEXT    NOT NULL,
    -- Equal for equal subscriptions only.
    fingerprint          TEXT    NOT NULL,
    created_at           INTEGER NOT NULL,
    -- Nothing is sent before this, by the database's clock, as lease_until.
    not_before           INTEGER NOT NULL DEFAULT 0,
    -- How often it was put off since something was delivered, and why the last time.
    attempt              INTEGER NOT NULL DEFAULT 0,
    reason               TEXT,
    -- Who sends, for people; the fence is lease_epoch, which counts the claims.
    lease_owner          TEXT,
    lease_epoch          INTEGER NOT NULL DEFAULT 0,
    -- 0: nobody sends.
    lease_until          INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX subscriptions_list ON subscriptions (project_id, created_at, id);
CREATE UNIQUE INDEX subscriptions_equal ON subscriptions (project_id, fingerprint);
-- Serves the triggers.
CREATE INDEX subscriptions_instance ON subscriptions (project_id, only_vnf_instance_id);

CREATE TABLE notifications (
    -- The order in which they are sent, per VNF instance.
    position                INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    -- The same for all subscriptions that are told of the same.
    id                      TEXT    NOT NULL,
    subscription_id         TEXT    NOT NULL REFERENCES subscriptions (id) ON DELETE CASCADE,
    notification_type       TEXT    NOT NULL,
    time_stamp              INTEGER NOT NULL,
    vnf_instance_id         TEXT    NOT NULL,
    -- As they were when the operation entered the state; NULL in notifications of identifiers.
    vnf_lcm_op_occ_id       TEXT,
    operation               TEXT,
    operation_state         TEXT,
    is_automatic_invocation INTEGER          CHECK (is_automatic_invocation IN (0, 1)),
    error                   TEXT             CHECK (json_valid(error)),
    resource_changes        TEXT             CHECK (json_valid(resource_changes)),
    changed_info            TEXT             CHECK (json_valid(changed_info)),
    -- By the database's clock: not sent before, and given up a day after.
    not_before              INTEGER NOT NULL,
    -- Why it is not sent any more unless the operator asks; NULL: it is to be sent.
    parked                  TEXT,
    CHECK ((notification_type = 'VnfLcmOperationOccurrenceNotification')
        = (vnf_lcm_op_occ_id IS NOT NULL AND operation IS NOT NULL AND operation_state IS NOT NULL
           AND is_automatic_invocation IS NOT NULL))
) STRICT;
CREATE INDEX notifications_list ON notifications (subscription_id, position);
CREATE INDEX notifications_pending ON notifications (subscription_id, position) WHERE parked IS NULL;
CREATE INDEX notifications_order ON notifications (subscription_id, vnf_instance_id, position) WHERE parked IS NULL;

-- What a change is told as; holds nothing. A row inserted goes to the outbox once for each subscription that it matches.
CREATE VIEW lifecycle_changes AS
    SELECT NULL AS id, NULL AS project_id, NULL AS notification_type, NULL AS time_stamp, NULL AS vnf_instance_id,
           NULL AS vnf_lcm_op_occ_id, NULL AS operation, NULL AS operation_state, NULL AS is_automatic_invocation,
           NULL AS error, NULL AS resource_changes, NULL AS changed_info, NULL AS head_start
    WHERE 0;

CREATE TRIGGER lifecycle_changes_told INSTEAD OF INSERT ON lifecycle_changes
BEGIN
    INSERT INTO notifications
        (id, subscription_id, notification_type, time_stamp, vnf_instance_id, vnf_lcm_op_occ_id, operation, operation_state,
         is_automatic_invocation, error, resource_changes, changed_info, not_before)
    SELECT NEW.id, s.id, NEW.notification_type, NEW.time_stamp, NEW.vnf_instance_id, NEW.vnf_lcm_op_occ_id, NEW.operation,
           NEW.operation_state, NEW.is_automatic_invocation,
           CASE WHEN NEW.operation_state IN ('FAILED_TEMP', 'FAILED', 'ROLLED_BACK') THEN NEW.error END,
           CASE WHEN NEW.operation_state IN ('COMPLETED', 'FAILED_TEMP', 'FAILED', 'ROLLED_BACK') THEN NEW.resource_changes END,
           CASE WHEN NEW.operation_state IN ('COMPLETED', 'FAILED_TEMP', 'FAILED', 'ROLLED_BACK') THEN NEW.changed_info END,
           CAST(round(unixepoch('subsec') * 1000) AS INTEGER) + NEW.head_start
    FROM subscriptions AS s JOIN vnf_instances AS i ON i.id = NEW.vnf_instance_id
    WHERE s.project_id = NEW.project_id AND s.only_vnf_instance_id IN ('', NEW.vnf_instance_id)
      AND (s.filter ->> 'notificationTypes' IS NULL
           OR EXISTS (SELECT 1 FROM json_each(s.filter, '$.notificationTypes') WHERE value = NEW.notification_type))
      AND (NEW.operation IS NULL OR s.filter ->> 'operationTypes' IS NULL
           OR EXISTS (SELECT 1 FROM json_each(s.filter, '$.operationTypes') WHERE value = NEW.operation))
      AND (NEW.operation_state IS NULL OR s.filter ->> 'operationStates' IS NULL
           OR EXISTS (SELECT 1 FROM json_each(s.filter, '$.operationStates') WHERE value = NEW.operation_state))
      AND (s.filter ->> '$.vnfInstanceSubscriptionFilter.vnfInstanceIds' IS NULL
           OR EXISTS (SELECT 1 FROM json_each(s.filter, '$.vnfInstanceSubscriptionFilter.vnfInstanceIds')
                      WHERE value = NEW.vnf_instance_id))
      AND (s.filter ->> '$.vnfInstanceSubscriptionFilter.vnfInstanceNames' IS NULL
           OR EXISTS (SELECT 1 FROM json_each(s.filter, '$.vnfInstanceSubscriptionFilter.vnfInstanceNames')
                      WHERE value = i.vnf_instance_name))
      AND (s.filter ->> '$.vnfInstanceSubscriptionFilter.vnfdIds' IS NULL
           OR EXISTS (SELECT 1 FROM json_each(s.filter, '$.vnfInstanceSubscriptionFilter.vnfdIds') WHERE value = i.vnfd_id))
      AND (s.filter ->> '$.vnfInstanceSubscriptionFilter.vnfProductsFromProviders' IS NULL
           OR EXISTS (SELECT 1 FROM json_each(s.filter, '$.vnfInstanceSubscriptionFilter.vnfProductsFromProviders') AS provider
                      WHERE provider.value ->> 'vnfProvider' = i.vnf_provider
                        AND (provider.value ->> 'vnfProducts' IS NULL
                             OR EXISTS (SELECT 1 FROM json_each(provider.value, '$.vnfProducts') AS product
                                        WHERE product.value ->> 'vnfProductName' = i.vnf_product_name
                                          AND (product.value ->> 'versions' IS NULL
                                               OR EXISTS (SELECT 1 FROM json_each(product.value, '$.versions') AS variant
                                                          WHERE variant.value ->> 'vnfSoftwareVersion' = i.vnf_software_version
                                                            AND (variant.value ->> 'vnfdVersions' IS NULL
                                                                 OR EXISTS (SELECT 1 FROM json_each(variant.value, '$.vnfdVersions')
                                                                            WHERE value = i.vnfd_version))))))));
END;

-- What answers a request gets a head start (milliseconds): the answer is to be there before the notification.

CREATE TRIGGER vnf_lcm_op_occs_begun AFTER INSERT ON vnf_lcm_op_occs
BEGIN
    INSERT INTO lifecycle_changes
    VALUES (lower(hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-4' || substr(hex(randomblob(2)), 2) || '-8'
                || substr(hex(randomblob(2)), 2) || '-' || hex(randomblob(6))),
            NEW.project_id, 'VnfLcmOperationOccurrenceNotification', NEW.state_entered_time, NEW.vnf_instance_id, NEW.id,
            NEW.operation, NEW.state, NEW.is_automatic_invocation, NEW.error, NEW.resource_changes, NEW.changed_info, 100);
END;

CREATE TRIGGER vnf_lcm_op_occs_entered AFTER UPDATE OF state ON vnf_lcm_op_occs WHEN NEW.state <> OLD.state
BEGIN
    INSERT INTO lifecycle_changes
    VALUES (lower(hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-4' || substr(hex(randomblob(2)), 2) || '-8'
                || substr(hex(randomblob(2)), 2) || '-' || hex(randomblob(6))),
            NEW.project_id, 'VnfLcmOperationOccurrenceNotification', NEW.state_entered_time, NEW.vnf_instance_id, NEW.id,
            NEW.operation, NEW.state, NEW.is_automatic_invocation, NEW.error, NEW.resource_changes, NEW.changed_info, 0);
END;

CREATE TRIGGER vnf_instances_created AFTER INSERT ON vnf_instances
BEGIN
    INSERT INTO lifecycle_changes (id, project_id, notification_type, time_stamp, vnf_instance_id, head_start)
    VALUES (lower(hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-4' || substr(hex(randomblob(2)), 2) || '-8'
                || substr(hex(randomblob(2)), 2) || '-' || hex(randomblob(6))),
            NEW.project_id, 'VnfIdentifierCreationNotification', NEW.created_at, NEW.id, 100);
END;

-- Before it is gone: the filter looks at it.
CREATE TRIGGER vnf_instances_deleted BEFORE DELETE ON vnf_instances
BEGIN
    INSERT INTO lifecycle_changes (id, project_id, notification_type, time_stamp, vnf_instance_id, head_start)
    VALUES (lower(hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-4' || substr(hex(randomblob(2)), 2) || '-8'
                || substr(hex(randomblob(2)), 2) || '-' || hex(randomblob(6))),
            OLD.project_id, 'VnfIdentifierDeletionNotification', CAST(round(unixepoch('subsec') * 1000) AS INTEGER), OLD.id,
            100);
END;
