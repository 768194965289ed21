-- Subscriptions, and the outbox of notifications to them.
--
-- Triggers fill the outbox, in the transaction that changes the state, whoever makes it: no change can be made without its
-- notifications, none is made for a change that is rolled back, and nothing is asked where there are no subscriptions
-- (docs/adr/0008-outbox-by-triggers.md).

CREATE TABLE subscriptions (
    id                   text    NOT NULL PRIMARY KEY,
    project_id           text    NOT NULL,
    edition              text    NOT NULL CHECK (edition IN ('V1', 'V2')),
    callback_uri         text    NOT NULL,
    -- LifecycleChangeNotificationsFilter, without empty members.
    filter               jsonb   NOT NULL,
    verbosity            text    NOT NULL CHECK (verbosity IN ('FULL', 'SHORT')),
    authentication       jsonb,
    -- Sealed (src/store/seal.rs); NULL if there are none.
    secrets              bytea,
    -- Beginning of the links in its notifications.
    base_url             text    NOT NULL,
    -- The one VNF instance that the filter names; empty if it names several, or none.
    only_vnf_instance_id text    NOT NULL,
    -- Equal for equal subscriptions only.
    fingerprint          text    NOT NULL,
    created_at           bigint  NOT NULL,
    -- Nothing is sent before this, by the database's clock, as lease_until.
    not_before           bigint  NOT NULL DEFAULT 0,
    -- How often it was put off since something was delivered, and why the last time.
    attempt              bigint  NOT NULL DEFAULT 0,
    reason               text,
    -- Who sends, for people; the fence is lease_epoch, which counts the claims.
    lease_owner          text,
    lease_epoch          bigint  NOT NULL DEFAULT 0,
    -- 0: nobody sends.
    lease_until          bigint  NOT NULL DEFAULT 0
);
CREATE INDEX subscriptions_list ON subscriptions (project_id, created_at, id);
CREATE UNIQUE INDEX subscriptions_equal ON subscriptions (project_id, fingerprint);
-- Serves the triggers.
CREATE INDEX subscriptions_instance ON subscriptions (project_id, only_vnf_instance_id);

CREATE TABLE notifications (
    -- The order in which they are sent, per VNF instance.
    position                bigint  NOT NULL GENERATED ALWAYS AS IDENTITY,
    -- The same for all subscriptions that are told of the same.
    id                      text    NOT NULL,
    subscription_id         text    NOT NULL REFERENCES subscriptions (id) ON DELETE CASCADE,
    notification_type       text    NOT NULL,
    time_stamp              bigint  NOT NULL,
    vnf_instance_id         text    NOT NULL,
    -- As they were when the operation entered the state; NULL in notifications of identifiers.
    vnf_lcm_op_occ_id       text,
    operation               text,
    operation_state         text,
    is_automatic_invocation boolean,
    error                   jsonb,
    resource_changes        jsonb,
    changed_info            jsonb,
    -- By the database's clock: not sent before, and given up a day after.
    not_before              bigint  NOT NULL,
    -- Why it is not sent any more unless the operator asks; NULL: it is to be sent.
    parked                  text,
    PRIMARY KEY (subscription_id, position),
    CHECK ((notification_type = 'VnfLcmOperationOccurrenceNotification')
        = (vnf_lcm_op_occ_id IS NOT NULL AND operation IS NOT NULL AND operation_state IS NOT NULL
           AND is_automatic_invocation IS NOT NULL))
);
-- There is none of the position alone: it would lead through what waits for others, and the planner can't know how much that is.
CREATE INDEX notifications_pending ON notifications (subscription_id, position) WHERE parked IS NULL;
CREATE INDEX notifications_order ON notifications (subscription_id, vnf_instance_id, position) WHERE parked IS NULL;

-- Puts a change into the outbox, once for each subscription that it matches. `op` is NULL for changes of identifiers.
-- What answers a request gets a head start (milliseconds): the answer is to be there before the notification.
--
-- The subscriptions are locked against being deleted until the transaction ends: one that is being deleted is waited for,
-- and left out.
CREATE FUNCTION tell_lifecycle_change(kind text, at bigint, instance text, project text, op vnf_lcm_op_occs, head_start bigint)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    change text := gen_random_uuid();
    result boolean := op.state IN ('COMPLETED', 'FAILED_TEMP', 'FAILED', 'ROLLED_BACK');
