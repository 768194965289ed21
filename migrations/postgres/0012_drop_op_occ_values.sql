-- Filters read the rows of op occurrences again (docs/adr/0015-no-index-of-json-values.md).
DROP TABLE vnf_lcm_op_occ_values;
DROP INDEX vnf_lcm_op_occs_unlisted;
ALTER TABLE vnf_lcm_op_occs DROP COLUMN listed;
