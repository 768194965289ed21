-- When the current step began, by the clock of the database. NULL: before this version.
ALTER TABLE vnf_lcm_op_occs ADD COLUMN step_since INTEGER;