BEGIN
    INSERT INTO notifications
        (id, subscription_id, notification_type, time_stamp, vnf_instance_id, vnf_lcm_op_occ_id, operation, operation_state,
         is_automatic_invocation, error, resource_changes, changed_info, not_before)
    SELECT change, s.id, kind, at, instance, op.id, op.operation, op.state, op.is_automatic_invocation,
           CASE WHEN result AND op.state <> 'COMPLETED' THEN op.error END,
           CASE WHEN result THEN op.resource_changes END,
           CASE WHEN result THEN op.changed_info END,
           CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint) + head_start
    FROM subscriptions AS s JOIN vnf_instances AS i ON i.id = instance
    WHERE s.project_id = project AND s.only_vnf_instance_id IN ('', instance)
      AND (s.filter -> 'notificationTypes' IS NULL OR s.filter -> 'notificationTypes' ? kind)
      AND (op.id IS NULL OR s.filter -> 'operationTypes' IS NULL OR s.filter -> 'operationTypes' ? op.operation)
      AND (op.id IS NULL OR s.filter -> 'operationStates' IS NULL OR s.filter -> 'operationStates' ? op.state)
      AND (s.filter #> '{vnfInstanceSubscriptionFilter,vnfInstanceIds}' IS NULL
           OR s.filter #> '{vnfInstanceSubscriptionFilter,vnfInstanceIds}' ? instance)
      AND (s.filter #> '{vnfInstanceSubscriptionFilter,vnfInstanceNames}' IS NULL
           OR s.filter #> '{vnfInstanceSubscriptionFilter,vnfInstanceNames}' ? i.vnf_instance_name)
      AND (s.filter #> '{vnfInstanceSubscriptionFilter,vnfdIds}' IS NULL
           OR s.filter #> '{vnfInstanceSubscriptionFilter,vnfdIds}' ? i.vnfd_id)
      AND (s.filter #> '{vnfInstanceSubscriptionFilter,vnfProductsFromProviders}' IS NULL
           OR EXISTS (SELECT 1
                      FROM jsonb_array_elements(s.filter #> '{vnfInstanceSubscriptionFilter,vnfProductsFromProviders}') AS provider
                      WHERE provider ->> 'vnfProvider' = i.vnf_provider
                        AND (provider -> 'vnfProducts' IS NULL
                             OR EXISTS (SELECT 1 FROM jsonb_array_elements(provider -> 'vnfProducts') AS product
                                        WHERE product ->> 'vnfProductName' = i.vnf_product_name
                                          AND (product -> 'versions' IS NULL
                                               OR EXISTS (SELECT 1 FROM jsonb_array_elements(product -> 'versions') AS variant
                                                          WHERE variant ->> 'vnfSoftwareVersion' = i.vnf_software_version
                                                            AND (variant -> 'vnfdVersions' IS NULL
                                                                 OR variant -> 'vnfdVersions' ? i.vnfd_version)))))))
    FOR KEY SHARE OF s;
END $$;

-- Where there are no subscriptions, looking for one is all that a change costs.

CREATE FUNCTION tell_operation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM subscriptions WHERE project_id = NEW.project_id) THEN
        PERFORM tell_lifecycle_change('VnfLcmOperationOccurrenceNotification', NEW.state_entered_time, NEW.vnf_instance_id,
                                      NEW.project_id, NEW, CASE WHEN TG_OP = 'INSERT' THEN 100 ELSE 0 END);
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION tell_creation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM subscriptions WHERE project_id = NEW.project_id) THEN
        PERFORM tell_lifecycle_change('VnfIdentifierCreationNotification', NEW.created_at, NEW.id, NEW.project_id, NULL, 100);
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION tell_deletion() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM subscriptions WHERE project_id = OLD.project_id) THEN
        PERFORM tell_lifecycle_change('VnfIdentifierDeletionNotification',
                                      CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint), OLD.id, OLD.project_id,
                                      NULL, 100);
    END IF;
    RETURN OLD;
END $$;

CREATE TRIGGER vnf_lcm_op_occs_begun AFTER INSERT ON vnf_lcm_op_occs
    FOR EACH ROW EXECUTE FUNCTION tell_operation();
CREATE TRIGGER vnf_lcm_op_occs_entered AFTER UPDATE OF state ON vnf_lcm_op_occs
    FOR EACH ROW WHEN (NEW.state <> OLD.state) EXECUTE FUNCTION tell_operation();
CREATE TRIGGER vnf_instances_created AFTER INSERT ON vnf_instances
    FOR EACH ROW EXECUTE FUNCTION tell_creation();
-- Before it is gone: the filter looks at it.
CREATE TRIGGER vnf_instances_deleted BEFORE DELETE ON vnf_instances
    FOR EACH ROW EXECUTE FUNCTION tell_deletion();
