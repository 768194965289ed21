-- Requests that changed something, or were to and were refused (src/domain/audit.rs). Without a known caller there is no project.
CREATE TABLE audit_records (
    id          text PRIMARY KEY,
    at          bigint NOT NULL,
    project_id  text,
    subject     text,
    role        text,
    auth_method text,
    peer        text,
    http_method text NOT NULL,
    route       text NOT NULL,
    path        text NOT NULL,
    location    text,
    status      bigint NOT NULL,
    request_id  text NOT NULL,
    trace_id    text
);
CREATE INDEX audit_records_project ON audit_records (project_id, at, id);
CREATE INDEX audit_records_at ON audit_records (at, id);
