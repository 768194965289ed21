-- Requests with an Idempotency-Key. Without a status, a process works on the request until claimed_until, and the request may have
-- created a resource with the identifier resource_id. Times are by the database's clock. The key in vnf_instances is of earlier
-- releases.
CREATE TABLE idempotent_requests (
    project_id    TEXT NOT NULL,
    key           TEXT NOT NULL,
    fingerprint   TEXT NOT NULL,
    resource_id   TEXT NOT NULL,
    started_at    INTEGER NOT NULL,
    claimed_until INTEGER NOT NULL,
    status        INTEGER,
    location      TEXT,
    content_type  TEXT,
    body          TEXT,
    PRIMARY KEY (project_id, key)
);
CREATE INDEX idempotent_requests_started ON idempotent_requests (started_at);
