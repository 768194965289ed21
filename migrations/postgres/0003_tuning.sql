-- Room in each page for new versions of its rows: an update that changes no indexed column then leaves the indexes alone.
ALTER TABLE vnf_lcm_op_occs SET (fillfactor = 50);
ALTER TABLE vnf_instances SET (fillfactor = 70);
ALTER TABLE vnf_resources SET (fillfactor = 70);
