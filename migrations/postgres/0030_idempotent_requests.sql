-- Requests with an Idempotency-Key. Without a status, a process works on the request until claimed_until, and the request may have
-- created a resource with the identifier resource_id. Times are by the database's clock. The key in vnf_instances is of earlier
-- releases.
CREATE TABLE idempotent_requests (
    project_id    text NOT NULL,
    key           text NOT NULL,
    fingerprint   text NOT NULL,
    resource_id   text NOT NULL,
    started_at    bigint NOT NULL,
    claimed_until bigint NOT NULL,
    status        bigint,
    location      text,
    content_type  text,
    body          text,
    PRIMARY KEY (project_id, key)
);
CREATE INDEX idempotent_requests_started ON idempotent_requests (started_at);
