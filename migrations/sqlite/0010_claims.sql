-- The condition of the claim as one term. Of an OR, PostgreSQL makes a scan of all that wait, with a sort, as long as it has no
-- statistics of the table; this it can only take from the index, in its order.
DROP INDEX vnf_lcm_op_occs_due;
CREATE INDEX vnf_lcm_op_occs_due ON vnf_lcm_op_occs (not_before, id)
    WHERE CASE state WHEN 'FAILED_TEMP' THEN unattended_remedy IS NOT NULL
                     ELSE state IN ('STARTING', 'PROCESSING', 'ROLLING_BACK') END;
