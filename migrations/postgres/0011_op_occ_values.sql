-- What filters can ask of the JSON of op occurrences that are over, value by value (src/store/values.rs): without it, each
-- filter that finds little would look into all of them. Nothing here refers to one op occurrence for certain: it says at which
-- start times there is such a value.
CREATE TABLE vnf_lcm_op_occ_values (
    -- The hash of the project, the column and the names that lead to the value.
    path       BIGINT NOT NULL,
    start_time BIGINT NOT NULL,
    kind       TEXT   NOT NULL CHECK (kind IN ('string', 'number', 'boolean', 'keys', 'unknown')),
    value      TEXT   NOT NULL
);
-- Not unique: of two operations that began at the same time, one would wait for the other's end to be committed.
CREATE INDEX vnf_lcm_op_occ_values_list ON vnf_lcm_op_occ_values (path, start_time, kind, value);

-- Whether its values are listed. The release before lists none: what it ends is looked into.
ALTER TABLE vnf_lcm_op_occs ADD COLUMN listed BOOLEAN NOT NULL DEFAULT false;
CREATE INDEX vnf_lcm_op_occs_unlisted ON vnf_lcm_op_occs (project_id, start_time, id) WHERE NOT listed;

-- With the grant's identifier, the only simple attribute that was missing.
DROP INDEX vnf_lcm_op_occs_list;
CREATE INDEX vnf_lcm_op_occs_list ON vnf_lcm_op_occs (project_id, start_time, id)
    INCLUDE (state, operation, vnf_instance_id, state_entered_time, is_automatic_invocation, cancel_mode, grant_id);
