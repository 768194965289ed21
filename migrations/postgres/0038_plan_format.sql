-- The number of the format of the plan (src/domain/plan.rs). NULL: there is no plan, or it was made before this version. A process
-- claims no operation with a plan of a newer format than its own.
ALTER TABLE vnf_lcm_op_occs ADD COLUMN plan_format INTEGER;
