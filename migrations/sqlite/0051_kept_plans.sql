-- Plans that previews keep for a while. op_id: the operation that has taken the plan; NULL: nobody has. The plan is sealed.
CREATE TABLE kept_plans (
    id              TEXT PRIMARY KEY,
    project_id      TEXT NOT NULL,
    vnf_instance_id TEXT NOT NULL,
    expires_at      INTEGER NOT NULL,
    op_id           TEXT UNIQUE,
    sealed_plan     BLOB NOT NULL
);
CREATE INDEX kept_plans_project ON kept_plans (project_id, expires_at);
