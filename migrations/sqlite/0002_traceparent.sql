-- The trace of the request that began an operation (W3C traceparent), for the conductor to go on with.
ALTER TABLE vnf_lcm_op_occs ADD COLUMN traceparent TEXT;
