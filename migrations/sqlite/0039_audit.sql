-- Requests that changed something, or were to and were refused (src/domain/audit.rs). Without a known caller there is no project.
CREATE TABLE audit_records (
    id          TEXT PRIMARY KEY,
    at          INTEGER NOT NULL,
    project_id  TEXT,
    subject     TEXT,
    role        TEXT,
    auth_method TEXT,
    peer        TEXT,
    http_method TEXT NOT NULL,
    route       TEXT NOT NULL,
    path        TEXT NOT NULL,
    location    TEXT,
    status      INTEGER NOT NULL,
    request_id  TEXT NOT NULL,
    trace_id    TEXT
);
CREATE INDEX audit_records_project ON audit_records (project_id, at, id);
CREATE INDEX audit_records_at ON audit_records (at, id);
