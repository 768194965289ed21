-- The keys that sealed values in this database, each with a text that it sealed (src/store/sql/shared/sealing.rs).
CREATE TABLE sealing_keys (
    key_id TEXT NOT NULL PRIMARY KEY,
    canary BLOB NOT NULL
);

-- Plans with Secrets, and manifests of Secrets, are sealed. The columns `plan` and `manifest` then have no content that an earlier
-- release could use.
ALTER TABLE vnf_lcm_op_occs ADD COLUMN sealed_plan BLOB;
ALTER TABLE vnf_resources ADD COLUMN sealed_manifest BLOB;

-- Work that one process at a time does. not_before is by the database's clock.
CREATE TABLE background_tasks (
    name       TEXT NOT NULL PRIMARY KEY,
    not_before INTEGER NOT NULL
);
INSERT INTO background_tasks (name, not_before) VALUES ('retention', 0);
