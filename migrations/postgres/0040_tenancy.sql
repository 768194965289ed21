-- Namespaces that belong to projects. The uid is that of the Kubernetes Namespace, whatever VIM it was reached through. The foreign
-- key holds that the instances in a namespace are all of the project that the namespace had when the first of them came.
CREATE TABLE tenant_namespaces (
    uid TEXT PRIMARY KEY,
    project_id TEXT NOT NULL,
    UNIQUE (uid, project_id)
);
CREATE TABLE tenant_instances (
    vnf_instance_id TEXT PRIMARY KEY REFERENCES vnf_instances (id) ON DELETE CASCADE,
    namespace_uid TEXT NOT NULL,
    project_id TEXT NOT NULL,
    FOREIGN KEY (namespace_uid, project_id) REFERENCES tenant_namespaces (uid, project_id)
);
CREATE INDEX tenant_instances_namespace ON tenant_instances (namespace_uid, project_id);
