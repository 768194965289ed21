-- Serves the deletion of plans that earlier releases kept. It is empty after that.
CREATE INDEX vnf_lcm_op_occs_plans ON vnf_lcm_op_occs (id)
    WHERE plan IS NOT NULL AND state IN ('COMPLETED', 'FAILED', 'ROLLED_BACK');
