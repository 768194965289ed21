-- The VIM in which the operation works: the id of its registration, or the endpoint of an inline connection. NULL if it needs none,
-- or began before this version. Claims leave out the VIMs that have their share of a process already.
ALTER TABLE vnf_lcm_op_occs ADD COLUMN vim TEXT;
