-- What projects had, as intervals (src/domain/metering.rs). A conductor opens and closes them in the transaction that ends an operation.
CREATE TABLE metering_records (
    id              TEXT PRIMARY KEY,
    project_id      TEXT NOT NULL,
    vim             TEXT NOT NULL,
    namespace       TEXT NOT NULL,
    vnf_instance_id TEXT NOT NULL,
    resource        TEXT NOT NULL,
    quantity        INTEGER NOT NULL,
    started_at      INTEGER NOT NULL,
    ended_at        INTEGER
);
CREATE UNIQUE INDEX metering_records_open ON metering_records (vnf_instance_id, resource) WHERE ended_at IS NULL;
CREATE INDEX metering_records_list ON metering_records (project_id, started_at, id);
CREATE INDEX metering_records_ended ON metering_records (ended_at, id);
