-- Serves the deletion of op occurrences by their age.
CREATE INDEX vnf_lcm_op_occs_ended ON vnf_lcm_op_occs (state_entered_time, id)
    WHERE state IN ('COMPLETED', 'FAILED', 'ROLLED_BACK');
