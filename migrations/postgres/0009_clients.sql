-- What is done otherwise for clients that have a profile (docs/clients.md). Where none has, all of these columns are NULL.

-- What becomes of an operation in FAILED_TEMP that nobody decides about: after how long (milliseconds), and what.
ALTER TABLE vnf_lcm_op_occs ADD COLUMN unattended_after bigint;
ALTER TABLE vnf_lcm_op_occs ADD COLUMN unattended_remedy text CHECK (unattended_remedy IN ('ROLLBACK', 'FAIL'));
-- Serves the claim, which takes these too once they are due.
DROP INDEX vnf_lcm_op_occs_due;
CREATE INDEX vnf_lcm_op_occs_due ON vnf_lcm_op_occs (not_before, id)
    WHERE (state IN ('STARTING', 'PROCESSING', 'ROLLING_BACK') OR (state = 'FAILED_TEMP' AND unattended_remedy IS NOT NULL));

-- The Idempotency-Key of the request that made the instance, and what tells equal requests from others.
ALTER TABLE vnf_instances ADD COLUMN idempotency_key text;
ALTER TABLE vnf_instances ADD COLUMN request_fingerprint text;
CREATE UNIQUE INDEX vnf_instances_idempotent ON vnf_instances (project_id, idempotency_key) WHERE idempotency_key IS NOT NULL;

-- How long (milliseconds) the subscription is kept when all VNF instances that its filter names are gone; NULL: for good.
ALTER TABLE subscriptions ADD COLUMN orphan_grace bigint;
-- By the database's clock: from then on it is not shown any more. NULL: there is something that it can be told.
ALTER TABLE subscriptions ADD COLUMN expires_at bigint;
CREATE INDEX subscriptions_orphans ON subscriptions (project_id, only_vnf_instance_id) WHERE orphan_grace IS NOT NULL;

-- Expired ones are removed when the next instance goes: there can't be more of them than instances that went. One that is
-- locked at that moment is left to the next.
CREATE FUNCTION expire_orphans() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    present bigint := CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint);
BEGIN
    IF EXISTS (SELECT 1 FROM subscriptions WHERE project_id = OLD.project_id AND orphan_grace IS NOT NULL) THEN
        DELETE FROM subscriptions
        WHERE id IN (SELECT id FROM subscriptions
                     WHERE project_id = OLD.project_id AND orphan_grace IS NOT NULL AND expires_at <= present
                     FOR UPDATE SKIP LOCKED);
        -- Two instances of one subscription may go at once: who comes second looks when the first is gone.
        PERFORM 1 FROM subscriptions
        WHERE project_id = OLD.project_id AND orphan_grace IS NOT NULL AND only_vnf_instance_id IN ('', OLD.id)
          AND filter #> '{vnfInstanceSubscriptionFilter,vnfInstanceIds}' ? OLD.id
        ORDER BY id FOR NO KEY UPDATE;
        UPDATE subscriptions SET expires_at = present + orphan_grace
        WHERE project_id = OLD.project_id AND orphan_grace IS NOT NULL AND only_vnf_instance_id IN ('', OLD.id)
          AND filter #> '{vnfInstanceSubscriptionFilter,vnfInstanceIds}' ? OLD.id
          AND NOT EXISTS (SELECT 1
                          FROM jsonb_array_elements_text(filter #> '{vnfInstanceSubscriptionFilter,vnfInstanceIds}') AS named
                          JOIN vnf_instances AS i ON i.id = named);
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER vnf_instances_orphan AFTER DELETE ON vnf_instances FOR EACH ROW EXECUTE FUNCTION expire_orphans();
