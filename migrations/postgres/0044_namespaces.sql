-- Namespaces that administrators made for projects (src/domain/project_namespace.rs). The uid is NULL until the cluster has the Namespace.
CREATE TABLE project_namespaces (
    id          text PRIMARY KEY,
    project_id  text NOT NULL,
    vim_id      text NOT NULL,
    vim_project text NOT NULL,
    name        text NOT NULL,
    uid         text UNIQUE,
    is_made     boolean NOT NULL,
    settings    jsonb NOT NULL,
    state       text NOT NULL,
    created_by  text NOT NULL,
    created_at  bigint NOT NULL,
    UNIQUE (vim_id, name)
);
CREATE INDEX project_namespaces_list ON project_namespaces (project_id, created_at, id);
CREATE INDEX project_namespaces_all ON project_namespaces (created_at, id);
