-- Plans that previews keep for a while. op_id: the operation that has taken the plan; NULL: nobody has. The plan is sealed.
CREATE TABLE kept_plans (
    id              text PRIMARY KEY,
    project_id      text NOT NULL,
    vnf_instance_id text NOT NULL,
    expires_at      bigint NOT NULL,
    op_id           text UNIQUE,
    sealed_plan     bytea NOT NULL
);
CREATE INDEX kept_plans_project ON kept_plans (project_id, expires_at);
