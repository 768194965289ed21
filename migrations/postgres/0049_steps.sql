-- The history of operations: a row for each attempt of a step (src/domain/progress.rs). Each position is used once.
CREATE TABLE vnf_lcm_op_occ_steps (
    op_occ_id text   NOT NULL REFERENCES vnf_lcm_op_occs (id) ON DELETE CASCADE,
    position  bigint NOT NULL,
    record    jsonb  NOT NULL,
    PRIMARY KEY (op_occ_id, position)
);
