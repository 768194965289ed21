-- The grant of an operation, where an NFVO gives some (docs/adr/0010-grants-from-an-nfvo.md).
-- Present once it was received.
ALTER TABLE vnf_lcm_op_occs ADD COLUMN grant_id text;
-- Where it is, or will be, in the NFVO.
ALTER TABLE vnf_lcm_op_occs ADD COLUMN grant_uri text;
-- While the NFVO decides: what the grant is to answer.
ALTER TABLE vnf_lcm_op_occs ADD COLUMN grant_asked jsonb;
-- Serves a filter by it. Without an NFVO it is empty.
CREATE INDEX vnf_lcm_op_occs_grant ON vnf_lcm_op_occs (project_id, grant_id) WHERE grant_id IS NOT NULL;
