-- What projects had, as intervals (src/domain/metering.rs). A conductor opens and closes them in the transaction that ends an operation.
CREATE TABLE metering_records (
    id              text PRIMARY KEY,
    project_id      text NOT NULL,
    vim             text NOT NULL,
    namespace       text NOT NULL,
    vnf_instance_id text NOT NULL,
    resource        text NOT NULL,
    quantity        bigint NOT NULL,
    started_at      bigint NOT NULL,
    ended_at        bigint
);
CREATE UNIQUE INDEX metering_records_open ON metering_records (vnf_instance_id, resource) WHERE ended_at IS NULL;
CREATE INDEX metering_records_list ON metering_records (project_id, started_at, id);
CREATE INDEX metering_records_ended ON metering_records (ended_at, id);
