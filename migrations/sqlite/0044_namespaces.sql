-- Namespaces that administrators made for projects (src/domain/project_namespace.rs). The uid is NULL until the cluster has the Namespace.
CREATE TABLE project_namespaces (
    id          TEXT PRIMARY KEY,
    project_id  TEXT NOT NULL,
    vim_id      TEXT NOT NULL,
    vim_project TEXT NOT NULL,
    name        TEXT NOT NULL,
    uid         TEXT UNIQUE,
    is_made     INTEGER NOT NULL CHECK (is_made IN (0, 1)),
    settings    TEXT NOT NULL CHECK (json_valid(settings)),
    state       TEXT NOT NULL,
    created_by  TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    UNIQUE (vim_id, name)
);
CREATE INDEX project_namespaces_list ON project_namespaces (project_id, created_at, id);
CREATE INDEX project_namespaces_all ON project_namespaces (created_at, id);
