-- The package that a CHANGE_VNFPKG brings: in use from its acceptance until it is over, when the column is emptied. The
-- instance has the other one.
ALTER TABLE vnf_lcm_op_occs ADD COLUMN target_pkg_id text REFERENCES vnf_packages (id);
-- Serves who asks if a package is in use, and the foreign key.
CREATE INDEX vnf_lcm_op_occs_target ON vnf_lcm_op_occs (target_pkg_id) WHERE target_pkg_id IS NOT NULL;
