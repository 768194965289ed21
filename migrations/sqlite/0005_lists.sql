-- A filter over an op occurrence's simple attributes is answered from the index: the rows are large. Equality in the columns
-- before the time would need an index each; one that has them all is read through in milliseconds.
DROP INDEX vnf_lcm_op_occs_list;
CREATE INDEX vnf_lcm_op_occs_list ON vnf_lcm_op_occs (
    project_id, start_time, id, state, operation, vnf_instance_id, state_entered_time, is_automatic_invocation, cancel_mode
);
-- What became of one VNF instance is what is asked most.
CREATE INDEX vnf_lcm_op_occs_instance ON vnf_lcm_op_occs (project_id, vnf_instance_id, start_time, id);
